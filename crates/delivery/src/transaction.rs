//! The door of this crate: delivery of a shard, and a mail transaction on its way.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use mx6_runtime::Deadline;
use mx6_smtp::client::{Extensions, Origin, RcptTo};
use mx6_smtp::{EnhancedCode, Outcome, Reply};

use crate::maildir::{Maildir, MaildirTransaction, prepare};
use crate::next_hop::{NextHops, Protocol, SmtpTransaction};
use crate::{DeliveryConfig, Ledger, Message, NextHop, Route, Stage, Target};

/// Delivery of one shard. A clone is the same delivery, with the same pool.
#[derive(Debug, Clone)]
pub struct Delivery {
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    Smtp(Rc<NextHops>),
    Maildir(Rc<Maildir>),
    Discard,
}

impl Delivery {
    /// Delivery to `target`. Neither connects nor touches a disk.
    #[must_use]
    pub fn new(target: &Target, config: DeliveryConfig) -> Delivery {
        Delivery::with_ledger(target, config, Arc::default())
    }

    /// The same, with a ledger that other shards have too: a client may try again anywhere.
    #[must_use]
    pub fn with_ledger(target: &Target, config: DeliveryConfig, ledger: Arc<Ledger>) -> Delivery {
        let over = |protocol, next_hops: &[NextHop], config| {
            Place::Smtp(Rc::new(NextHops::new(protocol, next_hops, config, ledger)))
        };
        let place = match target {
            Target::Smtp(next_hops) => over(Protocol::Smtp, next_hops, config),
            Target::Lmtp(next_hops) => over(Protocol::Lmtp, next_hops, config),
            Target::Maildir(dir) => Place::Maildir(Rc::new(Maildir::new(dir, &config.hostname))),
            Target::Discard => Place::Discard,
        };
        Delivery { place }
    }

    /// What may be offered to clients: what every next hop that may get their mail has said it takes.
    #[must_use]
    pub fn offers(&self) -> Offers {
        match &self.place {
            Place::Smtp(next_hops) => next_hops.offers(),
            Place::Maildir(_) | Place::Discard => Offers::LOCAL,
        }
    }

    /// Another number whenever [`Delivery::offers`] may say something else than before.
    #[must_use]
    pub fn offers_generation(&self) -> u64 {
        match &self.place {
            Place::Smtp(next_hops) => next_hops.offers_generation(),
            Place::Maildir(_) | Place::Discard => 0,
        }
    }

    /// What the next hops offer now, told host by host, with the reason where one cannot be used. Connects to each; the connections stay
    /// in the pool. Empty when there are no next hops.
    pub async fn probe(&self) -> Vec<Probe> {
        match &self.place {
            Place::Smtp(next_hops) => next_hops.probe().await,
            Place::Maildir(_) | Place::Discard => Vec::new(),
        }
    }

    /// A new mail transaction; nothing is sent before its first recipient.
    #[must_use]
    pub fn begin(&self, sender: Sender) -> Transaction {
        let way = match &self.place {
            Place::Smtp(next_hops) => Way::Smtp(Box::new(SmtpTransaction::new(next_hops.clone(), sender))),
            Place::Maildir(maildir) => Way::Maildir(MaildirTransaction::new(maildir.clone(), sender.reverse_path)),
            Place::Discard => Way::Discard,
        };
        Transaction { way, route: Route::default() }
    }

    /// Drain: QUIT on all idle connections, and none is kept from now on. Transactions under way go on. Waits a few seconds at most, also
    /// for connections that were given back and not yet answered RSET.
    pub async fn quit(&self) {
        if let Place::Smtp(next_hops) = &self.place {
            next_hops.quit().await;
        }
    }

    /// How each next hop is, as this shard sees it; none for a Maildir and `discard:`.
    #[must_use]
    pub fn hosts(&self) -> Vec<HostState> {
        match &self.place {
            Place::Smtp(next_hops) => next_hops.hosts(),
            Place::Maildir(_) | Place::Discard => Vec::new(),
        }
    }

    /// What this shard's delivery has counted.
    #[must_use]
    pub fn counters(&self) -> Counters {
        match &self.place {
            Place::Smtp(next_hops) => next_hops.counters(),
            Place::Maildir(maildir) => {
                let (maildir_groups, maildir_members) = maildir.counted();
                let outcomes_unknown = maildir.unknown();
                Counters { outcomes_unknown, maildir_groups, maildir_members, ..Counters::default() }
            }
            Place::Discard => Counters::default(),
        }
    }
}

