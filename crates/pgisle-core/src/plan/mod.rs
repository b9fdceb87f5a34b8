//! What was decided: ordered steps, complete, with nothing left to decide.
//!
//! [`plan`] is a pure function of the spec, the inventory and its options. It runs through the cluster once, in the order in
//! which the work must be done, and says at each point what differs and what closes the gap. What it will not or cannot do it
//! reports with the reason, instead of leaving it out.

mod database;
mod destroy;
mod drift;
mod inside;
mod maintenance;
mod monitoring;
mod retire;
mod role;
mod step;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::budget;
use crate::credential::{Credentials, Verifier};
use crate::diagnostic::{Code, Diagnostic};
use crate::inventory::Inventory;
use crate::name::{DatabaseName, RoleName, ServiceName};
use crate::spec::{Service, Spec};

pub use destroy::{BackedUp, Backups, DestroyScope, databases_at_stake, plan_destroy};
pub use drift::spec_fingerprint;
pub use step::{
    Action, Address, Cause, Danger, DatabaseChange, DatabaseGrant, DefaultPrivilege, MembershipOptions, Operation, RoleChange,
    SchemaGrant, Step,
};

/// What the planner is told besides spec and inventory. No default: whoever plans says it all.
#[derive(Debug, Clone)]
pub struct PlanOptions<'a> {
    /// The logins and their verifiers. Missing ones are shown as "made at apply".
    pub credentials: &'a Credentials,
    /// Only these, when there are any: `service.users`, `monitoring`, `cluster`.
    pub targets: &'a [Target],
    /// Services whose existing database and roles are taken over.
    pub adopt: &'a BTreeSet<ServiceName>,
    /// Ends the sessions of a service that is retired.
    pub end_sessions: bool,
    /// Checks that all pools fit into the server, beside pgisle itself at work on this many databases at once. None where what is
    /// there is only replaced: a leaked password must be rotated on a full server, too.
    pub budget: Option<u32>,
}

/// Part of the plan, as `-target` names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize)]
pub enum Target {
    /// `service.NAME`.
    Service(ServiceName),
    /// `monitoring`.
    Monitoring,
    /// `cluster`: the fences around the maintenance databases.
    Cluster,
}

impl Target {
    /// Reads an address; a step's full address (`service.users/database`) means its service.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let head = text.split('/').next().unwrap_or_default();
        match head {
            "monitoring" => Some(Self::Monitoring),
            "cluster" => Some(Self::Cluster),
            _ => ServiceName::parse(head.strip_prefix("service.")?).ok().map(Self::Service),
        }
    }
}

/// What the planner returns: the plan, what it leaves undone and why, and what it noticed.
#[derive(Debug, Clone, Serialize)]
#[must_use = "a plan that nobody looks at changes nothing"]
pub struct Planned {
    /// The work.
    pub plan: Plan,
    /// What is not done, and why.
    pub report: Report,
    /// Findings that concern people: warnings and notes.
    pub diagnostics: Vec<Diagnostic>,
}

/// The work, in order: `before` one unit after the other, then the chains side by side, then `after`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Plan {
    /// Shared catalogs: fences and roles, one at a time, because two sessions that touch one catalog row fail.
    pub before: Vec<Unit>,
    /// One chain a database. Chains touch rows of their own only, so they run in parallel.
    pub chains: Vec<Chain>,
    /// What must wait until the chains are done.
    pub after: Vec<Unit>,
}

/// The work on one database, unit after unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Chain {
    /// The service it is for.
    pub service: ServiceName,
    /// The database.
    pub database: DatabaseName,
    /// Its units.
    pub units: Vec<Unit>,
}

/// Steps that stand or fall together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unit {
    /// Where to connect.
    pub place: UnitPlace,
    /// Whether the steps are one transaction. CREATE and DROP DATABASE cannot be.
    pub transaction: bool,
    /// The service it is for; a failure keeps that service's chain from starting.
    pub service: Option<ServiceName>,
    /// The steps.
    pub steps: Vec<Step>,
}

/// Where a unit's statements run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UnitPlace {
    /// In the maintenance database.
    Maintenance,
    /// Inside of one database.
    Database(DatabaseName),
}

