//! Changes of many resources, done together.
//!
//! Terraform asks for ten resources at once, and the engine works under one run lock. Whoever comes while a run is under way waits;
//! when it ends, all that wait are carried out in one run, databases side by side. So two hundred services take some twenty runs and
//! not two hundred, and none waits for a lock that another of the same process holds.

use std::collections::BTreeSet;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgisle_core::credential::Credentials;
use pgisle_core::diagnostic::{Code, Diagnostic, Severity, any_error};
use pgisle_core::name::ServiceName;
use pgisle_core::plan::{Address, DestroyScope, Plan, Target};
use pgisle_core::secret::Secret;
use pgisle_core::spec::{Service, SpecSecrets};
use pgisle_engine::apply::{self, Applied, Intent, Request};
use pgisle_engine::event::Event;
use tokio::sync::{Mutex, oneshot, watch};

use crate::finding::{self, general};
use crate::provider::Finding;
use crate::site::{self, PARALLELISM, Site};

/// How long the first of a batch waits for the others that Terraform sends at the same moment.
const GATHER_FOR: Duration = Duration::from_millis(20);

/// One change.
#[derive(Debug)]
pub(crate) enum Job {
    /// Makes an island, or brings it to what it should be.
    Make {
        /// The service.
        service: Box<Service>,
        /// Whether Terraform knows of none of this name yet. What is there already cannot change its database.
        is_new: bool,
        /// The password that is given.
        password: Option<Secret>,
        /// Takes over what is there.
        adopt: bool,
        /// What is left to someone with more rights is a warning.
        allow_incomplete: bool,
    },
    /// Closes an island and keeps its data.
    Retire {
        /// The service.
        service: ServiceName,
        /// Ends its sessions.
        end_sessions: bool,
    },
    /// Drops an island.
    Destroy {
        /// The service.
        service: ServiceName,
        /// Drops data that no backup holds, too.
        force: bool,
    },
    /// Makes the monitoring login, or brings it to what it should be.
    MakeMonitoring,
    /// Drops the monitoring login.
    DestroyMonitoring,
}

/// What became of a change.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// What is to be said; an error when it was not done whole.
    pub(crate) findings: Vec<Finding>,
    /// The logins as they are now.
    pub(crate) credentials: Credentials,
}

struct Waiting {
    job: Job,
    lock_timeout: Duration,
    answer: oneshot::Sender<Outcome>,
}

impl Waiting {
    /// Answers that nothing was done.
    fn refuse(self, findings: Vec<Finding>) {
        // Whoever has gone away does not ask any more.
        let _ = self.answer.send(Outcome { findings, credentials: Credentials::default() });
    }
}

/// The changes that wait.
pub(crate) struct Queue {
    site: Arc<Site>,
    waiting: std::sync::Mutex<Vec<Waiting>>,
    turn: Mutex<()>,
    stopping: watch::Receiver<bool>,
}

/// Which changes can be one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Run {
    Apply { end_sessions: bool },
    Destroy { force: bool },
}

impl Job {
    fn run(&self) -> Run {
        match self {
            Self::Make { .. } | Self::MakeMonitoring => Run::Apply { end_sessions: false },
            Self::Retire { end_sessions, .. } => Run::Apply { end_sessions: *end_sessions },
            Self::Destroy { force, .. } => Run::Destroy { force: *force },
            Self::DestroyMonitoring => Run::Destroy { force: false },
        }
    }

    /// The service that it is about; none for the monitoring login.
    fn service(&self) -> Option<&ServiceName> {
        match self {
            Self::Make { service, .. } => Some(&service.name),
            Self::Retire { service, .. } | Self::Destroy { service, .. } => Some(service),
            Self::MakeMonitoring | Self::DestroyMonitoring => None,
        }
    }

    /// Whether what stands at this address is of concern to it.
    fn concerns(&self, address: &str) -> bool {
        match (Target::parse(address), self) {
            (Some(Target::Service(name)), _) => self.service() == Some(&name),
            (Some(Target::Monitoring), Self::Make { .. } | Self::MakeMonitoring | Self::DestroyMonitoring) => true,
            // An island is none while others may get at the databases beside it.
            (Some(Target::Cluster), Self::Make { .. }) => true,
            _ => false,
        }
    }

    fn allows_incomplete(&self) -> bool {
        matches!(self, Self::Make { allow_incomplete: true, .. })
    }
}

impl Queue {
    /// An empty one.
    pub(crate) fn new(site: Arc<Site>, stopping: watch::Receiver<bool>) -> Self {
        Self { site, waiting: std::sync::Mutex::default(), turn: Mutex::default(), stopping }
    }

