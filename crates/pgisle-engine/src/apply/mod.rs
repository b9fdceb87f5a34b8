//! From a spec to a changed cluster: observe, plan, carry out, read back.
//!
//! [`preview`] does the first half and changes nothing. [`run`] does it all under the run lock: it inspects again, plans again, and
//! refuses when what it would do is not what was shown. When it is done it reads the cluster back and plans once more; anything
//! but an empty plan is an error.

mod saved;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pgisle_core::credential::{Credential, Credentials};
use pgisle_core::diagnostic::{Code, Diagnostic, any_error};
use pgisle_core::inventory::{Inventory, Readable};
use pgisle_core::name::{DatabaseName, RoleName, ServiceName};
use pgisle_core::plan::{Backups, DestroyScope, Plan, PlanOptions, Planned, Target, databases_at_stake, plan, plan_destroy};
use pgisle_core::spec::{Access, Spec, SpecSecrets};

use crate::backup::{BackupStore, evidence};
use crate::clock::now_rfc3339;
use crate::credential::{Store, StoreError, ensure, system_random};
use crate::event::{Event, Events};
use crate::postgres::execute::{ExecuteOptions, execute};
use crate::postgres::lock::worker;
use crate::postgres::{ConnectError, ConnectOptions, InspectError, LockError, RunLock, Session, inspect_inside, inspect_shared};

pub use crate::postgres::execute::{FailureCause, StepFailure};
pub use saved::{SavedPlan, SavedPlanError};

/// What is asked for, and how to get there.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// What is wanted.
    pub spec: &'a Spec,
    /// The passwords that the user gave.
    pub secrets: &'a SpecSecrets,
    /// How to reach the maintenance database.
    pub connect: &'a ConnectOptions,
    /// Where the credentials are kept.
    pub store: &'a Store,
    /// To make or to destroy.
    pub intent: Intent,
    /// Only these, when there are any.
    pub targets: &'a [Target],
    /// Where the backups are that a destroy looks for; without it, databases that hold data are only dropped by force.
    pub backups: Option<&'a BackupStore>,
    /// Services whose existing objects are taken over.
    pub adopt: &'a BTreeSet<ServiceName>,
    /// Ends the sessions of services that are retired.
    pub end_sessions: bool,
    /// How many databases are worked on at once.
    pub parallelism: usize,
    /// Whether the pools of the file must fit into the server. Where what is there is only replaced or taken away, they need not.
    pub must_fit: bool,
    /// How long to wait for the run lock.
    pub lock_timeout: Duration,
    /// The fingerprint of the plan that was shown; none when whatever is needed shall be done.
    pub expected: Option<&'a str>,
}

/// To make or to destroy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// Brings the cluster to the spec.
    Apply,
    /// Takes the islands away.
    Destroy(DestroyScope),
}

/// What would be done.
#[derive(Debug)]
pub struct Preview {
    /// The plan and its report.
    pub planned: Planned,
    /// What it is based on.
    pub inventory: Inventory,
    /// The logins as they would be. New ones are made again, differently, by the apply.
    pub credentials: Credentials,
}

/// What was done.
#[derive(Debug)]
pub struct Applied {
    /// The plan that was carried out.
    pub planned: Planned,
    /// Steps that failed.
    pub failures: Vec<StepFailure>,
    /// What is still to do, read back from the cluster: empty when all went well and nothing was blocked.
    pub remaining: Plan,
    /// The cluster as it is now.
    pub inventory: Inventory,
    /// The logins as they are now.
    pub credentials: Credentials,
}

impl Applied {
    /// The findings about the run itself: failed steps, and differences that are there although no step failed.
    #[must_use]
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let mut diagnostics: Vec<Diagnostic> = self.failures.iter().map(StepFailure::diagnostic).collect();
        if self.failures.is_empty() && !self.remaining.is_empty() {
            let left: Vec<String> = self.remaining.steps().map(|step| format!("{}: {}", step.address, step.summary())).collect();
            diagnostics.push(
                Diagnostic::error(Code::APPLY_NOT_CONVERGED, "the cluster is not as planned after the apply")
                    .detail(format!("Still to do: {}.", left.join("; ")))
                    .hint("Someone else may be changing it. Run apply again."),
            );
        }
        diagnostics
    }
}

