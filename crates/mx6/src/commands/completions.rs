//! `mx6 completions`: what a shell needs to complete the command line.

use clap::{Args, CommandFactory as _};
use clap_complete::{Shell, generate};
use mx6_server::config::REGISTRY;

use super::config::print;
use crate::failure::Failure;

/// Print the completions of a shell.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Completions {
    /// For which shell.
    shell: Shell,
}

impl Completions {
    /// Prints them.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        generate(self.shell, &mut with_choices(crate::CommandLine::command()), "mx6", &mut script);
        print(&String::from_utf8_lossy(&script))
    }
}

/// The words of a choice are completed; that no others are taken is said elsewhere, with the same exit code for all wrong values.
fn with_choices(command: clap::Command) -> clap::Command {
    let command = REGISTRY.iter().filter(|entry| entry.choices().next().is_some()).fold(command, |command, entry| {
        if command.get_arguments().any(|flag| flag.get_id() == entry.key) {
            command.mut_arg(entry.key, |flag| flag.value_parser(entry.choices().collect::<Vec<_>>()))
        } else {
            command
        }
    });
    let names: Vec<String> = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| command.mut_subcommand(name, with_choices))
}

const EXAMPLES: &str = "Examples:
  mx6 completions bash > /usr/share/bash-completion/completions/mx6
  mx6 completions zsh > /usr/share/zsh/site-functions/_mx6
  mx6 completions fish > /usr/share/fish/vendor_completions.d/mx6.fish";
