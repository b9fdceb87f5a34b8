LOG=${PGISLE_MIGRATE_LOG:-/dev/null}

# How long the script waits for those who write to the tables, seconds. All others wait behind it meanwhile.
LOCK_TIMEOUT_S=10

# How often it asks, a second apart, whether another run of this script has ended.
ATTEMPTS=30

# Chooses, among the entries of a dump's table of contents, what moves. Relations, functions, types and schemas are chosen by their
# numbers. Everything else goes with what it needs: it is chosen when all that it needs, as far as it is listed, is chosen. So
# a foreign key to a table that stays is left out. The contents are read twice, since what is needed may be listed later.
CHOOSE='
function kind_of(text, place) {
  for (place = 1; place <= count; place++) if (index(text, kinds[place] " ") == 1) return kinds[place]
  return ""
}
function settle(place, needs, listed, is_chosen) {
  if (line == "") return
  if (kind ~ /^(TABLE|SEQUENCE|VIEW|MATERIALIZED VIEW|FUNCTION|PROCEDURE|AGGREGATE|TYPE|DOMAIN|SCHEMA)$/) is_chosen = (object in wanted)
  else if (kind in follows) {
    split(needed, needs, " ")
    for (place in needs) if ((needs[place] in all) && all[needs[place]] !~ /^(SCHEMA|EXTENSION)$/) {
      if (!(needs[place] in chosen)) { listed = 0; break }
      listed = 1
    }
    is_chosen = listed
  }
  if (is_chosen) { chosen[number] = 1; print line }
  line = ""
}
BEGIN {
  count = split("MATERIALIZED VIEW DATA,MATERIALIZED VIEW,SEQUENCE OWNED BY,SEQUENCE SET,SEQUENCE,TABLE ATTACH,TABLE DATA,TABLE,INDEX ATTACH,INDEX,FK CONSTRAINT,CHECK CONSTRAINT,CONSTRAINT,ROW SECURITY,STATISTICS DATA,STATISTICS,DEFAULT,COMMENT,TRIGGER,RULE,POLICY,VIEW,FUNCTION,PROCEDURE,AGGREGATE,TYPE,DOMAIN,SCHEMA,EXTENSION", kinds, ",")
  split("DEFAULT,SEQUENCE OWNED BY,TABLE ATTACH,INDEX,INDEX ATTACH,CONSTRAINT,CHECK CONSTRAINT,FK CONSTRAINT,STATISTICS,COMMENT,TRIGGER,RULE,POLICY,ROW SECURITY,MATERIALIZED VIEW DATA", names, ",")
  for (place in names) follows[names[place]] = 1
}
pass == 1 { wanted[$0] = 1; next }
/^[0-9]+; / {
  if (pass == 3) settle()
  number = $1
  sub(/;$/, "", number)
  text = $0
  sub(/^[0-9]+; [0-9]+ [0-9]+ /, "", text)
  kind = kind_of(text)
  if (pass == 2) { all[number] = kind; next }
  object = $2 " " $3
  needed = ""
  line = $0
  next
}
pass == 3 && /^;\tdepends on:/ { needed = $0; sub(/^;\tdepends on:/, "", needed) }
END { settle() }
'

WORK=
LOGIN=
HOLDER=
LOADER=
CHILD=
MARK=
ROLE=
MUST_CONFIRM=yes
IS_DRY=
MAY_CLOSE=
MAY_STAY=
MAY_DIFFER=
IS_MOVED=

usage() {
  printf 'usage: %s [-y] [--dry-run] [--others] [--close [--moved]]

Moves the tables of service %s from database %s into %s.

  -y, --yes   do not ask before it begins
  --dry-run   say what would be moved and what is in the way, and change nothing
  --others    sessions of others may stay in %s: none of them is the service
  --close     keep everyone from writing to the old tables afterwards, and drop the foreign keys between them and those that stay
  --moved     close them although the rows are not as many any more: the service works in its own database already
  --help      this text\n' "$0" "$SERVICE" "$SHARED" "$DATABASE" "$SHARED"
}

