//! Reading the shared database for a split.

use pgisle_core::inventory::Readable;
use pgisle_core::name::{DatabaseName, SchemaName};
use pgisle_core::split::Shared;
use pgisle_core::split::observed::{Objects, Replication, SharedStatement, Writer};
use pgisle_core::sql::split::remembered_statements;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::postgres::connect::describe;
use crate::postgres::{ConnectOptions, InspectError, Session};

/// How many statements of `pg_stat_statements` are looked at, the most frequent first.
const STATEMENTS_MAX: u32 = 2_000;

#[derive(Deserialize)]
struct ServerDocument {
    bytes: u64,
    can_be_template: bool,
    replication: Replication,
    sees_others: bool,
    statements_schema: Option<String>,
    writers: Vec<Writer>,
}

/// Reads the shared database: one connection, three queries.
///
/// # Errors
/// The database cannot be entered, or hides its catalogs.
pub async fn inspect_shared_database(connect: &ConnectOptions, database: &DatabaseName) -> Result<Shared, InspectError> {
    let session = Session::connect(&connect.to_database(database).for_purpose("split")).await?;
    let shared = read(&session, database).await;
    session.close().await;
    shared
}

async fn read(session: &Session, database: &DatabaseName) -> Result<Shared, InspectError> {
    let objects: Objects = document(session, include_str!("objects.sql"), "the shared database").await?;
    let server: ServerDocument = document(session, include_str!("server.sql"), "the server's replication settings").await?;
    let ServerDocument { bytes, can_be_template, replication, sees_others, statements_schema, writers } = server;
    let writers = if sees_others {
        Readable::Known(writers)
    } else {
        Readable::Hidden("the administrator sees only its own sessions".to_owned())
    };
    let statements = match statements_schema.map(SchemaName::observed) {
        Some(schema) => statements(session, &schema).await,
        None => Readable::Hidden("it is not installed in the shared database".to_owned()),
    };
    Ok(Shared { database: database.clone(), bytes, can_be_template, objects, replication, writers, statements })
}

async fn document<T: DeserializeOwned>(session: &Session, sql: &'static str, what: &'static str) -> Result<T, InspectError> {
    let text = session.query_typed_text(sql, &[]).await.map_err(|error| InspectError::Query { what, source: Box::new(error) })?;
    serde_json::from_str(&text).map_err(|source| InspectError::Document { what, source: source.into() })
}

/// The statements that were run in the shared database. Installed is not loaded: then the view exists and refuses.
async fn statements(session: &Session, schema: &SchemaName) -> Readable<Vec<SharedStatement>> {
    let query = remembered_statements(schema, STATEMENTS_MAX);
    match session.answer(&query).await {
        Ok(text) => match serde_json::from_str(&text.unwrap_or_default()) {
            Ok(statements) => Readable::Known(statements),
            Err(error) => Readable::Hidden(format!("the server's answer cannot be understood: {error}")),
        },
        Err(error) => Readable::Hidden(describe(&error)),
    }
}
