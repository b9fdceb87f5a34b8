//! What closes a leak, for people to paste into psql. pgisle itself closes leaks by planning and applying.

use super::{Identifier, Statement};
use crate::inventory::{DefaultAcl, Grantee, Membership};
use crate::name::{DatabaseName, ExtensionName, RoleName, SchemaName};

/// A name as the server gave it, of a kind that has no type of its own.
struct Observed<'a>(&'a str);

impl Identifier for Observed<'_> {
    fn name(&self) -> &str {
        self.0
    }
}

/// psql's own command to go to a database.
pub(crate) fn connect(database: &DatabaseName) -> String {
    format!("\\connect {}", Statement::new("").ident(database))
}

/// Adds privileges, as a list, from the words that `aclexplode` gives.
fn privileges(statement: Statement, privileges: &[&str]) -> Statement {
    const WORDS: &[&str] = &[
        "ALTER SYSTEM",
        "CONNECT",
        "CREATE",
        "DELETE",
        "EXECUTE",
        "INSERT",
        "MAINTAIN",
        "REFERENCES",
        "SELECT",
        "SET",
        "TEMPORARY",
        "TRIGGER",
        "TRUNCATE",
        "UPDATE",
        "USAGE",
    ];
    let known: Vec<&'static str> = WORDS.iter().copied().filter(|word| privileges.contains(word)).collect();
    if known.len() < privileges.len() {
        // A privilege that is younger than this list.
        return statement.sql("ALL");
    }
    known
        .into_iter()
        .enumerate()
        .fold(statement, |statement, (place, word)| (if place > 0 { statement.sql(", ") } else { statement }).sql(word))
}

fn grantee(statement: Statement, grantee: &Grantee) -> Statement {
    match grantee {
        Grantee::Public => statement.sql("PUBLIC"),
        Grantee::Role(role) => statement.ident(role),
    }
}

pub(crate) fn act_as(role: &RoleName) -> Statement {
    Statement::new("SET ROLE ").ident(role)
}

pub(crate) fn act_as_oneself() -> Statement {
    Statement::new("RESET ROLE")
}

pub(crate) fn revoke_on_database(database: &DatabaseName, revoked: &[&str], from: &Grantee) -> Statement {
    grantee(privileges(Statement::new("REVOKE "), revoked).sql(" ON DATABASE ").ident(database).sql(" FROM "), from)
}

pub(crate) fn grant_on_database(database: &DatabaseName, granted: &[&str], to: &RoleName) -> Statement {
    privileges(Statement::new("GRANT "), granted).sql(" ON DATABASE ").ident(database).sql(" TO ").ident(to)
}

/// Takes the grant option away, and what was granted by it.
pub(crate) fn revoke_grant_option(database: &DatabaseName, revoked: &[&str], from: &RoleName) -> Statement {
    let revoke = privileges(Statement::new("REVOKE GRANT OPTION FOR "), revoked).sql(" ON DATABASE ").ident(database);
    revoke.sql(" FROM ").ident(from).sql(" CASCADE")
}

pub(crate) fn change_owner(database: &DatabaseName, owner: &RoleName) -> Statement {
    Statement::new("ALTER DATABASE ").ident(database).sql(" OWNER TO ").ident(owner)
}

pub(crate) fn limit_database(database: &DatabaseName, limit: u32) -> Statement {
    Statement::new("ALTER DATABASE ").ident(database).sql(" CONNECTION LIMIT ").number(i64::from(limit))
}

pub(crate) fn limit_role(role: &RoleName, limit: u32) -> Statement {
    Statement::new("ALTER ROLE ").ident(role).sql(" CONNECTION LIMIT ").number(i64::from(limit))
}

/// Ends one row of a membership. From 16 on each grantor's row is one of its own, and another's is not found without its name.
pub(crate) fn revoke_membership(row: &Membership, names_grantor: bool, admin_option_only: bool) -> Statement {
    let start = Statement::new(if admin_option_only { "REVOKE ADMIN OPTION FOR " } else { "REVOKE " });
    let revoke = start.ident(&row.role).sql(" FROM ").ident(&row.member);
    if names_grantor { revoke.sql(" GRANTED BY ").ident(&row.grantor).sql(" CASCADE") } else { revoke }
}

