//! A warmed session allocates nothing: not for a command, not for a message.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use mx6_smtp::{Question, Session, SessionConfig, Step, Verdict};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // After the thread's locals are gone nobody counts any more.
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const TRANSACTION: &[u8] = b"HELO client.example\r\n\
    EHLO client.example\r\n\
    MAIL FROM:<alice@client.example> SIZE=1000 BODY=8BITMIME\r\n\
    RCPT TO:<bob@mx.example>\r\n\
    RCPT TO:<\"carol b\"@mx.example>\r\n\
    RCPT TO:<postmaster>\r\n\
    NOOP\r\n\
    VRFY bob\r\n\
    HELP\r\n\
    DATA\r\n\
    From: alice@client.example\r\n\
    Subject: numbers\r\n\
    \r\n\
    one\r\n\
    ..two\r\n\
    three\r\n\
    .\r\n\
    MAIL FROM:<>\r\n\
    RCPT TO:<bob@mx.example>\r\n\
    BDAT 8\r\n\
    a: b\r\n\r\n\
    BDAT 3 LAST\r\n\
    one\
    MAIL FROM:<>\r\n\
    RSET\r\n";

/// The questions answered and the octets handed on.
fn transact(session: &mut Session, chunk_octets: usize) -> (u32, usize) {
    let (mut questions, mut octets_handed_on) = (0, 0);
    let (mut start, mut end) = (0, 0);
    while end < TRANSACTION.len() {
        end = TRANSACTION.len().min(end + chunk_octets);
        loop {
            let (taken, step) = session.step(0, &TRANSACTION[start..end]);
            start += taken;
            match step {
                Step::NeedInput => break,
                Step::Question(question) => {
                    questions += 1;
                    if matches!(question, Question::EndOfData { fault: Some(_) }) {
                        panic!("the message is sound");
                    }
                    session.verdict(0, Verdict::Accept);
                }
                Step::Octets(octets) => octets_handed_on += octets.len(),
                Step::Notice(_) | Step::Output => {}
                Step::Close | Step::StartTls => panic!("nothing in it closes"),
            }
        }
        session.output_written(session.output().len());
    }
    (questions, octets_handed_on)
}

#[test]
fn nothing_is_allocated_from_the_second_transaction_on() {
    for chunk_octets in [1, 7, 100, 10_000] {
        let mut session = Session::new(Arc::new(SessionConfig::default()), 0);
        let first = transact(&mut session, chunk_octets);
        assert_eq!(first, (13, 79), "what the transaction is");
        let before = ALLOCATIONS.get();
        for _ in 0..10 {
            assert_eq!(transact(&mut session, chunk_octets), first);
        }
        assert_eq!(ALLOCATIONS.get() - before, 0, "in chunks of {chunk_octets}");
    }
}

#[test]
fn the_counter_counts() {
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(vec![1u8; 100]));
    assert!(ALLOCATIONS.get() > before);
}
