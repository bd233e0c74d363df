#!/usr/bin/env bash
# Texts that belong to somebody's machine and not into the tree: red, with file and line, if a tracked file has one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

code=0
git grep -nIE '(^|[^A-Za-z0-9_.~-])/(work|root|tmp/bash_jobs)(/|\.)' || code=$?
case "$code" in
0)
    echo "strays: the lines above name paths of one machine" >&2
    exit 1
    ;;
1) echo "strays: none in $(git ls-files | wc -l) tracked files" ;;
*) exit "$code" ;;
esac
