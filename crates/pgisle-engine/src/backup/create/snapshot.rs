//! A session that holds the moment a backup stands at, for `pg_dump` to see the same, and counts the rows itself.

use pgisle_core::backup::{Content, ExtensionThere, SnapshotThere};
use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::name::{ExtensionName, RoleName, SchemaName};
use pgisle_core::sql;
use tokio_postgres::Row;

use crate::clock;
use crate::postgres::connect::query_diagnostic;
use crate::postgres::{ConnectOptions, Session};

/// How many tables that differ are named.
const DIFFERENCES_SHOWN: usize = 5;

// Everything that a session sees after this is what it saw at its first query. Row security is switched off so that what it would
// hide is an error.
const BEGIN: &str =
    "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL statement_timeout = 0; SET LOCAL row_security = off";

const TRANSACTIONS: &str = "SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text";

const EXPORT: &str = "SELECT pg_catalog.pg_export_snapshot(), \
    (CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
        ELSE pg_catalog.pg_current_wal_insert_lsn() END)::pg_catalog.text, \
    pg_catalog.current_setting('server_version'), \
    pg_catalog.pg_encoding_to_char(d.encoding)::pg_catalog.text, d.datcollate::pg_catalog.text, \
    pg_catalog.pg_database_size(d.oid) \
    FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()";

// plpgsql comes with every database.
const EXTENSIONS: &str = "SELECT e.extname::pg_catalog.text, e.extversion, n.nspname::pg_catalog.text \
    FROM pg_catalog.pg_extension AS e JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace \
    WHERE e.extname <> 'plpgsql' ORDER BY 1";

// Tables of extensions are the extensions' to make, but for those rows that they declare to be the user's.
const TABLES: &str = "SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text \
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
    WHERE c.relkind = 'r' AND c.relpersistence <> 't' \
        AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d \
            WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid \
                AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e') \
    ORDER BY 1, 2";

/// A moment of a database that is held.
pub(super) struct Snapshot {
    session: Session,
    /// The name under which another session takes it over.
    pub(super) name: String,
    pub(super) there: SnapshotThere,
    pub(super) server_version: String,
    pub(super) encoding: String,
    pub(super) collation: String,
    /// The size on disk.
    pub(super) database_bytes: u64,
    pub(super) extensions: Vec<ExtensionThere>,
}

/// A session that is about to hold a moment.
pub(super) struct Opening {
    session: Session,
    role: Option<RoleName>,
    subject: String,
}

impl Opening {
    /// Connects. `role` is who must be acted as to read everything, where the administrator is no superuser.
    pub(super) async fn connect(connect: &ConnectOptions, role: Option<&RoleName>) -> Result<Self, Diagnostic> {
        let session = Box::pin(Session::connect(connect)).await.map_err(|error| error.diagnostic())?;
        Ok(Self { session, role: role.cloned(), subject: connect.database.to_string() })
    }

    /// Takes a moment, in place of the one before, and gives the transactions that were seen: equal ones mean that two databases of
    /// a cluster were looked at between the same two commits.
    pub(super) async fn take(&mut self) -> Result<String, Diagnostic> {
        let attempt = async {
            self.session.batch("ROLLBACK").await?;
            self.session.batch(BEGIN).await?;
            let rows = self.session.query(TRANSACTIONS, &[]).await?;
            rows.first().map_or_else(|| Ok(String::new()), |row| row.try_get(0))
        };
        attempt.await.map_err(|error| failed("a snapshot cannot be taken", &self.subject, &error))
    }

