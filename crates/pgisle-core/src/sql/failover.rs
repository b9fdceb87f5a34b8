//! What a failover that is provoked writes, and where: tables in a schema of their own, which goes afterwards.

use super::Statement;
use crate::name::RoleName;

/// Says of the schema whose it is.
const MARK: &str = "pgisle: of verify -failover, goes with it";

/// Whether the schema is there, and ours.
pub const FIND_PLACE: &str = "SELECT 1 FROM pg_catalog.pg_namespace AS n WHERE n.nspname = 'pgisle_failover' \
    AND pg_catalog.obj_description(n.oid, 'pg_namespace') = 'pgisle: of verify -failover, goes with it'";

/// Removes the schema with all in it.
pub const DROP_PLACE: &str = "DROP SCHEMA pgisle_failover CASCADE";

/// How often each key is there, in either table.
pub const READ_ROWS: &str = "SELECT true, k.key, pg_catalog.count(*) FROM pgisle_failover.keyed AS k GROUP BY k.key \
    UNION ALL SELECT false, b.key, pg_catalog.count(*) FROM pgisle_failover.blind AS b GROUP BY b.key";

/// Makes the schema: a table that takes each key once, and one that takes whatever it is sent.
#[must_use]
pub fn make_place() -> Statement {
    Statement::new("CREATE SCHEMA pgisle_failover; COMMENT ON SCHEMA pgisle_failover IS ").literal(MARK).sql(
        "; CREATE TABLE pgisle_failover.keyed (key bigint PRIMARY KEY); CREATE TABLE pgisle_failover.blind (key bigint NOT NULL)",
    )
}

/// Lets a role write there.
#[must_use]
pub fn let_in(role: &RoleName) -> Statement {
    Statement::new("GRANT USAGE ON SCHEMA pgisle_failover TO ")
        .ident(role)
        .sql("; GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA pgisle_failover TO ")
        .ident(role)
}

/// One write, both ways: with a key that is unique, and without. Tells which server did it, and whether the key was new.
#[must_use]
pub fn write(key: i64) -> Statement {
    Statement::new("WITH k AS (INSERT INTO pgisle_failover.keyed (key) VALUES (")
        .number(key)
        .sql(") ON CONFLICT DO NOTHING RETURNING 1), b AS (INSERT INTO pgisle_failover.blind (key) VALUES (")
        .number(key)
        .sql(")) SELECT pg_catalog.inet_server_port(), (SELECT pg_catalog.count(*) FROM k)")
}
