//! What each field of a decision record means, for the manual. The test below holds the table against records as they are written.

use std::fmt::Write as _;

/// A field of the record, as an operator reads it.
struct Field {
    /// Its path: `spf.result` is a field of the object `spf`, `dkim[].result` one of each entry of the list `dkim`.
    path: &'static str,
    kind: Kind,
    /// When it is there; none: always, or whenever the object is that it belongs to.
    present: Option<&'static str>,
    meaning: &'static str,
}

/// What a field holds, in JSON's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Truth,
    Texts,
    Object,
    Objects,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Text => "string",
            Kind::Number => "number",
            Kind::Truth => "true or false",
            Kind::Texts => "list of strings",
            Kind::Object => "object",
            Kind::Objects => "list of objects",
        }
    }
}

/// Every field of a decision record as a markdown table, in the order of the line.
#[must_use]
pub fn records_reference() -> String {
    let mut out = "| field | value | present | what it says |\n|---|---|---|---|\n".to_owned();
    for field in FIELDS {
        let always = if field.path.contains('.') { "with its object" } else { "always" };
        let present = field.present.unwrap_or(always);
        let _ = writeln!(out, "| `{}` | {} | {present} | {} |", field.path, field.kind.word(), field.meaning);
    }
    out
}

const fn field(path: &'static str, kind: Kind, meaning: &'static str) -> Field {
    Field { path, kind, present: None, meaning }
}

impl Field {
    const fn when(self, present: &'static str) -> Field {
        Field { present: Some(present), ..self }
    }
}

