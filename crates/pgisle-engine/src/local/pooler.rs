//! One PgBouncer on generated files, started, reloaded, stopped.
//!
//! The generated files are made for the user's own machines: their paths are those of `/etc/pgbouncer`, and only their owner may read
//! them. So they are copied into a folder of the account that PgBouncer runs as, and at the end of the copy stands again, otherwise,
//! what belongs to this place: paths, address, port. Not in a file that includes the other: where the section `[pgbouncer]` begins a
//! second time, PgBouncer sets everything in it back to its defaults.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pgisle_core::artifact::READERS_MARK;
use rustix::process::{Pid, Signal};

use super::{LocalError, PgBouncer, server, surroundings};
use crate::process::{Account, Invocation};

/// How long PgBouncer may take to come up, take new files or go down. It takes some milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a start is tried with another port.
const PORT_ATTEMPTS: u32 = 5;

/// How long clients may finish their transactions before PgBouncer is ended by force.
const GOODBYE: Duration = Duration::from_secs(2);

/// What PgBouncer is started on.
#[derive(Debug, Clone)]
pub struct PoolerOptions<'a> {
    /// The generated `pgbouncer.ini`.
    pub ini: &'a Path,
    /// The generated `userlist.txt`.
    pub userlist: &'a Path,
    /// The port to listen on; none takes a free one.
    pub port: Option<u16>,
    /// Settings that override those of the file.
    pub settings: Vec<(&'a str, &'a str)>,
    /// Where the aliases lead, whatever the file says.
    pub lead: Option<Lead>,
}

/// The ports of servers on this machine that a PgBouncer's aliases lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lead {
    /// The server's that takes writes.
    pub primary: u16,
    /// The one's that serves reads; the other one does as long as there is none.
    pub standby: Option<u16>,
}

/// A PgBouncer that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pooler {
    /// Its process.
    pub pid: Pid,
    /// The port that it listens on, on the loopback interface.
    pub port: u16,
    /// Its log.
    pub log: PathBuf,
}

struct Files {
    ini: PathBuf,
    userlist: PathBuf,
    pid: PathBuf,
    log: PathBuf,
}

impl Files {
    fn within(folder: &Path) -> Self {
        Self {
            ini: folder.join("pgbouncer.ini"),
            userlist: folder.join("userlist.txt"),
            pid: folder.join("pgbouncer.pid"),
            log: folder.join("pgbouncer.log"),
        }
    }
}

/// Starts PgBouncer in a folder that is the account's alone, and waits until it listens. One that runs there is stopped first. It
/// lives on when we end.
///
/// # Errors
/// When the files cannot be copied or PgBouncer does not come up; the end of its log is in the error.
pub async fn start(
    folder: &Path,
    account: Option<&Account>,
    program: &PgBouncer,
    options: &PoolerOptions<'_>,
) -> Result<Pooler, LocalError> {
    surroundings::own_folder(folder, account)?;
    stop(folder).await?;
    let mut attempt = 1;
    loop {
        let port = options.port.map_or_else(server::free_port, Ok)?;
        match start_on(port, folder, account, program, options).await {
            Err(LocalError::Pooler { log_tail, .. })
                if options.port.is_none() && attempt < PORT_ATTEMPTS && server::is_port_taken(&log_tail) =>
            {
                attempt += 1;
            }
            result => return result,
        }
    }
}

