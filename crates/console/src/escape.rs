//! Peers' text on its way to a terminal or into HTML. Nothing that a peer wrote may move the cursor, turn the direction, or be markup.

use std::fmt::{self, Write as _};

/// Text on one line of a terminal: control characters and those that change direction or take no room are escaped; cut with `…` to `columns`.
#[must_use]
pub fn printable(text: &str, columns: usize) -> String {
    let mut line: Vec<char> = Vec::new();
    for character in text.chars() {
        if is_shown(character) {
            line.push(character);
        } else {
            line.extend(character.escape_default());
        }
        if line.len() > columns {
            line.truncate(columns.saturating_sub(1));
            line.push('…');
            break;
        }
    }
    line.into_iter().collect()
}

/// Octets on one line of a terminal: what is no UTF-8 as `\\xff`, the rest as [`printable`].
#[must_use]
pub fn octets(octets: &[u8], columns: usize) -> String {
    let mut line = String::new();
    for chunk in octets.utf8_chunks() {
        line += &printable(chunk.valid(), columns);
        for octet in chunk.invalid() {
            line += &format!("\\x{octet:02x}");
        }
        if line.len() > columns {
            break;
        }
    }
    // Escapes are ASCII: escaping what is escaped changes nothing.
    printable(&line, columns)
}

/// Safe text in lines of at most `columns`, broken between words; a longer word is broken where the line ends.
#[must_use]
pub fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut line, mut wide) = (String::new(), 0);
    for (at, word) in text.split(' ').enumerate() {
        let length = word.chars().count();
        if at > 0 && wide + 1 + length <= columns {
            line.push(' ');
            wide += 1;
        } else if at > 0 {
            lines.push(std::mem::take(&mut line));
            wide = 0;
        }
        for character in word.chars() {
            if wide > 0 && wide >= columns {
                lines.push(std::mem::take(&mut line));
                wide = 0;
            }
            line.push(character);
            wide += 1;
        }
    }
    lines.push(line);
    lines
}

/// Text as it may stand in an element or an attribute of a page.
#[derive(Debug, Clone, Copy)]
pub struct Html<'a>(pub &'a str);

impl fmt::Display for Html<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in printable(self.0, HTML_CHARACTERS_MAX).chars() {
            match character {
                '<' => to.write_str("&lt;")?,
                '>' => to.write_str("&gt;")?,
                '&' => to.write_str("&amp;")?,
                '"' => to.write_str("&quot;")?,
                '\'' => to.write_str("&#39;")?,
                other => to.write_char(other)?,
            }
        }
        Ok(())
    }
}

fn is_shown(character: char) -> bool {
    let turns = matches!(character, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let unseen = matches!(character, '\u{ad}' | '\u{180e}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    !character.is_control() && !turns && !unseen
}

/// Of one text; longer than any path or reply.
const HTML_CHARACTERS_MAX: usize = 2_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_holds_still() {
        for (text, columns, line) in [
            ("mail.example", 20, "mail.example"),
            ("mail.example", 12, "mail.example"),
            ("mail.example", 11, "mail.examp…"),
            ("a\r\n\x1b[2J", 40, "a\\r\\n\\u{1b}[2J"),
            ("\u{202e}x\u{200b}", 40, "\\u{202e}x\\u{200b}"),
            ("bücher", 40, "bücher"),
            ("", 0, ""),
        ] {
            assert_eq!(printable(text, columns), line);
        }
        for (text, columns, lines) in [
            ("one two three", 8, &["one two", "three"][..]),
            ("one  two", 80, &["one  two"]),
            ("2001:db8::1 x", 5, &["2001:", "db8::", "1 x"]),
            ("", 5, &[""]),
        ] {
            assert_eq!(wrapped(text, columns), lines);
        }
        for (text, columns, line) in [
            (&b"MAIL FROM:<\xffx\x80>\0"[..], 40, "MAIL FROM:<\\xffx\\x80>\\u{0}"),
            (b"\xc3\xbc\xc3", 40, "\u{fc}\\xc3"),
            (b"\xff\xff\xff", 6, "\\xff\\\u{2026}"),
        ] {
            assert_eq!(octets(text, columns), line);
        }
        assert_eq!(Html("<a href=\"x\">'&\u{7}").to_string(), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;\\u{7}");
    }
}
