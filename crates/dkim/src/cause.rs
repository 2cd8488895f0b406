//! The one table that says which result each cause gives (RFC 8601 §2.7.1).
//!
//! `fail`: a signature we accept does not fit the message. `policy`: it may fit, but we do not accept signatures like it. `permerror`:
//! it cannot be verified as signed or as its key is published. `neutral`: it cannot be read or says things we do not know.
//! `temperror`: the key could not be fetched now. The order of the checks is: caps, syntax, rules without a key, body, key, signature;
//! so a signature that can never count is never `temperror`.

/// A result of RFC 8601 §2.7.1, without `none`, which a message without signatures has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DkimResult {
    /// The signature fits and counts for the gate.
    Pass,
    /// The signature does not fit the message.
    Fail,
    /// The signature cannot be read.
    Neutral,
    /// The key could not be fetched for now.
    TempError,
    /// The signature can never be verified as it is or as its key is published.
    PermError,
    /// The signature is of a kind that is not accepted here.
    Policy,
}

/// Declares [`Cause`] with its result, its reason and its documentation in one row each.
macro_rules! causes {
    ($($(#[doc = $doc:literal])+ $cause:ident => $result:ident, $reason:literal;)+) => {
        /// Why a signature has its result. Each row: cause, result, the reason as written in records.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Cause {
            $($(#[doc = $doc])+ #[doc = concat!("\n\n`", stringify!($result), "`: ", $reason, ".")] $cause,)+
        }

        impl Cause {
            /// Every cause, in the order of the table.
            pub const ALL: &'static [Cause] = &[$(Cause::$cause,)+];

            /// The result this cause gives.
            #[must_use]
            pub fn result(self) -> DkimResult {
                match self { $(Cause::$cause => DkimResult::$result,)+ }
            }

            /// The reason in words.
            #[must_use]
            pub fn reason(self) -> &'static str {
                match self { $(Cause::$cause => $reason,)+ }
            }
        }
    };
}

causes! {
    /// Everything is in order.
    Verified => Pass, "signature verified";

    /// RFC 6376 §6.1.3.
    BodyHashMismatch => Fail, "body hash does not match";
    /// RFC 6376 §6.1.3.
    SignatureMismatch => Fail, "signature does not match the header fields";
    /// RFC 6376 §3.5 `l=`: larger than the canonicalized body, so octets are missing.
    LengthBeyondBody => Fail, "l= is longer than the body";

    /// Our cap.
    HeaderSectionTooLong => Policy, "header section over 256 KiB";
    /// Our cap.
    SignatureFieldTooLong => Policy, "DKIM-Signature field over 8 KiB";
    /// Our cap.
    TooManyNames => Policy, "more than 100 names in h=";
    /// RFC 8301 §3.1.
    RsaSha1 => Policy, "rsa-sha1 is not accepted";
    /// `d=` says nothing of an owner.
    PublicSuffix => Policy, "d= is a public suffix";
    /// RFC 6376 §3.5 `x=`.
    Expired => Policy, "signature has expired";
    /// RFC 6376 §8.15: which From a reader sees is open.
    FromRepeated => Policy, "more than one From field";
    /// RFC 6376 §8.2: anything may be appended.
    BodyPartlySigned => Policy, "l= is shorter than the body";
    /// RFC 8301 §3.2.
    KeyTooShort => Policy, "RSA key under 1024 bits";
    /// Our cap: cost.
    KeyTooLong => Policy, "RSA key over 4096 bits";

    /// RFC 6376 §5.4, §6.1.1.
    FromNotSigned => PermError, "From is not signed";
    /// RFC 8601 §2.7.1: a required header field is absent.
    FromMissing => PermError, "no From field";
    /// RFC 6376 §6.1.1.
    IdentityOutsideDomain => PermError, "i= is not within d=";
    /// RFC 6376 §6.1.2 step 3.
    NoKey => PermError, "no key published";
    /// RFC 6376 §6.1.2 step 4.
    KeySyntax => PermError, "key record is malformed";
    /// RFC 6376 §3.6.1 `v=`.
    KeyVersion => PermError, "key record is not DKIM1";
    /// RFC 6376 §3.6.1 `p=`.
    KeyRevoked => PermError, "key is revoked";
    /// RFC 6376 §3.6.1 `k=`: unknown, or not the one of `a=`.
    KeyType => PermError, "key type does not fit a=";
    /// RFC 6376 §3.6.1 `h=`.
    KeyHash => PermError, "key does not allow sha256";
    /// RFC 6376 §3.6.1 `s=`.
    KeyService => PermError, "key is not for email";
    /// RFC 6376 §3.6.1 `t=s`.
    KeyStrict => PermError, "key demands i= equal to d=";

    /// RFC 6376 §3.2.
    TagListSyntax => Neutral, "tag list is malformed";
    /// RFC 6376 §3.2.
    DuplicateTag => Neutral, "duplicate tag";
    /// RFC 6376 §6.1.1.
    MissingTag => Neutral, "required tag is missing";
    /// RFC 6376 §6.1.1.
    Version => Neutral, "v= is not 1";
    /// RFC 6376 §6.1.1.
    UnknownAlgorithm => Neutral, "a= is unknown";
    /// RFC 6376 §6.1.1.
    UnknownCanonicalization => Neutral, "c= is unknown";
    /// RFC 6376 §3.5 `q=`.
    UnknownQueryMethod => Neutral, "q= does not include dns/txt";
    /// RFC 6376 §3.5.
    SignatureDataSyntax => Neutral, "b= is malformed";
    /// RFC 6376 §3.5.
    BodyHashSyntax => Neutral, "bh= is malformed";
    /// RFC 6376 §3.5.
    DomainSyntax => Neutral, "d= is malformed";
    /// RFC 6376 §3.5.
    SelectorSyntax => Neutral, "s= is malformed";
    /// RFC 6376 §3.5.
    IdentitySyntax => Neutral, "i= is malformed";
    /// RFC 6376 §3.5.
    SignedNamesSyntax => Neutral, "h= is malformed";
    /// RFC 6376 §3.5 `l=`, `t=`, `x=`.
    NumberSyntax => Neutral, "l=, t= or x= is malformed";
    /// RFC 6376 §3.5 `x=`.
    ExpiryBeforeSigning => Neutral, "x= is not after t=";

    /// RFC 6376 §6.1.2 step 2.
    KeyLookupFailed => TempError, "key could not be looked up";
}
