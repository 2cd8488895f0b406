//! Draws a [`Figure`] as SVG, to stand in a page. Colours are those of the light page; [`dark_style`] gives the rules that
//! turn each of them into its dark counterpart, so that one picture serves both.

use std::fmt::Write as _;
use std::ops::Range;

use anyhow::{Result, anyhow};
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::prelude::*;

use super::series::{Axis, Figure, Series, Shape};

/// The SVG of a figure.
pub(crate) fn svg(figure: &Figure) -> Result<String> {
    let mut svg = String::new();
    draw(figure, &mut svg).map_err(|error| anyhow!("drawing `{}`: {error}", figure.title))?;
    // In a page the element needs no name space, and its size is that of its place.
    let (_, content) = svg.split_once(">\n").unwrap_or_default();
    Ok(format!("<svg viewBox=\"0 0 {} {}\" aria-hidden=\"true\">\n{content}", SIZE.0, SIZE.1))
}

/// CSS colour of a series on the light page.
pub(crate) fn colour(index: usize) -> &'static str {
    SERIES[index % SERIES.len()].light
}

/// CSS rules that turn the colours of [`svg`] into those of the dark page. A rule beats an attribute.
pub(crate) fn dark_style() -> String {
    let mut rules = String::new();
    for Shade { light, dark } in SERIES.iter().chain([&TEXT, &GRID, &FRAME]) {
        _ = writeln!(rules, "svg [fill=\"{light}\"]{{fill:{dark}}}svg [stroke=\"{light}\"]{{stroke:{dark}}}");
        _ = writeln!(rules, ".key[style=\"--key:{light}\"]{{--key:{dark} !important}}");
    }
    rules
}

type Failure = DrawingAreaErrorKind<std::io::Error>;

fn draw(figure: &Figure, svg: &mut String) -> Result<(), Failure> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .margin_top(16)
        .margin_right(44)
        .x_label_area_size(72)
        .y_label_area_size(140)
        .build_cartesian_2d(Ruler::new(&figure.x), Ruler::new(&figure.y))?;
    let font = |size: i32| ("sans-serif", size).into_font().color(&TEXT.rgb());
    chart
        .configure_mesh()
        .x_labels(TICKS_MAX)
        .y_labels(TICKS_MAX)
        .x_label_formatter(&|at| figure.x.label(*at))
        .y_label_formatter(&|at| figure.y.label(*at))
        .x_desc(figure.x.name.as_str())
        .label_style(font(FONT))
        .axis_desc_style(font(FONT))
        .bold_line_style(GRID.rgb().stroke_width(2))
        .light_line_style(TRANSPARENT)
        .axis_style(FRAME.rgb().stroke_width(2))
        .draw()?;
    for series in &figure.series {
        let style = rgb(colour(series.colour)).stroke_width(if series.strong { 6 } else { 4 });
        for part in parts(series) {
            let dots = if series.shape == Shape::Dots || part.len() == 1 { part.clone() } else { Vec::new() };
            match series.shape {
                Shape::Dashes => _ = chart.draw_series(DashedLineSeries::new(part, 14, 10, style))?,
                Shape::Line | Shape::Dots => _ = chart.draw_series(LineSeries::new(part, style))?,
            }
            chart.draw_series(dots.into_iter().map(|at| Circle::new(at, 8, style.filled())))?;
        }
    }
    area.present()
}

/// The points between two gaps.
fn parts(series: &Series) -> Vec<Vec<(f64, f64)>> {
    let parts = series.points.split(Option::is_none);
    parts.map(|part| part.iter().copied().flatten().collect()).filter(|part: &Vec<_>| !part.is_empty()).collect()
}

/// An axis as plotters wants it.
struct Ruler {
    low: f64,
    high: f64,
    ticks: Vec<f64>,
}

impl Ruler {
    fn new(axis: &Axis) -> Ruler {
        Ruler { low: axis.low, high: axis.high, ticks: axis.ticks.iter().map(|tick| tick.at).collect() }
    }
}