/// Why nothing, or not everything, was done.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// No session.
    #[error("cannot connect")]
    Connect(#[source] ConnectError),
    /// No inventory.
    #[error("cannot inspect the cluster")]
    Inspect(#[source] InspectError),
    /// No lock.
    #[error("cannot take the run lock")]
    Lock(#[source] LockError),
    /// No credentials.
    #[error("cannot use the credential store")]
    Store(#[source] StoreError),
    /// The cluster has moved since the plan was shown.
    #[error("the cluster has moved since the plan was made")]
    Stale,
}

impl ApplyError {
    /// The finding to show.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Connect(error) => error.diagnostic(),
            Self::Inspect(error) => error.diagnostic(),
            Self::Lock(error) => error.diagnostic(),
            Self::Store(error) => error.diagnostic(),
            Self::Stale => Diagnostic::error(Code::APPLY_STALE, "the cluster has moved since the plan was made")
                .detail("What the plan would do is no longer what is needed. Nothing was changed.")
                .hint("Plan again and look at the difference."),
        }
    }
}

/// Says what would be done. Changes nothing, neither on the cluster nor in the store.
///
/// # Errors
/// See [`ApplyError`].
pub async fn preview(request: &Request<'_>, events: Events<'_>) -> Result<Preview, ApplyError> {
    let mut credentials = request.store.load().map_err(ApplyError::Store)?;
    if request.intent == Intent::Apply {
        ensure(request.spec, request.secrets, &mut credentials, &mut system_random, &now_rfc3339());
    }
    let inventory = observe(request, events).await?;
    let backups = look_for_backups(request, &inventory, &credentials, events).await;
    let planned = decide(request, &inventory, &credentials, &backups);
    Ok(Preview { planned, inventory, credentials })
}

/// Brings the cluster to where the request wants it.
///
/// # Errors
/// See [`ApplyError`]. A failed step is not an error of this function: it is in [`Applied::failures`].
pub async fn run(request: &Request<'_>, events: Events<'_>) -> Result<Applied, ApplyError> {
    let purpose = match request.intent {
        Intent::Apply => "apply",
        Intent::Destroy(_) => "destroy",
    };
    let waiting = |holder: &crate::postgres::Holder| events(Event::WaitingForLock { holder: &holder.to_string() });
    let lock = RunLock::acquire(request.connect, purpose, request.lock_timeout, &waiting).await.map_err(ApplyError::Lock)?;
    let result = Box::pin(run_locked(request, events, &lock)).await;
    lock.release().await;
    result
}

/// The same under a lock that is held already.
pub(crate) async fn run_locked(request: &Request<'_>, events: Events<'_>, lock: &RunLock) -> Result<Applied, ApplyError> {
    let inventory = observe(request, events).await?;
    if let Some(refused) = refusal(request, &inventory)? {
        return Ok(refused);
    }
    // Saved before the server is told: whatever is killed in between, the next run finds the passwords.
    let credentials = match request.intent {
        Intent::Destroy(_) => request.store.load(),
        Intent::Apply => request.store.update(|credentials| {
            ensure(request.spec, request.secrets, credentials, &mut system_random, &now_rfc3339());
            credentials.clone()
        }),
    };
    let credentials = credentials.map_err(ApplyError::Store)?;
    let backups = look_for_backups(request, &inventory, &credentials, events).await;
    let planned = decide(request, &inventory, &credentials, &backups);
    if request.expected.is_some_and(|expected| planned.plan.fingerprint() != expected) {
        return Err(ApplyError::Stale);
    }
    events(Event::Planned(&planned));
    if planned.plan.is_empty() {
        let remaining = Plan::default();
        // An interrupted destroy may have dropped the last login and not yet forgotten its password.
        let credentials = if request.intent == Intent::Apply { credentials } else { forgotten(request, &inventory)? };
        return Ok(Applied { planned, failures: Vec::new(), remaining, inventory, credentials });
    }
    // The last moment at which nothing has been changed.
    lock.confirm().await.map_err(ApplyError::Lock)?;
    let options = ExecuteOptions {
        connect: &worker(request.connect),
        parallelism: request.parallelism,
        readers: &readers(request.spec),
        lock_is_held: &|| lock.is_held(),
        events,
    };
    let execution = Box::pin(execute(&planned.plan, &options)).await.map_err(ApplyError::Connect)?;
    events(Event::ReadingBack);
    let inventory = read_back(request, inventory, execution.contents).await?;
    let credentials = if request.intent == Intent::Apply { credentials } else { forgotten(request, &inventory)? };
    let remaining = decide(request, &inventory, &credentials, &backups).plan;
    Ok(Applied { planned, failures: execution.failures, remaining, inventory, credentials })
}

/// What the planner calls an error concerns the whole run: a target that does not exist, a server that is too old, pools that do not
/// fit. It is told before anything is changed, here or on the server.
fn refusal(request: &Request<'_>, inventory: &Inventory) -> Result<Option<Applied>, ApplyError> {
    let credentials = request.store.load().map_err(ApplyError::Store)?;
    // No error depends on what is in the backups, which take long to read.
    let planned = decide(request, inventory, &credentials, &Backups::new());
    Ok(any_error(&planned.diagnostics).then(|| Applied {
        planned: Planned { plan: Plan::default(), ..planned },
        failures: Vec::new(),
        remaining: Plan::default(),
        inventory: inventory.clone(),
        credentials,
    }))
}

/// Drops the passwords of logins that were destroyed, and gives what is left.
fn forgotten(request: &Request<'_>, inventory: &Inventory) -> Result<Credentials, ApplyError> {
    let is_there = |credential: &Credential| inventory.roles.contains_key(&credential.role);
    let forget = |credentials: &mut Credentials| {
        credentials.services.retain(|_, logins| logins.logins().any(is_there));
        credentials.monitoring = credentials.monitoring.take().filter(is_there);
        credentials.clone()
    };
    request.store.update(forget).map_err(ApplyError::Store)
}

/// Looks at the cluster, and inside of the databases that the request concerns.
async fn observe(request: &Request<'_>, events: Events<'_>) -> Result<Inventory, ApplyError> {
    let session = Session::connect(request.connect).await.map_err(ApplyError::Connect)?;
    let shared = inspect_shared(&session).await.map_err(ApplyError::Inspect);
    session.close().await;
    let shared = shared?;
    let mut databases = readers(request.spec);
    let drops = !matches!(request.intent, Intent::Apply);
    if drops {
        // Services that left the file are destroyed too, and whether they hold data must be known. The monitoring login may have left
        // something anywhere; a service is at home in its own databases.
        let concerns = |service: Option<ServiceName>| {
            let targets = request.targets;
            targets.is_empty()
                || targets.contains(&Target::Monitoring)
                || service.is_some_and(|service| targets.contains(&Target::Service(service)))
        };
        for (name, database) in &shared.databases {
            if database.marker().is_some_and(|marker| concerns(marker.service)) {
                databases.entry(name.clone()).or_default();
            }
        }
    }
    let wanted = crate::postgres::Request { databases, sizes: drops };
    let progress = |progress: crate::postgres::Progress<'_>| {
        events(Event::Inspected { done: progress.done, total: progress.total });
    };
    inspect_inside(request.connect, shared, &wanted, request.parallelism, &progress).await.map_err(ApplyError::Inspect)
}