async fn start_on(
    port: u16,
    folder: &Path,
    account: Option<&Account>,
    program: &PgBouncer,
    options: &PoolerOptions<'_>,
) -> Result<Pooler, LocalError> {
    let files = Files::within(folder);
    copy(folder, account, port, options)?;
    let log_start = files.log.metadata().map_or(0, |metadata| metadata.len());
    let failed =
        |source| LocalError::Pooler { ini: options.ini.to_owned(), log_tail: server::log_tail(&files.log, log_start), source };
    let home = account.map(|account| account.at_home_in(folder));
    let invocation = Invocation::new(&program.program).argument("--daemon").argument(&files.ini);
    let invocation = invocation.clean_environment().run_as(home.as_ref()).directory(folder).timeout(PATIENCE);
    invocation.run().await.map_err(|source| failed(Some(source)))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Its own process, not somebody else's who has the port.
        if let Some(pooler) = running(folder)
            && answers(port)
        {
            return Ok(pooler);
        }
        // It daemonises before it binds, and says only in its log that it could not.
        let log = server::log_tail(&files.log, log_start);
        if Instant::now() > deadline || (running(folder).is_none() && log.contains("FATAL")) || server::is_port_taken(&log) {
            stop(folder).await?;
            return Err(failed(None));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn answers(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
}

/// Gives a running PgBouncer new files and waits until it has read them. None when it does not run.
///
/// # Errors
/// When the files cannot be copied, or PgBouncer does not take them.
pub async fn reload(folder: &Path, account: Option<&Account>, options: &PoolerOptions<'_>) -> Result<Option<Pooler>, LocalError> {
    let Some(pooler) = running(folder) else { return Ok(None) };
    let files = Files::within(folder);
    // A port can only be changed by a new start.
    copy(folder, account, pooler.port, options)?;
    read_again(&files, &pooler, options.ini).await?;
    Ok(Some(pooler))
}

/// Has every alias of a PgBouncer that runs in a folder lead to another server, unless they do. Its connections to the old one go as soon
/// as no transaction is on them. True when it runs.
///
/// # Errors
/// When the files cannot be written, or PgBouncer does not take them.
pub(crate) async fn lead(folder: &Path, account: Option<&Account>, lead: Lead) -> Result<bool, LocalError> {
    let Some(pooler) = running(folder) else { return Ok(false) };
    let files = Files::within(folder);
    let text = fs::read_to_string(&files.ini).map_err(LocalError::file("read", &files.ini))?;
    let led = led_to(&text, lead);
    if led != text {
        server::write_private(&files.ini, &led, account)?;
        read_again(&files, &pooler, &files.ini).await?;
    }
    Ok(true)
}

/// The same file with every alias leading there. An alias names its host and its port first.
fn led_to(text: &str, lead: Lead) -> String {
    let mut port = lead.primary;
    let lines = text.lines().map(|line| {
        if line == READERS_MARK {
            port = lead.standby.unwrap_or(lead.primary);
        }
        let place = line.find(" host=").and_then(|host| Some(host + line[host..].find(" port=")? + " port=".len()));
        let Some(start) = place.filter(|_| !line.starts_with(';')) else { return format!("{line}\n") };
        let rest = line[start..].trim_start_matches(|c: char| c.is_ascii_digit());
        format!("{}{port}{rest}\n", &line[..start])
    });
    lines.collect()
}

/// Has PgBouncer read its files again and waits until it has.
async fn read_again(files: &Files, pooler: &Pooler, ini: &Path) -> Result<(), LocalError> {
    let log_start = files.log.metadata().map_or(0, |metadata| metadata.len());
    server::signal(pooler.pid, Signal::HUP);
    let deadline = Instant::now() + PATIENCE;
    loop {
        // All of it: clients that are turned away meanwhile have it write much.
        let log = server::log_since(&files.log, log_start);
        let is_refused = log.contains("] ERROR ");
        // The line comes before the work, which PgBouncer does in one go: whoever connects after it meets the new files.
        if log.contains("SIGHUP") && !is_refused {
            return Ok(());
        }
        if is_refused || Instant::now() > deadline {
            let log_tail = server::log_tail(&files.log, log_start);
            return Err(LocalError::Pooler { ini: ini.to_owned(), log_tail, source: None });
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Stops PgBouncer. True when it ran.
///
/// # Errors
/// When it does not stop.
pub async fn stop(folder: &Path) -> Result<bool, LocalError> {
    let Some(pooler) = running(folder) else {
        // A file that a killed one left names a number that may be another process's by now, and PgBouncer would believe it.
        return match fs::remove_file(Files::within(folder).pid) {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Err(LocalError::file("remove", folder)(error)),
            _ => Ok(false),
        };
    };
    // Since 1.23 it then waits for its clients.
    server::signal(pooler.pid, Signal::TERM);
    let start = Instant::now();
    while running(folder).is_some() {
        if start.elapsed() > GOODBYE {
            server::signal(pooler.pid, Signal::KILL);
        }
        if start.elapsed() > PATIENCE {
            return Err(LocalError::Stop { data: folder.to_owned(), timeout_s: PATIENCE.as_secs() });
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(true)
}

/// Finds the PgBouncer that runs in a folder.
#[must_use]
pub fn running(folder: &Path) -> Option<Pooler> {
    let files = Files::within(folder);
    let pid = fs::read_to_string(&files.pid).ok()?.trim().parse().ok().and_then(Pid::from_raw)?;
    let own = fs::read_to_string(&files.ini).ok()?;
    let port = own.lines().rev().find_map(|line| line.strip_prefix("listen_port = "))?.parse().ok()?;
    runs_on(pid, &files.ini).then_some(Pooler { pid, port, log: files.log })
}

/// True when the process was started with this configuration; where there is no `/proc`, when it lives.
fn runs_on(pid: Pid, ini: &Path) -> bool {
    match fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())) {
        Ok(line) => line.split(|&byte| byte == 0).any(|argument| argument == ini.as_os_str().as_encoded_bytes()),
        Err(_) => !Path::new("/proc/self/stat").exists() && rustix::process::test_kill_process(pid).is_ok(),
    }
}

fn copy(folder: &Path, account: Option<&Account>, port: u16, options: &PoolerOptions<'_>) -> Result<(), LocalError> {
    let files = Files::within(folder);
    let read = |source: &Path| fs::read_to_string(source).map(zeroize::Zeroizing::new).map_err(LocalError::file("read", source));
    let (mut generated, userlist) = (read(options.ini)?, read(options.userlist)?);
    if let Some(lead) = options.lead {
        generated = zeroize::Zeroizing::new(led_to(&generated, lead));
    }
    server::write_private(&files.userlist, &userlist, account)?;
    let socket_folder = surroundings::choose_socket_folder(folder);
    surroundings::own_folder(&socket_folder, account)?;
    let (port, paths) = (port.to_string(), [&files.userlist, &files.pid, &files.log, &socket_folder]);
    let [userlist, pid, log, socket_folder] = paths.map(|path| path.display().to_string());
    let mut settings: Vec<(&str, &str)> = options.settings.clone();
    settings.extend([
        ("auth_file", userlist.as_str()),
        ("pidfile", pid.as_str()),
        ("logfile", log.as_str()),
        ("unix_socket_dir", socket_folder.as_str()),
        ("listen_addr", "127.0.0.1"),
        ("listen_port", port.as_str()),
    ]);
    let lines: String = settings.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
    // The generated file ends in the section that these belong to.
    let text = format!("{}\n\n; Of this place.\n{lines}", generated.as_str());
    server::write_private(&files.ini, &text, account)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alias_is_led_to_its_server_and_nothing_else_is_touched() {
        let text = format!(
            "; port= host=a port=1\n[databases]\nlink_users = host=127.0.0.1 port=5432 dbname='a port=5' pool_size=3\n\n\
             {READERS_MARK}\nlink_users_ro = host=127.0.0.1 port=5433 dbname=b\n\n[pgbouncer]\nlisten_port = 6432\n"
        );
        let led = |primary, standby| led_to(&text, Lead { primary, standby });
        assert_eq!(led(7, Some(80)), text.replace("port=5432", "port=7").replace("port=5433", "port=80"));
        assert_eq!(led(7, None), text.replace("port=5432", "port=7").replace("port=5433", "port=7"));
        assert_eq!(led_to(&led(7, None), Lead { primary: 5432, standby: Some(5433) }), text);
    }
}
