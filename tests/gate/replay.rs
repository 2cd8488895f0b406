//! `mx6 explain --transcript`: sessions that were saved, and what would be answered now.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::gate::{Setup, mx6};
use crate::harness::http::{Following, admin};
use crate::harness::message::plain;
use crate::harness::process::Ended;
use crate::harness::signing::Key;
use crate::harness::smtp::Client;
use crate::harness::zone::{FORWARDER, NO_PTR, PASS, PASS_V4, quickstart, quickstart_with};

/// Where transcripts lie, and the zone of now.
struct World {
    dir: TempDir,
    zone: String,
}

impl World {
    fn new(zone: String) -> World {
        World { dir: tempfile::tempdir().unwrap(), zone }
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path: PathBuf = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn run(&self, transcript: &str, flags: &[&str]) -> Ended {
        let (zone, saved) = (self.file("now.zone", &self.zone), self.file("saved.jsonl", transcript));
        let mut args = vec!["explain", "--zone", &zone, "--hostname", "mx.example", "--transcript", &saved];
        args.extend(["--domain", "open.example=accept", "--domain", "v4only.example=reject"]);
        args.extend(["--domain", "trial.example=monitor"]);
        args.extend(flags);
        mx6(&args)
    }

    fn text(&self, transcript: &str, flags: &[&str]) -> String {
        let ended = self.run(transcript, flags);
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        ended.stdout
    }

    fn told(&self, transcript: &str, flags: &[&str]) -> Value {
        serde_json::from_str(&self.text(transcript, &[flags, &["--json"]].concat())).unwrap()
    }
}

/// A transcript written by hand: `C: ` and `S: ` what the sides say (`|` stands for CRLF), `X: ` octets of the client as they are (`~` stands for CR), `CUT n` octets that were
/// left out, `TLS` a handshake, `D rcpt stage rule` a decision, `END`.
fn written(session: &str, client: &str, script: &str) -> String {
    let mut text = String::new();
    let mut say = |event: Value| {
        let mut line = json!({ "session": session, "ms": 1 });
        line.as_object_mut().unwrap().extend(event.as_object().unwrap().clone());
        writeln!(text, "{line}").unwrap();
    };
    say(json!({ "event": "connect", "client": client }));
    let mut mail_from = String::new();
    for line in script.lines().map(str::trim_start).filter(|line| !line.is_empty()) {
        if let Some((_, rest)) = line.split_once("MAIL FROM:<") {
            mail_from = rest.split('>').next().unwrap().to_owned();
        }
        match line.split_at(line.len().min(3)) {
            ("C: ", said) => say(json!({ "event": "client", "text": said.replace('|', "\r\n") + "\r\n" })),
            ("S: ", said) => say(json!({ "event": "server", "text": said.replace('|', "\r\n") + "\r\n" })),
            ("X: ", said) => say(json!({ "event": "client", "text": said.replace('|', "\r\n").replace('~', "\r") })),
            ("CUT", count) => {
                say(json!({ "event": "client", "text": "", "cut": count.trim().parse::<u64>().unwrap() }));
            }
            ("TLS", _) => say(json!({ "event": "tls", "version": "TLSv1.3" })),
            ("END", _) => say(json!({ "event": "end" })),
            _ => {
                let words: Vec<&str> = line.split(' ').collect();
                let [_, rcpt_to, stage, rule] = words.as_slice() else { panic!("{line}") };
                let rcpt_to = if *rcpt_to == "-" { "" } else { rcpt_to };
                let record =
                    json!({ "mail_from": mail_from, "rcpt_to": rcpt_to, "stage": stage, "rule": rule, "x": 1 });
                say(json!({ "event": "decision", "record": record }));
            }
        }
    }
    text
}

/// Greeting and EHLO.
const HELLO: &str = "S: 220 mx.example ESMTP mx6
    C: EHLO mail.pass.example
    S: 250-mx.example|250-PIPELINING|250-SIZE 36700160|250-STARTTLS|250-8BITMIME|250-SMTPUTF8|250-CHUNKING|250-LIMITS MAILMAX=1000 RCPTMAX=100|250 ENHANCEDSTATUSCODES
";
/// A message without a signature, and its end.
const MESSAGE: &str = "C: From: <alice@bare.example>|Subject: x||Hello|.\n";
const GO_ON: &str = "S: 354 End data with <CR><LF>.<CR><LF>\n";

fn no_ptr(client: &str) -> String {
    format!("450 4.7.25 Service unavailable, sending IPv6 address [{client}] must have reverse DNS record.")
}

fn not_authenticated(client: &str) -> String {
    format!(
        "450 4.7.26 Service unavailable, message sent over IPv6 [{client}] must pass either SPF or DKIM validation."
    )
}

/// What became of each recipient: compared how, at which stage then and now, and how the reply of now begins.
type Row<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str);

