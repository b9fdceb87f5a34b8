//! The plan that takes islands away for good. It drops only what carries our marker.

use std::collections::BTreeSet;

use super::{
    Action, Address, Cause, Chain, Danger, DatabaseChange, DatabaseGrant, PlanOptions, Planned, Planner, RoleChange, Step, Target,
    Unit, UnitPlace,
};
use crate::diagnostic::{Code, Diagnostic};
use crate::inventory::{Database, Grantee, Inventory, Readable};
use crate::marker::{Kind, Marker};
use crate::name::{DatabaseName, RoleName, ServiceName};
use crate::plan::retire::is_login;
use crate::spec::Spec;

/// How far destruction goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DestroyScope {
    /// Drops databases that hold data, too.
    pub force: bool,
}

/// Decides how to take away every island that is marked as this project's and environment's, or those that are targeted.
/// Databases that hold data are left alone unless `scope.force` is set.
pub fn plan_destroy(spec: &Spec, inventory: &Inventory, options: &PlanOptions<'_>, scope: DestroyScope) -> Planned {
    let mut planner = Planner::new(spec, inventory, options);
    planner.check_targets();
    let mut services: BTreeSet<ServiceName> = BTreeSet::new();
    for database in inventory.databases.values() {
        let marker = database.marker().filter(|marker| marker.same_owner(planner.project(), planner.environment()));
        services.extend(marker.and_then(|marker| marker.service));
    }
    for role in inventory.roles.values() {
        let marker = role.marker().filter(|marker| marker.same_owner(planner.project(), planner.environment()));
        services.extend(marker.and_then(|marker| marker.service));
    }
    for service in &services {
        if planner.is_wanted(service) {
            planner.destroy_service(service, scope);
        }
    }
    if planner.is_target(&Target::Monitoring) {
        planner.destroy_monitoring();
    }
    planner.finish()
}

