//! Every row of the rule table, byte for byte, and the order between them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::IpAddr;

use mx6_policy::facts::{CacheState, Dkim, Dmarc, DmarcPolicy, Facts, Iprev, MethodResult, PtrState, Spf, SpfIdentity};
use mx6_policy::{Client, Directory, EndOfData, Gate, Mode, PtrMode, RecipientClass, Rule, Ruling};
use mx6_smtp::{MessageFault, Verdict};

const IPV6: &str = "2001:db8:0:0:0:0:0:1";

fn gate(mode: Mode, ptr: PtrMode) -> Gate {
    let mut directory = Directory::default();
    for (domain, choice) in [("open.example", "accept"), ("v4only.example", "reject"), ("trial.example", "monitor")] {
        directory.insert(domain, choice.parse().unwrap()).unwrap();
    }
    Gate { directory, mode, ptr, one_domain: false }
}

fn client(address: &str) -> Client {
    Client::new(address.parse().unwrap(), &["2001:db8:c::/48".parse().unwrap()])
}

fn iprev(ptr: PtrState, result: MethodResult) -> Iprev {
    Iprev { ptr, result, names: vec![], confirmed: None, cache: CacheState::Unused }
}

fn facts(spf: MethodResult, dkim: &[MethodResult]) -> Facts {
    let client: IpAddr = IPV6.parse().unwrap();
    Facts {
        client,
        iprev: iprev(PtrState::Exists, MethodResult::Pass),
        spf: Spf {
            result: spf,
            identity: SpfIdentity::MailFrom,
            domain: "sender.example".into(),
            reason: "".into(),
            explanation: None,
            cache: CacheState::Unused,
        },
        dkim: dkim
            .iter()
            .map(|result| Dkim {
                result: *result,
                domain: "sender.example".into(),
                selector: "s".into(),
                identity: None,
                algorithm: "rsa-sha256",
                signature_b: String::new(),
                reason: "".into(),
                testing: false,
            })
            .collect(),
        dkim_cache: CacheState::Unused,
        dmarc: Dmarc {
            result: MethodResult::None,
            policy: DmarcPolicy::None,
            domain: String::new(),
            cache: CacheState::Unused,
        },
    }
}

fn wire(ruling: &Ruling) -> String {
    let mut out = Vec::new();
    if let Some(reply) = ruling.verdict.reply() {
        reply.write_to(&mut out);
    }
    String::from_utf8(out).unwrap()
}

#[test]
fn recipients() {
    use RecipientClass::{Enforced, Exempt, Monitored};
    type Expected = Result<RecipientClass, &'static str>;
    let denied: Expected = Err("550 5.7.1 Relaying denied, [elsewhere.example] is not served here.\r\n");
    let v4only: Expected = Err("550 5.2.1 Service unavailable, [v4only.example] does not accept email over IPv6.\r\n");
    let cases: &[(&str, Mode, Option<&str>, Expected)] = &[
        (IPV6, Mode::Enforce, Some("open.example"), Ok(Enforced)),
        (IPV6, Mode::Enforce, Some("trial.example"), Ok(Monitored)),
        (IPV6, Mode::Enforce, Some("elsewhere.example"), denied),
        (IPV6, Mode::Enforce, Some("v4only.example"), v4only),
        (IPV6, Mode::Enforce, None, Ok(Enforced)),
        (IPV6, Mode::Monitor, Some("open.example"), Ok(Monitored)),
        (IPV6, Mode::Monitor, Some("v4only.example"), v4only),
        (IPV6, Mode::Monitor, Some("elsewhere.example"), denied),
        ("192.0.2.1", Mode::Enforce, Some("v4only.example"), Ok(Exempt)),
        ("192.0.2.1", Mode::Enforce, Some("elsewhere.example"), denied),
        ("::ffff:192.0.2.1", Mode::Enforce, Some("v4only.example"), Ok(Exempt)),
        ("2001:db8:c::9", Mode::Enforce, Some("v4only.example"), Ok(Exempt)),
        ("2001:db8:c::9", Mode::Enforce, Some("elsewhere.example"), denied),
        ("::1", Mode::Enforce, Some("v4only.example"), v4only),
    ];
    for (address, mode, domain, expected) in cases {
        let got = gate(*mode, PtrMode::Exists).recipient(&client(address), *domain);
        let got = got.map_err(|ruling| wire(&ruling));
        assert_eq!(got, (*expected).map_err(str::to_owned), "{address} {mode:?} {domain:?}");
    }
}

