//! PgBouncer from its console: pausing, so that every client stands between two transactions, and taking new files.

use std::time::{Duration, Instant};

use futures_util::future::{join_all, try_join_all};
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
        let paused = try_join_all(poolers.iter().map(|address| Console::open(address, &occasion))).await?;
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
    async fn open(address: &PoolerConsole, occasion: &Occasion) -> Result<Self, Diagnostic> {
        let client = connect(address, occasion).await?;
        Ok(Self { guard: guard(address, occasion).await, client, address: address.clone(), state: State::Running })
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
        if self.state == State::Running {
            return Ok(());
        }
        if self.state == State::Pausing {
            // PgBouncer takes the next command of a connection only when the one before is done.
            self.client = connect(&self.address, occasion).await?;
        }
        go_on(&self.address, &self.client, occasion).await?;
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
        Ok(Err(error)) => describe(&error),
        Err(_) => "it does not answer".to_owned(),
    };
    let summary = format!("PgBouncer at {} cannot be told to go on", address.place());
    Err(occasion.finding(&summary, &reason).hint("Tell it yourself, on its console:").command(statement.to_string()))
}

/// Has every PgBouncer read its files again, and makes sure that an alias then leads to a database.
pub(crate) async fn redirect(
    poolers: &[PoolerConsole],
    alias: &str,
    database: &str,
    occasion: &Occasion,
) -> Result<(), Diagnostic> {
    try_join_all(poolers.iter().map(async |address| {
        let client = connect(address, occasion).await?;
        let refused = |reason: String| {
            let summary = format!("PgBouncer at {} does not lead \"{alias}\" to database \"{database}\"", address.place());
            occasion
                .finding(&summary, &reason)
                .hint("Put the generated pgbouncer.ini in its place, and have it read again, on its console:")
                .command(RELOAD)
        };
        client.simple_query(RELOAD).await.map_err(|error| refused(describe(&error)))?;
        let rows = client.simple_query(SHOW_DATABASES).await.map_err(|error| refused(describe(&error)))?;
        let leads = rows.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) if row.get("name") == Some(alias) => row.get("database").map(str::to_owned),
            _ => None,
        });
        match leads {
            Some(leads) if leads == database => Ok(()),
            Some(leads) => Err(refused(format!("it leads to \"{leads}\""))),
            None => Err(refused("it has no such alias".to_owned())),
        }
    }))
    .await
    .map(drop)
}

/// Opens a console to look at; gives why that cannot be done.
pub(crate) async fn console(address: &PoolerConsole) -> Result<tokio_postgres::Client, String> {
    let occasion = Occasion { code: Code::SPLIT_PAUSE, alias: None, otherwise: "" };
    connect(address, &occasion).await.map_err(|diagnostic| match diagnostic.detail {
        Some(detail) => format!("{}: {}", diagnostic.summary, detail.trim_end_matches('.')),
        None => diagnostic.summary,
    })
}

async fn connect(console: &PoolerConsole, occasion: &Occasion) -> Result<tokio_postgres::Client, Diagnostic> {
    let mut config = tokio_postgres::Config::new();
    config.host(&console.host).port(console.port).user(&console.user).password(console.password.expose()).dbname("pgbouncer");
    config.application_name("pgisle").connect_timeout(CONSOLE_TIMEOUT);
    let mode = if console.is_encrypted { DriverSslMode::Require } else { DriverSslMode::Disable };
    let tls = if console.is_encrypted { TlsOptions::new(SslMode::Require, Roots::Default, None) } else { TlsOptions::disabled() };
    let connector = tls.connector().map_err(|error| occasion.finding("TLS cannot be prepared", &error.to_string()))?;
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
        Ok(Ok((_, false))) => Err(occasion.finding(&format!("{place} is not PgBouncer's console"), "it does not say its version")),
        Ok(Err(error)) => Err(occasion.finding(&format!("PgBouncer's console at {place} cannot be used"), &describe(&error))),
        Err(_) => Err(occasion.finding(&format!("PgBouncer's console at {place} cannot be used"), "it does not answer")),
    }
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
