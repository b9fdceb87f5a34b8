//! One client of a load: it logs in as its service would, and does one transaction after another.
//!
//! Not a [`crate::postgres::Session`], which refuses a pooler, as whoever administrates must.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pgisle_core::load::Tally;
use pgisle_core::spec::SslMode;
use pgisle_core::sql::Statement;
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode as DriverSslMode;
use tokio_postgres::{Config, NoTls};

use crate::postgres::connect::describe;
use crate::postgres::{ConnectOptions, Host};

/// What `pg_stat_activity` shows.
const APPLICATION: &str = "pgisle load";

/// A client that waits longer for a transaction counts as failed. Behind hundreds of others it is tens of seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two attempts to log in again.
const AGAIN: Duration = Duration::from_millis(100);

/// What its clients met, which all of a service's clients count together.
pub(super) type Counter = Arc<Mutex<Tally>>;

pub(super) fn count(counter: &Counter) -> MutexGuard<'_, Tally> {
    // A panic while counting leaves no half of anything.
    counter.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// A connection, which ends with the value.
pub(crate) struct Connected {
    client: tokio_postgres::Client,
    driver: Driver,
}

type Driving = JoinHandle<Result<(), tokio_postgres::Error>>;

/// What moves a connection's bytes.
struct Driver(Driving);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connected {
    fn new(client: tokio_postgres::Client, driving: Driving) -> Self {
        Self { client, driver: Driver(driving) }
    }

    /// What sends.
    pub(crate) fn client(&self) -> &tokio_postgres::Client {
        &self.client
    }

    /// Says goodbye, so that the server has no reason to complain.
    pub(crate) async fn close(self) {
        let Self { client, mut driver } = self;
        drop(client);
        // One that does not answer is cut off.
        let _ended = tokio::time::timeout(GOODBYE, &mut driver.0).await;
    }
}

/// Logs in.
///
/// # Errors
/// What the server, PgBouncer or the library says.
pub(crate) async fn connect(options: &ConnectOptions) -> Result<Connected, String> {
    let config = config(options);
    let connector = options.tls.connector().map_err(|error| error.to_string())?;
    let attempt = async {
        Ok::<_, tokio_postgres::Error>(match connector {
            None => {
                let (client, connection) = config.connect(NoTls).await?;
                Connected::new(client, tokio::spawn(connection))
            }
            Some(connector) => {
                let (client, connection) = config.connect(connector).await?;
                Connected::new(client, tokio::spawn(connection))
            }
        })
    };
    match tokio::time::timeout(options.connect_timeout, Box::pin(attempt)).await {
        Ok(connected) => connected.map_err(|error| describe(&error)),
        Err(_) => Err(format!("no answer within {} s", options.connect_timeout.as_secs())),
    }
}

fn config(options: &ConnectOptions) -> Config {
    let mut config = Config::new();
    match &options.host {
        Host::Tcp(name) => config.host(name),
        Host::Socket(folder) => config.host_path(folder),
    };
    config.port(options.port).user(options.user.as_str()).dbname(options.database.as_str());
    config.application_name(APPLICATION).connect_timeout(options.connect_timeout);
    let is_off = options.tls.mode() == SslMode::Disable;
    config.ssl_mode(if is_off { DriverSslMode::Disable } else { DriverSslMode::Require });
    if let Some(password) = options.password() {
        config.password(password.expose());
    }
    config
}

/// What a client does.
pub(super) struct Work {
    pub(super) options: ConnectOptions,
    pub(super) statement: Statement,
    pub(super) pause: Duration,
    pub(super) counter: Counter,
}

/// When it does it.
pub(super) struct Hours {
    pub(super) begin: Instant,
    pub(super) end: Instant,
    /// Ends it before its time.
    pub(super) stop: Arc<AtomicBool>,
}

impl Hours {
    fn are_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || Instant::now() >= self.end
    }
}

/// Does one transaction after another. What is under way at the end is waited for, and counts: those that take long must not be
/// the ones that are left out.
pub(super) async fn run(mut connected: Option<Connected>, work: Arc<Work>, hours: Arc<Hours>) {
    tokio::time::sleep_until(hours.begin.into()).await;
    while !hours.are_over() {
        let Some(now) = &connected else {
            match connect(&work.options).await {
                Ok(again) => connected = Some(again),
                Err(reason) => {
                    count(&work.counter).failed(reason);
                    tokio::time::sleep(AGAIN).await;
                }
            }
            continue;
        };
        let sent = Instant::now();
        let outcome = tokio::time::timeout(PATIENCE, now.client.simple_query(work.statement.expose())).await;
        let took_us = u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX);
        match outcome {
            Ok(Ok(_)) => count(&work.counter).done(took_us),
            Ok(Err(error)) => {
                count(&work.counter).failed(describe(&error));
                if now.client.is_closed() {
                    connected = None;
                }
            }
            Err(_) => {
                count(&work.counter).failed(format!("no answer within {} s", PATIENCE.as_secs()));
                connected = None;
            }
        }
        tokio::time::sleep(work.pause).await;
    }
    if let Some(connected) = connected {
        connected.close().await;
    }
}
