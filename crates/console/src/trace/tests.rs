//! Transcripts on a terminal and in a file.

use super::*;
use mx6_telemetry::{Said, read_transcript};
use serde_json::json;

fn event(session: &str, ms: u64, what: What) -> Vec<u8> {
    serde_json::to_vec(&Event { session: session.to_owned(), ms, what }).unwrap()
}

fn said(text: &[u8], cut: u64) -> Said {
    Said { octets: text.to_vec(), cut }
}

fn connect(session: &str) -> Vec<u8> {
    event(session, 0, What::Connect { client: "2001:db8::1".parse().unwrap() })
}

fn client(session: &str, ms: u64, text: &[u8]) -> Vec<u8> {
    event(session, ms, What::Client(said(text, 0)))
}

fn server(session: &str, ms: u64, text: &[u8]) -> Vec<u8> {
    event(session, ms, What::Server(said(text, 0)))
}

/// What a trace over these lines writes, what it notes, and its tally.
fn traced(bounds: Bounds, shown: Shown, saved: Option<Saved>, lines: &[Vec<u8>]) -> (String, String, Tally) {
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let mut trace = Trace::new(bounds, shown, saved, &mut out, &mut notes);
    for line in lines {
        trace.take(line).unwrap();
    }
    let rest = trace.shown.rest();
    trace.out.write_all(rest.as_bytes()).unwrap();
    if let Some(saved) = &mut trace.saved {
        saved.finish().unwrap();
    }
    let tally = trace.tally();
    (String::from_utf8(out).unwrap(), String::from_utf8(notes).unwrap(), tally)
}

#[test]
fn a_transcript_reads_like_one() {
    let record = json!({"time":"2026-11-26T21:10:00.123Z","session":"2a-0-1","client":"2001:db8::1","stage":"rcpt",
        "rule":"reverse-dns","verdict":"defer","rcpt_to":"bob@open.example\u{1b}[2J","iprev":{"result":"fail"}});
    let lines = [
        connect("2a-0-1"),
        server("2a-0-1", 0, b"220 mx.example ESMTP\r\n"),
        client("2a-0-1", 2, b"EH"),
        client("2a-0-1", 9, b"LO a\x1b[31m\xff\r\nMAIL FROM:<a@b.example>\r\nRC"),
        connect("2a-0-2"),
        server("2a-0-1", 10, b"250-mx.example\r\n250 SIZE\r\n450 4.7.25 no\r\n354 go\r\n"),
        client("2a-0-1", 12, b"Subject: x\n\r\n"),
        event("2a-0-1", 13, What::Client(said(b"", 1234))),
        b"{\"missed\":3}".to_vec(),
        event("2a-0-1", 14, What::Decision { record }),
        event("2a-0-1", 15, What::Tls { version: "TLSv1.3".into() }),
        event("2a-0-1", 1500, What::End),
        client("3-0-0", 1, b"of a session that began before\r\n"),
        b"{\"dropped_sessions\":1}".to_vec(),
    ];
    let (text, notes, tally) = traced(Bounds::default(), Shown::text(false, 200), None, &lines);
    let expected = [
        "0-1           0 ms  -- 2001:db8::1 connects, session 2a-0-1",
        "0-1           0 ms  S: 220 mx.example ESMTP",
        "0-1           2 ms  C: EHLO a\\u{1b}[31m\\xff",
        "0-1           2 ms  C: MAIL FROM:<a@b.example>",
        "0-2           0 ms  -- 2001:db8::1 connects, session 2a-0-2",
        "0-1           9 ms  C: RC (no line end)",
        "0-1          10 ms  S: 250-mx.example",
        "0-1          10 ms  S: 250 SIZE",
        "0-1          10 ms  S: 450 4.7.25 no",
        "0-1          10 ms  S: 354 go",
        "0-1          12 ms  C: Subject: x\\n",
        "0-1          12 ms  C:",
        "0-1          13 ms  -- 1,234 octets of the message are left out (--octets)",
        "!! 3 events missed here: they came faster than they were read",
        "0-1          14 ms  => defer by reverse-dns at rcpt, for bob@open.example\\u{1b}[2J; iprev fail, spf -, dkim -",
        "0-1          15 ms  -- inside TLS from here on (TLSv1.3)",
        "0-1        1500 ms  -- ended after 1.5 s",
        "!! 1 session forgotten here before it was known whether wanted: narrow --prefix",
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    assert_eq!((notes.as_str(), tally), ("", Tally { ended: 1, under_way: 1, missed: 3, dropped: 1, partly_saved: 0 }));
    let (coloured, ..) = traced(Bounds::default(), Shown::text(true, 200), None, &lines);
    assert!(
        coloured.contains("\x1b[33mS: 450 4.7.25 no\x1b[0m")
            && coloured.contains("\x1b[1;33m=> defer")
            && coloured.contains("\x1b[2mC: Subject"),
        "{coloured}"
    );
    let (narrow, ..) = traced(Bounds::default(), Shown::text(false, 60), None, &lines);
    let wrapped = "0-1          14 ms  => defer by reverse-dns at rcpt, for\n                       bob@open.example\\u{1b}[2J; iprev\n";
    assert!(narrow.contains(wrapped) && narrow.lines().all(|line| line.chars().count() <= 60), "{narrow}");
    let (json, notes, _) = traced(Bounds::default(), Shown::json(), None, &lines);
    assert_eq!(json.lines().count(), lines.len() - 1, "{json}");
    assert!(notes.contains("3 events missed here") && notes.contains("1 session forgotten"), "{notes}");
}

#[test]
fn a_file_has_each_session_together() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saved.jsonl");
    std::fs::write(&path, "what was there\n".repeat(100)).unwrap();
    let lines = [
        connect("a"),
        connect("b"),
        client("b", 1, b"NOOP\r\n"),
        client("a", 1, b"HELP\r\n"),
        event("b", 2, What::End),
        b"{\"missed\":9}".to_vec(),
        connect("c"),
        client("a", 3, b"RSET\r\n"),
    ];
    let saved = Saved::create(&path).unwrap();
    let bounds = Bounds { sessions: Some(2), until: None };
    let (_, _, tally) = traced(bounds, Shown::json(), Some(saved), &lines);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().nth(3), Some("{\"missed\":9}"), "the file tells its gaps");
    let events = read_transcript(text.as_bytes()).unwrap();
    let sessions: Vec<&str> = events.iter().map(|event| event.session.as_str()).collect();
    assert_eq!(sessions, ["b", "b", "b", "a", "a", "a"]);
    assert_eq!((tally.ended, tally.under_way, tally.partly_saved), (1, 1, 0), "the third was one too many");
}

