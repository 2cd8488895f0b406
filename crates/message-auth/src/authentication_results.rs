//! Writing `Authentication-Results` (RFC 8601 §2.2) for one message.
//!
//! Trusts our own authserv-id; every other value comes from a peer and goes through `escape`. One result a line, in
//! the order iprev (§2.7.3), spf (§2.7.2), dkim (§2.7.1, one per signature or `none`), dmarc (RFC 7489 §11.2).
//! `header.d` stands in every dkim result of a signature, so that no reader has to take it from `header.i`.

use mx6_policy::facts::{Dkim, Dmarc, Facts, Iprev, MethodResult, Spf, SpfIdentity};

use crate::escape::{push_pvalue, push_value};
use crate::folded::Folded;

/// The whole field, CRLF included: what is known of the message, under the name `authserv_id`.
///
/// Lines stay under 998 octets whatever the peers sent, and all octets are ASCII.
#[must_use]
pub fn authentication_results(authserv_id: &str, facts: &Facts) -> Vec<u8> {
    let mut field = Folded::new("Authentication-Results", 384 + 160 * facts.dkim.len());
    field.word(|out| push_value(out, authserv_id));
    iprev(&mut field, facts, &facts.iprev);
    spf(&mut field, &facts.spf);
    if facts.dkim.is_empty() {
        method(&mut field, "dkim", MethodResult::None);
    }
    for signature in &facts.dkim {
        dkim(&mut field, signature);
    }
    dmarc(&mut field, &facts.dmarc);
    field.finish()
}

fn iprev(field: &mut Folded, facts: &Facts, iprev: &Iprev) {
    method(field, "iprev", iprev.result);
    property(field, "policy.iprev", &facts.client.to_string());
}

fn spf(field: &mut Folded, spf: &Spf) {
    method(field, "spf", spf.result);
    reason(field, spf.result, &spf.reason);
    let name = match spf.identity {
        SpfIdentity::MailFrom => "smtp.mailfrom",
        SpfIdentity::Helo => "smtp.helo",
    };
    property(field, name, &spf.domain);
}

fn dkim(field: &mut Folded, dkim: &Dkim) {
    method(field, "dkim", dkim.result);
    reason(field, dkim.result, &dkim.reason);
    property(field, "header.d", &dkim.domain);
    if !dkim.selector.is_empty() {
        property(field, "header.s", &dkim.selector);
    }
    if let Some(identity) = &dkim.identity {
        property(field, "header.i", identity);
    }
    if !dkim.algorithm.is_empty() {
        property(field, "header.a", dkim.algorithm);
    }
    if !dkim.signature_b.is_empty() {
        property(field, "header.b", &dkim.signature_b);
    }
}

fn dmarc(field: &mut Folded, dmarc: &Dmarc) {
    method(field, "dmarc", dmarc.result);
    if !dmarc.domain.is_empty() {
        property(field, "header.from", &dmarc.domain);
    }
    if matches!(dmarc.result, MethodResult::Pass | MethodResult::Fail) {
        property(field, "policy.dmarc", dmarc.policy.word());
    }
}

/// Ends what stands before and begins a result in a new line.
fn method(field: &mut Folded, method: &str, result: MethodResult) {
    field.join(b";");
    field.fold();
    field.word(|out| {
        out.extend_from_slice(method.as_bytes());
        out.push(b'=');
        out.extend_from_slice(result.word().as_bytes());
    });
}

fn property(field: &mut Folded, name: &str, value: &str) {
    field.word(|out| {
        out.extend_from_slice(name.as_bytes());
        out.push(b'=');
        push_pvalue(out, value);
    });
}

/// Why a result is not a pass; a plain `none` needs no reason.
fn reason(field: &mut Folded, result: MethodResult, reason: &str) {
    if !reason.is_empty() && !matches!(result, MethodResult::Pass | MethodResult::None) {
        field.word(|out| {
            out.extend_from_slice(b"reason=");
            push_value(out, reason);
        });
    }
}
