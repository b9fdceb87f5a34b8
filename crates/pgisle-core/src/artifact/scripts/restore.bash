DIRECTORY=${PGISLE_BACKUP_DIRECTORY:-$DIRECTORY}
LOG=${PGISLE_BACKUP_LOG:-$DIRECTORY/backup.log}

# What a complete dump of a database ends with.
DATABASE_END=$'--\n-- PostgreSQL database dump complete\n--\n'

# A name has at most 63 bytes, and what is put behind a database's takes 25 of them.
BASE_BYTES_MAX=38

# Goes between a dump and psql. First, psql is told to take no command from the dump that runs programs or connects elsewhere.
# Then it leaves out what a restore as the service's own role cannot do and need not: giving objects to another owner,
# comments on extensions and on schema public, and a setting that servers before 17 do not know. Rows pass as they are, and are counted.
FILTER='
BEGIN { print "\\restrict " ENVIRON["KEY"]; counts = ENVIRON["COUNTS"] }
copying {
  print
  if ($0 == "\\.") { print "COPY " rows > counts; copying = 0 } else rows++
  next
}
held != "" {
  # An owner is given at the end of an entry; the same line in the middle of one is part of a function.
  if ($0 == "") { blanks++; next }
  if ($0 != "--" && $0 !~ /^SET default_/ && $0 !~ /^\\unrestrict /) print held
  for (; blanks > 0; blanks--) print ""
  held = ""
}
/^\\restrict [A-Za-z0-9]+$/ && !begun { theirs = $2; next }
/^\\unrestrict [A-Za-z0-9]+$/ && theirs != "" && $2 == theirs { next }
/^-- Data for Name: .*; Type: TABLE DATA; / { data = 1; begun = 1; owner = "" }
/^-- Name: .*; Type: .*; Schema: .*; Owner: / {
  data = 0; begun = 1
  comment = ($0 ~ /^-- Name: (EXTENSION .*|SCHEMA public); Type: COMMENT; /)
  owner = $0
  sub(/^.*; Owner: /, "", owner)
  sub(/; Tablespace: .*$/, "", owner)
}
data && /^COPY .* FROM stdin;$/ { print; copying = 1; rows = 0; next }
comment && /^COMMENT ON (EXTENSION|SCHEMA) .*;$/ { comment = 0; next }
!begun && /^SET transaction_timeout = 0;$/ { next }
before == "" && owner != "" && /^ALTER .* OWNER TO .*;$/ {
  name = $0
  sub(/^.* OWNER TO "?/, "", name)
  sub(/"?;$/, "", name)
  gsub(/""/, "\"", name)
  if (name == owner) { held = $0; blanks = 0; next }
}
{ print; before = $0 }
END { if (held != "") print held }
'

WORK=
SCRATCH=
LOGIN=
IS_CLOSED=
MUST_CONFIRM=yes

usage() {
  printf 'usage: %s [-y] SERVICE FILE\n\n  -y    do not ask before the databases are swapped\n\nservices: %s\n' "$0" "${SERVICES[*]}" >&2
  exit 2
}

# Whatever happened: the live database is open, and what was made on the way is gone.
clean_up() {
  local status=$?
  trap - EXIT INT TERM
  if [[ -n $IS_CLOSED ]]; then
    ask "$MAINTENANCE" -v live="$DATABASE" <<<'ALTER DATABASE :"live" ALLOW_CONNECTIONS true;' ||
      log error "database $DATABASE is closed: run pgisle apply, or ALTER DATABASE ... ALLOW_CONNECTIONS true"
  fi
  if [[ -n $SCRATCH ]]; then
    ask "$MAINTENANCE" -v scratch="$SCRATCH" <<<'DROP DATABASE IF EXISTS :"scratch" WITH (FORCE);' ||
      log error "database $SCRATCH is left over: drop it"
  fi
  if [[ -n $LOGIN ]]; then
    ask "$MAINTENANCE" -v login="$LOGIN" <<<'DROP ROLE IF EXISTS :"login";' || log error "role $LOGIN is left over: drop it"
  fi
  [[ -z $WORK ]] || rm -rf -- "$WORK"
  ((status == 0)) || log error "not restored; database ${DATABASE:-} is as it was"
  exit "$status"
}

find_service() {
  local index
  for index in "${!SERVICES[@]}"; do
    if [[ ${SERVICES[index]} == "$1" ]]; then
      SERVICE=$1 DATABASE=${DATABASES[index]} OWNER=${OWNERS[index]}
      return
    fi
  done
  printf 'no service is called %s; there are: %s\n' "$1" "${SERVICES[*]}" >&2
  exit 2
}

# The dump as SQL, whatever it is stored as.
dump() {
  case $FORMAT in
    gzip) gzip -dc -- "$FILE" ;;
    custom) pg_restore --no-owner -f - -- "$FILE" ;;
    plain) cat -- "$FILE" ;;
  esac
}

