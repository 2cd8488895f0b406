//! The report as one page that loads nothing: style and plots stand in it, and it has no script. Every text that is not
//! written here goes through [`Text`].

use std::fmt::{self, Write as _};

use anyhow::Result;

use super::series::{Figure, figures};
use super::units::{count, duration, number, octets, printable, share, utc};
use super::{plots, words};
use crate::measurement::{Measurement, ProcessCost, ReplyCount, StageName};

/// The whole page.
pub(crate) fn page(measurement: &Measurement) -> Result<String> {
    let mut page = String::new();
    _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>mx6-loadgen: {}</title>\n<style>\n{STYLE}@media (prefers-color-scheme: dark) {{\n{}}}\n</style>\n</head>\n<body>\n",
        Text(&measurement.target),
        plots::dark_style(),
    );
    head(&mut page, measurement);
    tiles(&mut page, measurement);
    notes(&mut page, measurement);
    let figures = figures(measurement);
    if !figures.is_empty() {
        page.push_str("<h2>Plots</h2>\n<div class=\"plots\">\n");
        figures.iter().try_for_each(|shown| figure(&mut page, shown))?;
        page.push_str("</div>\n");
    }
    stages(&mut page, measurement);
    ramp(&mut page, measurement);
    replies(&mut page, &measurement.replies);
    wrong(&mut page, measurement);
    server(&mut page, measurement);
    facts(&mut page, measurement);
    page.push_str("</body>\n</html>\n");
    Ok(page)
}

/// Text as it may stand in an element or an attribute.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in printable(self.0, TEXT_CHARACTERS_MAX).chars() {
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

fn head(page: &mut String, measurement: &Measurement) {
    let (target, arrivals) = (&measurement.target, words::arrivals(&measurement.plan.arrivals));
    _ = writeln!(page, "<h1>Load on {}</h1>", Text(target));
    _ = writeln!(page, "<p>{}; {}</p>", Text(&arrivals), Text(&words::session(&measurement.plan)));
    let version = &measurement.machine.loadgen_version;
    let started = utc(measurement.started_unix_s);
    _ = writeln!(
        page,
        "<p class=\"quiet\">mx6-loadgen {}, {started}; {}</p>",
        Text(version),
        words::outcome(measurement)
    );
}

/// The figures that are looked for first.
fn tiles(page: &mut String, measurement: &Measurement) {
    let elapsed_s = measurement.elapsed_s.max(f64::MIN_POSITIVE);
    let rate = if measurement.messages == 0 { 0.0 } else { measurement.messages as f64 / elapsed_s };
    let mut tiles = vec![("", "messages a second", number(rate))];
    if let Some(stage) = measurement.stage(StageName::Message) {
        tiles.push(("", "median latency", duration(stage.percentile_us(50.0))));
        tiles.push(("", "99 % within", duration(stage.percentile_us(99.0))));
    }
    if let Some(server) = &measurement.server {
        tiles.push(("", "server CPU a message", format!("{} µs", number(server.total.cpu_us_per_message))));
        tiles.push(("", "peak server memory", octets(server.total.rss_peak_octets)));
    }
    if let Some(rate) = measurement.saturation_per_s {
        tiles.push(("", "saturation, messages/s", number(rate)));
    }
    let verdict = if measurement.wrong == 0 { "good" } else { "bad" };
    tiles.push((verdict, "wrong answers", count(measurement.wrong)));
    tiles.push(("", "generator's CPU left", format!("{} %", number(measurement.own.headroom_percent))));
    page.push_str("<div class=\"tiles\">\n");
    for (class, name, value) in tiles {
        _ = writeln!(page, "<div class=\"tile {class}\"><b>{value}</b><span>{name}</span></div>");
    }
    page.push_str("</div>\n");
}

/// Why the figures are to be doubted.
fn notes(page: &mut String, measurement: &Measurement) {
    if measurement.wrong > 0 {
        let wrong = count(measurement.wrong);
        _ = writeln!(page, "<p class=\"note bad\">{wrong} answers were not the expected ones; see below.</p>");
    }
    for warning in words::warnings(measurement) {
        _ = writeln!(page, "<p class=\"note\">Warning: {}</p>", Text(&warning));
    }
}

fn figure(page: &mut String, figure: &Figure) -> Result<()> {
    let title = Text(&figure.title);
    _ = writeln!(page, "<figure role=\"group\" aria-label=\"{title}\">\n<h3>{title}</h3>\n<p class=\"keys\">");
    for series in &figure.series {
        let colour = plots::colour(series.colour);
        _ = writeln!(page, "<span class=\"key\" style=\"--key:{colour}\">{}</span>", Text(&series.name));
    }
    let svg = plots::svg(figure)?;
    _ = writeln!(
        page,
        "</p>\n<div class=\"plot\">{svg}</div>\n<figcaption>{}</figcaption>\n</figure>",
        Text(&figure.caption)
    );
    Ok(())
}

