//! The one place that starts other programs.
//!
//! A program gets its arguments, an environment, a standard input, a time limit and, when pgisle runs as root, another account to
//! run as. A [`Secret`] can be given as an environment variable or on standard input, and never as an argument: everybody on the
//! machine can read the arguments of every process.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use pgisle_core::secret::Secret;
use rustix::process::{Pid, Signal};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use zeroize::Zeroizing;

mod account;
mod stream;

pub use account::{Account, AccountError};
pub(crate) use stream::{Leash, Streaming};

/// How long a program may take when nobody said otherwise: longer than anything that pgisle starts without a limit of its own.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// How many of the last lines of a program's standard error go into an error: the cause is at the end.
const TAIL_LINES: usize = 12;

/// What can go wrong with a program.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not be started at all.
    #[error("cannot start \"{program}\"")]
    Start {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its input or output broke.
    #[error("cannot exchange data with \"{program}\"")]
    Pipe {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It ended, and not well.
    #[error("\"{program}\" failed ({status}){}", after_colon(.stderr_tail))]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its standard error.
        stderr_tail: String,
    },
    /// It took too long and was killed.
    #[error("\"{program}\" was killed because it did not finish within {} s{}", .timeout.as_secs(), after_colon(.stderr_tail))]
    TimedOut {
        /// The program.
        program: String,
        /// The limit.
        timeout: Duration,
        /// The last lines of its standard error.
        stderr_tail: String,
    },
}

impl ProcessError {
    /// True when the program is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Start { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// The last lines of the program's standard error, if it ran.
    #[must_use]
    pub fn stderr_tail(&self) -> &str {
        match self {
            Self::Start { .. } | Self::Pipe { .. } => "",
            Self::Failed { stderr_tail, .. } | Self::TimedOut { stderr_tail, .. } => stderr_tail,
        }
    }
}

fn after_colon(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

/// How a program ended and what it said.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote on standard output.
    pub stdout: Vec<u8>,
    /// What it wrote on standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Standard output as text, without white space at its end.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }
}

/// A program that is to be started.
pub struct Invocation {
    program: PathBuf,
    arguments: Vec<OsString>,
    clean: bool,
    environment: BTreeMap<OsString, Zeroizing<Vec<u8>>>,
    input: Option<Zeroizing<Vec<u8>>>,
    directory: Option<PathBuf>,
    timeout: Duration,
    account: Option<Account>,
}

/// Shows what an error may show: neither the environment nor the input, which may hold secrets.
impl fmt::Debug for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invocation").field("program", &self.program).field("arguments", &self.arguments).finish_non_exhaustive()
    }
}

