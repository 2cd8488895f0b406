//! Lines of a file that grows, through rotation: when another file stands under the path (rename) it is opened after the old one is read to its
//! end, when the file got shorter (copytruncate) it is read from its start.

use std::fs::{File, Metadata};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Octets of the longest line; nothing that a gate writes is so long.
const LINE_OCTETS_MAX: u64 = 1024 * 1024;

/// A file that is followed.
pub struct Follow {
    path: PathBuf,
    file: BufReader<File>,
    /// Octets read so far: a file that is shorter was truncated.
    offset: u64,
    /// The beginning of a line whose end is not written yet.
    partial: Vec<u8>,
}

impl Follow {
    /// Opens a file at its start.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path) -> io::Result<Follow> {
        let file = BufReader::new(File::open(path)?);
        Ok(Follow { path: path.to_owned(), file, offset: 0, partial: Vec::new() })
    }

    /// The next whole line without its end; none while there is no more. A line longer than 1 MiB comes in pieces.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let room = LINE_OCTETS_MAX.saturating_sub(self.partial.len() as u64);
            let read = (&mut self.file).take(room).read_until(b'\n', &mut self.partial)? as u64;
            self.offset += read;
            if self.partial.ends_with(b"\n") || read == room {
                let mut line = std::mem::take(&mut self.partial);
                line.pop_if(|last| *last == b'\n');
                return Ok(Some(line));
            }
            if read == 0 && !self.rotate()? {
                return Ok(None);
            }
        }
    }

    /// What stands behind the last line end: a line whose end is not written yet, or never will be. It is not returned again.
    #[must_use]
    pub fn rest(&mut self) -> Option<Vec<u8>> {
        Some(std::mem::take(&mut self.partial)).filter(|partial| !partial.is_empty())
    }

    /// Whether there is another file to read, or this one from its start. A path under which nothing stands yet is waited for.
    fn rotate(&mut self) -> io::Result<bool> {
        let ours = self.file.get_ref().metadata()?;
        if ours.len() < self.offset {
            self.file.seek(SeekFrom::Start(0))?;
            self.begin();
            return Ok(true);
        }
        // What was written between our last read and the rename is still read from the old file.
        if ours.len() > self.offset {
            return Ok(true);
        }
        let identity = |metadata: &Metadata| (metadata.dev(), metadata.ino());
        let Ok(file) = File::open(&self.path) else { return Ok(false) };
        if identity(&file.metadata()?) == identity(&ours) {
            return Ok(false);
        }
        self.file = BufReader::new(file);
        self.begin();
        Ok(true)
    }

    fn begin(&mut self) {
        self.offset = 0;
        self.partial.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, OpenOptions};
    use std::io::Write as _;

    fn rest(follow: &mut Follow) -> Vec<String> {
        let lines = std::iter::from_fn(|| follow.next_line().unwrap());
        lines.map(|line| String::from_utf8(line).unwrap()).collect()
    }

    #[test]
    fn a_log_is_followed_through_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("log"), folder.path().join("log.1"));
        fs::write(&path, "one\ntw").unwrap();
        let mut follow = Follow::open(&path).unwrap();
        assert_eq!(rest(&mut follow), ["one"]);
        let mut old = OpenOptions::new().append(true).open(&path).unwrap();
        old.write_all(b"o\n").unwrap();
        assert_eq!(rest(&mut follow), ["two"]);
        fs::rename(&path, &moved).unwrap();
        assert_eq!(rest(&mut follow), [""; 0]);
        old.write_all(b"three\n").unwrap();
        fs::write(&path, "four\n").unwrap();
        assert_eq!(rest(&mut follow), ["three", "four"]);
        fs::write(&path, "5\nx").unwrap();
        assert_eq!(rest(&mut follow), ["5"]);
        assert_eq!((follow.rest().as_deref(), follow.rest()), (Some(&b"x"[..]), None));
    }
}
