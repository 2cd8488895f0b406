#!/usr/bin/env python3
"""A long run of loadgen's full mix, with clients that abort, a resolver and next hops that fail: does anything grow, is any answer wrong?

  cargo build --release && benches/soak.py [--seconds 1800] [--bin target/release] [--closed 32]

Starts two next hops (the first fails at every stage up to the final dot and is away for some seconds now and then; the second never fails),
one mx6, clients that begin sessions and reset or close them at a random octet, and `mx6-loadgen run` with its own zone (2 % of the questions
unanswered or SERVFAIL, 10 % truncated, late). loadgen checks every reply; a temporary refusal for DNS is right in place of any.

What is measured begins when the warm-up is over (a fifth of the time): every second the resident memory and the descriptors of mx6. The
last line is the verdict: flat means that the least of the last fifth is at most 2 % above the least of the first (for memory also 1 MiB, for
descriptors also 8, below which 2 % says nothing). The least, because what leaks never goes away again, and load comes and goes. The sources
are so few that the caches know them all after the warm-up. Every message that was answered with 250 must have been taken by a next hop exactly once:
the numbers must be equal. Exits with 1 if anything is not so.

Faults after the final dot are not here: their outcome is unknown, and no count could be held against them. The simulation has them.
"""

import argparse
import asyncio
import json
import os
import random
import socket
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
    """Takes messages; with `faults`, closes, refuses for now or talks nonsense at so many steps in a thousand, before the final dot."""

    def __init__(self, faults):
        self.faults = faults
        self.taken = 0
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
                self.taken += 1
                writer.write(b"250 2.0.0 taken\r\n")
            elif verb == b"QUIT":
                writer.write(b"221 2.0.0 bye\r\n")
                return
            else:
                writer.write(b"250 2.0.0 ok\r\n")


SESSION = (
    b"PROXY TCP6 2001:db8::%x ::1 1024 25\r\nEHLO client.example\r\nMAIL FROM:<a@d1.example>\r\n"
    b"RCPT TO:<b@open.example>\r\nDATA\r\nFrom: a@d1.example\r\nDKIM-Signature: v=1; a=rsa-sha256\r\n\r\n" + b"x" * 70_000 + b"\r\n"
)


async def abort_again_and_again(port, ended):
    while not ended.is_set():
        try:
            reader, writer = await asyncio.open_connection("::1", port)
            session = SESSION.replace(b"%x", b"%x" % random.randrange(1, 0xFFFF))
            cut = random.choice([random.randrange(250), random.randrange(len(session))])
            writer.write(session[:cut])
            await asyncio.wait_for(reader.read(100), 0.5)
            if random.random() < 0.5:
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.close()
        except (OSError, asyncio.TimeoutError):
            pass
        await asyncio.sleep(random.random() * 0.1)


async def come_and_go(next_hop, ended):
    while not ended.is_set():
        await asyncio.sleep(random.uniform(5, 30))
        await next_hop.close()
        await asyncio.sleep(random.uniform(1, 5))
        await next_hop.open()


def sample(pid):
    rss = next(int(line.split()[1]) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return rss, len(os.listdir(f"/proc/{pid}/fd"))


async def watch(pid, samples, ended):
    while not ended.is_set():
        samples.append(sample(pid))
        await asyncio.sleep(1)


def growth(values):
    """From the least of the first fifth to that of the last, in percent and in units."""
    fifth = max(1, len(values) // 5)
    first, last = min(values[:fifth]), min(values[-fifth:])
    return 100 * (last - first) / first, last - first


async def listens(port):
    for _ in range(600):
        try:
            _, writer = await asyncio.open_connection("::1", port)
            writer.close()
            return
        except OSError:
            await asyncio.sleep(0.05)
    sys.exit("mx6 does not listen")


async def soak(options):
    flaky, sound = NextHop(faults=30), NextHop(faults=0)
    await flaky.open()
    await sound.open()
    zone, proxy = free_port(), free_port()
    folder = tempfile.TemporaryDirectory()
    report = Path(folder.name) / "run.json"
    gate = await asyncio.create_subprocess_exec(
        f"{options.bin}/mx6", "serve", "--hostname", "mx.example", "--proxy-listen", f"[::1]:{proxy}", "--proxy-from", "::1/128",
        "--cores", "1", "--dns-server", f"[::1]:{zone}", "--domain", "open.example=accept", "--domain", "v4only.example=reject",
        "--deliver", f"smtp://[::1]:{flaky.port}", "--deliver", f"smtp://[::1]:{sound.port}", "--log", "/dev/null",
        stderr=subprocess.DEVNULL,
    )
    await listens(proxy)
    load = await asyncio.create_subprocess_exec(
        f"{options.bin}/mx6-loadgen", "run", "--proxy", "--target", f"[::1]:{proxy}", "--with-zone", f"[::1]:{zone}",
        "--closed", str(options.closed), "--messages-per-connection", "7", "--body", "mail", "--sources", "2000", "--pool", "64",
        "--duration", f"{options.seconds}s", "--loss", "1", "--servfail", "1", "--truncate", "10", "--delay-ms", "1", "--jitter-ms", "20",
        "--allow-temperror", "--pid", str(gate.pid), "--quiet", "--json", str(report),
    )
    ended, samples = asyncio.Event(), []
    others = [asyncio.create_task(abort_again_and_again(proxy, ended)) for _ in range(8)]
    others += [asyncio.create_task(come_and_go(flaky, ended)), asyncio.create_task(watch(gate.pid, samples, ended))]
    code = await load.wait()
    ended.set()
    for other in others:
        other.cancel()
    gate.terminate()
    await asyncio.wait_for(gate.wait(), 120)
    return code, json.loads(report.read_text()), samples[len(samples) // 5 :], flaky.taken + sound.taken, flaky.taken


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--seconds", type=int, default=1800)
    options.add_argument("--bin", default="target/release")
    options.add_argument("--closed", type=int, default=32)
    code, measured, samples, taken, by_flaky = asyncio.run(soak(options.parse_args()))

    count = lambda word: sum(reply["count"] for reply in measured["replies"] if reply["reply"].startswith(word))
    accepted, temporary = count("250"), count("451 4.4.3")
    memory, descriptors = growth([rss for rss, _ in samples]), growth([fds for _, fds in samples])
    faults = []
    if code != 0 or measured["wrong"] != 0:
        faults.append(f"{measured['wrong']} wrong answers, loadgen ended with {code}")
    if accepted != taken:
        faults.append(f"{accepted} accepted, {taken} taken")
    if memory[0] > 2 and memory[1] > 1024:
        faults.append("memory grows")
    if descriptors[0] > 2 and descriptors[1] > 8:
        faults.append("descriptors grow")
    print(
        f"{len(samples)} s after warm-up; {sum(reply['count'] for reply in measured['replies'])} messages, {accepted} accepted, {taken} taken "
        f"({by_flaky} by the flaky next hop), {temporary} deferred for DNS, {measured['wrong']} wrong; RSS {samples[-1][0]} KiB {memory[0]:+.2f} %, "
        f"descriptors {samples[-1][1]} {descriptors[0]:+.2f} %: {'; '.join(faults) or 'FLAT AND RIGHT'}"
    )
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
