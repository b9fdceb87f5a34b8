//! What a recovery stands on: a backup of the cluster, unpacked; an older one, when it is found to be damaged.

use std::collections::BTreeSet;

use pgisle_core::backup::BackupId;
use pgisle_core::diagnostic::{Code, Diagnostic};

use super::Request;
use super::choose::{self, Chosen, Wanted};
use super::error::RecoverError;
use super::place::Place;
use crate::backup::cluster::{self, ClusterDamage};
use crate::backup::error::{BackupError, capitalised};
use crate::event::{Event, Events};
use crate::local::{ClientPrograms, Installation};

/// A backup that lies unpacked in a recovery's folder.
pub(super) struct Base {
    pub(super) chosen: Chosen,
    pub(super) installation: Installation,
    /// Which newer ones are damaged.
    pub(super) warnings: Vec<Diagnostic>,
}

/// Chooses a backup and unpacks it.
pub(super) async fn lay(request: &Request<'_>, place: &Place, events: Events<'_>) -> Result<Base, RecoverError> {
    let (mut damage, mut without): (Option<BackupError>, BTreeSet<BackupId>) = (None, BTreeSet::new());
    let mut warnings = Vec::new();
    loop {
        events(Event::Restoring("choosing a backup of the cluster"));
        let Request { store, connect, at, .. } = *request;
        let wanted = Wanted { store, connect, at, now: crate::clock::now(), without: &without };
        let chosen = match (choose::choose(&wanted, events).await, damage.take()) {
            (Ok(chosen), _) => chosen,
            (Err(older), None) => return Err(older),
            (Err(older), Some(damage)) => return Err(RecoverError::Damaged { damage, older: Box::new(older) }),
        };
        let installation = Installation::find(Some(chosen.backup.manifest.server_major)).await.map_err(RecoverError::Server)?;
        match unpack(request, place, &chosen, &installation, events).await {
            Ok(()) => {
                warnings.extend(chosen.damaged.iter().map(|ClusterDamage { id, reason }| warning(id, reason)));
                return Ok(Base { chosen, installation, warnings });
            }
            Err(BackupError::Damaged { whose, id, reason }) => {
                warnings.push(warning(&id, &reason));
                // What stands on it is of no use either.
                without.extend([chosen.backup.id().clone(), id.clone()]);
                damage = Some(BackupError::Damaged { whose, id, reason });
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn unpack(
    request: &Request<'_>,
    place: &Place,
    chosen: &Chosen,
    installation: &Installation,
    events: Events<'_>,
) -> Result<(), BackupError> {
    events(Event::Restoring("unpacking the backup"));
    let programs =
        ClientPrograms { bin: installation.bin.clone(), major: installation.major, version: installation.version.clone() };
    let unpacking = |done, total| events(Event::Recovering { doing: "unpacking the backup", done, total });
    cluster::unpack(request.store, &chosen.backup, request.identities, &programs, &place.data(), &unpacking).await
}

fn warning(id: &BackupId, reason: &str) -> Diagnostic {
    Diagnostic::warning(Code::BACKUP_DAMAGED, format!("backup {id} of the cluster is damaged, and an older one was taken"))
        .about("cluster")
        .detail(format!("{}. From the older one more of the log is replayed.", capitalised(reason)))
        .hint("Look at the disk, and make a new one:")
        .command("pgisle backup create -cluster")
}