/// Reads the shared catalogs again. Databases that were worked on were read by the sessions that did it; the others stand.
async fn read_back(
    request: &Request<'_>,
    before: Inventory,
    worked_on: BTreeMap<DatabaseName, pgisle_core::inventory::Contents>,
) -> Result<Inventory, ApplyError> {
    let session = Session::connect(request.connect).await.map_err(ApplyError::Connect)?;
    let shared = inspect_shared(&session).await.map_err(ApplyError::Inspect);
    session.close().await;
    let mut contents = before.contents;
    contents.extend(worked_on.into_iter().map(|(name, contents)| (name, Readable::Known(contents))));
    let shared = shared?;
    contents.retain(|name, _| shared.databases.contains_key(name));
    Ok(Inventory { contents, ..shared })
}

/// What the backups say of the databases that a destroy would drop. A forced one does not ask.
async fn look_for_backups(request: &Request<'_>, inventory: &Inventory, credentials: &Credentials, events: Events<'_>) -> Backups {
    let (Intent::Destroy(DestroyScope { force: false }), Some(store)) = (request.intent, request.backups) else {
        return Backups::new();
    };
    let databases = databases_at_stake(request.spec, inventory, &plan_options(request, credentials));
    let Request { spec, connect, parallelism, .. } = *request;
    let look = evidence::Look { spec, connect, store, inventory, parallelism };
    Box::pin(evidence::look(&look, &databases, events)).await
}

fn plan_options<'a>(request: &Request<'a>, credentials: &'a Credentials) -> PlanOptions<'a> {
    let Request { targets, adopt, end_sessions, parallelism, must_fit, .. } = *request;
    let budget = must_fit.then(|| u32::try_from(parallelism).unwrap_or(u32::MAX));
    PlanOptions { credentials, targets, adopt, end_sessions, budget }
}

fn decide(request: &Request<'_>, inventory: &Inventory, credentials: &Credentials, backups: &Backups) -> Planned {
    let options = plan_options(request, credentials);
    match request.intent {
        Intent::Apply => plan(request.spec, inventory, &options),
        Intent::Destroy(scope) => plan_destroy(request.spec, inventory, &options, scope, backups),
    }
}

/// The databases of a spec, each with the roles whose reading is of interest there.
pub(crate) fn readers(spec: &Spec) -> BTreeMap<DatabaseName, BTreeSet<RoleName>> {
    let settings = &spec.settings;
    let monitoring = settings.create_monitoring_user.then(|| settings.monitoring_user());
    spec.services
        .values()
        .map(|service| {
            let application = (service.access == Access::Split).then(|| service.application());
            (service.database.clone(), monitoring.iter().cloned().chain(application).collect())
        })
        .collect()
}
