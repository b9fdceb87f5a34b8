//! `pgisle export`.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::export::{self, Export};
use serde_json::json;

use crate::project::{HERE, Project};
use crate::report::Report;
use crate::session::{Session, io_diagnostic};
use crate::view::human;

/// More than this is no list of addresses.
const STATE_BYTES_MAX: u64 = 16 << 20;

/// Write the project in another tool's words.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle export terraform
  $ terraform state list | pgisle export terraform -adopt -removed=-")]
pub(crate) struct Args {
    #[command(subcommand)]
    to: To,
}

#[derive(clap::Subcommand)]
enum To {
    Terraform(TerraformArgs),
}

/// Write a Terraform configuration for the islands of the files.
///
/// Writes pgisle.tf, with a resource for each service, and imports.tf, which takes what is there into Terraform's state: the first
/// apply imports and changes nothing. Passwords are not written; the provider finds them in .pgisle, as this program does, and those
/// that the files give become variables.
///
/// Where the databases were made by Terraform's postgresql provider, -adopt has the first apply take them over, and -removed writes
/// removed.tf, which lets go of the old resources without dropping anything. It reads what `terraform state list` prints.
///
/// A file that is there and says something else is left alone, unless -overwrite is given.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle export terraform
  created   pgisle.tf
  created   imports.tf

  $ terraform init && terraform apply

  $ terraform state list | pgisle export terraform -adopt -removed=-")]
struct TerraformArgs {
    /// Have the first apply take over databases that pgisle did not make.
    #[arg(long)]
    adopt: bool,
    /// A file with what `terraform state list` prints; - for standard input.
    #[arg(long, value_name = "FILE")]
    removed: Option<PathBuf>,
    /// The folder to write to.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    out: PathBuf,
    /// Overwrite files that say something else.
    #[arg(long)]
    overwrite: bool,
}

pub(crate) fn run(session: &Session, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    let To::Terraform(args) = &args.to;
    let project = Project::load_without_server(session)?;
    let state = match &args.removed {
        Some(path) => read_state(path).map_err(|diagnostic| vec![diagnostic])?,
        None => String::new(),
    };
    let told = |path: &Path, source: &std::io::Error| vec![io_diagnostic("the file cannot be written", path, source)];
    std::fs::create_dir_all(&args.out).map_err(|source| told(&args.out, &source))?;
    let project_folder = back_from(&args.out).map_err(|source| told(&args.out, &source))?;
    let export = Export {
        spec: &project.spec,
        secrets: &project.secrets,
        given: project.explicit(),
        project_folder: project_folder.as_deref(),
        adopt: args.adopt,
        state: &state,
    };
    let files = export::terraform(&export)?;
    let mut written = Vec::new();
    let mut refused = Vec::new();
    for (name, text) in &files {
        let path = if args.out == Path::new(HERE) { PathBuf::from(name) } else { args.out.join(name) };
        match std::fs::read_to_string(&path) {
            Ok(there) if there == *text => written.push((path, "kept")),
            Ok(_) if !args.overwrite => refused.push(stands_there(&path)),
            Ok(_) => written.push((path, "overwritten")),
            Err(_) => written.push((path, "created")),
        }
    }
    // All of it or nothing: half a configuration would be applied as if it were the whole.
    if !refused.is_empty() {
        return Err(refused);
    }
    for ((path, _), (_, text)) in written.iter().zip(&files).filter(|((_, fate), _)| *fate != "kept") {
        std::fs::write(path, text).map_err(|source| told(path, &source))?;
    }
    let json: Vec<_> = written.iter().map(|(path, fate)| json!({"path": path.display().to_string(), "fate": fate})).collect();
    Ok(Report::new().human(human::export::files(&written, args.adopt)).member("files", json).diagnostics(project.warnings))
}

/// The way from a folder back to here, where the credentials are; none when it is here.
fn back_from(folder: &Path) -> std::io::Result<Option<String>> {
    let (here, there) = (Path::new(HERE).canonicalize()?, folder.canonicalize()?);
    Ok(match there.strip_prefix(&here) {
        Ok(below) if below.as_os_str().is_empty() => None,
        Ok(below) => Some(vec![".."; below.components().count()].join("/")),
        Err(_) => Some(here.display().to_string()),
    })
}

fn stands_there(path: &Path) -> Diagnostic {
    Diagnostic::error(Code::IO, format!("the file \"{}\" is there and says something else", path.display()))
        .detail("Nothing was written.")
        .hint("Write to another folder with -out, or pass -overwrite.")
}

fn read_state(path: &Path) -> Result<String, Diagnostic> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(STATE_BYTES_MAX).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(STATE_BYTES_MAX).read_to_string(&mut text))
    };
    read.map(|_| text).map_err(|source| io_diagnostic("the list of Terraform's state cannot be read", path, &source))
}