impl Target {
    /// Makes what the target needs on the disk (a Maildir's directories) and so shows early whether it can. Blocks: for the start of a
    /// process, before its shards.
    ///
    /// # Errors
    /// The disk's, or the operator's: a path that cannot be a directory.
    pub fn prepare(&self) -> io::Result<()> {
        match self {
            Target::Maildir(dir) => prepare(dir),
            Target::Smtp(_) | Target::Lmtp(_) | Target::Discard => Ok(()),
        }
    }
}

/// One next hop as a shard sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostState {
    /// As the operator named it.
    pub name: Arc<str>,
    /// It does not fail us now.
    pub is_healthy: bool,
    /// For how long others are tried first, in milliseconds.
    pub back_off_ms: u64,
    /// Open connections.
    pub open: usize,
    /// Of those, the ones that wait in the pool.
    pub idle: usize,
}

/// What a next hop said to a connection made to try it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The next hop as the operator named it.
    pub next_hop: Arc<str>,
    /// How far it came.
    pub stage: Stage,
    /// What it offers, or why it cannot be used.
    pub offered: Result<Extensions, &'static str>,
}

/// What may be offered to clients, because whoever gets their mail takes it.
///
/// A next hop counts with what it said to EHLO last. One that cannot be reached now still counts, as it will be back, until it has been away
/// for [`DeliveryConfig::offers_timeout`]. While none counts nothing is offered: each is a promise that only a next hop can keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offers {
    /// The largest message in octets, the fields that we add included; none when there is no limit.
    pub size_max: Option<u64>,
    /// RFC 6152.
    pub eight_bit_mime: bool,
    /// RFC 6531.
    pub smtp_utf8: bool,
    /// RFC 3461.
    pub dsn: bool,
}

impl Offers {
    /// Of a Maildir, and of `discard:`. Nobody there sends delivery status notifications.
    const LOCAL: Offers = Offers { size_max: None, eight_bit_mime: true, smtp_utf8: true, dsn: false };
    /// While no next hop is known.
    const UNKNOWN: Offers = Offers { size_max: None, eight_bit_mime: false, smtp_utf8: false, dsn: false };

    /// What all of these take.
    pub(crate) fn of_all(next_hops: impl Iterator<Item = Extensions>) -> Offers {
        let offers = next_hops.map(|offered| Offers {
            size_max: offered.size_max,
            eight_bit_mime: offered.eight_bit_mime,
            smtp_utf8: offered.smtp_utf8,
            dsn: offered.dsn,
        });
        let least = |a: Offers, b: Offers| Offers {
            size_max: a.size_max.into_iter().chain(b.size_max).min(),
            eight_bit_mime: a.eight_bit_mime && b.eight_bit_mime,
            smtp_utf8: a.smtp_utf8 && b.smtp_utf8,
            dsn: a.dsn && b.dsn,
        };
        offers.reduce(least).unwrap_or(Offers::UNKNOWN)
    }
}

/// What MAIL said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sender {
    /// Without `<>`; empty is the null reverse-path.
    pub reverse_path: String,
    /// `SIZE=`, octets.
    pub size: Option<u64>,
    /// `BODY=8BITMIME`.
    pub body_8bit: bool,
    /// `SMTPUTF8`: the message goes only to a next hop that offers it.
    pub smtp_utf8: bool,
    /// `RET=`.
    pub ret: Option<String>,
    /// `ENVID=`, in xtext as it came.
    pub envid: Option<String>,
}

/// One mail transaction. Dropped before [`Transaction::deliver`] it closes its connection; [`Transaction::abandon`] keeps it for others.
#[derive(Debug)]
pub struct Transaction {
    way: Way,
    route: Route,
}

#[derive(Debug)]
enum Way {
    Smtp(Box<SmtpTransaction>),
    Maildir(MaildirTransaction),
    Discard,
}

impl Transaction {
    /// Says who the client is, before the first recipient: for next hops that are to learn it ([`crate::NextHopClient`]). Needless else.
    pub fn introduce(&mut self, origin: Origin) {
        if let Way::Smtp(transaction) = &mut self.way {
            transaction.introduce(origin);
        }
    }

