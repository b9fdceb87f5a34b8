set -euo pipefail
umask 077
shopt -s nullglob
export LC_ALL=C TZ=UTC

HOST=${PGISLE_HOST:-$HOST}
PORT=${PGISLE_PORT:-$PORT}
USERNAME=${PGISLE_USER:-$USERNAME}

# libpq takes these literally, whatever is in a name; options on a command line it would not. Only the password, and the file with
# it, are taken from the caller's environment: a shell that has read a service's environment file must not lead elsewhere.
unset PGHOSTADDR PGSERVICE PGSERVICEFILE PGOPTIONS PGDATABASE PGREQUIREPEER PGTARGETSESSIONATTRS
export PGHOST=$HOST PGPORT=$PORT PGUSER=$USERNAME PGSSLMODE=$SSLMODE PGCONNECT_TIMEOUT=15 PGAPPNAME=$PROGRAM
[[ -z $SSLROOTCERT ]] || export PGSSLROOTCERT=$SSLROOTCERT
[[ -z $SSLCERT ]] || export PGSSLCERT=$SSLCERT
[[ -z $SSLKEY ]] || export PGSSLKEY=$SSLKEY

# log LEVEL TEXT: on standard error and in the log file.
log() {
  local line
  printf -v line '%(%Y-%m-%dT%H:%M:%SZ)T %s[%d] %s: %s' -1 "$PROGRAM" "$$" "$1" "$2"
  printf '%s\n' "$line" >&2
  # A full disk must not keep the rest from being done.
  { printf '%s\n' "$line" >>"$LOG"; } 2>/dev/null || true
}

require_programs() {
  local program missing=()
  for program in "$@"; do
    command -v "$program" >/dev/null || missing+=("$program")
  done
  if ((${#missing[@]} > 0)); then
    log error "not installed or not on the PATH: ${missing[*]}"
    return 1
  fi
}

# ask DATABASE [OPTION...]: runs the statements on standard input as the administrator, with nothing but the system's own names
# in reach: a database's owner can make others that look alike.
ask() {
  local database=$1
  shift
  PGDATABASE=$database PGCLIENTENCODING=UTF8 PGOPTIONS='-c search_path=pg_catalog,pg_temp -c password_encryption=scram-sha-256' \
    psql -XAtqw -v ON_ERROR_STOP=1 "$@" -f -
}

# Whether the administrator can log in; says why not, and what to do about it.
check_login() {
  local message
  if message=$(ask "$MAINTENANCE" <<<'SELECT 1;' 2>&1 >/dev/null); then
    return 0
  fi
  log error "cannot log in as $USERNAME at $HOST:$PORT: ${message//$'\n'/ }"
  case $message in
    *'no password supplied'* | *'password authentication failed'* | *'group or world access'*)
      log error "the password comes from ~/.pgpass or the file that PGPASSFILE names (mode 0600; a line: HOST:PORT:*:$USERNAME:PASSWORD, with \\ before each : and \\ in it), or from PGPASSWORD"
      ;;
  esac
  return 1
}
