//! What of the shared database is made in a service's own, and in which order.

use std::collections::{BTreeMap, BTreeSet};

use super::claim::Claims;
use super::observed::{Oid, Relation, RelationKind, Shared};
use super::{Severed, claim};
use crate::backup::archive::Entry;
use crate::name::{RoleName, ServiceName};
use crate::spec::Spec;

/// A table whose rows move: an ordinary table or a partition with rows of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MovedTable {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its owner in the shared database.
    pub owner: RoleName,
    /// Whether writers may name it but its rows are in its partitions.
    pub is_partitioned: bool,
    /// Whether its rows can go over in their binary form.
    pub is_portable: bool,
    /// Its bytes, with indexes.
    pub bytes: u64,
    /// Its stored columns, in order.
    pub columns: Vec<String>,
    /// Whether a replication slot can tell its rows apart.
    pub has_identity: bool,
}

/// What moves for one service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Moved {
    /// Its tables, partitioned ones included, by name.
    pub tables: Vec<MovedTable>,
    /// Its sequences, `(schema, name)`, by name.
    pub sequences: Vec<(String, String)>,
    /// Foreign keys between a table that moves and one that stays: they go with the cutover.
    pub severed: Vec<Severed>,
    /// Extensions that it needs, and the schemas that they are in.
    pub extensions: BTreeMap<String, Option<String>>,
    /// Everything that moves and is a relation: tables, sequences, views.
    pub relations: BTreeSet<Oid>,
    /// Functions that move or are copied.
    pub functions: BTreeSet<Oid>,
    /// Types that move or are copied, `schema.name`.
    pub types: BTreeSet<String>,
}

impl Moved {
    /// Those whose rows are to be copied, the largest first.
    #[must_use]
    pub fn with_rows(&self) -> Vec<&MovedTable> {
        let mut tables: Vec<&MovedTable> = self.tables.iter().filter(|table| !table.is_partitioned).collect();
        tables.sort_by(|one, other| other.bytes.cmp(&one.bytes).then_with(|| one.cmp(other)));
        tables
    }
}

/// Gathers what moves for a service.
#[must_use]
pub fn moved(spec: &Spec, shared: &Shared, service: &ServiceName) -> Moved {
    let (claims, _) = claim(spec, shared);
    let mut moved = Moved::default();
    for relation in &shared.objects.relations {
        if !moves_here(&claims, shared, relation, service) {
            continue;
        }
        moved.relations.insert(relation.oid);
        match relation.kind {
            RelationKind::Table | RelationKind::Partitioned => moved.tables.push(table(relation)),
            RelationKind::Sequence => moved.sequences.push((relation.schema.clone(), relation.name.clone())),
            RelationKind::View | RelationKind::Materialized | RelationKind::Foreign => {}
        }
    }
    let of_service = |owners: &super::Owners| owners.contains(service);
    moved.functions = claims.functions.iter().filter(|(_, owners)| of_service(owners)).map(|(oid, _)| *oid).collect();
    moved.types = claims.types.iter().filter(|(_, owners)| of_service(owners)).map(|(name, _)| name.clone()).collect();
    moved.severed = severed(shared, &moved.relations);
    let uses = shared.objects.extension_uses.iter().filter(|entry| moved.relations.contains(&entry.relation));
    moved.extensions = uses.map(|entry| (entry.extension.clone(), Some(entry.schema.clone()))).collect();
    moved
}

/// Whether a relation is made in the service's database. A view of several services, or of something that stays, is not.
pub(super) fn moves_here(claims: &Claims, shared: &Shared, relation: &Relation, service: &ServiceName) -> bool {
    let owners = claims.of(relation.oid);
    let stays =
        |view: &Relation| shared.objects.views.iter().any(|entry| entry.view == view.oid && claims.of(entry.relation).is_empty());
    match relation.kind {
        RelationKind::View | RelationKind::Materialized => owners.len() == 1 && owners.contains(service) && !stays(relation),
        _ => owners.contains(service),
    }
}

fn table(relation: &Relation) -> MovedTable {
    MovedTable {
        schema: relation.schema.clone(),
        name: relation.name.clone(),
        owner: relation.owner.clone(),
        is_partitioned: relation.kind == RelationKind::Partitioned,
        is_portable: relation.is_portable,
        bytes: relation.bytes,
        columns: relation.columns.clone(),
        has_identity: relation.identity != super::observed::Identity::Nothing,
    }
}

fn severed(shared: &Shared, relations: &BTreeSet<Oid>) -> Vec<Severed> {
    let crossing =
        shared.objects.foreign_keys.iter().filter(|key| relations.contains(&key.source) != relations.contains(&key.target));
    let keys = crossing.filter_map(|key| {
        let (source, target) = (shared.objects.relation(key.source)?, shared.objects.relation(key.target)?);
        Some(Severed {
            schema: source.schema.clone(),
            table: source.name.clone(),
            owner: source.owner.clone(),
            constraint: key.name.clone(),
            definition: key.definition.clone(),
            refers_to: target.full_name(),
        })
    });
    keys.collect()
}

