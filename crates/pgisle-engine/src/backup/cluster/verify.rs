//! Proving backups of the cluster.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::time::Duration;

use pgisle_core::backup::BackupId;

use super::catalog::{self, ClusterBackup};
use super::unpack::{Progress, unpack};
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
    if let Err(error) = unpack(store, backup, identities, &programs, &data, progress).await {
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

/// A private folder that goes when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn make(id: &BackupId) -> Result<Self, BackupError> {
        let folder = std::env::temp_dir().join(format!("pgisle-verify-{id}-{}", std::process::id()));
        let scratch = Self(folder);
        DirBuilder::new().mode(0o700).create(&scratch.0).map_err(|error| {
            // It is not ours, and stays.
            let folder = scratch.0.clone();
            BackupError::Unpack { id: id.clone(), folder, source: error.into() }
        })?;
        Ok(scratch)
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
