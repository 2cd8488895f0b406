#!/usr/bin/python3
"""Haraka with fcrdns, spf and dkim, relaying within the transaction (queue/smtp_forward)."""

import os
import shutil
import subprocess

import bench
import packages
from lab import HOSTNAME, PORT, SERVED, SINK_PORT, until_listening
from peer import Peer

VERSION = "3.3.4"
PLUGINS = {"haraka-plugin-fcrdns": "1.2.1", "haraka-plugin-spf": "1.3.0", "haraka-plugin-dkim": "1.3.1"}


class Haraka(Peer):
    name, slug = "Haraka", "haraka"

    modules = packages.npm_folder("Haraka", VERSION)

    def install(self):
        packages.npm("Haraka", VERSION, *(f"{name}@{version}" for name, version in PLUGINS.items()))
        return []

    def versions(self):
        return f"Haraka {VERSION}, " + ", ".join(f"{name} {version}" for name, version in PLUGINS.items())

    def start(self, lab, group, folder):
        config = folder / "config"
        # What `haraka --install` would put there.
        shutil.copytree(self.modules / "node_modules/Haraka/config", config)
        for name, text in CONFIG.items():
            (config / name).write_text(text)
        for name in ("queue", "plugins"):
            (folder / name).mkdir()
        self.admit_example(lab.folder)
        log = open(folder / "log", "w")
        program = self.modules / "node_modules/Haraka/bin/haraka"
        process = group.start(["node", program, "-c", folder], stdout=log, stderr=log)
        until_listening("Haraka", process, PORT)

    def admit_example(self, folder):
        """Makes `example` a public suffix: fcrdns looks up only names whose top-level domain it knows, and would save the forward lookup."""
        known = self.modules / "node_modules/haraka-tld/etc/public-suffix-list"
        if os.path.ismount(known):
            return
        ours = folder / "public-suffix-list"
        ours.write_text(known.read_text() + "\nexample\n")
        subprocess.run(["mount", "--bind", ours, known], check=True)


CONFIG = {
    "me": HOSTNAME,
    "plugins": "fcrdns\nspf\nrcpt_to.in_host_list\ndkim\nqueue/smtp_forward\n",
    "smtp.ini": f"listen=[::1]:{PORT}\n",
    "host_list": "\n".join(SERVED) + "\n",
    "smtp_forward.ini": f"host=::1\nport={SINK_PORT}\n",
    "fcrdns.ini": "[reject]\nno_rdns=true\n",
    "dkim.ini": "[verify]\nenabled=true\n",
    "log.ini": "[main]\nlevel=info\n",
}


if __name__ == "__main__":
    bench.main(Haraka())
