#!/usr/bin/env python3
"""CPU time that one relayed message costs: mx6, the floor (a relay that does nothing else), and smtp-sink, in one run.

    benches/relay_cost.py [--repeats R] [--messages N] [--sessions N] [--pipelining auto] [--json FILE]     the table
    benches/relay_cost.py --strace          system calls a message, by name
    benches/relay_cost.py --idle 10000      user-space memory of a connection that waits after EHLO
    benches/relay_cost.py --perf FOLDER     where the time goes: SERVER-OCTETSxCOUNT.perf, for perf report, perf script and flame graphs

Needs root, the Debian packages postfix (smtp-sink), util-linux, iproute2 and, for --strace, strace, for --perf, linux-perf; and release builds:

    cargo build --release -p mx6 -p mx6-benches -p mx6-loadgen

Four servers run side by side, one of them is loaded at a time, all in every round and in another order each round:

    floor       mx6-floor relaying to smtp-sink: no parser, checks, DNS or log
    mx6         the whole gate, relaying to smtp-sink: PTR, SPF, DKIM (rsa-2048 relaxed/relaxed), DMARC, a decision record in a file
    smtp-sink   Postfix' sink taking the same mail itself: no checks, nothing kept
    discard     mx6 with --deliver discard: the gate without relaying

CPU time is the process's clock (clock_gettime, nanoseconds): all threads, those that ended included. Servers run on the first core, the
client, the next hop and the name server on the second. All of it is in a network namespace that the script makes: mx6-loadgen sends signed mail of
many domains from many addresses, and its zone answers the names. With --client smtp-source (Debian's postfix and openssl; no root) it is one
message of one sender from ::1, names come from a zone file, and nothing is pipelined.
"""

import argparse
import base64
import contextlib
import hashlib
import json
import os
import pathlib
import platform
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

DOMAIN, SELECTOR, RECIPIENT = "sender.example", "bench", "bob@open.example"
NAME_SERVER, POPULATION = "127.0.0.1:5300", ["--mix", "both=100", "--sources", "1000", "--domains", "100"]
IN_NAMESPACE = "MX6_BENCH_IN_NAMESPACE"
ROWS = [(octets, per_connection) for octets in (4_000, 50_000) for per_connection in (1, 100)]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="rounds (default 5)")
    parser.add_argument("--messages", type=int, default=3_200, help="messages of each server in each row of a round (default 3200)")
    parser.add_argument("--sessions", type=int, default=16, help="concurrent sessions (default 16)")
    parser.add_argument("--client", default="mx6-loadgen", choices=["mx6-loadgen", "smtp-source"], help="who sends (default mx6-loadgen)")
    parser.add_argument("--pipelining", default="off", choices=["off", "auto"], help="of mx6-loadgen (default off, as smtp-source)")
    parser.add_argument("--warmup", type=int, default=2_000, help="messages before the first round, to fill the caches (default 2000)")
    parser.add_argument("--only", default="floor,mx6,smtp-sink,discard", help="the servers to measure (default: all four)")
    parser.add_argument("--mx6", default="target/release/mx6", help="the binary (default target/release/mx6)")
    parser.add_argument("--floor", default="target/release/mx6-floor", help="the binary (default target/release/mx6-floor)")
    parser.add_argument("--loadgen", default="target/release/mx6-loadgen", help="the binary (default target/release/mx6-loadgen)")
    parser.add_argument("--json", help="also write every measurement to this file")
    parser.add_argument("--strace", action="store_true", help="count system calls instead")
    parser.add_argument("--perf", metavar="FOLDER", type=pathlib.Path, help="record samples with their stacks instead")
    parser.add_argument("--idle", type=int, metavar="N", help="measure N idle connections instead")
    return parser.parse_args()


