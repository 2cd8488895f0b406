//! From what the server knows to the decision record of one recipient.

use mx6_delivery::{Reuse, Route};
use mx6_policy::facts::{CacheState, Dkim, Dmarc, Iprev, Spf, SpfIdentity};
use mx6_policy::{RecipientClass, Rule, Stage};
use mx6_smtp::{Outcome, Reply, Verdict};
use mx6_telemetry::{
    Decision, DeliveryRecord, DkimRecord, DmarcRecord, Durations, IprevRecord, Recorder, Shown, SpfRecord, TlsRecord,
};

use crate::evaluation::unix_ms;
use crate::peer::{Peer, PeerTls};

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
    pub(crate) would: Option<&'a Reply>,
    pub(crate) delivered: Option<(&'a Outcome, &'a Route)>,
}

/// Writes the record.
pub(crate) fn write(
    recorder: &mut Recorder,
    speaker: &Speaker<'_>,
    about: &About<'_>,
    known: &Known<'_>,
    decided: &Decided<'_>,
    durations: Durations,
) {
    recorder.record(&decision(speaker, about, known, decided, durations));
}

/// Writes the record of a refusal before there was a recipient; `unrecorded` before it were only counted.
pub(crate) fn write_early(
    recorder: &mut Recorder,
    speaker: &Speaker<'_>,
    mail_from: &str,
    (stage, rule, reply): (Stage, Rule, &Reply),
    unrecorded: u64,
) {
    let verdict = Verdict::Defer(reply.clone());
    let decided = Decided { stage, rule, verdict: Some(&verdict), would: None, delivered: None };
    let about = About { mail_from, rcpt_to: "", domain: "", class: None, size_octets: None, own_outcome: None };
    let known = Known::default();
    let decision = decision(speaker, &about, &known, &decided, Durations::default());
    recorder.record(&Decision { unrecorded: (unrecorded > 0).then_some(unrecorded), ..decision });
}

fn decision<'a>(
    speaker: &Speaker<'a>,
    about: &About<'a>,
    known: &Known<'a>,
    decided: &'a Decided<'a>,
    durations: Durations,
) -> Decision<'a> {
    let (verdict, reply) = match (&decided.delivered, decided.verdict) {
        (Some((outcome, _)), Some(Verdict::Accept)) => (outcome_verdict(outcome), Some(outcome.reply())),
        (_, Some(verdict)) => (verdict.word(), verdict.reply()),
        (_, None) => ("none", None),
    };
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
        would: decided.would.map(|reply| Shown(reply)),
        delivery: decided.delivered.map(|delivered| delivery_record(delivered, about.own_outcome)),
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
