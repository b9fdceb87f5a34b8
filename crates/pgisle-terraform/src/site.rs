//! A configured provider: where the server is, where the credentials are, what was seen, and what is to be done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pgisle_core::credential::{Credential, Credentials, ServiceCredentials, Slot, Verifier};
use pgisle_core::diagnostic::{Diagnostic, Severity};
use pgisle_core::inventory::{Inventory, Readable};
use pgisle_core::marker::Kind;
use pgisle_core::name::{DatabaseName, RoleName, ServiceName};
use pgisle_core::plan::{PlanOptions, Planned, Target, plan};
use pgisle_core::spec::{Service, Settings, Spec, SpecSecrets};
use pgisle_engine::backup::{BackupStore, S3Environment};
use pgisle_engine::clock::now_rfc3339;
use pgisle_engine::credential::{IdentitySource, Store, ensure, restored, system_random};
use pgisle_engine::postgres::conninfo::{ConnectOptions, Resolved};
use pgisle_engine::postgres::inspect::{Request, inspect_inside, inspect_shared};
use pgisle_engine::postgres::session::Session;
use tokio::sync::Mutex;

use crate::blocks::PROJECT_FOLDER;
use crate::provider::Finding;
use crate::translate::ProviderBlock;
use crate::value::{Path, Value};

/// What was seen is taken for what is for this long. Terraform looks at each resource by itself, and all of them are looked at in one
/// go; a change of ours makes it look again at once.
const SEEN_FOR: Duration = Duration::from_secs(30);

/// That a server cannot be reached is found once for all resources, and not by each after a wait of its own.
const FAILED_FOR: Duration = Duration::from_secs(5);

/// How many databases are looked into, or worked on, at once.
pub(crate) const PARALLELISM: usize = 4;

/// A provider whose block is known.
pub(crate) struct Site {
    /// The provider's block.
    pub(crate) block: ProviderBlock,
    /// How to reach the maintenance database.
    pub(crate) connect: ConnectOptions,
    /// Where the credentials are.
    pub(crate) store: Store,
    /// The project's folder.
    pub(crate) folder: PathBuf,
    seen: Mutex<Option<(Instant, Seen)>>,
    changing: AtomicBool,
}

/// What was found, or why nothing was.
type Seen = Result<Arc<Inventory>, Diagnostic>;

/// A login as the state has it.
pub(crate) struct StatedLogin {
    /// Its name.
    pub(crate) role: RoleName,
    /// Its password.
    pub(crate) secret: pgisle_core::secret::Secret,
    /// Its verifier, when the provider kept it.
    pub(crate) verifier: Option<Verifier>,
}