impl Plan {
    /// All steps in the order of the plan.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        let Self { before, chains, after } = self;
        let chained = chains.iter().flat_map(|chain| &chain.units);
        before.iter().chain(chained).chain(after).flat_map(|unit| &unit.steps)
    }

    /// True when there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps().next().is_none()
    }

    /// The number of statements, secrets or not: what a progress bar counts.
    #[must_use]
    pub fn statement_count(&self) -> usize {
        self.steps().map(|step| step.statements().len()).sum()
    }

    /// How many steps add, change and remove.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for step in self.steps() {
            match step.action.operation() {
                Operation::Add => counts.add += 1,
                Operation::Change => counts.change += 1,
                Operation::Remove => counts.remove += 1,
            }
        }
        counts
    }

    /// A hash of everything that the plan shows. Two plans with the same fingerprint do the same; secrets do not count.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let text = serde_json::to_string(self).unwrap_or_default();
        hex(&Sha256::digest(text.as_bytes()))
    }

    fn retain_units(&mut self) {
        self.before.retain(|unit| !unit.steps.is_empty());
        self.after.retain(|unit| !unit.steps.is_empty());
        for chain in &mut self.chains {
            chain.units.retain(|unit| !unit.steps.is_empty());
        }
        self.chains.retain(|chain| !chain.units.is_empty());
    }
}

/// How many steps add, change and remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Steps that make something.
    pub add: usize,
    /// Steps that change something.
    pub change: usize,
    /// Steps that take something away.
    pub remove: usize,
}

/// What the plan does not do, and why.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[must_use = "an unread report is not actionable"]
pub struct Report {
    /// Work that is wanted and cannot be done by this administrator, or must not be done unasked. Apply ends with an error as
    /// long as there is any.
    pub blocked: Vec<Blocked>,
    /// Services that are as wanted.
    pub unchanged: Vec<ServiceName>,
    /// Services that left the file and are kept, fenced.
    pub retired: Vec<Retired>,
}

/// Work that is wanted and not in the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Blocked {
    /// What it concerns.
    pub address: Address,
    /// Why, and what to do.
    pub diagnostic: Diagnostic,
    /// What a DBA must run, when that is the way on: the database to connect to, and the statement.
    pub statements: Vec<DbaStatement>,
}

impl Blocked {
    /// What a DBA pastes into psql: each statement behind the `\connect` to where it belongs.
    #[must_use]
    pub fn paste(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut connected = None;
        for DbaStatement { database, sql } in &self.statements {
            if let Some(name) = database.as_ref().filter(|_| connected != *database) {
                lines.push(format!("\\connect \"{}\"", name.as_str().replace('"', "\"\"")));
            }
            connected.clone_from(database);
            lines.push(format!("{};", sql.trim_end_matches(';')));
        }
        lines
    }
}

/// A statement for someone with more rights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DbaStatement {
    /// Where to run it; the maintenance database when none.
    pub database: Option<DatabaseName>,
    /// The statement, without secrets.
    pub sql: String,
}

/// A service that left the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Retired {
    /// The service.
    pub service: ServiceName,
    /// Its database, which is kept.
    pub database: DatabaseName,
}

/// Decides how to bring the cluster from `inventory` to `spec`. Pure: same arguments, same plan, byte for byte.
pub fn plan(spec: &Spec, inventory: &Inventory, options: &PlanOptions<'_>) -> Planned {
    let mut planner = Planner::new(spec, inventory, options);
    planner.check_server();
    planner.check_targets();
    if planner.blocked.iter().all(|blocked| blocked.diagnostic.code != Code::PLAN_STANDBY) {
        planner.maintenance();
        planner.monitoring_role();
        for service in spec.services.values() {
            if planner.is_wanted(&service.name) {
                planner.service(service);
            }
        }
        planner.retire_missing();
    }
    planner.finish()
}

/// The planner's working state: what it was given, and what it has decided so far.
struct Planner<'a> {
    spec: &'a Spec,
    inventory: &'a Inventory,
    options: &'a PlanOptions<'a>,
    plan: Plan,
    blocked: Vec<Blocked>,
    unchanged: Vec<ServiceName>,
    retired: Vec<Retired>,
    diagnostics: Vec<Diagnostic>,
    /// The monitoring login, when it exists or is made by this plan.
    monitoring: Option<RoleName>,
}

impl<'a> Planner<'a> {
    fn new(spec: &'a Spec, inventory: &'a Inventory, options: &'a PlanOptions<'a>) -> Self {
        Self {
            spec,
            inventory,
            options,
            plan: Plan::default(),
            blocked: Vec::new(),
            unchanged: Vec::new(),
            retired: Vec::new(),
            diagnostics: Vec::new(),
            monitoring: None,
        }
    }

