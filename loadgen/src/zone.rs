//! `mx6-loadgen zone`: a DNS server that knows exactly the population, over UDP and TCP.
//!
//! It trusts nobody and needs not: whatever is asked, the answer is worked out from the question. It answers as authority for every
//! name there is, so that the server under test can have it as its only resolver.

mod answers;
mod faults;
mod handler;

use std::io::Write;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use hickory_server::Server;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::oneshot;

pub(crate) use answers::sender_domain;
pub(crate) use faults::Faults;
pub(crate) use handler::Counters;

use crate::population::{Population, PopulationOptions};

/// The server, and whom it knows. Give `run` the same prefixes and domains of recipients, and no more sources and sender domains.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Address and port to answer on, UDP and TCP.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:5300")]
    listen: SocketAddr,
    #[command(flatten)]
    population: PopulationOptions,
    #[command(flatten)]
    faults: Faults,
    /// Of the lots that failures are drawn by.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// Answers until SIGINT or SIGTERM, then tells what was asked.
pub(crate) fn run(options: &Options, out: &mut impl Write) -> Result<bool> {
    let population = Arc::new(Population::new(&options.population)?);
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("waiting for signals")?;
    let zone = Zone::start(options.listen, population, options.faults.clone(), options.seed)?;
    writeln!(out, "zone: answering on {}", zone.address)?;
    out.flush()?;
    let _ = signals.forever().next();
    writeln!(out, "zone: {}", zone.counters)?;
    zone.stop();
    Ok(true)
}

/// A running server. It stops when it is dropped.
pub(crate) struct Zone {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// What was asked.
    pub(crate) counters: Arc<Counters>,
    /// Its thread, as the kernel knows it.
    pub(crate) thread_id: u32,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Zone {
    /// Starts it on a thread of its own. Port 0 is any that is free.
    pub(crate) fn start(listen: SocketAddr, population: Arc<Population>, faults: Faults, seed: u64) -> Result<Zone> {
        faults.check()?;
        let (udp, tcp) = bind(listen).with_context(|| format!("the zone cannot listen on {listen}"))?;
        let address = tcp.local_addr()?;
        let counters = Arc::<Counters>::default();
        let rng = Mutex::new(fastrand::Rng::with_seed(seed));
        let handler = handler::Handler { population, faults, rng, counters: counters.clone() };
        let (stop, stopped) = oneshot::channel();
        let (ready, answer) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name("zone".into()).spawn(move || {
            let served = serve(handler, udp, tcp, stopped, &ready);
            if let Err(error) = served {
                let _ = ready.send(Err(error));
            }
        })?;
        let started = answer.recv().map_err(|_| anyhow!("the thread of the zone died"))?;
        let thread_id = started.context("starting the zone")?;
        Ok(Zone { address, counters, thread_id, stop: Some(stop), thread: Some(thread) })
    }

    /// Stops and waits for it.
    pub(crate) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Zone {
    fn drop(&mut self) {
        self.end();
    }
}

fn serve(
    handler: handler::Handler,
    udp: UdpSocket,
    tcp: TcpListener,
    stopped: oneshot::Receiver<()>,
    ready: &std::sync::mpsc::Sender<Result<u32>>,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut server = Server::new(handler);
        server.register_socket(tokio::net::UdpSocket::from_std(udp)?);
        server.register_listener(tokio::net::TcpListener::from_std(tcp)?, TCP_IDLE, TCP_RESPONSES);
        let _ = ready.send(Ok(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()));
        // The sender is dropped when the server shall stop.
        let _ = stopped.await;
        Ok(())
    })
}

/// UDP and TCP on the same port.
fn bind(listen: SocketAddr) -> Result<(UdpSocket, TcpListener)> {
    for _ in 0..PORTS_TRIED {
        let tcp = TcpListener::bind(listen)?;
        let address = tcp.local_addr()?;
        let udp = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        // A burst of questions waits here while an answer is worked out. The kernel gives what it allows.
        let _ = udp.set_recv_buffer_size(UDP_BUFFER_OCTETS);
        match udp.bind(&address.into()) {
            Ok(()) => {
                tcp.set_nonblocking(true)?;
                udp.set_nonblocking(true)?;
                return Ok((udp.into(), tcp));
            }
            Err(error) if listen.port() != 0 => return Err(error.into()),
            Err(_) => {}
        }
    }
    Err(anyhow!("no port is free for UDP and TCP"))
}

/// A TCP connection without a question is closed after this.
const TCP_IDLE: Duration = Duration::from_secs(10);

/// Responses that may wait on one TCP connection.
const TCP_RESPONSES: usize = 64;

const UDP_BUFFER_OCTETS: usize = 4 << 20;
const PORTS_TRIED: usize = 16;

#[cfg(test)]
mod tests;
