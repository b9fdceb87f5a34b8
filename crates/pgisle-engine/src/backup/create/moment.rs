//! One moment for all services: every snapshot between the same two commits.
//!
//! Whether that came true is not hoped but read: `pg_current_snapshot` names the transactions of the whole cluster that a session
//! sees, so equal texts from two databases mean that nothing was committed between them. PgBouncer's PAUSE makes it certain, and
//! does more: it waits until every service is between two of its own transactions, so that what a service writes into several
//! databases one after the other is there in all of them or in none.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::{join_all, try_join_all};
use pgisle_core::backup::{BackupId, SetThere};
use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::name::ServiceName;
use pgisle_core::secret::Secret;
use pgisle_core::spec::SslMode;
use tokio_postgres::config::SslMode as DriverSslMode;
use tokio_postgres::{NoTls, SimpleQueryMessage};

use super::snapshot::{Opening, Snapshot};
use super::{Subject, connect_to};
use crate::local::ClientPrograms;
use crate::postgres::ConnectOptions;
use crate::postgres::tls::{Roots, TlsOptions};
use crate::process::Invocation;

/// How long transactions that are under way may hold up the pause. Clients wait all that time.
const PAUSE_TIMEOUT: Duration = Duration::from_millis(1500);

/// How often the pause is tried. A service that has begun a transaction in one database and wants to begin one in another waits for
/// the pause to end, and the pause for it: only letting go undoes that, and the next attempt finds it elsewhere.
const PAUSE_ATTEMPTS: u32 = 6;

/// What clients get to catch up between two attempts.
const PAUSE_GAP: Duration = Duration::from_millis(200);

/// How long snapshots are taken again while others write past PgBouncer, or where there is none.
const AGREE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long PgBouncer's console may take to answer anything else.
const CONSOLE_TIMEOUT: Duration = Duration::from_secs(5);

/// How to talk to PgBouncer's console.
#[derive(Debug, Clone)]
pub struct PoolerConsole {
    /// Its address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// A user of `admin_users`.
    pub user: String,
    /// That user's password.
    pub password: Secret,
    /// Whether it is reached by TLS. Its certificate is not checked: SCRAM proves to each side that the other knows the password.
    pub is_encrypted: bool,
}

/// The moments of all services.
pub(super) struct Taken {
    pub(super) snapshots: BTreeMap<ServiceName, Snapshot>,
    pub(super) set: SetThere,
    pub(super) pause_ms: Option<u64>,
    pub(super) warning: Option<Diagnostic>,
}

/// Opens a session for each service, before anybody is held up.
pub(super) async fn open(connect: &ConnectOptions, subjects: &[Subject]) -> Result<Vec<(ServiceName, Opening)>, Diagnostic> {
    try_join_all(subjects.iter().map(async |subject| {
        let opening = Opening::connect(&connect_to(connect, subject), subject.role.as_ref()).await;
        let opening = opening.map_err(|diagnostic| diagnostic.about(subject.about()))?;
        Ok((subject.service.clone(), opening))
    }))
    .await
}

/// Takes all snapshots.
pub(super) async fn take(
    mut openings: Vec<(ServiceName, Opening)>,
    poolers: &[PoolerConsole],
    id: &BackupId,
) -> Result<Taken, Diagnostic> {
    let pause = if poolers.is_empty() { None } else { Some(Pause::begin(poolers).await?) };
    let agreed = agree(&mut openings).await;
    // A snapshot that was taken keeps: from here on everyone may write.
    let pause_ms = match pause {
        Some(pause) => Some(pause.end().await?),
        None => None,
    };
    let Agreed { transactions, spread_ms, is_one } = agreed?;
    let services: Vec<ServiceName> = openings.iter().map(|(service, _)| service.clone()).collect();
    let snapshots = openings
        .into_iter()
        .zip(transactions)
        .map(async |((service, opening), transactions)| Ok::<_, Diagnostic>((service, opening.keep(transactions).await?)));
    let snapshots = try_join_all(snapshots).await?.into_iter().collect();
    let set = SetThere { id: id.clone(), is_consistent: is_one, spread_ms, services };
    let warning = (!is_one).then(|| disagreement(spread_ms, pause_ms.is_some()));
    Ok(Taken { snapshots, set, pause_ms, warning })
}

struct Agreed {
    /// Of each opening, in their order.
    transactions: Vec<String>,
    spread_ms: u64,
    is_one: bool,
}

