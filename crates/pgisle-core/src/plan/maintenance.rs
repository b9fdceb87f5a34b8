//! The fences around the databases that every cluster is born with: any login may connect to them unless someone says no.

use std::collections::BTreeSet;

use super::{Action, Address, Cause, Danger, DatabaseGrant, Planner, Step, Target, UnitPlace};
use crate::inventory::{Database, Grantee};
use crate::marker::Kind;
use crate::name::{DatabaseName, RoleName};

impl Planner<'_> {
    /// Fences the maintenance databases, before there is any login that could use them.
    pub(super) fn maintenance(&mut self) {
        let (is_whole, adopted) = (self.is_target(&Target::Cluster), self.adopted_roles());
        if !self.spec.settings.fence_maintenance_databases || !is_whole && adopted.is_empty() {
            return;
        }
        let was_fenced = self.was_fenced();
        for name in self.maintenance_databases() {
            let Some(database) = self.inventory.databases.get(&name) else { continue };
            // Whoever is adopted was someone else's when the fence was put up, and was let through it.
            let action = if is_whole { self.maintenance_fence(&name, database) } else { shut_out(&name, database, &adopted) };
            let Some(action) = action else { continue };
            let address = Address::Cluster(name.as_str().to_owned());
            let cause = if !is_whole {
                Cause::Adopted
            } else if was_fenced && !database.acl_is_default {
                Cause::Drift
            } else {
                Cause::Missing
            };
            let step = Step { address: address.clone(), action, danger: Danger::Access, cause };
            if self.may_own(&database.owner) {
                self.plan.before.push(self.unit(UnitPlace::Maintenance, None, vec![step]));
            } else {
                let why = format!("role \"{}\" does not own database \"{name}\"", self.inventory.admin.role);
                self.block_steps(address, &[step], &UnitPlace::Maintenance, why);
            }
        }
    }

    /// Whether pgisle has been at the fences before. An ACL alone does not tell: initdb gives template1 one of its own.
    fn was_fenced(&self) -> bool {
        let is_untouched = |name: &DatabaseName| self.inventory.databases.get(name).is_some_and(|database| database.acl_is_default);
        self.inventory.roles.values().any(|role| role.marker().is_some()) && !self.maintenance_databases().iter().any(is_untouched)
    }

    fn maintenance_databases(&self) -> BTreeSet<DatabaseName> {
        let settings = &self.spec.settings;
        let born = ["postgres", "template1"].into_iter().filter_map(|name| DatabaseName::new(name).ok());
        // The shared database is fenced once everything has been split out of it, not before.
        let own = Some(settings.maintenance_database.clone()).filter(|name| *name != settings.postgres_database);
        born.chain(own).filter(|name| *name != settings.postgres_database).collect()
    }

    /// Takes CONNECT and TEMPORARY from PUBLIC and, in the same transaction, gives them to every login that had them only through
    /// PUBLIC and is not a service's: exporters and agents keep working.
    fn maintenance_fence(&self, name: &DatabaseName, database: &Database) -> Option<Action> {
        let held = |role: &RoleName| -> BTreeSet<&str> {
            let is_theirs = |grantee: &Grantee| *grantee == Grantee::Role(role.clone());
            database.acl.iter().filter(|item| is_theirs(&item.grantee)).map(|item| item.privilege.as_str()).collect()
        };
        let of_public: BTreeSet<&'static str> = database
            .acl
            .iter()
            .filter(|item| item.grantee == Grantee::Public)
            .filter_map(|item| super::database::database_privilege(&item.privilege))
            .collect();
        let monitoring = self.monitoring_login();
        let mut revoke = Vec::new();
        let mut keepers = super::database::WantedGrants::new();
        if !of_public.is_empty() {
            revoke.push(DatabaseGrant { grantees: vec![Grantee::Public], privileges: None, grant_option_only: false });
        }
        let adopted = self.adopted_roles();
        for (role, observed) in self.inventory.roles.iter().filter(|(_, role)| role.login && !role.superuser) {
            let own = held(role);
            if observed.marker().is_none() && *role != database.owner && !adopted.contains(role) {
                let lost = of_public.iter().copied().filter(|privilege| !own.contains(privilege)).collect();
                keepers.insert(role.clone(), lost);
            }
        }
        // An exporter connects to the maintenance database first.
        if let Some(role) = monitoring
            && *name == self.spec.settings.maintenance_database
            && self.inventory.roles.contains_key(&role)
            && !held(&role).contains("CONNECT")
        {
            keepers.insert(role, BTreeSet::from(["CONNECT"]));
        }
        let ours: BTreeSet<RoleName> = self.service_logins().chain(adopted).collect();
        let intruders: Vec<Grantee> = ours.into_iter().filter(|role| !held(role).is_empty()).map(Grantee::Role).collect();
        if !intruders.is_empty() {
            revoke.push(DatabaseGrant { grantees: intruders, privileges: None, grant_option_only: false });
        }
        let grant: Vec<DatabaseGrant> = super::by_privileges(&keepers)
            .into_iter()
            .map(|(privileges, roles)| DatabaseGrant {
                grantees: roles.into_iter().map(Grantee::Role).collect(),
                privileges: Some(privileges),
                grant_option_only: false,
            })
            .collect();
        let nothing = revoke.is_empty() && grant.is_empty();
        (!nothing).then(|| Action::FenceDatabase { database: name.clone(), revoke, grant })
    }

    /// Roles that this very plan makes ours.
    fn adopted_roles(&self) -> BTreeSet<RoleName> {
        let services = self.spec.services.values().filter(|service| self.options.adopt.contains(&service.name));
        services.flat_map(super::service_roles).collect()
    }

    fn monitoring_login(&self) -> Option<RoleName> {
        let settings = &self.spec.settings;
        settings.create_monitoring_user.then(|| settings.monitoring_user())
    }

    /// The grant that lets a monitoring login, once it is made, connect to the maintenance database first, as exporters do.
    pub(super) fn monitoring_entry(&mut self, address: &Address, role: &RoleName) -> Option<Step> {
        let name = &self.spec.settings.maintenance_database;
        let database = self.inventory.databases.get(name)?;
        let is_fenced = self.spec.settings.fence_maintenance_databases && self.maintenance_databases().contains(name);
        let is_new = !self.inventory.roles.contains_key(role);
        if !is_fenced || !is_new {
            return None;
        }
        let grant = DatabaseGrant {
            grantees: vec![Grantee::Role(role.clone())],
            privileges: Some(BTreeSet::from(["CONNECT"])),
            grant_option_only: false,
        };
        let action = Action::FenceDatabase { database: name.clone(), revoke: Vec::new(), grant: vec![grant] };
        let step = Step { address: address.clone(), action, danger: Danger::None, cause: Cause::Missing };
        if self.may_own(&database.owner) {
            return Some(step);
        }
        let why = format!("role \"{}\" does not own database \"{name}\"", self.inventory.admin.role);
        self.block_steps(address.clone(), &[step], &UnitPlace::Maintenance, why);
        None
    }

    /// Every role that pgisle made for a service, of any project: none of them has business in a maintenance database.
    fn service_logins(&self) -> impl Iterator<Item = RoleName> {
        let is_services = |role: &crate::inventory::Role| role.marker().is_some_and(|marker| marker.kind != Kind::Monitoring);
        self.inventory.roles.iter().filter(move |(_, role)| is_services(role)).map(|(name, _)| name.clone())
    }
}

/// Takes everything on a maintenance database from these roles, where they have anything.
fn shut_out(name: &DatabaseName, database: &Database, roles: &BTreeSet<RoleName>) -> Option<Action> {
    let holds = |role: &RoleName| database.acl.iter().any(|item| item.grantee == Grantee::Role(role.clone()));
    let grantees: Vec<Grantee> = roles.iter().filter(|role| holds(role)).cloned().map(Grantee::Role).collect();
    let revoke = vec![DatabaseGrant { grantees, privileges: None, grant_option_only: false }];
    (!revoke[0].grantees.is_empty()).then(|| Action::FenceDatabase { database: name.clone(), revoke, grant: Vec::new() })
}
