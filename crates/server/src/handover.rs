//! Handing the listening sockets over to a successor: a second gate takes them from the first, which then drains.
//!
//! The first gate listens on a Unix socket, the *door* (`--handover PATH`). The second connects, receives every listening socket and the
//! door itself, serves with exactly these, and when all its shards are up says which of them it took; the first then stops accepting
//! without closing what is shared, so that no connection ever sits in a queue that nobody looks at. If the second fails before that, the
//! first has merely shared its sockets for a while, and goes on.
//!
//! Messages are text, first a line with the version:
//!
//! ```text
//! successor    take
//! predecessor  sockets more|end, then a line for each descriptor: door | smtp bound | smtp activated | proxy …
//! successor    ready, then a line with the numbers of the sockets it serves
//! predecessor  drains
//! ```
//!
//! A predecessor that goes on instead says `refused`; one that drains already hangs up without a word.
//!
//! What it trusts: a process of the same user or of root, as the kernel says (SO_PEERCRED).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mx6_runtime::{MESSAGE_DESCRIPTORS_MAX, MessageListener, MessageSocket, StopFlag};

use crate::connection::ListenerKind;
use crate::sockets::{Held, Inherited, Origin};

/// Sockets could not be taken over, or the predecessor did not let go.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The Unix socket.
    #[error("--handover {path}: {source}; it must be a path in a folder that this user can write to", path = path.display())]
    Door {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else's process answers there.
    #[error(
        "--handover: the process that listens there belongs to user {uid}, neither root nor this user: choose a path that only they can write to"
    )]
    Stranger {
        /// Whose.
        uid: u32,
    },
    /// The running gate does not answer as it should.
    #[error("--handover: the running gate {0}; it goes on, this one ends")]
    Predecessor(String),
}

impl HandoverError {
    /// The exit code, by sysexits.h.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            HandoverError::Door { .. } => 73,
            HandoverError::Predecessor(_) => 75,
            HandoverError::Stranger { .. } => 77,
        }
    }
}

/// The gate that runs already, while it waits for us.
#[derive(Debug)]
pub(crate) struct Predecessor(MessageSocket);

/// What a predecessor gave: its sockets, and the door.
#[derive(Debug)]
pub(crate) struct Estate {
    pub(crate) predecessor: Predecessor,
    pub(crate) door: MessageListener,
    pub(crate) sockets: Vec<Inherited>,
}

/// Takes the sockets of the gate that listens at `path`. None when there is none, or when it is ending.
///
/// # Errors
/// If it is a stranger's, or does not do its part.
pub(crate) fn take(path: &Path) -> Result<Option<Estate>, HandoverError> {
    let socket = match MessageSocket::connect(path) {
        Ok(socket) => socket,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(source) => return Err(HandoverError::Door { path: path.to_owned(), source }),
    };
    expect_own(&socket)?;
    let failed = |error: io::Error| HandoverError::Predecessor(format!("does not hand its sockets over: {error}"));
    let (mut door, mut sockets) = (None, Vec::new());
    let mut answer = socket.send(&message("take"), &[]).and_then(|()| socket.receive(ANSWER_TIME));
    loop {
        let (text, fds) = match answer {
            Ok(Some(answer)) => answer,
            // It drains: we share nothing with it but the addresses.
            Ok(None) if sockets.is_empty() => return Ok(None),
            Err(error) if has_hung_up(&error) && sockets.is_empty() => return Ok(None),
            Ok(None) => return Err(failed(io::ErrorKind::UnexpectedEof.into())),
            Err(error) => return Err(failed(error)),
        };
        let is_last = read_sockets(&text, fds, &mut door, &mut sockets).map_err(HandoverError::Predecessor)?;
        if is_last {
            break;
        }
        answer = socket.receive(ANSWER_TIME);
    }
    let door = door.ok_or_else(|| HandoverError::Predecessor("kept its Unix socket".to_owned()))?;
    Ok(Some(Estate { predecessor: Predecessor(socket), door, sockets }))
}

