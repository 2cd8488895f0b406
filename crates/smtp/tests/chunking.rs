//! However the octets are cut, the same things happen in the same order.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod driver;

use std::sync::Arc;

use driver::{Action, Driver, Entry, by_words, read_script, run, transcripts};
use mx6_smtp::{SessionConfig, StartTls};
use proptest::prelude::*;

fn whole(octets: &[u8]) -> Vec<&[u8]> {
    vec![octets]
}

fn each_octet(octets: &[u8]) -> Vec<&[u8]> {
    octets.chunks(1).collect()
}

fn check_every_split(config: &Arc<SessionConfig>, actions: &[Action], what: &str) {
    let expected = run(config, by_words, actions, whole);
    assert_eq!(run(config, by_words, actions, each_octet), expected, "{what}: octet by octet");
    let longest = actions.iter().map(|action| if let Action::Send(octets) = action { octets.len() } else { 0 }).max();
    // Beyond some thousand octets a line or body is much the same everywhere, and all pairs would take minutes.
    let stride = longest.unwrap_or(0) / 4000 + 1;
    for at in (0..=longest.unwrap_or(0)).step_by(stride) {
        let entries = run(config, by_words, actions, |octets| {
            let (first, second) = octets.split_at(at.min(octets.len()));
            vec![first, second]
        });
        assert_eq!(entries, expected, "{what}: cut at {at}");
    }
}

#[test]
fn transcripts_at_every_split() {
    for path in transcripts() {
        let (config, script) = read_script(&std::fs::read_to_string(&path).unwrap());
        if config.starttls == StartTls::Offered {
            // What comes in one piece with STARTTLS is lost, what comes later is not.
            continue;
        }
        let mut actions: Vec<Action> = Vec::new();
        for (_, action) in script {
            match (actions.last_mut(), action) {
                (Some(Action::Send(before)), Action::Send(octets)) => before.extend(octets),
                (_, action) => actions.push(action),
            }
        }
        check_every_split(&config, &actions, &path.display().to_string());
    }
}

/// A session whose message is given, with limits so small that they matter.
fn session_with(message: &[u8]) -> (Arc<SessionConfig>, Vec<Action>) {
    let config =
        SessionConfig { size_limit: 40, header_octets_max: 24, line_octets_max: 64, ..SessionConfig::default() };
    let before = b"EHLO a.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n";
    let after = b"\r\n.\r\nNOOP\r\nQUIT\r\n";
    (Arc::new(config), vec![Action::Send([before, message, after].concat())])
}

#[test]
fn ends_of_messages_at_every_split() {
    let messages: [&[u8]; 22] = [
        b"",
        b".",
        b"a",
        b"\r\n",
        b"\r\nb",
        b"..a",
        b"...",
        b".a: b\r\n\r\nc",
        b"a: b\r\n..\r\n\r\n..\r\n",
        b"a: b\r\n\r\n.\r\nMAIL FROM:<x@y.example>",
        b"a\r\n.\r",
        b"a\r\n.\n",
        b"a\n.\r\n",
        b"a\r.\r\n",
        b"a\r\n.\r\r\n",
        b"a\r\r\n.\r\n",
        b"a\r\n\0.\r\n",
        b"a: bbbbbbbbbbbbbbbbbb\r\n\r\n",
        b"a: bbbbbbbbbbbbbbbbbbb\r\n\r\n",
        b"a: b\r\n\r\n12345678901234567890123456789012",
        b"a: b\r\n\r\n1234567890123456789012345678901\r\n23",
        b"a: b\r\n\r\n12345678901234567890123456789012345\nc",
    ];
    for message in messages {
        let (config, actions) = session_with(message);
        check_every_split(&config, &actions, &message.escape_ascii().to_string());
    }
}

/// Octets of which trouble is made, in any order.
fn trouble() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        &b"\r\n"[..],
        b"\r",
        b"\n",
        b".",
        b"\r\n.\r\n",
        b"\r\n..",
        b"\0",
        b"a",
        b"aaaaaaaaaaaaaaaa",
        b":",
        b" ",
        b"MAIL FROM:<a@b.example>\r\n",
        b"RCPT TO:<c@d.example>\r\n",
        b"RCPT TO:<refused@d.example>\r\n",
        b"DATA\r\n",
        b"EHLO x.example\r\n",
        b"BDAT 5\r\n",
        b"BDAT 40\r\n",
        b"BDAT 7 LAST\r\n",
        b"BDAT 0 LAST\r\n",
        b"BDAT x\r\n",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"XXXX\r\n",
    ]);
    prop::collection::vec(pieces, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_octets_in_any_chunks(octets in trouble(), in_message: bool, cuts in prop::collection::vec(1usize..40, 1..20)) {
        let (config, mut actions) = session_with(&octets);
        if !in_message {
            actions = vec![Action::Send(octets)];
        }
        let expected = run(&config, by_words, &actions, whole);
        let chunked = run(&config, by_words, &actions, |mut rest| {
            let mut chunks = Vec::new();
            for length in cuts.iter().cycle() {
                let (chunk, after) = rest.split_at((*length).min(rest.len()));
                chunks.push(chunk);
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            chunks
        });
        prop_assert_eq!(&chunked, &expected);
        let handed_on = expected.iter().filter_map(|entry| if let Entry::Octets(octets) = entry { Some(octets) } else { None });
        for octets in handed_on {
            let without_line_ends = octets.escape_ascii().to_string().replace("\\r\\n", "");
            // The size limit may cut a CRLF in two.
            let without_line_ends = without_line_ends.strip_suffix("\\r").unwrap_or(&without_line_ends);
            prop_assert!(!without_line_ends.contains("\\r") && !without_line_ends.contains("\\n"), "{}", without_line_ends);
        }
    }

    /// By DATA or in any chunks, it is the same message.
    #[test]
    fn chunks_carry_the_same_message(
        lines in prop::collection::vec(prop::sample::select(vec!["", ".", "..", ".a", "a: b", "aaaaaaaaaaaaaaaa", "a."]), 0..12),
        cuts in prop::collection::vec(0usize..30, 1..8),
    ) {
        let config = Arc::new(SessionConfig::default());
        let (mut plain, mut dotted) = (Vec::new(), Vec::new());
        for line in lines {
            plain.extend(format!("{line}\r\n").into_bytes());
            dotted.extend(format!("{}{line}\r\n", if line.starts_with('.') { "." } else { "" }).into_bytes());
        }
        let accepted = |message: Vec<u8>| {
            let mut driver = Driver::new(&config, by_words);
            driver.feed(b"EHLO a.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n");
            driver.feed(&message);
            driver.accepted
        };
        let by_data = accepted([b"DATA\r\n", &dotted[..], b".\r\n"].concat());
        let (mut chunks, mut rest) = (Vec::new(), &plain[..]);
        for length in cuts.iter().take(cuts.len() - 1) {
            let (chunk, after) = rest.split_at((*length).min(rest.len()));
            chunks.extend([format!("BDAT {}\r\n", chunk.len()).as_bytes(), chunk].concat());
            rest = after;
        }
        chunks.extend([format!("BDAT {} LAST\r\n", rest.len()).as_bytes(), rest].concat());
        prop_assert_eq!(&by_data, &vec![plain.clone()]);
        prop_assert_eq!(accepted(chunks), by_data);
    }

    #[test]
    fn any_octets_do_not_panic(octets in prop::collection::vec(any::<u8>(), 0..400)) {
        let (config, _) = session_with(b"");
        run(&config, by_words, &[Action::Send(octets)], whole);
    }
}
