//! Peers' text on its way to a terminal: nothing of it may begin a line, move the cursor or turn the direction.

/// `text` with `?` for every control character, line ends among them, and for every character that turns the direction or takes no room.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|character| if is_shown(character) { character } else { '?' }).collect()
}

/// Whether a character shows, and leaves alone how others show.
pub(super) fn is_shown(character: char) -> bool {
    let turns = matches!(character, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let unseen = matches!(character, '\u{ad}' | '\u{180e}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    !character.is_control() && !turns && !unseen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_holds_still() {
        for (text, shown) in [
            ("bücher.example", "bücher.example"),
            ("a\r\nverdict  accept\u{1b}[2J", "a??verdict  accept?[2J"),
            ("\u{202e}moc.elpmaxe\u{2066}\u{200b}", "?moc.elpmaxe??"),
            ("a\u{85}b\u{2028}c\td", "a?b?c?d"),
        ] {
            assert_eq!(plain(text), shown);
        }
    }
}
