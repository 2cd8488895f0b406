//! One message under evaluation, from its first header octet to its facts. Serving and explaining both go through here.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use mx6_dkim::{BodyHash, Header, KeyAnswer, Verification};
use mx6_dns::Source;
use mx6_message_auth::{HeaderReading, MessageAuth};
use mx6_policy::facts::{CacheState, Dkim, Facts, Iprev, Spf};
use mx6_telemetry::{Counters, Timing};

use crate::dkim_batch::{DkimBatch, UnderWay};
use crate::limits::HASH_PORTION_OCTETS;
use crate::pending::Pending;

/// What a message shows while it arrives. The header block is kept, the body only passes by.
pub(crate) struct Evaluation {
    header: Vec<u8>,
    reading: HeaderReading,
    signed: Option<Signed>,
    /// While it may come to the batch.
    under_way: Option<UnderWay>,
}

/// A message that bears DKIM signatures.
struct Signed {
    verification: Rc<RefCell<Verification>>,
    keys: Pending<Vec<(String, KeyAnswer, Source)>>,
}

impl Evaluation {
    /// Of a message that is going to arrive.
    pub(crate) fn new(batch: &Rc<DkimBatch>) -> Evaluation {
        Evaluation {
            header: Vec::with_capacity(HEADER_OCTETS_USUAL),
            reading: HeaderReading::default(),
            signed: None,
            under_way: Some(batch.under_way()),
        }
    }

    /// Octets of the header block, the empty line included.
    pub(crate) fn header_octets(&mut self, octets: &[u8]) {
        self.header.extend_from_slice(octets);
    }

    /// The header block is complete: signatures are parsed, keys and the DMARC record looked up while the body arrives.
    pub(crate) fn header_complete(&mut self, auth: &MessageAuth, counters: &Counters) {
        let header = Header::parse(&self.header);
        self.reading = auth.read_header(&header);
        if header.named("DKIM-Signature").next().is_some() {
            let verification = Verification::new(&header, unix_s());
            let names = verification.key_names();
            let auth = auth.clone();
            let keys =
                Pending::start("DKIM keys", Some((counters, Timing::Dkim)), async move { auth.dkim_keys(names).await });
            let verification = Rc::new(RefCell::new(verification));
            self.signed = Some(Signed { verification, keys });
        } else {
            self.under_way = None;
        }
        if auth.prefetch_dmarc(&self.reading.author).now_or_never().is_none() {
            let (auth, author) = (auth.clone(), self.reading.author.clone());
            mx6_runtime::spawn("DMARC", async move { auth.prefetch_dmarc(&author).await });
        }
    }

    /// Octets of the body. Waits for the shard's batch once a portion is staged; false if that failed.
    pub(crate) async fn body_octets(&mut self, octets: &[u8], batch: &Rc<DkimBatch>) -> bool {
        let Some(signed) = &self.signed else { return true };
        for portion in octets.chunks(HASH_PORTION_OCTETS) {
            let staged = {
                let mut verification = signed.verification.borrow_mut();
                verification.body(portion);
                verification.body_hashes().iter().map(BodyHash::staged).max().unwrap_or_default()
            };
            if staged >= HASH_PORTION_OCTETS / 2 && !batch.advance(&signed.verification).await {
                return false;
            }
        }
        true
    }

    /// The header block as received.
    pub(crate) fn header_block(&self) -> &[u8] {
        &self.header
    }

    /// The header block, for whoever takes the message on, and what of it must not go on.
    pub(crate) fn into_header_block(self) -> (Vec<u8>, Vec<Range<usize>>) {
        (self.header, self.reading.leave_out)
    }

    /// The message's Message-ID, as far as it has one that can be shown.
    pub(crate) fn message_id(&self) -> Option<&str> {
        std::str::from_utf8(self.header.get(self.reading.message_id.clone()?)?).ok()
    }

    /// The one domain of the From field, if there is one.
    pub(crate) fn author_domain(&self) -> Option<&str> {
        self.reading.author.domain()
    }

    /// How many Received fields the message came with.
    pub(crate) fn received_fields(&self) -> usize {
        self.reading.received_fields
    }

    /// The facts, once the body has ended. None if a lookup or the hashing was lost to a panic.
    pub(crate) async fn facts(
        &mut self,
        auth: &MessageAuth,
        client: std::net::IpAddr,
        iprev: &mut Pending<Iprev>,
        spf: &mut Pending<Spf>,
        batch: &Rc<DkimBatch>,
    ) -> Option<Facts> {
        let (dkim, dkim_cache) = self.dkim(batch).await?;
        let iprev = iprev.get().await?.clone();
        let spf = spf.get().await?.clone();
        let dmarc = auth.dmarc(&self.reading.author, &spf, &dkim).await;
        Some(Facts { client, iprev, spf, dkim, dkim_cache, dmarc })
    }

    /// How long the keys took to look up, in milliseconds.
    pub(crate) fn keys_elapsed_ms(&self) -> u64 {
        self.signed.as_ref().map_or(0, |signed| signed.keys.elapsed_ms())
    }

    async fn dkim(&mut self, batch: &Rc<DkimBatch>) -> Option<(Vec<Dkim>, CacheState)> {
        let Some(signed) = &mut self.signed else { return Some((Vec::new(), CacheState::Unused)) };
        signed.verification.borrow_mut().end_of_body();
        let keys = signed.keys.get().await?;
        signed.verification.borrow_mut().keys(|name| {
            let found = keys.iter().find(|(looked_up, ..)| looked_up == name);
            found.map_or(KeyAnswer::TempFail, |(_, key, _)| key.clone())
        });
        if !batch.advance(&signed.verification).await {
            return None;
        }
        let results = signed.verification.borrow_mut().results();
        self.under_way = None;
        let sources = keys.iter().map(|(.., source)| mx6_message_auth::cache_state(*source));
        Some((MessageAuth::dkim_facts(results), sources.fold(CacheState::Unused, CacheState::and)))
    }
}

/// Seconds since 1970; a clock before that counts as its start.
pub(crate) fn unix_s() -> u64 {
    unix_ms() / 1000
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

/// Most header sections fit without growing.
const HEADER_OCTETS_USUAL: usize = 4 << 10;
