//! What closes a leak: a sentence, and lines to paste into psql for who has to do it by hand.

use crate::inventory::Grantee;
use crate::name::{DatabaseName, RoleName};
use crate::spec::Service;
use crate::sql::{Statement, remedy};

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

    /// Adds a line that works in one database only.
    pub(super) fn inside(self, database: &DatabaseName, sql: &Statement) -> Self {
        self.inside_as(database, None, sql)
    }

    /// The same, as someone who has the rights that the administrator has not.
    pub(super) fn inside_as(mut self, database: &DatabaseName, act_as: Option<&RoleName>, sql: &Statement) -> Self {
        let connect = remedy::connect(database);
        if !self.commands.contains(&connect) {
            self.commands.push(connect);
        }
        match act_as {
            None => self.command(sql),
            Some(role) => self.command(&remedy::act_as(role)).command(sql).command(&remedy::act_as_oneself()),
        }
    }
}

/// As whom an administrator that is no superuser changes what belongs to an island's owner role.
pub(super) fn owner_to_be(cast: &Cast<'_>, service: &Service) -> Option<RoleName> {
    (!cast.inventory.admin.superuser).then(|| service.owner())
}

/// Takes privileges on a database away.
pub(super) fn revoke_database(cast: &Cast<'_>, database: &DatabaseName, revoked: &[&str], from: &Grantee) -> Fix {
    let hint = match cast.standing(database) {
        Standing::Island(_) => "`pgisle apply` revokes it; so does this line.",
        Standing::Restored(_) => "It holds what a restore fills in or has replaced; nothing grants that but someone's hand.",
        Standing::Shared => "This is expected until every service is split out of the shared database; it is fenced then.",
        Standing::Maintenance if cast.spec.settings.fence_maintenance_databases => {
            "`pgisle apply` fences the maintenance databases; as their owner, this line does."
        }
        Standing::Maintenance => "fence_maintenance_databases is off; set it to close this.",
        Standing::Other => "The database is not pgisle's, so pgisle leaves it alone. Its owner can close it.",
    };
    match cast.standing(database) {
        // To close it now would lock the services out of the data that they still share.
        Standing::Shared => Fix::new(hint),
        _ => Fix::new(hint).command(&remedy::revoke_on_database(database, revoked, from)),
    }
}

/// Ends memberships, each of a member in a role, whoever granted it.
pub(super) fn end_memberships(cast: &Cast<'_>, hint: &str, edges: &[(&RoleName, &RoleName)]) -> Fix {
    memberships(cast, hint, edges, false)
}

/// Lets a member keep a role and no longer pass it on.
pub(super) fn end_admin_option(cast: &Cast<'_>, role: &RoleName, member: &RoleName) -> Fix {
    memberships(cast, "`pgisle apply` takes the admin option away; so does this line.", &[(role, member)], true)
}

fn memberships(cast: &Cast<'_>, hint: &str, edges: &[(&RoleName, &RoleName)], admin_option_only: bool) -> Fix {
    let names_grantor = cast.inventory.server.major() >= 16;
    let mut fix = Fix::new(hint);
    for (role, member) in edges {
        let rows = cast.inventory.memberships.iter().filter(|row| row.role == **role && row.member == **member);
        let rows: Vec<_> = rows.filter(|row| !admin_option_only || row.admin).collect();
        // Without grantors all rows are one.
        let told = if names_grantor { rows.len() } else { rows.len().min(1) };
        for row in rows.into_iter().take(told) {
            fix = fix.command(&remedy::revoke_membership(row, names_grantor, admin_option_only));
        }
    }
    fix
}

/// Takes an attribute of a role away.
pub(super) fn drop_attribute(role: &RoleName, attribute: &'static str) -> Fix {
    Fix::new("Take the attribute away; it needs a superuser where the attribute does.")
        .command(&remedy::drop_attribute(role, attribute))
}

/// Gives a database to the platform. What its owner was granted goes over with it, so an island's role gets its own back.
pub(super) fn change_owner(cast: &Cast<'_>, database: &DatabaseName, owner: &RoleName) -> Fix {
    let fix = Fix::new("Let the platform own the database.").command(&remedy::change_owner(database, &cast.inventory.admin.role));
    let Some(service) = cast.island_of(owner).filter(|service| service.database == *database) else { return fix };
    let granted: &[&str] = if *owner == service.owner() {
        &["CREATE", "TEMPORARY"]
    } else if *owner == service.application() {
        &["TEMPORARY"]
    } else {
        &["CONNECT"]
    };
    let hint = "`pgisle apply` lets the platform own the database; so do these lines.".to_owned();
    Fix { hint, ..fix }.command(&remedy::grant_on_database(database, granted, owner))
}

/// Takes the grant option away, and what was granted by it.
pub(super) fn revoke_grant_option(database: &DatabaseName, granted: &[&str], role: &RoleName) -> Fix {
    Fix::new("Take the grant option away, with what was granted by it.")
        .command(&remedy::revoke_grant_option(database, granted, role))
}