/// When an entry of the schema is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Before there are rows: types, functions, tables, sequences, defaults.
    Before,
    /// Once the rows are there, in any order and several at once: indexes, primary and unique keys.
    Indexes,
    /// Behind those: foreign keys, statistics, materialized views.
    After,
    /// Within the pause: what would run when changes are applied, or hide rows.
    Late,
}

/// The definitions of what moves, in the order in which they are to be made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Schema {
    /// SQL by phase, in order.
    pub definitions: BTreeMap<Phase, Vec<String>>,
    /// Schemas beside `public` that they are in.
    pub schemas: BTreeSet<String>,
}

impl Schema {
    /// Tells apart what was defined at two times: a SHA-256, in hexadecimal. In which order it is made does not count.
    #[must_use]
    pub fn digest(&self) -> String {
        let Self { definitions, schemas } = self;
        let mut all: Vec<&str> = definitions.values().flatten().chain(schemas).map(String::as_str).collect();
        all.sort_unstable();
        crate::artifact::digest(all.join("\0").as_bytes())
    }
}

/// The catalogs by their fixed numbers (`pg_class.h`, `pg_proc.h`, `pg_type.h`).
const PG_CLASS: u32 = 1259;
const PG_PROC: u32 = 1255;
const PG_TYPE: u32 = 1247;

/// Chooses what moves among the entries of an archive of the shared database's schema.
///
/// Relations, functions and types are chosen by their numbers. Everything else (indexes, keys, triggers, defaults, comments, …)
/// goes with what it needs: it is chosen when all that it needs, as far as it is listed, is chosen. So a foreign key to a table that stays
/// is left out, and so is the fence.
#[must_use]
pub fn choose_schema(entries: &[Entry], moved: &Moved) -> Schema {
    let kinds: BTreeMap<i64, &Entry> = entries.iter().map(|entry| (entry.dump_id, entry)).collect();
    let mut chosen: BTreeSet<i64> = BTreeSet::new();
    let mut schema = Schema::default();
    for entry in entries {
        let is_chosen = match entry.kind.as_str() {
            "TABLE" | "SEQUENCE" | "VIEW" | "MATERIALIZED VIEW" | "FOREIGN TABLE" => {
                entry.catalog.0 == PG_CLASS && moved.relations.contains(&entry.catalog.1)
            }
            "FUNCTION" | "PROCEDURE" | "AGGREGATE" => entry.catalog.0 == PG_PROC && moved.functions.contains(&entry.catalog.1),
            "TYPE" | "DOMAIN" | "SHELL TYPE" => {
                entry.catalog.0 == PG_TYPE && moved.types.contains(&format!("{}.{}", entry.schema, entry.tag))
            }
            kind if follows(kind) => {
                let listed = entry.dependencies.iter().filter_map(|number| kinds.get(number));
                let mut needed = listed.filter(|needed| !matches!(needed.kind.as_str(), "SCHEMA" | "EXTENSION")).peekable();
                needed.peek().is_some() && needed.all(|needed| chosen.contains(&needed.dump_id))
            }
            _ => false,
        };
        if !is_chosen {
            continue;
        }
        chosen.insert(entry.dump_id);
        if !entry.schema.is_empty() && entry.schema != "public" {
            schema.schemas.insert(entry.schema.clone());
        }
        if !entry.definition.trim().is_empty() {
            schema.definitions.entry(phase(&entry.kind)).or_default().push(entry.definition.clone());
        }
    }
    schema
}

/// What goes with what it needs. Privileges are not among it: the file says who may do what in a service's database.
fn follows(kind: &str) -> bool {
    matches!(
        kind,
        "DEFAULT"
            | "SEQUENCE OWNED BY"
            | "TABLE ATTACH"
            | "INDEX"
            | "INDEX ATTACH"
            | "CONSTRAINT"
            | "CHECK CONSTRAINT"
            | "FK CONSTRAINT"
            | "STATISTICS"
            | "COMMENT"
            | "TRIGGER"
            | "RULE"
            | "POLICY"
            | "ROW SECURITY"
            | "MATERIALIZED VIEW DATA"
    )
}

fn phase(kind: &str) -> Phase {
    match kind {
        "TRIGGER" | "RULE" | "POLICY" | "ROW SECURITY" => Phase::Late,
        "INDEX" | "CONSTRAINT" => Phase::Indexes,
        "INDEX ATTACH" | "FK CONSTRAINT" | "STATISTICS" | "COMMENT" | "MATERIALIZED VIEW" | "MATERIALIZED VIEW DATA" => {
            Phase::After
        }
        _ => Phase::Before,
    }
}
