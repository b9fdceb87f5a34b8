//! A standby: made as a copy of a running primary, or out of a data directory that was a primary itself.
//!
//! A data directory that is to become a standby's has a `standby.signal` from the moment on that it can be started: by then it is in its
//! place, and nobody who starts it gets a server that takes writes. Until then it is being made under another name.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::server::{self, Unfinished};
use super::{Installation, LocalError, surroundings};
use crate::process::{Account, Invocation, ProcessError};

/// As which a standby is known to its primary: its slot's name, and what `synchronous_standby_names` is about.
pub const STANDBY_NAME: &str = "pgisle_standby";

/// Makes whoever starts a data directory get a server that only reads.
const SIGNAL: &str = "standby.signal";

/// How long the files of a cluster may take to be copied.
const COPY_PATIENCE: Duration = Duration::from_secs(30 * 60);

/// Where a standby finds its primary.
#[derive(Debug, Clone)]
pub struct Source<'a> {
    /// The primary's host.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
    /// A superuser.
    pub user: &'a str,
    /// A file that libpq finds the password in. `primary_conninfo` only names it, because monitoring logins can read that.
    pub passfile: &'a Path,
}

impl Source<'_> {
    /// libpq's words for it.
    #[must_use]
    pub fn conninfo(&self) -> String {
        let Self { host, port, user, passfile } = self;
        let passfile = passfile.display().to_string();
        let words = [("host", *host), ("port", &port.to_string()), ("user", user), ("passfile", &passfile), ("sslmode", "disable")];
        let words = words.map(|(name, value)| format!("{name}='{}'", value.replace('\\', r"\\").replace('\'', r"\'")));
        words.join(" ")
    }
}

/// True when a server that is started on this data directory takes no writes.
#[must_use]
pub fn is_fenced(data: &Path) -> bool {
    data.join(SIGNAL).is_file()
}

/// Makes sure that a server that is started on this data directory takes no writes.
///
/// # Errors
/// When the file cannot be written.
pub fn fence(data: &Path, account: Option<&Account>) -> Result<(), LocalError> {
    if is_fenced(data) { Ok(()) } else { server::write_private(&data.join(SIGNAL), "", account) }
}

/// Copies a running primary into a data directory that does not exist yet. It appears whole, as a standby's, or not at all.
///
/// # Errors
/// When a file cannot be written or `pg_basebackup` fails.
pub async fn copy(
    installation: &Installation,
    account: Option<&Account>,
    data: &Path,
    source: &Source<'_>,
) -> Result<(), LocalError> {
    let unfinished = Unfinished::beside(data, account)?;
    let copy = unfinished.0.join("data");
    let invocation = installation.invocation("pg_basebackup").argument("--pgdata").argument(&copy);
    let invocation = invocation.arguments(["--wal-method=stream", "--checkpoint=fast", "--no-sync", "--no-password"]);
    let invocation = invocation.argument("--dbname").argument(source.conninfo());
    run(invocation, account, &unfinished.0).await.map_err(|source| LocalError::Copy { data: data.to_owned(), source })?;
    settle(&copy, data, account)
}

/// Brings a data directory whose server has been stopped back to where it and the running primary last were the same, and on from
/// there. It is whole afterwards, or gone.
///
/// # Errors
/// When a file cannot be written or `pg_rewind` fails: then it takes a new copy.
pub async fn rewind(
    installation: &Installation,
    account: Option<&Account>,
    data: &Path,
    source: &Source<'_>,
) -> Result<(), LocalError> {
    let unfinished = Unfinished::beside(data, account)?;
    let place = unfinished.0.join("data");
    fs::rename(data, &place).map_err(LocalError::file("move aside", data))?;
    let invocation = installation.invocation("pg_rewind").argument("--target-pgdata").argument(&place).argument("--no-sync");
    let invocation = invocation.argument("--source-server").argument(format!("{} dbname=postgres", source.conninfo()));
    run(invocation, account, &unfinished.0).await.map_err(|source| LocalError::Copy { data: data.to_owned(), source })?;
    settle(&place, data, account)
}

async fn run(invocation: Invocation, account: Option<&Account>, home: &Path) -> Result<(), ProcessError> {
    server::at_home(invocation, account, home).timeout(COPY_PATIENCE).run().await.map(drop)
}

/// Makes what has been copied a standby's, and then moves it to its place.
fn settle(copy: &Path, data: &Path, account: Option<&Account>) -> Result<(), LocalError> {
    fence(copy, account)?;
    // pg_rewind leaves the slots of the time when this was a primary, which would keep the log for nobody.
    let slots = copy.join("pg_replslot");
    for slot in slots.read_dir().map_err(LocalError::file("read", &slots))?.filter_map(Result::ok) {
        surroundings::remove_folder(&slot.path())?;
    }
    match fs::remove_file(copy.join("postmaster.pid")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(LocalError::file("remove", copy)(error)),
        _ => {}
    }
    fs::rename(copy, data).map_err(LocalError::file("move into place", data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_for_libpq_survive_quotes() {
        let source = Source { host: "127.0.0.1", port: 5432, user: r"it's\me", passfile: Path::new("/tmp/a b/passfile") };
        let expected = r"host='127.0.0.1' port='5432' user='it\'s\\me' passfile='/tmp/a b/passfile' sslmode='disable'";
        assert_eq!(source.conninfo(), expected);
    }
}
