//! The entries and words of a master file (RFC 1035 §5.1).

/// One entry: a line, or several held together by parentheses. Never without tokens.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// Of its first token, from 1.
    pub(crate) line: usize,
    /// It begins with a blank: the owner is that of the record before.
    pub(crate) continues_owner: bool,
    pub(crate) tokens: Vec<Token<'a>>,
}

/// A word, or a string without its quotes; escapes are still in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) raw: &'a str,
    pub(crate) quoted: bool,
}

impl Token<'_> {
    /// The octets of a character-string: `\DDD` is a decimal octet, `\X` is X.
    pub(crate) fn octets(&self) -> Result<Vec<u8>, String> {
        self.octets_and_escapes().map(|octets| octets.into_iter().map(|(octet, _)| octet).collect())
    }

    /// The same, each with whether it was escaped: an escaped dot separates no labels.
    pub(crate) fn octets_and_escapes(&self) -> Result<Vec<(u8, bool)>, String> {
        let fault = || {
            format!("`{}`: an escape is `\\` with three decimal digits up to 255, or with another character", self.raw)
        };
        let (mut octets, mut rest) = (Vec::with_capacity(self.raw.len()), self.raw.as_bytes());
        while let [first, after @ ..] = rest {
            rest = after;
            if *first != b'\\' {
                octets.push((*first, false));
                continue;
            }
            match rest {
                [digit @ b'0'..=b'9', second, third, after @ ..]
                    if second.is_ascii_digit() && third.is_ascii_digit() =>
                {
                    let value = u16::from(digit - b'0') * 100 + u16::from(second - b'0') * 10 + u16::from(third - b'0');
                    octets.push((u8::try_from(value).map_err(|_| fault())?, true));
                    rest = after;
                }
                [b'0'..=b'9', ..] | [] => return Err(fault()),
                [other, after @ ..] => {
                    octets.push((*other, true));
                    rest = after;
                }
            }
        }
        Ok(octets)
    }
}

/// The entries of `text` in order; a fault, with its line, ends them.
pub(crate) fn entries(text: &str) -> impl Iterator<Item = Result<Entry<'_>, (usize, String)>> {
    let mut lexer = Lexer { text, at: 0, line: 1, failed: false };
    std::iter::from_fn(move || lexer.entry())
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    failed: bool,
}

