//! A Maildir on the real disk, whose folder for new messages may vanish for a while, and the steps of the disk that fail.

use std::path::PathBuf;
use std::time::Duration;

use mx6_runtime::DiskStep;
use mx6_runtime::simulation::{break_disk, draw};

use super::Taken;

/// Any step now and then, or one kind of step always; whether a message can be stored at all.
pub(super) fn break_disk_sometimes() -> bool {
    let kind = [DiskStep::Create, DiskStep::Write, DiskStep::Sync, DiskStep::Rename][draw(4) as usize];
    let (kind, in_a_thousand) = [(None, 0), (None, 0), (None, 30), (None, 200), (Some(kind), 1_000)][draw(5) as usize];
    break_disk(kind, in_a_thousand);
    in_a_thousand < 1_000
}

pub(super) struct Folder {
    pub(super) path: PathBuf,
    _directory: tempfile::TempDir,
}

impl Folder {
    pub(super) fn new() -> Folder {
        let directory = tempfile::tempdir().unwrap();
        Folder { path: directory.path().join("mail"), _directory: directory }
    }

    /// What would be written meanwhile cannot be.
    pub(super) async fn vanish_sometimes(&self) {
        if draw(2) == 0 {
            return;
        }
        mx6_runtime::sleep(Duration::from_millis(draw(2_000))).await;
        let folder = self.path.join(["new", "tmp"][draw(2) as usize]);
        let aside = self.path.join("aside");
        std::fs::rename(&folder, &aside).unwrap();
        mx6_runtime::sleep(Duration::from_millis(draw(20_000))).await;
        std::fs::rename(&aside, &folder).unwrap();
    }

    /// The messages there; the copies of one for its recipients are one. Nothing is half-written.
    pub(super) fn messages(&self) -> Vec<Taken> {
        assert_eq!(std::fs::read_dir(self.path.join("tmp")).unwrap().count(), 0, "something was left in tmp/");
        let mut taken: Vec<Taken> = Vec::new();
        let mut paths: Vec<PathBuf> =
            std::fs::read_dir(self.path.join("new")).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for octets in paths.into_iter().map(|path| std::fs::read(path).unwrap()) {
            let text = String::from_utf8_lossy(&octets);
            let recipient = text.lines().find_map(|line| line.strip_prefix("Delivered-To: ")).unwrap().trim();
            let recipient = recipient.trim_matches(['<', '>']).to_owned();
            let token = text.lines().find(|line| line.starts_with("X-Token:")).unwrap().trim().to_owned();
            let line_ends = text.contains("\r\n");
            let octets = if line_ends { octets.clone() } else { text.replace('\n', "\r\n").into_bytes() };
            let same = taken.iter_mut().find(|taken| String::from_utf8_lossy(&taken.octets).contains(&token));
            match same {
                Some(same) => same.recipients.push(recipient),
                None => taken.push(Taken { recipients: vec![recipient], octets, told: true }),
            }
        }
        taken
    }
}
