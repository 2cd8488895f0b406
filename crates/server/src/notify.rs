//! What the service manager is told (sd_notify(3)), if there is one: readiness, reload, stop, a line of status, and that we are alive.
//!
//! Datagrams to the Unix socket that `NOTIFY_SOCKET` names. The socket is connected once, at the start, so that neither another user nor
//! a sandbox comes between.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

/// The service manager; clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Notifier {
    socket: Option<Arc<UnixDatagram>>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// The one that the environment names. One that cannot be reached is told on standard error, and then nothing is sent.
    #[must_use]
    pub fn from_environment() -> Notifier {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Notifier::default();
        };
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        // WATCHDOG_PID names the process that is meant; without it we are.
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|us| ours && *us > 0).map(Duration::from_micros);
        let name = name.as_encoded_bytes();
        let address = match name.strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(std::path::Path::new(&*String::from_utf8_lossy(name))),
        };
        let connected = address.and_then(|address| {
            let socket = UnixDatagram::unbound()?;
            socket.connect_addr(&address)?;
            // A manager that does not read must not hold us up.
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        match connected {
            Ok(socket) => Notifier { socket: Some(Arc::new(socket)), watchdog },
            Err(error) => {
                mx6_telemetry::warning!("NOTIFY_SOCKET cannot be used, the service manager is told nothing: {error}");
                Notifier::default()
            }
        }
    }

    /// How long the manager waits for [`Notifier::alive`] before it ends us; none if it does not.
    #[must_use]
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Everything is up; also after a reload. `status` is one line for the operator.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}\n"));
    }

    /// The configuration is being read again; [`Notifier::ready`] follows, whether it could be used or not (`Type=notify-reload`).
    pub fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let us = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000);
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={us}\nSTATUS=reading the configuration\n"));
    }

    /// We end.
    pub fn stopping(&self, status: &str) {
        self.send(&format!("STOPPING=1\nSTATUS={status}\n"));
    }

    /// Every shard moves.
    pub fn alive(&self) {
        self.send("WATCHDOG=1\n");
    }

    fn send(&self, state: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(state.as_bytes())
        {
            mx6_telemetry::warning!("the service manager could not be told {:?}: {error}", state.lines().next());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said() {
        let (manager, socket) = UnixDatagram::pair().unwrap();
        let notifier = Notifier { socket: Some(Arc::new(socket)), watchdog: None };
        let told = || {
            let mut buffer = [0; 500];
            let octets = manager.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..octets].to_vec()).unwrap()
        };
        notifier.reloading();
        let (first, second) = (told(), {
            notifier.reloading();
            told()
        });
        let us = |text: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap();
            line.parse().unwrap()
        };
        assert!(
            first.starts_with("RELOADING=1\n") && us(&first) > 0 && us(&first) <= us(&second),
            "{first:?} {second:?}"
        );
        notifier.ready("2 domains");
        assert_eq!(told(), "READY=1\nSTATUS=2 domains\n");
        // Without a manager, or with one that has gone, nothing happens.
        drop(manager);
        notifier.alive();
        Notifier::default().alive();
    }
}
