//! `mx6-floor`, the least that a relay on this runtime can cost: what mx6 is measured against.
//!
//! One shard takes mail and hands it on over pooled connections, with as many round trips as mx6 makes on either side, and does nothing else: no
//! parser, no checks, no DNS, no log, no timer. Of a line it reads the first letter, of a message the CRLF.CRLF; its replies are
//! fixed, and the octets of envelope and message go on as they came. It believes everybody: for measuring on loopback only.

#![forbid(unsafe_code)]

mod next_hop;

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::Context as _;
use clap::Parser;
use memchr::{memchr, memmem};
use mx6_runtime::{Cores, Listener, Stream};

use next_hop::NextHop;

/// A relay that checks nothing, to measure mx6 against.
#[derive(Parser, Clone, Copy)]
struct CommandLine {
    /// Address and port to take mail on.
    #[arg(long, value_name = "ADDR:PORT", default_value = "[::1]:2525")]
    listen: SocketAddr,
    /// Where all mail goes.
    #[arg(long, value_name = "smtp://ADDR:PORT", value_parser = next_hop_address)]
    deliver: SocketAddr,
}

fn next_hop_address(value: &str) -> Result<SocketAddr, String> {
    let address = value.strip_prefix("smtp://").and_then(|address| address.parse().ok());
    address.ok_or_else(|| format!("`{value}` is not smtp://ADDR:PORT, as in smtp://[::1]:2526"))
}

fn main() -> anyhow::Result<()> {
    let options = CommandLine::parse();
    mx6_runtime::preflight(1, mx6_runtime::Needs::default())?;
    mx6_runtime::run_shards(&Cores::first(1)?, move |_| async move {
        if let Err(error) = accept(&options).await {
            eprintln!("mx6-floor: {error:#}");
            std::process::exit(71);
        }
    })?;
    Ok(())
}

async fn accept(options: &CommandLine) -> anyhow::Result<()> {
    let listener = Listener::bind(options.listen, BACKLOG).with_context(|| format!("{}", options.listen))?;
    println!("listening on {}", listener.local_addr());
    let shard = Rc::new(Shard { deliver: options.deliver, idle: RefCell::default(), buffers: RefCell::default() });
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let client = Client { shard: Rc::clone(&shard), stream, output: GREETING.to_vec() };
                // An error is the peer's, or the next hop's, whose client sees the connection end without a reply.
                mx6_runtime::spawn("connection", async move { client.serve().await.unwrap_or_default() });
            }
            Err(error) if mx6_runtime::accept_is_fatal(&error) => return Err(error.into()),
            Err(_) => {}
        }
    }
}

/// What all connections share.
struct Shard {
    deliver: SocketAddr,
    idle: RefCell<Vec<NextHop>>,
    buffers: RefCell<Vec<Vec<u8>>>,
}

impl Shard {
    async fn next_hop(&self) -> io::Result<NextHop> {
        let idle = self.idle.borrow_mut().pop();
        match idle {
            Some(next_hop) => Ok(next_hop),
            None => NextHop::connect(self.deliver).await,
        }
    }

    fn buffer(&self) -> Vec<u8> {
        self.buffers.borrow_mut().pop().unwrap_or_else(|| vec![0; BUFFER_OCTETS])
    }
}

struct Client {
    shard: Rc<Shard>,
    stream: Stream,
    /// Replies that wait until everything that came was read.
    output: Vec<u8>,
}

impl Client {
    async fn serve(mut self) -> io::Result<()> {
        let mut commands = [0; COMMAND_OCTETS];
        let mut held = 0;
        let mut envelope = Envelope::default();
        loop {
            self.flush().await?;
            match self.stream.read(&mut commands[held..]).await? {
                0 => return Ok(()),
                octets => held += octets,
            }
            let mut taken = 0;
            while let Some(end) = memchr(b'\n', &commands[taken..held]) {
                let line = &commands[taken..=taken + end];
                taken += line.len();
                match line.first_chunk().unwrap_or(b"  ").map(|octet| octet.to_ascii_uppercase()) {
                    [b'E' | b'H', _] => self.output.extend_from_slice(HELLO),
                    [b'M', _] => self.mail(&mut envelope, line),
                    [b'R', b'C'] => self.rcpt(&mut envelope, line).await?,
                    [b'D', _] => {
                        let early = self.message(&mut envelope, &commands[taken..held]).await?;
                        commands[..early.len()].copy_from_slice(&early);
                        (taken, held) = (0, early.len());
                    }
                    [b'Q', _] => {
                        self.output.extend_from_slice(BYE);
                        return self.flush().await;
                    }
                    _ => self.output.extend_from_slice(OK),
                }
            }
            commands.copy_within(taken..held, 0);
            held -= taken;
        }
    }

