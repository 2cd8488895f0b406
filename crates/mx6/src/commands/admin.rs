//! Where the admin endpoint of the gate is, for the commands that ask a running gate.

use std::path::PathBuf;

use clap::Args;
use mx6_console::client::Address;
use mx6_server::config::Layers;
use mx6_server::{ConfigError, Options};

use crate::failure::{EX_CONFIG, Failure, failure};

/// The endpoint, or the configuration that names it.
#[derive(Args, Clone)]
pub(crate) struct Admin {
    /// The gate's admin endpoint; without it the first of the environment (MX6_ADMIN) or of the file, else 127.0.0.1:9125.
    #[arg(long, value_name = "ADDR:PORT|unix:PATH")]
    pub(crate) admin: Option<Address>,
    /// The file that the gate was started with: its `admin` says where to ask.
    #[arg(long, env = "MX6_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Admin {
    /// The address to ask.
    pub(crate) fn address(&self) -> Result<Address, Failure> {
        if let Some(address) = &self.admin {
            return Ok(address.clone());
        }
        let layers = Layers::read(Options::default(), self.config.as_deref());
        let is_of_variable = |fault: &&ConfigError| matches!(fault, ConfigError::Environment { variable, .. } if variable == "MX6_ADMIN");
        if let Some(fault) = layers.faults().iter().find(is_of_variable) {
            return Err(failure(EX_CONFIG)(anyhow::anyhow!("{fault}")));
        }
        let origin = layers.origin("admin");
        match (layers.options().admin.first(), &self.config) {
            (Some(text), _) => {
                let unusable =
                    |why| failure(EX_CONFIG)(anyhow::anyhow!("{origin}: `{text}` is no admin endpoint: {why}"));
                text.parse().map_err(unusable)
            }
            // What is wrong elsewhere in the file is the gate's business, unless the file cannot be read at all.
            (None, Some(path)) => {
                let why = layers.faults().first().map(ToString::to_string);
                let none = || format!("{} has no `admin`: the gate it belongs to cannot be asked", path.display());
                Err(failure(EX_CONFIG)(anyhow::anyhow!(why.unwrap_or_else(none))))
            }
            (None, None) => DEFAULT.parse().map_err(|why: String| failure(EX_CONFIG)(anyhow::anyhow!(why))),
        }
    }
}

/// Where the gate of this machine is looked for.
const DEFAULT: &str = "127.0.0.1:9125";
