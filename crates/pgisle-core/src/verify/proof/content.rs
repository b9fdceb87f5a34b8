//! What the inventory saw inside of the islands: schemas, default privileges, owners of objects, extensions that reach out.

use crate::diagnostic::{Code, Severity};
use crate::inventory::{AclItem, Contents, DefaultAcl, DefaultAclObjects, Grantee, Readable};
use crate::name::{ExtensionName, RoleName};
use crate::spec::Service;
use crate::sql::remedy;

use super::super::cast::{Part, privileges_of};
use super::super::fix::{self, Fix};
use super::super::leak::{PathStep, Who};
use super::Prover;

/// Extensions that open connections from within the server.
pub(super) const REACHING_EXTENSIONS: &[&str] = &["dblink", "postgres_fdw"];

pub(super) fn prove(prover: &mut Prover<'_, '_>) {
    let cast = prover.cast;
    for service in cast.spec.services.values() {
        let what = format!("contents of database \"{}\"", service.database);
        match cast.inventory.contents.get(&service.database) {
            Some(Readable::Known(contents)) => {
                schemas(prover, service, contents);
                for default in &contents.default_acls {
                    default_acl(prover, service, default);
                }
                object_owners(prover, service, contents);
                extensions(prover, service, contents);
            }
            Some(Readable::Hidden(because)) => prover.unproved(what, because.clone()),
            None if cast.inventory.databases.contains_key(&service.database) => prover.unproved(what, "It was not read."),
            None => {}
        }
    }
}

/// The grantees of an ACL, PUBLIC first, each once.
fn grantees<'a>(acl: impl IntoIterator<Item = &'a AclItem>) -> Vec<&'a Grantee> {
    let mut grantees: Vec<&Grantee> = acl.into_iter().map(|item| &item.grantee).collect();
    grantees.sort_unstable();
    grantees.dedup();
    grantees
}

/// What the monitoring login may hold: it looks and does not touch.
pub(in super::super) fn is_reading(privilege: &str) -> bool {
    matches!(privilege, "SELECT" | "USAGE" | "EXECUTE" | "CONNECT" | "TEMPORARY")
}

/// Which of a role's privileges it should not have in an island.
pub(in super::super) fn excess<'p>(
    prover: &Prover<'_, '_>,
    service: &Service,
    role: &RoleName,
    privileges: Vec<&'p str>,
) -> Vec<&'p str> {
    match prover.cast.part(role) {
        Part::Monitoring => privileges.into_iter().filter(|privilege| !is_reading(privilege)).collect(),
        // pg_database_owner stands for whoever owns the database, and that is judged where ownership is.
        Part::Predefined if role.as_str() == "pg_database_owner" => Vec::new(),
        _ if prover.cast.belongs(role, service) => Vec::new(),
        _ => privileges,
    }
}

fn schemas<'a>(prover: &mut Prover<'a, '_>, service: &Service, contents: &'a Contents) {
    for (name, schema) in &contents.schemas {
        let on = format!("schema {name} of {}", service.database);
        for grantee in grantees(&schema.acl) {
            let (privileges, grantable) = privileges_of(&schema.acl, grantee);
            let revoke = |privileges: &[&str]| {
                let sql = remedy::revoke_on_schema(name, privileges, grantee);
                // Who owns the database owns schema public by pg_database_owner.
                let act_as = fix::owner_to_be(prover.cast, service).filter(|owner| *owner == schema.owner);
                let fix = Fix::new("`pgisle apply` revokes it; so does this.");
                fix.inside_as(&service.database, act_as.as_ref(), &sql)
            };
            match grantee {
                // USAGE alone lets nobody read: it is PostgreSQL's default for public, and CONNECT is the door.
                Grantee::Public if privileges.contains(&"CREATE") => {
                    let granted = PathStep::Granted { privileges: "CREATE".to_owned(), on: on.clone(), grantable };
                    let path = vec![PathStep::Everyone, granted];
                    let what = (Code::LEAK_CREATE, Severity::Error);
                    prover.leak(what, Who::Everyone, Some(&service.database), path, revoke(&["CREATE"]));
                }
                Grantee::Public => {}
                Grantee::Role(role) => {
                    let privileges = excess(prover, service, role, privileges);
                    if privileges.is_empty() {
                        continue;
                    }
                    let code = if privileges.contains(&"CREATE") { Code::LEAK_CREATE } else { Code::LEAK_READ };
                    for (who, mut path) in prover.intruders(role, Some(service)) {
                        path.push(PathStep::Granted { privileges: privileges.join(", "), on: on.clone(), grantable });
                        let fix = revoke(&privileges);
                        prover.leak((code, Severity::Error), who, Some(&service.database), path, fix);
                    }
                }
            }
        }
    }
}

