//! What a split asks the server.

use super::Statement;
use crate::name::SchemaName;

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
