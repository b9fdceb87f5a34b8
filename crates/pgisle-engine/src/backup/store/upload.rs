//! Writing one object of a store that speaks S3: small ones at once, large ones in parts.
//!
//! The parts of an upload whose run was killed are in no listing and are paid for, and not every service lists the uploads themselves.
//! So before the first part a note is written that names the upload, and it is removed when the upload has ended. A note that stays is
//! how [`super::BackupStore::unfinished`] finds it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use object_store::ObjectStoreExt as _;
use object_store::aws::AmazonS3;
use object_store::multipart::{MultipartStore as _, PartId};
use object_store::path::Path;
use pgisle_core::backup::{UPLOAD_FORMAT, UploadNote, checksum, seal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::Key;
use super::s3::{PIECES_WAITING, S3, into_io};
use crate::{clock, fault};

/// The folder of the notes.
pub(super) const NOTES: &str = "uploads";

/// How much of an upload's checksum its note is called by.
const NOTE_NAME_CHARACTERS: usize = 32;

/// Parts under way at once: enough to fill a fast line, little enough for a small machine's memory.
const PARTS_AT_ONCE: usize = 4;

/// How much is collected before it is handed to the upload.
const PIECE_BYTES: usize = 1 << 20;

/// What a blocking thread tells the upload.
enum Piece {
    More(Vec<u8>),
    End,
}

impl std::fmt::Debug for Piece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Piece")
    }
}

/// What goes to the network, from a thread that may block. Dropped before its end, the upload is called off.
#[derive(Debug)]
pub(super) struct Upload {
    /// None once it has failed.
    pieces: Option<mpsc::Sender<Piece>>,
    outcome: oneshot::Receiver<io::Result<()>>,
    piece: Vec<u8>,
}

impl Upload {
    /// Begins an object that goes there in parts of so many bytes, if it does not fit into one.
    pub(super) fn begin(store: S3, key: Key, part_bytes: usize, cluster: Option<String>) -> Self {
        let (pieces, receiver) = mpsc::channel(PIECES_WAITING);
        let (answer, outcome) = oneshot::channel();
        let input = Input { pieces: receiver, waiting: Vec::new(), is_ended: false, part_bytes };
        let task = Task { path: store.path(&key), store, key, cluster };
        tokio::spawn(task.run(input, answer));
        Self { pieces: Some(pieces), outcome, piece: Vec::with_capacity(PIECE_BYTES) }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES {
            let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
            self.send(Piece::More(piece))?;
        }
        Ok(bytes.len())
    }

    fn send(&mut self, piece: Piece) -> io::Result<()> {
        let is_sent = self.pieces.as_ref().is_some_and(|pieces| pieces.blocking_send(piece).is_ok());
        if is_sent {
            return Ok(());
        }
        // The upload ended by itself, which it only does when it fails.
        self.pieces = None;
        match self.outcome.try_recv() {
            Ok(Err(error)) => Err(error),
            _ => Err(io::Error::other("the upload has ended")),
        }
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.piece);
        self.send(Piece::More(piece))?;
        self.send(Piece::End)?;
        self.outcome.blocking_recv().map_err(io::Error::other)?
    }
}

/// Why there is no object.
enum Stop {
    /// Nobody writes any more.
    Abandoned,
    Failed(io::Error),
}

impl From<object_store::Error> for Stop {
    fn from(error: object_store::Error) -> Self {
        Self::Failed(into_io(error))
    }
}

/// Why a part of an upload that was begun is not there.
fn lost(error: object_store::Error) -> Stop {
    match error {
        object_store::Error::NotFound { .. } => {
            Stop::Failed(io::Error::other("the upload was called off by another run, or by the store"))
        }
        error => error.into(),
    }
}

/// What comes from the blocking thread.
struct Input {
    pieces: mpsc::Receiver<Piece>,
    waiting: Vec<u8>,
    is_ended: bool,
    part_bytes: usize,
}

impl Input {
    /// The next part, as long as all others unless it is the last; none at the end.
    async fn part(&mut self) -> Result<Option<Vec<u8>>, Stop> {
        while self.waiting.len() < self.part_bytes && !self.is_ended {
            match self.pieces.recv().await {
                Some(Piece::More(piece)) => {
                    if !self.waiting.is_empty() {
                        // Once, and no more: several parts are under way at once, and each may be large.
                        let missing = self.part_bytes.saturating_sub(self.waiting.len());
                        self.waiting.reserve_exact(missing.max(piece.len()) + PIECE_BYTES);
                    }
                    self.waiting.extend_from_slice(&piece);
                }
                Some(Piece::End) => self.is_ended = true,
                None => return Err(Stop::Abandoned),
            }
        }
        if self.waiting.is_empty() {
            return Ok(None);
        }
        let rest = self.waiting.split_off(self.part_bytes.min(self.waiting.len()));
        Ok(Some(std::mem::replace(&mut self.waiting, rest)))
    }