impl<'a> Lexer<'a> {
    fn entry(&mut self) -> Option<Result<Entry<'a>, (usize, String)>> {
        while !self.failed && self.at < self.text.len() {
            match self.next_entry() {
                Ok(entry) if entry.tokens.is_empty() => {}
                Ok(entry) => return Some(Ok(entry)),
                Err(fault) => {
                    self.failed = true;
                    return Some(Err(fault));
                }
            }
        }
        None
    }

    fn next_entry(&mut self) -> Result<Entry<'a>, (usize, String)> {
        let mut entry =
            Entry { line: self.line, continues_owner: matches!(self.peek(), Some(b' ' | b'\t')), tokens: Vec::new() };
        let mut open = None;
        while let Some(octet) = self.peek() {
            let token_line = self.line;
            match octet {
                b'\n' => {
                    self.at += 1;
                    self.line += 1;
                    if open.is_none() {
                        return Ok(entry);
                    }
                    continue;
                }
                b' ' | b'\t' | b'\r' => self.at += 1,
                b';' => self.at = self.text[self.at..].find('\n').map_or(self.text.len(), |length| self.at + length),
                b'(' => {
                    if open.is_some() {
                        return Err((self.line, "parentheses inside parentheses".to_owned()));
                    }
                    open = Some(self.line);
                    self.at += 1;
                }
                b')' => {
                    open.take().ok_or_else(|| (self.line, "`)` without `(`".to_owned()))?;
                    self.at += 1;
                }
                _ => {
                    if entry.tokens.is_empty() {
                        entry.line = token_line;
                    }
                    entry.tokens.push(if octet == b'"' { self.quoted()? } else { self.word() });
                }
            }
        }
        match open {
            Some(line) => Err((line, "`(` without `)`".to_owned())),
            None => Ok(entry),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Up to the closing quote on the same line.
    fn quoted(&mut self) -> Result<Token<'a>, (usize, String)> {
        let start = self.at + 1;
        let mut end = start;
        loop {
            match self.text.as_bytes().get(end) {
                Some(b'"') => break,
                Some(b'\\') if !matches!(self.text.as_bytes().get(end + 1), None | Some(b'\n')) => end += 2,
                None | Some(b'\n') => return Err((self.line, "a string is not closed on its line".to_owned())),
                Some(_) => end += 1,
            }
        }
        self.at = end + 1;
        Ok(Token { raw: &self.text[start..end], quoted: true })
    }

    /// Up to a blank or a character that means something.
    fn word(&mut self) -> Token<'a> {
        let (bytes, start) = (self.text.as_bytes(), self.at);
        while let Some(octet) = self.peek() {
            match octet {
                b' ' | b'\t' | b'\r' | b'\n' | b';' | b'(' | b')' | b'"' => break,
                b'\\' if !matches!(bytes.get(self.at + 1), None | Some(b'\n')) => self.at += 2,
                _ => self.at += 1,
            }
        }
        // An escaped character of several octets may have been cut.
        while !self.text.is_char_boundary(self.at) {
            self.at += 1;
        }
        Token { raw: &self.text[start..self.at], quoted: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries as text: `line[ ]word|"string"`, with a blank for a continued owner.
    fn shown(text: &str) -> String {
        let show = |entry: Result<Entry<'_>, (usize, String)>| match entry {
            Err((line, what)) => format!("{line}! {what}"),
            Ok(entry) => {
                let token =
                    |token: &Token<'_>| if token.quoted { format!("\"{}\"", token.raw) } else { token.raw.to_owned() };
                let tokens: Vec<String> = entry.tokens.iter().map(token).collect();
                format!("{}{}{}", entry.line, if entry.continues_owner { " " } else { ":" }, tokens.join("|"))
            }
        };
        entries(text).map(show).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn entries_and_tokens() {
        let cases = [
            ("", ""),
            ("\n\n ; x\n", ""),
            ("a b", "1:a|b"),
            ("a b\r\nc\r\n", "1:a|b\n2:c"),
            (" b c ; d \"\n e", "1 b|c\n2 e"),
            ("a ( b ; )\n c\n) d\ne", "1:a|b|c|d\n4:e"),
            ("a ( \"b; c\"\n\t\"d)\" )\nf", "1:a|\"b; c\"|\"d)\"\n3:f"),
            ("( a\nb )", "1:a|b"),
            ("\n(\n a\n)", "3:a"),
            ("a \"\" \"b\"\"c\"d", "1:a|\"\"|\"b\"|\"c\"|d"),
            ("a \"b\\\"c\" d\\ e\\;f", "1:a|\"b\\\"c\"|d\\ e\\;f"),
            ("a \"b\nc", "1! a string is not closed on its line"),
            ("a \"b\\", "1! a string is not closed on its line"),
            ("a\nb (\nc\n", "1:a\n2! `(` without `)`"),
            ("a )", "1! `)` without `(`"),
            ("a ( b (", "1! parentheses inside parentheses"),
            ("ä\\ö b", "1:ä\\ö|b"),
            ("a\\", "1:a\\"),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(text), expected, "{text:?}");
        }
    }

    #[test]
    fn escapes() {
        let octets = |raw| Token { raw, quoted: false }.octets().ok();
        assert_eq!(octets("a\\032b\\.\\\\\\255"), Some(b"a b.\\\xff".to_vec()));
        for bad in ["\\", "\\1", "\\12", "\\256", "\\1a2"] {
            assert_eq!(octets(bad), None, "{bad}");
        }
    }

    #[test]
    fn any_text_is_read_without_panic() {
        let pieces = ["a", "\\", "\"", "(", ")", ";", "\n", " ", "ö", "9"];
        let mut state = 1_u32;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..12 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                text.push_str(pieces[(state >> 16) as usize % pieces.len()]);
            }
            for entry in entries(&text).flatten() {
                assert!(!entry.tokens.is_empty());
                for token in entry.tokens {
                    let _ = token.octets();
                }
            }
        }
    }
}