    /// Adds a recipient (without `<>`, with the values of `NOTIFY=` and `ORCPT=`) and says what the next hop answered. MAIL is said with
    /// the first one. Never [`Outcome::Unknown`].
    pub async fn rcpt(&mut self, forward_path: &str, notify: Option<&str>, orcpt: Option<&str>) -> Outcome {
        match &mut self.way {
            Way::Smtp(transaction) => transaction.rcpt(&RcptTo { forward_path, notify, orcpt }).await,
            Way::Maildir(transaction) => transaction.rcpt(forward_path),
            Way::Discard => Outcome::Accepted(Reply::fixed(250, EnhancedCode(2, 1, 5), "OK")),
        }
    }

    /// Gives the connection back while the client takes its time; what was said is said again in [`Transaction::deliver`]. Does not
    /// wait: a task of the shard says RSET, and puts the connection into the pool when that was answered.
    pub fn release(&mut self) {
        if let Way::Smtp(transaction) = &mut self.way {
            transaction.release();
        }
    }

    /// Hands the message over to all recipients that were accepted, or to none; over LMTP it may be some, and
    /// [`Transaction::recipient_outcome`] tells who. Once for each transaction; past `deadline` it gives up.
    /// Do not drop it midway: what became of the message would never be known.
    pub async fn deliver(&mut self, message: &Message, deadline: Deadline) -> Outcome {
        match &mut self.way {
            Way::Smtp(transaction) => transaction.deliver(message, deadline).await,
            Way::Maildir(transaction) => {
                let (outcome, stage) = transaction.deliver(message, deadline).await;
                self.route.stage = stage;
                outcome
            }
            Way::Discard => {
                self.route.stage = Stage::EndOfData;
                Outcome::Accepted(Reply::fixed(250, EnhancedCode(2, 0, 0), "OK"))
            }
        }
    }

    /// What became of the message for one recipient, by its number among those that were accepted, where that can be something else than
    /// for the others: an LMTP next hop answers each by itself. None: the outcome of [`Transaction::deliver`] is everybody's.
    #[must_use]
    pub fn recipient_outcome(&self, number: usize) -> Option<&Outcome> {
        match &self.way {
            Way::Smtp(transaction) => transaction.recipient_outcome(number),
            Way::Maildir(_) | Way::Discard => None,
        }
    }

    /// Ends the transaction without a message; the connection goes back into the pool as with [`Transaction::release`].
    pub fn abandon(mut self) {
        self.release();
    }

    /// How far the last step came and over what, for records.
    #[must_use]
    pub fn route(&self) -> &Route {
        match &self.way {
            Way::Smtp(transaction) => &transaction.route,
            Way::Maildir(_) | Way::Discard => &self.route,
        }
    }
}

/// Counters of one shard since it began, and its connections now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections over which EHLO was said.
    pub connections_opened: u64,
    /// Times an idle connection was taken.
    pub connections_reused: u64,
    /// Idle connections that turned out to be dead.
    pub connections_found_dead: u64,
    /// Attempts to connect that failed, a refusing greeting or EHLO included.
    pub connections_failed: u64,
    /// Times MAIL and RCPT were said again.
    pub replays: u64,
    /// Messages whose outcome is unknown.
    pub outcomes_unknown: u64,
    /// Messages that some recipients got over LMTP and others did not.
    pub mixed_outcomes: u64,
    /// Recipients that had got the message with an earlier try.
    pub deliveries_skipped: u64,
    /// Times a Maildir's `new/` was fsynced.
    pub maildir_groups: u64,
    /// Messages that those fsyncs made durable, or did not: the mean of a group is this by [`Counters::maildir_groups`].
    pub maildir_members: u64,
    /// Open now, in use or idle.
    pub connections_open: usize,
    /// Idle now.
    pub connections_idle: usize,
}

impl Counters {
    /// The sum of both.
    #[must_use]
    pub fn plus(&self, other: &Counters) -> Counters {
        Counters {
            connections_opened: self.connections_opened + other.connections_opened,
            connections_reused: self.connections_reused + other.connections_reused,
            connections_found_dead: self.connections_found_dead + other.connections_found_dead,
            connections_failed: self.connections_failed + other.connections_failed,
            replays: self.replays + other.replays,
            outcomes_unknown: self.outcomes_unknown + other.outcomes_unknown,
            mixed_outcomes: self.mixed_outcomes + other.mixed_outcomes,
            deliveries_skipped: self.deliveries_skipped + other.deliveries_skipped,
            maildir_groups: self.maildir_groups + other.maildir_groups,
            maildir_members: self.maildir_members + other.maildir_members,
            connections_open: self.connections_open + other.connections_open,
            connections_idle: self.connections_idle + other.connections_idle,
        }
    }
}
