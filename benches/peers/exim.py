#!/usr/bin/python3
"""Exim with reverse DNS, SPF and DKIM in its access control lists."""

import os
import shutil

import bench
from lab import HOSTNAME, PORT, SERVED, SINK_PORT, until_listening
from peer import Peer


class Exim(Peer):
    name, slug = "Exim", "exim"
    debian = ["exim4-daemon-heavy"]
    refuses_neither = True

    def start(self, lab, group, folder):
        spool = folder / "spool"
        spool.mkdir()
        shutil.chown(spool, "Debian-exim", "Debian-exim")
        self.queue = spool / "input"
        config = folder / "exim.conf"
        text = CONFIG
        for word, value in {"SPOOL": spool, "HOSTNAME": HOSTNAME, "SERVED": ":".join(SERVED), "SINK": SINK_PORT, "PORT": PORT}.items():
            text = text.replace(f"@{word}@", str(value))
        # The compiled-in place: with any other, Exim gives up root between receiving and delivering.
        os.makedirs("/var/lib/exim4", exist_ok=True)
        os.makedirs("/etc/exim4", exist_ok=True)
        open("/etc/exim4/exim4.conf", "w").write(text)
        config.write_text(text)
        log = open(folder / "log", "w")
        process = group.start(["exim4", "-bdf", "-q30m", "-oP", folder / "exim.pid"], stdout=log, stderr=log)
        until_listening("Exim", process, PORT)

    def is_idle(self):
        return not any(files for _, _, files in os.walk(self.queue))


CONFIG = """\
exim_user = Debian-exim
exim_group = Debian-exim
never_users = root
primary_hostname = @HOSTNAME@
spool_directory = @SPOOL@
log_file_path = @SPOOL@/%slog
local_interfaces = <; ::1
daemon_smtp_ports = @PORT@
tls_advertise_hosts =
smtp_accept_max = 200
smtp_accept_queue = 0
host_lookup = *
acl_smtp_rcpt = rcpt
acl_smtp_dkim = dkim
acl_smtp_data = data

begin acl

rcpt:
  require domains = @SERVED@
          message = relay not permitted
  defer   !verify = reverse_host_lookup
          message = sending address must have a reverse DNS record
  warn    spf = pass:fail:softfail:neutral:none:permerror:temperror
  accept

dkim:
  warn    dkim_status = pass
          set acl_m_dkim = pass
  accept

data:
  defer   condition = ${if and {{!eq {$spf_result}{pass}} {!eq {$acl_m_dkim}{pass}}}}
          message = must pass either SPF or DKIM validation
  accept  add_header = :at_start:${authresults {$primary_hostname}}

begin routers

onward:
  driver = manualroute
  transport = onward
  route_data = <;::1
  self = send

begin transports

onward:
  driver = smtp
  port = @SINK@
  allow_localhost
  hosts_avoid_tls = *

begin retry

* * F,1h,1m
"""


if __name__ == "__main__":
    bench.main(Exim())
