//! What is written before the first part of a large upload, so that somebody can call it off when its run was killed.

use serde::{Deserialize, Serialize};

use super::{ManifestError, open};
use crate::moment::{DAY_S, Moment};

/// The format's version.
pub const UPLOAD_FORMAT: u32 = 1;

/// No upload takes so long. By this alone those are judged whose run holds no lock, or holds that of another cluster.
pub const UPLOAD_AGE_S: u64 = 7 * DAY_S;

/// An upload in parts that was begun. It is removed when the upload has ended, so one that lies there is of a run that is at work or was
/// killed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UploadNote {
    /// [`UPLOAD_FORMAT`].
    pub format: u32,
    /// The object that it was to be.
    pub key: String,
    /// What the store calls the upload.
    pub upload_id: String,
    /// When it was begun.
    pub begun: Moment,
    /// The cluster whose backup lock its run holds for as long as it lives; none when it holds none, or could not tell.
    pub cluster: Option<String>,
}

impl UploadNote {
    /// Reads one.
    ///
    /// # Errors
    /// It is damaged, or of a later pgisle.
    pub fn open(bytes: &[u8]) -> Result<Self, ManifestError> {
        let note: Self = open(bytes)?;
        if note.format != UPLOAD_FORMAT {
            return Err(ManifestError::Content(format!("it has format {}, and this pgisle knows {UPLOAD_FORMAT}", note.format)));
        }
        Ok(note)
    }

    /// Whether nobody is at work on it any more. Who holds the backup lock of a cluster knows that of the runs that held it before; who
    /// holds none, or does not know which, passes none.
    #[must_use]
    pub fn is_abandoned(&self, locked: Option<&str>, now: Moment) -> bool {
        let held_the_same = self.cluster.is_some() && self.cluster.as_deref() == locked;
        held_the_same || now.seconds_since(self.begun) > UPLOAD_AGE_S
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::backup::seal;

    fn note(cluster: Option<&str>) -> UploadNote {
        UploadNote {
            format: UPLOAD_FORMAT,
            key: "services/users/x/data.pgdump.zst".to_owned(),
            upload_id: "id".to_owned(),
            begun: Moment::from_unix_s(1_000_000),
            cluster: cluster.map(str::to_owned),
        }
    }

    #[test]
    fn only_the_lock_of_its_own_cluster_tells_before_a_week_is_over() {
        let later = |seconds: u64| Moment::from_unix_s(1_000_000 + seconds);
        for (cluster, locked, is_told) in [
            (Some("1"), Some("1"), true),
            (Some("1"), Some("2"), false),
            (Some("1"), None, false),
            (None, Some("1"), false),
            (None, None, false),
        ] {
            assert_eq!(note(cluster).is_abandoned(locked, later(1)), is_told, "{cluster:?} {locked:?}");
            assert_eq!(note(cluster).is_abandoned(locked, later(UPLOAD_AGE_S)), is_told, "{cluster:?} {locked:?}");
            assert!(note(cluster).is_abandoned(locked, later(UPLOAD_AGE_S + 1)));
        }
        // A clock that went back.
        assert!(!note(None).is_abandoned(None, Moment::from_unix_s(5)));
    }

    #[test]
    fn it_comes_back_and_another_format_does_not() {
        let written = note(Some("1"));
        assert_eq!(UploadNote::open(seal(&written).as_bytes()).unwrap(), written);
        let later = UploadNote { format: 2, ..written };
        assert!(matches!(UploadNote::open(seal(&later).as_bytes()), Err(ManifestError::Content(_))));
    }
}
