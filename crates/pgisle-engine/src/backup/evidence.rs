//! Whether a backup holds what a database holds: what must be known before it is dropped.
//!
//! PostgreSQL does not tell when a database was last written to: commit times are kept only where someone has asked for them, and say
//! nothing of what was deleted. So the content itself is compared: first the names of the tables and the sequences, which costs next to
//! nothing and tells most differences, and then every row, as for a restore.

use std::collections::BTreeMap;
use std::time::Duration;

use pgisle_core::backup::{Content, TableContent};
use pgisle_core::inventory::Inventory;
use pgisle_core::marker::Kind;
use pgisle_core::name::{DatabaseName, RoleName, ServiceName};
use pgisle_core::plan::{BackedUp, Backups};
use pgisle_core::spec::Spec;

use super::catalog::{self, Backup};
use super::content::{ContentError, Reading, content, outline};
use super::store::BackupStore;
use crate::activity;
use crate::event::{Event, Events};
use crate::postgres::connect::query_diagnostic;
use crate::postgres::{ConnectOptions, Session};

/// How many differences are worth reading.
const DIFFERENCES_SHOWN: usize = 5;

/// How long those who are leaving are waited for.
const LEAVING_PATIENCE: Duration = Duration::from_secs(2);

/// Between two looks for them.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What is looked at, and how.
pub(crate) struct Look<'a> {
    /// What is wanted, for the names in it.
    pub(crate) spec: &'a Spec,
    /// How to reach the maintenance database.
    pub(crate) connect: &'a ConnectOptions,
    /// Where the backups are.
    pub(crate) store: &'a BackupStore,
    /// What was observed.
    pub(crate) inventory: &'a Inventory,
    /// How many tables are read at once.
    pub(crate) parallelism: usize,
}

/// Looks at each of these databases and at its newest proved backup.
pub(crate) async fn look(look: &Look<'_>, databases: &[(ServiceName, DatabaseName)], events: Events<'_>) -> Backups {
    let mut found = BTreeMap::new();
    for (service, database) in databases {
        events(Event::Comparing(database));
        let backed_up = one(look, service, database).await.unwrap_or_else(|why| BackedUp::Unknown { why });
        found.insert(database.clone(), backed_up);
    }
    found
}

/// Gives why it cannot be known, as a sentence.
async fn one(look: &Look<'_>, service: &ServiceName, database: &DatabaseName) -> Result<BackedUp, String> {
    let listing = catalog::list(look.store, Some(service)).await.map_err(|error| said(&error.diagnostic()))?;
    // They come oldest first.
    let is_fit = |backup: &Backup| backup.verified.is_some() && backup.manifest.database == *database;
    let Some(backup) = listing.backups.into_iter().rev().find(is_fit) else {
        return Ok(BackedUp::Never { store: look.store.location() });
    };
    let id = backup.id().clone();
    match differences(look, service, database, &backup.manifest.content).await? {
        None => Ok(BackedUp::Whole { id }),
        Some(why) => Ok(BackedUp::Otherwise { id, why }),
    }
}

/// In what a database is not what a backup holds, or why that may change in a moment; none when it is the same and stays so.
async fn differences(
    look: &Look<'_>,
    service: &ServiceName,
    database: &DatabaseName,
    expected: &Content,
) -> Result<Option<String>, String> {
    let connect = look.connect.to_database(database).for_purpose("destroy");
    let owner = owner(look, service);
    let none = BTreeMap::new();
    let act_as = owner.as_ref().filter(|_| !look.inventory.admin.superuser);
    let reading = Reading {
        connect: &connect,
        act_as,
        snapshot: None,
        columns: &none,
        parallelism: look.parallelism,
        only: None,
        binary: None,
    };
    let failed = |error: ContentError| said(&error.diagnostic());
    let outlined = outline(&reading).await.map_err(failed)?;
    if let Some(differing) = words(&without_rows(expected).differences(&outlined)) {
        return Ok(Some(differing));
    }
    let session = Session::connect(look.connect).await.map_err(|error| said(&error.diagnostic()))?;
    let before = Traffic::settled(look, &session, database).await?;
    if let Some(writers) = before.writers() {
        session.close().await;
        return Ok(Some(writers));
    }
    let found = content(&reading, &|_| {}).await.map_err(failed)?;
    let after = Traffic::settled(look, &session, database).await?;
    session.close().await;
    if let Some(differing) = words(&expected.differences(&found)) {
        return Ok(Some(differing));
    }
    let meanwhile = (before.written != after.written).then(|| "It was written to while it was compared.".to_owned());
    Ok(after.writers().or(meanwhile))
}

