//! DKIM of one message, key at hand: header scanned, signed fields hashed, body canonicalized and hashed, signature verified; against mail-auth
//! with the same key parsed in its cache. Its part begins with parsing the message, which is where it hashes the body.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group};
use mail_auth::common::parse::TxtRecordParser;
use mail_auth::common::verify::DomainKey;
use mail_auth::{AuthenticatedMessage, DkimResult as TheirResult, MessageAuthenticator, Parameters, Txt};
use mx6_dkim::{DkimResult, KeyAnswer, KeyTxt};

use crate::mail_auth_records::{Records, ready};
use crate::settings;
use crate::signed_mail::{KEY_NAME, Signer, arrived};

fn by_us(message: &[u8], key: &Arc<KeyTxt>) -> bool {
    let results = arrived(message).finish(|_| KeyAnswer::Found(Arc::clone(key)));
    results.iter().any(|signature| signature.result == DkimResult::Pass)
}

fn by_them(message: &[u8], authenticator: &MessageAuthenticator, records: &Records) -> bool {
    let Some(parsed) = AuthenticatedMessage::parse_with_opts(message, None, false) else { return false };
    let outputs = ready(authenticator.verify_dkim(Parameters::new(&parsed).with_txt_cache(records)));
    outputs.iter().any(|output| *output.result() == TheirResult::Pass)
}

fn messages(criterion: &mut Criterion) {
    let authenticator = MessageAuthenticator::new_cloudflare().expect("no network is needed for that");
    let mut group = criterion.benchmark_group("dkim");
    for (name, signer) in [("rsa-2048", Signer::rsa_2048()), ("ed25519", Signer::ed25519())] {
        let ours = Arc::new(KeyTxt::parse(&[signer.record.clone().into_bytes()]));
        let theirs = DomainKey::parse(signer.record.as_bytes()).expect("a good record");
        let theirs = HashMap::from([(format!("{KEY_NAME}.").into_boxed_str(), Txt::DomainKey(Arc::new(theirs)))]);
        let theirs = Records(theirs);
        for (size, octets) in [("4 KB", 4_000), ("50 KB", 50_000)] {
            let message = signer.message(octets);
            assert!(by_us(&message, &ours), "{name} {size}");
            assert!(by_them(&message, &authenticator, &theirs), "{name} {size}");
            group.throughput(Throughput::Bytes(message.len() as u64));
            group.bench_function(format!("{name}, {size}/mx6"), |bencher| {
                bencher.iter(|| by_us(black_box(&message), &ours));
            });
            group.bench_function(format!("{name}, {size}/mail-auth"), |bencher| {
                bencher.iter(|| by_them(black_box(&message), &authenticator, &theirs));
            });
        }
    }
    group.finish();
}

criterion_group!(name = benches; config = settings::quick(); targets = messages);
