//! Who is let in, and to how much: the breaker for DNS, the load of the shard, and the limits by prefix and identity.
//!
//! Asked once before the banner ([`admit`]), once for each MAIL, RCPT, and message that passed the rules. Mode monitor changes nothing here:
//! it is for the three rules. A storm must not fill the disk: what is refused before there is a recipient is counted always, and recorded
//! only [`limits::EARLY_RECORDS_PER_S`] times a second; the next record says how many were not.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::FutureExt;
use mx6_policy::facts::Facts;
use mx6_policy::limits::{ChargedMessage, HeldSession, LimitReached, LimitTable};
use mx6_policy::{Client, Rule, Ruling, Stage};
use mx6_runtime::Stream;
use mx6_smtp::{EnhancedCode, Reply, Verdict};
use mx6_telemetry::{Counter, Total};

use crate::connection::linger;
use crate::limits;
use crate::message::Objection;
use crate::peer::Peer;
use crate::record::{self, Speaker};
use crate::refusal::Refused;
use crate::settings::Settings;
use crate::shard::Shard;

/// The limits as a shard sees them.
pub(crate) struct Limits {
    /// One for the process.
    pub(crate) table: Arc<LimitTable>,
    early_records: EarlyRecords,
}

/// What a connection holds while it is open.
pub(crate) struct Admitted {
    _session: HeldSession,
}

impl Limits {
    pub(crate) fn new(table: Arc<LimitTable>) -> Limits {
        Limits { table, early_records: EarlyRecords::default() }
    }
}

/// Lets a connection in; it counts as a session until the token is dropped. None: the client was told why not, and there is nothing more
/// to say.
pub(crate) async fn admit(shard: &Rc<Shard>, stream: &mut Stream, client: &Client) -> Option<Admitted> {
    let (rule, reply) = match admitted(shard, client) {
        Ok(admitted) => return Some(admitted),
        Err(objection) => objection,
    };
    let (session_id, settings) = (shard.next_session_id(), shard.settings());
    let reply = refused(&settings, &session_id, client).signed(rule, reply);
    let speaker = Speaker {
        session_id: &session_id,
        shard: shard.index,
        client,
        helo: "",
        tls: None,
        early_talker: false,
        tap: None,
    };
    record_early(shard, &speaker, "", (Stage::Connect, rule, &reply));
    let mut octets = Vec::new();
    reply.write_to(&mut octets);
    // A new socket has room for one line; for one that has not nobody waits.
    if let Some(Ok(())) = stream.write_all(&octets).now_or_never() {
        linger(stream).await;
    }
    None
}

fn admitted(shard: &Rc<Shard>, client: &Client) -> Result<Admitted, Objection> {
    let settings = shard.settings();
    let hostname = &settings.config.hostname;
    // Who may yet show a partner's certificate is let in, and asked at MAIL.
    if settings.config.certificate_connectors.is_empty() {
        resolver_answers(shard, client)?;
    }
    let table = &shard.limits.table;
    // A proxy that hears no from its health check sends no connectors either.
    let is_sheddable = !client.is_connector() && !client.is_unknowable();
    if is_sheddable && shard.load.refuses(|| table.has_session_near(client)) {
        shard.counters.add_one(shard.load.shed_counter());
        return Err((Rule::ServiceBusy, busy_reply(hostname)));
    }
    match table.connect(&settings.config.limits, mx6_runtime::now_ms(), client) {
        Ok(session) => Ok(Admitted { _session: session }),
        Err(reached) => Err(counted(shard, &reached, reached.closing_reply(hostname))),
    }
}

/// Whether the breaker for DNS lets this client send mail.
fn resolver_answers(shard: &Shard, client: &Client) -> Result<(), Objection> {
    let settings = shard.settings();
    if shard.breaker.sheds(client, settings.config.gate.mode) {
        shard.counters.add_one(Counter::DnsBreakerShed);
        return Err((Rule::ResolverTrouble, resolver_reply(&settings.config.hostname)));
    }
    Ok(())
}

/// What an anonymous client hears in place of the banner when the shard cannot take it.
pub(crate) fn busy_reply(hostname: &str) -> Reply {
    Reply::new(421, Some(EnhancedCode(4, 3, 2)), format!("{hostname} Service busy, try again later."))
}

/// What an anonymous IPv6 client hears in place of the banner (RFC 5321 §3.1), or at MAIL, while the resolver answers nothing.
fn resolver_reply(hostname: &str) -> Reply {
    Reply::new(421, Some(EnhancedCode(4, 4, 3)), format!("{hostname} Temporary DNS failure, try again later."))
}

/// MAIL.
///
/// # Errors
/// The verdict, if it would go over a limit, or if the resolver answers nothing.
pub(crate) fn mail(shard: &Rc<Shard>, settings: &Settings, peer: &Peer, reverse_path: &str) -> Result<(), Verdict> {
    mail_admitted(shard, settings, &peer.client).map_err(|(rule, reply)| {
        let reply = refused(settings, &peer.session_id, &peer.client).signed(rule, reply);
        let speaker = Speaker::new(peer, shard.index);
        record_early(shard, &speaker, reverse_path, (Stage::Mail, rule, &reply));
        Verdict::Defer(reply)
    })
}

