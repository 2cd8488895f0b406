//! Clients that send nothing, or an octet now and then, at every stage: each is cut off, in simulated time.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mx6_runtime::Stream;
use mx6_runtime::simulation::simulate;
use mx6_smtp::limits::{COMMAND_TIMEOUT_MS, DATA_BLOCK_TIMEOUT_MS};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::{ENVELOPE, ENVELOPE_REPLIES, Gate, RESOLVER, address, connect, discarding, replies, rest_octets, send};
use crate::Options;
use crate::connection::ListenerKind;
use crate::limits::{PROXY_HEADER_TIMEOUT, TLS_HANDSHAKE_TIMEOUT};
use crate::simulation::resolver;

/// How far a client goes before it becomes slow, and what is slow about it.
struct Row<'r> {
    kind: ListenerKind,
    greet_delay_ms: u64,
    /// What it begins with, and how many replies it hears.
    begin: &'r str,
    replies: usize,
    /// The handshake is done, and a record begun.
    in_tls: bool,
    /// What it goes on with, again and again: so many octets at a time, so often.
    drip: &'r [u8],
    piece: usize,
    every_ms: u64,
    /// When it must be cut off at the latest, and what it hears.
    cut_ms: u64,
    last: &'r str,
}

const DIRECT: Row<'_> = Row {
    kind: ListenerKind::Direct,
    greet_delay_ms: 0,
    begin: "",
    replies: 1,
    in_tls: false,
    drip: b"",
    piece: 1,
    every_ms: 1_000,
    cut_ms: COMMAND_TIMEOUT_MS,
    last: "421 4.4.2 ",
};

const HELLO: &str = "EHLO client.test\r\n";
const START_TLS: &str = "EHLO client.test\r\nSTARTTLS\r\n";
/// Before a chunk.
const RECIPIENT: &str = "EHLO client.test\r\nMAIL FROM:<a@evil.test>\r\nRCPT TO:<b@open.test>\r\n";
/// The longest record, whose first message is a ClientHello.
const CLIENT_HELLO: &[u8] = &[0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc, 3, 3];

#[test]
fn slow_clients_are_cut_off_at_every_stage() {
    let (in_header, in_body) = (ENVELOPE.to_owned() + "A: ", ENVELOPE.to_owned() + "A: b\r\n\r\n");
    let in_chunk = RECIPIENT.to_owned() + "BDAT 100000\r\nA: b\r\n\r\n";
    let between_chunks = RECIPIENT.to_owned() + "BDAT 6\r\nA: b\r\n";
    let in_refused_chunk = HELLO.to_owned() + "BDAT 100000\r\n";
    let header_ms = PROXY_HEADER_TIMEOUT.as_millis() as u64;
    let proxy = Row { kind: ListenerKind::Proxy, replies: 0, cut_ms: header_ms, last: "", ..DIRECT };
    let message = Row { replies: ENVELOPE_REPLIES, cut_ms: DATA_BLOCK_TIMEOUT_MS, ..DIRECT };
    let handshake_ms = TLS_HANDSHAKE_TIMEOUT.as_millis() as u64;
    let handshake = Row { begin: START_TLS, replies: 3, cut_ms: handshake_ms, last: "", ..DIRECT };
    let rows = [
        Row { ..proxy },
        Row { drip: b"PROXY TCP6 2001:db8::1", ..proxy },
        Row { begin: "PROXY TCP6 ", ..proxy },
        Row { ..DIRECT },
        Row { greet_delay_ms: 60_000, ..DIRECT },
        Row { greet_delay_ms: 60_000, begin: "EH", ..DIRECT },
        Row { begin: "E", drip: b"x", ..DIRECT },
        Row { begin: HELLO, replies: 2, ..DIRECT },
        Row { begin: "EHLO client.test\r\nMAIL", replies: 2, drip: b" ", every_ms: 10_000, ..DIRECT },
        Row { ..handshake },
        Row { drip: CLIENT_HELLO, ..handshake },
        Row { begin: START_TLS, replies: 3, in_tls: true, ..DIRECT },
        Row { begin: ENVELOPE, ..message },
        Row { begin: &in_header, drip: b"x", ..message },
        Row { begin: &in_body, drip: b"x\r\n", piece: 3, ..message },
        Row { begin: &in_chunk, replies: 4, ..message },
        Row { begin: &in_chunk, replies: 4, drip: b"x\r\n", piece: 3, ..message },
        Row { begin: &in_refused_chunk, replies: 2, drip: b"x", ..message },
        Row { begin: &between_chunks, replies: 5, ..message },
        Row { begin: &between_chunks, replies: 5, drip: b" ", ..message },
    ];
    let folder = tempfile::tempdir().unwrap();
    let certificate = certificate(folder.path());
    for (number, row) in rows.iter().enumerate() {
        let (last, lived_ms) = simulate(2, || live(row, folder.path(), certificate.clone()));
        let what = format!("row {number}, {:?} {:?}", row.begin, row.drip.escape_ascii().to_string());
        assert!(if row.last.is_empty() { last.is_empty() } else { last.starts_with(row.last) }, "{what}: {last:?}");
        assert!(lived_ms <= row.cut_ms + 2 * row.every_ms, "{what} lived for {lived_ms} ms");
        assert!(row.greet_delay_ms + lived_ms + row.every_ms >= row.cut_ms, "{what} was cut off after {lived_ms} ms");
    }
}

