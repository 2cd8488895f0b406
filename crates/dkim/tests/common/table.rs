//! Rows of the tables of rules: a good signature, what a row changes, what comes out.

use std::sync::LazyLock;

use mx6_dkim::{Cause, SignatureResult};

use super::{Draft, NOW_UNIX_S, RSA_2048_PEM, SigningKey, Zone, verify, verify_in_pieces};

pub static RSA: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::rsa(RSA_2048_PEM));
pub static ED25519: LazyLock<SigningKey> = LazyLock::new(SigningKey::ed25519);

/// Name, causes of the signatures from the top, what is different from a good message.
pub type Row = (&'static str, &'static [Cause], fn(&mut Case));

/// A good message, until a row changes it.
pub struct Case {
    pub draft: Draft,
    pub key: &'static SigningKey,
    /// TXT records at `s=`, `d=`; `None`: no such name.
    pub records: Option<Vec<String>>,
    /// DNS fails for now.
    pub down: bool,
    /// What happens to the signed message on its way.
    pub on_the_way: fn(String) -> String,
}

impl Case {
    pub fn rsa() -> Case {
        Case::of(&RSA)
    }

    fn of(key: &'static SigningKey) -> Case {
        Case {
            draft: Draft::new(key.algorithm()),
            key,
            records: Some(vec![key.record()]),
            down: false,
            on_the_way: |message| message,
        }
    }

    pub fn ed25519(&mut self) {
        *self = Case::of(&ED25519);
    }

    pub fn sign_with(&mut self, key: &'static SigningKey) {
        *self = Case::of(key);
    }

    pub fn set(&mut self, tag: &str, value: &str) {
        self.draft.set(tag, value);
    }

    pub fn record(&mut self, record: &str) {
        self.records = Some(vec![record.replace("{p}", &self.key.published())]);
    }

    pub fn results(&self) -> Vec<SignatureResult> {
        let message = String::from_utf8(self.draft.sign(self.key)).unwrap();
        let message = (self.on_the_way)(message).into_bytes();
        let mut zone = Zone { down: self.down, ..Zone::default() };
        if let Some(records) = &self.records {
            let tag = |name: &str| self.draft.tag(name).unwrap_or_default().to_ascii_lowercase();
            let records: Vec<&str> = records.iter().map(String::as_str).collect();
            zone.insert(&format!("{}._domainkey.{}", tag("s"), tag("d")), &records);
        }
        let results = verify(&message, &zone, NOW_UNIX_S);
        assert_eq!(results, verify_in_pieces(&message, &zone, NOW_UNIX_S, 1));
        results
    }
}

/// Runs a table and prints how many rows came out as they say.
pub fn check(what: &str, rows: &[Row]) {
    let mut wrong = Vec::new();
    for (name, expected, change) in rows {
        let mut case = Case::rsa();
        change(&mut case);
        let results = case.results();
        let causes: Vec<Cause> = results.iter().map(|result| result.cause).collect();
        if causes != *expected {
            wrong.push(format!("{name}: expected {expected:?}, got {causes:?}"));
        }
        for result in results {
            assert_eq!((result.result, result.reason), (result.cause.result(), result.cause.reason()), "{name}");
        }
    }
    println!("{what}: {} of {}", rows.len() - wrong.len(), rows.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
}
