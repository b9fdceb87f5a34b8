//! The static proof: what every login could do, computed from the catalogs alone.
//!
//! Nothing is tried here, so it covers every pair of services at no cost, and it names the *path* of a leak, which no probe
//! can. What it cannot see (pg_hba.conf, a server that was patched) is the dynamic proof's.

mod content;
mod database;
mod fold;
mod role;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::diagnostic::{Code, Severity};
use crate::inventory::{Inventory, Readable};
use crate::name::{DatabaseName, ExtensionName, RoleName};
use crate::spec::{Service, Spec};

pub(super) use content::excess;

use super::cast::{Cast, Login, Part};
use super::fix::Fix;
use super::interior::Interior;
use super::leak::{self, Evidence, Leak, PathStep, Unproved, Who};
use super::reach::{Graph, Mode, Reached};

/// What the catalogs say about the isolation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct StaticProof {
    /// The leaks, worst first.
    pub leaks: Vec<Leak>,
    /// What could not be read.
    pub unproved: Vec<Unproved>,
    /// How many pairs of login and database were looked at.
    pub pairs: usize,
}

/// Proves the isolation from the inventory: memberships, attributes, ownership, privileges on databases and schemas, default
/// privileges, limits, extensions.
#[must_use]
pub fn prove(spec: &Spec, inventory: &Inventory) -> StaticProof {
    prove_with(spec, inventory, &BTreeMap::new())
}

/// Like [`prove`], and with what the [`Interior`] of each database tells: privileges on tables, functions with their owner's
/// rights, foreign servers.
#[must_use]
pub fn prove_with(spec: &Spec, inventory: &Inventory, interiors: &BTreeMap<DatabaseName, Readable<Interior>>) -> StaticProof {
    let cast = Cast::new(spec, inventory);
    let mut prover = Prover::new(&cast);
    database::prove(&mut prover);
    role::prove(&mut prover);
    super::interior::prove(&mut prover, interiors);
    content::prove(&mut prover);
    let pairs = prover.logins.len() * inventory.databases.len();
    let Prover { mut leaks, mut unproved, .. } = prover;
    leak::sort(&mut leaks);
    fold::stepping_stones(&mut leaks);
    unproved.sort();
    unproved.dedup();
    StaticProof { leaks, unproved, pairs }
}

/// One login and all that it reaches.
pub(super) struct Reacher<'a> {
    pub(super) login: Login<'a>,
    /// With whose privileges it connects.
    pub(super) inherited: Reached<'a>,
    /// As whom it can act once connected.
    pub(super) acting: BTreeMap<(&'a RoleName, Mode), Vec<PathStep>>,
    /// What it may grant.
    pub(super) administered: Reached<'a>,
}

impl<'a> Reacher<'a> {
    /// The shortest path to a role it can act as, however it does.
    pub(super) fn path_to(&self, role: &'a RoleName) -> Option<&Vec<PathStep>> {
        let becoming = self.acting.get(&(role, Mode::Become));
        let inherit = self.acting.get(&(role, Mode::Use));
        match (becoming, inherit) {
            (Some(one), Some(other)) => Some(if other.len() < one.len() { other } else { one }),
            (one, other) => one.or(other),
        }
    }

    /// A path that begins with the login.
    pub(super) fn path(&self, steps: &[PathStep], end: impl IntoIterator<Item = PathStep>) -> Vec<PathStep> {
        let mut path = vec![PathStep::Role { role: self.login.role.clone() }];
        path.extend_from_slice(steps);
        path.extend(end);
        path
    }

    /// True when the database is this login's own.
    pub(super) fn is_home(&self, database: &DatabaseName) -> bool {
        self.login.service.is_some_and(|service| service.database == *database)
    }
}

/// The proof in the making.
pub(super) struct Prover<'a, 'c> {
    pub(super) cast: &'c Cast<'a>,
    pub(super) graph: Graph<'a>,
    pub(super) logins: Vec<Reacher<'a>>,
    /// Which logins can act as a role, by their place in `logins`.
    reachers: BTreeMap<&'a RoleName, Vec<usize>>,
    /// Extensions that a foreign server's leak has told of.
    pub(super) told_extensions: BTreeSet<(DatabaseName, ExtensionName)>,
    leaks: Vec<Leak>,
    unproved: Vec<Unproved>,
}

