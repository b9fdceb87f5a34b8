//! What a split asks the server, and what it tells it.

use std::collections::BTreeSet;

use super::{Statement, quote_identifier, quote_literal};
use crate::name::{DatabaseName, RoleName, SchemaName, ServiceName};
use crate::split::Lsn;
use crate::split::change::{Field, Old, Table};

/// Where the journal, the gates and the fence are, in the shared database.
pub const JOURNAL_SCHEMA: &str = "pgisle_split";

/// The trigger on a table that moves.
pub const FENCE_TRIGGER: &str = "pgisle_split_fence";

/// What the gate's sequence says: nothing yet or 1 is open, 2 closed, and what is above 15 is the number of the transaction that decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Everyone writes as ever.
    Open,
    /// Nobody writes.
    Closed,
    /// A transaction on this server decides, whichever database it is in: while it is open nobody writes; the gate is closed when
    /// it commits, and open when it does not, be that because everything that had to do with it was killed.
    DecidedBy(u64),
}

impl Gate {
    fn number(self) -> i64 {
        match self {
            Self::Open => 1,
            Self::Closed => 2,
            // Setting a server up takes hundreds of transactions.
            Self::DecidedBy(transaction) => i64::try_from(transaction).unwrap_or(2),
        }
    }
}

/// The number of the transaction at hand, as [`Gate::DecidedBy`] takes it. The log is told of the transaction: behind a crash, the server
/// gives the number of one that had written nothing to another.
pub const TRANSACTION_NUMBER: &str = "SELECT pg_catalog.pg_current_xact_id()::pg_catalog.text, \
    pg_catalog.pg_logical_emit_message(true, 'pgisle', '')";

/// What has become of a transaction, by its number: `in progress`, `committed`, `aborted`, or NULL when it is too old to be known.
pub const FATE: &str = "SELECT pg_catalog.pg_xact_status($1::pg_catalog.text::pg_catalog.xid8)";

/// The statements that were run in this database, the most frequent first, as JSON. `schema` is where `pg_stat_statements` is.
#[must_use]
pub fn remembered_statements(schema: &SchemaName, at_most: u32) -> Statement {
    Statement::new(
        "SELECT COALESCE(pg_catalog.json_agg(t), '[]')::pg_catalog.text FROM (\
         SELECT s.query, pg_catalog.sum(s.calls)::pg_catalog.int8 AS calls FROM ",
    )
    .ident(schema)
    .sql(
        ".pg_stat_statements AS s \
         WHERE s.dbid = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()) \
         AND s.query OPERATOR(pg_catalog.~*) '^\\s*(with|select|insert|update|delete|merge)' \
         GROUP BY s.query ORDER BY 2 DESC LIMIT ",
    )
    .number(i64::from(at_most))
    .sql(") AS t")
}

/// The journal's schema, its table and the fence's function. The function is the administrator's, looks at nothing that others own,
/// and costs a look at a sequence as long as the gate is open.
pub const JOURNAL: &[&str] = &[
    "CREATE SCHEMA IF NOT EXISTS pgisle_split",
    "COMMENT ON SCHEMA pgisle_split IS 'pgisle keeps the journal of its splits here'",
    // Whoever owns a table that moves puts the fence's trigger on it.
    "GRANT USAGE ON SCHEMA pgisle_split TO PUBLIC",
    "CREATE TABLE IF NOT EXISTS pgisle_split.job (\
       service pg_catalog.text PRIMARY KEY, document pg_catalog.text NOT NULL, place pg_catalog.pg_lsn)",
    FENCE,
];

const FENCE: &str = include_str!("fence.sql");

/// What a fence needs in a database that has no journal.
pub const FENCE_ALONE: &[&str] = &[
    "CREATE SCHEMA IF NOT EXISTS pgisle_split",
    "COMMENT ON SCHEMA pgisle_split IS 'pgisle keeps the fence of a rollback here'",
    "GRANT USAGE ON SCHEMA pgisle_split TO PUBLIC",
    FENCE,
];

/// Makes a service's gate, and the sequence that counts who comes too late. Both stay as they are when they are there.
#[must_use]
pub fn create_gate(service: &ServiceName) -> [Statement; 2] {
    let create = |name: &str| {
        let create = Statement::new("CREATE SEQUENCE IF NOT EXISTS pgisle_split.");
        create.push(&quote_identifier(name)).sql(" AS pg_catalog.int8 MINVALUE 1 START 1 NO CYCLE")
    };
    [create(&gate_name(service)), create(&late_name(service))]
}

