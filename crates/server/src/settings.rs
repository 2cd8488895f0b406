//! What a reload replaces: a snapshot of the configuration, and a shard's own of it.
//!
//! A session keeps the settings it began with; a transaction those that held at its MAIL. So nobody meets half of an old and half of a
//! new configuration.

use std::cell::RefCell;
use std::sync::Arc;

use mx6_delivery::{Delivery, DeliveryConfig};
use mx6_smtp::{SessionConfig, StartTls};

use crate::config::{Config, EarlyTalker};
use crate::tls::Tls;

/// One configuration with what was read for it from the disk; the same for all shards.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) config: Arc<Config>,
    pub(crate) tls: TlsState,
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
}

impl Settings {
    /// For a shard; `delivery` is what served the settings before, if they had the same next hops.
    pub(crate) fn new(snapshot: &Snapshot, delivery: Option<Delivery>) -> Settings {
        let config = Arc::clone(&snapshot.config);
        let delivery = delivery.unwrap_or_else(|| Delivery::new(&config.target, DeliveryConfig::new(&config.hostname)));
        let session_config = RefCell::new(Arc::new(session_config(&config, &snapshot.tls, None)));
        Settings { config, tls: snapshot.tls.clone(), delivery, session_config }
    }

    /// What a new session offers.
    pub(crate) fn session_config(&self) -> Arc<SessionConfig> {
        Arc::clone(&self.session_config.borrow())
    }

    /// Asks the next hops what they take, and offers that from now on.
    pub(crate) async fn learn_from_next_hops(&self) {
        let next_hops_take = self.delivery.learn_limits().await;
        *self.session_config.borrow_mut() = Arc::new(session_config(&self.config, &self.tls, next_hops_take));
    }
}

/// SIZE is offered as the smallest that the next hops take, less our fields.
fn session_config(config: &Config, tls: &TlsState, next_hops_take: Option<u64>) -> SessionConfig {
    let relayed = next_hops_take.map(|octets| octets.saturating_sub(mx6_delivery::ADDED_OCTETS_ALLOWANCE));
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
        one_domain: config.gate.one_domain,
        watch_early_talkers: config.early_talker != EarlyTalker::Ignore,
        starttls,
        ..SessionConfig::default()
    }
}
