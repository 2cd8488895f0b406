//! One mail transaction, relayed to a next hop while our client has it with us.
//!
//! What is promised to our client with the 250 for a recipient is kept or the message is deferred: should MAIL and RCPT have to be said
//! again over another connection and a recipient fare differently there, the message goes to nobody.
//!
//! A connection that was there before the step that finds it dead (closed, reset, 421) is replaced by a new one once for that step. A new
//! one that dies is the next hop's failure: the next host is tried while only MAIL and RCPT are at stake.

use std::rc::Rc;

use mx6_runtime::Deadline;
use mx6_smtp::client::{Extensions, is_sendable_path, pass_on, write_mail, write_rcpt};
use mx6_smtp::{EnhancedCode, Outcome, Reply};

use super::connection::Connection;
use super::fault::Fault;
use super::host::Host;
use super::transmit::{Sent, transmit};
use super::{NextHops, count};
use crate::storage::storage_reply;
use crate::{Message, Reuse, Route, Sender, Stage};

/// A mail transaction with the SMTP next hops.
#[derive(Debug)]
pub(crate) struct SmtpTransaction {
    next_hops: Rc<NextHops>,
    sender: Sender,
    /// The recipients that were answered with 250.
    accepted: Vec<String>,
    /// The connection on which all of `accepted` are accepted.
    link: Option<Link>,
    /// What every further recipient hears.
    refusal: Option<Reply>,
    /// A recipient fared differently when it was said again: the message must not go on.
    is_doomed: bool,
    pub(crate) route: Route,
}

#[derive(Debug)]
struct Link {
    connection: Connection,
    host: usize,
    reuse: Reuse,
}

/// What came of saying MAIL and all recipients on one connection.
enum Opened {
    /// MAIL and all recipients before are accepted; the reply to the new recipient, if there is one.
    Ready(Option<Reply>),
    /// MAIL was refused, which the client is told at RCPT.
    MailRefused(Reply),
    /// MAIL failed otherwise.
    MailFailed,
    /// A recipient that had been accepted is not.
    Differs,
    /// 421 for the new recipient.
    Closing(Reply),
}

impl SmtpTransaction {
    pub(crate) fn new(next_hops: Rc<NextHops>, sender: Sender) -> SmtpTransaction {
        let route = Route::default();
        SmtpTransaction { next_hops, sender, accepted: Vec::new(), link: None, refusal: None, is_doomed: false, route }
    }

    /// Asks the next hop about one more recipient.
    pub(crate) async fn rcpt(&mut self, forward_path: &str) -> Outcome {
        if let Some(reply) = &self.refusal {
            return Outcome::Refused(reply.clone());
        }
        if !is_sendable_path(forward_path) || !is_sendable_path(&self.sender.reverse_path) {
            return Outcome::Refused(BAD_PATH);
        }
        let until = Deadline::after(self.next_hops.config.recipient_timeout);
        self.retire_worn();
        let had_link = self.link.is_some();
        let opened = match self.one_more(forward_path, until).await {
            Some(reply) => Ok(Opened::Ready(Some(reply))),
            None => self.establish(Some(forward_path), !had_link, until).await,
        };
        match opened {
            Ok(Opened::Ready(Some(reply))) if reply.is_positive() => {
                self.accepted.push(forward_path.to_owned());
                Outcome::Accepted(pass_on(reply))
            }
            Ok(Opened::Ready(Some(reply)) | Opened::Closing(reply)) => Outcome::Refused(pass_on(reply)),
            Ok(Opened::MailRefused(reply)) if self.accepted.is_empty() => self.refuse(pass_on(reply)),
            Ok(Opened::MailRefused(_) | Opened::Differs) => {
                self.is_doomed = true;
                self.release();
                self.refuse(UNAVAILABLE)
            }
            Ok(Opened::MailFailed | Opened::Ready(None)) | Err(_) => self.refuse(UNAVAILABLE),
        }
    }

    /// Gives the connection back, its transaction reset; MAIL and RCPT are said again when the message is there.
    pub(crate) fn release(&mut self) {
        if let Some(link) = self.link.take() {
            self.next_hops.release(link.host, link.connection);
        }
    }

    /// Sends the message to all accepted recipients, or to none.
    pub(crate) async fn deliver(&mut self, message: &Message, until: Deadline) -> Outcome {
        if self.accepted.is_empty() || self.is_doomed {
            self.release();
            return Outcome::Refused(if self.is_doomed { UNAVAILABLE } else { NO_RECIPIENTS });
        }
        // Whether the connection was made in here: then its death is the next hop's failure, not that of an old connection.
        let mut is_new = false;
        let mut pooled = true;
        loop {
            if self.link.is_none() {
                if !self.replay(pooled, until).await {
                    self.release();
                    return Outcome::Refused(UNAVAILABLE);
                }
                is_new = self.link.as_ref().is_some_and(|link| link.reuse == Reuse::Fresh);
            }
            let Some(mut link) = self.link.take() else { return Outcome::Refused(UNAVAILABLE) };
            let sent =
                transmit(&mut link.connection, message, &self.next_hops.config, until, &mut self.route.stage).await;
            match sent {
                Sent::Dead(fault) if !is_new && !until.has_passed() => self.fault(&fault),
                sent => return self.finish(link, sent),
            }
            pooled = false;
        }
    }

