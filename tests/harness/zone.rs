//! Zone files.
//!
//! The cast is that of `examples/quickstart.zone`, which its head tells; a test that needs more appends to it.

use std::net::IpAddr;
use std::path::PathBuf;

/// Mail server of pass.example: PTR, forward record and SPF agree.
pub const PASS: &str = "2001:db8:1::25";
/// Has reverse DNS; no SPF record names it.
pub const FORWARDER: &str = "2001:db8:1::66";
/// Has reverse DNS whose name resolves to another address.
pub const MISMATCH: &str = "2001:db8:1::77";
/// No PTR record.
pub const NO_PTR: &str = "2001:db8:1::dead";
/// PTR lookups end in SERVFAIL.
pub const PTR_FAILS: &str = "2001:db8:2::25";
/// An IPv4 client in the SPF record of pass.example.
pub const PASS_V4: &str = "192.0.2.25";

/// The quickstart zone, with `more` records after it. Names in `more` are absolute, or below `example.`.
pub fn quickstart_with(more: &str) -> String {
    let quickstart = std::fs::read_to_string(workspace().join("examples/quickstart.zone")).unwrap();
    format!("{quickstart}\n$ORIGIN example.\n{more}\n")
}

/// The quickstart zone.
pub fn quickstart() -> String {
    quickstart_with("")
}

/// The workspace this test was built from.
pub fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The name that a PTR record of `address` has, with final dot.
pub fn reverse_name(address: &str) -> String {
    match address.parse().unwrap() {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa.")
        }
        IpAddr::V6(address) => {
            let nibbles = address.octets().into_iter().rev().flat_map(|octet| [octet & 15, octet >> 4]);
            nibbles.map(|nibble| format!("{nibble:x}.")).collect::<String>() + "ip6.arpa."
        }
    }
}

/// One TXT record of any length, as zone text.
pub fn txt(name: &str, text: &str) -> String {
    let strings: Vec<String> =
        text.as_bytes().chunks(250).map(|chunk| format!("\"{}\"", String::from_utf8_lossy(chunk))).collect();
    format!("{name} 300 IN TXT {}\n", strings.join(" "))
}
