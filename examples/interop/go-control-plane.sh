#!/usr/bin/env bash
# A control plane on go-control-plane for the interop checks: the program in go-control-plane/.
#
#   go-control-plane.sh install    builds it; prints the binary's path
#
# Exit codes: 0 done, 1 it does not build, 2 wrong use, 3 it cannot be had here: no Go, or no module proxy.
set -euo pipefail

CACHE="${MESH_INTEROP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mesh-tower}"
BUILD_SECONDS="${MESH_INTEROP_BUILD_SECONDS:-1200}"
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
SOURCE="$HERE/go-control-plane"

say() { printf 'go-control-plane.sh: %s\n' "$*" >&2; }
fail() { local code=$1; shift; say "$*"; exit "$code"; }

# Runs go in the program's folder within the build time, where `timeout` exists.
go_limited() {
    local limit=()
    if command -v timeout >/dev/null; then limit=(timeout -k 10 "$BUILD_SECONDS"); fi
    (cd "$SOURCE" && CGO_ENABLED=0 GOWORK=off GOFLAGS=-mod=readonly "${limit[@]}" nice -n 10 go "$@")
}

install() {
    command -v go >/dev/null || fail 3 "go-control-plane cannot be had here: there is no go on the PATH"
    mkdir -p "$CACHE/bin"
    local log="$CACHE/go-control-plane-build.log" binary code=0
    # Another source is another binary.
    binary="$CACHE/bin/go-control-plane-$(cat "$SOURCE"/*.go "$SOURCE"/go.* | cksum | tr ' ' '-')"
    if [ -x "$binary" ]; then
        printf '%s\n' "$binary"
        return
    fi
    # A download that fails is the machine's; a build that fails after it is ours.
    if ! go_limited mod download >"$log" 2>&1; then
        say "$(tail -n 2 "$log" | cut -c1-300)"
        fail 3 "go-control-plane cannot be had here: go mod download failed (last lines above, all in $log)"
    fi
    go_limited build -trimpath -buildvcs=false -ldflags "-s -w" -o "$binary.$$" . >>"$log" 2>&1 || code=$?
    if [ "$code" = 124 ] || [ "$code" = 137 ]; then
        fail 3 "go-control-plane: the build did not end within $BUILD_SECONDS seconds (MESH_INTEROP_BUILD_SECONDS); what Go has built is kept, run install again to go on"
    elif [ "$code" != 0 ]; then
        tail -n 5 "$log" | cut -c1-300 >&2
        fail 1 "go-control-plane does not build (last lines above, all in $log)"
    fi
    mv "$binary.$$" "$binary"
    printf '%s\n' "$binary"
}

case "${1:-}" in
install) install ;;
*)
    sed -n '4s/^# *//p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
