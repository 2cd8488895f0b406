//! Deadlines, shutdown and the limit on output: what the driver sees besides steps.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod driver;

use std::sync::Arc;

use driver::{Driver, Entry, by_words};
use mx6_smtp::limits::{COMMAND_TIMEOUT_MS, DATA_BLOCK_OCTETS, DATA_BLOCK_TIMEOUT_MS};
use mx6_smtp::{Notice, Session, SessionConfig, Step, Verdict};

fn in_message() -> Driver {
    let mut driver = Driver::new(&Arc::new(SessionConfig::default()), by_words);
    driver.now_ms = 1000;
    driver.feed(b"EHLO a.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n");
    assert!(driver.session.receiving_message() && driver.session.in_transaction());
    driver
}

#[test]
fn a_command_has_one_deadline_however_it_trickles() {
    let mut driver = Driver::new(&Arc::new(SessionConfig::default()), by_words);
    assert_eq!(driver.session.deadline_ms(), COMMAND_TIMEOUT_MS);
    driver.now_ms = 100_000;
    driver.feed(b"NO");
    assert_eq!(driver.session.deadline_ms(), COMMAND_TIMEOUT_MS);
    driver.feed(b"OP\r\nN");
    assert_eq!(driver.session.deadline_ms(), 100_000 + COMMAND_TIMEOUT_MS);
    driver.now_ms = 200_000;
    driver.session.on_deadline(driver.now_ms);
    driver.feed(b"OOP\r\n");
    assert!(!driver.closed(), "too early");
    driver.now_ms = 200_000 + COMMAND_TIMEOUT_MS;
    driver.session.on_deadline(driver.now_ms);
    driver.feed(b"NOOP\r\n");
    assert!(driver.closed());
    assert_eq!(driver.session.deadline_ms(), u64::MAX);
}

#[test]
fn a_line_that_is_too_long_moves_no_deadline_before_its_end() {
    let mut driver = Driver::new(&Arc::new(SessionConfig::default()), by_words);
    driver.now_ms = 100_000;
    driver.feed(&[b'a'; 10_000]);
    assert_eq!(driver.session.deadline_ms(), COMMAND_TIMEOUT_MS);
}

#[test]
fn a_message_must_come_in_blocks() {
    let mut driver = in_message();
    let start_ms = driver.now_ms;
    assert_eq!(driver.session.deadline_ms(), start_ms + DATA_BLOCK_TIMEOUT_MS);
    driver.now_ms += 60_000;
    driver.feed(&vec![b'a'; DATA_BLOCK_OCTETS as usize - 1]);
    assert_eq!(driver.session.deadline_ms(), start_ms + DATA_BLOCK_TIMEOUT_MS);
    driver.feed(b"a");
    assert_eq!(driver.session.deadline_ms(), driver.now_ms + DATA_BLOCK_TIMEOUT_MS);
    driver.feed(b"\r\n.\r\n");
    assert!(!driver.session.in_transaction());
    assert_eq!(driver.session.deadline_ms(), driver.now_ms + COMMAND_TIMEOUT_MS);
}

#[test]
fn shutdown_waits_for_the_answer() {
    let mut session = Session::new(Arc::new(SessionConfig::default()), 0);
    session.output_written(usize::MAX);
    let line = b"EHLO a.example\r\nNOOP\r\n";
    let (taken, step) = session.step(0, line);
    assert!(matches!(step, Step::Question(_)));
    session.shutdown();
    assert!(session.output().is_empty());
    session.verdict(0, Verdict::Accept);
    assert_eq!(session.step(0, &line[taken..]), (0, Step::Close));
    let output = String::from_utf8(session.output().to_vec()).unwrap();
    assert!(
        output
            .ends_with("250 ENHANCEDSTATUSCODES\r\n421 4.3.2 localhost Service shutting down, closing connection.\r\n")
    );
}

#[test]
fn output_is_sent_before_it_grows_large() {
    let mut session = Session::new(Arc::new(SessionConfig::default()), 0);
    let input = b"HELP\r\n".repeat(10_000);
    let (mut at, mut writes) = (0, 0);
    loop {
        let (taken, step) = session.step(0, &input[at..]);
        at += taken;
        assert!(session.output().len() < 20_000);
        match step {
            Step::NeedInput => break,
            Step::Output => writes += 1,
            other => panic!("{other:?}"),
        }
        // Nothing goes on before it was written.
        assert_eq!(session.step(0, &input[at..]), (0, Step::Output));
        session.output_written(1000);
        session.output_written(session.output().len());
    }
    assert_eq!(at, input.len());
    assert!(writes > 20, "{writes}");
}

