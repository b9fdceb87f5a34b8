//! Shell scripts that back up, restore and split on a machine without pgisle, and what runs the backup at its hour: cron or systemd.
//!
//! The scripts' text is fixed and lies beside this file; only the settings at their head are generated, each value quoted as one
//! word. They hold no password: libpq finds it, as it always does.

mod schedule;

use crate::artifact::escape::{shell_path, shell_word};
use crate::artifact::naming::pooler_alias;
use crate::artifact::{Artifact, environment, header};
use crate::credential::Slot;
use crate::name::ServiceName;
use crate::spec::{Service, Settings, Spec};

/// The backup script's path.
pub(crate) const BACKUP_PATH: &str = "scripts/backup-databases.sh";

/// The restore script's path.
pub(crate) const RESTORE_PATH: &str = "scripts/restore-database.sh";

/// The path of the script that moves a service's tables out of the shared database.
pub(crate) fn migrate_path(service: &ServiceName) -> String {
    format!("scripts/{}", migrate_name(service))
}

fn migrate_name(service: &ServiceName) -> String {
    format!("migrate-{service}-database.sh")
}

pub(crate) use schedule::{CRON_PATH, TIMER_PATH};

/// Where the script writes when the spec names a store that is no folder.
const DEFAULT_FOLDER: &str = "/var/backups/postgresql";

const CONNECTION: &str = include_str!("connection.bash");
const BACKUP: &str = include_str!("backup.bash");
const RESTORE: &str = include_str!("restore.bash");
const LOGIN: &str = include_str!("login.bash");
const MOVED: &str = include_str!("moved.sql");
const MIGRATE: &str = include_str!("migrate.bash");

const BACKUP_HEADER: &str = "\
#
# Backs up every service's database, the cluster's roles and the whole cluster into a folder, with nothing but PostgreSQL's client
# tools (pg_dump no older than the server), bash, gzip, coreutils and flock. For backups that are verified, encrypted, compressed
# in parallel or kept in S3, there is `pgisle backup create`.
#
#   backup-databases.sh
#
# Files:      DATABASE_backup_YYYYMMDD_HHMMSS.sql.gz, UTC, with FILE.sha256 beside it (a database whose name does not suit a file
#             goes by its service's); cluster/globals_backup_*.sql.gz; cluster/base_backup_*/ (pg_basebackup), or, where the
#             server takes no replication connections, cluster/cluster_backup_*.sql.gz (pg_dumpall). All readable by their owner alone.
# Retention:  what is older than RETENTION_DAYS goes, but of each database the newest MINIMUM_COUNT complete backups stay.
# Password:   as libpq finds it: ~/.pgpass, the file that PGPASSFILE names, or PGPASSWORD. pg_basebackup needs `*` as the database
#             in the passfile's line.
# Ends with:  0 when everything was backed up, else 1. One failure does not keep the others from being backed up. A log is in
#             backup.log beside the backups and on standard error.
# Variables:  PGISLE_HOST, PGISLE_PORT, PGISLE_USER: another address or administrator. PGISLE_BACKUP_DIRECTORY,
#             PGISLE_BACKUP_LOG: another place. PGISLE_UNENCRYPTED=1: allows backups that are not encrypted although
#             backup_recipients is set.
";

const RESTORE_HEADER: &str = "\
#
# Restores one service's database from a dump: plain SQL, with gzip or without, or pg_dump's custom format. Needs PostgreSQL's
# client tools, bash, gzip, coreutils, awk and setsid.
#
#   restore-database.sh [-y] SERVICE FILE
#
# The dump is read whole first, then restored into a database of its own, and its rows are counted. Then, after a question
# (-y: without), the two databases swap names in one transaction. The old one is kept, closed, as DATABASE__replaced_TIME.
# Whatever fails before that leaves the live database as it was, and nothing behind.
#
# Who restores: not the administrator. A dump may hold anything that the service's own code made, and what runs in a superuser's
# session can get at the superuser's rights, SET ROLE or not. Not the service's login either: pg_hba.conf.fragment lets it reach no
# other database, and its connections may be used up. So there is a login for this one restore, with a random password that is
# sent as a verifier; it is a member of the service's owner role, may connect to the new database only, and is dropped at the
# end. The price: pg_hba.conf must let it in, which its usual lines do, and a dump that needs more than the owner role may (event
# triggers, subscriptions, roles that are not there) is refused: see `pgisle restore`.
#
# Password:   the administrator's, as libpq finds it: ~/.pgpass, the file that PGPASSFILE names, or PGPASSWORD.
# Ends with:  0 when it was restored, 1 when not, 2 when it was called wrongly. A log is in backup.log beside the backups.
# Variables:  PGISLE_HOST, PGISLE_PORT, PGISLE_USER: another address or administrator. PGISLE_BACKUP_LOG: another log.
";