# Whatever happened: nothing of an unfinished transaction is left, and no login.
clean_up() {
  local status=$? pid
  trap - EXIT INT TERM
  # What dumps ends when nobody reads it any more.
  exec 5<&- 6>&- 7<&- 8>&-
  for pid in $CHILD $LOADER $HOLDER; do
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  [[ -z $LOGIN ]] || drop_login || log error "role $LOGIN is left over: the next run drops it"
  [[ -z $WORK ]] || rm -rf -- "$WORK"
  if ((status != 0)); then
    if [[ -n $IS_MOVED ]]; then
      log error "the tables are in $DATABASE, and what was to be done then was not: run this again"
    elif [[ -z $IS_DRY ]]; then
      log error "nothing was moved; $SHARED and $DATABASE are as they were"
    fi
  fi
  exit "$status"
}

# joined WORD...: the words as one value of psql's, which SQL takes apart again.
joined() {
  local IFS=$'\x1f'
  printf '%s' "$*"
}

# values KIND: what the look at the shared database has found of a kind, a line each.
values() {
  awk -v kind="$1" 'index($0, kind "\t") == 1 { print substr($0, length(kind) + 2) }' "$WORK/moved"
}

# names KIND...: the same for several kinds, as one value of psql's.
names() {
  local kind all=() some
  for kind in "$@"; do
    mapfile -t some < <(values "$kind")
    all+=("${some[@]}")
  done
  joined "${all[@]}"
}

# ask_about DATABASE KIND...: ask, with these kinds' values as :names. There may be more than a command line takes.
ask_about() {
  local database=$1
  shift
  names "$@" >"$WORK/names"
  { printf '\\set names `cat "$PGISLE_NAMES"`\n' && cat; } | PGISLE_NAMES=$WORK/names ask "$database"
}

# pg_dump takes no server that is newer than itself.
check_pg_dump() {
  local own server
  own=$(pg_dump --version) || die 'pg_dump cannot be run'
  [[ $own =~ \(PostgreSQL\)\ ([0-9]+) ]] || die "pg_dump does not say its version: $own"
  own=${BASH_REMATCH[1]}
  server=$(ask "$MAINTENANCE" 2>"$WORK/errors" <<<"SELECT current_setting('server_version_num')::int / 10000;") ||
    die_with 'the server cannot be asked' "$WORK/errors"
  ((own >= server)) ||
    die "pg_dump is of PostgreSQL $own and the server of $server: put the client tools of PostgreSQL $server first on the PATH"
}

check_server() {
  local found
  check_login || die 'the administrator cannot log in'
  check_psql
  check_pg_dump
  found=$(ask "$MAINTENANCE" -v shared="$SHARED" -v database="$DATABASE" -v owner="$OWNER" 2>"$WORK/errors" <<'SQL'
SELECT concat((SELECT 's' FROM pg_database WHERE datname = :'shared'), (SELECT 'd' FROM pg_database WHERE datname = :'database'),
  (SELECT 'r' FROM pg_roles WHERE rolname = :'owner'));
SQL
  ) || die_with 'the server cannot be asked' "$WORK/errors"
  [[ $found == s* ]] || die "there is no shared database $SHARED"
  [[ $found == sdr ]] || die "database $DATABASE or its owner role $OWNER does not exist: run pgisle apply first, then this again"
  found=$(ask "$SHARED" -v service="$SERVICE" 2>"$WORK/errors" <<'SQL'
SELECT CASE WHEN to_regclass('pgisle_split.job') IS NULL THEN 'SELECT false' ELSE format('SELECT EXISTS (SELECT FROM pgisle_split.job WHERE service = %L)', :'service') END \gexec
SQL
  ) || die_with "database $SHARED cannot be looked at" "$WORK/errors"
  [[ $found == f ]] || die "pgisle is splitting this service out of $SHARED: see pgisle split status"
}

# Finds out what moves, without locking anything.
look() {
  local line
  ask "$SHARED" -F $'\t' -v names="$(joined "${TABLES[@]}")" <"$WORK/moved.sql" >"$WORK/moved" 2>"$WORK/errors" ||
    die_with "database $SHARED cannot be looked at" "$WORK/errors"
  while IFS= read -r line; do
    log error "$line"
  done < <(values error)
  [[ -z $(values error) ]] || die "the tables of service $SERVICE cannot be moved as they are"
}

