//! The options as flags of clap, made from the registry.

use std::ffi::OsString;

use clap::builder::{OsStringValueParser, ValueHint, ValueParser};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::options::{Options, REGISTRY};
use super::registry::{Default, Entry, Shape};

impl Args for Options {
    fn augment_args(command: Command) -> Command {
        REGISTRY.iter().enumerate().fold(command, |command, (order, entry)| command.arg(flag(entry, order)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Options::augment_args(command)
    }
}

impl FromArgMatches for Options {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Options, clap::Error> {
        let mut options = Options::default();
        options.update_from_arg_matches(matches)?;
        Ok(options)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for entry in REGISTRY {
            let texts = given(entry, matches);
            if !texts.is_empty() {
                let invalid =
                    |reason| clap::Error::raw(ErrorKind::ValueValidation, format!("--{}: {reason}\n", entry.key));
                self.set(entry.key, texts).map_err(invalid)?;
            }
        }
        Ok(())
    }
}

/// What the command line says of one option.
fn given(entry: &Entry, matches: &ArgMatches) -> Vec<OsString> {
    match entry.shape {
        Shape::Switch if matches.get_flag(entry.key) => vec!["true".into()],
        Shape::Switch => Vec::new(),
        Shape::Number => {
            matches.get_one::<u64>(entry.key).map(|number| number.to_string().into()).into_iter().collect()
        }
        _ => matches.get_many::<OsString>(entry.key).into_iter().flatten().cloned().collect(),
    }
}

/// One option. Among those of its group it has the place that it has in the registry.
fn flag(entry: &'static Entry, order: usize) -> Arg {
    let flag = Arg::new(entry.key)
        .long(entry.key)
        .visible_aliases(entry.also)
        .help(help(entry))
        .help_heading(entry.group.title())
        .display_order(entry.group as usize * REGISTRY.len() + order);
    if entry.shape == Shape::Switch {
        return flag.action(ArgAction::SetTrue);
    }
    let parser: ValueParser = match entry.shape {
        Shape::Number => clap::value_parser!(u64).into(),
        _ => OsStringValueParser::new().into(),
    };
    let flag = flag.value_name(entry.value_name).value_parser(parser).value_hint(hint(entry));
    if entry.shape.is_list() {
        flag.action(ArgAction::Append).value_delimiter(',')
    } else {
        flag.action(ArgAction::Set)
    }
}

/// Text, unit, default and variable, as help shows them.
fn help(entry: &Entry) -> String {
    let text = entry.text.trim_end_matches('.');
    let repeatable = if entry.shape.is_list() { "; repeatable" } else { "" };
    let default = match entry.default {
        Default::Required => "[required]".to_owned(),
        _ => format!("[default: {}]", entry.default_in_words()),
    };
    format!("{text}{repeatable} {default} [env: {}]", entry.variable())
}

fn hint(entry: &Entry) -> ValueHint {
    match (entry.shape.is_path(), entry.value_name) {
        (true, "DIR") => ValueHint::DirPath,
        (true, _) => ValueHint::FilePath,
        _ => ValueHint::Other,
    }
}
