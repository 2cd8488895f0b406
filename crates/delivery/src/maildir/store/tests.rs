use super::*;
use crate::{Body, Message};
use futures_util::FutureExt;
use mx6_runtime::{Answered, answer};
use std::collections::HashSet;
use std::os::fd::AsRawFd;

type Told = Result<String, Failure>;

/// The error of a message that is certainly not there.
fn refused(told: Told) -> io::Error {
    match told {
        Err(Failure::Refused(error)) => error,
        other => panic!("not refused: {other:?}"),
    }
}

/// The error of a message that may be there.
fn unknown(told: Told) -> io::Error {
    match told {
        Err(Failure::Unknown(error)) => error,
        other => panic!("not unknown: {other:?}"),
    }
}

#[allow(clippy::single_range_in_vec_init, reason = "one range is meant")]
fn job(dir: &Path, recipients: &[&str]) -> Job {
    let mut body = Body::new(Path::new("/nowhere"));
    body.append(b"Hello\r\n.\r\nlast");
    let header = b"Subject: x\r\nX-Gone: y\r\n\r\n".to_vec();
    let message = Message { added: b"Received: z\r\n".to_vec(), header, leave_out: vec![12..23], body };
    Job {
        dir: dir.into(),
        hostname: "mx.example".into(),
        reverse_path: "from@there.example".into(),
        recipients: recipients.iter().map(|recipient| (*recipient).to_owned()).collect(),
        content: Content::of(&message).unwrap(),
        phase: Arc::new(Phase::default()),
    }
}

/// Begins to deliver on this thread; the answer is there when no other thread is syncing.
fn begin(job: Job, groups: &Arc<Groups>) -> Answered<Told> {
    let (answer, answered) = answer();
    deliver(job, groups, answer);
    answered
}

/// Delivers a lone message.
fn delivered(job: Job, disk: Disk) -> Told {
    let groups = Groups::new(&job.dir, disk);
    let answered = begin(job, &groups);
    assert!(groups.is_closed());
    told(answered).unwrap()
}

/// What was answered; none when the answer was broken.
fn told(answered: Answered<Told>) -> Option<Told> {
    answered.now_or_never().expect("no answer yet")
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn one_copy_for_each_recipient() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("deep/mail");
    let name = delivered(job(&dir, &["a@here.example", "b@here.example"]), Disk::REAL).unwrap();
    assert!(name.ends_with(".mx.example"));
    assert!(files(&dir.join("tmp")).is_empty() && files(&dir.join("cur")).is_empty());
    let mut contents: Vec<String> =
        files(&dir.join("new")).iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    contents.sort();
    let expected = ["a", "b"].map(|user| {
        format!(
            "Return-Path: <from@there.example>\nDelivered-To: {user}@here.example\nReceived: z\nSubject: x\n\nHello\n.\nlast\n"
        )
    });
    assert_eq!(contents, expected);
    assert!(fs::read_to_string(dir.join("new").join(name)).unwrap().contains("a@here.example"));
}

#[test]
fn a_fault_leaves_nothing_visible() {
    fn broken_sync(_: &File) -> io::Result<()> {
        Err(Errno::IO.into())
    }
    fn second_rename_fails(from: &Path, to: &Path) -> io::Result<Moved> {
        let renamed = fs::read_dir(to.parent().unwrap())?.count();
        if renamed == 1 { Err(Errno::NOSPC.into()) } else { rename_to_nothing(from, to) }
    }
    let cases = [
        ("fsync of a copy", Disk { sync: broken_sync, rename: rename_to_nothing }, 452),
        ("fsync of new/", Disk { sync: broken_directory_sync, rename: rename_to_nothing }, 452),
        ("the second rename", Disk { sync: File::sync_all, rename: second_rename_fails }, 452),
    ];
    for (what, disk, code) in cases {
        let root = tempfile::tempdir().unwrap();
        make_directories(root.path(), &Disk::REAL).unwrap();
        let error = refused(delivered(job(root.path(), &["a@b", "c@d", "e@f"]), disk));
        assert_eq!(crate::storage_reply(&error).code, code, "{what}");
        for place in ["tmp", "new", "cur"] {
            assert!(files(&root.path().join(place)).is_empty(), "{what} left a file in {place}/");
        }
    }
}

