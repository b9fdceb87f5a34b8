//! Serving files of the log to the private server. It asks by a file of that name in one folder and finds the answer in another:
//! it needs no key, no password, and no program of ours.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use pgisle_core::backup::wal::{Segment, WalName};

use super::choose::Chosen;
use super::error::RecoverError;
use crate::backup::store::BackupStore;
use crate::backup::wal::{self, WalError};
use crate::credential::IdentitySource;
use crate::local::{LocalError, server};
use crate::process::Account;

/// What the server runs for each file: `sh fetch.sh NAME PATH`. A shell's `sleep` may not know fractions.
///
/// The server asks for the last segment twice, and at the second time the first request may still lie there, when its answer was
/// there beforehand. We then take both for one. An answer is in its place before its request is removed; so where a request is
/// gone and no answer is there, it was lost like this, and is made again.
const SCRIPT: &str = r#"# Written by pgisle: asks for a file of the log, and waits until it is there or known not to be.
folder=${0%/*}
: > "$folder/wanted/$1" || exit 1
while [ -d "$folder/wanted" ]; do
    asked=1
    [ -e "$folder/wanted/$1" ] || asked=
    if [ -e "$folder/served/$1" ]; then
        mv "$folder/served/$1" "$2" || exit 1
        exit 0
    fi
    [ ! -e "$folder/absent/$1" ] || exit 1
    [ -n "$asked" ] || : > "$folder/wanted/$1" || exit 1
    sleep 0.01 2> /dev/null || sleep 1
done
exit 1
"#;

/// Segments that are fetched before they are asked for.
const AHEAD: u64 = 4;

/// Serves one server.
pub(super) struct Feed<'a> {
    store: &'a BackupStore,
    identities: &'a IdentitySource,
    chosen: &'a Chosen,
    account: Option<&'a Account>,
    folder: PathBuf,
    /// Segments that were fetched and not asked for yet.
    ahead: BTreeSet<Segment>,
    /// The last segment that was asked for.
    last: Option<Segment>,
    /// The segment that was asked for and is not in the archive.
    pub(super) absent: Option<Segment>,
    /// Files that were served.
    pub(super) files: u64,
    /// Files that were asked for.
    pub(super) asked: u64,
}

impl<'a> Feed<'a> {
    /// Makes the folders, below one that is this feed's alone. A shell of a server that was killed looks a moment longer for its
    /// answer: in the same place it would take ours away, and the server at hand would wait for ever.
    pub(super) fn new(
        base: &Path,
        account: Option<&'a Account>,
        store: &'a BackupStore,
        identities: &'a IdentitySource,
        chosen: &'a Chosen,
    ) -> Result<Self, RecoverError> {
        crate::local::surroundings::remove_folder(base)?;
        let folder = base.join(std::process::id().to_string());
        for path in [base.to_owned(), folder.clone(), folder.join("wanted"), folder.join("served"), folder.join("absent")] {
            DirBuilder::new().mode(0o700).create(&path).map_err(LocalError::file("create", &path))?;
            server::give(account, &path)?;
        }
        server::write_private(&folder.join("fetch.sh"), SCRIPT, account)?;
        Ok(Self {
            store,
            identities,
            chosen,
            account,
            folder,
            ahead: BTreeSet::new(),
            last: None,
            absent: None,
            files: 0,
            asked: 0,
        })
    }

    /// The `restore_command`.
    pub(super) fn command(&self) -> String {
        pgisle_core::backup::wal::setup::restore_command(&self.folder.join("fetch.sh").to_string_lossy())
    }

    /// Serves what is asked for, or else fetches ahead. False when there was nothing to do.
    pub(super) async fn step(&mut self) -> Result<bool, RecoverError> {
        let wanted = self.folder.join("wanted");
        let names = fs::read_dir(&wanted).map_err(LocalError::file("read", &wanted))?.filter_map(Result::ok);
        let names: Vec<String> = names.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        let is_idle = names.is_empty();
        for text in names {
            self.asked += 1;
            match WalName::parse(&text) {
                Some(name) => self.serve(name).await?,
                None => self.refuse(&text)?,
            }
            let asked = wanted.join(&text);
            fs::remove_file(&asked).map_err(LocalError::file("remove", &asked))?;
        }
        if is_idle { self.fetch_ahead().await } else { Ok(true) }
    }

    async fn serve(&mut self, name: WalName) -> Result<(), RecoverError> {
        if let WalName::Segment(segment) = name {
            self.last = Some(segment);
            if self.ahead.remove(&segment) {
                self.files += 1;
                return Ok(());
            }
        }
        match self.fetch(name).await {
            Ok(()) => {
                self.files += 1;
                Ok(())
            }
            Err(error) if error.is_absent() => {
                if let WalName::Segment(segment) = name {
                    self.absent = Some(segment);
                }
                self.refuse(&name.to_string())
            }
            // Not answered: a server that is told that there is no such file would take that for the end of the log.
            Err(error) => Err(error.into()),
        }
    }

    /// Whether it is there already, fetched.
    async fn fetch(&self, name: WalName) -> Result<(), WalError> {
        // Beside the place where it is looked for, so that it is found whole and the server's own.
        let fetched = self.folder.join(format!("{name}.fetched"));
        wal::fetch(self.store, name, &fetched, self.identities).await?;
        let placed = server::give(self.account, &fetched).map_err(|error| std::io::Error::other(error.to_string()));
        let placed = placed.and_then(|()| fs::rename(&fetched, self.folder.join("served").join(name.to_string())));
        placed.map_err(|source| WalError::Process { name, source })
    }

    fn refuse(&self, name: &str) -> Result<(), RecoverError> {
        Ok(server::write_private(&self.folder.join("absent").join(name), "", self.account)?)
    }

    async fn fetch_ahead(&mut self) -> Result<bool, RecoverError> {
        let Some(last) = self.last else { return Ok(false) };
        let (size, history) = (self.chosen.size, &self.chosen.history);
        let from = size.number(last) + 1;
        let next = (from..from + AHEAD).map(|number| history.segment(size, number)).find(|segment| !self.ahead.contains(segment));
        let Some(next) = next.filter(|next| self.chosen.archive.segments.contains_key(next)) else { return Ok(false) };
        self.fetch(WalName::Segment(next)).await?;
        self.ahead.insert(next);
        Ok(true)
    }

    /// Bytes of the log that were asked for since the backup, and how many it will be.
    pub(super) fn progress(&self) -> (u64, u64) {
        let Chosen { size, until, backup, .. } = self.chosen;
        let first = size.number(size.segment(1, backup.manifest.start_lsn));
        let done = self.last.map_or(0, |last| size.number(last).saturating_sub(first));
        (done * size.bytes(), (size.number(*until) + 1).saturating_sub(first) * size.bytes())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::time::{Duration, Instant};

    use super::SCRIPT;
    use crate::process::Invocation;

    const NAME: &str = "000000010000000000000011";

    async fn until(what: impl Fn() -> bool) {
        let started = Instant::now();
        while !what() {
            assert!(started.elapsed() < Duration::from_secs(20), "it does not come");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_request_that_was_taken_for_an_earlier_one_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["wanted", "served", "absent"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        std::fs::write(at("fetch.sh"), SCRIPT).unwrap();
        let fetch = |name: &str| {
            let program = Invocation::new("/bin/sh").argument(at("fetch.sh")).argument(name).argument(at("got"));
            tokio::spawn(async move { program.timeout(Duration::from_secs(30)).run().await })
        };
        let (wanted, served) = (at("wanted").join(NAME), at("served").join(NAME));
        // It was fetched ahead, so that nobody waits for us.
        std::fs::write(&served, "first").unwrap();
        fetch(NAME).await.unwrap().unwrap();
        assert_eq!(std::fs::read_to_string(at("got")).unwrap(), "first");
        // The second request comes before we have seen the first, and we remove both at once.
        let second = fetch(NAME);
        tokio::time::sleep(Duration::from_millis(50)).await;
        std::fs::remove_file(&wanted).unwrap();
        until(|| wanted.exists()).await;
        std::fs::write(&served, "second").unwrap();
        std::fs::remove_file(&wanted).unwrap();
        second.await.unwrap().unwrap();
        assert_eq!(std::fs::read_to_string(at("got")).unwrap(), "second");
        assert!(!wanted.exists(), "an answer that is there is not asked for again");
        let refused = fetch("00000002.history");
        until(|| at("wanted/00000002.history").exists()).await;
        std::fs::write(at("absent/00000002.history"), "").unwrap();
        assert!(refused.await.unwrap().is_err());
    }
}
