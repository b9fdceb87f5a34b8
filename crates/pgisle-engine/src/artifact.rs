//! Puts generated files on disk: whole or not at all, private from the first byte, and never over a person's work.
//!
//! A manifest beside them remembers the hash of each file as it was written. A file that has another hash since was edited by
//! hand, and is neither overwritten nor removed unless that is asked for. Below the environment's folder no symbolic link is
//! followed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use pgisle_core::artifact::{Artifact, MODE_SECRET, digest};
use pgisle_core::diagnostic::{Code, Diagnostic};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::fault::{self, Moment};
use crate::file::{FileError, NewFile, create_private_dir, remove_leftovers, write_all_atomically, write_atomically};

/// The manifest's name in the environment's folder.
pub const MANIFEST: &str = ".pgisle-manifest.json";

/// The manifest's format.
const MANIFEST_VERSION: u32 = 1;

/// A file larger than this is none that pgisle wrote, and is not read.
const READ_BYTES_MAX: u64 = 64 << 20;

/// Writing all files of a large project takes less than a second.
const TURN_WAIT: Duration = Duration::from_secs(30);

/// Between two looks whether it is our turn.
const TURN_RETRY: Duration = Duration::from_millis(20);

/// Why files were not compared or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArtifactError {
    /// The manifest is not one.
    #[error("cannot read the manifest {path:?}")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The manifest is of another version, or names a file outside of its folder.
    #[error("the manifest {path:?} was not written by this version of pgisle")]
    ForeignManifest {
        /// The manifest.
        path: PathBuf,
    },
    /// A folder below the environment's is a symbolic link or a file.
    #[error("{path:?} is not a folder")]
    NotAFolder {
        /// What stands there.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("cannot read {path:?}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A folder cannot be made.
    #[error("cannot create the folder {path:?}")]
    CreateFolder {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A file cannot be removed.
    #[error("cannot remove {path:?}")]
    Remove {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Another run has been writing here for too long.
    #[error("another process is writing the files in {path:?}")]
    Busy {
        /// The environment's folder.
        path: PathBuf,
    },
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] FileError),
}

impl ArtifactError {
    /// The finding for the user.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let diagnostic = Diagnostic::error(Code::ARTIFACT_WRITE, self.to_string());
        let diagnostic = match self {
            Self::Manifest { path, .. } | Self::ForeignManifest { path } => diagnostic
                .hint("Without the manifest pgisle takes every file that differs for edited by hand. Remove it, and look at the plan:")
                .command(format!("rm {path:?}")),
            Self::NotAFolder { .. } => diagnostic.hint("Move it away; pgisle makes its own folders and follows no link out of them."),
            _ => diagnostic,
        };
        match std::error::Error::source(self) {
            Some(source) => diagnostic.detail(format!("{source}.")),
            None => diagnostic,
        }
    }
}

/// What is to happen, or has happened, to one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It is not there yet.
    Create,
    /// It is there as it was written, and would now be written otherwise.
    Update,
    /// It is there as it would be written.
    Unchanged,
    /// It was edited by hand, or someone else put it there. Left alone.
    Edited,
    /// It is no longer generated and is as it was written: removed.
    Remove,
    /// It is no longer generated and was edited by hand. Left alone.
    Kept,
}

/// One file and what happens to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The file, below the environment's folder.
    pub path: String,
    /// What happens.
    pub kind: ChangeKind,
    /// Whether a secret is in it.
    pub holds_secrets: bool,
    /// True when a credential that it needs is yet to be made: it can be planned, not written.
    pub awaits_credentials: bool,
}

/// How files are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteOptions {
    /// Overwrite, or remove, files that were edited by hand.
    pub overwrite: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    version: u32,
    files: BTreeMap<String, Entry>,
}

/// A file as it was written last.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    sha256: String,
    holds_secrets: bool,
    /// The hash before, while a write is under way: a killed run must not make its own files look edited.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    replaces: Option<String>,
}

impl Entry {
    fn is_unedited(&self, on_disk: &str) -> bool {
        self.sha256 == on_disk || self.replaces.as_deref() == Some(on_disk)
    }
}

/// What stands at a path.
enum OnDisk {
    Nothing,
    Regular {
        sha256: String,
        mode: u32,
    },
    /// A link, a folder, a device, or something too large to be ours.
    Other,
}

