//! Tables for the grammar and the expansion of macro strings.

use super::*;

fn values() -> Values<'static> {
    // The sender, domain and addresses of RFC 7208 §7.4.
    Values {
        local_part: "strong-bad",
        sender_domain: "email.example.com",
        domain: "email.example.com",
        client: IpAddr::from([192, 0, 2, 3]),
        validated_name: "mx.example.org",
        helo: "mail.example.net",
        receiver: "mx.example.net",
        now_unix_s: 1_700_000_000,
        octets_expanded: Cell::new(0),
    }
}

fn values_ip6() -> Values<'static> {
    Values { client: "2001:db8::cb01".parse().unwrap(), ..values() }
}

fn text(string: &str, values: &Values<'_>) -> String {
    MacroString::parse(string, Place::Explanation).expect(string).expand_text(values).expect(string)
}

#[test]
fn expansions() {
    for (string, want) in [
        ("%{s}", "strong-bad@email.example.com"),
        ("%{o}", "email.example.com"),
        ("%{d}", "email.example.com"),
        ("%{d4}", "email.example.com"),
        ("%{d3}", "email.example.com"),
        ("%{d2}", "example.com"),
        ("%{d1}", "com"),
        ("%{dr}", "com.example.email"),
        ("%{d2r}", "example.email"),
        ("%{D2R}", "example.email"),
        ("%{d99999999999999999999r}", "com.example.email"),
        ("%{l}", "strong-bad"),
        ("%{l-}", "strong.bad"),
        ("%{lr}", "strong-bad"),
        ("%{lr-}", "bad.strong"),
        ("%{l1r-}", "strong"),
        ("%{l1-}", "bad"),
        ("%{s2r.-@}", ""),
        ("%{sr.-}", "com.example.bad@email.strong"),
        ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
        ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
        ("%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"),
        ("%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"),
        ("%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"),
        ("%{p} %{h} %{c} %{r} %{t}", "mx.example.org mail.example.net 192.0.2.3 mx.example.net 1700000000"),
        ("100%% %_ %- %{S}", "100%   %20 strong-bad%40email.example.com"),
        ("%{H1}", "net"),
        ("", ""),
        (" . ", " . "),
    ] {
        if string.contains('@') {
            assert!(MacroString::parse(string, Place::Explanation).is_err(), "{string}");
            continue;
        }
        assert_eq!(text(string, &values()), want, "{string}");
    }
}

#[test]
fn expansions_for_ip6() {
    let nibbles = "1.0.B.C.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.B.D.0.1.0.0.2";
    assert_eq!(text("%{ir}.%{v}", &values_ip6()), format!("{nibbles}.ip6"));
    assert_eq!(text("%{c}", &values_ip6()), "2001:db8::cb01");
    assert_eq!(text("%{r}", &Values { receiver: "", ..values() }), "unknown");
    let target = MacroString::parse("%{ir}.%{v}._spf.%{d2}", Place::Term).unwrap().expand_name(&values_ip6());
    assert_eq!(target.unwrap(), format!("{}.ip6._spf.example.com", nibbles.to_ascii_lowercase()));
}

#[test]
fn every_other_octet_is_escaped() {
    let odd = Values { local_part: "~jack&jill=up-a_b3.c/%+ d", ..values() };
    assert_eq!(text("%{L}", &odd), "~jack%26jill%3Dup-a_b3.c%2F%25%2B%20d");
    assert_eq!(text("%{L}", &Values { local_part: "\u{fc}\r\n", ..values() }), "%C3%BC%0D%0A");
    let unescaped = MacroString::parse("%{l}", Place::Explanation).unwrap();
    assert_eq!(unescaped.expand_text(&Values { local_part: "a\r\n250 ok", ..values() }), None);
}

/// RFC 8616 §4.
#[test]
fn a_local_part_that_is_not_ascii_is_in_no_name() {
    let values = Values { local_part: "ü-b", ..values() };
    for (string, want) in [
        ("%{l}.example.com", None),
        ("%{l1r-}.example.com", None),
        ("%{s}.example.com", None),
        ("%{L}.example.com", None),
        ("%{o}.example.com", Some("email.example.com.example.com")),
    ] {
        let name = MacroString::parse(string, Place::Term).unwrap().expand_name(&values);
        assert_eq!(name.as_deref(), want, "{string}");
    }
}

