//! The interior of an island: what is too deep for the inventory and is read for a proof alone.
//!
//! A database may hold a hundred thousand objects, so the reader aggregates on the server: grants to those who belong to the
//! island are left out, and what is left is counted by grantee with one example.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::diagnostic::{Code, Severity};
use crate::inventory::{AclItem, Grantee, Readable};
use crate::name::{DatabaseName, RoleName};
use crate::spec::Service;

use super::cast::{Part, privileges_of};
use super::fix::Fix;
use super::leak::{PathStep, Who};
use super::proof::{Prover, excess};

/// What was seen deep inside of one database.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Interior {
    /// Privileges on relations, columns and large objects that someone beside their owner holds.
    pub grants: Vec<ObjectGrants>,
    /// Functions that run with their owner's rights, extensions' own left out.
    pub definer_functions: Vec<DefinerFunction>,
    /// Foreign servers.
    pub foreign_servers: Vec<ForeignServer>,
}

/// All objects of one owner on which one grantee holds the same privilege.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectGrants {
    /// Who holds it.
    pub grantee: Grantee,
    /// `SELECT`, `INSERT`, …
    pub privilege: String,
    /// How many objects.
    pub count: u64,
    /// One of them, such as `table public.messages`.
    pub example: String,
}

/// A SECURITY DEFINER function.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DefinerFunction {
    /// `public.reset(integer)`.
    pub signature: String,
    /// As whom it runs.
    pub owner: RoleName,
    /// Who may run it.
    pub acl: BTreeSet<AclItem>,
}

/// A foreign server and who has a mapping to it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ForeignServer {
    /// Its name.
    pub name: String,
    /// Its wrapper's name, such as `postgres_fdw`.
    pub wrapper: String,
    /// The database that its options name.
    pub database: Option<String>,
    /// The host that its options name.
    pub host: Option<String>,
    /// Who may use it.
    pub acl: BTreeSet<AclItem>,
    /// For whom user mappings, and so stored credentials, exist.
    pub mappings: BTreeSet<Grantee>,
}

pub(super) fn prove<'a>(prover: &mut Prover<'a, '_>, interiors: &'a BTreeMap<DatabaseName, Readable<Interior>>) {
    for (database, interior) in interiors {
        let Some(service) = prover.cast.spec.services.values().find(|service| service.database == *database) else { continue };
        match interior {
            Readable::Known(Interior { grants: objects, definer_functions, foreign_servers }) => {
                grants(prover, service, objects);
                for function in definer_functions {
                    definer_function(prover, service, function);
                }
                for server in foreign_servers {
                    foreign_server(prover, service, server);
                }
            }
            Readable::Hidden(because) => prover.unproved(format!("objects of database \"{database}\""), because.clone()),
        }
    }
}

fn grants<'a>(prover: &mut Prover<'a, '_>, service: &Service, grants: &'a [ObjectGrants]) {
    let is_open = prover.cast.public_connects(&service.database);
    for ObjectGrants { grantee, privilege, count, example } in grants {
        let on = if *count == 1 { example.clone() } else { format!("{count} objects such as {example}") };
        let granted =
            PathStep::Granted { privileges: privilege.clone(), on: format!("{on} in {}", service.database), grantable: false };
        let (intruders, name, severity) = match grantee {
            // Without CONNECT nobody stands at this door; it is a second wall that is missing.
            Grantee::Public => {
                let severity = if is_open { Severity::Error } else { Severity::Warning };
                (vec![(Who::Everyone, vec![PathStep::Everyone])], "PUBLIC".to_owned(), severity)
            }
            Grantee::Role(role) => {
                if excess(prover, service, role, vec![privilege]).is_empty() {
                    continue;
                }
                (prover.intruders(role, Some(service)), format!("role \"{role}\""), Severity::Error)
            }
        };
        let hint = format!("Revoke it on each of these objects from {name}, as their owner.");
        for (who, mut path) in intruders {
            path.push(granted.clone());
            let fix = Fix::new(hint.clone());
            prover.leak((Code::LEAK_READ, severity), who, Some(&service.database), path, fix);
        }
    }
}

