#!/usr/bin/env bash
# The control plane stays under a third of the core, the xDS client and the data plane together: a real istiod
# replaces it, so the work belongs elsewhere. Counted are the lines of `src` without tests; mesh-istio on neither side.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Lines below a folder, less `tests.rs`, `tests/` and each item under #[cfg(test)]. A formatted item ends in its
# first line with `;`, or with a `}` as far to the left as the item begins.
count() {
    find "$1" -name '*.rs' ! -name tests.rs ! -path '*/tests/*' -exec awk '
        FNR == 1 { attribute = body = 0 }
        body { if ($0 == end) body = 0; next }
        attribute && /^ *#\[/ { next }
        attribute {
            attribute = 0
            if ($0 !~ /[;}]$/) { match($0, /^ */); end = substr($0, 1, RLENGTH) "}"; body = 1 }
            next
        }
        /^ *#\[cfg\(test\)\]/ { attribute = 1; next }
        { lines++ }
        END { print lines + 0 }
    ' {} +
}

data=0
for folder in mesh-core mesh-xds mesh-tower; do
    lines="$(count "$folder/src")"
    printf '%-24s %6d lines without tests\n' "$folder" "$lines"
    data=$((data + lines))
done
control="$(count mesh-xds/control-plane/src)"
printf '%-24s %6d lines without tests, must stay under %d\n' mesh-xds/control-plane "$control" $(((data + 2) / 3))
[ "$data" -gt 0 ] && [ "$control" -gt 0 ] || { echo "budget: nothing was counted" >&2; exit 1; }
if [ $((control * 3)) -ge "$data" ]; then
    echo "budget: the control plane is a third of the rest or more" >&2
    exit 1
fi
