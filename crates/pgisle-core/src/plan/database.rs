//! A service's database: made closed, fenced, limited, marked, and only then opened.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Action, Address, Cause, Danger, DatabaseChange, DatabaseGrant, Planner, Step, Unit, UnitPlace, by_privileges, service_roles,
    spec_fingerprint,
};
use crate::diagnostic::{Code, Diagnostic};
use crate::inventory::{AclItem, Database, Grantee};
use crate::marker::{Kind, Marker};
use crate::name::{DatabaseName, RoleName};
use crate::spec::{Access, Service};

/// Who shall hold what on a database.
pub(super) type WantedGrants = BTreeMap<RoleName, BTreeSet<&'static str>>;

impl<'a> Planner<'a> {
    /// The units of a service's chain: the database itself, then what is inside of it.
    pub(super) fn service_database(&mut self, service: &'a Service) -> Vec<Unit> {
        let mut units = Vec::new();
        let observed = self.inventory.databases.get(&service.database);
        let fresh = Database {
            owner: self.inventory.admin.role.clone(),
            encoding: "UTF8".to_owned(),
            collate: String::new(),
            ctype: String::new(),
            allow_connections: false,
            is_template: false,
            connection_limit: -1,
            acl: BTreeSet::from([public("CONNECT", &self.inventory.admin.role), public("TEMPORARY", &self.inventory.admin.role)]),
            acl_is_default: true,
            comment: None,
            settings: BTreeMap::new(),
        };
        if observed.is_none() {
            let action = Action::CreateDatabase { database: service.database.clone(), locale: self.locale() };
            let step = self.database_step(service, action, Danger::None);
            units.push(Unit { transaction: false, ..self.unit(UnitPlace::Maintenance, Some(&service.name), vec![step]) });
        } else {
            self.check_immutable(service);
        }
        let database = observed.unwrap_or(&fresh);
        let mut outside = self.database_outside(service, database);
        if !self.may_own(&database.owner) && !outside.is_empty() {
            let why = format!("role \"{}\" does not own database \"{}\"", self.inventory.admin.role, service.database);
            let address = Address::Service(service.name.clone(), "database".to_owned());
            self.block_steps(address, &std::mem::take(&mut outside), &UnitPlace::Maintenance, why);
        }
        units.push(self.unit(UnitPlace::Maintenance, Some(&service.name), outside));
        // Closed by an interrupted creation means that nobody has been inside yet.
        let is_new = observed.is_none_or(|database| self.is_interrupted_creation(service, database));
        units.extend(self.database_inside(service, is_new));
        units
    }

    fn database_step(&self, service: &Service, action: Action, danger: Danger) -> Step {
        let address = Address::Service(service.name.clone(), "database".to_owned());
        let missing = !self.inventory.databases.contains_key(&service.database);
        Step { address, action, danger, cause: if missing { Cause::Missing } else { self.cause(service) } }
    }

    /// What is done to the database from outside of it, as one transaction: owner, fence, limits, marker, and opening last.
    fn database_outside(&self, service: &Service, database: &Database) -> Vec<Step> {
        let name = &service.database;
        let mut steps = Vec::new();
        let mut database = database.clone();
        if self.is_wrong_owner(service, &database.owner) {
            let changes = vec![DatabaseChange::Owner(self.inventory.admin.role.clone())];
            steps.push(self.database_step(service, Action::AlterDatabase { database: name.clone(), changes }, Danger::Access));
            database = self.with_our_owner(database);
        }
        let database = &database;
        if let Some(fence) = self.fence(name, database, &self.wanted_grants(service)) {
            let takes = matches!(&fence, Action::FenceDatabase { revoke, .. } if !revoke.is_empty());
            let danger = if takes && !database.acl_is_default { Danger::Access } else { Danger::None };
            steps.push(self.database_step(service, fence, danger));
        }
        let mut changes = Vec::new();
        let limit = service.database_connection_limit.0;
        if i64::from(database.connection_limit) != i64::from(limit) {
            changes.push(DatabaseChange::ConnectionLimit(limit));
        }
        if database.is_template {
            changes.push(DatabaseChange::NoTemplate);
        }
        if !changes.is_empty() {
            steps.push(self.database_step(service, Action::AlterDatabase { database: name.clone(), changes }, Danger::None));
        }
        let marker = Marker {
            spec: Some(spec_fingerprint(self.spec, service)),
            database: Some(name.clone()),
            ..self.service_marker(service, Kind::Database)
        };
        if database.marker().as_ref() != Some(&marker) {
            steps.push(self.database_step(service, Action::MarkDatabase { database: name.clone(), marker }, Danger::None));
        }
        if !database.allow_connections {
            let changes = vec![DatabaseChange::AllowConnections(true)];
            steps.push(self.database_step(service, Action::AlterDatabase { database: name.clone(), changes }, Danger::None));
        }
        steps
    }

    /// The database as `OWNER TO` leaves it: what its owner held becomes the new owner's.
    fn with_our_owner(&self, database: Database) -> Database {
        let admin = self.inventory.admin.role.clone();
        let old = Grantee::Role(database.owner.clone());
        let hand_over = |item: AclItem| {
            let grantee = if item.grantee == old { Grantee::Role(admin.clone()) } else { item.grantee };
            let grantor = if item.grantor == database.owner { admin.clone() } else { item.grantor };
            AclItem { grantee, grantor, ..item }
        };
        let acl = database.acl.into_iter().map(hand_over).collect();
        Database { acl, owner: admin.clone(), ..database }
    }

    /// A service that owns its database can open it to everyone. Another administrator may own it.
    fn is_wrong_owner(&self, service: &Service, owner: &RoleName) -> bool {
        let own = service_roles(service).contains(owner);
        let adopted = self.options.adopt.contains(&service.name) && *owner != self.inventory.admin.role;
        let is_login = self.inventory.roles.get(owner).is_some_and(|role| role.login && !role.superuser);
        own || (adopted && is_login)
    }

