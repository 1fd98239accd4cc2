#!/bin/sh
# Installs what is missing: the packages of the lockfile, and with --foreign the programs that the interop tests use.
set -eu
cd "$(dirname "$0")/.."

stamp=node_modules/.alknet-lock
if ! cmp -s package-lock.json "$stamp" 2>/dev/null; then
  echo "installing packages (npm ci)" >&2
  npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
  cp package-lock.json "$stamp"
fi
