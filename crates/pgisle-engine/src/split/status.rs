//! Where splits are, and who has not heard of it.

use pgisle_core::backup::restore::split_remains;
use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::moment::Moment;
use pgisle_core::name::{DatabaseName, ServiceName};
use pgisle_core::spec::Spec;
use pgisle_core::split::{Job, JobState, Strategy};
use pgisle_core::sql::split::{SLOT, late_sessions};
use serde::{Deserialize, Serialize};

use super::{Receipt, SplitError, journal};
use crate::postgres::{ConnectOptions, Session, inspect_shared};

/// A slot that keeps more log than this is told of.
const LARGE_LOG_BYTES: u64 = 1 << 30;

/// Someone who wrote to the old tables, or tried to, and is connected still.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Late {
    /// The login.
    pub role: String,
    /// What it calls itself.
    pub application: String,
    /// Where it comes from, or `local`.
    pub address: String,
    /// How often it was turned away.
    pub attempts: u64,
    /// How many of its sessions are open.
    pub sessions: u64,
}

/// A replication slot of a split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SlotStatus {
    /// Its name.
    pub name: String,
    /// Whether the server has taken away what it was to keep.
    pub is_lost: bool,
    /// How many bytes of log the server keeps for it.
    pub kept_bytes: u64,
}

/// One service's split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SplitStatus {
    /// The service.
    pub service: ServiceName,
    /// How far it is.
    pub state: JobState,
    /// How.
    pub strategy: Strategy,
    /// Since when it is in this state.
    pub since: Option<Moment>,
    /// The database that is the service's home.
    pub home: DatabaseName,
    /// True when a rollback was interrupted: the shared database is the home, and the rollback is to be called again.
    pub is_half_back: bool,
    /// The slot that changes follow by, before the cutover: what it keeps is how far the copy is behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub follows: Option<SlotStatus>,
    /// The slot of the way back, behind the cutover.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub way_back: Option<SlotStatus>,
    /// Whether both sides held the same in the pause; none when they were not compared.
    pub is_equal: Option<bool>,
    /// The receipt of the cutover, until the split is rolled back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
    /// How long the service could not write, milliseconds.
    pub pause_ms: Option<u64>,
    /// How many attempts to write to the old tables came too late.
    pub late_attempts: u64,
    /// Who of those is connected still.
    pub late: Vec<Late>,
    /// Databases that the split has left, or is filling.
    pub left: Vec<DatabaseName>,
}

impl SplitStatus {
    /// What somebody should look at.
    #[must_use]
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let service = &self.service;
        let mut diagnostics: Vec<Diagnostic> = self.follows.iter().chain(&self.way_back).filter_map(slot_finding).collect();
        diagnostics.extend(self.receipt.as_ref().and_then(|receipt| receipt.diagnostic(service)));
        if !self.late.is_empty() {
            let who = self.late.iter().map(|one| {
                let (role, application, address) =
                    (one.role.escape_debug(), one.application.escape_debug(), one.address.escape_debug());
                format!("\"{role}\" (\"{application}\") from {address}, {} times", one.attempts)
            });
            let who: Vec<String> = who.collect();
            let summary = format!("{} of service \"{service}\" still write to the old tables", sessions(&self.late));
            diagnostics.push(
                Diagnostic::warning(Code::SPLIT_LATE, summary)
                    .detail(format!("{}. {} attempts were turned away in all.", who.join("; "), self.late_attempts))
                    .hint(format!("Have them connect to database \"{}\".", self.home)),
            );
        }
        if self.is_half_back {
            diagnostics.push(
                Diagnostic::warning(Code::SPLIT_STATE, format!("the rollback of service \"{service}\" was interrupted"))
                    .hint("End it:")
                    .command(format!("pgisle split rollback {service}")),
            );
        }
        diagnostics
    }
}

fn sessions(late: &[Late]) -> String {
    match late.iter().map(|one| one.sessions).sum() {
        1_u64 => "1 session".to_owned(),
        count => format!("{count} sessions"),
    }
}