# Who reads and locks the tables: the administrator, or the role that owns them.
choose_role() {
  local is_superuser owners
  is_superuser=$(ask "$SHARED" <<<'SELECT rolsuper FROM pg_roles WHERE rolname = current_user;') || die 'the server cannot be asked'
  [[ $is_superuser != t ]] || return 0
  mapfile -t owners < <(values owner)
  ((${#owners[@]} == 1)) || die "the tables have several owners (${owners[*]}), so only a superuser can move them: PGISLE_USER names one"
  [[ ${owners[0]} == "$USERNAME" ]] || ROLE=${owners[0]}
}

# Sets STATE to absent, empty or filled, by what the service's database has of the tables, and COUNTS to its rows.
check_target() {
  local all present missing
  missing=$(ask "$DATABASE" -v extensions="$(values extension | tr '\n' '\036')" 2>"$WORK/errors" <<'SQL'
SELECT format('CREATE EXTENSION %I SCHEMA %I;', w.name, w.space)
FROM (SELECT split_part(x, chr(31), 1) AS name, split_part(x, chr(31), 2) AS space FROM unnest(string_to_array(:'extensions', chr(30))) AS x WHERE x <> '') AS w
WHERE NOT EXISTS (SELECT FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace WHERE e.extname = w.name AND n.nspname = w.space);
SQL
  ) || die_with "database $DATABASE cannot be looked at" "$WORK/errors"
  [[ -z $missing ]] || die "database $DATABASE lacks extensions that the tables need: name them in the service's extensions and run pgisle apply, or as a superuser in $DATABASE: ${missing//$'\n'/ }"
  all=$(values rows; values partitioned)
  present=$(ask_about "$DATABASE" rows partitioned 2>"$WORK/errors" <<'SQL'
SELECT n FROM unnest(string_to_array(:'names', chr(31))) AS n WHERE to_regclass(n) IS NOT NULL;
SQL
  ) || die_with "database $DATABASE cannot be looked at" "$WORK/errors"
  STATE=absent COUNTS=
  [[ -n $present ]] || return 0
  [[ $present == "$all" ]] || die "database $DATABASE has some of the tables and not all: ${present//$'\n'/, }"
  COUNTS=$(count_in "$DATABASE") || die_with "the tables in $DATABASE cannot be counted" "$WORK/errors"
  STATE=empty
  [[ ! $COUNTS =~ [1-9] ]] || STATE=filled
}

# count_in DATABASE: the rows of each table with rows of its own, in their order.
count_in() {
  values rows | sed 's/^/SELECT count(*) FROM ONLY /; s/$/;/' | ask "$1" 2>"$WORK/errors"
}

# Nobody may be at work: what is written behind the copy stays behind.
check_sessions() {
  local found=0 kind who
  ask "$SHARED" -F $'\t' -v logins="$(joined "${LOGINS[@]}")" >"$WORK/sessions" 2>"$WORK/errors" <<'SQL' || die_with 'the sessions cannot be listed' "$WORK/errors"
SELECT CASE WHEN a.usename = ANY (string_to_array(:'logins', chr(31))) THEN 'own' ELSE 'other' END,
  regexp_replace(format('%s, application "%s", server process %s%s', a.usename, a.application_name, a.pid, ' at ' || host(a.client_addr)), '[[:cntrl:]]', '?', 'g')
FROM pg_stat_activity AS a
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND coalesce(a.backend_type, 'client backend') = 'client backend'
  AND NOT (a.usename = current_user AND a.application_name LIKE 'migrate-%-database.sh') ORDER BY 1 DESC, a.pid;
SQL
  while IFS=$'\t' read -r kind who; do
    if [[ $kind == own ]]; then
      log error "service $SERVICE is connected to $SHARED: $who"
    elif [[ -z $MAY_STAY ]]; then
      log error "connected to $SHARED: $who"
    else
      log info "stays connected to $SHARED: $who"
      continue
    fi
    found=1
  done <"$WORK/sessions"
  ((found == 0)) || die "stop service $SERVICE first; sessions that are not the service's may stay with --others"
}

report() {
  local line
  printf 'From database %s into %s, as role %s:\n' "$SHARED" "$DATABASE" "$OWNER"
  awk -F '\t' '/^(rows|partitioned|sequence|view|materialized|function|type)\t/ { printf "  %-14s %s\n", ($1 == "rows" ? "table" : $1), $2 }' "$WORK/moved"
  if [[ $STATE == empty ]]; then
    printf 'The tables are in %s already, and empty: only rows and sequences move.\n' "$DATABASE"
  fi
  while IFS= read -r line; do
    log warning "$line"
  done < <(values notice)
}

confirm() {
  local answer
  [[ -n $MUST_CONFIRM ]] || return 0
  read -r -p "$1 Only 'yes' does: " answer || answer=
  [[ $answer == yes ]] || die 'not confirmed'
}

# hold: has the session in the shared database run what is on standard input, and waits for it.
hold() {
  local line
  { cat && printf '\\o\n\\echo %s\n' "$MARK"; } >&8 2>/dev/null || return 1
  while IFS= read -r -u 7 line; do
    [[ $line != "$MARK" ]] || return 0
  done
  return 1
}

# Opens the session that holds everything still: it has the locks, and what is copied is what it sees.
open_holder() {
  mkfifo "$WORK/holder.in" "$WORK/holder.out"
  (
    cd -- "$WORK"
    PGDATABASE=$SHARED PGCLIENTENCODING=UTF8 PGOPTIONS="-c search_path=pg_catalog,pg_temp -c lock_timeout=${LOCK_TIMEOUT_S}s -c statement_timeout=0 -c idle_in_transaction_session_timeout=0 -c row_security=off" \
      exec psql -XAtqw -F $'\t' -v ON_ERROR_STOP=1 -v names="$(joined "${TABLES[@]}")" \
      -v service="$SERVICE" -v database="$DATABASE" -v role="$ROLE"
  ) <"$WORK/holder.in" >"$WORK/holder.out" 2>"$WORK/holder.errors" &
  HOLDER=$!
  exec 8>"$WORK/holder.in" 7<"$WORK/holder.out"
}

# One run at a time for a service. A run that was killed goes on counting for a while.
take_turn() {
  local attempt
  for ((attempt = 0; attempt < ATTEMPTS; attempt++)); do
    hold <<'SQL' || die_with "no session in $SHARED" "$WORK/holder.errors"
\o taken
SELECT pg_try_advisory_lock(hashtextextended('pgisle migrate ' || :'service', 0));
SQL
    [[ $(<"$WORK/taken") != t ]] || return 0
    sleep 1
  done
  die "another run of this script is moving service $SERVICE"
}

# who_holds: those who keep the tables from being locked.
who_holds() {
  ask "$SHARED" -v oids="$(values oid | sed -n 's/^1259 //p' | tr '\n' ',')" <<'SQL' 2>/dev/null || true
SELECT string_agg(DISTINCT CASE WHEN l.pid IS NULL THEN 'a prepared transaction' ELSE regexp_replace(format('%s, application "%s", server process %s', a.usename, a.application_name, l.pid), '[[:cntrl:]]', '?', 'g') END, '; ')
FROM pg_locks AS l LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.granted AND l.locktype = 'relation' AND l.mode NOT IN ('AccessShareLock', 'RowShareLock', 'ShareLock')
  AND l.relation = ANY (string_to_array(trim(',' FROM :'oids'), ',')::oid[]);
SQL
}

# From here on nobody writes to the tables or changes them, and all that is read is of one moment.
lock_tables() {
  local who
  # A transaction sees what was there at its first query. LOCK is none.
  if ! hold <<SQL; then
SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout';
SELECT set_config('role', :'role', false) WHERE :'role' <> '';
BEGIN ISOLATION LEVEL REPEATABLE READ;
LOCK TABLE $(values lock | paste -sd ,) IN SHARE MODE;
SQL
    who=$(who_holds)
    [[ -z $who ]] || log error "the tables are being written to by $who"
    die_with 'the tables cannot be locked' "$WORK/holder.errors"
  fi
  hold <<'SQL' || die_with "database $SHARED cannot be looked at" "$WORK/holder.errors"
\o locked
\i moved.sql
\o snapshot
SELECT pg_export_snapshot();
\o pid
SELECT pg_backend_pid();
SQL
  cmp -s "$WORK/moved" "$WORK/locked" || die 'the definitions of the tables have changed just now: run this again'
}

# Counting goes on beside the copying.
start_counting() {
  values rows | sed 's/^/SELECT count(*) FROM ONLY /; s/$/;/' >"$WORK/counts.sql"
  values sequence | sed "s/^/SELECT concat_ws(' ', last_value, is_called) FROM /; s/\$/;/" >"$WORK/sequences.sql"
  printf '\\o counts\n\\i counts.sql\n\\o\n' >&8
}

# waited COMMAND...: runs it in the background and waits, so that a signal need not. It does not keep our sessions open when we
# are no more.
waited() {
  local status=0
  "$@" 5<&- 7<&- 8>&- &
  CHILD=$!
  wait "$CHILD" || status=$?
  CHILD=
  return "$status"
}

dump_definitions() {
  local role=()
  [[ -z $ROLE ]] || role=(--role="$ROLE")
  PGDATABASE=$SHARED exec pg_dump -w -Fc --compress=0 --schema-only --snapshot="$(<"$WORK/snapshot")" --lock-wait-timeout="${LOCK_TIMEOUT_S}s" \
    --no-publications --no-subscriptions --exclude-table=pgisle_split.job "${role[@]}" -f "$WORK/schema.dump" 2>"$WORK/errors"
}

# The definitions of what moves: WORK/schema.dump, and in WORK/chosen the entries of it that are meant.
read_definitions() {
  waited dump_definitions || die_with 'the definitions of the tables cannot be read' "$WORK/errors"
  pg_restore -l -v "$WORK/schema.dump" >"$WORK/contents" 2>"$WORK/errors" || die_with 'the definitions of the tables cannot be read' "$WORK/errors"
  # A schema that is there already needs not be made.
  ask_about "$DATABASE" schema >"$WORK/schemas" 2>"$WORK/errors" <<'SQL' || die_with "database $DATABASE cannot be looked at" "$WORK/errors"
SELECT '2615 ' || split_part(s, ' ', 1) FROM unnest(string_to_array(:'names', chr(31))) AS s
WHERE s <> '' AND NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = substr(s, strpos(s, ' ') + 1));
SQL
  values oid >>"$WORK/schemas"
  awk "$CHOOSE" pass=1 "$WORK/schemas" pass=2 "$WORK/contents" pass=3 "$WORK/contents" >"$WORK/chosen"
}

# Takes away the login of this run, or of one that was killed, with its sessions. Ending them needs the login's rights, which an
# administrator who is no superuser takes for one transaction that is rolled back.
drop_login() {
  ask "$MAINTENANCE" -v login="$LOGIN" -v database="$DATABASE" >/dev/null 2>"$WORK/errors" <<'SQL'
BEGIN;
SELECT format('GRANT %I TO CURRENT_USER', r.rolname) FROM pg_roles AS r
WHERE r.rolname = :'login' AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) \gexec
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = :'login';
ROLLBACK;
SELECT format('REVOKE CONNECT ON DATABASE %I FROM %I', :'database', rolname) FROM pg_roles WHERE rolname = :'login' \gexec
DROP ROLE IF EXISTS :"login";
SQL
}

# Opens the session that loads, as a login that is the service's owner role and nothing else.
open_loader() {
  LOGIN=$(printf '%s' "$SHARED/$SERVICE/$DATABASE" | sha256sum)
  LOGIN=pgisle_migrate_${LOGIN:0:16}
  drop_login || die_with "role $LOGIN, which an earlier run has left, cannot be dropped" "$WORK/errors"
  create_login "$DATABASE"
  mkfifo "$WORK/loader.in" "$WORK/loader.out"
  PGUSER=$LOGIN PGPASSWORD='' PGPASSFILE=$WORK/passfile PGDATABASE=$DATABASE PGCLIENTENCODING=UTF8 \
    psql -XAtqw -v ON_ERROR_STOP=1 <"$WORK/loader.in" >"$WORK/loader.out" 2>"$WORK/loader.errors" 7<&- 8>&- &
  LOADER=$!
  exec 6>"$WORK/loader.in" 5<"$WORK/loader.out"
}

# die_loading WHAT: with what the session that loads has said, and the program that fed it.
die_loading() {
  # It may still be writing down why.
  exec 6>&-
  [[ -z $LOADER ]] || wait "$LOADER" || true
  LOADER=
  tail -n 2 -- "$WORK/said" >"$WORK/errors" 2>/dev/null || true
  tail -n 4 -- "$WORK/loader.errors" >>"$WORK/errors"
  die_with "$1" "$WORK/errors"
}

# feed: gives what is on standard input to the session that loads.
feed() {
  cat >&6 2>/dev/null || die_loading "the tables cannot be loaded as role $OWNER"
}

# settings: passes a dump on, but for a setting that servers before 17 do not know. One that does not tell psql to take no command
# from it is stopped.
settings() {
  local line is_safe=
  while IFS= read -r line; do
    case $line in
      '\restrict '*) is_safe=yes ;;
      'SET transaction_timeout = 0;') continue ;;
    esac
    printf '%s\n' "$line" || return 1
    [[ $line != 'SET row_security = off;' ]] || break
  done
  [[ -n $is_safe ]] || return 1
  exec cat
}

