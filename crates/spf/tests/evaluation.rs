//! Results of whole evaluations over a small zone, each one warm and in every pace of a driver.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod zone;

use std::net::IpAddr;

use mx6_spf::{Evaluation, Identity, Output, Request, SpfResult, survey};
use zone::{Pace, Zone, drive, evaluate};

use SpfResult::{Fail, Neutral, None, Pass, PermError, SoftFail, TempError};

const IP4: &str = "192.0.2.1";
const IP6: &str = "2001:db8::1";

fn request<'a>(client: &str, mail_from: &'a str) -> Request<'a> {
    let identity = match mail_from.rsplit_once('@') {
        Some((local_part, domain)) => Identity::MailFrom { local_part, domain },
        Option::None => Identity::Helo,
    };
    let client: IpAddr = client.parse().unwrap();
    let (helo, receiver) = ("mail.example.org", "mx.example.net");
    Request { client, identity, helo, receiver, now_unix_s: 1_700_000_000, explain: true }
}

/// Publishes `record` at `d.example` beside `zone` and evaluates `jack@d.example`.
fn check(zone: &str, record: &str, client: &str) -> Output {
    let zone = Zone::parse(&format!("{zone}\nd.example TXT {record}"));
    evaluate(&request(client, "jack@d.example"), &zone)
}

