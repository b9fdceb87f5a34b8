# shellcheck shell=bash
# Systems without recipes: the components are whatever the machine has, linked into the folder where pgisle looks, and
# the missing ones are named with the command that installs them.
# Read by scripts/components.sh, whose variables and functions it uses.
# shellcheck disable=SC2154

# What is installed can change between two runs, and looking is quick.
# shellcheck disable=SC2034 # for scripts/components.sh
rescan=1

manager=none
for candidate in brew dnf apk pacman apt-get; do
  if command -v "$candidate" >/dev/null; then
    manager=$candidate
    break
  fi
done

components() {
  local set=$1
  echo required postgresql find_postgresql
  echo required pgvector find_pgvector
  echo required pgbouncer find_pgbouncer
  echo required locale find_locale
  echo required jq find_tool jq
  [ "$set" = test ] || return 0
  echo optional age find_tool age
  echo optional docker find_tool docker
  echo optional docker-compose find_tool docker-compose
  echo optional kubernetes-validate find_tool kubernetes-validate
  echo optional openssl find_tool openssl
  echo optional shellcheck find_tool shellcheck
  echo optional pgcopydb find_tool pgcopydb
  echo optional promtool find_tool promtool
  echo optional chromium find_tool chromium
  echo optional s3s-fs s3s_fs
}

# Prints the command that installs a component here.
how() {
  local component=$1
  case $component in
    kubernetes-validate) echo "pipx install kubernetes-validate" && return ;;
  esac
  case $manager:$component in
    brew:postgresql) echo "brew install postgresql@18" ;;
    dnf:postgresql) echo "dnf install postgresql-server postgresql-contrib" ;;
    apk:postgresql) echo "apk add postgresql17 postgresql17-contrib postgresql17-client" ;;
    apt-get:postgresql) echo "apt-get install postgresql postgresql-contrib" ;;
    apk:pgvector) echo "apk add postgresql-pgvector" ;;
    apt-get:pgvector) echo "apt-get install postgresql-$newest-pgvector" ;;
    dnf:locale) echo "dnf install glibc-langpack-en" ;;
    apk:locale) echo "apk add musl-locales" ;;
    pacman:locale) echo "localedef -i en_US -f UTF-8 en_US.UTF-8" ;;
    apt-get:locale) echo "apt-get install locales && localedef -i en_US -f UTF-8 en_US.UTF-8" ;;
    dnf:shellcheck) echo "dnf install ShellCheck" ;;
    apk:docker-compose) echo "apk add docker-cli-compose" ;;
    apt-get:docker) echo "apt-get install docker-cli" ;;
    dnf:docker) echo "dnf install docker-cli" ;;
    apk:docker) echo "apk add docker-cli" ;;
    apt-get:docker-compose) echo "apt-get install docker-compose-v2" ;;
    brew:*) echo "brew install $component" ;;
    dnf:*) echo "dnf install $component" ;;
    apk:*) echo "apk add $component" ;;
    pacman:*) echo "pacman -S $component" ;;
    apt-get:*) echo "apt-get install $component" ;;
    *) echo "no package manager is known here; install $component so that it is on PATH" ;;
  esac
}

missing() {
  say "$1 is not installed: $(how "$1")"
  exit 69
}

version_of() { "$1" --version | grep '[0-9]' | sed 's/^[^0-9]*//; s/[^0-9.].*//; q'; }

