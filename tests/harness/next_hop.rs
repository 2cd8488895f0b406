//! A next hop that follows a script to the moment, and remembers everything it was told.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

use super::until;

/// What to do on one connection. Replies are without CRLF, and may have several lines.
#[derive(Clone)]
pub struct Script {
    /// Said on connect.
    pub greeting: String,
    /// Reply to EHLO and HELO.
    pub ehlo: String,
    /// Reply to MAIL.
    pub mail: String,
    /// Reply to RCPT, by forward-path.
    pub rcpt: fn(&str) -> String,
    /// Reply to DATA.
    pub data: String,
    /// After the final dot.
    pub end: End,
    /// Where to break off.
    pub dies: Dies,
}

/// After the final dot.
#[derive(Clone)]
pub enum End {
    /// This reply.
    Reply(String),
    /// The connection is closed without one.
    Close,
    /// The connection is reset without one.
    Reset,
    /// These octets and no more, then it is closed.
    Cut(String),
    /// Nothing, until the next hop goes down.
    Hang,
}

/// Where to break off.
#[derive(Clone, Copy, PartialEq)]
pub enum Dies {
    /// Nowhere.
    Never,
    /// DATA is read, not answered.
    AtData,
    /// So many octets of the message are read.
    InBody(usize),
    /// The last RCPT is answered, nothing after it is read: the peer finds out only later.
    AfterRcpt,
}

impl Default for Script {
    fn default() -> Script {
        Script {
            greeting: "220 next-hop.example ESMTP".into(),
            ehlo:
                "250-next-hop.example\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES"
                    .into(),
            mail: "250 2.1.0 Ok".into(),
            rcpt: |_| "250 2.1.5 Ok".into(),
            data: "354 End data with <CR><LF>.<CR><LF>".into(),
            end: End::Reply("250 2.0.0 Ok: queued as SCRIPTED".into()),
            dies: Dies::Never,
        }
    }
}

/// A message that came with its final dot.
#[derive(Clone, Debug)]
pub struct Received {
    /// MAIL's argument.
    pub mail: String,
    /// RCPT's arguments that were accepted.
    pub rcpts: Vec<String>,
    /// Dots unstuffed, CRLF kept.
    pub message: String,
}

/// What was seen.
#[derive(Default)]
pub struct Seen {
    /// Connections accepted.
    pub connections: usize,
    /// Connections that sent MAIL.
    pub senders: usize,
    /// Commands in order of arrival, with the number of the connection, from 0.
    pub commands: Vec<(usize, String)>,
    /// Whole messages.
    pub messages: Vec<Received>,
}

/// A running next hop.
pub struct NextHop {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    stopped: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    accepting: Option<JoinHandle<()>>,
}

impl NextHop {
    /// Accepts everything.
    pub fn willing() -> NextHop {
        NextHop::start(vec![Script::default()])
    }

    /// Scripts are handed out in order to the connections that send MAIL; the last one goes on for ever. Greeting and EHLO reply
    /// are always those of the last one, so that a connection that only asks what is offered uses up no script.
    pub fn start(scripts: Vec<Script>) -> NextHop {
        NextHop::start_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), scripts)
    }

    /// The same on an address that was used before. Meanwhile its port may have gone to somebody's outgoing connection.
    pub fn start_on(address: SocketAddr, scripts: Vec<Script>) -> NextHop {
        let listener = until("the port to be free", || TcpListener::bind(address).ok());
        let address = listener.local_addr().unwrap();
        let (seen, stopped, open) =
            (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<TcpStream>>>::default());
        let accepting = {
            let (seen, stopped, open) = (seen.clone(), stopped.clone(), open.clone());
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if stopped.load(Ordering::SeqCst) {
                        return;
                    }
                    let Ok(stream) = stream else { continue };
                    let number = count_connection(&seen);
                    open.lock().unwrap().push(stream.try_clone().unwrap());
                    let (scripts, seen) = (scripts.clone(), seen.clone());
                    std::thread::spawn(move || Connection { number, scripts, stream, seen }.run());
                }
            })
        };
        NextHop { address, seen, stopped, open, accepting: Some(accepting) }
    }

    /// Looks at what was seen.
    pub fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap())
    }

    /// Whole messages.
    pub fn messages(&self) -> Vec<Received> {
        self.seen(|seen| seen.messages.clone())
    }

    /// Commands that begin so.
    pub fn count(&self, verb: &str) -> usize {
        self.seen(|seen| seen.commands.iter().filter(|(_, command)| command.starts_with(verb)).count())
    }

    /// Goes down: refuses connections and breaks those it has.
    pub fn stop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for NextHop {
    fn drop(&mut self) {
        self.stop();
    }
}

