//! From what the server knows to the decision record of one recipient.

use mx6_delivery::{Reuse, Route};
use mx6_policy::facts::{CacheState, Dkim, Dmarc, Iprev, Spf, SpfIdentity};
use mx6_policy::{RecipientClass, Rule, Stage};
use mx6_smtp::{Outcome, Reply, Verdict};
use mx6_telemetry::{
    Counter, Decision, DecisionKey, DeliveryRecord, DkimRecord, DmarcRecord, Durations, IprevRecord, RULES_MAX,
    STAGES_MAX, Shown, SpfRecord, TlsRecord, VERDICTS_MAX,
};

use crate::evaluation::unix_ms;
use crate::message::Objection;
use crate::message_id::MessageId;
use crate::peer::{Peer, PeerTls};
use crate::shard::Shard;

/// The verdicts of records, in the order in which they are counted; the last is that of an abandoned transaction.
pub(crate) const VERDICTS: [&str; 4] = ["accept", "defer", "reject", "none"];

const _: () = assert!(Stage::ALL.len() <= STAGES_MAX && Rule::ALL.len() <= RULES_MAX && VERDICTS.len() <= VERDICTS_MAX);

/// Who speaks, for every record of a session.
pub(crate) struct Speaker<'a> {
    pub(crate) session_id: &'a str,
    pub(crate) shard: usize,
    pub(crate) client: &'a mx6_policy::Client,
    pub(crate) helo: &'a str,
    pub(crate) tls: Option<&'a PeerTls>,
    pub(crate) early_talker: bool,
}

impl<'a> Speaker<'a> {
    /// A client whose session is under way on shard `shard`.
    pub(crate) fn new(peer: &'a Peer, shard: usize) -> Speaker<'a> {
        Speaker {
            session_id: &peer.session_id,
            shard,
            client: &peer.client,
            helo: &peer.helo,
            tls: peer.tls.as_ref(),
            early_talker: peer.early_talker,
        }
    }
}

/// Envelope of the decision.
pub(crate) struct About<'a> {
    pub(crate) mail_from: &'a str,
    pub(crate) rcpt_to: &'a str,
    pub(crate) domain: &'a str,
    pub(crate) class: Option<RecipientClass>,
    pub(crate) message_id: Option<&'a MessageId>,
    pub(crate) size_octets: Option<u64>,
    /// What became of it for this recipient, where that may differ from what the client was told.
    pub(crate) own_outcome: Option<&'a Outcome>,
}

/// What was known by then.
#[derive(Default)]
pub(crate) struct Known<'a> {
    pub(crate) iprev: Option<&'a Iprev>,
    pub(crate) spf: Option<&'a Spf>,
    pub(crate) dkim: Option<(&'a [Dkim], CacheState)>,
    pub(crate) dmarc: Option<&'a Dmarc>,
}

/// What was decided, by whom.
pub(crate) struct Decided<'a> {
    pub(crate) stage: Stage,
    pub(crate) rule: Rule,
    /// None: the transaction was abandoned.
    pub(crate) verdict: Option<&'a Verdict>,
    pub(crate) would: Option<&'a Objection>,
    pub(crate) delivered: Option<(&'a Outcome, &'a Route)>,
}

/// Counts a decision about a recipient, and writes its record. What was accepted without objection may be passed over: of so many only one
/// is recorded by configuration, and none while the log is far behind, so that refusals find room.
pub(crate) fn write(
    shard: &Shard,
    speaker: &Speaker<'_>,
    about: &About<'_>,
    known: &Known<'_>,
    decided: &Decided<'_>,
    durations: Durations,
) {
    let verdict = count(shard, decided);
    if let Some((rule, _)) = decided.would {
        shard.counters.would_refuse(*rule as usize);
    }
    let mut recorder = shard.recorder.borrow_mut();
    let matters = verdict != VERDICTS[0] || decided.would.is_some();
    if !matters && (!shard.is_sampled() || recorder.is_half_full()) {
        shard.counters.add_one(Counter::RecordsSampled);
        recorder.pass_over();
        return;
    }
    recorder.record(decision(speaker, about, known, decided, durations));
}

/// Counts a refusal before there was a recipient, and writes its record unless a storm of them would fill the disk.
pub(crate) fn write_early(
    shard: &Shard,
    speaker: &Speaker<'_>,
    mail_from: &str,
    (stage, rule, reply): (Stage, Rule, &Reply),
    is_recorded: bool,
) {
    let verdict = Verdict::Defer(reply.clone());
    let decided = Decided { stage, rule, verdict: Some(&verdict), would: None, delivered: None };
    count(shard, &decided);
    let mut recorder = shard.recorder.borrow_mut();
    if !is_recorded {
        recorder.pass_over();
        return;
    }
    let about = About {
        mail_from,
        rcpt_to: "",
        domain: "",
        class: None,
        message_id: None,
        size_octets: None,
        own_outcome: None,
    };
    recorder.record(decision(speaker, &about, &Known::default(), &decided, Durations::default()));
}