    /// Keeps the moment that was taken last.
    pub(super) async fn keep(mut self, transactions: String) -> Result<Snapshot, Diagnostic> {
        let subject = self.subject.clone();
        let attempt = async {
            let facts = self.session.query(EXPORT, &[]).await?;
            let extensions = self.session.query(EXTENSIONS, &[]).await?;
            // Last: a database's size is the administrator's to see.
            if let Some(role) = &self.role {
                self.session.run(sql::set_local_role(role).expose()).await?;
            }
            Ok((facts, extensions))
        };
        let (facts, extensions) = attempt.await.map_err(|error| failed("a snapshot cannot be kept", &subject, &error))?;
        let read = |rows: &[Row]| -> Result<_, tokio_postgres::Error> {
            let row = rows.first();
            let text = |index: usize| row.map_or_else(|| Ok(String::new()), |row| row.try_get::<_, String>(index));
            let bytes = row.map_or(Ok(0_i64), |row| row.try_get(5))?;
            Ok((text(0)?, text(1)?, text(2)?, text(3)?, text(4)?, u64::try_from(bytes).unwrap_or_default()))
        };
        let (name, lsn, server_version, encoding, collation, database_bytes) =
            read(&facts).map_err(|error| failed("a snapshot cannot be kept", &subject, &error))?;
        let extensions = extensions.iter().map(extension).collect::<Result<_, _>>();
        let extensions = extensions.map_err(|error| failed("the extensions cannot be read", &subject, &error))?;
        let there = SnapshotThere { taken: clock::now(), lsn, transactions };
        let session = self.session;
        Ok(Snapshot { session, name, there, server_version, encoding, collation, database_bytes, extensions })
    }
}

fn extension(row: &Row) -> Result<ExtensionThere, tokio_postgres::Error> {
    Ok(ExtensionThere {
        name: ExtensionName::observed(row.try_get::<_, String>(0)?),
        version: row.try_get(1)?,
        schema: SchemaName::observed(row.try_get::<_, String>(2)?),
    })
}

/// The rows of a table as the server counts them.
#[derive(Debug)]
pub(super) struct Counted {
    schema: String,
    table: String,
    rows: u64,
}

impl Snapshot {
    /// Counts the rows of every table that a dump has.
    pub(super) async fn count(&self) -> Result<Vec<Counted>, Diagnostic> {
        let tables = self.session.query(TABLES, &[]).await.map_err(|error| failed("the tables cannot be listed", "", &error))?;
        let mut counted = Vec::with_capacity(tables.len());
        for row in &tables {
            let name = (row.try_get::<_, String>(0), row.try_get::<_, String>(1));
            let (Ok(schema), Ok(table)) = name else { continue };
            let statement = sql::count_rows(&schema, &table);
            let answer = self.session.answer(&statement).await;
            let answer = answer.map_err(|error| failed("a table's rows cannot be counted", &table, &error))?;
            let rows = answer.and_then(|count| count.parse().ok()).unwrap_or_default();
            counted.push(Counted { schema, table, rows });
        }
        Ok(counted)
    }

    /// Lets go of the moment.
    pub(super) async fn close(self) {
        self.session.close().await;
    }
}

/// In what the archive is not what the server counted; none when it is.
pub(super) fn difference(counted: &[Counted], content: &Content) -> Option<String> {
    let mut differences = Vec::new();
    for Counted { schema, table, rows } in counted {
        let there = content.tables.binary_search_by(|one| (&one.schema, &one.name).cmp(&(schema, table)));
        match there.ok().map(|place| content.tables[place].rows) {
            Some(found) if found == *rows => {}
            Some(found) => differences.push(format!("table \"{schema}\".\"{table}\" has {rows} rows, and the dump has {found}")),
            None => differences.push(format!("table \"{schema}\".\"{table}\" is not in the dump")),
        }
    }
    let more = differences.len().saturating_sub(DIFFERENCES_SHOWN);
    differences.truncate(DIFFERENCES_SHOWN);
    if more > 0 {
        differences.push(format!("{more} more tables differ"));
    }
    (!differences.is_empty()).then(|| differences.join("; "))
}

fn failed(what: &str, subject: &str, error: &tokio_postgres::Error) -> Diagnostic {
    let diagnostic = query_diagnostic(what, error);
    let is_privilege = error.code().is_some_and(|code| code.code() == "42501");
    let diagnostic = if is_privilege { Diagnostic { code: Code::BACKUP_DUMP, ..diagnostic } } else { diagnostic };
    if subject.is_empty() { diagnostic } else { diagnostic.about(format!("\"{subject}\"")) }
}
