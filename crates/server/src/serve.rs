//! Starting and stopping the gate: preflight, sockets, log, shards.

use std::hash::RandomState;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use mx6_delivery::{Ledger, Target};
use mx6_dkim::Kernels;
use mx6_dkim::kernels::{KernelChoice, KernelError};
use mx6_dns::{Caches, DnsConfig, DnsError};
use mx6_message_auth::MessageAuthCaches;
use mx6_policy::limits::LimitTable;
use mx6_runtime::{Latest, Needs, Preflight, ShardError, StopFlag};
use mx6_telemetry::{Counters, LogError, LogTarget, Observer, OpenLog, Recorders, Total, Tracing};

use crate::admission;
use crate::breaker::Breaker;
use crate::check::{FolderError, check_folders, dns_config};
use crate::dkim_batch;
use crate::evaluation::unix_ms;
use crate::handover::HandoverError;
use crate::heartbeat::Heartbeats;
use crate::load;
use crate::notify::Notifier;
use crate::privileges::{PrivilegeError, forbid_new_privileges};
use crate::reload::{self, Concerned, Reload};
use crate::sandbox::{self, SandboxError};
use crate::settings::Snapshot;
use crate::shard::{Shard, ShardParts};
use crate::sockets::{self, Sockets};
use crate::status::{Board, Overview, addresses};
use crate::supervisor::{Supervision, Supervisor};
use crate::{Config, NameSource};

