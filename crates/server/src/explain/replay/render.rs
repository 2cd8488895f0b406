//! How a replay looks: text for people, JSON for programs.

use std::fmt::{self, Write as _};

use serde_json::{Value, json};

use super::conversation::{Message, Transaction};
use super::judge::{Answer, Compared, Judged, Likeness, signatures_are_known};
use super::{Replay, Replayed};
use crate::explain::plain::{is_shown, plain};
use crate::explain::render::{advice_to_json, facts_to_json, names_line, treatment, write_advice, write_facts};

/// How many recipients were answered how.
#[derive(Default)]
struct Tally {
    same: usize,
    differ: usize,
    open: usize,
}

impl Replay {
    fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        let judged = self.sessions.iter().flat_map(|session| &session.transactions);
        for answer in judged.flat_map(|judged| &judged.answers) {
            match answer.likeness {
                Likeness::Same => tally.same += 1,
                Likeness::Differs => tally.differ += 1,
                Likeness::Open(_) => tally.open += 1,
            }
        }
        tally
    }

    /// One JSON object; the names are part of the surface others rely on.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let Tally { same, differ, open } = self.tally();
        let left_out = self.left_out.iter().map(|it| json!({ "session": it.session, "why": it.why }));
        json!({
            "same": same,
            "differ": differ,
            "open": open,
            "sessions": self.sessions.iter().map(session_to_json).collect::<Vec<_>>(),
            "left_out": left_out.collect::<Vec<_>>(),
            "dropped_sessions": self.dropped,
            "missed_events": self.missed,
        })
    }
}

fn session_to_json(session: &Replayed) -> Value {
    let others = session.others.iter().map(|it| json!({ "command": it.command, "then": it.then, "now": it.now }));
    json!({
        "session": session.id,
        "client": session.client,
        "helo": session.helo,
        "tls": session.tls,
        "transactions": session.transactions.iter().map(judged_to_json).collect::<Vec<_>>(),
        "other_replies": others.collect::<Vec<_>>(),
        "said_at_the_end": session.said_at_the_end,
        "cut_off": session.is_cut_off,
    })
}

fn judged_to_json(judged: &Judged) -> Value {
    let Judged { transaction, answers, advice } = judged;
    let mut object = facts_to_json(&transaction.facts);
    object["helo"] = transaction.envelope.helo.clone().into();
    object["mail_from"] = transaction.envelope.mail_from.clone().into();
    object["dkim_known"] = signatures_are_known(transaction).into();
    object["message"] = transaction.message.as_ref().map_or(Value::Null, |message| {
        json!({
            "octets": message.octets,
            "left_out_octets": message.left_out,
            "header_whole": message.header_is_whole,
            "ended": message.has_ended,
        })
    });
    object["answers"] = answers.iter().map(compared_to_json).collect();
    object["advice"] = advice.iter().map(advice_to_json).collect();
    object
}

fn compared_to_json(compared: &Compared) -> Value {
    let (likeness, why) = match &compared.likeness {
        Likeness::Same => ("same", None),
        Likeness::Differs => ("differs", None),
        Likeness::Open(why) => ("open", Some(why)),
    };
    json!({
        "rcpt_to": compared.recipient,
        "class": compared.class.map(mx6_policy::RecipientClass::word),
        "then": answer_to_json(&compared.then),
        "now": answer_to_json(&compared.now),
        "compared": likeness,
        "why": why,
    })
}

fn answer_to_json(answer: &Answer) -> Value {
    let Answer { stage, rule, reply, would, signer } = answer;
    json!({ "stage": stage, "rule": rule, "reply": reply, "would": would, "signer": signer })
}

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        writeln!(text, "names    {}", names_line(&self.names))?;
        for session in &self.sessions {
            write_session(&mut text, session)?;
        }
        self.write_rest(&mut text)?;
        // As in an explanation: each piece is plain already.
        for character in text.trim_end().chars() {
            f.write_char(if character == '\n' || is_shown(character) { character } else { '?' })?;
        }
        Ok(())
    }
}