impl<'a, 'c> Prover<'a, 'c> {
    fn new(cast: &'c Cast<'a>) -> Self {
        let graph = Graph::new(&cast.inventory.memberships);
        let reacher = |login: Login<'a>| {
            let (role, _) = cast.inventory.roles.get_key_value(&login.role)?;
            let acting = graph.acting(role);
            Some(Reacher { inherited: graph.inherited(role), administered: graph.administered(&acting), acting, login })
        };
        let logins: Vec<_> = cast.logins().into_iter().filter_map(reacher).collect();
        let mut reachers: BTreeMap<&RoleName, Vec<usize>> = BTreeMap::new();
        for (place, reacher) in logins.iter().enumerate() {
            for (role, _) in reacher.acting.keys() {
                let places = reachers.entry(role).or_default();
                if places.last() != Some(&place) {
                    places.push(place);
                }
            }
        }
        Self { cast, graph, logins, reachers, told_extensions: BTreeSet::new(), leaks: Vec::new(), unproved: Vec::new() }
    }

    pub(super) fn unproved(&mut self, what: impl Into<String>, because: impl Into<String>) {
        self.unproved.push(Unproved { what: what.into(), because: because.into() });
    }

    pub(super) fn leak(
        &mut self,
        (code, severity): (Code, Severity),
        from: Who,
        to: Option<&DatabaseName>,
        path: Vec<PathStep>,
        fix: Fix,
    ) {
        let Fix { hint, commands } = fix;
        self.leaks.push(Leak {
            code,
            severity,
            evidence: Evidence::Catalog,
            from,
            to: to.cloned(),
            path,
            seen: Vec::new(),
            hint,
            commands,
        });
    }

    /// True when some service or the monitoring login can act as this role.
    pub(super) fn is_reached(&self, role: &RoleName) -> bool {
        self.reachers.contains_key(role)
    }

    /// Who comes in by a role that does not belong to an island, each with the path that ends at the role: one login of each
    /// other service that can act as it, or the role itself when none can.
    pub(super) fn intruders(&self, role: &'a RoleName, island: Option<&Service>) -> Vec<(Who, Vec<PathStep>)> {
        let mut intruders: Vec<(Who, Vec<PathStep>)> = Vec::new();
        for place in self.reachers.get(role).into_iter().flatten() {
            let reacher = &self.logins[*place];
            let home = reacher.login.service.map(|service| &service.name);
            let seen = intruders.iter().any(|(who, _)| who.service() == home && home.is_some());
            if seen || (home.is_some() && home == island.map(|island| &island.name)) {
                continue;
            }
            if let Some(path) = reacher.path_to(role) {
                intruders.push((reacher.login.who(), reacher.path(path, [])));
            }
        }
        let alone = || (self.cast.who(role), vec![PathStep::Role { role: role.clone() }]);
        if intruders.is_empty() && !matches!(self.cast.part(role), Part::Above) {
            intruders.push(alone());
        }
        intruders
    }

    /// True when an extension is known to be installed in a database.
    pub(super) fn installs(&self, database: &DatabaseName, extension: &ExtensionName) -> bool {
        let contents = self.cast.inventory.contents.get(database);
        matches!(contents, Some(Readable::Known(contents)) if contents.extensions.contains_key(extension))
    }

    /// True when a login gets into a database, by PUBLIC or by a role whose privileges it inherits.
    pub(super) fn connects(&self, reacher: &Reacher<'_>, database: &DatabaseName) -> bool {
        let inventory = self.cast.inventory;
        let superuser = inventory.roles.get(&reacher.login.role).is_some_and(|role| role.superuser);
        inventory.databases.get(database).is_some_and(|database| {
            let opens = |item: &crate::inventory::AclItem| match &item.grantee {
                _ if item.privilege != "CONNECT" => false,
                crate::inventory::Grantee::Public => true,
                crate::inventory::Grantee::Role(role) => reacher.inherited.contains_key(role),
            };
            database.allow_connections && (superuser || database.acl.iter().any(opens))
        })
    }
}
