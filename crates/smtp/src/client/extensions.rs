//! What a next hop offers in its reply to EHLO (RFC 5321 §4.1.1.1), as far as it matters here.

use crate::Reply;

/// The extensions that are used. Copied for every connection, so it is small.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extensions {
    /// RFC 2920: commands may be sent in groups.
    pub pipelining: bool,
    /// RFC 6152: `BODY=8BITMIME` may be sent with MAIL.
    pub eight_bit_mime: bool,
    /// RFC 6531: `SMTPUTF8` may be sent with MAIL, and UTF-8 in paths and header fields.
    pub smtp_utf8: bool,
    /// RFC 3461: RET, ENVID, NOTIFY and ORCPT.
    pub dsn: bool,
    /// RFC 1870: `SIZE=` may be sent with MAIL.
    pub size: bool,
    /// The largest message in octets; none when nothing or 0 was said.
    pub size_max: Option<u64>,
    /// What XFORWARD takes; nothing when it is not offered.
    pub xforward: Attributes,
    /// What XCLIENT takes; nothing when it is not offered.
    pub xclient: Attributes,
}

impl Extensions {
    /// Reads the lines after the first; words it does not know are passed over.
    #[must_use]
    pub fn parse(reply: &Reply) -> Extensions {
        let mut extensions = Extensions::default();
        reply.text.split('\n').skip(1).for_each(|line| extensions.add(line));
        extensions
    }

    fn add(&mut self, line: &str) {
        let mut words = line.split_ascii_whitespace();
        let keyword = words.next().unwrap_or_default();
        let is = |name: &str| keyword.eq_ignore_ascii_case(name);
        if is("PIPELINING") {
            self.pipelining = true;
        } else if is("8BITMIME") {
            self.eight_bit_mime = true;
        } else if is("SMTPUTF8") {
            self.smtp_utf8 = true;
        } else if is("DSN") {
            self.dsn = true;
        } else if is("SIZE") {
            self.size = true;
            self.size_max = words.next().and_then(|octets| octets.parse().ok()).filter(|octets| *octets > 0);
        } else if is("XFORWARD") {
            self.xforward = Attributes::parse(words);
        } else if is("XCLIENT") {
            self.xclient = Attributes::parse(words);
        }
    }
}

/// A set of the attributes of a client that XFORWARD and XCLIENT can tell (Postfix, XFORWARD_README and XCLIENT_README).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes(u8);

impl Attributes {
    /// None at all.
    pub const NONE: Attributes = Attributes(0);
    /// The name that its address resolves to and back.
    pub const NAME: Attributes = Attributes(1);
    /// Its address.
    pub const ADDR: Attributes = Attributes(1 << 1);
    /// Its TCP port.
    pub const PORT: Attributes = Attributes(1 << 2);
    /// SMTP or ESMTP.
    pub const PROTO: Attributes = Attributes(1 << 3);
    /// What it said in HELO or EHLO.
    pub const HELO: Attributes = Attributes(1 << 4);
    /// Whether it is LOCAL or REMOTE.
    pub const SOURCE: Attributes = Attributes(1 << 5);

    pub(super) const ALL: [(Attributes, &'static str); 6] = [
        (Attributes::NAME, "NAME"),
        (Attributes::ADDR, "ADDR"),
        (Attributes::PORT, "PORT"),
        (Attributes::PROTO, "PROTO"),
        (Attributes::HELO, "HELO"),
        (Attributes::SOURCE, "SOURCE"),
    ];

    /// Whether all of `others` are in the set.
    #[must_use]
    pub fn contains(self, others: Attributes) -> bool {
        self.0 & others.0 == others.0
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn parse<'w>(words: impl Iterator<Item = &'w str>) -> Attributes {
        words.fold(Attributes::NONE, |set, word| {
            let known = Attributes::ALL.iter().find(|(_, name)| word.eq_ignore_ascii_case(name));
            Attributes(set.0 | known.map_or(0, |(attribute, _)| attribute.0))
        })
    }
}
