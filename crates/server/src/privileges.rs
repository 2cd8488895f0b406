//! What a gate that was started as root keeps: the sockets and files that it opened, and nothing else.
//!
//! glibc changes the user of all threads of the process; that it did is looked up. No new privileges (no_new_privs, prctl(2)) is of one
//! thread and those that it starts: it is set before there are others.

use std::io;
use std::sync::{Mutex, PoisonError};

use nix::unistd::{Gid, Group, Uid, User};

/// Whom the gate runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunAs {
    name: String,
    uid: Uid,
    gid: Gid,
}

/// Privileges could not be given up.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// Only root can become somebody else.
    #[error(
        "--user {0}: only root can change the user; start as root, or as {0} without --user (AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit)"
    )]
    NotRoot(String),
    /// The kernel refuses a step.
    #[error(
        "--user {name}: {step} failed: {source}; a container or a unit may lack CAP_SETUID and CAP_SETGID (CapabilityBoundingSet=)"
    )]
    Refused {
        /// The user.
        name: String,
        /// What.
        step: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Something of root is left.
    #[error("--user {name}: {left}; the gate does not go on like this")]
    Kept {
        /// The user.
        name: String,
        /// What.
        left: String,
    },
    /// no_new_privs.
    #[error("no_new_privs cannot be set: {0}")]
    NoNewPrivileges(#[source] io::Error),
}

impl RunAs {
    /// Reads `NAME` or `NAME:GROUP` and looks them up, unless that was done before: once the gate is in its sandbox the file of users is out
    /// of its reach, and a configuration that is read again still names them.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<RunAs, String> {
        static KNOWN: Mutex<Option<(String, RunAs)>> = Mutex::new(None);
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, found)) = known.as_ref().filter(|(of, _)| of == text) {
            return Ok(found.clone());
        }
        let found = RunAs::look_up(text)?;
        *known = Some((text.to_owned(), found.clone()));
        Ok(found)
    }

    fn look_up(text: &str) -> Result<RunAs, String> {
        let (name, group) = text.split_once(':').map_or((text, None), |(name, group)| (name, Some(group)));
        let failed = |error: nix::Error| format!("cannot be looked up: {error}");
        let user = User::from_name(name).map_err(failed)?;
        let user = user.ok_or_else(|| {
            format!("there is no user {name:?}; create it: useradd --system --shell /usr/sbin/nologin {name}")
        })?;
        let gid = match group {
            None => user.gid,
            Some(group) => {
                let found = Group::from_name(group).map_err(failed)?;
                found.ok_or_else(|| format!("there is no group {group:?}; create it: groupadd --system {group}"))?.gid
            }
        };
        if user.uid.is_root() {
            return Err("is root; name a user without privileges".to_owned());
        }
        Ok(RunAs { name: user.name, uid: user.uid, gid })
    }

    /// Makes a file that root has just created this user's.
    pub(crate) fn own(&self, path: &std::path::Path) -> io::Result<()> {
        std::os::unix::fs::chown(path, Some(self.uid.as_raw()), Some(self.gid.as_raw()))
    }

    /// Becomes this user, in every thread, for ever.
    ///
    /// # Errors
    /// If we are neither root nor this user, or something of root is left.
    pub(crate) fn become_it(&self) -> Result<(), PrivilegeError> {
        if !nix::unistd::geteuid().is_root() {
            let is_it = nix::unistd::getuid() == self.uid && nix::unistd::geteuid() == self.uid;
            return if is_it { Ok(()) } else { Err(PrivilegeError::NotRoot(self.name.clone())) };
        }
        let refused = |step| {
            move |error: nix::Error| PrivilegeError::Refused { name: self.name.clone(), step, source: error.into() }
        };
        let name = std::ffi::CString::new(self.name.clone()).unwrap_or_default();
        nix::unistd::initgroups(&name, self.gid).map_err(refused("initgroups"))?;
        nix::unistd::setgid(self.gid).map_err(refused("setgid"))?;
        nix::unistd::setuid(self.uid).map_err(refused("setuid"))?;
        self.check_threads()
    }

    /// Nothing of root is left in any thread, and there is no way back.
    fn check_threads(&self) -> Result<(), PrivilegeError> {
        let kept = |left: String| PrivilegeError::Kept { name: self.name.clone(), left };
        if nix::unistd::setuid(Uid::from_raw(0)).is_ok() {
            return Err(kept("root could be regained".to_owned()));
        }
        let threads = std::fs::read_dir("/proc/self/task").map_err(|error| kept(format!("/proc: {error}")))?;
        for thread in threads.flatten() {
            let Ok(status) = std::fs::read_to_string(thread.path().join("status")) else { continue };
            let expected = [("Uid:", self.uid.as_raw()), ("Gid:", self.gid.as_raw()), ("CapPrm:", 0), ("CapEff:", 0)];
            for (field, number) in expected {
                let line = status.lines().find(|line| line.starts_with(field)).unwrap_or(field);
                if !line.split_whitespace().skip(1).all(|word| word.parse() == Ok(number)) {
                    return Err(kept(format!("a thread has {line:?}")));
                }
            }
        }
        Ok(())
    }
}

/// Nothing that this thread, or one that it starts, ever executes gets more rights than it has.
///
/// # Errors
/// The kernel's.
pub(crate) fn forbid_new_privileges() -> Result<(), PrivilegeError> {
    rustix::thread::set_no_new_privs(true).map_err(|error| PrivilegeError::NoNewPrivileges(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users() {
        let check = |text: &str, part: &str| {
            let error = RunAs::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        };
        check("nobody-of-that-name", "there is no user");
        check("", "there is no user");
        check("nobody:no-such-group", "there is no group");
        check("root", "is root");
        let nobody = RunAs::parse("nobody").unwrap();
        assert!(!nobody.uid.is_root());
        assert_eq!(RunAs::parse("nobody:root").unwrap().gid, Gid::from_raw(0));
    }
}