/// A function that acts as its owner leaks when that owner has more than the island.
fn definer_function<'a>(prover: &mut Prover<'a, '_>, service: &Service, function: &'a DefinerFunction) {
    let DefinerFunction { signature, owner, acl } = function;
    let acts_as = PathStep::Fact { what: format!("function {signature} in {} runs as {owner}", service.database) };
    let superuser = prover.cast.inventory.roles.get(owner).is_some_and(|owner| owner.superuser);
    let end = superuser.then_some(PathStep::Attribute { attribute: "SUPERUSER" });
    let own = prover.cast.part(owner) == Part::Island(&service.name);
    let mut found = Vec::new();
    for reacher in &prover.logins {
        let home = reacher.is_home(&service.database);
        let runs = |item: &AclItem| match &item.grantee {
            Grantee::Public => Some(Vec::new()),
            Grantee::Role(role) => {
                let (role, _) = prover.cast.inventory.roles.get_key_value(role)?;
                reacher.path_to(role).cloned()
            }
        };
        let path = acl.iter().filter(|item| item.privilege == "EXECUTE").find_map(runs);
        let connects = home || prover.connects(reacher, &service.database);
        let Some(path) = path.filter(|_| connects && !(home && own)) else { continue };
        let granted = PathStep::Granted { privileges: "EXECUTE".to_owned(), on: format!("function {signature}"), grantable: false };
        let steps = [granted, acts_as.clone()].into_iter().chain(end.clone());
        found.push((reacher.login.who(), reacher.path(&path, steps)));
    }
    for (who, path) in found {
        let fix = Fix::new(format!("Let role \"{}\" own the function, or make it SECURITY INVOKER.", service.owner()));
        prover.leak((Code::LEAK_FUNCTION, Severity::Error), who, Some(&service.database), path, fix);
    }
}

/// A foreign server with a stored credential reaches out of the island.
fn foreign_server<'a>(prover: &mut Prover<'a, '_>, service: &Service, server: &'a ForeignServer) {
    let ForeignServer { name, wrapper, database, host, acl, mappings } = server;
    let leads = match (database, host) {
        (Some(database), _) => format!("foreign server {name} ({wrapper}) leads to database {database}"),
        (None, Some(host)) => format!("foreign server {name} ({wrapper}) leads to host {host}"),
        (None, None) => format!("foreign server {name} ({wrapper})"),
    };
    let wanted = prover.cast.spec.extensions(service).iter().any(|extension| extension.as_str() == wrapper);
    let to_island = database.as_ref().and_then(|target| {
        let found = prover.cast.spec.services.values().find(|island| island.database.as_str() == target);
        found.filter(|island| island.name != service.name)
    });
    let severity = if wanted && to_island.is_none() { Severity::Warning } else { Severity::Error };
    let mut found = Vec::new();
    for reacher in prover.logins.iter().filter(|reacher| reacher.is_home(&service.database)) {
        let acts = |grantee: &Grantee| match grantee {
            Grantee::Public => true,
            Grantee::Role(role) => {
                prover.cast.inventory.roles.get_key_value(role).is_some_and(|(role, _)| reacher.path_to(role).is_some())
            }
        };
        let Some(mapping) = mappings.iter().find(|grantee| acts(grantee)) else { continue };
        let uses: Vec<_> = acl.iter().map(|item| &item.grantee).filter(|grantee| acts(grantee)).collect();
        let holder = match mapping {
            Grantee::Public => "PUBLIC",
            Grantee::Role(role) => role.as_str(),
        };
        let usage = uses.first().map(|grantee| {
            let (privileges, grantable) = privileges_of(acl, grantee);
            PathStep::Granted { privileges: privileges.join(", "), on: format!("foreign server {name}"), grantable }
        });
        let mapped = PathStep::Fact { what: format!("user mapping for {holder}") };
        let leads = PathStep::Fact { what: leads.clone() };
        found.push((reacher.login.who(), reacher.path(&[], usage.into_iter().chain([mapped, leads]))));
    }
    for (who, path) in found {
        let fix = Fix::new(format!("Drop the foreign server \"{name}\", or at least its user mappings."));
        let to = to_island.map_or(&service.database, |island| &island.database);
        prover.leak((Code::LEAK_FOREIGN_SERVER, severity), who, Some(to), path, fix);
    }
}