/// The gate could not be started, or ended otherwise than it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The machine lacks something.
    #[error(transparent)]
    Preflight(#[from] Preflight),
    /// An address cannot be bound.
    #[error("cannot listen on {address}: {source}{}", bind_remedy(source))]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The address of the admin endpoint cannot be taken.
    #[error("--admin {address}: {source}")]
    Admin {
        /// Which.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// Sockets of the service manager.
    #[error("a socket of the service manager cannot be used: {0}")]
    Activation(#[source] std::io::Error),
    /// The gate that runs already.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// The user.
    #[error(transparent)]
    Privileges(#[from] PrivilegeError),
    /// The sandbox.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// A kernel that this CPU cannot run.
    #[error("--kernels: {0}; use auto, or leave the option out")]
    Kernels(#[from] KernelError),
    /// The resolvers or the zone file.
    #[error(transparent)]
    Dns(#[from] DnsError),
    /// The Maildir.
    #[error("cannot deliver: {0}")]
    Deliver(#[source] std::io::Error),
    /// A folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The decision log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A thread could not be started.
    #[error("a thread cannot be started: {0}")]
    Thread(#[source] std::io::Error),
    /// A shard could not go on serving; the gate was drained.
    #[error("{0}")]
    Failed(String),
    /// A shard died.
    #[error(transparent)]
    Shard(#[from] ShardError),
}

impl ServeError {
    /// The exit code, by sysexits.h.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            ServeError::Preflight(preflight) => preflight.exit_code(),
            ServeError::Bind { .. } | ServeError::Admin { .. } => 69,
            ServeError::Dns(_) | ServeError::Kernels(_) | ServeError::Activation(_) => 78,
            ServeError::Handover(handover) => handover.exit_code(),
            ServeError::Privileges(_) => 77,
            ServeError::Sandbox(_) | ServeError::Thread(_) => 71,
            ServeError::Folder(_) | ServeError::Deliver(_) | ServeError::Log(_) => 73,
            ServeError::Failed(_) => 70,
            ServeError::Shard(shard) => shard.exit_code(),
        }
    }
}

fn bind_remedy(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => "; another process listens there: stop it or choose another port",
        std::io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need CAP_NET_BIND_SERVICE: setcap cap_net_bind_service=+ep, AmbientCapabilities= in the unit, or sysctl net.ipv4.ip_unprivileged_port_start=25"
        }
        std::io::ErrorKind::AddrNotAvailable => "; this machine does not have that address: see `ip address`",
        _ => "",
    }
}

/// A gate that is ready to start: it has its sockets and its log, and has given up what it needed to get them.
pub struct Prepared {
    snapshot: Snapshot,
    kernels: Kernels,
    dns: DnsConfig,
    notifier: Notifier,
    sockets: Sockets,
    admin: Vec<mx6_admin::Bound>,
    log: OpenLog,
    commit: &'static str,
}

/// Opens sockets and log, gives up privileges, and enters the sandbox, in which the files of `config` can be reached, and those of
/// `also_read` (with their folders) be read. To be called before the process has a second thread: only threads that are started
/// afterwards are in the sandbox.
///
/// # Errors
/// If something is missing, or cannot be had or given up.
pub fn prepare(config: Config, also_read: &[PathBuf]) -> Result<Prepared, ServeError> {
    mx6_telemetry::set_level(config.log_level);
    let shards = config.cores.cpus().len();
    mx6_runtime::preflight(shards, needs(&config))?;
    let kernels = select_kernels(config.kernels)?;
    let dns = DnsConfig { stale: config.dns_stale, ..dns_config(&config.names, config.dns_timeout)? };
    check_folders(&config)?;
    let notifier = Notifier::from_environment();
    let sockets = sockets::open(&config, shards)?;
    let admin = bind_admin(&config)?;
    let log = open_log(&config)?;
    // A key may be readable to root alone.
    let snapshot = reload::first_snapshot(config);
    let config = &snapshot.config;
    forbid_new_privileges()?;
    if let Some(user) = &config.user {
        user.become_it()?;
        // Root may use io_uring where its users may not.
        mx6_runtime::probe_io_uring().map_err(Preflight::IoUring)?;
    }
    // Its folders are to belong to whom we run as.
    config.target.prepare().map_err(ServeError::Deliver)?;
    if config.sandbox {
        sandbox::enter(config, also_read)?;
    }
    Ok(Prepared { snapshot, kernels, dns, notifier, sockets, admin, log, commit: "unknown" })
}

/// What executors will need beyond what this process shows now.
fn needs(config: &Config) -> Needs {
    Needs { drops_privileges: config.user.is_some(), is_relieved: config.handover.is_some() }
}

/// Opens the log. Created by root, it is given to whom we run as, who is to open it again after rotation.
fn open_log(config: &Config) -> Result<OpenLog, ServeError> {
    let new = match &config.log {
        LogTarget::File(path) if !path.exists() => Some(path),
        _ => None,
    };
    let log = config.log.open()?;
    if let (Some(path), Some(user)) = (new, &config.user)
        && let Err(error) = user.own(path)
    {
        mx6_telemetry::warning!("{} stays root's: {error}", path.display());
    }
    Ok(log)
}

impl Prepared {
    /// The same, with the commit that it shows as the one it was built from.
    #[must_use]
    pub fn built_from(self, commit: &'static str) -> Prepared {
        Prepared { commit, ..self }
    }

    /// Runs the gate until `stop` is set and everything has drained. What `reload` reads meanwhile takes the place of the configuration.
    ///
    /// # Errors
    /// If it cannot be started; if a shard dies, in which case the process must end.
    pub fn serve(self, reload: Reload, stop: &StopFlag) -> Result<(), ServeError> {
        let Prepared { snapshot, kernels, dns, notifier, sockets, admin, log, commit } = self;
        let config = Arc::clone(&snapshot.config);
        let shards = config.cores.cpus().len();
        let counters: Vec<Counters> = (0..shards).map(|_| Counters::default()).collect();
        let total = Total::of(counters.clone());
        let observer = Observer::default();
        let is_observed = !admin.is_empty() || config.otlp.is_some();
        let mut recorders = Recorders::start(log, &counters, is_observed.then_some(&observer))?;
        let cores = config.cores.clone();
        if config.gate.directory.is_empty() {
            mx6_telemetry::warning!("no --domain is given, every recipient will be refused");
        }
        for line in &sockets.told {
            mx6_telemetry::say!("{line}");
        }
        if let NameSource::Zone(path) = &config.names {
            for line in what_to_try(&config, path).lines() {
                mx6_telemetry::say!("{line}");
            }
        }

        let dns_caches = Caches::new(&config.cache_octets.dns());
        let auth_caches = MessageAuthCaches::new(&config.cache_octets.message_auth());
        let ledger: Arc<Ledger> = Arc::default();
        let breaker = Breaker::new(&config);
        // The key of the hash is drawn here, for this process alone.
        let limit_table = Arc::new(LimitTable::new(config.limit_table_octets, RandomState::new()));
        let snapshots = Latest::new(Arc::new(snapshot));
        let (snapshots_of_reload, log) = (snapshots.clone(), recorders.reopen());
        let concerned = Concerned { snapshots: snapshots_of_reload, notifier: notifier.clone(), log };
        start_reloading(reload, concerned, stop.clone())?;
        let process_id = unix_ms();
        let heartbeats = Heartbeats::new(shards, mx6_runtime::now_ms());
        let spans = start_spans(&config, &observer)?;
        let (board, up, tracing) = (Board::new(shards), Arc::default(), Tracing::default());
        let overview = Overview {
            total: total.clone(),
            snapshots: snapshots.clone(),
            heartbeats: heartbeats.clone(),
            up: Arc::clone(&up),
            stop: stop.clone(),
            dns_caches: dns_caches.clone(),
            auth_caches: auth_caches.clone(),
            breaker: breaker.clone(),
            board: board.clone(),
            observer,
            tracing: tracing.clone(),
            kernels: kernels.to_string(),
            commit,
            started_unix_ms: process_id,
            spans: spans.as_ref().map(mx6_admin::Exporting::tally),
        };
        let admin = if !admin.is_empty() { Some(start_admin(admin, overview)?) } else { None };
        let supervision = Supervision {
            shards,
            notifier,
            heartbeats: heartbeats.clone(),
            predecessor: sockets.predecessor,
            door: sockets.door,
            admin: admin.as_ref().map(mx6_admin::Running::leaving),
            held: sockets.held,
            addresses: addresses::Watch::new(total.clone()),
            up,
            stop: stop.clone(),
        };
        let supervisor = Supervisor::start(supervision).map_err(ServeError::Thread)?;
        let parts =
            sockets.shards.into_iter().zip(counters).enumerate().filter_map(|(index, (listeners, counters))| {
                Some(ShardParts {
                    index,
                    snapshots: snapshots.clone(),
                    kernels,
                    dns: dns.clone(),
                    dns_caches: dns_caches.clone(),
                    auth_caches: auth_caches.clone(),
                    limits: Arc::clone(&limit_table),
                    ledger: Arc::clone(&ledger),
                    listeners,
                    breaker: breaker.clone(),
                    counters,
                    recorder: recorders.take(index)?,
                    stop: stop.clone(),
                    heartbeats: heartbeats.clone(),
                    board: board.clone(),
                    tracing: tracing.clone(),
                    up: supervisor.up(),
                    process_id,
                })
            });
        let parts: Arc<Mutex<Vec<ShardParts>>> = Arc::new(Mutex::new(parts.collect()));
        let failures: Arc<Mutex<Vec<String>>> = Arc::default();
        let shard_failures = Arc::clone(&failures);
        let ended = mx6_runtime::run_shards(&cores, move |id| {
            let parts = Arc::clone(&parts);
            let failures = Arc::clone(&shard_failures);
            async move {
                let mine = {
                    let mut parts = parts.lock().unwrap_or_else(PoisonError::into_inner);
                    parts.iter().position(|parts| parts.index == id.index).map(|at| parts.swap_remove(at))
                };
                if let Some(mine) = mine
                    && let Err(reason) = Shard::run(mine).await
                {
                    failures.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{id}: {reason}"));
                }
            }
        });
        if let Some(admin) = admin {
            admin.close();
        }
        if let Err(error) = recorders.close() {
            mx6_telemetry::failure!("the decision log was not written whole: {error}");
        }
        if let Some(spans) = spans {
            spans.close();
        }
        let totals = [dkim_batch::occupancy(&total), admission::summary(&total), load::summary(&total)];
        for line in totals.into_iter().flatten() {
            mx6_telemetry::say!("{line}");
        }
        ended?;
        supervisor.join()?;
        match failures.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            Some(failure) => Err(ServeError::Failed(failure)),
            None => Ok(()),
        }
    }
}

/// Takes the addresses of the admin endpoint, and warns of one that others can reach.
fn bind_admin(config: &Config) -> Result<Vec<mx6_admin::Bound>, ServeError> {
    let bind = |address: &mx6_admin::Address| {
        if !address.is_loopback() {
            mx6_telemetry::say!(
                "warning: --admin {address}: whoever reaches it sees all decisions; only a firewall keeps others away"
            );
        }
        address.bind().map_err(|source| ServeError::Admin { address: address.to_string(), source })
    };
    config.admin.iter().map(bind).collect()
}

/// Starts the admin endpoint and says where it is.
fn start_admin(bound: Vec<mx6_admin::Bound>, overview: Overview) -> Result<mx6_admin::Running, ServeError> {
    let admin = mx6_admin::start(bound, Arc::new(overview)).map_err(ServeError::Thread)?;
    for address in admin.addresses() {
        mx6_telemetry::say!("admin endpoint on {address}");
    }
    Ok(admin)
}

/// Starts the export of spans and says where to.
fn start_spans(config: &Config, observer: &Observer) -> Result<Option<mx6_admin::Exporting>, ServeError> {
    let Some(collector) = &config.otlp else { return Ok(None) };
    let exporting = mx6_admin::export(collector, &config.hostname, observer.decisions()).map_err(ServeError::Thread)?;
    mx6_telemetry::say!("spans go to {}", exporting.tally().status().collector);
    Ok(Some(exporting))
}

fn start_reloading(reload: Reload, concerned: Concerned, stop: StopFlag) -> Result<(), ServeError> {
    let thread = std::thread::Builder::new().name("mx6-reload".into());
    let started = thread.spawn(move || reload::serve_requests(&reload, &concerned, &stop));
    started.map(drop).map_err(ServeError::Thread)
}

/// Selects kernels and says which. One that gives wrong answers is told: the machine or the compiler is broken, mail is not at risk.
fn select_kernels(choice: KernelChoice) -> Result<Kernels, KernelError> {
    let selection = Kernels::select(choice)?;
    for name in selection.failed.iter() {
        mx6_telemetry::failure!("kernel {name} gave wrong answers at the start and is switched off");
    }
    mx6_telemetry::say!("kernels: {}", selection.kernels);
    Ok(selection.kernels)
}

/// For a gate that answers names from a file, which is one that somebody tries out.
fn what_to_try(config: &Config, zone: &Path) -> String {
    let mut text = format!("names come from {}, DNS is not asked. What to try next:\n", zone.display());
    if let Some(proxy) = config.proxy_listen.first() {
        text += &format!("  mx6-loadgen sample --proxy '{proxy}'   (or: cargo run -p mx6-loadgen -- sample)\n");
        text += "      sends one message for each row of the rule table and prints request and reply\n";
    }
    text += "  mx6 explain --zone ZONE --client-ip ADDR --helo NAME --mail-from ADDR --rcpt-to ADDR MESSAGE.eml\n";
    text += "      says every fact about a message in a file, the verdict and the reply\n";
    if let Target::Maildir(path) = &config.target {
        text += &format!("  ls {}   shows the mail that was accepted\n", path.join("new").display());
    }
    text + "decisions follow as JSON lines; Ctrl-C ends the gate\n"
}
