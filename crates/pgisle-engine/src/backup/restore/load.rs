//! Loading a dump into the new database, as a login that has the owner role's rights and no others.
//!
//! Everything goes one way: an archive becomes a script by `pg_restore`, which is never told of a server; the script is cut into
//! statements here, and what the restore does itself is left out. Nothing of a dump is ever run by the administrator or by `psql`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, BufReader, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::SinkExt as _;
use pgisle_core::backup::script::{Part, Script, ScriptError};
use pgisle_core::backup::select::{Disposition, Selection, disposition, select};
use tokio::sync::mpsc;

use super::error::RestoreError;
use super::input::{Input, Layout, Stream, Survey, decoded};
use crate::event::{Event, Events};
use crate::fault;
use crate::local::Installation;
use crate::postgres::Session;

/// How many parts wait for the server: enough that neither side waits for the other.
const PARTS_WAITING: usize = 16;

/// The setting is not known to this server: it is older than the dump.
const UNDEFINED_OBJECT: &str = "42704";

/// What came of loading.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// What could not be granted, and why.
    pub(super) not_granted: BTreeSet<String>,
}

type Parts = mpsc::Receiver<Result<Part, RestoreError>>;

/// Loads the dump. `made` are schemas that are there already.
pub(super) async fn load(
    session: &mut Session,
    input: &Input<'_>,
    survey: &Survey,
    made: &BTreeSet<String>,
    events: Events<'_>,
) -> Result<Loaded, RestoreError> {
    // Nobody reads it before the databases trade places, and that commit waits for the disk.
    // And it is as if the service itself ran it: an administrator's path would put what has no schema nowhere.
    let usual = "SET synchronous_commit = off; SET search_path = \"$user\", public";
    session.batch(usual).await.map_err(RestoreError::query("prepare the session"))?;
    let opened = |source| RestoreError::Read { name: input.name.clone(), source };
    let stream = (input.open)().await.map_err(opened)?;
    let name = input.name.clone();
    let (parts, privileges) = match &survey.layout {
        Layout::Script => (read_script(name, stream), Vec::new()),
        Layout::Archive { version, entries } => {
            let Selection { restored, privileges, .. } = select(entries, made);
            let server = session.server_version_num() / 10_000;
            (read_archive(name, stream, &find_program(*version, server).await?, &restored)?, privileges)
        }
    };
    let mut privileges: Vec<String> = privileges.iter().flat_map(|text| statements(text)).collect();
    privileges.extend(run(session, parts, survey.raw_bytes, events).await?);
    grant(session, &privileges).await
}

/// The statements of a text that was an archive's entry.
fn statements(text: &str) -> Vec<String> {
    let mut script = Script::new(text.as_bytes());
    let mut statements = Vec::new();
    while let Ok(Some(part)) = script.next_part() {
        if let Part::Statement { text, .. } = part
            && disposition(&text) == Disposition::Privilege
        {
            statements.push(text);
        }
    }
    statements
}

/// A `pg_restore` that can read the archive: best of the server's version, else the next newer one.
async fn find_program((_, minor): (u8, u8), server: u32) -> Result<Installation, RestoreError> {
    // From `pg_backup_archiver.h`: 1.16 came with 17, 1.15 with 16; older ones are read by all that pgisle supports.
    let needed = match minor {
        16.. => 17,
        15 => 16,
        _ => 0,
    };
    let mut fitting: Vec<Installation> = Vec::new();
    let mut seen = Vec::new();
    for found in Installation::find_all().await {
        seen.push(found.version.clone());
        if found.major >= needed && crate::process::is_program(&found.program("pg_restore")) {
            fitting.push(found);
        }
    }
    fitting.sort_by_key(|found| (found.major < server, found.major.abs_diff(server)));
    fitting.into_iter().next().ok_or_else(|| {
        let there = if seen.is_empty() { "none".to_owned() } else { seen.join(", ") };
        RestoreError::Tools { detail: format!("It needs version {} or later. Found: {there}.", needed.max(15)) }
    })
}

