//! The fragment for `pg_hba.conf` in a real server.

use std::fs;

use pgisle_core::artifact::Endpoint;
use pgisle_engine::process::Invocation;
use pgisle_testkit::{Cluster, ServerCertificate, installations};

use super::{NASTY, create_islands, credentials, link, quoted_name, service_name, written};

/// Tries to log in as a service; psql's own words when that fails.
async fn log_in(cluster: &Cluster, user: &str, password: &str, database: &str, sslmode: &str) -> Result<(), String> {
    let run = Invocation::new(cluster.installation().program("psql")).arguments(["-XtAc", "SELECT 1"]).clean_environment();
    let variables = [("PGHOST", cluster.host()), ("PGUSER", user), ("PGPASSWORD", password), ("PGDATABASE", database)];
    let run = variables.into_iter().fold(run, |run, (name, value)| run.environment(name, value));
    let run = run.environment("PGPORT", cluster.port().to_string()).environment("PGSSLMODE", sslmode);
    let output = run.run_to_end().await.unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[tokio::test]
async fn the_server_loads_the_fragment_and_enforces_it() {
    let majors: Vec<u32> = installations().await.iter().filter(|found| found.tls).map(|found| found.major).collect();
    for major in majors {
        let cluster = Cluster::builder().major(major).tls(ServerCertificate::Valid).start().await;
        let spec = link();
        let credentials = credentials(&spec, |_| NASTY.to_owned());
        create_islands(&cluster, &spec, &credentials).await;
        // The grants are as wrong as can be: only the fragment stands between.
        for service in spec.services.values() {
            cluster.psql(&format!("GRANT CONNECT ON DATABASE {} TO PUBLIC", quoted_name(service.database.as_str()))).await;
        }
        let folder = tempfile::tempdir().unwrap();
        written(&spec, &Endpoint::of(&spec.settings), &credentials, folder.path());
        let fragment = fs::read_to_string(folder.path().join("pg_hba.conf.fragment")).unwrap();
        let file = cluster.data_dir().join("pg_hba.conf");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, fragment + &text).unwrap();
        assert_eq!(cluster.psql("SELECT line_number, error FROM pg_hba_file_rules WHERE error IS NOT NULL").await, "");
        cluster.psql("SELECT pg_reload_conf(), pg_sleep(0.5)").await;

        for service in spec.services.values() {
            let own = service.database.as_str();
            log_in(&cluster, service.user.as_str(), NASTY, own, "require").await.unwrap();
            let error = log_in(&cluster, service.user.as_str(), NASTY, own, "disable").await.unwrap_err();
            assert!(error.contains("pg_hba.conf rejects connection"), "{error}");
            for other in spec.services.values().map(|other| other.database.as_str()).chain(["postgres", "template1"]) {
                if other != own {
                    let error = log_in(&cluster, service.user.as_str(), NASTY, other, "require").await.unwrap_err();
                    assert!(error.contains("pg_hba.conf rejects connection"), "{major} {own} {other}: {error}");
                }
            }
        }
        let monitoring = credentials.monitoring.as_ref().unwrap();
        let password = monitoring.secret.expose();
        for database in ["postgres", spec.services[&service_name("users")].database.as_str()] {
            log_in(&cluster, monitoring.role.as_str(), password, database, "require").await.unwrap();
        }
        assert!(log_in(&cluster, monitoring.role.as_str(), password, "template1", "require").await.is_err());
    }
}
