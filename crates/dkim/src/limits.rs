//! Every limit of DKIM verification, in one place.
//!
//! Those that a peer can reach are checked before any work is spent on what exceeds them.

/// Octets of a header section that is still looked at for DKIM. Above: the whole of DKIM is `policy`.
pub const HEADER_SECTION_OCTETS_MAX: usize = 256 * 1024;

/// Octets of one DKIM-Signature field, name and line end included. Above: that signature is `policy`.
pub const SIGNATURE_FIELD_OCTETS_MAX: usize = 8 * 1024;

/// Names in one `h=`. Above: that signature is `policy`.
pub const SIGNED_NAMES_MAX: usize = 100;

/// Signatures looked at, from the top of the header section. Further ones are not looked at and have no result.
pub const SIGNATURES_MAX: usize = 10;

/// Smallest RSA modulus that counts, in bits (RFC 8301 §3.2).
pub const RSA_BITS_MIN: u32 = 1024;

/// Largest RSA modulus that counts, in bits: what a verifier must be able to take (RFC 8301 §3.2) and no more.
pub const RSA_BITS_MAX: u32 = 4096;

/// TXT records of one key name that are looked at.
pub const KEY_RECORDS_MAX: usize = 4;

/// Octets of one key record. A 4096-bit key takes about 750.
pub const KEY_RECORD_OCTETS_MAX: usize = 8 * 1024;

/// Canonicalized octets of one body stream that may wait for [`crate::Kernels::compress`]; whole SHA-256 blocks. When they are full, the
/// stream hashes by itself.
pub const STAGING_OCTETS_MAX: usize = 64 * 1024;
