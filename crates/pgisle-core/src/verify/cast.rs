//! Who is who on the cluster: which roles belong to which island, who is trusted, and what each database is to a service.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::credential::Slot;
use crate::inventory::{AclItem, Grantee, Inventory};
use crate::marker::Marker;
use crate::name::{DatabaseName, RoleName, ServiceName};
use crate::spec::{MonitoringAccess, Service, Spec};

use super::leak::Who;

/// What a role is to the islands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// It is one of an island's own roles.
    Island(&'a ServiceName),
    /// It is the monitoring login.
    Monitoring,
    /// It stands above the islands: administrator, superuser, or trusted by the spec.
    Above,
    /// It is one of PostgreSQL's own (`pg_…`).
    Predefined,
    /// It is someone else's.
    Outsider,
}

/// What a database is to the services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing<'a> {
    /// It is an island.
    Island(&'a Service),
    /// A restore of the island fills it, or has replaced it: as much of the island's data lies in it.
    Restored(&'a Service),
    /// It is the shared database that services are split out of.
    Shared,
    /// Every cluster is born with it.
    Maintenance,
    /// It is someone else's.
    Other,
}

/// A login that pgisle gives to someone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Login<'a> {
    pub(super) role: RoleName,
    /// Its service; none for the monitoring login.
    pub(super) service: Option<&'a Service>,
    pub(super) kind: LoginKind,
}

/// Which login of its service it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LoginKind {
    /// The service's own, slot A.
    A,
    /// The service's own, slot B.
    B,
    /// The migrations'.
    Migrator,
    /// The monitoring login.
    Monitoring,
}

impl Login<'_> {
    pub(super) fn who(&self) -> Who {
        match self.service {
            Some(service) => Who::Service { service: service.name.clone(), login: self.role.clone() },
            None => Who::Monitoring { login: self.role.clone() },
        }
    }
}

/// Everyone, looked up once.
pub(super) struct Cast<'a> {
    pub(super) spec: &'a Spec,
    pub(super) inventory: &'a Inventory,
    islands: BTreeMap<RoleName, &'a ServiceName>,
    databases: BTreeMap<&'a DatabaseName, &'a Service>,
    restored: BTreeMap<&'a DatabaseName, &'a Service>,
    monitoring: Option<RoleName>,
}

impl<'a> Cast<'a> {
    pub(super) fn new(spec: &'a Spec, inventory: &'a Inventory) -> Self {
        let mut islands = BTreeMap::new();
        for service in spec.services.values() {
            for role in [service.owner(), service.application(), service.login(Slot::A), service.login(Slot::B), service.migrator()]
            {
                islands.insert(role, &service.name);
            }
        }
        // While a service is restored, the login that fills its new database is its own, too. The marker says so, not the name.
        let of_restore = |marker: Option<Marker>| {
            let marker = marker.filter(|it| it.kind.is_of_job())?;
            let is_ours = marker.same_owner(&spec.settings.name_prefix, spec.settings.environment.as_str());
            spec.services.get(&marker.service?).filter(|_| is_ours)
        };
        for (name, role) in &inventory.roles {
            if let Some(service) = of_restore(role.marker()) {
                islands.entry(name.clone()).or_insert(&service.name);
            }
        }
        let restored = inventory.databases.iter();
        let restored = restored.filter_map(|(name, database)| Some((name, of_restore(database.marker())?))).collect();
        let databases = spec.services.values().map(|service| (&service.database, service)).collect();
        let monitoring = spec.settings.create_monitoring_user.then(|| spec.settings.monitoring_user());
        Self { spec, inventory, islands, databases, restored, monitoring }
    }

