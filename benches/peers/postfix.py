"""Postfix as an IPv6 MX that relays everything it takes: what its three peers share."""

import os
import shutil
import subprocess

from lab import HOSTNAME, NEXT_HOP, PORT, SERVED, until_listening
from peer import Peer


class Postfix(Peer):
    """Checks reverse DNS at RCPT. Relays through its queue."""

    debian = ["postfix"]
    # Added to the restrictions at RCPT, to main.cf and to master.cf.
    policy = more_main = more_master = ""

    def start(self, lab, group, folder):
        for name, owner in (("queue", None), ("data", "postfix"), ("config", None)):
            (folder / name).mkdir()
            if owner:
                shutil.chown(folder / name, owner)
        config = folder / "config"
        (config / "main.cf").write_text(self.main_cf(folder))
        (config / "master.cf").write_text(MASTER_CF.replace("PORT", str(PORT)) + self.more_master)
        subprocess.run(["postfix", "-c", config, "check"], check=True, capture_output=True)
        self.queue = folder / "queue"
        log = open(folder / "master.log", "w")
        process = group.start(["/usr/lib/postfix/sbin/master", "-d", "-c", config], stdout=log, stderr=log, start_new_session=True)
        until_listening("Postfix", process, PORT)

    def main_cf(self, folder):
        return MAIN_CF.format(
            folder=folder, hostname=HOSTNAME, served=" ".join(SERVED), next_hop=NEXT_HOP, policy=self.policy,
        ) + self.more_main

    def is_idle(self):
        return not any(files for name in ("incoming", "active", "deferred") for _, _, files in os.walk(self.queue / name))


MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/maillog
maillog_file_prefixes = {folder}
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = all
inet_protocols = all
myhostname = {hostname}
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
mynetworks = 127.0.0.0/8
relay_domains = {served}
relay_transport = relay:{next_hop}
smtpd_tls_security_level = none
smtp_tls_security_level = none
smtpd_relay_restrictions = reject_unauth_destination
smtpd_recipient_restrictions = reject_unknown_reverse_client_hostname, reject_unauth_destination{policy}
smtputf8_enable = no
notify_classes =
"""

# Debian's master.cf, without chroots.
MASTER_CF = """\
PORT inet n - n - - smtpd
postlog unix-dgram n - n - 1 postlogd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
"""