fn stages(page: &mut String, measurement: &Measurement) {
    let columns = ["stage", "count", "p50", "p90", "p95", "p99", "p99.9", "max", "mean"];
    let rows = StageName::ALL.iter().filter_map(|name| measurement.stage(*name)).map(|stage| {
        let percentiles = [50.0, 90.0, 95.0, 99.0, 99.9].map(|percent| duration(stage.percentile_us(percent)));
        let (max, mean) = (stage.histogram.max(), stage.histogram.mean().round() as u64);
        let mut cells = vec![stage.name.as_str().to_owned(), count(stage.histogram.len())];
        cells.extend(percentiles.into_iter().chain([duration(max), duration(mean)]));
        (if stage.name == StageName::Message { "strong" } else { "" }, cells)
    });
    table(page, "Latency", &columns, 1, rows.collect());
    page.push_str("<p class=\"quiet\">message: from its intended start to its final reply, free of coordinated omission; service: from its actual start.</p>\n");
}

fn ramp(page: &mut String, measurement: &Measurement) {
    let columns = ["step", "messages/s", "achieved", "p50", "p99", "wrong", ""];
    let rows = measurement.ramp.iter().enumerate().map(|(index, step)| {
        let cells = vec![
            (index + 1).to_string(),
            number(step.rate_per_s),
            number(step.achieved_per_s),
            duration(step.p50_us),
            duration(step.p99_us),
            count(step.wrong),
            if step.saturated { "saturated".to_owned() } else { String::new() },
        ];
        (if step.wrong > 0 { "bad" } else { "" }, cells)
    });
    table(page, "Ramp", &columns, 1, rows.collect());
}

/// The reply mix, with a bar for the share.
fn replies(page: &mut String, replies: &[ReplyCount]) {
    if replies.is_empty() {
        return;
    }
    let whole: u64 = replies.iter().map(|reply| reply.count).sum();
    let most = replies.iter().map(|reply| reply.count).max().unwrap_or(1).max(1);
    page.push_str(
        "<h2>Replies</h2>\n<div class=\"table\"><table>\n<tr><th class=\"text\">class</th><th class=\"text\">stage</th>\
         <th class=\"text\">reply</th><th class=\"text\">expected</th><th>count</th><th>share</th><th></th></tr>\n",
    );
    for reply in replies.iter().take(ROWS_MAX) {
        let (row, expected) = if reply.expected { ("", "yes") } else { ("bad", "NO") };
        let width = reply.count as f64 * 100.0 / most as f64;
        _ = writeln!(
            page,
            "<tr class=\"{row}\"><td class=\"text\">{}</td><td class=\"text\">{}</td><td class=\"text raw\">{}</td>\
             <td class=\"text\">{expected}</td><td>{}</td><td>{}</td>\
             <td class=\"bars\"><span class=\"bar\" style=\"width:{width:.1}%\"></span></td></tr>",
            Text(&reply.class),
            reply.stage.as_str(),
            Text(&reply.reply),
            count(reply.count),
            Text(&share(reply.count, whole)),
        );
    }
    page.push_str("</table></div>\n");
}

fn wrong(page: &mut String, measurement: &Measurement) {
    let columns = ["class", "stage", "source", "expected", "got"];
    let rows = measurement.wrong_samples.iter().map(|sample| {
        let stage = sample.stage.as_str().to_owned();
        let texts = [&sample.class, &sample.source, &sample.expected, &sample.got].map(|text| Text(text).to_string());
        let [class, source, expected, got] = texts;
        ("bad", vec![class, stage, source, expected, got])
    });
    table(page, "The first wrong answers", &columns, columns.len(), rows.collect());
    let rows = measurement.errors.iter().map(|error| ("bad", vec![Text(&error.kind).to_string(), count(error.count)]));
    table(page, "Failures below SMTP", &["kind", "count"], 1, rows.collect());
}

fn server(page: &mut String, measurement: &Measurement) {
    let columns = [
        "process",
        "CPU a message",
        "user",
        "system",
        "memory at start",
        "at peak",
        "at end",
        "threads",
        "switches",
        "forced",
    ];
    let row = |name: String, process: &ProcessCost| {
        vec![
            name,
            format!("{} µs", number(process.cpu_us_per_message)),
            duration(process.cpu_user_us),
            duration(process.cpu_system_us),
            octets(process.rss_start_octets),
            octets(process.rss_peak_octets),
            octets(process.rss_end_octets),
            process.threads.to_string(),
            count(process.context_switches_voluntary),
            count(process.context_switches_involuntary),
        ]
    };
    let Some(server) = &measurement.server else { return };
    let named = |process: &ProcessCost| format!("{} {}", Text(&process.name), process.pid);
    let mut rows: Vec<_> = server.processes.iter().map(|process| ("", row(named(process), process))).collect();
    if rows.len() != 1 {
        rows.push(("strong", row("all".to_owned(), &server.total)));
    }
    table(page, "Server", &columns, 1, rows);
}

