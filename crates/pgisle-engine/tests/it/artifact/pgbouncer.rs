//! PgBouncer on the generated files, before a real server.

mod budget;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use pgisle_core::artifact::{Endpoint, Pooler};
use pgisle_core::credential::Slot;
use pgisle_core::spec::{PoolMode, Replica, ReplicaMode, Spec, SslMode};
use pgisle_engine::local::{PgBouncer, find_pgbouncers};
use pgisle_engine::process::{Account, Invocation};
use pgisle_testkit::{Cluster, ServerCertificate, skip};

use super::{NASTY, create_islands, credential, credentials, link, service_name, written};

/// How long PgBouncer may take to listen, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(20);

/// A PgBouncer that ends with its value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts PgBouncer on a folder's files, as an account that it agrees to run as.
async fn start(pgbouncer: &PgBouncer, folder: &Path, port: u16) -> Running {
    if let Some(account) = Account::for_servers().unwrap() {
        // PgBouncer refuses to be root; everything stays as private as it was.
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        let files = folder.join("pgbouncer");
        for path in [files.clone(), files.join("tls")].iter().filter(|path| path.exists()) {
            account.give(path).unwrap();
            fs::read_dir(path).unwrap().for_each(|entry| account.give(&entry.unwrap().path()).unwrap());
        }
    }
    let account = Account::for_servers().unwrap();
    let log = folder.join("pgbouncer.log");
    let run = Invocation::new(&pgbouncer.program).argument(folder.join("pgbouncer/pgbouncer.ini")).clean_environment();
    let mut running = Running(run.run_as(account.as_ref()).start(&log).unwrap());
    let begun = Instant::now();
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        let ended = running.0.try_wait().unwrap().is_some();
        assert!(!ended && begun.elapsed() < PATIENCE, "PgBouncer did not start: {}", fs::read_to_string(&log).unwrap());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let said = fs::read_to_string(&log).unwrap();
    assert!(!said.contains("WARNING") && !said.contains("ERROR"), "{said}");
    running
}

fn endpoint(cluster: &Cluster, sslmode: SslMode, folder: &Path) -> Endpoint {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let directory = folder.join("pgbouncer").display().to_string();
    let pooler = Pooler {
        host: "127.0.0.1".to_owned(),
        port,
        listen_address: "127.0.0.1".to_owned(),
        directory,
        homes: std::collections::BTreeMap::new(),
    };
    Endpoint {
        host: cluster.host().to_owned(),
        port: cluster.port(),
        sslmode,
        sslrootcert: None,
        standbys: Vec::new(),
        pooler: Some(pooler),
    }
}

