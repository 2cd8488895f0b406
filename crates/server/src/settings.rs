//! What a reload replaces: a snapshot of the configuration, and a shard's own of it.
//!
//! A session keeps the settings it began with; a transaction those that held at its MAIL. So nobody meets half of an old and half of a
//! new configuration.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use mx6_delivery::{Delivery, DeliveryConfig, Ledger, Offers};
use mx6_smtp::{SessionConfig, StartTls};

use crate::config::{Config, EarlyTalker};
use crate::tls::Tls;

/// One configuration with what was read for it from the disk; the same for all shards.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) config: Arc<Config>,
    pub(crate) tls: TlsState,
    /// Of the files that `tls` was read from, as they were before that; what is written later is a renewal.
    pub(crate) certificates_written: Written,
}

/// What files are and when they were written last; `None` for one that cannot be seen.
pub(crate) type Written = Vec<(PathBuf, Option<FileVersion>)>;

/// Two files may have been written in the same tick of the clock: one that was put in the place of another is told by its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileVersion {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) octets: u64,
    pub(crate) modified: Option<SystemTime>,
}

/// Whether clients may go on inside TLS.
#[derive(Debug, Clone)]
pub(crate) enum TlsState {
    /// No certificate is configured.
    NotConfigured,
    /// There is one, and it could not be read when it had to be.
    Broken,
    /// It is there.
    Ready(Arc<Tls>),
}

impl TlsState {
    /// TLS, where it can be had.
    pub(crate) fn ready(&self) -> Option<&Tls> {
        match self {
            TlsState::Ready(tls) => Some(tls),
            TlsState::NotConfigured | TlsState::Broken => None,
        }
    }
}

/// A snapshot as one shard uses it.
pub(crate) struct Settings {
    pub(crate) config: Arc<Config>,
    pub(crate) tls: TlsState,
    pub(crate) delivery: Delivery,
    session_config: RefCell<Arc<SessionConfig>>,
    /// Of the offers that `session_config` was made from.
    offers_generation: Cell<u64>,
}

impl Settings {
    /// For a shard; `before` are the settings until now, whose next hops stay if they are the same.
    pub(crate) fn new(snapshot: &Snapshot, before: Option<&Settings>, ledger: &Arc<Ledger>) -> Settings {
        let config = Arc::clone(&snapshot.config);
        let delivery = before.filter(|before| before.delivers_as(&config)).map(|before| before.delivery.clone());
        let delivery = delivery.unwrap_or_else(|| {
            let next_hop_client = config.next_hop_client;
            let delivery_config = DeliveryConfig { next_hop_client, ..DeliveryConfig::new(&config.hostname) };
            Delivery::with_ledger(&config.target, delivery_config, Arc::clone(ledger))
        });
        let offers_generation = Cell::new(delivery.offers_generation());
        let session_config = RefCell::new(Arc::new(session_config(&config, &snapshot.tls, delivery.offers())));
        Settings { config, tls: snapshot.tls.clone(), delivery, session_config, offers_generation }
    }

    /// Whether mail goes where `config` wants it, and in the same way.
    pub(crate) fn delivers_as(&self, config: &Config) -> bool {
        self.config.target == config.target && self.config.next_hop_client == config.next_hop_client
    }

    /// What a new session offers: made anew as soon as a next hop has said that it takes something else than before.
    pub(crate) fn session_config(&self) -> Arc<SessionConfig> {
        let generation = self.delivery.offers_generation();
        if self.offers_generation.replace(generation) != generation {
            let config = session_config(&self.config, &self.tls, self.delivery.offers());
            *self.session_config.borrow_mut() = Arc::new(config);
        }
        Arc::clone(&self.session_config.borrow())
    }
}

/// SIZE is offered as the smallest that the next hops take, less our fields; 8BITMIME, SMTPUTF8 and DSN as they all take them.
fn session_config(config: &Config, tls: &TlsState, offers: Offers) -> SessionConfig {
    let relayed = offers.size_max.map(|octets| octets.saturating_sub(mx6_delivery::ADDED_OCTETS_ALLOWANCE));
    // 0 would mean no limit at all.
    let size_limit = relayed.map_or(config.size_limit, |relayed| relayed.clamp(1, config.size_limit));
    let starttls = match tls {
        TlsState::NotConfigured => StartTls::NotOffered,
        TlsState::Broken => StartTls::Unavailable,
        TlsState::Ready(_) => StartTls::Offered,
    };
    SessionConfig {
        hostname: config.hostname.clone(),
        size_limit,
        eight_bit_mime: offers.eight_bit_mime,
        // Not without 8BITMIME (RFC 6531 §3.1).
        smtp_utf8: offers.smtp_utf8 && offers.eight_bit_mime,
        dsn: offers.dsn,
        one_domain: config.gate.one_domain,
        watch_early_talkers: config.early_talker != EarlyTalker::Ignore,
        starttls,
        ..SessionConfig::default()
    }
}