class Bench:
    """The servers, the mail and the zone of one run; processes end with it."""

    def __init__(self, options, stack):
        self.options, self.stack, self.mx6_command = options, stack, [options.mx6]
        self.folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mx6-bench-")))
        self.folder.chmod(0o755)
        cores = sorted(os.sched_getaffinity(0))
        self.server_core, self.client_core = cores[0], cores[1 % len(cores)]
        self.client, self.names = (self.smtp_source, self.one_sender()) if options.client == "smtp-source" else (self.loadgen, self.population())
        next_hop, port = self.sink(self.client_core)
        self.next_hop = f"smtp://[::1]:{port}"
        start = {"floor": self.floor, "mx6": self.mx6, "smtp-sink": lambda: self.sink(self.server_core), "discard": lambda: self.mx6("discard:")}
        self.servers = {name: start[name]() for name in options.only.split(",") if name}
        self.sent = dict.fromkeys(start, 0)

    def start(self, core, command):
        """A server on a core and on a free port, which stands in the command as PORT."""
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
            port = probe.getsockname()[1]
        command = ["taskset", "-c", str(core)] + [str(word).replace("PORT", str(port)) for word in command]
        errors = open(self.folder / f"stderr-{port}", "w+")
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        self.stack.callback(end, process)
        for _ in range(1_500):
            with contextlib.suppress(OSError), socket.create_connection(("::1", port), timeout=1):
                return process, port
            if process.poll() is not None:
                break
            time.sleep(0.02)
        sys.exit(f"{' '.join(command)} does not listen: {pathlib.Path(errors.name).read_text()}")

    def one_sender(self):
        """Mail and zone for smtp-source; how mx6 is told of the names."""
        key, zone = key_and_zone(self.folder)
        self.mail = {octets: self.folder / f"message-{octets}" for octets in {octets for octets, _ in ROWS}}
        for octets, path in self.mail.items():
            path.write_bytes(signed_message(octets, key))
        return ["--zone", zone]

    def population(self):
        """The zone of mx6-loadgen; how mx6 is told of it."""
        command = ["taskset", "-c", str(self.client_core), self.options.loadgen, "zone", "--listen", NAME_SERVER, *POPULATION]
        self.stack.callback(end, subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return ["--dns-server", NAME_SERVER]

    def smtp_source(self, port, octets, per_connection, messages):
        """The command that sends so many messages, or as many as it must, and how many that is."""
        sessions = self.options.sessions
        batch = messages if per_connection == 1 else per_connection * sessions
        reuse = ["-d"] if per_connection > 1 else []
        return batch, ["smtp-source", "-s", str(sessions), "-m", str(batch), "-f", f"alice@{DOMAIN}", "-t", RECIPIENT, "-M", f"mail.{DOMAIN}",
                       "-F", self.mail[octets], *reuse, f"inet:[::1]:{port}"]

    def loadgen(self, port, octets, per_connection, messages):
        """As `smtp_source`. What the replies mean is enough: those of the floor and of smtp-sink have other words."""
        return messages, [self.options.loadgen, "run", "--target", f"[::1]:{port}", *POPULATION, "--closed", str(self.options.sessions),
                          "--messages-per-connection", str(per_connection), "--messages", str(messages), "--warmup", "0s", "--body", str(octets),
                          "--pool", "64", "--pipelining", self.options.pipelining, "--expect", "class"]

    def sink(self, core):
        as_nobody = ["-u", "nobody"] if os.geteuid() == 0 else []
        return self.start(core, ["smtp-sink", *as_nobody, "inet:[::1]:PORT", "4096"])

    def floor(self):
        return self.start(self.server_core, [self.options.floor, "--listen", "[::1]:PORT", "--deliver", self.next_hop])

    def mx6(self, deliver=None):
        return self.start(self.server_core, [
            *self.mx6_command, "serve", "--hostname", "mx.example", "--listen", "[::1]:PORT", "--cores", "1", *self.names,
            "--domain", "open.example=accept", "--deliver", deliver or self.next_hop, "--log", self.folder / "decisions-PORT.log",
        ])

    def send(self, name, octets, per_connection, messages):
        """Sends at least so many messages to a server; how many it were."""
        _, port = self.servers[name]
        sent = 0
        while sent < messages:
            batch, command = self.client(port, octets, per_connection, messages)
            done = subprocess.run(["taskset", "-c", str(self.client_core), *command], capture_output=True, text=True)
            if done.returncode != 0:
                sys.exit(f"{command[0]} failed with {name}: {done.stdout}{done.stderr}")
            sent += batch
        self.sent[name] += sent
        return sent

    def cost_us(self, name, octets, per_connection):
        """CPU-µs of a message."""
        process, _ = self.servers[name]
        before_s = cpu_s(process.pid)
        sent = self.send(name, octets, per_connection, self.options.messages)
        return (cpu_s(process.pid) - before_s) / sent * 1e6

    def traced(self, name, octets, per_connection):
        """How often a message makes each system call."""
        process, _ = self.servers[name]
        self.send(name, octets, 1, self.options.warmup)
        report = self.folder / "strace"
        tracer = subprocess.Popen(["strace", "-f", "-c", "-o", report, "-p", str(process.pid)], stderr=subprocess.PIPE, text=True)
        tracer.stderr.readline()
        sent = self.send(name, octets, per_connection, self.options.messages)
        tracer.send_signal(signal.SIGINT)
        tracer.communicate()
        rows = re.findall(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$", report.read_text(), re.MULTILINE)
        return {call: int(calls) / sent for calls, call in rows}

    def sampled(self, name, octets, per_connection):
        """Samples of the CPU clock, with their stacks, in a file of --perf."""
        process, _ = self.servers[name]
        self.send(name, octets, per_connection, self.options.warmup)
        file = self.options.perf / f"{name}-{octets}x{per_connection}.perf"
        recorder = subprocess.Popen(["perf", "record", "-q", "-e", "cpu-clock", "-F", "4000", "--call-graph", "dwarf,16384", "-p", str(process.pid), "-o", file])
        time.sleep(0.5)
        self.send(name, octets, per_connection, self.options.messages)
        recorder.send_signal(signal.SIGINT)
        recorder.wait()
        print(file, flush=True)

    def accepted(self, name):
        """How many messages the gate has accepted with every check passed, once it has ended and written its records."""
        process, port = self.servers[name]
        end(process)
        with open(self.folder / f"decisions-{port}.log") as log:
            records = [json.loads(line) for line in log]
        results = lambda record: {check["result"] for check in (record["iprev"], record["spf"], *record["dkim"])}
        return sum(record["rule"] == "accepted" and record["dkim"] != [] and results(record) == {"pass"} for record in records)

    def last_word(self, name):
        """What a gate says of its DKIM batches when it ends."""
        _, port = self.servers[name]
        lines = (self.folder / f"stderr-{port}").read_text().splitlines()
        return next((line.removeprefix("mx6: ") for line in lines if "lanes filled" in line), "no DKIM batch")


def end(process):
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=90)


def cpu_s(pid):
    """The CPU clock of a process: clock_getcpuclockid(3) in one expression."""
    return time.clock_gettime(~pid << 3 | 2)


def key_and_zone(folder):
    """An RSA-2048 key, and a zone that makes ::1 a sender with PTR, SPF, DKIM and DMARC."""
    key, zone = folder / "key.pem", folder / "bench.zone"
    subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
    public = subprocess.run(["openssl", "rsa", "-in", key, "-pubout", "-outform", "DER"], check=True, capture_output=True).stdout
    record = "v=DKIM1; k=rsa; p=" + base64.b64encode(public).decode()
    zone.write_text(f"""$TTL 3600
{DOMAIN}. SOA ns.{DOMAIN}. hostmaster.{DOMAIN}. 1 3600 600 86400 300
{DOMAIN}. TXT "v=spf1 ip6:::1 -all"
_dmarc.{DOMAIN}. TXT "v=DMARC1; p=reject"
mail.{DOMAIN}. AAAA ::1
{SELECTOR}._domainkey.{DOMAIN}. TXT {" ".join(f'"{part}"' for part in re.findall(".{1,200}", record))}
{".".join(f"{1:032x}"[::-1])}.ip6.arpa. PTR mail.{DOMAIN}.
""")
    return key, zone


def signed_message(octets, key):
    """A message whose lines are their own relaxed form but for the case of names, and its signature (RFC 6376 §3.7)."""
    fields = {"From": f"Alice <alice@{DOMAIN}>", "To": RECIPIENT, "Subject": "bench", "Date": "Mon, 03 Aug 2026 10:00:00 +0000",
              "Message-ID": f"<bench@{DOMAIN}>"}
    line = b"Sixty-four octets of plain text make up every line of this mail.\r\n"
    body = line * (octets // len(line))
    body_hash = base64.b64encode(hashlib.sha256(body).digest()).decode()
    names = ":".join(fields).lower()
    signature = f"v=1; a=rsa-sha256; c=relaxed/relaxed; d={DOMAIN}; s={SELECTOR}; h={names}; bh={body_hash}; b="
    signed = "".join(f"{name.lower()}:{value}\r\n" for name, value in fields.items()) + f"dkim-signature:{signature}"
    signed = subprocess.run(["openssl", "dgst", "-sha256", "-sign", key], input=signed.encode(), check=True, capture_output=True).stdout
    header = {"DKIM-Signature": signature + base64.b64encode(signed).decode()} | fields
    message = "".join(f"{name}: {value}\r\n" for name, value in header.items()).encode() + b"\r\n" + body
    # smtp-source reads a file with Unix line ends and sends CRLF.
    return message.replace(b"\r\n", b"\n")


def table(bench):
    """Every server in every row, in every round; then a line of the table for each row."""
    names = list(bench.servers)
    costs = {row: {name: [] for name in names} for row in ROWS}
    for name in names:
        bench.send(name, *ROWS[0], bench.options.warmup)
    for repeat in range(bench.options.repeats):
        turn = repeat % len(names)
        for row in ROWS:
            for name in names[turn:] + names[:turn]:
                costs[row][name].append(bench.cost_us(name, *row))
            print(f"round {repeat + 1}, {row[0]} octets ×{row[1]}: ", {name: round(costs[row][name][-1], 1) for name in names}, file=sys.stderr)
    for name in {"mx6", "discard"} & set(names):
        if (accepted := bench.accepted(name)) != bench.sent[name]:
            sys.exit(f"{name}: {bench.sent[name]} messages sent, {accepted} accepted with every check passed")
    print("CPU-µs a message: median of the rounds (least of them); differences and ratios are those of the same round\n")
    print(f"| body | messages a connection | {' | '.join(names)} | mx6 − floor | mx6 / smtp-sink |")
    print("|---|---|" + "---|" * (len(names) + 2))
    for (octets, per_connection), row in costs.items():
        cells = [f"{octets // 1000} KB", str(per_connection)] + [spread(row[name], ".0f") for name in names]
        pairs = lambda other: zip(row.get("mx6", ()), row.get(other, ()))
        cells.append(spread([mx6 - floor for mx6, floor in pairs("floor")], "+.0f"))
        cells.append(spread([mx6 / sink for mx6, sink in pairs("smtp-sink")], ".2f"))
        print(f"| {' | '.join(cells)} |")
    for name in {"mx6", "discard"} & set(names):
        print(f"\n{name}, {bench.last_word(name)}")
    if bench.options.json:
        rows = [{"octets": octets, "per_connection": count, "cpu_us": row} for (octets, count), row in costs.items()]
        pathlib.Path(bench.options.json).write_text(json.dumps(rows, indent=1))


def system_calls(bench):
    """Under strace, which makes servers slow: fewer calls find nothing to do than otherwise."""
    print("System calls a message, under strace -f -c\n")
    for octets, per_connection in ROWS:
        counts = {name: bench.traced(name, octets, per_connection) for name in bench.servers}
        calls = sorted(set().union(*counts.values()), key=lambda call: -max(count.get(call, 0) for count in counts.values()))
        print(f"| {octets // 1000} KB, {per_connection} a connection | {' | '.join(counts)} |")
        print("|---|" + "---|" * len(counts))
        for call in ["total"] + [call for call in calls if call != "total"]:
            print(f"| {call} | {' | '.join(f'{count.get(call, 0):.2f}' for count in counts.values())} |")
        print()


def samples(bench):
    bench.options.perf.mkdir(parents=True, exist_ok=True)
    for row in ROWS:
        for name in bench.servers:
            bench.sampled(name, *row)


def idle(bench):
    """Resident memory of a process before and after connections that say EHLO and wait."""
    count, warm = bench.options.idle, 200
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(count + 1_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
    print(f"User-space memory of one of {count} connections that wait after EHLO, KiB\n")
    print("| server | resident | proportional | anonymous |")
    print("|---|---|---|---|")
    for name, (process, port) in bench.servers.items():
        if name == "smtp-sink":
            continue  # It accepts 256 connections and lets the others wait.
        with contextlib.ExitStack() as stack:
            for _ in range(warm):
                stack.enter_context(waiting(port))
            before = memory_kib(process.pid)
            for _ in range(count - warm):
                stack.enter_context(waiting(port))
            after = memory_kib(process.pid)
        print(f"| {name} | {' | '.join(f'{(after[kind] - before[kind]) / (count - warm):.2f}' for kind in before)} |")


def waiting(port):
    """A connection that has said EHLO and heard the answer."""
    client = socket.create_connection(("::1", port))
    client.recv(4_096)
    client.sendall(f"EHLO mail.{DOMAIN}\r\n".encode())
    client.recv(4_096)
    return client


def memory_kib(pid):
    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return {kind: int(re.search(rf"^{kind}: +(\d+) kB", rollup, re.MULTILINE)[1]) for kind in ("Rss", "Pss", "Anonymous")}


def spread(values, form):
    return f"{statistics.median(values):{form}} ({min(values):{form}})" if values else "–"


def into_namespace():
    """Starts the script again in a network namespace where every address of the population is the machine's own."""
    set_up = 'ip link set lo up && ip -6 route add local 2001:db8::/32 dev lo && exec "$@"'
    os.environ[IN_NAMESPACE] = "yes"
    os.execvp("unshare", ["unshare", "--net", "sh", "-c", set_up, "sh", sys.executable, *sys.argv])


def main():
    options = arguments()
    programs = {"smtp-source": ["smtp-source", "openssl"], "mx6-loadgen": ["unshare", "ip", options.loadgen]}[options.client]
    for program in ["smtp-sink", "taskset", *programs] + ["strace"] * options.strace + ["perf"] * bool(options.perf):
        if not shutil.which(program):
            sys.exit(f"{program} is missing: cargo build --release -p mx6 -p mx6-benches -p mx6-loadgen; apt-get install postfix openssl util-linux iproute2 strace linux-perf")
    if options.client == "mx6-loadgen" and IN_NAMESPACE not in os.environ:
        into_namespace()
    print(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, Linux {platform.release()}; {options.repeats} rounds of "
          f"{options.messages} messages, {options.sessions} sessions, client {options.client}, pipelining {options.pipelining}\n", flush=True)
    with contextlib.ExitStack() as stack:
        bench = Bench(options, stack)
        (system_calls if options.strace else samples if options.perf else idle if options.idle else table)(bench)


if __name__ == "__main__":
    main()