impl Replay {
    fn write_rest(&self, f: &mut String) -> fmt::Result {
        f.push('\n');
        for left_out in &self.left_out {
            writeln!(f, "session  {} is left out: {}", plain(&left_out.session), left_out.why)?;
        }
        if self.dropped > 0 {
            writeln!(f, "         the trace itself left out {}", counted(self.dropped, "session"))?;
        }
        if self.missed > 0 {
            let events = counted(self.missed, "event");
            writeln!(f, "         the trace missed {events}, of whatever sessions were under way")?;
        }
        let Tally { same, differ, open } = self.tally();
        let sessions = counted(self.sessions.len() as u64, "session");
        let answers = counted((same + differ + open) as u64, "answer");
        write!(f, "{sessions}, {answers}: {same} as then (==)")?;
        let differs = if differ == 1 { "differs" } else { "differ" };
        writeln!(f, ", {differ} {differs} (!=), {open} cannot be told (??)")
    }
}

fn write_session(f: &mut String, session: &Replayed) -> fmt::Result {
    write!(f, "\n=== session  {} of {}", plain(&session.id), session.client)?;
    if !session.helo.is_empty() {
        write!(f, ", HELO {}", plain(&session.helo))?;
    }
    if let Some(tls) = &session.tls {
        write!(f, ", {}", plain(tls))?;
    }
    f.push_str(if session.is_cut_off { "; it went on when the trace ended\n" } else { "\n" });
    for (number, judged) in session.transactions.iter().enumerate() {
        write_judged(f, number + 1, judged)?;
    }
    if session.transactions.is_empty() {
        writeln!(f, "         no MAIL in it")?;
    }
    for other in &session.others {
        writeln!(f, "\nsaid     {}", plain(&shortened(&other.command)))?;
        writeln!(f, "then     {}\nnow  !=  {}", plain(&other.then), plain(&other.now))?;
    }
    if let Some(said) = &session.said_at_the_end {
        writeln!(f, "\nat last  {}", plain(said))?;
    }
    Ok(())
}

fn write_judged(f: &mut String, number: usize, judged: &Judged) -> fmt::Result {
    let Judged { transaction, answers, advice } = judged;
    writeln!(f, "\n{number}. MAIL FROM:<{}>\n", plain(&transaction.envelope.mail_from))?;
    write_facts(f, &transaction.facts, signatures_are_known(transaction))?;
    writeln!(f, "message  {}", message_line(transaction))?;
    for answer in answers {
        write_compared(f, answer)?;
    }
    if answers.is_empty() {
        writeln!(f, "\n         no RCPT in it")?;
    }
    let is_on_trial = answers.iter().any(|answer| answer.now.would.is_some());
    write_advice(f, advice, is_on_trial)
}

fn message_line(transaction: &Transaction) -> String {
    let Some(message) = &transaction.message else { return "never sent".to_owned() };
    let Message { octets, left_out, header_is_whole, has_ended, .. } = message;
    let mut line = counted(*octets, "octet");
    if *left_out > 0 {
        let how_far = if *header_is_whole { "of its body" } else { "of its header section too" };
        let _ = write!(line, "; {left_out} more, {how_far}, are not in the transcript");
    }
    if !has_ended {
        line.push_str("; its end never came");
    }
    line
}

fn write_compared(f: &mut String, compared: &Compared) -> fmt::Result {
    match &compared.recipient {
        Some(path) => write!(f, "\nto       {}", plain(path))?,
        None => f.push_str("\nto       MAIL"),
    }
    writeln!(f, "{}", compared.class.map_or_else(String::new, |class| format!(" ({})", treatment(Some(class)))))?;
    write_answer(f, "then     ", &compared.then)?;
    let mark = match compared.likeness {
        Likeness::Same => "now  ==  ",
        Likeness::Differs => "now  !=  ",
        Likeness::Open(_) => "now  ??  ",
    };
    write_answer(f, mark, &compared.now)?;
    if let Likeness::Open(why) = &compared.likeness {
        writeln!(f, "         {}", plain(why))?;
    }
    Ok(())
}

fn write_answer(f: &mut String, label: &str, answer: &Answer) -> fmt::Result {
    let reply = answer.reply.as_deref().unwrap_or("(no reply)");
    let rule = answer.rule.as_ref().map_or_else(String::new, |rule| format!(", {}", plain(rule)));
    writeln!(f, "{label}{} ({}{rule})", plain(reply), answer.stage)?;
    if let Some(would) = &answer.would {
        writeln!(f, "         on trial; enforced it would be: {}", plain(would))?;
    }
    Ok(())
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn shortened(command: &str) -> String {
    let mut short: String = command.chars().take(COMMAND_CHARACTERS_MAX).collect();
    if short.len() < command.len() {
        short.push('…');
    }
    short
}

const COMMAND_CHARACTERS_MAX: usize = 100;
