"""A place in which one mail server after the other relays the same mail to the same next hop, and its CPU time is taken.

What it is: a network, mount and process namespace (unshare). Inside: loopback with all of 2001:db8::/32 on it, `mx6-loadgen zone` as the
authoritative DNS server, unbound before it as the resolver of everybody, Postfix' smtp-sink as the next hop, and one peer at a time. Software
comes from `packages` and is laid over /usr and /etc of the namespace; the machine outside is not touched. When the first process in it ends,
the kernel ends all others.

CPU time is that of a control group (version 2) in which the peer and all its children run: it is exact, and includes those that have ended.
What is trusted: the packages, and the load generator's count of replies.
"""

import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import time

import packages

HOSTNAME = "mx.peers.example"
PORT, SINK_PORT, ZONE_PORT = 25, 2525, 5300
NEXT_HOP = f"[::1]:{SINK_PORT}"

# The domain of the proof's mail; see proof.py.
PROOF_DOMAIN = "sender.proof.example"

# Recipient domains that the peer serves: the load generator's, and the proof's.
SERVED = ["open.example"]

USERS = {"postfix": 64101, "postdrop": 64102, "Debian-exim": 64103, "opendkim": 64104, "policyd-spf": 64105, "unbound": 64106}


def enter(arguments):
    """Runs this program again as the first process of new namespaces, and gives its exit code."""
    if os.geteuid() != 0:
        sys.exit("namespaces and control groups need root")
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]
    environment = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
    return subprocess.run([*command, sys.executable, *arguments], env=environment).returncode


class Group:
    """A control group: what runs in it, and how much CPU time it took."""

    def __init__(self, name):
        self.path = groups_folder() / name
        try:
            self.path.mkdir()
        except OSError as error:
            sys.exit(f"no control group can be made at {self.path}: {error}")

    def start(self, command, **options):
        """Starts a command in the group."""
        procs = str(self.path / "cgroup.procs")

        def join():
            with open(procs, "w") as file:
                file.write("0")

        return subprocess.Popen([str(word) for word in command], preexec_fn=join, stdin=subprocess.DEVNULL, cwd="/", **options)

    def cpu_us(self):
        """CPU time so far, user and system, of all that run and ran in it."""
        return int(re.search(r"^usage_usec (\d+)", (self.path / "cpu.stat").read_text(), re.MULTILINE)[1])

    def memory_octets(self):
        """Resident memory of all that run in it; pages they share count once for each."""
        pages = 0
        for pid in (self.path / "cgroup.procs").read_text().split():
            try:
                pages += int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
            except (OSError, IndexError):
                continue
        return pages * os.sysconf("SC_PAGE_SIZE")

    def end(self):
        """Kills everything in it and removes it."""
        (self.path / "cgroup.kill").write_text("1")
        until("the control group to be empty", lambda: "populated 0" in (self.path / "cgroup.events").read_text())
        self.path.rmdir()


def groups_folder():
    """Where control groups of version 2 are mounted, alone or beside those of version 1."""
    found = re.search(r"^\S+ (\S+) cgroup2 ", pathlib.Path("/proc/self/mounts").read_text(), re.MULTILINE)
    if not found:
        sys.exit("no control groups of version 2 are mounted: mount -t cgroup2 none /sys/fs/cgroup")
    return pathlib.Path(found[1])


def remove_groups(run):
    """Removes the groups that a run which was killed has left."""
    for path in groups_folder().glob(f"{run}-*"):
        until(f"{path} to be empty", lambda: "populated 0" in (path / "cgroup.events").read_text())
        path.rmdir()


