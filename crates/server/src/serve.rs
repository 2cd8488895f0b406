//! Starting and stopping the gate: preflight, sockets, log, shards.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use mx6_delivery::{Ledger, Target};
use mx6_dkim::Kernels;
use mx6_dkim::kernels::{KernelChoice, KernelError};
use mx6_dns::{Caches, DnsError};
use mx6_message_auth::MessageAuthCaches;
use mx6_runtime::{Listener, Preflight, ShardError, StopFlag};
use mx6_telemetry::{Counters, LogError, Recorders, Total};

use crate::check::{FolderError, check_folders, dns_config};
use crate::connection::ListenerKind;
use crate::dkim_batch;
use crate::evaluation::unix_ms;
use crate::limits;
use crate::shard::{Shard, ShardParts};
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
            ServeError::Bind { .. } => 69,
            ServeError::Dns(_) | ServeError::Kernels(_) => 78,
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

/// Runs the gate until `stop` is set and everything has drained.
///
/// # Errors
/// If it cannot be started; if a shard dies, in which case the process must end.
pub fn serve(config: Config, stop: &StopFlag) -> Result<(), ServeError> {
    mx6_runtime::preflight(config.cores.cpus().len())?;
    let kernels = select_kernels(config.kernels)?;
    let dns = dns_config(&config.names, config.dns_timeout)?;
    let shards = config.cores.cpus().len();
    check_folders(&config)?;
    config.target.prepare().map_err(ServeError::Deliver)?;
    let listeners = bind_all(&config, shards)?;
    let counters: Vec<Counters> = (0..shards).map(|_| Counters::default()).collect();
    let total = Total::of(counters.clone());
    let mut recorders = Recorders::start(&config.log, &counters)?;
    let cores = config.cores.clone();
    if config.gate.directory.is_empty() {
        mx6_telemetry::say!("warning: no --domain is given, every recipient will be refused");
    }
    for (listener, _) in listeners.first().into_iter().flatten() {
        mx6_telemetry::say!("listening on {}", listener.local_addr());
    }
    if let NameSource::Zone(path) = &config.names {
        for line in what_to_try(&config, path).lines() {
            mx6_telemetry::say!("{line}");
        }
    }

    let dns_caches = Caches::new(&config.cache_octets.dns());
    let auth_caches = MessageAuthCaches::new(&config.cache_octets.message_auth());
    let ledger: Arc<Ledger> = Arc::default();
    let config = Arc::new(config);
    let process_id = unix_ms();
    let parts = listeners.into_iter().zip(counters).enumerate().filter_map(|(index, (listeners, counters))| {
        Some(ShardParts {
            index,
            config: Arc::clone(&config),
            kernels,
            dns: dns.clone(),
            dns_caches: dns_caches.clone(),
            auth_caches: auth_caches.clone(),
            ledger: Arc::clone(&ledger),
            listeners,
            counters,
            recorder: recorders.take(index)?,
            stop: stop.clone(),
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
    if let Err(error) = recorders.close() {
        mx6_telemetry::say!("the decision log was not written whole: {error}");
    }
    if let Some(line) = dkim_batch::occupancy(&total) {
        mx6_telemetry::say!("{line}");
    }
    ended?;
    match failures.lock().unwrap_or_else(PoisonError::into_inner).pop() {
        Some(failure) => Err(ServeError::Failed(failure)),
        None => Ok(()),
    }
}

/// Selects kernels and says which. One that gives wrong answers is told: the machine or the compiler is broken, mail is not at risk.
fn select_kernels(choice: KernelChoice) -> Result<Kernels, KernelError> {
    let selection = Kernels::select(choice)?;
    for name in selection.failed.iter() {
        mx6_telemetry::say!("kernel {name} gave wrong answers at the start and is switched off");
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

/// For each shard a listener on each address: the kernel spreads connections over them (SO_REUSEPORT).
fn bind_all(config: &Config, shards: usize) -> Result<Vec<Vec<(Listener, ListenerKind)>>, ServeError> {
    let direct = config.listen.iter().map(|address| (*address, ListenerKind::Direct));
    let proxied = config.proxy_listen.iter().map(|address| (*address, ListenerKind::Proxy));
    let mut addresses: Vec<(SocketAddr, ListenerKind)> = direct.chain(proxied).collect();
    let mut all = Vec::with_capacity(shards);
    for _ in 0..shards {
        let mut listeners = Vec::with_capacity(addresses.len());
        for (address, kind) in &mut addresses {
            let bound = Listener::bind(*address, limits::BACKLOG);
            let listener = bound.map_err(|source| ServeError::Bind { address: *address, source })?;
            // Port 0 was given a number by the first bind; the other shards share it.
            *address = listener.local_addr();
            listeners.push((listener, *kind));
        }
        all.push(listeners);
    }
    Ok(all)
}
