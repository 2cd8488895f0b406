//! Keeps the lanes of a kernel busy: bodies differ in length, and a lane whose body is done takes the next one that waits.
//!
//! All busy lanes advance together over as many blocks as the shortest of them has left. Given longest first, the long bodies start
//! at once and the short ones fill the gaps. Nothing is allocated.

use std::cmp::Reverse;

use super::{Block, Sha256Job, State};

/// A compression function that advances `N` states at once.
pub(super) trait Lanes<const N: usize>: Copy {
    /// Advances each state over its own blocks. All lanes are given the same number of blocks.
    fn compress(self, states: &mut [State; N], blocks: &[&[Block]; N]);
}

/// Jobs under way and jobs that wait. One kernel after the other may work on it.
pub(super) struct Queue<'a, I> {
    /// The first `busy` are there and have blocks left, the others are empty.
    lanes: [Option<Sha256Job<'a>>; LANES_MAX],
    busy: usize,
    waiting: I,
}

impl<'a, I: Iterator<Item = Sha256Job<'a>>> Queue<'a, I> {
    pub(super) fn new(waiting: I) -> Queue<'a, I> {
        Queue { lanes: [const { None }; LANES_MAX], busy: 0, waiting }
    }

    /// Works with `kernel` as long as at least `busy_min` lanes have something to do. What is left then is for the next kernel.
    pub(super) fn run<const N: usize>(&mut self, kernel: impl Lanes<N>, busy_min: usize) {
        const { assert!(N <= LANES_MAX) };
        self.lanes[..self.busy].sort_unstable_by_key(|lane| Reverse(lane.as_ref().map(|job| job.blocks.len())));
        while self.fill(N) >= busy_min.max(1) {
            self.step(kernel);
        }
    }

    /// Gives waiting jobs to idle lanes; how many are busy then.
    fn fill(&mut self, lanes: usize) -> usize {
        while self.busy < lanes {
            let Some(job) = self.waiting.next() else { break };
            if !job.blocks.is_empty() {
                self.lanes[self.busy] = Some(job);
                self.busy += 1;
            }
        }
        self.busy
    }

    /// Advances the first `N` busy lanes until the shortest of them is done.
    fn step<const N: usize>(&mut self, kernel: impl Lanes<N>) {
        let lengths = self.lanes.iter().flatten().take(N).map(|job| job.blocks.len());
        let turn = lengths.min().unwrap_or_default();
        let mut states = [State::default(); N];
        let mut blocks: [&[Block]; N] = [&[]; N];
        for (lane, job) in self.lanes.iter_mut().flatten().take(N).enumerate() {
            states[lane] = *job.state;
            (blocks[lane], job.blocks) = job.blocks.split_at(turn);
        }
        // A lane without a job repeats the first, and nobody looks at what comes out.
        let first = blocks[0];
        blocks[self.busy.min(N)..].fill(first);
        kernel.compress(&mut states, &blocks);
        for (job, state) in self.lanes.iter_mut().flatten().zip(states) {
            *job.state = state;
        }
        self.release();
    }

    /// Takes out the jobs that are done; the others close up in their order.
    fn release(&mut self) {
        let mut kept = 0;
        for at in 0..self.busy {
            if self.lanes[at].as_ref().is_some_and(|job| job.blocks.is_empty()) {
                self.lanes[at] = None;
            } else {
                self.lanes.swap(kept, at);
                kept += 1;
            }
        }
        self.busy = kept;
    }
}

/// Lanes of the widest kernel.
const LANES_MAX: usize = 16;
