//! What is left of a service in the shared database, put aside under other names until it is dropped.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::moved::Moved;
use super::observed::{RelationKind, Shared};
use crate::moment::Moment;
use crate::name::{NAME_BYTES_MAX, RoleName};

/// A table, view or sequence that is put aside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aside {
    /// What it is.
    pub kind: RelationKind,
    /// Its schema.
    pub schema: String,
    /// What it was called.
    pub name: String,
    /// What it is called since.
    pub aside: String,
    /// Its owner.
    pub owner: RoleName,
}

impl Aside {
    /// `schema.name`, as it is called since.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.aside)
    }

    /// Whether it has to go before the tables that it reads.
    #[must_use]
    pub fn is_view(&self) -> bool {
        matches!(self.kind, RelationKind::View | RelationKind::Materialized)
    }
}

/// Names everything of a service anew: `messages` becomes `messages__moved_20250119`.
#[must_use]
pub fn put_aside(shared: &Shared, moved: &Moved, at: Moment) -> Vec<Aside> {
    let relations = &shared.objects.relations;
    let mut taken: BTreeSet<(&str, String)> =
        relations.iter().map(|relation| (relation.schema.as_str(), relation.name.clone())).collect();
    let date: String = at.compact().chars().take(8).collect();
    let mut all = Vec::new();
    for relation in relations.iter().filter(|relation| moved.relations.contains(&relation.oid)) {
        let names = (1..).map(|attempt| name(&relation.name, &date, attempt));
        let mut free = names.filter(|name| !taken.contains(&(relation.schema.as_str(), name.clone())));
        let Some(aside) = free.next() else { continue };
        taken.insert((relation.schema.as_str(), aside.clone()));
        let (schema, name, owner) = (relation.schema.clone(), relation.name.clone(), relation.owner.clone());
        all.push(Aside { kind: relation.kind, schema, name, aside, owner });
    }
    all
}

/// Cut so that PostgreSQL keeps what is put behind it; two long names may then be the same but for a number.
fn name(name: &str, date: &str, attempt: u32) -> String {
    let suffix = if attempt == 1 { format!("__moved_{date}") } else { format!("__moved_{date}_{attempt}") };
    let room = NAME_BYTES_MAX - suffix.len();
    let end = (0..=room.min(name.len())).rev().find(|&end| name.is_char_boundary(end)).unwrap_or(0);
    format!("{}{suffix}", &name[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_where_a_letter_ends_and_numbered() {
        assert_eq!(name("messages", "20250119", 1), "messages__moved_20250119");
        let long = "é".repeat(31);
        for attempt in [1, 2, 10] {
            let aside = name(&long, "20250119", attempt);
            assert!(aside.len() <= 63 && aside.contains("é__moved_20250119"), "{aside}");
        }
        assert!(name(&long, "20250119", 2).ends_with("__moved_20250119_2"));
    }
}
