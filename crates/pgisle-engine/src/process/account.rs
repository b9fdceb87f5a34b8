//! The account that a program runs as when we are root: PostgreSQL's programs refuse root.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where accounts are listed.
const PASSWD: &str = "/etc/passwd";

/// Who may stand in for root, best first. PostgreSQL needs an account that has an entry in the password file.
const STAND_INS: [&str; 2] = ["postgres", "nobody"];

/// What can go wrong in choosing an account.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The list of accounts cannot be read.
    #[error("cannot read \"{PASSWD}\"")]
    Read(#[source] io::Error),
    /// There is nobody to drop to.
    #[error("we are root and there is neither a user \"postgres\" nor a user \"nobody\" to drop to")]
    Nobody,
    /// A file cannot be given to the account.
    #[error("cannot give \"{}\" to user \"{name}\"", .path.display())]
    Give {
        /// The file.
        path: PathBuf,
        /// The account.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// An account of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// Its group's number.
    pub gid: u32,
    /// The folder that programs take for home.
    pub home: PathBuf,
}

impl Account {
    /// Chooses who servers run as: none (ourselves) when we are not root, else `postgres` or `nobody`.
    ///
    /// # Errors
    /// When we are root and there is nobody to drop to.
    pub fn for_servers() -> Result<Option<Self>, AccountError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let passwd = fs::read_to_string(PASSWD).map_err(AccountError::Read)?;
        STAND_INS.iter().find_map(|name| entry(&passwd, name)).map(Some).ok_or(AccountError::Nobody)
    }

    /// The same account with another home: its own may not exist, and a server has no business there.
    #[must_use]
    pub fn at_home_in(&self, home: &Path) -> Self {
        Self { home: home.to_owned(), ..self.clone() }
    }

    /// Makes a file or folder the account's own.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn give(&self, path: &Path) -> Result<(), AccountError> {
        std::os::unix::fs::lchown(path, Some(self.uid), Some(self.gid)).map_err(|source| AccountError::Give {
            path: path.to_owned(),
            name: self.name.clone(),
            source,
        })
    }
}

fn entry(passwd: &str, wanted: &str) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, ..] = fields.as_slice() else { return None };
        // Uid 0 under another name is root all the same.
        let uid = uid.parse().ok().filter(|&uid| uid != 0)?;
        (*name == wanted)
            .then(|| Some(Account { name: (*name).to_owned(), uid, gid: gid.parse().ok()?, home: PathBuf::from(home) }))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "root:x:0:0:root:/root:/bin/bash\nbroken line\npostgres:x:101:104:PostgreSQL,,,:/var/lib/postgresql:/bin/bash\ntoor:x:0:0::/root:/bin/sh\n";

    #[test]
    fn an_account_is_read_from_its_line() {
        let expected = Account { name: "postgres".to_owned(), uid: 101, gid: 104, home: PathBuf::from("/var/lib/postgresql") };
        assert_eq!(entry(SAMPLE, "postgres"), Some(expected));
        assert_eq!(entry(SAMPLE, "nobody"), None);
    }

    #[test]
    fn root_by_another_name_is_not_taken() {
        assert_eq!(entry(SAMPLE, "toor"), None);
    }
}
