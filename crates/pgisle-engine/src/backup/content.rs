//! What a live database holds, read row by row as `pg_dump` would read it, in one snapshot.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use futures_util::TryStreamExt as _;
use futures_util::future::try_join_all;
use pgisle_core::backup::{
    BinaryReader, Content, CutRow, LargeObjects, RowReader, RowSum, SequenceContent, TableContent, large_object_row,
};
use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::name::RoleName;
use pgisle_core::sql::content::{RELATIONS, TableToRead, act_as, copy_out, sequence_state, set_snapshot};
use pgisle_core::sql::split::copy_rows_out;

use crate::postgres::connect::query_diagnostic;
use crate::postgres::{ConnectError, ConnectOptions, Session};

/// What `pg_dump` sets, and what pgisle adds when it starts `pg_dump`: the text of a row must be the same on both sides.
const SETTINGS: &str = "SET LOCAL row_security = off; SET LOCAL extra_float_digits = 3; SET LOCAL intervalstyle = postgres; \
    SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL timezone = 'UTC'; SET LOCAL bytea_output = hex; SET LOCAL statement_timeout = 0; \
    SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL synchronize_seqscans = off; SET LOCAL search_path = ''";

/// Progress is told when so many bytes have come.
const TOLD_BYTES: u64 = 1 << 20;

/// The order of the columns of some tables, by schema and table.
pub type Columns = BTreeMap<(String, String), Vec<String>>;

/// What is read, and how.
#[derive(Clone, Copy)]
pub struct Reading<'a> {
    /// How to reach the database.
    pub connect: &'a ConnectOptions,
    /// The role to read as, when the login itself may not read everything.
    pub act_as: Option<&'a RoleName>,
    /// A snapshot that another session holds open; without it, one is taken.
    pub snapshot: Option<&'a str>,
    /// In which order a table's columns come, where it is not that of the catalog: what a dump restores into a child of another
    /// table may stand in another order than it was dumped in.
    pub columns: &'a Columns,
    /// How many tables are read at once, each on a session of its own.
    pub parallelism: usize,
    /// Only these tables and sequences, by schema and name; everything, when none are given.
    pub only: Option<&'a BTreeSet<(String, String)>>,
    /// These tables' rows come in their binary form, which costs half of the time. Their digests are others than a dump's.
    pub binary: Option<&'a BTreeSet<(String, String)>>,
}

/// Why the content is not known.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// No session.
    #[error("the content cannot be read")]
    Connect(#[source] ConnectError),
    /// The server refused.
    #[error("{what} cannot be read")]
    Query {
        /// What.
        what: String,
        /// The server's or the library's reason.
        #[source]
        source: Box<tokio_postgres::Error>,
    },
    /// The rows of a table did not come to their end.
    #[error("table \"{schema}\".\"{table}\" cannot be read to its end")]
    Cut {
        /// Its schema.
        schema: String,
        /// Its name.
        table: String,
        /// How it was seen.
        #[source]
        source: CutRow,
    },
}

impl ContentError {
    /// The finding to show.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Connect(error) => error.diagnostic(),
            Self::Query { source, .. } => query_diagnostic(&self.to_string(), source),
            Self::Cut { .. } => Diagnostic::error(Code::CONNECT_LOST, self.to_string()),
        }
    }

    pub(crate) fn query(what: impl Into<String>) -> impl FnOnce(tokio_postgres::Error) -> Self {
        let what = what.into();
        move |source| Self::Query { what, source: Box::new(source) }
    }
}

/// A table or sequence that is to be read.
struct Relation {
    schema: String,
    name: String,
    is_sequence: bool,
    condition: String,
    columns: Vec<String>,
}