    /// Plans one service whole: whose it is, its roles, its database, what is inside.
    fn service(&mut self, service: &'a Service) {
        if !self.may_touch(service) {
            return;
        }
        let blocked_before = self.blocked.len();
        let roles = self.service_roles(service);
        let units = self.service_database(service);
        if roles.is_empty() && units.iter().all(|unit| unit.steps.is_empty()) && self.blocked.len() == blocked_before {
            self.unchanged.push(service.name.clone());
        }
        self.plan.before.push(self.unit(UnitPlace::Maintenance, Some(&service.name), roles));
        self.plan.chains.push(Chain { service: service.name.clone(), database: service.database.clone(), units });
    }

    fn unit(&self, place: UnitPlace, service: Option<&ServiceName>, steps: Vec<Step>) -> Unit {
        Unit { place, transaction: true, service: service.cloned(), steps }
    }

    fn is_wanted(&self, service: &ServiceName) -> bool {
        self.options.targets.is_empty() || self.options.targets.contains(&Target::Service(service.clone()))
    }

    fn is_target(&self, target: &Target) -> bool {
        self.options.targets.is_empty() || self.options.targets.contains(target)
    }

    fn verifier(&self, role: &RoleName) -> Option<Verifier> {
        self.options.credentials.verifier(role).cloned()
    }

    fn environment(&self) -> &'static str {
        self.spec.settings.environment.as_str()
    }

    fn project(&self) -> &'a str {
        &self.spec.settings.name_prefix
    }

    fn block(&mut self, address: Address, diagnostic: Diagnostic, statements: Vec<DbaStatement>) {
        self.blocked.push(Blocked { address, diagnostic, statements });
    }

    fn check_server(&mut self) {
        let server = &self.inventory.server;
        if server.major() < 15 {
            self.diagnostics.push(
                Diagnostic::error(Code::SERVER_VERSION, format!("PostgreSQL {} is too old", server.version))
                    .hint("Use PostgreSQL 15 or later."),
            );
        }
        if server.in_recovery {
            self.block(
                Address::Cluster("server".to_owned()),
                Diagnostic::error(Code::PLAN_STANDBY, "the server is a standby").hint("Connect to the primary."),
                Vec::new(),
            );
        }
        if let Some(parallelism) = self.options.budget {
            let summary = budget::summary(self.spec, Some(self.inventory), parallelism);
            self.diagnostics.extend(summary.diagnostic(self.spec));
        }
    }

    fn check_targets(&mut self) {
        let marked = self.inventory.databases.values().filter_map(|database| database.marker()?.service);
        let known: BTreeSet<ServiceName> = self.spec.services.keys().cloned().chain(marked).collect();
        for target in self.options.targets {
            if let Target::Service(name) = target
                && !known.contains(name)
            {
                self.diagnostics.push(
                    Diagnostic::error(Code::PLAN_UNKNOWN_TARGET, format!("there is no service \"{name}\""))
                        .hint(format!("Known services: {}.", join(&known))),
                );
            }
        }
    }

    fn finish(self) -> Planned {
        let Self { spec: _, inventory: _, options: _, mut plan, blocked, unchanged, retired, diagnostics, monitoring: _ } = self;
        plan.retain_units();
        Planned { plan, report: Report { blocked, unchanged, retired }, diagnostics }
    }
}

/// Names that belong to a service of the spec: every role that may exist for it.
fn service_roles(service: &Service) -> BTreeSet<RoleName> {
    use crate::credential::Slot;
    [service.owner(), service.application(), service.migrator(), service.login(Slot::A), service.login(Slot::B)].into()
}

fn join<T: ToString>(names: impl IntoIterator<Item = T>) -> String {
    names.into_iter().map(|name| name.to_string()).collect::<Vec<_>>().join(", ")
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Groups what several grantees need alike, so that one statement serves them.
fn by_privileges<G: Ord + Clone>(needs: &BTreeMap<G, BTreeSet<&'static str>>) -> BTreeMap<BTreeSet<&'static str>, Vec<G>> {
    let mut groups: BTreeMap<BTreeSet<&'static str>, Vec<G>> = BTreeMap::new();
    for (grantee, privileges) in needs {
        if !privileges.is_empty() {
            groups.entry(privileges.clone()).or_default().push(grantee.clone());
        }
    }
    groups
}