    /// Says RCPT on the connection that is there. None when there is none, or when it is dead.
    async fn one_more(&mut self, forward_path: &str, until: Deadline) -> Option<Reply> {
        // Whoever drops this midway closes the connection: a reply that is still to come must not meet another command.
        let mut link = self.link.take()?;
        self.route.stage = Stage::Rcpt;
        let until = Deadline::after(self.next_hops.config.command_timeout).earlier(until);
        let mut command = Vec::new();
        write_rcpt(&mut command, forward_path);
        match exchange(&mut link.connection, &command, until).await {
            Ok(reply) if reply.code / 100 != 3 => {
                self.link = Some(link);
                return Some(reply);
            }
            Ok(_) => self.fault(&Fault::Unexpected),
            Err(fault) => self.fault(&fault),
        }
        None
    }

    /// MAIL and all accepted recipients once more; false when the message cannot go on.
    async fn replay(&mut self, pooled: bool, until: Deadline) -> bool {
        let opened = self.establish(None, pooled, until).await;
        match opened {
            Ok(Opened::Ready(None)) => true,
            Ok(_) => {
                self.route.fault = Some("a recipient fared differently");
                false
            }
            Err(_) => false,
        }
    }

    /// Says MAIL, the accepted recipients and a new one over a connection to the first host that works.
    async fn establish(&mut self, new: Option<&str>, pooled: bool, until: Deadline) -> Result<Opened, Fault> {
        if !self.accepted.is_empty() {
            self.route.replays += 1;
            count(&self.next_hops.counters.replays);
        }
        let next_hops = self.next_hops.clone();
        let mut last = Err(Fault::TimedOut);
        for (index, host) in next_hops.order() {
            self.route.next_hop = Some(host.name.clone());
            let opened = match self.open_on(index, host, new, pooled, until).await {
                Ok(Opened::MailFailed) => Err(Fault::Refused),
                opened => opened,
            };
            match &opened {
                Ok(_) => return opened,
                Err(fault) => self.fault(fault),
            }
            last = opened;
            if until.has_passed() {
                break;
            }
        }
        last
    }

    /// On one host: over an idle connection first, where that is wanted, then over a new one.
    async fn open_on(
        &mut self,
        index: usize,
        host: &Host,
        new: Option<&str>,
        pooled: bool,
        until: Deadline,
    ) -> Result<Opened, Fault> {
        let next_hops = self.next_hops.clone();
        if let Some(connection) = pooled.then(|| next_hops.take_idle(host)).flatten() {
            let link = Link { connection, host: index, reuse: Reuse::Pooled };
            match self.open_over(link, new, until).await {
                Ok(Opened::Closing(_)) => {}
                Err(fault) => self.fault(&fault),
                opened => return opened,
            }
            count(&next_hops.counters.found_dead);
        }
        self.route.connection = None;
        let connection = next_hops.connect(host, until, &mut self.route.stage).await?;
        let opened = self.open_over(Link { connection, host: index, reuse: Reuse::Fresh }, new, until).await;
        if opened.is_err() {
            host.failed(&next_hops.config);
        }
        opened
    }

    /// Over one connection, which is kept if MAIL was accepted, given back if it was not, and dropped if it died.
    async fn open_over(&mut self, mut link: Link, new: Option<&str>, until: Deadline) -> Result<Opened, Fault> {
        self.route.connection = Some(link.reuse);
        self.route.stage = Stage::Mail;
        let opened = self.say(&mut link.connection, new, until).await?;
        match opened {
            Opened::Closing(_) => {}
            Opened::Ready(_) | Opened::Differs => self.link = Some(link),
            Opened::MailRefused(_) | Opened::MailFailed => self.put_back(link.host, link.connection),
        }
        Ok(opened)
    }

