#!/usr/bin/env bash
# Obtains the real programs that pgisle's demo and tests run: PostgreSQL with contrib and pgvector, PgBouncer, and a few
# tools. Everything is unpacked into one private folder, for root and for ordinary users alike, so that nothing on the
# machine changes and no upgrade of the machine can break a running cluster. See usage() for the commands.
set -euo pipefail
umask 022

usage() {
  cat <<'TEXT'
Usage: scripts/components.sh demo | test | status | path

  demo     get what `pgisle demo` runs: PostgreSQL, pgvector, PgBouncer, the locale en_US.utf8, jq
  test     get demo's and what the tests compare with: more PostgreSQL majors, an old PgBouncer, validators
  status   show what is there: component, version, path, state
  path     print the folder everything is in

The folder is $PGISLE_COMPONENTS if set, else /var/cache/pgisle/components for root, else
${XDG_CACHE_HOME:-$HOME/.cache}/pgisle/components. It holds:

  postgresql/<major>/bin/       the server and its programs (NO_CONTRIB beside bin/: without contrib; NO_TLS: without TLS)
  pgbouncer/<version>/bin/      the pooler
  locale/                       en_US.utf8; start initdb and postgres with LOCPATH set to this folder
  bin/                          psql, pgbouncer, jq, age, docker, docker-compose, kubernetes-validate, openssl, shellcheck, promtool,
                                chromium, s3s-fs, libfaketime.so.1, postgres-outdated
  outdated/postgresql/bin/      a server that pgisle refuses

Exit status: 0 done (an optional component may be missing, said on stderr), 1 a required one failed, 2 wrong usage,
69 a required program is not installed and this system has no recipe for it.
TEXT
}

# Raising it makes every existing folder build its components again.
recipe=1

# Recipes run with their output in the log, and still have to reach the reader.
exec 3>&2
say() { printf 'components: %s\n' "$*" >&3; }
die() {
  local status=$1
  shift
  say "$*"
  exit "$status"
}

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
if [ -n "${PGISLE_COMPONENTS:-}" ]; then
  prefix=$PGISLE_COMPONENTS
elif [ "$(id -u)" = 0 ]; then
  prefix=/var/cache/pgisle/components
