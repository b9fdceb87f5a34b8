//! A folder with a Terraform configuration in it, and Terraform itself, which knows nothing else of this machine.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// More than any command here takes, by far.
const COMMAND_SECONDS: &str = "60";

/// The oldest Terraform that knows write-only attributes.
const MINOR_MIN: u32 = 11;

/// The fake provider's program, which cargo builds with the tests.
pub(crate) fn fake() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let examples = tests.parent().unwrap().parent().unwrap().join("examples");
    let program = examples.join("fake");
    let again = "run `cargo test -p pgisle-terraform`, or `cargo build -p pgisle-terraform --example fake`: `--test it` alone does not build it";
    let built = program.metadata().unwrap_or_else(|_| panic!("the fake provider is not built; {again}")).modified().unwrap();
    let sources = fs::read_to_string(examples.join("fake.d")).unwrap();
    let newer = sources
        .split_whitespace()
        .skip(1)
        .find(|source| Path::new(source).metadata().is_ok_and(|file| file.modified().unwrap() > built));
    assert!(newer.is_none(), "the fake provider is older than {newer:?}; {again}");
    program
}

/// None when there is no Terraform, or one that is too old.
fn terraform() -> Option<PathBuf> {
    let program = pgisle_engine::local::find_program("terraform")?;
    let output = Command::new(&program).args(["version", "-json"]).env("CHECKPOINT_DISABLE", "1").output().unwrap();
    let version: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let minor = version["terraform_version"].as_str().unwrap().split('.').nth(1).unwrap().parse::<u32>().unwrap();
    (minor >= MINOR_MIN).then_some(program)
}

/// Such a folder.
pub(crate) struct Place {
    root: tempfile::TempDir,
    terraform: PathBuf,
    variables: Vec<(String, String)>,
}

