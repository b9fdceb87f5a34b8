//! Reads the whole cluster into an [`Inventory`]: shared catalogs once, then one short connection per database.
//!
//! What is shared comes as JSON documents, built by the server, so that a catalog costs one round trip whatever its size; what is
//! inside of a database comes as plain rows, because there a query costs more than its answer. Each name is qualified. What the
//! administrator may not read becomes [`Readable::Hidden`] or an entry of [`Inventory::hidden`].

mod contents;
mod document;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt as _;
use pgisle_core::diagnostic::Diagnostic;
use pgisle_core::inventory::{Contents, Inventory, Readable};
use pgisle_core::name::{DatabaseName, RoleName};
use serde::de::DeserializeOwned;
use tokio_postgres::error::SqlState;

use super::connect::{ConnectError, describe, query_diagnostic};
use super::conninfo::ConnectOptions;
use super::session::Session;
use document::SharedDocuments;

/// What to look at besides the shared catalogs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// The databases to look into, each with the roles whose SELECT privileges there are of interest: the monitoring login, a split
    /// service's application role. A database that does not exist gets no entry in [`Inventory::contents`].
    pub databases: BTreeMap<DatabaseName, BTreeSet<RoleName>>,
    /// Whether to find out how much data they hold, which only matters when something is dropped.
    pub sizes: bool,
}

/// How far the inspection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// Databases that are done.
    pub done: usize,
    /// Databases in all.
    pub total: usize,
    /// The one that has just been done.
    pub database: &'a DatabaseName,
}

/// Why there is no inventory.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// No session.
    #[error("cannot inspect the server")]
    Connect(#[from] ConnectError),
    /// The server refused a query.
    #[error("cannot read {what}")]
    Query {
        /// What was to be read.
        what: &'static str,
        /// Why not.
        #[source]
        source: Box<tokio_postgres::Error>,
    },
    /// The answer makes no sense: a fault of pgisle's.
    #[error("cannot understand what the server says of {what}")]
    Document {
        /// What was read.
        what: &'static str,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl InspectError {
    /// The finding to show.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Connect(error) => error.diagnostic(),
            Self::Query { source, .. } => query_diagnostic(&self.to_string(), source),
            Self::Document { source, .. } => Diagnostic::error(pgisle_core::diagnostic::Code::BUG, self.to_string())
                .detail(format!("The document cannot be read: {source}.")),
        }
    }
}