/// The service's owner role, by its mark: the service may have left the file.
fn owner(look: &Look<'_>, service: &ServiceName) -> Option<RoleName> {
    let settings = &look.spec.settings;
    let is_owner = |marker: &pgisle_core::marker::Marker| {
        marker.kind == Kind::Owner
            && marker.service.as_ref() == Some(service)
            && marker.same_owner(&settings.name_prefix, settings.environment.as_str())
    };
    let mut roles = look.inventory.roles.iter();
    roles.find(|(_, role)| role.marker().is_some_and(|marker| is_owner(&marker))).map(|(name, _)| name.clone())
}

/// The same with empty tables and without large objects.
fn without_rows(content: &Content) -> Content {
    let none = pgisle_core::backup::RowSum::default();
    let table = |table: &TableContent| TableContent { rows: 0, digest: none.digest(), ..table.clone() };
    let large_objects = pgisle_core::backup::LargeObjects { count: 0, bytes: 0, digest: none.digest() };
    Content { tables: content.tables.iter().map(table).collect(), sequences: content.sequences.clone(), large_objects }
}

fn words(differences: &[String]) -> Option<String> {
    let more = differences.len().saturating_sub(DIFFERENCES_SHOWN);
    let shown = differences.iter().take(DIFFERENCES_SHOWN).cloned().collect::<Vec<_>>().join("; ");
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    (!differences.is_empty()).then(|| format!("Held against that: {shown}{more}."))
}

fn said(diagnostic: &pgisle_core::diagnostic::Diagnostic) -> String {
    let detail = diagnostic.detail.as_deref().unwrap_or_default();
    format!("To find out failed: {}. {detail}", diagnostic.summary).trim_end().to_owned()
}

/// Who is in a database, and how much has ever been written to it.
struct Traffic {
    sessions: u64,
    /// Rows that were inserted, updated and deleted since the server counts. Sessions that ended have all of theirs in it.
    written: i64,
}

impl Traffic {
    /// Looks again for a moment while somebody is there: a busy server takes a while to notice who has left, ourselves included.
    async fn settled(look: &Look<'_>, session: &Session, database: &DatabaseName) -> Result<Self, String> {
        let started = std::time::Instant::now();
        loop {
            let traffic = Self::read(look, session, database).await?;
            if traffic.sessions == 0 || started.elapsed() > LEAVING_PATIENCE {
                return Ok(traffic);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn read(look: &Look<'_>, session: &Session, database: &DatabaseName) -> Result<Self, String> {
        const WRITTEN: &str = "SELECT s.tup_inserted + s.tup_updated + s.tup_deleted FROM pg_catalog.pg_stat_database AS s \
            WHERE s.datname = $1::pg_catalog.text";
        let activity = activity::read(session).await.map_err(|diagnostic| said(&diagnostic))?;
        // The monitoring login reads. Nobody else is asked whether it does.
        let watching = look.spec.settings.monitoring_user();
        let there = activity.sessions.iter().filter(|one| one.database == *database && one.role != watching);
        let failed = |error| said(&query_diagnostic("cannot read how much was written", &error));
        let rows = session.query(WRITTEN, &[&database.as_str()]).await.map_err(failed)?;
        let written = rows.first().map_or(Ok(0), |row| row.try_get(0)).map_err(failed)?;
        Ok(Self { sessions: there.map(|one| one.count).sum(), written })
    }

    fn writers(&self) -> Option<String> {
        let many = if self.sessions == 1 { "1 session is".to_owned() } else { format!("{} sessions are", self.sessions) };
        (self.sessions > 0).then(|| format!("{many} in the database and may write: stop the service, or retire it, first."))
    }
}
