//! The report: both proofs put together, as a value that is shown, saved or turned into JUnit.

use serde::Serialize;

use crate::diagnostic::{Code, Diagnostic, Severity};
use crate::inventory::Inventory;
use crate::name::{DatabaseName, RoleName, ServiceName};
use crate::spec::Spec;

use super::cast::{Cast, LoginKind};
use super::finding;
use super::leak::{self, Leak, PathStep, Unproved, Who};
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
    pub(super) code: Code,
    #[serde(skip)]
    pub(super) reaches: Reach,
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
    /// True when it leaks to the cluster as a whole rather than to one database: an attribute, a predefined role, a file.
    pub cluster: bool,
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
    let open = finding::of_open_logins(&open_logins, &attempts);
    let entered = attempts.iter().filter_map(|attempt| finding::of_attempt(&cast, attempt));
    for found in open.into_iter().chain(entered).chain(probes.iter().filter_map(finding::of_probe)) {
        found.merge_into(&mut leaks);
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
            let is_mine = |leak: &Leak| leak.from.service() == Some(&service.name) || leak.from == Who::Everyone;
            let cluster = leaks.iter().any(|leak| leak.severity == Severity::Error && leak.to.is_none() && is_mine(leak));
            Row { service: service.name.clone(), cells: cells.collect(), cluster }
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
        // A server that asks for no password opens every island to everyone.
        let everywhere = leak.from == Who::Everyone && leak.to.is_none() && column.kind == ColumnKind::Island;
        from && (leak.to.as_ref() == Some(&column.database) || everywhere || (!is_home && is_superuser(leak)))
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
