//! Handing a connection on to PostgreSQL's own programs, by their environment: nothing of it is an argument that others can read.

use std::path::{Path, PathBuf};

use pgisle_core::spec::SslMode;

use super::conninfo::{ConnectOptions, Host};
use super::tls::Roots;
use crate::process::Invocation;

/// Pinned, whatever the role's and the database's own settings say: the text of a value must not depend on them, because the
/// content of a restored database is compared with that of the dump.
const OPTIONS: &str = "-c TimeZone=UTC -c IntervalStyle=postgres -c DateStyle=ISO -c extra_float_digits=3 -c bytea_output=hex \
     -c default_transaction_read_only=off -c statement_timeout=0 -c idle_in_transaction_session_timeout=0 -c jit=off \
     -c standard_conforming_strings=on -c search_path= -c client_min_messages=warning";

/// Where distributions keep the bundle of the system's authorities, for a libpq that does not know `system`.
const BUNDLES: [&str; 4] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"];

/// From this version on, libpq knows `sslrootcert=system`.
const SYSTEM_ROOTS_MAJOR: u32 = 16;

impl ConnectOptions {
    /// Lends the connection to a program of this major version that connects to the chosen database.
    #[must_use]
    pub(crate) fn lend(&self, program: Invocation, major: u32) -> Invocation {
        let host = match &self.host {
            Host::Tcp(name) => name.clone(),
            Host::Socket(folder) => folder.display().to_string(),
        };
        let mut program = program
            .environment("PGHOST", host)
            .environment("PGPORT", self.port.to_string())
            .environment("PGUSER", self.user.as_str())
            .environment("PGDATABASE", self.database.as_str())
            .environment("PGAPPNAME", &self.application_name)
            .environment("PGOPTIONS", OPTIONS)
            .environment("PGCONNECT_TIMEOUT", self.connect_timeout.as_secs().max(2).to_string())
            .environment("PGSSLMODE", self.tls.mode().as_str())
            .environment("PGCLIENTENCODING", "UTF8");
        if let Some(password) = self.password() {
            program = program.secret_environment("PGPASSWORD", &password);
        }
        if self.require_channel_binding {
            program = program.environment("PGCHANNELBINDING", "require");
        }
        if let Some(roots) = self.libpq_roots(major) {
            program = program.environment("PGSSLROOTCERT", roots);
        }
        match self.tls.identity() {
            Some(identity) => program.environment("PGSSLCERT", &identity.certificate).environment("PGSSLKEY", &identity.key),
            None => program,
        }
    }

    fn libpq_roots(&self, major: u32) -> Option<PathBuf> {
        let bundle = || BUNDLES.iter().map(Path::new).find(|path| path.is_file()).map(Path::to_owned);
        match (self.tls.roots(), self.tls.mode()) {
            (_, SslMode::Disable) | (Roots::Default, SslMode::Require) => None,
            (Roots::File(path), _) => Some(path.clone()),
            // libpq takes `system` with verify-full alone.
            (Roots::Default | Roots::System, SslMode::VerifyFull) if major >= SYSTEM_ROOTS_MAJOR => Some(PathBuf::from("system")),
            (Roots::Default | Roots::System, _) => bundle(),
        }
    }
}
