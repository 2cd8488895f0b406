#!/usr/bin/env python3
"""A long run of loadgen's full mix, with clients that abort, a resolver and next hops that fail: does anything grow, is any answer wrong?

  cargo build --release && benches/soak.py [--seconds 1800] [--bin target/release] [--closed 32] [--series FILE]

Starts two next hops (the first fails at every stage, after the final dot too, and is away for some seconds now and then; the second never
fails), a zone (2 % of the questions unanswered or SERVFAIL, 10 % truncated, late), one mx6, clients from 65,535 addresses that begin
sessions in the clear and inside TLS, and reset or close them at a random octet, 48 that stay and say nothing more, each at a step of its own; and
two generators, one of which uses STARTTLS. They check every reply; a temporary refusal for DNS is right in place of any, and an unknown outcome in
place of an acceptance.
The caches are small, so that they are full, and forget as they learn, before measuring begins.

The last line is the verdict, FLAT AND RIGHT if
- the median of the resident memory in the last fifth of the time is at most 2 % above that of the first, a warm-up of a fifth not counted;
- no more descriptors are open at the end, when all clients have gone, than before the first came;
- no answer was wrong, as many messages were taken by a next hop as were answered with 250, and as many outcomes were said to be unknown as
  messages were taken without an answer.
Resident is to be what is used: the gate runs without transparent huge pages, into which the kernel collects pages whenever it finds time, and its
allocator gives back at once what was freed; by itself it keeps that for a second, in case, and it depends on chance how much that is.
It exits with 1 if anything is not so. The resident memory and descriptors of each second go to --series.
"""

import argparse
import asyncio
import ctypes
import json
import os
import random
import socket
import ssl
import statistics
import struct
import subprocess
import sys
import tempfile
from pathlib import Path


def free_port():
    with socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return probe.getsockname()[1]