/// Takes snapshots of all databases at once, again and again, until they are of one moment or the patience ends.
async fn agree(openings: &mut [(ServiceName, Opening)]) -> Result<Agreed, Diagnostic> {
    let started = Instant::now();
    loop {
        let before = Instant::now();
        let transactions = try_join_all(openings.iter_mut().map(|(_, opening)| opening.take())).await?;
        let spread_ms = u64::try_from(before.elapsed().as_millis()).unwrap_or(u64::MAX);
        let is_one = transactions.windows(2).all(|pair| pair[0] == pair[1]);
        if is_one || started.elapsed() > AGREE_TIMEOUT {
            return Ok(Agreed { transactions, spread_ms, is_one });
        }
    }
}

fn disagreement(spread_ms: u64, was_paused: bool) -> Diagnostic {
    let cause = if was_paused {
        "PgBouncer was paused, and someone who does not come through it wrote all the time."
    } else {
        "There is no PgBouncer that could hold the writers back, and somebody wrote all the time."
    };
    Diagnostic::warning(Code::BACKUP_MOMENT, "the services were not caught at one moment")
        .detail(format!(
            "{cause} Each backup is consistent in itself; between them lie at most {spread_ms} ms, in which a change may be in one \
             and not in the other."
        ))
        .hint("Make the set when less is written, or have every writer come through PgBouncer.")
}

/// Every PgBouncer, paused. Whatever becomes of us, they go on: guards of their own see our end.
struct Pause {
    paused: Vec<Console>,
    began: Instant,
}

/// A console, and what tells it to go on when we are gone.
struct Console {
    address: PoolerConsole,
    client: tokio_postgres::Client,
    guard: Option<std::process::Child>,
    state: State,
}

/// What a PgBouncer was told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing, or to go on.
    Running,
    /// To pause; it has not said that it does.
    Pausing,
    /// To pause, and it does.
    Paused,
}

impl Pause {
    async fn begin(poolers: &[PoolerConsole]) -> Result<Self, Diagnostic> {
        // All of them answer before the first is told to pause.
        let paused = try_join_all(poolers.iter().map(Console::open)).await?;
        let mut pause = Self { paused, began: Instant::now() };
        for attempt in 1..=PAUSE_ATTEMPTS {
            pause.began = Instant::now();
            // All at once, so that all have the same time for it.
            let told = join_all(pause.paused.iter_mut().map(Console::pause)).await;
            if told.iter().all(Result::is_ok) && pause.paused.iter().all(|console| console.state == State::Paused) {
                return Ok(pause);
            }
            pause.release().await?;
            told.into_iter().collect::<Result<Vec<()>, String>>().map_err(|reason| cannot_pause(&reason))?;
            if attempt < PAUSE_ATTEMPTS {
                tokio::time::sleep(PAUSE_GAP).await;
            }
        }
        Err(cannot_pause("a transaction was under way all the time, and everyone waits for it meanwhile"))
    }

