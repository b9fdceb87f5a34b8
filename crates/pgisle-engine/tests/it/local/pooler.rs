//! PgBouncer, every version that is installed, in front of a real server.

use std::fs;
use std::path::Path;

use pgisle_core::credential::Verifier;
use pgisle_core::secret::Secret;
use pgisle_engine::local::pooler::{self, Pooler, PoolerOptions};
use pgisle_engine::local::{LocalError, dev, find_pgbouncer, find_pgbouncers, server};
use pgisle_engine::process::Account;
use pgisle_testkit::Cluster;
use rustix::process::Signal;
use tokio_postgres::{Client, Config, Error, NoTls, SimpleQueryMessage};

use super::project::{Project, options};

async fn connect(pooler: &Pooler, user: &str, password: &str, database: &str) -> Result<Client, Error> {
    let mut config = Config::new();
    config.host("127.0.0.1").port(pooler.port).user(user).password(password).dbname(database);
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Writes files as pgisle generates them for `/etc/pgbouncer`, readable by us alone.
fn write_files(folder: &Path, port: u16, logins: &[(&str, &str)]) {
    let ini = format!(
        "[databases]\napp = host=127.0.0.1 port={port} dbname=postgres\n\n[pgbouncer]\nlisten_addr = *\nlisten_port = 1\nunix_socket_dir =\n\
         auth_type = scram-sha-256\nauth_file = /etc/pgbouncer/userlist.txt\nclient_tls_sslmode = require\n\
         client_tls_cert_file = /etc/pgbouncer/tls/server.crt\nclient_tls_key_file = /etc/pgbouncer/tls/server.key\nserver_tls_sslmode = require\n\
         admin_users = one\npool_mode = transaction\n"
    );
    fs::write(folder.join("pgbouncer.ini"), ini).unwrap();
    let lines: Vec<String> = logins.iter().map(|(user, verifier)| format!("\"{user}\" \"{verifier}\"\n")).collect();
    fs::write(folder.join("userlist.txt"), lines.concat()).unwrap();
}

/// A setting as PgBouncer itself tells it.
async fn setting(console: &Client, name: &str) -> String {
    let messages = console.simple_query("SHOW CONFIG").await.unwrap();
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) if row.get(0) == Some(name) => row.get(1),
        _ => None,
    });
    row.unwrap().to_owned()
}

async fn create_login(cluster: &Cluster, user: &str, password: &str) -> String {
    let verifier = Verifier::compute(&Secret::new(password), &[7; 16]);
    cluster.psql(&format!("CREATE ROLE {user} LOGIN PASSWORD '{}'", verifier.expose())).await;
    verifier.expose().to_owned()
}

#[tokio::test]
async fn it_starts_reloads_survives_a_kill_and_stops() {
    let programs = find_pgbouncers().await;
    if programs.is_empty() {
        pgisle_testkit::skip!("PgBouncer is not installed");
    }
    let cluster = Cluster::start().await;
    let one = create_login(&cluster, "one", "first secret").await;
    let two = create_login(&cluster, "two", "second secret").await;
    let account = Account::for_servers().unwrap();
    for program in programs {
        let project = Project::open();
        let generated = tempfile::tempdir().unwrap();
        write_files(generated.path(), cluster.port(), &[("one", &one)]);
        let (ini, userlist) = (generated.path().join("pgbouncer.ini"), generated.path().join("userlist.txt"));
        let settings = vec![("client_tls_sslmode", "disable"), ("server_tls_sslmode", "disable")];
        let wanted = PoolerOptions { ini: &ini, userlist: &userlist, port: None, settings, lead: None };
        let folder = project.path().canonicalize().unwrap().join("pooler");

        let started = pooler::start(&folder, account.as_ref(), &program, &wanted).await;
        let running = started.unwrap_or_else(|error| panic!("{:?}: {}", program.version, error.diagnostic()));
        assert_eq!(pooler::running(&folder), Some(running.clone()));
        let client = connect(&running, "one", "first secret", "app").await.unwrap();
        let user: String = client.query_one("SELECT current_user::text", &[]).await.unwrap().get(0);
        assert_eq!(user, "one");
        assert!(connect(&running, "one", "wrong", "app").await.is_err());
        let console = connect(&running, "one", "first secret", "pgbouncer").await.unwrap();
        assert_eq!(setting(&console, "pool_mode").await, "transaction", "what the file says holds");
        assert_eq!(setting(&console, "listen_port").await, running.port.to_string());
        assert!(connect(&running, "two", "second secret", "app").await.is_err());

        write_files(generated.path(), cluster.port(), &[("one", &one), ("two", &two)]);
        let reloaded = pooler::reload(&folder, account.as_ref(), &wanted).await.unwrap();
        assert_eq!(reloaded, Some(running.clone()));
        connect(&running, "two", "second secret", "app").await.unwrap();

        server::signal(running.pid, Signal::KILL);
        while pooler::running(&folder).is_some() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert_eq!(pooler::reload(&folder, account.as_ref(), &wanted).await.unwrap(), None);
        let running = pooler::start(&folder, account.as_ref(), &program, &wanted).await.unwrap();
        // A client that stays must not hold it up.
        let _client = connect(&running, "one", "first secret", "app").await.unwrap();
        assert!(pooler::stop(&folder).await.unwrap());
        assert!(!pooler::stop(&folder).await.unwrap());
        assert_eq!(pooler::running(&folder), None);
    }
}

