//! The body of a message while it waits for its verdict: in memory while it is small, in an unlinked file when it is not.
//!
//! Octets are copied once, into chunks. Above [`SPILL_ABOVE_OCTETS`] the chunks go to a file without a name, written and read off the
//! shard's thread: a crash leaves nothing behind, and the memory of a large message is bounded by two blocks.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mx6_runtime::{DiskStep, blocking, disk_step};
use rustix::fs::{CWD, Mode, OFlags};

/// What follows the blank line of a message: CRLF line ends, not dot-stuffed.
#[derive(Debug)]
pub struct Body {
    spill_dir: Arc<Path>,
    spill: Spill,
    /// What is not in the file; follows what is.
    chunks: Vec<Chunk>,
    /// Octets in `chunks`, and those reserved for them.
    held_octets: usize,
    reserved_octets: usize,
    expected_octets: u64,
}

/// A piece of a body. Shared, never copied, with the thread that writes it to a disk.
pub(crate) type Chunk = Arc<Vec<u8>>;

#[derive(Debug)]
enum Spill {
    None,
    /// The first `octets` of the body are in the file.
    File {
        file: Arc<File>,
        octets: u64,
    },
    /// A write failed or was given up: the body is not whole any more.
    Lost,
}

impl Body {
    /// An empty body, which spills to a file in `spill_dir`. Cheap when `spill_dir` is an `Arc<Path>`.
    #[must_use]
    pub fn new(spill_dir: impl Into<Arc<Path>>) -> Body {
        Body {
            spill_dir: spill_dir.into(),
            spill: Spill::None,
            chunks: Vec::new(),
            held_octets: 0,
            reserved_octets: 0,
            expected_octets: 0,
        }
    }

    /// Says how large the body will probably be (from `SIZE=`), so that a small one fits its first chunk. Promises nothing.
    pub fn expect(&mut self, octets: u64) {
        self.expected_octets = octets;
    }

    /// Adds octets. Cheap; call [`Body::settle`] before reading more from the client.
    pub fn append(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            let Some(last) = self.chunks.last_mut().and_then(Arc::get_mut).filter(|last| last.len() < last.capacity())
            else {
                self.add_chunk(octets.len());
                continue;
            };
            let (now, later) = octets.split_at(octets.len().min(last.capacity() - last.len()));
            last.extend_from_slice(now);
            self.held_octets += now.len();
            octets = later;
        }
    }

    /// Moves what is over the limit to the file, off the shard's thread; does nothing and does not wait while there is no need.
    ///
    /// # Errors
    /// The disk's: the body is lost, and so says every later call. [`crate::storage_reply`] has the reply. Dropped before it ends, it
    /// loses the body too.
    pub async fn settle(&mut self) -> io::Result<()> {
        let limit = match self.spill {
            Spill::None => SPILL_ABOVE_OCTETS,
            Spill::File { .. } => SPILL_BLOCK_OCTETS,
            Spill::Lost => return Err(lost()),
        };
        if self.held_octets <= limit {
            return Ok(());
        }
        let (file, octets) = match std::mem::replace(&mut self.spill, Spill::Lost) {
            Spill::File { file, octets } => (Some(file), octets),
            Spill::None | Spill::Lost => (None, 0),
        };
        let chunks = std::mem::take(&mut self.chunks);
        let held_octets = std::mem::take(&mut self.held_octets) as u64;
        let dir = self.spill_dir.clone();
        let file = blocking(move || spill(&dir, file, octets, &chunks)).await;
        self.reserved_octets = 0;
        let file = file?;
        self.spill = Spill::File { file, octets: octets + held_octets };
        Ok(())
    }

    /// Octets of the body.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.spilled_octets() + self.held_octets as u64
    }

    /// Whether nothing was appended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Octets of memory that are reserved for the body now: what a shard's budget counts.
    #[must_use]
    pub fn memory_octets(&self) -> usize {
        self.reserved_octets
    }

    /// Octets that are in the file.
    #[must_use]
    pub fn spilled_octets(&self) -> u64 {
        match self.spill {
            Spill::File { octets, .. } => octets,
            Spill::None | Spill::Lost => 0,
        }
    }

    /// The body from its beginning.
    #[must_use]
    pub fn blocks(&self) -> Blocks<'_> {
        Blocks { body: self, position: 0, is_done: false }
    }

    /// What a thread needs to read the body.
    ///
    /// # Errors
    /// The body was lost.
    pub(crate) fn share(&self) -> io::Result<SharedBody> {
        let file = match &self.spill {
            Spill::None => None,
            Spill::File { file, octets } => Some((file.clone(), *octets)),
            Spill::Lost => return Err(lost()),
        };
        Ok(SharedBody { file, chunks: self.chunks.clone() })
    }

    fn add_chunk(&mut self, octets: usize) {
        // Each chunk doubles the body, between two limits; the first follows what the client announced.
        let expected = usize::try_from(self.expected_octets).unwrap_or(usize::MAX).saturating_sub(self.held_octets);
        let wanted = self.held_octets.max(octets).max(expected);
        let chunk = Vec::with_capacity(wanted.clamp(CHUNK_OCTETS_MIN, CHUNK_OCTETS_MAX));
        self.reserved_octets += chunk.capacity();
        self.chunks.push(Arc::new(chunk));
    }
}

