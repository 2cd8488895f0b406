#!/usr/bin/python3
"""Postfix with policyd-spf (postfix-policyd-spf-python) and opendkim."""

import bench
from lab import HOSTNAME, until_listening
from postfix import Postfix


class PostfixMilters(Postfix):
    name, slug = "Postfix, policyd-spf, opendkim", "postfix_milters"
    debian = ["postfix", "postfix-policyd-spf-python", "opendkim"]
    policy = ", check_policy_service unix:private/policyd-spf"
    more_main = "policyd-spf_time_limit = 3600\nsmtpd_milters = inet:127.0.0.1:8891\nmilter_default_action = tempfail\n"

    def start(self, lab, group, folder):
        (folder / "opendkim.conf").write_text(OPENDKIM)
        policyd = folder / "policyd-spf.conf"
        policyd.write_text(POLICYD_SPF)
        self.more_master = f"policyd-spf unix - n n - 0 spawn user=nobody argv=/usr/bin/policyd-spf {policyd}\n"
        log = open(folder / "opendkim.log", "w")
        process = group.start(["opendkim", "-f", "-x", folder / "opendkim.conf"], stdout=log, stderr=log)
        until_listening("opendkim", process, 8891)
        super().start(lab, group, folder)


# Says what it saw and lets everything through; only refusing takes both results, which neither of the two has.
OPENDKIM = f"""\
Mode v
Socket inet:8891@127.0.0.1
Nameservers 127.0.0.1
AuthservID {HOSTNAME}
AlwaysAddARHeader yes
On-BadSignature accept
InternalHosts 127.0.0.1
Syslog no
"""

POLICYD_SPF = f"""\
debugLevel = 0
HELO_reject = False
Mail_From_reject = False
PermError_reject = False
TempError_Defer = False
Header_Type = AR
Authserv_Id = {HOSTNAME}
skip_addresses = 127.0.0.0/8,::1
"""


if __name__ == "__main__":
    bench.main(PostfixMilters())
