#!/usr/bin/env bash
# Installs what the tests need (Debian or Ubuntu), builds the workspace once, runs every test, and prints as its last line
# `N passed, N failed, N skipped`. Exits with 1 if a test failed or did not run. With --install-only it stops after the packages.
set -euo pipefail
cd "$(dirname "$0")/.."

# The tests start these programs themselves, with their own configuration, folders and ports; no system service is used.
packages=(
    build-essential git                              # the build: cc and make, and git for a build script
    postfix dovecot-lmtpd swaks libio-socket-inet6-perl            # clients, and next hops
    libnet-ssleay-perl msmtp                                       # clients inside TLS
    haproxy                                          # a balancer that speaks the PROXY protocol
    unbound                                          # a resolver
    python3-dkim python3-nacl opendkim-tools openssl # signers
    python3 python3-yaml                             # smtplib, and the runner of the hostile cases
    strace iproute2 util-linux                       # a trace of system calls, namespaces, limits
    mandoc zsh fish                                  # manual pages and completions are read by who reads them
    systemd systemd-container                        # systemd-socket-activate, systemd-analyze, systemd-nspawn
    lintian mmdebstrap                               # the Debian package: looked at, and a root that it is installed into
    runc crun busybox-static                         # containers, and a program that asks for what is denied there
    prometheus python3-prometheus-client             # strict readers of the metrics
    chromium fonts-dejavu-core                       # a browser for the status page
    shellcheck                                       # scripts that do what they say
)

install_packages() {
    local missing=() package
    for package in "${packages[@]}"; do
        if [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) != installed ]]; then
            missing+=("$package")
        fi
    done
    if ((${#missing[@]} == 0)); then
        return
    fi
    local as_root=()
    if ((EUID != 0)); then
        as_root=(sudo)
    fi
    echo "installing: ${missing[*]}"
    "${as_root[@]}" apt-get update -q
    # Postfix asks how it shall be configured; the tests do not use that configuration.
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
}

install_packages >&2
if [[ ${1:-} == --install-only ]]; then
    exit 0
fi

# Most of a test's time is waiting, so more of them run at once than there are cores.
export RUST_TEST_THREADS="${RUST_TEST_THREADS:-4}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
cargo test --workspace --no-fail-fast -- --show-output 2>&1 | tee "$log" || status=$?

# A test that finds no corpus or no permission says so, and counts as skipped.
awk -v status="$status" '
    /^test result:/ {
        for (i = 1; i < NF; i++) {
            if ($(i + 1) ~ /^passed/) passed += $i
            if ($(i + 1) ~ /^failed/) failed += $i
            if ($(i + 1) ~ /^ignored/) skipped += $i
        }
    }
    /^test result: FAILED/ { told++ }
    /^SKIPPED: / { skipped++; passed-- }
    # A test program that dies tells no result.
    /^error: (doc)?test failed, to rerun/ { programs++ }
    END {
        if (programs > told) failed += programs - told
        if (status != 0 && failed == 0) failed = 1
        if (passed + failed == 0) failed = 1
        printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
        exit failed > 0
    }
' "$log"
