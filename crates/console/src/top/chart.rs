//! The rates of the last minutes, verdicts on top of each other, so many rows high.

use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span};

use super::words::{Looks, rate};

/// A layer of the chart, the lowest first: a rate for each interval, the newest last, and its colour.
pub(super) type Layer<'a> = (&'a [f64], Color);

/// The chart with its scale on the left, `width` columns and `height` rows.
#[must_use]
pub(super) fn lines(layers: &[Layer<'_>], width: usize, height: usize, looks: Looks) -> Vec<Line<'static>> {
    let columns = width.saturating_sub(SCALE);
    let all: Vec<Vec<f64>> = newest(layers, columns);
    let highest = all.iter().map(|column| column.iter().sum()).fold(0.0, f64::max);
    let row = |row: usize| {
        let scale = match row {
            0 => format!("{:>8} ", rate(highest)),
            row if row + 1 == height => format!("{:>8} ", 0),
            _ => " ".repeat(SCALE),
        };
        let bottom = (height - row - 1) as f64 * STEPS;
        let cells = all.iter().map(|column| cell(column, layers, highest, height as f64 * STEPS, bottom, looks));
        let missing = columns - all.len();
        Line::from_iter([Span::raw(scale), Span::raw(" ".repeat(missing))].into_iter().chain(cells))
    };
    (0..height).map(row).collect()
}

/// The last `columns` intervals: of each the layers' values.
fn newest(layers: &[Layer<'_>], columns: usize) -> Vec<Vec<f64>> {
    let intervals = layers.iter().map(|(values, _)| values.len()).min().unwrap_or(0);
    let first = intervals.saturating_sub(columns);
    (first..intervals).map(|at| layers.iter().map(|(values, _)| values[at]).collect()).collect()
}

/// One cell: what fills it from below, and behind it what lies on top of that. A cell has two colours, and only if it is full: a third layer
/// that begins in it is seen from the next cell on.
fn cell(column: &[f64], layers: &[Layer<'_>], highest: f64, steps: f64, bottom: f64, looks: Looks) -> Span<'static> {
    let mut top = 0.0;
    let mut parts: Vec<(usize, Color)> = Vec::new();
    for (value, (_, colour)) in column.iter().zip(layers) {
        let from = top;
        top += if highest > 0.0 { value / highest * steps } else { 0.0 };
        // What is not nothing does not look like nothing.
        let reaches = if bottom == 0.0 && *value > 0.0 && from < 1.0 { top.max(1.0) } else { top };
        let eighths = (reaches - bottom).clamp(0.0, STEPS).round() as usize;
        if eighths > parts.last().map_or(0, |(filled, _)| *filled) {
            parts.push((eighths, *colour));
        }
    }
    let top = parts.last().map_or(0, |(eighths, _)| *eighths);
    match parts[..] {
        [] => Span::raw(" "),
        [(eighths, colour), (_, above), ..] if looks.colour && top == STEPS as usize => {
            Span::styled(looks.step(eighths).to_string(), Style::new().fg(colour).bg(above))
        }
        // One colour, that of the layer that has the most of the cell.
        _ => {
            let sizes = parts
                .iter()
                .scan(0, |below, (eighths, colour)| Some((eighths - std::mem::replace(below, *eighths), *colour)));
            let colour = sizes.max_by_key(|(size, _)| *size).map_or(Color::Reset, |(_, colour)| colour);
            Span::styled(looks.step(top).to_string(), Style::new().fg(colour))
        }
    }
}

/// Eighths of a cell.
const STEPS: f64 = 8.0;
/// Columns of the scale.
const SCALE: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_stand_on_each_other() {
        let layers: [Layer<'_>; 2] = [(&[0.0, 4.0, 8.0, 16.0], Color::Green), (&[0.0, 0.0, 8.0, 0.001], Color::Red)];
        let rich = Looks { unicode: true, colour: true };
        let chart = lines(&layers, SCALE + 6, 2, rich);
        let text: Vec<String> = chart.iter().map(ToString::to_string).collect();
        assert_eq!(text, ["      16     ██", "       0    ▄██"]);
        let (red, green) = (Some(Color::Red), Some(Color::Green));
        let colours = |row: usize| -> Vec<_> {
            chart[row].spans[3..].iter().map(|span| (span.style.fg, span.style.bg)).collect()
        };
        assert_eq!(colours(0), [(None, None), (red, None), (green, None)]);
        assert_eq!(colours(1), [(green, None), (green, None), (green, None)]);
    }
}
