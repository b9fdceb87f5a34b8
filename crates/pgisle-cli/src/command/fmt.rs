//! `pgisle fmt`.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use pgisle_core::diagnostic::Diagnostic;
use pgisle_core::spec::{self, SPEC_FILE};

use crate::exit::Exit;
use crate::report::Report;
use crate::session::io_diagnostic;
use crate::view::human;

/// What stands for standard input.
const STDIN: &str = "-";

/// A little more than a file of settings may have, so that a longer one is noticed and not half read.
const BYTES_READ_MAX: u64 = 2 << 20;

/// Rewrite files in the canonical style.
///
/// Aligns equals signs, indents blocks and trims lines, as terraform fmt does; comments and values stay as they are. Without a
/// name, pgisle.hcl and every .tfvars file of the project are formatted. `-` formats standard input.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle fmt
  pgisle.hcl

  $ pgisle fmt -check -diff")]
pub(crate) struct Args {
    /// The files to format, or `-` for standard input.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Write nothing; exit with 1 when a file would change.
    #[arg(long)]
    check: bool,
    /// Show what changes.
    #[arg(long)]
    diff: bool,
}

pub(crate) fn run(args: &Args) -> Report {
    if args.files == [PathBuf::from(STDIN)] {
        return from_stdin();
    }
    let files = if args.files.is_empty() { project_files() } else { Ok(args.files.clone()) };
    let files = match files {
        Ok(files) => files,
        Err(diagnostic) => return Report::failure(diagnostic),
    };
    let mut diagnostics = Vec::new();
    let mut changed: Vec<String> = Vec::new();
    let mut human = String::new();
    for path in &files {
        match format_file(path, args.check) {
            Ok(Some((before, after))) => {
                let name = path.display().to_string();
                human.push_str(&human::formatting::file(&name));
                if args.diff {
                    human.push_str(&human::formatting::difference(&before, &after));
                }
                changed.push(name);
            }
            Ok(None) => {}
            Err(found) => diagnostics.extend(found),
        }
    }
    let exit = if args.check && !changed.is_empty() { Exit::Failed } else { Exit::Done };
    Report::new().human(human).member("changed", &changed).diagnostics(diagnostics).exit(exit)
}

fn from_stdin() -> Report {
    let mut text = Vec::new();
    if let Err(source) = std::io::stdin().lock().take(BYTES_READ_MAX).read_to_end(&mut text) {
        return Report::failure(io_diagnostic("standard input cannot be read", Path::new(STDIN), &source));
    }
    match spec::format("<stdin>", &text) {
        Ok(formatted) => Report::new().human(&formatted).member("text", formatted),
        Err(diagnostics) => Report::failures(diagnostics),
    }
}

/// pgisle.hcl, and every .tfvars file of the project.
fn project_files() -> Result<Vec<PathBuf>, Diagnostic> {
    let mut files = Vec::new();
    for folder in ["", "environments"] {
        let place = if folder.is_empty() { Path::new(".") } else { Path::new(folder) };
        let entries = match fs::read_dir(place) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(source) => return Err(io_diagnostic("the folder cannot be read", place, &source)),
        };
        for entry in entries.flatten() {
            let path = Path::new(folder).join(entry.file_name());
            let is_ours = path == Path::new(SPEC_FILE) || path.extension().is_some_and(|extension| extension == "tfvars");
            if is_ours && path.is_file() {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Formats one file, and writes it unless only asked. Gives the text before and after when they differ.
fn format_file(path: &Path, only_check: bool) -> Result<Option<(String, String)>, Vec<Diagnostic>> {
    let unreadable = |source| vec![io_diagnostic("the file cannot be read", path, &source)];
    let mut before = Vec::new();
    fs::File::open(path).and_then(|file| file.take(BYTES_READ_MAX).read_to_end(&mut before)).map_err(unreadable)?;
    let after = spec::format(&path.display().to_string(), &before)?;
    if after.as_bytes() == before {
        return Ok(None);
    }
    if !only_check {
        // The file may be a link into another folder, and keeps its owner and its mode.
        fs::write(path, &after).map_err(|source| vec![io_diagnostic("the file cannot be written", path, &source)])?;
    }
    Ok(Some((String::from_utf8_lossy(&before).into_owned(), after)))
}
