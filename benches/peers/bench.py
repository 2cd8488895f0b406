"""Peers side by side: CPU time that one relayed message costs each, and its ratio to mx6 in the same run.

    benches/peers/all [--messages N] [--json FILE]          every peer
    benches/peers/exim.py [--messages N] [--json FILE]      one of them

Needs root, Debian's packages through apt-get, npm, and release builds: cargo build --release -p mx6 -p mx6-loadgen. Nothing is installed on the
machine (see packages.py), and nothing but the namespaces of this run is touched (see lab.py). A peer is measured only after it has shown that it
checks what it shall check (see proof.py). Every message comes on a connection of its own, from one of a hundred sources that have reverse DNS,
with SPF and an rsa-2048 signature that pass; the resolver's cache is warm.
"""

import argparse
import json
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import lab
import packages
import proof
from mx6 import Mx6

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Set for the run inside: what was found out outside, where there is a network.
OUTSIDE = "MX6_PEERS_OUTSIDE"

# Octets of a message's body, and its name in the table.
BODIES = [(4_000, "4 KB"), (50_000, "50 KB")]

# The load: everything passes, so that every peer relays everything. Few sources, so that the warm-up meets nearly all of them.
MIX = ["--mix", "both=100", "--sources", "100", "--domains", "50", "--prefix", "2001:db8::/32"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_500, help="messages in each row (default 1500)")
    parser.add_argument("--warm-up", type=int, default=400, help="messages before each row (default 400)")
    parser.add_argument("--connections", type=int, default=8, help="connections at once (default 8)")
    parser.add_argument("--mx6", default=ROOT / "target/release/mx6", help="the gate (default target/release/mx6)")
    parser.add_argument("--loadgen", default=ROOT / "target/release/mx6-loadgen", help="the sender (default target/release/mx6-loadgen)")
    parser.add_argument("--without", default="", metavar="NAME,…", help="leave these peers out, by the names of their scripts")
    parser.add_argument("--json", help="also write all figures to this file")
    parser.add_argument("--proof-only", action="store_true", help="stop after the proofs")
    return parser.parse_args()


def main(*peers):
    """Measures mx6 and these peers."""
    options = arguments()
    for program in (options.mx6, options.loadgen):
        if not os.access(program, os.X_OK):
            sys.exit(f"{program} is missing: cargo build --release -p mx6 -p mx6-loadgen")
    peers = [Mx6(options.mx6), *(peer for peer in peers if peer.slug not in options.without.split(","))]
    if OUTSIDE in os.environ:
        inside(options, peers, json.loads(os.environ[OUTSIDE]))
    else:
        sys.exit(outside(peers))


def outside(peers):
    """Fetches all software, then runs this program again in namespaces, where there is no network."""
    software = [packages.debian(*packages.FOR_THE_LAB), *(peer.install() for peer in peers)]
    folders = list(dict.fromkeys(str(folder) for found in software for folder in found))
    disk = tempfile.mkdtemp(prefix="mx6-peers-", dir="/var/tmp")
    os.environ[OUTSIDE] = json.dumps({"disk": disk, "folders": folders, "versions": [peer.versions() for peer in peers]})
    # However this ends, everything inside ends with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return lab.enter(sys.argv)
    finally:
        shutil.rmtree(disk, ignore_errors=True)
        lab.remove_groups(pathlib.Path(disk).name)


def inside(options, peers, found):
    place = lab.Lab(pathlib.Path(found["disk"]), [pathlib.Path(folder) for folder in found["folders"]])
    versions = dict(zip((peer.name for peer in peers), found["versions"]))
    try:
        signer = proof.Signer(place.folder)
        place.start_resolver(signer.zones(), [options.loadgen, "zone", *MIX])
        say(f"{machine()}; {options.messages} messages a row, {options.connections} connections at once")
        proofs = {peer.name: checked(place, peer, signer, options) for peer in peers}
        print_proofs(versions, proofs)
        rows = [] if options.proof_only else measured(place, peers, options)
    finally:
        place.end()
    if rows:
        print_table(peers, rows)
    if options.json:
        report = {"machine": machine(), "messages": options.messages, "versions": versions, "proofs": proofs, "rows": rows}
        pathlib.Path(options.json).write_text(json.dumps(report, indent=1))


class Running:
    """A started peer, ended on leaving."""

    def __init__(self, place, peer):
        self.place, self.peer = place, peer

    def __enter__(self):
        self.group = lab.Group(f"{self.place.disk.name}-peer")
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{self.peer.slug}-", dir=self.place.disk))
        self.folder.chmod(0o755)
        try:
            self.peer.start(self.place, self.group, self.folder)
        except (TimeoutError, ChildProcessError, subprocess.CalledProcessError) as error:
            self.give_up(f"{self.peer.name} does not start: {error}")
        return self

    def __exit__(self, kind, error, trace):
        if kind is not None:
            self.show_logs()
        self.group.end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def give_up(self, why):
        self.show_logs()
        self.group.end()
        sys.exit(why)

    def show_logs(self):
        """What it wrote, for whoever has to find out."""
        for file in sorted(self.folder.rglob("*log*")):
            if file.is_file():
                print(f"--- {file.name}", *file.read_text(errors="replace").splitlines()[-15:], sep="\n", file=sys.stderr)