/// Opens or closes a service's gate. It takes effect at once, for everyone, whatever becomes of the transaction.
#[must_use]
pub fn set_gate(service: &ServiceName, gate: Gate) -> Statement {
    let gate_name = format!("{JOURNAL_SCHEMA}.{}", quote_identifier(&gate_name(service)));
    Statement::new("SELECT pg_catalog.setval(").literal(&gate_name).sql("::pg_catalog.regclass, ").number(gate.number()).sql(")")
}

/// Where a service's gate stands, as [`Gate`] has it; and how many attempts came too late; as `gate late`.
#[must_use]
pub fn gate_state(service: &ServiceName) -> Statement {
    let last = |statement: Statement, name: &str| {
        let name = format!("{JOURNAL_SCHEMA}.{}", quote_identifier(name));
        let statement = statement.sql("COALESCE(pg_catalog.pg_sequence_last_value(pg_catalog.to_regclass(").literal(&name);
        statement.sql(")), 0)")
    };
    let gate = last(Statement::new("SELECT "), &gate_name(service)).sql(" || ' ' || ");
    last(gate, &late_name(service))
}

/// Writes down exactly how many attempts came too late. A sequence's log is ahead of it, so that after a crash of the server it would
/// look as if there had been up to 32 more.
#[must_use]
pub fn pin_late_at(service: &ServiceName, attempts: i64) -> Statement {
    set_sequence(JOURNAL_SCHEMA, &late_name(service), attempts, true)
}

/// Who has come too late and is still connected, as JSON. The fence has each of them hold an advisory lock whose number says how
/// often.
#[must_use]
pub fn late_sessions(service: &ServiceName) -> Statement {
    let gate = format!("{JOURNAL_SCHEMA}.{}", quote_identifier(&gate_name(service)));
    Statement::new(
        "SELECT COALESCE(pg_catalog.json_agg(t), '[]')::pg_catalog.text FROM (\
         SELECT a.usename AS role, a.application_name AS application, COALESCE(pg_catalog.host(a.client_addr), 'local') AS address, \
         pg_catalog.sum(l.objid::pg_catalog.int8)::pg_catalog.int8 AS attempts, pg_catalog.count(*) AS sessions \
         FROM pg_catalog.pg_locks AS l JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid \
         WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.classid = pg_catalog.to_regclass(",
    )
    .literal(&gate)
    .sql(")::pg_catalog.oid AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d \
          WHERE d.datname = pg_catalog.current_database()) GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3) AS t")
}

fn gate_name(service: &ServiceName) -> String {
    format!("gate_{service}")
}

fn late_name(service: &ServiceName) -> String {
    format!("late_{service}")
}

/// Puts the fence on a table, so that it also holds for sessions that pass over triggers.
#[must_use]
pub fn create_fence(schema: &str, table: &str, service: &ServiceName, database: &DatabaseName) -> [Statement; 2] {
    let gate = format!("{JOURNAL_SCHEMA}.{}", quote_identifier(&gate_name(service)));
    let late = format!("{JOURNAL_SCHEMA}.{}", quote_identifier(&late_name(service)));
    let create = Statement::new("CREATE OR REPLACE TRIGGER pgisle_split_fence BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON ")
        .table(schema, table)
        .sql(" FOR EACH STATEMENT EXECUTE FUNCTION pgisle_split.fence(")
        .literals(&[database.as_str().to_owned(), gate, late])
        .sql(")");
    let always = Statement::new("ALTER TABLE ").table(schema, table).sql(" ENABLE ALWAYS TRIGGER pgisle_split_fence");
    [create, always]
}

/// Takes the fence off a table.
#[must_use]
pub fn drop_fence(schema: &str, table: &str) -> Statement {
    Statement::new("DROP TRIGGER IF EXISTS pgisle_split_fence ON ").table(schema, table)
}

/// The tables of this database that have a fence: schema, name, and whether it holds for everyone.
pub const FENCED: &str = "SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text, t.tgenabled = 'A' FROM pg_catalog.pg_trigger AS t \
    JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
    WHERE t.tgname = 'pgisle_split_fence' AND NOT t.tgisinternal ORDER BY 1, 2";