# piece WHAT COMMAND...: what the command prints goes to the session that loads. Both must end well.
piece() {
  local what=$1
  shift
  waited passed "$@" || die_loading "$what"
}

passed() {
  { "$@" 2>"$WORK/said" 6>&- | settings 6>&-; } >&6 2>/dev/null
}

# The rows of the tables and the states of the sequences. Without a name, pg_dump would take everything.
dump_rows() {
  local patterns=() pattern role=()
  [[ -z $ROLE ]] || role=(--role="$ROLE")
  while IFS= read -r pattern; do
    patterns+=(-t "$pattern")
  done < <(values pattern)
  PGDATABASE=$SHARED pg_dump -w --data-only --no-owner --snapshot="$(<"$WORK/snapshot")" --lock-wait-timeout="${LOCK_TIMEOUT_S}s" "${role[@]}" "${patterns[@]}"
}

definitions() {
  pg_restore -f - --section="$1" -L "$WORK/chosen" --no-owner --no-privileges --no-tablespaces "$WORK/schema.dump"
}

# Tables that are there already: nobody else writes to them, and their triggers do not fire for rows that come from elsewhere.
quiet_target() {
  ask_about "$DATABASE" rows partitioned >"$WORK/triggers" 2>"$WORK/errors" <<'SQL' || die_with "database $DATABASE cannot be looked at" "$WORK/errors"
SELECT format('ALTER TABLE ONLY %s DISABLE TRIGGER %I;', n, t.tgname) || chr(9) ||
  format('ALTER TABLE ONLY %s ENABLE %s TRIGGER %I;', n, CASE t.tgenabled WHEN 'A' THEN 'ALWAYS' WHEN 'R' THEN 'REPLICA' ELSE '' END, t.tgname)
FROM unnest(string_to_array(:'names', chr(31))) AS n JOIN pg_trigger AS t ON t.tgrelid = to_regclass(n)
WHERE NOT t.tgisinternal AND t.tgenabled <> 'D';
SQL
  {
    printf 'LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE;\n' "$({ values rows; values partitioned; } | sed 's/^/ONLY /' | paste -sd ,)"
    cut -f 1 "$WORK/triggers"
  } | feed
}

