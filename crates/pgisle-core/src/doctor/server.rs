//! The server itself: whether it can be worked on, its settings, its clock.

use super::facts::{HbaFault, ServerFacts};
use crate::budget;
use crate::diagnostic::{Code, Diagnostic, Severity};
use crate::inventory::Inventory;
use crate::spec::{Environment, Spec};
use crate::sql::doctor as sql;

/// More than this between two clocks confuses expiry, rotation and certificates, milliseconds.
const CLOCK_MS: u64 = 5_000;

/// Whether the server can be worked on.
#[must_use]
pub fn server(facts: &ServerFacts) -> Vec<Diagnostic> {
    if !facts.is_standby {
        return Vec::new();
    }
    let finding = Diagnostic::error(Code::PLAN_STANDBY, "the server is a standby");
    vec![match &facts.upstream {
        Some(upstream) => finding
            .detail(format!("It follows \"{}\" port {}, and takes no changes.", upstream.host, upstream.port))
            .hint("Work on the primary:")
            .command(format!(
                "export PGISLE_VAR_postgres_host={} PGISLE_VAR_postgres_port={}",
                super::login::shell(&upstream.host),
                upstream.port
            )),
        None => finding
            .detail("It takes no changes, and follows nobody at the moment.")
            .hint("Give the primary's address as postgres_host and postgres_port. If the primary is gone for good, in psql:")
            .command(sql::promote().to_string()),
    }]
}

/// Whether its settings are in the way.
#[must_use]
pub fn settings(
    spec: &Spec,
    facts: &ServerFacts,
    inventory: Option<&Inventory>,
    hba: &[HbaFault],
    parallelism: u32,
) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    for HbaFault { place, error } in hba {
        findings.push(
            Diagnostic::error(Code::DOCTOR_SETTING, format!("pg_hba.conf has a line that the server does not understand: {place}"))
                .detail(format!(
                    "{}. As long as it is there, no change of that file is taken, and the server does not start again.",
                    error.trim_end_matches('.')
                ))
                .hint("Correct the line, and have it read again, in psql:")
                .command(sql::reload().to_string()),
        );
    }
    let summary = budget::summary(spec, inventory, parallelism);
    if let Some(finding) = inventory.and_then(|_| summary.diagnostic(spec)) {
        let needed = summary.steady + u64::from(facts.max_connections.saturating_sub(facts.usable_connections));
        // That a peak does not fit is no fault of the server's: `budget` tells it.
        if finding.severity == Severity::Error {
            findings.push(finding.command(sql::set("max_connections", &needed.to_string()).to_string()));
        }
    }
    if spec.services.values().any(|service| !service.tables.is_empty()) && facts.wal_level != "logical" {
        findings.push(
            Diagnostic::warning(Code::DOCTOR_SETTING, format!("wal_level is \"{}\", so nothing can be split out by streaming", facts.wal_level))
                .detail("Services of the file claim tables of the shared database; without logical decoding they move by copying, and stand still meanwhile.")
                .hint("In psql, and then restart the server:")
                .command(sql::set("wal_level", "logical").to_string()),
        );
    }
    for (name, is_on) in [("fsync", facts.fsync), ("full_page_writes", facts.full_page_writes)] {
        if !is_on && spec.settings.environment != Environment::Development {
            findings.push(
                Diagnostic::warning(Code::DOCTOR_SETTING, format!("{name} is off"))
                    .detail("A power cut loses or damages the data.")
                    .hint("In psql, and then have the server read it: SELECT pg_reload_conf().")
                    .command(sql::set(name, "on").to_string()),
            );
        }
    }
    if !facts.pending_restart.is_empty() {
        findings.push(
            Diagnostic::warning(
                Code::DOCTOR_SETTING,
                format!("the server waits for a restart: {}", facts.pending_restart.join(", ")),
            )
            .detail("Settings were changed that only take effect at its next start.")
            .hint("Restart it when that suits:")
            .command("sudo systemctl restart postgresql"),
        );
    }
    findings
}

/// Whether the server's clock goes with this machine's, which was read before and after.
#[must_use]
pub fn clock(server_ms: i64, before_ms: i64, after_ms: i64) -> (String, Option<Diagnostic>) {
    let apart = if server_ms < before_ms { before_ms - server_ms } else { (server_ms - after_ms).max(0) }.unsigned_abs();
    let way = if server_ms < before_ms { "behind" } else { "ahead of" };
    if apart <= CLOCK_MS {
        return ("the server's goes with this machine's".to_owned(), None);
    }
    let seen = format!("the server's clock is {} s {way} this machine's", (apart + 500) / 1000);
    let finding = Diagnostic::warning(Code::DOCTOR_CLOCK, seen.clone())
        .detail("Times of backups, rotations and recoveries are then not what they seem, and certificates expire early or late.")
        .hint("On whichever machine is wrong:")
        .command("sudo timedatectl set-ntp true");
    (seen, Some(finding))
}
