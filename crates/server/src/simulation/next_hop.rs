//! A next hop: does as RFC 5321 says, and at every step perhaps something else.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use mx6_runtime::simulation::{black_hole, draw};
use mx6_runtime::{Listener, Stream};

use super::{Taken, World};

/// Listens, if this next hop is there at all.
pub(super) fn serve(world: &Rc<World>, address: SocketAddr) {
    match draw(1_000) < world.next_hop_faults {
        true if draw(2) == 0 => return,
        true => black_hole(address, true),
        false => {}
    }
    let world = Rc::clone(world);
    let listener = Listener::bind(address, 100).unwrap();
    mx6_runtime::spawn("next hop", async move {
        while let Ok((stream, _)) = listener.accept().await {
            let world = Rc::clone(&world);
            let connection = Connection { world, stream, input: Vec::new(), recipients: Vec::new() };
            mx6_runtime::spawn("next hop connection", async move {
                // Whatever ended it.
                let _ = connection.run().await;
            });
        }
    });
}

/// How a step goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Right,
    Refused(&'static str),
    Garbage,
    Closed,
    Hung,
    Slow,
}

struct Connection {
    world: Rc<World>,
    stream: Stream,
    input: Vec<u8>,
    recipients: Vec<String>,
}

/// The connection is over.
struct Over;

impl Connection {
    async fn run(mut self) -> Result<(), Over> {
        self.step("220 next.test ESMTP").await?;
        loop {
            let line = self.line().await?;
            let words = line.to_ascii_uppercase();
            match words.get(..4).unwrap_or_default() {
                "EHLO" => drop(self.step("250-next.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 1000000").await?),
                "MAIL" => {
                    self.recipients.clear();
                    self.step("250 2.1.0 sender ok").await?;
                }
                "RCPT" => {
                    let path = line[line.find('<').unwrap() + 1..line.rfind('>').unwrap()].to_owned();
                    if self.step("250 2.1.5 recipient ok").await? {
                        self.recipients.push(path);
                    }
                }
                "DATA" => {
                    if self.recipients.is_empty() {
                        self.say("554 5.5.1 no recipients").await?;
                    } else if self.step("354 go on").await? {
                        self.message().await?;
                    }
                }
                "RSET" => {
                    self.recipients.clear();
                    self.step("250 2.0.0 reset").await?;
                }
                "QUIT" => return self.say("221 2.0.0 bye").await,
                _ => self.say("500 5.5.2 what").await?,
            }
        }
    }

    /// Reads a message and takes it, or does not.
    async fn message(&mut self) -> Result<(), Over> {
        let mut octets = Vec::new();
        loop {
            let line = self.octets_to_line_end().await?;
            if line == b".\r\n" {
                break;
            }
            octets.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
        let recipients = std::mem::take(&mut self.recipients);
        let taken = |told| Taken { recipients, octets, told };
        let fate = self.fate();
        match fate {
            Fate::Right | Fate::Slow => {
                // Written at once, and by then it is durable: what becomes of the reply on its way is another matter.
                let at = self.world.taken.borrow().len();
                self.world.taken.borrow_mut().push(taken(true));
                if fate == Fate::Slow {
                    mx6_runtime::sleep(Duration::from_secs(draw(30))).await;
                }
                let said = self.say("250 2.0.0 queued").await;
                if said.is_err() {
                    self.world.taken.borrow_mut()[at].told = false;
                }
                said
            }
            Fate::Refused(reply) => self.refuse(reply).await,
            // Before it took the message, or after.
            Fate::Closed | Fate::Hung | Fate::Garbage => {
                if draw(2) == 0 {
                    self.world.taken.borrow_mut().push(taken(false));
                }
                self.go_wrong(fate).await
            }
        }
    }

    /// Says `reply`, or does something else; whether it said it.
    async fn step(&mut self, reply: &str) -> Result<bool, Over> {
        match self.fate() {
            Fate::Right => self.say(reply).await.map(|()| true),
            Fate::Slow => {
                mx6_runtime::sleep(Duration::from_secs(draw(30))).await;
                self.say(reply).await.map(|()| true)
            }
            Fate::Refused(refusal) => self.refuse(refusal).await.map(|()| false),
            fate => self.go_wrong(fate).await.map(|()| false),
        }
    }

    fn fate(&self) -> Fate {
        if draw(1_000) >= self.world.next_hop_faults {
            return Fate::Right;
        }
        match draw(10) {
            0 | 1 => Fate::Refused("451 4.3.0 not now"),
            2 | 3 => Fate::Refused("550 5.7.1 not ever"),
            4 => Fate::Refused("421 4.3.2 going down"),
            5 => Fate::Garbage,
            6 | 7 => Fate::Closed,
            8 => Fate::Hung,
            _ => Fate::Slow,
        }
    }

    async fn refuse(&mut self, reply: &str) -> Result<(), Over> {
        self.say(reply).await?;
        if reply.starts_with("421") { Err(Over) } else { Ok(()) }
    }

    async fn go_wrong(&mut self, fate: Fate) -> Result<(), Over> {
        match fate {
            Fate::Hung => mx6_runtime::sleep(Duration::from_secs(600)).await,
            Fate::Garbage => self.say(["250-2.0.0 \x01", "999 x", "25", "250-a\r\n354 b"][draw(4) as usize]).await?,
            _ => {}
        }
        Err(Over)
    }

    async fn say(&mut self, reply: &str) -> Result<(), Over> {
        self.stream.write_all(format!("{reply}\r\n").as_bytes()).await.map_err(|_| Over)
    }

    async fn line(&mut self) -> Result<String, Over> {
        let line = self.octets_to_line_end().await?;
        Ok(String::from_utf8(line).unwrap().trim_end().to_owned())
    }

    async fn octets_to_line_end(&mut self) -> Result<Vec<u8>, Over> {
        loop {
            if let Some(end) = self.input.windows(2).position(|pair| pair == b"\r\n") {
                return Ok(self.input.drain(..end + 2).collect());
            }
            let mut buffer = [0; 1024];
            match self.stream.read(&mut buffer).await {
                Ok(octets @ 1..) => self.input.extend_from_slice(&buffer[..octets]),
                _ => return Err(Over),
            }
        }
    }
}
