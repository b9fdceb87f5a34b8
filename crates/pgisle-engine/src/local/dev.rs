//! `pgisle dev`: one private cluster per project, under `<project>/.pgisle/dev`, with a standby where one is asked for.
//!
//! [`up`] is idempotent and mends what it finds: a data directory half made, a server that was killed, a lock file whose number is
//! another process's. Nothing is written down that could be found out: whether the server runs, the operating system knows. The
//! connection file holds what cannot be found out, the password above all.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pgisle_core::name::{DatabaseName, RoleName};
use pgisle_core::secret::Secret;

use super::pooler::{self, Lead, Pooler, PoolerOptions};
use super::server::{self, NewCluster, StopMode};
use super::{Installation, LocalError, PgBouncer, surroundings};
use crate::postgres::Session;
use crate::process::Account;

mod admission;
mod failover;
mod pair;
mod state;

pub(crate) use failover::Takeover;
pub use pair::{Follower, Standby, StandbyState};
pub use state::load;

use pair::{Node, Pair, Part, Two};
use state::State;

/// The folder of everything that pgisle keeps beside a project's files.
const PGISLE_FOLDER: &str = ".pgisle";

/// The server's log starts anew when it is larger than this.
const LOG_LIMIT_BYTES: u64 = 16 << 20;

/// How often a start is tried with another port, because another process took it between our choice and the server's.
const START_ATTEMPTS: u32 = 5;

/// Spares `initdb` a thousand waits for the disk. Only a power cut within the next half minute could tell, and then nothing is lost
/// but an empty cluster.
const NO_SYNC: &str = "--no-sync";

/// What the private cluster is to be.
#[derive(Debug, Clone)]
pub struct UpOptions {
    /// Its administrator, a superuser.
    pub admin: RoleName,
    /// The shared database, which the administrator owns.
    pub database: DatabaseName,
    /// The major version; none takes the one that is there already, or the best that is installed.
    pub major: Option<u32>,
    /// Whether it is to have a standby. One that has one keeps it.
    pub standby: bool,
}

/// A private cluster, and how to connect to it: to its primary, where there is a standby.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevCluster {
    /// The address of its TCP port: the loopback interface.
    pub host: String,
    /// The port, of TCP and of the socket.
    pub port: u16,
    /// The folder of its Unix socket.
    pub socket_folder: PathBuf,
    /// The administrator.
    pub admin: RoleName,
    /// The administrator's password.
    pub password: Secret,
    /// The shared database.
    pub database: DatabaseName,
    /// The data directory.
    pub data: PathBuf,
    /// The server's log.
    pub log: PathBuf,
    /// The major version.
    pub major: u32,
}

/// What [`up`] had to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpChange {
    /// It was running.
    None,
    /// It was there and not running.
    Started,
    /// There was none.
    Created,
}

/// What [`down`] had to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DownChange {
    /// It was not running.
    None,
    /// It was running.
    Stopped,
    /// It and its data are gone.
    Destroyed,
}

/// What is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// No private cluster was ever made here, or it was destroyed.
    Absent,
    /// There is one, and it does not run.
    Stopped(DevCluster),
    /// It runs.
    Running {
        /// How to connect to it.
        cluster: DevCluster,
        /// The PgBouncer in front of it, if one runs.
        pooler: Option<Pooler>,
        /// The standby's port, whether it runs or not.
        standby_port: Option<u16>,
    },
}

/// Where a project's private cluster keeps what.
struct Layout {
    /// `<project>/.pgisle/dev`.
    folder: PathBuf,
    account: Option<Account>,
}

impl Layout {
    fn of(project: &Path) -> Result<Self, LocalError> {
        let project = project.canonicalize().map_err(LocalError::file("find", project))?;
        let account = Account::for_servers().map_err(LocalError::Account)?;
        Ok(Self { folder: project.join(PGISLE_FOLDER).join("dev"), account })
    }

    fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    fn lock(&self) -> PathBuf {
        self.folder.join("lock")
    }

    /// The place inside the project, which is also what a refuge is named after.
    fn project_place(&self) -> PathBuf {
        self.folder.join("server")
    }

