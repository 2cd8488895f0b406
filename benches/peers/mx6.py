#!/usr/bin/python3
"""mx6 itself, on one shard, with the same resolver and the same next hop."""

import subprocess

from lab import HOSTNAME, NEXT_HOP, PORT, SERVED, until_listening
from peer import Peer


class Mx6(Peer):
    name, slug = "mx6", "mx6"
    refuses_neither = True

    def __init__(self, program):
        self.program = program

    def versions(self):
        return subprocess.run([self.program, "--version"], capture_output=True, text=True).stdout.strip()

    def start(self, lab, group, folder):
        command = [self.program, "serve", "--hostname", HOSTNAME, "--listen", f"[::1]:{PORT}", "--cores", "1", "--dns-server", "127.0.0.1:53",
                   "--deliver", f"smtp://{NEXT_HOP}", "--log", folder / "decisions.log"]
        for domain in SERVED:
            command += ["--domain", f"{domain}=accept"]
        log = open(folder / "log", "w")
        process = group.start(command, stdout=log, stderr=log)
        until_listening("mx6", process, PORT)


if __name__ == "__main__":
    import bench  # which imports this file

    bench.main()