/// Counts a decision; returns its verdict.
fn count(shard: &Shard, decided: &Decided<'_>) -> &'static str {
    let (word, _) = verdict_and_reply(decided);
    let verdict = VERDICTS.iter().position(|verdict| *verdict == word).unwrap_or(VERDICTS.len() - 1);
    shard.counters.decided(DecisionKey { stage: decided.stage as usize, rule: decided.rule as usize, verdict });
    word
}

/// The verdict that the client heard, and the reply.
fn verdict_and_reply<'a>(decided: &Decided<'a>) -> (&'static str, Option<&'a Reply>) {
    match (&decided.delivered, decided.verdict) {
        (Some((outcome, _)), Some(Verdict::Accept)) => (outcome_verdict(outcome), Some(outcome.reply())),
        (_, Some(verdict)) => (verdict.word(), verdict.reply()),
        (_, None) => ("none", None),
    }
}

fn decision<'a>(
    speaker: &Speaker<'a>,
    about: &About<'a>,
    known: &Known<'a>,
    decided: &'a Decided<'a>,
    durations: Durations,
) -> Decision<'a> {
    let (verdict, reply) = verdict_and_reply(decided);
    Decision {
        unix_ms: unix_ms(),
        session: speaker.session_id,
        shard: speaker.shard,
        client: speaker.client.address(),
        connector: speaker.client.is_connector(),
        tls: speaker.tls.map(tls_record),
        early_talker: speaker.early_talker,
        helo: speaker.helo,
        mail_from: about.mail_from,
        rcpt_to: about.rcpt_to,
        domain: about.domain,
        class: about.class.map(RecipientClass::word),
        stage: decided.stage.name(),
        rule: decided.rule.name(),
        verdict,
        reply: reply.map_or(Shown(&""), |reply| Shown(reply)),
        would_rule: decided.would.map(|(rule, _)| rule.name()),
        would: decided.would.map(|(_, reply)| Shown(reply)),
        delivery: decided.delivered.map(|delivered| delivery_record(delivered, about.own_outcome)),
        message_id: about.message_id.map(MessageId::as_str),
        size_octets: about.size_octets,
        iprev: known.iprev.map(iprev_record),
        spf: known.spf.map(spf_record),
        dkim: known.dkim.map(|(dkim, _)| dkim.iter().map(dkim_record).collect()),
        dkim_cache: known.dkim.map(|(_, cache)| cache.word()),
        dmarc: known.dmarc.map(dmarc_record),
        duration_ms: durations,
        unrecorded: None,
    }
}

/// The verdict that the client hears when delivery has the last word.
fn outcome_verdict(outcome: &Outcome) -> &'static str {
    let reply = outcome.reply();
    if reply.is_positive() {
        "accept"
    } else if reply.is_transient() {
        "defer"
    } else {
        "reject"
    }
}

/// `mailfrom` or `helo`, as in Authentication-Results' `smtp.` properties.
pub(crate) fn identity_word(identity: SpfIdentity) -> &'static str {
    match identity {
        SpfIdentity::MailFrom => "mailfrom",
        SpfIdentity::Helo => "helo",
    }
}

fn tls_record(tls: &PeerTls) -> TlsRecord<'_> {
    TlsRecord { version: tls.version, cipher: &tls.cipher, connector: tls.connector.as_deref() }
}

fn delivery_record<'a>(
    (outcome, route): (&'a Outcome, &'a Route),
    own_outcome: Option<&'a Outcome>,
) -> DeliveryRecord<'a> {
    DeliveryRecord {
        outcome: own_outcome.unwrap_or(outcome).word(),
        reply: own_outcome.map(|own| Shown(own.reply())),
        next_hop: route.next_hop.as_deref(),
        stage: route.stage.word(),
        connection: route.connection.map(Reuse::word),
        fault: route.fault,
        replays: route.replays,
    }
}

fn iprev_record(iprev: &Iprev) -> IprevRecord<'_> {
    IprevRecord { result: iprev.result.word(), names: &iprev.names, cache: iprev.cache.word() }
}

fn spf_record(spf: &Spf) -> SpfRecord<'_> {
    SpfRecord {
        result: spf.result.word(),
        identity: identity_word(spf.identity),
        domain: &spf.domain,
        reason: &spf.reason,
        cache: spf.cache.word(),
    }
}

fn dkim_record(dkim: &Dkim) -> DkimRecord<'_> {
    DkimRecord { result: dkim.result.word(), domain: &dkim.domain, selector: &dkim.selector, reason: &dkim.reason }
}

fn dmarc_record(dmarc: &Dmarc) -> DmarcRecord<'_> {
    DmarcRecord {
        result: dmarc.result.word(),
        policy: dmarc.policy.word(),
        domain: &dmarc.domain,
        cache: dmarc.cache.word(),
    }
}
