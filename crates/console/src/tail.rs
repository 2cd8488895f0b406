//! Decision records for an operator's eyes: which ones, and each as one aligned line.

use ipnet::IpNet;

use crate::escape::printable as plain;
use crate::records::{Line, Record};
use crate::units::counted;

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
    pub fn matches(&self, record: &Record<'_>) -> bool {
        let any = |wanted: &[String], found: &str| {
            wanted.is_empty() || wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(found))
        };
        let one = |wanted: &Option<String>, found: &str| any(wanted.as_slice(), found);
        any(&self.rules, &record.rule)
            && any(&self.verdicts, &record.verdict)
            && any(&self.domains, &record.domain)
            && one(&self.session, &record.session)
            && one(&self.helo, &record.helo)
            && one(&self.stage, &record.stage)
            && (self.prefixes.is_empty() || self.prefixes.iter().any(|network| network.contains(&record.client)))
            && (!self.refused || matches!(&*record.verdict, "defer" | "reject"))
    }

    /// Whether anything is left out.
    #[must_use]
    pub fn is_given(&self) -> bool {
        let lists = [&self.rules, &self.verdicts, &self.domains];
        let words = [&self.session, &self.helo, &self.stage];
        let is_listed = lists.iter().any(|list| !list.is_empty()) || !self.prefixes.is_empty();
        self.refused || is_listed || words.iter().any(|word| word.is_some())
    }

    /// As much of it as `/decisions` can take: the gate then sends less, and less is missed. What it sends is looked at again.
    #[must_use]
    pub fn query(&self) -> Vec<(&'static str, String)> {
        let prefixes: Vec<String> = self.prefixes.iter().map(ToString::to_string).collect();
        let kinds =
            [("rule", &self.rules), ("verdict", &self.verdicts), ("domain", &self.domains), ("prefix", &prefixes)];
        let single = kinds.into_iter().filter_map(|(name, values)| match values.as_slice() {
            [value] => Some((name, value.to_ascii_lowercase())),
            _ => None,
        });
        single.collect()
    }
}

/// A network, or an address as a network of its own.
///
/// # Errors
/// What to write instead.
pub fn network(text: &str) -> Result<IpNet, String> {
    let network = text.parse().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from));
    network.ok_or_else(|| "write 2001:db8::/64, 192.0.2.0/24 or an address".to_owned())
}

/// How lines are shown.
#[derive(Debug, Clone, Copy)]
pub struct Looks {
    /// No line has more characters.
    pub width: usize,
    /// Coloured by the verdict.
    pub colour: bool,
    /// As they are in the log.
    pub json: bool,
}

/// What is printed for a line of the log, with its end; none if nothing is. What is no record, or says that some were lost, cannot match: it is
/// told nevertheless, because it stands for decisions that might have.
#[must_use]
pub fn shown(line: &[u8], filter: &Filter, looks: Looks) -> Option<Vec<u8>> {
    let text = match Line::parse(line) {
        Ok(Line::Record(record)) if !filter.matches(&record) => return None,
        Ok(_) if looks.json => return Some([line, b"\n"].concat()),
        Ok(Line::Record(record)) => row(&record, looks.width, looks.colour),
        Ok(Line::Lost(lost)) => lost_row(lost, "the ring or the disk was full", looks),
        Err(_) if looks.json || filter.is_given() => return None,
        Err(_) => dim(&crate::escape::octets(line, looks.width), looks.colour),
    };
    Some((text + "\n").into_bytes())
}

/// A line that says that `lost` records are not here, and why.
#[must_use]
pub fn lost_row(lost: u64, why: &str, looks: Looks) -> String {
    let line = plain(&format!("!! {} missing here: {why}", counted(lost, "decision")), looks.width);
    if looks.colour { format!("\x1b[1;33m{line}\x1b[0m") } else { line }
}

/// A record as one line of at most `width` characters, without its end; coloured by the verdict if asked.
#[must_use]
pub fn row(record: &Record<'_>, width: usize, colour: bool) -> String {
    let clock = crate::calendar::Utc(record.unix_ms).to_string().get(11..).unwrap_or_default().to_owned();
    let (verdict, rule) = match &record.would_rule {
        Some(rule) => ("trial", rule.to_string()),
        None => (&*record.verdict, record.rule.to_string()),
    };
    let path = |path: &str| if path.is_empty() { "-".to_owned() } else { path.to_owned() };
    let client = record.client.to_string();
    let columns = if width >= WIDE {
        let milliseconds = format!("{clock}.{:03}", record.unix_ms % 1000);
        let way = format!("<{}> → <{}>", &*record.mail_from, &*record.rcpt_to);
        vec![
            (milliseconds, 12),
            (verdict.to_owned(), 6),
            (rule, 21),
            (record.stage.to_string(), 11),
            (client, 25),
            (results(record).join("/"), 22),
            (record.helo.to_string(), 24),
            (format!("{way}  {}", &*record.reply), usize::MAX),
        ]
    } else {
        let is_medium = width >= MEDIUM;
        let mut columns = vec![(clock, 8), (verdict.to_owned(), 6), (rule, if is_medium { 21 } else { 16 })];
        if width >= NARROW {
            columns.push((client, 24));
        }
        columns.push((path(&record.rcpt_to), if is_medium { 30 } else { usize::MAX }));
        if is_medium {
            columns.push((record.reply.to_string(), usize::MAX));
        }
        columns
    };
    let last = columns.len() - 1;
    let cell = |(at, (text, most)): (usize, &(String, usize))| match at {
        at if at == last => plain(text, CHARACTERS_MAX),
        _ => format!("{:most$}", plain(text, *most)),
    };
    let cells: Vec<String> = columns.iter().enumerate().map(cell).collect();
    let line = plain(&cells.join(" "), width);
    match (colour, verdict) {
        (true, "accept") => format!("\x1b[32m{line}\x1b[0m"),
        (true, "defer" | "trial") => format!("\x1b[33m{line}\x1b[0m"),
        (true, "reject") => format!("\x1b[31m{line}\x1b[0m"),
        _ => line,
    }
}