/// Reads the cluster, with at most `parallelism` connections to databases at once.
///
/// # Errors
/// The server cannot be reached, is lost, or hides what nothing can be planned without.
pub async fn inspect(
    options: &ConnectOptions,
    request: &Request,
    parallelism: usize,
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<Inventory, InspectError> {
    let session = Session::connect(options).await?;
    let shared = inspect_shared(&session).await;
    session.close().await;
    inspect_inside(options, shared?, request, parallelism, progress).await
}

/// The same, when the shared catalogs have been read already.
///
/// # Errors
/// The server cannot be reached, or is lost.
pub async fn inspect_inside(
    options: &ConnectOptions,
    shared: Inventory,
    request: &Request,
    parallelism: usize,
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<Inventory, InspectError> {
    let contents = look_into_all(options, &shared, request, parallelism, progress).await?;
    Ok(Inventory { contents, ..shared })
}

async fn look_into_all(
    options: &ConnectOptions,
    inventory: &Inventory,
    request: &Request,
    parallelism: usize,
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<BTreeMap<DatabaseName, Readable<Contents>>, InspectError> {
    let wanted: Vec<_> = request.databases.iter().filter(|(name, _)| inventory.databases.contains_key(name)).collect();
    let total = wanted.len();
    let look = async |(name, readers): (&DatabaseName, &BTreeSet<RoleName>)| {
        (name.clone(), look_into(options, inventory, name, readers, request.sizes).await)
    };
    let mut looks = std::pin::pin!(futures_util::stream::iter(wanted).map(look).buffer_unordered(parallelism.max(1)));
    let mut contents = BTreeMap::new();
    while let Some((name, found)) = looks.next().await {
        let found = found?;
        progress(Progress { done: contents.len() + 1, total, database: &name });
        contents.insert(name, found);
    }
    Ok(contents)
}

/// How often, and how long in between, a full server is asked again. Sessions of others come and go.
const FULL_SERVER_PAUSES_MS: [u64; 4] = [50, 200, 500, 1000];

async fn look_into(
    options: &ConnectOptions,
    inventory: &Inventory,
    name: &DatabaseName,
    readers: &BTreeSet<RoleName>,
    sizes: bool,
) -> Result<Readable<Contents>, InspectError> {
    match inventory.databases.get(name) {
        Some(database) if database.is_invalid() => {
            return Ok(Readable::Hidden("it is the remains of an interrupted DROP DATABASE".to_owned()));
        }
        Some(database) if !database.allow_connections => {
            return Ok(Readable::Hidden("it does not accept connections".to_owned()));
        }
        _ => {}
    }
    let options = options.to_database(name);
    let mut pauses = FULL_SERVER_PAUSES_MS.iter();
    let session = loop {
        match Session::connect(&options).await {
            Ok(session) => break session,
            Err(ConnectError::Auth { detail, .. } | ConnectError::Database { detail, .. }) => return Ok(Readable::Hidden(detail)),
            Err(error @ ConnectError::TooMany { .. }) => match pauses.next() {
                Some(&pause) => tokio::time::sleep(Duration::from_millis(pause)).await,
                // A database's own limit says something of this database; a full server says something of the run.
                None if error.is_limit_of_one() => return Ok(Readable::Hidden("all its connections are taken".to_owned())),
                None => return Err(error.into()),
            },
            Err(error) => return Err(error.into()),
        }
    };
    let contents = async {
        let contents = inspect_contents(&session, readers).await?;
        let data_bytes = if sizes { Some(inspect_data_bytes(&session).await?) } else { None };
        Ok(Contents { data_bytes, ..contents })
    };
    let contents = contents.await;
    session.close().await;
    match contents {
        Ok(contents) => Ok(Readable::Known(contents)),
        Err(InspectError::Query { source, .. }) if source.as_db_error().is_some() && !is_lost(&source) => {
            Ok(Readable::Hidden(describe(&source)))
        }
        Err(error) => Err(error),
    }
}

fn is_lost(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| code.code().starts_with("57P") || code.code().starts_with("08"))
}

/// Reads the shared catalogs on a session that is there already, in one snapshot. [`Inventory::contents`] stays empty.
///
/// # Errors
/// The server is lost, or hides what nothing can be planned without.
pub async fn inspect_shared(session: &Session) -> Result<Inventory, InspectError> {
    let begun = session.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await;
    begun.map_err(|source| InspectError::Query { what: "the shared catalogs", source: Box::new(source) })?;
    let documents = SharedDocuments::read(session).await;
    // Also ends a transaction that failed; if the session is lost, the reading has said so.
    let ended = session.batch("COMMIT").await;
    let documents = documents?;
    ended.map_err(|source| InspectError::Query { what: "the shared catalogs", source: Box::new(source) })?;
    // These three read files, not catalogs, and clouds forbid them; a failure would end the transaction above.
    let (identity, extensions, locales) = futures_util::join!(
        json(session, "the cluster's identity", include_str!("identity.sql")),
        json(session, "the available extensions", include_str!("extensions.sql")),
        json(session, "the locales", include_str!("locales.sql")),
    );
    let mut inventory = documents.into_inventory();
    inventory.server.system_identifier = hideable(identity)?;
    inventory.available_extensions = hideable(extensions)?;
    inventory.locales = hideable(locales)?;
    Ok(inventory)
}

/// Reads what is inside of the database that a session is connected to, and what each of the readers cannot select from there. A
/// reader that does not exist gets no entry, and how much data there is stays open.
///
/// # Errors
/// The server's refusal, or its loss.
pub async fn inspect_contents(session: &Session, readers: &BTreeSet<RoleName>) -> Result<Contents, InspectError> {
    contents::read(session, readers).await
}

/// Reads how much data the database holds that a session is connected to: see [`Contents::data_bytes`].
///
/// # Errors
/// The server's refusal, or its loss.
pub async fn inspect_data_bytes(session: &Session) -> Result<u64, InspectError> {
    json(session, "the database's size", include_str!("data_bytes.sql")).await
}

async fn json<T: DeserializeOwned>(session: &Session, what: &'static str, sql: &'static str) -> Result<T, InspectError> {
    let text = session.query_text(sql).await.map_err(|source| InspectError::Query { what, source: Box::new(source) })?;
    parse(what, &text)
}

fn parse<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, InspectError> {
    serde_json::from_str(text).map_err(|source| InspectError::Document { what, source: source.into() })
}

/// A refusal becomes a value; everything else stays an error.
fn hideable<T>(result: Result<T, InspectError>) -> Result<Readable<T>, InspectError> {
    match result {
        Ok(value) => Ok(Readable::Known(value)),
        Err(InspectError::Query { source, .. }) if is_refusal(&source) => Ok(Readable::Hidden(describe(&source))),
        Err(error) => Err(error),
    }
}

fn is_refusal(error: &tokio_postgres::Error) -> bool {
    let unreadable = [
        SqlState::INSUFFICIENT_PRIVILEGE,
        SqlState::UNDEFINED_TABLE,
        SqlState::UNDEFINED_FUNCTION,
        SqlState::FEATURE_NOT_SUPPORTED,
        SqlState::UNDEFINED_FILE,
        SqlState::SYNTAX_ERROR,
        SqlState::INVALID_PARAMETER_VALUE,
    ];
    error.code().is_some_and(|code| unreadable.contains(code))
}
