//! Who is connected where, and how large the databases are: what `status` shows beside the inventory, and what a rotation waits
//! for.

use std::collections::BTreeMap;

use pgisle_core::diagnostic::Diagnostic;
use pgisle_core::inventory::Readable;
use pgisle_core::name::{DatabaseName, RoleName};
use pgisle_core::status::{Activity, Sessions};
use tokio_postgres::Row;

use crate::postgres::connect::query_diagnostic;
use crate::postgres::session::Session;

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
    let sessions = read_sessions(session).await?;
    Ok(Activity { sessions, bytes: bytes(session).await? })
}

/// How large the databases are.
pub(crate) async fn bytes(session: &Session) -> Result<BTreeMap<DatabaseName, Readable<u64>>, Diagnostic> {
    let bytes = read_rows(session, BYTES, read_bytes).await;
    bytes.map_err(|error| query_diagnostic("cannot read the databases' sizes", &error))
}

/// Looks who is connected, which takes the server some milliseconds, and no more of it.
///
/// # Errors
/// The server was lost or refused.
pub(crate) async fn read_sessions(session: &Session) -> Result<Vec<Sessions>, Diagnostic> {
    let sessions = read_rows(session, SESSIONS, sessions).await;
    sessions.map_err(|error| query_diagnostic("cannot read who is connected", &error))
}

async fn read_rows<T, C: FromIterator<T>>(
    session: &Session,
    sql: &'static str,
    read: fn(&Row) -> Result<T, tokio_postgres::Error>,
) -> Result<C, tokio_postgres::Error> {
    session.query(sql, &[]).await?.iter().map(read).collect()
}

fn sessions(row: &Row) -> Result<Sessions, tokio_postgres::Error> {
    Ok(Sessions {
        database: DatabaseName::observed(row.try_get::<_, String>(0)?),
        role: RoleName::observed(row.try_get::<_, String>(1)?),
        count: u64::try_from(row.try_get::<_, i64>(2)?).unwrap_or_default(),
    })
}

fn read_bytes(row: &Row) -> Result<(DatabaseName, Readable<u64>), tokio_postgres::Error> {
    let size = row.try_get::<_, Option<i64>>(1)?.map_or_else(
        || Readable::Hidden("it takes CONNECT on the database, or pg_read_all_stats".to_owned()),
        |bytes| Readable::Known(u64::try_from(bytes).unwrap_or_default()),
    );
    Ok((DatabaseName::observed(row.try_get::<_, String>(0)?), size))
}
