#!/bin/sh
# Asks the registry for known flaws in the packages that users get; a high or critical one fails. A registry that cannot be
# asked (offline, or a mirror without this service) fails nothing: the line says that it was not checked.
set -u
cd "$(dirname "$0")/.."

report=$(npm audit --omit=dev --audit-level=high --json --fetch-retries=0 --fetch-timeout=10000 2>/dev/null)
status=$?
case $report in
  *'"auditReportVersion"'*)
    [ "$status" = 0 ] && exit 0
    npm audit --omit=dev --audit-level=high >&2
    exit 1
    ;;
  *) echo "not checked: the registry does not answer npm audit" ;;
esac
