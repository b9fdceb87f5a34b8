//! From the command line to a spec, and from a spec to the server, the credentials and the generated files: what nearly every
//! command begins with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use pgisle_core::artifact::{self, Artifact, Endpoint};
use pgisle_core::credential::Credentials;
use pgisle_core::diagnostic::{Code, Diagnostic, any_error};
use pgisle_core::name::{DatabaseName, ServiceName};
use pgisle_core::secret::Secret;
use pgisle_core::spec::{Environment, LayerKind, Loaded, Origin, Sources, Spec, SpecSecrets, load};
use pgisle_engine::artifact::{Change, WriteOptions};
use pgisle_engine::backup::{BackupStore, S3Environment};
use pgisle_engine::credential::{IdentitySource, Store};
use pgisle_engine::local::dev::{self, DevCluster, Status};
use pgisle_engine::local::pooler::{Pooler, PoolerOptions};
use pgisle_engine::local::{find_pgbouncer, server};
use pgisle_engine::pooler::PoolerConsole;
use pgisle_engine::postgres::conninfo::{ConnectOptions, Resolved};
use pgisle_engine::spec_files::{self, SpecFiles};
use pgisle_engine::split;

use crate::args::address::Address;
use crate::session::Session;

/// Where the generated files of all environments are.
const GENERATED: &str = "generated";

/// Where the private cluster's backups are, unless the files say where: they go when it is destroyed.
const DEV_BACKUPS: &str = ".pgisle/dev/backups";

/// The project's folder: the current one, where `-chdir` has led.
pub(crate) const HERE: &str = ".";

/// The one interface that private servers listen on.
const LOOPBACK: &str = "127.0.0.1";

/// What the files and the command line say.
pub(crate) struct Project {
    /// What is wanted.
    pub(crate) spec: Spec,
    /// The passwords that were given.
    pub(crate) secrets: SpecSecrets,
    /// What is to be said, though nothing stops it.
    pub(crate) warnings: Vec<Diagnostic>,
    /// The settings that were given, whose values no connection service overrides.
    explicit: BTreeSet<String>,
    /// Settings whose values are from no file of the folder.
    given: BTreeSet<String>,
    /// Whether it is the private cluster that is meant.
    is_dev: bool,
    /// Whether the private cluster is meant and does not run.
    is_down: bool,
    /// Where services are still at home that are being split out of the shared database.
    homes: BTreeMap<ServiceName, DatabaseName>,
}

impl Project {
    /// Reads everything that a spec is made of; with `-dev` the private cluster's address is laid over it.
    pub(crate) async fn load(session: &Session) -> Result<Self, Vec<Diagnostic>> {
        Self::load_for(session, session.global.is_dev()).await
    }

    /// The same for the private cluster, whatever the command line says.
    pub(crate) async fn load_dev(session: &Session) -> Result<Self, Vec<Diagnostic>> {
        Self::load_for(session, true).await
    }

    async fn load_for(session: &Session, is_dev: bool) -> Result<Self, Vec<Diagnostic>> {
        let mut sources = Self::read(session)?;
        let mut is_down = false;
        if is_dev {
            match dev::status(Path::new(HERE)).await.map_err(|error| vec![error.diagnostic()])? {
                Status::Running { cluster, pooler, standby_port } => {
                    overlay(&mut sources, &cluster, pooler.as_ref(), standby_port);
                }
                Status::Stopped(cluster) => {
                    overlay(&mut sources, &cluster, None, None);
                    is_down = true;
                }
                Status::Absent => return Err(vec![Self::dev_is_down("there is no private cluster in this project")]),
            }
        }
        let project = Self { is_down, ..Self::of(&sources, is_dev)? };
        let environment = project.spec.settings.environment;
        if is_dev && environment != Environment::Development {
            // Its passwords and generated files would be taken for the real ones, and overwrite them.
            return Err(vec![
                Diagnostic::error(Code::SPEC_CONFLICT, format!("the private cluster cannot be environment \"{environment}\""))
                    .detail(
                        "The generated files and passwords of that environment would be overwritten with those of this machine.",
                    )
                    .hint("Use -dev with environment development, which is the default."),
            ]);
        }
        Ok(project)
    }

    /// The same without the private cluster, for what needs no server.
    pub(crate) fn load_without_server(session: &Session) -> Result<Self, Vec<Diagnostic>> {
        Self::of(&Self::read(session)?, false)
    }

    /// The same where only the backup store is wanted: neither a server nor a password is looked for, with `-dev` neither.
    pub(crate) fn load_for_store(session: &Session) -> Result<Self, Vec<Diagnostic>> {
        Self::of(&Self::read(session)?, session.global.is_dev())
    }

    fn read(session: &Session) -> Result<Sources, Vec<Diagnostic>> {
        let assignments: Vec<&str> = session.global.var.iter().map(|assignment| assignment.0.as_str()).collect();
        let environment: Vec<_> = std::env::vars_os().collect();
        spec_files::read(&SpecFiles {
            folder: Path::new(HERE),
            var_files: &session.global.var_file,
            assignments: &assignments,
            environment: &environment,
        })
    }

