#!/usr/bin/env bash
# A real istiod without Kubernetes, for the interop checks: see README.md beside this file.
#
#   istiod.sh install                              builds it once; prints the binary's path
#   istiod.sh start CONFIG_DIR MESH_YAML STATE_DIR starts it on free loopback ports
#   istiod.sh stop STATE_DIR                       stops the one that was started there
#
# Exit codes: 0 done, 1 it failed, 2 wrong use, 3 this istiod cannot be had here.
set -euo pipefail

# A commit of istio/istio just after 1.30 was branched off; README.md says how to choose another.
ISTIO_VERSION="${MESH_INTEROP_ISTIO_VERSION:-v0.0.0-20260423205519-b01690e6db7d}"

CACHE="${MESH_INTEROP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mesh-tower}"
BINARY="$CACHE/bin/pilot-discovery-$ISTIO_VERSION"
BUILD_SECONDS="${MESH_INTEROP_BUILD_SECONDS:-1200}"
START_SECONDS="${MESH_INTEROP_START_SECONDS:-60}"
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

say() { printf 'istiod.sh: %s\n' "$*" >&2; }
fail() { local code=$1; shift; say "$*"; exit "$code"; }

usage() {
    sed -n '4,6s/^# *//p' "${BASH_SOURCE[0]}" >&2
    exit 2
}

# Runs a command inside what is left of the build time, where `timeout` exists.
limited() {
    local left=$((BUILD_SECONDS - SECONDS))
    [ "$left" -gt 0 ] || return 124
    if command -v timeout >/dev/null; then
        timeout -k 10 "$left" nice -n 10 "$@"
    else
        nice -n 10 "$@"
    fi
}

cannot_be_had() {
    local what=$1 code=$2 log=$3
    if [ "$code" = 124 ] || [ "$code" = 137 ]; then
        fail 3 "istiod $ISTIO_VERSION: $what did not end within $BUILD_SECONDS seconds (MESH_INTEROP_BUILD_SECONDS); what Go has already built is kept, run install again to go on"
    fi
    say "$(tail -n 2 "$log" 2>/dev/null | cut -c1-300)"
    fail 3 "istiod $ISTIO_VERSION cannot be had here: $what failed (exit code $code, last lines above, all in $log)"
}

install() {
    if [ -x "$BINARY" ]; then
        printf '%s\n' "$BINARY"
        return
    fi
    command -v go >/dev/null ||
        fail 3 "istiod $ISTIO_VERSION cannot be had here: there is no go on the PATH (Go 1.25.7 or newer builds it)"
    command -v python3 >/dev/null || fail 3 "istiod $ISTIO_VERSION cannot be run here: there is no python3 on the PATH"
    mkdir -p "$CACHE/bin"
    local work log code=0 source
    log="$CACHE/istiod-build.log"
    work="$(mktemp -d "$CACHE/istiod-build.XXXXXX")"
    # shellcheck disable=SC2064  # the folder of now, not the one of then
    trap "chmod -R u+w '$work'; rm -rf '$work'" EXIT

    say "getting istio.io/istio@$ISTIO_VERSION"
    (cd "$work" && GOWORK=off limited go mod download -json "istio.io/istio@$ISTIO_VERSION") \
        >"$work/module.json" 2>"$log" || code=$?
    if [ "$code" != 0 ]; then
        cat "$work/module.json" >>"$log"
        cannot_be_had "the download of the module" "$code" "$log"
    fi
    source="$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["Dir"])' "$work/module.json")"

    # Built in a copy of the module's folder, so that its own go.sum vouches for the
    # dependencies. `go install istio.io/istio/...@version` has no go.sum and needs the
    # checksum database to know each of them, which it does not everywhere.
    cp -R "$source" "$work/istio"
    chmod -R u+w "$work/istio"
    say "building pilot-discovery (some minutes of processor time, at most $BUILD_SECONDS seconds)"
    (cd "$work/istio" && CGO_ENABLED=0 GOWORK=off GOFLAGS=-mod=readonly limited \
        go build -trimpath -buildvcs=false \
        -ldflags "-s -w -X istio.io/istio/pkg/version.buildVersion=$ISTIO_VERSION" \
        -o "$work/pilot-discovery" ./pilot/cmd/pilot-discovery) >>"$log" 2>&1 || code=$?
    [ "$code" = 0 ] || cannot_be_had "the build" "$code" "$log"
    mv "$work/pilot-discovery" "$BINARY"
    say "built in $SECONDS seconds"
    printf '%s\n' "$BINARY"
}

# Is the process of this state folder still the one that we started?
running() {
    local pid
    pid="$(cat "$1/pid" 2>/dev/null)" || return 1
    [ -n "$pid" ] && ps -p "$pid" -o command= 2>/dev/null | grep -qF "$1/kubeconfig"
}

# The address that istiod logged for one of its listeners.
logged_address() {
    sed -n "s/.*starting $2 at \([0-9.]*:[0-9]*\).*/\1/p" "$1/istiod.log" 2>/dev/null | head -n 1
}

answers_ready() {
    python3 - "http://$1/ready" <<'PY' 2>/dev/null
import sys, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
sys.exit(opener.open(sys.argv[1], timeout=2).status != 200)
PY
}

