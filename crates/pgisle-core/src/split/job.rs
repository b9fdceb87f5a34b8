//! A split that is under way: what is written down in the shared database, and what may follow.

use serde::{Deserialize, Serialize};

use super::aside::Aside;
use super::change::{Lsn, Visible};
use super::strategy::Strategy;
use crate::moment::Moment;
use crate::name::{DatabaseName, RoleName, ServiceName};

/// The format's version.
const VERSION: u32 = 1;

/// How far a split is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// It is written down, and the fence stands open. The new database may be there, half filled.
    Begun,
    /// The new database holds a copy, and changes follow.
    Following,
    /// The new database is the service's home.
    Cut,
    /// The shared database is the service's home again.
    Returned,
    /// The old tables are renamed, and there is no way back.
    Finalized,
}

impl JobState {
    /// Whether the service's home is its own database.
    #[must_use]
    pub fn is_home(self) -> bool {
        matches!(self, Self::Cut | Self::Finalized)
    }

    /// The word for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Following => "following",
            Self::Cut => "cut",
            Self::Returned => "returned",
            Self::Finalized => "finalized",
        }
    }
}

/// A foreign key between a table that moves and one that stays.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Severed {
    /// The schema of the table that has it.
    pub schema: String,
    /// The table that has it.
    pub table: String,
    /// That table's owner.
    pub owner: RoleName,
    /// Its name.
    pub constraint: String,
    /// Its definition, as `pg_get_constraintdef` has it.
    pub definition: String,
    /// The table that it refers to, `schema.name`.
    pub refers_to: String,
}

/// When something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clock {
    /// When the split was begun.
    pub begun: Option<Moment>,
    /// When the copy was complete.
    pub copied: Option<Moment>,
    /// When the home moved.
    pub cut: Option<Moment>,
    /// When it came back.
    pub returned: Option<Moment>,
    /// When the old tables were renamed.
    pub finalized: Option<Moment>,
}

/// The journal of one service's split: a row in the shared database, changed in the transactions that change what it tells of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// The format's version, 1.
    v: u32,
    /// The service.
    pub service: ServiceName,
    /// The service's own database.
    pub database: DatabaseName,
    /// The database that is filled, until it takes that name.
    pub staging: DatabaseName,
    /// How.
    pub strategy: Strategy,
    /// How far it is.
    pub state: JobState,
    /// When what happened.
    pub clock: Clock,
    /// The tables that move, `(schema, name)`, partitions included.
    pub tables: Vec<(String, String)>,
    /// The sequences that move, `(schema, name)`.
    pub sequences: Vec<(String, String)>,
    /// The foreign keys that go.
    pub severed: Vec<Severed>,
    /// What the definitions were that the new database was made with, when changes follow: their digest.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub definitions: Option<String>,
    /// What the copy saw, when changes follow it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub copied: Option<Visible>,
    /// Where the new home's log stood when it opened: what is behind it was written there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub opened: Option<Lsn>,
    /// Whether a slot on the new home keeps what is written there, for the way back.
    #[serde(default)]
    pub can_follow_back: bool,
    /// How long the service could not write, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pause_ms: Option<u64>,
    /// The result of comparing both sides: the receipt, once there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub receipt: Option<serde_json::Value>,
    /// What was put aside when it was finalized.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub aside: Vec<Aside>,
    /// How many attempts had come too late by then.
    #[serde(default)]
    pub late_before: u64,
}

impl Job {
    /// Begins one.
    #[must_use]
    pub fn new(service: ServiceName, database: DatabaseName, staging: DatabaseName, strategy: Strategy, now: Moment) -> Self {
        Self {
            v: VERSION,
            service,
            database,
            staging,
            strategy,
            state: JobState::Begun,
            clock: Clock { begun: Some(now), ..Clock::default() },
            tables: Vec::new(),
            sequences: Vec::new(),
            severed: Vec::new(),
            definitions: None,
            copied: None,
            opened: None,
            can_follow_back: false,
            pause_ms: None,
            receipt: None,
            aside: Vec::new(),
            late_before: 0,
        }
    }

    /// Reads a journal's row; none when this pgisle does not know its format.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().filter(|job: &Self| job.v == VERSION)
    }

    /// The row.
    #[must_use]
    pub fn to_text(&self) -> String {
        // Structs of texts, lists and numbers always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Whether both sides held the same behind the cutover; none when they were not compared.
    #[must_use]
    pub fn is_equal(&self) -> Option<bool> {
        self.receipt.as_ref()?.get("is_equal")?.as_bool()
    }

    /// The slot that changes follow by.
    #[must_use]
    pub fn slot(&self) -> String {
        self.slot_name("out")
    }

    /// The slot that keeps what is written to the new home.
    #[must_use]
    pub fn slot_back(&self) -> String {
        self.slot_name("back")
    }

    /// A slot's name has lower-case letters, digits and `_`, and the whole server has one set of them. The digits tell apart what
    /// the letters cannot.
    fn slot_name(&self, direction: &str) -> String {
        let plain: String = self.service.as_str().chars().map(|letter| if letter == '-' { '_' } else { letter }).take(30).collect();
        let digest = crate::artifact::digest(format!("{}/{}", self.database, self.service).as_bytes());
        format!("pgisle_{direction}_{plain}_{}", digest.get(..8).unwrap_or_default())
    }
}
