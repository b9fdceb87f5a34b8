//! How the islands stand right now: what `pgisle status` shows.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::inventory::{Database, Inventory, Readable};
use crate::marker::Kind;
use crate::name::{DatabaseName, RoleName, ServiceName};
use crate::spec::{Service, Spec};

/// Who is connected, and how large the databases are. Reading it is the engine's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Activity {
    /// Sessions by database and login, in that order.
    pub sessions: Vec<Sessions>,
    /// Bytes on disk by database.
    pub bytes: BTreeMap<DatabaseName, Readable<u64>>,
}

/// The sessions of one login in one database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sessions {
    /// The database.
    pub database: DatabaseName,
    /// The login.
    pub role: RoleName,
    /// How many.
    pub count: u64,
}

impl Activity {
    /// Sessions in a database, whoever's they are.
    #[must_use]
    pub fn in_database(&self, database: &DatabaseName) -> u64 {
        self.sessions.iter().filter(|sessions| sessions.database == *database).map(|sessions| sessions.count).sum()
    }

    /// Sessions of a login, wherever they are.
    #[must_use]
    pub fn of_role(&self, role: &RoleName) -> u64 {
        self.sessions.iter().filter(|sessions| sessions.role == *role).map(|sessions| sessions.count).sum()
    }
}

/// How everything stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// `server_version`.
    pub server_version: String,
    /// Sessions of all logins in all databases.
    pub sessions: u64,
    /// What the server has for those who are not superusers.
    pub usable_connections: u32,
    /// The services of the file, then those that left it.
    pub services: Vec<ServiceStatus>,
    /// The monitoring login, when the file wants one.
    pub monitoring: Option<LoginStatus>,
    /// Databases that are neither pgisle's nor the server's own.
    pub others: Vec<DatabaseName>,
}

/// How one island stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceStatus {
    /// The service.
    pub service: ServiceName,
    /// Its state.
    pub state: State,
    /// Its database.
    pub database: DatabaseName,
    /// Bytes on disk; none when it does not exist or may not be read.
    pub bytes: Option<u64>,
    /// Sessions in its database.
    pub connections: u64,
    /// Sessions that its database takes; none without a limit.
    pub connection_limit: Option<u32>,
    /// Its logins that exist.
    pub logins: Vec<LoginStatus>,
}

/// The state of an island.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is there and open to its service.
    Ready,
    /// The file wants it and it is not there.
    Missing,
    /// It is there and takes no connection: its making was interrupted.
    Closed,
    /// It is what an interrupted DROP DATABASE left.
    Invalid,
    /// A database of this name is there and is not pgisle's.
    Foreign,
    /// It is not in the file, or was not, and is kept, fenced.
    Retired,
    /// It has left the file, and no apply has been since.
    Leaving,
}

impl State {
    /// As a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Missing => "missing",
            Self::Closed => "closed",
            Self::Invalid => "invalid",
            Self::Foreign => "foreign",
            Self::Retired => "retired",
            Self::Leaving => "leaving",
        }
    }
}

/// How one login stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LoginStatus {
    /// The login.
    pub role: RoleName,
    /// True when it may log in.
    pub enabled: bool,
    /// Its sessions.
    pub connections: u64,
    /// Sessions that it may hold; none without a limit.
    pub connection_limit: Option<u32>,
}

/// Puts together what the file wants and what was seen.
#[must_use]
pub fn status(spec: &Spec, inventory: &Inventory, activity: &Activity) -> Status {
    let mut services: Vec<ServiceStatus> =
        spec.services.values().map(|service| wanted(service, spec, inventory, activity)).collect();
    services.extend(departed(spec, inventory, activity));
    let monitoring = spec.settings.create_monitoring_user.then(|| login(&spec.settings.monitoring_user(), inventory, activity));
    Status {
        server_version: inventory.server.version.clone(),
        sessions: activity.sessions.iter().map(|sessions| sessions.count).sum(),
        usable_connections: inventory.server.usable_connections(),
        services,
        monitoring: monitoring.flatten(),
        others: others(spec, inventory),
    }
}

fn wanted(service: &Service, spec: &Spec, inventory: &Inventory, activity: &Activity) -> ServiceStatus {
    use crate::credential::Slot;
    let database = inventory.databases.get(&service.database);
    let state = database.map_or(State::Missing, |database| state_of(database, spec));
    let roles = [service.login(Slot::A), service.login(Slot::B), service.migrator()];
    island(&service.name, state, &service.database, &roles, inventory, activity)
}

fn state_of(database: &Database, spec: &Spec) -> State {
    let settings = &spec.settings;
    match database.marker() {
        _ if database.is_invalid() => State::Invalid,
        // A database that was interrupted before it got its marker is closed as well.
        None if !database.allow_connections => State::Closed,
        None => State::Foreign,
        Some(marker) if !marker.same_owner(&settings.name_prefix, settings.environment.as_str()) => State::Foreign,
        Some(marker) if marker.retired => State::Retired,
        Some(_) if !database.allow_connections => State::Closed,
        Some(_) => State::Ready,
    }
}

/// Services that pgisle made for this project and environment, and that the file no longer has.
fn departed(spec: &Spec, inventory: &Inventory, activity: &Activity) -> Vec<ServiceStatus> {
    let settings = &spec.settings;
    let mut departed = Vec::new();
    for (name, database) in &inventory.databases {
        let Some(marker) =
            database.marker().filter(|marker| marker.same_owner(&settings.name_prefix, settings.environment.as_str()))
        else {
            continue;
        };
        let Some(service) = marker.service.filter(|service| !spec.services.contains_key(service)) else { continue };
        let state = if marker.retired { State::Retired } else { State::Leaving };
        let roles: Vec<RoleName> = inventory
            .roles
            .iter()
            .filter(|(_, role)| {
                role.marker().is_some_and(|marker| {
                    marker.service.as_ref() == Some(&service) && matches!(marker.kind, Kind::Login | Kind::Migrator)
                })
            })
            .map(|(role, _)| role.clone())
            .collect();
        departed.push(island(&service, state, name, &roles, inventory, activity));
    }
    departed
}

fn island(
    service: &ServiceName,
    state: State,
    database: &DatabaseName,
    roles: &[RoleName],
    inventory: &Inventory,
    activity: &Activity,
) -> ServiceStatus {
    let seen = inventory.databases.get(database);
    ServiceStatus {
        service: service.clone(),
        state,
        database: database.clone(),
        bytes: activity.bytes.get(database).and_then(|bytes| bytes.known().copied()),
        connections: activity.in_database(database),
        connection_limit: seen.and_then(|database| u32::try_from(database.connection_limit).ok()),
        logins: roles.iter().filter_map(|role| login(role, inventory, activity)).collect(),
    }
}

fn login(role: &RoleName, inventory: &Inventory, activity: &Activity) -> Option<LoginStatus> {
    let seen = inventory.roles.get(role)?;
    Some(LoginStatus {
        role: role.clone(),
        enabled: seen.login,
        connections: activity.of_role(role),
        connection_limit: u32::try_from(seen.connection_limit).ok(),
    })
}

fn others(spec: &Spec, inventory: &Inventory) -> Vec<DatabaseName> {
    let is_other = |name: &DatabaseName, database: &Database| {
        !name.is_reserved()
            && database.marker().is_none()
            && *name != spec.settings.maintenance_database
            && !spec.services.values().any(|service| service.database == *name)
    };
    inventory.databases.iter().filter(|(name, database)| is_other(name, database)).map(|(name, _)| name.clone()).collect()
}