#[test]
fn large_slices_are_handed_on_whole() {
    let mut driver = in_message();
    let body = b"0123456789 0123456789 0123456789 0123456789\r\n".repeat(1000);
    driver.feed(b"A: b\r\n\r\n");
    let (taken, step) = driver.session.step(0, &body);
    assert_eq!((taken, step), (body.len(), Step::Octets(&body)));
    driver.feed(b".\r\n");
    assert!(matches!(driver.entries.last(), Some(Entry::Server(_))));
}

/// Commands that mean nothing do not hold a message up between two chunks, nor do chunks of next to nothing; blocks of octets give time, also
/// those that nobody wants.
#[test]
fn chunks_and_what_is_between_them() {
    let mut driver = Driver::new(&Arc::new(SessionConfig::default()), by_words);
    driver.now_ms = 1_000;
    driver.feed(b"EHLO a.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nBDAT 3\r\na\r\n");
    // Neither other commands nor small chunks give more time.
    assert_eq!(driver.session.deadline_ms(), 1_000 + DATA_BLOCK_TIMEOUT_MS);
    driver.now_ms = 100_000;
    for more in ["NOOP\r\nNOOP\r\nHELP\r\n", "BDAT 2\r\n", "bc", "BDAT 0\r\n", "BDAT 100000\r\n"] {
        driver.feed(more.as_bytes());
        assert_eq!(driver.session.deadline_ms(), 1_000 + DATA_BLOCK_TIMEOUT_MS, "{more}");
    }
    driver.now_ms = 150_000;
    driver.feed(&[b'a'; DATA_BLOCK_OCTETS as usize]);
    assert_eq!(driver.session.deadline_ms(), 150_000 + DATA_BLOCK_TIMEOUT_MS);

    let mut unwanted = Driver::new(&Arc::new(SessionConfig::default()), by_words);
    unwanted.feed(b"EHLO a.example\r\nBDAT 100000\r\n");
    assert_eq!(unwanted.session.deadline_ms(), DATA_BLOCK_TIMEOUT_MS);
    unwanted.now_ms = 100_000;
    unwanted.feed(&[b'a'; DATA_BLOCK_OCTETS as usize]);
    assert_eq!(unwanted.session.deadline_ms(), 100_000 + DATA_BLOCK_TIMEOUT_MS);
    unwanted.feed(&[b'a'; 100_000 - DATA_BLOCK_OCTETS as usize]);
    assert_eq!(unwanted.session.deadline_ms(), 100_000 + COMMAND_TIMEOUT_MS);
    // A gigabyte in all, then nobody reads on: neither a chunk out of place nor one that is too large.
    for rest in ["", "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n"] {
        let mut unwanted = Driver::new(&Arc::new(SessionConfig::default()), by_words);
        unwanted.feed(b"EHLO a.example\r\nBDAT 1000\r\n");
        unwanted.feed(&[b'a'; 1_000]);
        unwanted.feed(rest.as_bytes());
        unwanted.feed(b"BDAT 1073741000\r\n");
        assert!(unwanted.closed());
    }
}

#[test]
fn who_is_refused_for_speaking_early_hears_what_he_is_owed() {
    let config = SessionConfig { watch_early_talkers: true, ..SessionConfig::default() };
    let refused = "554 5.5.0 localhost Commands were sent before their turn, closing connection.\r\n";
    for (input, owed) in [("", ""), ("NOOP\r\nEHLO a.example\r\nNOOP\r\n", "250 2.0.0 OK\r\n")] {
        let mut session = Session::new(Arc::new(config.clone()), 0);
        if !input.is_empty() {
            session.output_written(usize::MAX);
            let (taken, step) = session.step(0, input.as_bytes());
            assert_eq!((taken, step), ("NOOP\r\n".len(), Step::Notice(Notice::EarlyTalker)));
        }
        session.refuse_early_talker();
        assert_eq!(session.step(0, b"").1, Step::Close);
        assert_eq!(String::from_utf8_lossy(session.output()), format!("{owed}{refused}"));
    }
}
