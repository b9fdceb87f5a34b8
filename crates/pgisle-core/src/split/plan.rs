//! The whole plan of a split, for people and machines: what moves, what crosses, what stands in the way, which way is taken.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::boundary::{Crossing, crossings};
use super::claim::{Claims, Owners, claim};
use super::moved::moves_here;
use super::observed::{Relation, Shared, Writer};
use super::strategy::{Choice, Estimate, Strategy, choose, estimates};
use crate::diagnostic::{Code, Diagnostic};
use crate::inventory::Readable;
use crate::name::{DatabaseName, ServiceName};
use crate::spec::Spec;

/// A transaction that has been open for longer than this holds a split up noticeably.
const LONG_TRANSACTION_S: u64 = 5;

/// What the planner is told besides what was observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitOptions {
    /// Only these services; all that own tables when empty.
    pub services: BTreeSet<ServiceName>,
    /// Services whose home is their own database already, as the journal says. They are not planned unless they are named.
    pub moved: BTreeSet<ServiceName>,
    /// The strategy that was asked for.
    pub strategy: Option<Strategy>,
    /// The longest pause that is fine, milliseconds.
    pub pause_max_ms: u64,
}

/// What moves for one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceSplit {
    /// The service.
    pub service: ServiceName,
    /// Where it goes.
    pub database: DatabaseName,
    /// What moves, by kind: `table`, `view`, `sequence`, …, each `schema.name`.
    pub moves: BTreeMap<&'static str, Vec<String>>,
    /// Bytes of its tables, with their indexes.
    pub bytes: u64,
    /// The rows that the statistics know of.
    pub rows: u64,
    /// What every strategy would cost.
    pub estimates: Vec<Estimate>,
    /// Which one is taken.
    pub choice: Choice,
}

/// The plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[must_use = "a plan that nobody looks at changes nothing"]
pub struct SplitPlan {
    /// The shared database.
    pub database: DatabaseName,
    /// Its bytes.
    pub bytes: u64,
    /// The services, by name.
    pub services: Vec<ServiceSplit>,
    /// What crosses the boundary of one of them.
    pub crossings: Vec<Crossing>,
    /// Tables that no service claims: they stay.
    pub unclaimed: Vec<String>,
    /// What stands in the way, and what should be looked at.
    #[serde(skip)]
    pub diagnostics: Vec<Diagnostic>,
}

/// Plans a split. Pure.
pub fn plan_split(spec: &Spec, shared: &Shared, options: &SplitOptions) -> SplitPlan {
    let (claims, mut diagnostics) = claim(spec, shared);
    let elsewhere = if options.services.is_empty() { elsewhere(spec, &claims, options) } else { BTreeSet::new() };
    let is_wanted =
        |name: &ServiceName| options.services.contains(name) || options.services.is_empty() && !elsewhere.contains(name);
    let mut services = Vec::new();
    for service in spec.services.values().filter(|service| is_wanted(&service.name)) {
        if service.tables.is_empty() {
            if options.services.contains(&service.name) {
                diagnostics.push(
                    Diagnostic::error(Code::SPLIT_TABLE, format!("service \"{}\" owns no tables", service.name))
                        .at(service.place.clone())
                        .hint("Name them in its block: tables = [\"…\"]."),
                );
            }
            continue;
        }
        services.push(service_split(shared, &claims, &service.name, &service.database, options));
    }
    let crossings: Vec<Crossing> = crossings(shared, &claims)
        .into_iter()
        .filter(|crossing| services.iter().any(|service| crossing.concerns(&service.service)))
        .collect();
    let subjects: BTreeSet<String> =
        spec.services.keys().filter(|name| is_wanted(name)).map(|name| format!("service \"{name}\"")).collect();
    diagnostics.retain(|diagnostic| diagnostic.subject.as_ref().is_none_or(|subject| subjects.contains(subject)));
    diagnostics.extend(elsewhere.iter().map(|name| at_home(shared, name)));
    diagnostics.extend(preflight(shared, &services));
    diagnostics.extend(services.iter().filter_map(no_way));
    let unclaimed =
        shared.objects.relations.iter().filter(|relation| relation.kind.is_table() && claims.of(relation.oid).is_empty());
    SplitPlan {
        database: shared.database.clone(),
        bytes: shared.bytes,
        unclaimed: unclaimed.map(Relation::full_name).collect(),
        services,
        crossings,
        diagnostics,
    }
}

/// Services that have moved, or of whose tables the shared database has none: a file goes on to say what a service owns when that is
/// long gone from there.
fn elsewhere(spec: &Spec, claims: &Claims, options: &SplitOptions) -> BTreeSet<ServiceName> {
    let has_some = |name: &ServiceName| claims.relations.values().any(|owners| owners.contains(name));
    let owning = spec.services.values().filter(|service| !service.tables.is_empty()).map(|service| &service.name);
    owning.filter(|name| options.moved.contains(*name) || !has_some(name)).cloned().collect()
}

