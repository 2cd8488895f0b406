//! `mx6 top`: a running gate at a glance, in a terminal, as JSON lines or as text.
//!
//! One thread asks the gate, one draws. A gate that goes away is asked again and again; the terminal is given back however it ends.

mod chart;
mod figures;
mod overview;
mod screen;
mod table;
mod tabs;
#[cfg(test)]
mod tests;
mod words;

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::{Duration, Instant};

use mx6_telemetry::Status;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use thiserror::Error;

pub use figures::Figures;
pub use screen::{Screen, Then};
pub use words::Looks;

use crate::client::{self, Address, ClientError};

/// Why it ended.
#[derive(Debug, Error)]
pub enum TopError {
    /// Nobody answers, or no gate.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The terminal or standard output fails.
    #[error("the terminal cannot be used: {0}; --once and --json need none")]
    Terminal(#[source] io::Error),
    /// What is printed cannot be written.
    #[error("cannot write: {0}")]
    Write(#[source] io::Error),
}

/// Shows the gate on the terminal until a key, SIGTERM, SIGINT or SIGHUP ends it.
///
/// # Errors
/// There is no terminal.
pub fn watch(address: &Address, interval: Duration) -> Result<(), TopError> {
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&ended)).map_err(TopError::Terminal)?;
    }
    let heard = ask_again_and_again(address.clone(), interval).map_err(TopError::Terminal)?;
    // It gives the terminal back on a panic, too.
    let terminal = ratatui::try_init().map_err(TopError::Terminal)?;
    let result = show(terminal, &heard, &ended);
    ratatui::try_restore().map_err(TopError::Terminal)?;
    result.map_err(TopError::Terminal)
}

fn show(mut terminal: DefaultTerminal, heard: &Receiver<Heard>, ended: &AtomicBool) -> io::Result<()> {
    let mut screen = Screen::new(Looks::of_environment());
    let keys = keys()?;
    while !ended.load(Ordering::Relaxed) {
        heard.try_iter().for_each(|status| screen.hear(status));
        terminal.draw(|frame| screen.draw(frame))?;
        if !is_there(&keys, LOOK_EVERY)? {
            break;
        }
        while event::poll(Duration::ZERO)? {
            if let Event::Key(key) = event::read()?
                && key.kind != KeyEventKind::Release
                && screen.press(key) == Then::Quit
            {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Where keys come from: as [`event`] has it.
fn keys() -> io::Result<OwnedFd> {
    let stdin = io::stdin();
    if stdin.is_terminal() { stdin.as_fd().try_clone_to_owned() } else { Ok(File::open("/dev/tty")?.into()) }
}

/// Waits for a key, but not longer than `most`; false if the terminal is gone, which [`event`] would never notice.
fn is_there(keys: &OwnedFd, most: Duration) -> io::Result<bool> {
    let mut terminal = [PollFd::new(keys, PollFlags::IN)];
    let most = Timespec::try_from(most).map_err(io::Error::other)?;
    match rustix::event::poll(&mut terminal, Some(&most)) {
        // A signal woke us.
        Err(Errno::INTR) => Ok(true),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(!terminal[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)),
    }
}

/// A status, or why there is none.
type Heard = Result<Status, String>;

/// Its thread ends when nobody listens any more.
fn ask_again_and_again(address: Address, interval: Duration) -> io::Result<Receiver<Heard>> {
    let (sender, receiver): (SyncSender<Heard>, _) = mpsc::sync_channel(STATUSES_WAITING_MAX);
    let ask = move || {
        loop {
            let asked = Instant::now();
            if sender.send(client::status(&address).map_err(|error| error.to_string())).is_err() {
                return;
            }
            std::thread::sleep(interval.saturating_sub(asked.elapsed()));
        }
    };
    std::thread::Builder::new().name("mx6-top-client".into()).spawn(ask)?;
    Ok(receiver)
}

/// Writes one JSON object a line for each interval, `count` of them, or until nobody reads; a gate that goes away ends it.
///
/// # Errors
/// The gate does not answer.
pub fn print_json(
    address: &Address,
    interval: Duration,
    count: Option<u64>,
    out: &mut dyn Write,
) -> Result<(), TopError> {
    let mut before = client::status(address)?;
    let mut printed = 0;
    while count.is_none_or(|count| printed < count) {
        std::thread::sleep(interval);
        let now = client::status(address)?;
        let figures = Figures::between(Some(&before), &now);
        let line = serde_json::to_string(&figures).map_err(|error| TopError::Write(error.into()))?;
        writeln!(out, "{line}").and_then(|()| out.flush()).map_err(TopError::Write)?;
        before = now;
        printed += 1;
    }
    Ok(())
}

/// The gate over one interval as text of at most `width` columns.
///
/// # Errors
/// The gate does not answer.
pub fn once(address: &Address, interval: Duration, width: usize) -> Result<String, TopError> {
    let mut screen = Screen::new(Looks::of_environment());
    screen.hear(Ok(client::status(address)?));
    std::thread::sleep(interval);
    screen.hear(Ok(client::status(address)?));
    Ok(screen.text(width))
}

/// How long a key or a status may wait to be seen.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// More than these are not asked for while the terminal is stopped.
const STATUSES_WAITING_MAX: usize = 2;
