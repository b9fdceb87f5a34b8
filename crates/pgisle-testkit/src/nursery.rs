//! Where the clusters live: one folder of this machine, shared by all test processes of an account.
//!
//! Each cluster's folder holds a file that its test process keeps locked. A folder whose file nobody has locked is a dead process's
//! and is removed by whoever comes next. Folders are made under a shared lock of the whole nursery and swept under an exclusive one,
//! so none is swept between its making and its locking.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, DirBuilder, File};
use std::hash::{Hash as _, Hasher as _};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use pgisle_core::secret::Secret;
use pgisle_engine::local::{Installation, server};
use pgisle_engine::process::{Account, Invocation};

use crate::cluster::SUPERUSER;

/// What every template is made with. Small segments make a copy 15 MB smaller, and a test does not need its data to survive a power cut.
const INITDB_ARGUMENTS: [&str; 2] = ["--no-sync", "--wal-segsize=1"];

/// Goes into the name of a template: raise it when templates are made in another way.
const TEMPLATE_FORMAT: u32 = 2;

/// Names the folder for all clusters, for tests that need a real disk or much of it.
const FOLDER_VARIABLE: &str = "PGISLE_TESTKIT_DIR";

/// Copying a thousand files is five times faster in memory than on a disk's file system.
const MEMORY_FOLDER: &str = "/dev/shm";

/// A cluster takes some 50 MB.
const ROOM_BYTES: u64 = 4 << 30;

/// The start of the names of clusters' folders.
const CLUSTER_PREFIX: &str = "c-";

/// The file in a cluster's folder that its process keeps locked.
const ALIVE: &str = "alive";

/// Who servers run as: none when we are not root.
pub(crate) fn account() -> Option<&'static Account> {
    static ACCOUNT: OnceLock<Option<Account>> = OnceLock::new();
    ACCOUNT.get_or_init(|| Account::for_servers().unwrap_or_else(|error| panic!("{error}"))).as_ref()
}

/// A cluster's folder, and the lock that says that we live.
pub(crate) struct Nest {
    pub(crate) folder: PathBuf,
    _alive: File,
}

/// Makes a folder for a cluster, after removing what dead processes left.
pub(crate) fn make_nest() -> Nest {
    static SWEPT: OnceLock<()> = OnceLock::new();
    let nursery = nursery();
    SWEPT.get_or_init(|| sweep(nursery));
    let lock = open_lock(&nursery.join("lock"));
    lock.lock_shared().expect("the nursery's lock");
    let folder = nursery.join(format!("{CLUSTER_PREFIX}{}", random_name()));
    make_folder(&folder);
    let alive = open_lock(&folder.join(ALIVE));
    alive.try_lock().expect("a new folder's lock");
    Nest { folder, _alive: alive }
}

/// Removes the folders of dead processes, and their servers.
fn sweep(nursery: &Path) {
    let lock = open_lock(&nursery.join("lock"));
    // Somebody else is sweeping, or making a folder: the next process will do it.
    if lock.try_lock().is_err() {
        return;
    }
    for entry in nursery.read_dir().into_iter().flatten().filter_map(Result::ok) {
        if !entry.file_name().to_string_lossy().starts_with(CLUSTER_PREFIX) {
            continue;
        }
        let folder = entry.path();
        // One that goes at this moment is removed by its own process.
        if try_open_lock(&folder.join(ALIVE)).is_ok_and(|alive| alive.try_lock().is_ok()) {
            server::kill(&folder.join("data"));
            let _left_for_the_next = fs::remove_dir_all(&folder);
        }
    }
}

/// The data directory to copy, with its superuser's password.
pub(crate) struct Template {
    pub(crate) data: PathBuf,
    pub(crate) password: String,
}

/// Finds the template for a version and more `initdb` arguments, or makes it.
pub(crate) async fn template(installation: &Installation, arguments: &[String]) -> Template {
    let mut hasher = DefaultHasher::new();
    (TEMPLATE_FORMAT, &installation.bin, &installation.version, INITDB_ARGUMENTS, arguments).hash(&mut hasher);
    let folder = nursery().join(format!("template-{}-{:016x}", installation.major, hasher.finish()));
    if !folder.join("data").exists() {
        let lock_file = folder.with_extension("lock");
        let lock = tokio::task::spawn_blocking(move || {
            let lock = open_lock(&lock_file);
            lock.lock().map(|()| lock)
        });
        let _lock = lock.await.expect("a blocking task").expect("the template's lock");
        if !folder.join("data").exists() {
            make_template(installation, arguments, &folder).await;
        }
    }
    let password = fs::read_to_string(folder.join("password")).expect("a template has a password");
    Template { data: folder.join("data"), password }
}

