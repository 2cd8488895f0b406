//! Delivery into a Maildir (cr.yp.to/proto/maildir.html): one copy for each recipient, all of them durable before the 250.
//!
//! The order, all off the shard's thread: each copy is written to `tmp/` and fsynced; then each is renamed into `new/`,
//! by a rename that replaces nothing; then `new/` is fsynced, once for all messages of the shard that wait for it
//! ([`groups`]). Whatever fails removes what was made, and the reply is 4xx. A failed fsync is never retried: after it
//! the kernel may call lost pages clean. Where a copy that was visible cannot be removed again (a reader has moved it,
//! the file system is read-only by now) the outcome is unknown: the client's next try may make a second copy.
//!
//! A crash leaves at most files in `tmp/`, which no reader looks at, and the copies that were renamed before it: whole, durable or gone,
//! and never answered with 250. The client tries again then, so between the first rename and the reply a crash can make a second copy,
//! but cannot lose one.

mod content;
mod groups;
mod store;

use std::cell::Cell;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use mx6_runtime::{Deadline, answer, begin_blocking, deadline};
use mx6_smtp::{EnhancedCode, Outcome, Reply};

use self::groups::Groups;
use self::store::Failure;
use crate::storage::storage_reply;
use crate::{Message, Stage};

/// The Maildir as one shard delivers into it.
#[derive(Debug)]
pub(crate) struct Maildir {
    dir: Arc<Path>,
    hostname: Arc<str>,
    groups: Arc<Groups>,
    unknown: Cell<u64>,
}

impl Maildir {
    pub(crate) fn new(dir: &Path, hostname: &str) -> Maildir {
        let groups = Groups::new(dir, store::Disk::REAL);
        Maildir { dir: dir.into(), hostname: hostname.into(), groups, unknown: Cell::new(0) }
    }

    /// How often `new/` was fsynced, and for how many messages.
    pub(crate) fn counted(&self) -> (u64, u64) {
        self.groups.counted()
    }

    /// Messages whose outcome is unknown.
    pub(crate) fn unknown(&self) -> u64 {
        self.unknown.get()
    }
}

/// One message for a Maildir: its recipients so far.
#[derive(Debug)]
pub(crate) struct MaildirTransaction {
    maildir: Rc<Maildir>,
    reverse_path: String,
    recipients: Vec<String>,
}

impl MaildirTransaction {
    pub(crate) fn new(maildir: Rc<Maildir>, reverse_path: String) -> MaildirTransaction {
        MaildirTransaction { maildir, reverse_path, recipients: Vec::new() }
    }

    pub(crate) fn rcpt(&mut self, forward_path: &str) -> Outcome {
        self.recipients.push(forward_path.to_owned());
        Outcome::Accepted(Reply::fixed(250, EnhancedCode(2, 1, 5), "OK"))
    }

    /// Stores the copies. Past `until` nothing becomes visible any more, unless the renames have begun: then the
    /// outcome is unknown.
    pub(crate) async fn deliver(&mut self, message: &Message, until: Deadline) -> (Outcome, Stage) {
        let (outcome, stage) = self.store(message, until).await;
        let unknown = &self.maildir.unknown;
        unknown.set(unknown.get() + u64::from(matches!(outcome, Outcome::Unknown(_))));
        (outcome, stage)
    }

    async fn store(&mut self, message: &Message, until: Deadline) -> (Outcome, Stage) {
        let content = match content::Content::of(message) {
            Ok(content) => content,
            Err(error) => return (Outcome::Refused(storage_reply(&error)), Stage::Body),
        };
        let phase = Arc::new(Phase::default());
        let job = store::Job {
            dir: self.maildir.dir.clone(),
            hostname: self.maildir.hostname.clone(),
            reverse_path: std::mem::take(&mut self.reverse_path),
            recipients: std::mem::take(&mut self.recipients),
            content,
            phase: phase.clone(),
        };
        let (answer, answered) = answer();
        let groups = self.maildir.groups.clone();
        begin_blocking(move || store::deliver(job, &groups, answer));
        match deadline(until, answered).await.map(|told| told.unwrap_or_else(|| Err(phase.ended_midway()))) {
            Some(Ok(name)) => {
                let text = format!("OK: stored as {name}");
                (Outcome::Accepted(Reply::new(250, Some(EnhancedCode(2, 0, 0)), text)), Stage::EndOfData)
            }
            Some(Err(failure)) => (not_stored(&failure), Stage::EndOfData),
            None if phase.give_up() => (Outcome::Refused(TOO_SLOW), Stage::Body),
            None => (Outcome::Unknown(TOO_SLOW), Stage::EndOfData),
        }
    }
}

