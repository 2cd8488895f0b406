#!/usr/bin/python3
"""Postfix with Rspamd as a milter, with its SPF, DKIM and DMARC modules and the rules that it always loads."""

import bench
from lab import HOSTNAME, until_listening
from postfix import Postfix


class PostfixRspamd(Postfix):
    name, slug = "Postfix, Rspamd", "postfix_rspamd"
    debian = ["postfix", "rspamd"]
    more_main = "smtpd_milters = inet:127.0.0.1:11332\nmilter_default_action = tempfail\n"
    refuses_neither = True

    def start(self, lab, group, folder):
        (folder / "rspamd").mkdir()
        # The list that comes with it takes it half a minute of CPU time to compile, and serves to find addresses of web sites in bodies.
        (folder / "rspamd/top-level-domains").write_text("com\nnet\norg\nexample\n")
        config = folder / "rspamd.conf"
        config.write_text(RSPAMD.replace("FOLDER", str(folder / "rspamd")).replace("HOSTNAME", HOSTNAME))
        log = open(folder / "rspamd.out", "w")
        process = group.start(["rspamd", "-f", "-i", "-c", config], stdout=log, stderr=log)
        until_listening("Rspamd", process, 11332, 300)
        super().start(lab, group, folder)


# The proxy worker scans by itself, as Rspamd's manual has it for Postfix. Two workers, as the machine has two cores.
RSPAMD = """\
options {
  pidfile = "FOLDER/rspamd.pid";
  dbdir = "FOLDER";
  rundir = "FOLDER";
  filters = "dkim";
  dns { nameserver = ["127.0.0.1"]; }
  local_addrs = [127.0.0.0/8];
  url_tld = "FOLDER/top-level-domains";
  hs_cache_dir = "FOLDER";
}
logging { type = "file"; filename = "FOLDER/rspamd.log"; level = "info"; }
lua = "/usr/share/rspamd/rules/rspamd.lua";
modules { path = "/usr/share/rspamd/plugins/"; fallback_path = "/usr/share/rspamd/lualib/"; }
worker "rspamd_proxy" {
  bind_socket = "127.0.0.1:11332";
  milter = yes;
  timeout = 120s;
  upstream "local" { default = yes; self_scan = yes; }
  count = 2;
}
spf { }
dkim { }
dmarc { }
milter_headers {
  use = ["authentication-results"];
  extended_spam_headers = false;
  skip_local = false;
  authenticated_headers = [];
  routines { authentication-results { hostname = "HOSTNAME"; add_smtp_user = false; } }
}
metric "default" { actions { reject = 100; } }
force_actions {
  rules {
    NEITHER_PASSES {
      action = "soft reject";
      expression = "!R_SPF_ALLOW & !R_DKIM_ALLOW";
      message = "must pass either SPF or DKIM validation";
    }
  }
}
"""


if __name__ == "__main__":
    bench.main(PostfixRspamd())