async fn make_template(installation: &Installation, arguments: &[String], folder: &Path) {
    if !folder.exists() {
        make_folder(folder);
    }
    let password = server::random_password().unwrap_or_else(|error| panic!("{error}"));
    server::write_private(&folder.join("password"), password.expose(), account()).expect("a password file");
    let arguments: Vec<&str> = INITDB_ARGUMENTS.into_iter().chain(arguments.iter().map(String::as_str)).collect();
    let new = server::NewCluster {
        data: &folder.join("data"),
        superuser: SUPERUSER,
        password: &Secret::new(password.expose()),
        arguments: &arguments,
    };
    server::initialise(installation, account(), &new).await.unwrap_or_else(|error| panic!("{}", error.diagnostic()));
}

/// Copies a template; a file system that can share blocks does.
pub(crate) async fn copy_template(template: &Template, data: &Path) {
    let sharing: &[&str] = if cfg!(target_os = "linux") { &["--reflink=auto"] } else { &[] };
    let copy = Invocation::new("cp").argument("-a").arguments(sharing).argument(&template.data).argument(data);
    copy.run_as(account()).directory("/").run().await.unwrap_or_else(|error| panic!("{error}"));
}

/// The folder of all clusters. Short, because sockets live in it; ours alone, because servers trust what is in it.
fn nursery() -> &'static Path {
    static NURSERY: OnceLock<PathBuf> = OnceLock::new();
    NURSERY.get_or_init(|| {
        let owner = account().map_or_else(|| rustix::process::geteuid().as_raw(), |account| account.uid);
        let folder = std::env::var_os(FOLDER_VARIABLE).map_or_else(|| default_folder(owner), PathBuf::from);
        if !folder.exists() {
            // Two processes may come here at once: what matters is what is there afterwards.
            let _made = DirBuilder::new().mode(0o700).create(&folder);
            let _given = account().map(|account| account.give(&folder));
        }
        let found = folder.symlink_metadata().unwrap_or_else(|error| panic!("cannot use {}: {error}", folder.display()));
        let ours = found.is_dir() && (found.uid() == owner || found.uid() == rustix::process::geteuid().as_raw());
        assert!(ours && found.mode() & 0o022 == 0, "{} is not ours alone: remove it", folder.display());
        folder.canonicalize().unwrap_or_else(|error| panic!("cannot use {}: {error}", folder.display()))
    })
}

fn default_folder(owner: u32) -> PathBuf {
    let parent = if has_room(Path::new(MEMORY_FOLDER)) { MEMORY_FOLDER } else { "/tmp" };
    PathBuf::from(format!("{parent}/pgisle-testkit-{owner}"))
}

/// True when the folder and the machine's memory both have room for a few dozen clusters; in a container the folder is often tiny.
fn has_room(folder: &Path) -> bool {
    let free = rustix::fs::statvfs(folder).map_or(0, |found| found.f_bavail.saturating_mul(found.f_frsize));
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available =
        memory.lines().find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    free >= ROOM_BYTES && available.unwrap_or_default() >= ROOM_BYTES >> 10
}

/// Makes a folder that belongs to the server's account alone.
pub(crate) fn make_folder(folder: &Path) {
    let made = DirBuilder::new().mode(0o700).create(folder);
    made.unwrap_or_else(|error| panic!("cannot create {}: {error}", folder.display()));
    give(folder);
}

/// Gives a file to the server's account.
pub(crate) fn give(path: &Path) {
    if let Some(account) = account() {
        account.give(path).unwrap_or_else(|error| panic!("{error}"));
    }
}

fn open_lock(path: &Path) -> File {
    try_open_lock(path).unwrap_or_else(|error| panic!("cannot open {}: {error}", path.display()))
}

fn try_open_lock(path: &Path) -> io::Result<File> {
    File::options().create(true).truncate(false).write(true).open(path)
}

fn random_name() -> String {
    let random = server::random_password().unwrap_or_else(|error| panic!("{error}"));
    random.expose()[..8].to_ascii_lowercase()
}
