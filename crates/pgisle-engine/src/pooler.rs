//! PgBouncer from its console: pausing, so that every client stands between two transactions, and taking new files.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::secret::Secret;
use pgisle_core::spec::SslMode;
use pgisle_core::sql::Statement;
use pgisle_core::sql::pooler::{RELOAD, SHOW_DATABASES, pause, resume};
use tokio_postgres::config::SslMode as DriverSslMode;
use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::local::ClientPrograms;
use crate::postgres::connect::describe;
use crate::postgres::tls::{Roots, TlsOptions};
use crate::process::Invocation;

/// How long transactions that are under way may hold up the pause. Clients wait all that time.
const PAUSE_TIMEOUT: Duration = Duration::from_millis(1500);

/// How often the pause is tried. A service that has begun a transaction in one database and wants to begin one in another waits for
/// the pause to end, and the pause for it: only letting go undoes that, and the next attempt finds it elsewhere.
const PAUSE_ATTEMPTS: u32 = 6;

/// What clients get to catch up between two attempts.
const PAUSE_GAP: Duration = Duration::from_millis(200);

/// How long PgBouncer's console may take to answer anything else.
const CONSOLE_TIMEOUT: Duration = Duration::from_secs(5);

/// What PgBouncer says when it is told to go on and does already.
const NOT_PAUSED: &str = "is not paused";

/// Between two attempts to let it go.
const CONSOLE_GAP: Duration = Duration::from_millis(100);

/// How long it may take to be led elsewhere, connecting included.
const REDIRECT_TIMEOUT: Duration = CONSOLE_TIMEOUT.saturating_mul(2);

/// Why something could not be said.
pub(crate) const SILENT: &str = "it does not answer";

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

/// What a pause is for.
#[derive(Debug, Clone)]
pub(crate) struct Occasion {
    /// The code of what goes wrong.
    pub(crate) code: Code,
    /// The alias whose clients are to wait; all, when none is given.
    pub(crate) alias: Option<String>,
    /// What to do when it cannot be had.
    pub(crate) otherwise: &'static str,
    /// What does without it.
    pub(crate) without: &'static str,
}

/// Every PgBouncer, paused. Whatever becomes of us, they go on: guards of their own see our end.
pub(crate) struct Pause {
    paused: Vec<Console>,
    began: Instant,
    occasion: Occasion,
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
    pub(crate) async fn begin(poolers: &[PoolerConsole], occasion: Occasion) -> Result<Self, Diagnostic> {
        // All of them answer before the first is told to pause.
        let clients = reach(poolers, &occasion).await?;
        let paused =
            join_all(poolers.iter().zip(clients).map(|(address, client)| Console::guarded(address, client, &occasion))).await;
        let mut pause = Self { paused, began: Instant::now(), occasion };
        for attempt in 1..=PAUSE_ATTEMPTS {
            pause.began = Instant::now();
            // All at once, so that all have the same time for it.
            let told = join_all(pause.paused.iter_mut().map(|console| console.pause(&pause.occasion))).await;
            if told.iter().all(Result::is_ok) && pause.paused.iter().all(|console| console.state == State::Paused) {
                return Ok(pause);
            }
            pause.release().await?;
            told.into_iter().collect::<Result<Vec<()>, String>>().map_err(|reason| pause.occasion.cannot_pause(&reason))?;
            if attempt < PAUSE_ATTEMPTS {
                tokio::time::sleep(PAUSE_GAP).await;
            }
        }
        Err(pause.occasion.cannot_pause("a transaction was under way all the time, and everyone waits for it meanwhile"))
    }

