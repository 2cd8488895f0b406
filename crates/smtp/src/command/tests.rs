//! Command lines, good and bad.

use super::*;
use CommandError::{Argument, Chunking, ForwardPath as Forward, NotImplemented, NotSmtp, Unknown, UnknownParameter};
use alloc::string::String;

#[test]
fn commands_without_addresses() {
    let long = |octets: usize| String::from("EHLO ") + &"a".repeat(octets);
    let (longest, too_long) = (long(255), long(256));
    let cases: [(&str, Result<Command<'_>, CommandError>); 58] = [
        ("HELO a", Ok(Command::Helo { domain: "a" })),
        ("helo a.example", Ok(Command::Helo { domain: "a.example" })),
        ("EHLO a.example.", Ok(Command::Ehlo { domain: "a.example." })),
        ("EhLo [192.0.2.1]", Ok(Command::Ehlo { domain: "[192.0.2.1]" })),
        ("EHLO 192.0.2.1", Ok(Command::Ehlo { domain: "192.0.2.1" })),
        ("EHLO [IPv6:fe80::1%eth0]", Ok(Command::Ehlo { domain: "[IPv6:fe80::1%eth0]" })),
        ("EHLO MY_PC", Ok(Command::Ehlo { domain: "MY_PC" })),
        ("EHLO a \t ", Ok(Command::Ehlo { domain: "a" })),
        (&longest, Ok(Command::Ehlo { domain: &longest[5..] })),
        (&too_long, Err(Argument)),
        ("EHLO", Err(Argument)),
        ("EHLO ", Err(Argument)),
        ("EHLO a b", Err(Argument)),
        ("EHLO <a>", Err(Argument)),
        ("EHLO a;b", Err(Argument)),
        ("EHLO \"a\"", Err(Argument)),
        ("EHLO é.example", Err(Argument)),
        ("EHLO\ta", Err(Unknown)),
        ("DATA", Ok(Command::Data)),
        ("data  ", Ok(Command::Data)),
        ("DATA x", Err(Argument)),
        ("RSET", Ok(Command::Rset)),
        ("RSET 1", Err(Argument)),
        ("QUIT", Ok(Command::Quit)),
        ("QUIT !", Err(Argument)),
        ("NOOP", Ok(Command::Noop)),
        ("NOOP é <>", Ok(Command::Noop)),
        ("HELP", Ok(Command::Help)),
        ("HELP me", Ok(Command::Help)),
        ("VRFY a", Ok(Command::Vrfy)),
        ("VRFY", Err(Argument)),
        ("", Err(Unknown)),
        (" NOOP", Err(Unknown)),
        ("NOOPS", Err(Unknown)),
        ("NOO", Err(Unknown)),
        ("NOOP!", Err(Unknown)),
        ("QUIT;", Err(Unknown)),
        ("12345", Err(Unknown)),
        ("é", Err(Unknown)),
        ("EXPN a", Err(NotImplemented)),
        ("starttls", Ok(Command::StartTls)),
        ("STARTTLS x", Err(Argument)),
        ("AUTH PLAIN", Err(NotImplemented)),
        ("TURN", Err(NotImplemented)),
        ("BDAT 5 LAST", Ok(Command::Bdat { octets: 5, last: true })),
        ("bdat  0", Ok(Command::Bdat { octets: 0, last: false })),
        ("BDAT 99999999999999999999", Ok(Command::Bdat { octets: u64::MAX, last: false })),
        ("BDAT 100000000000000000000", Err(Chunking)),
        ("BDAT", Err(Chunking)),
        ("BDAT LAST", Err(Chunking)),
        ("BDAT -1", Err(Chunking)),
        ("BDAT 5LAST", Err(Chunking)),
        ("BDAT 5 LASTLY", Err(Chunking)),
        ("BDAT 5 LAST LAST", Err(Chunking)),
        ("GET / HTTP/1.1", Err(NotSmtp)),
        ("CONNECT a:25 HTTP/1.1", Err(NotSmtp)),
        ("MAIL", Err(Argument)),
        ("RCPT", Err(Argument)),
    ];
    for (line, expected) in cases {
        assert_eq!(Command::parse(line.as_bytes()), expected, "{line}");
    }
}

#[test]
fn mail_parameters() {
    let none = MailParameters::default();
    let some = |size, body_8bit| Ok(MailParameters { size, body_8bit, ..none });
    let utf8 = Ok(MailParameters { smtp_utf8: true, ..none });
    let dsn = |ret, envid| Ok(MailParameters { dsn: MailDsn { ret, envid }, ..none });
    let envid = |octets: usize| alloc::format!(" ENVID={}", "e".repeat(octets));
    let (longest, too_long) = (envid(100), envid(101));
    let cases: [(&str, Result<MailParameters<'_>, CommandError>); 51] = [
        ("", some(None, None)),
        (" ", some(None, None)),
        (" SIZE=0", some(Some(0), None)),
        (" size=0001", some(Some(1), None)),
        (" SIZE=18446744073709551615", some(Some(u64::MAX), None)),
        (" SIZE=18446744073709551616", some(Some(u64::MAX), None)),
        (" SIZE=99999999999999999999", some(Some(u64::MAX), None)),
        (" SIZE=100000000000000000000", Err(Argument)),
        (" SIZE=1 BODY=7BIT", some(Some(1), Some(false))),
        ("  body=8bitmime  Size=5", some(Some(5), Some(true))),
        (" SIZE", Err(Argument)),
        (" SIZE=", Err(Argument)),
        (" SIZE=a", Err(Argument)),
        (" SIZE=+1", Err(Argument)),
        (" SIZE=1=2", Err(Argument)),
        (" SIZE=1 SIZE=1", Err(Argument)),
        (" BODY=7BIT BODY=7BIT", Err(Argument)),
        (" BODY", Err(Argument)),
        (" BODY=8BIT", Err(Argument)),
        (" =1", Err(Argument)),
        (" -A=1", Err(Argument)),
        (" A=é", Err(UnknownParameter)),
        (" SIZE=é", Err(Argument)),
        (" ENVID=é", Err(Argument)),
        ("SIZE=1", Err(Argument)),
        (" SMTPUTF8", utf8),
        (" smtputf8", utf8),
        (" SMTPUTF8=1", Err(Argument)),
        (" SMTPUTF8 SMTPUTF8", Err(Argument)),
        (" RET=HDRS", dsn(Some("HDRS"), None)),
        (" RET=full ENVID=a+20b", dsn(Some("full"), Some("a+20b"))),
        (&longest, dsn(None, Some(&longest[7..]))),
        (&too_long, Err(Argument)),
        (" RET", Err(Argument)),
        (" RET=", Err(Argument)),
        (" RET=FULLY", Err(Argument)),
        (" RET=FULL,HDRS", Err(Argument)),
        (" RET=FULL RET=FULL", Err(Argument)),
        (" ENVID", Err(Argument)),
        (" ENVID=", Err(Argument)),
        (" ENVID=a+", Err(Argument)),
        (" ENVID=a+2", Err(Argument)),
        (" ENVID=a+2b", Err(Argument)),
        (" ENVID=+0D+0A", Err(Argument)),
        (" ENVID=+FF", Err(Argument)),
        (" ENVID=a=b", Err(Argument)),
        (" ENVID=a ENVID=b", Err(Argument)),
        (" NOTIFY=NEVER", Err(UnknownParameter)),
        (" ORCPT=rfc822;a@b", Err(UnknownParameter)),
        (" SIZE=1 X-Y=z", Err(UnknownParameter)),
        (" SIZED=1", Err(UnknownParameter)),
    ];
    for (parameters, expected) in cases {
        let line = alloc::format!("MAIL FROM:<>{parameters}");
        let found = Command::parse(line.as_bytes());
        let expected = expected.map(|parameters| Command::Mail { reverse_path: ReversePath::Null, parameters });
        assert_eq!(found, expected, "{line}");
    }
}

#[test]
fn rcpt_parameters() {
    let dsn = |notify, orcpt| Ok(RcptDsn { notify, orcpt });
    let orcpt = |octets: usize| alloc::format!(" ORCPT=rfc822;{}", "a".repeat(octets - 7));
    let (longest, too_long) = (orcpt(500), orcpt(501));
    let cases: [(&str, Result<RcptDsn<'_>, CommandError>); 35] = [
        ("", dsn(None, None)),
        (" NOTIFY=NEVER", dsn(Some("NEVER"), None)),
        (" notify=delay", dsn(Some("delay"), None)),
        (" NOTIFY=SUCCESS,FAILURE,DELAY", dsn(Some("SUCCESS,FAILURE,DELAY"), None)),
        (" NOTIFY=delay,success", dsn(Some("delay,success"), None)),
        (" ORCPT=rfc822;a+2Bb@c.example", dsn(None, Some("rfc822;a+2Bb@c.example"))),
        (" ORCPT=x400;/C+3DDE/  NOTIFY=NEVER", dsn(Some("NEVER"), Some("x400;/C+3DDE/"))),
        (" ORCPT=utf-8;\\x{E9}@c.example", dsn(None, Some("utf-8;\\x{E9}@c.example"))),
        (" ORCPT=UTF-8;é+@c.example", Err(Argument)),
        (" ORCPT=UTF-8;é@c.example", dsn(None, Some("UTF-8;é@c.example"))),
        (" ORCPT=utf-8;\u{85}@c.example", Err(Argument)),
        (&longest, dsn(None, Some(&longest[7..]))),
        (&too_long, Err(Argument)),
        (" NOTIFY", Err(Argument)),
        (" NOTIFY=", Err(Argument)),
        (" NOTIFY=ALWAYS", Err(Argument)),
        (" NOTIFY=NEVER,SUCCESS", Err(Argument)),
        (" NOTIFY=SUCCESS,NEVER", Err(Argument)),
        (" NOTIFY=SUCCESS,", Err(Argument)),
        (" NOTIFY=,SUCCESS", Err(Argument)),
        (" NOTIFY=SUCCESS,,DELAY", Err(Argument)),
        (" NOTIFY=SUCCESS,SUCCESS", Err(Argument)),
        (" NOTIFY=SUCCESS,DELAY,success", Err(Argument)),
        (" NOTIFY=SUCCESS DELAY", Err(UnknownParameter)),
        (" NOTIFY=DELAY NOTIFY=DELAY", Err(Argument)),
        (" ORCPT", Err(Argument)),
        (" ORCPT=", Err(Argument)),
        (" ORCPT=a@b", Err(Argument)),
        (" ORCPT=;a@b", Err(Argument)),
        (" ORCPT=rfc822;", Err(Argument)),
        (" ORCPT=rfc(822;a@b", Err(Argument)),
        (" ORCPT=rfc822;a+0Db@c", Err(Argument)),
        (" ORCPT=rfc822;é@c", Err(Argument)),
        (" ORCPT=rfc822;a@b ORCPT=rfc822;a@b", Err(Argument)),
        (" RET=FULL", Err(UnknownParameter)),
    ];
    for (parameters, expected) in cases {
        let line = alloc::format!("RCPT TO:<a@b>{parameters}");
        let found = Command::parse(line.as_bytes()).map(|command| match command {
            Command::Rcpt { dsn, .. } => dsn,
            other => panic!("{line}: {other:?}"),
        });
        assert_eq!(found, expected, "{line}");
    }
}

#[test]
fn mail_and_rcpt() {
    let cases: [(&str, Option<CommandError>); 21] = [
        ("MAIL FROM:<é@b>", Some(CommandError::NonAsciiPath)),
        ("MAIL FROM:<é@b> SMTPUTF8", None),
        ("MAIL FROM:<é@b> RET=SOME", Some(Argument)),
        ("RCPT TO:<é@b>", None),
        ("mail from:<>", None),
        ("MAIL FROM: <>", None),
        ("MAIL FROM:  <>", Some(CommandError::ReversePath)),
        ("MAIL FROM:", Some(CommandError::ReversePath)),
        ("MAIL FROM:<postmaster>", Some(CommandError::ReversePath)),
        ("MAIL FROM <>", Some(Argument)),
        ("MAIL FROM :<>", Some(Argument)),
        ("MAIL  FROM:<>", Some(Argument)),
        ("MAIL TO:<>", Some(Argument)),
        ("RCPT TO:<a@b>", None),
        ("rcpt to: <a@b> ", None),
        ("RCPT TO:<>", Some(Forward)),
        ("RCPT TO:a@b", Some(Forward)),
        ("RCPT FROM:<a@b>", Some(Argument)),
        ("RCPT TO:<a@b> NOTIFY=NEVER", None),
        ("RCPT TO:<a@b> ?", Some(Argument)),
        ("RCPT TO:<a@b>,<c@d>", Some(Argument)),
    ];
    for (line, error) in cases {
        assert_eq!(Command::parse(line.as_bytes()).err(), error, "{line}");
    }
}