# check: a statement for the end of the transaction, which fails when a table's rows or a sequence are not those of the shared database.
check() {
  local name expected body quote="'" compared=0
  body='DECLARE differing text; BEGIN SELECT string_agg(format($f$%s: %s here, %s in the shared database$f$, v.name, v.found, v.expected), $f$; $f$) INTO differing FROM (VALUES (NULL, NULL, NULL)'
  while IFS= read -r name && IFS= read -r -u 4 expected; do
    body+=", ('${name//$quote/$quote$quote}', '$expected rows', concat((SELECT count(*) FROM ONLY $name), ' rows'))"
    compared=$((compared + 1))
  done < <(values rows) 4<"$WORK/counts"
  while IFS= read -r name && IFS= read -r -u 4 expected; do
    body+=", ('${name//$quote/$quote$quote}', '$expected', (SELECT concat_ws(' ', last_value, is_called) FROM $name))"
    compared=$((compared + 1))
  done < <(values sequence) 4<"$WORK/sequences"
  ((compared == $(wc -l <"$WORK/counts") + $(wc -l <"$WORK/sequences"))) || return 1
  body+=') AS v (name, expected, found) WHERE v.expected IS DISTINCT FROM v.found; IF differing IS NOT NULL THEN RAISE EXCEPTION $f$the copy is not what was to be copied: %$f$, differing; END IF; END'
  printf "SET standard_conforming_strings = on;\nDO '%s';\n" "${body//$quote/$quote$quote}"
}

