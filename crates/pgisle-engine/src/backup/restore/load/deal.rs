//! Loading rows through several sessions at once.
//!
//! An archive is a stream that cannot be read from the middle, so its tables come one after another; but the rows of a table can be
//! dealt, a piece to whoever has nothing to do. That keeps nothing on the disk or in memory, and one large table is shared as well
//! as many small ones. Each session has one COPY at a time and finishes it before it goes on with another table; a session that
//! fails ends the restore. The price is that pieces of a table lie in another order than in the dump.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::SinkExt as _;
use futures_util::future::try_join_all;
use pgisle_core::backup::archive::{self, ArchiveError, Entry};
use std::collections::BTreeSet;
use tokio::sync::{Mutex, mpsc};

use super::{Progress, first_words, statements};
use crate::backup::restore::error::RestoreError;
use crate::backup::restore::input::{Stream, decoded};
use crate::event::{Event, Events};
use crate::fault;
use crate::postgres::Session;

/// How many pieces wait for the server.
const PIECES_WAITING: usize = 16;

/// Rows of a table, and how they are loaded.
struct Piece {
    copy: Arc<str>,
    rows: Vec<u8>,
}

type Pieces = Mutex<mpsc::Receiver<Result<Piece, RestoreError>>>;

/// Loads the data of the tables that are dealt. Gives back how much was loaded in all.
pub(super) async fn deal(
    sessions: &mut [Session],
    name: &str,
    stream: Stream,
    listed: &[Entry],
    dealt: BTreeSet<i64>,
    bytes: Progress,
    events: Events<'_>,
) -> Result<u64, RestoreError> {
    let pieces = Mutex::new(read(name.to_owned(), stream, listed.to_vec(), dealt));
    let done = AtomicU64::new(bytes.done);
    let told = |more: usize| {
        let done = done.fetch_add(more as u64, Ordering::Relaxed) + more as u64;
        events(Event::Loading { done, total: bytes.total });
    };
    try_join_all(sessions.iter_mut().map(|session| Box::pin(load(session, &pieces, &told)))).await?;
    Ok(done.into_inner())
}

/// Reads the archive in a thread of its own.
fn read(name: String, stream: Stream, listed: Vec<Entry>, dealt: BTreeSet<i64>) -> mpsc::Receiver<Result<Piece, RestoreError>> {
    let (sender, pieces) = mpsc::channel(PIECES_WAITING);
    tokio::task::spawn_blocking(move || {
        let archive = |source| match source {
            ArchiveError::Read(source) => RestoreError::Read { name: name.clone(), source },
            source => RestoreError::Archive { name: name.clone(), source },
        };
        let mut at_hand: (i64, Arc<str>) = (0, Arc::from(""));
        let mut hand_on = |entry: &Entry, rows: Vec<u8>| {
            if !dealt.contains(&entry.dump_id) {
                return true;
            }
            if at_hand.0 != entry.dump_id {
                at_hand = (entry.dump_id, Arc::from(entry.copy.as_str()));
            }
            sender.blocking_send(Ok(Piece { copy: Arc::clone(&at_hand.1), rows })).is_ok()
        };
        let stream = decoded(stream).map_err(|source| RestoreError::Read { name: name.clone(), source });
        let outcome = stream.and_then(|stream| match archive::read_rows(stream, &mut hand_on).map_err(archive)? {
            Some(entries) if entries != listed => {
                let why = "it was changed while it was read".to_owned();
                Err(RestoreError::Form { name: name.clone(), why })
            }
            _ => Ok(()),
        });
        if let Err(error) = outcome {
            // Nobody listens any more when the other side has failed.
            drop(sender.blocking_send(Err(error)));
        }
    });
    pieces
}

/// Takes pieces, as long as there are any.
async fn load(session: &mut Session, pieces: &Pieces, told: &(dyn Fn(usize) + Sync)) -> Result<(), RestoreError> {
    let mut next = take(pieces).await?;
    while let Some(Piece { copy, rows }) = next {
        // The statement as the script would have it, without its semicolon.
        let [statement] = statements(&copy)?.try_into().map_err(|_| RestoreError::Stopped)?;
        let failed = |source| RestoreError::Load { statement: first_words(&statement), line: 0, source: Box::new(source) };
        let mut sink = std::pin::pin!(session.copy_in_foreign(&statement).await.map_err(failed)?);
        let mut rows = Some(rows);
        next = loop {
            if let Some(rows) = rows.take().filter(|rows| !rows.is_empty()) {
                let bytes = rows.len();
                sink.send(Bytes::from(rows)).await.map_err(failed)?;
                told(bytes);
            }
            match take(pieces).await? {
                Some(piece) if Arc::ptr_eq(&piece.copy, &copy) => rows = Some(piece.rows),
                other => break other,
            }
        };
        sink.finish().await.map_err(failed)?;
        fault::after(fault::Moment::Statement);
    }
    Ok(())
}

async fn take(pieces: &Pieces) -> Result<Option<Piece>, RestoreError> {
    pieces.lock().await.recv().await.transpose()
}
