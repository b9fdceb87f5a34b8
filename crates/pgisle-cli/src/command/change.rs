//! What all commands that change the cluster have in common: plan, show, ask, carry out, write the files, report.

use std::collections::BTreeSet;

use pgisle_core::credential::Credentials;
use pgisle_core::diagnostic::{Code, Diagnostic, Severity, any_error};
use pgisle_core::name::ServiceName;
use pgisle_core::plan::{Blocked, Planned, Target};
use pgisle_engine::apply::{self, Applied, Intent, Preview, Request};
use pgisle_engine::artifact::Change as FileChange;
use pgisle_engine::backup::BackupStore;
use pgisle_engine::credential::Store;
use pgisle_engine::event::Event;
use pgisle_engine::postgres::conninfo::ConnectOptions;

use super::reload::ReloadArgs;
use crate::console::{Console, Verbosity};
use crate::exit::Exit;
use crate::progress::Progress;
use crate::project::Project;
use crate::report::Report;
use crate::session::Session;
use crate::view::human::plan::Depth;
use crate::view::{human, json};

/// What a command wants done.
#[derive(Default)]
pub(super) struct Change {
    /// To destroy, and how far; to make, when none.
    pub(super) destroy: Option<pgisle_core::plan::DestroyScope>,
    /// Only these.
    pub(super) targets: Vec<Target>,
    /// Services to take over.
    pub(super) adopt: BTreeSet<ServiceName>,
    /// Ends the sessions of retired services.
    pub(super) end_sessions: bool,
    /// The fingerprint of a plan that was shown earlier.
    pub(super) expected: Option<String>,
    /// Whom to ask, and what.
    pub(super) approval: Approval,
    /// Work that is left for someone with more rights is no error.
    pub(super) allow_incomplete: bool,
    /// Generated files that were edited by hand are overwritten.
    pub(super) overwrite: bool,
    /// Whether PgBouncer is told of them.
    pub(super) reload: ReloadArgs,
    /// Only takes away, so that whether the pools fit is not asked.
    pub(super) only_removes: bool,
}

/// How a change is agreed to.
#[derive(Default)]
pub(super) enum Approval {
    /// It is already.
    Given,
    /// `yes` has to be typed.
    #[default]
    Yes,
    /// This name has to be typed.
    Name(String),
}

/// Everything that a change needs to be planned and carried out.
pub(super) struct Site<'s> {
    pub(super) session: &'s Session,
    pub(super) project: Project,
    pub(super) connect: ConnectOptions,
    pub(super) store: Store,
    /// Where the backups are, for what looks for them.
    backups: Option<BackupStore>,
}

impl<'s> Site<'s> {
    /// Reads the files and works out how to reach the server. Connects to nothing.
    pub(super) async fn open(session: &'s Session) -> Result<Self, Vec<Diagnostic>> {
        Self::of(session, Project::load(session).await?)
    }

    /// The same for a project that was read already.
    pub(super) fn of(session: &'s Session, mut project: Project) -> Result<Self, Vec<Diagnostic>> {
        let connect = project.connect_options()?;
        let store = project.store()?;
        Ok(Self { session, project, connect, store, backups: None })
    }

    /// Has a destroy look for backups of what it would drop. That the place cannot be used is told, and drops nothing.
    pub(super) fn with_backups(mut self) -> Self {
        match self.project.backups() {
            Ok(store) => self.backups = Some(store),
            Err(diagnostics) => {
                let warnings = diagnostics.into_iter().map(|one| Diagnostic { severity: Severity::Warning, ..one });
                self.project.warnings.extend(warnings);
            }
        }
        self
    }

    /// What the engine is asked for.
    pub(super) fn request<'a>(&'a self, change: &'a Change) -> Request<'a> {
        Request {
            spec: &self.project.spec,
            secrets: &self.project.secrets,
            connect: &self.connect,
            store: &self.store,
            intent: change.destroy.map_or(Intent::Apply, Intent::Destroy),
            targets: &change.targets,
            backups: self.backups.as_ref(),
            adopt: &change.adopt,
            end_sessions: change.end_sessions,
            parallelism: usize::from(self.session.global.parallelism),
            must_fit: !change.only_removes,
            lock_timeout: self.session.global.lock_timeout,
            expected: change.expected.as_deref(),
        }
    }

    /// Looks and plans, and changes nothing.
    pub(super) async fn preview(&self, change: &Change) -> Result<Preview, Vec<Diagnostic>> {
        let progress = Progress::new(&self.session.console, "looking");
        let request = self.request(change);
        let events = |event: Event<'_>| progress.event(&event);
        progress.watch(Box::pin(apply::preview(&request, &events))).await.map_err(|error| vec![error.diagnostic()])
    }

