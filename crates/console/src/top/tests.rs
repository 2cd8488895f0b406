//! Screens over a rich status, tab by tab, against golden files. `MX6_GOLDEN=write` writes them anew.

use mx6_telemetry::{
    Bucket, CacheStatus, DecisionCount, Finding, NextHopStatus, Ranked, Readiness, RuleCount, ShardStatus, Status,
    TimingStatus, WouldRefuse,
};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::json;

use super::*;

const RICH: Looks = Looks { unicode: true, colour: true };

/// A gate after `seconds`; everything grows with them.
fn gate(seconds: u64) -> Status {
    let mut status = Status::default();
    status.gate.hostname = "gw.example\x1b[2J".into();
    status.gate.version = "0.1.0".into();
    status.gate.mode = "enforce".into();
    status.gate.started_unix_ms = 1_795_726_000_000;
    status.gate.unix_ms = status.gate.started_unix_ms + seconds * 1000;
    status.gate.readiness = Readiness::Ready;
    status.decisions = [
        ("end-of-data", "accepted", "accept", 120),
        ("end-of-data", "spf-or-dkim", "defer", 3),
        ("rcpt", "reverse-dns", "defer", 7),
        ("rcpt", "not-opted-in", "reject", 11),
        ("connect", "blocked", "reject", 0),
    ]
    .map(|(stage, rule, verdict, each)| DecisionCount {
        stage: stage.into(),
        rule: rule.into(),
        verdict: verdict.into(),
        count: each * seconds + 1,
    })
    .into();
    status.would_refuse = vec![RuleCount { rule: "reverse-dns".into(), count: seconds / 2 }];
    status.timings = ["session", "iprev", "spf", "dkim", "rcpt", "verdict", "delivery"]
        .iter()
        .enumerate()
        .map(timing(seconds))
        .collect();
    status.shards = (0..40).map(|shard| core(shard, seconds)).collect();
    (status.dns.hits, status.dns.misses, status.dns.negative_hits) = (95 * seconds, 5 * seconds, 9 * seconds);
    (status.dns.stale, status.dns.failures, status.dns.timeouts) = (seconds, 2 * seconds, seconds);
    (status.dns.in_flight, status.dns.breaker) = (4, "closed".into());
    let cache = |name: &str| CacheStatus { name: name.into(), entries: 81_234, octets: 9 << 20, octets_max: 16 << 20 };
    status.caches = ["ptr", "aaaa", "spf", "dkim"].map(cache).into();
    let hop = |name: &str, healthy| NextHopStatus {
        name: name.into(),
        shards: 40,
        shards_healthy: healthy,
        open: 80,
        idle: 71,
        back_off_ms: if healthy < 40 { 5_000 } else { 0 },
    };
    status.next_hops = vec![hop("smtp://[2001:db8::25]:25", 40), hop("lmtp:unix:/run/dovecot/lmtp", 12)];
    observe(&mut status);
    status
}

fn timing(seconds: u64) -> impl Fn((usize, &&str)) -> TimingStatus {
    move |(number, name)| {
        let octave = |at: u32| Bucket {
            le_us: 1 << at,
            count: seconds * u64::from(10_u32.saturating_sub(at.abs_diff(9 + number as u32))),
        };
        let octaves: Vec<Bucket> = (0..32).map(octave).collect();
        let count = octaves.iter().map(|bucket| bucket.count).sum();
        TimingStatus { name: (*name).into(), count, buckets: octaves.clone(), octaves, ..TimingStatus::default() }
    }
}

fn core(shard: usize, seconds: u64) -> ShardStatus {
    ShardStatus {
        shard,
        cpu: shard + 2,
        sessions: 100 + shard as u64,
        connections: seconds * 3,
        level: if shard == 3 { "brownout" } else { "normal" }.into(),
        stalls: if shard == 1 { seconds / 600 } else { 0 },
        stall_max_ms: if shard == 1 { 140 } else { 0 },
        running_us: seconds * 20_000 * shard as u64,
        run_queue_us: seconds * 2_000 * shard as u64,
        ..ShardStatus::default()
    }
}

