//! What every command is given.

use std::path::{Path, PathBuf};

use pgisle_core::diagnostic::{Code, Diagnostic};

use crate::args::Global;
use crate::console::Console;

/// One run of the program.
pub(crate) struct Session {
    /// The terminal.
    pub(crate) console: Console,
    /// The options that every command takes.
    pub(crate) global: Global,
    /// The folder that it was started in, before `-chdir`.
    started_in: PathBuf,
}

impl Session {
    /// Puts a run together.
    pub(crate) fn new(console: Console, global: Global) -> Self {
        // Without a folder of its own, relative paths lead nowhere, which whoever opens them will tell.
        let started_in = std::env::current_dir().unwrap_or_default();
        Self { console, global, started_in }
    }

    /// A path as a server gives it, which knows nothing of `-chdir`: relative to where pgisle was started.
    pub(crate) fn path_given(&self, path: &Path) -> PathBuf {
        self.started_in.join(path)
    }

    /// Goes where `-chdir` says, so that every path of the command line is read from there, as Terraform does.
    pub(crate) fn enter_directory(&self) -> Result<(), Vec<Diagnostic>> {
        let Some(directory) = &self.global.chdir else { return Ok(()) };
        std::env::set_current_dir(directory).map_err(|source| {
            vec![
                Diagnostic::error(Code::USAGE, "the folder of -chdir cannot be entered")
                    .about(format!("folder \"{}\"", directory.display()))
                    .detail(format!("The system says: {source}.")),
            ]
        })
    }
}

/// A file or folder of the user's that pgisle could not use.
pub(crate) fn io_diagnostic(summary: &str, path: &Path, source: &std::io::Error) -> Diagnostic {
    Diagnostic::error(Code::IO, summary).about(format!("file \"{}\"", path.display())).detail(format!("The system says: {source}."))
}
