//! An SMTP server for tests: a real socket, a thread for each connection, and answers of the test's choosing.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, RwLock};

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

impl Default for Script {
    fn default() -> Script {
        Script {
            ehlo: "250-test.example\r\n250-PIPELINING\r\n250 SIZE 1000000",
            mail: "250 2.1.0 Ok",
            rcpt: "250 2.1.5 Ok",
            first_rcpt: None,
            end: "250 2.0.0 Ok",
        }
    }
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
                let (script, stall, seen) = (script.clone(), stall.clone(), seen.clone());
                std::thread::spawn(move || converse(&stream, &script, &stall, &seen));
            }
        });
        server
    }

    /// How many lines begin so.
    pub(crate) fn count(&self, start: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|line| line.starts_with(start)).count()
    }
}

fn converse(stream: &TcpStream, script: &Script, stall: &RwLock<()>, seen: &Mutex<Vec<String>>) -> Option<()> {
    let mut lines = BufReader::new(stream);
    let say = |reply: &str| {
        let _going = stall.read().unwrap();
        { stream }.write_all(format!("{reply}\r\n").as_bytes()).ok()
    };
    say("220 test.example ESMTP")?;
    let (mut in_message, mut first_rcpt) = (false, None);
    loop {
        let mut line = Vec::new();
        if lines.read_until(b'\n', &mut line).ok()? == 0 {
            return None;
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if in_message {
            if line == "." {
                in_message = false;
                say(script.end)?;
            }
            continue;
        }
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        seen.lock().unwrap().push(line);
        match verb.as_str() {
            "EHLO" => say(script.ehlo)?,
            "MAIL" => {
                first_rcpt = script.first_rcpt;
                say(script.mail)?;
            }
            "RCPT" => say(first_rcpt.take().unwrap_or(script.rcpt))?,
            "DATA" if script.rcpt.starts_with('2') && script.mail.starts_with('2') => {
                in_message = true;
                say("354 go on")?;
            }
            "DATA" => say("554 5.5.1 No valid recipients.")?,
            "QUIT" => return say("221 2.0.0 Bye"),
            _ => say("250 2.0.0 Ok")?,
        }
    }
}
