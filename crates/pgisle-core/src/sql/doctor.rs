//! What a checkup hands out to paste into psql. pgisle runs none of it.

use super::{Identifier, Statement};

/// A name as the server gave it.
struct Observed<'a>(&'a str);

impl Identifier for Observed<'_> {
    fn name(&self) -> &str {
        self.0
    }
}

/// Ends the sessions of a login in a database that do nothing.
pub(crate) fn end_idle(role: &str, database: &str) -> Statement {
    Statement::new("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = ")
        .literal(role)
        .sql(" AND datname = ")
        .literal(database)
        .sql(" AND state = 'idle'")
}

/// Ends one session.
pub(crate) fn end_session(pid: i32) -> Statement {
    Statement::new("SELECT pg_terminate_backend(").number(i64::from(pid)).sql(")")
}

/// Drops a replication slot.
pub(crate) fn drop_slot(name: &str) -> Statement {
    Statement::new("SELECT pg_drop_replication_slot(").literal(name).sql(")")
}

/// Makes a standby a primary.
pub(crate) fn promote() -> Statement {
    Statement::new("SELECT pg_promote()")
}

/// Has the server read its files again.
pub(crate) fn reload() -> Statement {
    Statement::new("SELECT pg_reload_conf()")
}

/// Sets a setting of the server to a number or word.
pub(crate) fn set(name: &'static str, value: &str) -> Statement {
    Statement::new("ALTER SYSTEM SET ").sql(name).sql(" = ").literal(value)
}

/// Lets a role log in.
pub(crate) fn allow_login(role: &str) -> Statement {
    Statement::new("ALTER ROLE ").ident(&Observed(role)).sql(" LOGIN")
}

/// Takes a role's limit away.
pub(crate) fn unlimited_role(role: &str) -> Statement {
    Statement::new("ALTER ROLE ").ident(&Observed(role)).sql(" CONNECTION LIMIT -1")
}

/// Takes a database's limit away.
pub(crate) fn unlimited_database(database: &str) -> Statement {
    Statement::new("ALTER DATABASE ").ident(&Observed(database)).sql(" CONNECTION LIMIT -1")
}

/// Lets a database take connections.
pub(crate) fn open_database(database: &str) -> Statement {
    Statement::new("ALTER DATABASE ").ident(&Observed(database)).sql(" ALLOW_CONNECTIONS true")
}

/// Creates a database.
pub(crate) fn create_database(database: &str) -> Statement {
    Statement::new("CREATE DATABASE ").ident(&Observed(database))
}

/// Brings an extension to the version that the server has.
pub(crate) fn update_extension(extension: &str) -> Statement {
    Statement::new("ALTER EXTENSION ").ident(&Observed(extension)).sql(" UPDATE")
}

/// Makes all indexes of a database anew.
pub(crate) fn reindex(database: &str) -> Statement {
    Statement::new("REINDEX DATABASE ").ident(&Observed(database))
}

/// Notes that a database's indexes go with the collation that there is.
pub(crate) fn refresh_collation(database: &str) -> Statement {
    Statement::new("ALTER DATABASE ").ident(&Observed(database)).sql(" REFRESH COLLATION VERSION")
}

/// Goes to a database, in psql.
pub(crate) fn connect(database: &str) -> String {
    format!("\\connect {}", Statement::new("").ident(&Observed(database)))
}

/// Lets a paused alias of PgBouncer go on.
pub(crate) fn resume(alias: &str) -> Statement {
    super::pooler::resume(Some(alias))
}

/// Lets a disabled alias of PgBouncer take clients.
pub(crate) fn enable(alias: &str) -> Statement {
    Statement::new("ENABLE ").ident(&Observed(alias))
}
