//! The spec as a value.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::credential::Slot;
use crate::diagnostic::Place;
use crate::name::{DatabaseName, ExtensionName, ParameterName, RoleName, SchemaName, ServiceName};
use crate::secret::Secret;

/// What is wanted of one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Everything that is not a service.
    pub settings: Settings,
    /// The services, by name.
    pub services: BTreeMap<ServiceName, Service>,
}

/// The passwords that the user gave. Beside the spec, not in it, so that a spec can be saved and shown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpecSecrets {
    /// `postgres_password`.
    pub postgres_password: Option<Secret>,
    /// `password` of the service blocks, by service. Services without one get a random password.
    pub service_passwords: BTreeMap<ServiceName, Secret>,
}

macro_rules! word_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// The allowed words, in the order in which they are documented.
            pub const WORDS: &[&str] = &[$($text,)*];

            /// Takes one of the allowed words.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                match word {
                    $($text => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The word in the file.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

word_enum! {
    /// Which environment the spec describes.
    Environment {
        /// A developer's machine.
        Development = "development",
        /// The rehearsal.
        Staging = "staging",
        /// The real one.
        Production = "production",
    }
}

word_enum! {
    /// libpq's `sslmode`, as far as it is a promise.
    SslMode {
        /// No TLS.
        Disable = "disable",
        /// TLS, whoever the server is.
        Require = "require",
        /// TLS, and the certificate is signed by a known authority.
        VerifyCa = "verify-ca",
        /// TLS, and the certificate carries the host's name.
        VerifyFull = "verify-full",
    }
}

word_enum! {
    /// When PgBouncer takes a server connection back from a client.
    PoolMode {
        /// When the client leaves.
        Session = "session",
        /// When the transaction ends.
        Transaction = "transaction",
        /// After each statement.
        Statement = "statement",
    }
}

word_enum! {
    /// Who may change a service's tables.
    Access {
        /// The service's login acts as the owner role and runs its own migrations.
        Owner = "owner",
        /// A migrator login runs migrations; the service's login reads and writes rows only.
        Split = "split",
    }
}

word_enum! {
    /// What the monitoring login may read.
    MonitoringAccess {
        /// Statistics and every service's rows.
        Data = "data",
        /// Statistics only.
        Statistics = "statistics",
    }
}

word_enum! {
    /// How a service's replica is kept.
    ReplicaMode {
        /// Logical replication of this one database.
        Service = "service",
        /// The streaming standby of the whole cluster.
        Shared = "shared",
        /// A streaming standby in another region.
        Geographic = "geographic",
    }
}

/// A limit on connections: of a role, or of a database. Never negative: pgisle sets no "unlimited".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ConnectionLimit(pub u32);

impl fmt::Display for ConnectionLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Everything in a spec that is not a service. Names and defaults are those of the Terraform configuration that pgisle
/// replaces, so that its `.tfvars` load unchanged; the settings behind the blank line are pgisle's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Host of the server, or the folder of its Unix socket.
    pub postgres_host: String,
    /// Port of the server.
    pub postgres_port: u16,
    /// The shared database that exists today; services are split out of it.
    pub postgres_database: DatabaseName,
    /// The administrator. Often not a superuser on managed clouds.
    pub postgres_username: RoleName,
    /// How far TLS is demanded.
    pub postgres_sslmode: SslMode,
    /// Which environment this is.
    pub environment: Environment,
    /// Connections that each service's database takes, 10 to 1000.
    pub database_connection_limit: ConnectionLimit,
    /// Connections that each service's login may hold, 5 to 500.
    pub user_connection_limit: ConnectionLimit,
    /// Whether there is a monitoring login.
    pub create_monitoring_user: bool,
    /// Days that backups are kept.
    pub backup_retention_days: u32,
    /// Whether services connect by TLS.
    pub enable_ssl: bool,
    /// Namespace of the generated Kubernetes Secrets.
    pub kubernetes_namespace: String,
    /// Kubernetes configuration file, for the generated guide's commands.
    pub kubeconfig_path: String,
    /// Kubernetes context, for the generated guide's commands.
    pub kubernetes_context: Option<String>,
    /// Whether PgBouncer's files are generated.
    pub enable_pgbouncer: bool,
    /// PgBouncer's `pool_mode`.
    pub pgbouncer_pool_mode: PoolMode,
    /// PgBouncer's `max_client_conn`.
    pub pgbouncer_max_client_conn: u32,
    /// PgBouncer's `default_pool_size`.
    pub pgbouncer_default_pool_size: u32,
    /// Whether backup scripts and their schedule are generated.
    pub enable_backup_automation: bool,
    /// Where backups are kept.
    pub backup_storage_path: String,
    /// Whether replicas are set up.
    pub enable_replica_setup: bool,
    /// Free words that are put on every database and role.
    pub tags: BTreeMap<String, String>,

    /// First part of every name: `link` makes `link_users`. Also says whose an object is.
    pub name_prefix: String,
    /// The database that pgisle itself connects to and holds its lock in.
    pub maintenance_database: DatabaseName,
    /// The host that services use, where it differs from the administrator's.
    pub service_host: Option<String>,
    /// The port that services use, where it differs from the administrator's.
    pub service_port: Option<u16>,
    /// Where services find the server's standbys. They are whoever made them; pgisle only leads readers there.
    #[serde(default)]
    pub postgres_replica_hosts: Vec<HostPort>,
    /// PEM file of the authorities that the server's certificate is checked against; the system's when not given.
    pub postgres_sslrootcert: Option<String>,
    /// PEM file of the client's certificate.
    pub postgres_sslcert: Option<String>,
    /// PEM file of the client certificate's key.
    pub postgres_sslkey: Option<String>,
    /// Whether PUBLIC loses CONNECT and TEMPORARY on `postgres` and `template1`.
    pub fence_maintenance_databases: bool,
    /// Extensions of every service's database, created where the server has them.
    pub default_extensions: Vec<ExtensionName>,
    /// `LC_COLLATE` and `LC_CTYPE` of new databases; the server's default where it lacks this locale.
    pub collation: String,
    /// Roles outside of pgisle that may hold CONNECT or membership on any island: a backup or monitoring agent.
    pub trusted_roles: Vec<RoleName>,
    /// Connections that the monitoring login may hold.
    pub monitoring_connection_limit: ConnectionLimit,
    /// What the monitoring login may read.
    pub monitoring_access: MonitoringAccess,
    /// The address that services use to reach PgBouncer.
    pub pgbouncer_host: String,
    /// The port that PgBouncer listens on.
    pub pgbouncer_port: u16,
    /// PgBouncer's `reserve_pool_size`.
    pub pgbouncer_reserve_pool_size: u32,
    /// PgBouncer's `server_idle_timeout`, seconds.
    pub pgbouncer_server_idle_timeout: u32,
    /// How many PgBouncer processes stand side by side, each with its own pools.
    pub pgbouncer_instances: u32,
    /// The oldest PgBouncer that must understand the generated file, such as `1.18`.
    pub pgbouncer_version: String,
    /// `age` public keys that the credential store is encrypted to; plain text in a 0600 file when empty.
    pub credential_recipients: Vec<String>,
    /// When backups are made, as cron's five fields.
    pub backup_schedule: String,
    /// How many verified backups of each service are kept, however old they are.
    pub backup_minimum_count: u32,
    /// `age` public keys that backups are encrypted to; not encrypted when empty.
    pub backup_recipients: Vec<String>,
    /// A shell command that is run when a backup fails.
    pub backup_on_failure: Option<String>,
}