const MIGRATE_HEADER: &str = "\
#
# Moves the tables of one service from the shared database into the service's own, while the service stands still, with nothing
# but PostgreSQL's client tools (pg_dump no older than the server), bash, awk, coreutils, sed and setsid.
#
#   migrate-SERVICE-database.sh [-y] [--dry-run] [--others] [--close [--moved]]
#
# Stop the service first: while a session is connected to the shared database, the script names it and ends. --others lets sessions
# stay that do not log in as the service; whoever waits to write to the tables when the copy is done still ends it. One session
# locks the tables against writing, and what it sees is what pg_dump copies: the tables with their partitions, indexes, keys,
# triggers and policies, their sequences, and the types, functions and views that need nothing else. They are loaded in one
# transaction, as a login that is made for this one run and has the rights of the service's owner role alone. At its end the rows
# of each table and the state of each sequence are compared with the shared database, and it commits if they are the same. If
# anything fails before, or the script is killed, nothing has been moved, and the next run begins again.
#
# Tables that are in the service's database already, all of them and empty, are kept as they are there, and filled. When they have
# rows, nothing is moved.
#
# Not moved: foreign keys between a table that moves and one that stays, and views that read both: each is named. Privileges: the
# spec says who may do what in the service's database. Refused: foreign tables, columns that may point to large objects, user-made base types, operators and
# collations, tables of several owners when the administrator is no superuser.
#
# The old tables stay as they are. --close, with the move or later, keeps everyone from writing to them and drops the foreign keys
# between them and those that stay; it says how to undo that. Later means before the service has written in its own database, or
# with --moved.
#
# What `pgisle split` does and this does not: move while the service writes, with a pause of less than a second; redirect PgBouncer;
# compare the content of all rows; a rehearsal; the way back with what was written since; dropping the old tables in the end.
#
# Password:   the administrator's, as libpq finds it: ~/.pgpass, the file that PGPASSFILE names, or PGPASSWORD.
# Ends with:  0 when the tables are where they belong (with --dry-run: when nothing is in the way), 1 when not, 2 when it was
#             called wrongly.
# Variables:  PGISLE_HOST, PGISLE_PORT, PGISLE_USER: another address or administrator. PGISLE_MIGRATE_LOG: a file for the log,
#             which otherwise goes to standard error alone.
";

/// The scripts that need no automation of backups: one for each service that has tables in the shared database.
pub(crate) fn migrations(spec: &Spec) -> Vec<Artifact> {
    let services = spec.services.values().filter(|service| !service.tables.is_empty());
    let migrate = |service: &Service| {
        let settings = format!("{}{}", connection_settings(&spec.settings), migrate_settings(spec, service));
        let body = format!("{LOGIN}\nmoved_sql() {{\n  cat <<'SQL'\n{MOVED}SQL\n}}\n\n{MIGRATE}");
        let name = migrate_name(&service.name);
        Artifact::program(migrate_path(&service.name), script(spec, &name, MIGRATE_HEADER, &settings, &body))
    };
    services.map(migrate).collect()
}

/// The scripts that back up and restore, and what runs them.
pub(crate) fn artifacts(spec: &Spec) -> Vec<Artifact> {
    let connection = format!("{}DIRECTORY={}\n", connection_settings(&spec.settings), shell_path(folder(&spec.settings)));
    let backup = format!("{connection}{}{}", services(spec, true), backup_settings(&spec.settings));
    let restore = format!("{connection}{}{}", marks(&spec.settings), services(spec, false));
    let loading = format!("{LOGIN}\n{RESTORE}");
    let mut artifacts = vec![
        Artifact::program(BACKUP_PATH, script(spec, "backup-databases.sh", BACKUP_HEADER, &backup, BACKUP)),
        Artifact::program(RESTORE_PATH, script(spec, "restore-database.sh", RESTORE_HEADER, &restore, &loading)),
    ];
    artifacts.extend(schedule::artifacts(spec));
    artifacts
}

