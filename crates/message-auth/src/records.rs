//! What TXT records are cached as: parsed, once, by the crates that know them.
//!
//! The caches belong to `dns`, the parsers to `spf`, `dkim` and mail-auth; these types join the two.

use std::sync::Arc;

use mail_auth::common::parse::TxtRecordParser;
use mail_auth::{DnsError, Error};
use mx6_dkim::KeyTxt;
use mx6_dns::{CacheFill, TxtCache, TxtValue};
use mx6_spf::SpfTxt;

use crate::spf_results::SpfResults;

/// The caches of parsed TXT records, shared by all shards.
#[derive(Clone)]
pub struct MessageAuthCaches {
    pub(crate) spf: TxtCache<SpfRecord>,
    pub(crate) spf_results: SpfResults,
    pub(crate) dkim: TxtCache<DkimKey>,
    pub(crate) dmarc: TxtCache<DmarcRecord>,
    /// Explanations of SPF (`exp=`): raw, because their macros depend on the message.
    pub(crate) text: TxtCache<RawTxt>,
}

/// How much memory the caches of parsed TXT records may take, in octets each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageAuthCacheSizes {
    /// SPF records.
    pub spf_octets: u64,
    /// SPF results.
    pub spf_result_octets: u64,
    /// DKIM keys.
    pub dkim_octets: u64,
    /// DMARC records.
    pub dmarc_octets: u64,
}

impl Default for MessageAuthCacheSizes {
    fn default() -> MessageAuthCacheSizes {
        MessageAuthCacheSizes {
            spf_octets: 24 << 20,
            spf_result_octets: 8 << 20,
            dkim_octets: 32 << 20,
            dmarc_octets: 16 << 20,
        }
    }
}

impl MessageAuthCaches {
    /// Empty caches of these sizes.
    #[must_use]
    pub fn new(sizes: &MessageAuthCacheSizes) -> MessageAuthCaches {
        MessageAuthCaches {
            spf: TxtCache::new(sizes.spf_octets),
            spf_results: SpfResults::new(sizes.spf_result_octets),
            dkim: TxtCache::new(sizes.dkim_octets),
            dmarc: TxtCache::new(sizes.dmarc_octets),
            text: TxtCache::new(EXPLANATIONS_OCTETS),
        }
    }

    /// What is in each of those that are configured by size.
    #[must_use]
    pub fn fill(&self) -> [CacheFill; 4] {
        [self.spf.fill("spf"), self.spf_results.fill(), self.dkim.fill("dkim"), self.dmarc.fill("dmarc")]
    }
}

/// The SPF record among the TXT records of a name (RFC 7208 §4.5).
pub(crate) struct SpfRecord(pub(crate) Arc<SpfTxt>);

impl TxtValue for SpfRecord {
    fn parse(records: &[Vec<u8>]) -> SpfRecord {
        SpfRecord(Arc::new(mx6_spf::parse_txt(records)))
    }

    fn weight_octets(&self) -> u32 {
        self.0.weight_octets()
    }
}

/// The key among the TXT records of a selector (RFC 6376 §3.6.2.2).
pub(crate) struct DkimKey(pub(crate) Arc<KeyTxt>);

impl TxtValue for DkimKey {
    fn parse(records: &[Vec<u8>]) -> DkimKey {
        DkimKey(Arc::new(KeyTxt::parse(records)))
    }

    fn weight_octets(&self) -> u32 {
        self.0.weight_octets()
    }
}

/// The DMARC record among the TXT records of a `_dmarc` name (RFC 7489 §6.6.3).
pub(crate) enum DmarcRecord {
    /// The one there is.
    Record(Arc<mail_auth::dmarc::Dmarc>),
    /// None, or several: then DMARC is not applied.
    None,
    /// It begins like one and cannot be read.
    Malformed,
}

impl TxtValue for DmarcRecord {
    fn parse(records: &[Vec<u8>]) -> DmarcRecord {
        let mut found = DmarcRecord::None;
        for record in records {
            let next = match mail_auth::dmarc::Dmarc::parse(record) {
                Ok(dmarc) => DmarcRecord::Record(Arc::new(dmarc)),
                Err(Error::Dns(DnsError::InvalidRecordType)) => continue,
                Err(_) => DmarcRecord::Malformed,
            };
            if !matches!(found, DmarcRecord::None) {
                return DmarcRecord::None;
            }
            found = next;
        }
        found
    }

    fn weight_octets(&self) -> u32 {
        let uris = match self {
            DmarcRecord::Record(dmarc) => dmarc.rua.iter().chain(&dmarc.ruf).map(|uri| uri.uri.len() + 48).sum(),
            DmarcRecord::None | DmarcRecord::Malformed => 0_usize,
        };
        u32::try_from(uris).unwrap_or(u32::MAX).saturating_add(192)
    }
}

/// TXT records as they are.
pub(crate) struct RawTxt(pub(crate) Vec<Vec<u8>>);

impl TxtValue for RawTxt {
    fn parse(records: &[Vec<u8>]) -> RawTxt {
        RawTxt(records.to_vec())
    }

    fn weight_octets(&self) -> u32 {
        let octets: usize = self.0.iter().map(|record| record.len() + 32).sum();
        u32::try_from(octets).unwrap_or(u32::MAX).saturating_add(32)
    }
}

/// Explanations are fetched by `explain` and tests only.
const EXPLANATIONS_OCTETS: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dmarc_records() {
        for (records, want) in [
            (&["v=DMARC1; p=reject"][..], "record"),
            (&["v=DMARC1"], "record"),
            (&["v=DMARC1; p=reject; rua=mailto:d@example.org!10m"], "record"),
            (&["unrelated", "v=DMARC1; p=none", "v=spf1 -all"], "record"),
            (&["v=DMARC1; p=none", "v=DMARC1; p=none"], "none"),
            (&["v=DMARC1; p=none", "v=DMARC1; p=maybe"], "none"),
            (&["v=spf1 -all"], "none"),
            (&["v=DMARC2; p=none"], "none"),
            (&[], "none"),
            (&["v=DMARC1; p=maybe"], "malformed"),
        ] {
            let records: Vec<Vec<u8>> = records.iter().map(|record| record.as_bytes().to_vec()).collect();
            let parsed = DmarcRecord::parse(&records);
            let seen = match parsed {
                DmarcRecord::Record(_) => "record",
                DmarcRecord::None => "none",
                DmarcRecord::Malformed => "malformed",
            };
            assert_eq!(seen, want, "{records:?}");
            assert!(parsed.weight_octets() >= 192);
        }
    }
}