    fn of(sources: &Sources, is_dev: bool) -> Result<Self, Vec<Diagnostic>> {
        let Loaded { spec, secrets, mut diagnostics, origins } = load(sources);
        diagnostics.extend(spec.iter().flat_map(|spec| artifact::problems(spec, &Credentials::default())));
        match spec {
            Some(spec) if !any_error(&diagnostics) => {
                let is_given = |origin: &Origin| {
                    use LayerKind::{CommandLine, TerraformVariable, VarFile, Variable};
                    matches!(origin.kind, VarFile | TerraformVariable | Variable | CommandLine)
                };
                let given = origins.iter().filter(|(_, origin)| is_given(origin)).map(|(name, _)| name.clone()).collect();
                let explicit = origins.into_keys().collect();
                let homes = BTreeMap::new();
                Ok(Self { spec, secrets, warnings: diagnostics, explicit, given, is_dev, is_down: false, homes })
            }
            _ => Err(diagnostics),
        }
    }

    /// That `-dev` has nothing to point at.
    pub(crate) fn dev_is_down(summary: &str) -> Diagnostic {
        Diagnostic::error(Code::LOCAL_STATE, summary).hint("Start it:").command("pgisle dev up")
    }

    /// How to reach the server; adds what is to be said about it.
    pub(crate) fn connect_options(&mut self) -> Result<ConnectOptions, Vec<Diagnostic>> {
        if self.is_down {
            return Err(vec![Self::dev_is_down("the private cluster is not running")]);
        }
        let password: Option<&Secret> = self.secrets.postgres_password.as_ref();
        let Resolved { options, warnings } =
            ConnectOptions::read(&self.spec.settings, password, &self.explicit).map_err(|diagnostic| vec![*diagnostic])?;
        self.warnings.extend(warnings);
        Ok(options)
    }

    /// Asks the shared database which services are still at home there: what PgBouncer reads depends on it.
    pub(crate) async fn learn_homes(&mut self, connect: &ConnectOptions) -> Result<(), Vec<Diagnostic>> {
        let settings = &self.spec.settings;
        // What claims no table was never split out of anything.
        if settings.enable_pgbouncer && self.spec.services.values().any(|service| !service.tables.is_empty()) {
            let homes = split::homes(connect, &settings.postgres_database).await;
            self.homes = homes.map_err(|error| vec![error.diagnostic()])?;
        }
        Ok(())
    }

    /// Where services are still at home, as far as that was learnt.
    pub(crate) fn homes(&self) -> &BTreeMap<ServiceName, DatabaseName> {
        &self.homes
    }

    /// Where the credentials are kept.
    pub(crate) fn store(&self) -> Result<Store, Vec<Diagnostic>> {
        let settings = &self.spec.settings;
        let identities = IdentitySource::from_environment(|name| std::env::var_os(name));
        Store::new(Path::new(HERE), settings.environment, &settings.credential_recipients, identities)
            .map_err(|error| vec![error.diagnostic()])
    }

    /// Where the backups are kept.
    pub(crate) fn backups(&self) -> Result<BackupStore, Vec<Diagnostic>> {
        let settings = &self.spec.settings;
        let is_given = self.explicit.contains("backup_storage_path");
        let location = if self.is_dev && !is_given { DEV_BACKUPS } else { &settings.backup_storage_path };
        let s3 = S3Environment::from_environment(std::env::vars_os());
        BackupStore::open(location, &settings.name_prefix, settings.environment, &s3).map_err(|error| vec![error.diagnostic()])
    }

    /// What of the store's settings a server that runs pgisle would not find in the folder's files.
    pub(crate) fn store_variables(&self) -> Vec<(&'static str, String)> {
        let settings = &self.spec.settings;
        let recipients: Vec<String> = settings.backup_recipients.iter().map(|key| format!("\"{key}\"")).collect();
        let all = [
            ("environment", settings.environment.to_string()),
            ("name_prefix", settings.name_prefix.clone()),
            ("backup_storage_path", settings.backup_storage_path.clone()),
            ("backup_recipients", format!("[{}]", recipients.join(", "))),
        ];
        all.into_iter().filter(|(name, _)| self.given.contains(*name)).collect()
    }

    /// What the files and the command line say, by its address: `postgres_host`, `service.users.pool_size`.
    pub(crate) fn explicit(&self) -> &BTreeSet<String> {
        &self.explicit
    }

    /// Whether it is the private cluster that is meant.
    pub(crate) fn is_dev(&self) -> bool {
        self.is_dev
    }

    /// The private keys that backups are read with.
    pub(crate) fn identities() -> IdentitySource {
        IdentitySource::from_environment(|name| std::env::var_os(name))
    }

    /// The consoles of every PgBouncer that the services come through: at these addresses, or where the settings say, or none when
    /// they come through none.
    pub(crate) fn pooler_consoles(&self, credentials: &Credentials, given: &[Address]) -> Vec<PoolerConsole> {
        let settings = &self.spec.settings;
        let Some(login) = credentials.pgbouncer.as_ref().filter(|_| settings.enable_pgbouncer) else { return Vec::new() };
        let usual = [Address { host: settings.pgbouncer_host.clone(), port: None }];
        let addresses = if given.is_empty() { &usual[..] } else { given };
        let console = |address: &Address| PoolerConsole {
            host: address.host.clone(),
            port: address.port.unwrap_or(settings.pgbouncer_port),
            user: login.role.to_string(),
            password: login.secret.clone(),
            is_encrypted: self.endpoint().is_encrypted(),
        };
        addresses.iter().map(console).collect()
    }

