//! Reading the configuration again while the gate runs.
//!
//! A thread beside the shards waits for the word (SIGHUP) and looks from time to time whether a certificate was renewed. What it reads is
//! checked whole before any shard hears of it: it holds from then on, all of it, or the old one goes on and the reason is told.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};

use mx6_runtime::{Latest, StopFlag};
use mx6_telemetry::Reopen;

use crate::check::{CheckError, check_folders};
use crate::config::{Config, ConfigError};
use crate::limits;
use crate::notify::Notifier;
use crate::settings::{FileVersion, Snapshot, TlsState, Written};
use crate::tls::{Tls, TlsError};

/// Where a running gate gets its configuration again.
pub struct Reload {
    /// Each word here asks for a reload; the other end closed says that there will be none.
    pub requests: Receiver<()>,
    /// Reads and checks all layers.
    pub read: Box<dyn Fn() -> Result<Config, ConfigError> + Send>,
}

/// Whom a reload concerns, besides the shards.
pub(crate) struct Concerned {
    pub(crate) snapshots: Latest<Snapshot>,
    pub(crate) notifier: Notifier,
    pub(crate) log: Reopen,
}

/// Why a reload was not taken over.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Check(#[from] CheckError),
    #[error("cannot deliver: {0}")]
    Deliver(std::io::Error),
}

/// The first snapshot. A certificate that cannot be used is told and keeps nobody out: mail that would have come in the clear still does.
pub(crate) fn first_snapshot(config: Config) -> Snapshot {
    let (certificates_written, tls) = read_certificates(&config);
    let tls = tls.unwrap_or_else(|error| {
        mx6_telemetry::warning!("--tls-cert: {error}; STARTTLS is answered with 454 until that is mended");
        TlsState::Broken
    });
    Snapshot { config: Arc::new(config), tls, certificates_written }
}

/// Serves requests until the gate stops.
pub(crate) fn serve_requests(reload: &Reload, concerned: &Concerned, stop: &StopFlag) {
    let Concerned { snapshots, notifier, log } = concerned;
    let mut told = None;
    loop {
        let asked = reload.requests.recv_timeout(limits::CERTIFICATE_POLL);
        if stop.is_set() {
            return;
        }
        let now = snapshots.get();
        match asked {
            Ok(()) => {
                // Who sends SIGHUP may have rotated the log.
                log.ask();
                notifier.reloading();
                match read_again(reload, &now.config) {
                    Ok(snapshot) => {
                        // Only a level that the file changes: one that was set by hand stays.
                        if snapshot.config.log_level != now.config.log_level {
                            mx6_telemetry::set_level(snapshot.config.log_level);
                        }
                        snapshots.set(Arc::new(snapshot));
                        mx6_telemetry::say!("reload: the new configuration holds");
                        notifier.ready("serving, the new configuration holds");
                    }
                    Err(error) => {
                        mx6_telemetry::failure!("reload: {error}; the old configuration goes on");
                        notifier.ready("serving, the new configuration could not be used");
                    }
                }
            }
            Err(RecvTimeoutError::Timeout) => match renewed(&now) {
                Ok(None) => told = None,
                Ok(Some(snapshot)) => {
                    told = None;
                    snapshots.set(Arc::new(snapshot));
                    mx6_telemetry::say!("the certificate was renewed, new sessions get the new one");
                }
                Err(error) => {
                    let error = error.to_string();
                    if told.as_ref() != Some(&error) {
                        let meanwhile = if matches!(now.tls, TlsState::Broken) {
                            "STARTTLS is still answered with 454"
                        } else {
                            "what was read before goes on"
                        };
                        mx6_telemetry::failure!("--tls-cert: {error}; {meanwhile}");
                    }
                    told = Some(error);
                }
            },
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// With the certificates as they are now, if they are not those of `now`. What could not be used is tried again whether or not it was
/// written since: permissions may have been all that it lacked.
fn renewed(now: &Snapshot) -> Result<Option<Snapshot>, TlsError> {
    if written(&now.config) == now.certificates_written && !matches!(now.tls, TlsState::Broken) {
        return Ok(None);
    }
    let (certificates_written, tls) = read_certificates(&now.config);
    Ok(Some(Snapshot { config: Arc::clone(&now.config), tls: tls?, certificates_written }))
}

fn read_again(reload: &Reload, old: &Config) -> Result<Snapshot, ReloadError> {
    let mut config = (reload.read)().map_err(CheckError::from)?;
    let frozen = config.keep_what_is_fixed(old);
    check_folders(&config).map_err(CheckError::from)?;
    config.target.prepare().map_err(ReloadError::Deliver)?;
    let (certificates_written, tls) = read_certificates(&config);
    let tls = tls.map_err(CheckError::from)?;
    if !frozen.is_empty() {
        mx6_telemetry::say!("reload: {} will change with the next start", frozen.join(", "));
    }
    Ok(Snapshot { config: Arc::new(config), tls, certificates_written })
}

/// What the configuration says of TLS, read from the disk.
///
/// # Errors
/// If there are certificates and they cannot be used.
pub(crate) fn load_tls(config: &Config) -> Result<TlsState, TlsError> {
    if config.certificates.is_empty() {
        return Ok(TlsState::NotConfigured);
    }
    Tls::load(&config.certificates, &config.certificate_connectors).map(|tls| TlsState::Ready(Arc::new(tls)))
}

/// The certificates, and what their files were before they were read: what is written meanwhile is a renewal.
fn read_certificates(config: &Config) -> (Written, Result<TlsState, TlsError>) {
    (written(config), load_tls(config))
}

/// What the files of certificates are now.
fn written(config: &Config) -> Written {
    let version = |path: &PathBuf| {
        let file = std::fs::metadata(path).ok()?;
        Some(FileVersion { device: file.dev(), inode: file.ino(), octets: file.len(), modified: file.modified().ok() })
    };
    config.certificate_files().map(|path| (path.clone(), version(path))).collect()
}
