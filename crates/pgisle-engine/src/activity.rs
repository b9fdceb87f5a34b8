//! Who is connected where, and how large the databases are: what `status` shows beside the inventory, and what a rotation waits
//! for.

use std::collections::BTreeMap;

use pgisle_core::diagnostic::Diagnostic;
use pgisle_core::inventory::Readable;
use pgisle_core::name::{DatabaseName, RoleName};
use serde::Serialize;

use crate::postgres::connect::query_diagnostic;
use crate::postgres::session::Session;

/// Who is connected, and how large the databases are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Activity {
    /// Sessions by database and login, in that order.
    pub sessions: Vec<Sessions>,
    /// Bytes on disk by database.
    pub bytes: BTreeMap<DatabaseName, Readable<u64>>,
}

/// The sessions of one login in one database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sessions {
    /// The database.
    pub database: DatabaseName,
    /// The login.
    pub role: RoleName,
    /// How many.
    pub count: u64,
}

impl Activity {
    /// Sessions in a database, whoever's they are.
    #[must_use]
    pub fn in_database(&self, database: &DatabaseName) -> u64 {
        self.sessions.iter().filter(|sessions| sessions.database == *database).map(|sessions| sessions.count).sum()
    }

    /// Sessions of a login, wherever they are.
    #[must_use]
    pub fn of_role(&self, role: &RoleName) -> u64 {
        self.sessions.iter().filter(|sessions| sessions.role == *role).map(|sessions| sessions.count).sum()
    }
}

// Of other logins' sessions an administrator without pg_read_all_stats sees the names and not the type, so that the server's own
// workers, which have neither database nor login, are told apart by that.
const SESSIONS: &str = "SELECT a.datname::text, a.usename::text, pg_catalog.count(*) \
    FROM pg_catalog.pg_stat_activity AS a \
    WHERE a.datname IS NOT NULL AND a.usename IS NOT NULL AND a.pid <> pg_catalog.pg_backend_pid() \
    AND (a.backend_type IS NULL OR a.backend_type = 'client backend') \
    GROUP BY 1, 2 ORDER BY 1, 2";

// pg_database_size refuses who may neither connect nor read statistics, and one refusal would end the whole query.
const BYTES: &str = "SELECT d.datname::text, CASE WHEN pg_catalog.has_database_privilege(d.oid, 'CONNECT') \
    OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') THEN pg_catalog.pg_database_size(d.oid) END \
    FROM pg_catalog.pg_database AS d WHERE d.datconnlimit <> -2 ORDER BY 1";

/// Looks once.
///
/// # Errors
/// The server was lost or refused.
pub async fn read(session: &Session) -> Result<Activity, Diagnostic> {
    let sessions = session.query(SESSIONS, &[]).await.map_err(|error| query_diagnostic("cannot read who is connected", &error))?;
    let bytes = session.query(BYTES, &[]).await.map_err(|error| query_diagnostic("cannot read the databases' sizes", &error))?;
    Ok(Activity {
        sessions: sessions
            .iter()
            .filter_map(|row| {
                Some(Sessions {
                    database: DatabaseName::new(row.get::<_, String>(0)).ok()?,
                    role: RoleName::new(row.get::<_, String>(1)).ok()?,
                    count: u64::try_from(row.get::<_, i64>(2)).unwrap_or_default(),
                })
            })
            .collect(),
        bytes: bytes
            .iter()
            .filter_map(|row| {
                let size = row.get::<_, Option<i64>>(1).map_or_else(
                    || Readable::Hidden("it takes CONNECT on the database, or pg_read_all_stats".to_owned()),
                    |bytes| Readable::Known(u64::try_from(bytes).unwrap_or_default()),
                );
                Some((DatabaseName::new(row.get::<_, String>(0)).ok()?, size))
            })
            .collect(),
    })
}