/// What came of a command.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    /// A place with the fake provider installed and this configuration, which gets the provider's block besides. None where there is
    /// no Terraform.
    pub(crate) fn new(configuration: &str) -> Option<Self> {
        let place = Self::empty()?;
        fs::create_dir(place.path("data")).unwrap();
        place.install("example/fake", "1.0.0", &fake());
        place.configure(configuration);
        Some(place)
    }

    /// A place without any provider.
    pub(crate) fn empty() -> Option<Self> {
        let terraform = terraform()?;
        let place = Self { root: tempfile::tempdir().unwrap(), terraform, variables: Vec::new() };
        for folder in ["project", "home", "mirror"] {
            fs::create_dir(place.path(folder)).unwrap();
        }
        let mirror = place.path("mirror");
        let rc = format!("provider_installation {{\n  filesystem_mirror {{\n    path = \"{}\"\n  }}\n}}\n", mirror.display());
        fs::write(place.path("home/cli.tfrc"), rc).unwrap();
        Some(place)
    }

    /// Puts a provider where `terraform init` finds it.
    pub(crate) fn install(&self, source: &str, version: &str, program: &Path) {
        let name = source.rsplit('/').next().unwrap();
        let folder = self.path(&format!("mirror/registry.terraform.io/{source}/{version}/linux_{}", architecture()));
        fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink(program, folder.join(format!("terraform-provider-{name}_v{version}"))).unwrap();
    }

    /// The same, after `terraform init`.
    pub(crate) fn initialised(configuration: &str) -> Option<Self> {
        let place = Self::new(configuration)?;
        place.terraform(&["init"]).expect(0);
        Some(place)
    }

    /// Replaces the configuration.
    pub(crate) fn configure(&self, configuration: &str) {
        let provider = format!("provider \"fake\" {{\n  folder = \"{}\"\n}}\n", self.path("data").display());
        let required = "terraform {\n  required_providers {\n    fake = {\n      source = \"example/fake\"\n    }\n  }\n}\n";
        fs::write(self.path("project/main.tf"), configuration).unwrap();
        fs::write(self.path("project/provider.tf"), required.to_owned() + &provider).unwrap();
    }

    /// Sets a variable of the environment for all that follows.
    pub(crate) fn variable(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.root.path().join(inside)
    }

    /// A file of the fake provider's, or what stands in its place.
    pub(crate) fn data(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path("data").join(name)).ok()
    }

    /// All that Terraform keeps, as one text.
    pub(crate) fn kept(&self) -> String {
        let files = fs::read_dir(self.path("project")).unwrap().map(|file| file.unwrap().path());
        let kept = files.filter(|file| file.to_string_lossy().contains("tfstate"));
        kept.map(|file| fs::read_to_string(file).unwrap()).collect()
    }

    fn environment(&self, command: &mut Command) {
        command.env_clear().current_dir(self.path("project")).stdin(Stdio::null());
        command
            .env("HOME", self.path("home"))
            .env("PATH", self.search_path())
            .env("LC_ALL", "C.UTF-8")
            .env("TMPDIR", self.root.path());
        command
            .env("TF_CLI_CONFIG_FILE", self.path("home/cli.tfrc"))
            .env("CHECKPOINT_DISABLE", "1")
            .env("TF_CLI_ARGS", "-no-color");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
    }

    /// The system's programs, and those of the components.
    fn search_path(&self) -> String {
        let found = ["psql", "jq"].into_iter().filter_map(pgisle_engine::local::find_program);
        let folders = found.filter_map(|program| program.parent().map(|folder| folder.display().to_string()));
        let terraform = self.terraform.parent().unwrap().display().to_string();
        ["/usr/bin".to_owned(), "/bin".to_owned(), terraform].into_iter().chain(folders).collect::<Vec<_>>().join(":")
    }

    /// Runs a script in the project's folder, for a minute at most.
    pub(crate) fn shell(&self, script: &str) -> Ran {
        let mut command = Command::new("timeout");
        self.environment(&mut command);
        ran(command.args(["--kill-after=5", COMMAND_SECONDS, "bash", "-euo", "pipefail", "-c", script]))
    }

    /// Runs Terraform, for a minute at most.
    pub(crate) fn terraform(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new("timeout");
        self.environment(&mut command);
        let words = ["--kill-after=5", COMMAND_SECONDS];
        ran(command.args(words).arg(&self.terraform).args(arguments))
    }

    /// Starts Terraform in a process group of its own, with its output in the file `output`.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        let mut command = Command::new(&self.terraform);
        self.environment(&mut command);
        let output = fs::File::create(self.path("output")).unwrap();
        command.stdout(output.try_clone().unwrap()).stderr(output);
        command.args(arguments).process_group(0).spawn().unwrap()
    }
}

fn ran(command: &mut Command) -> Ran {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: status.code().unwrap_or(-1), stdout: text(stdout), stderr: text(stderr) }
}

impl Ran {
    /// The same, if its exit code is this.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        self
    }

    /// The same, if it says this, no matter how its lines are broken.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        let all = plain(&format!("{} {}", self.stdout, self.stderr));
        assert!(all.contains(text), "{text} is not in: {}{}", self.stdout, self.stderr);
        self
    }

    /// The same, if it does not.
    #[track_caller]
    pub(crate) fn says_not(self, text: &str) -> Self {
        let all = plain(&format!("{} {}", self.stdout, self.stderr));
        assert!(!all.contains(text), "{text} is in: {}{}", self.stdout, self.stderr);
        self
    }
}

/// The words, without Terraform's frames and line breaks.
fn plain(text: &str) -> String {
    text.split_whitespace().filter(|word| !matches!(*word, "│" | "╷" | "╵")).collect::<Vec<_>>().join(" ")
}

/// Go's name for this processor.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Waits for something, and gives it.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, seconds: u64, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what} did not come within {seconds} s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// True while there is such a process. One that has ended and was not yet waited for is none.
pub(crate) fn is_running(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')))
}