    /// Carries a change out under the run lock. `shown` is called with the plan before anything is done.
    pub(super) async fn run(&self, change: &Change, shown: &(dyn Fn(&Planned) + Sync)) -> Result<Applied, Vec<Diagnostic>> {
        let progress = Progress::new(&self.session.console, if change.destroy.is_some() { "destroying" } else { "applying" });
        let request = self.request(change);
        let events = |event: Event<'_>| {
            if let Event::Planned(planned) = &event {
                shown(planned);
            }
            progress.event(&event);
        };
        progress.watch(Box::pin(apply::run(&request, &events))).await.map_err(|error| vec![error.diagnostic()])
    }

    /// How much of a plan is shown.
    pub(super) fn depth(&self) -> Depth {
        if self.session.console.verbosity() == Verbosity::Verbose { Depth::Sql } else { Depth::Steps }
    }

    /// Does the whole of it: plans, shows, asks, carries out, writes the files.
    pub(super) async fn carry_out(mut self, change: Change) -> Result<Report, Vec<Diagnostic>> {
        let mut change = change;
        if !matches!(change.approval, Approval::Given) {
            let preview = self.preview(&change).await?;
            self.project.learn_homes(&self.connect).await?;
            if let Some(report) = self.agree(&mut change, &preview)? {
                return Ok(report);
            }
        }
        let was_shown = change.expected.is_some();
        let applied = self
            .run(&change, &|planned| {
                if !was_shown && !planned.plan.is_empty() {
                    self.session.console.show(&human::plan::planned(planned, self.depth()));
                }
            })
            .await?;
        if any_error(&applied.planned.diagnostics) {
            // Nothing was done, and the files must not be ahead of the cluster.
            return Err(applied.planned.diagnostics);
        }
        self.conclude(&change, &applied).await
    }

    /// Shows the plan and asks. Gives a report when that is the end of it.
    fn agree(&self, change: &mut Change, preview: &Preview) -> Result<Option<Report>, Vec<Diagnostic>> {
        let Preview { planned, credentials, .. } = preview;
        if any_error(&planned.diagnostics) {
            return Err(planned.diagnostics.clone());
        }
        if change.expected.as_ref().is_some_and(|expected| *expected != planned.plan.fingerprint()) {
            return Err(vec![apply::ApplyError::Stale.diagnostic()]);
        }
        let files = if change.destroy.is_some() { Vec::new() } else { self.project.artifact_changes(credentials)? };
        if !planned.plan.is_empty() || human::plan::any_change(&files) {
            let console = &self.session.console;
            console.show(&human::plan::planned(planned, self.depth()));
            console.show(&human::plan::files(&self.project.folder(), &files));
            console.find(&planned.diagnostics);
            console.find(&blocked(&planned.report.blocked, true));
            if let Err(refusal) = ask(console, &change.approval) {
                let diagnostics = [refusal].into_iter().chain(planned.diagnostics.iter().cloned());
                return Ok(Some(Report::new().diagnostics(diagnostics).member("plan", json::plan(planned))));
            }
        }
        change.expected = Some(planned.plan.fingerprint());
        Ok(None)
    }

    async fn conclude(&mut self, change: &Change, applied: &Applied) -> Result<Report, Vec<Diagnostic>> {
        let mut diagnostics = applied.planned.diagnostics.clone();
        diagnostics.extend(blocked(&applied.planned.report.blocked, change.allow_incomplete));
        diagnostics.extend(applied.diagnostics());
        let mut files = Vec::new();
        // The files follow the credentials, which are saved; that a step failed makes them no less true.
        if change.destroy.is_some() {
            // Files of services that are gone would hold passwords of nobody.
            self.project.spec.services.retain(|name, _| applied.credentials.services.contains_key(name));
        }
        if change.destroy.is_none() {
            self.project.learn_homes(&self.connect).await?;
        }
        match self.project.write_artifacts(&applied.credentials, change.overwrite) {
            Ok(changes) => {
                files = changes;
                diagnostics.extend(self.project.refresh_pooler(&applied.credentials).await.err());
                diagnostics.extend(change.reload.reload(&self.project, &applied.credentials).await);
            }
            Err(diagnostic) => diagnostics.push(diagnostic),
        }
        diagnostics.extend(std::mem::take(&mut self.project.warnings));
        let done = !any_error(&diagnostics);
        let human = if change.destroy.is_some() {
            human::apply::destroyed(applied)
        } else {
            human::apply::applied(applied, &self.project.folder(), &files, done)
        };
        Ok(Report::new()
            .human(human)
            .member("plan", json::plan(&applied.planned))
            .member("applied", json::applied(applied))
            .member("files", &files)
            .diagnostics(diagnostics))
    }

    /// What a plan leaves to someone with more rights, or to a decision.
    pub(super) fn files(&self, credentials: &Credentials) -> Result<Vec<FileChange>, Vec<Diagnostic>> {
        self.project.artifact_changes(credentials)
    }
}