    async fn place(&self) -> Place {
        Place(surroundings::choose_place(&self.project_place(), self.account()).await)
    }

    /// Makes the folders that pgisle itself writes to. They may be entered by others, because the server's account must get through,
    /// and not listed.
    fn prepare(&self) -> Result<(), LocalError> {
        let top = self.folder.parent().unwrap_or(&self.folder);
        for folder in [top, &self.folder] {
            match DirBuilder::new().mode(0o711).create(folder) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(LocalError::file("create", folder)(error));
                }
                _ => {}
            }
        }
        let ignore = top.join(".gitignore");
        if ignore.exists() { Ok(()) } else { fs::write(&ignore, "*\n").map_err(LocalError::file("create", ignore)) }
    }
}

/// The folder that belongs to the server's account.
struct Place(PathBuf);

impl Place {
    /// The folder of one of two servers. The first one's is the whole.
    fn folder(&self, node: Node) -> PathBuf {
        match node {
            Node::First => self.0.clone(),
            Node::Second => self.0.join(surroundings::SECOND),
        }
    }

    fn data(&self, node: Node) -> PathBuf {
        self.folder(node).join("data")
    }

    fn log(&self, node: Node) -> PathBuf {
        self.folder(node).join("server.log")
    }

    fn socket_folder(&self, node: Node) -> PathBuf {
        surroundings::choose_socket_folder(&self.folder(node))
    }

    fn pooler(&self) -> PathBuf {
        self.0.join("pgbouncer")
    }
}

/// Makes sure that the project's private cluster exists and runs, and that it has the shared database; and the same of its standby,
/// if it has one or is to have one. A failover that was broken off is ended: the server that had been chosen is promoted, the
/// other one becomes its standby.
///
/// # Errors
/// When it cannot be made or started, or is not what was asked for.
pub async fn up(project: &Path, options: &UpOptions) -> Result<(DevCluster, UpChange), LocalError> {
    let layout = Layout::of(project)?;
    layout.prepare()?;
    let _lock = surroundings::lock(&layout.lock()).await?;
    let place = layout.place().await;
    surroundings::own_folder(&place.0, layout.account())?;

    let known = state::read(&layout.folder)?;
    let pair = known.as_ref().and_then(|known| known.pair);
    let node = pair.map_or(Node::First, |pair| pair.primary);
    let data = place.data(node);
    let (mut cluster, installation, created) = match (made_by(&data)?, known) {
        (Some(major), known) => {
            let (cluster, installation) = take_over(&layout, &place, node, options, major, known).await?;
            (cluster, installation, false)
        }
        (None, Some(State { pair: Some(_), .. })) => return Err(LocalError::DataGone(data)),
        (None, _) => {
            let (cluster, installation) = create(&layout, &place, options).await?;
            (cluster, installation, true)
        }
    };
    let started = run(&layout, &place, node, &installation, &mut cluster).await?;
    pair::ensure_promoted(&cluster).await?;
    admission::ensure_database(&cluster).await?;
    let pair = if options.standby || pair.is_some() {
        let standby_port = 0;
        let pair = pair.unwrap_or(Pair { primary: node, standby_port, is_failing_over: false });
        // Before there is a second data directory: an older pgisle must not take the first one for all there is.
        state::save(&layout.folder, &State { cluster: cluster.clone(), pair: Some(pair) })?;
        Some(settle_pair(&layout, &place, &installation, &cluster, pair).await?)
    } else {
        None
    };
    state::save(&layout.folder, &State { cluster: cluster.clone(), pair })?;
    pooler::lead(&place.pooler(), layout.account(), lead(&cluster, pair)).await?;
    let change = match (created, started) {
        (true, _) => UpChange::Created,
        (false, true) => UpChange::Started,
        (false, false) => UpChange::None,
    };
    Ok((cluster, change))
}

