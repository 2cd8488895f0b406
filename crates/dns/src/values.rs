//! Records as the callers want them.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use hickory_proto::rr::{RData, RecordType};

use crate::limits::{ANSWER_OCTETS_MAX, PTR_NAMES_MAX, RECORDS_MAX};
use crate::lookup::{Failure, Mx, TxtValue};
use crate::name;

/// A cached value made of the records of one name and type.
pub(crate) trait Value: Clone + Send + Sync + 'static {
    /// The type asked for.
    const TYPE: RecordType;

    /// Reads the records, at least one, all of [`Self::TYPE`].
    fn read(records: &[&RData]) -> Result<Self, Failure>;

    /// Octets on the heap.
    fn octets(&self) -> usize;
}

impl Value for Arc<[Ipv4Addr]> {
    const TYPE: RecordType = RecordType::A;

    fn read(records: &[&RData]) -> Result<Self, Failure> {
        all(records, |record| if let RData::A(a) = record { Some(a.0) } else { None })
    }

    fn octets(&self) -> usize {
        size_of_val::<[Ipv4Addr]>(self)
    }
}

impl Value for Arc<[Ipv6Addr]> {
    const TYPE: RecordType = RecordType::AAAA;

    fn read(records: &[&RData]) -> Result<Self, Failure> {
        all(records, |record| if let RData::AAAA(aaaa) = record { Some(aaaa.0) } else { None })
    }

    fn octets(&self) -> usize {
        size_of_val::<[Ipv6Addr]>(self)
    }
}

impl Value for Arc<[Mx]> {
    const TYPE: RecordType = RecordType::MX;

    fn read(records: &[&RData]) -> Result<Self, Failure> {
        all(records, |record| match record {
            RData::MX(mx) => Some(Mx { preference: mx.preference, exchange: name::text(&mx.exchange) }),
            _ => None,
        })
    }

    fn octets(&self) -> usize {
        size_of_val::<[Mx]>(self) + self.iter().map(|mx| mx.exchange.len()).sum::<usize>()
    }
}

impl Value for Arc<[Box<str>]> {
    const TYPE: RecordType = RecordType::PTR;

    fn read(records: &[&RData]) -> Result<Self, Failure> {
        let records = &records[..records.len().min(PTR_NAMES_MAX)];
        all(records, |record| if let RData::PTR(ptr) = record { Some(name::text(&ptr.0)) } else { None })
    }

    fn octets(&self) -> usize {
        size_of_val::<[Box<str>]>(self) + self.iter().map(|name| name.len()).sum::<usize>()
    }
}

impl<T: TxtValue> Value for Arc<T> {
    const TYPE: RecordType = RecordType::TXT;

    fn read(records: &[&RData]) -> Result<Self, Failure> {
        if records.len() > RECORDS_MAX {
            return Err(Failure::TooBig);
        }
        let mut octets = 0;
        let mut joined = Vec::with_capacity(records.len());
        for record in records {
            let RData::TXT(txt) = record else { continue };
            let text = txt.txt_data.concat();
            octets += text.len();
            joined.push(text);
        }
        if octets > ANSWER_OCTETS_MAX {
            return Err(Failure::TooBig);
        }
        Ok(Arc::new(T::parse(&joined)))
    }

    fn octets(&self) -> usize {
        self.weight_octets() as usize
    }
}

/// All records, unless there are too many.
fn all<T>(records: &[&RData], read: impl Fn(&RData) -> Option<T>) -> Result<Arc<[T]>, Failure> {
    if records.len() > RECORDS_MAX {
        return Err(Failure::TooBig);
    }
    Ok(records.iter().filter_map(|record| read(record)).collect())
}