#[test]
fn mechanisms() {
    let zone = "
        d.example A 192.0.2.1
        d.example AAAA 2001:db8::1
        d.example MX 10 mx1.d.example
        d.example MX 20 mx2.d.example
        mx1.d.example A 192.0.2.1
        mx1.d.example AAAA 2001:db8:0:1::1
        mx2.d.example A 198.51.100.1
        mx2.d.example AAAA 2001:db8::1
        four.example A 192.0.2.1
        null.example MX 0 .
        slow.example TIMEOUT
        slowmx.example MX 10 slow.example
        slowmx.example MX 20 mx1.d.example
        slowmx.example MX 30 mx2.d.example
        1.2.0.192.in-addr.arpa PTR MX1.d.example.
        1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR mx2.d.example
        7.2.0.192.in-addr.arpa PTR mx1.d.example
        8.2.0.192.in-addr.arpa TIMEOUT
        9.2.0.192.in-addr.arpa PTR slow.example
        pass.example TXT v=spf1 +all
        fail.example TXT v=spf1 -all
        soft.example TXT v=spf1 ~all
        neutral.example TXT v=spf1 ?all
        default.example TXT v=spf1
        wrong.example TXT v=spf1 moo
        two.example TXT v=spf1
        two.example TXT v=spf1 -all
        other.example TXT v=spf1x
    ";
    for (record, client, want, mechanism) in [
        ("v=spf1", IP4, Neutral, ""),
        ("v=spf1 -all", IP4, Fail, "-all"),
        ("v=spf1 ~all", IP6, SoftFail, "~all"),
        ("v=spf1 ip6:2001:db8::/32 -all", IP6, Pass, "ip6:2001:db8::/32"),
        ("v=spf1 ip6:2001:db8::/32 -all", "2001:db9::1", Fail, "-all"),
        ("v=spf1 ip6:::/0 ip4:192.0.2.0/24 -all", IP4, Pass, "ip4:192.0.2.0/24"),
        ("v=spf1 ip4:0.0.0.0/0 ?all", IP6, Neutral, "?all"),
        ("v=spf1 ip6:::/0 ip4:192.0.2.1 -all", "::ffff:192.0.2.1", Pass, "ip4:192.0.2.1"),
        ("v=spf1 a -all", IP4, Pass, "a"),
        ("v=spf1 a -all", IP6, Pass, "a"),
        ("v=spf1 a:four.example -all", IP4, Pass, "a:four.example"),
        ("v=spf1 a:four.example//0 -all", IP6, Fail, "-all"),
        ("v=spf1 a/8//32 -all", "2001:db8:ffff::", Pass, "a/8//32"),
        ("v=spf1 a/8//32 -all", "192.255.255.255", Pass, "a/8//32"),
        ("v=spf1 mx -all", IP4, Pass, "mx"),
        ("v=spf1 mx -all", IP6, Pass, "mx"),
        ("v=spf1 mx -all", "192.0.2.2", Fail, "-all"),
        ("v=spf1 mx/24 -all", "192.0.2.2", Pass, "mx/24"),
        ("v=spf1 mx:null.example mx:null.example mx:null.example -all", IP4, Fail, "-all"),
        ("v=spf1 mx:slowmx.example -all", IP4, Pass, "mx:slowmx.example"),
        ("v=spf1 mx:slowmx.example -all", "192.0.2.2", TempError, ""),
        ("v=spf1 ptr -all", IP4, Pass, "ptr"),
        ("v=spf1 ptr:mx1.d.example -all", IP4, Pass, "ptr:mx1.d.example"),
        ("v=spf1 ptr -all", IP6, Pass, "ptr"),
        ("v=spf1 ptr:mx2.d.example -all", IP4, Fail, "-all"),
        ("v=spf1 ptr -all", "192.0.2.7", Fail, "-all"),
        ("v=spf1 ptr -all", "192.0.2.8", Fail, "-all"),
        ("v=spf1 ptr:slow.example -all", "192.0.2.9", Fail, "-all"),
        ("v=spf1 exists:four.example -all", IP6, Pass, "exists:four.example"),
        ("v=spf1 exists:%{l}.none.example -all", IP6, Fail, "-all"),
        ("v=spf1 exists:slow.example -all", IP6, TempError, ""),
        ("v=spf1 a:slow.example -all", IP6, TempError, ""),
        ("v=spf1 ip6:::/0 a:slow.example -all", IP6, Pass, "ip6:::/0"),
        ("v=spf1 mx:slow.example -all", IP6, TempError, ""),
        ("v=spf1 include:pass.example -all", IP4, Pass, "include:pass.example"),
        ("v=spf1 -include:pass.example", IP4, Fail, "-include:pass.example"),
        ("v=spf1 include:fail.example ~all", IP4, SoftFail, "~all"),
        ("v=spf1 include:soft.example ~all", IP4, SoftFail, "~all"),
        ("v=spf1 include:neutral.example ~all", IP4, SoftFail, "~all"),
        ("v=spf1 include:default.example ~all", IP4, SoftFail, "~all"),
        ("v=spf1 include:slow.example ~all", IP4, TempError, ""),
        ("v=spf1 include:wrong.example ~all", IP4, PermError, ""),
        ("v=spf1 include:two.example ~all", IP4, PermError, ""),
        ("v=spf1 include:other.example ~all", IP4, PermError, ""),
        ("v=spf1 include:nx.example ~all", IP4, PermError, ""),
        ("v=spf1 include:a..example ~all", IP4, PermError, ""),
        ("v=spf1 include:%{d1} ~all", IP4, PermError, ""),
        ("v=spf1 redirect=pass.example", IP4, Pass, "+all"),
        ("v=spf1 redirect=fail.example ip4:192.0.2.1", IP4, Pass, "ip4:192.0.2.1"),
        ("v=spf1 redirect=fail.example ?all", IP4, Neutral, "?all"),
        ("v=spf1 redirect=default.example", IP4, Neutral, ""),
        ("v=spf1 redirect=slow.example", IP4, TempError, ""),
        ("v=spf1 redirect=wrong.example", IP4, PermError, ""),
        ("v=spf1 redirect=other.example", IP4, PermError, ""),
        ("v=spf1 redirect=nx.example", IP4, PermError, ""),
        ("v=spf1 redirect=%{d1}", IP4, PermError, ""),
        ("v=spf1 a:x..example mx:x..example exists:x..example ptr:x..example -all", IP4, Fail, "-all"),
        ("v=spf1 -all moo", IP4, PermError, ""),
    ] {
        let output = check(zone, record, client);
        assert_eq!((output.result, output.mechanism.as_deref().unwrap_or("")), (want, mechanism), "{record} {client}");
        assert_eq!(output.domain, "d.example");
        assert!(output.lookups <= 10 && output.void_lookups <= 2, "{output:?}");
    }
}

