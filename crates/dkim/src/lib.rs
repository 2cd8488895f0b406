//! DKIM verification: RFC 6376 with RFC 8301 (no SHA-1, no short keys) and RFC 8463 (Ed25519).
//!
//! Pure: no sockets, no DNS, no clock. The caller hands in the header section, then the body in pieces of any size, then the key
//! records, and gets one [`SignatureResult`] for each signature looked at. Nothing a peer writes is trusted: every size is limited
//! (see [`limits`]) before any work is done, and the cost is linear in the message.
//!
//! One message:
//! 1. [`Header::parse`] once the header section is complete; [`Verification::new`] applies every rule that needs no key and
//!    hashes the signed header fields. It owns what it needs: the header may go.
//! 2. [`Verification::key_names`] are looked up while the body arrives; the records are parsed by [`KeyTxt::parse`] and may be cached.
//! 3. [`Verification::body`] for each piece of the body, [`Verification::end_of_body`] at its end. Both only canonicalize into
//!    staging; hashing is done by [`Kernels::compress`], for all messages of a turn at once.
//! 4. [`Verification::finish`] with the keys. Hashing that was not done before is done there. Messages that are ready at the same
//!    time do it together: [`Verification::keys`], [`Kernels::verify`] for all of them at once, [`Verification::results`].
//!
//! [`kernels`] has what is written for certain CPUs; `unsafe` stands only there.
//!
//! Which result each cause gives stands in one table: [`Cause`].
#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod body_hash;
mod canonical_body;
mod canonical_header;
mod cause;
mod domain;
mod header;
#[allow(clippy::needless_range_loop, reason = "lanes, limbs and columns are indices of several arrays at once")]
#[allow(unsafe_code)]
pub mod kernels;
mod key;
pub mod limits;
mod signature;
mod signature_batch;
mod tag_list;
mod verification;

pub use body_hash::BodyHash;
pub use cause::{Cause, DkimResult};
pub use header::{Field, Header};
pub use kernels::Kernels;
pub use key::KeyTxt;
pub use verification::{KeyAnswer, SignatureResult, Verification, Work};
