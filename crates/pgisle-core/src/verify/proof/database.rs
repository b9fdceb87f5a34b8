//! Privileges on databases, and who owns them.

use crate::diagnostic::{Code, Severity};
use crate::inventory::{AclItem, Database, Grantee};
use crate::name::{DatabaseName, RoleName};

use super::super::cast::{LoginKind, Part, Standing, privileges_of};
use super::super::fix::{self, Fix};
use super::super::leak::{PathStep, Who};
use super::Prover;

/// How bad it is that a database is open to those who have no business there.
fn severity(prover: &Prover<'_, '_>, database: &DatabaseName) -> Severity {
    match prover.cast.standing(database) {
        Standing::Island(_) | Standing::Restored(_) => Severity::Error,
        Standing::Maintenance if prover.cast.spec.settings.fence_maintenance_databases => Severity::Error,
        Standing::Maintenance | Standing::Shared | Standing::Other => Severity::Warning,
    }
}

/// CONNECT is the door; without it, what else was granted still waits behind the door.
fn code(privileges: &[&str]) -> Code {
    if privileges.contains(&"CONNECT") { Code::LEAK_CONNECT } else { Code::LEAK_CREATE }
}

fn granted(privileges: &[&str], database: &DatabaseName, grantable: bool) -> PathStep {
    PathStep::Granted { privileges: privileges.join(", "), on: format!("database {database}"), grantable }
}

pub(super) fn prove(prover: &mut Prover<'_, '_>) {
    let inventory = prover.cast.inventory;
    for (name, database) in &inventory.databases {
        if database.is_invalid() || !database.allow_connections {
            continue;
        }
        public(prover, name, database);
        grantees(prover, name, database);
        outside_owner(prover, name, database);
        owners(prover, name, database);
        grant_options(prover, name, database);
    }
    homes(prover);
}

fn public(prover: &mut Prover<'_, '_>, name: &DatabaseName, database: &Database) {
    let (privileges, grantable) = privileges_of(&database.acl, &Grantee::Public);
    if privileges.is_empty() {
        return;
    }
    let path = vec![PathStep::Everyone, granted(&privileges, name, grantable)];
    let fix = fix::revoke_database(prover.cast, name, &privileges, &Grantee::Public);
    let severity = severity(prover, name);
    prover.leak((code(&privileges), severity), Who::Everyone, Some(name), path, fix);
}

/// The roles that an ACL names, each once.
fn roles_in<'a>(acl: impl IntoIterator<Item = &'a AclItem>) -> Vec<&'a RoleName> {
    let mut roles: Vec<&RoleName> = acl
        .into_iter()
        .filter_map(|item| match &item.grantee {
            Grantee::Role(role) => Some(role),
            Grantee::Public => None,
        })
        .collect();
    roles.sort_unstable();
    roles.dedup();
    roles
}

/// Grants to roles: a service that inherits one gets in.
fn grantees<'a>(prover: &mut Prover<'a, '_>, name: &DatabaseName, database: &'a Database) {
    let standing = prover.cast.standing(name);
    for role in roles_in(&database.acl) {
        // What an island's own roles are granted is theirs. Who gets at them is found where memberships are.
        if matches!(standing, Standing::Island(service) | Standing::Restored(service) if prover.cast.part(role) == Part::Island(&service.name))
        {
            continue;
        }
        let grantee = Grantee::Role(role.clone());
        let (privileges, grantable) = privileges_of(&database.acl, &grantee);
        let severity = severity(prover, name);
        let mut found = Vec::new();
        for reacher in prover.logins.iter().filter(|reacher| !reacher.is_home(name)) {
            let Some(path) = reacher.inherited.get(role) else { continue };
            // The monitoring login's CONNECT is what it is for; on databases that it owns or writes to it is not.
            if reacher.login.kind == LoginKind::Monitoring && !privileges.contains(&"CREATE") {
                continue;
            }
            found.push((reacher.login.who(), reacher.path(path, [granted(&privileges, name, grantable)])));
        }
        let outside = match standing {
            Standing::Island(service) | Standing::Restored(service) => {
                !prover.cast.belongs(role, service) && role != &database.owner
            }
            Standing::Shared | Standing::Maintenance | Standing::Other => false,
        };
        if found.is_empty() && outside && !prover.is_reached(role) {
            let path = vec![PathStep::Role { role: role.clone() }, granted(&privileges, name, grantable)];
            found.push((prover.cast.who(role), path));
        }
        for (who, path) in found {
            let fix = fix::revoke_database(prover.cast, name, &privileges, &grantee);
            prover.leak((code(&privileges), severity), who, Some(name), path, fix);
        }
    }
}