/// Whom a refusal is about.
pub(crate) fn refused<'a>(settings: &'a Settings, session_id: &'a str, client: &'a Client) -> Refused<'a> {
    Refused { session_id, client, url: settings.config.reply_url.as_ref() }
}

fn mail_admitted(shard: &Shard, settings: &Settings, client: &Client) -> Result<(), Objection> {
    if !settings.config.certificate_connectors.is_empty() {
        resolver_answers(shard, client)?;
    }
    let mailed = shard.limits.table.mail(&settings.config.limits, mx6_runtime::now_ms(), client);
    mailed.map_err(|reached| counted(shard, &reached, reached.reply()))
}

/// RCPT, before any rule is asked.
///
/// # Errors
/// Rule and verdict, if it would go over a limit.
pub(crate) fn recipient(shard: &Shard, settings: &Settings, client: &Client) -> Result<(), (Rule, Verdict)> {
    let named = shard.limits.table.rcpt(&settings.config.limits, mx6_runtime::now_ms(), client);
    named.map_err(|reached| {
        let (rule, reply) = counted(shard, &reached, reached.reply());
        (rule, Verdict::Defer(reply))
    })
}

/// A message with a ruling: if that is to accept it, its identities are charged, and `ruling` is changed if that would go over a limit.
pub(crate) fn message(
    shard: &Shard,
    settings: &Settings,
    client: &Client,
    ruling: &mut Ruling,
    facts: Option<&Facts>,
    recipients: usize,
) -> Option<ChargedMessage> {
    let facts = facts.filter(|_| ruling.verdict == Verdict::Accept)?;
    let recipients = u32::try_from(recipients).unwrap_or(u32::MAX);
    match shard.limits.table.message(&settings.config.limits, mx6_runtime::now_ms(), client, facts, recipients) {
        Ok(charged) => Some(charged),
        Err(reached) => {
            let (rule, reply) = counted(shard, &reached, reached.reply());
            *ruling = Ruling { verdict: Verdict::Defer(reply), rule: Some(rule), would: None };
            None
        }
    }
}

/// Nobody got the message, so nobody is charged for it.
pub(crate) fn give_back(shard: &Shard, settings: &Settings, charged: ChargedMessage) {
    shard.limits.table.give_back(&settings.config.limits, charged);
}

/// What the limits refused in the whole life of the process; none if that is nothing and nothing was forgotten.
pub(crate) fn summary(total: &Total) -> Option<String> {
    let counts = SUMMARY.map(|(counter, words)| (total.value(counter), words));
    let counts = counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, words)| format!("{words} {count}"));
    let told: Vec<String> = counts.collect();
    (!told.is_empty()).then(|| format!("limits: {}", told.join(", ")))
}

/// The refusal of who has reached a limit, counted.
fn counted(shard: &Shard, reached: &LimitReached, reply: Reply) -> Objection {
    shard.counters.add_one(match reached.rule {
        Rule::ConnectionLimit => Counter::ConnectionLimit,
        Rule::SessionLimit => Counter::SessionLimit,
        Rule::MessageLimit => Counter::MessageLimit,
        Rule::RecipientLimit => Counter::RecipientLimit,
        _ => Counter::IdentityLimit,
    });
    (reached.rule, reply)
}

/// Records a refusal that has no recipient, if there were not too many this second.
fn record_early(shard: &Shard, speaker: &Speaker<'_>, mail_from: &str, decided: (Stage, Rule, &Reply)) {
    let is_recorded = shard.limits.early_records.take(mx6_runtime::now_ms());
    record::write_early(shard, speaker, mail_from, decided, is_recorded);
}

/// What is told at the end.
const SUMMARY: [(Counter, &str); 7] = [
    (Counter::ConnectionLimit, "connections refused by rate:"),
    (Counter::SessionLimit, "connections refused by sessions at once:"),
    (Counter::MessageLimit, "MAIL refused:"),
    (Counter::RecipientLimit, "RCPT refused:"),
    (Counter::IdentityLimit, "messages refused by identity:"),
    (Counter::LimitForgotten, "budgets forgotten:"),
    (Counter::LimitUntracked, "charges not remembered:"),
];

/// How many records of refusals without a recipient are still written this second.
#[derive(Default)]
struct EarlyRecords {
    second: Cell<u64>,
    written: Cell<u32>,
}

impl EarlyRecords {
    /// Whether one more is written.
    fn take(&self, now_ms: u64) -> bool {
        let second = now_ms / 1_000;
        if self.second.replace(second) != second {
            self.written.set(0);
        }
        let is_written = self.written.get() < limits::EARLY_RECORDS_PER_S;
        self.written.set(self.written.get() + u32::from(is_written));
        is_written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_counted_and_recorded_in_part() {
        let records = EarlyRecords::default();
        let most = u64::from(limits::EARLY_RECORDS_PER_S);
        for second in [1_000, 2_000, 9_000] {
            let written = (0..10 * most).filter(|at| records.take(second + at % 1_000)).count();
            assert_eq!(written as u64, most);
        }
    }
}
