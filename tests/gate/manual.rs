//! The manual (`docs/`) and the README: what they say of options, metrics, replies and records is what the gate has, and every link leads somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use toml::Table;

use super::first_run::loadgen;
use crate::harness::gate::mx6;
use crate::harness::process::succeed;
use crate::harness::zone::workspace;

fn source() -> PathBuf {
    workspace().join("docs/src")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files below a folder.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(below(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Every chapter with its path from `docs/src`.
fn chapters() -> BTreeMap<String, String> {
    let pages = below(&source()).into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let named = pages.map(|path| (path.strip_prefix(source()).unwrap().display().to_string(), read(&path)));
    named.filter(|(name, _)| name != "SUMMARY.md").collect()
}

/// The chapters and the README.
fn all_pages() -> BTreeMap<String, String> {
    let mut pages = chapters();
    pages.insert("README.md".into(), read(&workspace().join("README.md")));
    pages
}

/// The lines outside of blocks of code.
fn prose(page: &str) -> Vec<&str> {
    let mut in_block = false;
    let is_prose = |line: &&str| {
        let is_fence = line.trim_start().starts_with("```");
        in_block ^= is_fence;
        !in_block && !is_fence
    };
    page.lines().filter(is_prose).collect()
}

/// What stands between two backticks.
fn code_spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Where the links of a page lead.
fn links(page: &str) -> Vec<String> {
    let in_line = |line: &&str| {
        let targets = line.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        targets.map(|(target, _)| target.to_owned()).collect::<Vec<_>>()
    };
    prose(page).iter().flat_map(in_line).collect()
}

/// The anchors that mdBook gives to the headings of a page.
fn anchors(page: &str) -> BTreeSet<String> {
    let slug = |heading: &str| {
        let letters = heading.trim().chars().filter_map(|letter| match letter {
            _ if letter.is_whitespace() => Some('-'),
            _ if letter.is_alphanumeric() || "-_".contains(letter) => Some(letter.to_ascii_lowercase()),
            _ => None,
        });
        letters.collect::<String>()
    };
    let headings = prose(page).into_iter().filter(|line| line.starts_with('#'));
    headings.map(|line| slug(line.trim_start_matches('#'))).collect()
}

/// All that is wrong, or nothing.
fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

/// Words that begin with `prefix` and go on with what `is_part` takes.
fn words<'a>(text: &'a str, prefix: &'a str, is_part: impl Fn(char) -> bool + Copy + 'a) -> Vec<String> {
    let word = |(at, _): (usize, &str)| {
        let is_inside = text[..at].chars().next_back().is_some_and(|before| is_part(before) || before == '/');
        let rest = &text[at + prefix.len()..];
        let end = rest.find(|letter| !is_part(letter)).unwrap_or(rest.len());
        (!is_inside && end > 0).then(|| format!("{prefix}{}", &rest[..end]))
    };
    text.match_indices(prefix).filter_map(word).collect()
}

#[test]
fn the_reference_is_what_the_code_says() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(mx6(&["reference", &folder.path().display().to_string()]).code, Some(0));
    let names =
        |folder: &Path| -> Vec<_> { below(folder).iter().map(|path| path.file_name().unwrap().to_owned()).collect() };
    let kept = source().join("reference");
    assert_eq!(names(&kept), names(folder.path()), "pages of docs/src/reference");
    for page in below(folder.path()) {
        let name = page.file_name().unwrap();
        assert!(
            read(&page) == read(&kept.join(name)),
            "docs/src/reference/{} is not what the code says: cargo run -p mx6 -- reference docs/src/reference",
            name.display()
        );
    }
    assert_eq!(mx6(&["reference", "/nowhere/at/all"]).code, Some(73));
}

#[test]
fn every_chapter_is_in_the_summary() {
    let listed: BTreeSet<String> = links(&read(&source().join("SUMMARY.md"))).into_iter().collect();
    assert_eq!(listed, chapters().into_keys().collect());
    for (name, page) in chapters() {
        assert!(page.starts_with("# "), "{name} has no title");
    }
}

#[test]
fn every_link_leads_somewhere() {
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for (name, page) in all_pages() {
        let root = if name == "README.md" { workspace() } else { source() };
        for link in links(&page) {
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let here = root.join(&name);
            let target = if path.is_empty() { here } else { here.parent().unwrap().join(path) };
            let is_outside = name != "README.md" && path.starts_with("../..");
            let has_anchor = || anchor.is_empty() || anchors(&read(&target)).contains(anchor);
            if is_outside || !target.is_file() || !has_anchor() {
                wrong.push(format!("{name}: {link}"));
            } else {
                seen.insert(target.canonicalize().unwrap());
            }
        }
    }
    assert_none("links that lead nowhere", &wrong);
    let pictures = below(&source().join("pictures"));
    for picture in &pictures {
        assert!(seen.contains(&picture.canonicalize().unwrap()), "{} is shown nowhere", picture.display());
        let octets = picture.metadata().unwrap().len();
        assert!(octets <= PICTURE_OCTETS_MAX, "{} has {octets} octets", picture.display());
    }
    assert!(pictures.len() >= 4);
}

const PICTURE_OCTETS_MAX: u64 = 200 << 10;

/// Flags of `mx6`, `mx6-loadgen` and their commands.
fn flags() -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    let mut take = |help: &str| known.extend(words(help, "--", is_of_flag));
    let commands = "serve explain check-config config config-show tune report tail top trace man completions";
    for command in commands.split(' ') {
        let mut arguments: Vec<&str> = match command {
            "config-show" => vec!["config", "show"],
            command => vec![command],
        };
        arguments.push("--help");
        let ended = mx6(&arguments);
        take(&ended.stdout);
    }
    for command in ["run", "zone", "compare", "sample"] {
        take(&succeed(Command::new(loadgen()).args([command, "--help"])));
    }
    known.extend(["--version".to_owned()]);
    known
}