    /// Whether the administrator acts with the rights of this owner.
    pub(super) fn may_own(&self, owner: &RoleName) -> bool {
        let admin = &self.inventory.admin;
        let is_member =
            || self.inventory.memberships.iter().any(|row| row.role == *owner && row.member == admin.role && row.inherit);
        admin.superuser || *owner == admin.role || is_member()
    }

    fn wanted_grants(&self, service: &Service) -> WantedGrants {
        let mut wanted = WantedGrants::new();
        wanted.insert(service.owner(), BTreeSet::from(["CREATE", "TEMPORARY"]));
        for login in self.enabled_logins(service) {
            wanted.insert(login, BTreeSet::from(["CONNECT"]));
        }
        if service.access == Access::Split {
            wanted.insert(service.application(), BTreeSet::from(["TEMPORARY"]));
            wanted.insert(service.migrator(), BTreeSet::from(["CONNECT"]));
        }
        if let Some(monitoring) = &self.monitoring {
            wanted.insert(monitoring.clone(), BTreeSet::from(["CONNECT"]));
        }
        wanted
    }

    /// The change of privileges that makes a database's ACL as wanted; none when it is.
    pub(super) fn fence(&self, name: &DatabaseName, database: &Database, wanted: &WantedGrants) -> Option<Action> {
        let is_left_alone = |item: &&AclItem| match &item.grantee {
            Grantee::Public => false,
            Grantee::Role(role) => {
                *role == database.owner || *role == self.inventory.admin.role || self.spec.settings.trusted_roles.contains(role)
            }
        };
        let mut unwanted: BTreeMap<Grantee, BTreeSet<&'static str>> = BTreeMap::new();
        let mut grant_options: BTreeMap<Grantee, BTreeSet<&'static str>> = BTreeMap::new();
        let mut missing = wanted.clone();
        for item in database.acl.iter().filter(|item| !is_left_alone(item)) {
            let Some(privilege) = database_privilege(&item.privilege) else { continue };
            let is_wanted = match &item.grantee {
                Grantee::Public => false,
                Grantee::Role(role) => wanted.get(role).is_some_and(|wanted| wanted.contains(privilege)),
            };
            if !is_wanted {
                unwanted.entry(item.grantee.clone()).or_default().insert(privilege);
            } else if item.grantable {
                grant_options.entry(item.grantee.clone()).or_default().insert(privilege);
            }
            if let Grantee::Role(role) = &item.grantee
                && let Some(missing) = missing.get_mut(role)
            {
                missing.remove(privilege);
            }
        }
        missing.retain(|role, _| *role != database.owner);
        let change =
            |(privileges, grantees), grant_option_only| DatabaseGrant { grantees, privileges: Some(privileges), grant_option_only };
        // Taking the right to pass on comes first, because it cascades to what was passed on.
        let revoke: Vec<DatabaseGrant> = by_privileges(&grant_options)
            .into_iter()
            .map(|group| change(group, true))
            .chain(by_privileges(&unwanted).into_iter().map(|group| change(group, false)))
            .collect();
        let missing: BTreeMap<Grantee, _> = missing.into_iter().map(|(role, missing)| (Grantee::Role(role), missing)).collect();
        let grant: Vec<DatabaseGrant> = by_privileges(&missing).into_iter().map(|group| change(group, false)).collect();
        let nothing = revoke.is_empty() && grant.is_empty();
        (!nothing).then(|| Action::FenceDatabase { database: name.clone(), revoke, grant })
    }

    /// The wanted locale, where the server has it.
    fn locale(&mut self) -> Option<String> {
        let wanted = &self.spec.settings.collation;
        let same = |known: &String| normalise_locale(known) == normalise_locale(wanted);
        let found = self.inventory.locales.known().is_some_and(|locales| locales.iter().any(same));
        if found {
            return Some(wanted.clone());
        }
        let code = Code::PLAN_LOCALE;
        if self.diagnostics.iter().all(|diagnostic| diagnostic.code != code) {
            let default = &self.inventory.server.default_collation;
            self.diagnostics.push(
                Diagnostic::warning(code, format!("the server does not have the locale \"{wanted}\""))
                    .detail(format!("New databases sort by \"{default}\", the server's default."))
                    .hint(
                        "Generate the locale on the server's machine and restart the server, or set collation to one that it has.",
                    ),
            );
        }
        None
    }

    fn check_immutable(&mut self, service: &Service) {
        let Some(database) = self.inventory.databases.get(&service.database) else { return };
        if database.encoding != "UTF8" {
            self.diagnostics.push(
                Diagnostic::warning(
                    Code::PLAN_IMMUTABLE,
                    format!("database \"{}\" has encoding {}, not UTF8", service.database, database.encoding),
                )
                .at(service.place.clone())
                .hint("An encoding can only be changed by a dump and restore into a new database."),
            );
        }
    }
}

fn public(privilege: &str, grantor: &RoleName) -> AclItem {
    AclItem { grantee: Grantee::Public, grantor: grantor.clone(), privilege: privilege.to_owned(), grantable: false }
}

/// The privileges that exist on a database.
pub(super) fn database_privilege(text: &str) -> Option<&'static str> {
    ["CONNECT", "CREATE", "TEMPORARY"].into_iter().find(|privilege| *privilege == text)
}

/// `en_US.UTF-8` and `en_US.utf8` are one locale.
fn normalise_locale(name: &str) -> String {
    match name.split_once('.') {
        Some((language, codeset)) => format!("{language}.{}", codeset.to_lowercase().replace('-', "")),
        None => name.to_owned(),
    }
}
