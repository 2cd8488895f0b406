use super::*;
use crate::{Body, Message};
use std::collections::HashSet;

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

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn one_copy_for_each_recipient() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("deep/mail");
    let name = store(&job(&dir, &["a@here.example", "b@here.example"]), &Disk::REAL).unwrap();
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
    fn broken_directory_sync(file: &File) -> io::Result<()> {
        if file.metadata()?.is_dir() { Err(Errno::IO.into()) } else { file.sync_all() }
    }
    fn second_rename_fails(from: &Path, to: &Path) -> io::Result<()> {
        let renamed = fs::read_dir(to.parent().unwrap())?.count();
        if renamed == 1 { Err(Errno::NOSPC.into()) } else { rename_to_nothing(from, to) }
    }
    let cases = [
        ("fsync of a copy", Disk { sync: broken_sync, rename: rename_to_nothing }, 451),
        ("fsync of new/", Disk { sync: broken_directory_sync, rename: rename_to_nothing }, 451),
        ("the second rename", Disk { sync: File::sync_all, rename: second_rename_fails }, 452),
    ];
    for (what, disk, code) in cases {
        let root = tempfile::tempdir().unwrap();
        make_directories(root.path(), &Disk::REAL).unwrap();
        let error = store(&job(root.path(), &["a@b", "c@d", "e@f"]), &disk).unwrap_err();
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
    assert_eq!(store(&job, &Disk::REAL).unwrap_err().kind(), io::ErrorKind::TimedOut);
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
    rename_to_nothing(&from, &to).unwrap();
    assert_eq!(fs::read_to_string(&to).unwrap(), "from");
    assert!(!from.exists());
}

#[test]
fn names_are_unique_over_threads_and_are_names() {
    let threads: Vec<_> =
        (0..4).map(|_| std::thread::spawn(|| (0..1000).map(|_| unique_name("a/b:c")).collect::<Vec<_>>())).collect();
    let names: Vec<String> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
    assert!(names.iter().all(|name| name.ends_with(".a\\057b\\072c") && !name.contains(['/', ':'])));
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
    let result = store(&job, &Disk::REAL);
    let left: usize = ["tmp", "new"].iter().map(|place| files(&root.path().join(place)).len()).sum();
    assert!(mount(&["umount"]));
    assert_eq!(crate::storage_reply(&result.unwrap_err()).code, 452);
    assert_eq!(left, 0);
}
