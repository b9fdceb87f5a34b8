//! The proof that a private cluster can be used: the administrator logs in, and the shared database is there.

use std::time::Duration;

use tokio_postgres::{Client, Config, Error, NoTls};

use super::DevCluster;
use crate::local::LocalError;

/// How long a server that says it is ready may take to answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Logs in and creates the shared database if it is missing.
pub(super) async fn ensure_database(cluster: &DevCluster) -> Result<(), LocalError> {
    let attempt = async {
        let client = connect(cluster).await?;
        let name = cluster.database.as_str();
        let found = client.query_opt("SELECT 1 FROM pg_catalog.pg_database WHERE datname = $1", &[&name]).await?;
        if found.is_none() {
            let format = "SELECT pg_catalog.format('CREATE DATABASE %I TEMPLATE template0', $1::text)";
            let statement: String = client.query_one(format, &[&name]).await?.try_get(0)?;
            client.batch_execute(&statement).await?;
        }
        Ok(())
    };
    let timed_out = |_| LocalError::Silent { timeout_s: TIMEOUT.as_secs(), log_tail: String::new() };
    tokio::time::timeout(TIMEOUT, attempt).await.map_err(timed_out)?.map_err(LocalError::Query)
}

async fn connect(cluster: &DevCluster) -> Result<Client, Error> {
    let mut config = Config::new();
    config.host(&cluster.host).port(cluster.port).user(cluster.admin.as_str()).password(cluster.password.expose());
    config.dbname("postgres").application_name("pgisle dev").options("-csearch_path=pg_catalog,pg_temp");
    let (client, connection) = config.connect(NoTls).await?;
    // It ends with the client, whose calls report what happens to it.
    tokio::spawn(connection);
    Ok(client)
}
