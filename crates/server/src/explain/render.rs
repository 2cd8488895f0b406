//! How an explanation looks: text for people, JSON for programs.

use std::fmt::{self, Write as _};

use mx6_policy::facts::{CacheState, Facts, MethodResult, PtrState};
use mx6_policy::{RecipientClass, Rule};
use mx6_smtp::Reply;
use serde_json::{Value, json};

use super::Explanation;
use super::advice::{Advice, DnsRecord};
use super::plain::{is_shown, plain};
use crate::config::NameSource;
use crate::record::identity_word;

impl Explanation {
    fn reply(&self) -> String {
        self.verdict.reply().map_or_else(|| "250 2.0.0 OK".to_owned(), Reply::to_string)
    }

    /// One JSON object; the names are part of the surface others rely on.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut object = facts_to_json(&self.facts);
        let decided = json!({
            "verdict": self.verdict.word(),
            "class": self.class.map(RecipientClass::word),
            "stage": self.stage.name(),
            "rule": self.rule.name(),
            "reply": self.reply(),
            "would": self.would.as_ref().map(Reply::to_string),
            "advice": self.advice.iter().map(advice_to_json).collect::<Vec<_>>(),
        });
        if let (Some(object), Value::Object(decided)) = (object.as_object_mut(), decided) {
            object.extend(decided);
        }
        object
    }
}

/// What is known of client and message.
pub(super) fn facts_to_json(facts: &Facts) -> Value {
    let dkim = facts.dkim.iter().map(|dkim| {
        json!({
            "result": dkim.result.word(),
            "domain": dkim.domain,
            "selector": dkim.selector,
            "reason": dkim.reason,
        })
    });
    json!({
        "client": facts.client,
        "iprev": { "result": facts.iprev.result.word(), "names": facts.iprev.names },
        "spf": {
            "result": facts.spf.result.word(),
            "identity": identity_word(facts.spf.identity),
            "domain": facts.spf.domain,
            "reason": facts.spf.reason,
            "explanation": facts.spf.explanation,
        },
        "dkim": dkim.collect::<Vec<_>>(),
        "dmarc": {
            "result": facts.dmarc.result.word(),
            "policy": facts.dmarc.policy.word(),
            "domain": facts.dmarc.domain,
        },
    })
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write(&mut text)?;
        // Senders chose much of this, and each piece is made plain where it goes in: this is for one that was forgotten.
        for character in text.trim_end().chars() {
            f.write_char(if character == '\n' || is_shown(character) { character } else { '?' })?;
        }
        Ok(())
    }
}

impl Explanation {
    fn write(&self, f: &mut String) -> fmt::Result {
        writeln!(f, "names    {}", names_line(&self.names))?;
        writeln!(f, "client   {} ({})", self.facts.client, treatment(self.class))?;
        write_facts(f, &self.facts, true)?;
        writeln!(f, "verdict  {} at {} by rule {}", self.verdict.word(), self.stage.name(), self.rule.name())?;
        if let Some(would) = &self.would {
            writeln!(f, "         on trial; enforced it would be: {}", plain(&would.to_string()))?;
        }
        writeln!(f, "reply    {}", plain(&self.reply()))?;
        write_advice(f, &self.advice, self.would.is_some())
    }
}

/// Where names are looked up.
pub(super) fn names_line(names: &NameSource) -> String {
    match names {
        NameSource::Servers(servers) => format!("DNS, {servers:?}"),
        NameSource::System => "DNS, resolvers of /etc/resolv.conf".to_owned(),
        NameSource::Zone(path) => format!("zone file {}", path.display()),
    }
}

/// Results and where they are from. Where not all of the message is at hand, its signatures are not known.
pub(super) fn write_facts(f: &mut String, facts: &Facts, signatures_are_known: bool) -> fmt::Result {
    write!(f, "iprev    {} {:?}", facts.iprev.result.word(), facts.iprev.names)?;
    match (&facts.iprev.confirmed, facts.iprev.ptr) {
        (Some(name), _) => write!(f, ", {} resolves back", plain(name))?,
        (None, PtrState::Exists) => f.push_str(", no name resolves back"),
        (None, PtrState::Missing) => f.push_str(", no PTR record"),
        (None, PtrState::TempFail) => f.push_str(", the lookup failed for now"),
    }
    writeln!(f, " (PTR of {}{})", facts.client, answered(facts.iprev.cache))?;
    let spf = &facts.spf;
    let identity = identity_word(spf.identity);
    let (domain, reason) = (plain(&spf.domain), plain(&spf.reason));
    write!(f, "spf      {} {identity}={domain}: {reason}", spf.result.word())?;
    writeln!(f, " (TXT of {domain}{})", answered(spf.cache))?;
    if let Some(explanation) = &spf.explanation {
        writeln!(f, "         the sender explains: {}", plain(explanation))?;
    }
    if facts.dkim.is_empty() {
        let none = if signatures_are_known { "none: no signature" } else { "not known: the message is not all there" };
        writeln!(f, "dkim     {none}")?;
    }
    for dkim in &facts.dkim {
        let (domain, selector, reason) = (plain(&dkim.domain), plain(&dkim.selector), plain(&dkim.reason));
        let result = if signatures_are_known { dkim.result.word() } else { "not known" };
        let reason = if signatures_are_known { reason } else { "the message is not all there".to_owned() };
        write!(f, "dkim     {result} d={domain} s={selector}: {reason}")?;
        writeln!(f, " (TXT of {selector}._domainkey.{domain}{})", answered(facts.dkim_cache))?;
    }
    let dmarc = &facts.dmarc;
    if !signatures_are_known && dmarc.result != MethodResult::Pass {
        return writeln!(f, "dmarc    not known: the message is not all there");
    }
    let domain = plain(&dmarc.domain);
    write!(f, "dmarc    {} p={} {domain}", dmarc.result.word(), dmarc.policy.word())?;
    writeln!(f, " (TXT of _dmarc.{domain}{})", answered(dmarc.cache))?;
    Ok(())
}