/// A body as another thread reads it; nothing is copied.
#[derive(Debug)]
pub(crate) struct SharedBody {
    /// The file, and how many of its octets count.
    pub(crate) file: Option<(Arc<File>, u64)>,
    /// What follows.
    pub(crate) chunks: Vec<Chunk>,
}

/// A body above this many octets goes to a file.
pub const SPILL_ABOVE_OCTETS: usize = 256 << 10;

/// The file is written and read in blocks of about this many octets.
pub const SPILL_BLOCK_OCTETS: usize = 128 << 10;

const CHUNK_OCTETS_MIN: usize = 4 << 10;
const CHUNK_OCTETS_MAX: usize = 64 << 10;

/// Reads a body block by block; see [`Body::blocks`].
#[derive(Debug)]
pub struct Blocks<'b> {
    body: &'b Body,
    position: u64,
    is_done: bool,
}

impl<'b> Blocks<'b> {
    /// The next block; the last one holds all that is in memory, and may be empty. None after it.
    ///
    /// # Errors
    /// The disk's, or the body was lost.
    pub async fn next(&mut self) -> io::Result<Option<Block<'b>>> {
        match &self.body.spill {
            Spill::Lost => return Err(lost()),
            Spill::File { file, octets } if self.position < *octets => {
                let block_octets = (*octets - self.position).min(SPILL_BLOCK_OCTETS as u64);
                let (file, from) = (file.clone(), self.position);
                let block = blocking(move || read_block(&file, from, block_octets as usize)).await?;
                self.position += block_octets;
                return Ok(Some(Block { from: From::Disk(block), last: false }));
            }
            Spill::File { .. } | Spill::None => {}
        }
        let was_done = std::mem::replace(&mut self.is_done, true);
        Ok((!was_done).then_some(Block { from: From::Memory(&self.body.chunks), last: true }))
    }
}

/// A part of a body.
#[derive(Debug)]
pub struct Block<'b> {
    from: From<'b>,
    last: bool,
}

#[derive(Debug)]
enum From<'b> {
    Memory(&'b [Chunk]),
    Disk(Vec<u8>),
}

impl Block<'_> {
    /// Its octets, in order.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let (chunks, block): (&[Chunk], &[u8]) = match &self.from {
            From::Memory(chunks) => (chunks, &[]),
            From::Disk(block) => (&[], block),
        };
        [block].into_iter().chain(chunks.iter().map(|chunk| chunk.as_slice())).filter(|slice| !slice.is_empty())
    }

    /// Whether the body ends with it.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.last
    }
}

fn spill(dir: &Path, file: Option<Arc<File>>, at: u64, chunks: &[Chunk]) -> io::Result<Arc<File>> {
    let file = match file {
        Some(file) => file,
        None => Arc::new(nameless_file(dir)?),
    };
    disk_step(DiskStep::Write)?;
    let mut position = at;
    for chunk in chunks {
        file.write_all_at(chunk, position)?;
        position += chunk.len() as u64;
    }
    Ok(file)
}

fn read_block(file: &File, from: u64, octets: usize) -> io::Result<Vec<u8>> {
    disk_step(DiskStep::Read)?;
    let mut block = vec![0; octets];
    file.read_exact_at(&mut block, from)?;
    Ok(block)
}

