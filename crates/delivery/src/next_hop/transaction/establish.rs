//! MAIL and RCPT over the first host that takes them: which hosts, how long each, over which connection.

use std::time::Duration;

use mx6_runtime::{Deadline, sleep};
use mx6_smtp::Reply;
use mx6_smtp::client::{Extensions, MailFrom, RcptTo, origin_commands, write_mail, write_rcpt};

use super::{ADDED_OCTETS_ALLOWANCE, Link, Recipient, SmtpTransaction};
use crate::next_hop::connection::Connection;
use crate::next_hop::count;
use crate::next_hop::fault::Fault;
use crate::{NextHopClient, Reuse, Stage};

/// What came of saying MAIL and all recipients on one connection.
pub(super) enum Opened {
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

/// The hosts that are worth another attempt.
#[derive(Default)]
struct Left {
    hosts: Vec<usize>,
    /// How many of them only lacked a connection.
    busy: usize,
}

impl SmtpTransaction {
    /// Says MAIL, the accepted recipients and a new one over a connection to the first of `hosts` that works. A host whose share of the
    /// time was too short, or that has as many connections as it may, is asked again when the others have failed.
    pub(super) async fn establish(
        &mut self,
        new: Option<&RcptTo<'_>>,
        mut hosts: Vec<usize>,
        mut pooled: bool,
        until: Deadline,
    ) -> Result<Opened, Fault> {
        let next_hops = self.next_hops.clone();
        if !self.accepted.is_empty() {
            self.route.replays += 1;
            count(&next_hops.counters.replays);
        }
        let patience = Deadline::after(next_hops.config.slot_timeout).earlier(until);
        let mut last = Err(Fault::TimedOut);
        while !hosts.is_empty() {
            let (opened, left) = self.round(new, hosts, pooled, (patience, until)).await;
            last = opened;
            if until.has_passed() {
                break;
            }
            if left.busy > 0 && left.busy == left.hosts.len() {
                sleep(SLOT_INTERVAL).await;
            }
            // What timed out had its chance with what was in the pool; a connection for want of another may come from there.
            pooled = left.busy > 0;
            hosts = left.hosts;
        }
        last
    }

    /// Every host once, up to the first that works; and those to ask again, none when one works.
    async fn round(
        &mut self,
        new: Option<&RcptTo<'_>>,
        mut hosts: Vec<usize>,
        pooled: bool,
        (patience, until): (Deadline, Deadline),
    ) -> (Result<Opened, Fault>, Left) {
        let next_hops = self.next_hops.clone();
        let mut left = Left::default();
        let mut last = Err(Fault::TimedOut);
        while let Some(index) = next_hops.pick(&mut hosts) {
            let is_last = hosts.is_empty();
            let host_until = if is_last { until } else { next_hops.share(until) };
            let opened = match self.open_on(index, new, (pooled, is_last), host_until).await {
                Ok(Opened::MailFailed) => Err(Fault::Refused),
                opened => opened,
            };
            match &opened {
                Ok(Opened::Closing(_)) => {}
                Err(Fault::ClientRefused(reply)) if !reply.is_transient() => {
                    self.route.fault = Some("client refused");
                    return (opened, Left::default());
                }
                Ok(_) => return (opened, Left::default()),
                Err(fault) => {
                    self.fault(fault);
                    let is_busy = matches!(fault, Fault::Busy) && !patience.has_passed();
                    if is_busy || matches!(fault, Fault::TimedOut) && !is_last {
                        left.hosts.push(index);
                        left.busy += usize::from(is_busy);
                    }
                }
            }
            last = opened;
            if until.has_passed() {
                break;
            }
        }
        (last, left)
    }

    /// On one host: over an idle connection first, where that is wanted, then over a new one.
    async fn open_on(
        &mut self,
        index: usize,
        new: Option<&RcptTo<'_>>,
        (pooled, is_last): (bool, bool),
        until: Deadline,
    ) -> Result<Opened, Fault> {
        let next_hops = self.next_hops.clone();
        let host = &next_hops.hosts[index];
        self.route.next_hop = Some(host.name.clone());
        let mut trial = host.health.try_out();
        let idle = pooled.then(|| next_hops.take_idle(host)).flatten();
        if let Some(connection) = idle.and_then(|connection| self.fitting(index, connection)) {
            let link = Link { connection, host: index, reuse: Reuse::Pooled, trial: trial.take() };
            match self.open_over(link, new, until).await {
                // That it was closed is the way of old connections.
                Ok(Opened::Closing(_)) => {}
                Err(Fault::TimedOut) => {
                    self.blame(index);
                    if !is_last || until.has_passed() {
                        return Err(Fault::TimedOut);
                    }
                }
                Err(fault) => self.fault(&fault),
                opened => return opened,
            }
            count(&next_hops.counters.found_dead);
            trial = host.health.try_out();
        }
        self.route.connection = None;
        let origin = self.origin.as_deref();
        let connection = next_hops.connect(host, origin, until, &mut self.route.stage).await?;
        let connection = self.fitting(index, connection).ok_or(Fault::NoSmtpUtf8)?;
        let link = Link { connection, host: index, reuse: Reuse::Fresh, trial };
        let opened = self.open_over(link, new, until).await;
        if let Ok(Opened::Closing(_)) | Err(_) = opened {
            self.blame(index);
        }
        opened
    }

