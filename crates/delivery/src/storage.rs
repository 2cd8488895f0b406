//! What a client hears when our disk fails.

use std::io;

use mx6_smtp::{EnhancedCode, Reply};
use rustix::io::Errno;

/// The reply for a Maildir or a spill file that could not be written: 452 when there is no room, or the disk is broken or may only be read;
/// else 451.
#[must_use]
pub fn storage_reply(error: &io::Error) -> Reply {
    match Errno::from_io_error(error) {
        Some(Errno::NOSPC | Errno::DQUOT) => NO_ROOM,
        Some(Errno::IO | Errno::ROFS) => BROKEN,
        _ => FAILED,
    }
}

const NO_ROOM: Reply = Reply::fixed(452, EnhancedCode(4, 3, 1), "Insufficient system storage, try again later.");
const BROKEN: Reply = Reply::fixed(452, EnhancedCode(4, 3, 0), "System storage failed, try again later.");
const FAILED: Reply = Reply::fixed(451, EnhancedCode(4, 3, 0), "Message could not be stored, try again later.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_room_is_told_apart() {
        let cases: [(io::Error, u16); 6] = [
            (Errno::NOSPC.into(), 452),
            (Errno::DQUOT.into(), 452),
            (Errno::IO.into(), 452),
            (Errno::ROFS.into(), 452),
            (Errno::NOTDIR.into(), 451),
            (io::Error::other("lost"), 451),
        ];
        for (error, code) in cases {
            assert_eq!(storage_reply(&error).code, code, "{error}");
        }
    }
}