fn objects_words(objects: DefaultAclObjects) -> &'static str {
    match objects {
        DefaultAclObjects::Tables => "tables",
        DefaultAclObjects::Sequences => "sequences",
        DefaultAclObjects::Functions => "functions",
        DefaultAclObjects::Types => "types",
        DefaultAclObjects::Schemas => "schemas",
        DefaultAclObjects::LargeObjects => "large objects",
    }
}

fn default_acl<'a>(prover: &mut Prover<'a, '_>, service: &Service, default: &'a DefaultAcl) {
    let objects = objects_words(default.objects);
    let place = default.schema.as_ref().map_or_else(String::new, |schema| format!(" in schema {schema}"));
    let on = format!("future {objects} of {}{place} in {}", default.role, service.database);
    for grantee in grantees(&default.acl) {
        let (privileges, grantable) = privileges_of(&default.acl, grantee);
        let privileges = match grantee {
            // PostgreSQL lets PUBLIC run every function and use every type anyway; a row that says so adds nothing.
            Grantee::Public if matches!(default.objects, DefaultAclObjects::Functions | DefaultAclObjects::Types) => continue,
            Grantee::Public => privileges,
            Grantee::Role(role) => excess(prover, service, role, privileges),
        };
        if privileges.is_empty() {
            continue;
        }
        let intruders = match grantee {
            Grantee::Public => vec![(Who::Everyone, vec![PathStep::Everyone])],
            Grantee::Role(role) => prover.intruders(role, Some(service)),
        };
        let sql = remedy::revoke_default(default, &privileges, grantee);
        let act_as = fix::owner_to_be(prover.cast, service);
        for (who, mut path) in intruders {
            path.push(PathStep::Granted { privileges: privileges.join(", "), on: on.clone(), grantable });
            let fix = Fix::new("`pgisle apply` revokes it; so does this. Objects that exist already keep what they were given.")
                .inside_as(&service.database, act_as.as_ref(), &sql);
            prover.leak((Code::LEAK_DEFAULT_PRIVILEGE, Severity::Error), who, Some(&service.database), path, fix);
        }
    }
}

/// Whoever owns a table can read it and grant it away.
fn object_owners<'a>(prover: &mut Prover<'a, '_>, service: &Service, contents: &'a Contents) {
    for (role, count) in &contents.objects_by_owner {
        let harmless = prover.cast.belongs(role, service) && prover.cast.part(role) != Part::Monitoring;
        if *count == 0 || harmless || prover.cast.part(role) == Part::Predefined {
            continue;
        }
        for (who, mut path) in prover.intruders(role, Some(service)) {
            let objects = if *count == 1 { "object" } else { "objects" };
            path.push(PathStep::Owns { what: format!("{count} {objects} in {}", service.database) });
            let sql = remedy::reassign(role, &service.owner());
            let fix = Fix::new("Give the objects to the island's owner role.").inside(&service.database, &sql);
            prover.leak((Code::LEAK_READ, Severity::Error), who, Some(&service.database), path, fix);
        }
    }
}

fn extensions(prover: &mut Prover<'_, '_>, service: &Service, contents: &Contents) {
    let wanted = prover.cast.spec.extensions(service);
    let told = |name: &ExtensionName| prover.told_extensions.contains(&(service.database.clone(), name.clone()));
    let reaching = contents.extensions.keys().filter(|name| REACHING_EXTENSIONS.contains(&name.as_str()) && !told(name));
    for name in reaching.collect::<Vec<_>>() {
        // Who asks for it in the spec knows what it does.
        let severity = if wanted.contains(name) { Severity::Warning } else { Severity::Error };
        let path = vec![
            PathStep::Role { role: service.user.clone() },
            PathStep::Fact { what: format!("extension {name} is installed in {}", service.database) },
        ];
        let fix = Fix::new(format!("Drop the extension, or ask for it in the spec: extensions = [\"{name}\"]."))
            .inside(&service.database, &remedy::drop_extension(name));
        let who = Who::Service { service: service.name.clone(), login: service.user.clone() };
        prover.leak((Code::LEAK_FOREIGN_SERVER, severity), who, Some(&service.database), path, fix);
    }
}
