//! Where the load of a failover writes: a schema of its own in each service's database, gone afterwards, whoever removes it.

use std::collections::{BTreeMap, BTreeSet};

use pgisle_core::diagnostic::Diagnostic;
use pgisle_core::failover::Rows;
use pgisle_core::name::{DatabaseName, RoleName};
use pgisle_core::sql::failover::{DROP_PLACE, FIND_PLACE, READ_ROWS, let_in, make_place};

use crate::local::LocalError;
use crate::postgres::connect::query_diagnostic;
use crate::postgres::{ConnectOptions, Session};

const DATABASES: &str = "SELECT d.datname::text FROM pg_catalog.pg_database AS d \
    WHERE d.datallowconn AND NOT d.datistemplate AND d.datconnlimit <> -2 ORDER BY 1";

/// The database that a service's alias leads to, and who is to write there.
pub(super) struct Guest {
    pub(super) database: DatabaseName,
    pub(super) roles: Vec<RoleName>,
}

/// Makes the schema in each database.
pub(super) async fn make(connect: &ConnectOptions, guests: &[&Guest]) -> Result<(), Diagnostic> {
    let databases: BTreeSet<&DatabaseName> = guests.iter().map(|guest| &guest.database).collect();
    for database in databases {
        let mut session = open(connect, database).await?;
        let failed = |error| query_diagnostic("the tables to write to cannot be made", &error);
        let roles: BTreeSet<&RoleName> =
            guests.iter().filter(|guest| guest.database == *database).flat_map(|guest| &guest.roles).collect();
        session.run(make_place().expose()).await.map_err(failed)?;
        for role in roles {
            session.run(let_in(role).expose()).await.map_err(failed)?;
        }
        session.close().await;
    }
    Ok(())
}

/// What is there, in all of these databases.
pub(super) async fn read(connect: &ConnectOptions, guests: &[&Guest]) -> Result<Rows, Diagnostic> {
    let failed = |error| query_diagnostic("the tables that were written to cannot be read", &error);
    let databases: BTreeSet<&DatabaseName> = guests.iter().map(|guest| &guest.database).collect();
    let mut rows = Rows::default();
    for database in databases {
        let session = open(connect, database).await?;
        for row in session.query(READ_ROWS, &[]).await.map_err(failed)? {
            let times = u64::try_from(row.try_get::<_, i64>(2).map_err(failed)?).unwrap_or_default();
            let table: &mut BTreeMap<i64, u64> = if row.try_get(0).map_err(failed)? { &mut rows.keyed } else { &mut rows.blind };
            *table.entry(row.try_get(1).map_err(failed)?).or_default() += times;
        }
        session.close().await;
    }
    Ok(rows)
}

/// Removes the schema from every database that has it.
pub(crate) async fn sweep(connect: &ConnectOptions) -> Result<(), LocalError> {
    let refused = |diagnostic: Diagnostic| LocalError::Sweep(Box::new(diagnostic));
    let failed = |error| refused(query_diagnostic("what a failover made cannot be removed", &error));
    let session = open_maintenance(connect).await.map_err(refused)?;
    let databases = session.query(DATABASES, &[]).await.map_err(failed)?;
    session.close().await;
    for row in databases {
        let session =
            open(connect, &DatabaseName::observed(row.try_get::<_, String>(0).map_err(failed)?)).await.map_err(refused)?;
        if !session.query(FIND_PLACE, &[]).await.map_err(failed)?.is_empty() {
            session.batch(DROP_PLACE).await.map_err(failed)?;
        }
        session.close().await;
    }
    Ok(())
}

pub(super) async fn open(connect: &ConnectOptions, database: &DatabaseName) -> Result<Session, Diagnostic> {
    Box::pin(Session::connect(&connect.to_database(database))).await.map_err(|error| error.diagnostic())
}

pub(super) async fn open_maintenance(connect: &ConnectOptions) -> Result<Session, Diagnostic> {
    open(connect, &connect.database).await
}
