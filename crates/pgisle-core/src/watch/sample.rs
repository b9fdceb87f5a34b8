//! What is seen at one moment. Reading it is the engine's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::moment::Moment;
use crate::name::{DatabaseName, RoleName};

/// What the server's statistics say.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ServerSample {
    /// `server_version`.
    pub version: String,
    /// Whether it is a standby.
    pub is_standby: bool,
    /// For how long it has run, seconds.
    pub uptime_s: u64,
    /// `max_connections`.
    pub max_connections: u32,
    /// What is left of it for those who are not superusers.
    pub usable_connections: u32,
    /// For how long archiving has failed without success behind it, seconds; none when it works, or is off.
    pub archive_failing_s: Option<u64>,
    /// The databases, by name.
    pub databases: BTreeMap<DatabaseName, DatabaseSample>,
    /// The logins' limits; none without one.
    pub login_limits: BTreeMap<RoleName, Option<u32>>,
    /// Sessions of clients, by database, login and state.
    pub sessions: Vec<SessionSample>,
    /// Standbys and others that receive the log.
    pub receivers: Vec<ReceiverSample>,
    /// Replication slots.
    pub slots: Vec<SlotSample>,
}

/// One database.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DatabaseSample {
    /// Bytes on disk; none when it may not be read.
    pub bytes: Option<u64>,
    /// Sessions that it takes; none without a limit.
    pub connection_limit: Option<u32>,
    /// Transactions since `VACUUM` froze the oldest: at two thousand million the server stops.
    pub frozen_age: u64,
    /// Counters since the statistics were reset.
    pub counters: Counters,
}

/// What a database has done since its statistics were reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Transactions that were committed.
    pub commits: u64,
    /// Transactions that were rolled back.
    pub rollbacks: u64,
    /// Blocks that came from the disk or the operating system.
    pub blocks_read: u64,
    /// Blocks that were in memory.
    pub blocks_hit: u64,
    /// Rows that were inserted, updated or deleted.
    pub rows_written: u64,
    /// Bytes of temporary files.
    pub temporary_bytes: u64,
    /// Deadlocks.
    pub deadlocks: u64,
}

/// The sessions of one login in one database that are in one state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionSample {
    /// The database.
    pub database: DatabaseName,
    /// The login.
    pub role: RoleName,
    /// The state.
    pub state: SessionState,
    /// How many.
    pub count: u32,
    /// For how long the oldest transaction of these has been open, seconds.
    pub oldest_transaction_s: Option<u64>,
}

/// What a session does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// It runs a statement.
    Active,
    /// It runs a statement and waits for a lock.
    Waiting,
    /// Nothing.
    Idle,
    /// Nothing, and a transaction is open.
    IdleInTransaction,
    /// It may not be read.
    Unknown,
}

impl SessionState {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 5] = [Self::Active, Self::Waiting, Self::IdleInTransaction, Self::Idle, Self::Unknown];

    /// As a word, for labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Waiting => "waiting",
            Self::Idle => "idle",
            Self::IdleInTransaction => "idle_in_transaction",
            Self::Unknown => "unknown",
        }
    }
}

/// One that receives the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiverSample {
    /// `application_name`.
    pub name: String,
    /// `startup`, `catchup`, `streaming`, `backup`, `stopping`.
    pub state: String,
    /// `async`, `sync`, `potential` or `quorum`.
    pub sync_state: String,
    /// Bytes of log that it has not replayed; none for one that replays nothing.
    pub behind_bytes: Option<u64>,
    /// The same as time, milliseconds.
    pub behind_ms: Option<u64>,
}

/// A replication slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotSample {
    /// Its name.
    pub name: String,
    /// Whether someone reads from it.
    pub is_active: bool,
    /// Whether the server has taken away what it was to keep.
    pub is_lost: bool,
    /// Bytes of log that the server keeps for it.
    pub kept_bytes: u64,
}

/// A pool of one PgBouncer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PoolSample {
    /// The PgBouncer, `host:port`.
    pub pooler: String,
    /// The alias that clients connect to.
    pub alias: String,
    /// The database that it leads to.
    pub database: String,
    /// The login.
    pub user: String,
    /// `session`, `transaction` or `statement`.
    pub mode: String,
    /// Clients that have a connection to the server, or need none now.
    pub clients_active: u32,
    /// Clients that wait for one.
    pub clients_waiting: u32,
    /// For how long the first of them has waited, milliseconds.
    pub longest_wait_ms: u64,
    /// Connections to the server that a client uses.
    pub servers_active: u32,
    /// Those that are free.
    pub servers_idle: u32,
    /// How many there may be, reserve included; none without a limit.
    pub size: Option<u32>,
}

/// A service's backups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct BackupSample {
    /// When the newest was made.
    pub newest: Option<Moment>,
    /// When the newest that was proved was made.
    pub proved: Option<Moment>,
    /// Its size in the store, bytes.
    pub bytes: u64,
    /// When it was last proved that the service can be brought back to a time.
    pub recovered: Option<Moment>,
}
