//! A checkup: looks at everything that keeps a cluster from being used, each thing in its time, and changes nothing.
//!
//! What failed is looked at no further, and what needs it is told as not looked at. What is wrong, and which command mends it, is
//! decided by [`pgisle_core::doctor`].

mod files;
mod login;
mod pooler;
mod reach;
mod server;

use std::collections::BTreeMap;

use pgisle_core::credential::Credentials;
use pgisle_core::doctor::{Check, Checked, Checkup, ClientFacts, Outcome, Place, programs};
use pgisle_core::name::{DatabaseName, ServiceName};
use pgisle_core::spec::{Service, Spec, SslMode};

pub use files::files;

use crate::backup::BackupStore;
use crate::local::ClientPrograms;
use crate::pooler::PoolerConsole;
use crate::postgres::{ConnectOptions, Session};

/// A catalog that takes longer to read is a finding of its own.
const STATEMENT_TIMEOUT_MS: u32 = 10_000;

/// Who is looked at.
pub struct Patient<'a> {
    /// What is wanted.
    pub spec: &'a Spec,
    /// The services to look at.
    pub services: Vec<&'a Service>,
    /// The passwords; none when the store cannot be read.
    pub credentials: Option<&'a Credentials>,
    /// How the administrator reaches the server, [`bounded`]; none when that cannot be told.
    pub connect: Option<&'a ConnectOptions>,
    /// What is wrong, where it is known beforehand that the server cannot be reached.
    pub unreachable: Option<Checked>,
    /// Whether it is the private cluster.
    pub is_dev: bool,
    /// The consoles of every `PgBouncer`; none when services come through none.
    pub poolers: Vec<PoolerConsole>,
    /// Where the generated files for `PgBouncer` are.
    pub pooler_folder: String,
    /// Where services are still at home that are being split out.
    pub homes: &'a BTreeMap<ServiceName, DatabaseName>,
    /// Where the backups go; none when that cannot be told.
    pub backups: Option<&'a BackupStore>,
    /// How many services are looked at at once.
    pub parallelism: usize,
}

/// The same way to the server, with the bounds of a checkup.
#[must_use]
pub fn bounded(connect: &ConnectOptions) -> ConnectOptions {
    let mut connect = connect.for_purpose("doctor");
    connect.connect_timeout = login::PATIENCE;
    connect.statement_timeout_ms = STATEMENT_TIMEOUT_MS;
    connect
}

/// Looks at all of it. `files` is what was found of the project's own files.
pub async fn examine(patient: &Patient<'_>, files: Checked) -> Checkup {
    let mut checks = vec![files];
    let mut major = None;
    let mut because = "the connection settings cannot be used".to_owned();
    if let Some(connect) = patient.connect {
        let place = place_of(connect, patient.is_dev).await;
        let (reached, is_there) = reach::reach(connect, &place).await;
        checks.extend(reached);
        if is_there {
            let (entered, session) = Box::pin(login::administrator(connect, &place)).await;
            checks.extend(entered);
            if let Some(session) = session {
                major = Some(session.server_version_num() / 10_000);
                checks.extend(Box::pin(server::look(patient, connect, &place, &session)).await);
                session.close().await;
            }
            if !failed(&checks, &[Check::Protocol, Check::Tls]) {
                checks.push(Box::pin(login::services(patient, connect)).await);
                checks.push(Box::pin(login::monitoring(patient, connect)).await);
            }
        }
        because = why(&checks);
    } else if let Some(unreachable) = &patient.unreachable {
        checks.push(unreachable.clone());
        because = why(&checks);
    }
    checks.push(client_programs(major).await);
    checks.extend(Box::pin(pooler::look(patient)).await);
    checks.push(files::backups(patient).await);
    Checkup::new(checks, &because)
}

fn failed(checks: &[Checked], which: &[Check]) -> bool {
    checks.iter().any(|checked| which.contains(&checked.check) && checked.outcome == Outcome::Failed)
}

/// Why the checks that come later were not made.
fn why(checks: &[Checked]) -> String {
    const NEEDED: &[Check] = &[Check::Name, Check::Port, Check::Protocol, Check::Tls, Check::Administrator, Check::Server];
    let first = checks.iter().find(|checked| NEEDED.contains(&checked.check) && checked.outcome == Outcome::Failed);
    first.map_or_else(|| "the server did not answer".to_owned(), |checked| format!("{} failed", checked.check.as_str()))
}

async fn client_programs(server_major: Option<u32>) -> Checked {
    let found = match ClientPrograms::find(server_major.unwrap_or(0)).await {
        Ok(programs) => ClientFacts { fitting: Some((programs.version, programs.bin.display().to_string())), majors: Vec::new() },
        Err(majors) => ClientFacts { fitting: None, majors },
    };
    let seen = match &found.fitting {
        Some((version, folder)) => format!("pg_dump {version} in {folder}"),
        None => "none that will do".to_owned(),
    };
    Checked::new(Check::Programs, seen, programs(server_major, &found).into_iter().collect())
}

/// How core names the place that a login goes to.
async fn place_of(options: &ConnectOptions, is_dev: bool) -> Place {
    let host = options.host.to_string();
    Place {
        is_local: reach::is_local(&host).await,
        host,
        port: options.port,
        is_dev,
        is_encrypted: options.tls.mode() != SslMode::Disable,
        user: options.user.to_string(),
        database: options.database.to_string(),
    }
}

/// `1 alias`, `2 aliases`.
fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Asks one thing whose answer is a JSON document.
async fn document<T: serde::de::DeserializeOwned>(session: &Session, sql: &'static str) -> Result<T, String> {
    let rows = session.query(sql, &[]).await.map_err(|error| crate::postgres::connect::describe(&error))?;
    let text: String = rows.first().map_or(Ok(String::new()), |row| row.try_get(0)).map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| format!("the answer cannot be understood: {error}"))
}
