//! Decision records for an operator's eyes: which ones, and each as one aligned line.

use ipnet::IpNet;
use serde_json::Value;

use crate::escape::printable as plain;

/// Which records are shown: those that match every kind that is given, by any of its values.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Rules.
    pub rules: Vec<String>,
    /// Verdicts.
    pub verdicts: Vec<String>,
    /// Recipient domains, as A-labels.
    pub domains: Vec<String>,
    /// Networks that the client is in.
    pub prefixes: Vec<IpNet>,
    /// The session's id.
    pub session: Option<String>,
    /// The HELO name, in whatever case.
    pub helo: Option<String>,
    /// The stage.
    pub stage: Option<String>,
    /// Only what was deferred or rejected.
    pub refused: bool,
}

impl Filter {
    /// Whether a record is shown.
    #[must_use]
    pub fn matches(&self, record: &Value) -> bool {
        let any = |wanted: &[String], key| {
            wanted.is_empty() || wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(text(record, key)))
        };
        let one = |wanted: &Option<String>, key| any(wanted.as_slice(), key);
        let client = text(record, "client").parse::<std::net::IpAddr>();
        let inside = |network: &IpNet| client.as_ref().is_ok_and(|client| network.contains(client));
        any(&self.rules, "rule")
            && any(&self.verdicts, "verdict")
            && any(&self.domains, "domain")
            && one(&self.session, "session")
            && one(&self.helo, "helo")
            && one(&self.stage, "stage")
            && (self.prefixes.is_empty() || self.prefixes.iter().any(inside))
            && (!self.refused || matches!(text(record, "verdict"), "defer" | "reject"))
    }
}

/// A network, or an address as a network of its own; none if the text is neither.
#[must_use]
pub fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from))
}

/// A line of the log as a record; none if it is something else.
#[must_use]
pub fn record(line: &[u8]) -> Option<Value> {
    let value: Value = serde_json::from_slice(line).ok()?;
    let is_record = ["time", "verdict", "rule", "stage"].iter().all(|key| value[*key].is_string());
    is_record.then_some(value)
}

/// A record as one line of at most `width` characters, without its end; coloured by the verdict if asked.
#[must_use]
pub fn row(record: &Value, width: usize, colour: bool) -> String {
    let verdict = text(record, "verdict");
    let columns = [
        (text(record, "time").get(11..23).unwrap_or_default().to_owned(), 12),
        (verdict.to_owned(), 6),
        (text(record, "rule").to_owned(), 20),
        (text(record, "stage").to_owned(), 11),
        (text(record, "client").to_owned(), 25),
        (facts(record), 22),
        (text(record, "helo").to_owned(), 20),
    ];
    let aligned: Vec<String> = columns.iter().map(|(text, most)| format!("{:most$}", plain(text, *most))).collect();
    let way = format!("<{}> → <{}>", text(record, "mail_from"), text(record, "rcpt_to"));
    let line = format!("{}  {way}  {}", aligned.join(" "), text(record, "reply"));
    let line = plain(&line, width);
    match (colour, verdict) {
        (true, "accept") => format!("\x1b[32m{line}\x1b[0m"),
        (true, "defer") => format!("\x1b[33m{line}\x1b[0m"),
        (true, "reject") => format!("\x1b[31m{line}\x1b[0m"),
        _ => line,
    }
}

/// A line that is no record, as it is; dimmed if colours are asked for.
#[must_use]
pub fn other(line: &[u8], width: usize, colour: bool) -> String {
    let line = plain(&String::from_utf8_lossy(line), width);
    if colour { format!("\x1b[2m{line}\x1b[0m") } else { line }
}

/// What reverse DNS, SPF and DKIM said, the best of the signatures; `-` for what was not known by then.
fn facts(record: &Value) -> String {
    let result = |key: &str| record[key]["result"].as_str().unwrap_or("-");
    let signatures = record["dkim"].as_array().map(Vec::as_slice).unwrap_or_default();
    let results = || signatures.iter().filter_map(|signature| signature["result"].as_str());
    let dkim = results().find(|result| *result == "pass").or_else(|| results().next()).unwrap_or("-");
    format!("{}/{}/{dkim}", result("iprev"), result("spf"))
}

fn text<'a>(record: &'a Value, key: &str) -> &'a str {
    record[key].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"time":"2026-11-26T21:00:01.250Z","session":"S1","client":"2001:db8::1","helo":"mx.\u001b[2Jexample","mail_from":"a@b.example","rcpt_to":"c@d.example","domain":"d.example","stage":"rcpt","rule":"iprev","verdict":"defer","reply":"450 4.7.25 no","iprev":{"result":"fail"},"dkim":[{"result":"fail"},{"result":"pass"}],"new":1}"#;

    #[test]
    fn a_row_is_aligned_and_fits() {
        let record = record(LINE.as_bytes()).unwrap();
        let line = row(&record, 200, false);
        let expected = "21:00:01.250 defer  iprev                rcpt        2001:db8::1               fail/-/pass            \
                        mx.\\u{1b}[2Jexample   <a@b.example> → <c@d.example>  450 4.7.25 no";
        assert_eq!(line, expected);
        assert_eq!(row(&record, 80, false).chars().count(), 80);
        assert!(row(&record, 80, true).starts_with("\x1b[33m21:"));
    }

    #[test]
    fn filters() {
        let record = record(LINE.as_bytes()).unwrap();
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let none = Filter::default;
        for (filter, shown) in [
            (none(), true),
            (Filter { rules: words(&["spf-dkim", "iprev"]), ..none() }, true),
            (Filter { rules: words(&["spf-dkim"]), ..none() }, false),
            (Filter { verdicts: words(&["accept"]), ..none() }, false),
            (Filter { domains: words(&["D.example"]), ..none() }, true),
            (Filter { domains: words(&["b.example"]), ..none() }, false),
            (Filter { prefixes: vec!["2001:db8::/32".parse().unwrap()], ..none() }, true),
            (Filter { prefixes: vec!["192.0.2.0/24".parse().unwrap()], ..none() }, false),
            (Filter { session: Some("S2".into()), ..none() }, false),
            (Filter { stage: Some("rcpt".into()), refused: true, ..none() }, true),
            (Filter { rules: words(&["iprev"]), stage: Some("connect".into()), ..none() }, false),
        ] {
            assert_eq!(filter.matches(&record), shown, "{filter:?}");
        }
    }

    #[test]
    fn what_is_no_record() {
        for line in ["", "x", "{\"records_lost\":3}", "[]", "{\"time\":1}"] {
            assert!(record(line.as_bytes()).is_none(), "{line}");
        }
        assert_eq!(other(b"a\x1b[0m\xff", 20, false), "a\\u{1b}[0m\u{fffd}");
    }
}