# The root of its certificate authority, which it keeps in a secret of the stub.
root_of() {
    python3 - "$1" <<'PY' 2>/dev/null
import base64, json, pathlib, sys, urllib.request
state = pathlib.Path(sys.argv[1])
server = json.loads((state / "kubeconfig").read_text())["clusters"][0]["cluster"]["server"]
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
secret = opener.open(f"{server}/api/v1/namespaces/istio-system/secrets/istio-ca-secret", timeout=2)
(state / "root-cert.pem").write_bytes(base64.b64decode(json.load(secret)["data"]["ca-cert.pem"]))
PY
}

start() {
    [ "$#" = 3 ] || usage
    [ -d "$1" ] || fail 2 "the configuration folder $1 does not exist"
    [ -f "$2" ] || fail 2 "the mesh configuration file $2 does not exist"
    mkdir -p "$3"
    local config mesh state
    config="$(cd "$1" && pwd -P)"
    mesh="$(cd "$(dirname "$2")" && pwd -P)/$(basename "$2")"
    state="$(cd "$3" && pwd -P)"
    case "$mesh" in "$config"/*) fail 2 "$mesh lies inside $config: istiod would read it as one of its objects; put it beside the folder" ;; esac
    case "$state/" in "$config"/*) rmdir "$state" 2>/dev/null || true
        fail 2 "the state folder $state lies inside $config, which istiod watches; give another" ;; esac
    [ -x "$BINARY" ] || fail 3 "istiod $ISTIO_VERSION is not built; run: $HERE/istiod.sh install"
    if running "$state"; then
        fail 1 "an istiod of $state runs already (pid $(cat "$state/pid")); run: $HERE/istiod.sh stop $state"
    fi
    rm -f "$state/pid" "$state/xds-address" "$state/secure-xds-address" "$state/http-address"
    # It is looked into before the process below may have made it.
    : >"$state/istiod.log"

    local before=$SECONDS
    (
        # istiod looks for certificates and templates below its working folder.
        cd "$state"
        unset KUBECONFIG KUBERNETES_SERVICE_HOST KUBERNETES_SERVICE_PORT
        export POD_NAME=istiod-interop POD_NAMESPACE=istio-system
        export PILOT_DEBOUNCE_AFTER="${PILOT_DEBOUNCE_AFTER:-20ms}"
        exec nohup python3 "$HERE/kube_stub.py" "$state/kubeconfig" \
            "$BINARY" discovery \
            --registries=Kubernetes --kubeconfig="$state/kubeconfig" \
            --configDir="$config" --meshConfig="$mesh" --networksConfig="$state/no-networks" \
            --grpcAddr="127.0.0.1:${MESH_INTEROP_XDS_PORT:-0}" --httpAddr=127.0.0.1:0 \
            --secureGRPCAddr=127.0.0.1:0 --httpsAddr= --monitoringAddr= \
            --ctrlz_address=127.0.0.1 --ctrlz_port=0 \
            --shutdownDuration=1s
    ) >"$state/istiod.log" 2>&1 </dev/null &
    printf '%s\n' "$!" >"$state/pid"

    local xds http secure
    while :; do
        xds="$(logged_address "$state" "gRPC discovery service")"
        secure="$(logged_address "$state" "secure gRPC discovery service")"
        http="$(logged_address "$state" "HTTP service")"
        if [ -n "$xds" ] && [ -n "$secure" ] && [ -n "$http" ] && answers_ready "$http" && root_of "$state"; then
            break
        fi
        if ! kill -0 "$(cat "$state/pid")" 2>/dev/null; then
            tail -n 5 "$state/istiod.log" >&2
            rm -f "$state/pid"
            fail 1 "istiod ended before it answered (last lines above, all in $state/istiod.log)"
        fi
        if [ $((SECONDS - before)) -ge "$START_SECONDS" ]; then
            stop "$state"
            fail 1 "istiod did not answer within $START_SECONDS seconds (MESH_INTEROP_START_SECONDS); see $state/istiod.log"
        fi
        sleep 0.1
    done
    printf '%s\n' "$http" >"$state/http-address"
    printf '%s\n' "$secure" >"$state/secure-xds-address"
    printf '%s\n' "$xds" >"$state/xds-address"
    say "istiod answers at $xds (xDS, plaintext), $secure (over TLS, as istiod.istio-system.svc by $state/root-cert.pem) and http://$http/debug"
}

stop() {
    [ "$#" = 1 ] || usage
    local state pid tries=0
    state="$(cd "$1" 2>/dev/null && pwd -P)" || fail 2 "the state folder $1 does not exist"
    if running "$state"; then
        pid="$(cat "$state/pid")"
        kill "$pid"
        while kill -0 "$pid" 2>/dev/null; do
            tries=$((tries + 1))
            # Its child goes with it.
            [ "$tries" -lt 80 ] || kill -KILL "$pid" 2>/dev/null || true
            sleep 0.1
        done
    fi
    rm -f "$state/pid" "$state/xds-address" "$state/secure-xds-address" "$state/http-address"
}

[ "$#" -ge 1 ] || usage
command="$1"
shift
case "$command" in
install) install "$@" ;;
start) start "$@" ;;
stop) stop "$@" ;;
*) usage ;;
esac