impl Site {
    /// Works out how to reach everything. Connects to nothing.
    pub(crate) fn new(block: ProviderBlock, config: &Value) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        let folder = match config {
            Value::Map(values) => match values.get(PROJECT_FOLDER) {
                Some(Value::String(folder)) => PathBuf::from(folder),
                _ => PathBuf::from("."),
            },
            _ => PathBuf::from("."),
        };
        let given: BTreeSet<String> = block.given.iter().map(|name| (*name).to_owned()).collect();
        let Resolved { options, warnings } =
            ConnectOptions::read(&block.settings, block.password.as_ref(), &given).map_err(|diagnostic| vec![*diagnostic])?;
        let identities = IdentitySource::from_environment(|name| std::env::var_os(name));
        let store = Store::new(&folder, block.settings.environment, &block.settings.credential_recipients, identities)
            .map_err(|error| vec![error.diagnostic()])?;
        Ok((
            Self {
                block,
                connect: options.for_purpose("terraform"),
                store,
                folder,
                seen: Mutex::new(None),
                changing: AtomicBool::new(false),
            },
            warnings,
        ))
    }

    /// The settings.
    pub(crate) fn settings(&self) -> &Settings {
        &self.block.settings
    }

    /// A spec of these services.
    pub(crate) fn spec(&self, services: impl IntoIterator<Item = Service>) -> Spec {
        let services = services.into_iter().map(|service| (service.name.clone(), service)).collect();
        Spec { settings: self.block.settings.clone(), services }
    }

    /// Where the backups are.
    pub(crate) fn backups(&self) -> Result<BackupStore, Diagnostic> {
        let settings = self.settings();
        let s3 = S3Environment::from_environment(std::env::vars_os());
        BackupStore::open(&settings.backup_storage_path, &settings.name_prefix, settings.environment, &s3)
            .map_err(|error| error.diagnostic())
    }

    /// The credentials.
    pub(crate) fn credentials(&self) -> Result<Credentials, Diagnostic> {
        self.store.load().map_err(|error| error.diagnostic())
    }

    /// The cluster, with every database of this project's inside: seen a moment ago, or now.
    pub(crate) async fn inventory(&self) -> Seen {
        // Whoever comes while it is being looked at waits here, and is given the same.
        let mut seen = self.seen.lock().await;
        if let Some((when, found)) = &*seen
            && when.elapsed() < if found.is_ok() { SEEN_FOR } else { FAILED_FOR }
        {
            return found.clone();
        }
        let found = Box::pin(self.look()).await.map(Arc::new);
        *seen = Some((Instant::now(), found.clone()));
        found
    }

    /// Something has changed: whoever asks next looks again.
    pub(crate) async fn forget(&self) {
        *self.seen.lock().await = None;
    }

    /// An apply is under way: from here on resources are changed.
    pub(crate) fn begin_changing(&self) {
        self.changing.store(true, Ordering::Relaxed);
    }

    /// Whether one is.
    pub(crate) fn is_changing(&self) -> bool {
        self.changing.load(Ordering::Relaxed)
    }

    /// What is shared by all databases, as it is now, and nothing of what is inside of them.
    pub(crate) async fn shared(&self) -> Result<Inventory, Diagnostic> {
        let session = Session::connect(&self.connect).await.map_err(|error| error.diagnostic())?;
        let shared = inspect_shared(&session).await.map_err(|error| error.diagnostic());
        session.close().await;
        shared
    }

    async fn look(&self) -> Result<Inventory, Diagnostic> {
        let shared = self.shared().await?;
        let request = Request { databases: self.readers(&shared), sizes: false };
        inspect_inside(&self.connect, shared, &request, PARALLELISM, &|_| {}).await.map_err(|error| error.diagnostic())
    }

    /// The databases that are this project's and environment's, each with the roles whose reading is of interest.
    fn readers(&self, inventory: &Inventory) -> BTreeMap<DatabaseName, BTreeSet<RoleName>> {
        let settings = self.settings();
        let monitoring = settings.create_monitoring_user.then(|| settings.monitoring_user());
        let mut applications: BTreeMap<ServiceName, RoleName> = BTreeMap::new();
        for (name, role) in &inventory.roles {
            let marker = role.marker().filter(|marker| marker.kind == Kind::Application && self.is_ours(marker));
            applications.extend(marker.and_then(|marker| marker.service).map(|service| (service, name.clone())));
        }
        let ours = inventory.databases.iter().filter_map(|(name, database)| {
            let marker = database.marker().filter(|marker| marker.kind == Kind::Database && self.is_ours(marker))?;
            let application = marker.service.and_then(|service| applications.get(&service).cloned());
            Some((name.clone(), monitoring.iter().cloned().chain(application).collect()))
        });
        ours.collect()
    }

    fn is_ours(&self, marker: &pgisle_core::marker::Marker) -> bool {
        marker.same_owner(&self.settings().name_prefix, self.settings().environment.as_str())
    }

    /// What would be done for one service, as the cluster is.
    pub(crate) fn plan_service(&self, service: Service, adopt: bool, inventory: &Inventory, credentials: &Credentials) -> Planned {
        let targets = self.targets([&service.name]);
        let adopt: BTreeSet<ServiceName> = adopt.then(|| service.name.clone()).into_iter().collect();
        let options = PlanOptions { credentials, targets: &targets, adopt: &adopt, end_sessions: false, budget: None };
        plan(&self.spec([service]), inventory, &options)
    }

    /// That a database is the island of another service. The planner refuses that, too, but for what is adopted: and two resources with
    /// `adopt` would take it from each other, apply by apply.
    pub(crate) fn of_another(&self, service: &Service, inventory: &Inventory) -> Option<Finding> {
        let marker = inventory.databases.get(&service.database)?.marker()?;
        let settings = self.settings();
        let other = marker.other_service(&settings.name_prefix, settings.environment.as_str(), &service.name)?;
        let summary = format!("database \"{}\" is the island of service \"{other}\"", service.database);
        let detail = "Give this service a database of its own. To go on with that one under another name, take its resource out of the \
                      state, import it under its own name, and keep that name.";
        Some(Finding::error(Path::attribute("database"), summary, detail))
    }

    /// What a change to these services concerns: they, the fences that make them islands, and the login that watches them.
    pub(crate) fn targets<'n>(&self, services: impl IntoIterator<Item = &'n ServiceName>) -> Vec<Target> {
        let monitoring = self.settings().create_monitoring_user.then_some(Target::Monitoring);
        let services = services.into_iter().cloned().map(Target::Service);
        services.chain([Target::Cluster]).chain(monitoring).collect()
    }

    /// Puts a login into the store that has it no more: on another machine the state is all that there is.
    pub(crate) fn restore(&self, service: &Service, login: StatedLogin, inventory: &Inventory) -> Result<(), Diagnostic> {
        let slot = if login.role == service.login(Slot::B) { Slot::B } else { Slot::A };
        if login.role != service.login(slot) {
            return Ok(());
        }
        let credential = restored_credential(login, inventory);
        let put = |credentials: &mut Credentials| {
            credentials.services.entry(service.name.clone()).or_insert_with(|| ServiceCredentials {
                active_slot: slot,
                active: credential,
                pending: None,
                draining: None,
                migrator: None,
            });
        };
        self.store.update(put).map_err(|error| error.diagnostic())
    }

    /// The same for the logins that belong to no service.
    pub(crate) fn restore_others(
        &self,
        monitoring: Option<StatedLogin>,
        pgbouncer: Option<StatedLogin>,
        inventory: &Inventory,
    ) -> Result<(), Diagnostic> {
        let (monitoring, pgbouncer) = (
            monitoring.map(|login| restored_credential(login, inventory)),
            pgbouncer.map(|login| restored_credential(login, inventory)),
        );
        let put = |credentials: &mut Credentials| {
            credentials.monitoring = credentials.monitoring.take().or(monitoring);
            credentials.pgbouncer = credentials.pgbouncer.take().or(pgbouncer);
        };
        self.store.update(put).map_err(|error| error.diagnostic())
    }

    /// The credentials, PgBouncer's own login among them, which is no role of the server and so needs no apply of a service.
    pub(crate) fn with_console_login(&self) -> Result<Credentials, Diagnostic> {
        let mut spec = self.spec([]);
        spec.settings.create_monitoring_user = false;
        let add = |credentials: &mut Credentials| {
            ensure(&spec, &SpecSecrets::default(), credentials, &mut system_random, &now_rfc3339());
            credentials.clone()
        };
        self.store.update(add).map_err(|error| error.diagnostic())
    }

    /// A folder of the project's.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        // A path that is absolute stays what it is.
        self.folder.join(FilePath::new(below))
    }
}

