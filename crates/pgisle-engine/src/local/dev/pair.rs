//! The second server of a private cluster, and which of the two is the primary.
//!
//! What is written down decides that, not what runs: it is written before a standby is promoted and after the other's data directory
//! was fenced, so that at no point both could be started as servers that take writes. Whoever is killed in between has left a primary
//! that is still to be promoted, and the next [`super::up`] does it.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{DevCluster, Layout, Place, START_ATTEMPTS};
use crate::local::replica::{self, STANDBY_NAME, Source};
use crate::local::server::{self, StopMode};
use crate::local::{Installation, LocalError, surroundings};
use crate::postgres::Session;
use crate::process::Account;

/// How long a standby that was stopped may take to follow again, before it is rewound or copied anew.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// What a standby says in its log when its own log has gone another way than the primary's. It would ask again for ever.
const ASTRAY: [&str; 4] = [
    "forked off current database system timeline",
    "is ahead of the WAL flush position",
    "is not in this server's history",
    "is not a child of this server's history",
];

/// Whether the standby gets the log, and how far behind it is.
const FOLLOWER: &str = "SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), r.replay_lsn)::pg_catalog.int8, \
    (pg_catalog.date_part('epoch', r.replay_lag) * 1000)::pg_catalog.int8, r.sync_state = 'sync', r.pid \
    FROM pg_catalog.pg_stat_replication AS r WHERE r.application_name = $1 AND r.state = 'streaming' LIMIT 1";

/// The timeline that the primary writes.
const WRITTEN_TIMELINE: &str = "SELECT pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8)";

/// The timeline that a standby gets.
const RECEIVED_TIMELINE: &str = "SELECT pg_catalog.lpad(pg_catalog.upper(pg_catalog.to_hex(w.received_tli)), 8, '0') \
    FROM pg_catalog.pg_stat_wal_receiver AS w WHERE w.status = 'streaming'";

/// So that the primary keeps what the standby has not got yet.
const ENSURE_SLOT: &str = "SELECT pg_catalog.pg_create_physical_replication_slot($1::text::name, true) \
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = $1::text)";

/// Whether a server replays the log of another.
const IS_STANDBY: &str = "SELECT pg_catalog.pg_is_in_recovery()";

/// Makes a standby a primary, and waits for that.
const PROMOTE: &str = "SELECT pg_catalog.pg_promote(true, 60)";

/// One of the two servers. Either may be the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Node {
    /// The one that was made first.
    First,
    /// The one that was made as its copy.
    Second,
}

impl Node {
    /// The other one.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// What cannot be found out about two servers by looking at them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pair {
    /// Which of them is the primary.
    pub(crate) primary: Node,
    /// The other one's port.
    pub(crate) standby_port: u16,
    /// A failover is under way, or was broken off: what it made is still to be removed, and files may name the old primary.
    #[serde(default)]
    pub(crate) is_failing_over: bool,
}

impl Pair {
    /// The pair after the roles have changed.
    pub(crate) fn turned(self, primary_port: u16) -> Self {
        Self { primary: self.primary.other(), standby_port: primary_port, ..self }
    }
}

/// The other server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standby {
    /// Its port on the loopback interface.
    pub port: u16,
    /// Its data directory.
    pub data: std::path::PathBuf,
    /// Its log.
    pub log: std::path::PathBuf,
    /// How it is.
    pub state: StandbyState,
}

/// How a standby is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StandbyState {
    /// It does not run.
    Stopped,
    /// It runs, and does not get the primary's log.
    Waiting,
    /// It gets the log as it is written.
    Streaming(Follower),
}

/// How far behind a standby is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Follower {
    /// Bytes of the log that it has not replayed.
    pub behind_bytes: u64,
    /// The same as time; none when nothing was written lately.
    pub behind_ms: Option<u64>,
    /// Whether the primary waits for it with each commit.
    pub is_synchronous: bool,
    /// The primary's process that sends the log.
    pub(crate) sender: i32,
}

/// A server's settings as one of two.
pub(super) enum Part<'a> {
    /// It takes writes, and waits with each for the standby or not.
    Primary { is_synchronous: bool },
    /// It follows the primary.
    Standby(Source<'a>),
}

/// Writes a server's settings, all of them ours.
pub(super) fn write_settings(
    data: &Path,
    account: Option<&Account>,
    port: u16,
    socket_folder: &Path,
    part: &Part<'_>,
) -> Result<(), LocalError> {
    let (port, socket_folder) = (port.to_string(), socket_folder.display().to_string());
    let conninfo = match part {
        Part::Primary { .. } => String::new(),
        Part::Standby(source) => format!("{} application_name={STANDBY_NAME}", source.conninfo()),
    };
    let slot = if matches!(part, Part::Standby(_)) { STANDBY_NAME } else { "" };
    let waited_for = if matches!(part, Part::Primary { is_synchronous: true }) { STANDBY_NAME } else { "" };
    let settings = [
        ("listen_addresses", "127.0.0.1"),
        ("port", port.as_str()),
        ("unix_socket_directories", socket_folder.as_str()),
        ("unix_socket_permissions", "0700"),
        ("max_connections", "200"),
        // So that a split can follow changes.
        ("wal_level", "logical"),
        // So that a primary that was replaced can be rewound rather than copied anew.
        ("wal_log_hints", "on"),
        ("primary_conninfo", conninfo.as_str()),
        ("primary_slot_name", slot),
        ("synchronous_standby_names", waited_for),
        // A standby asks again soon: its primary is on this machine, and people wait.
        ("wal_retrieve_retry_interval", "500ms"),
    ];
    server::write_settings(data, account, &settings)
}

