//! What `restore` shows.

use std::fmt::Write as _;
use std::time::Duration;

use pgisle_core::backup::wal::RecoveryProof;
use pgisle_core::spec::Service;
use pgisle_core::verify::{Report as Proof, Verdict};
use pgisle_engine::backup::recover::Reached;
use pgisle_engine::backup::restore::{Compared, Drilled, Pruned, Restored, Undone};

use super::style::{GOOD, STRONG, harmless, paint};
use super::text::count;

/// Before the question.
pub(crate) fn intent(service: &Service, what: &str) -> String {
    format!(
        "Service {} goes back to {}.\nDatabase {} is replaced, and kept under another name.\n\n",
        paint(STRONG, &service.name),
        harmless(what),
        harmless(service.database.as_str()),
    )
}

/// A restore that is done.
pub(crate) fn restored(service: &Service, restored: &Restored, proof: Option<&Proof>) -> String {
    let rows = usize::try_from(restored.rows).unwrap_or(usize::MAX);
    let compared = match restored.compared {
        Compared::Content => "all of it as it was backed up",
        Compared::Counts => "as many as in the dump",
        Compared::Nothing => "not compared",
    };
    let mut text = format!(
        "{} {} holds {}: {}, {compared}.\n",
        paint(GOOD, "Restored."),
        harmless(restored.database.as_str()),
        harmless(&restored.source),
        count(rows, "row"),
    );
    text.push_str(&kept(service, restored.replaced.as_str(), restored.pause, proof));
    text
}

/// Before a restore's own words, when the service goes back to a time.
pub(crate) fn reached(reached: &Reached) -> String {
    let Reached { at, base, last_transaction, wal_files, timeline: _ } = reached;
    let last = last_transaction.as_ref().map_or_else(
        || "there was no transaction since the backup".to_owned(),
        |last| format!("the last transaction before it was at {}", harmless(last)),
    );
    let files = count(usize::try_from(*wal_files).unwrap_or(usize::MAX), "file");
    format!(
        "{} {at} on a private server: {last}.\nBackup {base} of the cluster and {files} of its log were read.\n",
        paint(GOOD, "Reached")
    )
}

/// A replaced database that is back.
pub(crate) fn undone(service: &Service, undone: &Undone, proof: Option<&Proof>) -> String {
    let mut text = format!(
        "{} {} is what was {}.\n",
        paint(GOOD, "Put back."),
        harmless(undone.database.as_str()),
        harmless(undone.was.as_str())
    );
    text.push_str(&kept(service, undone.replaced.as_str(), undone.pause, proof));
    text
}

fn kept(service: &Service, replaced: &str, pause: Duration, proof: Option<&Proof>) -> String {
    let mut text = format!("Nobody could connect for {} ms.\n", milliseconds(pause));
    if proof.is_some_and(|proof| proof.verdict == Verdict::Isolated) {
        text.push_str("Isolation is proved: nobody else reaches it.\n");
    }
    // Writing to a String cannot fail.
    let _infallible = write!(
        text,
        "\nThe former database is kept, closed, as {}:\n  pgisle restore {} -undo    puts it back\n  pgisle restore {} -prune   drops it once it is old enough\n",
        harmless(replaced),
        service.name,
        service.name
    );
    text
}

/// What was dropped.
pub(crate) fn pruned(pruned: &Pruned, days: u32) -> String {
    let Pruned { dropped, kept } = pruned;
    let mut text = String::new();
    for leftover in dropped {
        let name = match leftover {
            pgisle_core::backup::restore::Leftover::Loader { role, .. } => format!("login {}", harmless(role.as_str())),
            other => other.database().map_or_else(String::new, |name| harmless(name.as_str())),
        };
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "Dropped {name}.");
    }
    for name in kept {
        let _infallible = writeln!(text, "Kept {}: it was replaced less than {days} days ago.", harmless(name.as_str()));
    }
    if text.is_empty() { "Nothing to drop.\n".to_owned() } else { text }
}

/// A drill that is done.
pub(crate) fn drilled(service: &Service, drilled: &Drilled) -> String {
    let rows = usize::try_from(drilled.rows).unwrap_or(usize::MAX);
    let compared = if drilled.compared == Compared::Content { "all of it as it was backed up" } else { "not all compared" };
    format!(
        "{} {}: backup {} restored in {:.1} s, {}, {compared}.\n",
        paint(GOOD, "Drilled."),
        service.name,
        harmless(&drilled.source),
        drilled.took.as_secs_f64(),
        count(rows, "row"),
    )
}

/// A drill to a time that is done.
pub(crate) fn recovered(at: &Reached, proofs: &[RecoveryProof], took: Duration) -> String {
    let mut text = reached(at);
    for RecoveryProof { service, tables, rows, .. } in proofs {
        let number = |number: &u64| usize::try_from(*number).unwrap_or(usize::MAX);
        let (rows, tables) = (count(number(rows), "row"), count(number(tables), "table"));
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "{} {service}: {rows} in {tables}, dumped and counted.", paint(GOOD, "Drilled."));
    }
    let _infallible = writeln!(text, "All of it is removed again. It took {:.1} s.", took.as_secs_f64());
    text
}

/// For people and for JSON.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
