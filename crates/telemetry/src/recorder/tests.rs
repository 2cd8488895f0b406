use std::io::Write;

use super::*;
use crate::log::{BUFFER_OCTETS, LOOK_PERIOD, LogTarget};
use crate::{Durations, Shown};

fn decision(session: &str) -> Decision<'_> {
    Decision {
        unix_ms: 0,
        session,
        shard: 0,
        client: std::net::Ipv6Addr::LOCALHOST.into(),
        connector: false,
        tls: None,
        early_talker: false,
        helo: "a\"b\r\n",
        mail_from: "",
        rcpt_to: "bob@open.example",
        domain: "open.example",
        class: None,
        stage: "rcpt",
        rule: "reverse-dns",
        verdict: "defer",
        reply: Shown(&"450 4.7.25 no"),
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

/// A recorder whose ring is read by the test.
fn recorder_of(octets: usize) -> (Recorder, rtrb::Consumer<u8>) {
    let (ring, consumer) = rtrb::RingBuffer::new(octets);
    let shared = Arc::<Shared>::default();
    let writer = thread::current();
    let counters = Counters::default();
    (Recorder { ring, line: Vec::new(), shared, writer, counters, unrecorded: 0 }, consumer)
}

#[test]
fn lines_across_the_end_of_the_ring_and_longer_than_the_buffer() {
    let long = "x".repeat(BUFFER_OCTETS + 100);
    let written = std::sync::Arc::default();
    let disk = FullDisk { room: usize::MAX, written: Arc::clone(&written), repaired: Arc::new(AtomicBool::new(true)) };
    let mut log = Log::new(OpenLog { at: None, sink: Box::new(disk) });
    let (mut recorder, mut ring) = recorder_of(3 * BUFFER_OCTETS);
    let mut sent = Vec::new();
    for round in 0..40 {
        let sessions = [round.to_string(), if round % 7 == 0 { long.clone() } else { "y".repeat(round * 10) }];
        for session in sessions {
            recorder.record(decision(&session));
            sent.push(session);
        }
        log.take(&mut ring);
    }
    log.flush();
    let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
    let read = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["session"].clone());
    assert_eq!(read.collect::<Vec<_>>(), sent);
    assert_eq!(recorder.counters.value(Counter::RecordsLost), 0);
}

#[test]
fn every_record_is_a_line_and_loss_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("decisions.log");
    let counters = [Counters::default(), Counters::default()];
    let mut recorders = Recorders::start(LogTarget::File(path.clone()).open().unwrap(), &counters, None).unwrap();
    let mut first = recorders.take(0).unwrap();
    assert!(recorders.take(0).is_none());
    let mut second = recorders.take(1).unwrap();
    // Far more than the ring holds, faster than a disk takes it.
    let pushed = RING_OCTETS / 50;
    for number in 0..pushed {
        first.record(decision(&number.to_string()));
    }
    second.record(decision("other"));
    recorders.close().unwrap();

    let lines: Vec<serde_json::Value> =
        std::fs::read_to_string(&path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let lost: u64 = lines.iter().filter_map(|line| line["records_lost"].as_u64()).sum();
    let records = lines.iter().filter(|line| line["session"].is_string()).count() as u64;
    assert_eq!(records + lost, pushed as u64 + 1);
    assert_eq!(lost, counters[0].value(Counter::RecordsLost));
    assert_eq!(lines[0]["time"], "1970-01-01T00:00:00.000Z");
    assert_eq!(lines[0]["client"], "::1");
    assert_eq!(lines[0]["helo"], "a\"b\r\n");
    assert_eq!(lines[0]["reply"], "450 4.7.25 no");
}

#[test]
fn what_is_passed_over_is_told_in_the_next_record_that_is_written() {
    let (mut recorder, mut ring) = recorder_of(1500);
    let mut told = Vec::new();
    for round in 0..40 {
        recorder.pass_over();
        assert_eq!(recorder.is_half_full(), ring.slots() > 750);
        recorder.record(decision("s"));
        if round % 8 == 7 {
            let chunk = ring.read_chunk(ring.slots()).unwrap();
            let text: Vec<u8> = chunk.as_slices().0.iter().chain(chunk.as_slices().1).copied().collect();
            chunk.commit_all();
            for line in text.split(|octet| *octet == b'\n').filter(|line| !line.is_empty()) {
                told.push(serde_json::from_slice::<serde_json::Value>(line).unwrap()["unrecorded"].as_u64().unwrap());
            }
        }
    }
    let lost = recorder.counters.value(Counter::RecordsLost);
    assert!(lost > 0 && told.len() as u64 == 40 - lost, "{told:?}");
    assert_eq!(told.iter().sum::<u64>() + recorder.unrecorded, 40);
}

/// Takes `room` octets in all, until `repaired` is set.
struct FullDisk {
    room: usize,
    written: std::sync::Arc<std::sync::Mutex<Vec<u8>>>,
    repaired: Arc<AtomicBool>,
}

impl Write for FullDisk {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let taken = if self.repaired.load(Ordering::SeqCst) { octets.len() } else { octets.len().min(self.room) };
        if taken == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.room = self.room.saturating_sub(taken);
        self.written.lock().unwrap().extend_from_slice(&octets[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_loses_nothing_silently() {
    let written = std::sync::Arc::default();
    let repaired = Arc::new(AtomicBool::new(false));
    let disk = FullDisk { room: 1000, written: Arc::clone(&written), repaired: Arc::clone(&repaired) };
    let mut log = Log::new(OpenLog { at: None, sink: Box::new(disk) });
    let (mut recorder, mut ring) = recorder_of(1 << 16);
    for round in 0..20 {
        if round == 10 {
            repaired.store(true, Ordering::SeqCst);
        }
        for _ in 0..3 {
            recorder.record(decision("s"));
        }
        log.take(&mut ring);
        log.report_lost(0);
        log.flush();
    }
    let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let records = lines.iter().filter(|line| line["session"].is_string()).count() as u64;
    let lost: u64 = lines.iter().filter_map(|line| line["records_lost"].as_u64()).sum();
    assert_eq!((records + lost, lost), (60, log.lost_writing));
    assert!(lost > 20, "{lost}");
    assert_eq!(text.lines().count() - lines.len(), 1, "one torn line at most");
}

#[test]
fn a_log_that_cannot_be_opened() {
    let error = LogTarget::File("/nonexistent/x".into()).open().err().unwrap();
    assert!(error.to_string().contains("/nonexistent/x"), "{error}");
}

#[test]
fn a_log_that_was_moved_away_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (path, moved) = (dir.path().join("log"), dir.path().join("log.1"));
    let mut log = Log::new(LogTarget::File(path.clone()).open().unwrap());
    let mut write = |line: &str| {
        log.lines.extend_from_slice(line.as_bytes());
        log.looked_at -= LOOK_PERIOD;
        log.flush();
    };
    write("first\n");
    std::fs::rename(&path, &moved).unwrap();
    write("second\n");
    write("third\n");
    std::fs::write(&path, "").unwrap();
    write("fourth\n");
    std::fs::rename(&path, dir.path().join("log.2")).unwrap();
    log.lines.extend_from_slice(b"fifth\n");
    log.is_doubted = true;
    log.flush();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "fifth\n");
    std::fs::rename(dir.path().join("log.2"), &path).unwrap();
    assert_eq!(std::fs::read_to_string(&moved).unwrap(), "first\n");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "fourth\n");
}
