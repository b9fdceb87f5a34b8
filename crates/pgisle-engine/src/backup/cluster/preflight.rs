//! What a server must allow before it is copied.

use pgisle_core::backup::BackupId;
use pgisle_core::backup::cluster::{self, INCREMENTAL_MAJOR};
use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::name::{DatabaseName, RoleName};
use tokio_postgres::Row;

use super::catalog::{ClusterBackup, ClusterListing};
use crate::postgres::Session;
use crate::postgres::connect::query_diagnostic;

// Who logs in for replication is who has logged in here.
const FACTS: &str = "SELECT r.rolname::pg_catalog.text, r.rolsuper, r.rolsuper OR r.rolreplication, \
    pg_catalog.current_setting('max_wal_senders')::pg_catalog.int4, pg_catalog.current_setting('wal_level'), \
    pg_catalog.current_setting('summarize_wal', true), \
    (SELECT s.setting::pg_catalog.int8 FROM pg_catalog.pg_settings AS s WHERE s.name = 'wal_segment_size'), \
    pg_catalog.current_setting('data_checksums'), \
    (SELECT c.timeline_id FROM pg_catalog.pg_control_checkpoint() AS c), \
    (SELECT c.system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system() AS c) \
    FROM pg_catalog.pg_roles AS r WHERE r.rolname = SESSION_USER";

const TABLESPACES: &str = "SELECT t.spcname::pg_catalog.text FROM pg_catalog.pg_tablespace AS t \
    WHERE t.spcname NOT IN ('pg_default', 'pg_global') ORDER BY 1";

const DATABASES: &str = "SELECT d.datname::pg_catalog.text, d.oid FROM pg_catalog.pg_database AS d ORDER BY 1";

const CLOCK: &str = "SELECT pg_catalog.ceil(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()))::pg_catalog.int8";

/// What a server says of itself.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) role: RoleName,
    pub(super) is_superuser: bool,
    may_replicate: bool,
    max_wal_senders: i32,
    wal_level: String,
    /// None before PostgreSQL 17.
    summarizes_wal: Option<bool>,
    pub(super) wal_segment_bytes: u64,
    pub(super) has_page_checksums: bool,
    pub(super) timeline: u32,
    pub(super) system_identifier: String,
    tablespaces: Vec<String>,
    /// With their numbers.
    pub(super) databases: Vec<(DatabaseName, u32)>,
}

impl Facts {
    pub(super) async fn read(session: &Session) -> Result<Self, Diagnostic> {
        let attempt = async {
            let facts = session.query(FACTS, &[]).await?;
            let tablespaces = session.query(TABLESPACES, &[]).await?;
            let databases = session.query(DATABASES, &[]).await?;
            let tablespaces = tablespaces.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
            let databases = databases.iter().map(database).collect::<Result<_, _>>()?;
            // The login that this session runs as is always there.
            facts.first().map(|row| Self::of(row, tablespaces, databases)).transpose()
        };
        let facts: Result<Option<Self>, tokio_postgres::Error> = attempt.await;
        let missing = || Diagnostic::error(Code::QUERY_FAILED, "the server does not know who is logged in");
        facts.map_err(|error| query_diagnostic("the server's settings cannot be read", &error))?.ok_or_else(missing)
    }