#[test]
fn faults() {
    for string in [
        "%",
        "a%",
        "%a",
        "%(d)",
        "%{",
        "%{}",
        "%{d",
        "%{x}",
        "%{a}",
        "%{d0}",
        "%{d00r}",
        "%{dr2}",
        "%{d:}",
        "%{d }",
        "%{2}",
        "%{r2d}",
        "%{d@}",
        "%{drr}",
        "%%%",
        "%\u{fc}",
        "%{\u{fc}}",
    ] {
        assert!(MacroString::parse(string, Place::Explanation).is_err(), "{string}");
        assert!(MacroString::parse(string, Place::Term).is_err(), "{string}");
    }
    for string in ["%{c}", "%{r}", "%{t}", "%{C2}"] {
        assert!(MacroString::parse(string, Place::Explanation).is_ok(), "{string}");
        assert!(MacroString::parse(string, Place::Term).is_err(), "{string}");
    }
}

#[test]
fn domain_specs() {
    let long_label = format!("{}.example.com", "a".repeat(64));
    for (spec, want) in [
        ("example.com", Some("example.com")),
        ("Example.COM.", Some("example.com")),
        ("foo:bar/baz.example.com", Some("foo:bar/baz.example.com")),
        ("a%%b%_c%-d.example.com", Some("a%b c%20d.example.com")),
        ("foo.example.xn--zckzah", Some("foo.example.xn--zckzah")),
        ("a.1-2", Some("a.1-2")),
        ("a.b2", Some("a.b2")),
        (".com", Some("malformed")),
        ("example..com", Some("malformed")),
        (&long_label, Some("malformed")),
        ("foo.%%", Some("foo.%")),
        ("%{d}", Some("email.example.com")),
        ("%{d1}.%{d1}.", None),
        ("_spf.%{d2}", Some("_spf.example.com")),
        ("%{d}.org.", Some("email.example.com.org")),
        ("%{d1}", Some("malformed")),
        ("%{i}._x.%{d1}.", None),
        ("", None),
        (".", None),
        ("museum", None),
        ("museum.", None),
        ("example.com..", None),
        ("foo.123", None),
        ("foo.-com", None),
        ("foo.com-", None),
        ("foo.-", None),
        ("foo-bar", None),
        ("foo.c_m", None),
        ("example.com:8080", None),
        ("example.com/24", None),
        ("%{d}org", None),
        ("%{x}.org", None),
        ("%{c}.org", None),
    ] {
        let expanded = DomainSpec::parse(spec).ok().map(|spec| match spec {
            DomainSpec::Name(name) => name.into_string(),
            DomainSpec::Malformed => "malformed".to_owned(),
            DomainSpec::Macros(string) => string.expand_name(&values()).unwrap_or("malformed".to_owned()),
        });
        assert_eq!(expanded.as_deref(), want, "{spec}");
    }
}

#[test]
fn expansion_is_bounded() {
    let helo = "h.".repeat(1_000);
    let values = Values { helo: &helo, local_part: "", ..values() };
    // 16,000 macros of 2,000 octets each, and as many of none.
    let many = format!("{}%{{l}}.example.com", "%{h}".repeat(16_000));
    let name = MacroString::parse(&many, Place::Term).unwrap().expand_name(&values);
    assert_eq!(name, None, "h..example.com has an empty label");
    let many = format!("x.{}.{}.example.com", "%{d}.".repeat(16_000).trim_end_matches('.'), "a".repeat(60));
    let name = MacroString::parse(&many, Place::Term).unwrap().expand_name(&values).unwrap();
    assert!(name.len() <= NAME_OCTETS_MAX && name.ends_with("aaa.example.com"), "{name}");
    let text = MacroString::parse(&"%{s}".repeat(16_000), Place::Explanation).unwrap().expand_text(&values).unwrap();
    assert_eq!(text.len(), EXPLANATION_OCTETS_MAX);
}
