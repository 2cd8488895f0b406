//! A client: some messages over some connections, in pieces, in groups, with pauses; and now and then it misbehaves.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use mx6_delivery::SPILL_ABOVE_OCTETS;
use mx6_runtime::Stream;
use mx6_runtime::simulation::{connect_from, draw};
use mx6_smtp::Reply;
use mx6_smtp::client::ReplyReader;

use super::limits::Scope;
use super::{Attempt, GATE, World, address};

/// The example of RFC 8463 appendix A, as far as it is signed with Ed25519.
const SIGNED: &str = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n d=football.example.com; i=@football.example.com;\r\n q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n subject : date : message-id : from : subject : date;\r\n bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus\r\n Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==\r\n";
const MESSAGE: &str = "From: Joe SixPack <joe@football.example.com>\r\nTo: Suzie Q <suzie@shopping.example.net>\r\nSubject: Is dinner ready?\r\nDate: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\nMessage-ID: <20030712040037.46341.5F8J@football.example.com>\r\n\r\nHi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n";

pub(super) async fn live(world: Rc<World>, number: u64) {
    mx6_runtime::sleep(Duration::from_millis(draw(500))).await;
    for connection in 0..=draw(2) {
        let ip: IpAddr = match draw(8) {
            0 => [192, 0, 2, number as u8 + 1].into(),
            _ => [0x2001, 0xdb8, 1, 0, 0, 0, 0, number as u16 + 1].into(),
        };
        let local = SocketAddr::new(ip, 1024 + connection as u16);
        let Ok(stream) = connect_from(local, address(GATE)).await else { return };
        let client = Client { world: Rc::clone(&world), local, stream, replies: ReplyReader::new(), input: Vec::new() };
        // However it ended.
        let _ = client.run(&format!("{number}-{connection}")).await;
    }
}

struct Client {
    world: Rc<World>,
    local: SocketAddr,
    stream: Stream,
    replies: ReplyReader,
    input: Vec<u8>,
}

/// The connection is over.
struct Over;

impl Client {
    async fn run(mut self, name: &str) -> Result<(), Over> {
        let greeting = self.reply().await?;
        self.world.limits.heard(Scope::Connections, self.local, &greeting);
        if !greeting.is_positive() {
            return Err(Over);
        }
        self.send(b"EHLO client.test\r\n").await?;
        self.reply().await?;
        for message in 0..=draw(3) {
            if draw(1_000) < self.world.client_faults {
                self.talk_garbage().await?;
            }
            self.message(&format!("<{name}-{message}>")).await?;
        }
        self.send(b"QUIT\r\n").await?;
        self.reply().await?;
        Ok(())
    }

    async fn talk_garbage(&mut self) -> Result<(), Over> {
        for _ in 0..draw(15) {
            self.send([&b"XYZZY\r\n"[..], b"MAIL FORM:<>\r\n", b"\0\r\n", b"BDAT 3\r\nabc"][draw(4) as usize]).await?;
            self.reply().await?;
        }
        Ok(())
    }

    /// One transaction. The attempt is noted at its begin and completed as it goes: the client may leave at any await.
    async fn message(&mut self, token: &str) -> Result<(), Over> {
        let sender = ["pass.test", "fail.test", "include.test", "none.test"][draw(4) as usize];
        let signed = draw(3) == 0;
        let expected = content(token, signed);
        let attempt = Attempt {
            token: token.to_owned(),
            client: self.local,
            sender,
            signed,
            recipients: Vec::new(),
            refusals: Vec::new(),
            expected: expected.clone().into_bytes(),
            complete: false,
            reply: None,
        };
        self.world.attempts.borrow_mut().push(attempt);
        let at = self.world.attempts.borrow().len() - 1;

        let recipients = recipients();
        let mut commands = vec![format!("MAIL FROM:<a@{sender}>\r\n")];
        commands.extend(recipients.iter().map(|recipient| format!("RCPT TO:<{recipient}>\r\n")));
        let in_chunks = draw(3) == 0;
        commands.extend((!in_chunks).then(|| "DATA\r\n".into()));
        let in_groups = draw(2) == 0;
        let mut replies = Vec::new();
        if in_groups {
            self.send(commands.concat().as_bytes()).await?;
        }
        for (index, command) in commands.iter().enumerate() {
            if !in_groups {
                self.send(command.as_bytes()).await?;
            }
            let reply = self.reply().await?;
            if index == 0 {
                self.world.limits.heard(Scope::Messages, self.local, &reply);
            }
            if let Some(recipient) = index.checked_sub(1).and_then(|index| recipients.get(index)) {
                let attempt = &mut self.world.attempts.borrow_mut()[at];
                if reply.is_positive() {
                    attempt.recipients.push(recipient.clone());
                } else {
                    attempt.refusals.push(reply.to_string());
                }
            }
            replies.push(reply.code);
        }
        let forged =
            if draw(3) == 0 { "Authentication-Results: mx.test; spf=pass smtp.mailfrom=bank.test\r\n" } else { "" };
        let message = format!("{forged}{expected}");
        if in_chunks {
            return self.chunks(message.as_bytes(), at).await;
        }
        if replies.last() != Some(&354) {
            self.send(b"RSET\r\n").await?;
            return self.reply().await.map(|_| ());
        }
        self.send(message.replace("\r\n.", "\r\n..").as_bytes()).await?;
        self.world.attempts.borrow_mut()[at].complete = true;
        self.send(b".\r\n").await?;
        self.end_of_message(at).await
    }

