//! What is said of the archive of the write-ahead log.

use std::fmt::Write as _;

use pgisle_core::backup::wal::RecoveryProof;
use pgisle_core::backup::wal::setup::Change;
use pgisle_core::moment::Moment;
use pgisle_engine::backup::wal::prune::WalDue;
use pgisle_engine::backup::wal::setup::{Archiver, Archiving};
use pgisle_engine::backup::wal::{WalListing, Window};

use super::backup::age;
use super::style::{BAD, CHANGE, GOOD, harmless, paint};
use super::table::{left, render, right};
use super::text::{bytes, count};

/// `backup wal-setup`.
pub(crate) fn setup(archiving: &Archiving, changes: &[Change], location: &str, is_private: bool) -> String {
    let location = harmless(location);
    if changes.is_empty() {
        let Archiver { archived, last_archived, last_archived_at, .. } = &archiving.archiver;
        let files = count(usize::try_from(*archived).unwrap_or(usize::MAX), "file");
        let last = match (last_archived, last_archived_at) {
            (Some(name), Some(at)) => format!(", the last {} at {}", harmless(name), harmless(at)),
            _ => String::new(),
        };
        let state = match archiving.archiver.is_failing {
            true => paint(BAD, "The server fails to archive its log"),
            false => paint(GOOD, "The server archives its log"),
        };
        return format!("{state} into {location}: {files}{last}.\n");
    }
    let mut text = format!("{} into {location} yet.\n", paint(CHANGE, "The server does not archive its log"));
    text.push_str(if is_private { "It is told:\n\n" } else { "As a superuser, in psql:\n\n" });
    for change in changes {
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "  {};", harmless(&change.statement().to_string()));
    }
    text.push_str("  SELECT pg_reload_conf();\n\n");
    let late: Vec<&str> = changes.iter().filter(|change| change.needs_restart).map(|change| change.name).collect();
    if !late.is_empty() {
        let _infallible = writeln!(text, "Then the server must be started again, for {}.", late.join(" and "));
    }
    for change in changes.iter().filter(|change| is_anothers(change)) {
        let _infallible = writeln!(text, "This replaces an archive of somebody's: {}", harmless(&change.from));
    }
    if !is_private {
        let own = "The server's own user runs pgisle: it must get into the project's folder and read its files,";
        let _infallible = match location.starts_with("s3://") {
            true => writeln!(text, "{own}\nand have the store's keys (AWS_…) in its environment."),
            false => writeln!(text, "{own}\nand write to {location}/wal, which is best made for it beforehand."),
        };
    }
    text
}

/// How the private cluster is told all of it.
pub(crate) const UNASKED: &str = "\n  pgisle backup wal-setup -auto-approve   does all of it\n";

/// `backup list`: which times can be recovered.
pub(crate) fn list(archive: &WalListing, windows: &[Window]) -> String {
    if archive.segments.is_empty() || windows.is_empty() {
        return String::new();
    }
    let row = |window: &Window| {
        let end =
            window.missing.as_ref().map_or_else(|| "the newest segment".to_owned(), |missing| format!("{missing} is missing"));
        vec![window.from.to_string(), window.until.to_string(), end]
    };
    let columns = [left("recoverable from"), left("to about"), left("ends with")];
    let segments = count(archive.segments.len(), "segment");
    let table = render(&columns, &windows.iter().map(row).collect::<Vec<_>>());
    format!("{table}\n{segments} of the write-ahead log, {}\n", bytes(archive.bytes()))
}

/// `backup list`: what was last brought back to a time, as a drill.
pub(crate) fn recovered(proofs: &[&RecoveryProof], now: Moment) -> String {
    if proofs.is_empty() {
        return String::new();
    }
    let row = |proof: &&RecoveryProof| {
        let RecoveryProof { service, at, rows, proved, .. } = proof;
        vec![service.to_string(), at.to_string(), rows.to_string(), format!("{} ago", age(now.seconds_since(*proved)))]
    };
    let columns = [left("service"), left("brought back to"), right("rows"), left("as a drill")];
    render(&columns, &proofs.iter().map(row).collect::<Vec<_>>())
}

/// What `backup prune` would take or has taken of the log, as a row of its table.
pub(crate) fn due_row(due: &WalDue) -> Option<(String, String, u64, &'static str)> {
    let what = due.before.as_ref().map_or_else(|| "unfinished".to_owned(), |before| format!("before {before}"));
    (due.bytes > 0).then(|| ("(log)".to_owned(), what, due.bytes, "no backup needs it"))
}

fn is_anothers(change: &Change) -> bool {
    matches!(change.name, "archive_command" | "archive_library") && !matches!(change.from.as_str(), "" | "(disabled)")
}

/// After the private cluster was set up.
pub(crate) fn works(segment: &str, location: &str) -> String {
    format!("{} {segment} is in {}.\n", paint(GOOD, "The server archives its log:"), harmless(location))
}
