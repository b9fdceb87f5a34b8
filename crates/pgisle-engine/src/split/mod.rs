//! Splitting services out of the shared database: seeing what is there, filling a new database beside it, moving the home in one
//! commit, and going back. `docs/design/0006-a-split-is-one-commit.md` has the reasons.

mod cutover;
mod error;
mod fill;
mod follow;
mod inspect;
mod journal;
mod receipt;
mod relay;
mod run;

use std::time::Duration;

use pgisle_core::name::{DatabaseName, RoleName};
use pgisle_core::spec::Service;

pub use cutover::{CutOver, Rehearsed, cutover, rehearse};
pub use error::SplitError;
pub use inspect::inspect_shared_database;
pub use journal::{homes, read_jobs};
pub use receipt::{Receipt, TableReceipt};
pub use run::{Ran, run};

use crate::apply;
use crate::postgres::{ConnectOptions, Session};

/// What is split, and how to get there.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The file, the connection, the credentials.
    pub apply: &'a apply::Request<'a>,
    /// The service.
    pub service: &'a Service,
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
