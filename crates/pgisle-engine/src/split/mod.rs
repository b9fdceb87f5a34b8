//! Splitting services out of the shared database: seeing what is there, filling a new database beside it, moving the home in one
//! commit, and going back. `docs/design/0006-a-split-is-one-commit.md` has the reasons.

mod bring;
mod clone;
mod cutover;
mod differing;
mod error;
mod fill;
mod finalize;
mod follow;
mod guard;
mod hold;
mod inspect;
mod journal;
mod prune;
mod receipt;
mod relay;
mod rollback;
mod run;
mod status;

use std::time::Duration;

use futures_util::future::BoxFuture;
use pgisle_core::artifact::pooler_alias;
use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::name::{DatabaseName, RoleName};
use pgisle_core::spec::Service;

pub use bring::Brought;
pub use cutover::{CutOver, Rehearsed, cutover, rehearse};
pub use error::SplitError;
pub use finalize::{Finalized, Finalizing, Outcome, finalize};
pub use inspect::inspect_shared_database;
pub use journal::{homes, read_jobs};
pub use receipt::{Receipt, TableReceipt};
pub use rollback::{RolledBack, rollback};
pub use run::{Ran, run};
pub use status::{Late, SplitStatus, status};

use crate::apply;
use crate::pooler::{Occasion, Pause, PoolerConsole, reach, redirect};
use crate::postgres::{ConnectOptions, Session};

/// Writing files, as it goes on.
pub type Publishing<'a> = BoxFuture<'a, Result<(), Vec<Diagnostic>>>;

/// What is split, and how to get there.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The file, the connection, the credentials.
    pub apply: &'a apply::Request<'a>,
    /// The service.
    pub service: &'a Service,
    /// The PgBouncers that it comes through.
    pub poolers: &'a [PoolerConsole],
    /// Whether they are paused meanwhile. Otherwise those who write get an error, or wait.
    pub pauses: bool,
    /// Whether all of them must be there before the home moves: the clients of one that is not would be left where it was.
    pub needs_poolers: bool,
    /// Writes the files that say where the service is at home, PgBouncer's among them, once that has changed.
    pub publish: &'a (dyn Fn() -> Publishing<'a> + Sync),
    /// How long writers may be held off before the attempt is given up.
    pub pause_max: Duration,
}

impl Request<'_> {
    fn shared(&self) -> &DatabaseName {
        &self.apply.spec.settings.postgres_database
    }

    /// How the administrator reaches a database for work that takes as long as it takes.
    fn connect_to(&self, database: &DatabaseName) -> ConnectOptions {
        let mut options = self.apply.connect.to_database(database).for_purpose("split");
        options.statement_timeout_ms = 0;
        options
    }

    fn occasion(&self) -> Occasion {
        let otherwise = "PgBouncer pauses when no transaction of the service's is open, and in pool mode session when no client is \
            connected. Try again later, or do without the pause: -no-pause.";
        let without = "do without the pause: -no-pause";
        Occasion { code: Code::SPLIT_PAUSE, alias: Some(pooler_alias(self.service).to_owned()), otherwise, without }
    }

    /// Looks whether every PgBouncer that is to be paused or redirected is there, before anything is done.
    async fn reach_poolers(&self) -> Result<(), SplitError> {
        if self.pauses || self.needs_poolers {
            reach(self.poolers, &self.occasion()).await?;
        }
        Ok(())
    }

    /// Has the service's clients wait in PgBouncer, where there is one.
    async fn pause(&self) -> Result<Option<Pause>, SplitError> {
        if self.poolers.is_empty() || !self.pauses {
            return Ok(None);
        }
        Ok(Some(Pause::begin(self.poolers, self.occasion()).await?))
    }

    /// Has everyone find the service's home where it is now. What cannot be done is told: the home has moved.
    async fn announce(&self, home: &DatabaseName) -> Vec<Diagnostic> {
        if let Err(diagnostics) = (self.publish)().await {
            return diagnostics;
        }
        redirect(self.poolers, pooler_alias(self.service), home.as_str(), &self.occasion()).await
    }

    async fn session(&self, database: &DatabaseName) -> Result<Session, SplitError> {
        Ok(Session::connect(&self.connect_to(database)).await?)
    }
}

/// Acts as the owner of a table for what only that owner may do; a superuser need not.
async fn act_as(session: &mut Session, owner: &RoleName, is_superuser: bool) -> Result<(), SplitError> {
    if is_superuser {
        return Ok(());
    }
    let act = pgisle_core::sql::content::act_as(owner);
    session.run(act.expose()).await.map(drop).map_err(SplitError::query(format!("act as role \"{owner}\"")))
}
