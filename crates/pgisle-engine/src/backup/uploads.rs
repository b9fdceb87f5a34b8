//! Calling off the uploads of runs that were killed.
//!
//! Whoever holds the backup lock of a cluster knows that no other run of that cluster is at work. Uploads of other clusters' runs, and of
//! the archived log, which is written without a lock, are left alone for a week.

use std::io::ErrorKind;

use pgisle_core::diagnostic::{Code, Diagnostic, Severity};
use pgisle_core::moment::Moment;

use super::store::{BackupStore, StoreError, Unfinished};
use crate::clock;
use crate::postgres::Session;

/// Which cluster a session is in, whatever its address; none where that is not told.
pub(super) async fn cluster_of(session: &Session) -> Option<String> {
    const IDENTITY: &str = "SELECT c.system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system() AS c";
    let rows = session.query(IDENTITY, &[]).await.ok()?;
    rows.first()?.try_get(0).ok()
}

/// Those that nobody is at work on any more.
pub(super) async fn due(store: &BackupStore, locked: Option<&str>, now: Moment) -> Result<Vec<Unfinished>, StoreError> {
    let mut due = store.unfinished().await?;
    due.retain(|unfinished| unfinished.is_abandoned(locked, now));
    Ok(due)
}

/// Calls off all of them before a backup is made, and says so. What goes wrong is told, and no reason to make no backup.
pub(super) async fn sweep(store: &BackupStore, locked: Option<&str>) -> Vec<Diagnostic> {
    // Whoever cannot read the store is told so by what comes next.
    let due = due(store, locked, clock::now()).await.unwrap_or_default();
    let (gone, refused) = call_off(store, due).await;
    gone.iter().map(called_off).chain(refused).collect()
}

/// Calls uploads off. Gives those that were, and why the others were not.
pub(super) async fn call_off(store: &BackupStore, due: Vec<Unfinished>) -> (Vec<Unfinished>, Option<Diagnostic>) {
    let mut gone = Vec::new();
    for unfinished in due {
        if let Err(error) = store.call_off(&unfinished).await {
            // The others would fail by the same reason.
            return (gone, Some(refused(&error)));
        }
        gone.push(unfinished);
    }
    (gone, None)
}

fn called_off(unfinished: &Unfinished) -> Diagnostic {
    let Unfinished { key, begun, .. } = unfinished;
    Diagnostic::warning(Code::BACKUP_LEFTOVER, "the upload of an interrupted backup was called off")
        .about(about(unfinished))
        .detail(format!("\"{key}\" was begun at {begun}, and its run was killed. Its parts are removed, which no list shows."))
}

fn refused(error: &StoreError) -> Diagnostic {
    let diagnostic = Diagnostic { severity: Severity::Warning, ..error.diagnostic() };
    if !matches!(error, StoreError::Failed { source, .. } if source.kind() == ErrorKind::PermissionDenied) {
        return diagnostic;
    }
    Diagnostic { commands: Vec::new(), ..diagnostic }.hint(
        "Its parts stay, in no list, and are paid for. The keys need s3:AbortMultipartUpload, and s3:DeleteObject below \"uploads/\"; \
         else a lifecycle rule (AbortIncompleteMultipartUpload) removes them.",
    )
}

/// Whose upload it is, for people.
#[must_use]
pub fn about(unfinished: &Unfinished) -> String {
    match unfinished.service() {
        Some(service) => format!("service \"{service}\""),
        None => "cluster".to_owned(),
    }
}
