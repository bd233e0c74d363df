#!/usr/bin/env bash
# What the mesh costs somebody outside of this repository: `examples/outside` has one small service twice, `plain` and
# `meshed`. Both are built from nothing; seconds and packages are told, the lines that differ may be ten, and the meshed
# one has to run without a mesh, with a mesh that is off, and by a folder of rules.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

MOST_LINES=10
OUTSIDE=examples/outside
TARGET="$(mkdir -p "${CARGO_TARGET_DIR:-target}" && cd "${CARGO_TARGET_DIR:-target}" && pwd)"
WORK="$(mktemp -d)"
PIDS=()
clean() {
    local code=$? pid
    trap - EXIT INT TERM
    for pid in "${PIDS[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$WORK" "$TARGET/outside-plain" "$TARGET/outside-meshed"
    exit "$code"
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
unset MESH MESH_CONFIG GRPC_XDS_BOOTSTRAP GRPC_XDS_BOOTSTRAP_CONFIG
export CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=false

fail() {
    printf 'outside: %s\n' "$*" >&2
    exit 1
}

# What both lock files name is of one version: `deny` has judged it in the workspace's.
versions() { awk '$1 == "name" { name = $3 } $1 == "version" && name { print name, $3; name = "" }' "$1" | LC_ALL=C sort; }
apart="$(LC_ALL=C join <(versions "$OUTSIDE/Cargo.lock") <(versions Cargo.lock | cut -d' ' -f1 | uniq) |
    LC_ALL=C comm -23 - <(versions Cargo.lock))"
[ -z "$apart" ] || fail "its lock file is not the workspace's in: $apart
copy Cargo.lock to $OUTSIDE, and run \`cargo metadata --manifest-path $OUTSIDE/Cargo.toml\`"

in_workspace() { (cd "$OUTSIDE" && "$@"); }
in_workspace cargo fmt -p plain -p meshed --check -- --color never
in_workspace cargo fetch --locked # the network is not what is measured

printf -- '--- %s\n' "diff plain meshed"
cmp "$OUTSIDE/plain/build.rs" "$OUTSIDE/meshed/build.rs"
[ "$(in_workspace ls plain/src meshed/src | grep -c '\.rs$')" = 2 ] || fail "main.rs is not all of a program"
diff "$OUTSIDE/plain/Cargo.toml" "$OUTSIDE/meshed/Cargo.toml" || true
diff "$OUTSIDE/plain/src/main.rs" "$OUTSIDE/meshed/src/main.rs" | tee "$WORK/diff" || true
# A line that takes another's place counts once.
lines="$(grep -c '^>' "$WORK/diff" || true)"
printf 'outside: %s lines of main.rs are new or changed, at most %s may be\n' "$lines" "$MOST_LINES"
[ "$lines" -gt 0 ] || fail "the two programs are the same"
[ "$lines" -le "$MOST_LINES" ] || fail "more than $MOST_LINES lines"

# Seconds of the clock say something on an idle machine only; those of the processors say how much work it was.
declare -A SECONDS_OF WORK_OF PACKAGES_OF
TIMEFORMAT='%0R %0U %0S'
for name in plain meshed; do
    target="$TARGET/outside-$name"
    rm -rf "$target"
    { time in_workspace cargo build --locked --quiet -p "$name" --target-dir "$target" 2>&3; } 3>&2 2>"$WORK/time"
    read -r clock user system <"$WORK/time"
    SECONDS_OF[$name]=$clock
    WORK_OF[$name]=$((user + system))
    PACKAGES_OF[$name]="$(in_workspace cargo tree --locked -p "$name" -e normal --prefix none | sed 's/ (\*)$//' | sort -u | wc -l)"
    printf 'outside: %-6s %4s s cold (%s s of processor time), %3s packages\n' \
        "$name" "${SECONDS_OF[$name]}" "${WORK_OF[$name]}" "${PACKAGES_OF[$name]}"
    mv "$target/debug/$name" "$WORK/$name"
    rm -rf "$target"
done
printf 'outside: mesh-tower adds %s packages and %s s (%s s of processor time) over axum + tonic alone; ' \
    "$((PACKAGES_OF[meshed] - PACKAGES_OF[plain]))" "$((SECONDS_OF[meshed] - SECONDS_OF[plain]))" \
    "$((WORK_OF[meshed] - WORK_OF[plain]))"
printf 'at most 120 s cold on 2 cores, reach 60\n'

# Starts a program with these settings, and waits for its address.
start() {
    local log="$WORK/log.${#PIDS[@]}"
    env LISTEN=127.0.0.1:0 "$@" >"$log" 2>&1 &
    PIDS+=($!)
    for _ in $(seq 300); do
        ADDRESS="$(sed -n 's/^listening on //p' "$log")"
        [ -z "$ADDRESS" ] || return 0
        kill -0 "${PIDS[-1]}" 2>/dev/null || break
        sleep 0.1
    done
    cat "$log" >&2
    fail "$* did not say where it listens"
}

# Asks a program started with these settings for the names that it gets, ten times, and wants this one.
way() {
    local what=$1 wanted=$2 answers
    shift 2
    start "NEXT=localhost:$V1" "$@"
    answers="$(python3 -c '
import sys, urllib.error, urllib.request
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for _ in range(10):
    try: print(direct.open(sys.argv[1], timeout=60).read().decode().strip())
    except urllib.error.HTTPError as error: print(error, error.read().decode().strip())
' "http://$ADDRESS/" | sort -u)"
    printf 'outside: %-34s %s\n' "$what" "$answers"
    [ "$answers" = "HTTP 200 OK $wanted, gRPC $wanted" ] || fail "$what: expected $wanted alone"
}

start NAME=v1 "$WORK/plain"
V1="${ADDRESS##*:}"
start NAME=v2 "$WORK/meshed"
V2="${ADDRESS##*:}"
mkdir "$WORK/rules"
sed "s/9081/$V1/g; s/9082/$V2/g" "$OUTSIDE/mesh/rules.yaml" >"$WORK/rules/rules.yaml"

way "plain" v1 "$WORK/plain"
way "meshed, no mesh" v1 "$WORK/meshed"
way "meshed, a folder that says v2" v2 MESH_CONFIG="$WORK/rules" "$WORK/meshed"
# The control: the same folder, which must not rule.
way "meshed, the same folder, MESH=off" v1 MESH=off MESH_CONFIG="$WORK/rules" "$WORK/meshed"
