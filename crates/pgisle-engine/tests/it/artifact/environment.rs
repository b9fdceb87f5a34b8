//! Environment files in real shells, and connection URLs in libpq and in Rust's driver.

use std::path::Path;

use pgisle_core::artifact::{Endpoint, generate};
use pgisle_core::spec::SslMode;
use pgisle_engine::process::{Invocation, on_path};
use pgisle_testkit::{Cluster, skip};

use super::{NASTY, create_islands, credentials, link, nasty_passwords, service_name, text_of, with_password, written};

#[tokio::test]
async fn shells_read_every_password_back() {
    let folder = tempfile::tempdir().unwrap();
    let spec = link();
    let passwords = nasty_passwords(200);
    let any = credentials(&spec, |_| String::new());
    for (index, password) in passwords.iter().enumerate() {
        let artifacts = generate(&spec, &Endpoint::of(&spec.settings), &with_password(any.clone(), password));
        std::fs::write(folder.path().join(format!("{index:03}")), text_of(&artifacts, ".env/.env.users")).unwrap();
    }
    let script = "for file in ./*; do (set -aeu; . \"$file\"; env -0 | grep -z '^PGPASSWORD='); done";
    for shell in ["bash", "dash", "sh"] {
        let Some(shell) = on_path(shell) else { skip!("{shell} is not installed") };
        let output = Invocation::new(shell).argument("-c").argument(script).directory(folder.path()).run().await.unwrap();
        let text = output.text();
        let read: Vec<&str> = text.split_terminator('\0').collect();
        assert_eq!(read.len(), passwords.len());
        for (read, password) in read.iter().zip(&passwords) {
            assert_eq!(read.strip_prefix("PGPASSWORD="), Some(password.as_str()));
        }
    }
}

#[test]
fn rusts_driver_reads_the_url_back() {
    let spec = link();
    let any = credentials(&spec, |_| NASTY.to_owned());
    for host in ["db.internal", "::1", "/run/postgresql"] {
        let endpoint = Endpoint { host: host.to_owned(), ..Endpoint::of(&spec.settings) };
        for password in nasty_passwords(50) {
            let credentials = with_password(any.clone(), &password);
            let (service, logins) = credentials.services.last_key_value().unwrap();
            let service = &spec.services[service];
            let (user, database) = (logins.active.role.as_str(), service.database.as_str());
            let url = pgisle_core::artifact::connection_url(user, &logins.active.secret, host, 5432, database, SslMode::Require);
            let config: tokio_postgres::Config = url.expose().parse().unwrap();
            assert_eq!(config.get_password(), Some(password.as_bytes()));
            assert_eq!((config.get_user(), config.get_dbname()), (Some(user), Some(database)));
            assert_eq!((config.get_ports(), config.get_hosts().len()), (&[5432][..], 1));
            assert_eq!(config.get_ssl_mode(), tokio_postgres::config::SslMode::Require);
        }
        assert!(generate(&spec, &endpoint, &any).iter().all(|artifact| artifact.content.is_some()));
    }
}

#[tokio::test]
async fn libpq_logs_in_with_the_files_as_they_are() {
    let cluster = Cluster::start().await;
    let spec = link();
    let credentials = credentials(&spec, |service| format!("{}{NASTY}", service.name));
    create_islands(&cluster, &spec, &credentials).await;
    for host in [cluster.host().to_owned(), cluster.socket_dir().display().to_string()] {
        let folder = tempfile::tempdir().unwrap();
        let endpoint = Endpoint {
            host,
            port: cluster.port(),
            sslmode: SslMode::Disable,
            sslrootcert: None,
            standbys: Vec::new(),
            pooler: None,
        };
        written(&spec, &endpoint, &credentials, folder.path());
        for service in spec.services.values() {
            let expected = format!("{}|{}", service.user, service.database);
            let file = format!("./.env/.env.{}", service.name);
            // By libpq's own variables, and by URL with nothing else set.
            for command in ["exec \"$PSQL\"", "unset PGHOST PGPORT PGUSER PGPASSWORD PGDATABASE; exec \"$PSQL\" \"$DATABASE_URL\""]
            {
                let script = format!("set -a; . {file}; {command} -XtAc 'SELECT current_user, current_database()'");
                assert_eq!(sh(&cluster, folder.path(), &script).await, expected, "{command}");
            }
        }
    }
    let users = service_name("users");
    assert!(cluster.connect_as("link_users_user", credentials.services[&users].active.secret.expose(), "link_chat").await.is_err());
}

async fn sh(cluster: &Cluster, folder: &Path, script: &str) -> String {
    let psql = cluster.installation().program("psql");
    let run = Invocation::new("sh").arguments(["-c", script]).clean_environment().environment("PSQL", psql).directory(folder);
    run.run().await.unwrap().text()
}
