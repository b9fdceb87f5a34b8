//! What is written down when a service was brought back to a time, to see that it can be.

use serde::{Deserialize, Serialize};

use super::PointInTime;
use crate::backup::{BackupId, ManifestError, open};
use crate::moment::Moment;
use crate::name::ServiceName;

/// The format's version.
pub const RECOVERY_FORMAT: u32 = 1;

/// That a service could be brought back to a time: a private server reached it, and gave the service's database whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoveryProof {
    /// [`RECOVERY_FORMAT`].
    pub format: u32,
    /// The service.
    pub service: ServiceName,
    /// When that was proved.
    pub proved: Moment,
    /// The time that was reached.
    pub at: PointInTime,
    /// The backup of the cluster that it began with.
    pub base: BackupId,
    /// The timeline that was followed.
    pub timeline: u32,
    /// When the last transaction before the time was committed, in the whole cluster; none when the log has none since the backup.
    pub last_transaction: Option<String>,
    /// Files of the log that were read.
    pub wal_files: u64,
    /// Tables that were there.
    pub tables: u64,
    /// Rows in them.
    pub rows: u64,
    /// How long it took, with all services that were looked at.
    pub took_ms: u64,
}

impl RecoveryProof {
    /// Reads the one that lies where that of `service` belongs.
    ///
    /// # Errors
    /// It is damaged, or another's.
    pub fn open(bytes: &[u8], service: &ServiceName) -> Result<Self, ManifestError> {
        let proof: Self = open(bytes)?;
        if proof.format != RECOVERY_FORMAT {
            return Err(ManifestError::Content(format!("it has format {}, and this pgisle knows {RECOVERY_FORMAT}", proof.format)));
        }
        if proof.service != *service {
            return Err(ManifestError::Misplaced { expected: service.to_string(), found: proof.service.to_string() });
        }
        Ok(proof)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::backup::seal;

    #[test]
    fn it_comes_back_to_its_own_service_alone() {
        let (users, chat) = (ServiceName::parse("users").unwrap(), ServiceName::parse("chat").unwrap());
        let proof = RecoveryProof {
            format: RECOVERY_FORMAT,
            service: users.clone(),
            proved: Moment::from_unix_s(1_737_291_600),
            at: PointInTime::parse("2025-01-19T12:59:30.25Z").unwrap(),
            base: BackupId::new(Moment::from_unix_s(1_737_252_000), 7),
            timeline: 1,
            last_transaction: None,
            wal_files: 3,
            tables: 1,
            rows: 1000,
            took_ms: 1,
        };
        let text = seal(&proof);
        assert_eq!(RecoveryProof::open(text.as_bytes(), &users).unwrap(), proof);
        assert!(matches!(RecoveryProof::open(text.as_bytes(), &chat), Err(ManifestError::Misplaced { .. })));
        let later = seal(&RecoveryProof { format: 2, ..proof });
        assert!(matches!(RecoveryProof::open(later.as_bytes(), &users), Err(ManifestError::Content(_))));
    }
}