fn script(spec: &Spec, name: &str, about: &str, settings: &str, body: &str) -> String {
    // A dollar in a name is a dollar, and awk has variables of its own.
    let quiet = "# shellcheck disable=SC2016";
    let header = header(spec, "#");
    format!("#!/usr/bin/env bash\n{header}{about}\n{quiet}\nPROGRAM={name}\n{settings}\n{CONNECTION}\n{body}")
}

/// A value of a setting that may be a path in the home folder, or missing.
fn path_word(path: Option<&str>) -> String {
    path.map_or_else(|| "''".to_owned(), shell_path)
}

fn connection_settings(settings: &Settings) -> String {
    format!(
        "HOST={}\nPORT={}\nUSERNAME={}\nMAINTENANCE={}\nSSLMODE={}\nSSLROOTCERT={}\nSSLCERT={}\nSSLKEY={}\n",
        shell_word(&settings.postgres_host),
        settings.postgres_port,
        shell_word(settings.postgres_username.as_str()),
        shell_word(settings.maintenance_database.as_str()),
        settings.postgres_sslmode,
        path_word(settings.postgres_sslrootcert.as_deref()),
        path_word(settings.postgres_sslcert.as_deref()),
        path_word(settings.postgres_sslkey.as_deref()),
    )
}

/// The folder of the backups, without a slash at its end.
pub(super) fn folder(settings: &Settings) -> &str {
    let path = settings.backup_storage_path.trim_end_matches('/');
    if path.is_empty() || is_remote(settings) { DEFAULT_FOLDER } else { path }
}

/// Whether backups go to a store that only pgisle itself can write to.
pub(super) fn is_remote(settings: &Settings) -> bool {
    settings.backup_storage_path.starts_with("s3://")
}

/// Whose mark a database gets that was replaced.
fn marks(settings: &Settings) -> String {
    // Quoted whatever it is: a bare word may be a command's name, which shellcheck takes for a slip.
    let project = settings.name_prefix.replace('\'', r"'\''");
    format!("PROJECT='{project}'\nENVIRONMENT='{}'\n", settings.environment)
}

fn backup_settings(settings: &Settings) -> String {
    format!(
        "RETENTION_DAYS={}\nMINIMUM_COUNT={}\nON_FAILURE={}\nENCRYPT={}\n",
        settings.backup_retention_days,
        settings.backup_minimum_count,
        shell_word(settings.backup_on_failure.as_deref().unwrap_or_default()),
        if settings.backup_recipients.is_empty() { "''" } else { "yes" },
    )
}

/// A service, where its tables are and where they go.
fn migrate_settings(spec: &Spec, service: &Service) -> String {
    let words = |texts: &[&str]| texts.iter().map(|text| shell_word(text)).collect::<Vec<_>>().join(" ");
    let logins = [service.login(Slot::A), service.login(Slot::B), service.migrator()];
    format!(
        "SERVICE={}\nSHARED={}\nDATABASE={}\nOWNER={}\nLOGINS=({})\nTABLES=({})\nENV_FILE={}\n",
        shell_word(service.name.as_str()),
        shell_word(spec.settings.postgres_database.as_str()),
        shell_word(service.database.as_str()),
        shell_word(service.owner().as_str()),
        words(&logins.each_ref().map(|login| login.as_str())),
        words(&service.tables.iter().map(String::as_str).collect::<Vec<_>>()),
        shell_word(&environment::path(service.name.as_str())),
    )
}

/// The services as arrays of one length.
fn services(spec: &Spec, with_prefixes: bool) -> String {
    let array = |name: &str, word: &dyn Fn(&Service) -> String| {
        let words: Vec<String> = spec.services.values().map(|service| shell_word(&word(service))).collect();
        format!("{name}=({})\n", words.join(" "))
    };
    let mut text = array("SERVICES", &|service| service.name.as_str().to_owned());
    text += &array("DATABASES", &|service| service.database.as_str().to_owned());
    text += &array("OWNERS", &|service| service.owner().as_str().to_owned());
    if with_prefixes {
        // What PgBouncer's file can hold, a file's name can, too.
        text += &array("PREFIXES", &|service| pooler_alias(service).to_owned());
    }
    text
}
