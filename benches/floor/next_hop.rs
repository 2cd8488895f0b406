//! A connection of the floor to its next hop: octets out, replies counted in.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mx6_runtime::Stream;

/// A connection over which EHLO was said.
pub(crate) struct NextHop {
    stream: Stream,
    input: Box<[u8; INPUT_OCTETS]>,
}

impl NextHop {
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<NextHop> {
        let stream = Stream::connect(address, CONNECT_TIMEOUT).await?;
        let mut next_hop = NextHop { stream, input: Box::new([0; INPUT_OCTETS]) };
        next_hop.replies(1).await?;
        next_hop.exchange(b"EHLO floor.example\r\n", 1).await?;
        Ok(next_hop)
    }

    /// Writes `octets` and waits for `replies` replies, all of them positive.
    pub(crate) async fn exchange(&mut self, octets: &[u8], replies: usize) -> io::Result<()> {
        self.stream.write_all(octets).await?;
        self.replies(replies).await
    }

    async fn replies(&mut self, mut count: usize) -> io::Result<()> {
        let mut held = 0;
        while count > 0 {
            match self.stream.read(&mut self.input[held..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                octets => held += octets,
            }
            let mut taken = 0;
            for line in self.input[..held].split_inclusive(|octet| *octet == b'\n').filter(|line| line.ends_with(b"\n"))
            {
                taken += line.len();
                match line {
                    [_, _, _, b'-', ..] => {}
                    [b'2' | b'3', ..] => count = count.saturating_sub(1),
                    _ => return Err(io::Error::other(String::from_utf8_lossy(line).into_owned())),
                }
            }
            self.input.copy_within(taken..held, 0);
            held -= taken;
        }
        Ok(())
    }
}

const INPUT_OCTETS: usize = 1_024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