#[test]
fn initial_processing() {
    let zone = Zone::parse(
        "d.example TXT v=spf1 exists:%{s}.s.example exists:%{l}.l.example -all
         mail.example.org TXT v=spf1 exists:%{s}.h.example -all
         jack@d.example.s.example A 127.0.0.2
         postmaster.l.example A 127.0.0.2
         postmaster@mail.example.org.h.example A 127.0.0.2
         slow.example TIMEOUT",
    );
    for (mail_from, want) in [
        ("jack@d.example", Pass),
        ("jack@D.Example.", Pass),
        ("Jack@D.EXAMPLE", Pass),
        ("@d.example", Pass),
        ("jill@d.example", Fail),
        ("", Pass),
        ("a@b@d.example", Fail),
        ("jack@nx.example", None),
        ("jack@slow.example", TempError),
        ("jack@d..example", None),
        ("jack@example", None),
        ("jack@[192.0.2.1]", None),
        ("jack@[IPv6:2001:db8::1]", None),
        ("jack@", None),
    ] {
        assert_eq!(evaluate(&request(IP4, mail_from), &zone).result, want, "{mail_from}");
    }
    for helo in ["", "localhost", "[192.0.2.1]", "d..example", "."] {
        let request = Request { helo, identity: Identity::Helo, ..request(IP4, "") };
        assert_eq!(evaluate(&request, &zone).result, None, "{helo}");
    }
}

#[test]
fn void_lookups() {
    let zone = "four.example A 192.0.2.9\ntwo.example TXT hello\n
        m.example MX 1 nx1.example\nm.example MX 2 nx2.example\nm.example MX 3 nx3.example
        m.example MX 4 four.example\n2.2.0.192.in-addr.arpa PTR nx.d.example";
    let four = "a:four.example a:four.example a:four.example";
    for (terms, client, want, voids) in [
        ("a:nx1.example a:nx2.example", IP4, Fail, 2),
        ("a:nx1.example a:nx2.example a:nx3.example", IP4, PermError, 2),
        ("a:two.example mx:two.example exists:two.example", IP4, PermError, 2),
        ("a:nx1.example a:nx2.example a:nx3.example", IP6, PermError, 2),
        // NODATA for AAAA does not count.
        (four, IP6, Fail, 0),
        ("exists:two.example mx:two.example a:two.example", IP6, Fail, 2),
        ("exists:two.example mx:two.example exists:nx.example", IP6, PermError, 2),
        // All hosts of an MX count, unless one matches.
        ("mx:m.example", IP4, PermError, 2),
        ("mx:m.example", "192.0.2.9", Pass, 0),
        // PTR: its own lookup counts, those of the client's names do not.
        ("ptr ptr ptr", IP4, PermError, 2),
        ("ptr ptr ptr", "192.0.2.2", Fail, 0),
        ("exists:%{p}.nx.example exists:%{p}.nx.example", "192.0.2.2", Fail, 2),
        // Names that cannot exist are not looked up.
        ("a:a..b.example a:a..b.example a:a..b.example", IP4, Fail, 0),
    ] {
        let output = check(zone, &format!("v=spf1 {terms} -all"), client);
        assert_eq!((output.result, output.void_lookups), (want, voids), "{terms} {client}: {output:?}");
    }
}

#[test]
fn lookup_limit() {
    let (ten, nine) = (" a:x.example".repeat(10), " a:x.example".repeat(9));
    let zone = format!(
        "x.example A 198.51.100.1\nnine.example TXT v=spf1{nine}\nloop.example TXT v=spf1 include:loop.example
         round.example TXT v=spf1 redirect=d.example\nmany.example MX 1 x.example\n{}
         1.2.0.192.in-addr.arpa PTR x.example",
        (0..10).map(|at| format!("many.example MX {at} h{at}.example\n")).collect::<String>()
    );
    for (record, want, lookups) in [
        (format!("v=spf1{ten} -all"), Fail, 10),
        (format!("v=spf1{ten} a -all"), PermError, 10),
        (format!("v=spf1{ten} redirect=x.example"), PermError, 10),
        ("v=spf1 include:nine.example -all".to_owned(), Fail, 10),
        ("v=spf1 include:nine.example a:x.example -all".to_owned(), PermError, 10),
        ("v=spf1 include:nine.example ip4:192.0.2.1 -all".to_owned(), Pass, 10),
        ("v=spf1 include:loop.example -all".to_owned(), PermError, 10),
        ("v=spf1 redirect=round.example".to_owned(), PermError, 10),
        ("v=spf1 mx:many.example -all".to_owned(), PermError, 1),
        // The PTR query of %{p} counts once, and is shared with ptr.
        ("v=spf1 a:%{p}.x.example a:%{p}.x.example -all".to_owned(), Fail, 3),
        ("v=spf1 ptr a:%{p}.x.example -all".to_owned(), Fail, 2),
    ] {
        let output = check(&zone, &record, IP4);
        assert_eq!((output.result, output.lookups), (want, lookups), "{record}: {output:?}");
    }
}