#[test]
fn reverse_dns() {
    use MethodResult::{Fail, Pass, PermError, TempError};
    const MISSING: &str =
        "450 4.7.25 Service unavailable, sending IPv6 address [2001:db8::1] must have reverse DNS record.\r\n";
    const FAILED: &str =
        "451 4.4.3 Temporary DNS failure, reverse DNS record of [2001:db8::1] could not be looked up.\r\n";
    for (ptr_mode, state, result, expected) in [
        (PtrMode::Exists, PtrState::Exists, Pass, ""),
        (PtrMode::Exists, PtrState::Exists, Fail, ""),
        (PtrMode::Exists, PtrState::Exists, TempError, ""),
        (PtrMode::Exists, PtrState::Missing, PermError, MISSING),
        (PtrMode::Exists, PtrState::TempFail, TempError, FAILED),
        (PtrMode::Fcrdns, PtrState::Exists, Pass, ""),
        (PtrMode::Fcrdns, PtrState::Exists, Fail, MISSING),
        (PtrMode::Fcrdns, PtrState::Exists, TempError, FAILED),
        (PtrMode::Fcrdns, PtrState::Missing, PermError, MISSING),
        (PtrMode::Fcrdns, PtrState::TempFail, TempError, FAILED),
    ] {
        let gate = gate(Mode::Enforce, ptr_mode);
        let state = gate.reverse_dns_state(&iprev(state, result));
        let enforced = gate.reverse_dns(&client(IPV6), RecipientClass::Enforced, state);
        assert_eq!(wire(&enforced), expected, "{ptr_mode:?} {result:?}");
        let monitored = gate.reverse_dns(&client(IPV6), RecipientClass::Monitored, state);
        assert_eq!(monitored.verdict, Verdict::Accept);
        assert_eq!(monitored.would.is_some(), !expected.is_empty());
        let exempt = gate.reverse_dns(&client("192.0.2.1"), RecipientClass::Exempt, state);
        assert_eq!((exempt.verdict, exempt.would), (Verdict::Accept, None));
    }
}

#[test]
fn end_of_data() {
    use MethodResult::{Fail, Neutral, None as NoResult, Pass, PermError, Policy, SoftFail, TempError};
    const REFUSED: &str = "450 4.7.26 Service unavailable, message sent over IPv6 [2001:db8::1] must pass either SPF or DKIM validation.\r\n";
    const DEFERRED: &str =
        "451 4.4.3 Temporary DNS failure, SPF and DKIM of the message from [2001:db8::1] could not be checked.\r\n";
    let cases: &[(MethodResult, &[MethodResult], &str)] = &[
        (Pass, &[], ""),
        (Fail, &[Pass], ""),
        (Fail, &[Fail, Pass], ""),
        (TempError, &[Pass], ""),
        (Pass, &[TempError], ""),
        (Fail, &[], REFUSED),
        (SoftFail, &[Fail], REFUSED),
        (Neutral, &[Policy], REFUSED),
        (NoResult, &[PermError, Neutral], REFUSED),
        (PermError, &[], REFUSED),
        (TempError, &[], DEFERRED),
        (TempError, &[Fail], DEFERRED),
        (Fail, &[Fail, TempError], DEFERRED),
    ];
    let gate = gate(Mode::Enforce, PtrMode::Exists);
    for (spf, dkim, expected) in cases {
        let facts = facts(*spf, dkim);
        let message = EndOfData { fault: None, received_fields: 50, facts: Some(&facts) };
        let ruling = gate.end_of_data(&client(IPV6), RecipientClass::Enforced, &message);
        assert_eq!(wire(&ruling), *expected, "{spf:?} {dkim:?}");
        for class in [RecipientClass::Monitored, RecipientClass::Exempt] {
            assert_eq!(gate.end_of_data(&client(IPV6), class, &message).verdict, Verdict::Accept);
        }
    }
}

#[test]
fn faults_spare_nobody() {
    let gate = gate(Mode::Monitor, PtrMode::Exists);
    let facts = facts(MethodResult::Pass, &[]);
    for (fault, received_fields, expected) in [
        (Some(MessageFault::BareCrOrLf), 0, "550 5.6.11 Message contains bare CR or LF.\r\n"),
        (Some(MessageFault::TooLarge), 0, "552 5.3.4 Message exceeds the size limit.\r\n"),
        (Some(MessageFault::HeaderTooLarge), 0, "552 5.3.4 Header section exceeds the size limit.\r\n"),
        (None, 51, "554 5.4.6 Mail loop detected.\r\n"),
    ] {
        for class in [RecipientClass::Enforced, RecipientClass::Monitored, RecipientClass::Exempt] {
            let message = EndOfData { fault, received_fields, facts: Some(&facts) };
            assert_eq!(wire(&gate.end_of_data(&client(IPV6), class, &message)), expected);
        }
    }
}

#[test]
fn classes_mix_only_when_spf_settles_it() {
    use RecipientClass::{Enforced, Monitored};
    let gate = gate(Mode::Enforce, PtrMode::Exists);
    for (first, next, spf_passed, accepted) in [
        (Enforced, Enforced, false, true),
        (Monitored, Monitored, false, true),
        (Enforced, Monitored, false, false),
        (Monitored, Enforced, false, false),
        (Enforced, Monitored, true, true),
        (Monitored, Enforced, true, true),
    ] {
        let ruling = gate.mixing(first, next, spf_passed);
        assert_eq!(ruling.verdict == Verdict::Accept, accepted, "{first:?} {next:?} {spf_passed}");
        if !accepted {
            assert!(wire(&ruling).starts_with("452 4.5.3 "));
            assert_eq!(ruling.rule, Some(Rule::MixedModes));
        }
    }
}

#[test]
fn one_domain_a_transaction() {
    let many = gate(Mode::Enforce, PtrMode::Exists);
    let one = Gate { one_domain: true, ..many.clone() };
    for (gate, first, next, rule) in [
        (&many, "a.example", "b.example", None),
        (&one, "a.example", "a.example", None),
        (&one, "a.example", "b.example", Some(Rule::MixedDomains)),
    ] {
        let ruling = gate.joining(first, next);
        assert_eq!(ruling.rule, rule, "{first} {next}");
        let reply = ruling.verdict.reply().map(ToString::to_string).unwrap_or_default();
        assert_eq!(reply.starts_with("452 4.5.3 This recipient needs a transaction"), rule.is_some(), "{reply}");
    }
}
