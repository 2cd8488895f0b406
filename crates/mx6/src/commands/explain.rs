//! `mx6 explain`: what the gate would say of a message in a file.

use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Configuration;
use crate::failure::{EX_CONFIG, EX_DATAERR, Failure, failure};

/// Evaluate a message in a file as if it came in now, and say every fact, the verdict and the reply.
#[derive(Args)]
pub(crate) struct Explain {
    #[command(flatten)]
    configuration: Configuration,
    /// The client's address.
    #[arg(long, value_name = "ADDR")]
    client_ip: IpAddr,
    /// The client's HELO name.
    #[arg(long, value_name = "NAME")]
    helo: String,
    /// The reverse-path; empty for the null reverse-path.
    #[arg(long, value_name = "ADDR")]
    mail_from: String,
    /// The recipient.
    #[arg(long, value_name = "ADDR")]
    rcpt_to: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// The message; `-` for standard input.
    #[arg(value_name = "MESSAGE.eml")]
    message: PathBuf,
}

impl Explain {
    /// Prints the explanation.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let message = read(&self.message).map_err(failure(EX_DATAERR))?;
        let options = self.configuration.options().map_err(failure(EX_CONFIG))?;
        let question = mx6_server::Question {
            client: self.client_ip,
            helo: self.helo,
            mail_from: self.mail_from,
            rcpt_to: self.rcpt_to,
            message,
        };
        let failed = |error: mx6_server::ExplainError| failure(error.exit_code())(error);
        let explanation = mx6_server::explain(&options, question).map_err(failed)?;
        if self.json {
            println!("{}", explanation.to_json());
        } else {
            println!("{explanation}");
        }
        Ok(())
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let read = if path == Path::new("-") {
        let mut message = Vec::new();
        std::io::stdin().read_to_end(&mut message).map(|_| message)
    } else {
        std::fs::read(path)
    };
    read.map_err(|error| anyhow::anyhow!("cannot read {}: {error}", path.display()))
}
