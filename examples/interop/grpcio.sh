#!/usr/bin/env bash
# gRPC's C core as a client for the interop checks: the PyPI wheel `grpcio` in a virtual environment of its own.
#
#   grpcio.sh install    downloads it once; prints the path of the environment's python
#
# Exit codes: 0 done, 2 wrong use, 3 this grpcio cannot be had here.
set -euo pipefail

GRPCIO_VERSION=1.85.1

CACHE="${MESH_INTEROP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mesh-tower}"
FOLDER="$CACHE/grpcio-$GRPCIO_VERSION"
PYTHON="$FOLDER/bin/python"

say() { printf 'grpcio.sh: %s\n' "$*" >&2; }
fail() { local code=$1; shift; say "$*"; exit "$code"; }

# Whether the environment is whole: its interpreter may have gone with an upgrade of the system's.
works() { [ -f "$FOLDER/complete" ] && "$PYTHON" -c 'import grpc' >/dev/null 2>&1; }

install() {
    if works; then
        printf '%s\n' "$PYTHON"
        return
    fi
    command -v python3 >/dev/null || fail 3 "grpcio $GRPCIO_VERSION cannot be had here: there is no python3 on the PATH"
    mkdir -p "$CACHE"
    local log="$CACHE/grpcio-download.log"
    rm -rf "$FOLDER"
    python3 -m venv "$FOLDER" >"$log" 2>&1 ||
        fail 3 "grpcio $GRPCIO_VERSION cannot be had here: python3 -m venv failed (see $log; Debian has it in python3-venv)"

    say "downloading grpcio $GRPCIO_VERSION from the Python package index"
    if ! "$PYTHON" -m pip install --only-binary=:all: "grpcio==$GRPCIO_VERSION" >>"$log" 2>&1; then
        say "$(tail -n 2 "$log" | cut -c1-300)"
        fail 3 "grpcio $GRPCIO_VERSION cannot be had here: pip install failed (last lines above, all in $log)"
    fi
    touch "$FOLDER/complete"
    works || fail 3 "grpcio $GRPCIO_VERSION cannot be had here: it is installed and cannot be imported (see $log)"
    printf '%s\n' "$PYTHON"
}

case "${1:-}" in
install) install ;;
*)
    sed -n '4s/^# *//p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
