//! Which logins are tried on which databases.
//!
//! Two hundred services are forty thousand pairs: minutes of a server's work for what the static proof knows of every pair
//! anyway. So up to a bound every pair is tried, and above it a sample in which each database is tried by as many services as
//! any other.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::inventory::Inventory;
use crate::name::{DatabaseName, ServiceName};
use crate::spec::Spec;

/// How much is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bounds {
    /// Up to so many services, every pair is tried.
    pub full_up_to: usize,
    /// Above that, how many other services' databases each service tries.
    pub sample: usize,
    /// Which sample: with another number, other pairs.
    pub seed: u64,
}

impl Bounds {
    /// Twenty services are some five hundred logins: seconds.
    pub const USUAL: Self = Self { full_up_to: 20, sample: 5, seed: 0 };

    /// True when not every pair is tried.
    #[must_use]
    pub fn samples(&self, spec: &Spec) -> bool {
        spec.services.len() > self.full_up_to && spec.services.len() > self.sample.saturating_add(1)
    }
}

/// What a column of the matrix stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnKind {
    /// A service's database.
    Island,
    /// The database that services are split out of.
    Shared,
    /// A database that every cluster is born with, or the one that pgisle connects to.
    Maintenance,
}

/// A column of the matrix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Column {
    /// The database.
    pub database: DatabaseName,
    /// What heads the column: the service's name, or the database's.
    pub label: String,
    /// What it stands for.
    pub kind: ColumnKind,
}

/// The columns: the islands, the shared database, `postgres`, `template1`. Databases that do not exist are left out, but for
/// islands.
#[must_use]
pub fn columns(spec: &Spec, inventory: &Inventory) -> Vec<Column> {
    let mut columns: Vec<Column> = spec
        .services
        .values()
        .map(|service| Column { database: service.database.clone(), label: service.name.to_string(), kind: ColumnKind::Island })
        .collect();
    let settings = &spec.settings;
    let born = ["postgres", "template1"].into_iter().filter_map(|name| DatabaseName::new(name).ok());
    let maintenance = born.chain([settings.maintenance_database.clone()]).map(|name| (name, ColumnKind::Maintenance));
    for (database, kind) in std::iter::once((settings.postgres_database.clone(), ColumnKind::Shared)).chain(maintenance) {
        let is_there = columns.iter().any(|column| column.database == database);
        if !is_there && inventory.databases.contains_key(&database) {
            columns.push(Column { label: database.to_string(), database, kind });
        }
    }
    columns
}

/// The databases beside its own that each service tries, in the order of the columns.
#[must_use]
pub fn targets(spec: &Spec, inventory: &Inventory, bounds: &Bounds) -> BTreeMap<ServiceName, Vec<DatabaseName>> {
    let columns = columns(spec, inventory);
    let (islands, others): (Vec<_>, Vec<_>) = columns.into_iter().partition(|column| column.kind == ColumnKind::Island);
    let count = islands.len();
    let steps = steps(count, bounds, bounds.samples(spec));
    let of_service = |(place, service): (usize, &ServiceName)| {
        let mut places: Vec<usize> = steps.iter().map(|step| (place + step) % count).collect();
        places.sort_unstable();
        let chosen = places.into_iter().map(|place| &islands[place]).chain(&others);
        let existing = chosen.filter(|column| inventory.databases.contains_key(&column.database));
        (service.clone(), existing.map(|column| column.database.clone()).collect())
    };
    spec.services.keys().enumerate().map(of_service).collect()
}

/// How far ahead, in the ring of services, each one looks. The same steps for all of them, so that all are looked at alike.
fn steps(count: usize, bounds: &Bounds, samples: bool) -> Vec<usize> {
    let Some(others) = count.checked_sub(1).filter(|others| *others > 0) else { return Vec::new() };
    if !samples {
        return (1..=others).collect();
    }
    let stride = (others / bounds.sample.max(1)).max(1);
    let seed = usize::try_from(bounds.seed % others as u64).unwrap_or_default();
    (0..bounds.sample).map(|step| 1 + (seed + step * stride) % others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_no_step_twice_and_never_looks_home() {
        for count in [22, 23, 50, 199, 200] {
            for seed in [0, 1, 7, u64::MAX] {
                let bounds = Bounds { seed, ..Bounds::USUAL };
                let mut steps = steps(count, &bounds, true);
                assert!(steps.iter().all(|step| (1..count).contains(step)), "{count} {steps:?}");
                steps.sort_unstable();
                steps.dedup();
                assert_eq!(steps.len(), bounds.sample, "{count} {seed}");
            }
        }
        assert_eq!(steps(4, &Bounds::USUAL, false), [1, 2, 3]);
        assert_eq!(steps(1, &Bounds::USUAL, false), [0_usize; 0]);
    }
}
