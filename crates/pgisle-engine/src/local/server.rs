//! One server: its data directory made, started, stopped, found running, killed.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pgisle_core::secret::Secret;
use rustix::process::{Pid, Signal};

use super::{Installation, LocalError, installation};
use crate::process::{Account, Invocation, ProcessError, tail};

/// How long a server may take to come up or go down: crash recovery included, on a slow disk.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The file beside `postgresql.conf` that holds our settings, so that what the user adds to `postgresql.conf` stays.
const SETTINGS_FILE: &str = "pgisle.conf";

/// The longest path of a Unix socket that the kernel takes: `sun_path` less its closing zero.
const SOCKET_PATH_BYTES: usize = 107;

/// The cluster's locale: bytewise order, every character known, and there on every system of the last ten years.
const LOCALE: &str = "C.UTF-8";

/// What a locale falls back to on a system that has no `C.UTF-8`.
const FALLBACK_LOCALE: &str = "C";

/// Makes the private locale known to one database.
const KNOW_PRIVATE_LOCALE: &str =
    "CREATE COLLATION IF NOT EXISTS pg_catalog.\"en_US.utf8\" (provider = libc, locale = 'en_US.utf8')\n";

/// What `initdb` makes.
#[derive(Debug)]
pub struct NewCluster<'a> {
    /// The data directory, which must not exist yet.
    pub data: &'a Path,
    /// The superuser's name.
    pub superuser: &'a str,
    /// The superuser's password.
    pub password: &'a Secret,
    /// More arguments for `initdb`.
    pub arguments: &'a [&'a str],
}

/// Makes a data directory. It appears whole or not at all: it is made under another name and then renamed.
///
/// # Errors
/// When a file cannot be written or `initdb` fails.
pub async fn initialise(installation: &Installation, account: Option<&Account>, new: &NewCluster<'_>) -> Result<(), LocalError> {
    let unfinished = Unfinished::beside(new.data, account)?;
    let password_file = unfinished.0.join("password");
    write_private(&password_file, new.password.expose(), account)?;
    let data = unfinished.0.join("data");

    let mut result = run_initdb(installation, account, new, &data, &password_file, LOCALE).await;
    if result.as_ref().is_err_and(|error| error.stderr_tail().contains("invalid locale")) {
        result = run_initdb(installation, account, new, &data, &password_file, FALLBACK_LOCALE).await;
    }
    result.map_err(|source| LocalError::Initialise { data: new.data.to_owned(), source })?;

    make_private_locale_known(installation, account, &data).await?;
    append(&data.join("postgresql.conf"), &format!("\ninclude_if_exists = '{SETTINGS_FILE}'\n"))?;
    fs::rename(&data, new.data).map_err(LocalError::file("move into place", new.data))
}

async fn run_initdb(
    installation: &Installation,
    account: Option<&Account>,
    new: &NewCluster<'_>,
    data: &Path,
    password_file: &Path,
    locale: &str,
) -> Result<(), ProcessError> {
    let invocation = installation
        .invocation("initdb")
        .argument("--pgdata")
        .argument(data)
        .arguments(["--encoding=UTF8", "--auth=scram-sha-256", "--no-instructions"])
        .argument(format!("--locale={locale}"))
        .argument(format!("--username={}", new.superuser))
        .argument("--pwfile")
        .argument(password_file)
        .arguments(new.arguments);
    at_home(invocation, account, data.parent().unwrap_or(data)).run().await.map(drop)
}

/// Enters the private locale into the catalogs that new databases are made from. `initdb` asks `locale -a` what there is, which does
/// not look where `LOCPATH` points.
async fn make_private_locale_known(installation: &Installation, account: Option<&Account>, data: &Path) -> Result<(), LocalError> {
    if !installation::has_private_locale() {
        return Ok(());
    }
    for database in ["template1", "postgres"] {
        let invocation = installation.invocation("postgres").argument("--single").argument("-O").argument("-D").argument(data);
        let invocation = invocation.argument(database).input(KNOW_PRIVATE_LOCALE);
        let result = at_home(invocation, account, data).run().await;
        result.map_err(|source| LocalError::Initialise { data: data.to_owned(), source })?;
    }
    Ok(())
}

/// The start of the names of folders in which a data directory is being made.
const UNFINISHED_PREFIX: &str = ".unfinished-";

/// A folder that goes with everything in it when it goes out of scope.
pub(super) struct Unfinished(pub(super) PathBuf);

