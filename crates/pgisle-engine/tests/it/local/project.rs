//! A project's folder for a test, with its private cluster removed at the end, whatever happens.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pgisle_core::name::{DatabaseName, RoleName};
use pgisle_engine::local::dev::{self, DevCluster, UpOptions};
use pgisle_engine::local::server;
use rustix::process::Signal;
use tokio_postgres::{Client, Config, NoTls};

/// Names the project for [`helper`].
const PROJECT_VARIABLE: &str = "PGISLE_TEST_PROJECT";

/// Asks [`helper`] for a standby, too.
const STANDBY_VARIABLE: &str = "PGISLE_TEST_STANDBY";

pub(crate) struct Project {
    folder: tempfile::TempDir,
    subfolder: PathBuf,
}

impl Project {
    /// A project that the server's account can reach.
    pub(crate) fn open() -> Self {
        Self::with(0o755, "project")
    }

    /// One in a folder that is closed to everybody but its owner, as `/root` is.
    pub(crate) fn closed() -> Self {
        Self::with(0o700, "project")
    }

    pub(crate) fn with(mode: u32, subfolder: &str) -> Self {
        // In memory where that is possible: a disk's fsync takes most of a test's time otherwise.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
        let subfolder = folder.path().join(subfolder);
        fs::create_dir_all(&subfolder).unwrap();
        Self { folder, subfolder }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.subfolder
    }

    pub(crate) fn temporary_folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs `dev::up` in a process of its own, which can be killed.
    pub(crate) fn up_in_process(&self) -> Child {
        self.helper(&[])
    }

    /// The same with a standby.
    pub(crate) fn up_with_standby_in_process(&self) -> Child {
        self.helper(&[(STANDBY_VARIABLE, "1")])
    }

    fn helper(&self, variables: &[(&str, &str)]) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "local::project::helper", "--ignored", "--nocapture"])
            .env(PROJECT_VARIABLE, self.path())
            .envs(variables.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let Ok(Some(cluster)) = dev::load(self.path()) else { return };
        // Either of two may be the primary, and which of their folders is within the other.
        let folder = cluster.data.parent().unwrap();
        let place = if folder.ends_with("second") { folder.parent().unwrap() } else { folder };
        let servers = [place.join("data"), place.join("second/data")];
        // Not by force at first: a killed server leaves shared memory behind that nobody would ever remove.
        for data in &servers {
            if let Some(postmaster) = server::postmaster(data) {
                server::signal(postmaster.pid, Signal::QUIT);
            }
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while servers.iter().any(|data| server::postmaster(data).is_some()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        servers.iter().for_each(|data| server::kill(data));
        for folder in [place, cluster.socket_folder.as_path()] {
            let _absent = fs::remove_dir_all(folder);
        }
    }
}

/// Not a test: what [`Project::up_in_process`] runs.
#[tokio::test]
#[ignore = "run by other tests, in a process that they kill"]
async fn helper() {
    if let Some(project) = std::env::var_os(PROJECT_VARIABLE) {
        let standby = std::env::var_os(STANDBY_VARIABLE).is_some();
        dev::up(Path::new(&project), &UpOptions { standby, ..options() }).await.unwrap();
    }
}

pub(crate) fn options() -> UpOptions {
    UpOptions {
        admin: RoleName::new("link_user").unwrap(),
        database: DatabaseName::new("link_app").unwrap(),
        major: None,
        standby: false,
    }
}

pub(crate) async fn connect(cluster: &DevCluster, over_socket: bool) -> Client {
    let mut config = Config::new();
    if over_socket {
        config.host_path(&cluster.socket_folder);
    } else {
        config.host(&cluster.host);
    }
    config.port(cluster.port).user(cluster.admin.as_str()).password(cluster.password.expose()).dbname(cluster.database.as_str());
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

pub(crate) async fn ask(client: &Client, query: &str) -> String {
    client.query_one(query, &[]).await.unwrap().get(0)
}
