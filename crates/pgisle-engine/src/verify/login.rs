//! Logging in as a service, and what a refusal means.

use std::time::Duration;

use pgisle_core::credential::Credential;
use pgisle_core::name::{DatabaseName, RoleName, ServiceName};
use pgisle_core::secret::Secret;
use pgisle_core::verify::{Attempt, Entry, LoginKind, Who};

use crate::postgres::{ConnectError, ConnectOptions, Session};

/// The server ends a statement of a trial that runs longer: none has more to do than look into a catalog.
const STATEMENT_TIMEOUT_MS: u32 = 10_000;

/// How often, and how long in between, a full server is asked again. Sessions of others come and go.
const FULL_SERVER_PAUSES_MS: [u64; 3] = [50, 200, 1000];

/// A login whose password is known.
#[derive(Clone, Copy)]
pub(super) struct Login<'a> {
    pub(super) service: Option<&'a ServiceName>,
    pub(super) credential: &'a Credential,
    pub(super) kind: LoginKind,
}

impl Login<'_> {
    pub(super) fn role(&self) -> &RoleName {
        &self.credential.role
    }

    pub(super) fn who(&self) -> Who {
        match self.service {
            Some(service) => Who::Service { service: service.clone(), login: self.role().clone() },
            None => Who::Monitoring { login: self.role().clone() },
        }
    }

    /// Logs in, and notes what came of it.
    pub(super) async fn enter(
        &self,
        services: &ConnectOptions,
        database: &DatabaseName,
        is_home: bool,
    ) -> (Attempt, Option<Session>) {
        let (entry, session) = match connect(services, self.role(), self.credential.secret.clone(), database).await {
            Ok(session) => (Entry::Entered, Some(session)),
            Err(error) => (Entry::refused(is_home, error.sqlstate(), error.words()), None),
        };
        let attempt = Attempt {
            service: self.service.cloned(),
            login: self.role().clone(),
            kind: self.kind,
            database: database.clone(),
            entry,
        };
        (attempt, session)
    }
}

/// Opens a session, with a little patience where all connections are taken.
pub(super) async fn connect(
    services: &ConnectOptions,
    role: &RoleName,
    secret: Secret,
    database: &DatabaseName,
) -> Result<Session, ConnectError> {
    let mut options = services.as_login(role, secret).to_database(database).for_purpose("verify");
    options.statement_timeout_ms = STATEMENT_TIMEOUT_MS;
    let mut pauses = FULL_SERVER_PAUSES_MS.iter();
    loop {
        match Session::connect(&options).await {
            Err(error @ ConnectError::TooMany { .. }) => match pauses.next() {
                Some(&pause) => tokio::time::sleep(Duration::from_millis(pause)).await,
                None => return Err(error),
            },
            result => return result,
        }
    }
}