const FIELDS: &[Field] = &[
    field("time", Kind::Text, "When it was decided: RFC 3339, UTC, milliseconds."),
    field("session", Kind::Text, "Id of the session; it also stands in the `Received` field of the message."),
    field("shard", Kind::Number, "The shard that served the session, from 0."),
    field("client", Kind::Text, "The client's address (RFC 5952); behind a balancer the one that its PROXY header names."),
    field("connector", Kind::Truth, "The client is a partner, by `connector` or `connector-cert`, and skips the three rules."),
    field("tls", Kind::Object, "TLS of the session.").when("inside TLS"),
    field("tls.version", Kind::Text, "`TLSv1.2` or `TLSv1.3`."),
    field("tls.cipher", Kind::Text, "The cipher suite, by IANA's name."),
    field("tls.connector", Kind::Text, "The `connector-cert` that the client's certificate fits, as configured.")
        .when("a certificate made the client a partner"),
    field("early_talker", Kind::Truth, "The client sent before its turn.").when("only when true"),
    field("helo", Kind::Text, "The name that the client gave in HELO or EHLO; empty before."),
    field("mail_from", Kind::Text, "The reverse-path without brackets; empty for the null one and before MAIL."),
    field("rcpt_to", Kind::Text, "The forward-path without brackets; empty at stages `connect` and `mail`."),
    field("domain", Kind::Text, "The recipient's domain, A-labels in lower case; empty for `<postmaster>` and without a recipient."),
    field("class", Kind::Text, "How the three rules treat the recipient: `enforced`, `monitored` or `exempt`.")
        .when("known by then"),
    field("stage", Kind::Text, "Where it was decided: `connect`, `mail`, `rcpt` or `end-of-data`."),
    field("rule", Kind::Text, "The rule that decided; `accepted` if none objected. The names are those of [What it answers](../replies.md)."),
    field("verdict", Kind::Text, "What the client was told: `accept`, `defer` (4xx), `reject` (5xx); `none` if the transaction was abandoned."),
    field("reply", Kind::Text, "The reply, its lines joined by ` / `; empty when none was given."),
    field("would_rule", Kind::Text, "The rule that would have objected, were it enforced.").when("on trial, when a rule objects"),
    field("would", Kind::Text, "The reply that the client would have heard.").when("together with `would_rule`"),
    field("delivery", Kind::Object, "What the next hop, or the store, did.").when("it was asked"),
    field("delivery.outcome", Kind::Text, "`accepted`, `refused` or `unknown`; for this recipient, where LMTP tells them apart."),
    field("delivery.reply", Kind::Text, "The next hop's own reply for this recipient; the client may have heard another.")
        .when("one of several replies (LMTP)"),
    field("delivery.next_hop", Kind::Text, "The next hop, as in `deliver`.").when("delivery is by SMTP or LMTP"),
    field("delivery.stage", Kind::Text, "How far it came: `connect`, `greeting`, `ehlo`, `xclient`, `mail`, `rcpt`, `data`, `body` or `end-of-data`."),
    field("delivery.connection", Kind::Text, "`fresh`, or `pooled` if an open connection was used again.")
        .when("there was a connection to a next hop"),
    field("delivery.fault", Kind::Text, "Why it failed, in words.").when("it failed otherwise than by a reply"),
    field("delivery.replays", Kind::Number, "How often MAIL and RCPT were said again on another connection."),
    field("message_id", Kind::Text, "Message-ID without its angle brackets, cut at 255 octets.")
        .when("at `end-of-data`, if the message has one"),
    field("size_octets", Kind::Number, "Octets of the message as it was received.").when("at `end-of-data`"),
    field("iprev", Kind::Object, "Reverse DNS of the client.").when("known by then"),
    field("iprev.result", Kind::Text, "`pass` (a name resolves back), `fail`, `temperror` or `permerror` (RFC 8601)."),
    field("iprev.names", Kind::Texts, "The names of the PTR records."),
    field("iprev.cache", Kind::Text, "Where the answer came from: `hit`, `miss`, `stale` (after its TTL, RFC 8767) or `unused`."),
    field("spf", Kind::Object, "SPF (RFC 7208).").when("known by then"),
    field("spf.result", Kind::Text, "`pass`, `fail`, `softfail`, `neutral`, `none`, `temperror` or `permerror`."),
    field("spf.identity", Kind::Text, "Whose domain was evaluated: `mailfrom`, or `helo` for the null reverse-path."),
    field("spf.domain", Kind::Text, "The domain that was evaluated."),
    field("spf.reason", Kind::Text, "The mechanism that matched, or what went wrong."),
    field("spf.cache", Kind::Text, "As `iprev.cache`."),
    field("dkim", Kind::Objects, "DKIM (RFC 6376), one entry for each signature looked at, ten at most.").when("at `end-of-data`"),
    field("dkim[].result", Kind::Text, "`pass`, `fail`, `neutral`, `policy`, `temperror` or `permerror`."),
    field("dkim[].domain", Kind::Text, "The signature's `d=`."),
    field("dkim[].selector", Kind::Text, "The signature's `s=`."),
    field("dkim[].reason", Kind::Text, "Why, in words; empty for a pass."),
    field("dkim_cache", Kind::Text, "Where the keys came from, as `iprev.cache`.").when("together with `dkim`"),
    field("dmarc", Kind::Object, "DMARC (RFC 7489); it decides nothing here.").when("at `end-of-data`"),
    field("dmarc.result", Kind::Text, "`pass`, `fail`, `none`, `temperror` or `permerror`."),
    field("dmarc.policy", Kind::Text, "What the domain asks for: `none`, `quarantine` or `reject`."),
    field("dmarc.domain", Kind::Text, "The domain of the From field."),
    field("dmarc.cache", Kind::Text, "As `iprev.cache`."),
    field("duration_ms", Kind::Object, "Where the time went, in milliseconds of the monotonic clock."),
    field("duration_ms.session", Kind::Number, "From accept to this decision."),
    field("duration_ms.iprev", Kind::Number, "The lookup of reverse DNS."),
    field("duration_ms.spf", Kind::Number, "The lookups of SPF."),
    field("duration_ms.dkim", Kind::Number, "The lookup of the DKIM keys."),
    field("duration_ms.rcpt", Kind::Number, "What the next hop took to answer RCPT."),
    field("duration_ms.verdict", Kind::Number, "From the final dot to the verdict; 0 before."),
    field("duration_ms.delivery", Kind::Number, "From the verdict to the outcome; 0 if delivery was not asked."),
    field("unrecorded", Kind::Number, "Decisions of the shard since its last record that were counted and not recorded: `log-sample`, or a storm of refusals.")
        .when("there are any"),
];

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;
    use crate::{
        Decision, DeliveryRecord, DkimRecord, DmarcRecord, Durations, IprevRecord, Shown, SpfRecord, TlsRecord,
    };

    /// Paths and kinds of all that is in `value`, as the table writes them.
    fn collect(value: &Value, path: &str, into: &mut BTreeMap<String, Kind>) {
        let kind = match value {
            Value::String(_) => Kind::Text,
            Value::Number(_) => Kind::Number,
            Value::Bool(_) => Kind::Truth,
            Value::Array(entries) if entries.iter().all(Value::is_string) => Kind::Texts,
            Value::Array(_) => Kind::Objects,
            Value::Object(_) => Kind::Object,
            Value::Null => panic!("{path} is null: a field that says nothing is left out"),
        };
        if !path.is_empty() {
            into.insert(path.to_owned(), kind);
        }
        let prefix = match kind {
            Kind::Objects => format!("{path}[]."),
            _ if path.is_empty() => String::new(),
            _ => format!("{path}."),
        };
        let objects = match value {
            Value::Array(entries) => entries.iter().filter_map(Value::as_object).collect(),
            Value::Object(object) => vec![object],
            _ => Vec::new(),
        };
        for (name, value) in objects.into_iter().flatten() {
            collect(value, &format!("{prefix}{name}"), into);
        }
    }

    fn fields(decision: &Decision<'_>) -> BTreeMap<String, Kind> {
        let mut found = BTreeMap::new();
        collect(&serde_json::to_value(decision).unwrap(), "", &mut found);
        found
    }

    /// The least that a record says.
    pub(crate) fn least() -> Decision<'static> {
        Decision {
            unix_ms: 0,
            session: "1",
            shard: 0,
            client: "2001:db8::1".parse().unwrap(),
            connector: false,
            tls: None,
            early_talker: false,
            helo: "",
            mail_from: "",
            rcpt_to: "",
            domain: "",
            class: None,
            stage: "connect",
            rule: "session-limit",
            verdict: "defer",
            reply: Shown(&""),
            would_rule: None,
            would: None,
            delivery: None,
            message_id: None,
            size_octets: None,
            iprev: None,
            spf: None,
            dkim: None,
            dkim_cache: None,
            dmarc: None,
            duration_ms: Durations::default(),
            unrecorded: None,
        }
    }

    fn delivery(full: bool) -> DeliveryRecord<'static> {
        DeliveryRecord {
            outcome: "accepted",
            reply: full.then_some(Shown(&"250 OK")),
            next_hop: full.then_some("lmtp://[::1]:24"),
            stage: "end-of-data",
            connection: full.then_some("fresh"),
            fault: full.then_some("timeout"),
            replays: 0,
        }
    }

    /// All that a record can say: a new field of the struct does not compile until it stands here.
    pub(crate) fn most(names: &[String]) -> Decision<'_> {
        Decision {
            tls: Some(TlsRecord { version: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384", connector: Some("sha256:00") }),
            early_talker: true,
            class: Some("monitored"),
            would_rule: Some("reverse-dns"),
            would: Some(Shown(&"450")),
            delivery: Some(delivery(true)),
            message_id: Some("1@pass.example"),
            size_octets: Some(1),
            iprev: Some(IprevRecord { result: "pass", names, cache: "hit" }),
            spf: Some(SpfRecord { result: "pass", identity: "mailfrom", domain: "a", reason: "mx", cache: "hit" }),
            dkim: Some(vec![DkimRecord { result: "pass", domain: "a", selector: "b", reason: "" }]),
            dkim_cache: Some("miss"),
            dmarc: Some(DmarcRecord { result: "pass", policy: "none", domain: "a", cache: "hit" }),
            unrecorded: Some(1),
            ..least()
        }
    }

    #[test]
    fn the_table_has_what_records_have() {
        let names = ["mail.pass.example".to_owned()];
        let table: BTreeMap<String, Kind> = FIELDS.iter().map(|field| (field.path.to_owned(), field.kind)).collect();
        assert_eq!(table.len(), FIELDS.len(), "a field stands there twice");
        assert_eq!(fields(&most(&names)), table);
    }

    /// What the table calls always present is exactly what the smallest record has.
    #[test]
    fn always_means_always() {
        let names = [];
        let mut least = fields(&least());
        let tls = TlsRecord { version: "TLSv1.2", cipher: "c", connector: None };
        let bare = Decision { tls: Some(tls), delivery: Some(delivery(false)), ..most(&names) };
        let inside = |path: &&String| path.starts_with("tls.") || path.starts_with("delivery.");
        least.extend(fields(&bare).into_iter().filter(|(path, _)| inside(&path)));
        let optional = ["tls.", "delivery.", "duration_ms."];
        let always = FIELDS.iter().filter(|field| {
            let is_looked_at =
                !field.path.contains('.') || optional.iter().any(|object| field.path.starts_with(object));
            field.present.is_none() && is_looked_at
        });
        assert_eq!(least.into_keys().collect::<Vec<_>>(), sorted(always.map(|field| field.path)));
    }

    fn sorted<'a>(paths: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
        let mut paths: Vec<&str> = paths.collect();
        paths.sort_unstable();
        paths
    }

    #[test]
    fn one_row_a_field() {
        let reference = records_reference();
        assert_eq!(reference.lines().count(), FIELDS.len() + 2);
        assert!(reference.contains("| `spf.result` | string | with its object | `pass`, `fail`, "), "{reference}");
        assert!(reference.contains("| `would_rule` | string | on trial, when a rule objects | "), "{reference}");
        assert!(FIELDS.iter().all(|field| !field.meaning.contains('|')), "a bar would be a cell's end");
    }
}
