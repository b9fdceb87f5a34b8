//! What closes a leak: a sentence, and SQL for who has to do it by hand.

use crate::inventory::Grantee;
use crate::name::{DatabaseName, RoleName};
use crate::sql::Statement;

use super::cast::{Cast, Standing};

/// A hint and the lines to paste.
pub(super) struct Fix {
    pub(super) hint: String,
    pub(super) commands: Vec<String>,
}

impl Fix {
    pub(super) fn new(hint: impl Into<String>) -> Self {
        Self { hint: hint.into(), commands: Vec::new() }
    }

    /// Adds a line to paste.
    pub(super) fn command(mut self, sql: &Statement) -> Self {
        self.commands.push(format!("{sql};"));
        self
    }

    /// Adds a line to paste into a session of one database.
    pub(super) fn inside(mut self, database: &DatabaseName, sql: &Statement) -> Self {
        self.commands.push(format!("{sql}; -- in database {database}"));
        self
    }
}

/// Adds privileges, as a list.
pub(super) fn privileges(statement: Statement, privileges: &[&str]) -> Statement {
    /// The words that `aclexplode` gives.
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

/// Adds a grantee.
pub(super) fn grantee(statement: Statement, grantee: &Grantee) -> Statement {
    match grantee {
        Grantee::Public => statement.sql("PUBLIC"),
        Grantee::Role(role) => statement.ident(role),
    }
}

/// Takes privileges on a database away.
pub(super) fn revoke_database(cast: &Cast<'_>, database: &DatabaseName, revoked: &[&str], from: &Grantee) -> Fix {
    let sql = privileges(Statement::new("REVOKE "), revoked).sql(" ON DATABASE ").ident(database).sql(" FROM ");
    let sql = grantee(sql, from);
    let hint = match cast.standing(database) {
        Standing::Island(_) => "`pgisle apply` revokes it; so does this line.",
        Standing::Shared => "This is expected until every service is split out of the shared database; it is fenced then.",
        Standing::Maintenance if cast.spec.settings.fence_maintenance_databases => {
            "`pgisle apply` fences the maintenance databases; as their owner, this line does."
        }
        Standing::Maintenance => "fence_maintenance_databases is off; set it to close this.",
        Standing::Other => "The database is not pgisle's, so pgisle leaves it alone. Its owner can close it.",
    };
    Fix::new(hint).command(&sql)
}

/// Ends a membership.
pub(super) fn revoke_membership(role: &RoleName, member: &RoleName) -> Fix {
    let sql = Statement::new("REVOKE ").ident(role).sql(" FROM ").ident(member);
    Fix::new("End the membership. Where another role granted it, name that one with GRANTED BY.").command(&sql)
}

/// Takes an attribute of a role away.
pub(super) fn drop_attribute(role: &RoleName, attribute: &'static str) -> Fix {
    let sql = Statement::new("ALTER ROLE ").ident(role).sql(" NO").sql(attribute);
    Fix::new("Take the attribute away; it needs a superuser where the attribute does.").command(&sql)
}

/// Gives a database to the platform.
pub(super) fn change_owner(cast: &Cast<'_>, database: &DatabaseName) -> Fix {
    let platform = &cast.inventory.admin.role;
    let sql = Statement::new("ALTER DATABASE ").ident(database).sql(" OWNER TO ").ident(platform);
    Fix::new("Let the platform own the database.").command(&sql)
}

/// Takes the grant option away, and what was granted by it.
pub(super) fn revoke_grant_option(database: &DatabaseName, granted: &[&str], role: &RoleName) -> Fix {
    let sql = privileges(Statement::new("REVOKE GRANT OPTION FOR "), granted).sql(" ON DATABASE ").ident(database);
    let sql = sql.sql(" FROM ").ident(role).sql(" CASCADE");
    Fix::new("Take the grant option away, with what was granted by it.").command(&sql)
}
