//! The gate's rulings: at RCPT (served here, opted in, reverse DNS) with 10,000 domains in the directory, and at the end of data.

use std::hint::black_box;
use std::net::{IpAddr, Ipv6Addr};

use criterion::{Criterion, criterion_group};
use mx6_policy::facts::{CacheState, Dkim, Dmarc, DmarcPolicy, Facts, Iprev, MethodResult, PtrState, Spf, SpfIdentity};
use mx6_policy::{Client, Directory, DomainMode, EndOfData, Gate, Mode, PtrMode, RecipientClass, Ruling};

use crate::settings;

const CLIENT: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));

fn gate() -> Gate {
    let mut directory = Directory::default();
    for at in 0..10_000 {
        directory.insert(&format!("domain-{at}.example"), DomainMode::Accept).expect("a good name");
    }
    directory.insert("v4only.example", DomainMode::Reject).expect("a good name");
    Gate { directory, mode: Mode::Enforce, ptr: PtrMode::Exists, one_domain: false }
}

fn iprev() -> Iprev {
    let names = vec!["mail.sender.example".to_owned()];
    let confirmed = names.first().cloned();
    Iprev { ptr: PtrState::Exists, result: MethodResult::Pass, names, confirmed, cache: CacheState::Hit }
}

fn facts(result: MethodResult) -> Facts {
    let (domain, selector) = ("sender.example".to_owned(), "s".to_owned());
    let dkim = Dkim {
        result,
        domain: domain.clone(),
        selector,
        identity: None,
        algorithm: "rsa-sha256",
        signature_b: "AbCdEfGh".to_owned(),
        reason: "".into(),
        testing: false,
    };
    let spf = Spf {
        result,
        identity: SpfIdentity::MailFrom,
        domain: domain.clone(),
        reason: "".into(),
        explanation: None,
        cache: CacheState::Hit,
    };
    let dmarc = Dmarc { result, policy: DmarcPolicy::Reject, domain, cache: CacheState::Hit };
    Facts { client: CLIENT, iprev: iprev(), spf, dkim: vec![dkim], dkim_cache: CacheState::Hit, dmarc }
}

fn at_rcpt(gate: &Gate, client: &Client, iprev: &Iprev, domain: &str) -> Ruling {
    match gate.recipient(client, Some(domain)) {
        Ok(class) => gate.reverse_dns(client, class, gate.reverse_dns_state(iprev)),
        Err(ruling) => ruling,
    }
}

fn rulings(criterion: &mut Criterion) {
    let (gate, client, iprev) = (gate(), Client::new(CLIENT, &[]), iprev());
    let mut group = criterion.benchmark_group("policy");
    for (name, domain) in
        [("accepted", "domain-4711.example"), ("not opted in", "v4only.example"), ("not served", "elsewhere.example")]
    {
        group.bench_function(format!("RCPT, {name}"), |bencher| {
            bencher.iter(|| at_rcpt(&gate, &client, black_box(&iprev), black_box(domain)));
        });
    }
    for (name, facts) in [("accepted", facts(MethodResult::Pass)), ("refused", facts(MethodResult::Fail))] {
        let message = EndOfData { fault: None, received_fields: 3, facts: Some(&facts) };
        group.bench_function(format!("end of data, {name}"), |bencher| {
            bencher.iter(|| gate.end_of_data(&client, RecipientClass::Enforced, black_box(&message)));
        });
    }
    group.finish();
}

criterion_group!(name = benches; config = settings::quick(); targets = rulings);