/// The server's own verifier where it can be read and is of this password, so that nothing differs that is the same.
fn restored_credential(login: StatedLogin, inventory: &Inventory) -> Credential {
    let StatedLogin { role, secret, verifier } = login;
    let on_server = match inventory.roles.get(&role).map(|role| &role.verifier) {
        Some(Readable::Known(Some(verifier))) => Some(verifier.clone()),
        _ => None,
    };
    let known = [on_server, verifier].into_iter().flatten().find(|verifier| verifier.matches(&secret));
    restored(role, secret, known)
}

/// What a plan would do and what it cannot, each in a line.
pub(crate) fn differences(planned: &Planned, and_blocked: bool) -> Vec<String> {
    let steps = planned.plan.steps().map(|step| format!("{}: {}", step.address, step.summary()));
    let blocked = planned.report.blocked.iter().filter(|_| and_blocked);
    let blocked = blocked.map(|blocked| format!("{}: {}", blocked.address, blocked.diagnostic.summary));
    steps.chain(blocked).collect()
}

/// Work that is left to someone with more rights, with what they run, as warnings or as errors.
pub(crate) fn blocked(planned: &Planned, severity: Severity) -> Vec<Diagnostic> {
    let told = planned.report.blocked.iter().map(|blocked| {
        let mut diagnostic = Diagnostic { severity, ..blocked.diagnostic.clone() };
        diagnostic.subject.get_or_insert_with(|| blocked.address.to_string());
        diagnostic.commands.extend(blocked.paste());
        diagnostic
    });
    told.collect()
}
