//! The report: both proofs put together, as a value that is shown, saved or turned into JUnit.

use serde::Serialize;

use crate::diagnostic::{Code, Diagnostic, Severity};
use crate::inventory::Inventory;
use crate::name::{DatabaseName, RoleName, ServiceName};
use crate::spec::Spec;

use super::cast::{Cast, LoginKind, Standing};
use super::fix::Fix;
use super::leak::{self, Evidence, Leak, PathStep, Unproved, Who};
use super::pairs::{Bounds, Column, ColumnKind, columns};
use super::proof::StaticProof;
use super::trial::{ActAs, Answer, Outcome, Reach, Trial};

/// What came of logging in to a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "entry", content = "because", rename_all = "snake_case")]
pub enum Entry {
    /// The server let it in.
    Entered,
    /// The server did not.
    Denied(String),
    /// Nobody knows.
    NotProved(String),
}

impl Entry {
    /// What a refusal means. Without an SQLSTATE the server was not reached, or the library gave up.
    ///
    /// At home every refusal by the server means that the service is down. Elsewhere only the two refusals that are about
    /// *this* database count: a wrong password would be refused everywhere, and shows nothing.
    #[must_use]
    pub fn refused(is_home: bool, sqlstate: Option<&str>, message: impl Into<String>) -> Self {
        let message = message.into();
        match sqlstate {
            // Permission denied for database; rejected by pg_hba.conf; the database takes no connections.
            Some("42501" | "28000" | "55000") => Self::Denied(message),
            Some("28P01" | "3D000") if is_home => Self::Denied(message),
            _ => Self::NotProved(message),
        }
    }
}

/// One login that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attempt {
    /// The service; none for the monitoring login.
    pub service: Option<ServiceName>,
    /// Which login.
    pub login: RoleName,
    /// What it is to its service.
    pub kind: LoginKind,
    /// Where to.
    pub database: DatabaseName,
    /// What came of it.
    #[serde(flatten)]
    pub entry: Entry,
}

/// One trial that was run, judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Probe {
    /// Who tried.
    pub who: Who,
    /// In which database.
    pub database: DatabaseName,
    /// Which trial: `create-role`.
    pub id: &'static str,
    /// For people: `create a role`.
    pub title: String,
    /// As whom.
    pub act_as: ActAs,
    /// What it has shown.
    #[serde(flatten)]
    pub outcome: Outcome,
    #[serde(skip)]
    code: Code,
    #[serde(skip)]
    reaches: Reach,
}

impl Probe {
    /// Judges a trial's answer.
    #[must_use]
    pub fn judge(who: Who, database: DatabaseName, trial: &Trial, answer: &Answer) -> Self {
        let Trial { id, title, act_as, code, reaches, .. } = trial;
        let (title, reaches) = (title.clone(), reaches.clone());
        Self { who, database, id, title, act_as: *act_as, outcome: trial.judge(answer), code: *code, reaches }
    }
}

/// All that the dynamic proof has seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// The logins.
    pub attempts: Vec<Attempt>,
    /// The trials.
    pub probes: Vec<Probe>,
    /// What could not be tried.
    pub unproved: Vec<Unproved>,
    /// The logins that got in with a wrong password.
    pub open_logins: Vec<RoleName>,
    /// In how many databases a canary sat.
    pub canaries: usize,
}

/// What one service can do with one database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CellState {
    /// It is its own, and works.
    Works,
    /// It is its own, and does not work.
    Down,
    /// It does not get in.
    Denied,
    /// It gets in, or could.
    Leak,
    /// It gets in, and that is not (yet) meant to be closed: the shared database.
    Open,
    /// Nobody knows.
    NotProved,
}

/// One cell of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// What it is.
    pub state: CellState,
    /// True when it was tried on the server, false when only the catalogs say so.
    pub tried: bool,
}

/// One row of the matrix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The service.
    pub service: ServiceName,
    /// One cell a column.
    pub cells: Vec<Cell>,
}

