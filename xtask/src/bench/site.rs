//! A fresh cluster and a project folder that points at it.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use pgisle_core::diagnostic::Diagnostic;
use pgisle_core::name::{DatabaseName, RoleName};
use pgisle_core::plan::Plan;
use pgisle_core::secret::Secret;
use pgisle_core::spec::{SPEC_FILE, load};
use pgisle_engine::apply::{Intent, Request, preview};
use pgisle_engine::credential::{IdentitySource, Store};
use pgisle_engine::local::server;
use pgisle_engine::postgres::{ConnectOptions, Host};
use pgisle_engine::spec_files::{self, SpecFiles};
use pgisle_testkit::{Builder, Cluster};
use tempfile::TempDir;

use super::script::Stages;

/// What the server is started with. Otherwise it is as `initdb` leaves it, fsync and all.
const SETTINGS: [(&str, &str); 2] = [
    ("shared_buffers", "128MB"),
    // It would wake up in some measurements and not in others.
    ("autovacuum", "off"),
];

/// A cluster with nothing in it, and a project.
pub(super) struct Site {
    pub(super) cluster: Cluster,
    folder: TempDir,
}

impl Site {
    /// Each measurement gets its own, so that each begins in the same state.
    pub(super) async fn new(services: usize) -> Result<Self> {
        Self::with_extensions(services, "").await
    }

    /// The same, each service with extensions of its own, as the elements of a list in HCL.
    pub(super) async fn with_extensions(services: usize, extensions: &str) -> Result<Self> {
        let mut spec = "name_prefix = \"bench\"\n".to_owned();
        for number in 1..=services {
            // Nothing of it runs: hundreds of pools would not fit into the server, and no apply cares.
            write!(spec, "\nservice \"s{number:03}\" {{\n  instances  = 0\n  extensions = [{extensions}]\n}}\n")?;
        }
        Self::with(Cluster::builder(), &spec).await
    }

    /// One with another server and another file.
    pub(super) async fn with(builder: Builder, spec: &str) -> Result<Self> {
        let builder = SETTINGS.iter().fold(builder.durable(), |builder, (name, value)| builder.conf(name, value));
        let (cluster, folder) = (builder.start().await, TempDir::new()?);
        fs::write(folder.path().join(SPEC_FILE), spec)?;
        Ok(Self { cluster, folder })
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn postmaster(&self) -> Result<i32> {
        let postmaster = server::postmaster(self.cluster.data_dir()).context("the server does not run")?;
        Ok(postmaster.pid.as_raw_nonzero().get())
    }

    fn assignments(&self) -> [String; 4] {
        [
            format!("postgres_host={}", self.cluster.socket_dir().display()),
            format!("postgres_port={}", self.cluster.port()),
            format!("postgres_username={}", self.cluster.superuser()),
            "postgres_sslmode=disable".to_owned(),
        ]
    }

    /// `pgisle`, with the words of a command.
    pub(super) fn pgisle(&self, program: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(words).current_dir(self.folder()).env("PGPASSWORD", self.cluster.password());
        for assignment in self.assignments() {
            command.arg("-var").arg(assignment);
        }
        command
    }

    /// Has one of PostgreSQL's programs find the server.
    pub(super) fn as_superuser<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("PGHOST", self.cluster.socket_dir()).env("PGPORT", self.cluster.port().to_string());
        command.env("PGUSER", self.cluster.superuser()).env("PGPASSWORD", self.cluster.password())
    }

    /// psql on scripts.
    pub(super) fn psql(&self, stages: &Stages) -> Vec<Vec<Command>> {
        let psql = |script: &PathBuf| {
            let mut command = Command::new(self.cluster.installation().program("psql"));
            command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-U", self.cluster.superuser()]);
            command.arg("-h").arg(self.cluster.socket_dir()).args(["-p", &self.cluster.port().to_string()]);
            command.arg("-f").arg(script).env("PGPASSWORD", self.cluster.password());
            command
        };
        stages.iter().map(|stage| stage.iter().map(psql).collect()).collect()
    }

    /// What pgisle would do here, verifiers and all.
    pub(super) async fn plan(&self) -> Result<Plan> {
        let assignments = self.assignments();
        let sources = spec_files::read(&SpecFiles {
            folder: self.folder(),
            var_files: &[],
            assignments: &assignments.each_ref().map(String::as_str),
            environment: &[],
        });
        let loaded = load(&sources.map_err(|diagnostics| failure(&diagnostics))?);
        let spec = loaded.spec.ok_or_else(|| failure(&loaded.diagnostics))?;
        let connect = self.connect_options()?;
        let store = Store::new(self.folder(), spec.settings.environment, &[], IdentitySource::from_environment(|_| None));
        let request = Request {
            spec: &spec,
            secrets: &loaded.secrets,
            connect: &connect,
            store: &store?,
            intent: Intent::Apply,
            targets: &[],
            backups: None,
            adopt: &std::collections::BTreeSet::new(),
            end_sessions: false,
            parallelism: 2,
            must_fit: true,
            lock_timeout: Duration::ZERO,
            expected: None,
        };
        let planned = preview(&request, &|_| {}).await?.planned;
        if !planned.report.blocked.is_empty() {
            bail!("the plan is not whole: {:?}", planned.report.blocked);
        }
        Ok(planned.plan)
    }

    fn connect_options(&self) -> Result<ConnectOptions> {
        let host = Host::Socket(self.cluster.socket_dir().to_owned());
        let (user, database) = (RoleName::new(self.cluster.superuser())?, DatabaseName::new("postgres")?);
        Ok(ConnectOptions::new(host, self.cluster.port(), user, database).with_password(Secret::new(self.cluster.password())))
    }
}

fn failure(diagnostics: &[Diagnostic]) -> anyhow::Error {
    let lines: Vec<&str> = diagnostics.iter().map(|diagnostic| diagnostic.summary.as_str()).collect();
    anyhow!("{}", lines.join("; "))
}

/// Builds the program as it is released, and says where it is.
pub(crate) fn build() -> Result<PathBuf> {
    build_package("pgisle-cli")
}

/// The same for the program of another package.
pub(super) fn build_package(package: &str) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let words = ["build", "--release", "--quiet", "-p", package, "--message-format", "json-render-diagnostics"];
    let output =
        Command::new(cargo).args(words).current_dir(crate::workspace::root()).stderr(std::process::Stdio::inherit()).output()?;
    anyhow::ensure!(output.status.success(), "{package} does not build");
    let messages =
        output.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok());
    let mut programs = messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    programs.next_back().with_context(|| format!("cargo names no program: {:?}", OsString::from_vec(output.stdout.clone())))
}
