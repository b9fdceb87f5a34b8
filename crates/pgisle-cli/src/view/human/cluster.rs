//! What `backup` shows of the whole cluster's backups.

use std::path::Path;

use pgisle_core::moment::Moment;
use pgisle_engine::backup::cluster::{Checked, ClusterBackup, ClusterDue, ClusterListing, ClusterMade};
use pgisle_engine::backup::verify::Depth;

use super::backup::{age, proof};
use super::style::{GOOD, harmless, paint};
use super::table::{left, render, right};
use super::text::{bytes, count};

/// A backup that was read back, and what unpacking it has shown, if it was.
pub(crate) type Proved = (ClusterBackup, Depth, Option<Checked>);

/// After `backup create -cluster`.
pub(crate) fn made(made: &ClusterMade, location: &str) -> String {
    let ClusterMade { backup, duration_ms, warnings: _ } = made;
    let mut row = own_cells(backup);
    row.extend(size_cells(backup));
    row.push(format!("{}.{} s", duration_ms / 1000, duration_ms % 1000 / 100));
    let columns = [left("cluster"), left("kind"), right("databases"), right("data"), right("stored"), right("took")];
    format!("{}\n1 backup made and read back, in {}\n", render(&columns, &[row]), harmless(location))
}

/// `backup list`.
pub(crate) fn list(listing: &ClusterListing, now: Moment) -> String {
    if listing.backups.is_empty() {
        return String::new();
    }
    let row = |backup: &ClusterBackup| {
        let mut row = own_cells(backup);
        row.insert(1, age(now.seconds_since(backup.id().begun())));
        row.extend(size_cells(backup));
        row.push(proof(backup.verified.as_ref(), now));
        row
    };
    let rows: Vec<Vec<String>> = listing.backups.iter().map(row).collect();
    let columns =
        [left("cluster"), right("age"), left("kind"), right("databases"), right("data"), right("stored"), left("verified")];
    format!("{}\n{} of the whole cluster\n", render(&columns, &rows), count(rows.len(), "backup"))
}

fn own_cells(backup: &ClusterBackup) -> Vec<String> {
    let kind = if backup.manifest.parent.is_some() { "incremental" } else { "full" };
    vec![backup.id().to_string(), kind.to_owned()]
}

fn size_cells(backup: &ClusterBackup) -> [String; 3] {
    let manifest = &backup.manifest;
    [manifest.databases.len().to_string(), bytes(manifest.base.raw_bytes), bytes(manifest.stored_bytes())]
}

/// After `backup verify`.
pub(crate) fn proved(proved: &[Proved]) -> String {
    if proved.is_empty() {
        return String::new();
    }
    let row = |(backup, depth, checked): &Proved| {
        let mut row = own_cells(backup);
        row.extend(size_cells(backup));
        row.push(match (depth, checked) {
            (_, Some(Checked::Whole)) => format!("{}, unpacked and checked", paint(GOOD, "whole")),
            (_, Some(Checked::WithoutLog | Checked::ByUs { .. })) => format!("{}, unpacked", paint(GOOD, "whole")),
            (Depth::Decoded, None) => paint(GOOD, "whole"),
            (Depth::Stored, None) => format!("{}, not decrypted", paint(GOOD, "as written")),
        });
        row
    };
    let columns = [left("cluster"), left("kind"), right("databases"), right("data"), right("stored"), left("found")];
    render(&columns, &proved.iter().map(row).collect::<Vec<_>>())
}

/// After `backup unpack`.
pub(crate) fn unpacked(backup: &ClusterBackup, folder: &Path) -> String {
    let manifest = &backup.manifest;
    let folder = harmless(&folder.display().to_string());
    format!(
        "Unpacked {} ({} of PostgreSQL {}) into {folder}\nStart it with the programs of PostgreSQL {}: pg_ctl -D {folder} start\n",
        backup.id(),
        bytes(manifest.base.raw_bytes),
        harmless(&manifest.server_version),
        manifest.server_major,
    )
}

/// What `backup prune` would take or has taken: name, bytes and why.
pub(crate) fn due_rows(due: &ClusterDue) -> impl Iterator<Item = (String, u64, &'static str)> {
    let expired = due.expired.iter().map(|one| (one.id.to_string(), one.bytes, "too old"));
    expired.chain(due.leftovers.iter().map(|one| (one.id.to_string(), one.bytes, "interrupted")))
}
