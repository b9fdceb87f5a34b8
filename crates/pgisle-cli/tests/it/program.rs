//! Runs the program hermetically.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A home and a working folder that nothing else knows.
pub(crate) struct Place {
    root: tempfile::TempDir,
    variables: Vec<(String, String)>,
    path: String,
}

impl Place {
    /// An empty place.
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("home")).unwrap();
        fs::create_dir(root.path().join("project")).unwrap();
        Self { root, variables: Vec::new(), path: "/usr/local/bin:/usr/bin:/bin".to_owned() }
    }

    /// An empty place that other accounts get through, such as the one that servers run as when we are root.
    pub(crate) fn passable() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let place = Self::new();
        fs::set_permissions(place.root(), fs::Permissions::from_mode(0o711)).unwrap();
        place
    }

    /// Sets an environment variable for all that follows.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Puts a folder of programs in front of all others.
    pub(crate) fn on_path(mut self, folder: &Path) -> Self {
        self.path = format!("{}:{}", folder.display(), self.path);
        self
    }

    /// Makes a program be found that is among the private components and perhaps nowhere else. None when it is nowhere.
    pub(crate) fn with_program(mut self, name: &str) -> Option<Self> {
        let program = pgisle_engine::local::find_program(name)?;
        self.path = format!("{}:{}", self.path, program.parent().unwrap().display());
        Some(self)
    }

    /// The home.
    pub(crate) fn home(&self) -> PathBuf {
        self.root.path().join("home")
    }

    /// The folder with everything in it.
    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    /// The working folder.
    pub(crate) fn project(&self) -> PathBuf {
        self.root.path().join("project")
    }

    /// Writes a file in the working folder.
    pub(crate) fn file(&self, path: &str, text: impl AsRef<[u8]>) -> &Self {
        let path = self.project().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    /// Reads a file of the working folder.
    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.project().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// A program with this place's environment, and no other.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.env_clear().current_dir(self.project()).stdin(Stdio::null());
        command.env("HOME", self.home()).env("PATH", &self.path).env("LC_ALL", "C.UTF-8");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs pgisle.
    pub(crate) fn pgisle(&self, arguments: &[&str]) -> Output {
        self.command(env!("CARGO_BIN_EXE_pgisle")).args(arguments).output().unwrap()
    }

    /// Starts pgisle without waiting for it, with more variables in its environment.
    pub(crate) fn start(&self, arguments: &[&str], variables: &[(&str, &str)]) -> tokio::process::Child {
        let mut command = self.command(env!("CARGO_BIN_EXE_pgisle"));
        command.args(arguments).envs(variables.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
        tokio::process::Command::from(command).kill_on_drop(true).spawn().unwrap()
    }

    /// Runs pgisle while the test's other tasks go on.
    pub(crate) async fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        self.start(arguments, variables).wait_with_output().await.unwrap()
    }

    /// Runs pgisle, and gives all that a user would see.
    #[must_use = "either snapshot the output or assert something of it"]
    pub(crate) fn seen(&self, arguments: &[&str]) -> String {
        let output = self.pgisle(arguments);
        let mut seen = String::new();
        writeln!(seen, "$ pgisle {}", arguments.join(" ")).unwrap();
        writeln!(seen, "exit: {}", output.status.code().map_or("a signal".to_owned(), |code| code.to_string())).unwrap();
        for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
            if !bytes.is_empty() {
                write!(seen, "---- {name}\n{}", String::from_utf8_lossy(bytes)).unwrap();
            }
        }
        // Where the place lies differs from run to run.
        seen.replace(&self.root.path().display().to_string(), "[PLACE]") + "[EOF]\n"
    }
}