fn is_of_flag(letter: char) -> bool {
    letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-'
}

/// Other programs whose flags the manual names.
const OTHERS: [&str; 7] = ["swaks ", "cargo ", "curl ", "systemctl ", "journalctl ", "mdbook ", "tests/run.sh"];

#[test]
fn every_option_exists() {
    let known = flags();
    assert!(known.contains("--dns-probe") && known.contains("--closed"));
    let mut wrong = Vec::new();
    for (name, page) in all_pages() {
        for line in page.lines() {
            // Behind ` -- ` stand the words for the program that cargo runs.
            let ours = match line.split_once(" -- ") {
                Some((_, behind)) => behind,
                None if OTHERS.iter().any(|other| line.contains(other)) => continue,
                None => line,
            };
            // `---` is the rule below the head of a table.
            let flags = words(ours, "--", is_of_flag).into_iter().filter(|flag| !flag.trim_matches('-').is_empty());
            let unknown = flags.filter(|flag| !known.contains(flag));
            wrong.extend(unknown.map(|flag| format!("{name}: {flag} in {line}")));
        }
    }
    assert_none("options that do not exist", &wrong);
}

#[test]
fn every_metric_exists() {
    let reference = read(&source().join("reference/metrics.md"));
    let known: Vec<&str> = reference.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert!(known.len() > 50 && known.contains(&"mx6_decisions_total"), "{known:?}");
    let mut wrong = Vec::new();
    for (name, page) in all_pages() {
        let named = words(&page, "mx6_", |letter| {
            letter.is_ascii_lowercase() || letter.is_ascii_digit() || "_*".contains(letter)
        });
        for metric in named {
            let (head, tail) = metric.split_once('*').unwrap_or((&metric, ""));
            let fits = |known: &&str| match metric.contains('*') {
                true => known.starts_with(head) && known.ends_with(tail),
                false => **known == metric,
            };
            if !known.iter().any(fits) {
                wrong.push(format!("{name}: {metric}"));
            }
        }
    }
    assert_none("metrics that do not exist", &wrong);
}

