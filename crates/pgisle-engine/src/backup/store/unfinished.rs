//! Large uploads that have not ended: at work just now, or left by a run that was killed.

use pgisle_core::backup::UploadNote;
use pgisle_core::moment::Moment;
use pgisle_core::name::ServiceName;
use serde::Serialize;

use super::{BackupStore, Base, Key, StoreError};

/// An upload that has not ended. Its parts are in no listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unfinished {
    /// The object that it was to be.
    pub key: String,
    /// When it was begun.
    pub begun: Moment,
    #[serde(skip)]
    note_key: Key,
    #[serde(skip)]
    note: UploadNote,
}

impl Unfinished {
    /// The service whose backup it is of; none of what is the cluster's.
    #[must_use]
    pub fn service(&self) -> Option<ServiceName> {
        let key = Key::parse(&self.key)?;
        let mut parts = key.parts();
        let service = (parts.next() == Some("services")).then(|| parts.next()).flatten()?;
        ServiceName::parse(service).ok()
    }

    /// Whether nobody is at work on it any more, as far as one knows who holds the backup lock of this cluster, or of none.
    #[must_use]
    pub fn is_abandoned(&self, locked: Option<&str>, now: Moment) -> bool {
        self.note.is_abandoned(locked, now)
    }
}

impl BackupStore {
    /// The uploads that have not ended, in the order in which they were begun. A folder knows none: what was begun there is listed.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn unfinished(&self) -> Result<Vec<Unfinished>, StoreError> {
        let Base::S3(s3) = &self.base else { return Ok(Vec::new()) };
        let notes = s3.notes().await.map_err(|source| self.failed("list", &Key::ROOT, source))?;
        let unfinished = notes.into_iter().map(|(note_key, note)| {
            let (key, begun) = (note.key.clone(), note.begun);
            Unfinished { key, begun, note_key, note }
        });
        let mut unfinished: Vec<Unfinished> = unfinished.collect();
        unfinished.sort_by(|one, other| (one.begun, &one.key).cmp(&(other.begun, &other.key)));
        Ok(unfinished)
    }

    /// Calls an upload off, which removes its parts. One that has ended meanwhile counts as called off.
    ///
    /// # Errors
    /// The store refuses.
    pub async fn call_off(&self, unfinished: &Unfinished) -> Result<(), StoreError> {
        let Base::S3(s3) = &self.base else { return Ok(()) };
        let result = s3.call_off(&unfinished.note_key, &unfinished.note).await;
        result.map_err(|source| self.failed("call off the upload of", &Key::parse(&unfinished.key).unwrap_or(Key::ROOT), source))
    }
}
