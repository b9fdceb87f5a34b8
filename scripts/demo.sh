#!/usr/bin/env bash
# The main job on a private cluster: the five services of examples/link, applied, proved isolated, and what to try next.
# Running it again does nothing that is done already, and keeps what was edited in the project.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
project=${PGISLE_DEMO:-.pgisle/demo}
programs=$(scripts/components.sh path)/bin
export PATH=$root/target/debug:$PATH:$programs PGISLE_DEV=1

heading() { printf '\n\033[1m── %s\033[0m\n' "$*"; }
if [ ! -t 1 ] || [ -n "${NO_COLOR:-}" ]; then
  heading() { printf '\n── %s\n' "$*"; }
fi

if [ ! -e "$project/pgisle.hcl" ]; then
  mkdir -p "$project"
  cp -R examples/link/. "$project/"
fi
cd "$project"
# One line to paste instead of three exports.
# shellcheck disable=SC2016 # for the shell that reads it
printf 'export PGISLE_DEV=1 PATH=%q:$PATH:%q\n' "$root/target/debug" "$programs" >shell

heading "1. A private PostgreSQL server, for this demo alone (pgisle dev up)"
pgisle dev up | head -n 1

heading "2. One file, five isolated databases (pgisle apply)"
pgisle apply -auto-approve -quiet >apply.log || { cat apply.log && exit 1; }
# The plan of a first apply is 70 lines long; its sum is what counts here.
grep -E '^(Plan:|Apply complete|Nothing to do|[0-9]+ files?)' apply.log
echo "The file: $project/pgisle.hcl    What was done: $project/apply.log"

heading "3. Each service with a database, a login and limits of its own (pgisle status)"
pgisle status

heading "4. Connections (pgisle budget)"
pgisle budget

heading "5. The proof: each service logs in (left) to each database (top), and tries to break out (pgisle verify)"
pgisle verify

heading "6. Files for your services, in $project/generated/development"
cat <<'TXT'
  .env/.env.users                              connection settings of one service (mode 0600); one file each
  k8s-secrets/users-db-credentials.yaml        the same as a Kubernetes Secret
  helm/values.yaml                             refers to the Secrets
  docker-compose.db-isolation.yml              the same for Docker Compose
  pgbouncer/pgbouncer.ini, userlist.txt        a pool for each service; SCRAM verifiers, no passwords
  IMPLEMENTATION_GUIDE.md                      what each file is for, and what to do with it
TXT

heading "Try next"
try() { printf '  %-72s # %s\n' "$1" "$2"; }
try "cd $project && . ./shell" "in this shell: pgisle, psql and the demo's server"
try "pgisle plan" "nothing to do: the cluster is as the file says"
try "pgisle output -json service_passwords" "made here; the server has only SCRAM verifiers"
try "(set -a; . generated/development/.env/.env.users; psql -c '\conninfo')" "a service in its own database"
try "(set -a; . generated/development/.env/.env.users; psql -d link_chat)" "refused: another's database"
try "echo 'service \"billing\" {}' >>pgisle.hcl && pgisle apply" "a sixth service"
try "pgisle rotate users" "a new password without downtime"
try "pgisle help" "every command; pgisle explain PI0501: every finding"
try "pgisle dev down -destroy" "the end of the demo"