# Reads the file from end to end: nothing is done to the server unless it is whole.
check_file() {
  local magic expected sum _ end
  [[ -r $FILE && -f $FILE ]] || die "cannot read $FILE"
  magic=$(head -c 5 -- "$FILE" | od -An -tx1 | tr -d ' \n')
  case $magic in
    1f8b*) FORMAT=gzip ;;
    5047444d50) FORMAT=custom && require_programs pg_restore ;;
    28b52ffd*) die "$FILE is compressed by zstd, which this script cannot unpack: use pgisle restore" ;;
    *) FORMAT=plain ;;
  esac
  if [[ -s $FILE.sha256 ]]; then
    read -r expected _ <"$FILE.sha256"
    sum=$(sha256sum <"$FILE")
    [[ ${sum%% *} == "$expected" ]] || die "$FILE is not what was written: its SHA-256 is not the one in $FILE.sha256"
  fi
  end=$(dump 2>"$WORK/errors" | tail -c 4096) || die_with "$FILE is damaged" "$WORK/errors"
  [[ $end$'\n' == *"$DATABASE_END"* ]] || die "$FILE is not a whole dump of a database: it has no end"
}

check_server() {
  local found
  check_login || die 'nothing was restored'
  check_psql
  found=$(ask "$MAINTENANCE" -v live="$DATABASE" -v owner="$OWNER" <<'SQL'
SELECT concat((SELECT 'd' FROM pg_database WHERE datname = :'live'), (SELECT 'r' FROM pg_roles WHERE rolname = :'owner'));
SQL
  ) || die 'nothing was restored'
  [[ $found == dr ]] || die "database $DATABASE or its owner role $OWNER does not exist: run pgisle apply first, then this again"
  ask "$MAINTENANCE" -v base="$BASE" >"$WORK/left" <<'SQL' || true
SELECT format('DROP DATABASE %I;', datname) FROM pg_database WHERE starts_with(datname, :'base' || '__restore_')
UNION ALL SELECT format('DROP ROLE %I;', rolname) FROM pg_roles WHERE starts_with(rolname, 'pgisle_restore_script_');
SQL
  [[ ! -s $WORK/left ]] || log warning "left by a run that was killed, or by one under way: $(tr '\n' ' ' <"$WORK/left")"
}

# An empty database beside the live one, like it in everything that a dump of it does not hold, and closed to all but one login.
create_scratch() {
  local name=${BASE}__restore_$NOW
  ask "$MAINTENANCE" -v live="$DATABASE" -v scratch="$name" >/dev/null 2>"$WORK/errors" <<'SQL' || die_with "database $name cannot be created" "$WORK/errors"
SELECT concat(format('CREATE DATABASE %I TEMPLATE template0 ALLOW_CONNECTIONS false ENCODING %L LC_COLLATE %L LC_CTYPE %L LOCALE_PROVIDER ',
    :'scratch', pg_encoding_to_char(d.encoding), d.datcollate, d.datctype),
  CASE d.datlocprovider WHEN 'i' THEN format('icu ICU_LOCALE %L', locale) WHEN 'b' THEN format('builtin BUILTIN_LOCALE %L', locale) ELSE 'libc' END)
FROM pg_database AS d, LATERAL (SELECT coalesce(to_jsonb(d)->>'datlocale', to_jsonb(d)->>'daticulocale') AS locale) AS l
WHERE d.datname = :'live' \gexec
SQL
  # From here on it is ours to drop; before, it could be another run's of the same second.
  SCRATCH=$name
  LOGIN=pgisle_restore_script_${NOW}_$$
  ask "$MAINTENANCE" -v scratch="$SCRATCH" -v owner="$OWNER" >/dev/null 2>"$WORK/errors" <<'SQL' || die_with "database $SCRATCH cannot be closed to others" "$WORK/errors"
REVOKE ALL ON DATABASE :"scratch" FROM PUBLIC;
GRANT CREATE, TEMPORARY ON DATABASE :"scratch" TO :"owner";
SQL
  create_login "$SCRATCH"
  ask "$MAINTENANCE" -v scratch="$SCRATCH" >/dev/null 2>"$WORK/errors" <<<'ALTER DATABASE :"scratch" ALLOW_CONNECTIONS true;' ||
    die_with "database $SCRATCH cannot be opened" "$WORK/errors"
}