    /// The logins that exist, in the order of their services.
    pub(super) fn logins(&self) -> Vec<Login<'a>> {
        let of_service = |service: &'a Service| {
            let kinds = [
                (service.login(Slot::A), LoginKind::A),
                (service.login(Slot::B), LoginKind::B),
                (service.migrator(), LoginKind::Migrator),
            ];
            kinds.into_iter().map(move |(role, kind)| Login { role, service: Some(service), kind })
        };
        let monitoring = self.monitoring.clone().map(|role| Login { role, service: None, kind: LoginKind::Monitoring });
        self.spec
            .services
            .values()
            .flat_map(of_service)
            .chain(monitoring)
            .filter(|login| self.inventory.roles.contains_key(&login.role))
            .collect()
    }

    pub(super) fn part(&self, role: &RoleName) -> Part<'a> {
        if let Some(service) = self.islands.get(role) {
            return Part::Island(service);
        }
        if self.monitoring.as_ref() == Some(role) {
            return Part::Monitoring;
        }
        let settings = &self.spec.settings;
        let superuser = self.inventory.roles.get(role).is_some_and(|role| role.superuser);
        let administrator = *role == self.inventory.admin.role || *role == settings.postgres_username;
        if superuser || administrator || settings.trusted_roles.contains(role) {
            Part::Above
        } else if role.as_str().starts_with("pg_") {
            Part::Predefined
        } else {
            Part::Outsider
        }
    }

    /// The island that a role belongs to.
    pub(super) fn island_of(&self, role: &RoleName) -> Option<&'a Service> {
        self.islands.get(role).and_then(|name| self.spec.services.get(*name))
    }

    pub(super) fn standing(&self, database: &DatabaseName) -> Standing<'a> {
        let settings = &self.spec.settings;
        if let Some(service) = self.databases.get(database) {
            Standing::Island(service)
        } else if let Some(service) = self.restored.get(database) {
            Standing::Restored(service)
        } else if *database == settings.postgres_database {
            Standing::Shared
        } else if is_maintenance(database) || *database == settings.maintenance_database {
            Standing::Maintenance
        } else {
            Standing::Other
        }
    }

    /// True when a role may have privileges in an island: it is the island's own, watches it, or stands above.
    pub(super) fn belongs(&self, role: &RoleName, island: &Service) -> bool {
        match self.part(role) {
            Part::Island(service) => *service == island.name,
            Part::Monitoring | Part::Above => true,
            Part::Predefined | Part::Outsider => false,
        }
    }

    /// Who a role is in a leak's words, when it is no service acting by itself.
    pub(super) fn who(&self, role: &RoleName) -> Who {
        match self.part(role) {
            Part::Island(service) => Who::Service { service: service.clone(), login: role.clone() },
            Part::Monitoring => Who::Monitoring { login: role.clone() },
            Part::Above | Part::Predefined | Part::Outsider => Who::Outsider { role: role.clone() },
        }
    }

    /// True when PUBLIC may connect to a database.
    pub(super) fn public_connects(&self, database: &DatabaseName) -> bool {
        self.inventory.databases.get(database).is_some_and(|database| {
            database.allow_connections
                && database.acl.iter().any(|item| item.grantee == Grantee::Public && item.privilege == "CONNECT")
        })
    }

    /// Predefined roles that the monitoring login is meant to have.
    pub(super) fn monitoring_may_have(&self, role: &RoleName) -> bool {
        let statistics = ["pg_monitor", "pg_read_all_settings", "pg_read_all_stats", "pg_stat_scan_tables"];
        statistics.contains(&role.as_str())
            || (role.as_str() == "pg_read_all_data" && self.spec.settings.monitoring_access == MonitoringAccess::Data)
    }
}

/// True for the databases that every cluster is born with and that take connections.
fn is_maintenance(database: &DatabaseName) -> bool {
    matches!(database.as_str(), "postgres" | "template1")
}

/// The privileges of some ACL items that one of `roles` holds, as `CONNECT, TEMPORARY`, with whether any is grantable.
pub(super) fn privileges_of<'i>(items: impl IntoIterator<Item = &'i AclItem>, grantee: &Grantee) -> (Vec<&'i str>, bool) {
    let mut privileges = Vec::new();
    let mut grantable = false;
    for item in items.into_iter().filter(|item| item.grantee == *grantee) {
        if !privileges.contains(&item.privilege.as_str()) {
            privileges.push(item.privilege.as_str());
        }
        grantable |= item.grantable;
    }
    privileges.sort_unstable();
    (privileges, grantable)
}
