//! What people would do without pgisle: the same statements, in the same transactions, by psql.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use pgisle_core::name::DatabaseName;
use pgisle_core::plan::{Plan, Unit, UnitPlace};

use crate::workspace::root;

/// Where the engine's queries are.
const QUERIES: &str = "crates/pgisle-engine/src/postgres/inspect";

/// The queries that are asked inside of each database.
const CONTENTS: &str = "contents.sql";

/// The start of the names of those that are asked about what somebody made there: nothing, in these.
const OWN: &str = "own_";

/// Scripts for psql, to be run stage after stage, those of a stage at the same time.
pub(super) type Stages = Vec<Vec<PathBuf>>;

/// A plan as scripts: what is shared first, then the databases, spread over so many sessions.
///
/// As quick as a plain script can be: the databases of a session are all made before the first is entered, so each costs one
/// connection.
pub(super) fn apply(plan: &Plan, sessions: usize, folder: &Path) -> Result<Stages> {
    let databases = |session| {
        let chains = || plan.chains.iter().skip(session).step_by(sessions);
        let mut text = String::new();
        let is_outside = |unit: &&Unit| unit.place == UnitPlace::Maintenance;
        chains().flat_map(|chain| chain.units.iter().filter(is_outside)).for_each(|unit| text.push_str(&unit_text(unit)));
        for chain in chains() {
            text.push_str(&connect(&chain.database));
            chain.units.iter().filter(|unit| !is_outside(unit)).for_each(|unit| text.push_str(&unit_text(unit)));
        }
        text
    };
    let serial = |units: &[Unit]| units.iter().map(unit_text).collect::<String>();
    let stages = if sessions == 1 {
        let back = "\\connect postgres\n";
        vec![vec![[&serial(&plan.before), &databases(0), back, &serial(&plan.after)].concat()]]
    } else {
        vec![vec![serial(&plan.before)], (0..sessions).map(databases).collect(), vec![serial(&plan.after)]]
    };
    write(stages, &format!("apply-{sessions}"), folder)
}

/// Everything that an inspection asks for, as scripts: what is shared, then each database.
pub(super) fn read_back(plan: &Plan, major: u32, sessions: usize, folder: &Path) -> Result<Stages> {
    let mut shared = String::new();
    let skipped = if major >= 16 { "memberships_15.sql" } else { "memberships_16.sql" };
    let mut queries: Vec<PathBuf> = root().join(QUERIES).read_dir()?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    queries.sort();
    for path in queries {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_shared = name != skipped && name != CONTENTS && !name.starts_with(OWN);
        if path.extension().is_some_and(|extension| extension == "sql") && is_shared {
            shared.push_str(&format!("{};\n", fs::read_to_string(&path)?));
        }
    }
    let contents = fs::read_to_string(root().join(QUERIES).join(CONTENTS)).context("the engine's queries have moved")?;
    let databases = |session| {
        let chains = plan.chains.iter().skip(session).step_by(sessions);
        chains.map(|chain| format!("{}{contents};\n", connect(&chain.database))).collect::<String>()
    };
    let stages =
        if sessions == 1 { vec![vec![shared + &databases(0)]] } else { vec![vec![shared], (0..sessions).map(databases).collect()] };
    write(stages, &format!("read-{sessions}"), folder)
}

fn connect(database: &DatabaseName) -> String {
    // The names here are ours, and plain.
    format!("\\connect {database}\n")
}

fn unit_text(unit: &Unit) -> String {
    let (begin, commit) = if unit.transaction { ("BEGIN;\n", "COMMIT;\n") } else { ("", "") };
    let statements = unit.steps.iter().flat_map(|step| step.statements());
    let statements: String = statements.map(|statement| [statement.expose(), ";\n"].concat()).collect();
    [begin, &statements, commit].concat()
}

fn write(stages: Vec<Vec<String>>, name: &str, folder: &Path) -> Result<Stages> {
    let mut number = 0;
    let mut write = |text: String| {
        number += 1;
        let path = folder.join(format!("{name}-{number}.sql"));
        fs::write(&path, text)?;
        Ok(path)
    };
    let mut is_some = |texts: Vec<String>| texts.into_iter().filter(|text| !text.is_empty()).map(&mut write).collect();
    stages.into_iter().map(&mut is_some).collect()
}
