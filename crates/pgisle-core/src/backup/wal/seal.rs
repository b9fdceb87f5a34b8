//! What is written beside an archived file, last: without it the file counts as not archived.

use serde::{Deserialize, Serialize};

use super::WalName;
use crate::backup::{ManifestError, StoredObject, open};
use crate::moment::Moment;

/// The format's version.
pub const WAL_FORMAT: u32 = 1;

/// One archived file of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WalSeal {
    /// [`WAL_FORMAT`].
    pub format: u32,
    /// The name that the server gave it.
    pub name: String,
    /// The cluster that a segment is of; none of what is no segment.
    pub system_identifier: Option<String>,
    /// When it was archived: what it holds was written before.
    pub archived: Moment,
    /// The data.
    pub data: StoredObject,
}

impl WalSeal {
    /// Reads the seal that lies where that of `name` belongs.
    ///
    /// # Errors
    /// It is damaged, or another's.
    pub fn open(bytes: &[u8], name: WalName) -> Result<Self, ManifestError> {
        let seal: Self = open(bytes)?;
        if seal.format != WAL_FORMAT {
            return Err(ManifestError::Content(format!("it has format {}, and this pgisle knows {WAL_FORMAT}", seal.format)));
        }
        if seal.name != name.to_string() {
            return Err(ManifestError::Misplaced { expected: name.to_string(), found: seal.name });
        }
        Ok(seal)
    }
}