fn count_connection(seen: &Mutex<Seen>) -> usize {
    let mut seen = seen.lock().unwrap();
    seen.connections += 1;
    seen.connections - 1
}

/// One connection.
struct Connection {
    number: usize,
    scripts: Vec<Script>,
    stream: TcpStream,
    seen: Arc<Mutex<Seen>>,
}

impl Connection {
    fn run(self) {
        let _ = self.converse();
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    fn say(&self, reply: &str) -> std::io::Result<()> {
        (&self.stream).write_all(format!("{reply}\r\n").as_bytes())
    }

    /// The script for the next connection that sends MAIL.
    fn next_script(&self) -> &Script {
        let mut seen = self.seen.lock().unwrap();
        seen.senders += 1;
        &self.scripts[seen.senders.min(self.scripts.len()) - 1]
    }

    fn converse(&self) -> std::io::Result<()> {
        let mut reader = BufReader::new(&self.stream);
        let mut script = self.scripts.last().unwrap();
        let mut sends = false;
        self.say(&script.greeting)?;
        let mut transaction = Received { mail: String::new(), rcpts: Vec::new(), message: String::new() };
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_owned();
            self.seen.lock().unwrap().commands.push((self.number, line.clone()));
            match line.split([' ', ':']).next().unwrap_or_default() {
                "EHLO" | "HELO" => self.say(&script.ehlo)?,
                "MAIL" => {
                    if !sends {
                        sends = true;
                        script = self.next_script();
                    }
                    transaction =
                        Received { mail: line["MAIL FROM:".len()..].into(), rcpts: Vec::new(), message: String::new() };
                    self.say(&script.mail)?;
                }
                "RCPT" => {
                    let path = &line["RCPT TO:".len()..];
                    let reply = (script.rcpt)(path);
                    if reply.starts_with('2') {
                        transaction.rcpts.push(path.into());
                    }
                    self.say(&reply)?;
                    if script.dies == Dies::AfterRcpt {
                        return Ok(());
                    }
                }
                "DATA" if script.dies == Dies::AtData => return Ok(()),
                "DATA" => {
                    self.say(&script.data)?;
                    if script.data.starts_with('3') && !self.message(script, &mut reader, &mut transaction)? {
                        return Ok(());
                    }
                }
                "QUIT" => return self.say("221 2.0.0 Bye"),
                _ => self.say("250 2.0.0 Ok")?,
            }
        }
    }

    /// Takes the message; false when the connection is over.
    fn message(&self, script: &Script, reader: &mut impl BufRead, transaction: &mut Received) -> std::io::Result<bool> {
        if let Dies::InBody(octets) = script.dies {
            reader.read_exact(&mut vec![0; octets])?;
            return Ok(false);
        }
        let mut octets = Vec::new();
        loop {
            let start = octets.len();
            if reader.read_until(b'\n', &mut octets)? == 0 {
                return Ok(false);
            }
            if &octets[start..] == b".\r\n" && (start == 0 || octets[..start].ends_with(b"\r\n")) {
                octets.truncate(start);
                break;
            }
            if octets[start] == b'.' {
                octets.remove(start);
            }
        }
        transaction.message = String::from_utf8_lossy(&octets).into_owned();
        self.seen.lock().unwrap().messages.push(transaction.clone());
        match &script.end {
            End::Reply(reply) => self.say(reply).map(|()| true),
            End::Close => Ok(false),
            End::Reset => {
                set_socket_linger(&self.stream, Some(Duration::ZERO))?;
                Ok(false)
            }
            End::Cut(octets) => (&self.stream).write_all(octets.as_bytes()).map(|()| false),
            End::Hang => reader.read_until(b'\n', &mut octets).map(|_| false),
        }
    }
}
