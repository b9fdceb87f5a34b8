//! The interior of an island: what is too deep for the inventory and is read for a proof alone.
//!
//! A database may hold a hundred thousand objects, so the reader aggregates on the server: grants to those who belong to the
//! island are left out, and what is left is counted by grantee with one example.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::diagnostic::{Code, Severity};
use crate::inventory::{AclItem, Grantee, Readable};
use crate::name::{DatabaseName, ExtensionName, RoleName};
use crate::spec::Service;
use crate::sql::remedy;

use super::cast::{Part, privileges_of};
use super::fix::{self, Fix};
use super::leak::{PathStep, Who};
use super::proof::{Prover, Reacher, excess};

/// What was seen deep inside of one database.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Interior {
    /// Privileges on relations, columns and large objects that someone beside their owner holds.
    pub grants: Vec<ObjectGrants>,
    /// Privileges on PostgreSQL's own functions, catalogs and parameters that were granted by hand.
    pub system_grants: Vec<SystemGrant>,
    /// Functions that run with their owner's rights, extensions' own left out.
    pub definer_functions: Vec<DefinerFunction>,
    /// Foreign servers.
    pub foreign_servers: Vec<ForeignServer>,
}

/// All objects in one place on which one grantee holds privileges.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectGrants {
    /// Who holds them.
    pub grantee: Grantee,
    /// `SELECT`, `INSERT`, …: all that it holds on one of the objects or another.
    pub privileges: Vec<String>,
    /// How many objects.
    pub count: u64,
    /// One of them, such as `table public.messages`.
    pub example: String,
    /// Where they are.
    pub place: ObjectPlace,
}

/// Where objects are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ObjectPlace {
    /// Tables and views of a schema.
    Tables {
        /// The schema.
        schema: String,
    },
    /// Sequences of a schema.
    Sequences {
        /// The schema.
        schema: String,
    },
    /// Large objects are nowhere, so each is by itself.
    LargeObject {
        /// Its number.
        oid: u32,
    },
}

/// A privilege on something of PostgreSQL's own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SystemGrant {
    /// Who holds it.
    pub grantee: Grantee,
    /// `EXECUTE`, `SELECT`, `ALTER SYSTEM`, …
    pub privileges: Vec<String>,
    /// On what.
    pub on: SystemObject,
}

/// Something of PostgreSQL's own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SystemObject {
    /// A catalog, such as `pg_authid`.
    Catalog {
        /// Its name.
        name: String,
    },
    /// A function, such as `pg_read_file(text)`.
    Routine {
        /// Its name with its arguments' types.
        signature: String,
    },
    /// A parameter, such as `log_statement`.
    Parameter {
        /// Its name.
        name: String,
    },
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
            Readable::Known(Interior { grants: objects, system_grants, definer_functions, foreign_servers }) => {
                grants(prover, service, objects);
                for grant in system_grants {
                    system_grant(prover, service, grant);
                }
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

/// True when PUBLIC may look into a schema, or nobody knows.
fn public_uses(prover: &Prover<'_, '_>, service: &Service, schema: &str) -> bool {
    let Some(Readable::Known(contents)) = prover.cast.inventory.contents.get(&service.database) else { return true };
    let schema = contents.schemas.iter().find(|(name, _)| name.as_str() == schema);
    schema.is_none_or(|(_, schema)| schema.acl.iter().any(|item| item.grantee == Grantee::Public && item.privilege == "USAGE"))
}

fn grants<'a>(prover: &mut Prover<'a, '_>, service: &Service, grants: &'a [ObjectGrants]) {
    let database = &service.database;
    let enters = |reacher: &Reacher<'_>| !reacher.is_home(database) && reacher.login.service.is_some();
    let is_open = prover.cast.public_connects(database)
        || prover.logins.iter().any(|reacher| enters(reacher) && prover.connects(reacher, database));
    for ObjectGrants { grantee, privileges, count, example, place } in grants {
        let mut held: Vec<&str> = privileges.iter().map(String::as_str).collect();
        let intruders = match grantee {
            Grantee::Public => vec![(Who::Everyone, vec![PathStep::Everyone])],
            Grantee::Role(role) => {
                held = excess(prover, service, role, held);
                if held.is_empty() {
                    continue;
                }
                prover.intruders(role, Some(service))
            }
        };
        let is_visible = match place {
            ObjectPlace::Tables { schema } | ObjectPlace::Sequences { schema } => public_uses(prover, service, schema),
            ObjectPlace::LargeObject { .. } => true,
        };
        // Without a way into the database and the schema nobody stands at this door; it is a second wall that is missing.
        let behind_wall = *grantee == Grantee::Public && !(is_open && is_visible);
        let severity = if behind_wall { Severity::Warning } else { Severity::Error };
        let on = if *count == 1 { example.clone() } else { format!("{count} objects such as {example}") };
        let granted = PathStep::Granted { privileges: held.join(", "), on: format!("{on} in {database}"), grantable: false };
        let revoke = match place {
            ObjectPlace::Tables { schema } => remedy::revoke_on_tables(schema, &held, grantee),
            ObjectPlace::Sequences { schema } => remedy::revoke_on_sequences(schema, &held, grantee),
            ObjectPlace::LargeObject { oid } => remedy::revoke_on_large_object(*oid, &held, grantee),
        };
        let act_as = fix::owner_to_be(prover.cast, service);
        for (who, mut path) in intruders {
            path.push(granted.clone());
            let fix = Fix::new("Revoke it, as the objects' owner or a superuser:");
            let fix = fix.inside_as(database, act_as.as_ref(), &revoke);
            prover.leak((Code::LEAK_READ, severity), who, Some(database), path, fix);
        }
    }
}

