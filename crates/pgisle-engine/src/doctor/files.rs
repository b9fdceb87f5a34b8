//! What lies on this machine: the generated files, the store, the backups.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pgisle_core::credential::Credentials;
use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::doctor::{Check, Checked, Disk, space};

use super::{Patient, counted};
use crate::artifact::{self, Change, ChangeKind};
use crate::backup::catalog;

/// How long a store may take to list what it has.
const STORE_PATIENCE: Duration = Duration::from_secs(10);

/// Judges the project's own files: what was found of them already, the logins in the store, the generated files in their folder.
#[must_use]
pub fn files(mut findings: Vec<Diagnostic>, credentials: Option<&Credentials>, folder: &Path, changes: &[Change]) -> Checked {
    let stale: Vec<&Change> = changes
        .iter()
        // What awaits credentials is new: the service was never applied.
        .filter(|change| matches!(change.kind, ChangeKind::Create | ChangeKind::Update | ChangeKind::Remove))
        .collect();
    let exposed: Vec<PathBuf> = changes
        .iter()
        .filter(|change| change.holds_secrets)
        .map(|change| folder.join(&change.path))
        .filter(|path| path.symlink_metadata().is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o077 != 0))
        .collect();
    for path in &exposed {
        findings.push(
            Diagnostic::error(Code::DOCTOR_EXPOSED, format!("others can read {}, which holds passwords", path.display()))
                .hint("Take their rights away. If others can have read it, rotate as well:")
                .command(format!("chmod 600 '{}'", path.display().to_string().replace('\'', r"'\''"))),
        );
    }
    let stale: Vec<&Change> = stale.into_iter().filter(|change| !exposed.contains(&folder.join(&change.path))).collect();
    if let Some(first) = stale.first() {
        let more = if stale.len() > 1 { format!(", and {} more", stale.len() - 1) } else { String::new() };
        findings.push(
            Diagnostic::warning(Code::DOCTOR_STALE, "generated files are not what this spec would make")
                .detail(format!("{} is missing or older{more}.", folder.join(&first.path).display()))
                .hint("Have them written:")
                .command("pgisle apply"),
        );
    }
    findings.extend(artifact::diagnostics(folder, changes).into_iter().map(|finding| finding.command("pgisle apply -overwrite")));
    let logins = credentials.map_or_else(
        || "the store cannot be read".to_owned(),
        |all| format!("logins of {} in the store", counted(all.services.len(), "service", "services")),
    );
    Checked::new(Check::Files, format!("{} generated, {logins}", changes.len()), findings)
}

/// Whether there is room for backups, and whether the store can be read and written.
pub(super) async fn backups(patient: &Patient<'_>) -> Checked {
    let Some(store) = patient.backups else { return Checked::skipped(Check::Backups, "the store's settings cannot be used") };
    let listing = match tokio::time::timeout(STORE_PATIENCE, catalog::list(store, None)).await {
        Ok(Ok(listing)) => listing,
        Ok(Err(error)) => return Checked::failed(Check::Backups, out_of_the_way(error.diagnostic(), store.folder())),
        Err(_) => {
            let finding = Diagnostic::error(Code::BACKUP_STORE, "the backup store does not answer");
            return Checked::failed(Check::Backups, finding.detail(format!("It was asked at {}.", store.location())));
        }
    };
    let count = listing.backups.len();
    let seen = format!("{count} in {}", store.location());
    let Some(root) = store.folder() else { return Checked::new(Check::Backups, seen, Vec::new()) };
    // It is made with the first backup.
    let Some(folder) = root.ancestors().map(or_here).find(|folder| folder.exists()) else {
        return Checked::new(Check::Backups, seen, Vec::new());
    };
    if !folder.is_dir() || rustix::fs::access(folder, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_err() {
        let account = format!("$(id -un) {}", shell(root));
        let summary = format!("backups cannot be written to {}", root.display());
        // Where none was made yet, perhaps none is wanted.
        let is_used = root.exists();
        let finding =
            if is_used { Diagnostic::error(Code::BACKUP_STORE, summary) } else { Diagnostic::warning(Code::BACKUP_STORE, summary) };
        let finding = finding
            .detail(format!("{} may not be written by this account, or is no folder.", folder.display()))
            .hint("Give it a folder, or name another one in backup_storage_path:")
            .command(format!("sudo install -d -m 700 -o {account}"));
        return Checked::failed(Check::Backups, finding);
    }
    match disk("the backups", folder) {
        Some(disk) => Checked::new(Check::Backups, format!("{seen}, {}", disk.seen()), space(&disk).into_iter().collect()),
        None => Checked::new(Check::Backups, seen, Vec::new()),
    }
}

/// A file where a folder should be is the one thing that a command mends.
fn out_of_the_way(finding: Diagnostic, root: Option<&Path>) -> Diagnostic {
    let obstacle = root.and_then(|root| root.ancestors().map(or_here).find(|path| path.exists())).filter(|path| !path.is_dir());
    match obstacle {
        Some(file) => finding
            .hint("A file stands where the folder should be. Move it away, or name another place in backup_storage_path:")
            .command(format!("mv {} {}", shell(file), shell(&file.with_extension("aside")))),
        None => finding,
    }
}

fn or_here(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
}

fn shell(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// How much room there is on a folder's file system.
pub(super) fn disk(purpose: &'static str, folder: &Path) -> Option<Disk> {
    let found = rustix::fs::statvfs(folder).ok()?;
    Some(Disk {
        purpose,
        folder: folder.display().to_string(),
        free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
        bytes: found.f_blocks.saturating_mul(found.f_frsize),
    })
}
