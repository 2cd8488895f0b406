use super::*;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::ToString;
use alloc::vec;

/// Reads all of `wire` in the given pieces.
fn read_all<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Reply>, ReplyFault> {
    let mut reader = ReplyReader::new();
    let mut replies = Vec::new();
    for piece in pieces {
        let mut rest = piece;
        while !rest.is_empty() {
            let (taken, reply) = reader.read(rest)?;
            assert!(reply.is_some() || taken == rest.len());
            replies.extend(reply);
            rest = &rest[taken..];
        }
    }
    Ok(replies)
}

fn reply(code: u16, enhanced: Option<EnhancedCode>, text: &str) -> Reply {
    Reply::new(code, enhanced, text.to_owned())
}

#[test]
fn replies_over_every_split() {
    let cases: [(&str, Vec<Reply>); 12] = [
        ("250 2.1.0 Ok\r\n", vec![reply(250, Some(EnhancedCode(2, 1, 0)), "Ok")]),
        ("250 Ok\r\n", vec![reply(250, None, "Ok")]),
        ("250\r\n", vec![reply(250, None, "")]),
        ("250 \r\n", vec![reply(250, None, "")]),
        ("550-5.7.1 no\r\n550 5.7.1 never\r\n", vec![reply(550, Some(EnhancedCode(5, 7, 1)), "no\nnever")]),
        ("550-5.7.1 no\r\n550 5.7.2 other\r\n", vec![reply(550, Some(EnhancedCode(5, 7, 1)), "no\n5.7.2 other")]),
        ("550-plain\r\n550 5.7.1 later\r\n", vec![reply(550, None, "plain\n5.7.1 later")]),
        ("450 5.7.1 class differs\r\n", vec![reply(450, None, "5.7.1 class differs")]),
        ("550 5.7.1234 x\r\n", vec![reply(550, None, "5.7.1234 x")]),
        ("550 5.7.1\r\n", vec![reply(550, Some(EnhancedCode(5, 7, 1)), "")]),
        ("354 3.0.0 go\r\n", vec![reply(354, None, "3.0.0 go")]),
        (
            "250 2.1.0 a\r\n250-2.1.5 b\r\n250 2.1.5 \x1b\u{e9}\r\n354 End\r\n",
            vec![
                reply(250, Some(EnhancedCode(2, 1, 0)), "a"),
                reply(250, Some(EnhancedCode(2, 1, 5)), "b\n???"),
                reply(354, None, "End"),
            ],
        ),
    ];
    for (wire, expected) in cases {
        let wire = wire.as_bytes();
        assert_eq!(read_all(wire.chunks(1)).unwrap(), expected);
        for first in 0..=wire.len() {
            for second in first..=wire.len() {
                let pieces = [&wire[..first], &wire[first..second], &wire[second..]];
                assert_eq!(read_all(pieces).unwrap(), expected, "cut at {first} and {second}");
            }
        }
    }
}

#[test]
fn what_is_no_reply() {
    let longest = format!("250 {}\r\n", "x".repeat(REPLY_LINE_OCTETS_MAX - 6));
    let most_lines = format!("{}250 x\r\n", "250-x\r\n".repeat(REPLY_LINES_MAX as usize - 1));
    for good in [&longest, &most_lines] {
        assert_eq!(read_all([good.as_bytes()]).map(|replies| replies.len()), Ok(1));
    }
    let cases: [(String, ReplyFault); 14] = [
        (format!("250 x{}", &longest[4..]), ReplyFault::LineTooLong),
        ("2".repeat(REPLY_LINE_OCTETS_MAX + 1), ReplyFault::LineTooLong),
        (format!("250-x\r\n{most_lines}"), ReplyFault::TooManyLines),
        ("HTTP/1.1 400 Bad Request\r\n".into(), ReplyFault::NotAReply),
        ("\r\n".into(), ReplyFault::NotAReply),
        ("25\r\n".into(), ReplyFault::NotAReply),
        ("150 x\r\n".into(), ReplyFault::NotAReply),
        ("650 x\r\n".into(), ReplyFault::NotAReply),
        ("2x0 x\r\n".into(), ReplyFault::NotAReply),
        ("2500 x\r\n".into(), ReplyFault::NotAReply),
        ("250_x\r\n".into(), ReplyFault::NotAReply),
        ("250 x\n".into(), ReplyFault::NotAReply),
        ("250-x\r\n550 y\r\n".into(), ReplyFault::CodesDiffer),
        ("250-x\r\n\r\n".into(), ReplyFault::NotAReply),
    ];
    for (wire, fault) in cases {
        assert_eq!(read_all([wire.as_bytes()]), Err(fault), "{wire:?}");
        assert_eq!(read_all(wire.as_bytes().chunks(1)), Err(fault), "{wire:?} octet by octet");
    }
}

#[test]
fn a_reply_that_has_begun() {
    let mut reader = ReplyReader::new();
    for (piece, in_reply) in [("", false), ("2", true), ("50-x\r\n", true), ("250 x\r\n", false)] {
        reader.read(piece.as_bytes()).unwrap();
        assert_eq!(reader.in_reply(), in_reply, "after {piece:?}");
    }
}

