//! `mx6 reference`: the pages of the manual that are made from the code, so that they cannot say something else than the gate does.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Arg, Args, Command, CommandFactory as _};
use mx6_server::config::{REGISTRY, reference};

use crate::failure::{EX_CANTCREAT, EXIT_CODES, Failure, failure};

/// Write the reference pages of the manual (docs/src/reference) into a folder.
#[derive(Args)]
#[command(hide = true)]
pub(crate) struct Reference {
    /// The folder; it must exist.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl Reference {
    /// Writes them.
    pub(crate) fn run(self) -> Result<(), Failure> {
        for (name, page) in pages() {
            let path = self.folder.join(name);
            std::fs::write(&path, page).map_err(|error| cannot_write(&path, &error))?;
        }
        Ok(())
    }
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    failure(EX_CANTCREAT)(anyhow::anyhow!(
        "cannot write {}: {error}; create its folder, or name another",
        path.display()
    ))
}

/// File names and pages.
fn pages() -> [(&'static str, String); 5] {
    [
        ("options.md", page("Options", OPTIONS, &reference())),
        ("commands.md", page("Commands", COMMANDS, &commands())),
        ("metrics.md", page("Metrics", METRICS, &mx6_admin::metrics_reference())),
        ("records.md", page("Decision records", RECORDS, &mx6_telemetry::records_reference())),
        ("exit-codes.md", page("Exit codes", EXIT_CODES_HEAD, &exit_codes())),
    ]
}

fn page(title: &str, head: &str, body: &str) -> String {
    format!("# {title}\n\n<!-- Made by `mx6 reference`; edits are lost. -->\n\n{head}\n\n{body}")
}

fn exit_codes() -> String {
    let mut out = "| code | meaning |\n|---|---|\n".to_owned();
    for (code, meaning) in EXIT_CODES {
        let _ = writeln!(out, "| {code} | {meaning} |");
    }
    out
}

/// A section for each command, with what it takes besides the options of the gate.
fn commands() -> String {
    let mut root = crate::CommandLine::command();
    root.build();
    let mut out = String::new();
    root.get_subcommands().filter(|command| !command.is_hide_set()).for_each(|command| section(command, &mut out));
    out
}

fn section(command: &Command, out: &mut String) {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let about = command.get_long_about().or_else(|| command.get_about()).map(ToString::to_string).unwrap_or_default();
    let end = if about.ends_with(['.', '!', '?']) { "" } else { "." };
    let _ = write!(out, "{}## {name}\n\n{}{end}\n", if out.is_empty() { "" } else { "\n" }, cell(&about));
    let is_option = |argument: &Arg| REGISTRY.iter().any(|entry| argument.get_long() == Some(entry.key));
    let own = command.get_arguments().filter(|argument| {
        !is_option(argument) && !argument.is_hide_set() && !matches!(argument.get_long(), Some("help" | "version"))
    });
    let rows: String = own.map(row).collect();
    if !rows.is_empty() {
        let _ = write!(out, "\n| argument | what it is |\n|---|---|\n{rows}");
    }
    if command.get_arguments().any(|argument| argument.get_long() == Some("hostname")) {
        out.push_str("\nIt takes the [options of the gate](options.md) too.\n");
    }
    command.get_subcommands().filter(|below| !below.is_hide_set()).for_each(|below| section(below, out));
}

fn row(argument: &Arg) -> String {
    let value = argument.get_value_names().filter(|_| argument.get_action().takes_values());
    let value = value.map(|names| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
    let flag = argument.get_long().map(|long| format!("--{long}"));
    let short = argument.get_short().map(|short| format!("-{short}"));
    let words: Vec<String> = [short, flag, value].into_iter().flatten().collect();
    let help = argument.get_long_help().or_else(|| argument.get_help()).map(ToString::to_string).unwrap_or_default();
    format!("| `{}` | {} |\n", words.join(" "), cell(&help))
}

/// Text that stays in its cell.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|").replace('<', "&lt;")
}

const OPTIONS: &str = "Of `serve`, and of every command that reads the configuration. An option is a flag (`--dns-stale 3600`), a key of the file \
(`dns-stale = 3600`) and a variable of the environment (`MX6_DNS_STALE=3600`); a flag beats the environment, which beats the file. In the environment \
lists have commas between their values. `mx6 config show --origin` says what holds, and where it comes from. *At a reload* (SIGHUP) an option changes, or \
stays what it was at the start.";
const COMMANDS: &str = "`mx6 COMMAND --help` says the same with examples, and so do the manual pages (`mx6 man DIR`).";
const METRICS: &str = "Of `GET /metrics` at the [admin endpoint](../monitoring.md), in the form of OpenMetrics. Names are as they are written there, `_total` and units \
included. The gate itself has this page at `/metrics/help`.";
const RECORDS: &str = "One JSON object a line, one line for each recipient; at the stages `connect` and `mail` one for the client or the transaction. Where they go is \
[`log`](options.md)'s to say. Who reads them must take fields that are not listed here, and lines of another form: `{\"records_lost\":12}` says that so many \
records before it were lost, because the disk was full or too slow.";
const EXIT_CODES_HEAD: &str = "Of every command. Codes from 64 on are those of sysexits.h. `RestartPreventExitStatus=77 78` in the unit keeps the service manager from trying again \
what no restart changes.";
