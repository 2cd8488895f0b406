//! `mx6 options-reference`: the options in Markdown, for the manual.

use clap::Args;
use mx6_server::config::reference;

use super::config::print;
use crate::failure::Failure;

/// Print the options as Markdown, for the manual.
#[derive(Args)]
#[command(hide = true)]
pub(crate) struct OptionsReference {}

impl OptionsReference {
    /// Prints it.
    pub(crate) fn run(self) -> Result<(), Failure> {
        print(&reference())
    }
}
