//! What must hold at the end of every life.

use mx6_dkim::Header;

use super::resolver::Truth;
use super::{Attempt, Life, Taken, World};

pub(super) fn assert_all(world: &World, life: &Life) {
    for attempt in &life.attempts {
        let copies: Vec<&Taken> = life.taken.iter().filter(|taken| bears(&taken.octets, &attempt.token)).collect();
        assert_delivery(attempt, &copies);
        assert_verdict(world, attempt);
    }
    let bears_any = |taken: &Taken| life.attempts.iter().any(|attempt| bears(&taken.octets, &attempt.token));
    assert!(life.taken.iter().all(bears_any), "a message that nobody sent");
    let untold = life.taken.iter().filter(|taken| !taken.told).count() as u64;
    assert!(untold <= life.unknown, "{untold} outcomes unknown, {} recorded", life.unknown);
}

fn bears(message: &[u8], token: &str) -> bool {
    message.windows(token.len()).any(|window| window == token.as_bytes())
}

/// 250 only after a durable outcome; never two for one message; no refused message; nothing changed but by our fields; all or none.
fn assert_delivery(attempt: &Attempt, copies: &[&Taken]) {
    assert!(copies.len() <= 1, "{} was delivered {} times", attempt.token, copies.len());
    if attempt.is_accepted() {
        assert_eq!(copies.len(), 1, "{} was accepted and is lost", attempt.token);
    }
    let Some(taken) = copies.first() else { return };
    assert!(attempt.complete, "{} was delivered before its end", attempt.token);
    if let Some(reply) = attempt.reply.as_ref().filter(|_| !attempt.is_accepted()) {
        assert!(!taken.told, "{} was delivered and refused: {reply}", attempt.token);
        assert!(reply.starts_with('4'), "{} is perhaps delivered, but {reply}", attempt.token);
    }
    let mut recipients = taken.recipients.clone();
    recipients.sort();
    let mut promised = attempt.recipients.clone();
    promised.sort();
    assert_eq!(recipients, promised, "{}: not to whom it was promised", attempt.token);
    assert!(recipients.len() <= mx6_smtp::limits::RECIPIENTS_MAX);
    let ours = taken.octets.strip_suffix(attempt.expected.as_slice());
    let ours =
        ours.unwrap_or_else(|| panic!("{} was changed:\n{}", attempt.token, String::from_utf8_lossy(&taken.octets)));
    let header = Header::parse(ours);
    let names = header.fields().iter().map(|field| String::from_utf8_lossy(header.name(field)).into_owned());
    let names: Vec<String> = names.filter(|name| name != "Return-Path" && name != "Delivered-To").collect();
    assert_eq!(names[..2], ["Received", "Authentication-Results"], "{}", attempt.token);
    assert!(names.len() == 2 || names[2..] == ["X-MX6-Monitor"], "{names:?}");
}

/// What the gate said, against what the resolver would have said.
fn assert_verdict(world: &World, attempt: &Attempt) {
    let gated = attempt.client.is_ipv6();
    let on_trial = attempt.recipients.iter().any(|recipient| recipient.ends_with("@trial.test"));
    let ptr = world.resolver.reverse_dns(attempt.client.ip());
    let (spf, dkim) = (world.resolver.spf(attempt.sender), world.resolver.dkim(attempt.signed));
    for refusal in &attempt.refusals {
        if refusal.contains("4.7.25") {
            assert!(gated && ptr.may_be_no(), "{refusal}, but {ptr:?}");
        }
    }
    let reply = attempt.reply.as_deref().unwrap_or_default();
    if reply.contains("4.7.26") {
        assert!(gated && !on_trial, "{reply} is not for this client");
        assert!(spf.may_be_no() && dkim.may_be_no(), "{reply}, but SPF {spf:?}, DKIM {dkim:?}");
    }
    if reply.contains("4.4.3") {
        assert!(gated && !on_trial && spf != Truth::Yes && dkim != Truth::Yes, "{reply}, but {spf:?} {dkim:?}");
    }
    if attempt.is_accepted() && gated && !on_trial {
        assert!(ptr.may_be_yes(), "accepted, but reverse DNS {ptr:?}");
        assert!(spf.may_be_yes() || dkim.may_be_yes(), "accepted, but SPF {spf:?}, DKIM {dkim:?}");
    }
    for promised in &attempt.recipients {
        let served = ["@open.test", "@trial.test"].iter().any(|domain| promised.ends_with(domain));
        assert!(served || (!gated && promised.ends_with("@closed.test")), "{promised} was accepted");
    }
}