/// Whether it begins as a reply with an enhanced code does.
fn is_reply(text: &str) -> bool {
    let mut words = text.split(' ');
    let (code, enhanced) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let is_code = code.len() == 3 && code.bytes().all(|octet| octet.is_ascii_digit());
    is_code && enhanced.split('.').count() == 3 && enhanced.starts_with(&code[..1]) && words.next().is_some()
}

fn replies(page: &str) -> BTreeSet<String> {
    prose(page).into_iter().flat_map(code_spans).filter(|span| is_reply(span)).map(str::to_owned).collect()
}

/// The table, troubleshooting, and what other chapters quote.
#[test]
fn every_reply_has_its_entry() {
    let chapters = chapters();
    let table = replies(&chapters["replies.md"]);
    assert!(table.len() > 40, "{}", table.len());
    assert_eq!(replies(&chapters["troubleshooting.md"]), table);
    for (name, page) in all_pages() {
        for quoted in replies(&page) {
            let parts = || quoted.split('…').map(str::trim);
            assert!(table.iter().any(|reply| parts().all(|part| reply.contains(part))), "{name}: {quoted}");
        }
    }
}

/// The program's strings, placeholders all alike.
fn code_of(room: &str) -> Vec<String> {
    let files = below(&workspace().join(format!("crates/{room}/src")));
    let code = |path: PathBuf| read(&path).split("\n#[cfg(test)]\n").next().unwrap().replace("{hostname} ", "");
    files
        .into_iter()
        .filter(|path| path.extension().is_some_and(|it| it == "rs"))
        .map(code)
        .map(|code| blanks(&code))
        .collect()
}

/// Without the names of placeholders: `{}` in code, `[]` in the manual's words.
fn blanks(text: &str) -> String {
    let mut parts = text.split('{');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let name = part.split('}').next().unwrap_or_default();
        let is_placeholder =
            name.len() < part.len() && name.bytes().all(|octet| octet.is_ascii_lowercase() || octet == b'_');
        out += "{";
        out += if is_placeholder { &part[name.len()..] } else { part };
    }
    out
}

#[test]
fn every_reply_is_one_of_the_program() {
    let files: Vec<String> = ["smtp", "policy", "delivery", "server"].into_iter().flat_map(code_of).collect();
    let mut wrong = Vec::new();
    for reply in replies(&chapters()["replies.md"]) {
        let mut words = reply.splitn(3, ' ');
        let (code, enhanced, text) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        let mut text = text.strip_prefix("HOST ").unwrap_or(text).to_owned();
        for name in ["[DOMAIN]", "[ADDR]", "[PREFIX]", "[PREFIX or DOMAIN]"] {
            text = text.replace(name, "[{}]");
        }
        for what in ["connections", "messages", "recipients"] {
            text = text.replace(&format!("Too many {what} from ["), "Too many {} from [");
        }
        let tuple = format!("EnhancedCode({})", enhanced.replace('.', ", "));
        let says = |file: &&String| {
            file.contains(&format!("\"{text}\""))
                && (file.contains(&tuple) || file.contains(&format!("\"{enhanced}\"")))
                && [format!("{code},"), format!("\"{code} \"")].iter().any(|code| file.contains(code.as_str()))
        };
        if !files.iter().any(|file| says(&file)) {
            wrong.push(reply);
        }
    }
    assert_none("replies that no room says", &wrong);
}

