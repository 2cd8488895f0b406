//! Decision records to the systemd journal: each record is the message of an entry, and what is looked for most is a field of its own
//! (`journalctl MX6_RULE=reverse-dns`).
//!
//! The journal's native protocol: one datagram an entry, each field its name, an octet that ends a line, the value's length as 64 bits (the least octet
//! first), the value, and an octet that ends a line.

use std::borrow::Cow;
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// A sink of record lines.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    socket: UnixDatagram,
    entry: Vec<u8>,
}

/// What becomes fields.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    session: Cow<'a, str>,
    #[serde(borrow)]
    client: Cow<'a, str>,
    #[serde(borrow)]
    domain: Cow<'a, str>,
    #[serde(borrow)]
    stage: Cow<'a, str>,
    #[serde(borrow)]
    rule: Cow<'a, str>,
    #[serde(borrow)]
    verdict: Cow<'a, str>,
}

impl Journal {
    /// Connects to the journal's socket.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn connect(path: &Path) -> io::Result<Journal> {
        Ok(Journal { path: path.to_owned(), socket: connected(path)?, entry: Vec::new() })
    }

    fn send(&mut self, line: &[u8]) -> io::Result<()> {
        self.entry.clear();
        self.field("MESSAGE", line);
        self.field("SYSLOG_IDENTIFIER", b"mx6");
        // Lines about lost records have no fields.
        match serde_json::from_slice::<Fields<'_>>(line) {
            Ok(fields) => {
                // syslog(3): informational if accepted, else a notice.
                self.field("PRIORITY", if fields.verdict == "accept" { b"6" } else { b"5" });
                self.field("MX6_SESSION", fields.session.as_bytes());
                self.field("MX6_CLIENT", fields.client.as_bytes());
                self.field("MX6_DOMAIN", fields.domain.as_bytes());
                self.field("MX6_STAGE", fields.stage.as_bytes());
                self.field("MX6_RULE", fields.rule.as_bytes());
                self.field("MX6_VERDICT", fields.verdict.as_bytes());
            }
            Err(_) => self.field("PRIORITY", b"4"),
        }
        if self.socket.send(&self.entry).is_err() {
            // It was started anew: its socket is another one.
            self.socket = connected(&self.path)?;
            self.socket.send(&self.entry)?;
        }
        Ok(())
    }

    fn field(&mut self, name: &str, value: &[u8]) {
        self.entry.extend_from_slice(name.as_bytes());
        self.entry.push(b'\n');
        self.entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
        self.entry.extend_from_slice(value);
        self.entry.push(b'\n');
    }
}

fn connected(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    Ok(socket)
}

impl Write for Journal {
    /// Sends each whole line of `lines` as an entry.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let mut written = 0;
        for line in lines.split_inclusive(|octet| *octet == b'\n') {
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            if !text.is_empty()
                && let Err(error) = self.send(text)
            {
                // Of several, those before were sent.
                return if written > 0 { Ok(written) } else { Err(error) };
            }
            written += line.len();
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where systemd-journald takes entries.
pub(crate) const SOCKET: &str = "/run/systemd/journal/socket";

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(entry: &[u8]) -> Vec<(String, String)> {
        let (mut rest, mut fields) = (entry, Vec::new());
        while !rest.is_empty() {
            let end = rest.iter().position(|octet| *octet == b'\n').unwrap();
            let name = String::from_utf8(rest[..end].to_vec()).unwrap();
            let length = u64::from_le_bytes(rest[end + 1..end + 9].try_into().unwrap()) as usize;
            fields.push((name, String::from_utf8(rest[end + 9..end + 9 + length].to_vec()).unwrap()));
            assert_eq!(rest[end + 9 + length], b'\n');
            rest = &rest[end + 10 + length..];
        }
        fields
    }

    #[test]
    fn entries() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        assert!(Journal::connect(&path).is_err());
        let journald = UnixDatagram::bind(&path).unwrap();
        let mut journal = Journal::connect(&path).unwrap();
        let record = r#"{"session":"s\n1","client":"::1","domain":"d.example","stage":"rcpt","rule":"reverse-dns","verdict":"defer"}"#;
        let lines = format!("\n{record}\n{{\"records_lost\":3}}\n");
        assert_eq!(journal.write(lines.as_bytes()).unwrap(), lines.len());
        let mut entry = [0; 4096];
        let octets = journald.recv(&mut entry).unwrap();
        let told = fields(&entry[..octets]);
        let value = |name: &str| told.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str());
        assert_eq!(value("MESSAGE"), Some(record));
        assert_eq!(value("MX6_SESSION"), Some("s\n1"));
        assert_eq!([value("PRIORITY"), value("MX6_RULE")], [Some("5"), Some("reverse-dns")]);
        let octets = journald.recv(&mut entry).unwrap();
        assert_eq!(fields(&entry[..octets])[0].1, "{\"records_lost\":3}");
        drop(journald);
        assert!(journal.write(&lines.as_bytes()[1..]).is_err());
        std::fs::remove_file(&path).unwrap();
        let journald = UnixDatagram::bind(&path).unwrap();
        assert_eq!(journal.write(lines.as_bytes()).unwrap(), lines.len());
        assert!(journald.recv(&mut entry).unwrap() > record.len());
    }
}