/// Scripts behind the EHLO, and what is told of each recipient.
#[test]
fn sessions_written_by_hand() {
    let (ptr, auth) = (no_ptr(PASS), not_authenticated(FORWARDER));
    let world = World::new(quickstart_with("pass.example. 300 IN TXT \"unrelated\""));
    let check = |name: &str, client: &str, flags: &[&str], script: &str, rows: &[Row<'_>]| {
        let told = world.told(&written("s-1", client, &format!("{HELLO}{script}")), flags);
        let transactions = told["sessions"][0]["transactions"].as_array().unwrap();
        let answers: Vec<&Value> =
            transactions.iter().flat_map(|transaction| transaction["answers"].as_array().unwrap()).collect();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let of = |answer: &&Value| {
            (
                text(&answer["rcpt_to"]),
                text(&answer["compared"]),
                text(&answer["then"]["stage"]),
                text(&answer["now"]["stage"]),
            )
        };
        let expected = rows.iter().map(|row| (row.0.into(), row.1.into(), row.2.into(), row.3.into()));
        assert_eq!(answers.iter().map(of).collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "{name}: {told:#}");
        for (answer, row) in answers.iter().zip(rows) {
            assert!(text(&answer["now"]["reply"]).starts_with(row.4), "{name}: {answer:#}");
        }
        told
    };
    check(
        "pipelining",
        PASS,
        &[],
        &format!(
            "C: MAIL FROM:<alice@pass.example>|RCPT TO:<bob@open.example>|RCPT TO:<bob@elsewhere.example>|RCPT TO:<bob@v4only.example>|DATA
             S: 250 2.1.0 OK|250 2.1.5 OK|550 5.7.1 Relaying denied, [elsewhere.example] is not served here.|550 5.2.1 Service unavailable, [v4only.example] does not accept email over IPv6.
             {GO_ON}{MESSAGE}S: 250 2.0.0 queued as 4711
             C: QUIT
             S: 221 2.0.0 Bye
             END"
        ),
        &[
            ("bob@open.example", "same", "end-of-data", "end-of-data", "250 "),
            ("bob@elsewhere.example", "same", "rcpt", "rcpt", "550 5.7.1 "),
            ("bob@v4only.example", "same", "rcpt", "rcpt", "550 5.2.1 "),
        ],
    );
    let told = check(
        "RSET, and two transactions",
        PASS,
        &[],
        &format!(
            "C: MAIL FROM:<alice@pass.example>
             S: 250 2.1.0 OK
             C: RCPT TO:<bob@open.example>
             S: {ptr}
             C: RSET
             S: 250 2.0.0 OK
             C: MAIL FROM:<alice@bare.example>|RCPT TO:<bob@open.example>|DATA
             S: 250 2.1.0 OK|250 2.1.5 OK
             {GO_ON}{MESSAGE}S: 250 2.0.0 OK
             C: MAIL FROM:<>|RCPT TO:<postmaster>
             S: 250 2.1.0 OK|250 2.1.5 OK
             C: NOOP
             S: 250 2.0.0 Nothing done
             END"
        ),
        &[
            ("bob@open.example", "differs", "rcpt", "rcpt", "250 2.1.5 OK"),
            ("bob@open.example", "differs", "end-of-data", "end-of-data", "450 4.7.26 "),
            ("postmaster", "same", "rcpt", "rcpt", "250 2.1.5 OK"),
        ],
    );
    let other = &told["sessions"][0]["other_replies"];
    assert_eq!(*other, json!([{ "command": "NOOP", "then": "250 2.0.0 Nothing done", "now": "250 2.0.0 OK" }]));
    check(
        "BDAT",
        FORWARDER,
        &[],
        &format!(
            "C: MAIL FROM:<alice@pass.example>|RCPT TO:<bob@open.example>
             S: 250 2.1.0 OK|250 2.1.5 OK
             X: BDAT 12|Subject: x|BDAT 7 LAST|
             S: 250 2.0.0 12 octets received
             X: |Hello
             S: {auth}
             C: MAIL FROM:<alice@pass.example>|RCPT TO:<bob@open.example>
             S: 250 2.1.0 OK|250 2.1.5 OK
             X: BDAT 20 LAST|
             X: From: x|
             CUT 11
             S: 250 2.0.0 OK
             END"
        ),
        &[
            ("bob@open.example", "same", "end-of-data", "end-of-data", "450 4.7.26 "),
            ("bob@open.example", "open", "end-of-data", "end-of-data", "450 4.7.26 "),
        ],
    );
    let told = check(
        "STARTTLS",
        PASS,
        &[],
        &format!(
            "X: STARTTLS|MAIL FROM:<thrown@away.example>|
             S: 220 2.0.0 Ready to start TLS
             TLS
             C: EHLO inside.pass.example
             S: 250-mx.example|250-PIPELINING|250 ENHANCEDSTATUSCODES
             C: MAIL FROM:<alice@pass.example>|RCPT TO:<bob@open.example>|DATA
             S: 250 2.1.0 OK|250 2.1.5 OK
             {GO_ON}{MESSAGE}S: 250 2.0.0 OK
             END"
        ),
        &[("bob@open.example", "same", "end-of-data", "end-of-data", "250 ")],
    );
    let session = &told["sessions"][0];
    assert_eq!((&session["helo"], &session["tls"]), (&json!("inside.pass.example"), &json!("TLSv1.3")));
    // Without its octets a message is judged as far as SPF goes; with its header section, also where nothing is signed.
    for (name, client, domain, kept, cut, compared, reply) in [
        ("cut, SPF passes", PASS, "pass.example", "", 400, "same", "250 "),
        ("cut, SPF does not", FORWARDER, "bare.example", "", 400, "open", "450 4.7.26 "),
        ("cut in the header section", FORWARDER, "bare.example", "X: From: <a@bare.example>|Subj", 400, "open", "450 "),
        ("cut between CR and LF", FORWARDER, "bare.example", "X: From: <a@bare.example>~", 400, "open", "450 "),
        ("cut in the body", FORWARDER, "bare.example", "X: From: <a@bare.example>||Hel", 400, "differs", "450 4.7.26 "),
        (
            "cut behind a dot",
            FORWARDER,
            "bare.example",
            "X: From: <a@bare.example>||Hel|.",
            2,
            "differs",
            "450 4.7.26 ",
        ),
        ("cut, too large now", PASS, "pass.example", "", 70_000, "differs", "552 5.3.4 "),
    ] {
        let script = format!(
            "C: MAIL FROM:<alice@{domain}>|RCPT TO:<bob@open.example>|DATA
             S: 250 2.1.0 OK|250 2.1.5 OK
             {GO_ON}{kept}
             CUT {cut}
             S: 250 2.0.0 OK
             C: QUIT
             S: 221 2.0.0 Bye
             END"
        );
        let row = ("bob@open.example", compared, "end-of-data", "end-of-data", reply);
        let told = check(name, client, &["--size-limit", "65536"], &script, &[row]);
        let message = &told["sessions"][0]["transactions"][0]["message"];
        assert_eq!(message["left_out_octets"], cut, "{name}: {message}");
        assert_eq!(told["sessions"][0]["other_replies"], json!([]), "{name}");
    }
    let auth_temporary = format!(
        "451 4.4.3 Temporary DNS failure, SPF and DKIM of the message from [{FORWARDER}] could not be checked."
    );
    check(
        "temporary failure",
        FORWARDER,
        &[],
        &format!(
            "C: MAIL FROM:<alice@tempfail.example>|RCPT TO:<bob@open.example>|DATA
             S: 250 2.1.0 OK|250 2.1.5 OK
             {GO_ON}{MESSAGE}S: {auth_temporary}
             END"
        ),
        &[("bob@open.example", "same", "end-of-data", "end-of-data", "451 4.4.3 ")],
    );
    check(
        "what is not asked",
        PASS,
        &[],
        &format!(
            "C: MAIL FROM:<a@pass.example>
             S: 450 4.7.28 Too many messages from [2001:db8:1::/64], try again later.
             D - mail message-limit
             C: MAIL FROM:<alice@pass.example>|RCPT TO:<nobody@open.example>|RCPT TO:<bob@open.example>|DATA
             S: 250 2.1.0 OK|550 5.1.1 No such user|250 2.1.5 OK
             D nobody@open.example rcpt delivery
             {GO_ON}{MESSAGE}S: 451 4.4.1 Next hop unavailable, try again later.
             D bob@open.example end-of-data delivery
             END"
        ),
        &[
            ("", "open", "mail", "mail", "250 2.1.0 OK"),
            ("nobody@open.example", "open", "rcpt", "end-of-data", "250 "),
            ("bob@open.example", "open", "end-of-data", "end-of-data", "250 "),
        ],
    );
    check(
        "the end never came",
        PASS,
        &[],
        &format!(
            "C: MAIL FROM:<alice@pass.example> SIZE=100000|RCPT TO:<bob@open.example>|DATA
             S: 250 2.1.0 OK|250 2.1.5 OK
             {GO_ON}X: From: x||Hel
             END"
        ),
        &[("bob@open.example", "same", "rcpt", "rcpt", "250 2.1.5 OK")],
    );
    check(
        "declared too large now",
        PASS,
        &["--size-limit", "65536"],
        &format!(
            "C: MAIL FROM:<alice@pass.example> SIZE=100000|RCPT TO:<bob@open.example>|DATA
             S: 250 2.1.0 OK|250 2.1.5 OK
             {GO_ON}{MESSAGE}S: 250 2.0.0 OK
             END"
        ),
        &[("bob@open.example", "differs", "end-of-data", "mail", "552 5.3.4 ")],
    );
    check(
        "on trial",
        NO_PTR,
        &[],
        &format!(
            "C: MAIL FROM:<alice@pass.example>|RCPT TO:<bob@trial.example>|RCPT TO:<bob@open.example>|DATA
             S: 250 2.1.0 OK|250 2.1.5 OK|{}
             {GO_ON}{MESSAGE}S: 250 2.0.0 OK
             END",
            no_ptr(NO_PTR)
        ),
        &[
            ("bob@trial.example", "differs", "end-of-data", "end-of-data", "250 "),
            ("bob@open.example", "same", "rcpt", "rcpt", "450 4.7.25 "),
        ],
    );
    check(
        "over IPv4",
        PASS_V4,
        &[],
        &format!(
            "C: MAIL FROM:<alice@bare.example>|RCPT TO:<bob@v4only.example>|DATA
             S: 250 2.1.0 OK|250 2.1.5 OK
             {GO_ON}X: a~b|.|
             S: 250 2.0.0 OK
             END"
        ),
        &[("bob@v4only.example", "differs", "end-of-data", "end-of-data", "550 5.6.11 ")],
    );
}