impl OnDisk {
    fn into_hash(self) -> Option<String> {
        match self {
            Self::Regular { sha256, .. } => Some(sha256),
            Self::Nothing | Self::Other => None,
        }
    }
}

/// Compares what would be generated with what is in the environment's folder. Changes nothing.
///
/// # Errors
/// When a file or the manifest cannot be read.
pub fn status(folder: &Path, artifacts: &[Artifact]) -> Result<Vec<Change>, ArtifactError> {
    let manifest = read_manifest(folder)?;
    Ok(compare(folder, artifacts, &manifest)?.into_iter().map(|compared| compared.change).collect())
}

/// Writes what is new or differs, and removes what is no longer generated. The changes say what happened to each file; those
/// that are [`ChangeKind::Edited`] or [`ChangeKind::Kept`], or that await credentials, were left as they are.
///
/// # Errors
/// When something cannot be read or written. What was written until then is whole, and writing again goes on from there.
pub fn write(folder: &Path, artifacts: &[Artifact], options: WriteOptions) -> Result<Vec<Change>, ArtifactError> {
    if artifacts.is_empty() && !folder.exists() {
        return Ok(Vec::new());
    }
    fs::create_dir_all(folder).map_err(|source| ArtifactError::CreateFolder { path: folder.to_owned(), source })?;
    let _turn = take_turn(folder)?;
    let mut manifest = read_manifest(folder)?;
    let mut compared = compare(folder, artifacts, &manifest)?;
    clear_leftovers(folder, &compared)?;
    if options.overwrite {
        for Compared { change, .. } in &mut compared {
            change.kind = match change.kind {
                ChangeKind::Edited => ChangeKind::Update,
                ChangeKind::Kept => ChangeKind::Remove,
                other => other,
            };
        }
    }
    let by_path: BTreeMap<&str, &Artifact> = artifacts.iter().map(|artifact| (artifact.path.as_str(), artifact)).collect();
    let any = note_intentions(&mut manifest, &compared, &by_path);
    let changes: Vec<Change> = compared.into_iter().map(|compared| compared.change).collect();
    if !any {
        return Ok(changes);
    }
    create_folders(folder, artifacts, &changes)?;
    write_manifest(folder, &manifest)?;
    write_all_atomically(&new_files(folder, &changes, &by_path))?;
    for change in changes.iter().filter(|change| change.kind == ChangeKind::Remove) {
        remove(&folder.join(&change.path))?;
    }
    settle(&mut manifest, &changes);
    write_manifest(folder, &manifest)?;
    Ok(changes)
}

/// The files that are to be written, as far as it is known what will be in them.
fn new_files<'a>(folder: &Path, changes: &[Change], by_path: &BTreeMap<&str, &'a Artifact>) -> Vec<NewFile<'a>> {
    let written = changes.iter().filter(|change| matches!(change.kind, ChangeKind::Create | ChangeKind::Update));
    written
        .filter_map(|change| {
            let artifact = by_path.get(change.path.as_str())?;
            let bytes = artifact.content.as_ref()?.expose().as_bytes();
            Some(NewFile { path: folder.join(&change.path), mode: artifact.mode, bytes })
        })
        .collect()
}

/// What the user must know about the changes: files that were edited by hand.
#[must_use]
pub fn diagnostics(folder: &Path, changes: &[Change]) -> Vec<Diagnostic> {
    let edited = changes.iter().filter(|change| matches!(change.kind, ChangeKind::Edited | ChangeKind::Kept));
    edited
        .map(|change| {
            let path = folder.join(&change.path).display().to_string();
            let detail = match change.kind {
                ChangeKind::Kept => "It is no longer generated, and is kept because it is not as pgisle wrote it.",
                _ => "It is not as pgisle wrote it, and is left as it is.",
            };
            Diagnostic::warning(Code::ARTIFACT_EDITED, format!("the generated file \"{path}\" was edited by hand"))
                .detail(detail)
                .hint("Move the change elsewhere and delete the file, or pass -overwrite.")
        })
        .collect()
}