/// What PostgreSQL keeps for superusers, in the hands of one of the island's logins, or of everyone.
fn system_grant<'a>(prover: &mut Prover<'a, '_>, service: &Service, grant: &'a SystemGrant) {
    let SystemGrant { grantee, privileges, on } = grant;
    let held: Vec<&str> = privileges.iter().map(String::as_str).collect();
    let (on, revoke) = match on {
        SystemObject::Catalog { name } => (format!("catalog {name}"), remedy::revoke_on_catalog(name, &held, grantee)),
        SystemObject::Routine { signature } => (format!("function {signature}"), remedy::revoke_on_routine(signature, grantee)),
        SystemObject::Parameter { name } => (format!("parameter {name}"), remedy::revoke_on_parameter(name, &held, grantee)),
    };
    let granted = PathStep::Granted { privileges: held.join(", "), on: format!("{on} in {}", service.database), grantable: false };
    let path_of = |reacher: &Reacher<'a>| match grantee {
        Grantee::Public => Some(vec![PathStep::Everyone]),
        Grantee::Role(role) => {
            let (role, _) = prover.cast.inventory.roles.get_key_value(role)?;
            Some(reacher.path(reacher.path_to(role)?, []))
        }
    };
    let mut found: Vec<(Who, Vec<PathStep>)> = Vec::new();
    // Those who watch are given functions such as pg_ls_waldir, and that is not an island's affair.
    let services = prover.logins.iter().filter(|reacher| reacher.login.service.is_some());
    for reacher in services.filter(|reacher| prover.connects(reacher, &service.database)) {
        let who = reacher.login.who();
        if found.iter().any(|(known, _)| known.service() == who.service()) {
            continue;
        }
        if let Some(mut path) = path_of(reacher) {
            path.push(granted.clone());
            found.push((who, path));
        }
    }
    for (who, path) in found {
        let fix = Fix::new("Revoke it, as a superuser:").inside(&service.database, &revoke);
        prover.leak((Code::LEAK_SYSTEM, Severity::Error), who, Some(&service.database), path, fix);
    }
}

/// A function that acts as its owner leaks when that owner has more than the island. It is told once, of the service if it can
/// run it.
fn definer_function<'a>(prover: &mut Prover<'a, '_>, service: &Service, function: &'a DefinerFunction) {
    let DefinerFunction { signature, owner, acl } = function;
    let acts_as = PathStep::Fact { what: format!("function {signature} in {} runs as {owner}", service.database) };
    let superuser = prover.cast.inventory.roles.get(owner).is_some_and(|owner| owner.superuser);
    let end = superuser.then_some(PathStep::Attribute { attribute: "SUPERUSER" });
    let own = prover.cast.part(owner) == Part::Island(&service.name);
    let runs = |reacher: &Reacher<'a>| {
        let grant = |item: &AclItem| match &item.grantee {
            Grantee::Public => Some(Vec::new()),
            Grantee::Role(role) => {
                let (role, _) = prover.cast.inventory.roles.get_key_value(role)?;
                reacher.path_to(role).cloned()
            }
        };
        let path = acl.iter().filter(|item| item.privilege == "EXECUTE").find_map(grant);
        let home = reacher.is_home(&service.database);
        path.filter(|_| !(home && own) && (home || prover.connects(reacher, &service.database)))
    };
    let (home, abroad): (Vec<_>, Vec<_>) = prover.logins.iter().partition(|reacher| reacher.is_home(&service.database));
    let (watching, abroad): (Vec<_>, Vec<_>) = abroad.into_iter().partition(|reacher| reacher.login.service.is_none());
    let found = [home, abroad, watching].into_iter().find_map(|reachers| {
        let first = reachers.into_iter().find_map(|reacher| Some((reacher, runs(reacher)?)))?;
        let (reacher, path) = first;
        let granted = PathStep::Granted { privileges: "EXECUTE".to_owned(), on: format!("function {signature}"), grantable: false };
        let steps = [granted, acts_as.clone()].into_iter().chain(end.clone());
        // Whoever watches an island reads it anyway, and a function of the island's own does no more than the island may.
        let severity = if own && reacher.login.service.is_none() { Severity::Warning } else { Severity::Error };
        Some((reacher.login.who(), reacher.path(&path, steps), severity))
    });
    let Some((who, path, severity)) = found else { return };
    let fix = if own {
        let act_as = fix::owner_to_be(prover.cast, service);
        Fix::new("Let the island's own roles alone run it; grant it to them by name where they need it.").inside_as(
            &service.database,
            act_as.as_ref(),
            &remedy::revoke_on_routine(signature, &Grantee::Public),
        )
    } else {
        let hint = format!("Let role \"{}\" own the function, or make it SECURITY INVOKER.", service.owner());
        Fix::new(hint).inside(&service.database, &remedy::own_routine(signature, &service.owner()))
    };
    prover.leak((Code::LEAK_FUNCTION, severity), who, Some(&service.database), path, fix);
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
    let extension = ExtensionName::new(wrapper).ok();
    let installed = extension.as_ref().filter(|name| prover.installs(&service.database, name));
    for (who, path) in found {
        let hint = format!("Drop the foreign server \"{name}\", or at least its user mappings.");
        let mut fix = Fix::new(hint).inside(&service.database, &remedy::drop_server(name));
        if let Some(extension) = installed.filter(|_| !wanted) {
            fix = fix.command(&remedy::drop_extension(extension));
            prover.told_extensions.insert((service.database.clone(), extension.clone()));
        }
        let to = to_island.map_or(&service.database, |island| &island.database);
        prover.leak((Code::LEAK_FOREIGN_SERVER, severity), who, Some(to), path, fix);
    }
}