/// A file without a name: O_TMPFILE where the file system has it, else created and unlinked.
fn nameless_file(dir: &Path) -> io::Result<File> {
    disk_step(DiskStep::Create)?;
    let mode = Mode::RUSR | Mode::WUSR;
    match rustix::fs::openat(CWD, dir, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, mode) {
        Ok(fd) => return Ok(File::from(fd)),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::INVAL) => {}
        Err(error) => return Err(error.into()),
    }
    static SPILLED: AtomicU64 = AtomicU64::new(0);
    let name = format!(".mx6-spill-{}-{}", std::process::id(), SPILLED.fetch_add(1, Ordering::Relaxed));
    let path = dir.join(name);
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(CWD, &path, flags, mode)?);
    std::fs::remove_file(&path)?;
    Ok(file)
}

fn lost() -> io::Error {
    io::Error::other("the body was lost when its spill file could not be written")
}

#[cfg(test)]
mod tests {
    use super::*;
    use mx6_runtime::run_local;

    async fn read(body: &Body) -> io::Result<Vec<u8>> {
        let mut octets = Vec::new();
        let mut blocks = body.blocks();
        let mut last = false;
        while let Some(block) = blocks.next().await? {
            assert!(!last, "a block after the last");
            last = block.is_last();
            for slice in block.slices() {
                assert!(!slice.is_empty() && slice.len() <= SPILL_ABOVE_OCTETS);
                octets.extend_from_slice(slice);
            }
        }
        assert!(last);
        Ok(octets)
    }

    #[test]
    fn what_goes_in_comes_out() {
        // (octets at a time, times, whether it must spill)
        let cases = [
            (0, 0, false),
            (1, 1, false),
            (1, 10_000, false),
            (4_096, 2, false),
            (5_000, 50, false),
            (65_536, 4, false),
            (65_537, 4, true),
            (300_000, 1, true),
            (16_384, 100, true),
            (7_919, 301, true),
        ];
        run_local(async || {
            let dir: Arc<Path> = tempfile::tempdir().unwrap().keep().into();
            for (octets, times, spills) in cases {
                let mut body = Body::new(dir.clone());
                let mut expected = Vec::new();
                for time in 0..times {
                    let piece: Vec<u8> = (0..octets).map(|at| ((at * 31 + time * 7) % 251) as u8).collect();
                    body.append(&piece);
                    body.settle().await.unwrap();
                    expected.extend_from_slice(&piece);
                    assert!(body.memory_octets() <= 2 * SPILL_ABOVE_OCTETS);
                }
                assert_eq!(body.len(), expected.len() as u64);
                assert_eq!(body.spilled_octets() > 0, spills, "{octets} × {times}");
                assert!(read(&body).await.unwrap() == expected, "{octets} × {times}");
            }
            assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0, "a spill file has no name");
            std::fs::remove_dir(&dir).unwrap();
        })
        .unwrap();
    }

    #[test]
    fn memory_follows_what_is_held() {
        let mut body = Body::new(Path::new("/nowhere"));
        assert_eq!(body.memory_octets(), 0);
        body.append(&[b'x'; 100]);
        assert_eq!(body.memory_octets(), CHUNK_OCTETS_MIN);
        let mut announced = Body::new(Path::new("/nowhere"));
        announced.expect(50_000);
        for _ in 0..500 {
            announced.append(&[b'x'; 100]);
        }
        assert_eq!((announced.memory_octets(), announced.chunks.len()), (50_000, 1));
        let mut liar = Body::new(Path::new("/nowhere"));
        liar.expect(u64::MAX);
        liar.append(b"x");
        assert_eq!(liar.memory_octets(), CHUNK_OCTETS_MAX);
    }

    #[test]
    fn a_disk_that_fails_loses_the_body_for_good() {
        run_local(async || {
            let mut body = Body::new(Path::new("/nowhere/at/all"));
            body.append(&vec![b'x'; SPILL_ABOVE_OCTETS + 1]);
            assert_eq!(body.settle().await.unwrap_err().kind(), io::ErrorKind::NotFound);
            body.append(b"more");
            assert!(body.settle().await.is_err());
            assert!(body.blocks().next().await.is_err());
        })
        .unwrap();
    }
}
