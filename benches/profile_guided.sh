#!/usr/bin/env bash
# Builds mx6 by a profile of itself at work (PGO): the compiler then knows which code a message passes through, keeps it together and
# moves the rest away. mx6-floor too, so that the two can be compared.
#
#   benches/profile_guided.sh
#   benches/relay_cost.py --mx6 target/profile-guided/release/mx6 --floor target/profile-guided/release/mx6-floor
#
# A build that counts, mail through it (relay_cost.py: root, Postfix' smtp-sink, a release build of mx6-loadgen), and a build that uses the
# counts: a quarter of an hour on two cores. llvm-profdata must be of LLVM 19 or later (Debian: apt-get install llvm-19).
set -euo pipefail
cd "$(dirname "$0")/.."

profdata=$(compgen -c llvm-profdata | sort -V | tail -1) || true
if [[ -z $profdata ]]; then
    echo "llvm-profdata is not installed (Debian: apt-get install llvm-19)" >&2
    exit 1
fi

target=x86_64-unknown-linux-gnu
folder=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
counts=$folder/profile-guided-counts
ours=(-p mx6 -p mx6-benches --bin mx6 --bin mx6-floor)

# The target is named, so that build scripts count nothing.
cargo build --release -p mx6-loadgen
RUSTFLAGS="-Cprofile-generate=$counts/raw" cargo build --release --target "$target" --target-dir "$counts" "${ours[@]}"

# The mail of the tables in PERFORMANCE.md, with clients that pipeline and clients that do not.
rm -rf "$counts/raw"
for pipelining in off auto; do
    benches/relay_cost.py --only floor,mx6 --mx6 "$counts/$target/release/mx6" --floor "$counts/$target/release/mx6-floor" \
        --loadgen "$folder/release/mx6-loadgen" --repeats 2 --pipelining "$pipelining" >&2
done
"$profdata" merge -o "$counts/profile" "$counts/raw"

RUSTFLAGS="-Cprofile-use=$counts/profile" cargo build --release --target "$target" --target-dir "$folder/profile-guided" "${ours[@]}"
mkdir -p "$folder/profile-guided/release"
cp "$folder/profile-guided/$target/release/"{mx6,mx6-floor} "$folder/profile-guided/release/"
echo "$folder/profile-guided/release/mx6"