/// What to do, if anything.
pub(super) fn write_advice(f: &mut String, advice: &[Advice], is_on_trial: bool) -> fmt::Result {
    if advice.is_empty() {
        return Ok(());
    }
    f.push_str("\nWhat to do\n");
    if is_on_trial {
        f.push('\n');
        push_wrapped(
            f,
            "",
            "The message is taken: the rules are on trial for this recipient. Once they hold, it would not be.",
        );
    }
    if advice.iter().any(|advice| is_of_the_three(advice.rule)) {
        f.push('\n');
        push_wrapped(
            f,
            "",
            "Over IPv6 this server takes mail only from addresses with reverse DNS, and only messages that pass SPF or DKIM.",
        );
    }
    let (mut number, mut choice) = (0, 0_u8);
    for advice in advice {
        choice = if advice.is_alternative { choice + 1 } else { 0 };
        number += usize::from(choice <= 1);
        let label = match choice {
            0 => format!("{number}. "),
            1 => {
                write!(f, "\n{number}. One of these is enough:\n")?;
                format!("{number}a. ")
            }
            _ => format!("{number}{}. ", char::from(b'a' + (choice - 1).min(25))),
        };
        write_one(f, &label, advice)?;
    }
    Ok(())
}

/// One advice: records stand at the beginning of lines of their own, those that are to go as comments, so that these lines can be copied into a zone file.
fn write_one(f: &mut String, label: &str, advice: &Advice) -> fmt::Result {
    f.push('\n');
    push_wrapped(f, label, &format!("For {}.", advice.who));
    push_wrapped(f, "", &advice.text);
    for record in &advice.replaces {
        writeln!(f, "\n; is now: {record}")?;
    }
    for record in &advice.records {
        writeln!(f, "\n{record}")?;
    }
    Ok(())
}

fn is_of_the_three(rule: Rule) -> bool {
    matches!(rule, Rule::ReverseDns | Rule::ReverseDnsTempFail | Rule::SpfOrDkim | Rule::SpfOrDkimTempFail)
}

/// One advice, for programs.
pub(super) fn advice_to_json(advice: &Advice) -> Value {
    let records = |records: &[DnsRecord]| -> Vec<Value> { records.iter().map(record_to_json).collect() };
    json!({
        "rule": advice.rule.name(),
        "who": advice.who,
        "text": advice.text,
        "records": records(&advice.records),
        "replaces": records(&advice.replaces),
        "alternative": advice.is_alternative,
    })
}

fn record_to_json(record: &DnsRecord) -> Value {
    json!({ "name": record.name, "type": record.kind, "value": record.value, "ttl": record.ttl_s })
}

/// Appends `text` in lines of at most [`LINE_CHARACTERS_MAX`] behind `label`; a word that is longer has a line of its own.
fn push_wrapped(out: &mut String, label: &str, text: &str) {
    out.push_str(label);
    let mut column = label.chars().count();
    let mut is_first = true;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if !is_first && column + 1 + length > LINE_CHARACTERS_MAX {
            out.push('\n');
            column = 0;
        } else if !is_first {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
        is_first = false;
    }
    out.push('\n');
}

const LINE_CHARACTERS_MAX: usize = 100;

/// Whether the answers were there already: asked for an earlier fact, or in the zone file.
fn answered(cache: CacheState) -> &'static str {
    match cache {
        CacheState::Unused => "",
        CacheState::Hit => ", at hand",
        CacheState::Miss => ", asked",
        CacheState::Stale => ", known from before",
    }
}

/// How the rules treat a recipient.
pub(super) fn treatment(class: Option<RecipientClass>) -> &'static str {
    match class {
        Some(RecipientClass::Enforced) => "the three rules hold",
        Some(RecipientClass::Monitored) => "the three rules hold, on trial",
        Some(RecipientClass::Exempt) => "exempt from the three rules",
        None => "refused at the recipient",
    }
}