/// Waits until nobody else writes below the folder, and keeps others waiting for as long as the value lives. Without it, the
/// manifest of one run would forget the files of another.
fn take_turn(folder: &Path) -> Result<File, ArtifactError> {
    let failed = |source| ArtifactError::Read { path: folder.to_owned(), source };
    let turn = File::open(folder).map_err(failed)?;
    let deadline = Instant::now() + TURN_WAIT;
    loop {
        match turn.try_lock() {
            Ok(()) => return Ok(turn),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(TURN_RETRY),
            Err(TryLockError::WouldBlock) => return Err(ArtifactError::Busy { path: folder.to_owned() }),
        }
    }
}

/// Removes what killed runs left: halves of files, with passwords in them.
fn clear_leftovers(folder: &Path, compared: &[Compared]) -> Result<(), ArtifactError> {
    let paths = compared.iter().map(|compared| compared.change.path.as_str()).chain([MANIFEST]);
    for path in paths.map(|path| folder.join(path)).filter(|path| path.parent().is_some_and(Path::is_dir)) {
        remove_leftovers(&path)?;
    }
    Ok(())
}

/// A change, and the hash of what is on disk now.
struct Compared {
    change: Change,
    on_disk: Option<String>,
}

fn compare(folder: &Path, artifacts: &[Artifact], manifest: &Manifest) -> Result<Vec<Compared>, ArtifactError> {
    let mut changes = Vec::new();
    for artifact in artifacts {
        let entry = manifest.files.get(&artifact.path);
        let wanted = artifact.content.as_ref().map(|content| digest(content.expose().as_bytes()));
        let on_disk = look(folder, &artifact.path)?;
        let kind = match &on_disk {
            OnDisk::Nothing => ChangeKind::Create,
            OnDisk::Other => ChangeKind::Edited,
            OnDisk::Regular { sha256, mode } if wanted.as_ref() == Some(sha256) => {
                // What holds a secret must also be private; who may read the others is not pgisle's business.
                if artifact.holds_secrets && *mode != MODE_SECRET { ChangeKind::Update } else { ChangeKind::Unchanged }
            }
            OnDisk::Regular { sha256, .. } => match entry {
                Some(entry) if entry.is_unedited(sha256) => ChangeKind::Update,
                _ => ChangeKind::Edited,
            },
        };
        let awaits_credentials = wanted.is_none();
        let change = Change { path: artifact.path.clone(), kind, holds_secrets: artifact.holds_secrets, awaits_credentials };
        changes.push(Compared { change, on_disk: on_disk.into_hash() });
    }
    let generated: BTreeSet<&str> = artifacts.iter().map(|artifact| artifact.path.as_str()).collect();
    for (path, entry) in manifest.files.iter().filter(|(path, _)| !generated.contains(path.as_str())) {
        let on_disk = look(folder, path)?;
        let kind = match &on_disk {
            OnDisk::Nothing => continue,
            OnDisk::Regular { sha256, .. } if entry.is_unedited(sha256) => ChangeKind::Remove,
            OnDisk::Regular { .. } | OnDisk::Other => ChangeKind::Kept,
        };
        let change = Change { path: path.clone(), kind, holds_secrets: entry.holds_secrets, awaits_credentials: false };
        changes.push(Compared { change, on_disk: on_disk.into_hash() });
    }
    changes.sort_by(|one, other| one.change.path.cmp(&other.change.path));
    Ok(changes)
}

/// Looks at a path below the folder without following a link.
fn look(folder: &Path, path: &str) -> Result<OnDisk, ArtifactError> {
    let mut at = folder.to_owned();
    let (folders, name) = path.rsplit_once('/').map_or((None, path), |(folders, name)| (Some(folders), name));
    for part in folders.into_iter().flat_map(|folders| folders.split('/')) {
        at.push(part);
        match fs::symlink_metadata(&at) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(ArtifactError::NotAFolder { path: at }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(OnDisk::Nothing),
            Err(source) => return Err(ArtifactError::Read { path: at, source }),
        }
    }
    at.push(name);
    read_regular(&at).map_err(|source| ArtifactError::Read { path: at, source })
}

fn read_regular(path: &Path) -> io::Result<OnDisk> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_file() => return Ok(OnDisk::Other),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(OnDisk::Nothing),
        Err(error) => return Err(error),
    }
    // Should a link or a pipe have come there meanwhile: fail, and do not wait.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > READ_BYTES_MAX {
        return Ok(OnDisk::Other);
    }
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    file.read_to_end(&mut bytes)?;
    Ok(OnDisk::Regular { sha256: digest(&bytes), mode: metadata.mode() & 0o7777 })
}

