//! The report as one page that loads nothing: style and plots stand in it, and it has no script. Every text that is not written here goes
//! through [`Html`].

use std::fmt::Write as _;

use super::event::{Objection, Outcome};
use super::fallback::Fate;
use super::tally::{Kind, Sender, Tally};
use super::{Report, ReportError, plots, words};
use crate::calendar::Utc;
use crate::escape::Html;
use crate::units::{count, counted, duration, octets, share};

/// The whole page.
pub(crate) fn page(report: &Report) -> Result<String, ReportError> {
    let mut page = String::new();
    let subject = words::subject(report);
    _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>mx6 report: {}</title>\n<style>\n{STYLE}@media (prefers-color-scheme: dark) {{\n{}}}\n</style>\n</head>\n<body>\n",
        Html(&subject),
        plots::dark_style(),
    );
    let total = &report.total;
    _ = writeln!(page, "<h1>IPv6 mail to {}</h1>", Html(&subject));
    if total.records == 0 {
        page.push_str(
            "<p class=\"verdict\">No decision record about a recipient was found: nothing can be said.</p>\n",
        );
    } else {
        let (records, sessions) = (counted(total.records, "record"), counted(total.sessions(), "session"));
        let (first, last) = (Utc(total.first_ms), Utc(total.last_ms));
        _ = writeln!(page, "<p class=\"quiet\">{first} to {last} UTC; {records} of {sessions}</p>");
        _ = writeln!(page, "<p class=\"verdict\">{}</p>", Html(&words::verdict(&subject, total)));
    }
    gaps(&mut page, report);
    if total.records > 0 {
        tiles(&mut page, total);
        figures(&mut page, total)?;
        mail(&mut page, total);
        rules(&mut page, total);
        page.push_str(if total.objected() > 0 { "<h2>Who is behind it</h2>\n" } else { "" });
        senders(&mut page, total, report.options.top, true);
        domains(&mut page, report);
    }
    page.push_str("<h2>How to read this</h2>\n<ul class=\"notes\">\n");
    words::method(report).iter().for_each(|line| _ = writeln!(page, "<li>{}</li>", Html(line)));
    page.push_str("</ul>\n</body>\n</html>\n");
    Ok(page)
}

/// What is missing from the picture, before any figure.
fn gaps(page: &mut String, report: &Report) {
    for gap in words::gaps(&report.missing) {
        _ = writeln!(page, "<p class=\"note bad\">Missing: {}</p>", Html(&gap));
    }
    for line in report.missing.complaints.iter().chain(&report.limits_reached) {
        _ = writeln!(page, "<p class=\"note\">{}</p>", Html(line));
    }
}

/// The figures that are looked for first.
fn tiles(page: &mut String, tally: &Tally) {
    let objected = tally.objected();
    let (refused, on_trial) = (&tally.refused, &tally.on_trial);
    let lost = refused.count(Fate::NotSeen) + refused.count(Fate::Partly);
    let over_ipv4 = refused.count(Fate::OverV4) + on_trial.count(Fate::OverV4);
    let (would, real) = (tally.outcome(Outcome::WouldRefuse).messages, tally.outcome(Outcome::Refused).messages);
    let mut tiles = vec![("", "messages over IPv6", count(tally.judged()))];
    if would > 0 || real == 0 {
        tiles.push((if would > 0 { "doubt" } else { "good" }, "would be refused", count(would)));
    }
    if real > 0 {
        tiles.push(("bad", "refused", count(real)));
    }
    tiles.push(("", "share of IPv6", share(objected, tally.judged())));
    tiles.push(("", "networks behind it", count(tally.senders(Kind::Network).all.len() as u64)));
    if objected > 0 {
        tiles.push(("", "came back over IPv4", count(over_ipv4)));
    }
    if let Some(median) = refused.percentile_ms(50).or(on_trial.percentile_ms(50)) {
        tiles.push(("", "median time to come back", duration(median)));
    }
    if real > 0 {
        tiles.push((if lost > 0 { "bad" } else { "good" }, "refused, not seen again", count(lost)));
    }
    tiles.push(("", "messages over IPv4", count(tally.outcome(Outcome::AcceptedV4).messages)));
    page.push_str("<div class=\"tiles\">\n");
    for (class, name, value) in tiles {
        _ = writeln!(page, "<div class=\"tile {class}\"><b>{}</b><span>{name}</span></div>", Html(&value));
    }
    page.push_str("</div>\n");
}

fn figures(page: &mut String, tally: &Tally) -> Result<(), ReportError> {
    page.push_str("<div class=\"plots\">\n");
    for bars in plots::all(tally) {
        let title = Html(&bars.title);
        _ = writeln!(page, "<figure role=\"group\" aria-label=\"{title}\">\n<h3>{title}</h3>\n<p class=\"keys\">");
        for (name, shade) in &bars.series {
            _ = writeln!(page, "<span class=\"key\" style=\"--key:{}\">{}</span>", shade.light, Html(name));
        }
        let svg = plots::svg(&bars)?;
        let caption = Html(bars.caption);
        _ = writeln!(page, "</p>\n<div class=\"plot\">{svg}</div>\n<figcaption>{caption}</figcaption>\n</figure>");
    }
    page.push_str("</div>\n");
    Ok(())
}

