//! `explain --transcript`: sessions that were saved, once more through the session and the checks of now.
//!
//! What a file has is `saved`; what the gate answered then is `then`; the octets go through a real session in `conversation`; what would be answered now
//! is `judge`; how it looks is `render`. Neither next hops nor limits nor certificates are asked: where these decided then, nothing is compared.

mod conversation;
mod judge;
mod render;
mod saved;
mod then;

use std::net::IpAddr;
use std::path::Path;

use mx6_dkim::Kernels;
use mx6_policy::{Client, DomainMode};
use mx6_telemetry::{Counters, What};

use self::conversation::{Conversation, Listening, Surroundings};
use self::judge::{Judge, Judged};
use self::then::Then;
use super::pipeline::Pipeline;
use super::{ExplainError, Setup};
use crate::config::{NameSource, Options};
use crate::dkim_batch::{DkimBatch, DkimBatchLimits};

pub use self::saved::{LeftOut, TranscriptFault};

/// Sessions, then and now.
pub struct Replay {
    names: NameSource,
    sessions: Vec<Replayed>,
    left_out: Vec<LeftOut>,
    /// Sessions that the trace itself left out.
    dropped: u64,
    /// Events that the trace missed, nobody knows of which session.
    missed: u64,
}

/// One session.
struct Replayed {
    id: String,
    client: IpAddr,
    helo: String,
    tls: Option<String>,
    transactions: Vec<Judged>,
    /// Replies of the session by itself that are others now.
    others: Vec<Other>,
    /// What the gate said last, beyond what this session has an answer for: a timeout, say.
    said_at_the_end: Option<String>,
    /// It was under way when the trace ended.
    is_cut_off: bool,
    /// As many replies as commands, as far as can be seen.
    fits: bool,
}

/// A reply that is another now, to a command that nobody had to be asked about.
struct Other {
    command: String,
    then: String,
    now: String,
}

/// Replays the sessions of `transcript`, or one of them, under `options`: see [`explain`](super::explain()), of which it is the same but for the envelope.
///
/// # Errors
/// If the options or the transcript cannot be used.
pub fn replay(options: &Options, transcript: &Path, session: Option<&str>) -> Result<Replay, ExplainError> {
    let setup = Setup::new(options)?;
    let mut saved = saved::read(transcript, session)?;
    let (connectors, partners) = (setup.connectors.clone(), options.connector_cert.clone());
    let names = setup.names.clone();
    mx6_runtime::run_local(async move || {
        // Each session has its own client; that of the pipeline is not looked at.
        let mut pipeline = setup.pipeline(Client::new(IpAddr::from([0; 4]), &[]))?;
        let serves_any = pipeline.gate.directory.is_empty();
        let mut sessions = Vec::new();
        for session in saved.sessions {
            let client = Client::new(session.client, &connectors);
            let replayed = replay_one(&mut pipeline, session, client, &partners, serves_any).await?;
            if saved.missed > 0 && !replayed.fits {
                let why = format!("its replies do not fit its commands; the trace missed {} events", saved.missed);
                saved.left_out.push(LeftOut { session: replayed.id, why });
            } else {
                sessions.push(replayed);
            }
        }
        Ok(Replay { names, sessions, left_out: saved.left_out, dropped: saved.dropped, missed: saved.missed })
    })?
}

async fn replay_one(
    pipeline: &mut Pipeline,
    session: saved::Session,
    client: Client,
    partners: &[String],
    serves_any: bool,
) -> Result<Replayed, ExplainError> {
    let mut then = Then::of(&session);
    let is_partner = then.connector().is_some_and(|connector| partners.contains(&connector));
    let heard = listen(pipeline, &session, client.address(), &then).await?;
    let others = others(&heard, &then);
    let said_at_the_end = then.replies.get(heard.replies.len());
    // What the gate says without being asked is its last word.
    let is_goodbye = |said: &then::Said| said.code() == 421 && heard.replies.len() + 1 == then.replies.len();
    let fits = heard.replies.len() == then.replies.len() || said_at_the_end.is_some_and(is_goodbye);
    let said_at_the_end = said_at_the_end.map(then::Said::text);
    let Conversation { helo, tls, transactions, .. } = heard;
    let mut judged = Vec::new();
    for transaction in transactions {
        if serves_any {
            for domain in transaction.envelope.recipients.iter().filter_map(|recipient| recipient.domain.as_ref()) {
                // A literal or other name that no directory holds stays unserved.
                let _ = pipeline.gate.directory.insert(domain, DomainMode::Accept);
            }
        }
        let client = if is_partner && transaction.envelope.in_tls { client.known() } else { client };
        judged.push(Judge { pipeline, client, session_id: &session.id }.judge(transaction, &mut then).await);
    }
    let is_cut_off = !session.has_ended;
    Ok(Replayed {
        id: session.id,
        client: client.address(),
        helo,
        tls,
        transactions: judged,
        others,
        said_at_the_end,
        is_cut_off,
        fits,
    })
}

async fn listen(
    pipeline: &Pipeline,
    session: &saved::Session,
    client: IpAddr,
    then: &Then,
) -> Result<Conversation, ExplainError> {
    let batch = DkimBatch::new(DkimBatchLimits::default(), Kernels::PORTABLE, Counters::default());
    let iprev = pipeline.auth.iprev(client).await;
    let around = Surroundings { auth: &pipeline.auth, batch: &batch, client, iprev: &iprev };
    let mut listening = Listening::new(around, &then.replies, then.session_config(pipeline.size_limit));
    for what in &session.events {
        match what {
            What::Client(said) => {
                listening.client(&said.octets).await?;
                if said.cut > 0 {
                    listening.left_out(said.cut).await?;
                }
            }
            What::Tls { version } => listening.tls(version).await?,
            What::Connect { .. } | What::Server(_) | What::Decision { .. } | What::End => {}
        }
    }
    listening.end().await
}

/// What the session answers by itself, where that is not what it answered then.
fn others(heard: &Conversation, then: &Then) -> Vec<Other> {
    let mut others = Vec::new();
    for (number, command) in &heard.own {
        if let (Some(then), Some(now)) = (then.replies.get(*number), heard.replies.get(*number))
            && then != now
        {
            others.push(Other { command: command.clone(), then: then.text(), now: now.text() });
        }
    }
    others
}