/// Runs psql in a shell that has read an environment file.
async fn psql(cluster: &Cluster, folder: &Path, file: &str, arguments: &str) -> Result<String, String> {
    let script =
        format!("set -a; . ./.env/.env.{file}; unset PGHOST PGPORT PGUSER PGPASSWORD PGDATABASE; exec \"$PSQL\" -XtA {arguments}");
    let run = Invocation::new("sh").arguments(["-c", &script]).clean_environment().directory(folder);
    let output = run.environment("PSQL", cluster.installation().program("psql")).run_to_end().await.unwrap();
    if output.status.success() { Ok(output.text()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

async fn every_service_logs_in(cluster: &Cluster, spec: &Spec, folder: &Path) {
    for service in spec.services.values() {
        let query = "\"$DATABASE_POOL_URL\" -c 'SELECT current_user, current_database()'";
        let seen = psql(cluster, folder, service.name.as_str(), query).await.unwrap();
        assert_eq!(seen, format!("{}|{}", service.user, service.database));
    }
    let error = psql(cluster, folder, "users", "\"${DATABASE_POOL_URL%link_users?*}link_chat\"").await.unwrap_err();
    assert!(error.contains("permission denied for database \"link_chat\""), "{error}");
    let error = psql(cluster, folder, "users", "\"${DATABASE_POOL_URL%link_users?*}postgres\"").await.unwrap_err();
    assert!(error.contains("no such database") || error.contains("database \"postgres\""), "there is no *: {error}");
    let error = psql(cluster, folder, "users", "\"$(echo \"$DATABASE_POOL_URL\" | sed s/@/x@/)\"").await.unwrap_err();
    assert!(error.contains("authentication failed"), "{error}");
}

async fn the_console_answers(cluster: &Cluster, folder: &Path) {
    let databases = psql(cluster, folder, "pgbouncer", "\"$PGBOUNCER_ADMIN_URL\" -c 'SHOW DATABASES'").await.unwrap();
    assert!(databases.contains("link_users|127.0.0.1|"), "{databases}");
    psql(cluster, folder, "pgbouncer", "\"$PGBOUNCER_ADMIN_URL\" -c RELOAD").await.unwrap();
    psql(cluster, folder, "monitoring", "\"$PGBOUNCER_STATS_URL\" -c 'SHOW POOLS'").await.unwrap();
    let error = psql(cluster, folder, "monitoring", "\"$PGBOUNCER_STATS_URL\" -c RELOAD").await.unwrap_err();
    assert!(error.contains("admin access needed"), "{error}");
    assert!(psql(cluster, folder, "users", "\"${DATABASE_POOL_URL%link_users?*}pgbouncer\" -c 'SHOW POOLS'").await.is_err());
}

#[tokio::test]
async fn each_service_logs_in_through_pgbouncer_by_scram() {
    let all = find_pgbouncers().await;
    if all.is_empty() {
        skip!("PgBouncer is not installed");
    }
    let cluster = Cluster::builder().tls(ServerCertificate::Valid).start().await;
    let mut spec = link();
    let mut credentials = credentials(&spec, |service| format!("{}{NASTY}", service.name));
    // A rotation is under way: both slots log in.
    let users = service_name("users");
    let old = credential(spec.services[&users].login(Slot::B), "the old password");
    credentials.services.get_mut(&users).unwrap().draining = Some(old);
    create_islands(&cluster, &spec, &credentials).await;
    for pgbouncer in &all {
        let (major, minor, _) = pgbouncer.version;
        spec.settings.pgbouncer_version = format!("{major}.{minor}");
        for (mode, sslmode) in [(PoolMode::Session, SslMode::Disable), (PoolMode::Transaction, SslMode::Require)] {
            let folder = tempfile::tempdir().unwrap();
            spec.settings.pgbouncer_pool_mode = mode;
            let endpoint = endpoint(&cluster, sslmode, folder.path());
            let port = endpoint.pooler.as_ref().unwrap().port;
            written(&spec, &endpoint, &credentials, folder.path());
            if sslmode != SslMode::Disable {
                let tls = folder.path().join("pgbouncer/tls");
                fs::create_dir(&tls).unwrap();
                let own = cluster.tls().client("pgbouncer");
                fs::copy(own.certificate, tls.join("server.crt")).unwrap();
                fs::copy(own.key, tls.join("server.key")).unwrap();
            }
            let _running = start(pgbouncer, folder.path(), port).await;
            every_service_logs_in(&cluster, &spec, folder.path()).await;
            the_console_answers(&cluster, folder.path()).await;
            let run = Invocation::new(cluster.installation().program("psql")).clean_environment();
            let run = run.arguments(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", "link_users_user_b", "-d", "link_users"]);
            let run = run.arguments(["-XtAc", "SELECT current_user"]).environment("PGPASSWORD", "the old password");
            assert_eq!(run.run().await.unwrap().text(), "link_users_user_b");
        }
    }
}

#[tokio::test]
async fn readers_are_led_to_one_host_after_the_other() {
    let all = find_pgbouncers().await;
    if all.is_empty() {
        skip!("PgBouncer is not installed");
    }
    let cluster = Cluster::start().await;
    let mut spec = link();
    spec.services.get_mut(&service_name("users")).unwrap().replica = Some(Replica { mode: ReplicaMode::Shared, region: None });
    let credentials = credentials(&spec, |_| NASTY.to_owned());
    create_islands(&cluster, &spec, &credentials).await;
    for pgbouncer in &all {
        let (major, minor, _) = pgbouncer.version;
        spec.settings.pgbouncer_version = format!("{major}.{minor}");
        let folder = tempfile::tempdir().unwrap();
        let mut endpoint = endpoint(&cluster, SslMode::Disable, folder.path());
        // Nobody listens at the first: a new connection goes on to the next.
        endpoint.standbys = ["127.0.0.77", "127.0.0.1"].map(|host| (host.to_owned(), cluster.port())).to_vec();
        let port = endpoint.pooler.as_ref().unwrap().port;
        written(&spec, &endpoint, &credentials, folder.path());
        let _running = start(pgbouncer, folder.path(), port).await;
        let query = "-c 'SELECT current_user, current_database()'";
        let begun = Instant::now();
        let seen = loop {
            match psql(&cluster, folder.path(), "users", &format!("\"$DATABASE_POOL_URL_RO\" {query}")).await {
                Ok(seen) => break seen,
                Err(said) => assert!(said.contains("server_login_retry") && begun.elapsed() < PATIENCE, "{said}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        assert_eq!(seen, "link_users_user|link_users", "{:?}", pgbouncer.version);
        for variable in ["DATABASE_URL_RO", "DATABASE_URL_RW"] {
            let seen = psql(&cluster, folder.path(), "users", &format!("\"${variable}\" {query}")).await.unwrap();
            assert_eq!(seen, "link_users_user|link_users", "{variable}");
        }
        let databases = psql(&cluster, folder.path(), "pgbouncer", "\"$PGBOUNCER_ADMIN_URL\" -c 'SHOW DATABASES'").await.unwrap();
        assert!(databases.contains("link_users_ro|127.0.0.77,127.0.0.1|"), "{databases}");
    }
}

#[tokio::test]
async fn prepared_statements_survive_transaction_mode_where_the_version_allows() {
    let Some(pgbouncer) = find_pgbouncers().await.into_iter().find(|found| found.version >= (1, 21, 0)) else {
        skip!("PgBouncer 1.21 or later is not installed")
    };
    let cluster = Cluster::start().await;
    let mut spec = link();
    spec.settings.pgbouncer_pool_mode = PoolMode::Transaction;
    spec.settings.pgbouncer_version = "1.21".to_owned();
    spec.settings.pgbouncer_default_pool_size = 2;
    let credentials = credentials(&spec, |_| NASTY.to_owned());
    create_islands(&cluster, &spec, &credentials).await;
    let folder = tempfile::tempdir().unwrap();
    let endpoint = endpoint(&cluster, SslMode::Disable, folder.path());
    let port = endpoint.pooler.as_ref().unwrap().port;
    written(&spec, &endpoint, &credentials, folder.path());
    let _running = start(&pgbouncer, folder.path(), port).await;
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(port).user("link_users_user").password(NASTY).dbname("link_users");
    let mut clients = Vec::new();
    for _ in 0..2 {
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        clients.push(client);
    }
    let [one, other] = clients.as_slice() else { unreachable!() };
    let statement = one.prepare("SELECT $1::text, pg_backend_pid()").await.unwrap();
    let first: i32 = one.query_one(&statement, &[&"a"]).await.unwrap().get(1);
    // The other client takes the one server connection there is, so the statement meets a connection that never saw it.
    other.batch_execute("BEGIN").await.unwrap();
    assert_eq!(other.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get::<_, i32>(0), first);
    let row = one.query_one(&statement, &[&"b"]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), "b");
    assert_ne!(row.get::<_, i32>(1), first);
}