fn mail(page: &mut String, tally: &Tally) {
    page.push_str(
        "<h2>What became of the mail</h2>\n<div class=\"table\"><table>\n<tr><th class=\"text\">outcome</th><th>messages</th>\
         <th class=\"wide\">recipients</th><th>octets</th></tr>\n",
    );
    for outcome in Outcome::ALL {
        let volume = tally.outcome(outcome);
        if volume.messages == 0 {
            continue;
        }
        let size = if volume.octets == 0 { "–".to_owned() } else { octets(volume.octets) };
        let (messages, recipients) = (count(volume.messages), count(volume.recipients));
        row(page, outcome.words(), &messages, &recipients, &size);
    }
    if tally.again > 0 {
        row(page, "… refused again, later tries", &count(tally.again), "", "");
    }
    if tally.next_hop_refused > 0 {
        row(page, "… of the other refusals, a rule objected as well", &count(tally.next_hop_refused), "", "");
    }
    page.push_str("</table></div>\n");
}

fn row(page: &mut String, name: &str, messages: &str, recipients: &str, size: &str) {
    _ = writeln!(
        page,
        "<tr><td class=\"text\">{name}</td><td>{messages}</td><td class=\"wide\">{recipients}</td><td>{size}</td></tr>"
    );
}

/// Each rule, how much it stops, and what can be done about it.
fn rules(page: &mut String, tally: &Tally) {
    if tally.objected() == 0 {
        return;
    }
    page.push_str(
        "<h2>Why, and what those senders could publish to pass</h2>\n<div class=\"table\"><table>\n\
         <tr><th class=\"text\">rule</th><th>messages</th><th class=\"wide\">recipients</th><th>of IPv6</th></tr>\n",
    );
    for objection in Objection::ALL {
        let volume = tally.objection(objection);
        if volume.messages > 0 {
            _ = writeln!(
                page,
                "<tr><td class=\"text name\">{}<small>{}: {}</small></td><td>{}</td><td class=\"wide\">{}</td><td>{}</td></tr>",
                Html(objection.words()),
                if objection.is_temporary() { "For now" } else { "For good" },
                Html(words::advice(objection)),
                count(volume.messages),
                count(volume.recipients),
                Html(&share(volume.messages, tally.judged())),
            );
        }
    }
    page.push_str("</table></div>\n");
}

fn senders(page: &mut String, tally: &Tally, top: usize, is_open: bool) {
    for kind in Kind::ALL {
        let senders = tally.senders(kind);
        if senders.all.is_empty() || top == 0 {
            continue;
        }
        let open = if is_open && kind == Kind::Network { " open" } else { "" };
        _ = writeln!(
            page,
            "<details{open}><summary>By {} <span>{}</span></summary>\n<div class=\"table\"><table>\n<tr><th class=\"text\">{}</th>\
             <th>messages</th><th class=\"wide\">octets</th><th class=\"text\">rule</th><th class=\"text\">came back</th></tr>",
            kind.words(),
            count(senders.all.len() as u64),
            kind.words(),
        );
        senders.ranked().into_iter().take(top).for_each(|sender| sender_row(page, sender));
        page.push_str("</table></div>\n");
        if senders.all.len() > top {
            let more = count((senders.all.len() - top) as u64);
            _ = writeln!(page, "<p class=\"quiet\">… and {more} more; <code>--top</code> shows more.</p>");
        }
        page.push_str("</details>\n");
    }
}

fn sender_row(page: &mut String, sender: &Sender) {
    let size = if sender.volume.octets == 0 { "–".to_owned() } else { octets(sender.volume.octets) };
    let median = sender.fates.percentile_ms(50);
    let back = median.map(|median| format!("<small>half within {}</small>", duration(median))).unwrap_or_default();
    let mut details = vec![format!("{} to {}", Utc(sender.first_ms), Utc(sender.last_ms))];
    details.extend((!sender.facts.is_empty()).then(|| sender.facts.to_string()));
    details.extend(sender.over_ipv4.map(|also| if also { "also over IPv4" } else { "never over IPv4" }.to_owned()));
    details.extend((sender.again > 0).then(|| format!("refused again {}", counted(sender.again, "time"))));
    details.push(format!("session {}", sender.session));
    _ = writeln!(
        page,
        "<tr><td class=\"text name\">{}<small>{}</small></td><td>{}</td><td class=\"wide\">{size}</td><td class=\"text\">{}</td>\
         <td class=\"text\">{}{back}</td></tr>",
        Html(&sender.name),
        Html(&details.join("; ")),
        count(sender.volume.messages),
        Html(&words::main_objection(sender)),
        Html(&words::fates(&sender.fates)),
    );
}

/// Each domain, if there are several.
fn domains(page: &mut String, report: &Report) {
    if report.domains.len() < 2 {
        return;
    }
    page.push_str("<h2>Domains</h2>\n");
    let mut ranked: Vec<_> = report.domains.iter().collect();
    ranked.sort_by_key(|(_, tally)| std::cmp::Reverse((tally.objected(), tally.judged())));
    for (name, tally) in ranked {
        let (objected, judged) = (count(tally.objected()), count(tally.judged()));
        _ = writeln!(
            page,
            "<details><summary>{} <span>{objected} of {judged} over IPv6, {}</span></summary>\n<p>{}</p>",
            Html(name),
            Html(&share(tally.objected(), tally.judged())),
            Html(&words::verdict(name, tally)),
        );
        mail(page, tally);
        senders(page, tally, report.options.top, false);
        page.push_str("</details>\n");
    }
}

/// Stands in the page.
const STYLE: &str = include_str!("page.css");