#[test]
fn after_the_deadline_nothing_becomes_visible() {
    let root = tempfile::tempdir().unwrap();
    let job = job(root.path(), &["a@b"]);
    assert!(job.phase.give_up());
    assert_eq!(refused(delivered(job, Disk::REAL)).kind(), io::ErrorKind::TimedOut);
    assert!(files(&root.path().join("new")).is_empty() && files(&root.path().join("tmp")).is_empty());
    let phase = Phase::default();
    assert!(phase.publish() && !phase.give_up());
}

#[test]
fn a_rename_replaces_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    fs::write(&from, "from").unwrap();
    fs::write(&to, "to").unwrap();
    assert_eq!(rename_to_nothing(&from, &to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read_to_string(&to).unwrap(), "to");
    fs::remove_file(&to).unwrap();
    assert_eq!(rename_to_nothing(&from, &to).unwrap(), Moved::Renamed);
    assert_eq!(fs::read_to_string(&to).unwrap(), "from");
    assert!(!from.exists());
}

#[test]
fn a_link_stands_for_a_rename_where_the_file_system_has_none_such() {
    let root = tempfile::tempdir().unwrap();
    let disk = Disk { sync: File::sync_all, rename: link };
    let name = delivered(job(root.path(), &["a@x", "b@x"]), disk).unwrap();
    assert_eq!(left(root.path()), (0, 2));
    let copy = root.path().join("new").join(name);
    let before = fs::read_to_string(&copy).unwrap();
    let other = root.path().join("tmp/other");
    fs::write(&other, "other").unwrap();
    assert_eq!(link(&other, &copy).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read_to_string(&copy).unwrap(), before);
}

fn broken_directory_sync(file: &File) -> io::Result<()> {
    if file.metadata()?.is_dir() { Err(Errno::IO.into()) } else { file.sync_all() }
}

/// A reader, who has `cur/` beside `new/`.
fn take_copies(new: &Path) -> io::Result<()> {
    for entry in fs::read_dir(new)? {
        let entry = entry?;
        fs::rename(entry.path(), new.with_file_name("cur").join(entry.file_name()))?;
    }
    Ok(())
}

/// Where an open folder is.
fn path_of(folder: &File) -> PathBuf {
    fs::read_link(format!("/proc/self/fd/{}", folder.as_raw_fd())).unwrap()
}

#[test]
fn a_copy_that_cannot_be_taken_back_may_be_there() {
    fn sync_fails_after_a_reader(file: &File) -> io::Result<()> {
        if file.metadata()?.is_dir() {
            take_copies(&path_of(file))?;
        }
        broken_directory_sync(file)
    }
    /// In place of files that cannot be removed, for which it takes a file system of their own: a folder is not removed
    /// as a file.
    fn sync_fails_and_copies_stay(file: &File) -> io::Result<()> {
        if file.metadata()?.is_dir() {
            for copy in files(&path_of(file)) {
                fs::remove_file(&copy)?;
                fs::create_dir(&copy)?;
            }
        }
        broken_directory_sync(file)
    }
    fn second_rename_fails_after_a_reader(from: &Path, to: &Path) -> io::Result<Moved> {
        let new = to.parent().unwrap();
        if fs::read_dir(new)?.count() == 0 {
            return rename_to_nothing(from, to);
        }
        take_copies(new)?;
        Err(Errno::NOSPC.into())
    }
    fn link_whose_old_name_is_gone_before_a_reader(from: &Path, to: &Path) -> io::Result<Moved> {
        let moved = link_whose_old_name_is_gone(from, to)?;
        take_copies(to.parent().unwrap())?;
        Ok(moved)
    }
    let real = Disk { sync: File::sync_all, rename: rename_to_nothing };
    // What happens, the reply, and how many copies there are in new/ and cur/.
    let cases = [
        ("a reader, a failed sync", Disk { sync: sync_fails_after_a_reader, ..real }, 452, (0, 2)),
        ("a failed sync, copies that stay", Disk { sync: sync_fails_and_copies_stay, ..real }, 452, (2, 0)),
        ("a reader, a failed rename", Disk { rename: second_rename_fails_after_a_reader, ..real }, 452, (0, 1)),
        ("a reader, a link", Disk { rename: link_whose_old_name_is_gone_before_a_reader, ..real }, 451, (0, 1)),
    ];
    for (what, disk, code, there) in cases {
        let root = tempfile::tempdir().unwrap();
        make_directories(root.path(), &Disk::REAL).unwrap();
        let error = unknown(delivered(job(root.path(), &["a@x", "b@x"]), disk));
        assert_eq!(crate::storage_reply(&error).code, code, "{what}");
        let count = |place: &str| files(&root.path().join(place)).len();
        assert_eq!((count("tmp"), (count("new"), count("cur"))), (0, there), "{what}");
    }
}

