//! How an archive is loaded by several sessions at once: what must come first, what can be done side by side, and what comes last.
//!
//! Rows of one table may go through several sessions. Indexes and constraints behind the data are built side by side as far as
//! their dependencies and locks let them. All else keeps the order that `pg_restore` gives it, one after another: it costs next to
//! nothing, and a mistake about it would show in odd databases only.

use std::collections::{BTreeMap, BTreeSet};

use super::archive::Entry;

/// Kinds that take long, and whose locks are known.
const SIDE_BY_SIDE: &[&str] = &["INDEX", "CONSTRAINT", "FK CONSTRAINT"];

/// What holds rows and can be locked.
const TABLES: &[&str] = &["TABLE", "MATERIALIZED VIEW", "FOREIGN TABLE"];

/// Kinds that set up a session.
const SETTINGS: &[&str] = &["ENCODING", "STDSTRINGS", "SEARCHPATH"];

/// So many that can begin are compared by size.
const CHOICES: usize = 64;

/// The order in which an archive is loaded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Arrangement {
    /// What `pg_restore` makes a script of first, by number.
    pub first: Vec<i64>,
    /// The tables' data that is dealt to several sessions, by number.
    pub dealt: BTreeSet<i64>,
    /// What is built side by side then.
    pub builds: Builds,
    /// What `pg_restore` makes a script of last.
    pub last: Vec<i64>,
    /// What sets up each further session: SQL, a text an entry.
    pub settings: Vec<String>,
}

/// Arranges what is restored of an archive. `rows` says how large a table is, by schema and name. `is_readable` is whether its data
/// can be read here; otherwise `pg_restore` reads it, and one session loads it.
#[must_use]
pub fn arrange(entries: &[Entry], restored: &[i64], rows: &dyn Fn(&str, &str) -> u64, is_readable: bool) -> Arrangement {
    // Older archives set the path for each thing; only pg_restore knows how.
    if !entries.iter().any(|entry| entry.kind == "SEARCHPATH") {
        return Arrangement { first: restored.to_vec(), ..Arrangement::default() };
    }
    let by_number: BTreeMap<i64, &Entry> = entries.iter().map(|entry| (entry.dump_id, entry)).collect();
    let restored: Vec<&Entry> = restored.iter().filter_map(|number| by_number.get(number).copied()).collect();
    let behind = behind(&restored);
    let is_behind = |entry: &Entry| behind.contains(&entry.dump_id);
    let tables = |entry: &Entry| -> BTreeSet<i64> {
        let is_table = |number: &&i64| by_number.get(number).is_some_and(|entry| TABLES.contains(&entry.kind.as_str()));
        entry.dependencies.iter().filter(is_table).copied().collect()
    };
    let can_be = |entry: &&&Entry| {
        entry.is_post_data && SIDE_BY_SIDE.contains(&entry.kind.as_str()) && !entry.has_data && !tables(entry).is_empty()
    };
    let mut chosen: BTreeSet<i64> = restored.iter().filter(can_be).map(|entry| entry.dump_id).collect();
    loop {
        let waits = |number: &i64| by_number[number].dependencies.iter().any(|one| behind.contains(one) && !chosen.contains(one));
        let Some(number) = chosen.iter().copied().find(waits) else { break };
        chosen.remove(&number);
    }
    let size = |number: &i64| by_number.get(number).map_or(0, |table| rows(&table.schema, &table.tag));
    let build = |entry: &&Entry| {
        let tables = tables(entry);
        let needs = entry.dependencies.iter().filter(|one| chosen.contains(one)).copied().collect();
        let size = tables.iter().map(size).max().unwrap_or_default();
        let is_shared = entry.kind == "INDEX";
        Build { number: entry.dump_id, definition: entry.definition.clone(), tables, needs, size, is_shared }
    };
    let is_dealt = |entry: &Entry| is_readable && entry.kind == "TABLE DATA" && entry.has_data && !is_behind(entry);
    let numbers = |wanted: &dyn Fn(&Entry) -> bool| -> Vec<i64> {
        restored.iter().filter(|entry| wanted(entry)).map(|entry| entry.dump_id).collect()
    };
    Arrangement {
        first: numbers(&|entry| !is_behind(entry) && !is_dealt(entry)),
        dealt: numbers(&is_dealt).into_iter().collect(),
        builds: Builds::new(restored.iter().filter(|entry| chosen.contains(&entry.dump_id)).map(build).collect()),
        last: numbers(&|entry| is_behind(entry) && !chosen.contains(&entry.dump_id)),
        settings: restored
            .iter()
            .filter(|entry| SETTINGS.contains(&entry.kind.as_str()))
            .map(|entry| entry.definition.clone())
            .collect(),
    }
}

