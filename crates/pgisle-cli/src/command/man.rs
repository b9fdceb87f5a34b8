//! `pgisle man`.

use std::fs;
use std::path::PathBuf;

use clap::CommandFactory;
use pgisle_core::diagnostic::Diagnostic;

use crate::args::Cli;
use crate::report::Report;
use crate::session::io_diagnostic;
use crate::view::manual;

/// Write the manual pages.
///
/// With a folder, one page for each command is written into it: pgisle.1, pgisle-plan.1 and so on. Without, the page of
/// pgisle itself is printed.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle man | man -l -
  $ pgisle man ~/.local/share/man/man1")]
pub(crate) struct Args {
    /// The folder to write into; it is made when it does not exist.
    dir: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Report {
    let pages = manual::pages(&Cli::command());
    let Some(dir) = &args.dir else {
        let page = pages.into_iter().next().map(|(_, page)| page).unwrap_or_default();
        return Report::new().human(&page).member("page", page);
    };
    match write(dir, &pages) {
        Ok(files) => Report::new().human(format!("{} pages are in {}.\n", files.len(), dir.display())).member("files", files),
        Err(diagnostics) => Report::failures(diagnostics),
    }
}

fn write(dir: &PathBuf, pages: &[(String, String)]) -> Result<Vec<PathBuf>, Vec<Diagnostic>> {
    fs::create_dir_all(dir).map_err(|source| vec![io_diagnostic("the folder cannot be made", dir, &source)])?;
    let mut files = Vec::new();
    for (name, page) in pages {
        let file = dir.join(name);
        fs::write(&file, page).map_err(|source| vec![io_diagnostic("the manual page cannot be written", &file, &source)])?;
        files.push(file);
    }
    Ok(files)
}
