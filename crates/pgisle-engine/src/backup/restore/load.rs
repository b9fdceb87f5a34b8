//! Loading a dump into the new database, as a login that has the owner role's rights and no others.
//!
//! A dump becomes statements here, and what the restore does itself is left out. Nothing of a dump is ever run by the administrator
//! or by `psql`. A script goes one way, by one session. Of an archive, `pg_restore`, which is never told of a server, makes scripts of
//! what comes before and behind the bulk; rows, indexes and constraints go through several sessions of the same login.
//!
//! The stream cannot be read from the middle. Writing it decompressed to a file would take as much disk as the database and a pass
//! more; indexes side by side behind a serial load would leave the rows serial. So the rows are dealt as they come, see [`deal`], and
//! then indexes and constraints are built, see [`build`]. Measured on 280 MB of `examples/link` data, PostgreSQL 17, two processors with
//! other work on them, a whole restore in three turns: 6.9 to 13.6 s with one session, 6.6 to 9.2 s with two, 5.1 to 8.9 s with four.

mod build;
mod deal;
mod script;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures_util::SinkExt as _;
use futures_util::future::join_all;
use pgisle_core::backup::archive::Entry;
use pgisle_core::backup::arrange::{Arrangement, arrange};
use pgisle_core::backup::script::{Part, Script};
use pgisle_core::backup::select::{Disposition, Selection, disposition, select};
use pgisle_core::sql::restore::{SETTINGS_OF_PG_RESTORE, SETTINGS_OF_SERVICE};

use self::script::{Parts, find_program, read_archive, read_script};
use super::Site;
use super::error::RestoreError;
use super::input::{Expected, Input, Layout, Survey};
use super::stage::Stage;
use crate::event::{Event, Events};
use crate::fault;
use crate::local::Installation;
use crate::postgres::Session;

/// The setting is not known to this server: it is older than the dump.
const UNDEFINED_OBJECT: &str = "42704";

/// What came of loading.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// What could not be granted, and why.
    pub(super) not_granted: BTreeSet<String>,
}

/// What is loaded, and where to.
pub(super) struct Load<'a, 's, 'i> {
    pub(super) site: &'a Site<'s>,
    pub(super) stage: &'a Stage,
    pub(super) input: &'a Input<'i>,
    pub(super) survey: &'a Survey,
    /// Schemas that are there already.
    pub(super) made: &'a BTreeSet<String>,
    pub(super) events: Events<'a>,
}

