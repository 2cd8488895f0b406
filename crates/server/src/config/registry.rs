//! What is known of each option, in one entry: from it come the flag and its help, the variable, the key of the file, layering, the schema,
//! the manual pages, the completions and the reference.
//!
//! [`registry!`] makes of the table in `options.rs` the struct [`Options`](super::Options) and [`REGISTRY`](super::REGISTRY). To add an option is to add an
//! entry there; tests fail while its text, its unit or its default is not said.

use std::ffi::OsString;
use std::path::PathBuf;

/// What is known of one option.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The key of the file; `--KEY` is the flag.
    pub key: &'static str,
    /// What it is, in one or two sentences, without unit and default.
    pub text: &'static str,
    /// Under which heading it stands.
    pub group: Group,
    /// What a value looks like, for people: `ADDR:PORT`.
    pub value_name: &'static str,
    /// What a value is, for programs.
    pub shape: Shape,
    /// What a number counts.
    pub unit: Unit,
    /// What holds if it is not given.
    pub default: Default,
    /// The least and the greatest number that is taken.
    pub range: Option<(u64, u64)>,
    /// Whether a reload leaves it as it was at the start.
    pub fixed: bool,
    /// Another name of the flag, shorter; file and environment have the key alone.
    pub also: Option<&'static str>,
}

/// The headings, in the order in which they are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Who we are and where clients come in.
    Listening,
    /// How names are looked up.
    Dns,
    /// Domains, partners and rules.
    Gate,
    /// Where mail goes.
    Delivery,
    /// What a client may take.
    Limits,
    /// Messages in flight.
    Messages,
    /// Signatures.
    Dkim,
    /// Certificates.
    Tls,
    /// What is told of the work.
    Logs,
    /// The process itself.
    Process,
}

impl Group {
    /// The heading.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Group::Listening => "Listening",
            Group::Dns => "DNS",
            Group::Gate => "Gate",
            Group::Delivery => "Delivery",
            Group::Limits => "Limits",
            Group::Messages => "Messages",
            Group::Dkim => "DKIM",
            Group::Tls => "TLS",
            Group::Logs => "Logs",
            Group::Process => "Process",
        }
    }
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A string.
    Text,
    /// One of the words of the value name, which stand between `|`.
    Choice,
    /// A number, or a string.
    NumberOrText,
    /// A number.
    Number,
    /// True or false; its flag has no value.
    Switch,
    /// A file or folder.
    Path,
    /// Strings.
    Texts,
    /// Files.
    Paths,
    /// `NAME=VALUE` each; in the file a table.
    Table,
    /// `NAME=VALUE` each; in the file a list of these, or a table.
    TextsOrTable,
}

impl Shape {
    /// Whether it may be given several times.
    #[must_use]
    pub fn is_list(self) -> bool {
        matches!(self, Shape::Texts | Shape::Paths | Shape::Table | Shape::TextsOrTable)
    }

    /// Whether it names something in the file system.
    #[must_use]
    pub fn is_path(self) -> bool {
        matches!(self, Shape::Path | Shape::Paths)
    }
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// It is no number, or one without a unit.
    None,
    /// Octets.
    Octets,
    /// 2^20 octets.
    Mib,
    /// Seconds.
    S,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Messages.
    Messages,
    /// Recipients.
    Recipients,
}

impl Unit {
    /// As it stands behind a number; empty for none.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            Unit::None => "",
            Unit::Octets => "octets",
            Unit::Mib => "MiB",
            Unit::S => "s",
            Unit::Ms => "ms",
            Unit::Us => "µs",
            Unit::Messages => "messages",
            Unit::Recipients => "recipients",
        }
    }
}

/// What holds if an option is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Default {
    /// Nobody has said it; a test fails.
    Unsaid,
    /// There is none: it must be given.
    Required,
    /// This number.
    Number(u64),
    /// This text.
    Text(&'static str),
    /// Something that is found only when the gate starts, or nothing; in words.
    Words(&'static str),
}

impl Default {
    /// The values, if it is known beforehand.
    #[must_use]
    pub fn values(self) -> Vec<String> {
        match self {
            Default::Number(number) => vec![number.to_string()],
            Default::Text(text) => vec![text.to_owned()],
            Default::Unsaid | Default::Required | Default::Words(_) => Vec::new(),
        }
    }
}

impl Entry {
    /// An entry of that shape; what else is to be said of it follows.
    pub(super) const fn new(group: Group, shape: Shape, value_name: &'static str) -> Entry {
        let (unit, default) = (Unit::None, Default::Unsaid);
        let (key, text) = ("", "");
        Entry { key, text, group, value_name, shape, unit, default, range: None, fixed: false, also: None }
    }

    /// Its key and its text.
    pub(super) const fn named(self, key: &'static str, text: &'static str) -> Entry {
        Entry { key, text, ..self }
    }

    /// A number's unit, and the least and the greatest that is taken.
    pub(super) const fn counts(self, unit: Unit, least: u64, most: u64) -> Entry {
        Entry { unit, range: Some((least, most)), ..self }
    }

    /// What holds if it is not given.
    pub(super) const fn default(self, default: Default) -> Entry {
        Entry { default, ..self }
    }

    /// A reload does not change it.
    pub(super) const fn fixed(self) -> Entry {
        Entry { fixed: true, ..self }
    }

    /// Its flag has this name too.
    pub(super) const fn also(self, name: &'static str) -> Entry {
        Entry { also: Some(name), ..self }
    }

    /// `MX6_KEY`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("MX6_{}", self.key.replace('-', "_").to_ascii_uppercase())
    }

    /// The default as people read it.
    #[must_use]
    pub fn default_in_words(&self) -> String {
        match self.default {
            Default::Unsaid => String::new(),
            Default::Required => "none: it must be given".to_owned(),
            Default::Number(number) => format!("{number} {}", self.unit.symbol()).trim_end().to_owned(),
            Default::Text(text) => text.to_owned(),
            Default::Words(words) => words.to_owned(),
        }
    }

    /// What is taken, as people read it: a range, or nothing.
    #[must_use]
    pub fn range_in_words(&self) -> String {
        self.range.map_or_else(String::new, |(least, most)| format!("{least} to {most}"))
    }

    /// The words of a choice.
    pub fn choices(&self) -> impl Iterator<Item = &'static str> {
        let names = if self.shape == Shape::Choice { self.value_name } else { "" };
        names.split('|').filter(|word| !word.is_empty())
    }
}

