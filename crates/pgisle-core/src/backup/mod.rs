//! Backups as values: what they are called, what their manifests say, what is in a dump, and which may go.
//!
//! A backup is one service's database at one moment. In the store it is a folder `services/<service>/<id>/` with the data and,
//! written last, the [`Manifest`]: what has no manifest is not a backup. A backup of the whole cluster is a folder `cluster/<id>/`
//! with a [`ClusterManifest`], and the server's write-ahead log is in `wal/<timeline>/`: [`wal`].

pub mod archive;
pub mod arrange;
pub mod base;
pub mod cluster;
mod content;
mod id;
mod lsn;
mod manifest;
pub mod restore;
mod retention;
mod schedule;
pub mod script;
pub mod select;
pub mod tar;
mod upload;
pub mod wal;
mod words;

pub use cluster::{CLUSTER_FORMAT, ClusterManifest, DatabaseThere};
pub use content::{
    BinaryReader, Content, CutRow, Digest, LargeObjects, RowReader, RowSum, SequenceContent, TableContent, large_object_row,
};
pub use id::BackupId;
pub use lsn::Lsn;
pub use manifest::{
    Checksum, Compression, DumpFormat, ExtensionThere, FORMAT, Manifest, ManifestError, SetThere, SnapshotThere, StoredObject,
    checksum, open, seal,
};
pub use retention::{Candidate, Retention, expired};
pub use schedule::Schedule;
pub use upload::{UPLOAD_AGE_S, UPLOAD_FORMAT, UploadNote};
