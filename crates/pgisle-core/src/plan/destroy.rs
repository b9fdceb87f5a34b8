//! The plan that takes islands away for good. It drops only what carries our marker.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Action, Address, Cause, Chain, Danger, DatabaseChange, DatabaseGrant, PlanOptions, Planned, Planner, RoleChange, Step, Target,
    Unit, UnitPlace,
};
use crate::backup::BackupId;
use crate::diagnostic::{Code, Diagnostic};
use crate::inventory::{Contents, Database, Grantee, Inventory, Readable};
use crate::marker::{Kind, Marker};
use crate::name::{DatabaseName, RoleName, ServiceName};
use crate::plan::retire::is_login;
use crate::spec::Spec;

/// How far destruction goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DestroyScope {
    /// Drops databases that hold data which no backup holds, too.
    pub force: bool,
}

/// What the backups say of a database that is to be dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackedUp {
    /// The newest proved backup holds, row by row, what the database holds.
    Whole {
        /// Its name.
        id: BackupId,
    },
    /// There is a proved backup, and the database holds something else, or may hold something else in a moment.
    Otherwise {
        /// The newest one's name.
        id: BackupId,
        /// In what they differ, or who may write; sentences.
        why: String,
    },
    /// There is no proved backup of it.
    Never {
        /// Where they would be.
        store: String,
    },
    /// The backups, or the database, could not be read.
    Unknown {
        /// Why; a sentence.
        why: String,
    },
}

/// What was found of the backups, by database. Where nothing is found nothing was looked for.
pub type Backups = BTreeMap<DatabaseName, BackedUp>;

/// Decides how to take away every island that is marked as this project's and environment's, or those that are targeted.
/// Databases that hold data are left alone unless a backup holds the same or `scope.force` is set.
pub fn plan_destroy(
    spec: &Spec,
    inventory: &Inventory,
    options: &PlanOptions<'_>,
    scope: DestroyScope,
    backups: &Backups,
) -> Planned {
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
            planner.destroy_service(service, scope, backups);
        }
    }
    if planner.is_target(&Target::Monitoring) {
        planner.destroy_monitoring();
    }
    planner.finish()
}

/// The databases of which it must be known whether a backup holds what they hold, with their services: those that this plan would
/// drop and that hold data.
#[must_use]
pub fn databases_at_stake(spec: &Spec, inventory: &Inventory, options: &PlanOptions<'_>) -> Vec<(ServiceName, DatabaseName)> {
    let planner = Planner::new(spec, inventory, options);
    let ours = inventory.databases.iter().filter_map(|(name, database)| {
        let marker = database.marker().filter(|it| it.same_owner(planner.project(), planner.environment()))?;
        let service = marker.service.filter(|service| marker.kind == Kind::Database && planner.is_wanted(service))?;
        let is_readable = matches!(inventory.contents.get(name), Some(Readable::Known(_)));
        (is_readable && may_hold_data(inventory, name)).then(|| (service, name.clone()))
    });
    ours.collect()
}

/// Whether a database holds data, as far as can be known. What a restore fills holds what its dump holds.
fn may_hold_data(inventory: &Inventory, name: &DatabaseName) -> bool {
    let database = inventory.databases.get(name);
    let marker = database.and_then(Database::marker);
    let is_being_dropped =
        database.is_some_and(|it| !it.allow_connections) && marker.as_ref().is_some_and(|marker| marker.dropping);
    if database.is_some_and(Database::is_invalid) || is_being_dropped || marker.is_some_and(|it| it.kind == Kind::Restore) {
        return false;
    }
    match inventory.contents.get(name) {
        Some(Readable::Known(contents)) => contents.data_bytes != Some(0),
        Some(Readable::Hidden(_)) => true,
        // Never opened, so nobody has been inside.
        None => !database.is_some_and(|database| !database.allow_connections && database.acl_is_default),
    }
}

impl Planner<'_> {
    fn destroy_service(&mut self, service: &ServiceName, scope: DestroyScope, backups: &Backups) {
        let databases = self.marked_databases(service);
        let held_back: Vec<DatabaseName> = databases
            .iter()
            .filter(|(name, _)| !scope.force && self.would_lose(service, name, backups))
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

    /// Whether dropping a database would lose data; if so, or if that cannot be known, it is reported as not dropped.
    fn would_lose(&mut self, service: &ServiceName, name: &DatabaseName, backups: &Backups) -> bool {
        if !may_hold_data(self.inventory, name) {
            return false;
        }
        let backed_up = backups.get(name);
        if let Some(BackedUp::Whole { id }) = backed_up {
            self.diagnostics.push(
                Diagnostic::note(Code::PLAN_BACKED_UP, format!("backup \"{id}\" holds what database \"{name}\" holds"))
                    .about(format!("service \"{service}\""))
                    .detail("Every row of every table, every sequence and every large object was compared."),
            );
            return false;
        }
        let (summary, detail) = self.data_that_would_be_lost(name, backed_up);
        let database = self.inventory.databases.get(name);
        let is_replaced = database.and_then(Database::marker).is_some_and(|marker| marker.kind == Kind::Replaced);
        let diagnostic = Diagnostic::error(Code::PLAN_DATA_LOSS, summary).about(format!("service \"{service}\"")).detail(detail);
        let diagnostic = if is_replaced {
            diagnostic.hint("Drop it by itself, or everything of the service:").command(format!("pgisle restore {service} -prune"))
        } else {
            diagnostic
                .hint("Back it up, and destroy finds that backup; or drop it with its data:")
                .command(format!("pgisle backup create -service={service}"))
        };
        let diagnostic = diagnostic.command(format!("pgisle destroy -target=service.{service} -force"));
        self.block(Address::Service(service.clone(), "database".to_owned()), diagnostic, Vec::new());
        true
    }

    /// The words for it, first line and detail.
    fn data_that_would_be_lost(&self, name: &DatabaseName, backed_up: Option<&BackedUp>) -> (String, String) {
        let no_backup = format!("database \"{name}\" holds data and has no backup");
        let marker = self.inventory.databases.get(name).and_then(Database::marker);
        if marker.is_some_and(|marker| marker.kind == Kind::Replaced) {
            return (format!("database \"{name}\" is kept"), "It is what a restore replaced.".to_owned());
        }
        let held = match self.inventory.contents.get(name) {
            Some(Readable::Known(Contents { data_bytes: Some(bytes), .. })) => format!("Its tables hold {bytes} bytes."),
            Some(Readable::Hidden(why)) => format!("It cannot be read, because {why}."),
            Some(Readable::Known(_)) | None => "It was not looked at.".to_owned(),
        };
        match backed_up {
            Some(BackedUp::Otherwise { id, why }) => (
                format!("database \"{name}\" holds what no backup is known to hold"),
                format!("{held} Its newest proved backup is {id}. {why}"),
            ),
            Some(BackedUp::Never { store }) => (no_backup, format!("{held} There is no proved backup of it in \"{store}\".")),
            Some(BackedUp::Unknown { why }) => {
                (format!("database \"{name}\" holds data, and whether it has a backup is not known"), format!("{held} {why}"))
            }
            Some(BackedUp::Whole { .. }) | None => (no_backup, held),
        }
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