fn at_home(shared: &Shared, service: &ServiceName) -> Diagnostic {
    let database = &shared.database;
    Diagnostic::note(Code::SPLIT_TABLE, format!("service \"{service}\" is not at home in database \"{database}\""))
        .detail("It has moved, or none of its tables was ever there: it is left out.")
        .hint("To have it looked at all the same, name it:")
        .command(format!("pgisle split plan {service}"))
}

fn service_split(
    shared: &Shared,
    claims: &Claims,
    service: &ServiceName,
    database: &DatabaseName,
    options: &SplitOptions,
) -> ServiceSplit {
    let belongs = |owners: &Owners| owners.contains(service);
    let mut moves: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    let mut tables = Vec::new();
    for relation in &shared.objects.relations {
        if moves_here(claims, shared, relation, service) {
            moves.entry(relation.kind.word()).or_default().push(relation.full_name());
            if relation.kind.is_table() {
                tables.push(relation);
            }
        }
    }
    let functions = shared.objects.functions.iter().filter(|function| claims.functions.get(&function.oid).is_some_and(belongs));
    let functions: Vec<String> = functions.map(|function| function.signature.clone()).collect();
    let types: Vec<String> = claims.types.iter().filter(|(_, owners)| belongs(owners)).map(|(name, _)| name.clone()).collect();
    moves.extend([("function", functions), ("type", types)].into_iter().filter(|(_, names)| !names.is_empty()));
    let estimates = estimates(shared, &tables);
    let choice = choose(&estimates, options.strategy, options.pause_max_ms);
    ServiceSplit {
        service: service.clone(),
        database: database.clone(),
        moves,
        bytes: tables.iter().map(|table| table.bytes).sum(),
        rows: tables.iter().filter_map(|table| table.rows).sum(),
        estimates,
        choice,
    }
}

fn no_way(service: &ServiceSplit) -> Option<Diagnostic> {
    service.choice.strategy.is_none().then(|| {
        Diagnostic::error(Code::SPLIT_STRATEGY, format!("service \"{}\" cannot be split out", service.service))
            .detail(service.choice.because.clone())
            .hint("Mend that, or take another strategy: `pgisle split plan` shows which can be used.")
    })
}

/// What stands in the way of more than one service.
fn preflight(shared: &Shared, services: &[ServiceSplit]) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    match &shared.writers {
        Readable::Known(writers) => {
            let long: Vec<String> = writers.iter().filter(|writer| writer.age_s >= LONG_TRANSACTION_S).map(Writer::words).collect();
            if !long.is_empty() {
                diagnostics.push(
                    Diagnostic::warning(Code::SPLIT_TRANSACTION, "transactions that have written are open for long")
                        .detail(format!(
                            "{}. A replication slot waits for every one of them, whatever its database.",
                            long.join("; ")
                        ))
                        .hint("Wait for them to end, or end them."),
                );
            }
        }
        Readable::Hidden(why) => diagnostics.push(
            Diagnostic::warning(Code::SPLIT_TRANSACTION, "open transactions cannot be seen")
                .detail(format!("A long one would hold up a cutover, and {why}."))
                .hint("Give the administrator pg_read_all_stats."),
        ),
    }
    if let Readable::Hidden(why) = &shared.statements {
        diagnostics.push(
            Diagnostic::note(Code::SPLIT_STATEMENTS, "joins across services cannot be looked for")
                .detail(format!("pg_stat_statements would show them, and {why}."))
                .hint(
                    "With shared_preload_libraries = 'pg_stat_statements' and CREATE EXTENSION, plan again after a day of traffic.",
                ),
        );
    }
    if shared.objects.large_objects > 0 {
        let pointing: Vec<String> =
            shared.objects.relations.iter().filter(|relation| relation.points_to_large_objects).map(Relation::full_name).collect();
        diagnostics.push(
            Diagnostic::warning(
                Code::SPLIT_LARGE_OBJECTS,
                format!("there are {} large objects, which no table owns", shared.objects.large_objects),
            )
            .detail(format!(
                "Columns that may point to them: {}. What a service's columns point to moves with it.",
                if pointing.is_empty() { "none".to_owned() } else { pointing.join(", ") }
            ))
            .hint("Large objects that no column points to stay: look at them before the shared database goes."),
        );
    }
    let foreign: Vec<&str> = services
        .iter()
        .filter(|service| service.moves.contains_key("foreign table"))
        .map(|service| service.service.as_str())
        .collect();
    if !foreign.is_empty() {
        diagnostics.push(
            Diagnostic::warning(Code::SPLIT_TABLE, "foreign tables have their rows elsewhere and are not moved")
                .detail(format!("Services: {}.", foreign.join(", "))),
        );
    }
    diagnostics
}