fn slot_finding(slot: &SlotStatus) -> Option<Diagnostic> {
    let SlotStatus { name, is_lost, kept_bytes } = slot;
    if *is_lost {
        return Some(
            Diagnostic::warning(Code::SPLIT_SLOT, format!("replication slot \"{name}\" is lost"))
                .detail("The server has taken away the log that it needs (max_slot_wal_keep_size).")
                .hint("Before the cutover, roll back and run again. Behind it, a rollback has to copy the rows back."),
        );
    }
    (*kept_bytes > LARGE_LOG_BYTES).then(|| {
        Diagnostic::warning(Code::SPLIT_SLOT, format!("the server keeps {} MB of log for slot \"{name}\"", kept_bytes >> 20))
            .hint("Cut over and finalize, or roll back: the log is kept until then.")
    })
}

/// Tells where all splits of the shared database are. One connection.
///
/// # Errors
/// The shared database cannot be entered or read.
pub async fn status(connect: &ConnectOptions, spec: &Spec) -> Result<Vec<SplitStatus>, SplitError> {
    let shared = &spec.settings.postgres_database;
    let session = Session::connect(&connect.to_database(shared).for_purpose("split")).await?;
    let jobs = journal::read_all(&session).await?;
    let mut all = Vec::new();
    if !jobs.is_empty() {
        let inventory = inspect_shared(&session).await?;
        let remains = split_remains(&inventory, &spec.settings.name_prefix, spec.settings.environment.as_str());
        for job in jobs {
            let mut status = of_job(&session, &job, shared).await?;
            let own = remains.iter().filter(|one| *one.service() == job.service);
            status.left = own.filter_map(|one| one.database()).filter(|name| **name != job.database).cloned().collect();
            all.push(status);
        }
    }
    session.close().await;
    Ok(all)
}

async fn of_job(session: &Session, job: &Job, shared: &DatabaseName) -> Result<SplitStatus, SplitError> {
    let (_, late_attempts) = journal::gate_of(session, &job.service).await?;
    let clock = job.clock;
    let since = match job.state {
        JobState::Begun => clock.begun,
        JobState::Following => clock.copied,
        JobState::Cut => clock.cut,
        JobState::Returned => clock.returned,
        JobState::Finalized => clock.finalized,
    };
    let follows = if job.state.is_home() { None } else { slot(session, job.slot()).await? };
    let way_back = if job.state == JobState::Cut { slot(session, job.slot_back()).await? } else { None };
    Ok(SplitStatus {
        service: job.service.clone(),
        state: job.state,
        strategy: job.strategy,
        since,
        home: if job.state.is_home() { job.database.clone() } else { shared.clone() },
        is_half_back: job.state == JobState::Returned && job.opened.is_some(),
        follows,
        way_back,
        is_equal: job.is_equal(),
        receipt: job.receipt.clone().filter(|_| job.state.is_home()).and_then(|receipt| serde_json::from_value(receipt).ok()),
        pause_ms: job.pause_ms,
        late_attempts,
        late: late(session, &job.service).await?,
        left: Vec::new(),
    })
}

/// Who has come too late and is connected still.
pub(super) async fn late(session: &Session, service: &ServiceName) -> Result<Vec<Late>, SplitError> {
    let text = session.answer(&late_sessions(service)).await.map_err(SplitError::query("look who came too late"))?;
    serde_json::from_str(&text.unwrap_or_default()).map_err(|error| {
        Diagnostic::error(Code::SPLIT_FAILED, "the server's answer cannot be understood").detail(format!("{error}.")).into()
    })
}

async fn slot(session: &Session, name: String) -> Result<Option<SlotStatus>, SplitError> {
    let failed = || SplitError::query("look at the replication slots");
    let rows = session.query(SLOT, &[&name]).await.map_err(failed())?;
    let Some(row) = rows.first() else { return Ok(None) };
    let is_lost = row.try_get(0).map_err(failed())?;
    let kept: Option<i64> = row.try_get(1).map_err(failed())?;
    Ok(Some(SlotStatus { name, is_lost, kept_bytes: kept.map_or(0, |kept| u64::try_from(kept).unwrap_or_default()) }))
}