/// Takes an attribute of a role away: `SUPERUSER`.
pub(crate) fn drop_attribute(role: &RoleName, attribute: &'static str) -> Statement {
    Statement::new("ALTER ROLE ").ident(role).sql(" NO").sql(attribute)
}

/// Gives a role attributes: `CREATEROLE`.
pub(crate) fn give_attributes(role: &RoleName, attributes: &[&'static str]) -> Statement {
    attributes.iter().fold(Statement::new("ALTER ROLE ").ident(role), |statement, attribute| statement.sql(" ").sql(attribute))
}

pub(crate) fn revoke_on_schema(schema: &SchemaName, revoked: &[&str], from: &Grantee) -> Statement {
    grantee(privileges(Statement::new("REVOKE "), revoked).sql(" ON SCHEMA ").ident(schema).sql(" FROM "), from)
}

pub(crate) fn revoke_default(default: &DefaultAcl, revoked: &[&str], from: &Grantee) -> Statement {
    let mut alter = Statement::new("ALTER DEFAULT PRIVILEGES FOR ROLE ").ident(&default.role);
    if let Some(schema) = &default.schema {
        alter = alter.sql(" IN SCHEMA ").ident(schema);
    }
    let alter =
        privileges(alter.sql(" REVOKE "), revoked).sql(" ON ").sql(super::render::objects_sql(default.objects)).sql(" FROM ");
    grantee(alter, from)
}

/// From all tables of a schema, its views and their columns included.
pub(crate) fn revoke_on_tables(schema: &str, revoked: &[&str], from: &Grantee) -> Statement {
    let revoke = privileges(Statement::new("REVOKE "), revoked).sql(" ON ALL TABLES IN SCHEMA ").ident(&Observed(schema));
    grantee(revoke.sql(" FROM "), from)
}

pub(crate) fn revoke_on_sequences(schema: &str, revoked: &[&str], from: &Grantee) -> Statement {
    let revoke = privileges(Statement::new("REVOKE "), revoked).sql(" ON ALL SEQUENCES IN SCHEMA ").ident(&Observed(schema));
    grantee(revoke.sql(" FROM "), from)
}

pub(crate) fn revoke_on_large_object(oid: u32, revoked: &[&str], from: &Grantee) -> Statement {
    grantee(privileges(Statement::new("REVOKE "), revoked).sql(" ON LARGE OBJECT ").number(i64::from(oid)).sql(" FROM "), from)
}

pub(crate) fn revoke_on_catalog(table: &str, revoked: &[&str], from: &Grantee) -> Statement {
    let revoke = privileges(Statement::new("REVOKE "), revoked).sql(" ON pg_catalog.").ident(&Observed(table));
    grantee(revoke.sql(" FROM "), from)
}

/// `signature` is the server's own rendering, quoted by it.
pub(crate) fn revoke_on_routine(signature: &str, from: &Grantee) -> Statement {
    grantee(Statement::new("REVOKE EXECUTE ON ROUTINE ").push(signature).sql(" FROM "), from)
}

pub(crate) fn revoke_on_parameter(name: &str, revoked: &[&str], from: &Grantee) -> Statement {
    let revoke = privileges(Statement::new("REVOKE "), revoked).sql(" ON PARAMETER ").ident(&Observed(name));
    grantee(revoke.sql(" FROM "), from)
}

/// `signature` is the server's own rendering, quoted by it.
pub(crate) fn own_routine(signature: &str, owner: &RoleName) -> Statement {
    Statement::new("ALTER ROUTINE ").push(signature).sql(" OWNER TO ").ident(owner)
}

pub(crate) fn reassign(from: &RoleName, to: &RoleName) -> Statement {
    Statement::new("REASSIGN OWNED BY ").ident(from).sql(" TO ").ident(to)
}

pub(crate) fn drop_extension(name: &ExtensionName) -> Statement {
    Statement::new("DROP EXTENSION ").ident(name)
}

/// With the mappings and foreign tables that hang on it.
pub(crate) fn drop_server(name: &str) -> Statement {
    Statement::new("DROP SERVER ").ident(&Observed(name)).sql(" CASCADE")
}