# What only the administrator may do inside, before anything of the service's is there.
prepare_scratch() {
  # Extensions in a schema that the dump makes itself are left to the dump.
  ask "$DATABASE" >"$WORK/prepare.sql" 2>"$WORK/errors" <<'SQL' || die_with "database $DATABASE cannot be looked at" "$WORK/errors"
SELECT 'REVOKE ALL ON SCHEMA public FROM PUBLIC;';
SELECT format('GRANT %s ON SCHEMA public TO %s;', string_agg(a.privilege_type, ', '), CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END)
FROM pg_namespace AS n, aclexplode(n.nspacl) WITH ORDINALITY AS a (grantor, grantee, privilege_type, is_grantable, place)
WHERE n.nspname = 'public' AND a.grantee <> n.nspowner GROUP BY a.grantee ORDER BY min(a.place);
SELECT format('CREATE EXTENSION IF NOT EXISTS %I%s CASCADE;', e.extname, CASE WHEN e.extrelocatable THEN ' SCHEMA public' ELSE '' END)
FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
WHERE n.nspname IN ('public', 'pg_catalog') ORDER BY e.oid;
SQL
  ask "$SCRATCH" >/dev/null 2>"$WORK/errors" <"$WORK/prepare.sql" || die_with "database $SCRATCH cannot be prepared" "$WORK/errors"
}

# As a login that is the service's owner role and nothing else: what a dump does runs with the rights of its session, and one that
# began as an administrator could be taken back by a function in the dump.
load() {
  local tags counts
  : >"$WORK/counts"
  if ! dump 2>"$WORK/said" | KEY=$RESTRICT_KEY COUNTS=$WORK/counts awk "$FILTER" |
    PGUSER=$LOGIN PGPASSWORD='' PGPASSFILE=$WORK/passfile PGDATABASE=$SCRATCH \
      psql -XAtw -v ON_ERROR_STOP=1 --single-transaction -f - >"$WORK/tags" 2>"$WORK/errors"; then
    cat -- "$WORK/said" >>"$WORK/errors"
    die_with "the dump cannot be restored as role $OWNER" "$WORK/errors"
  fi
  # The server has taken as many rows of each table as the dump has.
  tags=$(awk '/^COPY [0-9]+$/' "$WORK/tags")
  counts=$(<"$WORK/counts")
  [[ $tags == "$counts" ]] || die "the rows of the dump and of the restored tables differ in number"
  TABLES=$(awk 'END { print NR }' "$WORK/counts")
  ROWS=$(awk '{ rows += $2 } END { printf "%.0f", rows }' "$WORK/counts")
  # Without statistics the service would be slow at first, and no less correct.
  PGUSER=$LOGIN PGPASSWORD='' PGPASSFILE=$WORK/passfile PGDATABASE=$SCRATCH psql -Xqw -c ANALYZE >/dev/null 2>&1 || true
  log info "$SERVICE: $TABLES tables with $ROWS rows restored into $SCRATCH"
}

confirm() {
  local answer live
  live=$(ask "$DATABASE" <<<"SELECT format('%s tables, about %s rows', count(*), coalesce(sum(n_live_tup), 0)) FROM pg_stat_user_tables;") || live='not readable'
  printf 'database %s has now: %s\n%s has:  %s tables, %s rows\n' "$DATABASE" "$live" "$FILE" "$TABLES" "$ROWS" >&2
  [[ -n $MUST_CONFIRM ]] || return 0
  read -r -p "Swap them? Sessions of the service end. Only 'yes' does: " answer || answer=
  [[ $answer == yes ]] || die 'not confirmed'
}

