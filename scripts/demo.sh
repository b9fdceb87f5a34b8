#!/usr/bin/env bash
# The main job on a private cluster: the five services of examples/link, applied, proved isolated, and where everything is.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
pgisle=$PWD/target/debug/pgisle
project=${PGISLE_DEMO:-$PWD/.pgisle/demo}

mkdir -p "$project"
cp -rn examples/link/. "$project/"
cd "$project"

"$pgisle" dev up
"$pgisle" -dev apply -auto-approve
"$pgisle" -dev verify
"$pgisle" -dev status

cat <<TXT

The project is in $project
  generated/development/   env files, Secrets, PgBouncer's configuration, IMPLEMENTATION_GUIDE.md
Try next, in that folder:
  $pgisle -dev plan
  $pgisle -dev output
  $pgisle -dev output -json service_passwords
  $pgisle dev down
TXT
