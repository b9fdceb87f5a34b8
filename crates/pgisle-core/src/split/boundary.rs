//! What crosses the boundary between services: what the database held together and will not any more.

use std::collections::BTreeMap;

use serde::Serialize;

use super::claim::{Claims, Owners, named_relations};
use super::observed::{ForeignKey, KeyAction, Oid, RelationKind, Shared};
use crate::name::ServiceName;

/// How many statements of `pg_stat_statements` are shown.
const STATEMENTS_MAX: usize = 20;

/// How much of a statement is shown, characters.
const STATEMENT_CHARACTERS_MAX: usize = 160;

/// What kind of thing crosses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CrossingKind {
    /// A foreign key.
    ForeignKey,
    /// A view that reads tables of several.
    View,
    /// A function that names tables of several.
    Function,
    /// A sequence that tables of several use.
    Sequence,
    /// A statement that was seen.
    Statement,
}

impl CrossingKind {
    /// The words for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::ForeignKey => "foreign key",
            Self::View => "view",
            Self::Function => "function",
            Self::Sequence => "sequence",
            Self::Statement => "statement",
        }
    }
}

/// Something that crosses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Crossing {
    /// What kind of thing.
    pub kind: CrossingKind,
    /// Its name, or its text.
    pub name: String,
    /// For a foreign key, the service that has it; for anything else, the services concerned. `None` is what stays shared.
    pub source: Vec<Option<ServiceName>>,
    /// For a foreign key, the service that it refers to.
    pub target: Option<Option<ServiceName>>,
    /// What is lost, as a sentence.
    pub consequence: String,
    /// What to do about it, as a sentence.
    pub advice: String,
    /// Whether rows would be lost or orphaned silently: a cascade goes.
    pub is_grave: bool,
}

impl Crossing {
    /// Whether a service is concerned.
    #[must_use]
    pub fn concerns(&self, service: &ServiceName) -> bool {
        let is_it = |side: &Option<ServiceName>| side.as_ref() == Some(service);
        self.source.iter().any(is_it) || self.target.as_ref().is_some_and(is_it)
    }
}

/// Everything that crosses.
#[must_use]
pub fn crossings(shared: &Shared, claims: &Claims) -> Vec<Crossing> {
    let mut crossings: Vec<Crossing> =
        shared.objects.foreign_keys.iter().filter_map(|key| foreign_key(shared, claims, key)).collect();
    crossings.extend(views(shared, claims));
    crossings.extend(functions(shared, claims));
    crossings.extend(sequences(shared, claims));
    crossings.extend(statements(shared, claims));
    crossings.sort();
    crossings
}

fn name_of(shared: &Shared, oid: Oid) -> String {
    shared.objects.relation(oid).map_or_else(|| format!("number {oid}"), super::observed::Relation::full_name)
}

fn foreign_key(shared: &Shared, claims: &Claims, key: &ForeignKey) -> Option<Crossing> {
    let (source, target) = (claims.only(key.source).cloned(), claims.only(key.target).cloned());
    if source == target {
        return None;
    }
    let (from, to) = (name_of(shared, key.source), name_of(shared, key.target));
    let (lost, advice, is_grave) = match key.on_delete {
        KeyAction::Cascade => (
            format!("Deleting a row of {to} no longer deletes the rows of {from} that refer to it."),
            "Have the one service tell the other of deletions, and delete there.",
            true,
        ),
        KeyAction::SetNull | KeyAction::SetDefault => (
            format!("Deleting a row of {to} no longer clears the reference in {from}."),
            "Have the one service tell the other of deletions, and clear the reference there.",
            true,
        ),
        KeyAction::NoAction | KeyAction::Restrict => (
            format!("A row of {to} can be deleted although rows of {from} refer to it."),
            "Check the reference in the service that writes it, and look for orphans now and then.",
            false,
        ),
    };
    Some(Crossing {
        kind: CrossingKind::ForeignKey,
        name: format!("{} on {from}, {}", key.name, key.definition),
        source: vec![source],
        target: Some(target),
        consequence: lost,
        advice: format!("The key is dropped at cutover. {advice}"),
        is_grave,
    })
}

fn sides(owners: &Owners, touches_shared: bool) -> Vec<Option<ServiceName>> {
    owners.iter().cloned().map(Some).chain(touches_shared.then_some(None)).collect()
}