/// Lets a service's owner role into the shared database, for as long as its tables are there: the service can use its own logins
/// before its home moves, and has nothing to change when it does.
#[must_use]
pub fn grant_entry(shared: &DatabaseName, schemas: &BTreeSet<String>, role: &RoleName) -> Vec<Statement> {
    let connect = Statement::new("GRANT CONNECT, TEMPORARY ON DATABASE ").ident(shared).sql(" TO ").ident(role);
    let usage = |schema: &String| Statement::new("GRANT USAGE ON SCHEMA ").push(&quote_identifier(schema)).sql(" TO ").ident(role);
    std::iter::once(connect).chain(schemas.iter().map(usage)).collect()
}

/// Takes that back.
#[must_use]
pub fn revoke_entry(shared: &DatabaseName, role: &RoleName) -> Statement {
    Statement::new("REVOKE CONNECT, TEMPORARY ON DATABASE ").ident(shared).sql(" FROM ").ident(role)
}

/// Lets a role write to a table.
#[must_use]
pub fn grant_table(schema: &str, table: &str, role: &RoleName) -> Statement {
    let grant = Statement::new("GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON TABLE ").table(schema, table);
    grant.sql(" TO ").ident(role)
}

/// Lets a role take numbers from a sequence.
#[must_use]
pub fn grant_sequence(schema: &str, name: &str, role: &RoleName) -> Statement {
    Statement::new("GRANT SELECT, USAGE, UPDATE ON SEQUENCE ").table(schema, name).sql(" TO ").ident(role)
}

/// Takes triggers, rules, policies and row security off every table of the role at hand.
pub const STRIP: &str = include_str!("strip.sql");

/// Writes the journal of a service.
#[must_use]
pub fn write_job(service: &ServiceName, document: &str) -> Statement {
    Statement::new("INSERT INTO pgisle_split.job (service, document) VALUES (")
        .literal(service.as_str())
        .sql(", ")
        .literal(document)
        .sql(") ON CONFLICT (service) DO UPDATE SET document = EXCLUDED.document")
}

/// Takes a service's job out of the journal.
#[must_use]
pub fn forget_job(service: &ServiceName) -> [Statement; 3] {
    let drop = |name: &str| Statement::new("DROP SEQUENCE IF EXISTS pgisle_split.").push(&quote_identifier(name));
    [
        Statement::new("DELETE FROM pgisle_split.job WHERE service = ").literal(service.as_str()),
        drop(&gate_name(service)),
        drop(&late_name(service)),
    ]
}

/// Whether there is a journal.
pub const HAS_JOURNAL: &str = "SELECT pg_catalog.to_regclass('pgisle_split.job') IS NOT NULL";

/// All jobs.
pub const JOBS: &str = "SELECT j.document FROM pgisle_split.job AS j ORDER BY j.service";

/// Keeps writers away from tables until the transaction ends; readers are not held up. Without patience it is at once or not at
/// all.
#[must_use]
pub fn lock_tables<'a>(tables: impl IntoIterator<Item = (&'a str, &'a str)>, is_patient: bool) -> Statement {
    let names: Vec<String> = tables.into_iter().map(|(schema, name)| qualified(schema, name)).collect();
    let lock = Statement::new("LOCK TABLE ONLY ").push(&names.join(", ONLY "));
    lock.sql(if is_patient { " IN SHARE MODE" } else { " IN SHARE MODE NOWAIT" })
}

/// Gives up waiting for a lock after so many milliseconds, in this transaction.
#[must_use]
pub fn set_local_lock_timeout(timeout_ms: u32) -> Statement {
    Statement::new("SET LOCAL lock_timeout = ").number(i64::from(timeout_ms))
}

/// Ends what takes longer than so many milliseconds, in this session from here on; 0 never.
#[must_use]
pub fn set_statement_timeout(timeout_ms: u32) -> Statement {
    Statement::new("SET statement_timeout = ").number(i64::from(timeout_ms))
}

/// The tables that are published under a name: schema and name.
pub const PUBLISHED: &str = "SELECT p.schemaname::pg_catalog.text, p.tablename::pg_catalog.text \
    FROM pg_catalog.pg_publication_tables AS p WHERE p.pubname = $1::pg_catalog.text";