def checked(place, peer, signer, options):
    """The proof of one peer: five messages of its own, then twenty of the load, whose results must all be passes."""
    say(f"proof: {peer.name}")
    captured = place.folder / f"captured-{peer.slug}"
    place.start_sink(captured)
    with Running(place, peer):
        if not peer.relays:
            return [(name, f"`{proof.send(source, signer.message('sunk', holds))}`") for name, source, holds, _, _ in proof.MESSAGES]
        lines = proof.prove(peer, signer, captured)
        shutil.rmtree(captured)
        place.start_sink(captured)
        relay(place, peer, options, 20, BODIES[0][0])
        seen = [proof.authentication_results(file) for file in captured.iterdir()]
        wrong = [results for results in seen if any(results.get(check) != "pass" for check in peer.checks - {"ptr"})]
        if wrong:
            sys.exit(f"{peer.name}: of 20 messages of the load, {len(wrong)} did not pass every check; the first: {wrong[0]}")
        lines.append(("20 messages of the load", "relayed; all pass" if peer.checks - {"ptr"} else "relayed"))
    return lines


def measured(place, peers, options):
    """Rows of all: mx6 first and once more last, so that a drift of the machine shows."""
    rows = []
    for peer in [*peers, peers[0]]:
        place.start_sink()
        with Running(place, peer) as running:
            for octets, body in BODIES:
                rows.append({"body": body, "octets": octets, "peer": peer.name} | cost(running, options, octets))
                say("  {peer}, {body}: {cpu_us:.0f} µs a message".format(**rows[-1]))
    return rows


def cost(running, options, octets):
    """CPU time of the peer and of the resolver for each message."""
    place, peer, group = running.place, running.peer, running.group
    relay(place, peer, options, options.warm_up, octets)
    before, resolver_before, started = group.cpu_us(), place.resolver.cpu_us(), time.monotonic()
    relay(place, peer, options, options.messages, octets)
    elapsed_s = time.monotonic() - started
    return {
        "cpu_us": (group.cpu_us() - before) / options.messages,
        "resolver_us": (place.resolver.cpu_us() - resolver_before) / options.messages,
        "memory_octets": group.memory_octets(),
        "messages_per_s": options.messages / elapsed_s,
    }


def relay(place, peer, options, messages, octets):
    """Sends, and waits until the next hop has taken all of it and the peer's queue is empty."""
    already = place.sunk()
    load(options, messages, octets)
    if peer.relays:
        lab.until(f"the next hop to take {messages} messages", lambda: place.sunk() >= already + messages, 300)
        lab.until(f"{peer.name} to empty its queue", peer.is_idle, 60)
        if place.sunk() != already + messages:
            sys.exit(f"{peer.name}: the next hop took {place.sunk() - already} messages, not {messages}")
    # What is done after the last reply, such as removing a file, belongs to the message too.
    time.sleep(0.3)


def load(options, messages, octets):
    """Sends, and insists on every reply being the expected one."""
    file = pathlib.Path("/run/mx6-peers/load.json")
    command = [options.loadgen, "run", "--target", f"[::1]:{lab.PORT}", *MIX, "--closed", options.connections, "--messages", messages, "--warmup", "0s",
               "--messages-per-connection", "1", "--body", octets, "--pool", "64", "--seed", "1", "--expect", "refusal", "--json", file]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"mx6-loadgen ended with {done.returncode}: {done.stderr}{done.stdout}")
    report = json.loads(file.read_text())
    if report["wrong"] or report["errors"] or report["messages"] != messages:
        sys.exit(f"not every message was taken: {report['wrong_samples'][:3]} {report['errors']}")


def print_proofs(versions, proofs):
    print("\n| peer | software |\n|---|---|")
    for name, software in versions.items():
        print(f"| {name} | {software} |")
    print("\n| peer | message | what became of it |\n|---|---|---|")
    for name, lines in proofs.items():
        for message, seen in lines:
            print(f"| {name} | {message} | {seen} |")
    print(flush=True)


def print_table(peers, rows):
    """One line for each peer; the ratio is to the mean of the two rows of mx6."""
    of = {}
    for row in rows:
        of.setdefault((row["peer"], row["body"]), []).append(row)
    mean = {key: sum(row["cpu_us"] for row in found) / len(found) for key, found in of.items()}
    heads = [f"{body}, CPU-µs a message | × mx6 | resolver, µs" for _, body in BODIES]
    print(f"| peer | checks | {' | '.join(heads)} | resident, MiB |")
    print("|---|---|" + "---|---|---|" * len(BODIES) + "---|")
    for peer in peers:
        cells = [peer.name, ", ".join(check for check in ("ptr", "spf", "dkim") if check in peer.checks) or "none"]
        for _, body in BODIES:
            found = of[peer.name, body]
            cells += [
                " and ".join(f"{row['cpu_us']:.0f}" for row in found),
                f"{mean[peer.name, body] / mean[peers[0].name, body]:.1f}",
                f"{sum(row['resolver_us'] for row in found) / len(found):.0f}",
            ]
        cells.append(f"{max(row['memory_octets'] for row in found) / (1 << 20):.0f}")
        print(f"| {' | '.join(cells)} |")


def machine():
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")
    return f"{model or platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}"


def say(text):
    print(text, file=sys.stderr, flush=True)