    /// MAIL waits for RCPT, and both go to the next hop in one write.
    fn mail(&mut self, envelope: &mut Envelope, line: &[u8]) {
        envelope.unsaid = line.to_vec();
        self.output.extend_from_slice(OK);
    }

    async fn rcpt(&mut self, envelope: &mut Envelope, line: &[u8]) -> io::Result<()> {
        let mut commands = std::mem::take(&mut envelope.unsaid);
        let replies = if commands.is_empty() { 1 } else { 2 };
        commands.extend_from_slice(line);
        let mut next_hop = match envelope.next_hop.take() {
            Some(next_hop) => next_hop,
            None => self.shard.next_hop().await?,
        };
        next_hop.exchange(&commands, replies).await?;
        envelope.next_hop = Some(next_hop);
        self.output.extend_from_slice(OK);
        Ok(())
    }

    /// DATA, whose message is held whole before the next hop hears of it. Returns what came behind it.
    async fn message(&mut self, envelope: &mut Envelope, early: &[u8]) -> io::Result<Vec<u8>> {
        self.output.extend_from_slice(SEND_MESSAGE);
        let mut message = self.shard.buffer();
        message[..early.len()].copy_from_slice(early);
        let (end, filled) = self.receive(&mut message, early.len()).await?;
        let mut next_hop = envelope.next_hop.take().ok_or(io::ErrorKind::InvalidData)?;
        next_hop.exchange(b"DATA\r\n", 1).await?;
        next_hop.exchange(&message[..end], 1).await?;
        self.output.extend_from_slice(OK);
        let behind = message[end..filled].to_vec();
        self.shard.idle.borrow_mut().push(next_hop);
        self.shard.buffers.borrow_mut().push(message);
        if behind.len() > COMMAND_OCTETS { Err(io::ErrorKind::InvalidData.into()) } else { Ok(behind) }
    }

    /// Reads up to CRLF.CRLF; where the message ends, and how much there is.
    async fn receive(&mut self, message: &mut Vec<u8>, mut filled: usize) -> io::Result<(usize, usize)> {
        let mut seen = 0;
        loop {
            if let Some(at) = memmem::find(&message[seen..filled], END_OF_DATA) {
                return Ok((seen + at + END_OF_DATA.len(), filled));
            }
            seen = filled.saturating_sub(END_OF_DATA.len() - 1);
            self.flush().await?;
            if filled == message.len() {
                message.resize(2 * filled, 0);
            }
            match self.stream.read(&mut message[filled..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                octets if filled + octets > MESSAGE_OCTETS_MAX => return Err(io::ErrorKind::OutOfMemory.into()),
                octets => filled += octets,
            }
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.output).await?;
        self.output.clear();
        Ok(())
    }
}

/// What of a transaction the next hop does not know yet, and the connection that knows the rest.
#[derive(Default)]
struct Envelope {
    unsaid: Vec<u8>,
    next_hop: Option<NextHop>,
}

const GREETING: &[u8] = b"220 floor.example ESMTP\r\n";
/// The extensions of mx6, so that clients speak to both alike.
const HELLO: &[u8] =
    b"250-floor.example\r\n250-PIPELINING\r\n250-SIZE 36700160\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n";
const OK: &[u8] = b"250 2.0.0 OK\r\n";
const SEND_MESSAGE: &[u8] = b"354 End data with <CR><LF>.<CR><LF>\r\n";
const BYE: &[u8] = b"221 2.0.0 Bye\r\n";
const END_OF_DATA: &[u8] = b"\r\n.\r\n";

/// As mx6 has them.
const BACKLOG: u32 = 4_096;
const COMMAND_OCTETS: usize = 2_048;
const BUFFER_OCTETS: usize = 64 << 10;
const MESSAGE_OCTETS_MAX: usize = 35 << 20;
