//! Reads the files and variables that a spec is made of. The rules of layering are the core's; this is the reading.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::spec::{LayerKind, SPEC_FILE, Sources};

/// One byte more than the core takes, so that it sees that a file is too long, and no more is held in memory.
const BYTES_READ_MAX: u64 = 1024 * 1024 + 1;

/// Where to read from.
#[derive(Clone, Copy)]
pub struct SpecFiles<'a> {
    /// The folder of `pgisle.hcl`.
    pub folder: &'a Path,
    /// The files of `-var-file`, in order; relative ones are read from the current folder.
    pub var_files: &'a [PathBuf],
    /// What stood behind each `-var`, in order.
    pub assignments: &'a [&'a str],
    /// The whole environment; what does not concern a spec is left alone.
    pub environment: &'a [(OsString, OsString)],
}

/// Reads everything that a spec is made of.
///
/// # Errors
/// Says which files cannot be read, all of them. What is wrong inside of them is for the core to say.
pub fn read(files: &SpecFiles<'_>) -> Result<Sources, Vec<Diagnostic>> {
    let mut sources = Sources::new();
    let mut diagnostics = Vec::new();
    read_folder(files.folder, &mut sources, &mut diagnostics);
    for path in files.var_files {
        match read_bounded(path) {
            Ok(text) => sources.push(LayerKind::VarFile, path.display().to_string(), text),
            Err(source) => diagnostics.push(unreadable(path, &source)),
        }
    }
    for (name, value) in files.environment {
        if let Some(name) = name.to_str() {
            sources.push_environment(name, value.as_bytes());
        }
    }
    for assignment in files.assignments {
        sources.push_command_line(*assignment);
    }
    // Only now is it known which environment it is.
    for name in sources.environment_files() {
        match read_bounded(&files.folder.join(&name)) {
            Ok(text) => sources.push(LayerKind::EnvironmentFile, shown(files.folder, &name), text),
            Err(error) if error.kind() == ErrorKind::NotFound || error.kind() == ErrorKind::NotADirectory => {}
            Err(error) => diagnostics.push(unreadable(&files.folder.join(&name), &error)),
        }
    }
    if diagnostics.is_empty() { Ok(sources) } else { Err(diagnostics) }
}

fn read_folder(folder: &Path, sources: &mut Sources, diagnostics: &mut Vec<Diagnostic>) {
    let mut names = match folder_names(folder) {
        Ok(names) => names,
        Err(source) => {
            diagnostics.push(unreadable(folder, &source));
            return;
        }
    };
    // The order of a folder is the file system's. Terraform's is terraform.tfvars first, then the others by name.
    names.sort_by_key(|name| (name != "terraform.tfvars", name.clone()));
    if !names.iter().any(|name| name == SPEC_FILE) {
        diagnostics.push(
            Diagnostic::error(Code::SPEC_FILE, format!("there is no {SPEC_FILE} here"))
                .about(format!("folder \"{}\"", absolute(folder).display()))
                .hint("Go to the folder of your project, name it with -chdir, or begin one:")
                .command("pgisle init"),
        );
    }
    for name in &names {
        let Some(kind) = name.to_str().and_then(LayerKind::of_file_name) else { continue };
        let path = folder.join(name);
        match read_bounded(&path) {
            Ok(text) => sources.push(kind, shown(folder, &name.to_string_lossy()), text),
            Err(source) => diagnostics.push(unreadable(&path, &source)),
        }
    }
}

fn folder_names(folder: &Path) -> std::io::Result<Vec<OsString>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
}

/// A file's name as the user would write it.
fn shown(folder: &Path, name: &str) -> String {
    if folder == Path::new(".") { name.to_owned() } else { folder.join(name).display().to_string() }
}

fn absolute(folder: &Path) -> PathBuf {
    std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned())
}

/// Never more than the core would take, whatever the file is: `-var-file=/dev/zero` ends, too.
fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(BYTES_READ_MAX).read_to_end(&mut text)?;
    Ok(text)
}

fn unreadable(path: &Path, source: &std::io::Error) -> Diagnostic {
    Diagnostic::error(Code::SPEC_FILE, format!("{} cannot be read", kind_of(path)))
        .about(format!("file \"{}\"", path.display()))
        .detail(format!("The system says: {source}."))
}

fn kind_of(path: &Path) -> &'static str {
    match path.extension().and_then(OsStr::to_str) {
        Some("tfvars") => "a file of settings",
        _ => "a file",
    }
}
