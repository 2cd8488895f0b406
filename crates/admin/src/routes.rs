//! What is served where.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use mx6_telemetry::Readiness;

use crate::answer::{protect, text, typed};
use crate::connections::Via;
use crate::metrics::{Form, exposition};
use crate::streams::{Streams, decisions, events};
use crate::{Gate, origin, page, reference};

/// What every handler knows.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) gate: Arc<dyn Gate>,
    pub(crate) streams: Streams,
}

pub(crate) fn router(gate: Arc<dyn Gate>) -> Router {
    let shared = Shared { streams: Streams::new(Arc::clone(&gate)), gate };
    Router::new()
        .route("/", get(async || page::status()))
        .route("/live", get(async || text(StatusCode::OK, "ok")))
        .route("/ready", get(ready))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .route("/metrics/help", get(async || page::metrics_help(&reference::table())))
        .route("/log-level", get(log_level).put(set_log_level))
        .route("/events", get(events))
        .route("/decisions", get(decisions))
        .fallback(async || text(StatusCode::NOT_FOUND, PATHS))
        .method_not_allowed_fallback(async || text(StatusCode::METHOD_NOT_ALLOWED, METHODS))
        .layer(DefaultBodyLimit::max(BODY_OCTETS_MAX))
        .layer(from_fn(guard))
        .with_state(shared)
}

/// Refuses whom `origin` refuses, and bounds the time until there is an answer.
async fn guard(request: Request, next: Next) -> Response {
    let via = request.extensions().get().copied().unwrap_or(Via::Tcp);
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    if let Some(why) = origin::refusal(via, request.uri(), request.headers(), !reads) {
        return protect(text(StatusCode::FORBIDDEN, why));
    }
    let late = || text(StatusCode::REQUEST_TIMEOUT, "The request did not come to its end: send it in one piece");
    protect(tokio::time::timeout(REQUEST_MAX, next.run(request)).await.unwrap_or_else(|_| late()))
}

async fn ready(State(shared): State<Shared>) -> Response {
    let readiness = shared.gate.readiness();
    let code = if readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let words = match readiness {
        Readiness::Ready => "ready".into(),
        Readiness::Starting => "starting: the shards are not up yet".into(),
        Readiness::Late { shard } => format!("late: shard {shard} has not moved for too long"),
        Readiness::Draining => "draining: transactions are finished, no new ones are begun".into(),
    };
    text(code, &words)
}

async fn status(State(shared): State<Shared>) -> Response {
    match serde_json::to_vec(&shared.gate.status()) {
        Ok(json) => typed(StatusCode::OK, "application/json", json),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("The status cannot be written: {error}")),
    }
}

async fn metrics(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let form = Form::accepted(accept);
    match exposition(shared.gate.status(), form) {
        Ok(body) => typed(StatusCode::OK, form.content_type(), body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("The metrics cannot be written: {error}")),
    }
}

async fn log_level(State(shared): State<Shared>) -> Response {
    text(StatusCode::OK, &shared.gate.log().level)
}

async fn set_log_level(State(shared): State<Shared>, body: Bytes) -> Response {
    let level = String::from_utf8_lossy(&body).trim().to_owned();
    match shared.gate.set_log_level(&level) {
        Ok(()) => text(StatusCode::OK, &shared.gate.log().level),
        Err(why) => text(StatusCode::BAD_REQUEST, &why),
    }
}

const PATHS: &str =
    "Nothing is here. There are: / /live /ready /status /metrics /metrics/help /log-level /events /decisions";
const METHODS: &str = "Only GET and HEAD, and PUT for /log-level";
/// The largest body of a request: a log level.
const BODY_OCTETS_MAX: usize = 64;
/// Until there is an answer; a stream goes on.
const REQUEST_MAX: Duration = Duration::from_secs(5);
