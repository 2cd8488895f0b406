//! Every limit of an SPF evaluation, in one place.

/// Terms that ask DNS (`include`, `a`, `mx`, `ptr`, `exists`, `redirect`) in one evaluation, nested records included;
/// one more is permerror (RFC 7208 §4.6.4).
pub const LOOKUPS_MAX: u8 = 10;

/// The same of a survey, which is to tell how many there are.
pub const SURVEY_LOOKUPS_MAX: u8 = 60;

/// MX hosts of one `mx`; one more is permerror (RFC 7208 §4.6.4).
pub const MX_HOSTS_MAX: usize = 10;

/// PTR names of the client that are used; the others are ignored (RFC 7208 §4.6.4).
pub const PTR_NAMES_MAX: usize = 10;

/// Lookups that found nothing in one evaluation; one more is permerror (RFC 7208 §4.6.4).
pub const VOID_LOOKUPS_MAX: u8 = 2;

/// Octets of a domain name as text without its final dot; a longer expansion is cut from the left (RFC 7208 §7.3).
pub const NAME_OCTETS_MAX: usize = 253;

/// Octets of one label (RFC 1035 §2.3.4).
pub const LABEL_OCTETS_MAX: usize = 63;

/// Octets of one record: what fits into a DNS message, and into the offsets kept of it.
pub const RECORD_OCTETS_MAX: usize = 65_535;

/// Octets of an expanded explanation; the rest is cut off. More would not fit into an SMTP reply anyway.
pub const EXPLANATION_OCTETS_MAX: usize = 1_000;