/// Asks the primary how the standby follows; none when it does not.
pub(crate) async fn follower(session: &Session) -> Result<Option<Follower>, LocalError> {
    let rows = session.query(FOLLOWER, &[&STANDBY_NAME]).await.map_err(LocalError::Query)?;
    let Some(row) = rows.first() else { return Ok(None) };
    let number = |value: i64| u64::try_from(value).unwrap_or_default();
    Ok(Some(Follower {
        behind_bytes: row.try_get::<_, Option<i64>>(0).map_err(LocalError::Query)?.map_or(0, number),
        behind_ms: row.try_get::<_, Option<i64>>(1).map_err(LocalError::Query)?.map(number),
        is_synchronous: row.try_get(2).map_err(LocalError::Query)?,
        sender: row.try_get(3).map_err(LocalError::Query)?,
    }))
}

/// Promotes the primary if it is a standby still, because whoever chose it did not come to it.
pub(super) async fn ensure_promoted(cluster: &DevCluster) -> Result<(), LocalError> {
    let session = Box::pin(Session::connect(&cluster.connect_options())).await.map_err(LocalError::Connect)?;
    // The lock file does not tell: a standby that lets readers in is as ready there as a primary.
    let is_standby = answer(&session, IS_STANDBY).await?;
    session.close().await;
    if is_standby { promote(cluster).await } else { Ok(()) }
}

/// Promotes a standby.
pub(super) async fn promote(cluster: &DevCluster) -> Result<(), LocalError> {
    let session = Box::pin(Session::connect(&cluster.connect_options())).await.map_err(LocalError::Connect)?;
    let is_promoted = answer(&session, PROMOTE).await?;
    session.close().await;
    if is_promoted { Ok(()) } else { Err(LocalError::Promote { log_tail: server::log_tail(&cluster.log, 0) }) }
}

async fn timeline(session: &Session, question: &'static str) -> Result<Option<String>, LocalError> {
    let rows = session.query(question, &[]).await.map_err(LocalError::Query)?;
    rows.first().map(|row| row.try_get(0)).transpose().map_err(LocalError::Query)
}

async fn answer(session: &Session, question: &'static str) -> Result<bool, LocalError> {
    let rows = session.query(question, &[]).await.map_err(LocalError::Query)?;
    rows.first().map_or(Ok(false), |row| row.try_get(0)).map_err(LocalError::Query)
}

/// Both servers, where they are.
pub(super) struct Two<'a> {
    pub(super) layout: &'a Layout,
    pub(super) place: &'a Place,
    pub(super) installation: &'a Installation,
    /// The primary, which runs.
    pub(super) primary: &'a DevCluster,
    pub(super) pair: Pair,
}