/// Who has a lock on a table: process, login, application, and for how many seconds. `$1` is its schema, `$2` its name.
pub const HOLDERS: &str = "SELECT DISTINCT a.pid, a.usename::pg_catalog.text, a.application_name, \
    EXTRACT(epoch FROM pg_catalog.clock_timestamp() - a.xact_start)::pg_catalog.int8 \
    FROM pg_catalog.pg_locks AS l JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid \
    JOIN pg_catalog.pg_class AS c ON c.oid = l.relation JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
    WHERE l.granted AND l.pid <> pg_catalog.pg_backend_pid() \
    AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()) \
    AND n.nspname = $1::pg_catalog.text AND c.relname = $2::pg_catalog.text ORDER BY 4 DESC";

/// Who keeps even readers away from a table of this database; as [`HOLDERS`].
pub const EXCLUDERS: &str = "SELECT DISTINCT a.pid, a.usename::pg_catalog.text, a.application_name, \
    EXTRACT(epoch FROM pg_catalog.clock_timestamp() - a.xact_start)::pg_catalog.int8 \
    FROM pg_catalog.pg_locks AS l JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid \
    WHERE l.granted AND l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.pid <> pg_catalog.pg_backend_pid() \
    AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()) ORDER BY 4 DESC";

/// Drops a foreign key.
#[must_use]
pub fn drop_constraint(schema: &str, table: &str, constraint: &str) -> Statement {
    let alter = Statement::new("ALTER TABLE ").table(schema, table).sql(" DROP CONSTRAINT IF EXISTS ");
    alter.push(&quote_identifier(constraint))
}

/// Makes a foreign key again, without a look at the rows that are there. The definition is the server's own.
#[must_use]
pub fn add_constraint(schema: &str, table: &str, constraint: &str, definition: &str) -> Statement {
    let alter = Statement::new("ALTER TABLE ").table(schema, table).sql(" ADD CONSTRAINT ");
    let alter = alter.push(&quote_identifier(constraint)).sql(" ").push(definition.trim_end_matches(" NOT VALID"));
    alter.sql(" NOT VALID")
}

/// Has the rows looked at that are there.
#[must_use]
pub fn validate_constraint(schema: &str, table: &str, constraint: &str) -> Statement {
    let alter = Statement::new("ALTER TABLE ").table(schema, table).sql(" VALIDATE CONSTRAINT ");
    alter.push(&quote_identifier(constraint))
}

/// Publishes tables to a slot.
#[must_use]
pub fn create_publication<'a>(tables: impl IntoIterator<Item = (&'a str, &'a str)>, name: &str) -> Statement {
    let names: Vec<String> = tables.into_iter().map(|(schema, name)| qualified(schema, name)).collect();
    let create = Statement::new("CREATE PUBLICATION ").push(&quote_identifier(name)).sql(" FOR TABLE ONLY ");
    create.push(&names.join(", ONLY "))
}

/// Takes a publication away.
#[must_use]
pub fn drop_publication(name: &str) -> Statement {
    Statement::new("DROP PUBLICATION IF EXISTS ").push(&quote_identifier(name))
}

/// Makes a slot in this database. It waits for every transaction on the server that has written and is still open.
pub const CREATE_SLOT: &str = "SELECT s.lsn::pg_catalog.text FROM pg_catalog.pg_create_logical_replication_slot($1::pg_catalog.text::pg_catalog.name, 'pgoutput') AS s";

/// Drops a slot, if it is there.
pub const DROP_SLOT: &str = "SELECT pg_catalog.pg_drop_replication_slot(s.slot_name) FROM pg_catalog.pg_replication_slots AS s \
    WHERE s.slot_name = $1::pg_catalog.text";

/// What a slot says, without taking it from it: place and message, up to a place in the log and about so many messages.
pub const PEEK_SLOT: &str = "SELECT c.data FROM pg_catalog.pg_logical_slot_peek_binary_changes(\
    $1::pg_catalog.text::pg_catalog.name, $2::pg_catalog.text::pg_catalog.pg_lsn, $3, \
    'proto_version', '1', 'publication_names', $4::pg_catalog.text) AS c";

