//! Counting who is connected while a load runs, over one connection of the administrator's.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pgisle_core::diagnostic::Diagnostic;
use pgisle_core::load::Room;
use pgisle_core::name::RoleName;
use pgisle_core::status::Sessions;

use crate::activity;
use crate::postgres::Session;

/// How often it is looked. A look is a read of shared memory, and costs the server about a millisecond.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long connections that were closed may take to be gone.
const FAREWELL: Duration = Duration::from_secs(5);

/// What looks.
pub(super) struct Watch<'a> {
    session: &'a Session,
    logins: BTreeSet<RoleName>,
    usable: u32,
}

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The most connections that the services' logins held, for at least the time between two looks.
    pub(super) connections: u32,
    /// Why the load was told to stop.
    pub(super) broken_off: Option<String>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(session: &'a Session, logins: BTreeSet<RoleName>, usable: u32) -> Self {
        Self { session, logins, usable }
    }

    pub(super) async fn sessions(&self) -> Result<Vec<Sessions>, Diagnostic> {
        activity::read_sessions(self.session).await
    }

    /// What there is on the server, ourselves counted in.
    pub(super) fn room(&self, sessions: &[Sessions]) -> Room {
        Room { usable: self.usable, taken: total(sessions, |_| true).saturating_add(1) }
    }

    /// How many connections the services' logins hold.
    pub(super) fn held(&self, sessions: &[Sessions]) -> u32 {
        total(sessions, |one| self.logins.contains(&one.role))
    }

    /// Waits until the services' logins hold no more connections than they did: what still ends would be taken for the next part's.
    pub(super) async fn settle(&self, held_before: u32) -> Result<(), Diagnostic> {
        let deadline = Instant::now() + FAREWELL;
        while self.held(&self.sessions().await?) > held_before && Instant::now() < deadline {
            tokio::time::sleep(LOOK_EVERY / 4).await;
        }
        Ok(())
    }

    /// Looks as long as the work goes on, and stops it when the server runs out of connections.
    ///
    /// # Errors
    /// The server cannot be asked any more; the work is dropped.
    pub(super) async fn during<T>(&self, stop: &AtomicBool, work: impl Future<Output = T>) -> Result<(T, Seen), Diagnostic> {
        let mut work = std::pin::pin!(work);
        let mut seen = Seen::default();
        let mut held_before = 0;
        loop {
            let sessions = self.sessions().await?;
            // Those of two looks in a row: one that PgBouncer has closed is listed until its process is gone.
            let held = self.held(&sessions);
            seen.connections = seen.connections.max(held.min(held_before));
            held_before = held;
            let room = self.room(&sessions);
            if seen.broken_off.is_none() && room.is_short(room.taken) {
                stop.store(true, Ordering::Relaxed);
                seen.broken_off =
                    Some(format!("{} of {} connections were taken, and others may need one", room.taken, room.usable));
            }
            if let Ok(outcome) = tokio::time::timeout(LOOK_EVERY, &mut work).await {
                return Ok((outcome, seen));
            }
        }
    }
}

fn total(sessions: &[Sessions], counts: impl Fn(&Sessions) -> bool) -> u32 {
    let all: u64 = sessions.iter().filter(|one| counts(one)).map(|one| one.count).sum();
    u32::try_from(all).unwrap_or(u32::MAX)
}
