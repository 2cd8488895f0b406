//! `mx6 man`: the manual pages, made from the same commands and options as the help.

use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory as _};
use clap_mangen::Man as Page;
use clap_mangen::roff::{Roff, bold, roman};
use mx6_server::config::REGISTRY;

use super::config::print;
use crate::failure::{EX_CANTCREAT, EXIT_CODES, Failure, failure};

/// Print the manual page, or write all pages (mx6.1, mx6-serve.1, …) into a folder.
#[derive(Args)]
pub(crate) struct Man {
    /// Folder for all pages; without it mx6(1) is printed.
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

impl Man {
    /// Prints or writes them.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let pages = pages().map_err(failure(EX_CANTCREAT))?;
        let Some(folder) = self.folder else {
            return print(&pages.first().map_or_else(String::new, |(_, page)| page.clone()));
        };
        for (name, page) in pages {
            let path = folder.join(name);
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

/// File names and pages, that of `mx6` first.
fn pages() -> std::io::Result<Vec<(String, String)>> {
    let mut root = crate::CommandLine::command();
    root.build();
    let mut pages = Vec::new();
    collect(&root, &mut pages)?;
    Ok(pages)
}

fn collect(command: &Command, pages: &mut Vec<(String, String)>) -> std::io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    pages.push((format!("{name}.1"), page(command, &name)?));
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        collect(below, pages)?;
    }
    Ok(())
}

fn page(command: &Command, name: &str) -> std::io::Result<String> {
    // An owned name lives as long as the command does; pages are few.
    let page = Page::new(command.clone().name(name.to_owned()))
        .manual("mx6")
        .source(concat!("mx6 ", env!("CARGO_PKG_VERSION")));
    let mut out = Vec::new();
    page.render_title(&mut out)?;
    page.render_name_section(&mut out)?;
    page.render_synopsis_section(&mut out)?;
    page.render_description_section(&mut out)?;
    if command.get_arguments().next().is_some() {
        page.render_options_section(&mut out)?;
    }
    if command.get_subcommands().next().is_some() {
        page.render_subcommands_section(&mut out)?;
    }
    let takes_options = command.get_arguments().any(|flag| flag.get_id() == "hostname");
    own_sections(command, takes_options).to_writer(&mut out)?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// EXIT STATUS, ENVIRONMENT, FILES, EXAMPLES.
fn own_sections(command: &Command, takes_options: bool) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in EXIT_CODES {
        roff.control("TP", []).text([bold(code.to_string())]).text([roman(*meaning)]);
    }
    if takes_options {
        roff.control("SH", ["ENVIRONMENT"]);
        roff.text([roman(
            "A flag beats the environment, which beats the file. Lists have commas between their values.",
        )]);
        for entry in REGISTRY {
            roff.control("TP", []).text([bold(entry.variable())]).text([roman(format!("As --{}.", entry.key))]);
        }
        roff.control("TP", []).text([bold("MX6_CONFIG")]).text([roman("As --config.")]);
        roff.control("SH", ["FILES"]);
        roff.control("TP", [])
            .text([bold("/etc/resolv.conf")])
            .text([roman("The resolvers that are asked, if neither dns-server nor zone is given.")]);
    }
    if let Some(examples) = command.get_after_long_help() {
        roff.control("SH", ["EXAMPLES"]).control("nf", []);
        for line in examples.to_string().lines().filter(|line| *line != "Examples:") {
            roff.text([roman(line.trim_start())]);
        }
        roff.control("fi", []);
    }
    roff
}