/// Blocked work as findings. Errors, unless that it is left is fine; a server that cannot be written to at all never is.
pub(super) fn blocked(blocked: &[Blocked], is_fine: bool) -> Vec<Diagnostic> {
    let mut diagnostics: Vec<Diagnostic> = blocked
        .iter()
        .map(|blocked| {
            let mut diagnostic = blocked.diagnostic.clone();
            if is_fine && Exit::of_code(diagnostic.code) != Exit::Unavailable {
                diagnostic.severity = Severity::Warning;
            }
            diagnostic.subject.get_or_insert_with(|| blocked.address.to_string());
            diagnostic.commands.extend(blocked.paste());
            diagnostic
        })
        .collect();
    // What a destroy leaves is told by itself; there is nothing to apply again.
    if !blocked.is_empty() && !is_fine && diagnostics.iter().all(|diagnostic| diagnostic.code != Code::PLAN_DATA_LOSS) {
        diagnostics.push(
            Diagnostic::error(Code::APPLY_INCOMPLETE, "part of the work could not be done")
                .detail("What could be done is done. Each thing that is left is listed above, with the reason.")
                .hint("Mend it and apply again, or take it as it is with -allow-incomplete."),
        );
    }
    diagnostics
}

/// Asks, and gives the finding when the answer is not what it must be.
pub(super) fn ask(console: &Console, approval: &Approval) -> Result<(), Diagnostic> {
    let (question, expected, flag) = match approval {
        Approval::Given => return Ok(()),
        Approval::Yes => (human::question::yes(), "yes", "-auto-approve"),
        Approval::Name(name) => (human::question::name(name), name.as_str(), "-target=service.NAME -auto-approve"),
    };
    let code = if matches!(approval, Approval::Name(_)) { Code::DESTROY_REFUSED } else { Code::APPLY_DECLINED };
    if !console.can_ask() {
        return Err(Diagnostic::error(code, "there is no terminal to ask on")
            .detail("Nothing was changed.")
            .hint(format!("Answer on a terminal, or pass {flag}.")));
    }
    match console.ask(&question) {
        Some(answer) if answer == expected => {
            console.note("\n");
            Ok(())
        }
        _ => Err(Diagnostic::error(code, "not confirmed").detail("Nothing was changed.")),
    }
}

/// Reads `-target`.
pub(super) fn targets(texts: &[String]) -> Result<Vec<Target>, Vec<Diagnostic>> {
    let mut diagnostics = Vec::new();
    let mut targets = Vec::new();
    for text in texts {
        match Target::parse(text) {
            Some(target) => targets.push(target),
            None => {
                let error = Diagnostic::error(Code::PLAN_UNKNOWN_TARGET, format!("-target cannot be \"{text}\""));
                diagnostics.push(match ServiceName::parse(text) {
                    Ok(name) => error.hint(format!("Did you mean service.{name}?")),
                    Err(_) => error.hint("Addresses are service.NAME, monitoring or cluster; `pgisle plan` prints them."),
                });
            }
        }
    }
    if diagnostics.is_empty() { Ok(targets) } else { Err(diagnostics) }
}

/// Reads the names of services of the spec.
pub(super) fn services(project: &Project, texts: &[String]) -> Result<BTreeSet<ServiceName>, Vec<Diagnostic>> {
    let known = &project.spec.services;
    let unknown: Vec<&String> = texts.iter().filter(|text| !known.keys().any(|name| name.as_str() == text.as_str())).collect();
    if unknown.is_empty() {
        return Ok(known.keys().filter(|name| texts.iter().any(|text| text == name.as_str())).cloned().collect());
    }
    let names: Vec<&str> = known.keys().map(|name| name.as_str()).collect();
    let error = |text: &String| {
        Diagnostic::error(Code::PLAN_UNKNOWN_TARGET, format!("there is no service \"{text}\" in the files"))
            .hint(format!("There are {}.", names.join(", ")))
    };
    Err(unknown.into_iter().map(error).collect())
}