fn read_manifest(folder: &Path) -> Result<Manifest, ArtifactError> {
    let path = folder.join(MANIFEST);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Manifest { version: MANIFEST_VERSION, files: BTreeMap::new() });
        }
        Err(source) => return Err(ArtifactError::Read { path, source }),
    };
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|source| ArtifactError::Manifest { path: path.clone(), source })?;
    // Its paths are removed one day, so none may lead out of the folder.
    let stays_inside =
        |path: &String| !path.is_empty() && Path::new(path).components().all(|component| matches!(component, Component::Normal(_)));
    if manifest.version != MANIFEST_VERSION || !manifest.files.keys().all(stays_inside) {
        return Err(ArtifactError::ForeignManifest { path });
    }
    Ok(manifest)
}

/// Notes in the manifest what is about to be written; true when anything is to be done.
fn note_intentions(manifest: &mut Manifest, changes: &[Compared], by_path: &BTreeMap<&str, &Artifact>) -> bool {
    let mut any = false;
    for Compared { change, on_disk } in changes {
        let content = by_path.get(change.path.as_str()).and_then(|artifact| artifact.content.as_ref());
        match (change.kind, content) {
            (ChangeKind::Create | ChangeKind::Update, Some(content)) => {
                let sha256 = digest(content.expose().as_bytes());
                let replaces = on_disk.clone().filter(|before| *before != sha256);
                manifest.files.insert(change.path.clone(), Entry { sha256, holds_secrets: change.holds_secrets, replaces });
                any = true;
            }
            (ChangeKind::Unchanged, Some(content)) => {
                // Also a file that someone wrote alike, or that a killed run had finished.
                let sha256 = digest(content.expose().as_bytes());
                let known =
                    manifest.files.get(&change.path).is_some_and(|entry| entry.sha256 == sha256 && entry.replaces.is_none());
                if !known {
                    manifest
                        .files
                        .insert(change.path.clone(), Entry { sha256, holds_secrets: change.holds_secrets, replaces: None });
                    any = true;
                }
            }
            (ChangeKind::Remove, _) => any = true,
            _ => {}
        }
    }
    any
}

fn settle(manifest: &mut Manifest, changes: &[Change]) {
    for change in changes {
        if change.kind == ChangeKind::Remove {
            manifest.files.remove(&change.path);
        } else if let (ChangeKind::Create | ChangeKind::Update, Some(entry)) = (change.kind, manifest.files.get_mut(&change.path)) {
            entry.replaces = None;
        }
    }
}

/// Writes the manifest. Private: hashes of files with a weak password in them would let it be guessed.
fn write_manifest(folder: &Path, manifest: &Manifest) -> Result<(), ArtifactError> {
    let path = folder.join(MANIFEST);
    let mut text =
        serde_json::to_string_pretty(manifest).map_err(|source| ArtifactError::Manifest { path: path.clone(), source })?;
    text.push('\n');
    Ok(write_atomically(&path, MODE_SECRET, text.as_bytes())?)
}

/// Makes the folders of what is to be written; those with secrets in them are their owner's alone.
fn create_folders(folder: &Path, artifacts: &[Artifact], changes: &[Change]) -> Result<(), ArtifactError> {
    let mut private = BTreeSet::new();
    for artifact in artifacts.iter().filter(|artifact| artifact.holds_secrets) {
        private.extend(folders_of(&artifact.path));
    }
    let needed: BTreeSet<&str> = changes.iter().flat_map(|change| folders_of(&change.path)).collect();
    // Sorted, so a folder comes before what is in it.
    for name in needed {
        let path = folder.join(name);
        if private.contains(name) {
            create_private_dir(&path)?;
        } else if let Err(source) = fs::create_dir(&path)
            && source.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(ArtifactError::CreateFolder { path, source });
        }
    }
    Ok(())
}

/// The folders above a file: `a` and `a/b` of `a/b/c`.
fn folders_of(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(end, _)| &path[..end])
}

fn remove(path: &Path) -> Result<(), ArtifactError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(ArtifactError::Remove { path: path.to_owned(), source: error })
        }
        _ => {
            fault::after(Moment::File);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