/// Makes sure of the standby, and ends what a failover has left that was broken off.
async fn settle_pair(
    layout: &Layout,
    place: &Place,
    installation: &Installation,
    cluster: &DevCluster,
    pair: Pair,
) -> Result<Pair, LocalError> {
    if pair.is_failing_over {
        // It may have had each commit wait for a standby that is not there.
        let part = Part::Primary { is_synchronous: false };
        pair::write_settings(&cluster.data, layout.account(), cluster.port, &cluster.socket_folder, &part)?;
        server::reload(&cluster.data);
    }
    let mut two = Two { layout, place, installation, primary: cluster, pair };
    two.ensure_standby().await?;
    let pair = two.pair;
    if pair.is_failing_over {
        crate::failover::sweep(&cluster.connect_options()).await?;
    }
    Ok(pair)
}

/// Whether a failover was broken off, so that generated files may name the old primary.
///
/// # Errors
/// When the connection file is there and cannot be used.
pub fn is_failing_over(project: &Path) -> Result<bool, LocalError> {
    let known = state::read(&Layout::of(project)?.folder)?;
    Ok(known.and_then(|known| known.pair).is_some_and(|pair| pair.is_failing_over))
}

/// Says that generated files name the primary, so that nothing is left to do of a failover.
///
/// # Errors
/// When the connection file cannot be read or written.
pub async fn end_failover(project: &Path) -> Result<(), LocalError> {
    let layout = Layout::of(project)?;
    let _lock = surroundings::lock(&layout.lock()).await?;
    let Some(State { cluster, pair }) = state::read(&layout.folder)? else { return Ok(()) };
    let pair = pair.map(|pair| Pair { is_failing_over: false, ..pair });
    state::save(&layout.folder, &State { cluster, pair })
}

/// The major version that made what is in the data directory's place; none when nothing is there.
fn made_by(data: &Path) -> Result<Option<u32>, LocalError> {
    if let Some(major) = server::major_of(data) {
        return Ok(Some(major));
    }
    match fs::remove_dir(data) {
        Ok(()) => Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(_) => Err(LocalError::NotADataDirectory(data.to_owned())),
    }
}

async fn take_over(
    layout: &Layout,
    place: &Place,
    node: Node,
    options: &UpOptions,
    major: u32,
    known: Option<State>,
) -> Result<(DevCluster, Installation), LocalError> {
    let data = place.data(node);
    if let Some(wanted) = options.major.filter(|&wanted| wanted != major) {
        return Err(LocalError::OtherMajor { data, found: major, wanted });
    }
    let installation = Installation::find(Some(major)).await.map_err(|_| LocalError::MajorGone { data: data.clone(), major })?;
    let known = known.ok_or_else(|| LocalError::StateMissing { state: state::path(&layout.folder) })?.cluster;
    if known.admin != options.admin {
        return Err(LocalError::OtherAdmin { found: known.admin.to_string(), wanted: options.admin.to_string() });
    }
    Ok((DevCluster { data, log: place.log(node), major, database: options.database.clone(), ..known }, installation))
}

async fn create(layout: &Layout, place: &Place, options: &UpOptions) -> Result<(DevCluster, Installation), LocalError> {
    let installation = Installation::find(options.major).await?;
    let cluster = DevCluster {
        host: "127.0.0.1".to_owned(),
        port: server::free_port()?,
        socket_folder: place.socket_folder(Node::First),
        admin: options.admin.clone(),
        password: server::random_password()?,
        database: options.database.clone(),
        data: place.data(Node::First),
        log: place.log(Node::First),
        major: installation.major,
    };
    // Before the data directory, because nobody could log in to one whose password was never written down.
    state::save(&layout.folder, &State { cluster: cluster.clone(), pair: None })?;
    let new =
        NewCluster { data: &cluster.data, superuser: cluster.admin.as_str(), password: &cluster.password, arguments: &[NO_SYNC] };
    server::initialise(&installation, layout.account(), &new).await?;
    Ok((cluster, installation))
}

