//! The proof that a private cluster can be used: the administrator logs in, and the shared database is there.

use pgisle_core::name::DatabaseName;
use pgisle_core::sql;

use super::DevCluster;
use crate::local::LocalError;
use crate::postgres::{ConnectOptions, Host, Session};

/// The database that every cluster has and nobody else needs.
const MAINTENANCE_DATABASE: &str = "postgres";

impl DevCluster {
    /// How to connect as the administrator, over TCP, to the maintenance database.
    #[must_use]
    pub fn connect_options(&self) -> ConnectOptions {
        let database = DatabaseName::observed(MAINTENANCE_DATABASE);
        ConnectOptions::new(Host::Tcp(self.host.clone()), self.port, self.admin.clone(), database)
            .with_password(self.password.clone())
    }
}

/// Logs in and creates the shared database if it is missing.
pub(super) async fn ensure_database(cluster: &DevCluster) -> Result<(), LocalError> {
    let mut session = Session::connect(&cluster.connect_options()).await.map_err(LocalError::Connect)?;
    let name = cluster.database.as_str();
    let found = session.query("SELECT 1 FROM pg_catalog.pg_database WHERE datname = $1", &[&name]).await;
    if found.map_err(LocalError::Query)?.is_empty() {
        session.run(sql::create_database(&cluster.database).expose()).await.map_err(LocalError::Query)?;
    }
    session.close().await;
    Ok(())
}