#[tokio::test]
async fn a_file_that_it_refuses_is_told_with_its_words() {
    let Some(program) = find_pgbouncer().await else { pgisle_testkit::skip!("PgBouncer is not installed") };
    let project = Project::open();
    let generated = tempfile::tempdir().unwrap();
    write_files(generated.path(), 1, &[]);
    let (ini, userlist) = (generated.path().join("pgbouncer.ini"), generated.path().join("userlist.txt"));
    fs::write(&ini, "[pgbouncer]\npool_mode = sometimes\n").unwrap();
    let wanted = PoolerOptions { ini: &ini, userlist: &userlist, port: None, settings: Vec::new(), lead: None };
    let folder = project.path().canonicalize().unwrap().join("pooler");
    let error = pooler::start(&folder, Account::for_servers().unwrap().as_ref(), &program, &wanted).await.unwrap_err();
    assert!(matches!(error, LocalError::Pooler { .. }), "{error}");
    let detail = error.diagnostic().detail.unwrap();
    assert!(detail.contains("pool_mode"), "{detail}");
}

#[tokio::test]
async fn it_stands_before_the_private_cluster_and_goes_down_with_it() {
    let Some(program) = find_pgbouncer().await else { pgisle_testkit::skip!("PgBouncer is not installed") };
    let project = Project::open();
    let (cluster, _) = dev::up(project.path(), &options()).await.unwrap();
    let generated = tempfile::tempdir().unwrap();
    write_files(generated.path(), cluster.port, &[]);
    let verifier = Verifier::compute(&cluster.password, &[9; 16]);
    let client = super::project::connect(&cluster, false).await;
    client.batch_execute(&format!("ALTER ROLE link_user PASSWORD '{}'", verifier.expose())).await.unwrap();
    write_files(generated.path(), cluster.port, &[("link_user", verifier.expose())]);
    let (ini, userlist) = (generated.path().join("pgbouncer.ini"), generated.path().join("userlist.txt"));
    let wanted = PoolerOptions { ini: &ini, userlist: &userlist, port: None, settings: Vec::new(), lead: None };

    let running = dev::start_pgbouncer(project.path(), &program, &wanted).await.unwrap();
    connect(&running, "link_user", cluster.password.expose(), "app").await.unwrap();
    let dev::Status::Running { pooler: Some(found), .. } = dev::status(project.path()).await.unwrap() else {
        panic!("not running")
    };
    assert_eq!(found, running);
    assert_eq!(dev::reload_pgbouncer(project.path(), &wanted).await.unwrap(), Some(running));
    dev::down(project.path(), false).await.unwrap();
    assert!(!dev::stop_pgbouncer(project.path()).await.unwrap());
}
