#!/usr/bin/env bash
# Runs every command of README.md's `sh` blocks as it stands there, but for what another stage runs.
#
#   readme.sh   exit code 0 only if each did what the README says
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

WORK="$(mktemp -d)"
PIDS=()
clean() {
    local code=$? pid
    trap - EXIT INT TERM
    for pid in "${PIDS[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$WORK"
    exit "$code"
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Starts a command and waits until its output holds a text.
start() {
    local text=$1 log="$WORK/log.${#PIDS[@]}"
    shift
    "$@" >"$log" 2>&1 &
    PIDS+=($!)
    for _ in $(seq 6000); do # it may have to be built first
        if grep -q -- "$text" "$log"; then
            STARTED_LOG=$log
            return
        fi
        kill -0 "${PIDS[-1]}" 2>/dev/null || break
        sleep 0.1
    done
    printf 'README: %s did not print %s:\n' "$*" "$text" >&2
    cat "$log" >&2
    exit 1
}

expect() {
    grep -q -- "$2" <<<"$1" || {
        printf 'README: expected %s in:\n%s\n' "$2" "$1" >&2
        exit 1
    }
}

# Runs a command: it has to succeed, and to say this.
said() {
    local text=$1 output
    shift
    output="$("$@" 2>&1)" || {
        printf 'README: %s failed with exit code %s:\n%s\n' "$*" "$?" "$output" >&2
        exit 1
    }
    expect "$output" "$text"
}

page() { python3 -c 'import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())' "$url"; }

# The rules that it shows are the files'.
block() { awk -v wanted="$1" '/^```yaml/ {on = ++seen == wanted; next} /^```/{on=0} on' README.md; }
diff <(block 1) examples/shop/shop.yaml
diff <(block 2) examples/till/till.yaml
rm -rf target/till # an authority of an earlier run

mapfile -t COMMANDS < <(awk '/^```sh/{on=1; next} /^```/{on=0} on && NF' README.md | sed 's/ *#.*//')
DIR=""
for command in "${COMMANDS[@]}"; do
    printf '+ %s\n' "$command"
    read -r -a words <<<"${command//DIR/$DIR}"
    case "$command" in
    # Stages of their own.
    "cargo test --workspace" | *" -- tour" | *" -- tour --control" | "bash .ci/istiod.sh" | *" -- compare") ;;
    *" -- tour --only mutual-tls") said "4 of 4 checks passed" "${words[@]}" ;;
    "cargo run --release -p bookinfo-rs")
        start "/productpage" "${words[@]}"
        url="$(grep -o 'http://[^ ]*/productpage' "$STARTED_LOG" | head -n 1)"
        DIR="$(sed -n 's/^ *configuration *\([^ ]*\).*/\1/p' "$STARTED_LOG")"
        expect "$(page)" "Simple Bookstore App"
        ;;
    *" -- instructions" | *" -- rotation" | *" -- handshakes") ;; # with the bench stage
    *" -- control-plane "*) start listening "${words[@]}" ;;
    *" hyper_client") said "200 OK hello from the mesh" "${words[@]}" ;;
    *" -- echo "*) start listening "${words[@]}" ;;
    *" -- call http://till:9080/")
        said '^200 ' "${words[@]}"
        # The service itself may not, and in plaintext nobody gets in.
        said '^403 ' "${words[@]/till\/shop/till\/till}"
        if url=http://127.0.0.1:19083/ page 2>/dev/null; then
            printf 'README: %s\n' "till answers in plaintext" >&2
            exit 1
        fi
        ;;
    *" -- call "*) said '^200 ' "${words[@]}" ;;
    *" -- certs issue "*) said "${words[-1]}\$" "${words[@]}" ;;
    *" -- explain "*) said "=> 100 % of such requests get somewhere" "${words[@]}" ;;
    *" -- apply "*)
        said "virtualservice.networking.istio.io/reviews created" "${words[@]}"
        # In force in moments; then every page is v3's.
        for _ in $(seq 100); do page | grep -q "reviews-v3" && break; sleep 0.1; done
        sleep 1
        for _ in 1 2 3 4 5 6 7 8 9 10; do expect "$(page)" "reviews-v3"; done
        ;;
    *"--bin server") # The port of `meshctl echo` above, which has done its part.
        kill "${PIDS[-1]}" && wait "${PIDS[-1]}" 2>/dev/null || true
        start "Running" "${words[@]}"
        ;;
    *"--bin canary") said "v2 has 100 percent and answered 1000 of 1000" "${words[@]}" ;;
    *"--bin client")
        answer=""
        for _ in $(seq 100); do answer="$("${words[@]}" 2>/dev/null)" && break; sleep 0.1; done
        expect "$answer" "hello from the mesh"
        ;;
    *" -- analyze "*) said "Nothing was found in ${words[-1]}" "${words[@]}" ;;
    *" -- get "*) said reviews "${words[@]}" ;;
    *" -- delete "*) said deleted "${words[@]}" ;;
    *)
        printf 'README: no stage runs this command\n' >&2
        exit 1
        ;;
    esac
done
printf 'README: %s commands did what it says\n' "${#COMMANDS[@]}"