/// One service: its island's names, limits and wishes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// The service's name.
    pub name: ServiceName,
    /// What the service does, for people.
    pub description: String,
    /// How many instances run at once.
    pub instances: u32,
    /// The island's database.
    pub database: DatabaseName,
    /// The login of slot A.
    pub user: RoleName,
    /// Connections that the login may hold.
    pub connection_limit: ConnectionLimit,
    /// Connections that the database takes.
    pub database_connection_limit: ConnectionLimit,
    /// Connections of one instance's pool.
    pub pool_size: u32,
    /// Extensions that the service asks for itself; the defaults come on top.
    pub extensions: Vec<ExtensionName>,
    /// Schemas besides `public`.
    pub schemas: Vec<SchemaName>,
    /// What it owns in the shared database, `table` or `schema.table`.
    pub tables: Vec<String>,
    /// Settings of every session of the service's logins.
    pub settings: BTreeMap<ParameterName, String>,
    /// Who may change its tables.
    pub access: Access,
    /// Its replica, if it has one.
    pub replica: Option<Replica>,
    /// Where its block begins.
    pub place: Place,
    /// Where the size of its pool is said: its own, or the one that is the default, or else where its block begins.
    #[serde(default)]
    pub pool_place: Option<Place>,
}

/// A service's replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// How it is kept.
    pub mode: ReplicaMode,
    /// Where it stands, for `geographic`.
    pub region: Option<String>,
}

