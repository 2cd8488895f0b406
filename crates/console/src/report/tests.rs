//! Records in, figures out.

use std::io::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Options, Report};
use crate::calendar::Utc;

const BEGIN_MS: u64 = 1_795_000_000_000;
const HOUR_MS: u64 = 3_600_000;

fn options() -> Options {
    Options { domains: Vec::new(), since_ms: None, until_ms: None, fallback_window_ms: 24 * HOUR_MS, top: 10 }
}

/// One message as a test tells it.
#[derive(Clone)]
struct Mail {
    /// After the beginning.
    ms: u64,
    session: &'static str,
    client: &'static str,
    from: &'static str,
    to: &'static [&'static str],
    message_id: Option<&'static str>,
    what: What,
}

#[derive(Clone, Copy, PartialEq)]
enum What {
    Accepted,
    /// On trial, at the end of data.
    Would(&'static str),
    /// At RCPT.
    RefusedRcpt(&'static str),
    /// At the end of data.
    Refused(&'static str),
    Abandoned,
}

const V6: &str = "2001:db8:1::66";
const V4: &str = "192.0.2.1";

impl Mail {
    fn new(ms: u64, session: &'static str, client: &'static str, what: What) -> Mail {
        Mail { ms, session, client, from: "a@sender.example", to: &["bob@open.example"], message_id: None, what }
    }

    fn id(self, id: &'static str) -> Mail {
        Mail { message_id: Some(id), ..self }
    }

    fn to(self, to: &'static [&'static str]) -> Mail {
        Mail { to, ..self }
    }

    fn from(self, from: &'static str) -> Mail {
        Mail { from, ..self }
    }

    /// Its records, as a gate writes them.
    fn lines(&self) -> Vec<Value> {
        self.to.iter().enumerate().map(|(number, to)| self.line(number as u64, to)).collect()
    }

    fn line(&self, number: u64, to: &str) -> Value {
        let time = format!(
            "{}.{:03}Z",
            Utc(BEGIN_MS + self.ms).to_string().replace(' ', "T"),
            (BEGIN_MS + self.ms + number) % 1000
        );
        let (stage, rule, verdict) = match self.what {
            What::Accepted => ("end-of-data", "accepted", "accept"),
            What::Would(rule) => ("end-of-data", rule, "accept"),
            What::RefusedRcpt(rule) => ("rcpt", rule, "defer"),
            What::Refused(rule) => ("end-of-data", rule, "defer"),
            What::Abandoned => ("rcpt", "abandoned", "none"),
        };
        let mut line = json!({
            "time": time, "session": self.session, "shard": 0, "client": self.client, "connector": false, "helo": "mail.sender.example",
            "mail_from": self.from, "rcpt_to": to, "domain": to.rsplit_once('@').unwrap().1, "stage": stage, "rule": rule,
            "verdict": verdict, "reply": "", "duration_ms": {"session": 1},
        });
        if stage == "end-of-data" {
            line["size_octets"] = 1000.into();
            line["dmarc"] = json!({"result": "none", "policy": "none", "domain": "from.example", "cache": "hit"});
            line["dkim"] = json!([]);
        }
        if let What::Would(_) = self.what {
            line["would"] = "450 4.7.26 Service unavailable".into();
        }
        if let Some(id) = self.message_id.filter(|_| stage == "end-of-data") {
            line["message_id"] = id.into();
        }
        line
    }
}

fn text_of(mails: &[Mail]) -> String {
    mails.iter().flat_map(Mail::lines).map(|line| format!("{line}\n")).collect()
}

/// Files with those contents, and the folder that holds them.
fn files(contents: &[&[u8]]) -> (TempDir, Vec<PathBuf>) {
    let dir = tempfile::tempdir().unwrap();
    let paths = (0..contents.len()).map(|number| dir.path().join(format!("log.{number}"))).collect::<Vec<_>>();
    for (path, content) in paths.iter().zip(contents) {
        std::fs::write(path, content).unwrap();
    }
    (dir, paths)
}

fn report_on(options: Options, contents: &[&[u8]]) -> Report {
    let (_dir, paths) = files(contents);
    Report::read(options, &paths).unwrap()
}

fn figures(mails: &[Mail]) -> Value {
    report_on(options(), &[text_of(mails).as_bytes()]).to_json()
}

/// `over_ipv4 over_ipv6 in_part not_seen too_recent`, and how many of them by Message-ID.
fn fates(figures: &Value, of: &str) -> String {
    let fates = &figures["total"]["fallback"][of];
    let counts = ["over_ipv4", "over_ipv6", "in_part", "not_seen", "too_recent"].map(|name| fates[name].to_string());
    format!("{} id {}", counts.join(" "), fates["by_message_id"])
}

use What::{Abandoned, Accepted, Refused, RefusedRcpt, Would};

/// Something after the window, so that the records reach beyond it.
fn later() -> Mail {
    Mail::new(60 * HOUR_MS, "z", V6, Accepted).from("z@z.example")
}

#[test]
fn what_was_refused_is_followed() {
    let rcpt = RefusedRcpt("reverse-dns");
    let data = Refused("spf-or-dkim");
    let both: &[&str] = &["bob@open.example", "carol@open.example"];
    let first = |what| Mail::new(0, "s1", V6, what);
    let then = |ms, client, what| Mail::new(ms, "s2", client, what);
    let rows: Vec<(&str, Vec<Mail>, &str)> = vec![
        ("never again", vec![first(rcpt)], "0 0 0 1 0 id 0"),
        ("by envelope", vec![first(rcpt), then(4000, V4, Accepted)], "1 0 0 0 0 id 0"),
        ("an RCPT has no Message-ID", vec![first(rcpt), then(4000, V4, Accepted).id("x")], "1 0 0 0 0 id 0"),
        (
            "by Message-ID",
            vec![first(data).id("x"), then(4000, V4, Accepted).id("x").from("b@bounce.example")],
            "1 0 0 0 0 id 1",
        ),
        (
            "another Message-ID is another message",
            vec![first(data).id("x"), then(4000, V4, Accepted).id("y")],
            "0 0 0 1 0 id 0",
        ),
        ("another sender", vec![first(rcpt), then(4000, V4, Accepted).from("b@sender.example")], "0 0 0 1 0 id 0"),
        ("another recipient", vec![first(rcpt), then(4000, V4, Accepted).to(&["dave@open.example"])], "0 0 0 1 0 id 0"),
        ("over IPv6 later", vec![first(rcpt), then(HOUR_MS, V6, Accepted)], "0 1 0 0 0 id 0"),
        ("after it was put on trial", vec![first(rcpt), then(HOUR_MS, V6, Would("spf-or-dkim"))], "0 1 0 0 0 id 0"),
        ("out of the window", vec![first(rcpt), then(25 * HOUR_MS, V4, Accepted)], "0 0 0 1 0 id 0"),
        (
            "refused again, then back",
            vec![first(rcpt), then(9000, V6, rcpt), then(20_000, V4, Accepted)],
            "1 0 0 0 0 id 0",
        ),
        ("refused over IPv4 too", vec![first(rcpt), then(9000, V4, Refused("delivery"))], "0 0 0 1 0 id 0"),
        ("given up over IPv4", vec![first(rcpt), then(9000, V4, Abandoned)], "0 0 0 1 0 id 0"),
        ("both recipients", vec![first(rcpt).to(both), then(4000, V4, Accepted).to(both)], "1 0 0 0 0 id 0"),
        ("one recipient of two", vec![first(rcpt).to(both), then(4000, V4, Accepted)], "0 0 1 0 0 id 0"),
        (
            "one recipient after the other",
            vec![first(rcpt).to(both), then(4000, V4, Accepted), then(9000, V6, Accepted).to(&["carol@open.example"])],
            "0 1 0 0 0 id 0",
        ),
        (
            "what came before is no coming back",
            vec![then(0, V4, Accepted), Mail::new(9000, "s1", V6, rcpt)],
            "0 0 0 1 0 id 0",
        ),
        (
            "the case of a domain",
            vec![first(rcpt), then(9000, V4, Accepted).from("a@SENDER.example")],
            "1 0 0 0 0 id 0",
        ),
    ];
    for (what, mut mails, expected) in rows {
        mails.push(later());
        let figures = figures(&mails);
        assert_eq!(fates(&figures, "refused"), expected, "{what}: {figures:#}");
    }
    let recent = figures(&[first(rcpt), then(HOUR_MS, V6, Accepted).from("z@z.example")]);
    assert_eq!(fates(&recent, "refused"), "0 0 0 0 1 id 0", "the records end within the window");
}

/// Mail on trial was taken, so what comes with the same envelope and another Message-ID is other mail.
#[test]
fn what_was_on_trial_is_followed() {
    let would = Would("spf-or-dkim");
    let first = Mail::new(0, "s1", V6, would);
    let then = |client, what| Mail::new(9000, "s2", client, what);
    for (what, mails, objected, expected) in [
        ("never again", vec![first.clone().id("x")], 1, "0 0 0 1 0 id 0"),
        ("over IPv4", vec![first.clone().id("x"), then(V4, Accepted).id("x")], 1, "1 0 0 0 0 id 1"),
        ("by envelope", vec![first.clone(), then(V4, Accepted)], 1, "1 0 0 0 0 id 0"),
        ("other mail", vec![first.clone().id("x"), then(V4, Accepted).id("y")], 1, "0 0 0 1 0 id 0"),
        ("its copy", vec![first.clone().id("x"), then(V6, would).id("x")], 1, "0 0 0 1 0 id 0"),
        ("two messages", vec![first.clone(), then(V6, would)], 2, "0 0 0 2 0 id 0"),
    ] {
        let figures = figures(&[mails, vec![later()]].concat());
        assert_eq!(figures["total"]["objected_messages"], objected, "{what}");
        assert_eq!(fates(&figures, "on_trial"), expected, "{what}: {figures:#}");
    }
}

#[test]
fn messages_and_recipients_are_counted_apart() {
    let three: &[&str] = &["bob@open.example", "carol@open.example", "dave@trial.example"];
    let figures = figures(&[
        Mail::new(0, "s1", V6, Accepted).to(three),
        // The next message of the same session, alike but for its time and recipient; and one alike in all.
        Mail::new(500, "s1", V6, Accepted).to(&["erin@open.example"]).id("other"),
        Mail::new(900, "s1", V6, Accepted).to(three),
        Mail::new(5000, "s2", V6, RefusedRcpt("reverse-dns")).to(three),
        Mail::new(9000, "s3", V6, Abandoned),
    ]);
    let of = |what: &Value| format!("{} {} {}", what["messages"], what["recipients"], what["octets"]);
    let total = &figures["total"];
    assert_eq!(of(&total["outcomes"]["accepted_v6"]), "3 7 3000", "{total:#}");
    assert_eq!(of(&total["outcomes"]["refused"]), "1 3 0");
    assert_eq!(of(&total["outcomes"]["abandoned"]), "1 1 0");
    assert_eq!((&total["sessions"], &total["records"]), (&json!(3), &json!(11)));
    let trial = &figures["domains"]["trial.example"];
    assert_eq!(of(&trial["outcomes"]["accepted_v6"]), "2 2 2000", "{trial:#}");
    assert_eq!(of(&trial["outcomes"]["refused"]), "1 1 0");
}

#[test]
fn refusals_by_rule_and_by_sender() {
    let would = |ms, session, rule| Mail::new(ms, session, V6, Would(rule));
    let mut late = would(90_000, "s4", "spf-or-dkim").from("");
    late.client = "2001:db8:1::77";
    let mut other = Mail::new(95_000, "s5", "2001:db8:2::1", Refused("spf-or-dkim-temperror"));
    other.from = "x@other.example";
    let figures = figures(&[
        would(0, "s1", "spf-or-dkim"),
        would(5000, "s2", "reverse-dns"),
        would(9000, "s3", "reverse-dns-temperror"),
        late,
        other,
        Mail::new(99_000, "s6", V4, Accepted),
        Mail::new(99_500, "s7", V6, RefusedRcpt("not-opted-in")),
        Mail::new(99_600, "s8", V6, RefusedRcpt("not-served-here")).to(&["x@made-up.example"]),
        Mail::new(99_700, "s9", V6, Refused("delivery")),
    ]);
    let total = &figures["total"];
    let rules = total["rules"].as_object().unwrap();
    for (rule, messages, temporary) in [
        ("reverse-dns", 1, false),
        ("spf-or-dkim", 2, false),
        ("reverse-dns-temperror", 1, true),
        ("spf-or-dkim-temperror", 1, true),
    ] {
        assert_eq!(
            (&rules[rule]["messages"], &rules[rule]["temporary"]),
            (&json!(messages), &json!(temporary)),
            "{rule}"
        );
    }
    assert_eq!((&total["judged_messages"], &total["objected_messages"]), (&json!(5), &json!(5)));
    assert_eq!(total["outcomes"]["refused_otherwise"]["messages"], 2);
    assert_eq!(total["outcomes"]["not_open"]["messages"], 1);
    assert!(figures["domains"].get("made-up.example").is_none(), "a client could make up as many as it wants");
    let networks = &total["senders"]["networks"];
    assert_eq!((&networks[0]["name"], &networks[0]["messages"]), (&json!("2001:db8:1::/64"), &json!(4)));
    assert_eq!((&networks[0]["session"], &networks[0]["facts"]), (&json!("s1"), &json!("no DKIM signature")));
    assert_eq!(networks[1]["name"], "2001:db8:2::/64");
    let domains = &total["senders"]["envelope_domains"];
    let also = |at: usize| format!("{} {}", domains[at]["name"], domains[at]["also_over_ipv4"]);
    assert_eq!([also(0), also(1), also(2)], ["\"sender.example\" true", "\"<>\" null", "\"other.example\" false"]);
    assert_eq!(total["senders"]["from_domains"][0]["name"], "from.example");
}

/// Older gates say the rule behind `would` by `rule`, or only by the reply.
#[test]
fn the_rule_on_trial_by_every_gate() {
    for (rule, would_rule, would, expected) in [
        ("accepted", Some("reverse-dns"), "450 4.7.25 x", "reverse-dns"),
        ("spf-or-dkim", None, "450 4.7.26 x", "spf-or-dkim"),
        ("accepted", None, "450 4.7.25 Service", "reverse-dns"),
        ("accepted", Some("novelty"), "451 4.4.3 Temporary DNS failure, SPF and", "spf-or-dkim-temperror"),
        ("accepted", None, "451 4.4.3 Temporary DNS failure, reverse", "reverse-dns-temperror"),
    ] {
        let mut line = Mail::new(0, "s", V6, Would("x")).line(0, "bob@open.example");
        (line["rule"], line["would"]) = (rule.into(), would.into());
        if let Some(would_rule) = would_rule {
            line["would_rule"] = would_rule.into();
        }
        let figures = report_on(options(), &[line.to_string().as_bytes()]).to_json();
        assert_eq!(figures["total"]["rules"][expected]["messages"], 1, "{figures:#}");
    }
}

fn gzipped(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// Rotated logs come in any order and packed or not; two gates write at once.
#[test]
fn files_are_read_in_order_of_time() {
    let refused = text_of(&[Mail::new(0, "s1", V6, RefusedRcpt("reverse-dns")), Mail::new(80_000, "s3", V6, Accepted)]);
    let back = text_of(&[Mail::new(60_000, "s2", V4, Accepted), Mail::new(70_000, "s2", V4, Accepted)]);
    let (packed, first) = (gzipped(&back), [refused.as_bytes(), b"\n"].concat());
    for contents in [[&packed[..], &first], [&first, &packed]] {
        let figures = report_on(options(), &contents).to_json();
        assert_eq!(fates(&figures, "refused"), "1 0 0 0 0 id 0", "{figures:#}");
        assert_eq!(figures["total"]["fallback"]["refused"]["median_ms"], 60_000);
        assert_eq!(figures["missing"]["malformed_lines"], 0);
    }
    let cut = report_on(options(), &[&packed[..packed.len() - 12], &first]);
    assert_eq!(cut.missing().files_cut, 1, "{:?}", cut.missing());
    assert!(
        Report::read(options(), &["/nowhere/decisions.log".into()])
            .unwrap_err()
            .to_string()
            .contains("/nowhere/decisions.log")
    );
}

#[test]
fn what_is_missing_is_said() {
    let record = text_of(&[later()]);
    let sampled = record.replacen('{', "{\"unrecorded\":40,", 1);
    let content = format!("{record}not json\n{{\"records_lost\":7}}\n{sampled}{{\"time\":\"torn");
    let report = report_on(options(), &[content.as_bytes()]);
    let missing = report.missing();
    assert_eq!((missing.records_lost, missing.unrecorded, missing.malformed), (7, 40, 2));
    assert!(missing.complaints[0].contains("log.0:2: not a decision record"), "{:?}", missing.complaints);
    assert!(missing.complaints[1].contains("log.0:5: "), "{:?}", missing.complaints);
    for text in [report.to_text(), report.to_html().unwrap()] {
        assert!(text.contains("7 records lost by the gate") && text.contains("40 decisions counted"), "{text}");
        assert!(text.contains("2 lines are no decision record"), "{text}");
    }
    let long = [vec![b'x'; 3 * 1024 * 1024], b"\n".to_vec(), record.into_bytes()].concat();
    let report = report_on(options(), &[&long]);
    assert_eq!((report.missing().malformed, report.total.records), (1, 1), "what follows a long line is read");
}

#[test]
fn only_what_was_asked_for() {
    let mails = [
        Mail::new(0, "s1", V6, Accepted),
        Mail::new(HOUR_MS, "s2", V6, Accepted).to(&["x@trial.example"]),
        Mail::new(2 * HOUR_MS, "s3", V6, Accepted),
    ];
    let text = text_of(&mails);
    let records = |options| report_on(options, &[text.as_bytes()]).total.records;
    assert_eq!(records(options()), 3);
    assert_eq!(records(Options { domains: vec!["open.example".into()], ..options() }), 2);
    assert_eq!(records(Options { since_ms: Some(BEGIN_MS + HOUR_MS), ..options() }), 2);
    assert_eq!(records(Options { until_ms: Some(BEGIN_MS + HOUR_MS), ..options() }), 1);
}

#[test]
fn the_verdict_says_what_matters() {
    let would = Would("spf-or-dkim");
    let rows: Vec<(Vec<Mail>, &[&str])> = vec![
        (
            vec![Mail::new(0, "a", V6, Accepted)],
            &["Nothing of 1 message over IPv6 to open.example was refused by the rules"],
        ),
        (vec![Mail::new(0, "a", V4, Accepted)], &["open.example: no mail over IPv6 was judged"]),
        (
            vec![Mail::new(0, "a", V6, RefusedRcpt("not-opted-in"))],
            &["open.example is not open to IPv6: 1 message turned away"],
        ),
        (
            vec![Mail::new(0, "a", V6, would), Mail::new(0, "b", V6, Accepted), later()],
            &[
                "Opening open.example would have refused 1 of 3 messages over IPv6 (33.33 %), from 1 network.",
                "seen to deliver over IPv4",
            ],
        ),
        (
            vec![Mail::new(0, "a", V6, would), Mail::new(9000, "b", V4, Accepted).from("b@sender.example")],
            &["all are of sender domains that deliver over IPv4 too."],
        ),
        (
            vec![
                Mail::new(0, "a", V6, RefusedRcpt("reverse-dns")),
                Mail::new(60_000, "b", V4, Accepted),
                Mail::new(70_000, "c", V6, RefusedRcpt("reverse-dns")).from("c@c.example"),
                later(),
            ],
            &[
                "open.example refused 2 of 3 messages over IPv6 (66.67 %), from 1 network. 1 came back over IPv4 (half within 60 s,",
                "nine in ten within 60 s); 1 was not seen again: look at it.",
            ],
        ),
        (vec![], &["No decision record about a recipient was found"]),
    ];
    for (mails, says) in rows {
        let report = report_on(options(), &[text_of(&mails).as_bytes()]);
        let text = report.to_text().replace('\n', " ");
        for words in says {
            assert!(text.contains(words), "{words}: {}", report.to_text());
        }
        report.to_html().unwrap();
    }
}

/// Names that wish the terminal and the page ill.
#[test]
fn hostile_text_stays_text() {
    const EVIL: &str = "<script>alert('1')</script>\"&\u{1b}[2J\u{202e}";
    let mut line = Mail::new(0, "s", V6, Would("spf-or-dkim")).line(0, "bob@open.example");
    for field in ["helo", "mail_from", "domain", "session"] {
        line[field] = EVIL.into();
    }
    line["dmarc"]["domain"] = EVIL.into();
    line["dkim"] = json!([{"result": EVIL, "domain": EVIL}]);
    let mut second = line.clone();
    second["domain"] = "second.example".into();
    second["session"] = "other".into();
    let text = format!("{line}\n{second}\n");
    let report = report_on(options(), &[text.as_bytes()]);
    let printed = report.to_text();
    assert!(!printed.chars().any(|character| character.is_control() && character != '\n'), "{printed}");
    assert!(!printed.contains('\u{202e}') && printed.contains("\\u{202e}"), "{printed}");
    let page = report.to_html().unwrap();
    for bad in ["<script", "\u{1b}", "\u{202e}", "http:", "https:", "//", "url(", "@import", "<link", "<img", "NaN"] {
        assert!(!page.contains(bad), "{bad} in {page}");
    }
    assert!(page.contains("&lt;script&gt;"));
    let wide: Vec<&str> = printed.lines().filter(|line| line.chars().count() > 100).collect();
    assert!(wide.is_empty(), "{wide:#?}");
}
