//! A failover on the private cluster, provoked: its primary is killed under load, its standby is promoted, PgBouncer is led there, and
//! what was the primary comes back as a standby. Then the clients' ledgers are compared with what the servers hold.
//!
//! The services' own logins write through the project's own PgBouncer, because their way back is what is measured; what they write to
//! is a schema of the test's own. Killed at any point, the next `pgisle dev up` ends it.

mod scratch;
mod writer;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use pgisle_core::artifact::pooler_alias;
use pgisle_core::budget;
use pgisle_core::credential::Credentials;
use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::failover::{
    Entry, Kill, Log, OldPrimary, Pace, Report, Rows, ServiceBalance, StaleClient, Timeline, compare, latency,
};
use pgisle_core::name::{DatabaseName, ServiceName};
use pgisle_core::spec::{Service, Spec};
use pgisle_core::sql::failover::write;

use crate::fault;
use crate::local::dev::{self, StandbyState, Takeover};
use crate::local::{LocalError, server};
use crate::postgres::connect::{describe, query_diagnostic};
use crate::postgres::{ConnectOptions, Host, Session};
use scratch::Guest;
pub(crate) use scratch::sweep;
use writer::{Crew, Group};

/// Between two looks whether the primary lives.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A primary that does not answer a look within this time has not answered it.
const LOOK_PATIENCE: Duration = Duration::from_millis(500);

/// So many looks in a row without an answer, and it is taken for dead.
const MISSES: u32 = 3;

/// The stale client's pause between two writes.
const STALE_EVERY: Duration = Duration::from_millis(50);

/// For how long the stale client may go on finding the old primary, once that is there again.
const STALE_PATIENCE: Duration = Duration::from_secs(5);

/// How far a server has replayed a log that is not its own.
const REPLAYED: &str = "SELECT pg_catalog.pg_last_wal_replay_lsn()::pg_catalog.text";

/// Bytes of the log between two places in it.
const BETWEEN: &str = "SELECT GREATEST(0, \
    pg_catalog.pg_wal_lsn_diff($1::pg_catalog.text::pg_catalog.pg_lsn, $2::pg_catalog.text::pg_catalog.pg_lsn))::pg_catalog.int8";

/// What is asked for, and with what.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The project's folder.
    pub project: &'a Path,
    /// What is wanted.
    pub spec: &'a Spec,
    /// The logins' passwords.
    pub credentials: &'a Credentials,
    /// Where services are still at home that are being split out of the shared database.
    pub homes: &'a BTreeMap<ServiceName, DatabaseName>,
    /// How much of it.
    pub options: Options,
}

/// How much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whether every commit is to wait for the standby.
    pub is_synchronous: bool,
    /// Writes a second of each service.
    pub rate: u32,
    /// Clients of each service; no more than its pool has connections.
    pub clients: u32,
    /// How long is written before the kill, and after everything is as it was.
    pub duration: Duration,
    /// For how long the standby gets nothing of the log before the kill.
    pub held_back: Duration,
    /// How long services may take to come back, and the old primary to follow.
    pub timeout: Duration,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum FailoverError {
    /// It cannot be begun; nothing was killed.
    #[error("{}", .0.summary)]
    Refused(Box<Diagnostic>),
    /// It was begun and could not be ended.
    #[error("{}", .0.summary)]
    Broken(Box<Diagnostic>),
}

impl FailoverError {
    /// The finding to show.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Refused(diagnostic) | Self::Broken(diagnostic) => (**diagnostic).clone(),
        }
    }
}

