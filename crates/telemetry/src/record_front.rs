//! The front of a decision record's line, read back: who was told what. The longer part, what was found and how long it took, is left unread.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use serde::Deserialize;
use serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer};
use serde::de::{DeserializeSeed, Deserializer as _, MapAccess, Visitor};

/// Fields of [`crate::Decision`] up to `would_rule`.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct RecordFront<'a> {
    #[serde(borrow)]
    pub(crate) time: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) session: Cow<'a, str>,
    pub(crate) client: IpAddr,
    pub(crate) connector: bool,
    #[serde(borrow)]
    pub(crate) helo: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) domain: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) stage: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) rule: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) verdict: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) would_rule: Option<Cow<'a, str>>,
}

impl RecordFront<'_> {
    /// Reads a line, without its end; none if it is no record.
    pub(crate) fn of(line: &str) -> Option<RecordFront<'_>> {
        let mut front = None;
        // To the parser it is an error to stop inside an object: what was read until then counts.
        let _ = serde_json::Deserializer::from_str(line).deserialize_map(ReadFront(&mut front));
        front
    }
}

/// Reads the front into what it holds.
struct ReadFront<'f, 'a>(&'f mut Option<RecordFront<'a>>);

impl<'a> Visitor<'a> for ReadFront<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a decision record")
    }

    fn visit_map<M: MapAccess<'a>>(self, fields: M) -> Result<(), M::Error> {
        let front = UpToReply { fields, is_passed: false };
        *self.0 = Some(RecordFront::deserialize(MapAccessDeserializer::new(front))?);
        Ok(())
    }
}

/// The fields up to `reply`, and `would_rule` if it comes next.
struct UpToReply<M> {
    fields: M,
    is_passed: bool,
}

impl<'a, M: MapAccess<'a>> MapAccess<'a> for UpToReply<M> {
    type Error = M::Error;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, M::Error> {
        let Some(key) = self.fields.next_key::<&str>()? else { return Ok(None) };
        if self.is_passed && key != "would_rule" {
            return Ok(None);
        }
        self.is_passed |= key == "reply";
        seed.deserialize(BorrowedStrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, M::Error> {
        self.fields.next_value_seed(seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record_fields::tests::{least, most};

    /// The same as a reader of the whole line finds, in the smallest record and in the largest.
    #[test]
    fn the_front_is_that_of_the_whole() {
        let names = ["mail.pass.example".to_owned()];
        let (helo, domain) = ("a \"quoted\"\u{1b} name", "open.example");
        for record in [least(), crate::Decision { helo, domain, ..most(&names) }] {
            let line = serde_json::to_string(&record).unwrap();
            let front = RecordFront::of(&line).unwrap();
            assert_eq!(front, serde_json::from_str(&line).unwrap());
            assert_eq!((&*front.helo, front.would_rule.as_deref()), (record.helo, record.would_rule));
        }
    }

    #[test]
    fn no_record() {
        let line = serde_json::to_string(&least()).unwrap();
        let verdict = line.find(",\"verdict\"").unwrap();
        for line in ["", "{}", "[]", "{\"records_lost\":3}", &line[..verdict], &line[1..]] {
            assert_eq!(RecordFront::of(line), None, "{line}");
        }
    }
}