/// A field of `Options`: nothing, or what was given.
pub(super) trait Field: Sized {
    /// Reads what was given, as it stands on a command line; not empty.
    ///
    /// # Errors
    /// In words, if it cannot be read.
    fn read(texts: Vec<OsString>) -> Result<Self, String>;

    /// What [`Field::read`] would read; empty for nothing.
    fn texts(&self) -> Vec<OsString>;

    /// Whether anything was given.
    fn is_given(&self) -> bool {
        !self.texts().is_empty()
    }
}

/// The last wins, as on every command line.
fn last(texts: Vec<OsString>) -> Result<String, String> {
    text(texts.into_iter().next_back().unwrap_or_default())
}

fn text(text: OsString) -> Result<String, String> {
    text.into_string().map_err(|text| format!("`{}` is not UTF-8", text.to_string_lossy()))
}

impl Field for Option<String> {
    fn read(texts: Vec<OsString>) -> Result<Self, String> {
        last(texts).map(Some)
    }

    fn texts(&self) -> Vec<OsString> {
        self.iter().map(OsString::from).collect()
    }
}

impl Field for Option<u64> {
    fn read(texts: Vec<OsString>) -> Result<Self, String> {
        let text = last(texts)?;
        text.trim().parse().map(Some).map_err(|_| format!("`{text}` is not a whole number"))
    }

    fn texts(&self) -> Vec<OsString> {
        self.iter().map(|number| number.to_string().into()).collect()
    }
}

impl Field for Option<PathBuf> {
    fn read(texts: Vec<OsString>) -> Result<Self, String> {
        Ok(texts.into_iter().next_back().map(PathBuf::from))
    }

    fn texts(&self) -> Vec<OsString> {
        self.iter().map(OsString::from).collect()
    }
}

impl Field for bool {
    /// As clap reads variables: these words are false, all others true.
    fn read(texts: Vec<OsString>) -> Result<Self, String> {
        let word = last(texts)?.to_ascii_lowercase();
        Ok(!["n", "no", "f", "false", "off", "0"].contains(&word.as_str()))
    }

    fn texts(&self) -> Vec<OsString> {
        if *self { vec!["true".into()] } else { Vec::new() }
    }
}

impl Field for Vec<String> {
    fn read(texts: Vec<OsString>) -> Result<Self, String> {
        texts.into_iter().map(text).collect()
    }

    fn texts(&self) -> Vec<OsString> {
        self.iter().map(OsString::from).collect()
    }
}

impl Field for Vec<PathBuf> {
    fn read(texts: Vec<OsString>) -> Result<Self, String> {
        Ok(texts.into_iter().map(PathBuf::from).collect())
    }

    fn texts(&self) -> Vec<OsString> {
        self.iter().map(OsString::from).collect()
    }
}

/// Makes `Options` and `REGISTRY` of entries `"key" field: Type = "text", Entry::new(…)…;`.
macro_rules! registry {
    ($($key:literal $field:ident: $kind:ty = $text:literal, $entry:expr;)*) => {
        /// Options of the gate, as they are given: nothing is checked yet, and what is not given is not there. On the command line
        /// `--hostname`, in the environment `MX6_HOSTNAME`, in the file `hostname`; a flag beats the environment, which beats the file.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Options {
            $(#[doc = $text] pub $field: $kind,)*
        }

        /// Every option, in the order in which help shows them within their group.
        pub static REGISTRY: &[Entry] = &[$($entry.named($key, $text),)*];

        impl Options {
            /// What was given for `key`, as it stands on a command line; empty for nothing.
            #[must_use]
            pub fn texts(&self, key: &str) -> Vec<OsString> {
                match key {
                    $($key => self.$field.texts(),)*
                    _ => Vec::new(),
                }
            }

            /// Takes what was given for `key`, as it stands on a command line; empty takes it away.
            ///
            /// # Errors
            /// In words, if it cannot be read, or there is no such key.
            pub(crate) fn set(&mut self, key: &str, texts: Vec<OsString>) -> Result<(), String> {
                if texts.is_empty() {
                    match key {
                        $($key => self.$field = <$kind>::default(),)*
                        _ => {}
                    }
                    return Ok(());
                }
                match key {
                    $($key => self.$field = Field::read(texts)?,)*
                    _ => return Err(format!("there is no option `{key}`")),
                }
                Ok(())
            }

            /// Takes over what `above` has.
            fn take(&mut self, above: Options) {
                $(if above.$field.is_given() {
                    self.$field = above.$field;
                })*
            }
        }

        #[cfg(test)]
        pub(super) const FIELDS: &[(&str, &str)] = &[$(($key, stringify!($field)),)*];
    };
}

pub(super) use registry;
