//! Why a split did not go on.

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::name::ServiceName;

use crate::apply::ApplyError;
use crate::backup::content::ContentError;
use crate::backup::restore::RestoreError;
use crate::postgres::connect::{describe, is_lost};
use crate::postgres::{ConnectError, InspectError, LockError};
use crate::process::ProcessError;

/// What to do when the server, or a session of ours, went away.
const CUT_OFF: &str =
    "What was under way is undone. `pgisle split status` says where the service is at home; the same command goes on.";

/// Why a split did not go on. What was there before is there still: the shared database is the service's home until the cutover's one
/// commit, and the new database from then on.
#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    /// No session.
    #[error("cannot connect")]
    Connect(#[from] ConnectError),
    /// The catalogs cannot be read.
    #[error("cannot inspect the shared database")]
    Inspect(#[from] InspectError),
    /// No lock.
    #[error("cannot take the run lock")]
    Lock(#[from] LockError),
    /// No credentials.
    #[error("cannot use the credentials")]
    Apply(#[from] ApplyError),
    /// The new database cannot be made or put in its place.
    #[error("the new database cannot be made")]
    Stage(#[from] RestoreError),
    /// `pg_dump` failed.
    #[error("the schema cannot be read")]
    Process(#[from] ProcessError),
    /// A side cannot be read to be compared.
    #[error("the content cannot be compared")]
    Content(#[from] ContentError),
    /// The server refused.
    #[error("cannot {doing}")]
    Query {
        /// What was to be done.
        doing: String,
        /// The server's or the library's reason.
        #[source]
        source: Box<tokio_postgres::Error>,
    },
    /// It must not go on, and the finding says why.
    #[error("{}", .0.summary)]
    Refused(Box<Diagnostic>),
}

impl SplitError {
    /// There is no split of this service.
    #[must_use]
    pub fn not_begun(service: &ServiceName) -> Self {
        let told = Diagnostic::error(Code::SPLIT_STATE, format!("service \"{service}\" is not being split"));
        told.hint("Begin with:").command(format!("pgisle split run {service}")).into()
    }

    pub(super) fn query(doing: impl Into<String>) -> impl FnOnce(tokio_postgres::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Query { doing, source: Box::new(source) }
    }

    /// The finding to show.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Connect(error) => error.diagnostic(),
            Self::Inspect(error) => error.diagnostic(),
            Self::Lock(error) => error.diagnostic(),
            Self::Apply(error) => error.diagnostic(),
            Self::Stage(error) => error.diagnostic(),
            Self::Content(error) => error.diagnostic(),
            Self::Process(error) => Diagnostic::error(Code::SPLIT_FAILED, self.to_string()).detail(format!("{error}.")),
            Self::Query { source, .. } => {
                let code = if is_lost(source) { Code::CONNECT_LOST } else { Code::SPLIT_FAILED };
                let mut diagnostic = Diagnostic::error(code, self.to_string()).detail(format!("{}.", describe(source)));
                if is_lost(source) {
                    diagnostic = diagnostic.hint(CUT_OFF);
                }
                if let Some(hint) = source.as_db_error().and_then(tokio_postgres::error::DbError::hint) {
                    diagnostic = diagnostic.hint(hint.to_owned());
                }
                diagnostic
            }
            Self::Refused(diagnostic) => (**diagnostic).clone(),
        }
    }
}

impl From<Diagnostic> for SplitError {
    fn from(diagnostic: Diagnostic) -> Self {
        Self::Refused(Box::new(diagnostic))
    }
}