impl Unfinished {
    /// Makes one in which a data directory is made that is to be moved to this place, and removes what earlier attempts left.
    pub(super) fn beside(data: &Path, account: Option<&Account>) -> Result<Self, LocalError> {
        let parent = data.parent().unwrap_or(Path::new("/"));
        remove_unfinished(parent)?;
        let unfinished = Self(parent.join(format!("{UNFINISHED_PREFIX}{}", std::process::id())));
        fs::create_dir(&unfinished.0).map_err(LocalError::file("create", &unfinished.0))?;
        give(account, &unfinished.0)?;
        Ok(unfinished)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // What stays is removed by the next attempt.
        let _left = fs::remove_dir_all(&self.0);
    }
}

/// Removes what an attempt that was killed left behind; its `initdb` or `pg_basebackup` may still be at work. The caller holds the
/// lock under which these are made.
pub(super) fn remove_unfinished(parent: &Path) -> Result<(), LocalError> {
    let entries = parent.read_dir().map_err(LocalError::file("read", parent))?;
    for entry in entries.filter_map(Result::ok) {
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED_PREFIX) {
            let path = entry.path();
            kill_all_in(&path);
            fs::remove_dir_all(&path).map_err(LocalError::file("remove", &path))?;
        }
    }
    Ok(())
}

/// Writes the server's settings, all of them ours. They take effect with the next start.
///
/// # Errors
/// When the file cannot be written.
pub fn write_settings(data: &Path, account: Option<&Account>, settings: &[(&str, &str)]) -> Result<(), LocalError> {
    let lines = setting_lines(settings);
    let text =
        format!("# Written by pgisle before each start. Put your own settings into postgresql.conf, after the include.\n{lines}");
    write_private(&data.join(SETTINGS_FILE), &text, account)
}

/// Settings as lines for `postgresql.conf`.
pub(crate) fn setting_lines(settings: &[(&str, &str)]) -> String {
    settings.iter().map(|(name, value)| format!("{name} = {}\n", quote_setting(value))).collect()
}

/// Quotes a value for `postgresql.conf`, whose strings know both doubled quotes and backslash escapes.
fn quote_setting(value: &str) -> String {
    format!("'{}'", value.replace('\\', r"\\").replace('\'', "''").replace('\n', r"\n"))
}

/// Starts the server and waits until it accepts connections. It lives on when we end.
///
/// # Errors
/// When it does not come up; the end of its log is in the error.
pub async fn start(installation: &Installation, account: Option<&Account>, data: &Path, log: &Path) -> Result<(), LocalError> {
    let log_start = log.metadata().map_or(0, |metadata| metadata.len());
    let invocation = installation
        .invocation("pg_ctl")
        .arguments(["start", "--silent", "--wait", "--timeout"])
        .argument(PATIENCE.as_secs().to_string())
        .argument("--pgdata")
        .argument(data)
        .argument("--log")
        .argument(log)
        // pg_ctl ends by itself after its own limit; this is for the case that it hangs.
        .timeout(PATIENCE + Duration::from_secs(5));
    let result = at_home(invocation, account, data).run().await;
    result.map(drop).map_err(|source| LocalError::Start { data: data.to_owned(), log_tail: log_tail(log, log_start), source })
}

/// How a server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Ends all sessions, then checkpoints.
    Fast,
    /// Ends at once; the next start recovers.
    Immediate,
}