impl Service {
    /// The role that owns the island's objects and cannot log in: `link_users_owner`.
    #[must_use]
    pub fn owner(&self) -> RoleName {
        self.derived(self.database.as_str(), "_owner")
    }

    /// The login of a slot: `link_users_user`, `link_users_user_b`.
    #[must_use]
    pub fn login(&self, slot: Slot) -> RoleName {
        match slot {
            Slot::A => self.user.clone(),
            Slot::B => self.derived(self.user.as_str(), "_b"),
        }
    }

    /// The migrations' login under `access = "split"`: `link_users_migrator`.
    #[must_use]
    pub fn migrator(&self) -> RoleName {
        self.derived(self.database.as_str(), "_migrator")
    }

    /// Under `access = "split"`, the role that may read and write rows; the service's logins are members: `link_users_app`.
    #[must_use]
    pub fn application(&self) -> RoleName {
        self.derived(self.database.as_str(), "_app")
    }

    /// The longest suffix that is put behind a name, in bytes; the spec's validation leaves this much room.
    pub const SUFFIX_BYTES_MAX: usize = "_migrator".len();

    fn derived(&self, base: &str, suffix: &str) -> RoleName {
        // The spec's validation has left room for the suffix, so the name as it stands is only a fallback.
        RoleName::new(format!("{base}{suffix}")).unwrap_or_else(|_| self.user.clone())
    }
}

/// Where a server is: a host, and its port where that is another one than usual. Saved as the text that [`HostPort::parse`] reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct HostPort {
    /// A name or an address.
    pub host: String,
    /// The port, if one is said.
    pub port: Option<u16>,
}

impl HostPort {
    /// Reads `host`, `host:port`, `::1` or `[::1]:port`; none when it is none of these.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']')?;
                (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
            }
            None => match text.split_once(':') {
                // More than one colon without brackets is an IPv6 address.
                Some((host, port)) if !port.contains(':') => (host, Some(port)),
                _ => (text, None),
            },
        };
        let port = match port {
            Some(port) => Some(port.parse::<u16>().ok().filter(|port| *port > 0)?),
            None => None,
        };
        (!host.is_empty()).then(|| Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match port {
            Some(port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Some(port) => write!(f, "{host}:{port}"),
            None => f.write_str(host),
        }
    }
}

impl From<HostPort> for String {
    fn from(address: HostPort) -> Self {
        address.to_string()
    }
}

impl TryFrom<String> for HostPort {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is no host with a port"))
    }
}

impl Service {
    /// Whether a standby of the whole server is to serve its reads.
    #[must_use]
    pub fn reads_from_standby(&self) -> bool {
        self.replica.as_ref().is_some_and(|replica| replica.mode != ReplicaMode::Service)
    }
}

impl Settings {
    /// The monitoring login: `link_monitoring`.
    ///
    /// # Panics
    /// Never: the spec's validation has bounded the prefix.
    #[must_use]
    pub fn monitoring_user(&self) -> RoleName {
        RoleName::new(format!("{}_monitoring", self.name_prefix)).unwrap_or_else(|_| self.postgres_username.clone())
    }

    /// PgBouncer's console user, `link_pgbouncer`; it is no role of the server.
    #[must_use]
    pub fn pgbouncer_user(&self) -> RoleName {
        RoleName::new(format!("{}_pgbouncer", self.name_prefix)).unwrap_or_else(|_| self.postgres_username.clone())
    }
}

impl Spec {
    /// All extensions of a service's database: the defaults, then its own, each once.
    #[must_use]
    pub fn extensions(&self, service: &Service) -> Vec<ExtensionName> {
        let mut extensions = self.settings.default_extensions.clone();
        for extension in &service.extensions {
            if !extensions.contains(extension) {
                extensions.push(extension.clone());
            }
        }
        extensions
    }
}
