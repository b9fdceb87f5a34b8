//! Who holds the connections, and who holds others up.

use super::facts::{Blocker, Held, ServerFacts};
use crate::diagnostic::{Code, Diagnostic};
use crate::sql::doctor::{end_idle, end_session};

/// How many holders are named.
const NAMED_MAX: usize = 4;

/// A transaction that has been open for so long and does nothing keeps dead rows and locks, seconds.
const IDLE_TRANSACTION_S: u64 = 300;

/// Who holds the connections: of the server, of each database and of each login.
#[must_use]
pub fn connections(facts: &ServerFacts) -> Vec<Diagnostic> {
    let sessions: u32 = facts.databases.iter().map(|database| database.sessions).sum();
    let mut findings = Vec::new();
    if let Some(diagnostic) = tight(sessions, facts.usable_connections, "the server") {
        findings.push(with_holders(diagnostic, &facts.held.iter().collect::<Vec<_>>()));
    }
    for database in &facts.databases {
        let limit = database.limit.filter(|_| database.sessions > 0);
        if let Some(diagnostic) =
            limit.and_then(|limit| tight(database.sessions, limit, &format!("database \"{}\"", database.name)))
        {
            let held: Vec<&Held> = facts.held.iter().filter(|held| held.database == database.name).collect();
            findings.push(with_holders(diagnostic, &held));
        }
    }
    for login in &facts.logins {
        let limit = login.limit.filter(|_| login.sessions > 0);
        if let Some(diagnostic) = limit.and_then(|limit| tight(login.sessions, limit, &format!("login \"{}\"", login.name))) {
            let held: Vec<&Held> = facts.held.iter().filter(|held| held.role == login.name).collect();
            findings.push(with_holders(diagnostic, &held));
        }
    }
    findings
}

/// A finding when at most a fifth is left.
fn tight(sessions: u32, limit: u32, of: &str) -> Option<Diagnostic> {
    let text = format!("{of} has {sessions} of {limit} connections in use");
    if sessions >= limit {
        Some(Diagnostic::error(Code::DOCTOR_CONNECTIONS, text))
    } else if u64::from(sessions) * 5 >= u64::from(limit) * 4 {
        Some(Diagnostic::warning(Code::DOCTOR_CONNECTIONS, text))
    } else {
        None
    }
}

fn with_holders(diagnostic: Diagnostic, held: &[&Held]) -> Diagnostic {
    let named: Vec<String> = held.iter().take(NAMED_MAX).map(|held| holder(held)).collect();
    let diagnostic = diagnostic.detail(format!("Most are held by {}.", named.join(", ")));
    let Some(most) = held.iter().filter(|held| held.idle > 0).max_by_key(|held| held.idle) else {
        return diagnostic
            .hint("None of them is idle: give the service smaller pools, or a larger limit, and look at the sum:")
            .command("pgisle budget");
    };
    diagnostic
        .hint(format!(
            "Make the pools of what connects smaller, or use PgBouncer; `pgisle budget` adds them up. {} idle ones end by this, in psql:",
            most.idle
        ))
        .command(end_idle(&most.role, &most.database).to_string())
}

fn holder(held: &Held) -> String {
    let application = if held.application.is_empty() { String::new() } else { format!(" ({})", held.application) };
    format!("\"{}\"{application} in \"{}\" with {}, {} of them idle", held.role, held.database, held.count, held.idle)
}

/// Sessions that others wait for, and transactions that were left open.
#[must_use]
pub fn locks(facts: &ServerFacts) -> Vec<Diagnostic> {
    let wrong = facts.blockers.iter().filter(|one| one.waiting > 0 || (one.is_idle && one.open_s >= IDLE_TRANSACTION_S));
    wrong.map(blocker).collect()
}

fn blocker(blocker: &Blocker) -> Diagnostic {
    let Blocker { pid, role, database, is_idle, open_s, waiting } = blocker;
    let summary = if *waiting > 0 {
        format!("session {pid} of \"{role}\" holds {waiting} other{} up in \"{database}\"", if *waiting == 1 { "" } else { "s" })
    } else {
        format!("session {pid} of \"{role}\" has left a transaction open in \"{database}\"")
    };
    let doing = if *is_idle { "and it does nothing in it: its program has not ended it" } else { "and it is at work" };
    Diagnostic::warning(Code::DOCTOR_HELD, summary)
        .detail(format!("Its transaction has been open for {open_s} s, {doing}."))
        .hint("Commit or roll back there. Where that is not possible, in psql:")
        .command(end_session(*pid).to_string())
}