server_folders() {
  local folder
  for folder in ${PATH//:/ } "$system"/usr/lib/postgresql/*/bin "$system"/usr/pgsql-*/bin "$system"/usr/libexec/postgresql*/ \
    "$system"/opt/homebrew/opt/postgresql@*/bin "$system"/usr/local/opt/postgresql@*/bin "$system"/usr/local/pgsql/bin; do
    [ -x "$folder/postgres" ] || continue
    # A folder on PATH may have links to some of the programs; all are where the server itself is.
    folder=$(dirname -- "$(readlink -f -- "$folder/postgres")")
    if [ -x "$folder/initdb" ] && [ -x "$folder/psql" ]; then printf '%s\n' "$folder"; fi
  done
}

# Whether a server has an extension's control file. pg_config is often in a package of its own.
has_extension() {
  local folder=$1 major=$2 extension=$3 share
  for share in "$("$folder/pg_config" --sharedir 2>/dev/null || true)" "$folder"/../share{,/postgresql,/pgsql} \
    "$system/usr/share/postgresql/$major" "$system/usr/share/postgresql$major" "$system"/usr/share/{postgresql,pgsql}; do
    if [ -e "$share/extension/$extension.control" ]; then return 0; fi
  done
  return 1
}

find_postgresql() {
  local folder major newest=0 newest_folder='' versions=''
  rm -rf -- "$prefix/postgresql"
  while read -r folder; do
    major=$(version_of "$folder/postgres")
    major=${major%%.*}
    if [ -e "$prefix/postgresql/$major" ]; then continue; fi
    mkdir -p "$prefix/postgresql/$major"
    ln -s "$folder" "$prefix/postgresql/$major/bin"
    if ! has_extension "$folder" "$major" uuid-ossp; then touch "$prefix/postgresql/$major/NO_CONTRIB"; fi
    versions="$versions${versions:+,}$major"
    if [ "$major" -gt "$newest" ]; then newest=$major newest_folder=$folder; fi
  done < <(server_folders)
  if [ "$newest" = 0 ]; then missing postgresql; fi
  if [ -e "$prefix/postgresql/$newest/NO_CONTRIB" ]; then
    say "postgresql $newest has no contrib extensions: $(how postgresql)"
  fi
  if [ -x "$newest_folder/psql" ]; then link "$newest_folder/psql" psql; fi
  record postgresql "$versions" "$newest_folder/postgres"
}

find_pgvector() {
  local folder major newest=''
  for folder in "$prefix"/postgresql/*/bin; do
    major=$(basename -- "$(dirname -- "$folder")")
    if [ "$major" != "*" ]; then newest=$major; fi
    if has_extension "$(readlink -- "$folder")" "$major" vector; then
      record pgvector "for-$major" "$folder/postgres"
      return
    fi
  done
  if [ -z "$newest" ]; then
    say "pgvector is an extension of the server: install postgresql first"
    exit 69
  fi
  missing pgvector
}

find_pgbouncer() {
  local found version
  found=$(PATH=$PATH:$system/usr/sbin:$system/usr/local/sbin type -P pgbouncer || true)
  if [ -z "$found" ]; then missing pgbouncer; fi
  version=$(version_of "$found")
  case $version in
    1.?.* | 1.1?.* | 1.20.*) say "pgbouncer $version is older than 1.21: prepared statements fail in transaction mode" ;;
  esac
  rm -rf -- "$prefix/pgbouncer"
  mkdir -p "$prefix/pgbouncer/$version/bin"
  ln -s "$found" "$prefix/pgbouncer/$version/bin/pgbouncer"
  link "$found" pgbouncer
  record pgbouncer "$version" "$prefix/pgbouncer/$version/bin/pgbouncer"
}

find_locale() {
  local name
  mkdir -p "$prefix/locale"
  name=$(locale -a 2>/dev/null | grep -i -E '^en_US\.utf-?8$' | head -n 1 || true)
  if [ -z "$name" ] && [ ! -e "$prefix/locale/en_US.utf8" ]; then
    command -v localedef >/dev/null || missing locale
    localedef -c -i en_US -f UTF-8 "$work/en_US.utf8" || missing locale
    mv -- "$work/en_US.utf8" "$prefix/locale/"
  fi
  record locale "${name:-en_US.utf8}" "$prefix/locale"
}

find_tool() {
  local name=$1 found
  found=$(type -P "$name" || true)
  if [ "$found" = "$prefix/bin/$name" ]; then found=$(readlink -- "$found"); fi
  if [ -z "$found" ]; then missing "$name"; fi
  link "$found" "$name"
  record "$name" "$(version_of "$found" || echo "?")" "$prefix/bin/$name"
}