#[test]
fn validated_names() {
    let zone = "
        1.2.0.192.in-addr.arpa PTR x.other.example
        1.2.0.192.in-addr.arpa PTR liar.d.example
        1.2.0.192.in-addr.arpa PTR sub.d.example
        1.2.0.192.in-addr.arpa PTR d.example
        2.2.0.192.in-addr.arpa PTR x.other.example
        2.2.0.192.in-addr.arpa PTR sub.d.example
        3.2.0.192.in-addr.arpa PTR x.other.example
        4.2.0.192.in-addr.arpa PTR liar.d.example
        5.2.0.192.in-addr.arpa TIMEOUT
        x.other.example A 192.0.2.1\nx.other.example A 192.0.2.2\nx.other.example A 192.0.2.3
        sub.d.example A 192.0.2.1\nsub.d.example A 192.0.2.2
        d.example A 192.0.2.1
        liar.d.example A 198.51.100.1
        e.example TXT %{p}
    ";
    for (client, want) in [
        ("192.0.2.1", "d.example"),
        ("192.0.2.2", "sub.d.example"),
        ("192.0.2.3", "x.other.example"),
        ("192.0.2.4", "unknown"),
        ("192.0.2.5", "unknown"),
        ("192.0.2.6", "unknown"),
    ] {
        let output = check(zone, "v=spf1 exp=e.example -all", client);
        assert_eq!(output.explanation.as_deref(), Some(want), "{client}");
        assert_eq!(output.lookups, 0);
    }
}

#[test]
fn explanations() {
    let zone = "
        e.example TXT %{i} of %{o} (%{h}) is not welcome at %{r}, %{t}.
        two.example TXT one
        two.example TXT two
        bad.example TXT %{x}
        odd.example TXT caf\u{e9}
        slow.example TIMEOUT
        fail.example TXT v=spf1 exp=own.example -all
        own.example TXT of the redirect
    ";
    let full = "192.0.2.1 of d.example (mail.example.org) is not welcome at mx.example.net, 1700000000.";
    for (record, want) in [
        ("v=spf1 exp=e.example -all", Some(full)),
        ("v=spf1 -all exp=E.example.", Some(full)),
        ("v=spf1 exp=e.%{d1r} -all", Option::None),
        ("v=spf1 exp=%{d1} -all", Option::None),
        ("v=spf1 exp=e.example ~all", Option::None),
        ("v=spf1 exp=e.example", Option::None),
        ("v=spf1 exp=two.example -all", Option::None),
        ("v=spf1 exp=bad.example -all", Option::None),
        ("v=spf1 exp=odd.example -all", Option::None),
        ("v=spf1 exp=slow.example -all", Option::None),
        ("v=spf1 exp=nx.example -all", Option::None),
        ("v=spf1 exp=e.example redirect=fail.example", Some("of the redirect")),
        ("v=spf1 -include:fail.example exp=e.example -all", Some(full)),
    ] {
        assert_eq!(check(zone, record, IP4).explanation.as_deref(), want, "{record}");
    }
    let zone = Zone::parse(&format!("{zone}\nd.example TXT v=spf1 exp=e.example -all"));
    let quiet = Request { explain: false, ..request(IP4, "jack@d.example") };
    let drive = drive(&quiet, &zone, Pace::All);
    assert_eq!((drive.output.explanation, drive.queries.len()), (Option::None, 1));
}

#[test]
fn reasons_name_the_record_at_fault() {
    let zone = "
        deep.example TXT v=spf1 include:deeper.example
        deeper.example TXT v=spf1 moo
        slow.example TIMEOUT
        void.example TXT v=spf1 a:nx.example a:nx.example a:nx.example
    ";
    for (record, want) in [
        ("v=spf1 moo", "d.example: unknown mechanism"),
        ("v=spf1 include:deep.example", "deeper.example: unknown mechanism"),
        ("v=spf1 redirect=deep.example", "deeper.example: unknown mechanism"),
        ("v=spf1 include:slow.example", "slow.example: the SPF record could not be looked up"),
        ("v=spf1 include:void.example", "void.example: more than 2 lookups that found nothing"),
        ("v=spf1 include:nx.example", "nx.example: included here, but no SPF record"),
        ("v=spf1 redirect=nx.example", "nx.example: redirected here, but no SPF record"),
        ("v=spf1 a:slow.example", "d.example: an address lookup for a failed"),
        ("v=spf1 -all", "mechanism matched"),
        ("v=spf1", "no mechanism matched"),
    ] {
        assert_eq!(check(zone, record, IP4).reason, want, "{record}");
    }
}

