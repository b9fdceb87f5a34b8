//! Finding the programs of PostgreSQL and PgBouncer on this machine.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};

use super::LocalError;
use crate::process::{self, Invocation, is_program, on_path};

/// Names the folder of server programs to use instead of searching.
const PG_BIN_VARIABLE: &str = "PGISLE_PG_BIN";

/// Names the folder of private components.
const COMPONENTS_VARIABLE: &str = "PGISLE_COMPONENTS";

/// Where root's private components are. They are readable by all, so others may use them too.
const ROOT_COMPONENTS: &str = "/var/cache/pgisle/components";

/// A file of this name in a component says that it has no contrib extensions and no TLS.
const NO_CONTRIB: &str = "NO_CONTRIB";

/// Where the operating system keeps its own locales that are folders. `LOCPATH` replaces it, so it is named again.
const SYSTEM_LOCALES: &str = "/usr/lib/locale";

/// Where an installation was found, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// `PGISLE_PG_BIN` names it.
    Environment,
    /// pgisle's private components: an upgrade of the system does not pull them from under a running server.
    Components,
    /// The operating system's packages, Homebrew's, or whatever is on the `PATH`.
    System,
}

/// The server programs of one PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// The folder of `initdb`, `postgres` and `pg_ctl`.
    pub bin: PathBuf,
    /// Major version.
    pub major: u32,
    /// The whole version, as the server prints it.
    pub version: String,
    /// Where it was found.
    pub source: Source,
    /// True when the contrib extensions (uuid-ossp, pgcrypto, …) are there.
    pub contrib: bool,
    /// True when pgvector is there.
    pub vector: bool,
    /// True when the server can speak TLS.
    pub tls: bool,
}

impl Installation {
    /// Finds the one to use: of this major version, or the best there is.
    ///
    /// # Errors
    /// When there is none.
    pub async fn find(major: Option<u32>) -> Result<Self, LocalError> {
        let all = Self::find_all().await;
        let found: Vec<u32> = all.iter().map(|installation| installation.major).collect();
        all.into_iter()
            .find(|installation| major.is_none_or(|major| major == installation.major))
            .ok_or(LocalError::NotInstalled { major, found })
    }

    /// Finds all, best first: what the environment names, then those with all extensions (contrib and pgvector), then the newest,
    /// private components before the system's.
    pub async fn find_all() -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for (bin, source) in candidates().await {
            let Ok(bin) = bin.canonicalize() else { continue };
            if all.iter().any(|installation| installation.bin == bin) {
                continue;
            }
            if let Some(installation) = Self::examine(bin, source).await {
                all.push(installation);
            }
        }
        all.sort_by_key(|found| {
            let explicit = found.source == Source::Environment;
            (Reverse(explicit), Reverse(found.contrib && found.vector), Reverse(found.contrib), Reverse(found.major), found.source)
        });
        all
    }

    /// Looks whether a folder holds server programs that run.
    async fn examine(bin: PathBuf, source: Source) -> Option<Self> {
        if !["initdb", "postgres", "pg_ctl"].iter().all(|name| process::is_program(&bin.join(name))) {
            return None;
        }
        let output = Invocation::new(bin.join("postgres")).argument("--version").clean_environment().run().await.ok()?;
        let version = output.text().strip_prefix("postgres (PostgreSQL) ")?.to_owned();
        let major = version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
        // The marker lies beside `bin`, whether that is a link or not: a component's folder is named by its version.
        let bare = bin.ancestors().skip(1).take(6).any(|folder| folder.join(NO_CONTRIB).is_file());
        let extension =
            |name: &str| extension_folders(&bin, major).iter().any(|folder| folder.join(format!("{name}.control")).is_file());
        let (contrib, vector) = (!bare && extension("pgcrypto") && extension("uuid-ossp"), extension("vector"));
        Some(Self { bin, major, version, source, contrib, vector, tls: !bare })
    }

    /// The path of one of its programs.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// An invocation of one of its programs in an environment that has nothing of ours but the `PATH`, and the private locales.
    #[must_use]
    pub fn invocation(&self, name: &str) -> Invocation {
        let invocation = Invocation::new(self.program(name)).clean_environment();
        match locale_path() {
            Some(path) => invocation.environment("LOCPATH", path),
            None => invocation,
        }
    }
}

