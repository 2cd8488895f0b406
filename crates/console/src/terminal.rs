//! Text of peers on its way to a terminal. HELO names, addresses and replies are hostile octets: none of them may move the cursor, colour
//! or hide what stands beside it, or turn the reading direction.

/// The text with `?` in place of control characters and of everything that is invisible or changes the direction, at most `most` characters;
/// what is longer ends in `…`.
#[must_use]
pub fn plain(text: &str, most: usize) -> String {
    let shown = |c: char| if is_hostile(c) { '?' } else { c };
    if text.chars().nth(most).is_none() {
        return text.chars().map(shown).collect();
    }
    let kept = text.chars().take(most.saturating_sub(1)).map(shown);
    kept.chain((most > 0).then_some('…')).collect()
}

/// Control characters (C0, DEL, C1), line and paragraph separators, marks of direction (Unicode TR 9), and characters without a width.
fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_hostile_reaches_a_terminal() {
        for (text, most, shown) in [
            ("mx.example", 20, "mx.example"),
            ("bücher.example", 20, "bücher.example"),
            ("a\x1b[31mb", 20, "a?[31mb"),
            ("a\r\nb\tc\0", 20, "a??b?c?"),
            ("a\u{9b}31mb\x7f", 20, "a?31mb?"),
            ("a\u{202e}b\u{2066}c\u{200f}d\u{61c}", 20, "a?b?c?d?"),
            ("a\u{200b}\u{feff}\u{2028}", 20, "a???"),
            ("abcdef", 6, "abcdef"),
            ("abcdefg", 6, "abcde…"),
            ("ab", 1, "…"),
            ("ab", 0, ""),
        ] {
            assert_eq!(plain(text, most), shown, "{text:?}");
        }
    }
}
