//! A plan on disk: what was shown, to be carried out later exactly as it was shown or not at all.
//!
//! The file holds no statement that is ever run. It holds the spec and the options that led to the plan, and the plan's
//! fingerprint; the apply plans again and compares. So an edited file cannot smuggle SQL in, and a cluster that has moved is seen.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::name::ServiceName;
use pgisle_core::plan::{Planned, Target};
use pgisle_core::spec::Spec;
use serde::{Deserialize, Serialize};

use crate::file::{FileError, write_atomically};

/// The format's version. A file of another version is refused.
const VERSION: u32 = 1;

/// A spec of hundreds of services takes less; a larger file is something else.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A saved plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedPlan {
    /// The format's version.
    version: u32,
    /// The cluster that it was made for (`system_identifier`), where that can be read.
    pub cluster: Option<String>,
    /// What was wanted.
    pub spec: Spec,
    /// What it was narrowed to.
    pub targets: Vec<Target>,
    /// What was to be taken over.
    pub adopt: BTreeSet<ServiceName>,
    /// Whether sessions of retired services end.
    pub end_sessions: bool,
    /// For a plan to destroy: whether databases with data are dropped too.
    pub destroy_force: Option<bool>,
    /// [`pgisle_core::plan::Plan::fingerprint`] of what was shown.
    pub fingerprint: String,
}

/// Why a saved plan cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SavedPlanError {
    /// It cannot be read.
    #[error("cannot read plan \"{}\"", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It cannot be written.
    #[error("cannot write plan \"{}\"", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: FileError,
    },
    /// It is no plan of this version.
    #[error("\"{}\" is not a plan of this version of pgisle", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// It is of another version, or too large.
    #[error("\"{}\" is not a plan of this version of pgisle", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
}

impl SavedPlanError {
    /// The finding to show.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let diagnostic = Diagnostic::error(Code::APPLY_PLAN_FILE, self.to_string());
        let diagnostic = match std::error::Error::source(self) {
            Some(source) => diagnostic.detail(format!("{source}.")),
            None => diagnostic,
        };
        diagnostic.hint("Make it with `pgisle plan -out=FILE`.")
    }
}

impl SavedPlan {
    /// Puts together what has to be known to carry a plan out later.
    #[must_use]
    pub fn new(request: &super::Request<'_>, planned: &Planned, cluster: Option<String>) -> Self {
        Self {
            version: VERSION,
            cluster,
            spec: request.spec.clone(),
            targets: request.targets.to_vec(),
            adopt: request.adopt.clone(),
            end_sessions: request.end_sessions,
            destroy_force: match request.intent {
                super::Intent::Apply => None,
                super::Intent::Destroy(scope) => Some(scope.force),
            },
            fingerprint: planned.plan.fingerprint(),
        }
    }

    /// Writes it, readable by its owner alone: it holds no secret, and still tells much about a cluster.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), SavedPlanError> {
        let text = serde_json::to_vec_pretty(self).map_err(|source| SavedPlanError::Format { path: path.to_owned(), source })?;
        write_atomically(path, 0o600, &text).map_err(|source| SavedPlanError::Write { path: path.to_owned(), source })
    }

    /// Reads one.
    ///
    /// # Errors
    /// The file cannot be read, or is no plan of this version.
    pub fn read(path: &Path) -> Result<Self, SavedPlanError> {
        let read = |source| SavedPlanError::Read { path: path.to_owned(), source };
        if std::fs::metadata(path).map_err(read)?.len() > FILE_BYTES_MAX {
            return Err(SavedPlanError::Foreign { path: path.to_owned() });
        }
        let text = std::fs::read(path).map_err(read)?;
        let saved: Self =
            serde_json::from_slice(&text).map_err(|source| SavedPlanError::Format { path: path.to_owned(), source })?;
        if saved.version != VERSION {
            return Err(SavedPlanError::Foreign { path: path.to_owned() });
        }
        Ok(saved)
    }
}