/// Starts the server unless it runs, and puts its real port and socket folder into `cluster`. True when it had to be started.
async fn run(
    layout: &Layout,
    place: &Place,
    node: Node,
    installation: &Installation,
    cluster: &mut DevCluster,
) -> Result<bool, LocalError> {
    if wait_while_starting(cluster).await? {
        return Ok(false);
    }
    cluster.socket_folder = place.socket_folder(node);
    surroundings::own_folder(&cluster.socket_folder, layout.account())?;
    server::clear_remains(&cluster.data, &cluster.socket_folder)?;
    rotate(&cluster.log)?;
    let mut attempt = 1;
    loop {
        // The known port first, because the user's other programs know it too.
        if attempt > 1 || cluster.port == 0 || !server::is_free(cluster.port) {
            cluster.port = server::free_port()?;
        }
        let part = Part::Primary { is_synchronous: false };
        pair::write_settings(&cluster.data, layout.account(), cluster.port, &cluster.socket_folder, &part)?;
        match server::start(installation, layout.account(), &cluster.data, &cluster.log).await {
            Ok(()) => return Ok(true),
            Err(LocalError::Start { log_tail, .. }) if attempt < START_ATTEMPTS && server::is_port_taken(&log_tail) => attempt += 1,
            Err(error) => return Err(error),
        }
    }
}

