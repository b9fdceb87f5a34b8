//! How the islands stand right now: what `pgisle status` shows.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::backup::restore::{Leftover, leftovers};
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
    /// Databases and logins that restores have left.
    pub leftovers: Vec<LeftoverStatus>,
    /// Databases that are neither pgisle's nor the server's own.
    pub others: Vec<DatabaseName>,
}

/// Something that a restore left, and what it takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftoverStatus {
    /// What it is.
    #[serde(flatten)]
    pub leftover: Leftover,
    /// Bytes on disk; none for a login, or when it may not be read.
    pub bytes: Option<u64>,
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
        leftovers: leftovers(inventory, &spec.settings.name_prefix, spec.settings.environment.as_str())
            .into_iter()
            .map(|leftover| {
                let bytes = leftover.database().and_then(|name| activity.bytes.get(name)?.known().copied());
                LeftoverStatus { leftover, bytes }
            })
            .collect(),
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
        if marker.kind.is_of_job() {
            continue;
        }
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::inventory::{Admin, Role, Server};
    use crate::marker::Marker;
    use crate::spec::{LayerKind, SPEC_FILE, Sources, load};

    fn spec() -> Spec {
        let mut sources = Sources::new();
        sources.push(LayerKind::SpecFile, SPEC_FILE, "service \"users\" {\n}\nservice \"chat\" {\n}\n");
        load(&sources).spec.unwrap()
    }

    fn database(marker: Option<Marker>) -> Database {
        Database {
            owner: RoleName::observed("postgres"),
            encoding: "UTF8".to_owned(),
            collate: "C".to_owned(),
            ctype: "C".to_owned(),
            allow_connections: true,
            is_template: false,
            connection_limit: 100,
            acl: std::collections::BTreeSet::new(),
            acl_is_default: false,
            comment: marker.map(|marker| marker.to_comment()),
            settings: BTreeMap::new(),
        }
    }

    fn inventory() -> Inventory {
        Inventory {
            server: Server {
                version_num: 170_006,
                version: "17.6".to_owned(),
                system_identifier: Readable::Known("1".to_owned()),
                in_recovery: false,
                max_connections: 100,
                superuser_reserved_connections: 3,
                reserved_connections: 0,
                wal_level: "replica".to_owned(),
                default_collation: "C".to_owned(),
            },
            admin: Admin {
                role: RoleName::observed("postgres"),
                superuser: true,
                create_role: true,
                create_db: true,
                cloud_superuser: false,
            },
            roles: BTreeMap::new(),
            memberships: Vec::new(),
            databases: BTreeMap::new(),
            available_extensions: Readable::Known(BTreeMap::new()),
            locales: Readable::Known(std::collections::BTreeSet::new()),
            contents: BTreeMap::new(),
            hidden: BTreeMap::new(),
        }
    }

    fn login_role(marker: &Marker) -> Role {
        Role {
            login: true,
            superuser: false,
            inherit: true,
            create_role: false,
            create_db: false,
            replication: false,
            bypass_rls: false,
            connection_limit: 50,
            valid_until: None,
            comment: Some(marker.to_comment()),
            settings: BTreeMap::new(),
            database_settings: BTreeMap::new(),
            verifier: Readable::Known(None),
        }
    }

    fn marker(service: &str, kind: Kind) -> Marker {
        Marker { service: Some(ServiceName::parse(service).unwrap()), ..Marker::new("link", "development", kind) }
    }

    #[test]
    fn every_state_is_told_apart() {
        let spec = spec();
        let name = |text: &str| DatabaseName::new(text).unwrap();
        let ours = marker("users", Kind::Database);
        let states: [(&str, Option<Database>, State); 7] = [
            ("absent", None, State::Missing),
            ("ours", Some(database(Some(ours.clone()))), State::Ready),
            ("closed", Some(Database { allow_connections: false, ..database(Some(ours.clone())) }), State::Closed),
            ("half made", Some(Database { allow_connections: false, ..database(None) }), State::Closed),
            ("half dropped", Some(Database { connection_limit: -2, ..database(Some(ours.clone())) }), State::Invalid),
            ("somebody's", Some(database(None)), State::Foreign),
            ("retired", Some(database(Some(Marker { retired: true, ..ours }))), State::Retired),
        ];
        for (case, database, expected) in states {
            let databases = database.map(|database| (name("link_users"), database)).into_iter().collect();
            let inventory = Inventory { databases, ..inventory() };
            let activity = Activity { sessions: Vec::new(), bytes: BTreeMap::new() };
            let status = status(&spec, &inventory, &activity);
            let users = status.services.iter().find(|service| service.service.as_str() == "users").unwrap();
            assert_eq!(users.state, expected, "{case}");
        }
    }

    #[test]
    fn sessions_departed_services_and_strangers_are_listed() {
        let name = |text: &str| DatabaseName::new(text).unwrap();
        let role = |text: &str| RoleName::new(text).unwrap();
        let old = marker("search", Kind::Database);
        let inventory = Inventory {
            databases: [
                (name("link_search"), database(Some(old))),
                (name("analytics"), database(None)),
                (name("postgres"), database(None)),
            ]
            .into(),
            roles: [
                (role("link_search_user"), login_role(&marker("search", Kind::Login))),
                (role("link_search_owner"), login_role(&marker("search", Kind::Owner))),
            ]
            .into(),
            ..inventory()
        };
        let sessions = |database: &str, user: &str, count| Sessions { database: name(database), role: role(user), count };
        let activity = Activity {
            sessions: vec![sessions("link_search", "link_search_user", 3), sessions("link_search", "postgres", 1)],
            bytes: [(name("link_search"), Readable::Known(8192))].into(),
        };
        let status = status(&spec(), &inventory, &activity);
        let search = status.services.last().unwrap();
        assert_eq!((search.state, search.connections, search.bytes), (State::Leaving, 4, Some(8192)));
        let logins: Vec<(&str, u64)> = search.logins.iter().map(|login| (login.role.as_str(), login.connections)).collect();
        assert_eq!(logins, [("link_search_user", 3)]);
        assert_eq!(status.others, [name("analytics")]);
        assert_eq!((status.sessions, status.usable_connections), (4, 97));
    }
}
