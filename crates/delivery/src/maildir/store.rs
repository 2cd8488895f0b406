//! The steps on the disk; runs on a thread that may block.

use std::collections::hash_map::RandomState;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use mx6_runtime::{Answer, DiskStep, disk_step};
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::Phase;
use super::content::Content;
use super::groups::{Entry, Groups};

/// One message and its recipients.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) dir: Arc<Path>,
    pub(crate) hostname: Arc<str>,
    pub(crate) reverse_path: String,
    pub(crate) recipients: Vec<String>,
    pub(crate) content: Content,
    pub(crate) phase: Arc<Phase>,
}

/// The calls whose failure decides what may be said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Disk {
    pub(crate) sync: fn(&File) -> io::Result<()>,
    pub(crate) rename: fn(&Path, &Path) -> io::Result<Moved>,
}

impl Disk {
    /// fsync, and the rename that replaces nothing.
    pub(crate) const REAL: Disk = Disk { sync, rename: rename_to_nothing };
}

/// How a file came by its new name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moved {
    /// It has that name only.
    Renamed,
    /// It has the old name too.
    Linked,
}

/// Why a message was not stored: the disk's error, and whether it is certain that nobody finds the message.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nothing of it is visible.
    Refused(io::Error),
    /// A copy that was visible could not be removed again: a reader has taken it, or the disk takes no more changes.
    Unknown(io::Error),
}

/// Stores one copy for each recipient; the answer is the first one's name, given by the group whose sync makes them
/// durable. After a [`Failure::Refused`] nothing of it is left.
pub(crate) fn deliver(job: Job, groups: &Arc<Groups>, answer: Answer<Result<String, Failure>>) {
    let stored = store(&job, groups);
    // This thread may go on to sync for others: it must not hold the body meanwhile.
    drop(job);
    match stored {
        Ok(stored) => groups.join(stored, answer),
        Err(failure) => answer.give(Err(failure)),
    }
}

/// Copies that are visible and not yet durable: removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Stored {
    // Before the entry, so that the copies are gone when it ends.
    copies: Copies,
    pub(super) entry: Entry,
    first_name: String,
}

impl Stored {
    /// They are durable; the first one's name.
    pub(super) fn keep(mut self) -> String {
        self.copies.made.clear();
        std::mem::take(&mut self.first_name)
    }

    /// They may be lost: they are removed.
    pub(super) fn withdraw(mut self, error: io::Error) -> Failure {
        self.copies.withdraw(error)
    }
}

/// All steps before the sync of the directory.
fn store(job: &Job, groups: &Arc<Groups>) -> Result<Stored, Failure> {
    let mut copies = Copies { made: Vec::with_capacity(job.recipients.len()) };
    match make_visible(job, groups, &mut copies) {
        Ok((entry, first_name)) => Ok(Stored { copies, entry, first_name }),
        Err(error) => Err(copies.withdraw(error)),
    }
}

fn make_visible(job: &Job, groups: &Arc<Groups>, copies: &mut Copies) -> io::Result<(Entry, String)> {
    let disk = &groups.disk;
    for recipient in &job.recipients {
        let (path, file) = create(&job.dir, &job.hostname, disk)?;
        copies.made.push(Made { hidden: path, visible: None });
        write(&file, job, recipient)?;
        (disk.sync)(&file)?;
    }
    let entry = groups.enter()?;
    if !job.phase.publish() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let mut first_name = None;
    for made in &mut copies.made {
        let name = publish(made, groups.folder(), &job.hostname, disk)?;
        first_name.get_or_insert(name);
    }
    let first_name = first_name.ok_or_else(|| io::Error::other("a message without recipients"))?;
    Ok((entry, first_name))
}

/// The directories `tmp`, `new` and `cur` of a Maildir and those above them, made and made durable where they are not there yet.
pub(crate) fn make_directories(dir: &Path, disk: &Disk) -> io::Result<()> {
    let above = |path: &Path| path.parent().map(Path::to_owned);
    let mut missing: Vec<PathBuf> = std::iter::successors(Some(dir.to_owned()), |path| above(path))
        .take_while(|path| !here(path).exists())
        .collect();
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    for name in ["tmp", "new", "cur"] {
        builder.create(dir.join(name))?;
    }
    // A directory lasts when the one that holds its name was synced.
    missing.extend(missing.last().map_or(Some(dir.to_owned()), |path| above(path)));
    missing.iter().try_for_each(|path| (disk.sync)(&File::open(here(path))?))
}