else
  prefix=${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/pgisle/components
fi
# Program interpreters and makefiles get this path.
case $prefix in
  /*) ;;
  *) prefix=$PWD/$prefix ;;
esac
case $prefix in
  *[[:space:]:\$]*) die 2 "the folder's name must not have white space, ':' or '$' in it: $prefix" ;;
esac
log=$prefix/components.log
work=''
failed=0
rescan=0

# A component counts as present only with its stamp, which is written last. The stamp names the main program because
# the versions, and with them the paths, are known only after the download.
stamp_version='' stamp_main=''
read_stamp() {
  local stamp_recipe
  stamp_version='' stamp_main=''
  [ -r "$prefix/.stamps/$1" ] || return 1
  { read -r stamp_recipe && read -r stamp_version && read -r stamp_main; } <"$prefix/.stamps/$1" || return 1
  [ "$stamp_recipe" = "$recipe $prefix" ] && [ -e "$stamp_main" ]
}

record() {
  local id=$1 version=$2 main=$3
  mkdir -p "$prefix/.stamps"
  printf '%s\n' "$recipe $prefix" "$version" "$main" >"$prefix/.stamps/.$id"
  mv -f -- "$prefix/.stamps/.$id" "$prefix/.stamps/$id"
}

link() {
  local target=$1 name=$2
  mkdir -p "$prefix/bin"
  ln -s -- "$target" "$work/link.$name"
  mv -f -- "$work/link.$name" "$prefix/bin/$name"
}

# Runs a recipe. It must not be called in a condition: bash would ignore `set -e` inside the recipe.
obtain() {
  local need=$1 id=$2 started=$SECONDS status
  shift 2
  if read_stamp "$id"; then return; fi
  printf '=== %s: %s\n' "$id" "$*" >>"$log"
  set +e
  (
    set -e
    "$@"
  ) >>"$log" 2>&1
  status=$?
  set -e
  if [ "$status" = 0 ] && read_stamp "$id"; then
    say "$id $stamp_version … $((SECONDS - started)) s"
    return
  fi
  # 69 means that the recipe has said what has to be installed first.
  if [ "$status" = 69 ]; then
    say "$id is left out ($need)"
  else
    status=1
    say "$id FAILED after $((SECONDS - started)) s ($need); its last lines, the rest is in $log:"
    tail -n 5 -- "$log" | cut -c 1-200 | sed 's/^/    /' >&3
  fi
  if [ "$need" = required ] && [ "$failed" != 1 ]; then failed=$status; fi
}

# The same everywhere: a server that speaks S3, from Rust's registry. Unoptimised, because it is only tested against.
s3s_fs() {
  local root=$work/s3s-fs final=$prefix/tools/s3s-fs
  command -v cargo >/dev/null || die 69 "s3s-fs is built by cargo, which is not installed"
  cargo install --quiet --locked --debug --no-track --root "$root" --target-dir "$work/s3s-fs.target" \
    --features binary --version '^0.14' s3s-fs
  rm -rf -- "$final"
  mkdir -p "$(dirname -- "$final")"
  mv -T -- "$root" "$final"
  link ../tools/s3s-fs/bin/s3s-fs s3s-fs
  record s3s-fs "$("$prefix/bin/s3s-fs" --version | cut -d ' ' -f 2)" "$prefix/bin/s3s-fs"
}

# Debian 12 and 13 have recipes; elsewhere the components are found, not made. Tests put another system in place of this one.
system=${PGISLE_SYSTEM_ROOT:-}
codename=''
# shellcheck disable=SC1091 # it is of the machine that the script runs on
if [ -r "$system/etc/os-release" ] && command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null; then
  codename=$(. "$system/etc/os-release" && [ "${ID:-}" = debian ] && printf %s "${VERSION_CODENAME:-}") || codename=''
fi
case $codename in
  bookworm | trixie)
    # shellcheck source=scripts/components/debian.sh
    . "$here/components/debian.sh"
    ;;
  *)
    # shellcheck source=scripts/components/installed.sh
    . "$here/components/installed.sh"
    ;;
esac

begin() {
  if ! mkdir -p "$prefix" || [ ! -w "$prefix" ]; then die 1 "cannot write to $prefix; PGISLE_COMPONENTS names another"; fi
  if command -v flock >/dev/null; then
    exec 9>"$prefix/.lock"
    if ! flock -n 9; then
      say "waiting for another run to finish in $prefix"
      flock 9
    fi
  fi
  # Left behind by a run that was killed; the lock says that none is under way.
  rm -rf -- "$prefix"/.work.*
  work=$(mktemp -d "$prefix/.work.XXXXXX")
  chmod 755 "$work"
  trap 'rm -rf -- "$work"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  : >"$log"
}

warn_if_hidden() {
  local folder=$prefix
  [ "$(id -u)" = 0 ] || return 0
  while [ "$folder" != / ]; do
    if [ -n "$(find "$folder" -maxdepth 0 ! -perm -001)" ]; then
      say "warning: PostgreSQL refuses root, and other users cannot get to $prefix: $folder is closed"
    fi
    folder=$(dirname -- "$folder")
  done
}

get() {
  local set=$1 id rest missing=$rescan lines=()
  while read -r rest; do lines+=("$rest"); done < <(components "$set")
  for rest in "${lines[@]}"; do
    read -r _ id _ <<<"$rest"
    read_stamp "$id" || missing=1
  done
  if [ "$missing" = 0 ]; then
    say "$set: everything is in $prefix"
    return
  fi
  begin
  warn_if_hidden
  if [ "$rescan" = 1 ]; then rm -rf -- "$prefix/.stamps"; fi
  for rest in "${lines[@]}"; do
    # shellcheck disable=SC2086 # one line is the words of one call
    obtain $rest </dev/null
  done
  if [ "$failed" != 0 ]; then die "$failed" "$set: something required is missing, see above"; fi
  say "$set: done, in $prefix"
}

status() {
  local id need
  printf '%-20s %-22s %-9s %s\n' component version state path
  while read -r need id _; do
    if read_stamp "$id"; then
      printf '%-20s %-22s %-9s %s\n' "$id" "$stamp_version" ok "$stamp_main"
    else
      printf '%-20s %-22s %-9s %s\n' "$id" - missing "- ($need)"
    fi
  done < <(components test)
}

case ${1:-} in
  demo | test) get "$1" ;;
  status) status ;;
  path) printf '%s\n' "$prefix" ;;
  -h | --help | help) usage ;;
  *)
    usage >&2
    exit 2
    ;;
esac