/// Makes the directories of a Maildir, where they are not there yet.
pub(crate) fn prepare(dir: &Path) -> io::Result<()> {
    store::make_directories(dir, &store::Disk::REAL)
}

/// Who came first: the renames, or the deadline.
#[derive(Debug, Default)]
pub(crate) struct Phase(AtomicU8);

impl Phase {
    /// Called before the first rename; false when it is too late.
    pub(crate) fn publish(&self) -> bool {
        self.0.compare_exchange(WRITING, PUBLISHING, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Called at the deadline; false when copies may already be visible.
    fn give_up(&self) -> bool {
        self.0.compare_exchange(WRITING, GIVEN_UP, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// The thread panicked. What it had made was removed if that was possible, which nobody has heard.
    fn ended_midway(&self) -> Failure {
        let error = io::Error::other("the delivery ended midway");
        if self.give_up() { Failure::Refused(error) } else { Failure::Unknown(error) }
    }
}

fn not_stored(failure: &Failure) -> Outcome {
    match failure {
        Failure::Refused(error) => Outcome::Refused(storage_reply(error)),
        Failure::Unknown(error) => Outcome::Unknown(storage_reply(error)),
    }
}

const WRITING: u8 = 0;
const PUBLISHING: u8 = 1;
const GIVEN_UP: u8 = 2;

const TOO_SLOW: Reply =
    Reply::fixed(451, EnhancedCode(4, 3, 0), "Message could not be stored in time, try again later.");

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::time::Duration;

    use mx6_runtime::run_local;

    use super::*;
    use crate::Body;

    #[test]
    fn a_copy_that_a_reader_took_before_a_failed_sync_makes_the_outcome_unknown() {
        static ROOT: std::sync::OnceLock<tempfile::TempDir> = std::sync::OnceLock::new();
        fn sync(file: &File) -> io::Result<()> {
            if !file.metadata()?.is_dir() {
                return Ok(());
            }
            let root = ROOT.get().map(tempfile::TempDir::path).unwrap();
            for copy in fs::read_dir(root.join("new"))? {
                let copy = copy?;
                fs::rename(copy.path(), root.join("cur").join(copy.file_name()))?;
            }
            Err(rustix::io::Errno::IO.into())
        }
        let dir = ROOT.get_or_init(|| tempfile::tempdir().unwrap()).path();
        prepare(dir).unwrap();
        let groups = Groups::new(dir, store::Disk { sync, ..store::Disk::REAL });
        run_local(async move || {
            let maildir = Rc::new(Maildir { groups, ..Maildir::new(dir, "mx.example") });
            let mut transaction = MaildirTransaction::new(maildir.clone(), "s@there.example".to_owned());
            transaction.rcpt("a@x");
            let (added, header, body) = (Vec::new(), b"\r\n".to_vec(), Body::new(Path::new("/nowhere")));
            let message = Message { added, header, leave_out: Vec::new(), body };
            let (outcome, stage) = transaction.deliver(&message, Deadline::after(Duration::from_secs(5))).await;
            let told = format!("{} {}", outcome.word(), outcome.reply());
            assert_eq!(told, "unknown 452 4.3.0 System storage failed, try again later.");
            assert_eq!((stage, maildir.unknown()), (Stage::EndOfData, 1));
        })
        .unwrap();
    }

    #[test]
    fn what_a_panic_leaves_is_unknown_once_renames_have_begun() {
        let phase = Phase::default();
        assert!(matches!(phase.ended_midway(), Failure::Refused(_)));
        let phase = Phase::default();
        assert!(phase.publish() && matches!(phase.ended_midway(), Failure::Unknown(_)));
    }
}
