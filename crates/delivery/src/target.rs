//! Where messages go, as the operator writes it: `smtp://host:port` or `lmtp://host:port` (several, in order of preference),
//! `lmtp:/path/to/socket`, `maildir:PATH` or `discard:`.
//!
//! One kind only: a message that goes to two kinds of place would have two outcomes and one reply.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The place for all accepted messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// SMTP next hops, the first that works is used.
    Smtp(Vec<NextHop>),
    /// LMTP next hops (RFC 2033), used in the same way.
    Lmtp(Vec<NextHop>),
    /// A Maildir; one copy for each recipient.
    Maildir(PathBuf),
    /// Nowhere: every message is accepted and dropped. For measuring.
    Discard,
}

impl Target {
    /// Reads the values of `--deliver`, in their order.
    ///
    /// # Errors
    /// The operator's: a value that is none of the forms, no value, or kinds that do not go together.
    pub fn parse_all<S: AsRef<str>>(values: &[S]) -> Result<Target, TargetError> {
        let mut target = None;
        for value in values {
            let next = parse(value.as_ref())?;
            target = Some(match (target, next) {
                (None, next) => next,
                (Some(Target::Smtp(mut hosts)), Target::Smtp(more)) => {
                    hosts.extend(more);
                    Target::Smtp(hosts)
                }
                (Some(Target::Lmtp(mut hosts)), Target::Lmtp(more)) => {
                    hosts.extend(more);
                    Target::Lmtp(hosts)
                }
                (Some(before), next) if before.kind() == next.kind() => {
                    return Err(TargetError::Repeated { kind: next.kind() });
                }
                (Some(before), next) => {
                    return Err(TargetError::Mixed { first: before.kind(), second: next.kind() });
                }
            });
        }
        target.ok_or(TargetError::None)
    }

    fn kind(&self) -> &'static str {
        match self {
            Target::Smtp(_) => "smtp",
            Target::Lmtp(_) => "lmtp",
            Target::Maildir(_) => "maildir",
            Target::Discard => "discard",
        }
    }
}

/// One next hop: a name or an address, and a port; or the path of a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextHop {
    host: Host,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    Name(String),
    Socket(Arc<Path>),
}

impl NextHop {
    /// The address, when it was given as one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self.host {
            Host::Address(address) => Some(address),
            Host::Name(_) | Host::Socket(_) => None,
        }
    }

    /// The name, when it was given as one: the system's resolver turns it into addresses.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.host {
            Host::Address(_) | Host::Socket(_) => None,
            Host::Name(name) => Some(name),
        }
    }

    /// The path, when it is a Unix socket.
    #[must_use]
    pub fn socket(&self) -> Option<&Arc<Path>> {
        match &self.host {
            Host::Address(_) | Host::Name(_) => None,
            Host::Socket(path) => Some(path),
        }
    }

    /// The TCP port; 0 of a Unix socket.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            Host::Address(IpAddr::V4(address)) => write!(f, "{address}:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
            Host::Socket(path) => path.display().fmt(f),
        }
    }
}

/// Why a target cannot be used; always the operator's to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// No value at all.
    #[error("no delivery target: give smtp://host:port, lmtp://host:port, lmtp:/socket, maildir:PATH or discard:")]
    None,
    /// Not one of the forms.
    #[error(
        "delivery target `{0}` is none of smtp://host:port, lmtp://host:port, lmtp:/socket, maildir:PATH, discard:"
    )]
    Unknown(String),
    /// `smtp://` with something that is no host and port behind it.
    #[error(
        "delivery target `{0}`: after smtp:// stands host:port, 192.0.2.1:port or [2001:db8::1]:port (port 25 when left out)"
    )]
    NextHop(String),
    /// `maildir:` without a path.
    #[error("delivery target `{0}`: after maildir: stands the path of a directory")]
    Path(String),
    /// `lmtp:` with something that is neither host and port nor a path behind it.
    #[error("delivery target `{0}`: after lmtp: stands //host:port (port 24 when left out) or /path/to/socket")]
    Lmtp(String),
    /// Two kinds.
    #[error("delivery targets of different kinds ({first}: and {second}:) cannot be mixed: a message has one outcome")]
    Mixed {
        /// The kind of the values before.
        first: &'static str,
        /// The kind of the value that does not fit.
        second: &'static str,
    },
    /// A kind that can be given once.
    #[error("delivery target {kind}: was given twice")]
    Repeated {
        /// That kind.
        kind: &'static str,
    },
}

