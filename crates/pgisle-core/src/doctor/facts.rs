//! What was seen on a server, as far as a checkup asks.

use serde::Deserialize;

/// What the server says of itself and of who is there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerFacts {
    /// `server_version`.
    pub version: String,
    /// Whether it is a standby.
    pub is_standby: bool,
    /// Whom it follows as a standby, where that can be read.
    pub upstream: Option<Upstream>,
    /// Whether we may see everything: as a superuser.
    pub is_superuser: bool,
    /// The version of TLS of our own session; none without TLS.
    pub tls: Option<String>,
    /// Its clock, milliseconds since 1970.
    pub clock_ms: i64,
    /// `max_connections`.
    pub max_connections: u32,
    /// Those that are not kept for superusers and the like.
    pub usable_connections: u32,
    /// `wal_level`.
    pub wal_level: String,
    /// `fsync`.
    pub fsync: bool,
    /// `full_page_writes`.
    pub full_page_writes: bool,
    /// Settings that were changed and wait for a restart.
    pub pending_restart: Vec<String>,
    /// `data_directory`, where we may know it.
    pub data_directory: Option<String>,
    /// The databases.
    pub databases: Vec<DatabaseFacts>,
    /// The logins.
    pub logins: Vec<LoginFacts>,
    /// Who holds the connections, most first.
    pub held: Vec<Held>,
    /// Who holds others up.
    pub blockers: Vec<Blocker>,
    /// The replication slots.
    pub slots: Vec<ReplicationSlot>,
    /// How archiving goes.
    pub archive: ArchiveFacts,
}

/// The server that a standby follows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Its address, as the standby sees it.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// A database.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseFacts {
    /// Its name.
    pub name: String,
    /// Connections that it takes.
    pub limit: Option<u32>,
    /// Connections that it has.
    pub sessions: u32,
    /// The version of its collation when it was made.
    pub collation_made: Option<String>,
    /// The version that the system has now.
    pub collation_now: Option<String>,
}

/// A role that logs in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginFacts {
    /// Its name.
    pub name: String,
    /// Connections that it may hold.
    pub limit: Option<u32>,
    /// Connections that it holds.
    pub sessions: u32,
}

/// Connections of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// The login.
    pub role: String,
    /// The database.
    pub database: String,
    /// What the program calls itself.
    pub application: String,
    /// How many.
    pub count: u32,
    /// How many of them do nothing.
    pub idle: u32,
}

/// A session that others wait for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blocker {
    /// Its server process.
    pub pid: i32,
    /// Its login.
    pub role: String,
    /// Its database.
    pub database: String,
    /// Whether it has a transaction open and does nothing.
    pub is_idle: bool,
    /// For how long its transaction has been open, seconds.
    pub open_s: u64,
    /// How many wait for it.
    pub waiting: u32,
}

/// A replication slot.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplicationSlot {
    /// Its name.
    pub name: String,
    /// Whether someone reads from it.
    pub is_active: bool,
    /// `wal_status`: `reserved`, `extended`, `unreserved` or `lost`.
    pub status: String,
    /// What of the log is kept for it.
    pub kept_bytes: u64,
}

/// How archiving goes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveFacts {
    /// Whether it is on.
    pub is_on: bool,
    /// Since the last success there was a failure.
    pub is_failing: bool,
    /// The file that could not be archived.
    pub failed_file: Option<String>,
    /// Failures since the statistics were reset.
    pub failures: u64,
}

/// An extension in a database.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtensionFacts {
    /// Its name.
    pub name: String,
    /// Its version in the database.
    pub installed: String,
    /// The version that the server's machine has; none when it has none.
    pub available: Option<String>,
    /// The libraries that its functions are in.
    pub libraries: Vec<LibraryFacts>,
}

/// A library on the server's machine.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LibraryFacts {
    /// As the functions name it: `$libdir/vector`.
    pub name: String,
    /// Whether its file is there; none when that cannot be known.
    pub is_there: Option<bool>,
}

/// A line of `pg_hba.conf` that the server does not understand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HbaFault {
    /// The file and line.
    pub place: String,
    /// What is wrong.
    pub error: String,
}

/// The client programs here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFacts {
    /// Those that fit the server, with their folder.
    pub fitting: Option<(String, String)>,
    /// The majors that are here.
    pub majors: Vec<u32>,
}