    fn of(row: &Row, tablespaces: Vec<String>, databases: Vec<(DatabaseName, u32)>) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            role: RoleName::observed(row.try_get::<_, String>(0)?),
            is_superuser: row.try_get(1)?,
            may_replicate: row.try_get(2)?,
            max_wal_senders: row.try_get(3)?,
            wal_level: row.try_get(4)?,
            summarizes_wal: row.try_get::<_, Option<String>>(5)?.map(|value| value == "on"),
            wal_segment_bytes: u64::try_from(row.try_get::<_, i64>(6)?).unwrap_or_default(),
            has_page_checksums: row.try_get::<_, String>(7)? == "on",
            timeline: u32::try_from(row.try_get::<_, i32>(8)?).unwrap_or_default(),
            system_identifier: row.try_get(9)?,
            tablespaces,
            databases,
        })
    }

    /// Why the cluster cannot be copied; nothing when it can.
    pub(super) fn obstacles(&self) -> Vec<Diagnostic> {
        let mut obstacles = Vec::new();
        let Self { role, may_replicate, max_wal_senders, wal_level, tablespaces, .. } = self;
        let about = |code: Code, summary: String| Diagnostic::error(code, summary).about("cluster");
        if !may_replicate {
            obstacles.push(
                about(Code::CLUSTER_PRIVILEGE, format!("role \"{role}\" may not log in for replication"))
                    .detail("A copy of the whole cluster holds every service's data and every password verifier, so it takes a superuser or the attribute REPLICATION.")
                    .hint("Have a superuser run this, or connect as another administrator:")
                    .command(format!("ALTER ROLE {} REPLICATION;", quoted(role.as_str()))),
            );
        }
        let settings = [
            (wal_level == "minimal", "wal_level is minimal", "ALTER SYSTEM SET wal_level = 'replica';"),
            (*max_wal_senders == 0, "max_wal_senders is 0", "ALTER SYSTEM SET max_wal_senders = 10;"),
        ];
        for (_, what, command) in settings.into_iter().filter(|(is_so, _, _)| *is_so) {
            obstacles.push(
                about(Code::CLUSTER_SETTINGS, format!("the cluster cannot be copied while {what}"))
                    .hint("Have a superuser run this, and restart the server:")
                    .command(command),
            );
        }
        if !tablespaces.is_empty() {
            let names: Vec<String> = tablespaces.iter().map(|name| format!("\"{name}\"")).collect();
            obstacles.push(
                about(Code::CLUSTER_TABLESPACES, "the cluster has tablespaces of its own".to_owned())
                    .detail(format!("They are {}. Only the data directory itself can be sent as one stream.", names.join(", ")))
                    .hint("Move what is in them and drop them, or back up the services instead:")
                    .command("pgisle backup create"),
            );
        }
        obstacles
    }

    /// Chooses what an incremental backup is made from.
    pub(super) fn parent<'a>(&self, listing: &'a ClusterListing, server_major: u32) -> Result<&'a ClusterBackup, Diagnostic> {
        let refused = |summary: String| Diagnostic::error(Code::CLUSTER_INCREMENTAL, summary).about("cluster");
        let full = |diagnostic: Diagnostic| diagnostic.hint("Make a full one:").command("pgisle backup create -cluster");
        if server_major < INCREMENTAL_MAJOR {
            return Err(full(refused(format!("PostgreSQL {server_major} makes no incremental backups")))
                .detail(format!("They came with PostgreSQL {INCREMENTAL_MAJOR}.")));
        }
        if self.summarizes_wal != Some(true) {
            return Err(refused("no incremental backup can be made while summarize_wal is off".to_owned())
                .detail("Without it the server does not know what has changed since the last backup.")
                .hint("Have a superuser run this; the next full backup is the first that incremental ones can stand on:")
                .command("ALTER SYSTEM SET summarize_wal = on; SELECT pg_reload_conf();"));
        }
        let chosen = cluster::parent(&listing.proofs(), &self.system_identifier, self.timeline, server_major);
        chosen.and_then(|manifest| listing.get(&manifest.id)).ok_or_else(|| {
            full(refused("there is no backup that an incremental one could be made from".to_owned()))
                .detail("It takes one of this cluster and timeline that was proved, with all that it stands on.")
        })
    }
}

fn database(row: &Row) -> Result<(DatabaseName, u32), tokio_postgres::Error> {
    Ok((DatabaseName::observed(row.try_get::<_, String>(0)?), row.try_get(1)?))
}

const KEEP_LOG: &str = "SELECT pg_catalog.pg_create_physical_replication_slot($1, true, true)";

const LET_LOG_GO: &str = "SELECT pg_catalog.pg_drop_replication_slot($1)";

/// Has the server keep the write-ahead log from here on for as long as this session lives: it is copied last, and checkpoints would
/// remove it meanwhile. Where there is no slot left for that, it must do without.
pub(super) async fn keep_log(session: &Session, id: &BackupId) -> Option<String> {
    let name = format!("pgisle_{}", id.as_str().to_ascii_lowercase().replace('-', "_"));
    session.query(KEEP_LOG, &[&name]).await.ok().map(|_| name)
}

/// Lets the server remove it again. Should that fail, it does so when the session ends.
pub(super) async fn let_log_go(session: &Session, name: &str) {
    let _ = session.query(LET_LOG_GO, &[&name]).await;
}

/// A name as a DBA pastes it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The server's clock in seconds, rounded up.
pub(super) async fn clock(session: &Session) -> Result<u64, Diagnostic> {
    let attempt = async {
        let rows = session.query(CLOCK, &[]).await?;
        rows.first().map_or(Ok(0), |row| row.try_get::<_, i64>(0))
    };
    let seconds: Result<i64, tokio_postgres::Error> = attempt.await;
    let seconds = seconds.map_err(|error| query_diagnostic("the server's clock cannot be read", &error))?;
    Ok(u64::try_from(seconds).unwrap_or_default())
}