/// The client programs of one PostgreSQL: `pg_dump` and its like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientPrograms {
    /// Their folder.
    pub bin: PathBuf,
    /// Major version.
    pub major: u32,
    /// The whole version, as `pg_dump` prints it.
    pub version: String,
}

impl ClientPrograms {
    /// Finds those that can dump a server of this major version: what the environment names, else the oldest that are not older
    /// than the server, whose dumps the server can take back.
    ///
    /// # Errors
    /// The majors that are there, when none will do.
    pub async fn find(server_major: u32) -> Result<Self, Vec<u32>> {
        let mut all: Vec<(Source, Self)> = Vec::new();
        for (bin, source) in candidates().await.into_iter().chain(path_folders()) {
            let Ok(bin) = bin.canonicalize() else { continue };
            if all.iter().any(|(_, programs)| programs.bin == bin) {
                continue;
            }
            all.extend(Self::examine(bin).await.map(|programs| (source, programs)));
        }
        let mut majors: Vec<u32> = all.iter().map(|(_, programs)| programs.major).collect();
        majors.sort_unstable();
        majors.dedup();
        let fit = all.into_iter().filter(|(_, programs)| programs.major >= server_major);
        fit.min_by_key(|(source, programs)| (*source != Source::Environment, programs.major, *source))
            .map(|(_, programs)| programs)
            .ok_or(majors)
    }

    async fn examine(bin: PathBuf) -> Option<Self> {
        let program = bin.join("pg_dump");
        if !process::is_program(&program) {
            return None;
        }
        let output = Invocation::new(program).argument("--version").clean_environment().run().await.ok()?;
        let version = output.text().strip_prefix("pg_dump (PostgreSQL) ")?.to_owned();
        let major = version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
        Some(Self { bin, major, version })
    }

    /// An invocation of one of them in an environment that has nothing of ours but the `PATH`, and the private locales.
    #[must_use]
    pub fn invocation(&self, name: &str) -> Invocation {
        let invocation = Invocation::new(self.bin.join(name)).clean_environment();
        match locale_path() {
            Some(path) => invocation.environment("LOCPATH", path),
            None => invocation,
        }
    }
}

fn path_folders() -> Vec<(PathBuf, Source)> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| (folder, Source::System)).collect()
}

/// Where the control files of extensions can be, for the layouts that exist: Debian's, Red Hat's, and a plain prefix.
fn extension_folders(bin: &Path, major: u32) -> Vec<PathBuf> {
    [
        format!("../../../../share/postgresql/{major}"),
        format!("../share/postgresql@{major}"),
        "../share/postgresql".to_owned(),
        "../share".to_owned(),
    ]
    .iter()
    .map(|share| bin.join(share).join("extension"))
    .collect()
}

/// Finds a program such as `psql` or `jq`: among the private components, else on the `PATH`.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let private = components().into_iter().map(|folder| folder.join("bin").join(name)).find(|program| is_program(program));
    private.or_else(|| on_path(name))
}

/// The folders of private components, ours first.
fn components() -> Vec<PathBuf> {
    if let Some(folder) = std::env::var_os(COMPONENTS_VARIABLE).filter(|value| !value.is_empty()) {
        return vec![PathBuf::from(folder)];
    }
    let mut folders = Vec::new();
    if !rustix::process::geteuid().is_root() {
        let cache = std::env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        folders.extend(cache.or(home).map(|cache| cache.join("pgisle/components")));
    }
    folders.push(PathBuf::from(ROOT_COMPONENTS));
    folders
}

/// Whether `en_US.utf8` is among the private components.
pub(super) fn has_private_locale() -> bool {
    locale_path().is_some()
}

/// A `LOCPATH` with the private locales in front, if there are any: `en_US.utf8` is missing on a minimal Debian.
fn locale_path() -> Option<String> {
    let folder = components().into_iter().map(|folder| folder.join("locale")).find(|folder| folder.join("en_US.utf8").is_dir())?;
    Some(format!("{}:{SYSTEM_LOCALES}", folder.display()))
}

