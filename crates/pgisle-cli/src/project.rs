//! From the command line to a spec, and from a spec to the server: what nearly every command begins with.

use std::collections::BTreeSet;
use std::path::Path;

use pgisle_core::diagnostic::{Diagnostic, any_error};
use pgisle_core::secret::Secret;
use pgisle_core::spec::{Loaded, Spec, SpecSecrets, load};
use pgisle_engine::postgres::conninfo::{ConnectOptions, Resolved};
use pgisle_engine::spec_files::{self, SpecFiles};

use crate::session::Session;

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
}
