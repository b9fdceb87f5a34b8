//! The mark of ownership that pgisle leaves on a database or role: a `COMMENT` with one line of JSON.
//!
//! The catalog is the state. What carries no marker is not pgisle's and is left alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::moment::Moment;
use crate::name::{DatabaseName, ServiceName};

/// What a comment begins with when pgisle wrote it.
const PREFIX: &str = "pgisle: ";

/// The format's version.
const VERSION: u32 = 1;

/// What part the marked object plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A service's database.
    Database,
    /// The role that owns a service's objects and cannot log in.
    Owner,
    /// A service's login.
    Login,
    /// The login that runs a service's migrations, under `access = "split"`.
    Migrator,
    /// The role that holds the row privileges, under `access = "split"`; it cannot log in.
    Application,
    /// The monitoring login.
    Monitoring,
    /// A database that a restore fills, or the login that fills it. It is there for that long only.
    Restore,
    /// The database that a restore replaced. It is kept, closed, until it is pruned or put back.
    Replaced,
    /// A database that a split fills, or the login that fills it. It is there for that long only.
    Split,
}

impl Kind {
    /// Whether it belongs to a restore or a split rather than to the island as the file describes it: no plan makes, changes or
    /// retires it.
    #[must_use]
    pub fn is_of_job(self) -> bool {
        matches!(self, Self::Restore | Self::Replaced | Self::Split)
    }
}

/// Where a restore's database comes from, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreMark {
    /// The backup or file that it is filled from; on a replaced database, what replaced it.
    pub source: String,
    /// When it was made or replaced.
    pub at: Moment,
    /// True while it waits, empty, for what only someone with more rights can put into it.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub waiting: bool,
    /// True when it is filled to be compared, and then dropped.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub drill: bool,
}

/// The marker of one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marker {
    /// The format's version, 1.
    pub(crate) v: u32,
    /// The project: `name_prefix` of the spec that made it.
    pub project: String,
    /// The environment of the spec that made it.
    pub environment: String,
    /// What part it plays.
    pub kind: Kind,
    /// The service it belongs to; none for the monitoring login.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub service: Option<ServiceName>,
    /// The island's database: on an owner role it proves that the database of this name, should it stand there closed and
    /// without a marker, is ours and was interrupted in the making.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub database: Option<DatabaseName>,
    /// On a database: the fingerprint of the service's spec that was last applied. It tells a changed file from a changed cluster.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub spec: Option<String>,
    /// On a login: the fingerprint of the verifier that pgisle last set, so that a replaced credential is seen even where
    /// `pg_authid` is hidden. The verifier is salted, and this is a short hash of it: it says nothing about the password.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub credential: Option<String>,
    /// True once the service has left the file.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub retired: bool,
    /// True on a database that is being dropped: it was looked at, found droppable, and closed in the same transaction. A run
    /// that was killed behind that may drop it without looking again, which it could not, the database being closed.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub dropping: bool,
    /// On what a restore made or left.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub restore: Option<RestoreMark>,
    /// The spec's tags.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub tags: BTreeMap<String, String>,
}

impl Marker {
    /// Makes a marker without service, database or tags.
    #[must_use]
    pub fn new(project: &str, environment: &str, kind: Kind) -> Self {
        Self {
            v: VERSION,
            project: project.to_owned(),
            environment: environment.to_owned(),
            kind,
            service: None,
            database: None,
            spec: None,
            credential: None,
            retired: false,
            dropping: false,
            restore: None,
            tags: BTreeMap::new(),
        }
    }

    /// Reads a comment; none when pgisle did not write it.
    #[must_use]
    pub fn parse(comment: &str) -> Option<Self> {
        let marker: Self = serde_json::from_str(comment.strip_prefix(PREFIX)?).ok()?;
        (marker.v == VERSION).then_some(marker)
    }

    /// The comment's text.
    #[must_use]
    pub fn to_comment(&self) -> String {
        // A struct of strings, booleans and a map with string keys always serialises.
        format!("{PREFIX}{}", serde_json::to_string(self).unwrap_or_default())
    }

    /// The comment's text without the credential's fingerprint, which is not known before the first apply.
    #[must_use]
    pub fn shown_comment(&self) -> String {
        Self { credential: None, ..self.clone() }.to_comment()
    }

    /// True when the same project and environment made it.
    #[must_use]
    pub fn same_owner(&self, project: &str, environment: &str) -> bool {
        self.project == project && self.environment == environment
    }

    /// The other service of the same project and environment that the object belongs to.
    #[must_use]
    pub fn other_service(&self, project: &str, environment: &str, service: &ServiceName) -> Option<&ServiceName> {
        self.service.as_ref().filter(|other| *other != service && self.same_owner(project, environment))
    }
}