/// How much was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// Pairs of login and database that the static proof computed.
    pub pairs_computed: usize,
    /// Logins that were tried.
    pub logins_tried: usize,
    /// Trials that were run.
    pub trials_run: usize,
    /// Databases with a canary.
    pub canaries: usize,
    /// True when only a sample of the foreign databases was tried.
    pub sampled: bool,
    /// All that in a sentence or two.
    pub text: String,
}

/// What it comes to, worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All is proved.
    Isolated,
    /// No leak was seen, and not everything could be looked at.
    NotProved,
    /// A service cannot work in its own database.
    Broken,
    /// There is a leak.
    Leaking,
}

/// The proof of isolation, whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The format's version.
    pub version: u32,
    /// What it comes to.
    pub verdict: Verdict,
    /// The matrix' columns.
    pub columns: Vec<Column>,
    /// The matrix' rows.
    pub rows: Vec<Row>,
    /// The leaks, worst first, warnings last.
    pub leaks: Vec<Leak>,
    /// What could not be proved.
    pub unproved: Vec<Unproved>,
    /// The logins that were tried.
    pub attempts: Vec<Attempt>,
    /// The trials.
    pub probes: Vec<Probe>,
    /// How much was looked at.
    pub coverage: Coverage,
}

/// The version of the report's JSON.
const VERSION: u32 = 1;

/// Puts both proofs together. `observed` is none when nothing was tried.
#[must_use]
pub fn report(spec: &Spec, inventory: &Inventory, proof: StaticProof, observed: Option<Observed>, bounds: &Bounds) -> Report {
    let cast = Cast::new(spec, inventory);
    let StaticProof { mut leaks, mut unproved, pairs } = proof;
    let coverage = coverage(spec, pairs, observed.as_ref(), bounds);
    let Observed { attempts, probes, unproved: untried, open_logins, canaries: _ } = observed.unwrap_or_default();
    unproved.extend(untried);
    leaks.extend(open_logins.iter().map(leak_of_open_login));
    for found in
        attempts.iter().filter_map(|attempt| leak_of_attempt(&cast, attempt)).chain(probes.iter().filter_map(leak_of_probe))
    {
        merge(&mut leaks, found);
    }
    unproved.extend(attempts.iter().filter_map(unproved_attempt));
    unproved.extend(probes.iter().filter_map(unproved_probe));
    leak::sort(&mut leaks);
    unproved.sort();
    unproved.dedup();
    let columns = columns(spec, inventory);
    let rows = spec
        .services
        .values()
        .map(|service| {
            let cells = columns.iter().map(|column| cell(&service.name, &service.database, column, inventory, &leaks, &attempts));
            Row { service: service.name.clone(), cells: cells.collect() }
        })
        .collect();
    let verdict = verdict(&leaks, &unproved);
    Report { version: VERSION, verdict, columns, rows, leaks, unproved, attempts, probes, coverage }
}

impl Report {
    /// The findings as every other ones: leaks, then what is not proved.
    #[must_use]
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        self.leaks.iter().map(Leak::diagnostic).chain(self.unproved.iter().map(Unproved::diagnostic)).collect()
    }
}

fn verdict(leaks: &[Leak], unproved: &[Unproved]) -> Verdict {
    let is_broken = |leak: &Leak| matches!(leak.code, Code::LEAK_LOGIN | Code::VERIFY_BROKEN);
    let of_leak = |leak: &Leak| if is_broken(leak) { Verdict::Broken } else { Verdict::Leaking };
    let worst = leaks.iter().filter(|leak| leak.severity == Severity::Error).map(of_leak).max();
    let unproved = if unproved.is_empty() { Verdict::Isolated } else { Verdict::NotProved };
    worst.map_or(unproved, |worst| worst.max(unproved))
}

fn who(attempt: &Attempt) -> Who {
    match &attempt.service {
        Some(service) => Who::Service { service: service.clone(), login: attempt.login.clone() },
        None => Who::Monitoring { login: attempt.login.clone() },
    }
}

