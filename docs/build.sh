#!/usr/bin/env bash
# Builds the documentation into site/, with warnings as errors, and checks what was built.
#   python3 -m http.server --directory site     shows it
set -euo pipefail
cd "$(dirname "$0")/.."

if command -v uv >/dev/null 2>&1 && uv --version >/dev/null 2>&1; then UV=(uv); else UV=(python3 -m uv); fi

export NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true
"${UV[@]}" run --group docs mkdocs build --strict --clean # --quiet would count no warnings
"${UV[@]}" run --group docs python docs/tools/check_site.py site