    /// The connection, if this message may go over it; else it is kept for others. An idle one that does not fit may be from before the host
    /// offered more.
    fn fitting(&self, index: usize, connection: Connection) -> Option<Connection> {
        if !self.sender.smtp_utf8 || connection.extensions.smtp_utf8 {
            return Some(connection);
        }
        self.put_back(index, connection);
        None
    }

    /// Over one connection, which is kept if MAIL was accepted, given back if it was not, and dropped if it died.
    async fn open_over(&mut self, mut link: Link, new: Option<&RcptTo<'_>>, until: Deadline) -> Result<Opened, Fault> {
        self.route.connection = Some(link.reuse);
        self.route.stage = Stage::Mail;
        let opened = self.say(&mut link.connection, new, until).await?;
        match &opened {
            Opened::Ready(_) | Opened::Differs => self.succeeded(&mut link, Stage::Rcpt),
            Opened::MailRefused(_) | Opened::Closing(_) => self.succeeded(&mut link, Stage::Mail),
            Opened::MailFailed => {}
        }
        match opened {
            Opened::Closing(_) => self.route.fault = Some("421"),
            Opened::Ready(_) | Opened::Differs => self.link = Some(link),
            Opened::MailRefused(_) | Opened::MailFailed => self.put_back(link.host, link.connection),
        }
        Ok(opened)
    }

    /// XFORWARD, MAIL and RCPTs: in one group where the next hop takes groups (RFC 2920), else one by one.
    async fn say(
        &mut self,
        connection: &mut Connection,
        new: Option<&RcptTo<'_>>,
        until: Deadline,
    ) -> Result<Opened, Fault> {
        let command_timeout = self.next_hops.config.command_timeout;
        let step = || Deadline::after(command_timeout).earlier(until);
        let in_group = connection.extensions.pipelining;
        let offered = connection.extensions;
        let recipients = self.accepted.iter().map(Recipient::said).chain(new.copied());
        let mut commands = Vec::with_capacity(256);
        let mut introductions = self.xforward(&offered);
        if !in_group {
            for command in introductions.drain(..) {
                exchange(connection, &command, step()).await?;
            }
        }
        introductions.iter().for_each(|command| commands.extend_from_slice(command));
        self.write_mail(&mut commands, &offered);
        if in_group {
            recipients.clone().for_each(|recipient| write_rcpt(&mut commands, &recipient, &offered));
        }
        connection.send(&[&commands], step()).await?;
        for _ in &introductions {
            // A refusal is the loss of a line in a log.
            connection.reply(step()).await?;
        }
        let mail = connection.reply(step()).await?;
        let mut new_reply = None;
        let mut differs = false;
        for (index, recipient) in recipients.enumerate() {
            if !in_group {
                if !mail.is_positive() || differs {
                    break;
                }
                commands.clear();
                write_rcpt(&mut commands, &recipient, &offered);
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

    /// The commands that tell who the client is, where that is wanted and offered.
    fn xforward(&self, offered: &Extensions) -> Vec<Vec<u8>> {
        let is_wanted = self.next_hops.config.next_hop_client == NextHopClient::Xforward;
        let origin = self.origin.as_deref().filter(|_| is_wanted);
        origin.map_or_else(Vec::new, |origin| origin_commands("XFORWARD", origin, offered.xforward))
    }

    fn write_mail(&self, commands: &mut Vec<u8>, offered: &Extensions) {
        let sender = &self.sender;
        let mail = MailFrom {
            reverse_path: &sender.reverse_path,
            size_octets: sender.size.map(|octets| octets.saturating_add(ADDED_OCTETS_ALLOWANCE)),
            body_8bit: sender.body_8bit,
            smtp_utf8: sender.smtp_utf8,
            ret: sender.ret.as_deref(),
            envid: sender.envid.as_deref(),
        };
        write_mail(commands, &mail, offered);
    }
}

pub(super) async fn exchange(connection: &mut Connection, commands: &[u8], until: Deadline) -> Result<Reply, Fault> {
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

/// How often a host that has as many connections as it may is asked for one.
const SLOT_INTERVAL: Duration = Duration::from_millis(20);
