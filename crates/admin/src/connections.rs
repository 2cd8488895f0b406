//! Connections: how many, how long, how slow. Each is a task of the one thread.
//!
//! There is room for [`CONNECTIONS_MAX`]. When it is used up the oldest one that is not being answered makes place, so that clients that
//! send nothing, or a word an hour, cannot keep a probe out.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, Sleep};

use crate::address::{Bound, Socket, SocketFile};
use crate::{Gate, routes};

/// A listening socket on the thread's event queue.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, #[expect(dead_code, reason = "its end removes the file")] SocketFile),
}

/// Over which kind of socket a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    Tcp,
    Unix,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Listener {
    /// Within the runtime.
    pub(crate) fn new(bound: Bound) -> io::Result<Listener> {
        Ok(match bound.socket {
            Socket::Tcp(listener) => Listener::Tcp(TcpListener::from_std(listener)?),
            Socket::Unix(listener, file) => Listener::Unix(UnixListener::from_std(listener)?, file),
        })
    }

    async fn accept(&self) -> io::Result<(Box<dyn Stream>, Via)> {
        Ok(match self {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                let _ = stream.set_nodelay(true);
                (Box::new(stream), Via::Tcp)
            }
            Listener::Unix(listener, _) => (Box::new(listener.accept().await?.0), Via::Unix),
        })
    }
}

/// Serves until told to stop.
pub(crate) async fn serve(listeners: Vec<Listener>, gate: Arc<dyn Gate>, mut stopped: watch::Receiver<bool>) {
    let router = routes::router(gate);
    let mut tasks = JoinSet::new();
    let (accepted, mut arriving) = tokio::sync::mpsc::channel(1);
    for listener in listeners {
        let accepted = accepted.clone();
        tasks.spawn(async move {
            loop {
                let Ok(connection) = listener.accept().await else {
                    // Descriptors are short, or the client left already.
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                };
                if accepted.send(connection).await.is_err() {
                    return;
                }
            }
        });
    }
    let mut open = Open::default();
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => break,
            arrived = arriving.recv() => match arrived {
                Some((stream, via)) => open.add(&mut tasks, stream, via, &router),
                None => break,
            },
            Some(_) = tasks.join_next() => {}
        }
    }
    tasks.shutdown().await;
}

/// The open connections, the oldest first.
#[derive(Default)]
struct Open(VecDeque<Entry>);

struct Entry {
    task: AbortHandle,
    /// Requests that are being answered: 0 or 1.
    answering: Arc<AtomicUsize>,
}

impl Open {
    fn add(&mut self, tasks: &mut JoinSet<()>, stream: Box<dyn Stream>, via: Via, router: &Router) {
        self.0.retain(|entry| !entry.task.is_finished());
        if self.0.len() >= CONNECTIONS_MAX {
            let idle = self.0.iter().position(|entry| entry.answering.load(Ordering::Relaxed) == 0);
            // If all are being answered the new one has to come again.
            let Some(entry) = idle.and_then(|at| self.0.remove(at)) else { return };
            entry.task.abort();
        }
        let answering = Arc::new(AtomicUsize::new(0));
        let task = tasks.spawn(connection(stream, via, router.clone(), Arc::clone(&answering)));
        self.0.push_back(Entry { task, answering });
    }
}

async fn connection(stream: Box<dyn Stream>, via: Via, router: Router, answering: Arc<AtomicUsize>) {
    let service = tower_service(router, via, answering);
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_WAIT_MAX).max_buf_size(HEADER_OCTETS_MAX).max_headers(64);
    // Whatever a client does wrong ends its connection and nothing else.
    let _ = http.serve_connection(TokioIo::new(Impatient::new(stream)), service).await;
}

/// The router, told over which kind of socket the request came; counts the requests whose answer is not yet at its end.
fn tower_service(
    router: Router,
    via: Via,
    answering: Arc<AtomicUsize>,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = axum::response::Response,
    Error = std::convert::Infallible,
    Future: Send,
> {
    let router = TowerToHyperService::new(router);
    hyper::service::service_fn(move |request: Request<Incoming>| {
        let (mut parts, body) = request.into_parts();
        parts.extensions.insert(via);
        let answer = hyper::service::Service::call(&router, Request::from_parts(parts, axum::body::Body::new(body)));
        let counted = Counted::new(&answering);
        async move { Ok(answer.await?.map(|body| counted.body(body))) }
    })
}

/// One request that is being answered, as long as this lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(answering: &Arc<AtomicUsize>) -> Counted {
        answering.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(answering))
    }

    /// The body that holds this until it is at its end.
    fn body(self, body: axum::body::Body) -> axum::body::Body {
        // A body whose size is known keeps its Content-Length.
        if hyper::body::Body::size_hint(&body).exact().is_some() {
            return body;
        }
        let stream = body.into_data_stream();
        axum::body::Body::from_stream(futures_util::StreamExt::map(stream, move |chunk| {
            let _held = &self;
            chunk
        }))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream whose writes must get on: a reader that takes nothing for [`WRITE_WAIT_MAX`] is cut.
struct Impatient {
    stream: Box<dyn Stream>,
    /// Since when the write has waited.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Impatient {
    fn new(stream: Box<dyn Stream>) -> Impatient {
        Impatient { stream, waiting: None }
    }

    fn patience<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let until =
            self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + WRITE_WAIT_MAX)));
        until.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Impatient {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, octets);
        self.patience(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.patience(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.patience(cx, shut)
    }
}

/// Connections at once. Operators, a scraper and a balancer's probes are a handful.
const CONNECTIONS_MAX: usize = 96;
/// The longest for a request's header section to come, and for the next request of a connection.
const HEADER_WAIT_MAX: Duration = Duration::from_secs(10);
/// The longest that an answer waits for its reader.
const WRITE_WAIT_MAX: Duration = Duration::from_secs(10);
/// The largest header section.
const HEADER_OCTETS_MAX: usize = 16 << 10;
/// After an accept that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