/// Reads everything. `progress` hears of the bytes of rows that have come, again and again.
///
/// # Errors
/// See [`ContentError`].
pub async fn content(reading: &Reading<'_>, progress: &(dyn Fn(u64) + Sync)) -> Result<Content, ContentError> {
    let leader = open(reading, reading.snapshot).await?;
    let snapshot = match reading.snapshot {
        Some(snapshot) => snapshot.to_owned(),
        None => {
            let exported = leader.query("SELECT pg_catalog.pg_export_snapshot()", &[]).await;
            let rows = exported.map_err(ContentError::query("the snapshot"))?;
            rows.first().map_or(Ok(String::new()), |row| row.try_get(0)).map_err(ContentError::query("the snapshot"))?
        }
    };
    let relations = relations(&leader, reading).await?;
    let (sequences, tables): (Vec<_>, Vec<_>) = relations.into_iter().partition(|relation| relation.is_sequence);
    // Others take the tables while this one, too, has sequences and large objects to read.
    let workers = reading.parallelism.max(1).min(tables.len().max(1));
    let queue = Queue { tables: Mutex::new(tables.into()), bytes: Mutex::new(0), binary: reading.binary, progress };
    let helpers = try_join_all((1..workers).map(async |_| {
        let session = open(reading, Some(&snapshot)).await?;
        let read = queue.work(&session).await;
        session.close().await;
        read
    }));
    let own = async {
        let sequences = read_sequences(&leader, sequences).await?;
        let large_objects = read_large_objects(&leader).await?;
        Ok((sequences, large_objects, queue.work(&leader).await?))
    };
    let (helped, (mut sequences, large_objects, mut tables)) = futures_util::try_join!(helpers, own)?;
    leader.close().await;
    tables.extend(helped.into_iter().flatten());
    tables.sort();
    sequences.sort();
    Ok(Content { tables, sequences, large_objects })
}

/// Reads what costs next to nothing: the names of the tables, and the sequences. The tables have no rows in it.
///
/// # Errors
/// See [`ContentError`].
pub async fn outline(reading: &Reading<'_>) -> Result<Content, ContentError> {
    let session = open(reading, reading.snapshot).await?;
    let (sequences, tables): (Vec<_>, Vec<_>) =
        relations(&session, reading).await?.into_iter().partition(|relation| relation.is_sequence);
    let mut sequences = read_sequences(&session, sequences).await?;
    session.close().await;
    let none = RowSum::default();
    let table = |Relation { schema, name, .. }| TableContent { rows: 0, digest: none.digest(), schema, name };
    let mut tables: Vec<TableContent> = tables.into_iter().map(table).collect();
    tables.sort();
    sequences.sort();
    Ok(Content { tables, sequences, large_objects: LargeObjects { count: 0, bytes: 0, digest: none.digest() } })
}

/// Begins to read: a session whose transaction sees the snapshot, and gives rows the same text everywhere.
pub(crate) async fn open(reading: &Reading<'_>, snapshot: Option<&str>) -> Result<Session, ContentError> {
    let mut session = Session::connect(reading.connect).await.map_err(ContentError::Connect)?;
    let begun = async {
        session.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        if let Some(snapshot) = snapshot {
            session.run(set_snapshot(snapshot).expose()).await?;
        }
        session.batch(SETTINGS).await?;
        if let Some(role) = reading.act_as {
            session.run(act_as(role).expose()).await?;
        }
        Ok(())
    };
    begun.await.map_err(ContentError::query("the content"))?;
    Ok(session)
}

async fn relations(session: &Session, reading: &Reading<'_>) -> Result<Vec<Relation>, ContentError> {
    let failed = || ContentError::query("the list of tables");
    let rows = session.query(RELATIONS, &[]).await.map_err(failed())?;
    let relation = |row: &tokio_postgres::Row| {
        Ok(Relation {
            schema: row.try_get(0)?,
            name: row.try_get(1)?,
            is_sequence: row.try_get(2)?,
            condition: row.try_get(3)?,
            columns: row.try_get(5)?,
        })
    };
    let mut relations = rows.iter().map(relation).collect::<Result<Vec<_>, _>>().map_err(failed())?;
    if let Some(only) = reading.only {
        relations.retain(|relation| only.contains(&(relation.schema.clone(), relation.name.clone())));
    }
    for relation in &mut relations {
        let key = (relation.schema.clone(), relation.name.clone());
        if let Some(order) = reading.columns.get(&key) {
            relation.columns.sort_by_key(|column| order.iter().position(|known| known == column).unwrap_or(usize::MAX));
        }
    }
    Ok(relations)
}

