//! The private server: started on an unpacked backup, fed with the log until it has reached the time, asked, stopped.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use super::choose::Chosen;
use super::error::RecoverError;
use super::feed::Feed;
use super::place::Place;
use super::{Live, Request};
use crate::event::{Event, Events};
use crate::fault;
use crate::local::server::{self, StopMode};
use crate::local::{Installation, LocalError, surroundings};
use crate::postgres::conninfo::Host;
use crate::postgres::{ConnectOptions, Session};
use crate::process::{Account, Invocation};

/// Of a socket in a private folder it is only a part of the name.
const PORT: u16 = 5432;

/// Between two looks while there is nothing to do.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How often whoever watches is told.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// A server that replays says how far it is every ten seconds, and asks for a file of the log every few. One that does neither for
/// so long waits for what does not come.
const STILL_MAX: Duration = Duration::from_secs(600);

/// Sessions of the private server: a lock, a snapshot, pg_dump, and some more.
const MAX_CONNECTIONS: &str = "30";

/// A dump locks every table at once. With 30 sessions this is enough for 30,000, and takes 10 MB.
const MAX_LOCKS_PER_TRANSACTION: &str = "1024";

/// Everything that is not as a server would have it, but for what depends on the recovery. Nothing of the cluster's own files counts:
/// they may name libraries that run jobs, files that are elsewhere, and standbys that are waited for.
const SETTINGS: [(&str, &str); 22] = [
    ("listen_addresses", ""),
    ("unix_socket_permissions", "0700"),
    ("ssl", "off"),
    ("max_connections", MAX_CONNECTIONS),
    ("max_locks_per_transaction", MAX_LOCKS_PER_TRANSACTION),
    ("shared_buffers", "64MB"),
    ("shared_preload_libraries", ""),
    ("session_preload_libraries", ""),
    ("logging_collector", "off"),
    ("log_destination", "stderr"),
    // The log is read for what it says.
    ("lc_messages", "C"),
    ("log_timezone", "UTC"),
    ("archive_mode", "off"),
    ("primary_conninfo", ""),
    ("max_wal_senders", "0"),
    // Subscriptions would take from their publishers what is the cluster's.
    ("max_logical_replication_workers", "0"),
    // Whoever was at work at that time is not there any more, and the locks of a standby would be held for ever.
    ("hot_standby", "off"),
    ("recovery_target_action", "promote"),
    // It is thrown away after a crash, as after anything else.
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("synchronous_commit", "off"),
    ("autovacuum", "off"),
];

/// What a recovery works with.
pub(super) struct Scratch<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) place: &'a Place,
    pub(super) installation: &'a Installation,
    pub(super) chosen: &'a Chosen,
    pub(super) live: &'a Live,
    pub(super) events: Events<'a>,
}

/// A private server that has reached its time. It ends when this is dropped, or when we do.
pub(super) struct Running {
    pub(super) connect: ConnectOptions,
    /// Files of the log that it was served.
    pub(super) files: u64,
    _process: Process,
    data: PathBuf,
}

impl Running {
    /// When the last transaction was committed that it has replayed.
    pub(super) async fn last_transaction(&self) -> Result<Option<String>, RecoverError> {
        const LAST: &str = "SELECT pg_catalog.to_char(pg_catalog.pg_last_xact_replay_timestamp() AT TIME ZONE 'UTC', \
            'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
        let ask = |diagnostic| RecoverError::Ask(Box::new(diagnostic));
        let session = Box::pin(Session::connect(&self.connect)).await.map_err(|error| ask(error.diagnostic()))?;
        let failed = |error| ask(crate::postgres::connect::query_diagnostic("the private server does not answer", &error));
        let rows = session.query(LAST, &[]).await.map_err(failed)?;
        session.close().await;
        rows.first().map_or(Ok(None), |row| row.try_get(0)).map_err(failed)
    }

    pub(super) async fn stop(self) -> Result<(), LocalError> {
        server::stop(&self.data, StopMode::Immediate).await
    }
}