/// Runs it.
///
/// # Errors
/// The private cluster is not as it must be, or a step failed; then `pgisle dev up` ends what was begun.
pub async fn run(request: &Request<'_>, progress: &(dyn Fn(&'static str) + Sync)) -> Result<Report, FailoverError> {
    progress("looking at both servers");
    let pooler_port = prepared(request).await?;
    let entrances = entrances(request, pooler_port)?;
    let takeover = Takeover::begin(request.project).await.map_err(|error| refused(error.diagnostic()))?;
    let takeover = takeover.ok_or_else(|| refused(no_standby()))?;
    let mut run = Run { request, takeover, entrances };
    let outcome = Box::pin(run.carry_out(progress)).await;
    outcome.map_err(|diagnostic| {
        let cause = diagnostic.brief();
        FailoverError::Broken(Box::new(
            Diagnostic::error(Code::FAILOVER_FAILED, "the failover was broken off")
                .detail(format!("{cause}."))
                .hint("End it; no row of yours is touched by that:")
                .command("pgisle dev up"),
        ))
    })
}

fn refused(diagnostic: Diagnostic) -> FailoverError {
    FailoverError::Refused(Box::new(diagnostic))
}

fn no_standby() -> Diagnostic {
    Diagnostic::error(Code::FAILOVER_REFUSED, "the private cluster has no standby")
        .detail("Nothing was killed: without a standby there is nobody to take over.")
        .hint("Give it one:")
        .command("pgisle dev up -standby")
}

/// Makes sure that there is all that it takes; gives PgBouncer's port.
async fn prepared(request: &Request<'_>) -> Result<u16, FailoverError> {
    let local = |error: LocalError| refused(error.diagnostic());
    let standby = dev::standby(request.project).await.map_err(local)?.ok_or_else(|| refused(no_standby()))?;
    if !matches!(standby.state, StandbyState::Streaming(_)) {
        let finding = Diagnostic::error(Code::FAILOVER_REFUSED, "the standby does not follow the primary");
        return Err(refused(finding.detail("Nothing was killed.").hint("Bring it back:").command("pgisle dev up -standby")));
    }
    let pooler = match dev::status(request.project).await.map_err(local)? {
        dev::Status::Running { pooler, .. } => pooler,
        _ => None,
    };
    pooler.map(|pooler| pooler.port).ok_or_else(|| {
        let finding = Diagnostic::error(Code::FAILOVER_REFUSED, "no PgBouncer is in front of the private cluster");
        let finding = finding.detail("Nothing was killed: the services' way back leads through it.");
        refused(finding.hint("Apply starts it, where it is installed and enable_pgbouncer is true:").command("pgisle apply -dev"))
    })
}

/// A service's way in.
struct Entrance {
    service: ServiceName,
    options: ConnectOptions,
    guest: Guest,
    clients: u32,
}

fn entrances(request: &Request<'_>, pooler_port: u16) -> Result<Vec<Entrance>, FailoverError> {
    let spec = request.spec;
    let entrance = |service: &Service| {
        let login = request.credentials.services.get(&service.name).map(|logins| &logins.active).ok_or_else(|| {
            let finding = format!("the password of service \"{}\" is not known here", service.name);
            refused(
                Diagnostic::error(Code::CREDENTIAL_MISSING, finding).hint("Apply makes its login:").command("pgisle apply -dev"),
            )
        })?;
        let alias = DatabaseName::observed(pooler_alias(service));
        let options = ConnectOptions::new(Host::Tcp("127.0.0.1".to_owned()), pooler_port, login.role.clone(), alias);
        let database = request.homes.get(&service.name).unwrap_or(&service.database).clone();
        Ok(Entrance {
            service: service.name.clone(),
            options: options.with_password(login.secret.clone()),
            // Sessions of the login act as the owner role, where it is a member of it.
            guest: Guest { database, roles: vec![login.role.clone(), service.owner()] },
            clients: request.options.clients.min(budget::pool(&spec.settings, service).size).max(1),
        })
    };
    let entrances: Vec<Entrance> = spec.services.values().map(entrance).collect::<Result<_, _>>()?;
    if entrances.is_empty() {
        return Err(refused(Diagnostic::error(Code::FAILOVER_REFUSED, "there is no service whose clients could write")));
    }
    Ok(entrances)
}

/// A failover under way. There is at least one service.
struct Run<'a> {
    request: &'a Request<'a>,
    takeover: Takeover,
    entrances: Vec<Entrance>,
}