/// What comes behind the data, and all that depends on it: comments are in no section, and a view can need a primary key.
fn behind(restored: &[&Entry]) -> BTreeSet<i64> {
    let mut behind: BTreeSet<i64> = restored.iter().filter(|entry| entry.is_post_data).map(|entry| entry.dump_id).collect();
    loop {
        let before = behind.len();
        for entry in restored {
            if entry.dependencies.iter().any(|one| behind.contains(one)) {
                behind.insert(entry.dump_id);
            }
        }
        if behind.len() == before {
            return behind;
        }
    }
}

/// An index or constraint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Its number in the archive.
    pub number: i64,
    /// The SQL that makes it.
    pub definition: String,
    tables: BTreeSet<i64>,
    needs: BTreeSet<i64>,
    /// Rows of its largest table.
    size: u64,
    /// Whether others like it can be made on the same table at the same time.
    is_shared: bool,
}

impl Build {
    fn conflicts(&self, other: &Self) -> bool {
        let is_shared = self.is_shared && other.is_shared;
        !is_shared && !self.tables.is_disjoint(&other.tables)
    }
}

/// What is still to be built, and what is being built.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Builds {
    waiting: Vec<Build>,
    running: Vec<Build>,
}

impl Builds {
    fn new(waiting: Vec<Build>) -> Self {
        Self { waiting, running: Vec::new() }
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What can be begun now, of the largest table there is; none when all that waits must wait for what runs. Those of one table
    /// keep their order.
    pub fn begin(&mut self) -> Option<Build> {
        let open: BTreeSet<i64> = self.waiting.iter().chain(&self.running).map(|build| build.number).collect();
        let mut startable = Vec::new();
        for (place, build) in self.waiting.iter().enumerate() {
            let is_blocked = !build.needs.is_disjoint(&open)
                || self.running.iter().any(|other| build.conflicts(other))
                || self.waiting[..place].iter().any(|earlier| build.conflicts(earlier));
            if !is_blocked {
                startable.push(place);
            }
            if startable.len() >= CHOICES {
                break;
            }
        }
        let largest = startable.into_iter().max_by_key(|&place| (self.waiting[place].size, std::cmp::Reverse(place)));
        // What waits for itself is begun all the same: the server will say what is wrong with it.
        let place = largest.or_else(|| (self.running.is_empty() && !self.waiting.is_empty()).then_some(0))?;
        let build = self.waiting.remove(place);
        self.running.push(build.clone());
        Some(build)
    }

    /// One is built.
    pub fn finish(&mut self, number: i64) {
        self.running.retain(|build| build.number != number);
    }

    /// One could not be built while others were: it is begun again when it is its turn, before all that came behind it.
    pub fn postpone(&mut self, number: i64) {
        if let Some(place) = self.running.iter().position(|build| build.number == number) {
            let build = self.running.remove(place);
            self.waiting.insert(0, build);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(dump_id: i64, kind: &str, tag: &str, dependencies: &[i64]) -> Entry {
        Entry {
            dump_id,
            catalog: (0, 0),
            kind: kind.to_owned(),
            tag: tag.to_owned(),
            definition: format!("make {tag};"),
            copy: String::new(),
            schema: "public".to_owned(),
            owner: "o".to_owned(),
            has_data: kind == "TABLE DATA",
            is_post_data: dump_id >= 100,
            dependencies: dependencies.to_vec(),
        }
    }

    fn listing() -> Vec<Entry> {
        vec![
            entry(1, "SEARCHPATH", "SEARCHPATH", &[]),
            entry(10, "TABLE", "small", &[]),
            entry(11, "TABLE", "large", &[]),
            entry(20, "TABLE DATA", "small", &[10]),
            entry(21, "TABLE DATA", "large", &[11]),
            entry(22, "BLOBS", "BLOBS", &[]),
            entry(30, "COMMENT", "INDEX large_one", &[102]),
            entry(31, "VIEW", "keyed", &[100]),
            entry(32, "COMMENT", "VIEW keyed", &[31]),
            entry(100, "CONSTRAINT", "small_key", &[10]),
            entry(101, "CONSTRAINT", "large_key", &[11]),
            entry(102, "INDEX", "large_one", &[11]),
            entry(103, "INDEX", "large_two", &[11]),
            entry(104, "INDEX ATTACH", "attach", &[102]),
            entry(105, "FK CONSTRAINT", "large_small", &[10, 11, 100]),
            entry(106, "FK CONSTRAINT", "behind_attach", &[10, 11, 104]),
            entry(107, "TRIGGER", "t", &[11]),
            entry(108, "INDEX", "of_nothing", &[]),
        ]
    }

    fn arranged(is_readable: bool) -> Arrangement {
        let entries = listing();
        let restored: Vec<i64> = entries.iter().map(|entry| entry.dump_id).collect();
        arrange(&entries, &restored, &|_, name| if name == "large" { 1000 } else { 1 }, is_readable)
    }

    #[test]
    fn what_is_not_known_to_be_safe_comes_last_in_order() {
        let arrangement = arranged(true);
        assert_eq!(arrangement.first, [1, 10, 11, 22]);
        assert_eq!(arrangement.dealt, BTreeSet::from([20, 21]));
        assert_eq!(arrangement.last, [30, 31, 32, 104, 106, 107, 108]);
        assert_eq!(arrangement.settings, ["make SEARCHPATH;"]);
        assert_eq!(arrangement.builds.waiting(), 5);
        assert_eq!(arranged(false).first, [1, 10, 11, 20, 21, 22]);
    }

    #[test]
    fn without_a_search_path_pg_restore_does_it_all() {
        let entries = listing().split_off(1);
        let restored: Vec<i64> = entries.iter().map(|entry| entry.dump_id).collect();
        let arrangement = arrange(&entries, &restored, &|_, _| 0, true);
        assert_eq!(arrangement.first, restored);
        assert_eq!(arrangement.builds.waiting(), 0);
    }

    #[test]
    fn the_largest_is_begun_first_and_locks_are_respected() {
        let mut builds = arranged(true).builds;
        let begin = |builds: &mut Builds| builds.begin().map(|build| build.number);
        assert_eq!(begin(&mut builds), Some(101));
        assert_eq!(begin(&mut builds), Some(100));
        // The key of the large table holds it.
        assert_eq!(begin(&mut builds), None);
        builds.finish(101);
        assert_eq!(begin(&mut builds), Some(102));
        assert_eq!(begin(&mut builds), Some(103));
        builds.finish(100);
        // The foreign key waits for both tables.
        assert_eq!(begin(&mut builds), None);
        builds.finish(102);
        builds.postpone(103);
        assert_eq!(begin(&mut builds), Some(103));
        builds.finish(103);
        assert_eq!(begin(&mut builds), Some(105));
        builds.finish(105);
        assert_eq!((begin(&mut builds), builds.waiting()), (None, 0));
    }

    #[test]
    fn what_waits_for_itself_is_begun() {
        let entries = vec![
            entry(1, "SEARCHPATH", "", &[]),
            entry(10, "TABLE", "t", &[]),
            entry(100, "INDEX", "a", &[10, 101]),
            entry(101, "INDEX", "b", &[10, 100]),
        ];
        let mut builds = arrange(&entries, &[1, 10, 100, 101], &|_, _| 0, true).builds;
        let one = builds.begin().map(|build| build.number);
        assert_eq!((one, builds.begin()), (Some(100), None));
    }
}