#[test]
fn extensions() {
    let cases = [
        ("mx.example", Extensions::default()),
        ("mx.example\nPIPELINING", Extensions { pipelining: true, ..Extensions::default() }),
        ("PIPELINING", Extensions::default()),
        (
            "mx\n8bitmime\nSize 1000",
            Extensions { eight_bit_mime: true, size: true, size_max: Some(1000), ..Extensions::default() },
        ),
        ("mx\nSMTPUTF8\ndsn", Extensions { smtp_utf8: true, dsn: true, ..Extensions::default() }),
        ("mx\nXFORWARD", Extensions::default()),
        ("mx\nSIZE", Extensions { size: true, ..Extensions::default() }),
        ("mx\nSIZE 0\nXSIZE 5", Extensions { size: true, ..Extensions::default() }),
        ("mx\nSIZE 99999999999999999999999", Extensions { size: true, ..Extensions::default() }),
    ];
    for (text, expected) in cases {
        assert_eq!(Extensions::parse(&reply(250, None, text)), expected, "{text:?}");
    }
}

#[test]
fn attributes() {
    let offered = Extensions::parse(&reply(250, None, "mx\nXFORWARD NAME ADDR IDENT\nXCLIENT addr LOGIN HELO"));
    for (set, has, lacks) in [
        (offered.xforward, [Attributes::NAME, Attributes::ADDR], [Attributes::HELO, Attributes::SOURCE]),
        (offered.xclient, [Attributes::ADDR, Attributes::HELO], [Attributes::NAME, Attributes::PORT]),
    ] {
        assert!(has.iter().all(|one| set.contains(*one)) && !lacks.iter().any(|one| set.contains(*one)));
    }
    assert!(Attributes::NONE.is_empty() && !offered.xclient.is_empty());
}

#[test]
fn our_own_name() {
    let cases = [
        ("mx.example ESMTP", true),
        ("MX.Example.", true),
        ("mx.example\nPIPELINING", true),
        ("mx.example.org ESMTP", false),
        ("ESMTP mx.example", false),
        ("", false),
    ];
    for (text, expected) in cases {
        assert_eq!(names_host(&reply(220, None, text), "mx.example"), expected, "{text:?}");
    }
}

#[test]
fn replies_passed_on() {
    let cases = [
        (reply(250, None, "ok"), "250 2.0.0 ok"),
        (reply(421, None, "bye"), "451 4.0.0 bye"),
        (reply(421, Some(EnhancedCode(4, 3, 2)), "bye"), "451 4.3.2 bye"),
        (reply(550, Some(EnhancedCode(5, 1, 1)), "who\nno"), "550 5.1.1 who / no"),
    ];
    for (given, expected) in cases {
        assert_eq!(pass_on(given).to_string(), expected);
    }
}

#[test]
fn commands() {
    let none = Extensions::default();
    let all = Extensions { eight_bit_mime: true, size: true, smtp_utf8: true, dsn: true, ..none };
    let from = |reverse_path| MailFrom { reverse_path, ..MailFrom::default() };
    let full = MailFrom { size_octets: Some(5), body_8bit: true, smtp_utf8: true, ret: Some("HDRS"), ..from("a@b") };
    let cases = [
        (from(""), all, "MAIL FROM:<>\r\n"),
        (
            MailFrom { envid: Some("x+2By"), ..full },
            all,
            "MAIL FROM:<a@b> SIZE=5 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x+2By\r\n",
        ),
        (MailFrom { envid: Some("x"), ..full }, none, "MAIL FROM:<a@b>\r\n"),
        (MailFrom { size_octets: Some(0), ..from("a@b") }, all, "MAIL FROM:<a@b> SIZE=0\r\n"),
    ];
    for (mail, offered, expected) in cases {
        let mut out = Vec::new();
        write_mail(&mut out, &mail, &offered);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
    let rcpt = RcptTo { forward_path: "\"a b\"@c", notify: Some("NEVER"), orcpt: Some("rfc822;a@c") };
    let mut out = Vec::new();
    write_ehlo(&mut out, "mx.example");
    write_rcpt(&mut out, &rcpt, &all);
    write_rcpt(&mut out, &rcpt, &none);
    let expected = "EHLO mx.example\r\nRCPT TO:<\"a b\"@c> NOTIFY=NEVER ORCPT=rfc822;a@c\r\nRCPT TO:<\"a b\"@c>\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn what_may_be_sent() {
    // (text, as a path, as a path with SMTPUTF8, as a value, as a value with SMTPUTF8)
    let cases = [
        ("a@b", [true; 4]),
        ("", [true, true, false, false]),
        ("\"a b\"@c", [true, true, false, false]),
        ("a\r\nDATA", [false; 4]),
        ("a\0b", [false; 4]),
        ("a\u{e9}@b", [false, true, false, true]),
        ("a\u{85}@b", [false; 4]),
    ];
    for (text, expected) in cases {
        let got = [
            is_sendable_path(text, false),
            is_sendable_path(text, true),
            is_sendable_value(text, false),
            is_sendable_value(text, true),
        ];
        assert_eq!(got, expected, "{text:?}");
    }
    assert!(!is_sendable_path(&"x".repeat(PATH_OCTETS_MAX + 1), true));
    assert!(!is_sendable_value(&"x".repeat(VALUE_OCTETS_MAX + 1), true));
}
