//! From the command line to a spec, and from a spec to the server, the credentials and the generated files: what nearly every
//! command begins with.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use pgisle_core::artifact::{self, Artifact, Endpoint};
use pgisle_core::credential::Credentials;
use pgisle_core::diagnostic::{Diagnostic, any_error};
use pgisle_core::secret::Secret;
use pgisle_core::spec::{Loaded, Spec, SpecSecrets, load};
use pgisle_engine::artifact::{Change, WriteOptions};
use pgisle_engine::credential::{IdentitySource, Store};
use pgisle_engine::postgres::conninfo::{ConnectOptions, Resolved};
use pgisle_engine::spec_files::{self, SpecFiles};

use crate::session::Session;

/// Where the generated files of all environments are.
const GENERATED: &str = "generated";

/// What the files and the command line say.
pub(crate) struct Project {
    /// What is wanted.
    pub(crate) spec: Spec,
    /// The passwords that were given.
    pub(crate) secrets: SpecSecrets,
    /// What is to be said, though nothing stops it.
    pub(crate) warnings: Vec<Diagnostic>,
    /// The settings that were given, whose values no connection service overrides.
    explicit: BTreeSet<String>,
}

impl Project {
    /// Reads everything that a spec is made of.
    pub(crate) fn load(session: &Session) -> Result<Self, Vec<Diagnostic>> {
        let assignments: Vec<&str> = session.global.var.iter().map(|assignment| assignment.0.as_str()).collect();
        let environment: Vec<_> = std::env::vars_os().collect();
        let sources = spec_files::read(&SpecFiles {
            folder: Path::new("."),
            var_files: &session.global.var_file,
            assignments: &assignments,
            environment: &environment,
        })?;
        let Loaded { spec, secrets, diagnostics, origins } = load(&sources);
        match spec {
            Some(spec) if !any_error(&diagnostics) => {
                Ok(Self { spec, secrets, warnings: diagnostics, explicit: origins.into_keys().collect() })
            }
            _ => Err(diagnostics),
        }
    }

    /// How to reach the server; adds what is to be said about it.
    pub(crate) fn connect_options(&mut self) -> Result<ConnectOptions, Vec<Diagnostic>> {
        let password: Option<&Secret> = self.secrets.postgres_password.as_ref();
        let Resolved { options, warnings } =
            ConnectOptions::read(&self.spec.settings, password, &self.explicit).map_err(|diagnostic| vec![*diagnostic])?;
        self.warnings.extend(warnings);
        Ok(options)
    }

    /// Where the credentials are kept.
    pub(crate) fn store(&self) -> Result<Store, Vec<Diagnostic>> {
        let settings = &self.spec.settings;
        let identities = IdentitySource::from_environment(|name| std::env::var_os(name));
        Store::new(Path::new("."), settings.environment, &settings.credential_recipients, identities)
            .map_err(|error| vec![error.diagnostic()])
    }

    /// The address that services use.
    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::of(&self.spec.settings)
    }

    /// Where the generated files of this environment are.
    pub(crate) fn folder(&self) -> PathBuf {
        Path::new(GENERATED).join(self.spec.settings.environment.as_str())
    }

    /// The files that go with these credentials.
    pub(crate) fn artifacts(&self, credentials: &Credentials) -> Vec<Artifact> {
        artifact::generate(&self.spec, &self.endpoint(), credentials)
    }

    /// What would happen to the generated files.
    pub(crate) fn artifact_changes(&self, credentials: &Credentials) -> Result<Vec<Change>, Vec<Diagnostic>> {
        pgisle_engine::artifact::status(&self.folder(), &self.artifacts(credentials)).map_err(|error| vec![error.diagnostic()])
    }

    /// Writes the generated files, and adds what is to be said about those that were edited by hand.
    pub(crate) fn write_artifacts(&mut self, credentials: &Credentials, overwrite: bool) -> Result<Vec<Change>, Diagnostic> {
        let artifacts = self.artifacts(credentials);
        let changes = pgisle_engine::artifact::write(&self.folder(), &artifacts, WriteOptions { overwrite })
            .map_err(|error| error.diagnostic())?;
        self.warnings.extend(pgisle_engine::artifact::diagnostics(&self.folder(), &changes));
        Ok(changes)
    }
}