/// An island that belongs to someone who is neither of it nor above it.
fn outside_owner(prover: &mut Prover<'_, '_>, name: &DatabaseName, database: &Database) {
    if !matches!(prover.cast.standing(name), Standing::Island(_)) || prover.cast.part(&database.owner) != Part::Outsider {
        return;
    }
    if prover.is_reached(&database.owner) {
        return;
    }
    let path = vec![PathStep::Role { role: database.owner.clone() }, PathStep::Owns { what: format!("database {name}") }];
    let fix = fix::change_owner(prover.cast, name, &database.owner);
    let who = prover.cast.who(&database.owner);
    prover.leak((Code::LEAK_OWNER, Severity::Warning), who, Some(name), path, fix);
}

/// A login that can act as the owner of a database can open it and lift its limit.
fn owners<'a>(prover: &mut Prover<'a, '_>, name: &DatabaseName, database: &'a Database) {
    let severity = severity(prover, name);
    let found: Vec<_> = prover
        .logins
        .iter()
        .filter_map(|reacher| {
            let path = reacher.path_to(&database.owner)?;
            Some((reacher.login.who(), reacher.path(path, [PathStep::Owns { what: format!("database {name}") }])))
        })
        .collect();
    for (who, path) in found {
        let fix = fix::change_owner(prover.cast, name, &database.owner);
        prover.leak((Code::LEAK_OWNER, severity), who, Some(name), path, fix);
    }
}

/// Who holds a privilege with grant option hands it on.
fn grant_options<'a>(prover: &mut Prover<'a, '_>, name: &DatabaseName, database: &'a Database) {
    if !matches!(prover.cast.standing(name), Standing::Island(_)) {
        return;
    }
    let grantable: Vec<_> = database.acl.iter().filter(|item| item.grantable).collect();
    for role in roles_in(grantable.iter().copied()).into_iter().filter(|role| **role != database.owner) {
        let (privileges, _) = privileges_of(grantable.iter().copied(), &Grantee::Role(role.clone()));
        let mut found = Vec::new();
        for reacher in &prover.logins {
            if let Some(path) = reacher.path_to(role) {
                found.push((reacher.login.who(), reacher.path(path, [granted(&privileges, name, true)])));
            }
        }
        for (who, path) in found {
            let fix = fix::revoke_grant_option(name, &privileges, role);
            prover.leak((Code::LEAK_OWNER, Severity::Error), who, Some(name), path, fix);
        }
    }
}

/// Every service must get into its own database.
fn homes(prover: &mut Prover<'_, '_>) {
    let spec = prover.cast.spec;
    let inventory = prover.cast.inventory;
    for service in spec.services.values() {
        let name = &service.database;
        let slots = [LoginKind::A, LoginKind::B];
        let mut reasons = Vec::new();
        let mut open = false;
        match inventory.databases.get(name) {
            None => reasons.push(format!("database {name} does not exist")),
            Some(database) if !database.allow_connections => reasons.push(format!("database {name} takes no connections")),
            Some(_) => {
                for reacher in prover.logins.iter().filter(|reacher| reacher.is_home(name) && slots.contains(&reacher.login.kind)) {
                    let role = &reacher.login.role;
                    let may_log_in = inventory.roles.get(role).is_some_and(|role| role.login && role.connection_limit != 0);
                    match (may_log_in, prover.connects(reacher, name)) {
                        (false, _) => reasons.push(format!("role {role} may not log in")),
                        (true, false) => reasons.push(format!("role {role} has no CONNECT on database {name}")),
                        (true, true) => open = true,
                    }
                }
            }
        }
        if open {
            continue;
        }
        if reasons.is_empty() {
            reasons.push(format!("role {} does not exist", service.user));
        }
        let who = Who::Service { service: service.name.clone(), login: service.user.clone() };
        let facts = reasons.into_iter().map(|what| PathStep::Fact { what });
        let path = std::iter::once(PathStep::Role { role: service.user.clone() }).chain(facts).collect();
        let fix = Fix::new("The service is down until `pgisle apply` has run.");
        prover.leak((Code::LEAK_LOGIN, Severity::Error), who, Some(name), path, fix);
    }
}
