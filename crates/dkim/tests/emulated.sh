#!/usr/bin/env bash
# Runs the tests of the kernels whose instructions this CPU may lack (AVX-512) on an emulated one: Bochs' CPU, of which the Python package
# bochscpu-python is a build (a Cannon Lake: AVX-512 F, BW, VL, IFMA; SHA-NI). emulated.py runs a static program on it.
#
#   crates/dkim/tests/emulated.sh                        all tests of avx512 and rsa-ifma, and the selection of kernels
#   crates/dkim/tests/emulated.sh kernels::rsa::tests    tests by name; MX6_TEST_KERNEL=NAME leaves all kernels but that one out
#
# With BOLERO_RANDOM_TEST_TIME_MS=600000 BOLERO_RANDOM_ITERATIONS=1000000000 the fuzz targets go on for ten minutes each.
#
# Prints the test counts; exits with 1 if a test fails. Needs python3 with venv and cc. About ten minutes, half of them for the compiler.
set -euo pipefail
cd "$(dirname "$0")/../../.."

tools=${CARGO_TARGET_DIR:-target}/emulated
if [[ ! -x $tools/venv/bin/python ]]; then
    python3 -m venv "$tools/venv"
fi
"$tools/venv/bin/pip" install --quiet bochscpu-python==0.4.0
# The package is built for a newer glibc than Debian 12 has, but uses only these names of it.
cc -shared -fPIC -o "$tools/names.so" -x c - <<'C'
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
unsigned long long __isoc23_strtoull(const char *text, char **end, int base) { return strtoull(text, end, base); }
unsigned long __isoc23_strtoul(const char *text, char **end, int base) { return strtoul(text, end, base); }
long long __isoc23_strtoll(const char *text, char **end, int base) { return strtoll(text, end, base); }
long __isoc23_strtol(const char *text, char **end, int base) { return strtol(text, end, base); }
int __isoc23_sscanf(const char *text, const char *format, ...) {
    va_list list;
    va_start(list, format);
    int found = vsscanf(text, format, list);
    va_end(list);
    return found;
}
C

# The target is named, so that build scripts are not linked statically too.
target=x86_64-unknown-linux-gnu
program=$(RUSTFLAGS='-C target-feature=+crt-static' cargo test --release --target "$target" --target-dir "$tools/target" \
    -p mx6-dkim --lib --no-run --message-format=json | python3 -c '
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable"):
        print(message["executable"])')

emulate() {
    MX6_TEST_EMULATED=1 LD_PRELOAD="$tools/names.so" timeout 3000 "$tools/venv/bin/python" crates/dkim/tests/emulated.py "$program" --test-threads=1 "$@"
}

if (($#)); then
    emulate "$@"
else
    emulate kernels::tests
    MX6_TEST_KERNEL=avx512 emulate kernels::sha256::tests
    MX6_TEST_KERNEL=rsa-ifma emulate kernels::rsa::tests
fi