# What pgisle knows a database by that a restore has replaced: status lists it, and restore -undo and -prune take it.
mark() {
  local source=${FILE##*/} database=${REPLACED//\\/\\\\}
  # Both stand in strings of JSON.
  source=${source//[^A-Za-z0-9._-]/_} database=${database//\"/\\\"}
  printf 'pgisle: {"v":1,"project":"%s","environment":"%s","kind":"replaced","service":"%s","database":"%s","restore":{"source":"%s","at":"%s"}}' \
    "$PROJECT" "$ENVIRONMENT" "$SERVICE" "$database" "$source" "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
}

# Gives the restored database what the live one has, and its name.
swap() {
  REPLACED=${BASE}__replaced_$NOW
  ask "$MAINTENANCE" -v scratch="$SCRATCH" -v login="$LOGIN" >/dev/null 2>"$WORK/errors" <<'SQL' || die_with "role $LOGIN cannot be dropped" "$WORK/errors"
ALTER DATABASE :"scratch" ALLOW_CONNECTIONS false;
REVOKE CONNECT ON DATABASE :"scratch" FROM :"login";
DROP ROLE :"login";
SQL
  LOGIN=
  ask "$MAINTENANCE" -v live="$DATABASE" -v scratch="$SCRATCH" >/dev/null 2>"$WORK/errors" <<'SQL' || die_with "database $SCRATCH cannot be made like $DATABASE" "$WORK/errors"
SELECT format('ALTER DATABASE %I CONNECTION LIMIT %s', :'scratch', datconnlimit) FROM pg_database WHERE datname = :'live' \gexec
SELECT format('GRANT %s ON DATABASE %I TO %s%s', a.privilege_type, :'scratch',
  CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END, CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' END)
FROM pg_database AS d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS a WHERE d.datname = :'live' AND a.grantee <> d.datdba \gexec
SELECT concat('ALTER ', CASE WHEN s.setrole = 0 THEN '' ELSE format('ROLE %I IN ', pg_get_userbyid(s.setrole)) END,
  format('DATABASE %I SET %I = ', :'scratch', split_part(c, '=', 1)),
  CASE WHEN split_part(c, '=', 1) IN ('search_path', 'temp_tablespaces', 'session_preload_libraries', 'local_preload_libraries')
    THEN substr(c, strpos(c, '=') + 1) ELSE quote_literal(substr(c, strpos(c, '=') + 1)) END)
FROM pg_db_role_setting AS s JOIN pg_database AS d ON d.oid = s.setdatabase, unnest(s.setconfig) AS c WHERE d.datname = :'live' \gexec
SELECT format('COMMENT ON DATABASE %I IS %L', :'scratch', shobj_description(oid, 'pg_database')) FROM pg_database WHERE datname = :'live' \gexec
SELECT format('ALTER DATABASE %I OWNER TO %I', :'scratch', pg_get_userbyid(datdba)) FROM pg_database WHERE datname = :'live' AND pg_get_userbyid(datdba) <> current_user \gexec
SQL
  # Half of what follows must not be taken for a failure of all of it.
  trap '' INT TERM
  IS_CLOSED=yes
  # Ending a session needs the rights of its role, which an administrator who is no superuser takes for one transaction that is
  # rolled back.
  ask "$MAINTENANCE" -v live="$DATABASE" -v scratch="$SCRATCH" -v replaced="$REPLACED" -v mark="$(mark)" >/dev/null 2>"$WORK/errors" <<'SQL' || die_with "the databases cannot be swapped" "$WORK/errors"
ALTER DATABASE :"live" ALLOW_CONNECTIONS false;
BEGIN;
SELECT DISTINCT format('GRANT %I TO CURRENT_USER', a.usename) FROM pg_stat_activity AS a
WHERE a.datname = :'live' AND a.usename <> current_user AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) \gexec
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :'live' AND pid <> pg_backend_pid();
ROLLBACK;
BEGIN;
ALTER DATABASE :"live" RENAME TO :"replaced";
ALTER DATABASE :"scratch" RENAME TO :"live";
COMMENT ON DATABASE :"replaced" IS :'mark';
ALTER DATABASE :"live" ALLOW_CONNECTIONS true;
COMMIT;
SQL
  IS_CLOSED='' SCRATCH=''
}

main() {
  while getopts y option; do
    case $option in
      y) MUST_CONFIRM='' ;;
      *) usage ;;
    esac
  done
  shift $((OPTIND - 1))
  (($# == 2)) || usage
  find_service "$1"
  FILE=$2
  BASE=$DATABASE
  ((${#BASE} <= BASE_BYTES_MAX)) || BASE=${SERVICE:0:BASE_BYTES_MAX}
  NOW=$(date +%Y%m%d%H%M%S)
  WORK=$(mktemp -d)
  trap clean_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  require_programs psql gzip awk setsid sha256sum
  RESTRICT_KEY=$(head -c 32 /dev/urandom | sha256sum)
  RESTRICT_KEY=${RESTRICT_KEY%% *}
  check_file
  check_server
  create_scratch
  prepare_scratch
  load
  confirm
  swap
  log info "$SERVICE: restored $FILE into $DATABASE; what was there is kept as $REPLACED, closed, until you drop it"
  log info 'run pgisle apply and pgisle verify: they set right whatever else has changed since the backup'
}

main "$@"
