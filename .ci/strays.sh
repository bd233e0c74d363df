#!/usr/bin/env bash
# Paths of somebody's machine, which do not belong into the tree: red, with file and line, if a tracked file has one. A
# path of a machine begins with a folder that lies at the root of the one that this runs on, or of most of them; paths
# of URLs do not.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

roots="$(cd / && printf '%s\n' */ | sed 's#/$##; s#[].[+*?(){}|^$\\]#\\&#g' | paste -sd '|')|home|root|tmp|Users"
path="(^|[^A-Za-z0-9_.~-])/($roots)(/[A-Za-z0-9_.+-]*)+"
# What is the same everywhere (folders of Istio and SPIRE among it), or made up for a test.
allowed='/(dev/(null|zero)|proc(/.*)?|usr/bin/env|etc/(mesh|passwd|istio/(proxy/XDS|ingressgateway-certs([/.].*)?)|certs(/.*)?|([a-z]/)?[a-z]+[.](pem|key))|run/socket|tmp/x'
allowed+='|var/run/(ca|none[.]sock|secrets/(istio|tokens|workload-spiffe-uds)(/.*)?)|run/spire/sockets/agent[.]sock)$'

found() { grep -vE "$allowed" || [ $? -eq 1 ]; }

# The check has to be able to fail: on the path of this very folder, and not on that of a page.
if [ -z "$(echo "see $PWD/README.md" | grep -oE "$path" | found)" ] || echo "GET /reviews/0" | grep -qE "$path"; then
    echo "strays: the check itself is broken" >&2
    exit 1
fi

code=0
lines=$(git grep -nIoE "$path") || code=$?
[ "$code" -le 1 ] || exit "$code"
strays=$(found <<<"$lines")
if [ -n "$strays" ]; then
    echo "$strays"
    echo "strays: the lines above name paths of one machine" >&2
    exit 1
fi
echo "strays: none in $(git ls-files | wc -l) tracked files"