    /// Lets everyone go on; gives for how long they were held up, in milliseconds.
    async fn end(mut self) -> Result<u64, Diagnostic> {
        self.release().await?;
        Ok(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// One that cannot be told keeps none of the others from being told.
    async fn release(&mut self) -> Result<(), Diagnostic> {
        let released = join_all(self.paused.iter_mut().map(Console::release)).await;
        released.into_iter().collect()
    }
}

impl Console {
    async fn open(address: &PoolerConsole) -> Result<Self, Diagnostic> {
        let client = connect(address).await?;
        Ok(Self { guard: guard(address).await, client, address: address.clone(), state: State::Running })
    }

    /// Gives why it will not pause. That it only has not come to it is no reason; the state says so.
    async fn pause(&mut self) -> Result<(), String> {
        self.state = State::Pausing;
        match tokio::time::timeout(PAUSE_TIMEOUT, self.client.simple_query("PAUSE")).await {
            Ok(Ok(_)) => self.state = State::Paused,
            Ok(Err(error)) => {
                let refused = error.as_db_error().is_some();
                self.state = if refused { State::Running } else { State::Pausing };
                return Err(format!("{} says: {}", self.address.place(), crate::postgres::connect::describe(&error)));
            }
            Err(_) => {}
        }
        Ok(())
    }

    async fn release(&mut self) -> Result<(), Diagnostic> {
        if self.state == State::Running {
            return Ok(());
        }
        if self.state == State::Pausing {
            // PgBouncer takes the next command of a connection only when the one before is done.
            self.client = connect(&self.address).await?;
        }
        resume(&self.address, &self.client).await?;
        self.state = State::Running;
        Ok(())
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // One that still holds its clients up is left to its guard, whose pipe closes here as it does when we are killed.
        if let Some(mut guard) = self.guard.take().filter(|_| self.state == State::Running) {
            let _gone = guard.kill();
            let _reaped = guard.wait();
        }
    }
}

impl PoolerConsole {
    fn place(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

fn cannot_pause(reason: &str) -> Diagnostic {
    moment_diagnostic("PgBouncer cannot be paused", reason)
        .hint("Everyone goes on as before. Try again when no long transaction runs, or do without -consistent.")
}

async fn resume(address: &PoolerConsole, client: &tokio_postgres::Client) -> Result<(), Diagnostic> {
    let resumed = tokio::time::timeout(CONSOLE_TIMEOUT, client.simple_query("RESUME")).await;
    let reason = match resumed {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => crate::postgres::connect::describe(&error),
        Err(_) => "it does not answer".to_owned(),
    };
    let summary = format!("PgBouncer at {} cannot be told to go on", address.place());
    Err(moment_diagnostic(&summary, &reason).hint("Tell it yourself, on its console:").command("RESUME"))
}

fn moment_diagnostic(summary: &str, reason: &str) -> Diagnostic {
    let mut characters = reason.chars();
    let reason = characters.next().map_or_else(String::new, |first| format!("{}{}", first.to_uppercase(), characters.as_str()));
    Diagnostic::error(Code::BACKUP_MOMENT, summary).detail(format!("{}.", reason.trim_end_matches('.')))
}

async fn connect(console: &PoolerConsole) -> Result<tokio_postgres::Client, Diagnostic> {
    let mut config = tokio_postgres::Config::new();
    config.host(&console.host).port(console.port).user(&console.user).password(console.password.expose()).dbname("pgbouncer");
    config.application_name("pgisle backup").connect_timeout(CONSOLE_TIMEOUT);
    let mode = if console.is_encrypted { DriverSslMode::Require } else { DriverSslMode::Disable };
    let tls = if console.is_encrypted { TlsOptions::new(SslMode::Require, Roots::Default, None) } else { TlsOptions::disabled() };
    let connector = tls.connector().map_err(|error| moment_diagnostic("TLS cannot be prepared", &error.to_string()))?;
    config.ssl_mode(mode);
    let attempt = async {
        let client = match connector {
            None => {
                let (client, connection) = config.connect(NoTls).await?;
                tokio::spawn(connection);
                client
            }
            Some(connector) => {
                let (client, connection) = config.connect(connector).await?;
                tokio::spawn(connection);
                client
            }
        };
        let version = client.simple_query("SHOW VERSION").await?;
        Ok::<_, tokio_postgres::Error>((client, version.iter().any(|one| matches!(one, SimpleQueryMessage::Row(_)))))
    };
    let place = console.place();
    match tokio::time::timeout(CONSOLE_TIMEOUT, attempt).await {
        Ok(Ok((client, true))) => Ok(client),
        Ok(Ok((_, false))) => Err(moment_diagnostic(&format!("{place} is not PgBouncer's console"), "it does not say its version")),
        Ok(Err(error)) => Err(moment_diagnostic(
            &format!("PgBouncer's console at {place} cannot be used"),
            &crate::postgres::connect::describe(&error),
        )),
        Err(_) => Err(moment_diagnostic(&format!("PgBouncer's console at {place} cannot be used"), "it does not answer")),
    }
}

/// A process that tells PgBouncer to go on as soon as we are gone, however we go. None where there is no `psql`; then a killed run
/// leaves the pause to whoever notices.
async fn guard(console: &PoolerConsole) -> Option<std::process::Child> {
    let psql = ClientPrograms::find(0).await.ok()?.bin.join("psql");
    let guard = Invocation::new("/bin/sh").arguments(["-c", "read -r _; exec \"$0\" -X -w -c RESUME"]).argument(&psql);
    let guard = guard
        .clean_environment()
        .environment("PGHOST", &console.host)
        .environment("PGPORT", console.port.to_string())
        .environment("PGUSER", &console.user)
        .environment("PGDATABASE", "pgbouncer")
        .environment("PGSSLMODE", if console.is_encrypted { "require" } else { "disable" })
        .secret_environment("PGPASSWORD", &console.password);
    guard.start_tethered().ok()
}
