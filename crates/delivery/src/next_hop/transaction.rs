//! One mail transaction, relayed to a next hop while our client has it with us.
//!
//! What is promised to our client with the 250 for a recipient is kept or the message is deferred: should MAIL and RCPT have to be said
//! again over another connection and a recipient fare differently there, the message goes to nobody.
//!
//! A connection that came out of the pool and is dead (closed, reset, 421) is replaced by a new one. Any other death is the host's failure:
//! it goes behind the others for some time, and the next one is tried at once while nothing of the terminator was sent. Once it was, the
//! outcome is unknown, and nobody is tried.

mod establish;
mod lmtp;

use std::rc::Rc;

use mx6_runtime::Deadline;
use mx6_smtp::client::{Origin, RcptTo, is_sendable_path, is_sendable_value, pass_on, write_rcpt};
use mx6_smtp::{EnhancedCode, Outcome, Reply};

use establish::{Opened, exchange};

use super::connection::Connection;
use super::fault::Fault;
use super::health::Trial;
use super::opening::Protocol;
use super::transmit::{Sent, transmit};
use super::{NextHops, count};
use crate::storage::storage_reply;
use crate::{Message, NextHopClient, Reuse, Route, Sender, Stage};

/// A mail transaction with the next hops.
#[derive(Debug)]
pub(crate) struct SmtpTransaction {
    next_hops: Rc<NextHops>,
    sender: Sender,
    /// Who the client is, where the next hop is to learn it.
    origin: Option<Box<Origin>>,
    /// The recipients that were answered with 250.
    accepted: Vec<Recipient>,
    /// The connection on which all of `accepted` are accepted.
    link: Option<Link>,
    /// What every further recipient hears.
    refusal: Option<Reply>,
    /// A recipient fared differently when it was said again: the message must not go on.
    is_doomed: bool,
    /// How often a connection was left for its refusals, and recipients were said again for it.
    retirements: u32,
    /// A recipient that takes no other beside it ([`crate::ledger`]).
    is_alone: bool,
    /// What became of the message for each recipient, where a next hop told them apart.
    outcomes: Vec<Outcome>,
    pub(crate) route: Route,
}

/// A recipient and what was said of it.
#[derive(Debug)]
struct Recipient {
    forward_path: String,
    notify: Option<String>,
    orcpt: Option<String>,
}

impl Recipient {
    fn new(rcpt: &RcptTo<'_>) -> Recipient {
        let owned = |value: Option<&str>| value.map(str::to_owned);
        Recipient { forward_path: rcpt.forward_path.to_owned(), notify: owned(rcpt.notify), orcpt: owned(rcpt.orcpt) }
    }

    fn said(&self) -> RcptTo<'_> {
        RcptTo { forward_path: &self.forward_path, notify: self.notify.as_deref(), orcpt: self.orcpt.as_deref() }
    }
}

#[derive(Debug)]
struct Link {
    connection: Connection,
    host: usize,
    reuse: Reuse,
    /// While it shows whether the host works again.
    trial: Option<Trial>,
}

/// What came of one more RCPT on the connection that is there.
enum Said {
    /// Its reply.
    Reply(Reply),
    /// There is no connection, or no longer one.
    NoLink,
    /// It was closed after many refusals.
    Worn(Fault),
}

impl SmtpTransaction {
    pub(crate) fn new(next_hops: Rc<NextHops>, sender: Sender) -> SmtpTransaction {
        let route = Route::default();
        SmtpTransaction {
            next_hops,
            sender,
            origin: None,
            accepted: Vec::new(),
            link: None,
            refusal: None,
            is_doomed: false,
            retirements: 0,
            is_alone: false,
            outcomes: Vec::new(),
            route,
        }
    }

    /// Who the client is; kept only where the next hop is to learn it.
    pub(crate) fn introduce(&mut self, origin: Origin) {
        if self.next_hops.config.next_hop_client != NextHopClient::None {
            self.origin = Some(Box::new(origin));
        }
    }