fn views(shared: &Shared, claims: &Claims) -> Vec<Crossing> {
    let mut reads: BTreeMap<Oid, Vec<Oid>> = BTreeMap::new();
    for entry in &shared.objects.views {
        reads.entry(entry.view).or_default().push(entry.relation);
    }
    let views = shared.objects.relations.iter().filter(|relation| relation.kind.is_view());
    views
        .filter_map(|view| {
            let owners = claims.of(view.oid);
            let direct = reads.get(&view.oid).map(Vec::as_slice).unwrap_or_default();
            let reads_shared = direct.iter().any(|oid| claims.of(*oid).is_empty());
            let crosses = owners.len() > 1 || (owners.len() == 1 && reads_shared);
            let tables: Vec<String> = direct.iter().map(|oid| name_of(shared, *oid)).collect();
            crosses.then(|| Crossing {
                kind: CrossingKind::View,
                name: view.full_name(),
                source: sides(&owners, reads_shared),
                target: None,
                consequence: format!("The {} reads {}, which will be in different databases.", view.kind.word(), tables.join(", ")),
                advice: "It is not moved. Build its result in an application, or keep a copy of the rows that it needs.".to_owned(),
                is_grave: false,
            })
        })
        .collect()
}

fn functions(shared: &Shared, claims: &Claims) -> Vec<Crossing> {
    let functions = shared.objects.functions.iter();
    functions
        .filter_map(|function| {
            let named = named_relations(&shared.objects, &function.source);
            let owners: Owners = named.iter().flat_map(|oid| claims.of(*oid)).collect();
            let names_shared = !owners.is_empty() && named.iter().any(|oid| claims.of(*oid).is_empty());
            if owners.len() < 2 && !names_shared {
                return None;
            }
            let tables: Vec<String> = named.iter().map(|oid| name_of(shared, *oid)).collect();
            Some(Crossing {
                kind: CrossingKind::Function,
                name: function.signature.clone(),
                source: sides(&owners, names_shared),
                target: None,
                consequence: format!("Its text names {}, which will be in different databases.", tables.join(", ")),
                advice: "It is moved to each of them and will fail where a table is missing: rewrite it.".to_owned(),
                is_grave: false,
            })
        })
        .collect()
}

fn sequences(shared: &Shared, claims: &Claims) -> Vec<Crossing> {
    let sequences = shared.objects.relations.iter().filter(|relation| relation.kind == RelationKind::Sequence);
    sequences
        .filter_map(|sequence| {
            let owners = claims.of(sequence.oid);
            (owners.len() > 1).then(|| Crossing {
                kind: CrossingKind::Sequence,
                name: sequence.full_name(),
                source: sides(&owners, false),
                target: None,
                consequence: "Tables of several services take their numbers from it.".to_owned(),
                advice:
                    "Each service gets a copy that goes on from the same number: numbers are then unique within a service only."
                        .to_owned(),
                is_grave: false,
            })
        })
        .collect()
}

fn statements(shared: &Shared, claims: &Claims) -> Vec<Crossing> {
    let Some(statements) = shared.statements.known() else { return Vec::new() };
    let mut crossing: Vec<(u64, Crossing)> = statements
        .iter()
        .filter_map(|statement| {
            let named = named_relations(&shared.objects, &statement.query);
            let owners: Owners = named.iter().flat_map(|oid| claims.of(*oid)).collect();
            let names_shared =
                !owners.is_empty() && named.iter().any(|oid| claims.of(*oid).is_empty() && shared.objects.relation(*oid).is_some());
            (owners.len() > 1 || names_shared).then(|| {
                let crossing = Crossing {
                    kind: CrossingKind::Statement,
                    name: shortened(&statement.query),
                    source: sides(&owners, names_shared),
                    target: None,
                    consequence: format!("It was run {} times and names tables of several services.", statement.calls),
                    advice: "Whoever runs it must be changed before the cutover.".to_owned(),
                    is_grave: false,
                };
                (statement.calls, crossing)
            })
        })
        .collect();
    crossing.sort_by_key(|(calls, _)| std::cmp::Reverse(*calls));
    crossing.into_iter().take(STATEMENTS_MAX).map(|(_, crossing)| crossing).collect()
}

fn shortened(query: &str) -> String {
    let line = query.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(STATEMENT_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