/// Sessions of a running gate, recorded from its `/trace` and replayed: the same replies. With another zone others, and these are marked.
#[test]
fn sessions_of_a_gate() {
    let key = Key::rsa();
    let zone = quickstart_with(&key.published_at("good.example"));
    let mut gate = Setup::new().zone(&zone).args(&["--admin", "127.0.0.1:0"]).start();
    let address = admin(&mut gate, 1).remove(0);
    let signed = key.sign("good.example", "relaxed/relaxed", &plain("alice@good.example", "signed"));
    let message = plain("alice@pass.example", "recorded");
    let send = || {
        for (client, reverse_path, recipient, message) in [
            (PASS, "alice@pass.example", "bob@open.example", &message),
            (PASS, "alice@pass.example", "bob@v4only.example", &message),
            (NO_PTR, "alice@pass.example", "bob@open.example", &message),
            (NO_PTR, "alice@bare.example", "bob@trial.example", &message),
            (FORWARDER, "alice@bare.example", "bob@open.example", &message),
            (FORWARDER, "alice@good.example", "bob@open.example", &signed),
            (PASS_V4, "alice@bare.example", "bob@open.example", &message),
        ] {
            Client::greeted(&gate, client, "mail.pass.example").transaction(reverse_path, recipient, message);
        }
        let mut smtp = Client::greeted(&gate, PASS, "mail.pass.example");
        smtp.send("MAIL FROM:<alice@pass.example>\r\nRCPT TO:<bob@open.example>\r\nRSET\r\nMAIL FROM:<alice@pass.example>\r\n");
        smtp.send("RCPT TO:<bob@open.example>\r\nRCPT TO:<eve@elsewhere.example>\r\nBDAT 12\r\nSubject: x\r\nBDAT 9 LAST\r\n\r\nHello\r\n");
        smtp.send("MAIL FROM:<>\r\nRCPT TO:<bob@open.example>\r\nDATA\r\n");
        for _ in 0..11 {
            smtp.reply();
        }
        assert!(smtp.message(&message).starts_with("250 "), "the HELO identity passes");
    };
    // A trace never holds a session up: on a busy machine it may miss something. Then it is taken anew.
    let record = |octets: &str| {
        let recorded = (0..10).find_map(|_| {
            let mut trace = Following::open(&address, &format!("/trace?octets={octets}"));
            send();
            let ends = |text: &str| text.matches("\"event\":\"end\"").count();
            let has_missed = |text: &str| text.contains("\"missed\"") || text.contains(SILENCE);
            let lines = trace.lines_until("eight sessions", |text| ends(text) == 8 || has_missed(text));
            (ends(&lines) == 8 && !has_missed(&lines)).then_some(lines)
        });
        recorded.expect("a trace that missed nothing")
    };
    let traces = ["1048576", "0"].map(record);
    let world = World::new(zone.clone());
    let told = world.told(&traces[0], &[]);
    assert_eq!((told["same"].as_u64(), &told["differ"], &told["open"]), (Some(11), &json!(0), &json!(0)), "{told:#}");
    for session in told["sessions"].as_array().unwrap() {
        assert_eq!((&session["other_replies"], &session["said_at_the_end"]), (&json!([]), &Value::Null), "{session:#}");
        for answer in
            session["transactions"].as_array().unwrap().iter().flat_map(|it| it["answers"].as_array().unwrap())
        {
            let accepts = answer["now"]["reply"].as_str().unwrap().starts_with('2');
            assert!(accepts || answer["now"]["reply"] == answer["then"]["reply"], "{answer:#}");
            assert!(answer["then"]["rule"].is_string(), "{answer:#}");
            assert_eq!(answer["now"]["would"], answer["then"]["would"], "{answer:#}");
        }
    }
    // Without octets nothing of a message is told, however it comes.
    assert!(
        traces[0].contains("Hello") && !traces[1].contains("Hello") && !traces[1].contains("Subject"),
        "{}",
        traces[1]
    );
    // What only a signature decides cannot be told without octets; all the rest can.
    let told = world.told(&traces[1], &[]);
    assert_eq!(
        (told["same"].as_u64(), &told["differ"], told["open"].as_u64()),
        (Some(9), &json!(0), Some(2)),
        "{told:#}"
    );
    let why = "a DKIM signature that counts would change it; then one of good.example counted";
    assert!(told.to_string().contains(why), "{told:#}");
    // The names of now: the address of PASS has lost its PTR record.
    let world =
        World::new(zone.replace("5.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0 IN PTR mail.pass.example.\n", ""));
    let told = world.told(&traces[0], &[]);
    assert_eq!((told["same"].as_u64(), told["differ"].as_u64()), (Some(7), Some(4)), "{told:#}");
    let text = world.text(&traces[0], &[]);
    let marked = format!("now  !=  {} (rcpt, reverse-dns)", no_ptr(PASS));
    assert_eq!(text.matches(&marked).count(), 4, "{text}");
    assert!(text.contains("8 sessions, 11 answers: 7 as then (==), 4 differ (!=), 0 cannot be told (??)"), "{text}");
    assert!(
        text.contains("5.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. 3600 IN PTR"),
        "{text}"
    );
    // One of them alone.
    let first = told["sessions"][2]["session"].as_str().unwrap();
    let one = world.told(&traces[0], &["--session", first]);
    assert_eq!((one["sessions"].as_array().unwrap().len(), &one["sessions"][0]["session"]), (1, &json!(first)));
}