/// When what was, microseconds since the load began.
struct Marks {
    synchronous_us: Option<u64>,
    kill: Kill,
    detected_us: u64,
    fenced_us: u64,
    promoted_us: u64,
    repointed_us: u64,
    written_us: Option<u64>,
    old_started_us: u64,
    rejoined_us: u64,
}

/// The old primary, started again.
struct Returned {
    refuses_writes: bool,
    said: String,
    rows: Rows,
    log: Log,
}

impl Run<'_> {
    async fn carry_out(&mut self, progress: &(dyn Fn(&'static str) + Sync)) -> Result<Report, Diagnostic> {
        let options = self.request.options;
        let guests: Vec<&Guest> = self.entrances.iter().map(|entrance| &entrance.guest).collect();
        progress("making tables to write to");
        scratch::make(&self.takeover.primary().connect_options(), &guests).await?;
        let old_port = self.takeover.primary().port;
        let crew = Crew::begin(self.groups(), old_port);
        progress("writing");
        fault::stage("failover.loading");
        let synchronous_us = Box::pin(self.warm_up(&crew)).await?;
        progress("killing the primary");
        let (kill, detected_us) = Box::pin(self.kill(&crew)).await;
        self.takeover.fence().map_err(local)?;
        let fenced_us = crew.now_us();
        progress("promoting the standby");
        Box::pin(self.takeover.promote()).await.map_err(local)?;
        let promoted_us = crew.now_us();
        Box::pin(self.takeover.repoint()).await.map_err(local)?;
        let repointed_us = crew.now_us();
        progress("waiting for the services");
        let written_us = self.wait_for_services(&crew).await;
        progress("starting the old primary again");
        Box::pin(self.takeover.start_old()).await.map_err(local)?;
        let old_started_us = crew.now_us();
        let returned = Box::pin(self.look_at_old(&crew)).await?;
        progress("making the old primary a standby");
        Box::pin(self.takeover.rejoin()).await.map_err(local)?;
        let rejoined_us = crew.now_us();
        tokio::time::sleep(options.duration).await;
        let boards = crew.boards().to_vec();
        let ledgers = crew.end().await;
        progress("comparing");
        let marks = Marks {
            synchronous_us,
            kill,
            detected_us,
            fenced_us,
            promoted_us,
            repointed_us,
            written_us,
            old_started_us,
            rejoined_us,
        };
        let rows = self.rows_of_both().await?;
        sweep(&self.takeover.primary().connect_options()).await.map_err(local)?;
        let read_only = boards.last().map_or(0, |board| board.read_only());
        Ok(self.report(old_port, &marks, &ledgers, read_only, returned, rows))
    }

    /// The services through PgBouncer, and behind them the one that goes past it.
    fn groups(&self) -> Vec<Group> {
        let rate = self.request.options.rate.max(1);
        let of_service = |entrance: &Entrance| Group {
            options: entrance.options.clone(),
            clients: entrance.clients,
            every: Duration::from_secs(1) * entrance.clients / rate,
        };
        let mut groups: Vec<Group> = self.entrances.iter().map(of_service).collect();
        groups.extend(self.entrances.first().map(|entrance| {
            let mut options = entrance.options.to_database(&entrance.guest.database);
            options.port = self.takeover.primary().port;
            Group { options, clients: 1, every: STALE_EVERY }
        }));
        groups
    }

    /// Lets them write for a while, without waiting for the standby and then, if that is wished, with it. Gives since when.
    async fn warm_up(&self, crew: &Crew) -> Result<Option<u64>, Diagnostic> {
        let options = self.request.options;
        tokio::time::sleep(options.duration).await;
        let session = scratch::open_maintenance(&self.takeover.primary().connect_options()).await?;
        let mut synchronous_us = None;
        if options.is_synchronous {
            self.takeover.set_synchronous(true).map_err(local)?;
            let deadline = Instant::now() + options.timeout;
            while !self.takeover.follower(&session).await.map_err(local)?.is_some_and(|follower| follower.is_synchronous) {
                if Instant::now() > deadline {
                    return Err(Diagnostic::error(Code::FAILOVER_FAILED, "the primary does not wait for its standby"));
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
            synchronous_us = Some(crew.now_us());
            tokio::time::sleep(options.duration).await;
        }
        if !options.held_back.is_zero()
            && let Some(follower) = self.takeover.follower(&session).await.map_err(local)?
        {
            self.takeover.hold_back(follower);
            fault::stage("failover.held_back");
            tokio::time::sleep(options.held_back).await;
        }
        Ok(synchronous_us)
    }

    /// Kills the primary, and waits until whoever watches it has noticed.
    async fn kill(&self, crew: &Crew) -> (Kill, u64) {
        let watch = until_dead(self.takeover.primary().connect_options());
        let killing = async {
            // It is being watched by then.
            tokio::time::sleep(LOOK_EVERY * 2).await;
            let begun_us = crew.now_us();
            let data = self.takeover.primary().data.clone();
            // It waits for the processes' ends, and the clients are to go on meanwhile.
            let _ended = tokio::task::spawn_blocking(move || server::kill(&data)).await;
            let done_us = crew.now_us();
            fault::stage("failover.killed");
            Kill { begun_us, done_us }
        };
        let ((), kill) = tokio::join!(watch, killing);
        (kill, crew.now_us())
    }

    /// When the last of the services was back; none when one was not in time.
    async fn wait_for_services(&self, crew: &Crew) -> Option<u64> {
        let deadline = Instant::now() + self.request.options.timeout;
        // The last board is the stale client's.
        let services = &crew.boards()[..self.entrances.len()];
        loop {
            let back: Option<Vec<u64>> = services.iter().map(|board| board.back_us()).collect();
            if let Some(back) = back {
                return back.into_iter().max();
            }
            if Instant::now() > deadline {
                return None;
            }
            tokio::time::sleep(LOOK_EVERY / 5).await;
        }
    }

    /// What the old primary says to a write, and what it holds that nobody else does.
    async fn look_at_old(&self, crew: &Crew) -> Result<Returned, Diagnostic> {
        let deadline = Instant::now() + STALE_PATIENCE;
        while crew.boards().last().is_some_and(|board| board.read_only() == 0) && Instant::now() < deadline {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let old = self.takeover.other().connect_options();
        let failed = |error| query_diagnostic("the old primary does not answer", &error);
        let database = self.entrances.first().map_or(&old.database, |entrance| &entrance.guest.database);
        let mut session = scratch::open(&old, database).await?;
        let (refuses_writes, said) = match session.run(write(-1).expose()).await {
            Ok(_) => (false, "it took it".to_owned()),
            Err(error) => (error.code().is_some_and(|code| code.code() == "25006"), describe(&error)),
        };
        let old_end = text(&session.query(REPLAYED, &[]).await.map_err(failed)?);
        session.close().await;
        let session = scratch::open_maintenance(&self.takeover.primary().connect_options()).await?;
        let failed = |error| query_diagnostic("the new primary does not answer", &error);
        let parted_at = text(&session.query(REPLAYED, &[]).await.map_err(failed)?);
        let between = session.query(BETWEEN, &[&old_end, &parted_at]).await.map_err(failed)?;
        session.close().await;
        let lost_bytes = between.first().and_then(|row| row.try_get::<_, i64>(0).ok()).unwrap_or_default();
        let guests: Vec<&Guest> = self.entrances.iter().map(|entrance| &entrance.guest).collect();
        let rows = scratch::read(&old, &guests).await?;
        let log = Log { old_end, parted_at, lost_bytes: u64::try_from(lost_bytes).unwrap_or_default() };
        Ok(Returned { refuses_writes, said, rows, log })
    }

    /// The new primary's rows, and the standby's once it has them all.
    async fn rows_of_both(&self) -> Result<(Rows, Rows), Diagnostic> {
        let guests: Vec<&Guest> = self.entrances.iter().map(|entrance| &entrance.guest).collect();
        let rows = scratch::read(&self.takeover.primary().connect_options(), &guests).await?;
        let standby = self.takeover.other().connect_options();
        let deadline = Instant::now() + self.request.options.timeout;
        loop {
            let followed = scratch::read(&standby, &guests).await?;
            if followed == rows || Instant::now() > deadline {
                return Ok((rows, followed));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn report(
        &self,
        old_port: u16,
        marks: &Marks,
        ledgers: &[Vec<Entry>],
        read_only: u64,
        returned: Returned,
        (rows, followed): (Rows, Rows),
    ) -> Report {
        let options = self.request.options;
        let after = |at_us: u64| at_us.saturating_sub(marks.kill.begun_us) / 1000;
        let balance = |ledger: usize| compare(ledgers.get(ledger).map_or(&[], Vec::as_slice), &rows_of(&rows, ledger), marks.kill);
        let services = self
            .entrances
            .iter()
            .enumerate()
            .map(|(ledger, entrance)| ServiceBalance { service: entrance.service.clone(), balance: balance(ledger) });
        let through_pgbouncer = || ledgers.iter().take(self.entrances.len()).flatten();
        let (killed_us, synchronous_us) = (marks.kill.begun_us, marks.synchronous_us);
        let pace = Pace {
            asynchronous: latency(through_pgbouncer(), 0, synchronous_us.unwrap_or(killed_us)),
            synchronous: synchronous_us.and_then(|since_us| latency(through_pgbouncer(), since_us, killed_us)),
            after: marks.written_us.and_then(|since_us| latency(through_pgbouncer(), since_us, u64::MAX)),
        };
        let rows_only_there = returned.rows.keyed.keys().filter(|key| !rows.keyed.contains_key(key)).count() as u64;
        let Returned { refuses_writes, said, rows: _, log } = returned;
        Report {
            is_synchronous: options.is_synchronous,
            held_back_ms: milliseconds(options.held_back),
            clients: options.clients,
            rate: options.rate,
            old_port,
            new_port: self.takeover.primary().port,
            timeline: Timeline {
                detected_ms: after(marks.detected_us),
                fenced_ms: after(marks.fenced_us),
                promoted_ms: after(marks.promoted_us),
                repointed_ms: after(marks.repointed_us),
                written_ms: marks.written_us.map(after),
                old_started_ms: after(marks.old_started_us),
                rejoined_ms: after(marks.rejoined_us),
            },
            pace,
            services: services.collect(),
            stale: StaleClient { service: self.entrances[0].service.clone(), balance: balance(self.entrances.len()), read_only },
            old: OldPrimary { refuses_writes, said, rows_only_there, is_same: rows == followed },
            log,
        }
    }
}

/// Watches a server as somebody beside it would; returns when it is dead.
async fn until_dead(connect: ConnectOptions) {
    let mut session: Option<Session> = None;
    let mut misses = 0;
    while misses < MISSES {
        let look = async {
            let open = match session.take() {
                Some(open) => open,
                None => Box::pin(Session::connect(&connect)).await.ok()?,
            };
            open.query("SELECT 1", &[]).await.ok()?;
            Some(open)
        };
        session = tokio::time::timeout(LOOK_PATIENCE, look).await.ok().flatten();
        misses = if session.is_some() { 0 } else { misses + 1 };
        if misses < MISSES {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

fn local(error: LocalError) -> Diagnostic {
    error.diagnostic()
}

fn text(rows: &[tokio_postgres::Row]) -> String {
    rows.first().and_then(|row| row.try_get::<_, Option<String>>(0).ok().flatten()).unwrap_or_default()
}

/// The rows that one ledger's clients wrote.
fn rows_of(rows: &Rows, ledger: usize) -> Rows {
    let own = |rows: &BTreeMap<i64, u64>| {
        rows.iter().filter(|(key, _)| writer::ledger_of(**key) == ledger).map(|(key, times)| (*key, *times)).collect()
    };
    Rows { keyed: own(&rows.keyed), blind: own(&rows.blind) }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
