//! `pgisle init`.

mod scaffold;

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::name::ServiceName;
use serde_json::json;

use crate::report::Report;
use crate::session::io_diagnostic;
use crate::view::human;

/// Write the files of a new project.
///
/// Writes pgisle.hcl with the services, a file of settings for each of the three environments, and a .gitignore that keeps
/// passwords out of version control. A file that exists is left as it is, so it is safe to run again.
///
/// Without names, the five services of the Link example are written: something to look at and to try.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle init -prefix=shop orders billing
  created   pgisle.hcl
  created   environments/development.tfvars
  created   environments/staging.tfvars
  created   environments/production.tfvars
  created   .gitignore

  Next: edit pgisle.hcl, then look at what would be done, on a private cluster first:

        pgisle dev up
        pgisle plan -dev")]
pub(crate) struct Args {
    /// The services, such as: orders billing
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// What every database's and login's name begins with.
    #[arg(long, value_name = "NAME")]
    prefix: Option<String>,
}

/// What became of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was not there.
    Created,
    /// It was there, and lines were added.
    Extended,
    /// It was there and stays as it is.
    Kept,
}

impl Fate {
    /// As a word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Extended => "extended",
            Self::Kept => "kept",
        }
    }
}

pub(crate) fn run(args: &Args) -> Report {
    let scaffold = match scaffold_of(args) {
        Ok(scaffold) => scaffold,
        Err(diagnostics) => return Report::failures(diagnostics),
    };
    let mut fates = Vec::new();
    for (path, text) in &scaffold {
        let path = Path::new(path);
        let written = if path == Path::new(".gitignore") { extend(path, text) } else { create(path, text) };
        match written {
            Ok(fate) => fates.push((path.display().to_string(), fate)),
            Err(source) => return Report::failure(io_diagnostic("the file cannot be written", path, &source)),
        }
    }
    let files: Vec<_> = fates.iter().map(|(path, fate)| json!({ "path": path, "fate": fate.as_str() })).collect();
    Report::new().human(human::scaffold::files(&fates)).member("files", files)
}

fn scaffold_of(args: &Args) -> Result<Vec<(&'static str, String)>, Vec<Diagnostic>> {
    let mut diagnostics = Vec::new();
    for service in args.services.iter().chain(&args.prefix) {
        if let Err(source) = ServiceName::parse(service) {
            diagnostics.push(
                Diagnostic::error(Code::USAGE, format!("\"{service}\" cannot be a name: {source}"))
                    .hint("Names are lower-case letters, digits, \"_\" and \"-\", and begin with a letter."),
            );
        }
    }
    if !diagnostics.is_empty() {
        return Err(diagnostics);
    }
    Ok(match (args.services.as_slice(), &args.prefix) {
        ([], None) => scaffold::link(),
        ([], Some(_)) => {
            return Err(vec![
                Diagnostic::error(Code::USAGE, "services are missing")
                    .hint("Name your services too:")
                    .command("pgisle init -prefix=shop orders billing"),
            ]);
        }
        (services, prefix) => scaffold::project(prefix.as_deref().unwrap_or("app"), services),
    })
}

/// Writes a file that is not there yet.
fn create(path: &Path, text: &str) -> std::io::Result<Fate> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => file.write_all(text.as_bytes()).map(|()| Fate::Created),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Fate::Kept),
        Err(error) => Err(error),
    }
}

/// Adds the lines that a file lacks: a .gitignore that someone else began must protect the passwords too.
fn extend(path: &Path, text: &str) -> std::io::Result<Fate> {
    let present = match fs::read_to_string(path) {
        Ok(present) => present,
        Err(error) if error.kind() == ErrorKind::NotFound => return create(path, text),
        Err(error) => return Err(error),
    };
    let missing: Vec<&str> = text.lines().filter(|line| !present.lines().any(|present| present.trim() == *line)).collect();
    if missing.iter().all(|line| line.starts_with('#')) {
        return Ok(Fate::Kept);
    }
    let gap = if present.is_empty() || present.ends_with('\n') { "" } else { "\n" };
    OpenOptions::new().append(true).open(path)?.write_all(format!("{gap}{}\n", missing.join("\n")).as_bytes())?;
    Ok(Fate::Extended)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn a_gitignore_is_extended_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".gitignore");
        fs::write(&path, "/target\n/generated/").unwrap();
        let text = "# Ours.\n/.pgisle/\n/generated/\n";
        assert!(extend(&path, text).unwrap() == Fate::Extended);
        assert_eq!(fs::read_to_string(&path).unwrap(), "/target\n/generated/\n# Ours.\n/.pgisle/\n");
        assert!(extend(&path, text).unwrap() == Fate::Kept);
    }
}
