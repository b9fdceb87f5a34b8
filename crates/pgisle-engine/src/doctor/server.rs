//! What the administrator sees from inside.

use std::path::Path;

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::doctor::{
    self, Check, Checked, Disk, ExtensionFacts, HbaFault, Place, ServerFacts, clock, collations, connections, extensions, locks,
    log, settings, space,
};

use super::{Patient, counted, document, login};
use crate::clock::now_ms;
use crate::postgres::{ConnectOptions, Session, inspect_shared};

const SERVER: &str = include_str!("server.sql");
const EXTENSIONS: &str = include_str!("extensions.sql");
const LIBRARIES: &str = include_str!("libraries.sql");

/// Lines of `pg_hba.conf` that are no rules. Superusers may ask.
const HBA_FAULTS: &str = "SELECT pg_catalog.current_setting('hba_file') || ':' || h.line_number, h.error \
    FROM pg_catalog.pg_hba_file_rules AS h WHERE h.error IS NOT NULL ORDER BY h.line_number";

/// All checks that need the administrator's session.
pub(super) async fn look(patient: &Patient<'_>, connect: &ConnectOptions, place: &Place, session: &Session) -> Vec<Checked> {
    let before_ms = now_ms();
    let facts: ServerFacts = match document(session, SERVER).await {
        Ok(facts) => facts,
        Err(reason) => {
            let finding = Diagnostic::error(Code::QUERY_FAILED, "the server's state cannot be read").detail(format!("{reason}."));
            return vec![Checked::failed(Check::Server, finding)];
        }
    };
    let after_ms = now_ms();
    let tls = login::tls_seen(connect, facts.tls.as_deref());
    let role = if facts.is_standby { "a standby" } else { "a primary" };
    let mut checks = vec![
        Checked::new(Check::Tls, tls, Vec::new()),
        Checked::new(Check::Server, format!("PostgreSQL {}, {role}", facts.version), doctor::server(&facts)),
    ];
    checks.push(look_at_settings(patient, session, &facts).await);
    checks.push(Box::pin(look_at_extensions(patient, connect, session, &facts)).await);
    let versions = facts.databases.iter().filter(|database| database.collation_made.is_some()).count();
    checks.push(Checked::new(
        Check::Collations,
        format!("{} with a version", counted(versions, "database", "databases")),
        collations(&facts),
    ));
    let sessions: u32 = facts.databases.iter().map(|database| database.sessions).sum();
    let seen = format!("{sessions} of {} in use", facts.usable_connections);
    checks.push(Checked::new(Check::Connections, seen, connections(&facts)));
    let found = locks(&facts);
    let seen = if found.is_empty() { "nobody holds others up".to_owned() } else { format!("{} in the way", found.len()) };
    checks.push(Checked::new(Check::Locks, seen, found));
    let (seen, finding) = clock(facts.clock_ms, before_ms, after_ms);
    checks.push(Checked::new(Check::Clock, seen, finding.into_iter().collect()));
    checks.push(look_at_disk(place, &facts));
    let archive = if facts.archive.is_on { "archived" } else { "not archived" };
    checks.push(Checked::new(Check::Log, format!("{archive}, {}", counted(facts.slots.len(), "slot", "slots")), log(&facts)));
    checks
}

async fn look_at_settings(patient: &Patient<'_>, session: &Session, facts: &ServerFacts) -> Checked {
    let inventory = inspect_shared(session).await.ok();
    let mut faults = Vec::new();
    if facts.is_superuser
        && let Ok(rows) = session.query(HBA_FAULTS, &[]).await
    {
        let fault = |row: &tokio_postgres::Row| Some(HbaFault { place: row.try_get(0).ok()?, error: row.try_get(1).ok()? });
        faults.extend(rows.iter().filter_map(fault));
    }
    let parallelism = u32::try_from(patient.parallelism).unwrap_or(u32::MAX);
    let found = settings(patient.spec, facts, inventory.as_ref(), &faults, parallelism);
    let seen = format!("wal_level {}, max_connections {}", facts.wal_level, facts.max_connections);
    Checked::new(Check::Settings, seen, found)
}

/// Looks into the services' databases that are there, one after the other.
async fn look_at_extensions(patient: &Patient<'_>, connect: &ConnectOptions, session: &Session, facts: &ServerFacts) -> Checked {
    let (mut all, mut unread) = (Vec::new(), Vec::new());
    let there = patient.services.iter().filter(|service| facts.databases.iter().any(|one| one.name == service.database.as_str()));
    for service in there {
        match read_extensions(connect, &service.database, facts.is_superuser).await {
            Ok(found) => all.push((service.database.to_string(), found)),
            Err(reason) => unread.push(format!("\"{}\" cannot be looked into: {reason}", service.database)),
        }
    }
    let (count, databases) = (all.iter().map(|(_, found)| found.len()).sum::<usize>(), all.len());
    let findings = extensions(session.server_version_num() / 10_000, &all);
    let libraries = if facts.is_superuser { "" } else { "; whether their libraries are there only a superuser sees" };
    let databases = counted(databases, "database", "databases");
    match unread.first() {
        Some(reason) if all.is_empty() => Checked::skipped(Check::Extensions, reason.clone()),
        Some(reason) => Checked::new(Check::Extensions, format!("{count} in {databases}; {reason}"), findings),
        None => Checked::new(Check::Extensions, format!("{count} in {databases}{libraries}"), findings),
    }
}

async fn read_extensions(
    connect: &ConnectOptions,
    database: &pgisle_core::name::DatabaseName,
    is_superuser: bool,
) -> Result<Vec<ExtensionFacts>, String> {
    let session = Session::connect(&connect.to_database(database)).await.map_err(|error| error.words())?;
    let mut found: Vec<ExtensionFacts> = document(&session, EXTENSIONS).await?;
    if is_superuser {
        let gone: Vec<String> = document(&session, LIBRARIES).await?;
        for library in found.iter_mut().flat_map(|extension| &mut extension.libraries) {
            library.is_there = Some(!gone.contains(&library.name));
        }
    }
    session.close().await;
    Ok(found)
}

/// SQL knows nothing of disks: only on the server's own machine there is something to see.
fn look_at_disk(place: &Place, facts: &ServerFacts) -> Checked {
    let unknown = |reason: &str| Checked::skipped(Check::Disk, reason);
    let Some(folder) = facts.data_directory.as_deref() else {
        return unknown("where the data is, only superusers and pg_read_all_settings see");
    };
    if !place.is_local {
        return unknown(&format!("the server cannot be asked for its disk; on its machine: df -h {folder}"));
    }
    // A forwarded port may lead to another machine, which has no such folder here, or not of a server at this port.
    let pid_file = std::fs::read_to_string(Path::new(folder).join("postmaster.pid")).unwrap_or_default();
    if pid_file.lines().nth(3) != Some(place.port.to_string().as_str()) {
        return unknown(&format!("its folder cannot be read from here; on its machine: df -h {folder}"));
    }
    match super::files::disk("the data", Path::new(folder)) {
        Some(disk) => {
            let finding = space(&disk);
            Checked::new(Check::Disk, Disk::seen(&disk), finding.into_iter().collect())
        }
        None => unknown("the system does not tell"),
    }
}