impl Load<'_, '_, '_> {
    /// Loads the dump, and collects statistics.
    pub(super) async fn run(&self) -> Result<Loaded, RestoreError> {
        let mut leader = self.open().await?;
        let privileges = match &self.survey.layout {
            Layout::Script => {
                let parts = read_script(self.input.name.clone(), self.stream().await?);
                run(&mut leader, parts, &mut self.progress(), self.events).await?
            }
            Layout::Archive { version, entries, is_readable } => {
                let selection = select(entries, self.made);
                let program = find_program(*version, leader.server_version_num() / 10_000).await?;
                self.archive(&mut leader, &program, entries, selection, *is_readable).await?
            }
        };
        let loaded = grant(&mut leader, &privileges).await?;
        (self.events)(Event::Restoring("collecting statistics"));
        leader.batch("ANALYZE").await.map_err(RestoreError::query("collect statistics"))?;
        leader.close().await;
        Ok(loaded)
    }

    /// Loads an archive, and gives the privileges back, which are for later.
    async fn archive(
        &self,
        leader: &mut Session,
        program: &Installation,
        entries: &[Entry],
        selection: Selection,
        is_readable: bool,
    ) -> Result<Vec<String>, RestoreError> {
        let Selection { restored, privileges: texts, .. } = selection;
        let parallelism = self.site.request.parallelism;
        let rows = self.survey.expected.rows();
        let rows = |schema: &str, table: &str| rows.get(&(schema, table)).copied().unwrap_or_default();
        let Arrangement { first, dealt, builds, last, settings } = match parallelism {
            // In the dump's own order then, whatever depends on it.
            0 | 1 => Arrangement { first: restored, ..Arrangement::default() },
            _ => arrange(entries, &restored, &rows, is_readable),
        };
        let mut progress = self.progress();
        let mut privileges = Vec::new();
        for text in &texts {
            privileges.extend(statements(text)?.into_iter().filter(|text| disposition(text) == Disposition::Privilege));
        }
        let parts = read_archive(self.input.name.clone(), self.stream().await?, program, &first)?;
        privileges.extend(run(leader, parts, &mut progress, self.events).await?);
        if !dealt.is_empty() || builds.waiting() > 0 {
            let mut sessions = self.further(parallelism, &settings).await?;
            if !dealt.is_empty() {
                let stream = self.stream().await?;
                progress.done = deal::deal(&mut sessions, &self.input.name, stream, entries, dealt, progress, self.events).await?;
            }
            (self.events)(Event::Restoring("building indexes and constraints"));
            let sessions = build::build(sessions, builds).await?;
            join_all(sessions.into_iter().map(Session::close)).await;
        }
        if !last.is_empty() {
            let parts = read_archive(self.input.name.clone(), self.stream().await?, program, &last)?;
            privileges.extend(run(leader, parts, &mut progress, self.events).await?);
        }
        Ok(privileges)
    }

    async fn stream(&self) -> Result<super::input::Stream, RestoreError> {
        let opened = |source| RestoreError::Read { name: self.input.name.clone(), source };
        (self.input.open)().await.map_err(opened)
    }

    fn progress(&self) -> Progress {
        Progress { done: 0, total: self.survey.raw_bytes }
    }

    async fn open(&self) -> Result<Session, RestoreError> {
        let session = Session::connect(&self.stage.connect(self.site)).await?;
        session.batch(SETTINGS_OF_SERVICE).await.map_err(RestoreError::query("prepare the session"))?;
        Ok(session)
    }

    /// So many sessions that are set up as the script sets up the first. Fewer, where the server has no room for more.
    async fn further(&self, count: usize, settings: &[String]) -> Result<Vec<Session>, RestoreError> {
        let mut sessions = Vec::with_capacity(count);
        for _ in 0..count {
            let mut session = match self.open().await {
                Ok(session) => session,
                Err(_) if !sessions.is_empty() => break,
                Err(error) => return Err(error),
            };
            session.batch(SETTINGS_OF_PG_RESTORE).await.map_err(RestoreError::query("prepare the session"))?;
            for text in settings {
                for statement in statements(text)? {
                    let failed =
                        |source| RestoreError::Load { statement: first_words(&statement), line: 0, source: Box::new(source) };
                    if matches!(disposition(&statement), Disposition::Setting | Disposition::Run) {
                        session.run_foreign(&statement).await.map_err(failed)?;
                    }
                }
            }
            sessions.push(session);
        }
        Ok(sessions)
    }
}

impl Expected {
    /// How many rows each table has, by schema and name, as far as it is known.
    fn rows(&self) -> BTreeMap<(&str, &str), u64> {
        match self {
            Self::All(content) | Self::Counts(content) => {
                content.tables.iter().map(|table| ((table.schema.as_str(), table.name.as_str()), table.rows)).collect()
            }
            Self::Nothing => BTreeMap::new(),
        }
    }
}

/// The statements of a text that was an archive's entry.
fn statements(text: &str) -> Result<Vec<String>, RestoreError> {
    let mut script = Script::new(text.as_bytes());
    let mut statements = Vec::new();
    loop {
        match script.next_part() {
            Ok(Some(Part::Statement { text, takes_data, .. })) => {
                statements.push(text);
                // Its data is elsewhere.
                if takes_data {
                    return Ok(statements);
                }
            }
            Ok(Some(_)) => {}
            Ok(None) => return Ok(statements),
            Err(source) => return Err(RestoreError::Script { name: first_words(text), source }),
        }
    }
}

