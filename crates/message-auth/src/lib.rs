//! The checks of one message: iprev, SPF, DKIM and DMARC results from DNS, and the fields that say so.
//!
//! Async, but without a runtime of its own: it asks `dns`, runs the pure evaluators of `spf` and `dkim`, has mail-auth
//! evaluate DMARC over our own answers, and yields the facts of `policy`. It decides nothing, sends no reply and knows
//! no socket. It trusts nothing of a peer: every wait and every count is limited (see [`limits`]), and values reach
//! header fields only through `escape`.
//!
//! Everything asks the caches first and suspends only for what is in none of them: with warm caches each future here
//! is ready at its first poll. A temporary failure is always `temperror`, never `none` and never `fail`.
//!
//! RFC sections: 8601 §2.2, §2.7, §3, §5; 7208; 6376; 7489; 9989; 5321 §4.4.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod authentication_results;
mod authserv_id;
mod dkim;
mod dmarc;
mod dmarc_answers;
mod escape;
mod folded;
mod from_domain;
mod iprev;
pub mod limits;
mod own_fields;
mod received;
mod records;
mod spf;
mod spf_inquiry;
mod spf_results;

use std::ops::Range;
use std::rc::Rc;

use mail_auth::MessageAuthenticator;
use mail_auth::common::to_a_label;
use mx6_dkim::Header;
use mx6_dns::{Dns, Share, Source};
use mx6_policy::facts::{CacheState, Facts};

pub use authentication_results::authentication_results;
pub use authserv_id::authserv_id;
pub use from_domain::Author;
pub use iprev::is_valid_target;
pub use own_fields::{MONITOR_FIELD, monitor_field};
pub use received::{Protocol, ReceivedParts, TlsFacts, received};
pub use records::{MessageAuthCacheSizes, MessageAuthCaches};
pub use spf_inquiry::{SpfInquiry, SpfSender, SpfSurvey};

/// What cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum MessageAuthError {
    /// Ours: mail-auth's evaluator could not be built.
    #[error("the DMARC evaluator cannot be built: {0}")]
    Evaluator(String),
}

/// Who we are in the fields we write and remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthConfig {
    /// Our hostname: `by` in Received, the receiver in SPF macros.
    pub hostname: String,
    /// Our authserv-id (RFC 8601 §2.5), perhaps shared by a fleet.
    pub authserv_id: String,
    /// Further ids that are ours: incoming Authentication-Results that bear one are removed.
    pub further_ids: Vec<String>,
}

/// The checks, one a shard; clones share everything, and are cheap: each lookup that is under way holds one.
#[derive(Clone)]
pub struct MessageAuth {
    dns: Dns,
    caches: Rc<MessageAuthCaches>,
    config: Rc<AuthConfig>,
    /// All ids that are ours: A-labels, no final dot.
    ids: Rc<[Box<str>]>,
    mail_auth: Rc<MessageAuthenticator>,
}

impl MessageAuth {
    /// The checks of one shard, over its `dns` and over `caches` that all shards share.
    ///
    /// # Errors
    /// Ours, if mail-auth's evaluator cannot be built.
    pub fn new(dns: Dns, caches: MessageAuthCaches, config: AuthConfig) -> Result<MessageAuth, MessageAuthError> {
        let ids = std::iter::once(&config.authserv_id).chain(&config.further_ids);
        let ids = ids.map(|id| to_a_label(id.strip_suffix('.').unwrap_or(id)).into()).collect();
        let mail_auth = dmarc_answers::evaluator()?;
        let mail_auth = Rc::new(mail_auth);
        Ok(MessageAuth { dns, caches: Rc::new(caches), config: Rc::new(config), ids, mail_auth })
    }

    /// The same checks for those who have a part of the places for lookups ([`MessageAuth::lookups`]).
    #[must_use]
    pub fn within(&self, lookups: Share) -> MessageAuth {
        MessageAuth { dns: self.dns.within(lookups), ..self.clone() }
    }

    /// The places for lookups under way.
    #[must_use]
    pub fn lookups(&self) -> &Share {
        self.dns.places()
    }

    /// Our `Authentication-Results` field for a message, CRLF included.
    #[must_use]
    pub fn authentication_results(&self, facts: &Facts) -> Vec<u8> {
        authentication_results(&self.config.authserv_id, facts)
    }

    /// Our `Received` field for a message, CRLF included.
    #[must_use]
    pub fn received(&self, parts: &ReceivedParts<'_>) -> Vec<u8> {
        received(&self.config.hostname, parts)
    }

    /// Takes from an incoming header section what is needed of it later.
    #[must_use]
    pub fn read_header(&self, header: &Header<'_>) -> HeaderReading {
        HeaderReading {
            received_fields: own_fields::received_count(header),
            leave_out: own_fields::fields_to_remove(header, &self.ids),
            author: Author::of(header),
            message_id: own_fields::message_id(header),
        }
    }
}

/// What is needed of a header section, read once when it is complete.
#[derive(Debug, Default)]
pub struct HeaderReading {
    /// How many `Received` fields there are: what RFC 5321 §6.3 counts to find loops.
    pub received_fields: usize,
    /// What must not be passed on: sorted ranges, to be taken out once DKIM is checked.
    ///
    /// Authentication-Results that bear one of our ids (RFC 8601 §5), X-MX6-Monitor, and folded lines with no field
    /// before them, which would become part of the field we put in front.
    pub leave_out: Vec<Range<usize>>,
    /// Who says to have written the message, for DMARC.
    pub author: Author,
    /// Where the msg-id of the first Message-ID field is (RFC 5322 §3.6.4), without its brackets.
    pub message_id: Option<Range<usize>>,
}

/// Where an answer came from, in the words of the facts.
#[must_use]
pub fn cache_state(source: Source) -> CacheState {
    match source {
        Source::Cache | Source::Zone => CacheState::Hit,
        Source::Network => CacheState::Miss,
        Source::Stale => CacheState::Stale,
    }
}
