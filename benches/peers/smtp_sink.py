#!/usr/bin/python3
"""Postfix' smtp-sink in the place of a peer: checks nothing, keeps nothing, relays nothing."""

import bench
from lab import PORT, until_listening
from peer import Peer


class SmtpSink(Peer):
    name, slug = "smtp-sink (checks nothing, relays nothing)", "smtp_sink"
    debian = ["postfix"]
    checks = set()
    relays = False

    def start(self, lab, group, folder):
        log = open(folder / "log", "w")
        process = group.start(["smtp-sink", "-u", "nobody", f"inet:[::1]:{PORT}", "4096"], stdout=log, stderr=log)
        until_listening("smtp-sink", process, PORT)


if __name__ == "__main__":
    bench.main(SmtpSink())