/// A link, and then a file that cannot be removed: it is not there.
fn link_whose_old_name_is_gone(from: &Path, to: &Path) -> io::Result<Moved> {
    let moved = link(from, to)?;
    fs::remove_file(from)?;
    Ok(moved)
}

#[test]
fn a_link_whose_old_name_cannot_be_removed_is_taken_back() {
    let root = tempfile::tempdir().unwrap();
    make_directories(root.path(), &Disk::REAL).unwrap();
    let disk = Disk { sync: File::sync_all, rename: link_whose_old_name_is_gone };
    assert_eq!(refused(delivered(job(root.path(), &["a@x"]), disk)).kind(), io::ErrorKind::NotFound);
    assert_eq!(left(root.path()), (0, 0));
}

#[test]
fn names_are_unique_over_threads_and_are_names() {
    let threads: Vec<_> =
        (0..4).map(|_| std::thread::spawn(|| (0..1000).map(|_| unique_name("a/b:c")).collect::<Vec<_>>())).collect();
    let names: Vec<String> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
    assert!(names.iter().all(|name| name.ends_with(".a\\057b\\072c") && !name.contains(['/', ':'])));
    assert!(names.iter().all(|name| name.len() == names[0].len()));
}

#[test]
fn a_path_cannot_break_out_of_its_field() {
    assert_eq!(printable("a\r\nBcc: x@y"), "a??Bcc: x@y");
}

#[test]
fn a_full_disk_is_452() {
    // A file system of 64 KiB; mounting needs rights that not every machine gives.
    let root = tempfile::tempdir().unwrap();
    let mount = |arguments: &[&str]| {
        let status = std::process::Command::new(arguments[0]).args(&arguments[1..]).arg(root.path()).output();
        status.is_ok_and(|output| output.status.success())
    };
    if !mount(&["mount", "-t", "tmpfs", "-o", "size=64k", "mx6-test"]) {
        println!("SKIPPED: no right to mount a small tmpfs");
        return;
    }
    let mut body = Body::new(Path::new("/nowhere"));
    body.append(&b"line\r\n".repeat(15_000));
    let message = Message { added: Vec::new(), header: b"\r\n".to_vec(), leave_out: Vec::new(), body };
    let job = Job { content: Content::of(&message).unwrap(), ..job(root.path(), &["a@b", "c@d"]) };
    let result = delivered(job, Disk::REAL);
    let left: usize = ["tmp", "new"].iter().map(|place| files(&root.path().join(place)).len()).sum();
    assert!(mount(&["umount"]));
    assert_eq!(crate::storage_reply(&refused(result)).code, 452);
    assert_eq!(left, 0);
}

/// A disk that is told what to do by files beside `new/`: `hold` keeps a sync of the folder waiting, `fail` and `panic` say once how it ends.
/// A copy for `bad@` finds no room.
const STAGED: Disk = Disk { sync: staged_sync, rename: staged_rename };

fn staged_sync(file: &File) -> io::Result<()> {
    if !file.metadata()?.is_dir() {
        return file.sync_all();
    }
    let dir = path_of(file).parent().unwrap().to_owned();
    while dir.join("hold").exists() {
        std::thread::yield_now();
    }
    if fs::remove_file(dir.join("fail")).is_ok() {
        return Err(Errno::IO.into());
    }
    assert!(fs::remove_file(dir.join("panic")).is_err(), "the disk panics");
    file.sync_all()
}

fn staged_rename(from: &Path, to: &Path) -> io::Result<Moved> {
    if fs::read_to_string(from)?.contains("Delivered-To: bad@") {
        Err(Errno::NOSPC.into())
    } else {
        rename_to_nothing(from, to)
    }
}

/// A Maildir in whose `new/` a first message is being synced, and is kept waiting.
struct Stage {
    root: tempfile::TempDir,
    groups: Arc<Groups>,
    first: std::thread::JoinHandle<Option<Told>>,
}

