//! The write-ahead log: what slots keep, and whether it is archived.

use super::facts::{ArchiveFacts, ReplicationSlot, ServerFacts};
use crate::diagnostic::{Code, Diagnostic};
use crate::sql::doctor::drop_slot;

/// A slot that nobody reads from and that keeps more than this fills the disk.
const KEPT_BYTES: u64 = 1 << 30;

/// What is wrong with the log.
#[must_use]
pub fn log(facts: &ServerFacts) -> Vec<Diagnostic> {
    let ArchiveFacts { is_on, is_failing, failed_file, failures } = &facts.archive;
    let mut findings: Vec<Diagnostic> = facts.slots.iter().filter_map(slot).collect();
    if *is_on && *is_failing {
        let file = failed_file.as_deref().unwrap_or("a file");
        findings.push(
            Diagnostic::error(Code::DOCTOR_LOG, format!("\"{file}\" of the write-ahead log cannot be archived"))
                .detail(format!(
                    "archive_command has failed {failures} times; the server tries again, and keeps all of the log until it succeeds. What it \
                     said is in the server's log."
                ))
                .hint("Mend the archive, and where pgisle archives, see what the server should be told:")
                .command("pgisle backup wal-setup"),
        );
    }
    findings
}

fn slot(slot: &ReplicationSlot) -> Option<Diagnostic> {
    let ReplicationSlot { name, is_active, status, kept_bytes } = slot;
    let (summary, detail) = if status == "lost" {
        (
            format!("replication slot \"{name}\" has lost the log that it needs"),
            "The log was removed at max_slot_wal_keep_size; whoever followed by it must be made anew.".to_owned(),
        )
    } else if !is_active && *kept_bytes >= KEPT_BYTES {
        (
            format!("replication slot \"{name}\" keeps the log for nobody"),
            format!("{} MB are kept for it, and nobody reads from it: the disk fills.", kept_bytes >> 20),
        )
    } else {
        return None;
    };
    let diagnostic = if status == "lost" {
        Diagnostic::error(Code::DOCTOR_LOG, summary)
    } else {
        Diagnostic::warning(Code::DOCTOR_LOG, summary)
    };
    Some(diagnostic.detail(detail).hint("If nobody comes back for it, in psql:").command(drop_slot(name).to_string()))
}