/// A reply that names its session and a page is the same answer, with the page of now.
#[test]
fn a_reply_that_is_ours_to_choose() {
    let page = ["--reply-url", "https://postmaster.example/?s={session}"];
    let mut gate = Setup::new().args(&["--admin", "127.0.0.1:0"]).args(&page).start();
    let address = admin(&mut gate, 1).remove(0);
    let mut trace = Following::open(&address, "/trace");
    let mut smtp = Client::greeted(&gate, FORWARDER, "mail.pass.example");
    smtp.ok("MAIL FROM:<alice@bare.example>");
    smtp.ok("RCPT TO:<bob@open.example>");
    let said = smtp.say("RCPT TO:<bob@trial.example>");
    drop(smtp);
    let lines = trace.lines_until("the session", |text| text.contains("\"event\":\"end\""));
    let world = World::new(quickstart());
    let same = ["--url", page[1]];
    for (flags, now) in [
        (&page[..], said.trim_end()),
        (&same[..], said.trim_end()),
        (&[], said.trim_end().split_once(" https").unwrap().0),
    ] {
        let told = world.told(&lines, flags);
        let answer = &told["sessions"][0]["transactions"][0]["answers"][1];
        assert_eq!(answer["then"]["reply"], said.trim_end(), "{answer:#}");
        assert_eq!((&answer["now"]["reply"], &told["differ"]), (&json!(now), &json!(0)), "{told:#}");
    }
    gate.stop();
}