/// A table, if it has rows: cells are HTML already, and the first `texts` columns are text.
fn table(page: &mut String, title: &str, columns: &[&str], texts: usize, rows: Vec<(&str, Vec<String>)>) {
    if rows.is_empty() {
        return;
    }
    let class = |index: usize| if index < texts { " class=\"text\"" } else { "" };
    _ = write!(page, "<h2>{title}</h2>\n<div class=\"table\"><table>\n<tr>");
    columns.iter().enumerate().for_each(|(index, column)| _ = write!(page, "<th{}>{column}</th>", class(index)));
    page.push_str("</tr>\n");
    for (row, cells) in rows.into_iter().take(ROWS_MAX) {
        _ = write!(page, "<tr class=\"{row}\">");
        cells.iter().enumerate().for_each(|(index, cell)| _ = write!(page, "<td{}>{cell}</td>", class(index)));
        page.push_str("</tr>\n");
    }
    page.push_str("</table></div>\n");
}

/// What it was measured with and on.
fn facts(page: &mut String, measurement: &Measurement) {
    let plan = &measurement.plan;
    let own = &measurement.own;
    let generator = format!(
        "{} of CPU on {}, {} % left; {} of {} starts more than 1 ms late (99 % within {})",
        duration(own.cpu_us),
        words::cores(own.cores_available),
        number(own.headroom_percent),
        count(own.late_starts),
        count(own.arrivals),
        duration(own.late_us_p99),
    );
    let facts = [
        ("arrivals", words::arrivals(&plan.arrivals)),
        ("session", words::session(plan)),
        ("body", words::body(&plan.body)),
        ("senders", words::senders(plan)),
        ("mix", words::mix(plan)),
        ("machine", words::machine(&measurement.machine)),
        ("generator", generator),
    ];
    page.push_str("<h2>Plan and machine</h2>\n<dl>\n");
    facts.iter().for_each(|(name, fact)| _ = writeln!(page, "<dt>{name}</dt><dd>{}</dd>", Text(fact)));
    _ = writeln!(page, "<dt>command</dt><dd><code>{}</code></dd>\n</dl>", Text(&measurement.command.join(" ")));
}

/// Stands in the page.
const STYLE: &str = include_str!("page.css");
/// Of one text.
const TEXT_CHARACTERS_MAX: usize = 4_000;
/// Of one table.
const ROWS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measurement::{ErrorCount, RampStep, WrongAnswer};
    use crate::synthetic::{STEADY, empty, reply_count, run};

    const EVIL: &str = "<script>alert('1')</script>\"&\u{1b}";

    /// Every text that may come from elsewhere is hostile.
    fn hostile() -> Measurement {
        let mut measurement = run(&STEADY, 1);
        measurement.target = EVIL.into();
        measurement.command = vec![EVIL.into()];
        let machine = &mut measurement.machine;
        for text in [&mut machine.cpu, &mut machine.kernel, &mut machine.loadgen_version] {
            *text = EVIL.into();
        }
        (machine.governor, machine.virtualisation, machine.cpu_flags) =
            (Some(EVIL.into()), Some(EVIL.into()), vec![EVIL.into()]);
        measurement.plan.mix[0].class = EVIL.into();
        measurement.replies.push(reply_count(EVIL, EVIL, 7, false));
        let [class, source, expected, got] = [EVIL; 4].map(str::to_owned);
        measurement.wrong_samples = vec![WrongAnswer { class, stage: StageName::Rcpt, source, expected, got }];
        measurement.wrong = 1;
        measurement.errors = vec![ErrorCount { kind: EVIL.into(), count: 1 }];
        measurement.server.as_mut().unwrap().processes[0].name = EVIL.into();
        measurement.ramp =
            vec![RampStep { rate_per_s: 100.0, achieved_per_s: 99.0, p50_us: 5, p99_us: 9, ..RampStep::default() }; 3];
        measurement
    }

    /// A page of a run with all parts, of one with the usual, and of one in which nothing happened.
    #[test]
    fn pages_load_nothing_and_nest() {
        for (measurement, plots) in [(empty(), 0), (run(&STEADY, 1), 6), (hostile(), 8)] {
            let page = page(&measurement).unwrap();
            for bad in [
                "<script",
                "http:",
                "https:",
                "//",
                "url(",
                "@import",
                "<link",
                "<img",
                "javascript",
                "\u{1b}",
                "NaN",
                "inf",
            ] {
                assert!(!page.contains(bad), "{bad} in {page}");
            }
            assert_eq!(page.matches("<svg").count(), plots);
            let tags = [
                "html",
                "head",
                "body",
                "style",
                "div",
                "p",
                "h1",
                "h2",
                "h3",
                "table",
                "tr",
                "th",
                "td",
                "span",
                "b",
                "figure",
                "figcaption",
                "svg",
                "text",
                "dl",
                "dt",
                "dd",
                "code",
            ];
            for tag in tags {
                let opened = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
                assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
            }
        }
    }

    #[test]
    fn long_runs_make_small_pages() {
        let mut measurement = run(&STEADY, 1);
        let window = measurement.windows[0].clone();
        measurement.windows = (1..=86_400)
            .map(|second| crate::measurement::Window { at_s: f64::from(second), ..window.clone() })
            .collect();
        let page = page(&measurement).unwrap();
        assert!(page.len() < 200_000, "{}", page.len());
        assert!(page.contains("Each point is 144 seconds"));
    }
}
