#!/bin/sh
# Installs what is missing: the packages of the lockfile, and with --foreign the programs that the interop tests use.
#
# A foreign program that cannot be installed is named and counted, never fatal: its tests are skipped and counted too.
set -eu
cd "$(dirname "$0")/.."

stamp=node_modules/.alknet-lock
if ! cmp -s package-lock.json "$stamp" 2>/dev/null; then
  echo "installing packages (npm ci)" >&2
  npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
  cp package-lock.json "$stamp"
fi

[ "${1:-}" = "--foreign" ] || exit 0

# program:package of Debian. Only what a test starts.
foreign="git:git curl:curl ssh:openssh-client openssl:openssl"
wanted=
for pair in $foreign; do
  command -v "${pair%%:*}" >/dev/null 2>&1 || wanted="$wanted ${pair#*:}"
done
[ -n "$wanted" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "installing foreign programs for the interop tests:$wanted" >&2
  # shellcheck disable=SC2086
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $wanted; } >&2 ||
    echo "some could not be installed" >&2
fi
missing=0
for pair in $foreign; do
  command -v "${pair%%:*}" >/dev/null 2>&1 || {
    missing=$((missing + 1))
    echo "missing foreign program: ${pair%%:*} (its tests will be skipped)" >&2
  }
done
[ "$missing" = 0 ] || echo "$missing foreign programs missing" >&2