class Lab:
    """The place, with everything but the peer in it."""

    def __init__(self, disk, folders):
        # Queues stand on a real disk, as an operator's do.
        self.disk = disk
        self.disk.chmod(0o755)
        self.folder = pathlib.Path("/run/mx6-peers")
        self.overlay(folders)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        subprocess.run(["ip", "-6", "route", "add", "local", "2001:db8::/32", "dev", "lo"], check=True)
        # The route makes the addresses ours to answer for; this lets any client have one as its source.
        pathlib.Path("/proc/sys/net/ipv6/ip_nonlocal_bind").write_text("1")
        self.write_etc()
        # Postfix' and everybody's own users must get through to their folders.
        os.chmod(self.folder, 0o755)
        self.resolver = Group(f"{disk.name}-resolver")
        self.support = Group(f"{disk.name}-support")
        self.sink = None
        self.sink_log = self.folder / "sink.log"

    def overlay(self, folders):
        """Lays the unpacked packages over /usr and /etc. What is written there, and below /run, stays in memory of this namespace."""
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"], check=True)
        self.folder.mkdir()
        for name in ("usr", "etc"):
            lower = [str(folder / name) for folder in folders if (folder / name).is_dir()]
            upper, work = self.folder / f"{name}-upper", self.folder / f"{name}-work"
            upper.mkdir()
            work.mkdir()
            layers = f"lowerdir={':'.join([*lower, '/' + name])},upperdir={upper},workdir={work}"
            subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, "/" + name], check=True)

    def write_etc(self):
        """The few files by which the system's resolver and users are found."""
        replace("/etc/resolv.conf", "nameserver 127.0.0.1\n")
        replace("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n")
        replace("/etc/hosts", f"127.0.0.1 localhost\n::1 localhost {HOSTNAME}\n")
        passwd, group = pathlib.Path("/etc/passwd"), pathlib.Path("/etc/group")
        for name, number in USERS.items():
            if not re.search(f"^{name}:", passwd.read_text(), re.MULTILINE) and name != "postdrop":
                passwd.write_text(passwd.read_text() + f"{name}:x:{number}:{number}::/nonexistent:/usr/sbin/nologin\n")
            if not re.search(f"^{name}:", group.read_text(), re.MULTILINE):
                group.write_text(group.read_text() + f"{name}:x:{number}:\n")

    def start_resolver(self, proof_zones, load_zone):
        """The load's DNS server by its command, and unbound: the proof's names from a file, those of the load from its server, and nothing else exists."""
        folder = self.folder / "unbound"
        folder.mkdir()
        config = UNBOUND.replace("FOLDER", str(folder))
        for number, (origin, text) in enumerate(proof_zones.items()):
            file = folder / f"{number}.zone"
            file.write_text(text)
            config += f"auth-zone:\n name: \"{origin}\"\n zonefile: \"{file}\"\n for-upstream: yes\n for-downstream: no\n"
        (folder / "unbound.conf").write_text(config)
        log = open(folder / "log", "w")
        self.support.start([*load_zone, "--listen", f"127.0.0.1:{ZONE_PORT}"], stdout=log, stderr=log)
        self.resolver.start(["unbound", "-d", "-c", folder / "unbound.conf"], stdout=log, stderr=log)
        until("unbound to answer", lambda: resolves(f"mail.{PROOF_DOMAIN}"))

    def start_sink(self, captured=None):
        """The next hop; writes every message into the folder `captured`, or throws them away. It counts them in both cases."""
        if self.sink:
            self.sink.kill()
            self.sink.wait()
        command = ["smtp-sink", "-u", "nobody", "-c"]
        if captured:
            captured.mkdir(exist_ok=True)
            shutil.chown(captured, "nobody")
            command += ["-d", f"{captured}/%M."]
        log = open(self.sink_log, "w")
        self.sink = self.support.start([*command, f"inet:{NEXT_HOP}", "4096"], stdout=log, stderr=log)
        until("smtp-sink to listen", lambda: listens(SINK_PORT))

    def sunk(self):
        """Messages that the next hop has taken."""
        counts = re.findall(r"mesg=(\d+)", self.sink_log.read_text())
        return int(counts[-1]) if counts else 0

    def end(self):
        """Ends everything but the caller."""
        self.support.end()
        self.resolver.end()


UNBOUND = """\
server:
 interface: 127.0.0.1
 access-control: 127.0.0.0/8 allow
 do-daemonize: no
 use-syslog: no
 logfile: ""
 username: ""
 chroot: ""
 directory: "FOLDER"
 pidfile: ""
 module-config: "iterator"
 num-threads: 1
 do-not-query-localhost: no
 do-ip6: no
 msg-cache-size: 64m
 rrset-cache-size: 128m
 local-zone: "example." transparent
 local-zone: "8.b.d.0.1.0.0.2.ip6.arpa." transparent
 local-zone: "." static
stub-zone:
 name: "example"
 stub-addr: 127.0.0.1@5300
stub-zone:
 name: "8.b.d.0.1.0.0.2.ip6.arpa"
 stub-addr: 127.0.0.1@5300
"""


def replace(path, text):
    """Writes a file of /etc, also where a link stood."""
    path = pathlib.Path(path)
    path.unlink(missing_ok=True)
    path.write_text(text)


def listens(port):
    """Whether anybody listens on this port. No connection is made, so that no server counts one."""
    wanted = f":{port:04X}"
    rows = [row.split() for table in ("tcp", "tcp6") for row in pathlib.Path("/proc/net", table).read_text().splitlines()[1:]]
    return any(row[1].endswith(wanted) and row[3] == "0A" for row in rows)


def resolves(name):
    try:
        socket.getaddrinfo(name, None, socket.AF_INET6)
        return True
    except OSError:
        return False


def until_listening(name, process, port, limit_s=60):
    """Waits until somebody listens on the port; the process must live that long."""
    def condition():
        if process.poll() is not None:
            raise ChildProcessError(f"{name} ended with {process.returncode}")
        return listens(port)

    until(f"{name} to listen", condition, limit_s)


def until(what, condition, limit_s=60):
    """Waits until the condition holds; says what did not happen when it does not."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {limit_s} s in vain for {what}")
        time.sleep(0.05)