/// True when the server runs; one that is just starting, or recovering, is waited for.
async fn wait_while_starting(cluster: &mut DevCluster) -> Result<bool, LocalError> {
    let deadline = Instant::now() + server::PATIENCE;
    while let Some(postmaster) = server::postmaster(&cluster.data) {
        if postmaster.ready {
            cluster.port = postmaster.port;
            cluster.socket_folder = postmaster.socket_folder;
            return Ok(true);
        }
        if Instant::now() > deadline {
            return Err(LocalError::Silent { timeout_s: server::PATIENCE.as_secs(), log_tail: server::log_tail(&cluster.log, 0) });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(false)
}

fn rotate(log: &Path) -> Result<(), LocalError> {
    if log.metadata().is_ok_and(|metadata| metadata.len() > LOG_LIMIT_BYTES) {
        fs::rename(log, log.with_extension("log.old")).map_err(LocalError::file("rename", log))?;
    }
    Ok(())
}

/// Stops the project's private cluster and the PgBouncer in front of it, and with `destroy` removes them and all their data.
///
/// # Errors
/// When the server does not stop or a file cannot be removed.
pub async fn down(project: &Path, destroy: bool) -> Result<DownChange, LocalError> {
    let layout = Layout::of(project)?;
    let places = surroundings::places(&layout.project_place());
    if !layout.folder.exists() && !places.iter().any(|place| place.exists()) {
        return Ok(DownChange::None);
    }
    layout.prepare()?;
    let _lock = surroundings::lock(&layout.lock()).await?;
    let mut change = DownChange::None;
    for place in places.map(Place).into_iter().filter(|place| place.0.exists()) {
        surroundings::own_folder(&place.0, layout.account())?;
        pooler::stop(&place.pooler()).await?;
        // The standby last, so that it has all that the primary has written: it goes on from there.
        let primary =
            state::read(&layout.folder).ok().flatten().and_then(|known| known.pair).map_or(Node::First, |pair| pair.primary);
        for node in [primary, primary.other()] {
            if server::postmaster(&place.data(node)).is_some() {
                if server::stop(&place.data(node), StopMode::Fast).await.is_err() {
                    server::stop(&place.data(node), StopMode::Immediate).await?;
                }
                change = DownChange::Stopped;
            }
        }
        if destroy {
            // What still lives of a server that was killed would hold its files open.
            [Node::First, Node::Second].iter().for_each(|node| server::kill(&place.data(*node)));
            let own = [place.0.clone(), place.folder(Node::Second), place.pooler()];
            let sockets = own.map(|folder| surroundings::choose_socket_folder(&folder));
            surroundings::remove_folder(&place.0)?;
            for folder in sockets {
                surroundings::remove_folder(&folder)?;
            }
        }
    }
    if destroy {
        change = DownChange::Destroyed;
        surroundings::remove_folder(&layout.folder)?;
    }
    Ok(change)
}

/// Looks at the project's private cluster without changing anything.
///
/// # Errors
/// When its files are there and cannot be read.
pub async fn status(project: &Path) -> Result<Status, LocalError> {
    let layout = Layout::of(project)?;
    let Some(State { mut cluster, pair }) = state::read(&layout.folder)? else { return Ok(Status::Absent) };
    let place = layout.place().await;
    cluster.data = place.data(pair.map_or(Node::First, |pair| pair.primary));
    match server::postmaster(&cluster.data) {
        Some(postmaster) if postmaster.ready => {
            cluster.port = postmaster.port;
            cluster.socket_folder = postmaster.socket_folder;
            let standby_port = pair.map(|pair| pair.standby_port);
            Ok(Status::Running { cluster, pooler: pooler::running(&place.pooler()), standby_port })
        }
        _ if server::major_of(&cluster.data).is_some() => Ok(Status::Stopped(cluster)),
        _ => Ok(Status::Absent),
    }
}

/// Looks at the standby; none when the private cluster is not to have one.
///
/// # Errors
/// When the connection file is there and cannot be used, or the primary does not answer.
pub async fn standby(project: &Path) -> Result<Option<Standby>, LocalError> {
    let layout = Layout::of(project)?;
    let Some(State { cluster, pair: Some(pair) }) = state::read(&layout.folder)? else { return Ok(None) };
    let place = layout.place().await;
    let node = pair.primary.other();
    let data = place.data(node);
    let state = match server::postmaster(&data) {
        None => StandbyState::Stopped,
        Some(_) if server::postmaster(&place.data(pair.primary)).is_none() => StandbyState::Waiting,
        Some(_) => {
            let session = Box::pin(Session::connect(&cluster.connect_options())).await.map_err(LocalError::Connect)?;
            let follower = pair::follower(&session).await?;
            session.close().await;
            follower.map_or(StandbyState::Waiting, StandbyState::Streaming)
        }
    };
    Ok(Some(Standby { port: pair.standby_port, data, log: place.log(node), state }))
}

/// Starts a PgBouncer on generated files in front of the private cluster. TLS is off on both sides, whatever the files say: all of
/// it stays on this machine's loopback interface. One that runs is stopped first.
///
/// # Errors
/// When the private cluster was never started, or PgBouncer does not come up.
pub async fn start_pgbouncer(project: &Path, program: &PgBouncer, options: &PoolerOptions<'_>) -> Result<Pooler, LocalError> {
    let layout = Layout::of(project)?;
    layout.prepare()?;
    let _lock = surroundings::lock(&layout.lock()).await?;
    let place = layout.place().await;
    surroundings::own_folder(&place.0, layout.account())?;
    pooler::start(&place.pooler(), layout.account(), program, &of_the_place(&layout, options)?).await
}

/// Gives a running PgBouncer new files. None when it does not run.
///
/// # Errors
/// When the files cannot be read or PgBouncer does not take them.
pub async fn reload_pgbouncer(project: &Path, options: &PoolerOptions<'_>) -> Result<Option<Pooler>, LocalError> {
    let layout = Layout::of(project)?;
    let folder = layout.place().await.pooler();
    pooler::reload(&folder, layout.account(), &of_the_place(&layout, options)?).await
}

/// Stops the PgBouncer in front of the private cluster. True when it ran.
///
/// # Errors
/// When it does not stop.
pub async fn stop_pgbouncer(project: &Path) -> Result<bool, LocalError> {
    let layout = Layout::of(project)?;
    pooler::stop(&layout.place().await.pooler()).await
}

/// Where a PgBouncer's aliases lead.
fn lead(cluster: &DevCluster, pair: Option<Pair>) -> Lead {
    Lead { primary: cluster.port, standby: pair.map(|pair| pair.standby_port) }
}

/// What holds for a PgBouncer of the private cluster, whatever the files say.
fn of_the_place<'a>(layout: &Layout, options: &PoolerOptions<'a>) -> Result<PoolerOptions<'a>, LocalError> {
    let mut options = options.clone();
    options.settings.insert(0, ("client_tls_sslmode", "disable"));
    options.settings.insert(0, ("server_tls_sslmode", "disable"));
    options.lead = state::read(&layout.folder)?.map(|known| lead(&known.cluster, known.pair));
    Ok(options)
}
