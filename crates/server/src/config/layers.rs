//! Where options come from: file, environment, command line. Each layer lies over the one before.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::options::{NAME_SOURCES, Options, REGISTRY};
use super::{ConfigError, file};

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody gave one.
    Default,
    /// A key of the file.
    File {
        /// The file.
        path: Arc<Path>,
        /// Line, from 1.
        line: usize,
        /// Column, from 1, in characters.
        column: usize,
    },
    /// That variable.
    Environment(String),
    /// The flag of that key.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Origin::Environment(variable) => write!(f, "environment {variable}"),
            Origin::Flag(key) => write!(f, "flag --{key}"),
        }
    }
}

/// The options of one source, and where each stands there.
#[derive(Debug, Default)]
pub(super) struct Layer {
    pub(super) options: Options,
    origins: BTreeMap<&'static str, Origin>,
}

impl Layer {
    /// Takes what was given for `key`.
    ///
    /// # Errors
    /// In words, if it cannot be read.
    pub(super) fn set(&mut self, key: &'static str, texts: Vec<OsString>, origin: Origin) -> Result<(), String> {
        let is_given = !texts.is_empty();
        self.options.set(key, texts)?;
        // A switch that is off is not given.
        if is_given && !self.options.texts(key).is_empty() {
            self.origins.insert(key, origin);
        }
        Ok(())
    }

    /// The options of the command line.
    fn of_flags(options: Options) -> Layer {
        let given = REGISTRY.iter().map(|entry| entry.key).filter(|key| !options.texts(key).is_empty());
        let origins = given.map(|key| (key, Origin::Flag(key))).collect();
        Layer { options, origins }
    }

    /// The options of the environment; what is empty there is not given.
    fn of_environment() -> (Layer, Vec<ConfigError>) {
        let (mut layer, mut faults) = (Layer::default(), Vec::new());
        for entry in REGISTRY {
            let variable = entry.variable();
            let Some(value) = std::env::var_os(&variable).filter(|value| !value.is_empty()) else { continue };
            let texts = if entry.shape.is_list() { parts(&value) } else { vec![value] };
            let checked = Options::check_alone(entry.key, texts.clone()).and_then(|()| {
                let origin = Origin::Environment(variable.clone());
                let unreadable = |reason| ConfigError::Unreadable { key: entry.key, value: String::new(), reason };
                layer.set(entry.key, texts, origin).map_err(unreadable)
            });
            if let Err(error) = checked {
                faults.push(ConfigError::Environment { variable, source: Box::new(error) });
            }
        }
        (layer, faults)
    }

    /// This layer over another.
    fn over(self, below: Layer) -> Layer {
        let mut origins = below.origins;
        if self.options.names_a_source() {
            origins.retain(|key, _| !NAME_SOURCES.contains(key));
        }
        origins.extend(self.origins);
        Layer { options: self.options.over(below.options), origins }
    }
}

/// What stands between commas.
fn parts(value: &OsString) -> Vec<OsString> {
    match value.to_str() {
        Some(text) => text.split(',').filter(|part| !part.is_empty()).map(OsString::from).collect(),
        None => vec![value.clone()],
    }
}

/// All layers as one, with everything that is wrong in them.
#[derive(Debug)]
pub struct Layers {
    layer: Layer,
    faults: Vec<ConfigError>,
}

impl Layers {
    /// Lays `flags` over the environment, and that over the file.
    #[must_use]
    pub fn read(flags: Options, path: Option<&Path>) -> Layers {
        let (environment, mut faults) = Layer::of_environment();
        let (below, faults_of_file) = path.map_or_else(Default::default, file::read);
        faults.extend(faults_of_file);
        Layers { layer: Layer::of_flags(flags).over(environment).over(below), faults }
    }

    /// The options as far as they can be read.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.layer.options
    }

    /// Where the value of `key` comes from.
    #[must_use]
    pub fn origin(&self, key: &str) -> Origin {
        self.layer.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    /// What is wrong in the file and in the environment.
    #[must_use]
    pub fn faults(&self) -> &[ConfigError] {
        &self.faults
    }

    /// The options, if nothing in file and environment is wrong.
    ///
    /// # Errors
    /// The first fault.
    pub fn into_options(self) -> Result<Options, ConfigError> {
        match self.faults.into_iter().next() {
            Some(first) => Err(first),
            None => Ok(self.layer.options),
        }
    }

    /// Everything that is wrong: in the file, in the environment, on the command line, and what is missing.
    #[must_use]
    pub fn into_faults(self) -> Vec<ConfigError> {
        let mut faults = self.faults;
        for (key, origin) in &self.layer.origins {
            if let Origin::Flag(_) = origin {
                let texts = self.layer.options.texts(key);
                let before = faults.len();
                faults.extend(texts.iter().filter_map(|text| Options::check_alone(key, vec![text.clone()]).err()));
                if before == faults.len() {
                    faults.extend(Options::check_alone(key, texts).err());
                }
            }
        }
        // What could not be read is wrong, not missing.
        let is_told =
            |option: &str| faults.iter().any(|fault| fault.to_string().contains(option.trim_start_matches('-')));
        let missing: Vec<ConfigError> = self
            .layer
            .options
            .missing()
            .into_iter()
            .filter(|error| match error {
                ConfigError::Missing { option, .. } => !is_told(option),
                _ => true,
            })
            .collect();
        faults.extend(missing);
        faults
    }
}
