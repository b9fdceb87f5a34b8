//! Making a data directory of a backup again.
//!
//! What is in a tar decides nothing about where it goes: only plain files and folders are taken, their names cannot lead out of the
//! folder, each file must be new, and nobody else can enter the folder before all is written. So there is no link to follow.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pgisle_core::backup::base::{BaseError, Gathered, SETTINGS};
use pgisle_core::backup::tar::{Kind, TarReader};

use super::catalog::{self, ClusterBackup};
use crate::backup::error::{BackupError, UnpackError};
use crate::backup::store::{BackupStore, Key, StoreError, chain};
use crate::backup::stream::DataReader;
use crate::credential::IdentitySource;
use crate::fault;
use crate::local::ClientPrograms;
use crate::process::{Account, is_program};

/// Only the server's own account may look into a data directory.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// How often whoever watches is told.
const TICK: Duration = Duration::from_millis(200);

/// `pg_combinebackup` copies a whole cluster.
const COMBINE_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// What the folder at work is called after the target. Nobody else calls one so, and what is left of one may be removed.
const AT_WORK: &str = ".pgisle-unpacking";

/// What the file system takes beside the files themselves.
const SPACE_MARGIN_BYTES: u64 = 64 << 20;

/// Bytes that were unpacked, and how many they will be.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// Makes a startable data directory of a backup, and of those that it stands on. Where the server had its settings elsewhere, it gets
/// empty ones, with which nobody can log in. The folder must be empty or not there. All of it
/// has mode 0700 or 0600, and where we are root, it belongs to the account that servers run as. Every file is compared with the list
/// that the server made of it.
///
/// # Errors
/// The backup is damaged or cannot be decrypted, the store fails, the folder takes it not, or for an incremental one
/// `pg_combinebackup` is missing or fails. The folder is then as it was.
pub async fn unpack(
    store: &BackupStore,
    backup: &ClusterBackup,
    identities: &IdentitySource,
    programs: &ClientPrograms,
    into: &Path,
    progress: Progress<'_>,
) -> Result<(), BackupError> {
    put_together(store, backup, identities, programs, into, true, progress).await
}

/// Does it. `is_to_start` makes the settings that the server was without.
pub(super) async fn put_together(
    store: &BackupStore,
    backup: &ClusterBackup,
    identities: &IdentitySource,
    programs: &ClientPrograms,
    into: &Path,
    is_to_start: bool,
    progress: Progress<'_>,
) -> Result<(), BackupError> {
    let listing = catalog::list(store).await?;
    let chain = listing.chain(backup);
    if chain.is_empty() {
        let reason = "what it holds the changes since is missing or damaged".to_owned();
        return Err(catalog::ClusterDamage { id: backup.id().clone(), reason }.into());
    }
    let failed = |source: UnpackError| BackupError::Unpack { id: backup.id().clone(), folder: into.to_owned(), source };
    let is_incremental = chain.len() > 1;
    if is_incremental {
        require_combine(backup, programs)?;
    }
    let total: u64 = chain.iter().map(|one| one.manifest.base.raw_bytes).sum();
    check_space(backup, into, if is_incremental { 2 * total } else { total })?;
    check_target(into).map_err(failed)?;
    let parts = Parts::make(into).map_err(|error| failed(error.into()))?;
    let whole = parts.0.join("whole");
    let mut before = 0;
    for (number, one) in chain.iter().enumerate() {
        let part = if is_incremental { parts.part(number) } else { whole.clone() };
        make_folder(&part).map_err(|error| failed(error.into()))?;
        let seen = |bytes| progress(before + bytes, total);
        extract(store, one, identities, &part, &seen).await?.map_err(|error| failed(error.into()))?;
        before += one.manifest.base.raw_bytes;
        fault::stage("cluster.unpacked_part");
    }
    if is_incremental {
        combine(programs, &parts, chain.len(), &whole).await.map_err(failed)?;
    }
    fault::stage("cluster.unpacked");
    let target = into.to_owned();
    let finished = tokio::task::spawn_blocking(move || finish(&whole, &target, is_to_start)).await;
    finished.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(|error| failed(error.into()))
}