class NextHop:
    """Takes messages; with `faults`, closes, refuses for now or talks nonsense at so many steps in a thousand, after the final dot too."""

    def __init__(self, faults):
        self.faults = faults
        self.taken = 0
        self.unanswered = 0
        self.port = free_port()
        self.server = None

    async def open(self):
        self.server = await asyncio.start_server(self.serve, "::1", self.port, limit=1 << 20)

    async def close(self):
        self.server.close()
        self.server = None

    def goes_wrong(self):
        return random.randrange(1000) < self.faults

    async def serve(self, reader, writer):
        try:
            await self.converse(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def converse(self, reader, writer):
        writer.write(b"220 next.example ESMTP\r\n")
        while True:
            line = await reader.readuntil(b"\r\n")
            verb = line[:4].upper()
            if self.goes_wrong():
                writer.write(random.choice([b"", b"421 4.3.2 going down\r\n", b"nonsense\r\n"]))
                return
            if verb == b"EHLO":
                writer.write(b"250-next.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 104857600\r\n")
            elif verb == b"DATA":
                writer.write(b"354 go on\r\n")
                while await reader.readuntil(b"\r\n") != b".\r\n":
                    pass
                if self.goes_wrong():
                    self.unanswered += 1
                    writer.write(random.choice([b"", b"nonsense\r\n"]))
                    return
                self.taken += 1
                writer.write(b"250 2.0.0 taken\r\n")
            elif verb == b"QUIT":
                writer.write(b"221 2.0.0 bye\r\n")
                return
            else:
                writer.write(b"250 2.0.0 ok\r\n")


SESSION = (
    b"EHLO client.example\r\nMAIL FROM:<a@d1.example>\r\nRCPT TO:<b@open.example>\r\nDATA\r\n"
    b"From: a@d1.example\r\nDKIM-Signature: v=1; a=rsa-sha256\r\n\r\n" + b"x" * 70_000 + b"\r\n"
)
ANY_CERTIFICATE = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
ANY_CERTIFICATE.check_hostname = False
ANY_CERTIFICATE.verify_mode = ssl.CERT_NONE


def client_hello():
    sent = ssl.MemoryBIO()
    try:
        ANY_CERTIFICATE.wrap_bio(ssl.MemoryBIO(), sent).do_handshake()
    except ssl.SSLWantReadError:
        return sent.read()


def some(octets):
    """The start of it, often one that ends in the commands."""
    return octets[: random.choice([random.randrange(250), random.randrange(len(octets))])]


WAYS = ["in the clear", "handshake", "inside TLS"]
TROUBLE = (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)


async def begin(reader, writer, way, start):
    """A session that comes to some point: in the PROXY header, in the clear, in the handshake, inside TLS."""
    proxy = b"PROXY TCP6 2001:db8::%x ::1 1024 25\r\n" % random.randrange(1, 0xFFFF)
    if way == "in the clear":
        writer.write(start(proxy + SESSION))
    else:
        writer.write(proxy + b"EHLO client.example\r\nSTARTTLS\r\n")
        await asyncio.wait_for(reader.readuntil(b"220 2.0.0"), 5)
        await asyncio.wait_for(reader.readline(), 5)
        if way == "handshake":
            writer.write(start(client_hello()))
        else:
            await asyncio.wait_for(writer.start_tls(ANY_CERTIFICATE), 5)
            writer.write(start(SESSION))
    await asyncio.wait_for(reader.read(100), 0.5)


async def abort_again_and_again(port):
    """Sessions that end by a reset or a close."""
    while True:
        _, writer = connection = await asyncio.open_connection("::1", port)
        try:
            await begin(*connection, random.choices(WAYS, [50, 15, 35])[0], some)
        except TROUBLE:
            pass
        if random.random() < 0.5:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        else:
            writer.close()
        await asyncio.sleep(random.random() * 0.1)


async def stay(port, number, count):
    """Sessions that say nothing more from some octet on, always the same, until they are cut off."""
    while True:
        reader, writer = connection = await asyncio.open_connection("::1", port)
        try:
            await begin(*connection, WAYS[number % len(WAYS)], lambda octets: octets[: len(octets) * number // count])
        except TROUBLE:
            pass
        try:
            while await reader.read(1 << 16):
                pass
        except OSError:
            pass
        finally:
            writer.transport.abort()
        await asyncio.sleep(random.random())


async def come_and_go(next_hop):
    while True:
        await asyncio.sleep(random.uniform(5, 30))
        await next_hop.close()
        await asyncio.sleep(random.uniform(1, 5))
        await next_hop.open()


def resident_kib(pid):
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


async def watch(pid, resident, series):
    while True:
        resident.append(resident_kib(pid))
        print(len(resident), resident[-1], descriptors(pid), file=series, flush=True)
        await asyncio.sleep(1)


async def calm(pid, at_rest):
    """How many descriptors are open when the last client has gone: pooled connections are closed after their time."""
    for _ in range(240):
        if descriptors(pid) <= at_rest:
            break
        await asyncio.sleep(1)
    return descriptors(pid)


async def listens(port):
    for _ in range(600):
        try:
            _, writer = await asyncio.open_connection("::1", port)
            writer.close()
            return
        except OSError:
            await asyncio.sleep(0.05)
    sys.exit(f"nobody listens on port {port}")


def without_huge_pages():
    """Of the process that is about to be started, its threads too (prctl(2))."""
    PR_SET_THP_DISABLE = 41
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_THP_DISABLE")


async def soak(options, folder):
    flaky, sound = NextHop(faults=30), NextHop(faults=0)
    await flaky.open()
    await sound.open()
    zone, proxy = free_port(), free_port()
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=mx.example"]
    subprocess.run([*make, "-keyout", key, "-out", certificate], check=True, capture_output=True)

    population = ["--sources", "2000"]
    resolver = await asyncio.create_subprocess_exec(
        f"{options.bin}/mx6-loadgen", "zone", "--listen", f"[::1]:{zone}", *population,
        "--loss", "1", "--servfail", "1", "--truncate", "10", "--delay-ms", "1", "--jitter-ms", "20",
    )
    await listens(zone)
    gate = await asyncio.create_subprocess_exec(
        f"{options.bin}/mx6", "serve", "--hostname", "mx.example", "--proxy-listen", f"[::1]:{proxy}", "--proxy-from", "::1/128",
        "--cores", "1", "--dns-server", f"[::1]:{zone}", "--domain", "open.example=accept", "--domain", "v4only.example=reject",
        "--deliver", f"smtp://[::1]:{flaky.port}", "--deliver", f"smtp://[::1]:{sound.port}", "--log", "/dev/null",
        "--tls-cert", certificate, "--tls-key", key, "--cache-ptr", "2", "--cache-spf", "2", "--cache-dkim", "1",
        stderr=subprocess.DEVNULL, preexec_fn=without_huge_pages, env={**os.environ, "MIMALLOC_PURGE_DELAY": "0"},
    )
    await listens(proxy)
    await asyncio.sleep(2)
    at_rest, resident = descriptors(gate.pid), []

    reports = {tls: folder / f"{tls}.json" for tls in ("never", "required")}
    loads = [
        await asyncio.create_subprocess_exec(
            f"{options.bin}/mx6-loadgen", "run", "--proxy", "--target", f"[::1]:{proxy}", *population, "--tls", tls,
            "--closed", str(options.closed // 2), "--messages-per-connection", "7", "--body", "mail", "--pool", "64",
            "--duration", f"{options.seconds}s", "--allow-temperror", "--allow-unknown-outcome", "--quiet", "--json", report,
        )
        for tls, report in reports.items()
    ]
    others = [asyncio.create_task(abort_again_and_again(proxy)) for _ in range(8)]
    others += [asyncio.create_task(stay(proxy, number, 48)) for number in range(48)]
    others += [asyncio.create_task(come_and_go(flaky)), asyncio.create_task(watch(gate.pid, resident, options.series))]
    codes = [await load.wait() for load in loads]
    for other in others:
        other.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    left = await calm(gate.pid, at_rest)
    for process in (gate, resolver):
        process.terminate()
        await asyncio.wait_for(process.wait(), 120)
    measured = [json.loads(report.read_text()) for report in reports.values()]
    return codes, measured, resident[len(resident) // 5 :], (at_rest, left), (flaky, sound)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=1800)
    parser.add_argument("--bin", default="target/release")
    parser.add_argument("--closed", type=int, default=32)
    parser.add_argument("--series", type=argparse.FileType("w"), default=os.devnull)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        codes, measured, resident, (at_rest, left), hops = asyncio.run(soak(options, Path(folder)))

    def count(word):
        return sum(reply["count"] for run in measured for reply in run["replies"] if reply["reply"].startswith(word))

    fifth = len(resident) // 5
    first, last = statistics.median(resident[:fifth]), statistics.median(resident[-fifth:])
    growth = 100 * (last - first) / first
    accepted, taken = count("250"), sum(hop.taken for hop in hops)
    unknown, unanswered = count("451 4.4.2"), sum(hop.unanswered for hop in hops)
    wrong = sum(run["wrong"] for run in measured)
    faults = {
        f"wrong answers, or a generator that ended with {codes}": wrong or any(codes),
        "not as many accepted as taken": accepted != taken,
        "not as many unknown as unanswered": unknown != unanswered,
        "memory grows": growth > 2,
        "descriptors are left open": left > at_rest,
    }
    print(
        f"{len(resident)} s after warm-up; {count('')} messages, {wrong} wrong, {accepted} accepted, {taken} taken ({hops[0].taken} by the flaky "
        f"next hop), {unknown} of unknown outcome, {unanswered} taken without an answer, {count('451 4.4.3')} deferred for DNS; "
        f"RSS {first:.0f} to {last:.0f} KiB, {growth:+.2f} %; descriptors {at_rest} to {left}: "
        f"{'; '.join(fault for fault, is_so in faults.items() if is_so) or 'FLAT AND RIGHT'}"
    )
    sys.exit(any(faults.values()))


if __name__ == "__main__":
    main()