#[test]
fn what_tells_of_the_sender() {
    let zone = "good.example A 192.0.2.1\nyes.example A 127.0.0.2\ninc.example TXT v=spf1 exists:%{l}.x.example ~all\n\
                plain.example TXT v=spf1 ?all\n";
    for (record, tells) in [
        ("v=spf1 a:good.example -all", false),
        (
            "v=spf1 exists:%{i}.x.example exists:%{o}.x.example exists:%{d2}.%{v}.x.example exists:%{p}.x.example -all",
            false,
        ),
        ("v=spf1 exists:%{l}.x.example -all", true),
        ("v=spf1 exists:%{S}.x.example -all", true),
        ("v=spf1 exists:%{h}.x.example -all", true),
        ("v=spf1 a:%{l1r-}.x.example/24 -all", true),
        ("v=spf1 mx:%{h} -all", true),
        ("v=spf1 ptr:%{h} -all", true),
        // Only what is reached counts.
        ("v=spf1 a:good.example exists:%{l}.x.example -all", false),
        ("v=spf1 -all redirect=%{l}.x.example", false),
        ("v=spf1 redirect=%{l}.x.example", true),
        ("v=spf1 include:inc.example -all", true),
        ("v=spf1 include:plain.example -all", false),
        ("v=spf1 include:%{h} -all", true),
        // An explanation is for one sender, and is asked for here.
        ("v=spf1 -all exp=%{l}.x.example", true),
    ] {
        let output = check(zone, record, "192.0.2.1");
        assert_eq!(output.tells_of_sender, tells, "{record}: {output:?}");
    }
}

/// A survey goes on where an evaluation gives up, and says which terms took what.
#[test]
fn what_a_record_takes() {
    let many: String = (0..7).map(|n| format!("a{n}.example A 198.51.100.1\n")).collect();
    let terms: String = (0..7).map(|n| format!(" a:a{n}.example")).collect();
    let zone = format!("{many}big.example TXT v=spf1{terms} ~all\nend.example TXT v=spf1 a:nx.example -all\n");
    for (record, want, spent) in [
        (
            "v=spf1 include:big.example a:a0.example include:big.example redirect=end.example",
            (Fail, 19, 1),
            &[
                ("d.example", "include:big.example", 8, 0),
                ("d.example", "a:a0.example", 1, 0),
                ("d.example", "include:big.example", 8, 0),
                ("d.example", "redirect=end.example", 1, 0),
                ("end.example", "a:nx.example", 1, 1),
            ][..],
        ),
        (
            "v=spf1 ip4:192.0.2.9 a:x.nx.example mx:nx.example a:y.nx.example -all",
            (Fail, 3, 3),
            &[
                ("d.example", "a:x.nx.example", 1, 1),
                ("d.example", "mx:nx.example", 1, 1),
                ("d.example", "a:y.nx.example", 1, 1),
            ],
        ),
        ("v=spf1 include:d.example -all", (PermError, 60, 0), &[("d.example", "include:d.example", 60, 0)]),
        ("v=spf1 -all", (Fail, 0, 0), &[]),
    ] {
        let zone = Zone::parse(&format!("{zone}\nd.example TXT {record}"));
        let mail = request(IP4, "jack@d.example");
        let Evaluation::Done(output) = survey(&mail, &zone) else { panic!("a warm oracle leaves nothing to ask") };
        assert_eq!((output.result, output.lookups, output.void_lookups), want, "{record}");
        let told: Vec<_> = output
            .spent
            .iter()
            .map(|spent| (spent.domain.as_str(), spent.term.as_str(), spent.lookups, spent.void_lookups))
            .collect();
        assert_eq!(told, spent, "{record}");
        assert_eq!(evaluate(&mail, &zone).spent, []);
    }
}
