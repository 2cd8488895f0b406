#!/usr/bin/env python3
"""CPU time that one relayed message costs the whole mx6 process, and smtp-sink beside it in the same run.

Needs a release build (cargo build --release -p mx6) and the Debian packages postfix (smtp-source, smtp-sink) and python3-dkim.
Everything stays on ::1. Every message is checked: PTR, SPF (pass), DKIM (rsa-2048 relaxed/relaxed, pass), DMARC; answers come from a zone file.

    benches/relay_cost.py [--messages N] [--sessions N] [--mx6 PATH] [--json FILE]
"""

import argparse
import json
import os
import pathlib
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

DOMAIN, SELECTOR = "sender.example", "bench"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=10_000, help="messages in each row (default 10000)")
    parser.add_argument("--sessions", type=int, default=16, help="concurrent sessions (default 16)")
    parser.add_argument("--mx6", default="target/release/mx6", help="the binary (default target/release/mx6)")
    parser.add_argument("--json", help="also write the rows to this file")
    return parser.parse_args()


def cpu_us(pid):
    """CPU time of all threads of a process, in microseconds."""
    total_ns = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        total_ns += int((task / "schedstat").read_text().split()[0])
    return total_ns / 1000


def free_port():
    with socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return probe.getsockname()[1]


def wait_for(port, process):
    for _ in range(500):
        if process.poll() is not None:
            sys.exit(f"{process.args[0]} ended with {process.returncode}: {process.stderr.read().decode()}")
        try:
            socket.create_connection(("::1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    sys.exit(f"{process.args[0]} does not listen on port {port}")


def key_and_zone(folder):
    """An RSA-2048 key and a zone that makes ::1 a sender with PTR, SPF and DKIM."""
    key = folder / "key.pem"
    subprocess.run(["openssl", "genrsa", "-traditional", "-out", key, "2048"], check=True, capture_output=True)
    public = subprocess.run(["openssl", "rsa", "-in", key, "-pubout", "-outform", "DER"], check=True, capture_output=True)
    import base64

    record = "v=DKIM1; k=rsa; p=" + base64.b64encode(public.stdout).decode()
    strings = " ".join(f'"{record[at:at + 200]}"' for at in range(0, len(record), 200))
    reverse = ".".join(reversed(f"{1:032x}")) + ".ip6.arpa."
    zone = folder / "bench.zone"
    zone.write_text(
        "$TTL 3600\n"
        f"{DOMAIN}. SOA ns.{DOMAIN}. hostmaster.{DOMAIN}. 1 3600 600 86400 300\n"
        f'{DOMAIN}. TXT "v=spf1 ip6:::1 -all"\n'
        f'_dmarc.{DOMAIN}. TXT "v=DMARC1; p=reject"\n'
        f"mail.{DOMAIN}. AAAA ::1\n"
        f"{SELECTOR}._domainkey.{DOMAIN}. TXT {strings}\n"
        f"{reverse} PTR mail.{DOMAIN}.\n"
    )
    return key, zone


def signed_message(octets, key):
    try:
        import dkim
    except ImportError:
        sys.exit("the Python module dkim is missing: apt-get install python3-dkim, and run this with /usr/bin/python3")
    line = b"Sixty-four octets of plain text make up every line of this mail.\r\n"
    header = (
        f"From: Alice <alice@{DOMAIN}>\r\nTo: bob@open.example\r\nSubject: bench\r\n"
        f"Date: Mon, 03 Aug 2026 10:00:00 +0000\r\nMessage-ID: <bench@{DOMAIN}>\r\n\r\n"
    ).encode()
    message = header + line * (octets // len(line))
    names = [b"from", b"to", b"subject", b"date", b"message-id"]
    signature = dkim.sign(
        message, SELECTOR.encode(), DOMAIN.encode(), key.read_bytes(), include_headers=names,
        canonicalize=(b"relaxed", b"relaxed"),
    )
    # smtp-source reads a file with Unix line ends and sends CRLF.
    return (signature + message).replace(b"\r\n", b"\n")


def run_row(options, folder, zone, message_file, target, reuse):
    """One row: microseconds of mx6 and of smtp-sink for each message."""
    sink_port, port = free_port(), free_port()
    as_nobody = ["-u", "nobody"] if os.geteuid() == 0 else []
    sink = subprocess.Popen(["smtp-sink", *as_nobody, f"inet:[::1]:{sink_port}", "4096"], stderr=subprocess.PIPE)
    deliver = f"smtp://[::1]:{sink_port}" if target == "smtp-sink" else "discard:"
    command = [
        options.mx6, "serve", "--hostname", "mx.example", "--listen", f"[::1]:{port}", "--cores", "1", "--zone", zone,
        "--domain", "open.example=accept", "--deliver", deliver, "--log", folder / "decisions.log",
    ]
    gate = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        wait_for(sink_port, sink)
        wait_for(port, gate)
        source = ["smtp-source", "-s", str(options.sessions), "-f", f"alice@{DOMAIN}", "-t", "bob@open.example",
                  "-M", f"mail.{DOMAIN}", "-F", message_file] + (["-d"] if reuse else [])
        subprocess.run(source + ["-m", "500", f"inet:[::1]:{port}"], check=True)
        before = cpu_us(gate.pid), cpu_us(sink.pid)
        subprocess.run(source + ["-m", str(options.messages), f"inet:[::1]:{port}"], check=True)
        spent = cpu_us(gate.pid) - before[0], cpu_us(sink.pid) - before[1]
    finally:
        for process in (gate, sink):
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=90)
    accepted = sum(1 for line in open(folder / "decisions.log") if '"rule":"accepted"' in line)
    if accepted < options.messages:
        sys.exit(f"only {accepted} messages were accepted; see the decisions: {folder}")
    (folder / "decisions.log").unlink()
    return [value / options.messages for value in spent]


def main():
    options = arguments()
    for program in ("smtp-source", "smtp-sink", "openssl"):
        if not shutil.which(program):
            sys.exit(f"{program} is missing: apt-get install postfix openssl")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="mx6-bench-"))
    key, zone = key_and_zone(folder)
    rows = []
    print(f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}; {options.messages} messages a row, "
          f"{options.sessions} sessions\n")
    print("| body | messages a connection | delivery | mx6, CPU-µs a message | smtp-sink, CPU-µs a message |")
    print("|---|---|---|---|---|")
    for size, octets in (("4 KB", 4_000), ("50 KB", 50_000)):
        message_file = folder / f"message-{octets}"
        message_file.write_bytes(signed_message(octets, key))
        for reuse in (False, True):
            for target in ("discard", "smtp-sink"):
                mx6_us, sink_us = run_row(options, folder, zone, message_file, target, reuse)
                sink_text = f"{sink_us:.0f}" if target == "smtp-sink" else "–"
                count = "many" if reuse else "1"
                print(f"| {size} | {count} | {target} | {mx6_us:.0f} | {sink_text} |", flush=True)
                rows.append({"octets": octets, "reuse": reuse, "target": target, "mx6_us": mx6_us, "sink_us": sink_us})
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(rows, indent=1))
    shutil.rmtree(folder)


main()
