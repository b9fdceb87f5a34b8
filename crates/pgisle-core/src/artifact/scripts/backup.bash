DIRECTORY=${PGISLE_BACKUP_DIRECTORY:-$DIRECTORY}
LOG=${PGISLE_BACKUP_LOG:-$DIRECTORY/backup.log}

# What a complete dump ends with.
DATABASE_END=$'--\n-- PostgreSQL database dump complete\n--\n'
CLUSTER_END=$'--\n-- PostgreSQL database cluster dump complete\n--\n'

# What must stay free beside the backup itself, in KiB.
RESERVE_KB=16384

FAILURES=0
WORK=
PARTIAL=

# failed SERVICE REASON: notes a failure, and tells whoever is to know.
failed() {
  FAILURES=$((FAILURES + 1))
  log error "$2"
  [[ -n $ON_FAILURE ]] || return 0
  PGISLE_SERVICE=$1 PGISLE_FAILURE=$2 sh -c "$ON_FAILURE" >&2 </dev/null 9>&- || log error "the command on failure failed, too: $ON_FAILURE"
}

# failed_with SERVICE REASON FILE: the same, with what a program said.
failed_with() {
  local said
  said=$(tail -n 5 -- "$3") || said=
  failed "$1" "$2${said:+: ${said//$'\n'/ }}"
}

clean_up() {
  local status=$?
  trap - EXIT
  [[ -z $PARTIAL ]] || rm -rf -- "$PARTIAL"
  [[ -z $WORK ]] || rm -rf -- "$WORK"
  if ((status != 0 && FAILURES == 0)); then
    failed '' "ended early, with status $status"
  fi
  exit "$status"
}

# has_room WHAT KIB: whether there is room for it.
has_room() {
  local available _
  { read -r _ && read -r _ _ _ available _; } < <(df -Pk -- "$DIRECTORY") || return 1
  ((available >= $2 + RESERVE_KB)) && return 0
  printf '%s needs about %d KiB, and %d KiB are free in %s\n' "$1" "$2" "$available" "$DIRECTORY" >"$WORK/errors"
  return 1
}