/// The empty path is where we are.
fn here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

/// Files to remove should the delivery fail.
#[derive(Debug)]
struct Copies {
    made: Vec<Made>,
}

/// One copy, by the names that it has.
#[derive(Debug)]
struct Made {
    /// In `tmp/`, up to the rename.
    hidden: PathBuf,
    /// In `new/`, from the rename on.
    visible: Option<PathBuf>,
}

impl Copies {
    /// Removes them after `error`.
    fn withdraw(&mut self, error: io::Error) -> Failure {
        if self.remove() { Failure::Refused(error) } else { Failure::Unknown(error) }
    }

    /// False when one that was visible may be seen still, or was.
    fn remove(&mut self) -> bool {
        let mut are_gone = true;
        for Made { hidden, visible } in self.made.drain(..) {
            // Nobody sees what is left there, and after a rename it is not there.
            let _ = fs::remove_file(hidden);
            // One that is not found is no better than one that cannot be removed: a reader has moved it.
            are_gone &= visible.is_none_or(|path| fs::remove_file(path).is_ok());
        }
        are_gone
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        // What is left now is so by a panic, which breaks the answer too: the outcome is unknown whatever comes of it.
        let _ = self.remove();
    }
}

fn create(dir: &Path, hostname: &str, disk: &Disk) -> io::Result<(PathBuf, File)> {
    let tmp = dir.join("tmp");
    let mut made_directories = false;
    disk_step(DiskStep::Create)?;
    for _ in 0..NAMES_TRIED_MAX {
        let path = tmp.join(unique_name(hostname));
        match File::options().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !made_directories => {
                make_directories(dir, disk)?;
                made_directories = true;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn write(file: &File, job: &Job, recipient: &str) -> io::Result<()> {
    disk_step(DiskStep::Write)?;
    let mut out = BufWriter::with_capacity(BUFFER_OCTETS, file);
    writeln!(out, "Return-Path: <{}>", printable(&job.reverse_path))?;
    writeln!(out, "Delivered-To: {}", printable(recipient))?;
    job.content.write_to(&mut out)?;
    out.flush()
}

/// Renames one copy into `new`; its name there.
fn publish(made: &mut Made, new: &Path, hostname: &str, disk: &Disk) -> io::Result<String> {
    let name_there = made.hidden.file_name().and_then(|name| name.to_str());
    let mut name = name_there.map_or_else(|| unique_name(hostname), str::to_owned);
    for _ in 0..NAMES_TRIED_MAX {
        let visible = new.join(&name);
        match (disk.rename)(&made.hidden, &visible) {
            Ok(moved) => {
                made.visible = Some(visible);
                if moved == Moved::Linked {
                    fs::remove_file(&made.hidden)?;
                }
                return Ok(name);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => name = unique_name(hostname),
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn sync(file: &File) -> io::Result<()> {
    disk_step(DiskStep::Sync)?;
    file.sync_all()
}

/// renameat2 with RENAME_NOREPLACE; where the file system has no such thing, a link.
fn rename_to_nothing(from: &Path, to: &Path) -> io::Result<Moved> {
    disk_step(DiskStep::Rename)?;
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => link(from, to),
        result => Ok(result.map(|()| Moved::Renamed)?),
    }
}

fn link(from: &Path, to: &Path) -> io::Result<Moved> {
    fs::hard_link(from, to)?;
    Ok(Moved::Linked)
}

/// `seconds.MmicrosPpidQcountRrandom.hostname`: unique over threads by the count, over processes and machines by the rest. Each part has its
/// width, so that replies which quote a name are of one length and names sort as they were given out.
fn unique_name(hostname: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    static RANDOM: OnceLock<u64> = OnceLock::new();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // Two containers may share a Maildir, a host name and a process id.
    let random = *RANDOM.get_or_init(|| RandomState::new().build_hasher().finish()) >> 32;
    let hostname = hostname.replace('/', "\\057").replace(':', "\\072");
    let (s, us, pid) = (now.as_secs(), now.subsec_micros(), std::process::id());
    format!("{s}.M{us:06}P{pid:07}Q{count:010}R{random:08x}.{hostname}")
}

/// A path as it may stand in a field: whatever could end the line is `?`.
fn printable(path: &str) -> String {
    path.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

const NAMES_TRIED_MAX: u32 = 10;
const BUFFER_OCTETS: usize = 64 << 10;

#[cfg(test)]
mod tests;
