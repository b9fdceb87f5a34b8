//! Proving backups of the cluster.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pgisle_core::backup::BackupId;
use rustix::process::Pid;

use super::catalog::{self, ClusterBackup};
use super::unpack::{Progress, put_together};
use crate::backup::catalog::{Proof, VERIFIED};
use crate::backup::error::{BackupError, UnpackError};
use crate::backup::store::BackupStore;
use crate::backup::verify::Depth;
use crate::credential::IdentitySource;
use crate::local::ClientPrograms;
use crate::process::{ProcessError, is_program};

/// `pg_verifybackup` reads a whole cluster.
const CHECK_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// What was found of a backup that was unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// `pg_verifybackup` has gone through the data directory and the write-ahead log.
    Whole,
    /// It has gone through the data directory; `pg_waldump`, which reads the log, is missing.
    WithoutLog,
    /// `pg_verifybackup` of this major version is missing. Every file was compared with the server's list while it was unpacked.
    ByUs {
        /// The major version.
        major: u32,
    },
}

/// Reads every object of a backup back and writes down whether it is whole: retention counts on it, or does not any more. `seen`
/// hears of the stored bytes as they pass.
///
/// # Errors
/// It is damaged, or the store fails.
pub async fn verify(
    store: &BackupStore,
    backup: &ClusterBackup,
    identities: &IdentitySource,
    seen: &(dyn Fn(u64) + Sync),
) -> Result<Depth, BackupError> {
    let mut depth = Depth::Decoded;
    let mut before = 0;
    for stored in backup.manifest.objects() {
        match backup.object(stored).prove(store, identities, &|bytes| seen(before + bytes)).await {
            Ok(Depth::Decoded) => {}
            Ok(Depth::Stored) => depth = Depth::Stored,
            Err(error) => return Err(disprove(store, error).await?),
        }
        before += stored.bytes;
    }
    // What unpacking has proved is more, and stays.
    if backup.verified.as_ref().is_none_or(|verified| verified.how == Proof::Stored) {
        catalog::record_proof(store, backup, Proof::Stored).await?;
    }
    Ok(depth)
}

/// Unpacks a backup, with all that it stands on, into a private folder that goes again, and has PostgreSQL's own program check it.
///
/// # Errors
/// As [`verify`]; and what was unpacked is not whole, or cannot be unpacked here.
pub async fn verify_deep(
    store: &BackupStore,
    backup: &ClusterBackup,
    identities: &IdentitySource,
    progress: Progress<'_>,
) -> Result<Checked, BackupError> {
    let major = backup.manifest.server_major;
    let missing = || BackupError::Program { program: "pg_combinebackup", major };
    let programs = ClientPrograms::find(major).await.ok();
    let programs = programs.ok_or_else(missing)?;
    let scratch = Scratch::make(backup.id())?;
    let data = scratch.0.join("data");
    if let Err(error) = put_together(store, backup, identities, &programs, &data, false, progress).await {
        return Err(disprove(store, error).await?);
    }
    let checked = match check(&programs, backup, &scratch).await {
        Ok(checked) => checked,
        Err(error) => return Err(disprove(store, error).await?),
    };
    catalog::record_proof(store, backup, Proof::Unpacked).await?;
    Ok(checked)
}

async fn check(programs: &ClientPrograms, backup: &ClusterBackup, scratch: &Scratch) -> Result<Checked, BackupError> {
    let major = backup.manifest.server_major;
    let has = |name: &str| programs.major == major && is_program(&programs.bin.join(name));
    if !has("pg_verifybackup") {
        return Ok(Checked::ByUs { major });
    }
    let mut program = programs.invocation("pg_verifybackup").argument("--quiet").timeout(CHECK_TIMEOUT);
    let with_log = has("pg_waldump");
    if !with_log {
        program = program.argument("--no-parse-wal");
    }
    match program.argument(scratch.0.join("data")).run().await {
        Ok(_) if with_log => Ok(Checked::Whole),
        Ok(_) => Ok(Checked::WithoutLog),
        Err(ProcessError::Failed { stderr_tail, .. }) => Err(BackupError::Check { id: backup.id().clone(), said: stderr_tail }),
        Err(error) => Err(scratch.failed(backup.id(), error.into())),
    }
}

/// What was found damaged counts for retention no more; the rest of the chain that it is of goes with it.
async fn disprove(store: &BackupStore, error: BackupError) -> Result<BackupError, BackupError> {
    if let BackupError::Damaged { id, .. } | BackupError::Check { id, .. } = &error
        && let Some(key) = catalog::key(id, VERIFIED)
    {
        store.delete(&key).await?;
    }
    Ok(error)
}

/// What a private folder is called, before the backup's name and our process.
const SCRATCH: &str = "pgisle-verify-";

/// A private folder that goes when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn make(id: &BackupId) -> Result<Self, BackupError> {
        let place = std::env::temp_dir();
        clear(&place);
        let folder = place.join(format!("{SCRATCH}{id}-{}", std::process::id()));
        match DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => Ok(Self(folder)),
            // What is there is not ours, and stays.
            Err(error) => Err(BackupError::Unpack { id: id.clone(), folder, source: error.into() }),
        }
    }

    fn failed(&self, id: &BackupId, source: UnpackError) -> BackupError {
        BackupError::Unpack { id: id.clone(), folder: self.0.clone(), source }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Best effort: it is a copy, and only we can read it.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes what runs that were killed have left: it is a whole cluster each. Best effort.
fn clear(place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().filter_map(Result::ok) {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(SCRATCH)).and_then(|rest| rest.rsplit('-').next());
        let Some(process) = process.and_then(|digits| digits.parse().ok()).and_then(Pid::from_raw) else { continue };
        let is_gone = rustix::process::test_kill_process(process) == Err(rustix::io::Errno::SRCH);
        let is_ours = entry.metadata().is_ok_and(|found| found.is_dir() && found.uid() == rustix::process::geteuid().as_raw());
        if is_gone && is_ours {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
