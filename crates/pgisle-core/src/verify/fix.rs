//! What closes a leak: a sentence, and SQL for who has to do it by hand.

use crate::inventory::Grantee;
use crate::name::{DatabaseName, RoleName};

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

    pub(super) fn command(mut self, sql: String) -> Self {
        self.commands.push(sql);
        self
    }
}

/// An identifier as SQL. Always quoted, because these lines are pasted, not compared.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Where a command has to run, for what is inside of a database.
pub(super) fn inside(database: &DatabaseName, sql: &str) -> String {
    format!("{sql} -- in database {database}")
}

fn grantee_sql(grantee: &Grantee) -> String {
    match grantee {
        Grantee::Public => "PUBLIC".to_owned(),
        Grantee::Role(role) => quoted(role.as_str()),
    }
}

/// Takes privileges on a database away.
pub(super) fn revoke_database(cast: &Cast<'_>, database: &DatabaseName, privileges: &[&str], grantee: &Grantee) -> Fix {
    let sql = format!("REVOKE {} ON DATABASE {} FROM {};", privileges.join(", "), quoted(database.as_str()), grantee_sql(grantee));
    let hint = match cast.standing(database) {
        Standing::Island(_) => "`pgisle apply` revokes it; so does this line.",
        Standing::Shared => "This is expected until every service is split out of the shared database; it is fenced then.",
        Standing::Maintenance if cast.spec.settings.fence_maintenance_databases => {
            "`pgisle apply` fences the maintenance databases; as their owner, this line does."
        }
        Standing::Maintenance => "fence_maintenance_databases is off; set it to close this.",
        Standing::Other => "The database is not pgisle's, so pgisle leaves it alone. Its owner can close it.",
    };
    Fix::new(hint).command(sql)
}

/// Ends a membership.
pub(super) fn revoke_membership(role: &RoleName, member: &RoleName) -> Fix {
    let sql = format!("REVOKE {} FROM {};", quoted(role.as_str()), quoted(member.as_str()));
    Fix::new("End the membership. Where another role granted it, name that one with GRANTED BY.").command(sql)
}

/// Takes an attribute of a role away.
pub(super) fn drop_attribute(role: &RoleName, attribute: &str) -> Fix {
    let sql = format!("ALTER ROLE {} NO{attribute};", quoted(role.as_str()));
    Fix::new("Take the attribute away; it needs a superuser where the attribute does.").command(sql)
}

/// Gives a database to the platform.
pub(super) fn change_owner(cast: &Cast<'_>, database: &DatabaseName) -> Fix {
    let platform = &cast.inventory.admin.role;
    let sql = format!("ALTER DATABASE {} OWNER TO {};", quoted(database.as_str()), quoted(platform.as_str()));
    Fix::new("Let the platform own the database.").command(sql)
}

/// Takes the grant option away, and what was granted by it.
pub(super) fn revoke_grant_option(database: &DatabaseName, privileges: &[&str], role: &RoleName) -> Fix {
    let sql = format!(
        "REVOKE GRANT OPTION FOR {} ON DATABASE {} FROM {} CASCADE;",
        privileges.join(", "),
        quoted(database.as_str()),
        quoted(role.as_str())
    );
    Fix::new("Take the grant option away, with what was granted by it.").command(sql)
}