impl Invocation {
    /// Names the program: a path, or a name to be found on the `PATH`.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            clean: false,
            environment: BTreeMap::new(),
            input: None,
            directory: None,
            timeout: DEFAULT_TIMEOUT,
            account: None,
        }
    }

    /// Adds an argument. It can be read by everybody on the machine.
    #[must_use]
    pub fn argument(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn arguments(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Starts from an environment that holds only `PATH` and `TZ`, so that a stray `PGHOST` or `PGDATA` changes nothing.
    #[must_use]
    pub fn clean_environment(mut self) -> Self {
        self.clean = true;
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn environment(self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.set(name.as_ref(), value.as_ref().as_encoded_bytes())
    }

    /// Sets an environment variable that holds a secret: only the same account and root can read it.
    #[must_use]
    pub fn secret_environment(self, name: impl AsRef<OsStr>, value: &Secret) -> Self {
        self.set(name.as_ref(), value.expose().as_bytes())
    }

    fn set(mut self, name: &OsStr, value: &[u8]) -> Self {
        self.environment.insert(name.to_owned(), Zeroizing::new(value.to_vec()));
        self
    }

    /// Gives the standard input; without it, there is none.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = Some(Zeroizing::new(input.into()));
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Sets the time limit; without it, a minute.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs the program as another account, with that account's group alone. None leaves it ours.
    #[must_use]
    pub fn run_as(mut self, account: Option<&Account>) -> Self {
        self.account = account.cloned();
        self
    }

    /// Runs the program to its end. Anything but success is an error.
    ///
    /// # Errors
    /// When it cannot be started, fails, or takes longer than its limit. It is killed in the last case, and when the future is dropped.
    pub async fn run(self) -> Result<Output, ProcessError> {
        let name = self.name();
        let output = self.run_to_end().await?;
        if output.status.success() {
            return Ok(output);
        }
        Err(ProcessError::Failed { program: name, status: output.status, stderr_tail: tail(&output.stderr) })
    }

    /// Runs the program to its end, and leaves it to the caller what a failure means.
    ///
    /// # Errors
    /// When it cannot be started, or takes longer than its limit.
    pub async fn run_to_end(mut self) -> Result<Output, ProcessError> {
        let program = self.name();
        let input = self.input.take();
        let mut command = tokio::process::Command::from(self.command());
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|source| ProcessError::Start { program: program.clone(), source })?;
        let mut group = Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));

        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let exchange = async {
            let (stdin, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
            tokio::try_join!(feed(stdin, input), collect(out, &mut stdout), collect(err, &mut stderr))?;
            child.wait().await
        };
        let result = tokio::time::timeout(self.timeout, exchange).await;
        match result {
            Ok(Ok(status)) => {
                group.0 = None;
                Ok(Output { status, stdout, stderr })
            }
            Ok(Err(source)) => Err(ProcessError::Pipe { program, source }),
            Err(_) => Err(ProcessError::TimedOut { program, timeout: self.timeout, stderr_tail: tail(&stderr) }),
        }
    }

    /// Starts the program in the background, in a process group of its own so that a Ctrl-C for us is not one for it. What it says
    /// is appended to `log`. It lives on when we end; the time limit does not apply.
    ///
    /// # Errors
    /// When the log cannot be opened or the program cannot be started.
    pub fn start(mut self, log: &Path) -> Result<std::process::Child, ProcessError> {
        let program = self.name();
        let start = |source| ProcessError::Start { program: program.clone(), source };
        let log = File::options().append(true).create(true).open(log).map_err(start)?;
        let error_log = log.try_clone().map_err(start)?;
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(log).stderr(error_log);
        command.spawn().map_err(start)
    }

    /// Starts the program in the background as [`Invocation::start`] does, with a pipe for its standard input and no output. The
    /// program sees the end of its input when we end, however we end.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start_tethered(mut self) -> Result<std::process::Child, ProcessError> {
        let program = self.name();
        let mut command = self.command();
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().map_err(|source| ProcessError::Start { program, source })
    }

    fn command(&mut self) -> std::process::Command {
        let mut command = std::process::Command::new(&self.program);
        command.args(&self.arguments).process_group(0);
        if self.clean {
            command.env_clear();
            for name in ["PATH", "TZ"] {
                if let Some(value) = std::env::var_os(name) {
                    command.env(name, value);
                }
            }
        }
        if let Some(account) = &self.account {
            // Setting the uid as root also clears the supplementary groups.
            command.uid(account.uid).gid(account.gid).env("HOME", &account.home).env("USER", &account.name);
        }
        for (name, value) in &self.environment {
            command.env(name, <OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(value));
        }
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
    }

    /// The program's name, without its folder.
    pub(crate) fn name(&self) -> String {
        self.program.file_name().unwrap_or(self.program.as_os_str()).to_string_lossy().into_owned()
    }
}

/// A program's process group, killed when dropped: a shell's children must not outlive the time limit.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // It may be gone already, which is all that is wanted.
            let _gone = rustix::process::kill_process_group(pid, Signal::KILL);
        }
    }
}

async fn feed(stdin: Option<tokio::process::ChildStdin>, input: Option<Zeroizing<Vec<u8>>>) -> io::Result<()> {
    let (Some(mut stdin), Some(input)) = (stdin, input) else { return Ok(()) };
    match stdin.write_all(&input).await {
        // A program that does not read all of its input says by its exit status whether that is a failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

async fn collect(source: Option<impl AsyncRead + Unpin>, target: &mut Vec<u8>) -> io::Result<()> {
    if let Some(mut source) = source {
        source.read_to_end(target).await?;
    }
    Ok(())
}

/// Takes the last lines of a text, as one would show them in an error.
#[must_use]
pub fn tail(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// Looks a program up on the `PATH`.
#[must_use]
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|candidate| is_program(candidate))
}

/// True when a file is there that may be executed by someone.
#[must_use]
pub fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
