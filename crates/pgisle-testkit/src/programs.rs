//! Server programs for tests that damage them, and such as pgisle refuses.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use pgisle_engine::local::{Installation, Source, find_program};
use pgisle_engine::process::Invocation;
use tempfile::TempDir;

/// Where a component's programs are below its folder, as Debian's packages have them.
const BIN_DEPTH: usize = 5;

/// A copy of a server's programs, libraries and extensions, which a test may damage: see [`crate::Builder::programs`].
#[derive(Debug)]
pub struct Programs {
    original: Installation,
    copy: Installation,
    // The folder goes with the value.
    _folder: TempDir,
}

impl Programs {
    /// Copies those of a private component; none when this version is not one, or is not laid out as Debian's.
    ///
    /// # Panics
    /// When the copying fails.
    pub async fn copy_of(original: &Installation) -> Option<Self> {
        let component = original.bin.ancestors().nth(BIN_DEPTH)?;
        let inside = original.bin.strip_prefix(component).ok()?;
        if original.source != Source::Components || inside != Path::new(&format!("usr/lib/postgresql/{}/bin", original.major)) {
            return None;
        }
        let folder = TempDir::new().expect("a folder for programs");
        // The server runs as somebody else than the tests.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("a folder that all may enter");
        let to = folder.path().join("postgresql");
        let copied = |how: &'static str| Invocation::new("cp").argument(how).argument(component).argument(&to).run();
        // Links cost nothing, and not every file system has them across folders.
        if copied("-al").await.is_err() {
            let _half = fs::remove_dir_all(&to);
            copied("-a").await.unwrap_or_else(|error| panic!("{error}"));
        }
        let copy = Installation { bin: to.join(inside), ..original.clone() };
        Some(Self { original: original.clone(), copy, _folder: folder })
    }

    /// The copy.
    #[must_use]
    pub fn copy(&self) -> &Installation {
        &self.copy
    }

    /// What it is a copy of.
    pub(crate) fn original(&self) -> &Installation {
        &self.original
    }

    /// The folder of its libraries, `$libdir` in SQL.
    #[must_use]
    pub fn libraries(&self) -> PathBuf {
        self.copy.bin.with_file_name("lib")
    }

    /// The folder of its extensions' control files and scripts.
    ///
    /// # Panics
    /// Never: the layout was looked at.
    #[must_use]
    pub fn extensions(&self) -> PathBuf {
        let usr = self.copy.bin.ancestors().nth(BIN_DEPTH - 1).expect("a folder that was found below another");
        usr.join(format!("share/postgresql/{}/extension", self.copy.major))
    }

    /// Puts a script in place of the server's program: from the next start on, it runs with another C library. The loader lies beside
    /// that library.
    ///
    /// # Panics
    /// When the program cannot be replaced.
    pub fn run_with_library(&self, loader: &Path) {
        let (program, real) = (self.copy.bin.join("postgres"), self.copy.bin.join("postgres.real"));
        let folder = loader.parent().expect("a loader in a folder");
        fs::rename(&program, &real).expect("the server's program");
        let script = format!(
            "#!/bin/sh\nexec '{}' --argv0 \"$0\" --library-path '{}' '{}' \"$@\"\n",
            loader.display(),
            folder.display(),
            real.display()
        );
        fs::write(&program, script).expect("a script in its place");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a script that runs");
    }
}

/// The loader of a component that brought a C library of its own along, which is newer than the machine's.
#[must_use]
pub fn newer_loader(installation: &Installation) -> Option<PathBuf> {
    let libraries = installation.bin.ancestors().nth(BIN_DEPTH)?.join("usr/lib");
    let folders = libraries.read_dir().ok()?.filter_map(Result::ok).map(|entry| entry.path());
    let mut files = folders.filter_map(|folder| folder.read_dir().ok()).flatten().filter_map(Result::ok).map(|entry| entry.path());
    files.find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ld-linux-")))
}

/// A server that is older than any that pgisle takes, if the components have one.
pub async fn outdated() -> Option<Installation> {
    let bin = find_program("postgres-outdated")?.canonicalize().ok()?.parent()?.to_path_buf();
    let output = Invocation::new(bin.join("postgres")).argument("--version").clean_environment().run().await.ok()?;
    let version = output.text().strip_prefix("postgres (PostgreSQL) ")?.to_owned();
    let major = version.split('.').next()?.parse().ok()?;
    Some(Installation { bin, major, version, source: Source::Components, contrib: false, vector: false, tls: false })
}