copy_rows() {
  [[ -z $(values pattern) ]] || piece 'the rows cannot be copied' dump_rows
}

load() {
  feed <<SQL
\o /dev/null
SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN ('statement_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout');
SET lock_timeout = '${LOCK_TIMEOUT_S}s';
BEGIN;
SQL
  if [[ $STATE == empty ]]; then
    quiet_target
    copy_rows
    cut -f 2 "$WORK/triggers" | feed
  else
    piece 'the definitions cannot be made' definitions pre-data
    copy_rows
    piece 'indexes, keys and triggers cannot be made' definitions post-data
  fi
}

# A session that is lost in its commit does not say what became of it. Once it is gone, what is there does.
find_out() {
  local before=$STATE
  exec 6>&-
  wait "$LOADER" || true
  LOADER=
  drop_login || die_with "role $LOGIN cannot be dropped" "$WORK/errors"
  check_target
  [[ $STATE == filled || ($before == absent && $STATE == empty) ]] || die_loading 'the copy was not taken'
  log warning 'the connection was lost while the copy was taken, and it was taken'
}

# Both sides are compared, and then the one decides: nothing of the load is there before its COMMIT, which nobody but this sends.
commit() {
  local waiting
  printf '\\o sequences\n\\i sequences.sql\n' | hold || die_with 'the session that held the tables still has ended' "$WORK/holder.errors"
  if [[ $(wc -l <"$WORK/counts") != "$(values rows | wc -l)" || $(wc -l <"$WORK/sequences") != "$(values sequence | wc -l)" ]]; then
    die 'the rows in the shared database were not counted'
  fi
  waiting=$(ask "$SHARED" -v pid="$(<"$WORK/pid")" 2>"$WORK/errors" <<'SQL'
SELECT string_agg(regexp_replace(format('%s, application "%s", server process %s', a.usename, a.application_name, a.pid), '[[:cntrl:]]', '?', 'g'), '; ')
FROM pg_stat_activity AS a WHERE a.datname = current_database() AND (:'pid')::int = ANY (pg_blocking_pids(a.pid));
SQL
  ) || die_with 'the sessions cannot be listed' "$WORK/errors"
  [[ -z $waiting || -n $MAY_CLOSE ]] || die "somebody waits to write to the tables, so service $SERVICE is not stopped: $waiting"
  [[ -z $MAY_CLOSE ]] || close_tables
  check >"$WORK/check.sql" || die 'not everything can be compared'
  { cat -- "$WORK/check.sql" && printf 'COMMIT;\n\\o\n\\echo %s\n' "$MARK"; } | feed
  IFS= read -r -u 5 waiting || waiting=
  [[ $waiting == "$MARK" ]] || find_out
  IS_MOVED=yes
  # Without statistics the service would be slow at first, and no less correct.
  { printf 'ANALYZE %s;\n' "$(values rows | paste -sd ,)" >&6; } 2>/dev/null || true
  exec 6>&-
  [[ -z $LOADER ]] || wait "$LOADER" || true
  LOADER=
}

