#!/usr/bin/env bash
# Runs every fuzz target, one after the other, for so long (default 600 s each) on stable, and prints a line for each: what it tried and
# whether it failed. Exits with 1 if one failed, or if there was none to run; its output, with the failing input, is then in
# target/fuzz/NAME.log.
#
#   tests/fuzz.sh [SECONDS] [WORD...]     with words only the targets whose name bears one of them
#
# A target found by its name only: a test whose path holds `fuzz`, or any test of a file tests/fuzz.rs.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-600}
shift || true
logs=${CARGO_TARGET_DIR:-target}/fuzz
mkdir -p "$logs"
export BOLERO_RANDOM_TEST_TIME_MS=$((seconds * 1000)) BOLERO_RANDOM_ITERATIONS=1000000000000 BOLERO_RANDOM_MAX_LEN=4096

# Package, kind of test program, test: one a line.
targets() {
    local package
    for package in mx6-smtp mx6-dkim mx6-spf mx6-dns mx6-message-auth mx6-server; do
        cargo test --quiet -p "$package" --lib -- --list | sed -n "s/^\(.*fuzz::.*\): test$/$package --lib \1/p"
        if [[ -e crates/${package#mx6-}/tests/fuzz.rs ]]; then
            cargo test --quiet -p "$package" --test fuzz -- --list | sed -n "s/^\(.*\): test$/$package --test=fuzz \1/p"
        fi
    done
}

wanted() {
    local word
    (($# == 1)) && return
    for word in "${@:2}"; do
        [[ $1 == *"$word"* ]] && return
    done
    return 1
}

list=$(targets)
failed=0 run=0
while read -r package kind name; do
    wanted "$package $name" "$@" || continue
    run=$((run + 1))
    log=$logs/$package-${name//::/-}.log
    status=passed
    cargo test --quiet -p "$package" "$kind" -- --exact "$name" --nocapture >"$log" 2>&1 </dev/null || status=FAILED
    [[ $status == passed ]] || failed=1
    # A kernel's target says in words of its own what it tried.
    tried=$(grep -Eo '(fuzz .*: )?[0-9]+ (inputs|batches|signatures|moduli).*|^calls [0-9].*' "$log" | tail -n 1 || true)
    printf '%-7s %s %s: %s\n' "$status" "$package" "$name" "${tried:-see $log}"
done <<<"$list"
if ((run == 0)); then
    echo "no target bears one of these words: $*" >&2
    exit 1
fi
exit "$failed"
