//! A PgBouncer of ours, started for a load and gone with it. One for a project and environment, used by one load at a time, and found
//! again by the next one when this one was killed.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Child;

use pgisle_core::artifact::Artifact;
use pgisle_core::spec::Environment;

use crate::file::create_private_dir;
use crate::local::pooler::{self, Pooler, PoolerOptions};
use crate::local::{LocalError, PgBouncer, find_pgbouncer, server, surroundings};
use crate::process::{Account, Invocation};

/// The folder's name, beside the credentials.
const FOLDER: &str = "load";

/// Ends PgBouncer once its input ends, as it does with us, and takes its files away: `sh -c SCRIPT FOLDER`. It is killed, because it
/// would wait for clients that are gone and servers that are not.
const GUARD: &str = r#"read -r _
kill -KILL "$(cat "$0/pgbouncer.pid")" 2> /dev/null
rm -rf "$0" 2> /dev/null
"#;

/// The folder, held against others. Dropped, it goes with the PgBouncer in it.
pub(super) struct Place {
    folder: PathBuf,
    account: Option<Account>,
    program: PgBouncer,
    guard: Option<Child>,
    _lock: File,
}

impl Place {
    /// Takes the folder, after ending what a load left that was killed. The reason, as a clause, when it cannot be had.
    pub(super) async fn take(project: &Path, environment: Environment) -> Result<Self, String> {
        let program = find_pgbouncer().await.ok_or_else(|| "PgBouncer is not installed on this machine".to_owned())?;
        let private = private_folder(project, environment).map_err(words)?;
        create_private_dir(&private).map_err(|error| error.to_string())?;
        let path = private.join(format!("{FOLDER}.lock"));
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let lock = file.map_err(|source| words(LocalError::file("open", &path)(source)))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => "another load is under way in this project".to_owned(),
            TryLockError::Error(source) => words(LocalError::file("lock", &path)(source)),
        })?;
        let account = Account::for_servers().map_err(|error| words(LocalError::Account(error)))?;
        let inside = private.join(FOLDER);
        for folder in surroundings::places(&inside) {
            clear(&folder);
        }
        let folder = surroundings::choose_place(&inside, account.as_ref()).await;
        surroundings::own_folder(&folder, account.as_ref()).map_err(words)?;
        Ok(Self { folder, account, program, guard: None, _lock: lock })
    }

    /// Puts a file where PgBouncer can read it, whoever else can.
    pub(super) fn keep(&self, name: &str, text: &str) -> Result<PathBuf, String> {
        let path = self.folder.join(name);
        server::write_private(&path, text, self.account.as_ref()).map_err(words)?;
        Ok(path)
    }

    /// Starts PgBouncer on generated files, in place of one that runs here already.
    pub(super) async fn start(&mut self, artifacts: &[Artifact], settings: Vec<(&str, &str)>) -> Result<Pooler, String> {
        let written = |name: &'static str| -> Result<PathBuf, String> {
            let found = artifacts.iter().find(|artifact| Path::new(&artifact.path).file_name().is_some_and(|last| last == name));
            let content = found.and_then(|artifact| artifact.content.as_ref());
            let content = content.ok_or_else(|| format!("{name} cannot be made, because a login's password is not known here"))?;
            self.keep(&format!("wanted-{name}"), content.expose())
        };
        let (ini, userlist) = (written("pgbouncer.ini")?, written("userlist.txt")?);
        self.release();
        let options = PoolerOptions { ini: &ini, userlist: &userlist, port: None, settings, lead: None };
        // The guard first: nothing is to run that nobody would end.
        let guard = Invocation::new("/bin/sh").arguments(["-c", GUARD]).argument(&self.folder).clean_environment();
        let guard = guard.run_as(self.account.as_ref()).directory("/").start_tethered();
        self.guard = Some(guard.map_err(|error| format!("a guard for PgBouncer cannot be started: {error}"))?);
        pooler::start(&self.folder, self.account.as_ref(), &self.program, &options).await.map_err(words)
    }

    /// Sends the guard away.
    fn release(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            let _gone = guard.kill();
            let _reaped = guard.wait();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.release();
        clear(&self.folder);
    }
}

/// Best effort: what stays is found by the next load.
fn clear(folder: &Path) {
    if folder.symlink_metadata().is_err() {
        return;
    }
    if let Some(pooler) = pooler::running(folder) {
        server::signal(pooler.pid, rustix::process::Signal::KILL);
    }
    let _left = surroundings::remove_folder(&surroundings::choose_socket_folder(folder));
    let _left = surroundings::remove_folder(folder);
}

fn private_folder(project: &Path, environment: Environment) -> Result<PathBuf, LocalError> {
    let project = project.canonicalize().map_err(LocalError::file("find", project))?;
    Ok(project.join(".pgisle").join(environment.as_str()))
}

/// What went wrong, in one clause.
fn words(error: LocalError) -> String {
    error.diagnostic().brief()
}