    /// Lets everyone go on; gives for how long they were held up, in milliseconds.
    pub(crate) async fn end(mut self) -> Result<u64, Diagnostic> {
        self.release().await?;
        Ok(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// One that cannot be told keeps none of the others from being told.
    async fn release(&mut self) -> Result<(), Diagnostic> {
        let released = join_all(self.paused.iter_mut().map(|console| console.release(&self.occasion))).await;
        released.into_iter().collect()
    }
}

impl Console {
    async fn guarded(address: &PoolerConsole, client: tokio_postgres::Client, occasion: &Occasion) -> Self {
        Self { guard: guard(address, occasion).await, client, address: address.clone(), state: State::Running }
    }

    /// Gives why it will not pause. That it only has not come to it is no reason; the state says so.
    async fn pause(&mut self, occasion: &Occasion) -> Result<(), String> {
        self.state = State::Pausing;
        let pause = pause(occasion.alias.as_deref());
        match tokio::time::timeout(PAUSE_TIMEOUT, self.client.simple_query(pause.expose())).await {
            Ok(Ok(_)) => self.state = State::Paused,
            Ok(Err(error)) => {
                let refused = error.as_db_error().is_some();
                self.state = if refused { State::Running } else { State::Pausing };
                return Err(format!("{} says: {}", self.address.place(), describe(&error)));
            }
            Err(_) => {}
        }
        Ok(())
    }

    async fn release(&mut self, occasion: &Occasion) -> Result<(), Diagnostic> {
        let is_told = match self.state {
            State::Running => true,
            State::Paused => go_on(&self.address, &self.client, occasion).await.is_ok(),
            // PgBouncer takes the next command of a connection only when the one before is done.
            State::Pausing => false,
        };
        if !is_told {
            self.release_anew(occasion).await?;
        }
        self.state = State::Running;
        Ok(())
    }

    /// The same by a new connection. A PgBouncer that was killed took the pause along: what listens there now, if anything does, does
    /// not know of it. While it dies, it may let us in and go.
    async fn release_anew(&mut self, occasion: &Occasion) -> Result<(), Diagnostic> {
        let started = Instant::now();
        loop {
            let failed = match connect(&self.address).await {
                Ok(client) => match go_on(&self.address, &client, occasion).await {
                    Ok(()) => {
                        // On the other one, PAUSE may stay unanswered.
                        self.client = client;
                        return Ok(());
                    }
                    Err(failed) => failed,
                },
                Err(unusable) if unusable.is_gone => return Ok(()),
                Err(unusable) => cannot_go_on(&self.address, &unusable.reason, occasion),
            };
            if started.elapsed() > CONSOLE_TIMEOUT {
                return Err(failed);
            }
            tokio::time::sleep(CONSOLE_GAP).await;
        }
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
    pub(crate) fn place(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl Occasion {
    fn cannot_pause(&self, reason: &str) -> Diagnostic {
        self.finding("PgBouncer cannot be paused", reason).hint(format!("Everyone goes on as before. {}", self.otherwise))
    }

    fn finding(&self, summary: &str, reason: &str) -> Diagnostic {
        let mut characters = reason.chars();
        let reason = characters.next().map_or_else(String::new, |first| format!("{}{}", first.to_uppercase(), characters.as_str()));
        Diagnostic::error(self.code, summary).detail(format!("{}.", reason.trim_end_matches('.')))
    }

    fn resume(&self) -> Statement {
        resume(self.alias.as_deref())
    }
}

async fn go_on(address: &PoolerConsole, client: &tokio_postgres::Client, occasion: &Occasion) -> Result<(), Diagnostic> {
    let statement = occasion.resume();
    let resumed = tokio::time::timeout(CONSOLE_TIMEOUT, client.simple_query(statement.expose())).await;
    let reason = match resumed {
        Ok(Ok(_)) => return Ok(()),
        // Somebody else let it go, or it was started again.
        Ok(Err(error)) if error.as_db_error().is_some_and(|error| error.message().contains(NOT_PAUSED)) => return Ok(()),
        Ok(Err(error)) => describe(&error),
        Err(_) => SILENT.to_owned(),
    };
    Err(cannot_go_on(address, &reason, occasion))
}

fn cannot_go_on(address: &PoolerConsole, reason: &str, occasion: &Occasion) -> Diagnostic {
    let summary = format!("PgBouncer at {} cannot be told to go on", address.place());
    occasion.finding(&summary, reason).hint("Tell it yourself, on its console:").command(occasion.resume().to_string())
}

/// Has every PgBouncer read its files again, and makes sure that an alias then leads to a database. Gives which of them do not: one
/// that cannot be told keeps none of the others from being told.
pub(crate) async fn redirect(poolers: &[PoolerConsole], alias: &str, database: &str, occasion: &Occasion) -> Vec<Diagnostic> {
    let told = join_all(poolers.iter().map(async |address| {
        let led = read_again(address, &[(alias.to_owned(), database.to_owned())]).await;
        let summary = format!("PgBouncer at {} does not lead \"{alias}\" to database \"{database}\"", address.place());
        led.map_err(|reason| {
            occasion
                .finding(&summary, &reason)
                .hint(
                    "Put the generated pgbouncer.ini in its place. One that is down reads it when it starts; have one that runs read it \
                     again, by the same command once more or on its console:",
                )
                .command(RELOAD)
        })
    }))
    .await;
    told.into_iter().filter_map(Result::err).collect()
}

/// Has every PgBouncer read its files again, and makes sure that these aliases lead where the files say. Gives which of them do not.
pub async fn reload(poolers: &[PoolerConsole], aliases: &[(String, String)]) -> Vec<Diagnostic> {
    let occasion = Occasion { code: Code::ARTIFACT_POOLER, alias: None, otherwise: "", without: "" };
    let told = join_all(poolers.iter().map(async |address| {
        let summary = format!("PgBouncer at {} does not have the generated files", address.place());
        read_again(address, aliases).await.map_err(|reason| {
            occasion
                .finding(&summary, &reason)
                .hint("Put the generated pgbouncer.ini and userlist.txt in their place, and start it, or have it read them, on its console:")
                .command(RELOAD)
        })
    }));
    told.await.into_iter().filter_map(Result::err).collect()
}

/// Gives why it does not.
async fn read_again(address: &PoolerConsole, aliases: &[(String, String)]) -> Result<(), String> {
    match tokio::time::timeout(REDIRECT_TIMEOUT, lead(address, aliases)).await {
        Ok(led) => led,
        Err(_) => Err(SILENT.to_owned()),
    }
}

/// Opens a console to look at; gives why that cannot be done.
pub(crate) async fn console(address: &PoolerConsole) -> Result<tokio_postgres::Client, String> {
    let unusable = |unusable: Unusable| format!("PgBouncer's console at {} cannot be used: {}", address.place(), unusable.reason);
    connect(address).await.map_err(unusable)
}

async fn lead(address: &PoolerConsole, aliases: &[(String, String)]) -> Result<(), String> {
    let client = connect(address).await.map_err(|unusable| format!("its console cannot be used: {}", unusable.reason))?;
    client.simple_query(RELOAD).await.map_err(|error| describe(&error))?;
    let rows = client.simple_query(SHOW_DATABASES).await.map_err(|error| describe(&error))?;
    for (alias, database) in aliases {
        let leads = rows.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) if row.get("name") == Some(alias) => row.get("database"),
            _ => None,
        });
        match leads {
            Some(leads) if leads == database => {}
            Some(leads) => return Err(format!("\"{alias}\" leads to \"{leads}\"")),
            None => return Err(format!("it has no alias \"{alias}\"")),
        }
    }
    Ok(())
}

/// Makes sure that every PgBouncer can be told something. All that cannot are named.
pub(crate) async fn reach(poolers: &[PoolerConsole], occasion: &Occasion) -> Result<Vec<tokio_postgres::Client>, Diagnostic> {
    let (mut clients, mut reasons) = (Vec::new(), Vec::new());
    for (address, reached) in poolers.iter().zip(join_all(poolers.iter().map(connect)).await) {
        match reached {
            Ok(client) => clients.push(client),
            Err(unusable) => reasons.push(format!("the console at {} cannot be used: {}", address.place(), unusable.reason)),
        }
    }
    if reasons.is_empty() {
        return Ok(clients);
    }
    let finding = occasion.finding("PgBouncer cannot be used", &reasons.join("; "));
    Err(finding
        .hint(format!("Everyone goes on as before. Start it, name those that are there with -pooler, or {}.", occasion.without)))
}

/// Why a console cannot be used.
pub(crate) struct Unusable {
    /// In words.
    pub(crate) reason: String,
    /// Nothing listens there, so nobody is held up there.
    is_gone: bool,
}

async fn connect(console: &PoolerConsole) -> Result<tokio_postgres::Client, Unusable> {
    let unusable = |reason: String| Unusable { reason, is_gone: false };
    let client = open(console, "pgbouncer").await?;
    match tokio::time::timeout(CONSOLE_TIMEOUT, client.simple_query("SHOW VERSION")).await {
        Ok(Ok(version)) if version.iter().any(|one| matches!(one, SimpleQueryMessage::Row(_))) => Ok(client),
        Ok(Ok(_)) => Err(unusable("it is not PgBouncer's, for it does not say its version".to_owned())),
        Ok(Err(error)) => Err(Unusable { reason: describe(&error), is_gone: is_refused(&error) }),
        Err(_) => Err(unusable(SILENT.to_owned())),
    }
}

/// Goes through PgBouncer to one of its aliases, as whoever the address says.
pub(crate) async fn open(console: &PoolerConsole, alias: &str) -> Result<tokio_postgres::Client, Unusable> {
    let unusable = |reason: String| Unusable { reason, is_gone: false };
    let mut config = tokio_postgres::Config::new();
    config.host(&console.host).port(console.port).user(&console.user).password(console.password.expose()).dbname(alias);
    config.application_name("pgisle").connect_timeout(CONSOLE_TIMEOUT);
    let mode = if console.is_encrypted { DriverSslMode::Require } else { DriverSslMode::Disable };
    let tls = if console.is_encrypted { TlsOptions::new(SslMode::Require, Roots::Default, None) } else { TlsOptions::disabled() };
    let connector = tls.connector().map_err(|error| unusable(format!("TLS cannot be prepared: {error}")))?;
    config.ssl_mode(mode);
    let attempt = async {
        Ok::<_, tokio_postgres::Error>(match connector {
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
        })
    };
    match tokio::time::timeout(CONSOLE_TIMEOUT, attempt).await {
        Ok(Ok(client)) => Ok(client),
        Ok(Err(error)) => Err(Unusable { reason: describe(&error), is_gone: is_refused(&error) }),
        Err(_) => Err(unusable(SILENT.to_owned())),
    }
}

/// Nothing listens there.
fn is_refused(error: &tokio_postgres::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    source.is_some_and(|source| source.kind() == std::io::ErrorKind::ConnectionRefused)
}

/// A process that tells PgBouncer to go on as soon as we are gone, however we go. None where there is no `psql`; then a killed run
/// leaves the pause to whoever notices.
async fn guard(console: &PoolerConsole, occasion: &Occasion) -> Option<std::process::Child> {
    let psql = ClientPrograms::find(0).await.ok()?.bin.join("psql");
    let guard = Invocation::new("/bin/sh").arguments(["-c", "read -r _; exec \"$0\" -X -w -c \"$1\""]).argument(&psql);
    let guard = guard.argument(occasion.resume().expose());
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
