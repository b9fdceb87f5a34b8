//! The new database: made beside the island's, given the definitions of what moves, and rows.

use std::collections::BTreeMap;
use std::io::{BufReader, Read as _};
use std::sync::Mutex;

use futures_util::future::try_join_all;
use pgisle_core::backup::archive::read_entries;
use pgisle_core::backup::restore::{Leftover, Purpose, split_remains};
use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::inventory::Inventory;
use pgisle_core::name::{RoleName, SchemaName};
use pgisle_core::split::{Moved, Phase, Schema, choose_schema};
use pgisle_core::sql::restore::create_schema;
use pgisle_core::sql::split::{EXCLUDERS, STRIP};

use super::{Request, SplitError, hold};
use crate::backup::restore::{Site, stage};
use crate::fault;
use crate::local::ClientPrograms;
use crate::postgres::{ConnectOptions, Session};

/// A dump's definitions name everything with its schema, and functions may call what comes later. Indexes are sorted, and foreign keys
/// looked at, in memory as long as there is some.
const DEFINING: &str = "SET search_path = ''; SET check_function_bodies = off; SET synchronous_commit = off; \
    SET client_min_messages = warning; SET maintenance_work_mem = '256MB'";

/// What the new database is filled from, as its marker says.
pub(super) fn source(request: &Request<'_>) -> String {
    format!("split of {}", request.shared())
}

/// Reads the definitions of what moves: `pg_dump` has them in the order in which they can be made.
pub(super) async fn read_schema(
    request: &Request<'_>,
    moved: &Moved,
    server_major: u32,
    is_superuser: bool,
) -> Result<Schema, SplitError> {
    let programs = ClientPrograms::find(server_major).await.map_err(|_| no_tools(server_major))?;
    let connect = request.connect_to(request.shared());
    let mut program =
        programs.invocation("pg_dump").arguments(["--format=custom", "--compress=0", "--schema-only", "--no-password"]);
    program = program.arguments(["--no-subscriptions", "--no-publications", "--lock-wait-timeout=10s"]);
    // The owner of the tables may not read it, and the fence must be among what is listed: what needs it stays.
    program = program.argument("--exclude-table=pgisle_split.job");
    if let Some(owner) = moved.tables.first().map(|table| &table.owner).filter(|_| !is_superuser) {
        program = program.argument(format!("--role={}", owner.as_str()));
    }
    let (dump, output) = connect.lend(program, programs.major).stream(None)?;
    let leash = dump.leash();
    let read = tokio::task::spawn_blocking(move || {
        let mut archive = Vec::new();
        let read = BufReader::new(output).read_to_end(&mut archive);
        dump.wait().map(|()| (read, archive))
    });
    let outcome = read.await;
    drop(leash);
    let unreadable = |why: String| {
        SplitError::from(
            Diagnostic::error(Code::SPLIT_FAILED, "the definitions of the tables cannot be read").detail(format!("{why}.")),
        )
    };
    let (read, archive) = match outcome.map_err(|error| unreadable(error.to_string()))? {
        Ok(read) => read,
        // What a pg_dump says that has waited in vain is not who it was that it waited for.
        Err(error) => return Err(kept_away(request).await.unwrap_or_else(|| error.into())),
    };
    read.map_err(|error| unreadable(error.to_string()))?;
    let listing = read_entries(archive.as_slice()).map_err(|error| unreadable(error.to_string()))?;
    Ok(choose_schema(&listing.entries, moved))
}

/// Who keeps readers away from the tables, if somebody does.
async fn kept_away(request: &Request<'_>) -> Option<SplitError> {
    let session = request.session(request.shared()).await.ok()?;
    let words = hold::who(&session.query(EXCLUDERS, &[]).await.ok()?);
    session.close().await;
    let who = || {
        Diagnostic::error(Code::SPLIT_PAUSE, "the definitions of the tables cannot be read")
            .detail(format!("A change is under way: {}.", words.join("; ")))
    };
    (!words.is_empty()).then(|| who().hint("Nothing has moved. Wait for it to end, and try again.").into())
}

fn no_tools(server_major: u32) -> SplitError {
    Diagnostic::error(Code::BACKUP_TOOLS, format!("there is no pg_dump for a server of PostgreSQL {server_major}"))
        .hint(format!(
            "Install PostgreSQL's client programs, version {server_major} or later, or name their folder in PGISLE_PG_BIN."
        ))
        .into()
}

