//! Tables that fit: the least important columns go where there is no room, the others are as wide as what stands in them, one takes what is left.

use ratatui::style::{Modifier, Style};
use ratatui::text::Line;

use super::words::Looks;

/// A column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column<'a> {
    head: &'a str,
    kind: Kind,
    /// It is never narrower: a table does not jump about while its numbers grow.
    least: usize,
    /// It is never wider, whatever a peer wrote.
    most: usize,
    /// Where there is no room the column with the highest goes first; those with 0 stay.
    drop: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Left,
    Right,
    Rest,
}

impl<'a> Column<'a> {
    /// Words, from the left.
    pub(super) fn left(head: &'a str, least: usize, most: usize) -> Column<'a> {
        Column { head, kind: Kind::Left, least: least.max(head.len()), most, drop: 0 }
    }

    /// Numbers, to the right.
    pub(super) fn right(head: &'a str, least: usize) -> Column<'a> {
        Column { head, kind: Kind::Right, least: least.max(head.len()), most: NUMBER_COLUMNS_MAX, drop: 0 }
    }

    /// What takes the room that is left.
    pub(super) fn rest(head: &'a str, least: usize, most: usize) -> Column<'a> {
        Column { head, kind: Kind::Rest, least, most, drop: 0 }
    }

    /// The same, but it goes where there is no room: the highest `drop` first.
    pub(super) fn may_go(self, drop: u8) -> Column<'a> {
        Column { drop, ..self }
    }
}

/// What stands in one place of a row. Words are safe by then.
#[derive(Debug, Clone)]
pub(super) enum Cell {
    /// Words or a number.
    Text(String),
    /// A share between 0 and 1.
    Bar(f64),
    /// A curve, the newest on the right.
    Spark(Vec<f64>),
}

/// Shorthand for words.
pub(super) fn text(words: impl Into<String>) -> Cell {
    Cell::Text(words.into())
}

/// A row: one cell a column, and the style of all of it.
#[derive(Debug, Clone)]
pub(super) struct Row {
    cells: Vec<Cell>,
    style: Style,
}

impl Row {
    /// A row.
    pub(super) fn new(style: Style, cells: impl IntoIterator<Item = Cell>) -> Row {
        Row { cells: cells.into_iter().collect(), style }
    }

    /// Whether `wanted`, in lower case, stands in one of its words.
    pub(super) fn has(&self, wanted: &str) -> bool {
        let has = |cell: &Cell| matches!(cell, Cell::Text(text) if text.to_lowercase().contains(wanted));
        self.cells.iter().any(has)
    }

    fn columns(&self, at: usize) -> usize {
        match self.cells.get(at) {
            Some(Cell::Text(text)) => text.chars().count(),
            _ => 0,
        }
    }
}

/// The head and all rows, none wider than `width`.
#[must_use]
pub(super) fn lines(columns: &[Column<'_>], rows: &[Row], width: usize, looks: Looks) -> Vec<Line<'static>> {
    let shown = fitting(columns, rows, width);
    let line = |cells: Vec<String>| looks.cut(cells.join(GAP).trim_end(), width);
    let head = shown.iter().map(|&(at, wide)| aligned(&looks.cut(columns[at].head, wide), wide, columns[at].kind));
    let head = Line::styled(line(head.collect()), Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED));
    let row = |row: &Row| {
        let cell = |&(at, wide): &(usize, usize)| match row.cells.get(at) {
            Some(Cell::Text(text)) => aligned(&looks.cut(text, wide), wide, columns[at].kind),
            Some(Cell::Bar(share)) => looks.bar(*share, wide),
            Some(Cell::Spark(values)) => looks.spark(values, wide),
            None => " ".repeat(wide),
        };
        Line::styled(line(shown.iter().map(cell).collect()), row.style)
    };
    std::iter::once(head).chain(rows.iter().map(row)).collect()
}

/// How wide the column is that takes what is left; 0 if it is not there.
#[must_use]
pub(super) fn rest(columns: &[Column<'_>], rows: &[Row], width: usize) -> usize {
    let rest = fitting(columns, rows, width).into_iter().find(|(at, _)| columns[*at].kind == Kind::Rest);
    rest.map_or(0, |(_, wide)| wide)
}

/// The columns that there is room for, by number, each with its width.
fn fitting(columns: &[Column<'_>], rows: &[Row], width: usize) -> Vec<(usize, usize)> {
    let mut shown: Vec<(usize, usize)> = columns.iter().map(|column| column.least).enumerate().collect();
    let taken = |shown: &[(usize, usize)]| {
        shown.iter().map(|(_, wide)| wide).sum::<usize>() + GAP.len() * shown.len().saturating_sub(1)
    };
    while taken(&shown) > width {
        let last =
            shown.iter().map(|(at, _)| *at).filter(|at| columns[*at].drop > 0).max_by_key(|at| columns[*at].drop);
        let Some(last) = last else { break };
        shown.retain(|(at, _)| *at != last);
    }
    let mut left = width.saturating_sub(taken(&shown));
    let (fixed, rest): (Vec<_>, Vec<_>) = (0..shown.len()).partition(|at| columns[shown[*at].0].kind != Kind::Rest);
    for place in fixed.into_iter().chain(rest) {
        let (at, wide) = &mut shown[place];
        let wanted = match columns[*at].kind {
            // Bars and curves take all there is.
            Kind::Rest if !rows.iter().any(|row| row.columns(*at) > 0) => columns[*at].most,
            _ => rows.iter().map(|row| row.columns(*at)).max().unwrap_or(0).min(columns[*at].most),
        };
        let more = wanted.saturating_sub(*wide).min(left);
        *wide += more;
        left -= more;
    }
    shown
}

fn aligned(text: &str, wide: usize, kind: Kind) -> String {
    if kind == Kind::Right { format!("{text:>wide$}") } else { format!("{text:<wide$}") }
}

/// Between two columns.
const GAP: &str = "  ";
/// Twenty digits and their commas.
const NUMBER_COLUMNS_MAX: usize = 26;

#[cfg(test)]
mod tests {
    use super::*;

    const RICH: Looks = Looks { unicode: true, colour: false };

    fn shown(width: usize) -> Vec<String> {
        let columns = [
            Column::left("rule", 8, 20),
            Column::right("new", 3).may_go(2),
            Column::right("in all", 3).may_go(1),
            Column::rest("who", 5, 30),
        ];
        let row = |rule: &str, who: &str| Row::new(Style::new(), [text(rule), text("7"), text("1,234"), text(who)]);
        let rows = [row("reverse-dns", "2001:db8::/64"), row("x", "y")];
        lines(&columns, &rows, width, RICH).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_least_important_goes_first() {
        let wide =
            ["rule         new  in all  who", "reverse-dns    7   1,234  2001:db8::/64", "x              7   1,234  y"];
        assert_eq!(shown(60), wide);
        assert_eq!(shown(28)[1], "reverse…    7   1,234  2001…");
        assert_eq!(shown(26)[1], "reverse-dns   1,234  2001…");
        assert_eq!(shown(20)[1], "reverse-dns  2001:d…");
        assert_eq!(shown(12)[1], "reverse…  2…");
        for width in 0..80 {
            assert!(shown(width).iter().all(|line| line.chars().count() <= width), "{width}: {:#?}", shown(width));
        }
    }
}