impl Ranged for Ruler {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, place: &f64, (from, to): (i32, i32)) -> i32 {
        let share = ((place - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        from + (f64::from(to - from) * share).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

/// A colour on the light and on the dark page.
struct Shade {
    light: &'static str,
    dark: &'static str,
}

impl Shade {
    fn rgb(&self) -> RGBColor {
        rgb(self.light)
    }
}

/// `#RRGGBB`, as the constants below are.
fn rgb(hex: &str) -> RGBColor {
    let part = |from: usize| hex.get(from..from + 2).and_then(|part| u8::from_str_radix(part, 16).ok()).unwrap_or(0);
    RGBColor(part(1), part(3), part(5))
}

/// Twice as large as it is shown, because points are whole numbers.
const SIZE: (u32, u32) = (1240, 640);
/// Of the labels, in the same measure.
const FONT: i32 = 31;
/// More than any axis has.
const TICKS_MAX: usize = 32;

const TEXT: Shade = Shade { light: "#3C4653", dark: "#B4BECA" };
const GRID: Shade = Shade { light: "#E4E8ED", dark: "#2B333D" };
const FRAME: Shade = Shade { light: "#9CA6B2", dark: "#56616E" };

/// Told apart on both pages, by people who see red and green alike too (lightness alternates).
const SERIES: [Shade; 10] = [
    Shade { light: "#1B66B0", dark: "#6CB0F2" },
    Shade { light: "#D9690F", dark: "#F7A35C" },
    Shade { light: "#17784A", dark: "#56C48F" },
    Shade { light: "#B03A86", dark: "#EC8FC6" },
    Shade { light: "#128C97", dark: "#5ACBD5" },
    Shade { light: "#8C6C00", dark: "#DDBE45" },
    Shade { light: "#6243AE", dark: "#B29AF2" },
    Shade { light: "#8F9AA6", dark: "#7D8894" },
    Shade { light: "#6B3A1E", dark: "#C89B7B" },
    Shade { light: "#C0281F", dark: "#F4837C" },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::series::Scale;

    fn figure(points: Vec<Option<(f64, f64)>>) -> Figure {
        let series = Series { name: "a".into(), colour: 0, shape: Shape::Line, strong: false, points };
        Figure::new(
            "t <&>",
            "",
            Axis::new("x", Scale::Linear, [0.0, 1.0]),
            Axis::new("y", Scale::Linear, [1.0]),
            vec![series],
        )
    }

    #[test]
    fn every_point_is_drawn_and_gaps_stay_open() {
        let svg_of = |points| svg(&figure(points)).unwrap();
        let count = |svg: &str, what: &str| svg.matches(what).count();
        let whole = svg_of(vec![Some((0.0, 0.0)), Some((0.5, 1.0)), Some((1.0, 0.5))]);
        let colour = format!("stroke=\"{}\"", colour(0));
        assert_eq!(count(&whole, &colour), 1, "{whole}");
        let gap = svg_of(vec![Some((0.0, 0.0)), Some((0.2, 1.0)), None, Some((0.8, 0.5)), Some((1.0, 0.5))]);
        assert_eq!(count(&gap, &colour), 2, "{gap}");
        let lonely = svg_of(vec![Some((0.0, 0.0)), None]);
        assert_eq!(count(&lonely, "<circle"), 1, "{lonely}");
        assert_eq!(count(&svg_of(vec![]), "<circle"), 0);
        assert!(!whole.contains("http") && whole.starts_with("<svg viewBox") && whole.trim_end().ends_with("</svg>"));
    }

    #[test]
    fn labels_are_escaped() {
        let mut figure = figure(vec![]);
        figure.x.name = "<script>\"&".into();
        let svg = svg(&figure).unwrap();
        assert!(svg.contains("&lt;script&gt;&quot;&amp;") && !svg.contains("<script"), "{svg}");
    }

    #[test]
    fn colours_are_distinct_and_well_formed() {
        let shades: Vec<&Shade> = SERIES.iter().chain([&TEXT, &GRID, &FRAME]).collect();
        let mut seen = std::collections::BTreeSet::new();
        for Shade { light, dark } in shades {
            for hex in [light, dark] {
                let RGBColor(red, green, blue) = rgb(hex);
                assert_eq!(format!("#{red:02X}{green:02X}{blue:02X}"), **hex);
                assert!(seen.insert(*hex), "{hex} twice");
            }
        }
    }
}