fn require_combine(backup: &ClusterBackup, programs: &ClientPrograms) -> Result<(), BackupError> {
    let major = backup.manifest.server_major;
    if programs.major == major && is_program(&programs.bin.join("pg_combinebackup")) {
        return Ok(());
    }
    Err(BackupError::Program { program: "pg_combinebackup", major })
}

fn check_space(backup: &ClusterBackup, into: &Path, bytes: u64) -> Result<(), BackupError> {
    let needed = bytes + SPACE_MARGIN_BYTES;
    // The folder itself may not be there yet.
    let status = into
        .ancestors()
        .find_map(|folder| rustix::fs::statvfs(if folder.as_os_str().is_empty() { Path::new(".") } else { folder }).ok());
    let free = status.map_or(u64::MAX, |status| status.f_bavail.saturating_mul(status.f_frsize));
    if needed <= free {
        return Ok(());
    }
    Err(BackupError::Space { id: backup.id().clone(), folder: into.to_owned(), free, needed })
}

fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(FOLDER_MODE).create(path)
}

/// Only what is not there, or is an empty folder, can be replaced.
fn check_target(folder: &Path) -> Result<(), UnpackError> {
    match fs::symlink_metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
        Ok(metadata) if metadata.is_dir() && fs::read_dir(folder)?.next().is_none() => Ok(()),
        Ok(_) => Err(UnpackError::Taken),
    }
}

/// What is at work beside the target: the backups that are put together, each in a folder of its own, and the whole. Goes when dropped.
/// The target only ever is a whole data directory: half of one might be started by mistake.
struct Parts(PathBuf);