# Keeps everyone from writing to the old tables, in the transaction that has them locked. Foreign keys to and from the tables that
# stay go: they would keep others from deleting and from referring to what is new.
close_tables() {
  values sever | sed 's/$/;/' >"$WORK/sever.sql"
  names rows partitioned >"$WORK/tables"
  hold <<'SQL' || die_with "the old tables cannot be closed" "$WORK/holder.errors"
\set tables `cat tables`
SELECT 'SET ROLE NONE' WHERE :'role' <> '' \gexec
CREATE SCHEMA IF NOT EXISTS pgisle_split;
COMMENT ON SCHEMA pgisle_split IS 'pgisle keeps the journal of its splits here';
GRANT USAGE ON SCHEMA pgisle_split TO PUBLIC;
SELECT format('CREATE OR REPLACE FUNCTION pgisle_split.%I() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS %L',
  'moved_' || :'service', $f$BEGIN
  RAISE EXCEPTION 'table "%"."%" has moved to database "%"', TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_ARGV[0]
    USING ERRCODE = 'object_not_in_prerequisite_state', HINT = format('Connect to database "%s".', TG_ARGV[0]);
END$f$) \gexec
SELECT format('SET ROLE %I', :'role') WHERE :'role' <> '' \gexec
SELECT format('CREATE OR REPLACE TRIGGER pgisle_split_moved BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION pgisle_split.%I(%L)', t, 'moved_' || :'service', :'database')
FROM unnest(string_to_array(:'tables', chr(31))) AS t \gexec
SELECT format('ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER pgisle_split_moved', t) FROM unnest(string_to_array(:'tables', chr(31))) AS t \gexec
\i sever.sql
SQL
}

