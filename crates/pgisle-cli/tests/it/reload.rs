//! A running PgBouncer takes the files that were just written, and no client notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use pgisle_testkit::{Cluster, Config, ask, skip};
use serde_json::Value;

use crate::bouncer::{Bouncer, free_port};
use crate::faults::ends;
use crate::program::Place;

fn spec(port: u16, pool: u32, more: &str) -> String {
    format!(
        r#"
environment        = "development"
name_prefix        = "link"
collation          = "C.UTF-8"
default_extensions = []
postgres_sslmode   = "disable"
enable_ssl         = false

pgbouncer_pool_mode         = "transaction"
pgbouncer_default_pool_size = {pool}
pgbouncer_host              = "127.0.0.1"
pgbouncer_port              = {port}

service "users" {{}}
{more}"#
    )
}

/// A service's address through PgBouncer, as its file has it.
fn address(place: &Place, service: &str) -> Config {
    let text = place.read(&format!("generated/development/.env/.env.{service}"));
    let url = text.lines().find_map(|line| line.strip_prefix("DATABASE_POOL_URL=")).unwrap();
    url.trim_matches('\'').parse().unwrap()
}

/// Clients that come and go, and one that stays.
struct Clients {
    is_over: Arc<AtomicBool>,
    served: Arc<AtomicU32>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Clients {
    fn of(address: Config) -> Self {
        let (is_over, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let work = |stays: bool| {
            let (address, is_over, served) = (address.clone(), Arc::clone(&is_over), Arc::clone(&served));
            tokio::spawn(async move {
                let staying = match stays {
                    true => {
                        let (client, connection) = address.connect(tokio_postgres::NoTls).await.unwrap();
                        tokio::spawn(connection);
                        Some(client)
                    }
                    false => None,
                };
                while !is_over.load(Ordering::Relaxed) {
                    match &staying {
                        Some(client) => drop(client.simple_query("BEGIN; SELECT 1; COMMIT").await.unwrap()),
                        None => drop(ask(&address, "SELECT 1").await.unwrap()),
                    }
                    served.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
        };
        let tasks = vec![work(true), work(true), work(false), work(false)];
        Self { is_over, served, tasks }
    }

    /// None of them has failed.
    async fn end(self) {
        self.is_over.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        assert!(self.served.load(Ordering::Relaxed) > 20);
    }
}

#[tokio::test]
async fn changes_and_rotations_reach_a_running_pgbouncer_and_no_client_fails() {
    let Some(found) = pgisle_engine::local::find_pgbouncer().await else { skip!("PgBouncer is not installed") };
    let cluster = Cluster::builder().start().await;
    let port = free_port();
    let place = Place::passable()
        .variable("PGISLE_VAR_postgres_host", cluster.host())
        .variable("PGISLE_VAR_postgres_port", &cluster.port().to_string())
        .variable("PGISLE_VAR_postgres_username", cluster.superuser())
        .variable("PGPASSWORD", cluster.password());
    place.file("pgisle.hcl", spec(port, 4, ""));
    ends(&place, &["apply", "-auto-approve"], 0).await;
    let bouncer = Bouncer::start(&found, &place.project().join("generated/development"), place.root(), port).await;
    let old = address(&place, "users");
    let clients = Clients::of(old.clone());
    // Another service, and another size of the pools.
    place.file("pgisle.hcl", spec(port, 3, "service \"billing\" {}\n"));
    ends(&place, &["apply", "-auto-approve", "-reload-pgbouncer"], 0).await;
    assert_eq!(ask(&address(&place, "billing"), "SELECT current_database()").await.unwrap(), "link_billing");
    let store: Value = serde_json::from_str(&place.read(".pgisle/development/credentials.json")).unwrap();
    let mut console = old.clone();
    console
        .dbname("pgbouncer")
        .user(store["pgbouncer"]["role"].as_str().unwrap())
        .password(store["pgbouncer"]["password"].as_str().unwrap());
    let databases = ask(&console, "SHOW DATABASES").await.unwrap();
    let users = databases.lines().find(|line| line.starts_with("link_users|")).unwrap();
    assert!(users.split('|').any(|column| column == "3"), "{users}");
    // The other login gets in beside the first, which goes on.
    ends(&place, &["rotate", "users", "-reload-pgbouncer"], 0).await;
    let new = address(&place, "users");
    assert_ne!(new.get_user(), old.get_user());
    let newcomers = Clients::of(new.clone());
    tokio::time::sleep(Duration::from_millis(300)).await;
    clients.end().await;
    // PgBouncer keeps the old login's connections for ten minutes after the last client has gone, and nobody has to wait for that.
    let kept = "SELECT count(*) > 0 FROM pg_stat_activity WHERE usename = 'link_users_user'";
    assert_eq!(cluster.psql(kept).await, "t");
    let staying = old.connect(tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(staying.1);
    let said = ends(&place, &["rotate", "users", "-finish", "-reload-pgbouncer"], 1).await;
    assert!(said.contains("PI0607") && said.contains("is still in use"), "{said}");
    drop(staying.0);
    connection.await.unwrap().unwrap();
    ends(&place, &["rotate", "users", "-finish", "-reload-pgbouncer", "-wait=20s"], 0).await;
    newcomers.end().await;
    assert!(ask(&old, "SELECT 1").await.is_err());
    // One that is not there is told, and everything else is done.
    bouncer.kill();
    place.file("pgisle.hcl", spec(port, 3, "service \"billing\" {}\nservice \"search\" {}\n"));
    let said = ends(&place, &["apply", "-auto-approve", "-reload-pgbouncer"], 1).await;
    assert!(said.contains("PI0608") && said.contains("RELOAD") && said.contains("4 added"), "{said}");
    ends(&place, &["plan", "-detailed-exitcode"], 0).await;
}
