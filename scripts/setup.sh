#!/bin/sh
# Installs what is missing: the packages of the lockfile, with --foreign the programs that the interop tests use, and with
# --bench what the benchmarks measure beside us.
#
# A foreign program that cannot be installed is named and counted, never fatal: its tests say so themselves.
set -eu
cd "$(dirname "$0")/.."

# What `npm ci` was last run for is kept beside the packages. Start, test and bench call this themselves: with install
# scripts off npm does not run `pre...` scripts either.
install() {
  cmp -s "$1/package-lock.json" "$1/node_modules/.alknet-lock" 2>/dev/null && return
  echo "installing packages (npm ci in $1)" >&2
  # Not --prefix: that would leave out the machine's own npmrc.
  (cd "$1" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) >&2
  cp "$1/package-lock.json" "$1/node_modules/.alknet-lock"
}
install .
[ "${1:-}" != "--bench" ] || install bench

[ "${1:-}" = "--foreign" ] || exit 0

# program:package of Debian. Only what a test starts.
foreign="git:git curl:curl ssh:openssh-client openssl:openssl python3:python3"
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
    echo "missing foreign program: ${pair%%:*} (its tests cannot run)" >&2
  }
done
[ "$missing" = 0 ] || echo "$missing foreign programs missing" >&2