# Lets go of the tables.
release() {
  local line
  printf 'COMMIT;\n' | hold || die_with "the old tables may not be closed" "$WORK/holder.errors"
  [[ -n $MAY_CLOSE ]] || return 0
  log info "the old tables in $SHARED are closed; to open them again: DROP FUNCTION pgisle_split.\"moved_$SERVICE\"() CASCADE"
  while IFS= read -r line; do
    log info "a foreign key was dropped that ended in another database; its definition: $line"
  done < <(values mend)
}

# The tables are in the service's database, with rows.
already() {
  local old name here there differing=()
  old=$(count_in "$SHARED") || die_with "the tables in $SHARED cannot be counted" "$WORK/errors"
  while IFS= read -r name && IFS= read -r -u 3 here && IFS= read -r -u 4 there; do
    [[ $here == "$there" ]] || differing+=("$name: $here rows in $DATABASE, $there in $SHARED")
  done < <(values rows) 3<<<"$COUNTS" 4<<<"$old"
  for name in "${differing[@]}"; do
    log warning "$name"
  done
  if [[ -n $MAY_CLOSE && -z $IS_DRY ]]; then
    # Whether these are the rows that were moved, and more, only somebody who knows can say.
    if ((${#differing[@]} > 0)); then
      MUST_CONFIRM=yes
      [[ -z $MAY_DIFFER ]] || MUST_CONFIRM=
    fi
    confirm "The tables are in $DATABASE with rows. Close the old ones in $SHARED?"
    open_holder
    take_turn
    lock_tables
    close_tables
    release
    return
  fi
  ((${#differing[@]} == 0)) || die "database $DATABASE has rows in these tables, and not as many as $SHARED: if the service works there already, nothing is left to be done but --close --moved; if not, empty them"
  log info "the tables are in $DATABASE already, with as many rows as in $SHARED"
}

next_steps() {
  log info "service $SERVICE has its tables in $DATABASE, with as many rows as in $SHARED, and its sequences go on where they were"
  log info "next: give the service the settings in $ENV_FILE of the generated files, or its Kubernetes Secret, and start it again"
  [[ -z $MAY_CLOSE ]] || return 0
  [[ -z $(values mend) ]] || log warning "foreign keys between the old tables and those that stay still hold: rows that refer to what the service writes from now on are refused there until --close"
  log info "the old tables in $SHARED are as they were, and open: run this again with --close before the service starts, or with --close --moved when it runs"
}

parse() {
  while (($# > 0)); do
    case $1 in
      -y | --yes) MUST_CONFIRM='' ;;
      --dry-run) IS_DRY=yes ;;
      --others) MAY_STAY=yes ;;
      --close) MAY_CLOSE=yes ;;
      --moved) MAY_DIFFER=yes ;;
      -h | --help)
        usage
        exit 0
        ;;
      *)
        usage >&2
        exit 2
        ;;
    esac
    shift
  done
}

main() {
  parse "$@"
  WORK=$(mktemp -d)
  trap clean_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  # A session that has ended is noticed by what it has said.
  trap '' PIPE
  require_programs psql pg_dump pg_restore awk sed setsid sha256sum mkfifo cmp paste
  MARK=$(head -c 32 /dev/urandom | sha256sum)
  MARK=${MARK%% *}
  moved_sql >"$WORK/moved.sql"
  check_server
  look
  choose_role
  check_target
  if [[ $STATE == filled ]]; then
    already
    return
  fi
  report
  check_sessions
  if [[ -n $IS_DRY ]]; then
    log info 'nothing is in the way, and nothing was changed'
    return
  fi
  confirm "Move them? Nobody can write to them in $SHARED meanwhile."
  open_holder
  take_turn
  lock_tables
  start_counting
  read_definitions
  open_loader
  load
  commit
  release
  next_steps
}

main "$@"
