//! What only a restore says to a server.

use super::Statement;
use crate::name::{DatabaseName, ExtensionName, ParameterName, RoleName, SchemaName};

/// Sets up a session that loads, as if it were the service's own. Nobody reads what it writes before the databases trade places,
/// and that commit waits for the disk; and an administrator's path would put what has no schema nowhere.
pub const SETTINGS_OF_SERVICE: &str = "SET synchronous_commit = off; SET search_path = \"$user\", public";

/// What `pg_restore` writes at the head of a script, for sessions that it does not know of.
pub const SETTINGS_OF_PG_RESTORE: &str = "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; \
    SET check_function_bodies = false; SET xmloption = content; SET client_min_messages = warning; SET row_security = off";

/// Gives a database another name.
#[must_use]
pub fn rename_database(source: &DatabaseName, target: &DatabaseName) -> Statement {
    Statement::new("ALTER DATABASE ").ident(source).sql(" RENAME TO ").ident(target)
}

/// Sets a parameter of every session in a database.
#[must_use]
pub fn set_database_parameter(database: &DatabaseName, name: &ParameterName, value: &str) -> Statement {
    let set = Statement::new("ALTER DATABASE ").ident(database).sql(" SET ").ident(name).sql(" = ");
    set.literals(&super::parameter_elements(name, value))
}

/// Sets a parameter of a role's sessions in a database.
#[must_use]
pub fn set_role_parameter(role: &RoleName, database: &DatabaseName, name: &ParameterName, value: &str) -> Statement {
    let set = Statement::new("ALTER ROLE ").ident(role).sql(" IN DATABASE ").ident(database).sql(" SET ").ident(name).sql(" = ");
    set.literals(&super::parameter_elements(name, value))
}

/// Makes a schema that an extension is to go to, for the service's owner role.
#[must_use]
pub fn create_schema(schema: &SchemaName, owner: &RoleName) -> Statement {
    Statement::new("CREATE SCHEMA IF NOT EXISTS ").ident(schema).sql(" AUTHORIZATION ").ident(owner)
}

/// Installs an extension in a schema; without one, where it wants to be.
#[must_use]
pub fn create_extension(extension: &ExtensionName, schema: Option<&SchemaName>) -> Statement {
    let create = Statement::new("CREATE EXTENSION IF NOT EXISTS ").ident(extension);
    match schema {
        Some(schema) => create.sql(" SCHEMA ").ident(schema),
        None => create,
    }
}

/// Hands over whatever the login at hand owns in this database.
#[must_use]
pub fn hand_over(owner: &RoleName) -> Statement {
    Statement::new("REASSIGN OWNED BY SESSION_USER TO ").ident(owner)
}

/// Takes from the login at hand whatever it was granted in this database.
pub const GIVE_UP: &str = "DROP OWNED BY SESSION_USER CASCADE";

/// Counts the sessions in a database, its prepared transactions and its replication slots.
pub const USE_OF_DATABASE: &str = "SELECT \
    (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity AS a WHERE a.datname = d.datname), \
    (SELECT pg_catalog.count(*) FROM pg_catalog.pg_prepared_xacts AS p WHERE p.database = d.datname), \
    (SELECT pg_catalog.string_agg(s.slot_name::pg_catalog.text, ', ' ORDER BY s.slot_name) \
     FROM pg_catalog.pg_replication_slots AS s WHERE s.database = d.datname) \
    FROM pg_catalog.pg_database AS d WHERE d.datname = $1::pg_catalog.text";
