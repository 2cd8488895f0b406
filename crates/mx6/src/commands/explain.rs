//! `mx6 explain`: what the gate would say of a message in a file, or of a session that was saved.

use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Configuration;
use super::config::print;
use crate::failure::{EX_CONFIG, EX_DATAERR, EX_USAGE, Failure, failure};

/// Evaluate a message in a file as if it came in now, or a saved session once more, and say every fact, the verdict and the reply.
#[derive(Args)]
#[command(
    override_usage = "mx6 explain --client-ip <ADDR> --helo <NAME> --mail-from <ADDR> --rcpt-to <ADDR> [OPTIONS] <MESSAGE.eml>\n       \
                      mx6 explain --transcript <FILE> [--session <ID>] [OPTIONS]"
)]
pub(crate) struct Explain {
    #[command(flatten)]
    configuration: Configuration,
    #[command(flatten)]
    envelope: Envelope,
    /// A transcript as `/trace` of the admin endpoint streams it and `mx6 trace` saves it: each session in it is replayed, and what was answered then
    /// compared with what would be answered now. Next hops, limits and certificates are not asked.
    #[arg(long, value_name = "FILE")]
    transcript: Option<PathBuf>,
    /// Only that session of the transcript.
    #[arg(long, value_name = "ID", requires = "transcript")]
    session: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// One message and how it comes in. A transcript says that itself.
#[derive(Args)]
struct Envelope {
    /// The client's address.
    #[arg(long, value_name = "ADDR", required_unless_present = "transcript", conflicts_with = "transcript")]
    client_ip: Option<IpAddr>,
    /// The client's HELO name.
    #[arg(long, value_name = "NAME", required_unless_present = "transcript", conflicts_with = "transcript")]
    helo: Option<String>,
    /// The reverse-path; empty for the null reverse-path.
    #[arg(long, value_name = "ADDR", required_unless_present = "transcript", conflicts_with = "transcript")]
    mail_from: Option<String>,
    /// The recipient.
    #[arg(long, value_name = "ADDR", required_unless_present = "transcript", conflicts_with = "transcript")]
    rcpt_to: Option<String>,
    /// The message; `-` for standard input.
    #[arg(value_name = "MESSAGE.eml", required_unless_present = "transcript", conflicts_with = "transcript")]
    message: Option<PathBuf>,
}

impl Explain {
    /// Prints the explanation.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let failed = |error: mx6_server::ExplainError| failure(error.exit_code())(error);
        let question = self.envelope.question().map_err(failure(EX_DATAERR))?;
        let options = self.configuration.options().map_err(failure(EX_CONFIG))?;
        let (text, object) = match (question, self.transcript) {
            (Some(question), _) => {
                let explanation = mx6_server::explain(&options, question).map_err(failed)?;
                (explanation.to_string(), explanation.to_json())
            }
            (None, Some(transcript)) => {
                let replay = mx6_server::replay(&options, &transcript, self.session.as_deref()).map_err(failed)?;
                (replay.to_string(), replay.to_json())
            }
            (None, None) => return Err(failure(EX_USAGE)(anyhow::anyhow!("give a message, or --transcript"))),
        };
        print(&if self.json { format!("{object}\n") } else { format!("{text}\n") })
    }
}

impl Envelope {
    /// With the message read; none where a transcript stands for all of it.
    fn question(self) -> anyhow::Result<Option<mx6_server::Question>> {
        let (Some(client), Some(helo), Some(mail_from), Some(rcpt_to), Some(message)) =
            (self.client_ip, self.helo, self.mail_from, self.rcpt_to, self.message)
        else {
            return Ok(None);
        };
        let message = read(&message)?;
        Ok(Some(mx6_server::Question { client, helo, mail_from, rcpt_to, message }))
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
