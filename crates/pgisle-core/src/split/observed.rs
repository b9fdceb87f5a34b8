//! What was observed in the shared database. Reading it is the engine's; object numbers tie its parts together.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::strategy::duration;
use crate::inventory::Readable;
use crate::name::{DatabaseName, RoleName};

/// The number of an object in its catalog.
pub type Oid = u32;

/// The shared database and what a split must know of its server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    /// Its name.
    pub database: DatabaseName,
    /// Its size, bytes.
    pub bytes: u64,
    /// Whether the administrator may use it as a template: it owns it, or is a superuser.
    pub can_be_template: bool,
    /// What is in it.
    pub objects: Objects,
    /// The server, as far as replication goes.
    pub replication: Replication,
    /// Transactions that have written and are still open, anywhere on the server.
    pub writers: Readable<Vec<Writer>>,
    /// Statements that name several tables, from `pg_stat_statements`.
    pub statements: Readable<Vec<SharedStatement>>,
}

/// Everything in the shared database that belongs to no extension.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Objects {
    /// Tables, views, sequences and so on.
    pub relations: Vec<Relation>,
    /// Foreign keys; a partition's copy of its parent's is left out.
    pub foreign_keys: Vec<ForeignKey>,
    /// Which view reads which relation.
    pub views: Vec<ViewUse>,
    /// Functions and procedures.
    pub functions: Vec<Function>,
    /// Where functions are used.
    pub function_uses: Vec<FunctionUse>,
    /// Where sequences are used.
    pub sequence_uses: Vec<SequenceUse>,
    /// Enums, domains, ranges and composite types.
    pub types: Vec<TypeThere>,
    /// How many large objects there are.
    pub large_objects: u64,
    /// The extensions' names.
    pub extensions: BTreeSet<String>,
    /// Which relation needs which extension.
    pub extension_uses: Vec<ExtensionUse>,
}

/// What a relation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RelationKind {
    /// An ordinary table.
    #[serde(rename = "r")]
    Table,
    /// A partitioned table.
    #[serde(rename = "p")]
    Partitioned,
    /// A view.
    #[serde(rename = "v")]
    View,
    /// A materialized view.
    #[serde(rename = "m")]
    Materialized,
    /// A sequence.
    #[serde(rename = "S")]
    Sequence,
    /// A foreign table.
    #[serde(rename = "f")]
    Foreign,
}

impl RelationKind {
    /// Whether it can be claimed by a service: it is a table.
    #[must_use]
    pub fn is_table(self) -> bool {
        matches!(self, Self::Table | Self::Partitioned | Self::Foreign)
    }

    /// Whether it is a query with a name.
    #[must_use]
    pub fn is_view(self) -> bool {
        matches!(self, Self::View | Self::Materialized)
    }

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Partitioned => "partitioned table",
            Self::View => "view",
            Self::Materialized => "materialized view",
            Self::Sequence => "sequence",
            Self::Foreign => "foreign table",
        }
    }
}

/// A table, view or sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relation {
    /// Its number.
    pub oid: Oid,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: RelationKind,
    /// Its bytes, with indexes and what is stored outside of the rows.
    pub bytes: u64,
    /// The rows that the statistics know of; none when it was never analysed.
    pub rows: Option<u64>,
    /// The table that it is a partition or child of.
    pub parent: Option<Oid>,
    /// How logical replication tells one row from another.
    pub identity: Identity,
    /// Whether its content does not survive a crash.
    pub is_unlogged: bool,
    /// Whether a column has the type `oid` or `lo`: it may point to large objects.
    pub points_to_large_objects: bool,
    /// Its owner.
    pub owner: RoleName,
    /// Whether its rows mean the same in another database in their binary form.
    pub is_portable: bool,
    /// The columns that are stored and not computed, in order; none but for tables.
    pub columns: Vec<String>,
}

/// How logical replication tells one row from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Identity {
    /// By a key.
    Key,
    /// By the whole row (`REPLICA IDENTITY FULL`).
    Full,
    /// Not at all: updates and deletes cannot be replicated.
    Nothing,
}

/// What a foreign key does when the row that is referred to goes or changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum KeyAction {
    /// Refuses.
    #[serde(rename = "a")]
    NoAction,
    /// Refuses at once.
    #[serde(rename = "r")]
    Restrict,
    /// Goes or changes too.
    #[serde(rename = "c")]
    Cascade,
    /// Forgets.
    #[serde(rename = "n")]
    SetNull,
    /// Takes the default.
    #[serde(rename = "d")]
    SetDefault,
}

/// A foreign key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignKey {
    /// Its name.
    pub name: String,
    /// The table that has it.
    pub source: Oid,
    /// The table that it refers to.
    pub target: Oid,
    /// What happens when the row that is referred to is deleted.
    pub on_delete: KeyAction,
    /// Its definition, as `pg_get_constraintdef` has it.
    pub definition: String,
}

/// A view that reads a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ViewUse {
    /// The view.
    pub view: Oid,
    /// What it reads.
    pub relation: Oid,
}

/// A function or procedure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    /// Its number.
    pub oid: Oid,
    /// Its name with its schema and arguments.
    pub signature: String,
    /// Its text, as far as there is one.
    pub source: String,
}

/// A relation that uses a function: in a trigger, a default, an index, a policy, a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FunctionUse {
    /// The function.
    pub function: Oid,
    /// The relation.
    pub relation: Oid,
}

/// A table that uses a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SequenceUse {
    /// The sequence.
    pub sequence: Oid,
    /// The table.
    pub relation: Oid,
    /// Whether the sequence goes with the table (`OWNED BY`).
    pub is_owned: bool,
}

/// A relation that needs an extension: for the type of a column, an operator class, a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtensionUse {
    /// The extension.
    pub extension: String,
    /// The schema that it is in.
    pub schema: String,
    /// The relation.
    pub relation: Oid,
}

/// A type of the database's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeThere {
    /// Its name with its schema.
    pub name: String,
    /// Relations with a column of it.
    pub used_by: BTreeSet<Oid>,
}

/// The server, as far as replication goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replication {
    /// `server_version_num`.
    pub version_num: u32,
    /// `wal_level`.
    pub wal_level: String,
    /// `max_replication_slots` less those in use.
    pub slots_free: u32,
    /// Whether the administrator may make replication slots.
    pub may_replicate: bool,
}

/// A transaction that has written and is still open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writer {
    /// Its server process.
    pub backend_pid: i32,
    /// Its database.
    pub database: String,
    /// Its login.
    pub role: String,
    /// What it calls itself.
    pub application_name: String,
    /// How long it has been open, seconds.
    pub age_s: u64,
}

impl Writer {
    /// Who it is, for people.
    #[must_use]
    pub fn words(&self) -> String {
        let Self { backend_pid, database, role, application_name, age_s } = self;
        let name = application_name.escape_debug();
        let age = duration(age_s * 1000);
        format!("\"{name}\", user \"{role}\", database \"{database}\", server process {backend_pid}, open for {age}")
    }
}

/// A statement that was run often enough to be remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedStatement {
    /// Its text, with parameters for constants.
    pub query: String,
    /// How often it was run.
    pub calls: u64,
}

impl Objects {
    /// The relation of a number.
    #[must_use]
    pub fn relation(&self, oid: Oid) -> Option<&Relation> {
        self.relations.iter().find(|relation| relation.oid == oid)
    }
}

impl Relation {
    /// `schema.name`, as people write it.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}
