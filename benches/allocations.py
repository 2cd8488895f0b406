#!/usr/bin/env python3
"""Heap allocations that one message makes in mx6, counted in the real process, and where they are made.

    benches/allocations.py [--sites 60] [--deliver discard:] [--mx6 PATH]

Puts probes (perf probe, uprobes) on the allocator that Rust code uses, mimalloc's doors in the binary, and on that of the C library, which the
cryptography in C uses: one count for each row of relay_cost.py, then call stacks for the first row. A site is the innermost line of this
workspace or of glommio; a busy machine loses some stacks. Needs what relay_cost.py needs with smtp-source, root, perf, addr2line, nm and
readelf (linux-perf, binutils).
"""

import argparse
import collections
import contextlib
import pathlib
import re
import signal
import subprocess
import sys
import time

import relay_cost

RUST = ["mi_malloc_aligned", "mi_zalloc_aligned", "mi_realloc_aligned"]
C = ["malloc", "calloc", "realloc", "posix_memalign"]
GROUP = "mx6_allocations"
EVENTS = [word for call in RUST + C for word in ("-e", f"{GROUP}:{call}")]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=200, help="messages of each row (default 200)")
    parser.add_argument("--sites", type=int, default=60, help="how many sites to print (default 60)")
    parser.add_argument("--deliver", help="where mx6 delivers (default: to smtp-sink)")
    parser.add_argument("--mx6", default="target/release/mx6", help="the binary (default target/release/mx6)")
    options = parser.parse_args()
    options.only, options.sessions, options.client = "", 2, "smtp-source"
    return options


def library(binary):
    """The C library that the binary loads."""
    return re.search(r"libc\.so\S* => (\S+)", subprocess.run(["ldd", binary], capture_output=True, text=True, check=True).stdout)[1]


@contextlib.contextmanager
def probes(binary):
    """The probes, as long as they are needed."""
    symbols = subprocess.run(["nm", binary], capture_output=True, text=True, check=True).stdout.split()
    if missing := set(RUST) - set(symbols):
        sys.exit(f"{binary} has no {', '.join(missing)}: another allocator than mimalloc would not be counted")
    remove = lambda: subprocess.run(["perf", "probe", "-q", "--del", f"{GROUP}:*"], stderr=subprocess.DEVNULL)
    remove()
    for where, calls in ((binary, RUST), (library(binary), C)):
        for call in calls:
            subprocess.run(["perf", "probe", "-q", "-x", where, "--no-demangle", f"{GROUP}:{call}={call}"], check=True)
    try:
        yield
    finally:
        remove()


def watched(bench, command, row, messages):
    """Sends messages while perf watches the gate; how many it were."""
    process, _ = bench.servers["mx6"]
    bench.send("mx6", *row, 100)
    perf = subprocess.Popen([*command, *EVENTS, "-p", str(process.pid)], stderr=subprocess.DEVNULL)
    # perf does not say when it has begun.
    time.sleep(1)
    sent = bench.send("mx6", *row, messages)
    perf.send_signal(signal.SIGINT)
    perf.wait()
    return sent


def count(bench, row):
    """Calls of each kind for a message of a row."""
    report = bench.folder / "perf-stat"
    sent = watched(bench, ["perf", "stat", "-x", ",", "-o", report], row, bench.options.messages)
    fields = [line.split(",") for line in report.read_text().splitlines() if GROUP in line]
    return {field[2].removeprefix(f"{GROUP}:"): int(field[0]) / sent for field in fields}


def sites(bench):
    """How often a message of the first row allocates at each site."""
    record = bench.folder / "perf.data"
    sent = watched(bench, ["perf", "record", "-q", "-o", record, "-m", "4096", "--call-graph", "dwarf,16384"], relay_cost.ROWS[0], 40)
    script = subprocess.run(["perf", "script", "-i", record, "--no-inline", "-F", "event,ip,sym,dso"], capture_output=True, text=True, check=True)
    binary = pathlib.Path(bench.options.mx6).name
    frame = re.compile(rf"^\s*([0-9a-f]+) .*/{re.escape(binary)}\)$", re.MULTILINE)
    # perf tells offsets in the file; and a return address points behind the call.
    shift = text_shift(bench.options.mx6) - 1
    stacks = [[int(ip, 16) + shift for ip in frame.findall(stack)] for stack in script.stdout.split("\n\n") if stack.strip()]
    lines = source_lines(bench.options.mx6, {ip for stack in stacks for ip in stack})
    found = collections.Counter(site([line for ip in stack for line in lines[ip]]) for stack in stacks)
    return {place: number / sent for place, number in found.most_common()}


def text_shift(binary):
    """How far the code's addresses are from its offsets in the file."""
    segments = subprocess.run(["readelf", "-lW", binary], capture_output=True, text=True, check=True).stdout
    offset, address = re.search(r"LOAD +0x(\w+) 0x(\w+) .* R E ", segments).groups()
    return int(address, 16) - int(offset, 16)


def source_lines(binary, addresses):
    """For each address the functions inlined there and their lines, innermost first."""
    asked = "\n".join(map(hex, sorted(addresses)))
    told = subprocess.run(["addr2line", "-e", binary, "-a", "-f", "-i", "-C"], input=asked, capture_output=True, text=True, check=True).stdout
    lines = {}
    for block in re.split(r"^0x", told, flags=re.MULTILINE)[1:]:
        address, *rest = block.splitlines()
        lines[int(address, 16)] = list(zip(rest[::2], rest[1::2]))
    return lines


def site(lines):
    """The innermost line of ours or of glommio, and the library function that it called."""
    lines = [(function, line) for function, line in lines if not function.startswith("__rust_")]
    for at, (function, line) in enumerate(lines):
        if place := re.search(r"((?<=crates/)[\w-]+/src/\S+:\d+|glommio-[\d.]+/src/\S+:\d+)", line):
            called = re.sub("<.*", "", lines[at - 1][0]) if at else ""
            return f"{place[1]} {function[-60:]} → {called[-50:]}"
    return f"elsewhere: {lines[0] if lines else ''}"


def main():
    options = arguments()
    with contextlib.ExitStack() as stack:
        stack.enter_context(probes(options.mx6))
        bench = relay_cost.Bench(options, stack)
        bench.servers["mx6"] = bench.mx6(options.deliver)
        print("| body | messages a connection | Rust: all | of these growing | C |\n|---|---|---|---|---|")
        for row in relay_cost.ROWS:
            calls = count(bench, row)
            numbers = [sum(calls[call] for call in RUST), calls["mi_realloc_aligned"], sum(calls[call] for call in C)]
            print(f"| {row[0] // 1000} KB | {row[1]} | {' | '.join(f'{number:.1f}' for number in numbers)} |", flush=True)
        print("\n| calls | site, in the first row |\n|---|---|")
        for place, number in list(sites(bench).items())[: options.sites]:
            print(f"| {number:.2f} | {place} |")


if __name__ == "__main__":
    main()
