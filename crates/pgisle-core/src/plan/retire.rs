//! Services that left the file: fenced and kept. Removing a block never drops data.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Address, Cause, Danger, DatabaseGrant, Planner, Retired, RoleChange, Step, UnitPlace, service_roles};
use crate::inventory::{Database, Grantee};
use crate::marker::{Kind, Marker};
use crate::name::{DatabaseName, RoleName, ServiceName};
use crate::plan::step::MembershipOptions;

impl<'a> Planner<'a> {
    /// Plans the fencing of everything that is marked as ours and not in the file any more.
    pub(super) fn retire_missing(&mut self) {
        let kept: BTreeSet<DatabaseName> = self.spec.services.values().map(|service| service.database.clone()).collect();
        let own_roles: BTreeSet<RoleName> = self.spec.services.values().flat_map(service_roles).collect();
        self.retire_logins(&own_roles);
        for (name, database) in &self.inventory.databases {
            let Some(marker) = database.marker() else { continue };
            let Some(service) = marker.service.clone() else { continue };
            let is_restores = marker.kind.is_of_job();
            if !marker.same_owner(self.project(), self.environment()) || kept.contains(name) || is_restores {
                continue;
            }
            self.retired.push(Retired { service: service.clone(), database: name.clone() });
            if self.is_wanted(&service) {
                self.retire_database(&service, name, database, &marker);
            }
        }
    }

    fn retire_database(&mut self, service: &ServiceName, name: &DatabaseName, database: &Database, marker: &Marker) {
        let address = Address::Service(service.clone(), "database".to_owned());
        let step = |action| Step { address: address.clone(), action, danger: Danger::Access, cause: Cause::Removed };
        let mut steps = Vec::new();
        let logins: Vec<RoleName> =
            self.marked_roles(service).into_iter().filter(|(_, kind)| is_login(*kind)).map(|(name, _)| name).collect();
        let holds = |grantee: &Grantee| database.acl.iter().any(|item| item.grantee == *grantee);
        let losers: Vec<Grantee> =
            logins.iter().cloned().map(Grantee::Role).chain([Grantee::Public]).filter(|grantee| holds(grantee)).collect();
        if !losers.is_empty() {
            let revoke = vec![DatabaseGrant { grantees: losers, privileges: None, grant_option_only: false }];
            steps.push(step(Action::FenceDatabase { database: name.clone(), revoke, grant: Vec::new() }));
        }
        if !marker.retired {
            let retired = Action::MarkDatabase { database: name.clone(), marker: Marker { retired: true, ..marker.clone() } };
            if self.options.end_sessions {
                // Once nobody can come back. The mark is last, so that an interrupted run is taken up before the sessions.
                let ending = self.end_sessions(name, &logins).into_iter().chain([retired]).map(step).collect();
                let ending = self.unit(UnitPlace::Maintenance, Some(service), ending);
                self.plan.after.push(ending);
            } else {
                steps.push(step(retired));
            }
        }
        let unit = self.unit(UnitPlace::Maintenance, Some(service), steps);
        self.plan.before.push(unit);
    }

    /// Takes the right to log in from every login of ours that nothing in the file needs any more.
    fn retire_logins(&mut self, own_roles: &BTreeSet<RoleName>) {
        let mut by_service: BTreeMap<ServiceName, Vec<Step>> = BTreeMap::new();
        for (name, role) in self.inventory.roles.iter().filter(|(name, role)| role.login && !own_roles.contains(*name)) {
            let is_ours = |marker: &Marker| marker.same_owner(self.project(), self.environment()) && !marker.kind.is_of_job();
            let Some(marker) = role.marker().filter(is_ours) else { continue };
            let Some(service) = marker.service.filter(|service| self.is_wanted(service)) else { continue };
            by_service.entry(service.clone()).or_default().push(Step {
                address: Address::Service(service, format!("role/{name}")),
                action: Action::AlterRole { role: name.clone(), changes: [RoleChange::NoLogin].into() },
                danger: Danger::Access,
                cause: Cause::Removed,
            });
        }
        for (service, steps) in by_service {
            let unit = self.unit(UnitPlace::Maintenance, Some(&service), steps);
            self.plan.before.push(unit);
        }
    }

    /// All roles that carry this service's marker.
    pub(super) fn marked_roles(&self, service: &ServiceName) -> Vec<(RoleName, Kind)> {
        self.inventory
            .roles
            .iter()
            .filter_map(|(name, role)| Some((name.clone(), role.marker()?)))
            .filter(|(_, marker)| marker.same_owner(self.project(), self.environment()) && marker.service.as_ref() == Some(service))
            .map(|(name, marker)| (name, marker.kind))
            .collect()
    }

    /// Ends a database's sessions. Whoever is no superuser needs the rights of the logins for it, and takes them for that long.
    pub(super) fn end_sessions(&self, name: &DatabaseName, logins: &[RoleName]) -> Vec<Action> {
        let end = Action::EndSessions { database: name.clone() };
        let admin = &self.inventory.admin;
        if admin.superuser {
            return vec![end];
        }
        let modern = self.inventory.server.major() >= 16;
        let logins = || logins.iter().filter(|login| self.may_administer(login));
        let take = logins().map(|login| Action::GrantMembership {
            role: login.clone(),
            member: admin.role.clone(),
            options: modern.then_some(MembershipOptions::SetAndInherit),
        });
        let give_back = logins().map(|login| Action::RevokeMembership {
            role: login.clone(),
            member: admin.role.clone(),
            grantor: modern.then(|| admin.role.clone()),
            admin_option_only: false,
        });
        take.chain([end]).chain(give_back).collect()
    }
}

/// Roles of these kinds log in.
pub(super) fn is_login(kind: Kind) -> bool {
    matches!(kind, Kind::Login | Kind::Migrator | Kind::Monitoring | Kind::Restore | Kind::Split)
}