/// Stops the server, and waits until it is gone. One that is not running is as wanted. Signals are enough for that, so it works
/// when the server's programs have been removed, too.
///
/// # Errors
/// When it does not go down in time.
pub async fn stop(data: &Path, mode: StopMode) -> Result<(), LocalError> {
    let how = match mode {
        StopMode::Fast => Signal::INT,
        StopMode::Immediate => Signal::QUIT,
    };
    let deadline = Instant::now() + PATIENCE;
    let mut asked = None;
    while let Some(postmaster) = postmaster(data) {
        if asked != Some(postmaster.pid) {
            signal(postmaster.pid, how);
            asked = Some(postmaster.pid);
        }
        if Instant::now() > deadline {
            return Err(LocalError::Stop { data: data.to_owned(), timeout_s: PATIENCE.as_secs() });
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// A server that runs on a data directory, as its lock file tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postmaster {
    /// Its process.
    pub pid: Pid,
    /// Its port.
    pub port: u16,
    /// The first of its socket folders.
    pub socket_folder: PathBuf,
    /// True when it accepts connections.
    pub ready: bool,
    /// True when it is not ready as far as its lock file tells: it replays a log and lets nobody in. A standby with `hot_standby = on` is
    /// ready there.
    pub recovering: bool,
}

/// Finds the server that runs on a data directory. A lock file that a killed server left behind is seen through.
#[must_use]
pub fn postmaster(data: &Path) -> Option<Postmaster> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let lines: Vec<&str> = text.lines().collect();
    let pid = lines.first().and_then(|line| line.trim().parse().ok()).and_then(Pid::from_raw)?;
    let line = |number: usize| lines.get(number).map(|line| line.trim()).unwrap_or_default();
    is_at_work_in(pid, data).then(|| Postmaster {
        pid,
        port: line(3).parse().unwrap_or(0),
        socket_folder: PathBuf::from(line(4)),
        ready: matches!(line(7), "ready" | "standby"),
        recovering: line(7) != "ready",
    })
}

/// True when the process lives and works in the folder. Its number alone proves nothing: after a reboot, or in a new container,
/// it may be anybody's.
fn is_at_work_in(pid: Pid, folder: &Path) -> bool {
    let alive = || !matches!(rustix::process::test_kill_process(pid), Err(rustix::io::Errno::SRCH));
    match fs::read_link(format!("/proc/{}/cwd", pid.as_raw_nonzero())) {
        Ok(cwd) => folder.canonicalize().is_ok_and(|folder| folder == cwd),
        // Not ours to read, or no /proc on this system: then being alive must do.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => alive(),
        Err(_) => !Path::new("/proc/self/stat").exists() && alive(),
    }
}

/// Clears the way after a server that was killed. Its lock files may name a number that is another process's by now, or that of a
/// dead process which nobody has buried; its children may still hold the shared memory. The next server would refuse to start over
/// any of these. The socket's folder must be this server's alone.
///
/// # Errors
/// When a file cannot be removed.
pub fn clear_remains(data: &Path, socket_folder: &Path) -> Result<(), LocalError> {
    if postmaster(data).is_some() {
        return Ok(());
    }
    kill(data);
    let sockets = socket_folder.read_dir().into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    let sockets = sockets.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".s.PGSQL.")));
    for path in sockets.chain([data.join("postmaster.pid")]) {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(LocalError::file("remove", path)(error)),
            _ => {}
        }
    }
    Ok(())
}

/// Kills a server and all its processes at once, as a power cut would, and waits until they are gone. Needs `/proc`; elsewhere
/// only the first process is killed, and the others end when they notice.
pub fn kill(data: &Path) {
    if let Some(postmaster) = postmaster(data) {
        signal(postmaster.pid, Signal::KILL);
    }
    kill_all_in(data);
}

/// Lets processes of a server's go on that somebody had stand still.
pub(crate) fn wake(data: &Path) {
    processes_in(data).into_iter().for_each(|pid| signal(pid, Signal::CONT));
}

/// Has a running server read its settings again.
pub(crate) fn reload(data: &Path) {
    if let Some(postmaster) = postmaster(data) {
        signal(postmaster.pid, Signal::HUP);
    }
}

/// Kills every process of PostgreSQL's that works in a folder or below, and waits until they are gone.
fn kill_all_in(folder: &Path) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let family = processes_in(folder);
        if family.is_empty() || Instant::now() > deadline {
            return;
        }
        for pid in family {
            signal(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Sends a signal; a process that is gone is none the worse.
pub fn signal(pid: Pid, signal: Signal) {
    let _gone = rustix::process::kill_process(pid, signal);
}

/// PostgreSQL's processes that work in a folder or below: a server and its children all stay in the data directory. Others, such
/// as a shell that somebody opened there, are left alone.
fn processes_in(folder: &Path) -> Vec<Pid> {
    let (Ok(entries), Ok(folder)) = (fs::read_dir("/proc"), folder.canonicalize()) else { return Vec::new() };
    let is_family = |pid: &Pid| {
        let process = Path::new("/proc").join(pid.as_raw_nonzero().to_string());
        let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
        matches!(name.trim(), "postgres" | "postmaster" | "initdb" | "pg_basebackup" | "pg_rewind")
            && fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(&folder))
    };
    let pids = entries.filter_map(Result::ok).filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    pids.filter(is_family).collect()
}

/// The major version that made a data directory; none when it is no data directory.
#[must_use]
pub fn major_of(data: &Path) -> Option<u32> {
    fs::read_to_string(data.join("PG_VERSION")).ok()?.trim().parse().ok()
}

/// A port of the loopback interface that nobody uses at this moment. It can be taken by the time a server wants it.
///
/// # Errors
/// When the operating system has none.
pub fn free_port() -> Result<u16, LocalError> {
    let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).map(|address| address.port());
    port.map_err(LocalError::file("find a free port on", "127.0.0.1"))
}

/// True when nobody listens on this port of the loopback interface.
#[must_use]
pub fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// True when a server or a PgBouncer says in its log that another process has its port.
#[must_use]
pub fn is_port_taken(log: &str) -> bool {
    log.contains("Address already in use") || log.contains("could not create any TCP/IP sockets")
}

