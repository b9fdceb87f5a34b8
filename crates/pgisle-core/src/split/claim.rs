//! Who gets what: from the tables that the file gives to each service, everything that goes with them.

use std::collections::{BTreeMap, BTreeSet};

use super::observed::{Objects, Oid, Relation, RelationKind, Shared};
use crate::diagnostic::{Code, Diagnostic};
use crate::name::ServiceName;
use crate::spec::{Service, Spec};

/// The services that something belongs to: none, one, or several that share it.
pub type Owners = BTreeSet<ServiceName>;

/// Who gets what.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claims {
    /// Relations by number; what nobody gets has no entry.
    pub relations: BTreeMap<Oid, Owners>,
    /// Functions by number; one that several services' tables use and that names none of their tables is copied to each.
    pub functions: BTreeMap<Oid, Owners>,
    /// Types by name; copied to each service that has a column of it.
    pub types: BTreeMap<String, Owners>,
}

impl Claims {
    /// The services that a relation belongs to.
    #[must_use]
    pub fn of(&self, relation: Oid) -> Owners {
        self.relations.get(&relation).cloned().unwrap_or_default()
    }

    /// The one service that a relation belongs to.
    #[must_use]
    pub fn only(&self, relation: Oid) -> Option<&ServiceName> {
        let owners = self.relations.get(&relation)?;
        owners.first().filter(|_| owners.len() == 1)
    }

    fn add(&mut self, relation: Oid, service: &ServiceName) {
        self.relations.entry(relation).or_default().insert(service.clone());
    }
}

/// Finds out who gets what, and what of the file does not fit the database.
#[must_use]
pub fn claim(spec: &Spec, shared: &Shared) -> (Claims, Vec<Diagnostic>) {
    let objects = &shared.objects;
    let (mut claims, mut diagnostics) = (Claims::default(), Vec::new());
    for service in spec.services.values() {
        for table in &service.tables {
            match find_table(objects, table) {
                Ok(relation) => claims.add(relation.oid, &service.name),
                Err(why) => diagnostics.push(unclaimable(shared, service, table, &why)),
            }
        }
    }
    children(objects, &mut claims);
    sequences(objects, &mut claims);
    views(objects, &mut claims);
    functions(objects, &mut claims);
    types(objects, &mut claims);
    (claims, diagnostics)
}

/// Why a name of the file is no table.
enum NoTable {
    Missing(Vec<String>),
    Ambiguous(Vec<String>),
    NotATable(RelationKind),
}

fn find_table<'a>(objects: &'a Objects, name: &str) -> Result<&'a Relation, NoTable> {
    let (schema, table) = name.split_once('.').map_or((None, name), |(schema, table)| (Some(schema), table));
    let fits = |relation: &&Relation| relation.name == table && schema.is_none_or(|schema| relation.schema == schema);
    let found: Vec<&Relation> = objects.relations.iter().filter(fits).collect();
    let tables: Vec<&Relation> = found.iter().copied().filter(|relation| relation.kind.is_table()).collect();
    match (tables.as_slice(), found.first()) {
        ([one], _) => Ok(one),
        ([], Some(other)) => Err(NoTable::NotATable(other.kind)),
        ([], None) => Err(NoTable::Missing(similar(objects, table))),
        // Which of two is meant, only the file can say: taking the one in public would leave the other behind unseen.
        (several, _) => Err(NoTable::Ambiguous(several.iter().map(|relation| relation.full_name()).collect())),
    }
}

/// Tables whose names have the other as a part, or differ by an `s`.
fn similar(objects: &Objects, name: &str) -> Vec<String> {
    let stem = name.trim_end_matches('s');
    let tables = objects.relations.iter().filter(|relation| relation.kind.is_table());
    let alike = tables.filter(|relation| !stem.is_empty() && (relation.name.contains(stem) || stem.contains(&relation.name)));
    alike.map(Relation::full_name).take(3).collect()
}