fn leak_of_attempt(cast: &Cast<'_>, attempt: &Attempt) -> Option<Leak> {
    let Attempt { service, login, database, entry, .. } = attempt;
    let standing = cast.standing(database);
    let is_home = match (&standing, service) {
        (Standing::Island(island), Some(service)) => island.name == *service,
        (Standing::Island(_), None) => true,
        _ => false,
    };
    let (code, severity, what, fix) = match (entry, is_home) {
        (Entry::Denied(because), true) => {
            let fix = Fix::new("`pgisle apply` sets passwords, privileges and limits as the spec wants them.");
            (Code::LEAK_LOGIN, Severity::Error, PathStep::Fact { what: format!("the server refused: {because}") }, fix)
        }
        (Entry::Entered, false) if service.is_some() => {
            let severity = match standing {
                Standing::Island(_) => Severity::Error,
                Standing::Maintenance if cast.spec.settings.fence_maintenance_databases => Severity::Error,
                Standing::Shared | Standing::Maintenance | Standing::Other => Severity::Warning,
            };
            let fix = Fix::new("Find who grants CONNECT: the catalogs that pgisle could read do not tell.");
            (Code::LEAK_CONNECT, severity, PathStep::Did { what: format!("logged in to {database}") }, fix)
        }
        _ => return None,
    };
    let path = vec![PathStep::Role { role: login.clone() }, what];
    let Fix { hint, commands } = fix;
    Some(Leak { code, severity, evidence: Evidence::Probe, from: who(attempt), to: Some(database.clone()), path, hint, commands })
}

/// The server asks for no password, so every service can log in as every other one.
fn leak_of_open_login(login: &RoleName) -> Leak {
    let what = PathStep::Did { what: format!("logged in as {login} with a wrong password") };
    Leak {
        code: Code::LEAK_ROLE,
        severity: Severity::Error,
        evidence: Evidence::Probe,
        from: Who::Everyone,
        to: None,
        path: vec![PathStep::Everyone, what],
        hint: "pg_hba.conf trusts this address. Have it ask for a password: scram-sha-256.".to_owned(),
        commands: Vec::new(),
    }
}

fn leak_of_probe(probe: &Probe) -> Option<Leak> {
    let Outcome::Failed(because) = &probe.outcome else { return None };
    let Probe { who, database, title, code, reaches, act_as, .. } = probe;
    let login = match who {
        Who::Service { login, .. } | Who::Monitoring { login } => login.clone(),
        Who::Outsider { role } => role.clone(),
        Who::Everyone => return None,
    };
    let acting = if *act_as == ActAs::Login { " as itself" } else { "" };
    let step = if *code == Code::VERIFY_BROKEN {
        PathStep::Fact { what: format!("should {title} in {database}: {because}") }
    } else {
        PathStep::Did { what: format!("could {title}{acting} in {database}") }
    };
    let to = match reaches {
        Reach::Here => Some(database.clone()),
        Reach::Database(database) => Some(database.clone()),
        Reach::Cluster => None,
    };
    let hint = if *code == Code::VERIFY_BROKEN {
        "`pgisle plan` shows what differs from the spec, and `pgisle apply` mends it."
    } else {
        "Find the grant or membership behind it: the catalogs that pgisle could read do not tell."
    };
    let path = vec![PathStep::Role { role: login }, step];
    let (from, hint) = (who.clone(), hint.to_owned());
    Some(Leak { code: *code, severity: Severity::Error, evidence: Evidence::Probe, from, to, path, hint, commands: Vec::new() })
}

/// A leak that the catalogs have told of already is confirmed, not told twice; nor is all that a superuser can do.
fn merge(leaks: &mut Vec<Leak>, found: Leak) {
    let same_from = |leak: &Leak| leak.from.service() == found.from.service() || leak.from == Who::Everyone;
    let is_superuser = |leak: &Leak| {
        leak.from.service() == found.from.service()
            && leak.from.service().is_some()
            && leak.path.contains(&PathStep::Attribute { attribute: "SUPERUSER" })
    };
    let mut is_known = false;
    for leak in leaks.iter_mut().filter(|leak| leak.evidence != Evidence::Probe) {
        let same = leak.code == found.code && leak.to == found.to && same_from(leak);
        let implied = found.code != Code::VERIFY_BROKEN && is_superuser(leak);
        if same || implied {
            leak.evidence = Evidence::Both;
            is_known = true;
        }
    }
    if !is_known {
        leaks.push(found);
    }
}