/// The rules of the program and those of the table are the same.
#[test]
fn every_rule_is_in_the_table() {
    let code = read(&workspace().join("crates/policy/src/rule.rs"));
    let names =
        code.lines().filter_map(|line| line.trim().strip_prefix("Rule::")?.split_once(" => \"")).map(|(_, name)| name);
    let of_code: BTreeSet<&str> = names.map(|name| name.trim_end_matches("\",")).collect();
    let page = &chapters()["replies.md"];
    let column = |line: &'static str| line.split(" | ").nth(2).filter(|_| line.split(" | ").count() == 4);
    let lines: &'static str = page.clone().leak();
    let mut of_table: BTreeSet<&str> = lines.lines().filter_map(column).flat_map(code_spans).collect();
    of_table.extend(["abandoned", "accepted"]);
    assert_eq!(of_table, of_code);
}

#[test]
fn every_field_of_a_record_exists() {
    let reference = read(&source().join("reference/records.md"));
    let objects = ["iprev", "spf", "dkim[]", "dmarc", "delivery", "duration_ms", "tls"];
    let mut named = 0;
    for (name, page) in chapters() {
        for span in prose(&page).into_iter().flat_map(code_spans) {
            let of_record = span.split_once('.').is_some_and(|(object, _)| objects.contains(&object));
            named += usize::from(of_record);
            assert!(!of_record || reference.contains(&format!("| `{span}` |")), "{name}: {span}");
        }
    }
    assert!(named > 20, "{named}");
}

/// Every file that is shown has keys that are options.
#[test]
fn every_key_exists() {
    let shown: serde_json::Value = serde_json::from_str(&mx6(&["config", "show", "--json"]).stdout).unwrap();
    let mut files = 0;
    for (name, page) in all_pages() {
        for block in page.split("```toml\n").skip(1) {
            let block = block.split("```").next().unwrap();
            let table: Table = block.parse().unwrap_or_else(|error| panic!("{name}: {error}\n{block}"));
            files += 1;
            assert!(table.keys().all(|key| shown.get(key).is_some()), "{name}: {block}");
        }
    }
    assert!(files > 3);
}

/// The table of flags by core count is what `mx6 tune` recommends.
#[test]
fn the_flags_by_core_count_are_tune_s() {
    let page = &chapters()["sizing.md"];
    let rows = page.lines().filter(|line| line.contains("| `--cores "));
    let rows: Vec<Vec<&str>> = rows.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect();
    assert!(rows.len() >= 5);
    for row in rows {
        let cores: u32 = row[0].parse().unwrap();
        let ended = mx6(&["tune", "--for-cores", row[0], "--for-memory", &format!("{}G", 4 * cores)]);
        let flags = row[1].trim_matches('`');
        assert!(ended.stdout.contains(&format!("mx6 serve {flags} ")), "{flags} is not in\n{}", ended.stdout);
    }
}

/// HAProxy takes what it is told to.
#[test]
fn the_balancer_s_configuration_is_one() {
    let page = &chapters()["deployment.md"];
    let block = page.split("```\n").find(|block| block.contains("send-proxy-v2")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("haproxy.cfg");
    std::fs::write(&file, block).unwrap();
    succeed(Command::new("haproxy").args(["-c", "-f"]).arg(&file));
}

/// One screen: what it is, two pictures, two commands, and where to read on.
#[test]
fn the_readme_fits_a_screen() {
    let readme = read(&workspace().join("README.md"));
    assert!(readme.lines().count() <= 75, "{} lines", readme.lines().count());
    let commands = ["cargo run --release -p mx6 -- serve --config examples/quickstart.toml", "./tests/run.sh"];
    for command in commands {
        assert!(readme.contains(&format!("```\n{command}\n```")), "no {command}");
    }
    assert!(
        readme.contains("](docs/src/pictures/status-light.png)") && readme.contains("](docs/src/pictures/top.svg)")
    );
    assert!(readme.contains("](docs/src/quick-start.md)"));
}

/// Nothing was left for later.
#[test]
fn every_chapter_is_whole() {
    for (name, page) in all_pages() {
        assert!(!page.contains("@@") && !page.contains("TODO"), "{name}");
        assert_eq!(page.lines().filter(|line| line.starts_with("```")).count() % 2, 0, "{name}: a block has no end");
    }
}
