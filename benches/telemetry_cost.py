#!/usr/bin/env python3
"""What telemetry costs a message: several builds, or one with several options, beside each other in one run.

    benches/telemetry_cost.py --variant before=OLD/mx6 --variant now=target/release/mx6 --variant 'admin=target/release/mx6 --admin 127.0.0.1:0'
                              [--rounds 30] [--messages 3200] [--pipelining auto] [--json FILE]
    benches/telemetry_cost.py --variant …  --counts    system calls (strace) and instructions (callgrind, portable kernels) a message instead

The servers, the mail and the clock are those of relay_cost.py, whose programs it needs; delivery is `discard:`, so that a difference is not lost in what
relaying costs. All variants are loaded in every round, one at a time, each round in another order; a variant is compared with the first one within a
round. Told are the median of these ratios and an interval that holds it with 95 % (bootstrap over rounds, from a fixed seed), for the CPU time of the whole process and
for that of the shard's thread alone: what the other threads do for telemetry is in the first and not in the second.
"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import shlex
import statistics
import subprocess
import sys

import relay_cost

ROWS = [(4_000, 100), (4_000, 1), (50_000, 100)]
PARTS = ("process", "shard")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", action="append", required=True, metavar="NAME=COMMAND", help="the binary and its further options; the first is what the others are compared with")
    parser.add_argument("--rounds", type=int, default=30, help="rounds (default 30)")
    parser.add_argument("--messages", type=int, default=3_200, help="messages of each variant in each row of a round (default 3200)")
    parser.add_argument("--sessions", type=int, default=16, help="concurrent sessions (default 16)")
    parser.add_argument("--warmup", type=int, default=4_000, help="messages of each variant before the first round (default 4000)")
    parser.add_argument("--pipelining", default="auto", choices=["off", "auto"], help="of mx6-loadgen (default auto)")
    parser.add_argument("--loadgen", default="target/release/mx6-loadgen", help="the binary (default target/release/mx6-loadgen)")
    parser.add_argument("--json", help="also write every measurement to this file")
    parser.add_argument("--counts", action="store_true", help="count system calls and instructions instead")
    options = parser.parse_args()
    options.only, options.client, options.mx6 = "", "mx6-loadgen", ""
    return options


class Bench(relay_cost.Bench):
    """One gate for each variant."""

    def __init__(self, options, stack):
        super().__init__(options, stack)
        for variant in options.variant:
            name, _, command = variant.partition("=")
            program, *further = shlex.split(command)
            self.mx6_command, self.further = [program], further
            self.servers[name] = self.mx6("discard:")
            self.sent[name] = 0

    def start(self, core, command):
        return super().start(core, [*command, *getattr(self, "further", [])])

    def costs(self, name, octets, per_connection):
        """CPU-µs of a message: of the process, and of the shard's thread."""
        process, _ = self.servers[name]
        before = relay_cost.cpu_s(process.pid), shard_s(process.pid)
        sent = self.send(name, octets, per_connection, self.options.messages)
        after = relay_cost.cpu_s(process.pid), shard_s(process.pid)
        return [(then - now) / sent * 1e6 for now, then in zip(before, after)]


    def counted(self, variant):
        """System calls and instructions of a message, in every row, of a gate of its own that runs under callgrind."""
        name, _, command = variant.partition("=")
        program, *further = shlex.split(command)
        calls = {row: sum(self.traced(name, *row).values()) for row in ROWS}
        out = self.folder / f"callgrind-{name}"
        self.mx6_command = ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={out}", program]
        self.further = [*further, "--kernels", "portable"]
        self.servers[under := f"{name} under callgrind"] = process, _ = self.mx6("discard:")
        self.sent[under] = 0
        instructions = {}
        for row in ROWS:
            self.send(under, *row, 400)
            subprocess.run(["callgrind_control", "--zero", str(process.pid)], check=True, capture_output=True)
            sent = self.send(under, *row, 800)
            before = set(self.folder.glob(f"{out.name}.*"))
            subprocess.run(["callgrind_control", "--dump", str(process.pid)], check=True, capture_output=True)
            dump, = set(self.folder.glob(f"{out.name}.*")) - before
            instructions[row] = sum(int(line.split()[1]) for line in dump.read_text().splitlines() if line.startswith("totals:")) / sent
        relay_cost.end(process)
        return calls, instructions


def shard_s(pid):
    """CPU time of the shard's thread: the one that has run most."""
    tasks = pathlib.Path(f"/proc/{pid}/task")
    return max(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9


def interval(ratios):
    """The median of `ratios`, and what holds it with 95 %."""
    draw = random.Random(1)
    medians = sorted(statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(10_000))
    return statistics.median(ratios), medians[249], medians[9_749]


def measure(bench):
    names = list(bench.servers)
    costs = {row: {name: [] for name in names} for row in ROWS}
    for name in names:
        bench.send(name, *ROWS[0], bench.options.warmup)
    for turn in range(bench.options.rounds):
        for row in ROWS:
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                costs[row][name].append(bench.costs(name, *row))
        print(f"round {turn + 1}", {name: [round(cost, 1) for cost in costs[ROWS[0]][name][-1]] for name in names}, file=sys.stderr)
    return names, costs


def table(names, costs):
    for part, words in enumerate(("the whole process", "the shard's thread")):
        print(f"\nCPU of {words}: µs a message (median), and the ratio to `{names[0]}` of the same round with its 95 % interval\n")
        print(f"| body | messages a connection | {' | '.join(names)} |")
        print("|---|---|" + "---|" * len(names))
        for (octets, per_connection), row in costs.items():
            cells = [f"{octets // 1000} KB", str(per_connection)]
            for name in names:
                us = [cost[part] for cost in row[name]]
                if name == names[0]:
                    cells.append(f"{statistics.median(us):.1f}")
                    continue
                ratios = [mine / base[part] for mine, base in zip(us, row[names[0]])]
                median, low, high = interval(ratios)
                cells.append(f"{statistics.median(us):.1f}: {(median - 1) * 100:+.1f} % ({(low - 1) * 100:+.1f} to {(high - 1) * 100:+.1f})")
            print(f"| {' | '.join(cells)} |")


def counts(bench):
    found = {variant.partition("=")[0]: bench.counted(variant) for variant in bench.options.variant}
    print("Of a message: system calls, and instructions with portable kernels\n")
    print(f"| body | messages a connection | {' | '.join(found)} |")
    print("|---|---|" + "---|" * len(found))
    for row in ROWS:
        cells = [f"{calls[row]:.2f}, {instructions[row]:,.0f}" for calls, instructions in found.values()]
        print(f"| {row[0] // 1000} KB | {row[1]} | {' | '.join(cells)} |")


def main():
    options = arguments()
    if relay_cost.IN_NAMESPACE not in os.environ:
        relay_cost.into_namespace()
    with contextlib.ExitStack() as stack:
        bench = Bench(options, stack)
        if options.counts:
            return counts(bench)
        names, costs = measure(bench)
        for name in names:
            if (accepted := bench.accepted(name)) != bench.sent[name]:
                sys.exit(f"{name}: {bench.sent[name]} messages sent, {accepted} accepted with every check passed")
        table(names, costs)
        if options.json:
            rows = [{"octets": octets, "per_connection": count, "cpu_us": row} for (octets, count), row in costs.items()]
            pathlib.Path(options.json).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