    /// Asks the next hop about one more recipient.
    pub(crate) async fn rcpt(&mut self, rcpt: &RcptTo<'_>) -> Outcome {
        if let Some(reply) = &self.refusal {
            return Outcome::Refused(reply.clone());
        }
        if let Err(reply) = self.sendable(rcpt).and_then(|()| self.is_taken_with_others(rcpt)) {
            return Outcome::Refused(reply);
        }
        if self.next_hops.config.next_hop_client.has_own_connections() && self.origin.is_none() {
            self.fault(&Fault::NoOrigin);
            return Outcome::Refused(UNAVAILABLE);
        }
        let until = Deadline::after(self.next_hops.config.recipient_timeout);
        self.retire_worn();
        let had_link = self.link.is_some();
        let opened = match self.one_more(rcpt, until).await {
            Said::Reply(reply) => Ok(Opened::Ready(Some(reply))),
            Said::Worn(fault) => return self.worn_out(fault),
            Said::NoLink => self.establish(Some(rcpt), self.next_hops.all(), !had_link, until).await,
        };
        match opened {
            Ok(Opened::Ready(Some(reply))) if reply.is_positive() => {
                self.accepted.push(Recipient::new(rcpt));
                Outcome::Accepted(pass_on(reply))
            }
            Ok(Opened::Ready(Some(reply)) | Opened::Closing(reply)) => Outcome::Refused(pass_on(reply)),
            Ok(Opened::MailRefused(reply)) if self.accepted.is_empty() => self.refuse(pass_on(reply)),
            Ok(Opened::MailRefused(_) | Opened::Differs) => {
                self.is_doomed = true;
                self.release();
                self.refuse(UNAVAILABLE)
            }
            Err(Fault::ClientRefused(reply)) if self.accepted.is_empty() && !reply.is_transient() => {
                self.refuse(pass_on(reply))
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
        match self.next_hops.protocol {
            Protocol::Smtp => self.deliver_to_accepted(message, until).await,
            Protocol::Lmtp => self.deliver_to_each(message, until).await,
        }
    }

    async fn deliver_to_accepted(&mut self, message: &Message, until: Deadline) -> Outcome {
        // The hosts for which no new connection has died under this message.
        let mut hosts = self.next_hops.all();
        let (mut is_new, mut is_second) = (false, false);
        loop {
            if self.link.is_none() {
                if !self.replay(hosts.clone(), !is_second, until).await {
                    self.release();
                    return Outcome::Refused(UNAVAILABLE);
                }
                is_new = is_second || self.link.as_ref().is_some_and(|link| link.reuse == Reuse::Fresh);
            }
            let Some(mut link) = self.link.take() else { return Outcome::Refused(UNAVAILABLE) };
            let config = &self.next_hops.config;
            let others = hosts.iter().any(|host| *host != link.host);
            let data_until = Deadline::after(config.command_timeout).earlier(self.step_until(others, until));
            let connection = &mut link.connection;
            let replies = if self.next_hops.protocol == Protocol::Lmtp { self.accepted.len() } else { 1 };
            let untils = (data_until, until);
            let sent = transmit(connection, message, config, replies, untils, &mut self.route.stage).await;
            let Sent::Dead(fault) = sent else { return self.finish(link, sent) };
            self.fault(&fault);
            self.blame(link.host);
            if is_new {
                hosts.retain(|host| *host != link.host);
            }
            if hosts.is_empty() || until.has_passed() {
                return dead(fault);
            }
            is_second = true;
        }
    }

    /// The session has parsed all of it; nothing that could end a command goes on, whatever came.
    fn sendable(&self, rcpt: &RcptTo<'_>) -> Result<(), Reply> {
        let sender = &self.sender;
        let paths = [rcpt.forward_path, &sender.reverse_path];
        if !paths.iter().all(|path| is_sendable_path(path, sender.smtp_utf8)) {
            return Err(BAD_PATH);
        }
        let values = [rcpt.notify, rcpt.orcpt, sender.ret.as_deref(), sender.envid.as_deref()];
        let are_sendable = values.iter().flatten().all(|value| is_sendable_value(value, sender.smtp_utf8));
        if are_sendable { Ok(()) } else { Err(BAD_PARAMETER) }
    }

    /// Says RCPT on the connection that is there.
    async fn one_more(&mut self, rcpt: &RcptTo<'_>, until: Deadline) -> Said {
        // Whoever drops this midway closes the connection: a reply that is still to come must not meet another command.
        let Some(mut link) = self.link.take() else { return Said::NoLink };
        self.route.stage = Stage::Rcpt;
        let config = &self.next_hops.config;
        let is_worn = link.connection.refusals >= config.refusals_per_connection_max;
        let others = self.next_hops.hosts.len() > 1;
        let until = Deadline::after(config.command_timeout).earlier(self.step_until(others, until));
        let mut command = Vec::new();
        write_rcpt(&mut command, rcpt, &link.connection.extensions);
        let fault = match exchange(&mut link.connection, &command, until).await {
            Ok(reply) if reply.code / 100 != 3 => {
                self.succeeded(&mut link, Stage::Rcpt);
                self.link = Some(link);
                return Said::Reply(reply);
            }
            Ok(_) => Fault::Unexpected,
            Err(fault) => fault,
        };
        self.fault(&fault);
        if is_worn && !matches!(fault, Fault::TimedOut) {
            return Said::Worn(fault);
        }
        self.blame(link.host);
        Said::NoLink
    }

    /// The share of one host, where there are others.
    fn step_until(&self, others: bool, until: Deadline) -> Deadline {
        if others { self.next_hops.share(until) } else { until }
    }

    /// MAIL and all accepted recipients once more; false when the message cannot go on.
    async fn replay(&mut self, hosts: Vec<usize>, pooled: bool, until: Deadline) -> bool {
        let opened = self.establish(None, hosts, pooled, until).await;
        match opened {
            Ok(Opened::Ready(None)) => true,
            Ok(_) => {
                self.route.fault = Some("a recipient fared differently");
                false
            }
            Err(_) => false,
        }
    }

    /// A connection that saw many refusals is left before the next hop punishes it, also in the middle of a transaction; but not again and
    /// again, as each time all accepted recipients are said once more.
    fn retire_worn(&mut self) {
        let config = &self.next_hops.config;
        if !self.accepted.is_empty() && self.retirements >= config.retirements_per_transaction_max {
            return;
        }
        let refusals_max = config.refusals_per_connection_max;
        if let Some(link) = self.link.take_if(|link| link.connection.refusals >= refusals_max) {
            self.next_hops.farewell(link.connection);
            self.retirements += u32::from(!self.accepted.is_empty());
        }
    }

    /// The next hop has had enough of refusing, and it is not its failure. Those that were accepted are said again with the message;
    /// there are no further ones.
    fn worn_out(&mut self, fault: Fault) -> Outcome {
        match fault {
            Fault::Closing(reply) => self.refuse(pass_on(reply)),
            _ => self.refuse(UNAVAILABLE),
        }
    }

    fn refuse(&mut self, reply: Reply) -> Outcome {
        self.refusal = Some(reply.clone());
        Outcome::Refused(reply)
    }

    /// The end of a message that is not tried again.
    fn finish(&mut self, mut link: Link, sent: Sent) -> Outcome {
        match sent {
            Sent::Answered(reply) => {
                self.succeeded(&mut link, Stage::EndOfData);
                self.put_back(link.host, link.connection);
                if reply.is_positive() { Outcome::Accepted(pass_on(reply)) } else { Outcome::Refused(pass_on(reply)) }
            }
            Sent::Each(replies, None) => {
                self.succeeded(&mut link, Stage::EndOfData);
                self.put_back(link.host, link.connection);
                self.tell_each(replies)
            }
            Sent::Each(replies, Some(fault)) => {
                self.fault(&fault);
                self.blame(link.host);
                self.tell_each(replies)
            }
            Sent::NoData(reply) => {
                self.succeeded(&mut link, Stage::Data);
                self.next_hops.release(link.host, link.connection);
                Outcome::Refused(pass_on(reply))
            }
            Sent::Refused(reply) => {
                if reply.code == 421 {
                    self.blame(link.host);
                }
                Outcome::Refused(pass_on(reply))
            }
            Sent::Unreadable(error) => Outcome::Refused(storage_reply(&error)),
            Sent::Dead(fault) => dead(fault),
            Sent::Unknown(fault) => {
                self.fault(&fault);
                self.blame(link.host);
                count(&self.next_hops.counters.unknown);
                Outcome::Unknown(CLOSED)
            }
        }
    }

    /// The host failed us at the step that was tried last.
    fn blame(&self, host: usize) {
        self.next_hops.hosts[host].failed(self.route.stage, &self.next_hops.config);
    }

    /// The host did a step as it should.
    fn succeeded(&self, link: &mut Link, stage: Stage) {
        let health = &self.next_hops.hosts[link.host].health;
        health.succeeded(stage);
        if health.rank() == 0 {
            link.trial = None;
        }
    }

    fn fault(&mut self, fault: &Fault) {
        self.route.fault = Some(fault.reason());
    }

    fn put_back(&self, host: usize, connection: Connection) {
        self.next_hops.put_back(host, connection);
    }
}

/// The message was not sent, for certain.
fn dead(fault: Fault) -> Outcome {
    match fault {
        Fault::Closing(reply) => Outcome::Refused(pass_on(reply)),
        _ => Outcome::Refused(UNAVAILABLE),
    }
}

/// `SIZE=` says what the client declared and this much more, for the fields that we add: `Authentication-Results` of ten signatures
/// with long `i=` is over 8 KiB.
pub const ADDED_OCTETS_ALLOWANCE: u64 = 16 << 10;

const UNAVAILABLE: Reply = Reply::fixed(451, EnhancedCode(4, 4, 1), "Next hop unavailable, try again later.");
const CLOSED: Reply = Reply::fixed(451, EnhancedCode(4, 4, 2), "Next hop closed the connection, try again later.");
const NO_RECIPIENTS: Reply = Reply::fixed(554, EnhancedCode(5, 5, 1), "No valid recipients.");
const BAD_PARAMETER: Reply = Reply::fixed(501, EnhancedCode(5, 5, 4), "Bad parameter.");
const BAD_PATH: Reply = Reply::fixed(553, EnhancedCode(5, 1, 3), "Bad mailbox syntax.");