    /// MAIL and RCPTs: in one group where the next hop takes groups (RFC 2920), else one by one.
    async fn say(&mut self, connection: &mut Connection, new: Option<&str>, until: Deadline) -> Result<Opened, Fault> {
        let command_timeout = self.next_hops.config.command_timeout;
        let step = || Deadline::after(command_timeout).earlier(until);
        let in_group = connection.extensions.pipelining;
        let recipients = self.accepted.iter().map(String::as_str).chain(new);
        let mut commands = self.mail_command(&connection.extensions);
        if in_group {
            recipients.clone().for_each(|recipient| write_rcpt(&mut commands, recipient));
        }
        let mail = exchange(connection, &commands, step()).await?;
        let mut new_reply = None;
        let mut differs = false;
        for (index, recipient) in recipients.enumerate() {
            if !in_group {
                if !mail.is_positive() || differs {
                    break;
                }
                commands.clear();
                write_rcpt(&mut commands, recipient);
                connection.send(&[&commands], step()).await?;
            }
            self.route.stage = Stage::Rcpt;
            let is_new = index == self.accepted.len();
            match connection.reply(step()).await {
                Err(Fault::Closing(reply)) if is_new && mail.is_positive() && !differs => {
                    return Ok(Opened::Closing(reply));
                }
                reply if is_new => new_reply = Some(reply?),
                reply => differs |= !reply?.is_positive(),
            }
        }
        judge(connection, mail, new_reply, differs)
    }

    fn mail_command(&self, offered: &Extensions) -> Vec<u8> {
        let mut command = Vec::with_capacity(256);
        let size = self.sender.size.map(|octets| octets.saturating_add(ADDED_OCTETS_ALLOWANCE));
        write_mail(&mut command, &self.sender.reverse_path, size, self.sender.body_8bit, offered);
        command
    }

    /// A connection that saw many refusals is left before the next hop punishes it, also in the middle of a transaction.
    fn retire_worn(&mut self) {
        let refusals_max = self.next_hops.config.refusals_per_connection_max;
        if let Some(link) = self.link.take_if(|link| link.connection.refusals >= refusals_max) {
            self.next_hops.farewell(link.connection);
        }
    }

    fn refuse(&mut self, reply: Reply) -> Outcome {
        self.refusal = Some(reply.clone());
        Outcome::Refused(reply)
    }

    /// The end of a message that a connection carried to an answer, or nearly.
    fn finish(&mut self, link: Link, sent: Sent) -> Outcome {
        match sent {
            Sent::Answered(reply) => {
                self.put_back(link.host, link.connection);
                if reply.is_positive() { Outcome::Accepted(pass_on(reply)) } else { Outcome::Refused(pass_on(reply)) }
            }
            Sent::NoData(reply) => {
                self.next_hops.release(link.host, link.connection);
                Outcome::Refused(pass_on(reply))
            }
            Sent::Refused(reply) => Outcome::Refused(pass_on(reply)),
            Sent::Unreadable(error) => Outcome::Refused(storage_reply(&error)),
            Sent::Dead(fault) => self.dead(fault),
            Sent::Unknown(fault) => {
                self.fault(&fault);
                count(&self.next_hops.counters.unknown);
                Outcome::Unknown(CLOSED)
            }
        }
    }

    /// The message was not sent, for certain, and is not tried again here.
    fn dead(&mut self, fault: Fault) -> Outcome {
        self.fault(&fault);
        match fault {
            Fault::Closing(reply) => Outcome::Refused(pass_on(reply)),
            _ => Outcome::Refused(UNAVAILABLE),
        }
    }

    fn fault(&mut self, fault: &Fault) {
        self.route.fault = Some(fault.reason());
    }

    fn put_back(&self, host: usize, connection: Connection) {
        self.next_hops.put_back(host, connection);
    }
}

async fn exchange(connection: &mut Connection, commands: &[u8], until: Deadline) -> Result<Reply, Fault> {
    connection.send(&[commands], until).await?;
    connection.reply(until).await
}

/// What the replies to MAIL and RCPTs mean together.
fn judge(connection: &Connection, mail: Reply, new_reply: Option<Reply>, differs: bool) -> Result<Opened, Fault> {
    if !connection.is_quiet() {
        return Err(Fault::Stray);
    }
    let class = |reply: &Reply| reply.code / 100;
    if class(&mail) == 3 || new_reply.as_ref().is_some_and(|reply| class(reply) == 3) {
        return Err(Fault::Unexpected);
    }
    Ok(match mail.code {
        550..=553 => Opened::MailRefused(mail),
        400.. => Opened::MailFailed,
        _ if differs => Opened::Differs,
        _ => Opened::Ready(new_reply),
    })
}

/// `SIZE=` says what the client declared and this much more, for the fields that we add: `Authentication-Results` of ten signatures
/// with long `i=` is over 8 KiB.
pub const ADDED_OCTETS_ALLOWANCE: u64 = 16 << 10;

const UNAVAILABLE: Reply = Reply::fixed(451, EnhancedCode(4, 4, 1), "Next hop unavailable, try again later.");
const CLOSED: Reply = Reply::fixed(451, EnhancedCode(4, 4, 2), "Next hop closed the connection, try again later.");
const NO_RECIPIENTS: Reply = Reply::fixed(554, EnhancedCode(5, 5, 1), "No valid recipients.");
const BAD_PATH: Reply = Reply::fixed(553, EnhancedCode(5, 1, 3), "Bad mailbox syntax.");