impl Two<'_> {
    /// Makes sure that the standby runs and follows: started, else rewound, else copied anew.
    pub(super) async fn ensure_standby(&mut self) -> Result<(), LocalError> {
        let account = self.layout.account();
        let node = self.pair.primary.other();
        let data = self.place.data(node);
        surroundings::own_folder(&self.place.folder(node), account)?;
        let session = Box::pin(Session::connect(&self.primary.connect_options())).await.map_err(LocalError::Connect)?;
        // One that was made to stand still, and whoever did it is gone.
        server::wake(&self.primary.data);
        self.prepare(&session).await?;
        let outcome = Box::pin(self.ensure_following(&session, node, &data)).await;
        session.close().await;
        outcome
    }

    /// What a standby needs of its primary.
    async fn prepare(&self, session: &Session) -> Result<(), LocalError> {
        self.write_passfile()?;
        session.query(ENSURE_SLOT, &[&STANDBY_NAME]).await.map_err(LocalError::Query).map(drop)
    }

    /// Makes a standby of the primary that was replaced.
    pub(super) async fn rejoin_anew(&mut self, session: &Session, node: Node) -> Result<(), LocalError> {
        self.prepare(session).await?;
        self.rejoin(session, node).await
    }

    async fn ensure_following(&mut self, session: &Session, node: Node, data: &Path) -> Result<(), LocalError> {
        let account = self.layout.account();
        if server::major_of(data).is_some() {
            if !replica::is_fenced(data) {
                return Err(LocalError::TwoPrimaries { known: self.primary.data.clone(), other: data.to_owned() });
            }
            if self.starts_and_follows(session, node).await? {
                return Ok(());
            }
            self.rejoin(session, node).await
        } else {
            surroundings::remove_folder(data)?;
            let (source, installation) = (self.passfile(), self.installation);
            replica::copy(installation, account, data, &self.source(&source)).await?;
            self.must_follow(session, node).await
        }
    }

    /// Makes a standby of a server that does not follow: it is stopped and rewound, and where that cannot be done, copied anew.
    async fn rejoin(&mut self, session: &Session, node: Node) -> Result<(), LocalError> {
        let (account, data, source) = (self.layout.account(), self.place.data(node), self.passfile());
        if server::stop(&data, StopMode::Fast).await.is_err() {
            server::kill(&data);
        }
        // Only then does the new primary's control file tell of its timeline, which pg_rewind reads.
        session.batch("CHECKPOINT").await.map_err(LocalError::Query)?;
        let rewound = replica::rewind(self.installation, account, &data, &self.source(&source)).await;
        if rewound.is_ok() && self.starts_and_follows(session, node).await? {
            return Ok(());
        }
        server::kill(&data);
        surroundings::remove_folder(&data)?;
        replica::copy(self.installation, account, &data, &self.source(&source)).await?;
        self.must_follow(session, node).await
    }

    async fn must_follow(&mut self, session: &Session, node: Node) -> Result<(), LocalError> {
        if self.starts_and_follows(session, node).await? {
            return Ok(());
        }
        Err(LocalError::Standby { log_tail: server::log_tail(&self.place.log(node), 0) })
    }

    /// Starts it, unless it runs, and sees whether it gets the log.
    async fn starts_and_follows(&mut self, session: &Session, node: Node) -> Result<bool, LocalError> {
        if server::postmaster(&self.place.data(node)).is_some() && self.follows(session, node).await? {
            return Ok(true);
        }
        let log = self.place.log(node);
        let log_start = log.metadata().map_or(0, |metadata| metadata.len());
        let source = self.passfile();
        let port = self.pair.standby_port;
        let started = self.start(node, port, |two| Part::Standby(two.source(&source))).await;
        self.pair.standby_port = match started {
            Ok(port) => port,
            // A log that went another way can keep it from starting at all.
            Err(LocalError::Start { log_tail, .. }) if ASTRAY.iter().any(|words| log_tail.contains(words)) => return Ok(false),
            Err(error) => return Err(error),
        };
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.follows(session, node).await? {
                return Ok(true);
            }
            let said = server::log_since(&log, log_start);
            if ASTRAY.iter().any(|words| said.contains(words)) {
                return Ok(false);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(false)
    }

    /// Whether it gets the log that the primary writes. One whose own log went another way gets what both have in common for a moment.
    async fn follows(&self, session: &Session, node: Node) -> Result<bool, LocalError> {
        if follower(session).await?.is_none() {
            return Ok(false);
        }
        let Some(postmaster) = server::postmaster(&self.place.data(node)) else { return Ok(false) };
        let standby = DevCluster { port: postmaster.port, ..self.primary.clone() };
        // While it starts it lets nobody in.
        let Ok(reader) = Box::pin(Session::connect(&standby.connect_options())).await else { return Ok(false) };
        let received = timeline(&reader, RECEIVED_TIMELINE).await?;
        reader.close().await;
        Ok(received.is_some() && received == timeline(session, WRITTEN_TIMELINE).await?)
    }

    /// Starts one of the two on a port, or on another one when that is taken; one that runs takes the settings. Gives the port.
    pub(super) async fn start<'s>(
        &'s self,
        node: Node,
        wanted: u16,
        part: impl Fn(&'s Self) -> Part<'s>,
    ) -> Result<u16, LocalError> {
        let (account, data, log) = (self.layout.account(), self.place.data(node), self.place.log(node));
        let socket_folder = self.place.socket_folder(node);
        if let Some(postmaster) = server::postmaster(&data) {
            write_settings(&data, account, postmaster.port, &postmaster.socket_folder, &part(self))?;
            server::reload(&data);
            return Ok(postmaster.port);
        }
        surroundings::own_folder(&socket_folder, account)?;
        server::clear_remains(&data, &socket_folder)?;
        let mut port = wanted;
        let mut attempt = 1;
        loop {
            if attempt > 1 || port == 0 || !server::is_free(port) {
                port = server::free_port()?;
            }
            write_settings(&data, account, port, &socket_folder, &part(self))?;
            match server::start(self.installation, account, &data, &log).await {
                Ok(()) => return Ok(port),
                Err(LocalError::Start { log_tail, .. }) if attempt < START_ATTEMPTS && server::is_port_taken(&log_tail) => {
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn passfile(&self) -> std::path::PathBuf {
        self.place.0.join("passfile")
    }

    fn source<'p>(&'p self, passfile: &'p Path) -> Source<'p> {
        Source { host: &self.primary.host, port: self.primary.port, user: self.primary.admin.as_str(), passfile }
    }

    fn write_passfile(&self) -> Result<(), LocalError> {
        let escaped = |text: &str| text.replace('\\', r"\\").replace(':', r"\:");
        let (user, password) = (escaped(self.primary.admin.as_str()), escaped(self.primary.password.expose()));
        let line = zeroize::Zeroizing::new(format!("*:*:*:{user}:{password}\n"));
        server::write_private(&self.passfile(), &line, self.layout.account())
    }
}