fn observe(status: &mut Status) {
    let ranked = |name: &str, accepted, refused| Ranked { name: name.into(), accepted, refused, ..Ranked::default() };
    let observed = &mut status.observed;
    observed.prefixes = vec![ranked("2001:db8:1:2::/64", 71_004, 12), ranked("2001:db8:ffff:ffff::/64", 3, 9_001)];
    observed.refused_domains = vec![ranked("opted.example", 9, 4_011), ranked("\u{202e}live.example", 0, 17)];
    observed.would_refuse = vec![WouldRefuse {
        rule: "reverse-dns".into(),
        domain: "trial.example".into(),
        prefix: "2001:db8:9::/64".into(),
        count: 12,
        error: 0,
    }];
    let record = |clock: &str, verdict: &str, rule: &str, reply: &str| {
        json!({"time": format!("2026-11-26T{clock}.000Z"), "verdict": verdict,
        "rule": rule, "client": "2001:db8::1", "rcpt_to": "bob\u{1b}[31m@opted.example", "reply": reply})
    };
    observed.recent = vec![
        record("21:00:01", "accept", "accepted", "250 2.0.0 ok"),
        record("21:00:02", "defer", "reverse-dns", "450 4.7.25 no reverse DNS"),
        record("21:00:03", "reject", "not-opted-in", "550 5.7.1 not over IPv6"),
    ];
    let text = "All clients come from one address: is it a balancer without the PROXY protocol?";
    observed.findings = vec![Finding { name: "one-gateway".into(), text: text.into() }];
}

fn screen(looks: Looks) -> Screen {
    let mut screen = Screen::new(looks);
    [3600, 3601, 3602].into_iter().for_each(|seconds| screen.hear(Ok(gate(seconds))));
    screen
}

fn press(screen: &mut Screen, keys: &str) -> Then {
    keys.chars().map(|key| screen.press(KeyEvent::new(KeyCode::Char(key), KeyModifiers::NONE))).last().unwrap()
}

fn drawn(screen: &mut Screen, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| screen.draw(frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned() + "\n";
    (0..height).map(row).collect()
}

fn golden(name: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/top/golden").join(name);
    if std::env::var_os("MX6_GOLDEN").is_some_and(|value| value == "write") {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap_or_default(), "{name}; MX6_GOLDEN=write writes it anew");
}

#[test]
fn every_tab_at_every_size() {
    for (width, height) in [(60, 20), (80, 24), (120, 40)] {
        for tab in 1..=6 {
            let mut screen = screen(RICH);
            press(&mut screen, &tab.to_string());
            golden(&format!("{tab}-{width}x{height}.txt"), &drawn(&mut screen, width, height));
        }
    }
}

#[test]
fn as_text() {
    golden("once.txt", &screen(RICH).text(100));
}

#[test]
fn no_terminal_is_too_small() {
    for (width, height) in [(1, 1), (10, 3), (40, 5), (500, 2)] {
        for tab in 1..=6 {
            let mut screen = screen(RICH);
            press(&mut screen, &tab.to_string());
            drawn(&mut screen, width, height);
        }
    }
}

#[test]
fn a_poor_terminal_gets_ascii_without_colours() {
    let mut screen = screen(Looks { unicode: false, colour: false });
    for tab in 1..=6 {
        press(&mut screen, &tab.to_string());
        let text = drawn(&mut screen, 120, 40);
        assert!(text.is_ascii(), "{text}");
        let mut terminal = Terminal::new(TestBackend::new(120, 40)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        let coloured =
            terminal.backend().buffer().content().iter().filter(|cell| cell.fg != ratatui::style::Color::Reset);
        assert_eq!(coloured.count(), 0, "tab {tab}");
    }
}

#[test]
fn keys() {
    let mut screen = screen(RICH);
    press(&mut screen, "2/reverse");
    let text = drawn(&mut screen, 120, 40);
    assert!(
        text.contains("only rows with: reverse_") && text.contains("reverse-dns") && !text.contains("not-opted-in"),
        "{text}"
    );
    screen.press(KeyEvent::new(KeyCode::Esc, KeyModifiers::NONE));
    assert!(drawn(&mut screen, 120, 40).contains("not-opted-in"));
    press(&mut screen, "s");
    let text = drawn(&mut screen, 120, 40);
    assert!(text.find("accepted").unwrap() < text.find("not-opted-in").unwrap(), "by rate: {text}");
    press(&mut screen, "?");
    assert!(drawn(&mut screen, 80, 24).contains("Any key goes back"));
    press(&mut screen, "x4jjj");
    let text = drawn(&mut screen, 80, 24);
    assert!(text.contains("more lines below") && !text.contains("    0    2  "), "{text}");
    press(&mut screen, " ");
    screen.hear(Ok(gate(9999)));
    let text = drawn(&mut screen, 120, 40);
    assert!(text.contains("PAUSED") && text.contains("up 60 min"), "{text}");
    assert_eq!(press(&mut screen, "q"), Then::Quit);
    assert_eq!(screen.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Then::Quit);
}

#[test]
fn a_gate_that_is_gone() {
    let mut screen = screen(RICH);
    screen.hear(Err("no gate answers at 127.0.0.1:1".into()));
    let text = drawn(&mut screen, 120, 40);
    assert!(text.contains("NO ANSWER for 0 s, trying again") && text.contains("432,241"), "{text}");
    screen.hear(Ok(gate(3700)));
    assert!(!drawn(&mut screen, 120, 40).contains("NO ANSWER"));
}