impl Planner<'_> {
    fn destroy_service(&mut self, service: &ServiceName, scope: DestroyScope) {
        let databases = self.marked_databases(service);
        let held_back: Vec<DatabaseName> = databases
            .iter()
            .filter(|(name, _)| !scope.force && self.holds_data(service, name))
            .map(|(name, _)| name.clone())
            .collect();
        if !held_back.is_empty() {
            return;
        }
        let roles = self.marked_roles(service);
        let logins: Vec<RoleName> = roles.iter().filter(|(_, kind)| is_login(*kind)).map(|(name, _)| name.clone()).collect();
        let closing = logins.iter().filter(|login| self.inventory.roles.get(login).is_some_and(|role| role.login)).map(|login| {
            let action = Action::AlterRole { role: login.clone(), changes: [RoleChange::NoLogin].into() };
            self.destroy_step(service, format!("role/{login}"), action, Danger::Access)
        });
        let closing = self.unit(UnitPlace::Maintenance, Some(service), closing.collect());
        self.plan.before.push(closing);
        for (name, database) in &databases {
            let chain = self.drop_chain(service, name, database, &logins);
            self.plan.chains.push(chain);
        }
        // The owner role goes last: its marker is what proves an interrupted creation.
        let (owners, others): (Vec<_>, Vec<_>) = roles.into_iter().partition(|(_, kind)| *kind == Kind::Owner);
        let drops = others
            .into_iter()
            .chain(owners)
            .map(|(role, _)| self.destroy_step(service, format!("role/{role}"), Action::DropRole { role }, Danger::Access));
        let drops = self.unit(UnitPlace::Maintenance, Some(service), drops.collect());
        self.plan.after.push(drops);
    }

    fn marked_databases(&self, service: &ServiceName) -> Vec<(DatabaseName, Database)> {
        let is_its = |database: &Database| {
            let marker = database.marker().filter(|marker| marker.same_owner(self.project(), self.environment()));
            marker.is_some_and(|marker| marker.service.as_ref() == Some(service))
        };
        let interrupted = |name: &DatabaseName, database: &Database| {
            let spec = self.spec.services.get(service).filter(|service| service.database == *name);
            spec.is_some_and(|service| self.is_interrupted_creation(service, database))
        };
        let all = self.inventory.databases.iter();
        all.filter(|(name, database)| is_its(database) || interrupted(name, database))
            .map(|(name, database)| (name.clone(), database.clone()))
            .collect()
    }

    /// Whether a database holds data; if so, or if that cannot be known, it is reported as not dropped.
    fn holds_data(&mut self, service: &ServiceName, name: &DatabaseName) -> bool {
        let database = self.inventory.databases.get(name);
        let is_being_dropped =
            |database: &Database| !database.allow_connections && database.marker().is_some_and(|marker| marker.dropping);
        if database.is_some_and(|database| database.is_invalid() || is_being_dropped(database)) {
            return false;
        }
        let detail = match self.inventory.contents.get(name) {
            Some(Readable::Known(contents)) if contents.data_bytes == 0 => return false,
            Some(Readable::Known(contents)) => format!("Its tables hold {} bytes.", contents.data_bytes),
            _ if database.and_then(Database::marker).is_some_and(|marker| marker.kind == Kind::Replaced) => {
                "It is what a restore replaced, and is kept.".to_owned()
            }
            Some(Readable::Hidden(why)) => format!("It cannot be read, because {why}."),
            // Never opened, so nobody has been inside.
            None if database.is_some_and(|database| !database.allow_connections && database.acl_is_default) => return false,
            None => "It was not looked at.".to_owned(),
        };
        let diagnostic = Diagnostic::error(Code::PLAN_DATA_LOSS, format!("database \"{name}\" holds data and has no backup"))
            .about(format!("service \"{service}\""))
            .detail(detail)
            .hint("Back it up first, and then drop it with its data:")
            .command(format!("pgisle backup create -service={service}"))
            .command(format!("pgisle destroy -target=service.{service} -force"));
        self.block(Address::Service(service.clone(), "database".to_owned()), diagnostic, Vec::new());
        true
    }

    fn drop_chain(&self, service: &ServiceName, name: &DatabaseName, database: &Database, logins: &[RoleName]) -> Chain {
        let step = |action, danger| self.destroy_step(service, "database".to_owned(), action, danger);
        let (mut closing, mut ending) = (Vec::new(), Vec::new());
        // The remains of an interrupted drop take no other command, and nobody is in them.
        if !database.is_invalid() {
            if let Some(marker) = database.marker() {
                let marker = Marker { dropping: true, ..marker };
                closing.push(step(Action::MarkDatabase { database: name.clone(), marker }, Danger::None));
            }
            let changes = vec![DatabaseChange::AllowConnections(false)];
            closing.push(step(Action::AlterDatabase { database: name.clone(), changes }, Danger::Access));
            ending.extend(self.end_sessions(name, logins).into_iter().map(|action| step(action, Danger::Access)));
        }
        let drop = step(Action::DropDatabase { database: name.clone() }, Danger::Data);
        let units = vec![
            self.unit(UnitPlace::Maintenance, Some(service), closing),
            // Once nobody can come back.
            self.unit(UnitPlace::Maintenance, Some(service), ending),
            Unit { transaction: false, ..self.unit(UnitPlace::Maintenance, Some(service), vec![drop]) },
        ];
        Chain { service: service.clone(), database: name.clone(), units }
    }

    fn destroy_monitoring(&mut self) {
        let name = self.spec.settings.monitoring_user();
        let marker = self.inventory.roles.get(&name).and_then(crate::inventory::Role::marker);
        if !marker.is_some_and(|marker| marker.same_owner(self.project(), self.environment()) && marker.kind == Kind::Monitoring) {
            return;
        }
        let still_used: Vec<&DatabaseName> = self.databases_kept_for(&name);
        if !still_used.is_empty() {
            return;
        }
        let step = |action| Step {
            address: Address::Monitoring(format!("role/{name}")),
            action,
            danger: Danger::Access,
            cause: Cause::Destroyed,
        };
        let holds = |database: &Database| database.acl.iter().any(|item| item.grantee == Grantee::Role(name.clone()));
        let maintenance = self.inventory.databases.iter().filter(|(_, database)| holds(database) && database.marker().is_none());
        let mut steps: Vec<Step> = maintenance
            .map(|(database, _)| {
                let grantees = vec![Grantee::Role(name.clone())];
                let revoke = vec![DatabaseGrant { grantees, privileges: None, grant_option_only: false }];
                step(Action::FenceDatabase { database: database.clone(), revoke, grant: Vec::new() })
            })
            .collect();
        steps.push(step(Action::DropRole { role: name.clone() }));
        let unit = self.unit(UnitPlace::Maintenance, None, steps);
        self.plan.after.push(unit);
    }

    /// Islands that are not dropped by this plan and hold grants to a role, which therefore cannot be dropped.
    fn databases_kept_for(&self, role: &RoleName) -> Vec<&DatabaseName> {
        let dropped: BTreeSet<&DatabaseName> = self.plan.chains.iter().map(|chain| &chain.database).collect();
        let holds = |database: &Database| database.acl.iter().any(|item| item.grantee == Grantee::Role(role.clone()));
        let all = self.inventory.databases.iter();
        all.filter(|(name, database)| holds(database) && database.marker().is_some() && !dropped.contains(name))
            .map(|(name, _)| name)
            .collect()
    }

    fn destroy_step(&self, service: &ServiceName, part: String, action: Action, danger: Danger) -> Step {
        Step { address: Address::Service(service.clone(), part), action, danger, cause: Cause::Destroyed }
    }
}