    /// The address that services use.
    pub(crate) fn endpoint(&self) -> Endpoint {
        let mut endpoint = Endpoint::of(&self.spec.settings);
        if let Some(pooler) = &mut endpoint.pooler {
            pooler.homes.clone_from(&self.homes);
        }
        if self.is_dev
            && let Some(pooler) = &mut endpoint.pooler
        {
            // The private PgBouncer runs on copies of its files, on this machine alone.
            LOOPBACK.clone_into(&mut pooler.listen_address);
        }
        endpoint
    }

    /// Where the generated files of this environment are.
    pub(crate) fn folder(&self) -> PathBuf {
        Path::new(GENERATED).join(self.spec.settings.environment.as_str())
    }

    /// The files that go with these credentials.
    pub(crate) fn artifacts(&self, credentials: &Credentials) -> Vec<Artifact> {
        if self.spec.services.is_empty() {
            return Vec::new();
        }
        artifact::generate(&self.spec, &self.endpoint(), credentials)
    }

    /// What would happen to the generated files.
    pub(crate) fn artifact_changes(&self, credentials: &Credentials) -> Result<Vec<Change>, Vec<Diagnostic>> {
        pgisle_engine::artifact::status(&self.folder(), &self.artifacts(credentials)).map_err(|error| vec![error.diagnostic()])
    }

    /// Writes the generated files, and adds what is to be said about those that were edited by hand.
    pub(crate) fn write_artifacts(&mut self, credentials: &Credentials, overwrite: bool) -> Result<Vec<Change>, Diagnostic> {
        let artifacts = self.artifacts(credentials);
        let changes = pgisle_engine::artifact::write(&self.folder(), &artifacts, WriteOptions { overwrite })
            .map_err(|error| error.diagnostic())?;
        self.warnings.extend(pgisle_engine::artifact::diagnostics(&self.folder(), &changes));
        Ok(changes)
    }

    /// Puts the private PgBouncer on the files that were just written, and has them name its port.
    pub(crate) async fn refresh_pooler(&mut self, credentials: &Credentials) -> Result<(), Diagnostic> {
        let settings = &self.spec.settings;
        let folder = self.folder().join("pgbouncer");
        let (ini, userlist) = (folder.join("pgbouncer.ini"), folder.join("userlist.txt"));
        if !self.is_dev || !settings.enable_pgbouncer || !ini.exists() || !userlist.exists() {
            return Ok(());
        }
        let wanted = settings.pgbouncer_port;
        let mut options = PoolerOptions { ini: &ini, userlist: &userlist, port: None, settings: Vec::new(), lead: None };
        let here = Path::new(HERE);
        let running = dev::reload_pgbouncer(here, &options).await.map_err(|error| error.diagnostic())?;
        let pooler = match (running, find_pgbouncer().await) {
            (Some(pooler), _) => pooler,
            (None, None) => return Ok(()),
            (None, Some(program)) => {
                options.port = server::is_free(wanted).then_some(wanted);
                let started = dev::start_pgbouncer(here, &program, &options).await;
                let started = match started {
                    // Someone else has taken the port in between: then any other does.
                    Err(_) if options.port.take().is_some() && !server::is_free(wanted) => {
                        dev::start_pgbouncer(here, &program, &options).await
                    }
                    started => started,
                };
                started.map_err(|error| error.diagnostic())?
            }
        };
        if pooler.port != wanted {
            self.spec.settings.pgbouncer_port = pooler.port;
            self.write_artifacts(credentials, false)?;
        }
        Ok(())
    }
}

/// What the private cluster is, as settings that win over all others.
fn overlay(sources: &mut Sources, cluster: &DevCluster, pooler: Option<&Pooler>, standby_port: Option<u16>) {
    let DevCluster { host, port, admin, password, database, .. } = cluster;
    for (name, value) in [
        ("postgres_host", host.as_str()),
        ("postgres_port", &port.to_string()),
        ("postgres_username", admin.as_str()),
        ("postgres_password", password.expose()),
        ("postgres_database", database.as_str()),
        ("postgres_sslmode", "disable"),
        ("enable_ssl", "false"),
        ("service_host", host),
        ("service_port", &port.to_string()),
        ("pgbouncer_host", LOOPBACK),
    ] {
        sources.push_command_line(format!("{name}={value}"));
    }
    // The standbys of the real cluster are none of this one's.
    let standby = standby_port.map(|port| format!("\"{host}:{port}\"")).unwrap_or_default();
    sources.push_command_line(format!("postgres_replica_hosts=[{standby}]"));
    if let Some(Pooler { port, .. }) = pooler {
        sources.push_command_line(format!("pgbouncer_port={port}"));
    }
}