impl Parts {
    fn make(into: &Path) -> io::Result<Self> {
        let name = into.file_name().unwrap_or_default().to_string_lossy();
        let parts = Self(into.with_file_name(format!(".{name}{AT_WORK}")));
        // The rest of a run that was killed.
        match fs::remove_dir_all(&parts.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        make_folder(&parts.0)?;
        Ok(parts)
    }

    fn part(&self, number: usize) -> PathBuf {
        self.0.join(number.to_string())
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        // Best effort: the next run of the same kind removes it.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Puts the parts together.
async fn combine(programs: &ClientPrograms, parts: &Parts, count: usize, into: &Path) -> Result<(), UnpackError> {
    let program = programs.invocation("pg_combinebackup").timeout(COMBINE_TIMEOUT);
    // Synced by us once all is there.
    let program = program.arguments(["--no-sync", "--manifest-checksums=SHA256", "--output"]).argument(into);
    (0..count).fold(program, |program, number| program.argument(parts.part(number))).run().await?;
    Ok(())
}

/// Unpacks one backup into an empty folder that is ours alone. What the folder refuses is told apart from all else.
async fn extract(
    store: &BackupStore,
    backup: &ClusterBackup,
    identities: &IdentitySource,
    folder: &Path,
    seen: &(dyn Fn(u64) + Sync),
) -> Result<io::Result<()>, BackupError> {
    let object = backup.object(&backup.manifest.base);
    let reader = object.open(store, identities).await?;
    let passed = Arc::new(AtomicU64::new(0));
    let abandoned = Abandoned::default();
    let target = folder.to_owned();
    let source = Counting { reader, passed: Arc::clone(&passed), abandoned: Arc::clone(&abandoned.0) };
    let mut work = tokio::task::spawn_blocking(move || write(source, &target));
    let result = loop {
        match tokio::time::timeout(TICK, &mut work).await {
            Ok(result) => break result.unwrap_or_else(|error| Err(ExtractError::File(io::Error::other(error)))),
            Err(_) => seen(passed.load(Ordering::Relaxed)),
        }
    };
    seen(passed.load(Ordering::Relaxed));
    match result {
        Ok(()) => Ok(Ok(())),
        Err(ExtractError::File(source)) => Ok(Err(source)),
        Err(ExtractError::Content(source)) => Err(object.damaged(chain(&source))),
        Err(ExtractError::Store(source)) => {
            let key = object.key.clone().unwrap_or(Key::ROOT);
            Err(StoreError::Failed { verb: "read", location: store.location(), key, source }.into())
        }
    }
}

enum ExtractError {
    /// It is not what was backed up.
    Content(BaseError),
    /// The store failed, which says nothing about the backup.
    Store(io::Error),
    /// The folder cannot be written.
    File(io::Error),
}

/// Tells a thread that nobody waits for it any more, when dropped.
#[derive(Default)]
struct Abandoned(Arc<AtomicBool>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The raw data, counted.
struct Counting {
    reader: DataReader,
    passed: Arc<AtomicU64>,
    abandoned: Arc<AtomicBool>,
}

impl io::Read for Counting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.abandoned.load(Ordering::Relaxed) {
            return Err(io::Error::other("nobody waits for it any more"));
        }
        let count = self.reader.read(buffer)?;
        self.passed.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// A file that is being written, which keeps its own failure apart from those of the reading.
struct Output {
    file: File,
    failure: Option<io::Error>,
}

impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.file.write(bytes) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                let kind = error.kind();
                self.failure = Some(error);
                Err(kind.into())
            }
            result => result,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(source: Counting, folder: &Path) -> Result<(), ExtractError> {
    let mut gathered = Gathered::default();
    let mut tar = TarReader::new(source);
    let result = write_all(&mut tar, &mut gathered, folder);
    let failed = tar.into_inner().reader.has_store_failed();
    match result {
        Err(ExtractError::Content(error)) if failed => Err(ExtractError::Store(io::Error::other(error))),
        Err(error) => Err(error),
        Ok(()) => gathered.judge().map(drop).map_err(ExtractError::Content),
    }
}

fn write_all(tar: &mut TarReader<Counting>, gathered: &mut Gathered, folder: &Path) -> Result<(), ExtractError> {
    while let Some(entry) = tar.next_entry().map_err(|error| ExtractError::Content(error.into()))? {
        let path = folder.join(std::ffi::OsStr::from_bytes(&entry.path));
        match entry.kind {
            Kind::Folder => DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(&path).map_err(ExtractError::File)?,
            Kind::File => {
                let file = File::options().write(true).create_new(true).mode(FILE_MODE).open(&path);
                let file = match file {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        let name = String::from_utf8_lossy(&entry.path).into_owned();
                        return Err(ExtractError::Content(BaseError::Twice(name)));
                    }
                    file => file.map_err(ExtractError::File)?,
                };
                let mut output = Output { file, failure: None };
                let passed = gathered.pass(&entry, tar, &mut output);
                if let Some(failure) = output.failure {
                    return Err(ExtractError::File(failure));
                }
                passed.map_err(ExtractError::Content)?;
            }
        }
    }
    Ok(())
}

/// A server does not start without these, which some systems keep outside of the data directory.
const SUBSTITUTES: [(&str, &str); 3] = [
    (SETTINGS, "# Written by pgisle: the server that was backed up had its settings outside of the data directory.\n"),
    (
        "pg_hba.conf",
        "# Written by pgisle: the server that was backed up had this file elsewhere. Nobody can log in yet.\nlocal all all reject\n",
    ),
    ("pg_ident.conf", "# Written by pgisle: the server that was backed up had this file elsewhere.\n"),
];

fn complete(folder: &Path) -> io::Result<()> {
    for (name, text) in SUBSTITUTES {
        match File::options().write(true).create_new(true).mode(FILE_MODE).open(folder.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            file => file?.write_all(text.as_bytes())?,
        }
    }
    Ok(())
}

/// Sets modes and owner, from the bottom up, has all of it outlive a power cut, and puts it in its place.
fn finish(whole: &Path, target: &Path, is_to_start: bool) -> io::Result<()> {
    if is_to_start {
        complete(whole)?;
    }
    let account = Account::for_servers().map_err(io::Error::other)?;
    hand_over(whole, account.as_ref())?;
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(File::open(whole)?)?;
    fs::rename(whole, target)?;
    let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

fn hand_over(folder: &Path, account: Option<&Account>) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            hand_over(&path, account)?;
        } else {
            fs::set_permissions(&path, fs::Permissions::from_mode(FILE_MODE))?;
            give(&path, account)?;
        }
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(FOLDER_MODE))?;
    give(folder, account)
}

fn give(path: &Path, account: Option<&Account>) -> io::Result<()> {
    account.map_or(Ok(()), |account| account.give(path).map_err(io::Error::other))
}