/// True when a server can have its socket in this folder: the kernel's limit on the path is tight, and the setting is a list whose
/// separators and quotes are better not met.
#[must_use]
pub fn socket_fits(folder: &Path) -> bool {
    let Some(text) = folder.to_str() else { return false };
    let longest_name = "/.s.PGSQL.65535".len();
    text.len() + longest_name <= SOCKET_PATH_BYTES
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-'))
}

/// The last lines of a log, from this byte on.
#[must_use]
pub fn log_tail(log: &Path, from_byte: u64) -> String {
    let mut bytes = Vec::new();
    let read = File::open(log).and_then(|mut file| {
        // Never more than the last 64 kB: a log can be gigabytes.
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(from_byte.max(length.saturating_sub(65_536))))?;
        file.read_to_end(&mut bytes)
    });
    if read.is_ok() { tail(&bytes) } else { String::new() }
}

/// What a log has got since a place in it, up to 1 MB: empty when it cannot be read.
#[must_use]
pub(crate) fn log_since(log: &Path, from_byte: u64) -> String {
    let mut bytes = Vec::new();
    let read = File::open(log).and_then(|mut file| {
        file.seek(SeekFrom::Start(from_byte))?;
        file.take(1 << 20).read_to_end(&mut bytes)
    });
    if read.is_ok() { String::from_utf8_lossy(&bytes).into_owned() } else { String::new() }
}

/// 32 random letters and digits: about 190 bits, and nothing that needs escaping anywhere.
///
/// # Errors
/// When the operating system gives no random bytes.
pub fn random_password() -> Result<Secret, LocalError> {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut password = String::with_capacity(32);
    while password.len() < 32 {
        let mut bytes = [0_u8; 64];
        getrandom::fill(&mut bytes).map_err(LocalError::Random)?;
        // Taking the remainder of a byte would favour the first letters; bytes beyond the last whole multiple are thrown away.
        let letters = bytes.iter().filter(|&&byte| byte < 248).map(|byte| char::from(ALPHABET[usize::from(byte % 62)]));
        password.extend(letters.take(32 - password.len()));
    }
    Ok(Secret::new(password))
}

/// Writes a file that only the server's account can read. What was there before is replaced, never written through: the folder
/// may be the server's, and root must not follow a link that the server put there.
///
/// # Errors
/// When it cannot be written.
pub fn write_private(path: &Path, text: &str, account: Option<&Account>) -> Result<(), LocalError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(LocalError::file("replace", path)(error)),
        _ => {}
    }
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path).map_err(LocalError::file("create", path))?;
    give(account, path)?;
    file.write_all(text.as_bytes()).map_err(LocalError::file("write", path))
}

fn append(path: &Path, text: &str) -> Result<(), LocalError> {
    let no_link = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let file = File::options().append(true).custom_flags(no_link).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(LocalError::file("write", path))
}

pub(crate) fn give(account: Option<&Account>, path: &Path) -> Result<(), LocalError> {
    account.map_or(Ok(()), |account| account.give(path).map_err(LocalError::Account))
}

/// Runs as the server's account, at home in the folder that it owns.
pub(crate) fn at_home(invocation: Invocation, account: Option<&Account>, home: &Path) -> Invocation {
    let account = account.map(|account| account.at_home_in(home));
    invocation.run_as(account.as_ref()).directory(home)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_survives_quotes_and_backslashes() {
        assert_eq!(quote_setting(r"it's C:\x"), r"'it''s C:\\x'");
    }

    #[test]
    fn a_socket_folder_is_judged_by_its_longest_name() {
        assert!(socket_fits(Path::new("/tmp/pgisle")));
        let at_limit = format!("/{}", "a".repeat(SOCKET_PATH_BYTES - "/.s.PGSQL.65535".len() - 1));
        assert!(socket_fits(Path::new(&at_limit)));
        assert!(!socket_fits(Path::new(&format!("{at_limit}a"))));
        assert!(!socket_fits(Path::new("/tmp/with, comma")));
    }

    #[test]
    fn random_passwords_differ_and_need_no_escaping() {
        let passwords: Vec<Secret> = (0..20).filter_map(|_| random_password().ok()).collect();
        assert_eq!(passwords.len(), 20);
        for (index, password) in passwords.iter().enumerate() {
            assert_eq!(password.expose().len(), 32);
            assert!(password.expose().chars().all(|c| c.is_ascii_alphanumeric()));
            assert!(!passwords[index + 1..].contains(password));
        }
    }

    #[test]
    fn a_lock_file_with_a_strangers_number_is_seen_through() -> std::io::Result<()> {
        let folder = tempfile::tempdir()?;
        // Our own process lives, and does not work in that folder.
        fs::write(folder.path().join("postmaster.pid"), format!("{}\n", std::process::id()))?;
        assert_eq!(postmaster(folder.path()), None);
        Ok(())
    }
}