/// The tables that nobody has taken yet, the largest first.
struct Queue<'a> {
    tables: Mutex<VecDeque<Relation>>,
    bytes: Mutex<u64>,
    binary: Option<&'a BTreeSet<(String, String)>>,
    progress: &'a (dyn Fn(u64) + Sync),
}

impl Queue<'_> {
    async fn work(&self, session: &Session) -> Result<Vec<TableContent>, ContentError> {
        let mut read = Vec::new();
        while let Some(table) = self.next() {
            read.push(self.table(session, table).await?);
        }
        Ok(read)
    }

    fn next(&self) -> Option<Relation> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    async fn table(&self, session: &Session, relation: Relation) -> Result<TableContent, ContentError> {
        let Relation { schema, name, columns, condition, .. } = relation;
        let key = (schema, name);
        let is_binary = condition.is_empty() && self.binary.is_some_and(|tables| tables.contains(&key));
        let (schema, name) = key;
        let failed = || ContentError::query(format!("table \"{schema}\".\"{name}\""));
        let statement = match is_binary {
            true => copy_rows_out(&schema, &name, &columns, true),
            false => copy_out(&TableToRead { schema: &schema, name: &name, columns: &columns, condition: &condition }),
        };
        let (mut lines, mut binary) = (RowReader::default(), BinaryReader::default());
        let mut pieces = std::pin::pin!(session.copy_out(&statement).await.map_err(failed())?);
        // There is a piece for each row, so nothing is done for each that need not be: neither a text nor a lock.
        let mut came = 0;
        while let Some(piece) = pieces.try_next().await.map_err(|error| failed()(error))? {
            if is_binary {
                binary.feed(&piece)
            } else {
                lines.feed(&piece)
            }
            came += piece.len() as u64;
            if came >= TOLD_BYTES {
                self.came(std::mem::take(&mut came));
            }
        }
        self.came(came);
        match if is_binary { binary.finish() } else { lines.finish() } {
            Ok(sum) => Ok(TableContent { rows: sum.rows(), digest: sum.digest(), schema, name }),
            Err(source) => Err(ContentError::Cut { schema, table: name, source }),
        }
    }

    fn came(&self, bytes: u64) {
        let mut all = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *all;
        *all += bytes;
        if before != *all {
            (self.progress)(*all);
        }
    }
}

async fn read_sequences(session: &Session, sequences: Vec<Relation>) -> Result<Vec<SequenceContent>, ContentError> {
    let mut read = Vec::with_capacity(sequences.len());
    for Relation { schema, name, .. } in sequences {
        let state = session.answer(&sequence_state(&schema, &name)).await;
        let state = state.map_err(ContentError::query(format!("sequence \"{schema}\".\"{name}\"")))?.unwrap_or_default();
        let (last_value, is_called) = state.split_once(' ').unwrap_or_default();
        read.push(SequenceContent {
            last_value: last_value.parse().unwrap_or_default(),
            is_called: is_called == "true",
            schema,
            name,
        });
    }
    Ok(read)
}

async fn read_large_objects(session: &Session) -> Result<LargeObjects, ContentError> {
    let failed = || ContentError::query("the large objects");
    let numbers = session.query("SELECT oid FROM pg_catalog.pg_largeobject_metadata ORDER BY oid", &[]).await.map_err(failed())?;
    let (mut sum, mut bytes) = (RowSum::default(), 0);
    for row in &numbers {
        let oid: u32 = row.try_get(0).map_err(failed())?;
        let rows = session.query("SELECT pg_catalog.lo_get($1)", &[&oid]).await.map_err(failed())?;
        let object: Vec<u8> = rows.first().map_or(Ok(Vec::new()), |row| row.try_get(0)).map_err(failed())?;
        bytes += object.len() as u64;
        sum.add(&large_object_row(oid, &object));
    }
    Ok(LargeObjects { count: sum.rows(), bytes, digest: sum.digest() })
}
