//! Group commit: one fsync of `new/` makes the renames of all messages durable that wait for it.
//!
//! A message first fsyncs and renames its own copies, on its own thread, at the same time as others: the file system's journal joins
//! those by itself. Then it joins the group that waits. When nobody is syncing, it syncs at once, so a lone message waits for nobody;
//! whoever arrives meanwhile forms the next group. Renaming comes before the wait, and not after it, so that the rename is already in the
//! journal's next commit when the group's turn comes.
//!
//! What makes one fsync count for several messages: it begins after all their renames, and on a descriptor that was opened before all of
//! them, because the kernel reports a failed write once to each open file (fsync(2)). That descriptor stays open while any message is
//! between its first rename and its answer. A failed fsync may have lost any rename made before it returned: it fails the group, those
//! who wait, and those who are still renaming.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mx6_runtime::Answer;

use super::store::{Disk, Failure, Stored};

/// The messages of one shard that are being made visible in one Maildir.
#[derive(Debug)]
pub(crate) struct Groups {
    new: PathBuf,
    pub(super) disk: Disk,
    state: Mutex<State>,
    groups: AtomicU64,
    members: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// `new/`, open while anybody is inside.
    directory: Option<Arc<Directory>>,
    /// Messages that hold an [`Entry`].
    inside: usize,
    /// Fsyncs that failed. Whoever entered under another number has a rename that may be lost.
    faults: u64,
    /// Why the last of them failed.
    last_fault: Option<io::Error>,
    waiting: VecDeque<Member>,
    /// A thread takes one group after another until nobody waits.
    is_syncing: bool,
}

#[derive(Debug)]
struct Directory {
    file: File,
    /// Device and inode.
    identity: (u64, u64),
}

/// A message that was renamed, and who waits for it.
#[derive(Debug)]
struct Member {
    stored: Stored,
    answer: Answer<Result<String, Failure>>,
}

/// The right to rename into `new/`: held from before the first rename to the answer.
#[derive(Debug)]
pub(crate) struct Entry {
    groups: Arc<Groups>,
    directory: Arc<Directory>,
    faults: u64,
}

impl Groups {
    pub(crate) fn new(dir: &Path, disk: Disk) -> Arc<Groups> {
        Arc::new(Groups {
            new: dir.join("new"),
            disk,
            state: Mutex::default(),
            groups: AtomicU64::new(0),
            members: AtomicU64::new(0),
        })
    }

    /// Fsyncs of `new/`, and the messages they were for.
    pub(crate) fn counted(&self) -> (u64, u64) {
        (self.groups.load(Ordering::Relaxed), self.members.load(Ordering::Relaxed))
    }

    /// The folder that is renamed into.
    pub(crate) fn folder(&self) -> &Path {
        &self.new
    }

    /// Before the first rename of a message.
    pub(crate) fn enter(self: &Arc<Self>) -> io::Result<Entry> {
        let mut state = self.lock();
        let directory = match &state.directory {
            Some(directory) => directory.clone(),
            None => state.directory.insert(Arc::new(Directory::open(&self.new)?)).clone(),
        };
        state.inside += 1;
        Ok(Entry { groups: self.clone(), directory, faults: state.faults })
    }

    /// After the last rename of a message. Answers it when its group was synced: here, or on the thread that is syncing already.
    pub(crate) fn join(&self, stored: Stored, answer: Answer<Result<String, Failure>>) {
        let member = Member { stored, answer };
        let mut state = self.lock();
        if state.faults != member.stored.entry.faults {
            let fault = state.last_fault.as_ref().map_or_else(|| io::Error::other("a sync failed meanwhile"), again);
            drop(state);
            return member.fail(fault);
        }
        state.waiting.push_back(member);
        if state.is_syncing {
            return;
        }
        state.is_syncing = true;
        drop(state);
        while let Some(group) = self.next_group() {
            // A panic drops the group: its copies are removed and its answers broken. The others must still be served.
            if catch_unwind(AssertUnwindSafe(|| self.sync(group))).is_err() {
                self.fail_all(Vec::new(), &io::Error::other("a sync of the directory ended midway"));
            }
        }
    }

    fn next_group(&self) -> Option<Vec<Member>> {
        let mut state = self.lock();
        state.is_syncing = !state.waiting.is_empty();
        let members = state.waiting.len().min(GROUP_MEMBERS_MAX);
        state.is_syncing.then(|| state.waiting.drain(..members).collect())
    }

    fn sync(&self, group: Vec<Member>) {
        let Some(directory) = group.first().map(|member| member.stored.entry.directory.clone()) else { return };
        self.groups.fetch_add(1, Ordering::Relaxed);
        self.members.fetch_add(group.len() as u64, Ordering::Relaxed);
        let synced = (self.disk.sync)(&directory.file).and_then(|()| directory.is_still(&self.new));
        match synced {
            Ok(()) => group.into_iter().for_each(Member::succeed),
            Err(error) => self.fail_all(group, &error),
        }
    }

    /// Fails `group` and all who wait; those who are still renaming learn it when they join.
    fn fail_all(&self, mut group: Vec<Member>, error: &io::Error) {
        let mut state = self.lock();
        state.faults += 1;
        state.last_fault = Some(again(error));
        state.directory = None;
        group.extend(state.waiting.drain(..));
        drop(state);
        group.into_iter().for_each(|member| member.fail(again(error)));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    #[cfg(test)]
    pub(super) fn is_closed(&self) -> bool {
        let state = self.lock();
        state.directory.is_none() && state.inside == 0 && !state.is_syncing
    }
}

impl Directory {
    fn open(path: &Path) -> io::Result<Directory> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        Ok(Directory { file, identity: (metadata.dev(), metadata.ino()) })
    }

    /// Whether the path still leads to what was synced: somebody may have moved the Maildir away while it was in use.
    fn is_still(&self, path: &Path) -> io::Result<()> {
        let metadata = fs::metadata(path)?;
        if (metadata.dev(), metadata.ino()) == self.identity {
            return Ok(());
        }
        Err(io::Error::other("the Maildir was replaced meanwhile"))
    }
}

impl Member {
    fn succeed(self) {
        let Member { stored, answer } = self;
        answer.give(Ok(stored.keep()));
    }

    fn fail(self, error: io::Error) {
        let Member { stored, answer } = self;
        // Removed before the reply goes out.
        answer.give(Err(stored.withdraw(error)));
    }
}

/// The same error, for one more message.
fn again(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| io::Error::other(error.to_string()), io::Error::from_raw_os_error)
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut state = self.groups.lock();
        state.inside -= 1;
        let last = if state.inside == 0 { state.directory.take() } else { None };
        drop(state);
        // Closed outside the lock.
        drop(last);
    }
}

/// Messages made durable by one fsync.
const GROUP_MEMBERS_MAX: usize = 256;