    /// The message by BDAT, cut anywhere, also between CR and LF; now and then with something else between two chunks, or given up.
    async fn chunks(&mut self, mut message: &[u8], at: usize) -> Result<(), Over> {
        loop {
            let (chunk, rest) = message.split_at(draw(message.len() as u64 + 1) as usize);
            let is_last = rest.is_empty() && draw(2) == 0;
            let last = if is_last { " LAST" } else { "" };
            self.send(format!("BDAT {}{last}\r\n", chunk.len()).as_bytes()).await?;
            self.world.attempts.borrow_mut()[at].complete |= is_last;
            self.send(chunk).await?;
            if is_last {
                return self.end_of_message(at).await;
            }
            // Where no recipient was taken, or no memory is left, the first chunk says so, and the message is over.
            let is_over = !self.reply().await?.is_positive();
            if is_over || draw(200) < self.world.client_faults {
                self.send(b"RSET\r\n").await?;
                return self.reply().await.map(|_| ());
            }
            if draw(200) < self.world.client_faults {
                self.send([&b"NOOP\r\n"[..], b"DATA\r\n", b"RCPT TO:<x@open.test>\r\n"][draw(3) as usize]).await?;
                self.reply().await?;
            }
            message = rest;
        }
    }

    async fn end_of_message(&mut self, at: usize) -> Result<(), Over> {
        let reply = self.reply().await?;
        // A Maildir's file names are of the real clock.
        let reply = reply.to_string().split(" as ").next().map(str::to_owned);
        self.world.attempts.borrow_mut()[at].reply = reply;
        Ok(())
    }

    /// Sends in pieces, with pauses; or does not.
    async fn send(&mut self, mut octets: &[u8]) -> Result<(), Over> {
        while !octets.is_empty() {
            let faults = self.world.client_faults;
            match draw(4_000) {
                fault if fault < faults => return Err(Over),
                fault if fault < 2 * faults => mx6_runtime::sleep(Duration::from_secs(draw(400))).await,
                fault if fault < 4 * faults => mx6_runtime::sleep(Duration::from_millis(draw(4_000))).await,
                _ => {}
            }
            let piece = if draw(3) == 0 { 1 + draw(octets.len() as u64) as usize } else { octets.len() };
            let (piece, rest) = octets.split_at(piece.min(octets.len()));
            self.stream.write_all(piece).await.map_err(|_| Over)?;
            octets = rest;
            mx6_runtime::sleep(Duration::from_millis(draw(20))).await;
        }
        Ok(())
    }

    /// A reply, within the ten minutes that a client waits (RFC 5321 §4.5.3.2.6).
    async fn reply(&mut self) -> Result<Reply, Over> {
        mx6_runtime::timeout(Duration::from_secs(600), async {
            loop {
                let (taken, reply) = self.replies.read(&self.input).expect("the gate speaks SMTP");
                self.input.drain(..taken);
                if let Some(reply) = reply {
                    return Ok(reply);
                }
                let mut buffer = [0; 512];
                match self.stream.read(&mut buffer).await {
                    Ok(octets @ 1..) => self.input.extend_from_slice(&buffer[..octets]),
                    _ => return Err(Over),
                }
            }
        })
        .await
        .expect("the gate answers before a client gives up")
    }
}

/// What is to arrive, its token in a field that is not signed.
fn content(token: &str, signed: bool) -> String {
    let signature = if signed { SIGNED } else { "" };
    let mut text = format!("X-Token: {token}\r\n{signature}{MESSAGE}");
    if !signed {
        for _ in 0..draw(3) * 100 {
            text.push_str(
                ["..\r\n", ".\r\n", "line\r\n", "\r\n", "longer than the others are, by far\r\n"][draw(5) as usize],
            );
        }
        if draw(120) == 0 {
            text += &"this one goes to the disk before it is whole\r\n".repeat(1 + SPILL_ABOVE_OCTETS / 40);
        }
    }
    text
}

fn recipients() -> Vec<String> {
    if draw(40) == 0 {
        return (0..90 + draw(40)).map(|number| format!("r{number}@open.test")).collect();
    }
    let one = |number| {
        let domain = ["open.test", "open.test", "open.test", "closed.test", "elsewhere.test", "trial.test"];
        format!("r{number}@{}", domain[draw(6) as usize])
    };
    (0..=draw(3)).map(one).collect()
}
