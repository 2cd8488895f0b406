//! Messages to send.

/// A small message; `id` makes it findable.
pub fn plain(from: &str, id: &str) -> String {
    with_body(from, id, "Hello,\r\n\r\nthis is a test.\r\n")
}

/// A message with that body (CRLF line ends, last line ended).
pub fn with_body(from: &str, id: &str, body: &str) -> String {
    format!(
        "From: <{from}>\r\nTo: <bob@open.example>\r\nSubject: {id}\r\nDate: Thu, 01 Jan 2026 00:00:00 +0000\r\nMessage-ID: <{id}@test.example>\r\n\r\n{body}"
    )
}

/// A body of at least `octets` octets in lines of 76 and CRLF.
pub fn body(octets: usize) -> String {
    let line = "0123456789".repeat(8)[..76].to_owned() + "\r\n";
    line.repeat(octets.div_ceil(line.len()))
}
