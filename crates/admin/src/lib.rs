//! What an operator sees of a gate: probes, metrics, a status page, the last decisions, over HTTP on one thread of its own; and decisions as spans, sent to
//! a collector from another.
//!
//! Nothing on a shard waits for anything here: the thread reads counters that shards write anyway, and hears decisions through a queue that
//! drops when it is full. Whoever can reach the address may read everything and set the log level: it belongs on loopback or a Unix socket.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod address;
mod answer;
mod connections;
mod metrics;
mod origin;
mod page;
mod reference;
mod routes;
mod spans;
mod streams;
mod trace;

use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use mx6_telemetry::{Feed, LogStatus, Readiness, Status, Tracing};
use tokio::sync::watch;

pub use address::{Address, AddressError, Bound};
pub use reference::metrics_reference;
pub use spans::{Collector, Exporting, SpanTally, export};

/// The gate as this room sees it. Nothing in it waits for a shard.
pub trait Gate: Send + Sync + 'static {
    /// The whole picture of this moment.
    fn status(&self) -> Status;
    /// Whether it takes mail; cheaper than the whole picture.
    fn readiness(&self) -> Readiness;
    /// What is logged.
    fn log(&self) -> LogStatus;
    /// Sets what is logged; the error says what to write instead.
    ///
    /// # Errors
    /// The level is none.
    fn set_log_level(&self, level: &str) -> Result<(), String>;
    /// Each decision record as its JSON line, without the newline.
    fn decisions(&self) -> &Feed<Arc<str>>;
    /// Where sessions tell what is said in them.
    fn tracing(&self) -> &Tracing;
}

/// The endpoint, serving.
#[derive(Debug)]
pub struct Running {
    addresses: Vec<String>,
    stop: Arc<watch::Sender<bool>>,
    ended: mpsc::Receiver<()>,
    thread: JoinHandle<()>,
}

/// Serves the gate on these sockets, from one thread named `mx6-admin`.
///
/// # Errors
/// The thread, or its event queue, is refused by the system.
pub fn start(bound: Vec<Bound>, gate: Arc<dyn Gate>) -> io::Result<Running> {
    let addresses = bound.iter().map(|bound| bound.name().to_owned()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let listeners = {
        let _entered = runtime.enter();
        bound.into_iter().map(connections::Listener::new).collect::<io::Result<Vec<_>>>()?
    };
    let (stop, stopped) = watch::channel(false);
    let stop = Arc::new(stop);
    let (done, ended) = mpsc::channel();
    let thread = std::thread::Builder::new().name("mx6-admin".into()).spawn(move || {
        runtime.block_on(connections::serve(listeners, gate, stopped));
        runtime.shutdown_timeout(Duration::ZERO);
        let _ = done.send(());
    })?;
    Ok(Running { addresses, stop, ended, thread })
}

/// Ends the endpoint of a gate that has a successor; clones are the same.
#[derive(Debug, Clone)]
pub struct Leave(Arc<watch::Sender<bool>>);

impl Leave {
    /// Ends all streams and lets go of the addresses; does not wait.
    pub fn leave(&self) {
        let _ = self.0.send(true);
    }
}

impl Running {
    /// For when the addresses must be let go of before the gate ends.
    #[must_use]
    pub fn leaving(&self) -> Leave {
        Leave(Arc::clone(&self.stop))
    }

    /// Where it serves: `127.0.0.1:9125` with the port that the kernel chose, or `unix:/run/mx6/admin.sock`.
    #[must_use]
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Ends all streams and the thread; takes a second at most, and leaves a thread that does not end to the end of the process.
    pub fn close(self) {
        let _ = self.stop.send(true);
        if self.ended.recv_timeout(CLOSE_MAX) != Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = self.thread.join();
        }
    }
}

/// The longest that closing waits.
const CLOSE_MAX: Duration = Duration::from_secs(1);
