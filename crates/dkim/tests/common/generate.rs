//! Messages, signatures, ways and key records that nobody would think of, from a fixed seed.

use super::table::{ED25519, RSA};
use super::{Draft, SigningKey};

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub fn pick<'a, T: ?Sized>(&mut self, items: &[&'a T]) -> &'a T {
        items[self.below(items.len())]
    }
}

const WORDS: &[&str] =
    &["dinner", "ready?", "a", "  two", "\ttab", "word ", "=20", ".", "Jos\u{e9}", "x;y=z", "\u{fc}", "-- "];

pub fn text(random: &mut Random, words: usize) -> String {
    let words: Vec<&str> = (0..random.below(words + 1)).map(|_| random.pick(WORDS)).collect();
    words.join(random.pick(&[" ", " ", "  ", "\t", ""]))
}

pub fn field(random: &mut Random, name: &str) -> String {
    let blank = if random.one_in(25) { " " } else { "" };
    let mut field = format!("{name}{blank}:{}{}", random.pick(&[" ", "", "  ", "\t"]), text(random, 5));
    while random.one_in(3) {
        field += &format!("{}\r\n{}x{}", random.pick(&["", " "]), random.pick(&[" ", "\t", "  "]), text(random, 4));
    }
    field + "\r\n"
}

pub fn message(random: &mut Random) -> (Vec<String>, Vec<u8>) {
    let mut fields = vec![format!("{}: Joe <joe@example.com>\r\n", random.pick(&["From", "from", "FROM"]))];
    for _ in 0..random.below(8) {
        let name =
            random.pick(&["To", "Subject", "SUBJECT", "Received", "Received", "Date", "X-Y", "Message-ID", "List-Id"]);
        let at = random.below(fields.len() + 1);
        fields.insert(at, field(random, name));
    }
    let lines: Vec<String> =
        (0..random.below(12)).map(|_| if random.one_in(4) { String::new() } else { text(random, 9) }).collect();
    let mut body = lines.join("\r\n");
    body += random.pick(&["", "\r\n", "\r\n", "\r\n\r\n\r\n", " \r\n", "\r\n \r\n\t\r\n"]);
    (fields, body.into_bytes())
}

/// A signed message of our own signer, with odd tags.
pub fn signed_by_definition(random: &mut Random, now_unix_s: u64) -> (String, String) {
    let key: &SigningKey = if random.one_in(4) { &RSA } else { &ED25519 };
    let mut draft = Draft::new(key.algorithm());
    (draft.fields, draft.body) = message(random);
    draft.set("d", "example.com");
    draft.set(
        "c",
        random.pick(&["simple/simple", "relaxed/relaxed", "simple/relaxed", "relaxed/simple", "relaxed", "simple"]),
    );
    draft.set(
        "h",
        random.pick(&[
            "from:to:subject:received",
            "From : Received:Received",
            "from:from:to:to:x-y",
            "from:dkim-signature",
        ]),
    );
    draft.separator = random.pick(&["; ", ";", ";\r\n\t", " ;\r\n "]).to_owned();
    if random.one_in(20) {
        draft.field_name = "DKIM-Signature :".to_owned();
    }
    let (past, future) = (now_unix_s - 1000, now_unix_s + 1000);
    for _ in 0..random.below(3) {
        match random.below(22) {
            0 => draft.set("q", random.pick(&["dns/txt", "dns", "dns/txt:x", "http"])),
            1 => draft.set("v", random.pick(&["2", "", "1.0", "01"])),
            2 => draft.remove(random.pick(&["v", "a", "c", "d", "h", "s", "bh"])),
            3 => draft.tags.insert(0, ("bh".to_owned(), "AAAA".to_owned())),
            4 => draft.tags.insert(0, ("d".to_owned(), "example.net".to_owned())),
            5 => draft.set("h", random.pick(&["to:subject", "subject", "from::to", "x:from:", "from:to;"])),
            6 => draft
                .set("d", random.pick(&["com", "Example.COM", "exa mple.com", "example.com.", "github.io", "co.uk"])),
            7 => draft.set(
                "i",
                random.pick(&[
                    "@example.com",
                    "a@b.example.com",
                    "@notexample.com",
                    "a=40b@example.com",
                    "example.com",
                    "@",
                    "a@example.com(",
                    "=4",
                ]),
            ),
            8 => draft.set("l", random.pick(&["0", "5", "100000", "x", ""])),
            9 => {
                let octets = draft.canonical_body_octets();
                draft.set("l", &octets.to_string())
            }
            10 => {
                draft.set("t", &past.to_string());
                draft.set("x", &past.saturating_sub(5).to_string())
            }
            11 => {
                draft.set("t", &future.to_string());
                draft.set("x", &(future + 5).to_string())
            }
            12 => draft.set("x", &[past, future][random.below(2)].to_string()),
            13 => draft.set("t", random.pick(&["x", "-1", "", "99999999999999999999"])),
            14 => draft.set("x", random.pick(&["x", "-1", "", "99999999999999999999"])),
            15 => draft.set("a", random.pick(&["ED25519-sha256", "rsa-sha1", "ed25519-sha1", "ed25519"])),
            16 => draft.set("c", random.pick(&["Relaxed/Relaxed", "relaxed/relaxed/relaxed", "nofws", "", "/relaxed"])),
            17 => draft.set("s", random.pick(&["_a.b", "", "a b", "SEL"])),
            18 => draft
                .tags
                .insert(random.below(4), ("junk".to_owned(), random.pick(&["", "x", "=", "b=\r\n "]).to_owned())),
            19 => draft.tags[0].0 = random.pick(&["V", "v v", "x-v", "9v"]).to_owned(),
            20 => {
                let b = draft.tags.pop().unwrap();
                draft.tags.insert(0, b)
            }
            _ => draft.tags.push(("z".to_owned(), random.pick(&["x;", "x;;", "x; ;", "x; y"]).to_owned())),
        }
    }
    (String::from_utf8(draft.sign(key)).unwrap(), key.record())
}

