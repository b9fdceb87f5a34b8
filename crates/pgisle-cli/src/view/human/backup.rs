//! What `backup` shows.

use std::fmt::Write as _;

use pgisle_core::moment::Moment;
use pgisle_engine::backup::catalog::{Listing, Proof, Verified};
use pgisle_engine::backup::create::Made;
use pgisle_engine::backup::prune::Due;
use pgisle_engine::backup::verify::Depth;
use pgisle_engine::backup::{Backup, Unfinished};

use super::style::{CHANGE, GOOD, harmless, paint};
use super::table::{left, render, right};
use super::text::{bytes, count};

/// In place of a service's name, which has no parentheses.
const CLUSTER: &str = "(cluster)";

/// After `backup create`.
pub(crate) fn made(made: &Made, location: &str) -> String {
    let done = made.services.iter().filter_map(|one| Some((one.outcome.as_ref().ok()?, one.duration_ms)));
    let rows: Vec<Vec<String>> = done
        .map(|(backup, duration_ms)| {
            let mut row = own_cells(backup);
            row.extend(size_cells(backup));
            row.push(format!("{}.{} s", duration_ms / 1000, duration_ms % 1000 / 100));
            row
        })
        .collect();
    let mut text = String::new();
    if !rows.is_empty() {
        let columns = [left("service"), left("backup"), right("rows"), right("dump"), right("stored"), right("took")];
        text =
            format!("{}\n{} made and read back, in {}\n", render(&columns, &rows), count(rows.len(), "backup"), harmless(location));
    }
    if let Some(set) = &made.set {
        let held = made.pause_ms.map_or_else(String::new, |pause_ms| format!("; writers were held back for {pause_ms} ms"));
        let moment = if set.is_consistent { paint(GOOD, "All stand at one moment") } else { paint(CHANGE, "Not at one moment") };
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "{moment}{held}.");
    }
    text
}

/// `backup list`.
pub(crate) fn list(listing: &Listing, location: &str, now: Moment) -> String {
    if listing.backups.is_empty() {
        return format!("There is no backup in {}.\n", harmless(location));
    }
    let rows: Vec<Vec<String>> = listing
        .backups
        .iter()
        .map(|backup| {
            let mut row = own_cells(backup);
            row.insert(2, age(now.seconds_since(backup.id().begun())));
            row.extend(size_cells(backup));
            row.push(proof(backup.verified.as_ref(), now));
            row
        })
        .collect();
    let columns = [left("service"), left("backup"), right("age"), right("rows"), right("dump"), right("stored"), left("verified")];
    format!("{}\n{} in {}\n", render(&columns, &rows), count(rows.len(), "backup"), harmless(location))
}

fn own_cells(backup: &Backup) -> Vec<String> {
    vec![backup.service().to_string(), backup.id().to_string()]
}

fn size_cells(backup: &Backup) -> [String; 3] {
    let data = &backup.manifest.data;
    [backup.manifest.content.rows().to_string(), bytes(data.raw_bytes), bytes(data.bytes)]
}

pub(super) fn proof(verified: Option<&Verified>, now: Moment) -> String {
    let Some(Verified { at, how, .. }) = verified else { return paint(CHANGE, "no") };
    let how = match how {
        Proof::Stored => "stored",
        Proof::Drill => "drill",
        Proof::Unpacked => "unpacked",
        Proof::Recovered => "recovered",
    };
    format!("{}, {} ago", paint(GOOD, how), age(now.seconds_since(*at)))
}

/// `5 min`, `9 h`, `12 d`: as fine as one cares.
pub(super) fn age(seconds: u64) -> String {
    const MINUTE_S: u64 = 60;
    const HOUR_S: u64 = 60 * MINUTE_S;
    const DAY_S: u64 = 24 * HOUR_S;
    match seconds {
        0..MINUTE_S => format!("{seconds} s"),
        MINUTE_S..HOUR_S => format!("{} min", seconds / MINUTE_S),
        HOUR_S..172_800 => format!("{} h", seconds / HOUR_S),
        _ => format!("{} d", seconds / DAY_S),
    }
}

/// After `backup verify`.
pub(crate) fn proved(proved: &[(Backup, Depth)]) -> String {
    let rows: Vec<Vec<String>> = proved
        .iter()
        .map(|(backup, depth)| {
            let mut row = own_cells(backup);
            row.extend(size_cells(backup));
            row.push(match depth {
                Depth::Decoded => paint(GOOD, "whole"),
                Depth::Stored => format!("{}, not decrypted", paint(GOOD, "as written")),
            });
            row
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let columns = [left("service"), left("backup"), right("rows"), right("dump"), right("stored"), left("found")];
    render(&columns, &rows)
}

/// An upload whose run is not at work any more. How large its parts are the store does not tell.
fn upload_row(upload: &Unfinished) -> Vec<String> {
    let parts: Vec<&str> = upload.key.split('/').collect();
    let (whose, what) = match parts.as_slice() {
        ["services", service, id, _] => (harmless(service), *id),
        ["cluster", id, _] => (CLUSTER.to_owned(), *id),
        _ => ("(log)".to_owned(), upload.key.as_str()),
    };
    vec![whose, harmless(what), "?".to_owned(), "upload interrupted".to_owned()]
}

/// `backup prune`, done or only looked at.
pub(crate) fn due(due: &Due, is_dry: bool) -> String {
    let Due { expired, leftovers, kept, cluster, wal, uploads, warnings: _ } = due;
    let kept = kept + cluster.as_ref().map_or(0, |cluster| cluster.kept);
    let expired_rows = expired.iter().map(|one| (one.service.to_string(), one.id.to_string(), one.bytes, "too old"));
    let leftover_rows = leftovers.iter().map(|one| (one.service.to_string(), one.id.to_string(), one.bytes, "interrupted"));
    let cluster_rows = cluster.iter().flat_map(super::cluster::due_rows).map(|(id, size, why)| (CLUSTER.to_owned(), id, size, why));
    let wal_rows = wal.iter().filter_map(super::wal::due_row);
    let all = expired_rows.chain(leftover_rows).chain(cluster_rows).chain(wal_rows);
    let mut rows: Vec<Vec<String>> = all.map(|(service, id, size, why)| vec![service, id, bytes(size), why.to_owned()]).collect();
    rows.extend(uploads.iter().map(upload_row));
    if rows.is_empty() {
        return format!("Nothing is due; {} kept.\n", count(kept, "backup"));
    }
    let table = render(&[left("service"), left("backup"), right("stored"), left("why")], &rows);
    let verb = if is_dry { "would go" } else { "removed" };
    format!("{table}\n{} {verb}, {}; {} kept.\n", rows.len(), bytes(due.bytes()), count(kept, "backup"))
}
