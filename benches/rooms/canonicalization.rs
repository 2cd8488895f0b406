//! Canonicalization, simple and relaxed, against mail-auth writing into a vector.
//!
//! The canonicalizers are private to `mx6-dkim`, so ours goes through its door: a body into a verification that never hashes it, which is
//! the canonical octets and their copy into the staging; and a header through `Verification::new`, which also scans it, parses
//! the signature and hashes the signed fields. Theirs does for the header nothing but canonicalize fields that were found before.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group};
use mail_auth::common::headers::{Writable, Writer};
use mail_auth::dkim::Canonicalization;
use mx6_dkim::{Header, Verification};

use crate::settings;

const NAMES: [(&str, Canonicalization); 2] =
    [("simple", Canonicalization::Simple), ("relaxed", Canonicalization::Relaxed)];

/// What a verification takes at once in the gate before it is hashed.
const PORTION_OCTETS: usize = 32 << 10;

/// Where mail-auth writes.
struct Octets(Vec<u8>);

impl Writer for Octets {
    fn write(&mut self, octets: &[u8]) {
        self.0.extend_from_slice(octets);
    }
}

fn header(canonicalization: &str) -> String {
    format!(
        "DKIM-Signature: v=1; a=rsa-sha256; c={canonicalization}/{canonicalization}; d=sender.example; s=s;\r\n\
\th=from:to:subject:date:message-id:mime-version:content-type;\r\n\tbh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\r\n\
From: Alice <alice@sender.example>\r\nTo: Bob <bob@open.example>,\r\n\tCarol  <carol@open.example>\r\n\
Subject: Your order   1234567 has been shipped\r\nDate: Mon, 03 Aug 2026 10:00:00 +0000\r\n\
Message-ID: <20260803100000.4f1c2b3d@sender.example>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    )
}

fn headers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("canonical header");
    for (name, theirs) in NAMES {
        let block = header(name);
        let parsed = Header::parse(block.as_bytes());
        assert_eq!(Verification::new(&parsed, 0).key_names().len(), 1, "the signature counts");
        let signed: Vec<(&[u8], &[u8])> = parsed
            .fields()
            .iter()
            .skip(1)
            .map(|field| (parsed.name(field), &parsed.whole(field)[parsed.name(field).len() + 1..]))
            .collect();
        group.throughput(Throughput::Bytes(block.len() as u64));
        group.bench_function(format!("{name}/mx6, with scan and hash"), |bencher| {
            bencher.iter(|| Verification::new(&Header::parse(black_box(block.as_bytes())), 0));
        });
        group.bench_function(format!("{name}/mail-auth"), |bencher| {
            let mut out = Octets(Vec::with_capacity(block.len()));
            bencher.iter(|| {
                out.0.clear();
                theirs.canonicalize_headers(black_box(&signed).iter().copied(), &mut out);
                out.0.len()
            });
        });
    }
    group.finish();
}

fn bodies(criterion: &mut Criterion) {
    let base64 = "VGhpcyBpcyBhIGxpbmUgb2YgYmFzZTY0IGFzIGl0IHN0YW5kcyBpbiBhdHRhY2htZW50cywgb2Y=\r\n";
    let text = "Plain text, with  two blanks here and there, and a blank at its end. \r\n";
    let mut group = criterion.benchmark_group("canonical body");
    for (name, theirs) in NAMES {
        let block = header(name);
        let header = Header::parse(block.as_bytes());
        for (kind, line) in [("base64", base64), ("text", text)] {
            let body = line.repeat(PORTION_OCTETS / line.len()).into_bytes();
            group.throughput(Throughput::Bytes(body.len() as u64));
            group.bench_function(format!("{name}, {kind}/mx6"), |bencher| {
                let feed = |verification: &mut Verification| verification.body(black_box(&body));
                bencher.iter_batched_ref(|| staged(&header, &body), feed, BatchSize::SmallInput);
            });
            group.bench_function(format!("{name}, {kind}/mail-auth"), |bencher| {
                let mut out = Octets(Vec::with_capacity(body.len()));
                bencher.iter(|| {
                    out.0.clear();
                    theirs.canonical_body(black_box(&body), 0).write(&mut out);
                    out.0.len()
                });
            });
        }
    }
    group.finish();
}

/// A verification whose staging has room for the body: it held it once and was hashed.
fn staged(header: &Header<'_>, body: &[u8]) -> Verification {
    let mut verification = Verification::new(header, 0);
    verification.body(body);
    let mut lanes: Vec<_> = verification.body_hashes().iter_mut().collect();
    assert_eq!(lanes.len(), 1);
    mx6_dkim::Kernels::PORTABLE.compress(&mut lanes);
    verification
}

criterion_group!(name = benches; config = settings::quick(); targets = headers, bodies);
