//! The only room that knows glommio: one pinned executor a core, and everything a task may wait for.
//!
//! What it is: placement and start ([`Cores`], [`preflight`], [`run_shards`], [`run_local`]), tasks ([`spawn`],
//! [`end_of_turn`], [`blocking`]), time ([`sleep`], [`timeout`], [`Deadline`], [`now_ms`]), sockets ([`Listener`], [`Stream`]),
//! sockets that others opened ([`activated`], [`MessageSocket`]), what other threads tell ([`StopFlag`], [`Latest`]) and hickory's runtime
//! ([`GlommioProvider`]).
//!
//! What it trusts: the kernel. What it promises to those above:
//! - Every future here may be dropped at any await point without losing octets or descriptors, with one exception that is
//!   written on it: [`Listener::accept`].
//! - Race plain futures inside one task ([`timeout`], [`deadline`], or any combinator). There is no join handle to drop:
//!   [`spawn`] returns nothing, because glommio leaks a task whose pending handle is dropped.
//! - A panic in a spawned task ends that task alone and is counted ([`panics`]).
//! - A future that is ready again and again gives way after some turns, so one fast peer cannot hold the shard.
//! - Nothing here knows of mail.
//!
//! `unsafe` is used for three things only: handing a descriptor that we own to glommio, taking over those that a service manager left
//! open for us, and the raw `io_uring_setup`, as a probe and in place of liburing's.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod blocking;
mod cores;
mod descriptors;
mod hickory;
mod latest;
mod listener;
mod preflight;
mod ring_setup;
mod shards;
mod share;
#[cfg(feature = "simulation")]
pub mod simulation;
mod spare_descriptor;
mod stop;
mod stream;
mod task;
mod time;

pub use blocking::{
    Answer, Answered, BLOCKING_THREADS_MAX, DiskStep, answer, begin_blocking, blocking, blocking_queued, disk_step,
};
pub use cores::{Cores, CoresError};
pub use descriptors::{
    Activated, MESSAGE_DESCRIPTORS_MAX, MessageListener, MessageSocket, activated, activation_is_offered,
};
pub use hickory::{GlommioHandle, GlommioProvider, GlommioTime, TcpConnection, UdpConnection};
pub use latest::{Follower, Latest};
pub use listener::{Listener, ListenerHandle, accept_is_fatal, accept_is_starved};
pub use preflight::{IoUringRefusal, Needs, Preflight, preflight, probe_io_uring};
pub use shards::{ShardError, ShardId, run_local, run_shards};
pub use share::{Held, Share, WeakShare};
pub use spare_descriptor::{SpareDescriptor, descriptors_permille};
pub use stop::{StopFlag, Stopped, WaitList};
pub use stream::Stream;
pub use task::{end_of_turn, panics, spawn};
pub use time::{Deadline, deadline, now_ms, now_us, sleep, timeout};