/// The last that the client hears, and how long it lived after it had become slow, in ms.
async fn live(row: &Row<'_>, folder: &Path, certificate: CertificateDer<'static>) -> (String, u64) {
    // Reverse DNS exists, and nothing else.
    resolver::serve_all(address(RESOLVER));
    let options = Options {
        proxy_from: vec!["2001:db8:1::/48".into()],
        greet_delay_ms: Some(row.greet_delay_ms),
        tls_cert: vec![folder.join("cert.pem")],
        tls_key: vec![folder.join("key.pem")],
        ..discarding()
    };
    let gate = Gate::start_on(options.check().unwrap(), row.kind);
    let mut stream = connect().await;
    send(&mut stream, row.begin.as_bytes()).await;
    replies(&mut stream, row.replies).await;
    let mut tls = None;
    let mut drip = row.drip.to_vec();
    if row.in_tls {
        let mut client = handshake(&mut stream, certificate).await;
        // Of this record not all will come.
        client.writer().write_all(&[b'x'; 4_000]).unwrap();
        drip.clear();
        client.write_tls(&mut drip).unwrap();
        tls = Some(client);
    }
    let begun_ms = mx6_runtime::now_ms();
    for piece in drip.chunks(row.piece).chain(std::iter::repeat(drip.as_slice())) {
        mx6_runtime::sleep(Duration::from_millis(row.every_ms)).await;
        let lives = mx6_runtime::now_ms() - begun_ms < 2 * row.cut_ms;
        let piece = &piece[..piece.len().min(row.piece)];
        if !lives || !stream.is_quiet() || !send(&mut stream, piece).await {
            break;
        }
    }
    let lived_ms = mx6_runtime::now_ms() - begun_ms;
    let mut last = rest_octets(&mut stream).await;
    if let Some(client) = &mut tls {
        take(client, &last);
        last.clear();
        // Its end is no clean one for rustls.
        let _ = client.reader().read_to_end(&mut last);
    }
    gate.end().await;
    (String::from_utf8(last).unwrap(), lived_ms)
}

/// A certificate and its key in `folder`.
fn certificate(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["mx.test".to_owned()]).unwrap();
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

/// The client's part of a handshake.
async fn handshake(stream: &mut Stream, certificate: CertificateDer<'static>) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("mx.test").unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut buffer = [0; 4_096];
    loop {
        let mut octets = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut octets).unwrap();
        }
        assert!(send(stream, &octets).await);
        if !client.is_handshaking() {
            break;
        }
        let octets = stream.read(&mut buffer).await.unwrap();
        take(&mut client, &buffer[..octets]);
    }
    // The ticket.
    let octets = stream.read(&mut buffer).await.unwrap();
    take(&mut client, &buffer[..octets]);
    client
}

fn take(client: &mut ClientConnection, mut octets: &[u8]) {
    while !octets.is_empty() {
        client.read_tls(&mut octets).unwrap();
        client.process_new_packets().unwrap();
    }
}