fn unclaimable(shared: &Shared, service: &Service, table: &str, why: &NoTable) -> Diagnostic {
    let (summary, detail, hint) = match why {
        NoTable::Missing(similar) => (
            format!("table \"{table}\" is not in database \"{}\"", shared.database),
            format!("Service \"{}\" says that it owns it.", service.name),
            match similar.as_slice() {
                [] => "Take it out of the service's tables.".to_owned(),
                names => format!("Did you mean {}?", names.join(" or ")),
            },
        ),
        NoTable::Ambiguous(names) => (
            format!("\"{table}\" is in {} schemas of database \"{}\"", names.len(), shared.database),
            format!("There are {}.", names.join(" and ")),
            "Name it with its schema.".to_owned(),
        ),
        NoTable::NotATable(kind) => (
            format!("\"{table}\" is a {} and not a table", kind.word()),
            "Views and sequences go with the tables that they belong to.".to_owned(),
            "Take it out of the service's tables.".to_owned(),
        ),
    };
    Diagnostic::error(Code::SPLIT_TABLE, summary)
        .at(service.place.clone())
        .about(format!("service \"{}\"", service.name))
        .detail(detail)
        .hint(hint)
}

/// Partitions and children go where their parent goes.
fn children(objects: &Objects, claims: &mut Claims) {
    let parents: BTreeMap<Oid, Oid> =
        objects.relations.iter().filter_map(|relation| Some((relation.oid, relation.parent?))).collect();
    for relation in &objects.relations {
        let mut above = parents.get(&relation.oid);
        // A damaged catalog must not make this endless.
        for _ in 0..objects.relations.len() {
            let Some(parent) = above else { break };
            for service in claims.of(*parent) {
                claims.add(relation.oid, &service);
            }
            above = parents.get(parent);
        }
    }
}

/// A sequence goes with the table that it belongs to, else with the tables that use it.
fn sequences(objects: &Objects, claims: &mut Claims) {
    let owned: BTreeSet<Oid> = objects.sequence_uses.iter().filter(|entry| entry.is_owned).map(|entry| entry.sequence).collect();
    for entry in &objects.sequence_uses {
        if entry.is_owned || !owned.contains(&entry.sequence) {
            for service in claims.of(entry.relation) {
                claims.add(entry.sequence, &service);
            }
        }
    }
}

/// A view goes to all whose tables it reads, through other views too. More than one is a crossing.
fn views(objects: &Objects, claims: &mut Claims) {
    let mut reads: BTreeMap<Oid, Vec<Oid>> = BTreeMap::new();
    for entry in &objects.views {
        reads.entry(entry.view).or_default().push(entry.relation);
    }
    for relation in objects.relations.iter().filter(|relation| relation.kind.is_view()) {
        let (mut todo, mut seen) = (vec![relation.oid], BTreeSet::new());
        while let Some(oid) = todo.pop() {
            if seen.insert(oid) {
                todo.extend(reads.get(&oid).into_iter().flatten());
            }
        }
        seen.remove(&relation.oid);
        for service in seen.iter().flat_map(|oid| claims.of(*oid)).collect::<Owners>() {
            claims.add(relation.oid, &service);
        }
    }
}

fn functions(objects: &Objects, claims: &mut Claims) {
    let mut users: BTreeMap<Oid, Owners> = BTreeMap::new();
    for entry in &objects.function_uses {
        users.entry(entry.function).or_default().extend(claims.of(entry.relation));
    }
    for function in &objects.functions {
        let named = named_relations(objects, &function.source);
        let mut owners: Owners = named.iter().flat_map(|oid| claims.of(*oid)).collect();
        owners.extend(users.remove(&function.oid).unwrap_or_default());
        if !owners.is_empty() {
            claims.functions.insert(function.oid, owners);
        }
    }
}

fn types(objects: &Objects, claims: &mut Claims) {
    for entry in &objects.types {
        let owners: Owners = entry.used_by.iter().flat_map(|oid| claims.of(*oid)).collect();
        if !owners.is_empty() {
            claims.types.insert(entry.name.clone(), owners);
        }
    }
}

/// The tables and views whose names stand in a text as words. What a function puts together at run time is not found: say so
/// wherever this is shown.
#[must_use]
pub fn named_relations(objects: &Objects, text: &str) -> BTreeSet<Oid> {
    let lower = text.to_lowercase();
    let is_word = |character: char| character.is_alphanumeric() || matches!(character, '_' | '$');
    let words: BTreeSet<&str> = lower.split(|character| !is_word(character)).filter(|word| !word.is_empty()).collect();
    let named = |relation: &&Relation| {
        let name = relation.name.to_lowercase();
        let is_plain = name.chars().all(is_word);
        if is_plain { words.contains(name.as_str()) } else { lower.contains(&name) }
    };
    objects
        .relations
        .iter()
        .filter(|relation| relation.kind != RelationKind::Sequence)
        .filter(named)
        .map(|relation| relation.oid)
        .collect()
}