/// Reads one message of sockets. Whether it was the last.
fn read_sockets(
    text: &str,
    fds: Vec<OwnedFd>,
    door: &mut Option<MessageListener>,
    sockets: &mut Vec<Inherited>,
) -> Result<bool, String> {
    let body = body(text)?;
    let mut lines = body.lines();
    let is_last = match lines.next() {
        Some("sockets end") => true,
        Some("sockets more") => false,
        other => return Err(format!("answers {other:?}")),
    };
    let lines: Vec<&str> = lines.collect();
    if lines.len() != fds.len() || sockets.len() > SOCKETS_MAX {
        return Err(format!("names {} sockets and sends {}", lines.len(), fds.len()));
    }
    for (line, fd) in lines.into_iter().zip(fds) {
        if line == "door" {
            *door = Some(MessageListener::adopt(fd));
            continue;
        }
        let known =
            line.split_once(' ').and_then(|(kind, origin)| Some((ListenerKind::named(kind)?, Origin::named(origin)?)));
        let Some((kind, origin)) = known else { return Err(format!("sends a socket of unknown kind {line:?}")) };
        let number = sockets.len();
        sockets.push(Inherited::adopt(fd, kind, origin, Some(number)).map_err(|error| error.to_string())?);
    }
    Ok(is_last)
}

