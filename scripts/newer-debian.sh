#!/bin/sh
# Makes a newer Debian root for the tests of test/newer-debian: QUIC programs that this machine's own release does not have.
#
# It lies in .cache/newer-debian/root and comes from the machine's own package source, which is read from apt's configuration
# at run time. It needs root and takes a minute or two; once made, nothing is done. Where it cannot be made, one line says
# why and the exit code is 1.
set -eu
cd "$(dirname "$0")/.."

suite=trixie
packages="openssl python3-aioquic golang-go golang-github-quic-go-quic-go-dev"
cache=$PWD/.cache/newer-debian
# A root that another version of this script made is made again.
made=$(cksum <scripts/newer-debian.sh)

fail() {
  echo "no newer Debian root: $1" >&2
  exit 1
}

[ "$(cat "$cache/made" 2>/dev/null)" != "$made" ] || exit 0

[ "$(id -u)" = 0 ] || fail "it needs root (debootstrap and chroot)"
command -v apt-get >/dev/null 2>&1 || fail "this machine has no apt"
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
# Another run may have made it meanwhile.
[ "$(cat "$cache/made" 2>/dev/null)" != "$made" ] || exit 0

if ! command -v debootstrap >/dev/null 2>&1; then
  install() { DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends debootstrap >"$cache/log" 2>&1; }
  install || { apt-get update -qq >"$cache/log" 2>&1 && install; } || fail "debootstrap cannot be installed"
fi

# The source of the machine's own release: not those of its updates, nor of other vendors.
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
source=$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
  awk -v codename="$codename" '$1 == codename && $2 == "main" { print $3; exit }')
[ -n "$source" ] || fail "apt's configuration names no package source of ${codename:-this release}"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$keyring" ] || fail "the package debian-archive-keyring is missing"
# The proxy that apt uses, for debootstrap, which does not read apt's configuration.
eval "$(apt-config shell proxy Acquire::http::Proxy)"
[ -z "${proxy:-}" ] || export http_proxy="$proxy"

making=$cache/making
# Files of a half-made root, and what debootstrap mounted in it.
discard() {
  for mounted in sys proc; do
    if mountpoint -q "$making/$mounted"; then umount "$making/$mounted"; fi
  done
  rm -rf --one-file-system "$making"
}
discard
trap discard EXIT
trap 'exit 1' INT TERM
echo "making a root of Debian $suite in .cache/newer-debian (a minute or two)" >&2
reason() { grep '^[EW]: ' "$cache/log" | tail -n 1 | cut -c 4-200; }
debootstrap --variant=minbase --force-check-gpg --keyring="$keyring" "$suite" "$making" "$source" >"$cache/log" 2>&1 ||
  fail "debootstrap of $suite failed: $(reason)"
# Not with debootstrap's own --include: it knows nothing of virtual packages.
inside() { chroot "$making" env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 "$@"; }
# shellcheck disable=SC2086
{ inside apt-get update -qq && inside apt-get install -y -qq --no-install-recommends $packages; } >>"$cache/log" 2>&1 ||
  fail "the packages of $suite cannot be installed: $(reason)"
rm -rf "$making"/var/cache/apt/archives/*.deb "$making"/var/lib/apt/lists/*
inside openssl s_client -help 2>&1 | grep -q -- '-quic' || fail "openssl of $suite has no QUIC"
inside python3 -c 'import aioquic' || fail "aioquic of $suite cannot be loaded"
# Half of the root, which only quic-go's own tools want.
rm -rf "$making"/usr/share/gocode/src/github.com/aws "$making"/usr/share/gocode/src/google.golang.org/api \
  "$making"/usr/share/gocode/src/google.golang.org/genproto
# Compiled once here, so that the tests do not wait for it. The variables are those of test/newer-debian/NewerDebian.ts.
inside env HOME=/tmp GOROOT=/usr/lib/go GOPATH=/usr/share/gocode GOCACHE=/var/cache/go-build GO111MODULE=off CGO_ENABLED=0 \
  go build github.com/quic-go/quic-go >>"$cache/log" 2>&1 || fail "quic-go of $suite cannot be compiled"

rm -f "$cache/made"
rm -rf --one-file-system "$cache/root"
mv "$making" "$cache/root"
echo "$made" >"$cache/made"