/// Takes away what earlier attempts of this service have left.
pub(super) async fn clean(site: &Site<'_>, session: &mut Session, inventory: &Inventory) -> Result<(), SplitError> {
    let source = format!("split of {}", site.request.spec.settings.postgres_database);
    for leftover in split_remains(inventory, site.project(), site.environment()) {
        match &leftover {
            Leftover::Staging { database, service, waiting, .. } if *service == site.service.name => {
                let waits = *waiting && site.is_ours(database, inventory, &source);
                // What has become the service's own is no remains, whatever its marker says still.
                if !waits && *database != site.service.database {
                    stage::drop_database(session, inventory, database).await?;
                }
            }
            Leftover::Loader { role, service } if *service == site.service.name => {
                stage::drop_loader(session, role).await?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// What runs definitions, as the login of the new database.
pub(super) async fn definer(connect: &ConnectOptions) -> Result<Session, SplitError> {
    let session = Session::connect(connect).await?;
    session.batch(DEFINING).await.map_err(SplitError::query("prepare to make the tables"))?;
    Ok(session)
}

/// Takes away what a cutover that was given up had made late, so that nothing fires while changes are applied.
pub(super) async fn strip(connect: &ConnectOptions) -> Result<(), SplitError> {
    let session = definer(connect).await?;
    session.batch(STRIP).await.map_err(SplitError::query("take triggers and policies away again"))?;
    session.close().await;
    Ok(())
}

/// Makes what must be there before the rows.
pub(super) async fn define(session: &mut Session, schema: &Schema, owner: &RoleName) -> Result<(), SplitError> {
    for name in &schema.schemas {
        let statement = create_schema(&SchemaName::observed(name), owner);
        session.run(statement.expose()).await.map_err(SplitError::query(format!("make schema \"{name}\"")))?;
    }
    run_all(session, definitions(schema, Phase::Before)).await
}

/// Makes what is made once the rows are there: indexes several at once, then the rest.
pub(super) async fn complete(connect: &ConnectOptions, schema: &Schema, parallelism: usize) -> Result<(), SplitError> {
    let indexes = definitions(schema, Phase::Indexes);
    let next = Mutex::new(indexes.iter());
    let workers = parallelism.clamp(1, indexes.len().max(1));
    try_join_all((0..workers).map(async |_| {
        let mut session = definer(connect).await?;
        loop {
            let definition = next.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
            let Some(definition) = definition else { break };
            run_one(&mut session, definition).await?;
        }
        session.close().await;
        Ok::<(), SplitError>(())
    }))
    .await?;
    let mut session = definer(connect).await?;
    run_all(&mut session, definitions(schema, Phase::After)).await?;
    session.batch("ANALYZE").await.map_err(SplitError::query("collect statistics"))?;
    session.close().await;
    Ok(())
}

pub(super) fn definitions(schema: &Schema, phase: Phase) -> &[String] {
    schema.definitions.get(&phase).map(Vec::as_slice).unwrap_or_default()
}

pub(super) async fn run_all(session: &mut Session, definitions: &[String]) -> Result<(), SplitError> {
    for definition in definitions {
        run_one(session, definition).await?;
    }
    Ok(())
}

async fn run_one(session: &mut Session, definition: &str) -> Result<(), SplitError> {
    let words: Vec<&str> = definition.split_whitespace().filter(|word| *word != "ONLY").take(5).collect();
    session.run_foreign(definition).await.map_err(SplitError::query(format!("run {} …", words.join(" "))))?;
    fault::after(fault::Moment::Statement);
    Ok(())
}

/// Makes the new database, with its extensions and everything that must be there before the rows.
pub(super) async fn make(
    site: &Site<'_>,
    request: &Request<'_>,
    session: &mut Session,
    inventory: &Inventory,
    moved: &Moved,
    schema: &Schema,
) -> Result<stage::Stage, SplitError> {
    let stage = stage::make(site, session, inventory, Purpose::Split, &source(request)).await?;
    let extensions: BTreeMap<String, Option<String>> = moved.extensions.clone();
    stage::extend(site, &stage, inventory, &extensions).await?;
    let mut session = definer(&stage.connect(site)).await?;
    define(&mut session, schema, &site.service.owner()).await?;
    session.close().await;
    Ok(stage)
}