/// Runs what comes, and gives back the privileges, which are for later.
async fn run(
    session: &mut Session,
    mut parts: Parts,
    progress: &mut Progress,
    events: Events<'_>,
) -> Result<Vec<String>, RestoreError> {
    let mut privileges = Vec::new();
    while let Some(part) = parts.recv().await {
        let Part::Statement { text, line, takes_data } = part? else { continue };
        progress.done += text.len() as u64;
        let failed = |source| RestoreError::Load { statement: first_words(&text), line, source: Box::new(source) };
        match disposition(&text) {
            Disposition::Run if takes_data => {
                progress.done = copy(session, &text, line, &mut parts, *progress, events).await?;
            }
            Disposition::Run => drop(session.run_foreign(&text).await.map_err(failed)?),
            Disposition::Setting => match session.run_foreign(&text).await {
                Err(error) if error.code().is_some_and(|code| code.code() == UNDEFINED_OBJECT) => {}
                outcome => drop(outcome.map_err(failed)?),
            },
            Disposition::Privilege => privileges.push(text),
            Disposition::Needless | Disposition::Extension { .. } | Disposition::LeftOut(_) => continue,
        }
        fault::after(fault::Moment::Statement);
        events(Event::Loading { done: progress.done, total: progress.total });
    }
    Ok(privileges)
}

/// How much of the dump has been loaded.
#[derive(Clone, Copy)]
struct Progress {
    done: u64,
    total: u64,
}

async fn copy(
    session: &Session,
    statement: &str,
    line: u64,
    parts: &mut Parts,
    bytes: Progress,
    events: Events<'_>,
) -> Result<u64, RestoreError> {
    let failed = |source| RestoreError::Load { statement: first_words(statement), line, source: Box::new(source) };
    let Progress { mut done, total } = bytes;
    let mut sink = std::pin::pin!(session.copy_in_foreign(statement).await.map_err(failed)?);
    loop {
        match parts.recv().await {
            Some(Ok(Part::Data(data))) => {
                done += data.len() as u64;
                sink.send(Bytes::from(data)).await.map_err(failed)?;
                events(Event::Loading { done, total });
            }
            Some(Ok(_)) => break,
            Some(Err(error)) => return Err(error),
            None => return Err(RestoreError::Stopped),
        }
    }
    sink.finish().await.map_err(failed)?;
    Ok(done)
}

/// Enough of a statement to find it, and nothing of what it may hold.
fn first_words(statement: &str) -> String {
    statement.split_whitespace().take(4).map(|word| word.chars().take(64).collect::<String>()).collect::<Vec<_>>().join(" ")
}

/// Grants one by one: a role that does not exist here is no reason to give up.
async fn grant(session: &mut Session, privileges: &[String]) -> Result<Loaded, RestoreError> {
    let mut reasons: BTreeMap<String, u32> = BTreeMap::new();
    for statement in privileges {
        let reason = match session.run_foreign(statement).await {
            Ok(notices) => {
                notices.into_iter().find(|notice| matches!(notice.sqlstate.as_str(), "01006" | "01007")).map(|it| it.message)
            }
            Err(error) => match error.as_db_error() {
                Some(error) => Some(error.message().to_owned()),
                None => {
                    let statement = first_words(statement);
                    return Err(RestoreError::Load { statement, line: 0, source: Box::new(error) });
                }
            },
        };
        fault::after(fault::Moment::Statement);
        if let Some(reason) = reason {
            *reasons.entry(reason).or_default() += 1;
        }
    }
    let words = |(reason, count)| if count == 1 { reason } else { format!("{reason} ({count} times)") };
    Ok(Loaded { not_granted: reasons.into_iter().map(words).collect() })
}
