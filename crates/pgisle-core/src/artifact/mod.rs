//! Generated files as values: path, mode, content. Pure functions of spec, server and credentials.
//!
//! Each format has a module of its own that knows one consumer: [`environment`] (shells, Docker Compose, `docker run`),
//! [`kubernetes`] (kubectl, Helm), [`compose`], [`pgbouncer`], [`hba`] (the server), [`prometheus`], [`grafana`],
//! [`scripts`] (bash, cron,
//! systemd), [`guide`] (people). How a text
//! is written in each format is in [`escape`] alone. Nothing here knows the time, so a second run gives the same bytes.

mod compose;
mod endpoint;
mod environment;
mod escape;
mod grafana;
mod guide;
mod hba;
mod kubernetes;
mod naming;
mod pgbouncer;
mod prometheus;
mod scripts;
mod yaml;

use sha2::{Digest, Sha256};

use crate::credential::{Credential, Credentials};
use crate::diagnostic::{Code, Diagnostic};
use crate::secret::Secret;
use crate::spec::{Service, Spec};

pub use endpoint::{Endpoint, Pooler, connection_url};
pub(crate) use escape::shell_word;
pub use escape::unwritable_character;
pub use naming::{application_names, pooler_alias, reader_alias, secret_name};
pub use pgbouncer::READERS_MARK;

pub(crate) use environment::path as environment_path;
pub(crate) use guide::backup_recommendations;
pub(crate) use kubernetes::path as secret_path;

/// Mode of a file that holds a secret.
pub const MODE_SECRET: u32 = 0o600;

/// Mode of a file that everyone may read.
pub const MODE_OPEN: u32 = 0o644;

/// Mode of a file that everyone may read and run.
pub const MODE_PROGRAM: u32 = 0o755;

/// A generated file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Where it goes, below `generated/<environment>/`; `/` between folders, never absolute, no `..`.
    pub path: String,
    /// Its permissions.
    pub mode: u32,
    /// Whether a password or a verifier is in it.
    pub holds_secrets: bool,
    /// Its text; none while a credential that it needs is not there yet, as before the first apply. As a type it is always a
    /// secret, so that none can be printed by accident.
    pub content: Option<Secret>,
}

impl Artifact {
    /// A file that everyone may read.
    fn open(path: impl Into<String>, content: String) -> Self {
        Self { path: path.into(), mode: MODE_OPEN, holds_secrets: false, content: Some(Secret::new(content)) }
    }

    /// A program without secrets.
    fn program(path: impl Into<String>, content: String) -> Self {
        Self { mode: MODE_PROGRAM, ..Self::open(path, content) }
    }

    /// A file that only its owner may read.
    fn secret(path: impl Into<String>, content: Option<String>) -> Self {
        Self { path: path.into(), mode: MODE_SECRET, holds_secrets: true, content: content.map(Secret::new) }
    }
}

/// SHA-256 of a file's bytes, in hexadecimal: what the manifest remembers of each written file.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Generates all files of an environment, ordered by path.
///
/// What [`problems`] finds must be dealt with before; here a password that no file can hold counts as missing, so that it can
/// never break out of its line.
#[must_use]
pub fn generate(spec: &Spec, endpoint: &Endpoint, credentials: &Credentials) -> Vec<Artifact> {
    let mut artifacts = environment::artifacts(spec, endpoint, credentials);
    artifacts.extend(kubernetes::artifacts(spec, endpoint, credentials));
    artifacts.push(compose::artifact(spec, endpoint));
    if spec.settings.enable_pgbouncer {
        artifacts.extend(pgbouncer::artifacts(spec, endpoint, credentials));
    }
    artifacts.push(hba::artifact(spec, endpoint));
    artifacts.push(prometheus::artifact(spec));
    artifacts.push(grafana::artifact(spec));
    artifacts.extend(scripts::migrations(spec));
    if spec.settings.enable_backup_automation {
        artifacts.extend(scripts::artifacts(spec));
    }
    artifacts.push(ignore_file(&artifacts));
    artifacts.sort_by(|one, other| one.path.cmp(&other.path));
    let guide = guide::artifact(spec, endpoint, &artifacts);
    let place = artifacts.partition_point(|artifact| artifact.path < guide.path);
    artifacts.insert(place, guide);
    artifacts
}

/// What in the spec or the credentials cannot be written to files: names that would meet in one file, and passwords with
/// control characters.
#[must_use]
pub fn problems(spec: &Spec, credentials: &Credentials) -> Vec<Diagnostic> {
    let mut diagnostics = naming::problems(spec);
    diagnostics.extend(hba::problems(spec));
    let of_services = credentials
        .services
        .iter()
        .flat_map(|(name, service)| service.logins().map(move |login| (format!("service \"{name}\""), login)));
    let of_others = [&credentials.monitoring, &credentials.pgbouncer];
    let of_others = of_others.into_iter().flatten().map(|login| (format!("role \"{}\"", login.role), login));
    for (subject, login) in of_services.chain(of_others) {
        if let Some(character) = unwritable_character(login.secret.expose()) {
            diagnostics.push(
                Diagnostic::error(Code::SPEC_RANGE, format!("the password of role \"{}\" has a control character", login.role))
                    .about(subject)
                    .detail(format!("Environment files cannot hold U+{:04X}, and many drivers neither.", u32::from(character)))
                    .hint("Give it a password without line breaks, tabs or other control characters."),
            );
        }
    }
    diagnostics
}

/// The login's credential, if its password fits into files.
fn writable(credential: Option<&Credential>) -> Option<&Credential> {
    credential.filter(|credential| unwritable_character(credential.secret.expose()).is_none())
}

/// The published login of a service.
fn active<'a>(service: &Service, credentials: &'a Credentials) -> Option<&'a Credential> {
    writable(credentials.services.get(&service.name).map(|logins| &logins.active))
}

/// The first lines of a file: who made it, and where to change it.
fn header(spec: &Spec, comment: &str) -> String {
    let environment = spec.settings.environment;
    format!(
        "{comment} Generated by pgisle for the environment {environment}. Do not edit:\n\
         {comment} change the spec and run `pgisle apply`; a file that was edited is never overwritten.\n"
    )
}

/// Keeps what holds secrets out of version control.
fn ignore_file(artifacts: &[Artifact]) -> Artifact {
    let mut lines = String::from("# Generated by pgisle: these hold passwords or verifiers.\n");
    let mut last = String::new();
    for artifact in artifacts.iter().filter(|artifact| artifact.holds_secrets) {
        // A folder of secrets is ignored whole; PgBouncer's also has files worth keeping.
        let entry = match artifact.path.split_once('/') {
            Some((folder, _)) if folder != "pgbouncer" => format!("/{folder}/\n"),
            _ => format!("/{}\n", artifact.path),
        };
        if entry != last {
            lines.push_str(&entry);
            last = entry;
        }
    }
    // The private key is put there by hand. Where Terraform runs in this folder, its state holds passwords.
    lines.push_str("/pgbouncer/tls/\n/.pgisle-manifest.json\n*.tfstate*\n/.terraform/\n");
    Artifact::open(".gitignore", lines)
}

#[cfg(test)]
mod tests;
