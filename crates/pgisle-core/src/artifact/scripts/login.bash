# What loads a service's objects and is not the administrator: a login of its own, for one run.

die() {
  log error "$1"
  exit 1
}

# die_with REASON FILE: the same, with what a program said.
die_with() {
  local said
  said=$(tail -n 5 -- "$2") || said=
  die "$1${said:+: ${said//$'\n'/ }}"
}

# psql must know \restrict (from 13.22, 14.19, 15.14, 16.10, 17.6, 18 on): without it a dump can run programs here.
check_psql() {
  printf '\\restrict x\nSELECT 1;\n' | ask "$MAINTENANCE" >/dev/null 2>"$WORK/errors" ||
    die_with "psql is too old to be trusted with a dump: update PostgreSQL's client tools" "$WORK/errors"
}

# create_login DATABASE: makes the login LOGIN, which has the rights of OWNER and may connect to one database. Its password is
# random and in WORK/passfile alone.
create_login() {
  local password
  ask "$MAINTENANCE" -v database="$1" -v login="$LOGIN" -v owner="$OWNER" >/dev/null 2>"$WORK/errors" <<'SQL' || die_with "the login $LOGIN cannot be created" "$WORK/errors"
CREATE ROLE :"login" LOGIN CONNECTION LIMIT 2 IN ROLE :"owner";
SELECT format('ALTER ROLE %I SET role = %L', :'login', :'owner') \gexec
GRANT CONNECT ON DATABASE :"database" TO :"login";
SQL
  # \password sends a verifier, so that the password is in no log of the server. It asks on the terminal, if there is one.
  password=$(head -c 32 /dev/urandom | sha256sum)
  password=${password%% *}
  printf '%s\n%s\n' "$password" "$password" |
    PGDATABASE=$MAINTENANCE PGOPTIONS='-c password_encryption=scram-sha-256' setsid -w psql -Xqw -v ON_ERROR_STOP=1 -c "\\password $LOGIN" >"$WORK/errors" 2>&1 ||
    die_with "the login $LOGIN gets no password" "$WORK/errors"
  printf '*:*:*:%s:%s\n' "$LOGIN" "$password" >"$WORK/passfile"
}