fn dim(line: &str, colour: bool) -> String {
    if colour { format!("\x1b[2m{line}\x1b[0m") } else { line.to_owned() }
}

/// What reverse DNS, SPF and DKIM said, the best of the signatures; `-` for what was not known by then.
#[must_use]
pub fn results<'a>(record: &'a Record<'_>) -> [&'a str; 3] {
    let iprev = record.iprev.as_ref().map_or("-", |iprev| &iprev.result);
    let spf = record.spf.as_ref().map_or("-", |spf| &spf.result);
    let signatures = record.dkim.as_deref().unwrap_or_default();
    let best = signatures.iter().find(|signature| &*signature.result == "pass").or_else(|| signatures.first());
    [iprev, spf, best.map_or("-", |signature| &signature.result)]
}

/// From so many characters on there is room for everything.
const WIDE: usize = 170;
/// For the reply as well.
const MEDIUM: usize = 110;
/// For the client.
const NARROW: usize = 72;
/// Of one path or reply.
const CHARACTERS_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"time":"2026-11-26T21:00:01.250Z","session":"S1","client":"2001:db8::1","helo":"mx.\u001b[2Jexample","mail_from":"a@b.example","rcpt_to":"c@d.example","domain":"d.example","stage":"rcpt","rule":"reverse-dns","verdict":"defer","reply":"450 4.7.25 no","iprev":{"result":"fail"},"dkim":[{"result":"fail"},{"result":"pass"}],"new":1}"#;

    fn record(line: &str) -> Record<'_> {
        let Ok(Line::Record(record)) = Line::parse(line.as_bytes()) else { panic!("{line}") };
        *record
    }

    #[test]
    fn a_row_is_aligned_and_fits() {
        let record = record(LINE);
        for (width, expected) in [
            (
                200,
                "21:00:01.250 defer  reverse-dns           rcpt        2001:db8::1               fail/-/pass            \
                 mx.\\u{1b}[2Jexample      <a@b.example> → <c@d.example>  450 4.7.25 no",
            ),
            (
                120,
                "21:00:01 defer  reverse-dns           2001:db8::1              c@d.example                    450 4.7.25 no",
            ),
            (80, "21:00:01 defer  reverse-dns      2001:db8::1              c@d.example"),
            (60, "21:00:01 defer  reverse-dns      c@d.example"),
            (40, "21:00:01 defer  reverse-dns      c@d.ex…"),
        ] {
            assert_eq!(row(&record, width, false), expected);
        }
        assert!(row(&record, 80, true).starts_with("\x1b[33m21:"));
        let trial = LINE.replace("\"defer\"", "\"accept\",\"would\":\"450 4\",\"would_rule\":\"spf-or-dkim\"");
        assert_eq!(row(&self::record(&trial), 60, false), "21:00:01 trial  spf-or-dkim      c@d.example");
    }

    #[test]
    fn filters() {
        let record = record(LINE);
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let none = Filter::default;
        for (filter, shown) in [
            (none(), true),
            (Filter { rules: words(&["spf-or-dkim", "reverse-dns"]), ..none() }, true),
            (Filter { rules: words(&["spf-or-dkim"]), ..none() }, false),
            (Filter { verdicts: words(&["accept"]), ..none() }, false),
            (Filter { domains: words(&["D.example"]), ..none() }, true),
            (Filter { domains: words(&["b.example"]), ..none() }, false),
            (Filter { prefixes: vec!["2001:db8::/32".parse().unwrap()], ..none() }, true),
            (Filter { prefixes: vec!["192.0.2.0/24".parse().unwrap()], ..none() }, false),
            (Filter { session: Some("S2".into()), ..none() }, false),
            (Filter { stage: Some("rcpt".into()), refused: true, ..none() }, true),
            (Filter { rules: words(&["reverse-dns"]), stage: Some("connect".into()), ..none() }, false),
        ] {
            assert_eq!(filter.matches(&record), shown, "{filter:?}");
        }
        let many = Filter { rules: words(&["a", "b"]), domains: words(&["D.example"]), refused: true, ..none() };
        assert_eq!(many.query(), [("domain", "d.example".to_owned())]);
        assert!(many.is_given() && !none().is_given());
    }

    #[test]
    fn what_is_no_record() {
        let looks = Looks { width: 60, colour: false, json: false };
        let shown = |line: &[u8], filter: &Filter, looks| {
            shown(line, filter, looks).map(|line| String::from_utf8(line).unwrap())
        };
        let (none, some) = (Filter::default(), Filter { refused: true, ..Filter::default() });
        for (line, all, filtered) in [
            (&b"a\x1b[0m\xff"[..], Some("a\\u{1b}[0m\\xff\n"), None),
            (
                b"{\"records_lost\":3}",
                Some("!! 3 decisions missing here: the ring or the disk was full\n"),
                Some("!! 3 decisions missing here: the ring or the disk was full\n"),
            ),
            (b"{\"time\":1}", Some("{\"time\":1}\n"), None),
        ] {
            assert_eq!(shown(line, &none, looks).as_deref(), all);
            assert_eq!(shown(line, &some, looks).as_deref(), filtered);
        }
        let json = Looks { json: true, ..looks };
        assert_eq!(shown(LINE.as_bytes(), &none, json), Some(format!("{LINE}\n")));
        assert_eq!(shown(b"torn", &none, json), None);
    }
}
