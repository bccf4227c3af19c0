#!/usr/bin/env bash
# Looks at built pages in headless Chromium, with axe-core from the npm registry: one page of each
# kind, or those named; `all` for all of them.
set -euo pipefail
cd "$(dirname "$0")/.."

for program in chromium npm; do
  command -v "$program" >/dev/null 2>&1 || { echo "no $program: the pages are not looked at"; exit 0; }
done
if command -v uv >/dev/null 2>&1 && uv --version >/dev/null 2>&1; then UV=(uv); else UV=(python3 -m uv); fi

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
(cd "$work" && npm pack --silent axe-core@4 >/dev/null && tar xzf axe-core-*.tgz package/axe.min.js) ||
  { echo "axe-core could not be had: the pages are not looked at"; exit 0; }

pages=(index.html tutorials/regression.html concepts/index.html reference/guides.html reference/errors.html trust.html)
[ "${1:-}" = all ] && pages=()
[ $# -gt 0 ] && [ "$1" != all ] && pages=("$@")
"${UV[@]}" run --group docs python docs/tools/look.py site "$work/package/axe.min.js" "${pages[@]}"