/// Takes from a slot what lies before a place in the log.
pub const ADVANCE_SLOT: &str = "SELECT s.end_lsn::pg_catalog.text FROM pg_catalog.pg_replication_slot_advance(\
    $1::pg_catalog.text::pg_catalog.name, $2::pg_catalog.text::pg_catalog.pg_lsn) AS s";

/// A slot: whether it lost what it was to keep, how much log it keeps, and where it stands.
pub const SLOT: &str = "SELECT s.wal_status IS NOT DISTINCT FROM 'lost', \
    (pg_catalog.pg_current_wal_insert_lsn() - s.restart_lsn)::pg_catalog.int8, s.confirmed_flush_lsn::pg_catalog.text \
    FROM pg_catalog.pg_replication_slots AS s WHERE s.slot_name = $1::pg_catalog.text";

/// Where the log ends that is on disk. A slot is read no further, so what is behind it must not be taken for read.
pub const LOG_END: &str = "SELECT pg_catalog.pg_current_wal_flush_lsn()::pg_catalog.text";

/// What this transaction sees, and a name for others to see the same.
pub const EXPORT_SNAPSHOT: &str = "SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text, pg_catalog.pg_export_snapshot()";

/// Writes down how far what was written to the new home has come back.
#[must_use]
pub fn write_place_back(service: &ServiceName, place: Lsn) -> Statement {
    let update = Statement::new("UPDATE pgisle_split.job SET place = ").literal(&place.to_string());
    update.sql(" WHERE service = ").literal(service.as_str())
}

/// Reads it.
#[must_use]
pub fn place_back(service: &ServiceName) -> Statement {
    let select = Statement::new("SELECT j.place::pg_catalog.text FROM pgisle_split.job AS j WHERE j.service = ");
    select.literal(service.as_str())
}

/// Where applying changes has come to, in the database that they are applied to.
pub const PROGRESS: &[&str] = &[
    "CREATE SCHEMA IF NOT EXISTS pgisle_split",
    "CREATE TABLE IF NOT EXISTS pgisle_split.progress (place pg_catalog.pg_lsn NOT NULL)",
    "TRUNCATE pgisle_split.progress",
];

/// Writes down where applying has come to.
#[must_use]
pub fn write_progress(place: Lsn) -> Statement {
    Statement::new("UPDATE pgisle_split.progress SET place = ").literal(&place.to_string())
}

/// The first such.
#[must_use]
pub fn begin_progress(place: Lsn) -> Statement {
    Statement::new("INSERT INTO pgisle_split.progress (place) VALUES (").literal(&place.to_string()).sql(")")
}

/// Lets a login keep the progress.
#[must_use]
pub fn grant_progress(role: &RoleName) -> [Statement; 2] {
    [
        Statement::new("GRANT USAGE ON SCHEMA pgisle_split TO ").ident(role),
        Statement::new("GRANT SELECT, INSERT, UPDATE ON TABLE pgisle_split.progress TO ").ident(role),
    ]
}

/// Reads it.
pub const READ_PROGRESS: &str = "SELECT p.place::pg_catalog.text FROM pgisle_split.progress AS p";

/// Takes it away.
pub const DROP_PROGRESS: &str = "DROP SCHEMA IF EXISTS pgisle_split CASCADE";

/// Sends a table's own rows, in their binary form where that means the same in another database.
#[must_use]
pub fn copy_rows_out(schema: &str, table: &str, columns: &[String], is_binary: bool) -> Statement {
    copy_rows(schema, table, columns, if is_binary { " TO STDOUT (FORMAT binary)" } else { " TO STDOUT" })
}

/// Takes them.
#[must_use]
pub fn copy_rows_in(schema: &str, table: &str, columns: &[String], is_binary: bool) -> Statement {
    copy_rows(schema, table, columns, if is_binary { " FROM STDIN (FORMAT binary)" } else { " FROM STDIN" })
}

/// Empties a table, so that what is copied into it in the same transaction can be frozen.
#[must_use]
pub fn empty_new_table(schema: &str, table: &str) -> Statement {
    Statement::new("TRUNCATE ONLY ").table(schema, table)
}

