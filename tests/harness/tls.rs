//! A client inside TLS: `openssl s_client`, which says EHLO and STARTTLS by itself and then passes octets on.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use super::certificates::Certificate;
use super::smtp::Client;

/// The program, and the client that speaks through it. The next reply is that to the first command inside TLS.
pub struct TlsClient {
    /// Inside TLS; EHLO is to be said anew.
    pub smtp: Client,
    openssl: Child,
}

impl TlsClient {
    /// Connects and goes into TLS, with further arguments for `s_client`.
    pub fn connect(to: SocketAddr, args: &[&str]) -> TlsClient {
        TlsClient::start(to, args.iter().map(OsString::from).collect())
    }

    /// As [`TlsClient::connect`], showing a certificate.
    pub fn with_certificate(to: SocketAddr, certificate: &Certificate, args: &[&str]) -> TlsClient {
        let mut all: Vec<OsString> = args.iter().map(OsString::from).collect();
        all.extend(["-cert".into(), certificate.chain.clone().into(), "-key".into(), certificate.key.clone().into()]);
        if let Some(intermediate) = &certificate.intermediate {
            all.extend(["-cert_chain".into(), intermediate.clone().into()]);
        }
        TlsClient::start(to, all)
    }

    fn start(to: SocketAddr, args: Vec<OsString>) -> TlsClient {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut command = Command::new("openssl");
        command.args(["s_client", "-quiet", "-starttls", "smtp", "-name", "client.example"]);
        command.arg("-connect").arg(to.to_string()).args(args);
        let stdin: OwnedFd = theirs.try_clone().unwrap().into();
        let stdout: OwnedFd = theirs.into();
        let openssl =
            command.stdin(Stdio::from(stdin)).stdout(Stdio::from(stdout)).stderr(Stdio::null()).spawn().unwrap();
        drop(command);
        TlsClient { smtp: Client::through(ours), openssl }
    }

    /// EHLO inside TLS.
    pub fn hello(&mut self, helo: &str) -> String {
        let reply = self.smtp.say(&format!("EHLO {helo}"));
        assert!(reply.starts_with("250"), "EHLO: {reply:?}");
        reply
    }
}

impl Drop for TlsClient {
    fn drop(&mut self) {
        let _ = self.openssl.kill();
        let _ = self.openssl.wait();
    }
}