/// The chunk that `/trace` sends when nothing has happened for ten seconds.
const SILENCE: &str = "\r\n1\r\n\n\r\n";

/// What cannot be replayed is said with its place, and what does not go together is a wrong command line.
#[test]
fn what_cannot_be_replayed() {
    let world = World::new(quickstart());
    let good = written("s-1", PASS, HELLO);
    for (transcript, flags, code, words) in [
        (good.clone() + "{\"session\":\"s-1\",\"ms\":x}\n", &[][..], 65, "saved.jsonl:5:23: expected value\n"),
        (
            good.clone() + "{\"session\":\"s-1\",\"ms\":1,\"event\":\"shout\"}\n",
            &[],
            65,
            "saved.jsonl:5:1: is no event",
        ),
        (good.clone(), &["--session", "s-2"], 65, "saved.jsonl has no session s-2; it has s-1"),
        (good.clone(), &["--helo", "x.example"], 2, "--helo"),
        (good.clone(), &["--client-ip", "::1"], 2, "--client-ip"),
        (good.clone(), &["message.eml"], 2, "MESSAGE.eml"),
        (String::new(), &[], 65, "saved.jsonl has no session that can be replayed"),
    ] {
        let ended = world.run(&transcript, flags);
        assert_eq!(ended.code, Some(code), "{flags:?}: {ended:#?}");
        assert!(ended.stderr.contains(words), "{words}: {ended:#?}");
    }
    let alone = mx6(&["explain", "--session", "x"]);
    assert_eq!(alone.code, Some(2), "{alone:#?}");
    // A trace that missed something: a session whose replies do not fit its commands is left out.
    let hole = written("s-0", PASS, &format!("{HELLO}C: NOOP\nEND"));
    let text = world.text(&(hole.clone() + &good + "{\"missed\":3}\n"), &[]);
    let why = "session  s-0 is left out: its replies do not fit its commands; the trace missed 3 events";
    assert!(text.contains(why), "{text}");
    assert!(text.contains("the trace missed 3 events, of whatever sessions were under way"), "{text}");
    assert!(text.contains("session  s-1 of 2001:db8:1::25, HELO mail.pass.example; it went on when"), "{text}");
    let text = world.text(&(hole + &good), &[]);
    assert!(text.contains("session  s-0 of 2001:db8:1::25, HELO mail.pass.example\n"), "{text}");
}

/// What peers said is in the text, and steers nothing.
#[test]
fn nothing_of_it_steers_the_terminal() {
    let world = World::new(quickstart());
    let script = format!(
        "{HELLO}C: MAIL FROM:<\u{202e}a@bare.example> SMTPUTF8|RCPT TO:<\"b\u{2028}c\"@open.example>
         S: 250 2.1.0 OK|550 5.1.1 \u{1b}[2J no\u{202e}body
         C: NOOP \u{1b}[31m
         S: 250 \u{7}
         END"
    );
    let text = world.text(&written("s\u{1b}[1m", FORWARDER, &script), &[]);
    assert!(text.contains("session  s?[1m of"), "{text}");
    assert!(text.contains("MAIL FROM:<?a@bare.example>") && text.contains("550 5.1.1 ?[2J no?body (rcpt"), "{text}");
    let holds_still =
        |character: char| character == '\n' || !character.is_control() && !"\u{202e}\u{2028}".contains(character);
    assert!(text.chars().all(holds_still), "{text:?}");
}