/// Takes rows into a table that was emptied in this transaction. They are written as if they had been there for ever, so that nobody
/// who reads them has to look up and write down that their transaction has committed.
#[must_use]
pub fn copy_new_rows_in(schema: &str, table: &str, columns: &[String], is_binary: bool) -> Statement {
    copy_rows(schema, table, columns, if is_binary { " FROM STDIN (FORMAT binary, FREEZE)" } else { " FROM STDIN (FREEZE)" })
}

fn copy_rows(schema: &str, table: &str, columns: &[String], how: &'static str) -> Statement {
    let copy = Statement::new("COPY ").table(schema, table);
    if columns.is_empty() { copy.sql(how) } else { copy.sql(" (").columns(columns).sql(")").sql(how) }
}

/// Sets a sequence to where another stands.
#[must_use]
pub fn set_sequence(schema: &str, name: &str, last_value: i64, is_called: bool) -> Statement {
    let set = Statement::new("SELECT pg_catalog.setval(").literal(&qualified(schema, name)).sql("::pg_catalog.regclass, ");
    set.number(last_value).sql(if is_called { ", true)" } else { ", false)" })
}

/// A new row.
#[must_use]
pub fn insert_row(table: &Table, row: &[Field]) -> Statement {
    let named: Vec<String> = table.columns.iter().zip(row).map(|(column, _)| column.name.clone()).collect();
    let insert = Statement::new("INSERT INTO ").table(&table.schema, &table.name);
    if named.is_empty() {
        return insert.sql(" DEFAULT VALUES");
    }
    // What the source made is kept, also in an identity column.
    let insert = insert.sql(" (").columns(&named).sql(") OVERRIDING SYSTEM VALUE VALUES (");
    row.iter().enumerate().fold(insert, |insert, (place, field)| insert.comma(place).field(field)).sql(")")
}

/// A changed row; none when nothing of it changed.
#[must_use]
pub fn update_row(table: &Table, old: Option<&Old>, row: &[Field]) -> Option<Statement> {
    let changed: Vec<(&str, &Field)> = table
        .columns
        .iter()
        .zip(row)
        .filter(|(_, field)| **field != Field::Unchanged)
        .map(|(column, field)| (column.name.as_str(), field))
        .collect();
    if changed.is_empty() {
        return None;
    }
    let update = Statement::new("UPDATE ONLY ").table(&table.schema, &table.name).sql(" SET ");
    let update = changed.iter().enumerate().fold(update, |update, (place, (column, field))| {
        update.comma(place).push(&quote_identifier(column)).sql(" = ").field(field)
    });
    Some(match old {
        Some(Old::Row(old)) => update.only_row(table, old),
        Some(Old::Key(old)) => update.keyed(table, old),
        None => update.keyed(table, row),
    })
}

/// A row that went.
#[must_use]
pub fn delete_row(table: &Table, old: &Old) -> Statement {
    let delete = Statement::new("DELETE FROM ONLY ").table(&table.schema, &table.name);
    match old {
        Old::Row(old) => delete.only_row(table, old),
        Old::Key(old) => delete.keyed(table, old),
    }
}

/// Empties tables.
#[must_use]
pub fn truncate_tables<'a>(tables: impl IntoIterator<Item = &'a Table>, restart: bool) -> Statement {
    let names: Vec<String> = tables.into_iter().map(|table| qualified(&table.schema, &table.name)).collect();
    let truncate = Statement::new("TRUNCATE ONLY ").push(&names.join(", ONLY "));
    if restart { truncate.sql(" RESTART IDENTITY") } else { truncate }
}

/// Gives a table, a view or a sequence another name.
#[must_use]
pub fn rename_table(schema: &str, source: &str, target: &str) -> Statement {
    let alter = Statement::new("ALTER TABLE ").table(schema, source);
    alter.sql(" RENAME TO ").push(&quote_identifier(target))
}

pub(in crate::sql) fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", quote_identifier(schema), quote_identifier(name))
}

impl Statement {
    pub(in crate::sql) fn table(self, schema: &str, name: &str) -> Self {
        self.push(&qualified(schema, name))
    }

    fn columns(self, columns: &[String]) -> Self {
        self.push(&columns.iter().map(|column| quote_identifier(column)).collect::<Vec<_>>().join(", "))
    }

    fn comma(self, place: usize) -> Self {
        if place == 0 { self } else { self.sql(", ") }
    }