/// What happens on the way.
pub fn on_the_way(random: &mut Random, message: String) -> String {
    let (header, body) = message.split_once("\r\n\r\n").unwrap();
    match random.below(16) {
        0 => format!("From: evil@example.net\r\n{message}"),
        1 => format!("Received: x\r\n{message}"),
        2 => format!("{header}\r\nSubject: x\r\n\r\n{body}"),
        3 => format!("{header}\r\nFrom: evil@example.net\r\n\r\n{body}"),
        4 => format!("{message}x\r\n"),
        5 => format!("{message}\r\n\r\n"),
        6 => format!("{message} \t\r\n \r\n"),
        7 => format!("{header}\r\n\r\n{}", body.replace("dinner", "lunch")),
        8 => format!("{header}\r\n\r\n{}", body.replace("  ", " ")),
        9 => format!("{header}\r\n\r\n{}", body.replace("\r\n", " \r\n")),
        10 => format!("{}\r\n\r\n{body}", header.replace(": ", ":   ")),
        11 => format!("{}\r\n\r\n{body}", header.replace("Subject", "SubJect")),
        12 => format!("{}\r\n\r\n{body}", header.replace("\r\n ", "\r\n\t ")),
        _ => message,
    }
}

pub fn record_surprise(random: &mut Random, record: String) -> String {
    let value = record.split_once("p=").unwrap().1.to_owned();
    match random.below(48) {
        0 => record + "; t=s",
        1 => record + "; t=y",
        2 => record + "; h=sha1",
        3 => record + "; h=sha1:sha256",
        4 => record + "; s=tlsrpt",
        5 => record + "; s=*",
        6 => record + "; p=",
        7 => record + "; junk",
        8 => record.replace("v=DKIM1", "v=DKIM2"),
        9 => record.replace("v=DKIM1; ", ""),
        10 => record.replace(&value, ""),
        11 => record.replace(&value, &value[..value.len() - 8]),
        12 => record.replace("k=rsa", "k=ed25519"),
        13 => record.replace("ed25519", "ED25519"),
        14 => record.replace("; p=", "; g=nobody; p="),
        15 => record + " ; ",
        16 => record.replace("v=DKIM1", "v=dkim1"),
        17 => record.replace(&value, &value.replace('=', "")),
        _ => record,
    }
}
