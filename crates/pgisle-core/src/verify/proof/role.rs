//! Memberships, attributes and limits of the logins.

use std::collections::BTreeSet;

use crate::diagnostic::{Code, Severity};
use crate::inventory::Role;
use crate::name::{DatabaseName, RoleName};
use crate::sql::remedy;

use super::super::cast::{LoginKind, Part};
use super::super::fix::{self, Fix};
use super::super::leak::PathStep;
use super::super::reach::Mode;
use super::{Prover, Reacher};

/// A leak that is found while the prover is borrowed.
type Found = (Code, Option<DatabaseName>, Vec<PathStep>, Fix);

pub(super) fn prove(prover: &mut Prover<'_, '_>) {
    for place in 0..prover.logins.len() {
        let reacher = &prover.logins[place];
        let who = reacher.login.who();
        let mut found = others(prover, reacher);
        found.extend(attributes(prover, reacher));
        found.extend(administers_home(prover, reacher));
        found.extend(role_limit(prover, reacher));
        for (code, to, path, fix) in found {
            prover.leak((code, Severity::Error), who.clone(), to.as_ref(), path, fix);
        }
    }
    outside_members(prover);
    owners_that_log_in(prover);
    database_limits(prover);
}

/// The roles that a path runs through, its end included.
fn roles_on(path: &[PathStep]) -> Vec<&RoleName> {
    path.iter()
        .filter_map(|step| match step {
            PathStep::MemberOf { role } | PathStep::SetRole { role } | PathStep::AdminOf { role } => Some(role),
            _ => None,
        })
        .collect()
}

/// The roles beside its island's own that a login can act as.
fn others(prover: &Prover<'_, '_>, reacher: &Reacher<'_>) -> Vec<Found> {
    let own = |role: &RoleName| match (prover.cast.part(role), reacher.login.service) {
        (Part::Island(name), Some(service)) => *name == service.name,
        (Part::Monitoring, None) => true,
        _ => false,
    };
    let foreign: BTreeSet<&RoleName> = reacher.acting.keys().map(|(role, _)| *role).filter(|role| !own(role)).collect();
    // What lies behind a role that is reported anyway adds nothing: revoking the first membership closes both.
    let paths: Vec<_> = foreign
        .into_iter()
        .filter_map(|role| Some((role, reacher.path_to(role)?)))
        .filter(|(role, path)| {
            roles_on(path).into_iter().all(|inner| inner == *role || own(inner) || prover.cast.part(inner) == Part::Outsider)
        })
        .collect();
    let mut found = Vec::new();
    for (role, path) in &paths {
        let part = prover.cast.part(role);
        let stone = |(other, path): &(&RoleName, &Vec<PathStep>)| other != role && roles_on(path).contains(role);
        let is_watching = reacher.login.kind == LoginKind::Monitoring && prover.cast.monitoring_may_have(role);
        let is_stepping_stone = part == Part::Outsider && paths.iter().any(stone);
        if is_watching || is_stepping_stone {
            continue;
        }
        let island = prover.cast.island_of(role);
        let end = match (island, part) {
            (Some(island), _) if **role == island.owner() => {
                Some(PathStep::Owns { what: format!("tables in {}", island.database) })
            }
            (None, Part::Above) if is_superuser(prover, role) => Some(PathStep::Attribute { attribute: "SUPERUSER" }),
            _ => None,
        };
        let code = if part == Part::Predefined { Code::LEAK_PREDEFINED_ROLE } else { Code::LEAK_ROLE };
        let to = island.map(|island| island.database.clone());
        let fix = way_in(prover, reacher, path, own);
        found.push((code, to, reacher.path(path, end), fix));
    }
    found
}

/// Ends the membership by which a login leaves its island, and the one by which it enters another.
fn way_in(prover: &Prover<'_, '_>, reacher: &Reacher<'_>, path: &[PathStep], own: impl Fn(&RoleName) -> bool) -> Fix {
    let chain: Vec<&RoleName> = std::iter::once(&reacher.login.role).chain(roles_on(path)).collect();
    let edges: Vec<(&RoleName, &RoleName)> = chain.windows(2).map(|pair| (pair[1], pair[0])).collect();
    let leaving = edges.iter().find(|(role, _)| !own(role));
    let entering = edges.last().filter(|(role, _)| prover.cast.island_of(role).is_some());
    let mut cut: Vec<_> = leaving.into_iter().chain(entering).copied().collect();
    cut.dedup();
    let hint = match (reacher.login.service, cut.len()) {
        (Some(_), 1) => "`pgisle apply` ends the membership; so does this line.",
        (Some(_), _) => "`pgisle apply` ends the memberships; so do these lines.",
        (None, _) => "End the membership.",
    };
    fix::end_memberships(prover.cast, hint, &cut)
}

fn is_superuser(prover: &Prover<'_, '_>, role: &RoleName) -> bool {
    prover.cast.inventory.roles.get(role).is_some_and(|role| role.superuser)
}

/// The attributes that reach beyond an island. They are not inherited, but who can SET ROLE has them.
fn attributes(prover: &Prover<'_, '_>, reacher: &Reacher<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for ((role, mode), path) in &reacher.acting {
        let judged = **role == reacher.login.role || matches!(prover.cast.part(role), Part::Island(_) | Part::Outsider);
        let Some(attributes) = prover.cast.inventory.roles.get(*role).filter(|_| *mode == Mode::Become && judged) else { continue };
        let through_reported = roles_on(path).into_iter().any(|inner| match (prover.cast.part(inner), reacher.login.service) {
            (Part::Island(name), Some(service)) => *name != service.name,
            (Part::Island(_), None) => true,
            _ => false,
        });
        if through_reported {
            continue;
        }
        for attribute in attributes_of(attributes) {
            let path = reacher.path(path, [PathStep::Attribute { attribute }]);
            found.push((Code::LEAK_ATTRIBUTE, None, path, fix::drop_attribute(role, attribute)));
        }
    }
    found
}