/// Whether anything happens.
struct Pulse {
    patience: Duration,
    since: tokio::time::Instant,
    /// What was asked for, and how much was said.
    last: (u64, u64),
}

impl Pulse {
    fn new() -> Self {
        Self { patience: fault::patience(STILL_MAX), since: tokio::time::Instant::now(), last: (0, 0) }
    }

    /// True when nothing has happened for too long. While we are busy ourselves, it is not the server that is waited for.
    fn is_still(&mut self, is_busy: bool, now: (u64, u64)) -> bool {
        if is_busy || now != self.last {
            (self.since, self.last) = (tokio::time::Instant::now(), now);
        }
        self.since.elapsed() > self.patience
    }
}

/// The server's process, and the guard that ends it when we are gone, however we go.
struct Process {
    child: Child,
    guard: Option<Child>,
    data: PathBuf,
}

impl Drop for Process {
    fn drop(&mut self) {
        server::kill(&self.data);
        let _reaped = self.child.wait();
        if let Some(mut guard) = self.guard.take() {
            let _gone = guard.kill();
            let _reaped = guard.wait();
        }
    }
}

impl Scratch<'_> {
    /// Starts the server and waits until it has reached the time. Started again, it goes on where it was.
    pub(super) async fn reach(&self) -> Result<Running, RecoverError> {
        let (events, place) = (self.events, self.place);
        let (data, log) = (place.data(), place.log());
        let mut feed = Feed::new(&place.feed(), place.account(), self.request.store, self.request.identities, self.chosen)?;
        self.configure(&data, &feed).await?;
        let log_start = log.metadata().map_or(0, |metadata| metadata.len());
        events(Event::Restoring("replaying the log"));
        let mut process = self.start(&data, &log)?;
        fault::stage("recover.started");
        let mut told = tokio::time::Instant::now();
        let mut pulse = Pulse::new();
        loop {
            let is_busy = feed.step().await?;
            let said = log.metadata().map_or(0, |metadata| metadata.len());
            if pulse.is_still(is_busy, (feed.asked, said)) {
                return Err(RecoverError::Still {
                    at: self.request.at,
                    patience: pulse.patience,
                    log_tail: server::log_tail(&log, log_start),
                });
            }
            if !matches!(process.child.try_wait(), Ok(None)) {
                return Err(self.ended(&feed, &log, log_start));
            }
            if server::postmaster(&data).is_some_and(|postmaster| !postmaster.recovering) {
                break;
            }
            if told.elapsed() > TELL_EVERY {
                told = tokio::time::Instant::now();
                let (done, total) = feed.progress();
                events(Event::Recovering { doing: "replaying the log", done, total });
            }
            if !is_busy {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        let maintenance = self.request.spec.settings.maintenance_database.clone();
        let host = Host::Socket(place.socket_folder());
        let connect = ConnectOptions::new(host, PORT, self.live.superuser.clone(), maintenance);
        Ok(Running { connect, files: feed.files, _process: process, data })
    }

    /// Writes all of the server's files of settings anew.
    async fn configure(&self, data: &Path, feed: &Feed<'_>) -> Result<(), RecoverError> {
        let account = self.place.account();
        let socket_folder = self.place.socket_folder();
        surroundings::own_folder(&socket_folder, account)?;
        let socket_folder = socket_folder.display().to_string();
        let (port, command) = (PORT.to_string(), feed.command());
        let (time, history) = (self.request.at.setting(), &self.chosen.history);
        // A timeline by its number takes a history file, which the first one that was archived may not have.
        let timeline = if history.ancestors.is_empty() { "current".to_owned() } else { history.timeline.to_string() };
        let prepared = self.prepared_transactions(data).await.max(self.live.max_prepared_transactions).to_string();
        let own = [
            ("port", port.as_str()),
            ("unix_socket_directories", &socket_folder),
            ("max_prepared_transactions", &prepared),
            ("restore_command", &command),
            ("recovery_target_time", &time),
            ("recovery_target_timeline", &timeline),
        ];
        let lines = server::setting_lines(&[SETTINGS.as_slice(), own.as_slice()].concat());
        let superuser = self.live.superuser.as_str().replace('"', "\"\"");
        for (name, text) in [
            ("postgresql.conf", format!("# Written by pgisle for a recovery.\n{lines}")),
            ("postgresql.auto.conf", String::new()),
            // Its socket is in a folder that is its account's alone.
            ("pg_hba.conf", format!("local all \"{superuser}\" trust\n")),
            ("pg_ident.conf", String::new()),
            ("recovery.signal", String::new()),
        ] {
            server::write_private(&data.join(name), &text, account)?;
        }
        for name in ["standby.signal", "postmaster.pid"] {
            let path = data.join(name);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(LocalError::file("remove", path)(error).into());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// How many prepared transactions the cluster could have when it was backed up; a server with less cannot take them over.
    async fn prepared_transactions(&self, data: &Path) -> u32 {
        let program = self.installation.invocation("pg_controldata").environment("LC_ALL", "C").argument("-D").argument(data);
        let Ok(output) = server::at_home(program, self.place.account(), data).run().await else { return 0 };
        let text = output.text();
        let line = text.lines().find_map(|line| line.strip_prefix("max_prepared_xacts setting:"));
        line.and_then(|number| number.trim().parse().ok()).unwrap_or_default()
    }

    fn start(&self, data: &Path, log: &Path) -> Result<Process, RecoverError> {
        let failed = |source| LocalError::Start { data: data.to_owned(), log_tail: String::new(), source };
        if !log.exists() {
            server::write_private(log, "", self.place.account())?;
        }
        let postgres = self.installation.invocation("postgres").argument("-D").argument(data);
        let child = server::at_home(postgres, self.place.account(), data).start(log).map_err(failed)?;
        let guard = guard(data, &child, self.place.account());
        Ok(Process { child, guard, data: data.to_owned() })
    }

    /// Why the server has ended.
    fn ended(&self, feed: &Feed<'_>, log: &Path, log_start: u64) -> RecoverError {
        let (at, log_tail) = (self.request.at, server::log_tail(log, log_start));
        if log_tail.contains("requested recovery stop point is before consistent recovery point") {
            return RecoverError::Inconsistent(at);
        }
        if !log_tail.contains("recovery ended before configured recovery target was reached") {
            return RecoverError::Died { at, log_tail };
        }
        match feed.absent {
            Some(missing) if self.chosen.archive.segments.keys().any(|there| self.is_behind(*there, missing)) => {
                RecoverError::Gap { at, missing, until: None }
            }
            _ => {
                let mut last = log_tail.lines().filter_map(|line| line.split_once("last completed transaction was at log time "));
                RecoverError::Ends { at, last: last.next_back().map(|(_, time)| time.trim().to_owned()), obstacle: None }
            }
        }
    }

    fn is_behind(&self, segment: pgisle_core::backup::wal::Segment, missing: pgisle_core::backup::wal::Segment) -> bool {
        let Chosen { size, history, .. } = self.chosen;
        size.number(segment) > size.number(missing) && history.segment(*size, size.number(segment)) == segment
    }
}

/// What ends a server: `sh -c SCRIPT DATA NUMBER`, once its input ends. The number is the server's when its lock file says so, which
/// it writes a moment after it was started.
const GUARD: &str = r#"read -r _
while kill -0 "$1" 2> /dev/null; do
    if [ "$(head -n 1 "$0/postmaster.pid" 2> /dev/null)" = "$1" ]; then
        kill -QUIT "$1"
        exit
    fi
    sleep 0.1 2> /dev/null || sleep 1
done
"#;

/// A process that ends the server as soon as we are gone, however we go.
fn guard(data: &Path, server: &Child, account: Option<&Account>) -> Option<Child> {
    let guard = Invocation::new("/bin/sh").arguments(["-c", GUARD]).argument(data).argument(server.id().to_string());
    guard.clean_environment().run_as(account).directory("/").start_tethered().ok()
}