    fn is_at_end(&self) -> bool {
        self.is_ended && self.waiting.is_empty()
    }
}

/// Parts that are on their way, each with its place.
type UnderWay = JoinSet<Result<(usize, PartId), Stop>>;

/// The upload itself, on the runtime.
struct Task {
    store: S3,
    key: Key,
    path: Path,
    cluster: Option<String>,
}

impl Task {
    async fn run(self, mut input: Input, answer: oneshot::Sender<io::Result<()>>) {
        let outcome = match self.store(&mut input).await {
            Ok(()) => Ok(()),
            Err(Stop::Failed(error)) => Err(error),
            Err(Stop::Abandoned) => return,
        };
        // Before the receiver is closed: whoever fails to send finds the answer there.
        let _ = answer.send(outcome);
        drop(input);
    }

    async fn store(&self, input: &mut Input) -> Result<(), Stop> {
        let first = input.part().await?.unwrap_or_default();
        if input.is_at_end() {
            return Ok(self.store.client.put(&self.path, first.into()).await.map(drop)?);
        }
        let id = self.store.client.create_multipart(&self.path).await?;
        // A kill at this point leaves an upload that nobody knows of. It has no parts.
        let note = Self::note_key(&id);
        let mut under_way = JoinSet::new();
        let result = match self.remember(&note, &id).await {
            Ok(()) => self.store_parts(&id, first, input, &mut under_way).await,
            Err(error) => Err(Stop::Failed(error)),
        };
        // A part that arrives after the upload was called off would stay.
        under_way.shutdown().await;
        fault::stage("store.ended");
        // Best effort: a note that stays has somebody look later.
        if result.is_ok() || self.store.client.abort_multipart(&self.path, &id).await.is_ok() {
            let _ = self.store.delete(&note).await;
        }
        result
    }

    fn note_key(id: &str) -> Key {
        let name: String = checksum(id.as_bytes()).chars().take(NOTE_NAME_CHARACTERS).collect();
        Key::of(&[NOTES, &format!("{name}.json")]).unwrap_or(Key::ROOT)
    }

    async fn remember(&self, note: &Key, id: &str) -> io::Result<()> {
        let (key, cluster) = (self.key.to_string(), self.cluster.clone());
        let content = UploadNote { format: UPLOAD_FORMAT, key, upload_id: id.to_owned(), begun: clock::now(), cluster };
        self.store.put(note, seal(&content).into_bytes()).await
    }

    async fn store_parts(&self, id: &str, first: Vec<u8>, input: &mut Input, under_way: &mut UnderWay) -> Result<(), Stop> {
        let mut done = BTreeMap::new();
        let mut next = Some(first);
        while let Some(part) = next {
            if under_way.len() >= PARTS_AT_ONCE {
                done.extend(joined(under_way).await?);
            }
            let (client, path, id) = (Arc::clone(&self.store.client), self.path.clone(), id.to_owned());
            under_way.spawn(put_part(client, path, id, done.len() + under_way.len(), part));
            next = input.part().await?;
        }
        while !under_way.is_empty() {
            done.extend(joined(under_way).await?);
        }
        let parts = done.into_values().collect();
        self.store.client.complete_multipart(&self.path, &id.to_owned(), parts).await.map(drop).map_err(lost)
    }
}

/// Stores one part; gives it with its place.
async fn put_part(client: Arc<AmazonS3>, path: Path, id: String, index: usize, part: Vec<u8>) -> Result<(usize, PartId), Stop> {
    let stored = client.put_part(&path, &id, index, part.into()).await.map_err(lost)?;
    fault::stage("store.part");
    Ok((index, stored))
}

/// Waits for the next part that is stored.
async fn joined(under_way: &mut UnderWay) -> Result<Option<(usize, PartId)>, Stop> {
    match under_way.join_next().await {
        None => Ok(None),
        Some(Ok(stored)) => stored.map(Some),
        Some(Err(error)) => Err(Stop::Failed(io::Error::other(error))),
    }
}