#[test]
fn what_waits_for_a_file_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saved.jsonl");
    let saved = Saved::create(&path).unwrap().with_room(1000);
    let mut lines = vec![connect("a"), connect("b")];
    lines.extend((0..100).map(|ms| client("a", ms, b"NOOP\r\n")));
    lines.extend([client("b", 1, b"HELP\r\n"), event("b", 2, What::End), event("a", 101, What::End)]);
    let (_, _, tally) = traced(Bounds::default(), Shown::json(), Some(saved), &lines);
    let events = read_transcript(&*std::fs::read(&path).unwrap()).unwrap();
    let of = |session: &str| events.iter().filter(|event| event.session == session).count();
    assert_eq!((of("b"), tally.partly_saved), (3, 1));
    assert!((5..50).contains(&of("a")), "{}", of("a"));
}

#[test]
fn tallies_in_words() {
    let none = Tally::default();
    for (tally, words) in [
        (Tally { ended: 1, ..none }, "1 session traced; nothing was missed"),
        (Tally { ended: 2, under_way: 1, ..none }, "2 sessions traced, 1 not ended yet; nothing was missed"),
        (Tally { missed: 1, ..none }, "0 sessions traced; 1 event missed: there are gaps, narrow the filters"),
        (
            Tally { dropped: 2, partly_saved: 1, ..none },
            "0 sessions traced; 2 sessions forgotten before it was known whether wanted, narrow --prefix; 1 session saved only in part",
        ),
    ] {
        assert_eq!(tally.to_string(), words);
    }
}

#[test]
fn what_the_gate_is_asked() {
    let ask = Ask {
        prefix: Some("2001:db8::/32".parse().unwrap()),
        rule: Some("reverse-dns".into()),
        message_octets: 7,
        ..Ask::default()
    };
    let query = ask.query();
    let words: Vec<String> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(words, ["prefix=2001:db8::/32", "rule=reverse-dns", "octets=7"]);
    assert!(Ask::default().query().is_empty());
}
