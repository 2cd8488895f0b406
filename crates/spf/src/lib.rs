//! SPF (RFC 7208): may this address send mail in the name of this domain?
//!
//! What it is: a parser that turns the TXT records of a name into an [`SpfTxt`] once, and [`check_host`], which evaluates
//! such records over answers that somebody else has fetched. No socket, no clock, no async, no log.
//!
//! What it trusts: nothing a peer wrote. Records are hostile text; every syntax error is permerror, every loop and every
//! expansion is bounded ([`limits`]), and one pass is linear in the octets of the at most eleven records it visits.
//!
//! How it is driven: [`check_host`] is restartable. It runs until it misses an answer, goes on to collect what else can
//! be asked at the same time, and returns [`Evaluation::Need`]. The driver remembers answers and calls again. It may
//! call again as soon as *one* answer came; what is still missing is then asked for again and must not be sent twice.
//!
//! ```
//! use std::{collections::HashMap, net::IpAddr, sync::Arc};
//! use mx6_spf::{Answer, Answers, Evaluation, Identity, Query, Request, SpfResult, check_host, parse_txt};
//!
//! struct Memo(HashMap<Query, Answer>);
//! impl Answers for Memo {
//!     fn answer(&self, query: &Query) -> Option<Answer> {
//!         self.0.get(query).cloned()
//!     }
//! }
//!
//! let request = Request {
//!     client: IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]),
//!     identity: Identity::MailFrom { local_part: "jack", domain: "example.org" },
//!     helo: "mail.example.org",
//!     receiver: "mx.example.net",
//!     now_unix_s: 1_700_000_000,
//!     explain: false,
//! };
//! let mut memo = Memo(HashMap::new());
//! let output = loop {
//!     match check_host(&request, &memo) {
//!         Evaluation::Done(output) => break output,
//!         Evaluation::Need { now, ahead } => {
//!             for query in now.into_iter().chain(ahead) {
//!                 // A real driver asks DNS for all of them at once.
//!                 let answer = match &query {
//!                     Query::Spf(_) => Answer::Spf(Arc::new(parse_txt(&[b"v=spf1 ip6:2001:db8::/32 -all".to_vec()]))),
//!                     _ => Answer::NxDomain,
//!                 };
//!                 memo.0.insert(query, answer);
//!             }
//!         }
//!     }
//! };
//! assert_eq!(output.result, SpfResult::Pass);
//! ```
//!
//! Where RFC 7208 leaves a choice:
//! - A target name that cannot be in DNS after expansion (empty or overlong label, only one label) is not asked for: a
//!   mechanism does not match, `include` and `redirect` are permerror (§4.3, §4.8).
//! - The addresses of all MX hosts are one set: a match anywhere is a match, whatever the order in which DNS gave them.
//! - NODATA for AAAA is not a void lookup (§4.6.4): it would punish senders for hosts that only speak IPv4. NXDOMAIN is.
//! - The forward lookups of `ptr` and `%{p}` are no void lookups: the client's names are not the sender's doing.
//! - A DNS failure is temperror, except where §5.5 and §7.3 say otherwise: `ptr` then does not match, `%{p}` is `unknown`.
//! - `%{p}` counts once against the ten lookups, for its PTR query (§4.6.4).
//! - Names of later terms are asked for ahead of time, as many as the lookup limit still allows. Only what is reached in
//!   order is counted and decides.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod amend;
mod evaluate;
pub mod limits;
mod lookup;
mod macros;
mod name;
mod record;
mod request;
mod term;

pub use amend::{
    FaultyTerm, Merged, Place, amended, lookup_terms, merged, spf_records, without_faulty_terms, without_terms,
};
pub use evaluate::{check_host, survey};
pub use record::{Record, SpfTxt, parse_txt};
pub use request::{Answer, Answers, Evaluation, Identity, Output, Query, Request, Spent, SpfResult};