    /// Has a change made, together with others.
    pub(crate) async fn submit(&self, job: Job, lock_timeout: Duration) -> Outcome {
        self.site.begin_changing();
        let (answer, mut answered) = oneshot::channel();
        self.lock_waiting().push(Waiting { job, lock_timeout, answer });
        loop {
            tokio::select! {
                biased;
                outcome = &mut answered => return outcome.unwrap_or_else(|_| lost()),
                // The answers of a turn that panics are dropped, and come out as lost.
                _turn = self.turn.lock() => {
                    tokio::time::sleep(GATHER_FOR).await;
                    Box::pin(self.run_all()).await;
                }
            }
        }
    }

    fn lock_waiting(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Carries out everything that waits.
    async fn run_all(&self) {
        let waiting = mem::take(&mut *self.lock_waiting());
        for (run, batch) in batches(waiting) {
            if *self.stopping.borrow() {
                for one in batch {
                    one.refuse(general(&[interrupted()]));
                }
                continue;
            }
            Box::pin(self.run_batch(run, batch)).await;
        }
    }

    async fn run_batch(&self, run: Run, batch: Vec<Waiting>) {
        let batch = self.turn_away(batch).await;
        if batch.is_empty() {
            return;
        }
        let outcome = Box::pin(self.carry_out(run, &batch)).await;
        self.site.forget().await;
        for one in batch {
            let answer = match &outcome {
                Ok(applied) => of_one(&one.job, applied),
                Err(diagnostics) => Outcome { findings: general(diagnostics), credentials: Credentials::default() },
            };
            // Whoever has gone away does not ask any more.
            let _ = one.answer.send(answer);
        }
    }

    /// Another resource of the same apply may have made a database its own that one of these would be given. They are looked at together,
    /// and not each by itself: all that is shared of two hundred islands is much.
    async fn turn_away(&self, batch: Vec<Waiting>) -> Vec<Waiting> {
        if !batch.iter().any(|one| matches!(one.job, Job::Make { is_new: true, .. })) {
            return batch;
        }
        let shared = self.site.shared().await;
        let mut left = Vec::new();
        for one in batch {
            match (&one.job, &shared) {
                (Job::Make { service, is_new: true, .. }, Ok(shared)) => match self.site.of_another(service, shared) {
                    Some(taken) => one.refuse(vec![taken]),
                    None => left.push(one),
                },
                (Job::Make { is_new: true, .. }, Err(diagnostic)) => one.refuse(general(std::slice::from_ref(diagnostic))),
                _ => left.push(one),
            }
        }
        left
    }

    async fn carry_out(&self, run: Run, batch: &[Waiting]) -> Result<Applied, Vec<Diagnostic>> {
        let mut services = Vec::new();
        let mut secrets = SpecSecrets::default();
        let mut adopted = BTreeSet::new();
        for one in batch {
            if let Job::Make { service, password, adopt, .. } = &one.job {
                services.push((**service).clone());
                secrets.service_passwords.extend(password.iter().map(|password| (service.name.clone(), password.clone())));
                adopted.extend(adopt.then(|| service.name.clone()));
            }
        }
        let targets = self.targets(run, batch);
        let backups = match run {
            Run::Destroy { force: false } => self.site.backups().ok(),
            _ => None,
        };
        let spec = self.site.spec(services);
        let intent = match run {
            Run::Apply { .. } => Intent::Apply,
            Run::Destroy { force } => Intent::Destroy(DestroyScope { force }),
        };
        let request = Request {
            spec: &spec,
            secrets: &secrets,
            connect: &self.site.connect,
            store: &self.site.store,
            intent,
            targets: &targets,
            backups: backups.as_ref(),
            adopt: &adopted,
            end_sessions: run == Run::Apply { end_sessions: true },
            parallelism: PARALLELISM,
            // It sees a part of the services only. The whole is added up by the data source.
            must_fit: false,
            lock_timeout: batch.iter().map(|one| one.lock_timeout).max().unwrap_or_default(),
            expected: None,
        };
        let applied = self.until_stopped(&request).await?;
        if any_error(&applied.planned.diagnostics) { Err(applied.planned.diagnostics) } else { Ok(applied) }
    }

    /// Runs it. Interrupted while it waits for another run, it is given up; what has begun is brought to its end.
    async fn until_stopped(&self, request: &Request<'_>) -> Result<Applied, Vec<Diagnostic>> {
        let is_waiting = AtomicBool::new(false);
        let events = |event: Event<'_>| is_waiting.store(matches!(event, Event::WaitingForLock { .. }), Ordering::Relaxed);
        let mut stopping = self.stopping.clone();
        let run = std::pin::pin!(apply::run(request, &events));
        let stopped = std::pin::pin!(async {
            // The sender lives as long as the provider.
            let _ = stopping.wait_for(|stopping| *stopping).await;
            while !is_waiting.load(Ordering::Relaxed) {
                tokio::time::sleep(GATHER_FOR).await;
            }
        });
        tokio::select! {
            biased;
            applied = run => applied.map_err(|error| vec![error.diagnostic()]),
            () = stopped => Err(vec![interrupted()]),
        }
    }

    fn targets(&self, run: Run, batch: &[Waiting]) -> Vec<Target> {
        let services: Vec<&ServiceName> = batch.iter().filter_map(|one| one.job.service()).collect();
        let makes_any = batch.iter().any(|one| matches!(one.job, Job::Make { .. }));
        let has_monitoring = batch.iter().any(|one| one.job.service().is_none());
        match run {
            Run::Apply { .. } if makes_any => self.site.targets(services),
            Run::Apply { .. } | Run::Destroy { .. } => {
                let services = services.into_iter().cloned().map(Target::Service);
                services.chain(has_monitoring.then_some(Target::Monitoring)).collect()
            }
        }
    }
}

/// Sorts changes into runs. Two that would use one name never share a run: the second then finds what the first has made, and is
/// refused.
fn batches(waiting: Vec<Waiting>) -> Vec<(Run, Vec<Waiting>)> {
    let mut runs: Vec<(Run, BTreeSet<String>, Vec<Waiting>)> = Vec::new();
    for one in waiting {
        let run = one.job.run();
        let names: Vec<String> = match &one.job {
            Job::Make { service, .. } => vec![service.name.to_string(), service.database.to_string(), service.user.to_string()],
            other => other.service().map(ToString::to_string).into_iter().collect(),
        };
        let fits = |taken: &BTreeSet<String>| names.iter().all(|name| !taken.contains(name));
        match runs.iter_mut().find(|(other, taken, _)| *other == run && fits(taken)) {
            Some((_, taken, batch)) => {
                taken.extend(names);
                batch.push(one);
            }
            None => runs.push((run, names.into_iter().collect(), vec![one])),
        }
    }
    runs.into_iter().map(|(run, _, batch)| (run, batch)).collect()
}

/// What a run means for one of its changes.
fn of_one(job: &Job, applied: &Applied) -> Outcome {
    let Applied { planned, failures, remaining, inventory: _, credentials } = applied;
    let mut diagnostics: Vec<Diagnostic> = planned.diagnostics.clone();
    let severity = if job.allows_incomplete() { Severity::Warning } else { Severity::Error };
    let mut own = planned.clone();
    own.report.blocked.retain(|blocked| job.concerns(&blocked.address.to_string()));
    diagnostics.extend(site::blocked(&own, severity));
    let failed: Vec<Diagnostic> =
        failures.iter().filter(|failure| job.concerns(&failure.address)).map(|failure| failure.diagnostic()).collect();
    if failed.is_empty() {
        diagnostics.extend(not_converged(job, remaining));
    }
    diagnostics.extend(failed);
    Outcome { findings: general(&diagnostics), credentials: credentials.clone() }
}

fn not_converged(job: &Job, remaining: &Plan) -> Option<Diagnostic> {
    let concerns = |address: &Address| job.concerns(&address.to_string());
    let left = remaining.steps().filter(|step| concerns(&step.address));
    let left: Vec<String> = left.map(|step| format!("{}: {}", step.address, step.summary())).collect();
    (!left.is_empty()).then(|| {
        Diagnostic::error(Code::APPLY_NOT_CONVERGED, "the cluster is not as planned after the apply")
            .detail(format!("Still to do: {}.", left.join("; ")))
            .hint("Someone else may be changing it. Run apply again.")
    })
}

fn interrupted() -> Diagnostic {
    Diagnostic::error(Code::APPLY_DECLINED, "interrupted before anything was changed").hint("Run apply again.")
}

fn lost() -> Outcome {
    let diagnostic = Diagnostic::error(Code::BUG, "the run that this change was part of broke off")
        .hint("Run apply again: it goes on where it stopped.");
    Outcome { findings: general(&[diagnostic]), credentials: Credentials::default() }
}

/// The logins of a run that did nothing are not known; whoever needs them asks the store.
impl Outcome {
    /// Whether the change was not made whole.
    pub(crate) fn has_failed(&self) -> bool {
        finding::any_error(&self.findings)
    }
}