fn parse(value: &str) -> Result<Target, TargetError> {
    let Some((scheme, rest)) = value.split_once(':') else { return Err(TargetError::Unknown(value.to_owned())) };
    match scheme.to_ascii_lowercase().as_str() {
        "smtp" => {
            let host = rest.strip_prefix("//").and_then(|rest| next_hop(rest, SMTP_PORT));
            host.map(|host| Target::Smtp(vec![host])).ok_or_else(|| TargetError::NextHop(value.to_owned()))
        }
        "lmtp" => {
            let host = match rest.strip_prefix("//") {
                Some(rest) => next_hop(rest, LMTP_PORT),
                None => rest.starts_with('/').then(|| NextHop { host: Host::Socket(Path::new(rest).into()), port: 0 }),
            };
            host.map(|host| Target::Lmtp(vec![host])).ok_or_else(|| TargetError::Lmtp(value.to_owned()))
        }
        "maildir" if rest.is_empty() => Err(TargetError::Path(value.to_owned())),
        "maildir" => Ok(Target::Maildir(PathBuf::from(rest))),
        "discard" if rest.is_empty() => Ok(Target::Discard),
        _ => Err(TargetError::Unknown(value.to_owned())),
    }
}

fn next_hop(text: &str, default_port: u16) -> Option<NextHop> {
    let text = text.strip_suffix('/').unwrap_or(text);
    let (host, port) = if let Some(bracketed) = text.strip_prefix('[') {
        let (address, rest) = bracketed.split_once(']')?;
        let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) };
        (Host::Address(IpAddr::V6(address.parse::<Ipv6Addr>().ok()?)), port)
    } else {
        let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
        (host_name(name)?, port)
    };
    let port = port.map_or(Ok(default_port), str::parse).ok().filter(|port| *port > 0)?;
    Some(NextHop { host, port })
}

fn host_name(name: &str) -> Option<Host> {
    if let Ok(address) = name.parse() {
        return Some(Host::Address(IpAddr::V4(address)));
    }
    let fits = name.len() <= 253
        && name.split('.').all(|label| {
            !label.is_empty()
                && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_')
        });
    // A last label of digits is a mistyped address, not a name.
    let numeric = name.rsplit('.').next().is_none_or(|label| label.bytes().all(|octet| octet.is_ascii_digit()));
    (fits && !numeric).then(|| Host::Name(name.to_ascii_lowercase()))
}

const SMTP_PORT: u16 = 25;
/// IANA keeps 24 for "any private mail system", and LMTP servers use it; RFC 2033 §5 forbids 25.
const LMTP_PORT: u16 = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let cases: [(&[&str], &str); 29] = [
            (&["smtp://[::1]:2526"], "smtp [::1]:2526"),
            (&["smtp://127.0.0.1:2526"], "smtp 127.0.0.1:2526"),
            (&["smtp://Filter.example"], "smtp filter.example:25"),
            (&["smtp://[2001:db8::1]"], "smtp [2001:db8::1]:25"),
            (&["SMTP://a:1/", "smtp://b_c:2"], "smtp a:1 b_c:2"),
            (&["maildir:./mail"], "maildir ./mail"),
            (&["maildir:/var/mail:x"], "maildir /var/mail:x"),
            (&["discard:"], "discard"),
            (&[], "no delivery target"),
            (&["smtp"], "none of"),
            (&["imap://x"], "none of"),
            (&["discard:x"], "none of"),
            (&["maildir:"], "after maildir:"),
            (&["lmtp://x", "lmtp:/run/lmtp", "LMTP://[::1]:2424/"], "lmtp x:24 /run/lmtp [::1]:2424"),
            (&["lmtp:socket"], "after lmtp:"),
            (&["lmtp://"], "after lmtp:"),
            (&["lmtp://x", "smtp://x"], "(lmtp: and smtp:) cannot be mixed"),
            (&["smtp:"], "after smtp://"),
            (&["smtp://"], "after smtp://"),
            (&["smtp://::1"], "after smtp://"),
            (&["smtp://[::1"], "after smtp://"),
            (&["smtp://[::1]25"], "after smtp://"),
            (&["smtp://a:0"], "after smtp://"),
            (&["smtp://a:70000"], "after smtp://"),
            (&["smtp://1.2.3:25"], "after smtp://"),
            (&["smtp://a b"], "after smtp://"),
            (&["smtp://a", "discard:"], "(smtp: and discard:) cannot be mixed"),
            (&["discard:", "discard:"], "discard: was given twice"),
            (&["maildir:a", "maildir:b"], "maildir: was given twice"),
        ];
        for (values, expected) in cases {
            let text = match Target::parse_all(values) {
                Ok(Target::Smtp(hosts)) => hosts.iter().fold("smtp".to_owned(), |text, host| format!("{text} {host}")),
                Ok(Target::Lmtp(hosts)) => hosts.iter().fold("lmtp".to_owned(), |text, host| format!("{text} {host}")),
                Ok(Target::Maildir(path)) => format!("maildir {}", path.display()),
                Ok(Target::Discard) => "discard".to_owned(),
                Err(error) => error.to_string(),
            };
            let matches = if Target::parse_all(values).is_ok() { text == expected } else { text.contains(expected) };
            assert!(matches, "{values:?}: {text}");
        }
    }
}