    /// A row's value. It is nobody's business but the server's.
    fn field(mut self, field: &Field) -> Self {
        match field {
            Field::Text(text) => {
                self.text.push_str(&quote_literal(text));
                self.shown.push('…');
                self
            }
            Field::Null | Field::Unchanged => self.sql("NULL"),
        }
    }

    /// The row with this key. A key holds no NULL.
    fn keyed(self, table: &Table, row: &[Field]) -> Self {
        let keys = table.columns.iter().zip(row).filter(|(column, _)| column.is_key);
        let keyed = keys.enumerate().fold(self.sql(" WHERE "), |statement, (place, (column, field))| {
            let statement = if place == 0 { statement } else { statement.sql(" AND ") };
            statement.push(&quote_identifier(&column.name)).sql(" = ").field(field)
        });
        if table.columns.iter().any(|column| column.is_key) { keyed } else { keyed.sql("false") }
    }

    /// One of the rows that are exactly so. Compared by text: not every type can be compared.
    fn only_row(self, table: &Table, row: &[Field]) -> Self {
        let only = self.sql(" WHERE ctid = (SELECT ctid FROM ONLY ").table(&table.schema, &table.name).sql(" WHERE true");
        let told = table.columns.iter().zip(row).filter(|(_, field)| **field != Field::Unchanged);
        let only = told.fold(only, |statement, (column, field)| {
            let statement = statement.sql(" AND ").push(&quote_identifier(&column.name));
            match field {
                Field::Null => statement.sql(" IS NULL"),
                field => statement.sql("::pg_catalog.text = ").field(field),
            }
        });
        only.sql(" LIMIT 1)")
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::split::change::Column;

    fn table() -> Table {
        let columns = [("id", true), ("no\"te", false)].map(|(name, is_key)| Column { name: name.to_owned(), is_key });
        Table { oid: 1, schema: "s".to_owned(), name: "t".to_owned(), is_full: false, columns: columns.to_vec() }
    }

    fn text(text: &str) -> Field {
        Field::Text(text.to_owned())
    }

    #[test]
    fn changes_become_statements() {
        let row = [text("1"), text("o'clock")];
        let insert = insert_row(&table(), &row);
        let expected = r#"INSERT INTO "s"."t" ("id", "no""te") OVERRIDING SYSTEM VALUE VALUES ('1', 'o''clock')"#;
        assert_eq!(insert.expose(), expected);
        assert_eq!(insert.to_string(), r#"INSERT INTO "s"."t" ("id", "no""te") OVERRIDING SYSTEM VALUE VALUES (…, …)"#);
        let update = update_row(&table(), None, &[text("1"), Field::Null]).unwrap();
        assert_eq!(update.expose(), r#"UPDATE ONLY "s"."t" SET "id" = '1', "no""te" = NULL WHERE "id" = '1'"#);
        let moved = update_row(&table(), Some(&Old::Key(vec![text("0"), Field::Null])), &[text("1"), Field::Unchanged]).unwrap();
        assert_eq!(moved.expose(), r#"UPDATE ONLY "s"."t" SET "id" = '1' WHERE "id" = '0'"#);
        assert_eq!(update_row(&table(), None, &[Field::Unchanged, Field::Unchanged]), None);
        let delete = delete_row(&table(), &Old::Row(vec![text("1"), Field::Null]));
        let expected = r#"DELETE FROM ONLY "s"."t" WHERE ctid = (SELECT ctid FROM ONLY "s"."t" WHERE true AND "id"::pg_catalog.text = '1' AND "no""te" IS NULL LIMIT 1)"#;
        assert_eq!(delete.expose(), expected);
    }

    #[test]
    fn hostile_names_stay_names() {
        let service = ServiceName::parse("users").unwrap();
        let database = DatabaseName::observed("it's");
        let [create, _] = create_fence("s\"", "t", &service, &database);
        assert!(
            create.expose().contains(r#"ON "s"""."t" FOR"#) && create.expose().contains("'it''s', 'pgisle_split.\"gate_users\"'")
        );
        let tables = [("a", "b\"c"), ("d", "e")];
        assert_eq!(lock_tables(tables, true).expose(), r#"LOCK TABLE ONLY "a"."b""c", ONLY "d"."e" IN SHARE MODE"#);
    }
}