fn attributes_of(role: &Role) -> Vec<&'static str> {
    let attributes = [
        (role.superuser, "SUPERUSER"),
        (role.create_role, "CREATEROLE"),
        (role.create_db, "CREATEDB"),
        (role.replication, "REPLICATION"),
        (role.bypass_rls, "BYPASSRLS"),
    ];
    attributes.into_iter().filter(|(has, _)| *has).map(|(_, attribute)| attribute).collect()
}

/// A login that may grant its island's roles lets others in.
fn administers_home(prover: &Prover<'_, '_>, reacher: &Reacher<'_>) -> Vec<Found> {
    let Some(service) = reacher.login.service else { return Vec::new() };
    let own = |role: &RoleName| prover.cast.island_of(role).is_some_and(|island| island.name == service.name);
    let mut found = Vec::new();
    for (role, path) in reacher.administered.iter().filter(|(role, _)| own(role)) {
        let holder = match roles_on(path).as_slice() {
            [.., holder, _] => (*holder).clone(),
            _ => reacher.login.role.clone(),
        };
        let fix = fix::end_admin_option(prover.cast, role, &holder);
        found.push((Code::LEAK_OWNER, Some(service.database.clone()), reacher.path(path, []), fix));
    }
    found
}

fn limit_text(limit: i32) -> String {
    if limit < 0 { "no limit".to_owned() } else { format!("a limit of {limit}") }
}

fn exceeds(limit: i32, wanted: u32) -> bool {
    u32::try_from(limit).map_or(true, |limit| limit > wanted)
}

fn role_limit(prover: &Prover<'_, '_>, reacher: &Reacher<'_>) -> Option<Found> {
    let login = &reacher.login;
    let role = prover.cast.inventory.roles.get(&login.role)?;
    let wanted = match (login.kind, login.service) {
        (LoginKind::A | LoginKind::B, Some(service)) => service.connection_limit.0,
        (LoginKind::Monitoring, _) => prover.cast.spec.settings.monitoring_connection_limit.0,
        // Migrations have no limit of their own in the spec; any will do.
        (LoginKind::Migrator, Some(service)) => service.database_connection_limit.0,
        (_, None) => return None,
    };
    if !role.login || !exceeds(role.connection_limit, wanted) {
        return None;
    }
    let what = format!("has {} on its connections, wanted {wanted}", limit_text(role.connection_limit));
    let fix = Fix::new("`pgisle apply` sets the limit; so does this line.").command(&remedy::limit_role(&login.role, wanted));
    let to = login.service.map(|service| service.database.clone());
    Some((Code::LEAK_LIMIT, to, reacher.path(&[], [PathStep::Fact { what }]), fix))
}

/// Members of an island's roles that are neither its own, nor trusted, nor reached by any other service.
fn outside_members(prover: &mut Prover<'_, '_>) {
    let cast = prover.cast;
    for (role, island) in cast.inventory.roles.keys().filter_map(|role| Some((role, cast.island_of(role)?))) {
        for member in prover.graph.members(role) {
            // What a service reaches is reported as that service's, with the whole path.
            if cast.belongs(member, island) && cast.part(member) != Part::Monitoring || prover.is_reached(member) {
                continue;
            }
            let end = PathStep::Owns { what: format!("tables in {}", island.database) };
            let mut path = vec![PathStep::Role { role: member.clone() }, PathStep::MemberOf { role: role.clone() }];
            path.extend((*role == island.owner()).then_some(end));
            let hint = "End the membership, or name the role in trusted_roles.";
            let fix = fix::end_memberships(cast, hint, &[(role, member)]);
            prover.leak((Code::LEAK_ROLE, Severity::Error), cast.who(member), Some(&island.database), path, fix);
        }
    }
}

/// The owner role is a role to act as, not to log in with.
fn owners_that_log_in(prover: &mut Prover<'_, '_>) {
    let cast = prover.cast;
    for service in cast.spec.services.values() {
        let owner = service.owner();
        if !cast.inventory.roles.get(&owner).is_some_and(|role| role.login) {
            continue;
        }
        let path = vec![PathStep::Role { role: owner.clone() }, PathStep::Attribute { attribute: "LOGIN" }];
        let fix = fix::drop_attribute(&owner, "LOGIN");
        prover.leak((Code::LEAK_OWNER, Severity::Error), cast.who(&owner), Some(&service.database), path, fix);
    }
}

fn database_limits(prover: &mut Prover<'_, '_>) {
    let cast = prover.cast;
    for service in cast.spec.services.values() {
        let Some(database) = cast.inventory.databases.get(&service.database) else { continue };
        let wanted = service.database_connection_limit.0;
        if database.is_invalid() || !exceeds(database.connection_limit, wanted) {
            continue;
        }
        let what = format!("database {} has {}, wanted {wanted}", service.database, limit_text(database.connection_limit));
        let path = vec![PathStep::Role { role: service.user.clone() }, PathStep::Fact { what }];
        let sql = remedy::limit_database(&service.database, wanted);
        let fix = Fix::new("`pgisle apply` sets the limit; so does this line.").command(&sql);
        prover.leak((Code::LEAK_LIMIT, Severity::Error), cast.who(&service.user), Some(&service.database), path, fix);
    }
}