impl Predecessor {
    /// Says that we serve the sockets of these numbers, and waits until it has stopped accepting there.
    ///
    /// If it is gone meanwhile, there is nothing to let go.
    ///
    /// # Errors
    /// If it says that it goes on, or says nothing for too long.
    pub(crate) fn relieve(&self, taken: &[usize]) -> Result<(), HandoverError> {
        let numbers: Vec<String> = taken.iter().map(usize::to_string).collect();
        let failed = |why: String| HandoverError::Predecessor(format!("did not let go: {why}"));
        let ready = message(&format!("ready\n{}", numbers.join(" ")));
        match self.0.send(&ready, &[]).and_then(|()| self.0.receive(ANSWER_TIME)) {
            Ok(Some((text, _))) if body(&text) == Ok("drains") => Ok(()),
            Ok(Some((text, _))) => Err(failed(format!("it answers {text:?}"))),
            Ok(None) => {
                mx6_telemetry::say!("the gate before has ended by itself, this one serves on");
                Ok(())
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => Ok(()),
            Err(error) => Err(failed(error.to_string())),
        }
    }
}

/// Opens the door anew.
///
/// # Errors
/// If it cannot be made.
pub(crate) fn open_door(path: &Path) -> Result<MessageListener, HandoverError> {
    MessageListener::bind(path).map_err(|source| HandoverError::Door { path: path.to_owned(), source })
}

/// Waits at the door for a successor, gives it the sockets, and sets `stop` once it serves. Returns then, or when it finds that `stop`
/// was set by others.
pub(crate) fn wait_for_successor(door: &MessageListener, held: &[Held], stop: &StopFlag) {
    loop {
        let successor = match door.accept() {
            Ok(successor) => successor,
            Err(error) => {
                mx6_telemetry::warning!("--handover: {error}");
                std::thread::sleep(DOOR_PAUSE);
                continue;
            }
        };
        // From the first descriptor that is sent, the successor may serve what waits.
        leave_queues(held, |_| true);
        if stop.is_set() {
            // We drain already; whoever knocks must serve by himself, and does when we hang up.
            return leave_queues(held, |_| false);
        }
        match hand_over(&successor, door, held) {
            Ok(taken) => {
                leave_queues(held, |number| taken.contains(&number));
                mx6_telemetry::say!("a successor serves {} of {} sockets, this gate drains", taken.len(), held.len());
                stop.set();
                if let Err(error) = successor.send(&message("drains"), &[]) {
                    mx6_telemetry::warning!("--handover: the successor was not told: {error}");
                }
                return;
            }
            Err(error) => {
                leave_queues(held, |_| false);
                // If it still listens: hung up on, it would serve beside us.
                let _ = successor.send(&message(&format!("refused: {error}")), &[]);
                mx6_telemetry::warning!("--handover: the successor did not begin to serve, this gate goes on: {error}");
            }
        }
    }
}

/// Says of each socket whether the successor serves what waits there; if not, the service manager may.
fn leave_queues(held: &[Held], is_taken: impl Fn(usize) -> bool) {
    for (number, held) in held.iter().enumerate() {
        held.handle.leave_queue(is_taken(number) || held.origin == Origin::Activated);
    }
}

/// The predecessor's part. Returns the numbers of the sockets that the successor serves.
fn hand_over(
    successor: &MessageSocket,
    door: &MessageListener,
    held: &[Held],
) -> Result<Vec<usize>, Box<dyn std::error::Error>> {
    expect_own(successor)?;
    expect(successor, ANSWER_TIME, "take")?;
    let mut lines = vec!["door".to_owned()];
    let mut fds = Vec::new();
    for held in held {
        fds.push(held.handle.duplicate()?.ok_or("a listener is gone")?);
        lines.push(format!("{} {}", held.kind.word(), held.origin.word()));
    }
    let fds: Vec<BorrowedFd<'_>> = std::iter::once(door.as_fd()).chain(fds.iter().map(AsFd::as_fd)).collect();
    let portions = fds.chunks(MESSAGE_DESCRIPTORS_MAX).count();
    for (number, (fds, lines)) in
        fds.chunks(MESSAGE_DESCRIPTORS_MAX).zip(lines.chunks(MESSAGE_DESCRIPTORS_MAX)).enumerate()
    {
        let word = if number + 1 == portions { "end" } else { "more" };
        successor.send(&message(&format!("sockets {word}\n{}", lines.join("\n"))), fds)?;
    }
    let numbers = expect(successor, START_TIME, "ready")?;
    let numbers: Vec<usize> = numbers.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    Ok(numbers)
}

/// The rest of the next message, which must begin with `word`.
fn expect(socket: &MessageSocket, time: Duration, word: &str) -> Result<String, Box<dyn std::error::Error>> {
    let (text, _) = socket.receive(time)?.ok_or("it has closed the connection")?;
    let rest = body(&text)?.strip_prefix(word);
    Ok(rest.ok_or_else(|| format!("it says {text:?}"))?.to_owned())
}

fn expect_own(socket: &MessageSocket) -> Result<(), HandoverError> {
    match socket.peer_uid() {
        Ok(uid) if uid == 0 || uid == rustix::process::geteuid().as_raw() => Ok(()),
        Ok(uid) => Err(HandoverError::Stranger { uid }),
        Err(error) => Err(HandoverError::Predecessor(error.to_string())),
    }
}

fn has_hung_up(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

fn message(body: &str) -> String {
    format!("{VERSION}\n{body}")
}

/// A message without its version.
fn body(text: &str) -> Result<&str, String> {
    text.strip_prefix(VERSION).and_then(|text| text.strip_prefix('\n')).ok_or_else(|| {
        format!("speaks another version of the handover ({:?}): end it by SIGTERM instead", text.lines().next())
    })
}

const VERSION: &str = "mx6-handover 1";
/// For the next message of a process that is awake.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// For a successor to read its zone, start its shards and say that it is ready.
const START_TIME: Duration = Duration::from_secs(120);
/// When the door cannot be opened: no descriptor is free.
const DOOR_PAUSE: Duration = Duration::from_secs(1);
/// More than a machine has cores and addresses for.
const SOCKETS_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_predecessor_may_say() {
        let check = |text: &str, expected: Result<bool, &str>| {
            let got = read_sockets(text, Vec::new(), &mut None, &mut Vec::new());
            match (got, expected) {
                (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{text:?}"),
                (Err(got), Err(part)) => assert!(got.contains(part), "{text:?}: {got}"),
                (got, expected) => panic!("{text:?}: {got:?}, expected {expected:?}"),
            }
        };
        check("mx6-handover 1\nsockets end", Ok(true));
        check("mx6-handover 1\nsockets more\n", Ok(false));
        check("mx6-handover 1\nsockets end\nsmtp bound", Err("names 1 sockets and sends 0"));
        check("mx6-handover 1\nready", Err("answers"));
        check("mx6-handover 1\nrefused: why", Err("refused: why"));
        check("mx6-handover 1", Err("another version"));
        check("mx6-handover 2\nsockets end", Err("another version"));
        check("", Err("another version"));
    }
}
