//! Shell scripts that back up and restore on a machine without pgisle, and what runs the backup at its hour: cron or systemd.
//!
//! The scripts' text is fixed and lies beside this file; only the settings at their head are generated, each value quoted as one
//! word. They hold no password: libpq finds it, as it always does.

mod schedule;

use crate::artifact::escape::{shell_path, shell_word};
use crate::artifact::naming::pooler_alias;
use crate::artifact::{Artifact, header};
use crate::spec::{Service, Settings, Spec};

/// The backup script's path.
pub(crate) const BACKUP_PATH: &str = "scripts/backup-databases.sh";

/// The restore script's path.
pub(crate) const RESTORE_PATH: &str = "scripts/restore-database.sh";

pub(crate) use schedule::{CRON_PATH, TIMER_PATH};

/// Where the script writes when the spec names a store that is no folder.
const DEFAULT_FOLDER: &str = "/var/backups/postgresql";

const CONNECTION: &str = include_str!("connection.bash");
const BACKUP: &str = include_str!("backup.bash");
const RESTORE: &str = include_str!("restore.bash");

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

pub(crate) fn artifacts(spec: &Spec) -> Vec<Artifact> {
    let connection = connection_settings(&spec.settings);
    let backup = format!("{connection}{}{}", services(spec, true), backup_settings(&spec.settings));
    let restore = format!("{connection}{}{}", marks(&spec.settings), services(spec, false));
    let mut artifacts = vec![
        Artifact::program(BACKUP_PATH, script(spec, "backup-databases.sh", BACKUP_HEADER, &backup, BACKUP)),
        Artifact::program(RESTORE_PATH, script(spec, "restore-database.sh", RESTORE_HEADER, &restore, RESTORE)),
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
        "HOST={}\nPORT={}\nUSERNAME={}\nMAINTENANCE={}\nSSLMODE={}\nSSLROOTCERT={}\nSSLCERT={}\nSSLKEY={}\nDIRECTORY={}\n",
        shell_word(&settings.postgres_host),
        settings.postgres_port,
        shell_word(settings.postgres_username.as_str()),
        shell_word(settings.maintenance_database.as_str()),
        settings.postgres_sslmode,
        path_word(settings.postgres_sslrootcert.as_deref()),
        path_word(settings.postgres_sslcert.as_deref()),
        path_word(settings.postgres_sslkey.as_deref()),
        shell_path(folder(settings)),
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