async fn candidates() -> Vec<(PathBuf, Source)> {
    let mut found = Vec::new();
    if let Some(bin) = std::env::var_os(PG_BIN_VARIABLE).filter(|value| !value.is_empty()) {
        found.push((PathBuf::from(bin), Source::Environment));
    }
    for folder in components() {
        found.extend(children(&folder.join("postgresql"), "").into_iter().map(|child| (child.join("bin"), Source::Components)));
    }
    let system = children(Path::new("/usr/lib/postgresql"), "")
        .into_iter()
        .chain(children(Path::new("/usr"), "pgsql-"))
        .chain(
            ["/opt/homebrew/opt", "/usr/local/opt", "/home/linuxbrew/.linuxbrew/opt"]
                .iter()
                .flat_map(|opt| children(Path::new(opt), "postgresql")),
        )
        .map(|child| (child.join("bin"), Source::System));
    found.extend(system);
    if let Some(program) = process::on_path("pg_config")
        && let Ok(output) = Invocation::new(program).argument("--bindir").run().await
    {
        found.push((PathBuf::from(output.text()), Source::System));
    }
    found
}

/// The subfolders whose name begins so, in order.
fn children(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = folder.read_dir() else { return Vec::new() };
    let mut children: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    children.sort();
    children
}

/// The program of PgBouncer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PgBouncer {
    /// Its path.
    pub program: PathBuf,
    /// Its version: major, minor, patch.
    pub version: (u32, u32, u32),
}

/// Finds PgBouncer: the newest of the private components, else the system's.
pub async fn find_pgbouncer() -> Option<PgBouncer> {
    find_pgbouncers().await.into_iter().next()
}

/// Finds every PgBouncer: private components before the system's, newest first.
pub async fn find_pgbouncers() -> Vec<PgBouncer> {
    let mut private = Vec::new();
    for folder in components() {
        for child in children(&folder.join("pgbouncer"), "") {
            private.extend(examine_pgbouncer(child.join("bin/pgbouncer")).await);
        }
    }
    private.sort_by_key(|found| Reverse(found.version));
    let system = process::on_path("pgbouncer").into_iter().chain([PathBuf::from("/usr/sbin/pgbouncer")]);
    for program in system {
        private.extend(examine_pgbouncer(program).await);
    }
    private.dedup();
    private
}

async fn examine_pgbouncer(program: PathBuf) -> Option<PgBouncer> {
    let program = program.canonicalize().ok().filter(|path| process::is_program(path))?;
    let output = Invocation::new(&program).argument("--version").clean_environment().run().await.ok()?;
    Some(PgBouncer { program, version: parse_pgbouncer_version(&output.text())? })
}

fn parse_pgbouncer_version(text: &str) -> Option<(u32, u32, u32)> {
    let version = text.lines().next()?.strip_prefix("PgBouncer ")?;
    let mut numbers = version.split('.').map(|part| part.trim().parse::<u32>().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn pgbouncers_version_is_read_from_its_first_line() {
        let text = "PgBouncer 1.24.1\nlibevent 2.1.12-stable\n";
        assert_eq!(parse_pgbouncer_version(text), Some((1, 24, 1)));
        assert_eq!(parse_pgbouncer_version("PgBouncer 1.19"), Some((1, 19, 0)));
        assert_eq!(parse_pgbouncer_version("something else"), None);
    }

    #[tokio::test]
    async fn every_installation_found_is_whole_and_named_once() {
        let all = Installation::find_all().await;
        for (index, installation) in all.iter().enumerate() {
            assert!(installation.major >= 10, "{installation:?}");
            assert!(installation.version.starts_with(&installation.major.to_string()), "{installation:?}");
            assert!(all[index + 1..].iter().all(|other| other.bin != installation.bin), "{installation:?} twice");
        }
        if let Some(first) = all.first() {
            assert_eq!(&Installation::find(None).await.unwrap(), first);
        }
    }

    #[tokio::test]
    async fn a_major_that_nobody_has_is_named_with_those_that_are_there() {
        let error = Installation::find(Some(7)).await.unwrap_err();
        assert!(matches!(error, LocalError::NotInstalled { major: Some(7), .. }), "{error}");
    }
}
