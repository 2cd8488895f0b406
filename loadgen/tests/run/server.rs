//! An SMTP server for tests: a real socket, a thread for each connection, and answers of the test's choosing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, RwLock};

use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What it says.
#[derive(Clone)]
pub(crate) struct Script {
    /// To EHLO.
    pub(crate) ehlo: &'static str,
    /// To MAIL.
    pub(crate) mail: &'static str,
    /// To RCPT.
    pub(crate) rcpt: &'static str,
    /// To the first RCPT of a transaction, if other than that.
    pub(crate) first_rcpt: Option<&'static str>,
    /// To the message.
    pub(crate) end: &'static str,
}

impl Script {
    /// Takes everything.
    pub(crate) const DEFAULT: Script = Script {
        ehlo: "250-test.example\r\n250-PIPELINING\r\n250 SIZE 1000000",
        mail: "250 2.1.0 Ok",
        rcpt: "250 2.1.5 Ok",
        first_rcpt: None,
        end: "250 2.0.0 Ok",
    };
}

/// A running server. It ends with the test's process.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// Whoever holds it for writing stalls every connection.
    pub(crate) stall: Arc<RwLock<()>>,
    /// Commands and messages of all connections, as they came.
    pub(crate) seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) fn start(script: Script) -> Server {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let server = Server { address: listener.local_addr().unwrap(), stall: Arc::default(), seen: Arc::default() };
        let (stall, seen) = (server.stall.clone(), server.seen.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let session = Session { script: script.clone(), stall: stall.clone(), seen: seen.clone() };
                std::thread::spawn(move || session.run(stream));
            }
        });
        server
    }

    /// How many lines begin so.
    pub(crate) fn count(&self, start: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|line| line.starts_with(start)).count()
    }
}

/// One connection.
struct Session {
    script: Script,
    stall: Arc<RwLock<()>>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Session {
    fn run(self, mut stream: TcpStream) -> Option<()> {
        stream.write_all(b"220 test.example ESMTP\r\n").ok()?;
        let (stream, starts_tls) = self.converse(stream)?;
        if starts_tls {
            let connection = ServerConnection::new(tls()).unwrap();
            self.converse(StreamOwned::new(connection, stream))?;
        }
        Some(())
    }

    /// To the end, or to STARTTLS.
    fn converse<S: Read + Write>(&self, stream: S) -> Option<(S, bool)> {
        let script = &self.script;
        let mut stream = BufReader::new(stream);
        let (mut in_message, mut first_rcpt) = (false, None);
        loop {
            let mut line = Vec::new();
            if stream.read_until(b'\n', &mut line).ok()? == 0 {
                return None;
            }
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if in_message {
                in_message = line != ".";
                if !in_message {
                    self.say(&mut stream, script.end)?;
                }
                continue;
            }
            let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
            self.seen.lock().unwrap().push(line);
            let takes = script.rcpt.starts_with('2') && script.mail.starts_with('2');
            let reply = match verb.as_str() {
                "EHLO" => script.ehlo,
                "STAR" => {
                    self.say(&mut stream, "220 2.0.0 go on")?;
                    return Some((stream.into_inner(), true));
                }
                "MAIL" => {
                    first_rcpt = script.first_rcpt;
                    script.mail
                }
                "RCPT" => first_rcpt.take().unwrap_or(script.rcpt),
                "DATA" if takes => {
                    in_message = true;
                    "354 go on"
                }
                "DATA" => "554 5.5.1 No valid recipients.",
                "QUIT" => {
                    self.say(&mut stream, "221 2.0.0 Bye")?;
                    return Some((stream.into_inner(), false));
                }
                _ => "250 2.0.0 Ok",
            };
            self.say(&mut stream, reply)?;
        }
    }

    fn say<S: Read + Write>(&self, stream: &mut BufReader<S>, reply: &str) -> Option<()> {
        let _going = self.stall.read().unwrap();
        stream.get_mut().write_all(format!("{reply}\r\n").as_bytes()).ok()
    }
}

/// A certificate that nobody would trust.
fn tls() -> Arc<ServerConfig> {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("certificate.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("key.pem")).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(builder.with_single_cert(vec![certificate], key).unwrap())
}