fn unproved_attempt(attempt: &Attempt) -> Option<Unproved> {
    let Entry::NotProved(because) = &attempt.entry else { return None };
    Some(Unproved {
        what: format!("login of \"{}\" to database \"{}\"", attempt.login, attempt.database),
        because: because.clone(),
    })
}

fn unproved_probe(probe: &Probe) -> Option<Unproved> {
    let Outcome::NotProved(because) = &probe.outcome else { return None };
    Some(Unproved { what: format!("{}: {} in database \"{}\"", probe.who, probe.title, probe.database), because: because.clone() })
}

fn cell(
    service: &ServiceName,
    home: &DatabaseName,
    column: &Column,
    inventory: &Inventory,
    leaks: &[Leak],
    attempts: &[Attempt],
) -> Cell {
    let is_home = column.database == *home;
    let mine = |attempt: &&Attempt| attempt.service.as_ref() == Some(service) && attempt.database == column.database;
    let tried: Vec<_> = attempts.iter().filter(mine).collect();
    let is_superuser = |leak: &Leak| leak.to.is_none() && leak.path.contains(&PathStep::Attribute { attribute: "SUPERUSER" });
    let concerns = |leak: &&Leak| {
        let from = leak.from.service() == Some(service) || (leak.from == Who::Everyone && !is_home);
        from && (leak.to.as_ref() == Some(&column.database) || (!is_home && is_superuser(leak)))
    };
    let found: Vec<_> = leaks.iter().filter(concerns).collect();
    let errors = || found.iter().filter(|leak| leak.severity == Severity::Error);
    let is_broken = |leak: &&&Leak| matches!(leak.code, Code::LEAK_LOGIN | Code::VERIFY_BROKEN);
    let entered = tried.iter().any(|attempt| attempt.entry == Entry::Entered);
    let unknown = tried.iter().any(|attempt| matches!(attempt.entry, Entry::NotProved(_)));
    let state = if errors().any(|leak| !is_broken(&leak)) {
        CellState::Leak
    } else if errors().any(|leak| is_broken(&leak)) {
        CellState::Down
    } else if unknown {
        CellState::NotProved
    } else if is_home {
        CellState::Works
    } else if entered || (column.kind != ColumnKind::Island && found.iter().any(|leak| leak.code == Code::LEAK_CONNECT)) {
        CellState::Open
    } else if inventory.databases.contains_key(&column.database) {
        CellState::Denied
    } else {
        CellState::NotProved
    };
    Cell { state, tried: !tried.is_empty() }
}

fn coverage(spec: &Spec, pairs: usize, observed: Option<&Observed>, bounds: &Bounds) -> Coverage {
    let sampled = observed.is_some() && bounds.samples(spec);
    let (logins_tried, trials_run, canaries) = match observed {
        Some(observed) => (observed.attempts.len(), observed.probes.len(), observed.canaries),
        None => (0, 0, 0),
    };
    let computed = format!("{pairs} pairs of login and database computed from the catalogs");
    let text = match (observed, sampled) {
        (None, _) => format!("{computed}; nothing was tried on the server."),
        (Some(_), false) => {
            format!("{computed}; {logins_tried} logins and {trials_run} trials on the server, every pair of services.")
        }
        (Some(_), true) => format!(
            "{computed}; {logins_tried} logins and {trials_run} trials on the server. With {} services not every pair was tried: each \
             service tried {} other databases, and for the rest the catalogs stand alone.",
            spec.services.len(),
            bounds.sample
        ),
    };
    Coverage { pairs_computed: pairs, logins_tried, trials_run, canaries, sampled, text }
}