impl Stage {
    fn new() -> Stage {
        let root = tempfile::tempdir().unwrap();
        make_directories(root.path(), &Disk::REAL).unwrap();
        fs::write(root.path().join("hold"), "").unwrap();
        let groups = Groups::new(root.path(), STAGED);
        let (job, theirs) = (job(root.path(), &["first@x"]), groups.clone());
        let first = std::thread::spawn(move || told(begin(job, &theirs)));
        while groups.counted() != (1, 1) {
            std::thread::yield_now();
        }
        Stage { root, groups, first }
    }

    fn say(&self, word: &str) {
        fs::write(self.root.path().join(word), "").unwrap();
    }

    fn begin(&self, recipients: &[&str]) -> Answered<Told> {
        begin(job(self.root.path(), recipients), &self.groups)
    }

    /// Lets the syncs go on; what the first message was told.
    fn release(self) -> (tempfile::TempDir, Arc<Groups>, Option<Told>) {
        fs::remove_file(self.root.path().join("hold")).unwrap();
        (self.root, self.groups, self.first.join().unwrap())
    }
}

fn left(root: &Path) -> (usize, usize) {
    (files(&root.join("tmp")).len(), files(&root.join("new")).len())
}

#[test]
fn who_arrives_during_a_sync_shares_the_next() {
    let stage = Stage::new();
    let mut waiting: Vec<_> = (0..3).map(|_| stage.begin(&["a@x", "b@x"])).collect();
    let bad = refused(told(stage.begin(&["c@x", "bad@x"])).unwrap());
    assert_eq!(crate::storage_reply(&bad).code, 452, "a fault of one message is answered at once and to it alone");
    waiting.push(stage.begin(&["d@x"]));
    assert_eq!((stage.groups.waiting(), left(stage.root.path())), (4, (0, 8)));
    let (root, groups, first) = stage.release();
    first.unwrap().unwrap();
    for answered in waiting {
        let name = told(answered).unwrap().unwrap();
        assert!(root.path().join("new").join(name).is_file());
    }
    assert_eq!((groups.counted(), left(root.path())), ((2, 5), (0, 8)));
    assert!(groups.is_closed());
}

#[test]
fn a_failed_sync_fails_all_whose_renames_it_may_have_lost() {
    let stage = Stage::new();
    let waiting: Vec<_> = (0..3).map(|_| stage.begin(&["a@x", "b@x"])).collect();
    // Has renamed, and has not joined yet.
    let renamed = store(&job(stage.root.path(), &["late@x"]), &stage.groups).unwrap();
    stage.say("fail");
    let (root, groups, first) = stage.release();
    assert_eq!(crate::storage_reply(&refused(first.unwrap())).code, 452);
    for answered in waiting {
        assert_eq!(crate::storage_reply(&refused(told(answered).unwrap())).code, 452);
    }
    let (answer, answered) = answer();
    groups.join(renamed, answer);
    assert_eq!(crate::storage_reply(&refused(told(answered).unwrap())).code, 452);
    assert_eq!((groups.counted(), left(root.path())), ((1, 1), (0, 0)));
    assert!(groups.is_closed());
    told(begin(job(root.path(), &["next@x"]), &groups)).unwrap().unwrap();
    assert_eq!((groups.counted(), left(root.path())), ((2, 2), (0, 1)));
}

#[test]
fn a_maildir_that_was_moved_away_takes_no_answer_with_it() {
    let stage = Stage::new();
    let waiting = stage.begin(&["a@x"]);
    let new = stage.root.path().join("new");
    fs::rename(&new, stage.root.path().join("old")).unwrap();
    fs::create_dir(&new).unwrap();
    let (root, groups, first) = stage.release();
    assert!(first.unwrap().is_err() && told(waiting).unwrap().is_err());
    told(begin(job(root.path(), &["next@x"]), &groups)).unwrap().unwrap();
    assert_eq!(left(root.path()), (0, 1));
}

#[test]
fn a_panic_ends_one_group_and_no_other() {
    let stage = Stage::new();
    let waiting = stage.begin(&["a@x"]);
    stage.say("panic");
    let (root, groups, first) = stage.release();
    assert!(first.is_none(), "the answer is broken");
    assert!(told(waiting).unwrap().is_err());
    assert_eq!(left(root.path()), (0, 0));
    assert!(groups.is_closed());
    told(begin(job(root.path(), &["next@x"]), &groups)).unwrap().unwrap();
}