/// Reads a script in a thread of its own.
fn read_script(name: String, stream: Stream) -> Parts {
    let (sender, parts) = mpsc::channel(PARTS_WAITING);
    tokio::task::spawn_blocking(move || {
        let opened = decoded(stream).map_err(|source| RestoreError::Read { name: name.clone(), source });
        if let Err(error) = opened.and_then(|stream| cut(&name, Script::new(stream), &sender)) {
            // Nobody listens any more when the other side has failed.
            drop(sender.blocking_send(Err(error)));
        }
    });
    parts
}

/// Has `pg_restore` make a script of an archive, with a thread to feed it and one to cut what it says.
fn read_archive(name: String, stream: Stream, program: &Installation, restored: &[i64]) -> Result<Parts, RestoreError> {
    let list = List::write(restored).map_err(|source| RestoreError::Read { name: name.clone(), source })?;
    let invocation = program.invocation("pg_restore").arguments(["--file=-", "--no-owner", "--no-tablespaces", "--use-list"]);
    let (program, mut stdin, stdout) = invocation.argument(list.path()).start_piped()?;
    let fed = std::thread::spawn(move || {
        // The program gets the bare archive, whatever it lay in.
        decoded(stream).and_then(|mut stream| match io::copy(&mut stream, &mut stdin) {
            // A program that ends early says by its exit status whether that is a failure.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
            copied => copied,
        })
    });
    let (sender, parts) = mpsc::channel(PARTS_WAITING);
    tokio::task::spawn_blocking(move || {
        let outcome = cut(&name, Script::new(BufReader::with_capacity(1 << 18, stdout)), &sender);
        // Its output is closed by now, so it ends, if only because nobody wants it. Why it ended early says more than that it did.
        let ended = program.wait();
        drop(list);
        let fed = match fed.join() {
            Ok(Ok(_bytes)) => Ok(()),
            Ok(Err(source)) => Err(RestoreError::Read { name, source }),
            Err(_panicked) => Err(RestoreError::Stopped),
        };
        if let Err(error) = fed.and(ended.map_err(RestoreError::Process)).and(outcome) {
            drop(sender.blocking_send(Err(error)));
        }
    });
    Ok(parts)
}

/// Hands a script on in parts, as long as somebody wants them.
fn cut(
    name: &str,
    mut script: Script<impl io::BufRead>,
    sender: &mpsc::Sender<Result<Part, RestoreError>>,
) -> Result<(), RestoreError> {
    loop {
        let part = script.next_part().map_err(|source| match source {
            ScriptError::Read(source) => RestoreError::Read { name: name.to_owned(), source },
            source => RestoreError::Script { name: name.to_owned(), source },
        })?;
        let Some(part) = part else { return Ok(()) };
        if sender.blocking_send(Ok(part)).is_err() {
            return Ok(());
        }
    }
}

/// The entries to restore, in a file of its own: `pg_restore` takes the list from nowhere else.
struct List {
    folder: PathBuf,
}

impl List {
    fn write(restored: &[i64]) -> io::Result<Self> {
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random).map_err(|_| io::Error::other("the system gives no random bytes"))?;
        let folder = std::env::temp_dir().join(format!("pgisle-restore-{:016x}", u64::from_ne_bytes(random)));
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let list = Self { folder };
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(list.path())?;
        let lines = restored.iter().fold(String::new(), |lines, number| lines + &number.to_string() + ";\n");
        file.write_all(lines.as_bytes())?;
        Ok(list)
    }

    fn path(&self) -> PathBuf {
        Path::new(&self.folder).join("list")
    }
}

impl Drop for List {
    fn drop(&mut self) {
        // It holds numbers; should it stay, nothing is given away.
        let _left = fs::remove_dir_all(&self.folder);
    }
}

/// Runs what comes, and gives back the privileges, which are for later.
async fn run(session: &mut Session, mut parts: Parts, total: u64, events: Events<'_>) -> Result<Vec<String>, RestoreError> {
    let mut privileges = Vec::new();
    let mut done = 0_u64;
    while let Some(part) = parts.recv().await {
        let Part::Statement { text, line, takes_data } = part? else { continue };
        done += text.len() as u64;
        let failed = |source| RestoreError::Load { statement: first_words(&text), line, source: Box::new(source) };
        match disposition(&text) {
            Disposition::Run if takes_data => {
                done = copy(session, &text, line, &mut parts, Progress { done, total }, events).await?;
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
        events(Event::Loading { done, total });
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
