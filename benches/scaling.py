#!/usr/bin/env python3
"""How the cost of a message grows, and how long messages wait: shards, caches, sources, load, batch settings.

    benches/scaling.py [--only shards,caches,sources,latency,batch] [--messages N] [--sources N] [--repeats R]

shards   CPU-µs a message of one shard and of two, at the same rate a shard
caches   the first messages after the start, and later ones: CPU-µs a message and DNS queries a message
sources  RSS while every message comes from another address
latency  percentiles at 50, 80 and 95 % of the rate at which one shard is saturated
batch    CPU-µs a message and latency for values of --dkim-batch-max and --dkim-batch-wait-us

Needs root, postfix (smtp-sink), util-linux, iproute2 and release builds: cargo build --release -p mx6 -p mx6-loadgen. Everything runs in a
network namespace that the script makes. mx6 has the first core (both, where two shards are measured); mx6-loadgen, its zone and smtp-sink
have the second. All mail passes: SPF and DKIM (rsa-2048), one message a connection, 4 KB, unless a table says otherwise.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import relay_cost

TABLES = ["shards", "caches", "sources", "latency", "batch"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(TABLES), help="the tables to make (default: all)")
    parser.add_argument("--messages", type=int, default=10_000, help="messages of a measurement (default 10000)")
    parser.add_argument("--sources", type=int, default=1_000_000, help="addresses for the table of sources (default 1000000)")
    parser.add_argument("--repeats", type=int, default=3, help="rounds of the tables that compare (default 3)")
    parser.add_argument("--mx6", default="target/release/mx6")
    parser.add_argument("--loadgen", default="target/release/mx6-loadgen")
    return parser.parse_args()


class Lab:
    """A gate, its name server and its next hop; they end with it."""

    def __init__(self, options, stack, population, cores="1", settings=()):
        self.options, self.population = options, population
        self.folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mx6-bench-")))
        self.folder.chmod(0o755)
        self.zone = self.start(stack, [options.loadgen, "zone", "--listen", "127.0.0.1:5300", *population], core=1, output=True)
        self.start(stack, ["smtp-sink", "-u", "nobody", "inet:[::1]:2526", "4096"], core=1)
        self.gate = self.start(stack, [options.mx6, "serve", "--hostname", "mx.example", "--listen", "[::1]:2525", "--cores", cores,
                                       "--dns-server", "127.0.0.1:5300", "--domain", "open.example=accept", "--deliver", "smtp://[::1]:2526",
                                       "--log", "/dev/null", *settings], core=None)
        self.wait_for(2525)

    def start(self, stack, command, core, output=False):
        pinned = [] if core is None else ["taskset", "-c", str(core)]
        sink = subprocess.PIPE if output else subprocess.DEVNULL
        process = subprocess.Popen([*pinned, *command], stdout=sink, stderr=subprocess.DEVNULL, text=True)
        stack.callback(relay_cost.end, process)
        return process

    def wait_for(self, port):
        for _ in range(500):
            with contextlib.suppress(OSError), socket.create_connection(("::1", port), timeout=1):
                return
            if self.gate.poll() is not None:
                break
            time.sleep(0.02)
        sys.exit(f"{' '.join(map(str, self.gate.args))} does not listen")

    def run(self, *arrivals, core=1, warmup="0s"):
        """One run of the load generator: its report."""
        report = self.folder / "report.json"
        command = ["taskset", "-c", str(core), self.options.loadgen, "run", "--target", "[::1]:2525", *self.population, *arrivals,
                   "--warmup", warmup, "--pool", "64", "--pid", str(self.gate.pid), "--json", report]
        if "--body" not in arrivals:
            command += ["--body", "4k"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"mx6-loadgen failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        return json.loads(report.read_text())

    def questions(self):
        """Ends the name server: how many questions it was asked."""
        self.zone.send_signal(signal.SIGTERM)
        text, _ = self.zone.communicate(timeout=30)
        return int(re.search(r"(\d+) questions", text)[1])


@contextlib.contextmanager
def lab(options, sources, **settings):
    with contextlib.ExitStack() as stack:
        yield Lab(options, stack, ["--mix", "both=100", "--sources", str(sources), "--domains", str(min(sources, 1000))], **settings)


def cost_us(report):
    return report["server"]["total"]["cpu_us_per_message"]


def percentiles(report, stage="message"):
    found = next(each for each in report["stages"] if each["name"] == stage)
    return {name: found[name] for name in ("p50_us", "p90_us", "p99_us", "p999_us")}


def shards(options):
    """At 600 messages a second for each shard. The second core also has the load, its name server and its next hop, so one shard is measured on
    either core: what two cost above the mean of those is what they cost each other."""
    costs = {"one, on the first core": ("0-0", 600, []), "one, on the second core": ("1-1", 600, []), "two": ("0-1", 1200, [])}
    for turn in range(options.repeats):
        for cores, rate, values in list(costs.values())[:: 1 if turn % 2 == 0 else -1]:
            with lab(options, 1000, cores=cores) as gate:
                gate.run("--closed", "16", "--messages", "2000")
                values.append(cost_us(gate.run("--rate", str(rate), "--messages", str(options.messages))))
    first, second, two = (values for _, _, values in costs.values())
    print("\n| shards | CPU-µs a message, median (least) |\n|---|---|")
    for name, (_, _, values) in costs.items():
        print(f"| {name} | {relay_cost.spread(values, '.0f')} |")
    ratios = [both / (one + other) * 2 for one, other, both in zip(first, second, two)]
    print(f"| two / mean of one, same round | {relay_cost.spread(ratios, '.3f')} |", flush=True)


def caches(options):
    """1,000 addresses of 1,000 domains. Cold: the first 2,000 messages of a process. Warm: 2,000 after 12,000 others."""
    print("\n| caches | CPU-µs a message | p50, ms | p99, ms | DNS questions since the start |\n|---|---|---|---|---|")
    for name, rounds in (("cold", 0), ("warm", 3)):
        with lab(options, 1000) as gate:
            for _ in range(rounds):
                gate.run("--closed", "16", "--messages", "4000")
            report = gate.run("--rate", "400", "--messages", "2000")
            waits = percentiles(report)
            sent = report["messages"] + rounds * 4000
            row = [name, f"{cost_us(report):.0f}", f"{waits['p50_us'] / 1e3:.2f}", f"{waits['p99_us'] / 1e3:.2f}", f"{gate.questions()} for {sent} messages"]
            print(f"| {' | '.join(row)} |", flush=True)


def sources(options):
    """Each message from another address, until there were as many as asked for."""
    with lab(options, options.sources) as gate:
        report = gate.run("--closed", "32", "--messages", str(options.sources))
        total = report["server"]["total"]
        print("\n| messages | RSS, MiB | CPU-µs a message since the last row |\n|---|---|---|")
        windows, seen, spent, step = report["windows"], 0, 0, max(1, len(report["windows"]) // 10)
        for at, window in enumerate(windows, 1):
            seen, spent = seen + window["messages"], spent + (window["server_cpu_us"] or 0)
            if at % step == 0:
                part = windows[at - step:at]
                count = max(1, sum(each["messages"] for each in part))
                cpu = sum(each["server_cpu_us"] or 0 for each in part) / count
                print(f"| {seen} | {(window['server_rss_octets'] or 0) / 2**20:.0f} | {cpu:.0f} |")
        print(f"| whole run | peak {total['rss_peak_octets'] / 2**20:.0f}, end {total['rss_end_octets'] / 2**20:.0f} | {cost_us(report):.0f} |", flush=True)


def latency(options):
    """From the intended start of a message to its reply: open loop, Poisson arrivals."""
    with lab(options, 1000) as gate:
        gate.run("--closed", "16", "--messages", "4000")
        report = gate.run("--ramp", "1000:8000:500", "--duration", "4s", "--ramp-p99-ms", "50")
        saturation = report["saturation_per_s"] or max(step["achieved_per_s"] for step in report["ramp"])
        print(f"\nsaturated at {saturation:.0f} messages a second (own headroom of the load generator {report['own']['headroom_percent']:.0f} %)\n")
        print("| load | messages a second | p50, ms | p90, ms | p99, ms | p99.9, ms | CPU-µs a message |\n|---|---|---|---|---|---|---|")
        for percent in (50, 80, 95):
            rate = saturation * percent / 100
            report = gate.run("--rate", f"{rate:.0f}", "--duration", "15s", warmup="2s")
            waits = " | ".join(f"{value / 1e3:.2f}" for value in percentiles(report).values())
            print(f"| {percent} % | {report['messages'] / report['elapsed_s']:.0f} | {waits} | {cost_us(report):.0f} |", flush=True)


def batch(options):
    """At full load of one shard, 64 sessions, 10 KB: each value of one option, the other at its default."""
    print("\n| --dkim-batch-max | --dkim-batch-wait-us | CPU-µs a message, median (least) | p50, ms | p99, ms |\n|---|---|---|---|---|")
    values = [("1", "0"), ("8", "0"), ("64", "0"), ("64", "100"), ("64", "1000")]
    rows = {value: [] for value in values}
    for turn in range(options.repeats):
        for most, wait_us in values[turn % len(values):] + values[:turn % len(values)]:
            with lab(options, 1000, settings=["--dkim-batch-max", most, "--dkim-batch-wait-us", wait_us]) as gate:
                gate.run("--closed", "64", "--messages", "2000")
                rows[most, wait_us].append(gate.run("--closed", "64", "--messages", str(options.messages), "--body", "10k"))
    for (most, wait_us), reports in rows.items():
        waits = [percentiles(report) for report in reports]
        middle = lambda name: statistics.median(each[name] for each in waits) / 1e3
        cost = relay_cost.spread([cost_us(report) for report in reports], ".0f")
        print(f"| {most} | {wait_us} | {cost} | {middle('p50_us'):.2f} | {middle('p99_us'):.2f} |", flush=True)


def main():
    options = arguments()
    wrong = [name for name in options.only.split(",") if name not in TABLES]
    if wrong:
        sys.exit(f"--only: {', '.join(wrong)} is none of {', '.join(TABLES)}")
    if relay_cost.IN_NAMESPACE not in os.environ:
        relay_cost.into_namespace()
    for name in options.only.split(","):
        print(f"\n## {name}: {globals()[name].__doc__}", flush=True)
        globals()[name](options)


if __name__ == "__main__":
    main()
