#!/usr/bin/env bash
# The differential test of many folders under a real istiod, Bookinfo's tour under one that reads the same folder, then
# calls in gRPC's dialect of it, and over its TLS port with a certificate by its authority.
#
#   istiod.sh [FILE]   FILE gets the outcome in one line
#
# Exit codes: 0 it passed, 3 this istiod cannot be had here, any other: it failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case "${1:-}" in -*) echo "istiod: no option ${1}; its one argument is a file" >&2; exit 2 ;; esac
OUTCOME="${1:-}"
TARGET="${CARGO_TARGET_DIR:-target}"
WORK="$(mktemp -d)"
STATE="$WORK/state"

note() { [ -z "$OUTCOME" ] || printf '%s\n' "$*" >"$OUTCOME"; }
say() { note "$*"; printf 'istiod: %s\n' "$*"; }

# Only the istiod that was started below: `stop` goes by the process id in its state folder.
clean() {
    local code=$?
    trap - EXIT INT TERM
    if [ -f "$STATE/pid" ]; then
        [ "$code" = 0 ] || tail -n 30 "$STATE/istiod.log" >&2 || true
        bash examples/interop/istiod.sh stop "$STATE" || true
    fi
    rm -rf "$WORK"
    exit "$code"
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# What stands if the next lines break off.
note "FAILED (before the differential test)"
code=0
bash examples/interop/istiod.sh install 2>&1 | tee "$WORK/install" || code=${PIPESTATUS[0]}
if [ "$code" = 3 ]; then
    say "NOT RUN ($(tail -n 1 "$WORK/install" | sed 's/^istiod\.sh: //'))"
    exit 3
elif [ "$code" != 0 ]; then
    exit "$code"
fi
name="$(basename "$(tail -n 1 "$WORK/install")")"

limit=()
if command -v timeout >/dev/null; then limit=(timeout -k 20 900); fi

note "FAILED (the differential test against $name)"
cargo build -p oracle -p differential # as the stage `oracle` has built them
"${limit[@]}" "$TARGET/debug/differential"
# The control: what is made wrong must be seen.
"${limit[@]}" "$TARGET/debug/differential" --control --cases weights,bookinfo,authz-mesh

note "FAILED (before the tour)"
cargo build --release -p bookinfo-rs
cp -R bookinfo-rs/config "$WORK/config"
bash examples/interop/istiod.sh start "$WORK/config" examples/interop/mesh.yaml "$STATE"
address="$(cat "$STATE/xds-address")"

tour=("$TARGET/release/bookinfo" tour --control-plane "http://$address" --config "$WORK/config")
[ -z "$OUTCOME" ] || tour+=(--json "$(dirname "$OUTCOME")/tour-istiod.json")
note "FAILED (the tour under $name)"
"${limit[@]}" "${tour[@]}"
note "FAILED (gRPC's dialect, and TLS, under $name)"
"${limit[@]}" cargo test --workspace --test calls -- --ignored dialect:: csr::
say "passed (the differential test, the tour and gRPC's dialect under $name)"