# moments FOLDER PREFIX SUFFIX: the moments of the whole backups of one kind, oldest first. A file that is being written has
# another name, and one without its checksum was never finished or is not ours.
moments() {
  local path moment
  for path in "$1/$2_backup_"*"$3"; do
    moment=${path#"$1/$2_backup_"}
    moment=${moment%"$3"}
    [[ $moment =~ ^[0-9]{8}_[0-9]{6}$ ]] || continue
    [[ -s $path && -s $path.sha256 ]] || [[ -s $path/SHA256SUMS ]] || continue
    printf '%s\n' "$moment"
  done
}

# needed_kb FOLDER PREFIX SUFFIX DEFAULT: what the next backup will take, by the last one, with a quarter more for growth.
needed_kb() {
  local last bytes
  last=$(moments "$1" "$2" "$3" | tail -n 1)
  if [[ -n $last ]]; then
    bytes=$(stat -c %s -- "$1/$2_backup_$last$3")
    printf '%d\n' $((bytes / 819 + 1))
  else
    printf '%d\n' "$4"
  fi
}

# finish FILE END: makes a whole file of the partial one, if it is complete.
finish() {
  local file=$1 end sum
  # Unpacking also proves gzip's checksum.
  if ! end=$(gzip -dc -- "$file.partial" 2>"$WORK/errors" | tail -c 4096); then
    return 1
  fi
  if [[ $end$'\n' != *"$2"* ]]; then
    echo 'the dump has no end' >"$WORK/errors"
    return 1
  fi
  {
    sync -- "$file.partial" &&
      sum=$(sha256sum <"$file.partial") &&
      printf '%s  %s\n' "${sum%% *}" "${file##*/}" >"$file.sha256" &&
      sync -- "$file.sha256" &&
      mv -n -- "$file.partial" "$file" && [[ ! -e $file.partial ]] &&
      sync -- "${file%/*}"
  } 2>"$WORK/errors"
}

# write FILE END COMMAND...: what the command prints, compressed. The file is there when it is whole, and not before.
write() {
  local file=$1 end=$2 status=0
  shift 2
  PARTIAL=$file.partial
  : >"$WORK/errors"
  if [[ -e $file ]]; then
    echo "$file is there already" >"$WORK/errors"
    return 1
  fi
  "$@" 2>"$WORK/said" | gzip >"$PARTIAL" 2>"$WORK/errors" || status=$?
  if ((status == 0)); then
    finish "$file" "$end" || status=$?
  else
    cat -- "$WORK/said" >>"$WORK/errors"
  fi
  if ((status != 0)); then
    rm -f -- "$PARTIAL" "$file.sha256"
  fi
  PARTIAL=
  return "$status"
}

# prune FOLDER PREFIX SUFFIX: removes what is too old, and never one of the newest. Called after a success only, so that a
# failure that nobody sees does not use up what there is.
prune() {
  local all index path
  mapfile -t all < <(moments "$1" "$2" "$3")
  for ((index = 0; index < ${#all[@]} - MINIMUM_COUNT; index++)); do
    [[ ${all[index]} < $CUTOFF ]] || break
    path=$1/$2_backup_${all[index]}$3
    # A folder that is half removed must not look whole.
    if [[ -d $path ]]; then
      mv -- "$path" "$path.partial" && rm -rf -- "$path.partial"
    else
      rm -f -- "$path" "$path.sha256"
    fi || {
      failed '' "cannot remove the old backup $path"
      return 0
    }
    log info "removed the old backup ${path##*/}"
  done
}

dump_database() {
  local role=()
  # An administrator who is no superuser reads a service's rows as the role that owns them.
  [[ $IS_SUPERUSER == t ]] || role=(--role="$2")
  PGDATABASE=$1 pg_dump -w "${role[@]}"
}

back_up_service() {
  local service=$1 database=$2 owner=$3 prefix=$4 size_kb file
  if ! size_kb=$(ask "$MAINTENANCE" -v database="$database" 2>"$WORK/errors" \
    <<<"SELECT pg_database_size(oid) / 1024 FROM pg_database WHERE datname = :'database';"); then
    failed_with "$service" "$service: cannot look at database $database" "$WORK/errors"
    return
  fi
  if [[ -z $size_kb ]]; then
    failed "$service" "$service: database $database does not exist"
    return
  fi
  file=$DIRECTORY/${prefix}_backup_$NOW.sql.gz
  if ! has_room "$database" "$(needed_kb "$DIRECTORY" "$prefix" .sql.gz "$size_kb")" ||
    ! write "$file" "$DATABASE_END" dump_database "$database" "$owner"; then
    failed_with "$service" "$service: database $database was not backed up" "$WORK/errors"
    return
  fi
  log info "$service: $database, $(stat -c %s -- "$file") bytes in $file"
  prune "$DIRECTORY" "$prefix" .sql.gz
}

back_up_globals() {
  local passwords=() file=$DIRECTORY/cluster/globals_backup_$NOW.sql.gz
  # The server keeps no clear passwords, and shows even its verifiers to superusers only.
  [[ $IS_SUPERUSER == t ]] || passwords=(--no-role-passwords)
  if ! write "$file" "$CLUSTER_END" pg_dumpall -w -l "$MAINTENANCE_OPTION" --globals-only "${passwords[@]}"; then
    failed_with '' "the cluster's roles were not backed up" "$WORK/errors"
    return
  fi
  log info "roles and tablespaces in $file"
  prune "$DIRECTORY/cluster" globals .sql.gz
}

# Whether the server lets the administrator take a physical copy.
may_replicate() {
  local wal_level
  wal_level=$(ask "$MAINTENANCE" <<<'SHOW wal_level;' 2>/dev/null) && [[ $wal_level != minimal ]] &&
    psql -XAtqw -d 'dbname=replication replication=true' -c IDENTIFY_SYSTEM >/dev/null 2>"$WORK/errors"
}

# Everything in one: what a new machine needs when this one is gone.
back_up_cluster() {
  local folder=$DIRECTORY/cluster/base_backup_$NOW file=$DIRECTORY/cluster/cluster_backup_$NOW.sql.gz
  if may_replicate; then
    PARTIAL=$folder.partial
    if pg_basebackup -w -D "$PARTIAL" -Ft -z -X stream -c fast >"$WORK/errors" 2>&1 &&
      [[ -s $PARTIAL/base.tar.gz && -s $PARTIAL/backup_manifest ]] &&
      gzip -t -- "$PARTIAL"/*.gz 2>"$WORK/errors" &&
      (cd -- "$PARTIAL" && sha256sum -- * >SHA256SUMS && chmod 600 -- * && sync -- *) 2>"$WORK/errors" &&
      mv -n -- "$PARTIAL" "$folder" && [[ ! -e $PARTIAL ]] && sync -- "$folder" "$DIRECTORY/cluster"; then
      PARTIAL=
      log info "the whole cluster in $folder"
      prune "$DIRECTORY/cluster" base ''
      return
    fi
    rm -rf -- "$PARTIAL"
    PARTIAL=
    failed_with '' 'the whole cluster was not backed up' "$WORK/errors"
  elif [[ $IS_SUPERUSER == t ]]; then
    log warning "no physical copy of the cluster, which the server refuses: $(tail -n 1 -- "$WORK/errors"); a dump of everything instead"
    if write "$file" "$CLUSTER_END" pg_dumpall -w -l "$MAINTENANCE_OPTION"; then
      log info "the whole cluster in $file"
      prune "$DIRECTORY/cluster" cluster .sql.gz
    else
      failed_with '' 'the whole cluster was not backed up' "$WORK/errors"
    fi
  else
    log warning "no copy of the whole cluster: $USERNAME may not replicate (ALTER ROLE ... REPLICATION, and a line for it in pg_hba.conf) and is no superuser; there are the services' databases and the roles"
  fi
}

main() {
  local index stale
  if (($# > 0)); then
    printf 'usage: %s\nBacks up every service into %s. It takes no arguments; its first lines tell more.\n' "$0" "$DIRECTORY" >&2
    exit 2
  fi
  mkdir -p -- "$DIRECTORY/cluster"
  trap clean_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  require_programs psql pg_dump pg_dumpall pg_basebackup gzip flock sha256sum
  if [[ -n $ENCRYPT && -z ${PGISLE_UNENCRYPTED:-} ]]; then
    failed '' 'backup_recipients asks for encrypted backups, and this script cannot encrypt: use pgisle backup create, or set PGISLE_UNENCRYPTED=1'
    exit 1
  fi
  exec 9>"$DIRECTORY/.backup-databases.lock"
  if ! flock -n 9; then
    failed '' "another run is backing up into $DIRECTORY"
    exit 1
  fi
  WORK=$(mktemp -d)
  # What a killed run left: nobody else writes while this one holds the lock.
  for stale in "$DIRECTORY"/*.partial "$DIRECTORY"/cluster/*.partial; do
    log warning "removed $stale, which a run left that was killed"
    rm -rf -- "$stale"
  done
  NOW=$(date +%Y%m%d_%H%M%S)
  CUTOFF=$(date -d "-$RETENTION_DAYS days" +%Y%m%d_%H%M%S)
  if ! check_login; then
    failed '' 'nothing was backed up: the administrator cannot log in'
    exit 1
  fi
  IS_SUPERUSER=$(ask "$MAINTENANCE" <<<'SELECT rolsuper FROM pg_roles WHERE rolname = current_user;')
  # -l takes a connection string, too, so its special characters are given as one.
  MAINTENANCE_OPTION=${MAINTENANCE//\\/\\\\}
  MAINTENANCE_OPTION="dbname='${MAINTENANCE_OPTION//\'/\\\'}'"
  for index in "${!SERVICES[@]}"; do
    back_up_service "${SERVICES[index]}" "${DATABASES[index]}" "${OWNERS[index]}" "${PREFIXES[index]}"
  done
  back_up_globals
  back_up_cluster
  if ((FAILURES > 0)); then
    log error "ended with $FAILURES failures"
    exit 1
  fi
  log info 'everything was backed up'
}

main "$@"
