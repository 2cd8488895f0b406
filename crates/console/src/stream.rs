//! A stream of the admin endpoint, read by a thread of its own: whoever waits for the next line can look up in between.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::client::{Address, ClientError, Stream};

/// Lines of a stream.
pub struct Lines(Receiver<Result<Vec<u8>, ClientError>>);

/// What came of waiting for a line.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// A line, without its end.
    Line(Vec<u8>),
    /// None yet.
    Nothing,
    /// The gate has ended the stream.
    End,
}

impl Lines {
    /// Begins to listen to `path`; `query` is what it takes, in plain words.
    ///
    /// # Errors
    /// Nobody answers, or no gate; it has too many listeners, or does not take the query.
    pub fn open(address: &Address, path: &str, query: &[(&str, String)]) -> Result<Lines, ClientError> {
        let mut stream = Stream::open(address, path, query)?;
        // What does not fit waits in the connection, and then the gate counts what it cannot send.
        let (sender, lines) = mpsc::sync_channel(LINES_WAITING_MAX);
        let read = move || {
            while let Some(line) = stream.next_line().transpose() {
                let is_last = line.is_err();
                if sender.send(line).is_err() || is_last {
                    return;
                }
            }
        };
        let spawned = thread::Builder::new().name("mx6-stream".into()).spawn(read);
        spawned.map_err(|error| ClientError::Broken { address: address.clone(), error })?;
        Ok(Lines(lines))
    }

    /// The next line, if it comes within `patience`.
    ///
    /// # Errors
    /// The connection broke, or the gate was silent for too long.
    pub fn next(&self, patience: Duration) -> Result<Next, ClientError> {
        match self.0.recv_timeout(patience) {
            Ok(line) => line.map(Next::Line),
            Err(RecvTimeoutError::Timeout) => Ok(Next::Nothing),
            Err(RecvTimeoutError::Disconnected) => Ok(Next::End),
        }
    }
}

/// A screenful of them.
const LINES_WAITING_MAX: usize = 256;
