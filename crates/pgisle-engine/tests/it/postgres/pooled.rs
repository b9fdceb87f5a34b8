use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::secret::Secret;
use pgisle_engine::local::{PgBouncer, find_pgbouncers};
use pgisle_engine::postgres::{ConnectOptions, Host, Session};
use pgisle_testkit::{Cluster, skip};

use super::{database, role};

/// A PgBouncer that ends with the value.
struct Pooler {
    process: Child,
    folder: tempfile::TempDir,
}

const PORT: u16 = 6432;

impl Pooler {
    /// Listens on a socket only, so that its port cannot clash.
    async fn start(found: &PgBouncer, cluster: &Cluster, settings: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("pgb").tempdir_in("/tmp").expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("mode");
        let path = folder.path().display();
        let users = folder.path().join("userlist.txt");
        fs::write(&users, format!("\"postgres\" \"{}\"\n", cluster.password())).expect("written");
        let file = folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host={} port={}\n[pgbouncer]\nlisten_port = {PORT}\nunix_socket_dir = {path}\nauth_type = plain\n\
             auth_file = {}\n{settings}\n",
            cluster.host(),
            cluster.port(),
            users.display()
        );
        fs::write(&file, text).expect("written");
        let mut command = Command::new(&found.program);
        if rustix::process::geteuid().is_root() {
            command.args(["-u", "postgres"]);
        }
        let process = command.arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("PgBouncer");
        let pooler = Self { process, folder };
        pooler.wait(&pooler.folder.path().join(format!(".s.PGSQL.{PORT}"))).await;
        pooler
    }

    async fn wait(&self, socket: &Path) {
        for _ in 0..250 {
            if std::os::unix::net::UnixStream::connect(socket).is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("PgBouncer does not listen");
    }

    async fn refusal(&self, cluster: &Cluster) -> Diagnostic {
        let host = Host::Socket(self.folder.path().to_owned());
        let options =
            ConnectOptions::new(host, PORT, role("postgres"), database("postgres")).with_password(Secret::new(cluster.password()));
        Session::connect(&options).await.expect_err("a pooler").diagnostic()
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

#[tokio::test]
async fn a_pooler_is_refused_in_every_mode() {
    let versions = find_pgbouncers().await;
    if versions.is_empty() {
        skip!("PgBouncer is not installed");
    }
    let cluster = Cluster::start().await;
    for found in versions {
        for settings in [
            "pool_mode = transaction",
            "pool_mode = statement",
            "pool_mode = session",
            // Whoever tells PgBouncer to swallow what it does not know must be found out as well.
            "pool_mode = transaction\nignore_startup_parameters = options,extra_float_digits",
            "pool_mode = session\nignore_startup_parameters = options",
        ] {
            let pooler = Pooler::start(&found, &cluster, settings).await;
            let diagnostic = pooler.refusal(&cluster).await;
            assert_eq!(diagnostic.code, Code::CONNECT_POOLED, "{:?} {settings}: {diagnostic}", found.version);
            assert!(diagnostic.to_string().contains("postgres_host"), "{diagnostic}");
        }
    }
}

/// The first version that knows `track_extra_parameters`.
const TRACKING: (u32, u32, u32) = (1, 20, 0);

#[tokio::test]
async fn a_pooler_that_passes_the_search_path_on_is_refused() {
    let versions = find_pgbouncers().await;
    let Some(found) = versions.iter().find(|found| found.version >= TRACKING) else { skip!("PgBouncer 1.20 is not installed") };
    let cluster = Cluster::start().await;
    let settings = "pool_mode = transaction\ntrack_extra_parameters = search_path,IntervalStyle\n\
                    ignore_startup_parameters = default_transaction_read_only,default_transaction_isolation,statement_timeout,\
                    lock_timeout,idle_in_transaction_session_timeout,idle_session_timeout,tcp_keepalives_idle,\
                    tcp_keepalives_interval,tcp_keepalives_count,client_min_messages,row_security,check_function_bodies,jit";
    let pooler = Pooler::start(found, &cluster, settings).await;
    let diagnostic = pooler.refusal(&cluster).await;
    assert_eq!(diagnostic.code, Code::CONNECT_POOLED, "{diagnostic}");
    assert!(diagnostic.to_string().contains("did not arrive"), "{diagnostic}");
}
