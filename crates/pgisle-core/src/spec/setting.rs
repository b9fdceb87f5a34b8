//! The table of everything that a spec may say: it drives reading, checking, "did you mean" and the reference.

use super::check::Check;
use super::model::{Access, Environment, MonitoringAccess, PoolMode, ReplicaMode, SslMode};

/// What a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingKind {
    /// A text that passes a check.
    Text(Check),
    /// A whole number in a range, both ends included.
    Integer {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
    /// True or false.
    Bool,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of texts, each of which passes a check.
    List(Check),
    /// A map from texts to texts.
    Map(Check),
}

/// What a setting is when nobody says anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingDefault {
    /// This value, as HCL; `null` for none.
    Value(&'static str),
    /// What other settings make of it, in words.
    Derived(&'static str),
}

/// Where a setting belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingGroup {
    /// The settings of the Terraform configuration that pgisle replaces: names and defaults are kept.
    Terraform,
    /// pgisle's own settings.
    Own,
    /// Attributes of a `service` block.
    Service,
    /// Attributes of a service's `replica` block.
    Replica,
}

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettingInfo {
    /// Its name in the file.
    pub name: &'static str,
    /// Where it belongs.
    pub group: SettingGroup,
    /// What it takes.
    pub kind: SettingKind,
    /// What it is when nobody says anything.
    pub default: SettingDefault,
    /// True for passwords: never shown, never saved with the spec.
    pub is_sensitive: bool,
    /// One paragraph, for the reference.
    pub doc: &'static str,
}

impl SettingInfo {
    /// True when the setting may be left without any value.
    #[must_use]
    pub fn is_optional(&self) -> bool {
        self.default == SettingDefault::Value("null")
    }
}

const fn setting(
    group: SettingGroup,
    name: &'static str,
    kind: SettingKind,
    default: SettingDefault,
    doc: &'static str,
) -> SettingInfo {
    SettingInfo { name, group, kind, default, is_sensitive: false, doc }
}

const fn secret(group: SettingGroup, name: &'static str, default: SettingDefault, doc: &'static str) -> SettingInfo {
    SettingInfo { name, group, kind: SettingKind::Text(Check::Password), default, is_sensitive: true, doc }
}

use SettingDefault::{Derived, Value};
use SettingGroup::{Own, Replica, Service, Terraform};
use SettingKind::{Bool, Integer, List, Map, Text, Word};

/// Settings that stand outside of any block.
#[rustfmt::skip]
pub(super) const SETTINGS: &[SettingInfo] = &[
    setting(Terraform, "postgres_host", Text(Check::Host), Value(r#""localhost""#),
        "Host name or address of the server that pgisle administers, or the absolute path of the folder of its Unix socket."),
    setting(Terraform, "postgres_port", Integer { min: 1, max: 65535 }, Value("5432"),
        "Port of the server. It must be the server itself: administration through a pooler in transaction mode is refused."),
    setting(Terraform, "postgres_database", Text(Check::Database), Value(r#""link_app""#),
        "The shared database that exists today and that services are split out of. It need not exist."),
    setting(Terraform, "postgres_username", Text(Check::Role), Value(r#""link_user""#),
        "The administrator that pgisle logs in as. A superuser, or a role with CREATEROLE and CREATEDB, as managed clouds give."),
    secret(Terraform, "postgres_password", Value("null"),
        "The administrator's password. Better kept out of files: pass PGISLE_VAR_postgres_password, PGPASSWORD or a password file."),
    setting(Terraform, "postgres_sslmode", Word(SslMode::WORDS), Value(r#""require""#),
        "How far TLS is demanded of the administrator's connection and put into the services' addresses, as libpq's sslmode. Only verify-full proves that the server is the one that was meant."),
    setting(Terraform, "environment", Word(Environment::WORDS), Value(r#""development""#),
        "Which environment this is. It picks environments/<environment>.tfvars, the folder of generated files and the credential store, and stands in the marker of every object: one environment never touches another's."),
    setting(Terraform, "database_connection_limit", Integer { min: 10, max: 1000 }, Value("100"),
        "Connections that each service's database takes (CONNECTION LIMIT of the database)."),
    setting(Terraform, "user_connection_limit", Integer { min: 5, max: 500 }, Value("50"),
        "Connections that each service's login may hold (CONNECTION LIMIT of the role)."),
    setting(Terraform, "create_monitoring_user", Bool, Value("true"),
        "Whether there is a login for monitoring, <name_prefix>_monitoring, that can connect to every service's database."),
    setting(Terraform, "backup_retention_days", Integer { min: 1, max: 3650 }, Value("30"),
        "Days that backups are kept."),
    setting(Terraform, "enable_ssl", Bool, Value("true"),
        "Whether the generated files make services connect by TLS."),
    setting(Terraform, "kubernetes_namespace", Text(Check::KubernetesName), Value(r#""default""#),
        "Namespace of the generated Kubernetes Secrets."),
    setting(Terraform, "kubeconfig_path", Text(Check::Path), Value(r#""~/.kube/config""#),
        "Kubernetes configuration file, for the commands in the generated guide. pgisle itself does not read it."),
    setting(Terraform, "kubernetes_context", Text(Check::Line), Value("null"),
        "Kubernetes context, for the commands in the generated guide."),
    setting(Terraform, "enable_pgbouncer", Bool, Value("true"),
        "Whether PgBouncer's files are generated and services are pointed at it."),
    setting(Terraform, "pgbouncer_pool_mode", Word(PoolMode::WORDS), Value(r#""session""#),
        "When PgBouncer takes a server connection back. Session fits every application; transaction carries many more clients, and is for applications that keep nothing in the session."),
    setting(Terraform, "pgbouncer_max_client_conn", Integer { min: 1, max: 100_000 }, Value("100"),
        "Clients that one PgBouncer process takes."),
    setting(Terraform, "pgbouncer_default_pool_size", Integer { min: 1, max: 1000 }, Value("10"),
        "Server connections that PgBouncer opens per service in pool modes transaction and statement, shared out among its processes, and the default of a service's pool_size."),
    setting(Terraform, "enable_backup_automation", Bool, Value("true"),
        "Whether backup and restore scripts and their schedule are generated."),
    setting(Terraform, "backup_storage_path", Text(Check::Path), Value(r#""/var/backups/postgresql""#),
        "Where backups are kept: a folder, or s3://bucket/prefix for a store that speaks S3 (its address and keys come from AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)."),
    setting(Terraform, "enable_replica_setup", Bool, Value("false"),
        "Whether the replicas that services ask for are set up."),
    setting(Terraform, "tags", Map(Check::Line),
        Value(r#"{ Project = "Link", Component = "Database", ManagedBy = "pgisle", Purpose = "Service isolation" }"#),
        "Free words that are put on every database, role and generated file. Tags that are given replace the default ones."),

    setting(Own, "name_prefix", Text(Check::Prefix), Value(r#""link""#),
        "First part of every name: link makes the database link_users. It also says whose an object is, so two projects on one server need two prefixes."),
    setting(Own, "maintenance_database", Text(Check::Database), Value(r#""postgres""#),
        "The database that pgisle itself connects to and holds its lock in."),
    setting(Own, "service_host", Text(Check::Host), Value("null"),
        "Host under which services reach the server, where it differs from postgres_host: inside of Kubernetes or compose, say."),
    setting(Own, "service_port", Integer { min: 1, max: 65535 }, Value("null"),
        "Port under which services reach the server, where it differs from postgres_port."),
    setting(Own, "postgres_sslrootcert", Text(Check::Path), Value("null"),
        "PEM file of the authorities that the server's certificate is checked against; the operating system's when not given."),
    setting(Own, "postgres_sslcert", Text(Check::Path), Value("null"),
        "PEM file of the client certificate, together with postgres_sslkey."),
    setting(Own, "postgres_replica_hosts", List(Check::HostPort), Value("[]"),
        "Where services find the server's standbys, with the server's own port where none is said. With enable_replica_setup, services with a replica of mode shared or geographic get addresses that lead there: <database>_ro in PgBouncer, DATABASE_URL_RO in their environment."),
    setting(Own, "postgres_sslkey", Text(Check::Path), Value("null"),
        "PEM file of the client certificate's key, together with postgres_sslcert."),
    setting(Own, "fence_maintenance_databases", Bool, Value("true"),
        "Whether PUBLIC loses CONNECT and TEMPORARY on postgres and template1. Logins that are not pgisle's keep them, by name."),
    setting(Own, "default_extensions", List(Check::Extension), Value(r#"["uuid-ossp", "vector"]"#),
        "Extensions of every service's database, created where the server has them. A service adds to them with extensions."),
    setting(Own, "collation", Text(Check::Locale), Value(r#""en_US.utf8""#),
        "LC_COLLATE and LC_CTYPE of new databases; the server's own where it lacks this locale."),
    setting(Own, "trusted_roles", List(Check::Role), Value("[]"),
        "Roles outside of pgisle that may reach into every island, such as a backup agent: they are not reported as leaks."),
    setting(Own, "monitoring_connection_limit", Integer { min: 1, max: 100 }, Value("5"),
        "Connections that the monitoring login may hold."),
    setting(Own, "monitoring_access", Word(MonitoringAccess::WORDS), Value(r#""data""#),
        "What the monitoring login may read: data is statistics and every service's rows, statistics leaves the rows out."),
    setting(Own, "pgbouncer_host", Text(Check::Host), Value(r#""pgbouncer""#),
        "Host under which services reach PgBouncer."),
    setting(Own, "pgbouncer_port", Integer { min: 1, max: 65535 }, Value("6432"),
        "Port that PgBouncer listens on."),
    setting(Own, "pgbouncer_reserve_pool_size", Integer { min: 0, max: 1000 }, Value("2"),
        "Connections that PgBouncer adds to a service's pool while clients wait for long."),
    setting(Own, "pgbouncer_server_idle_timeout", Integer { min: 0, max: 86_400 }, Value("600"),
        "Seconds after which PgBouncer closes an idle server connection; 0 keeps it."),
    setting(Own, "pgbouncer_instances", Integer { min: 1, max: 100 }, Value("1"),
        "How many PgBouncer processes stand side by side. Each has pools of its own, so the connection budget counts each."),
    setting(Own, "pgbouncer_version", Text(Check::Version), Value(r#""1.18""#),
        "The oldest PgBouncer that must understand the generated file. auth_dbname needs 1.19, prepared statements in transaction mode 1.21."),
    setting(Own, "credential_recipients", List(Check::AgeRecipient), Value("[]"),
        "age public keys that the credential store is encrypted to. Without any it is plain text in a file that only its owner can read."),
    setting(Own, "backup_schedule", Text(Check::Schedule), Value(r#""0 2 * * *""#),
        "When backups are made, as cron's five fields in the server's time: minute, hour, day of the month, month, day of the week. It goes into the generated cron line and systemd timer."),
    setting(Own, "backup_minimum_count", Integer { min: 1, max: 1000 }, Value("3"),
        "How many verified backups of each service are kept however old they are. Retention never goes below it."),
    setting(Own, "backup_recipients", List(Check::AgeRecipient), Value("[]"),
        "age public keys that backups are encrypted to. Without any they are not encrypted, in files that only their owner can read."),
    setting(Own, "backup_on_failure", Text(Check::Line), Value("null"),
        "A shell command that is run when a backup, a drill or the pruning fails. It finds the reason in PGISLE_FAILURE and the service, if it is one's, in PGISLE_SERVICE."),
];

/// Attributes of a `service` block.
#[rustfmt::skip]
pub(super) const SERVICE_SETTINGS: &[SettingInfo] = &[
    setting(Service, "description", Text(Check::Line), Value(r#""""#),
        "What the service does, for people."),
    setting(Service, "instances", Integer { min: 0, max: 1000 }, Value("1"),
        "How many instances run at once, for the connection budget and the load test."),
    setting(Service, "database", Text(Check::IslandName), Derived("`<name_prefix>_<service>`, with `_` for `-`"),
        "The island's database."),
    setting(Service, "user", Text(Check::IslandName), Derived("`<database>_user`"),
        "The service's login. The second slot, which rotation uses, has `_b` behind it."),
    secret(Service, "password", Derived("random, 32 characters"),
        "The login's password. Better left out: pgisle makes a random one and keeps it in the credential store."),
    setting(Service, "connection_limit", Integer { min: 1, max: 1000 }, Derived("`user_connection_limit`"),
        "Connections that the service's login may hold."),
    setting(Service, "database_connection_limit", Integer { min: 1, max: 1000 }, Derived("`database_connection_limit` of the settings"),
        "Connections that the service's database takes."),
    setting(Service, "pool_size", Integer { min: 1, max: 1000 }, Derived("`pgbouncer_default_pool_size`"),
        "Connections of the pool in each instance of the service. In pool mode session PgBouncer's pool is as large as those of all instances together; in the others pgbouncer_default_pool_size says how large it is."),
    setting(Service, "extensions", List(Check::Extension), Value("[]"),
        "Extensions of the service's database, besides default_extensions."),
    setting(Service, "schemas", List(Check::Schema), Value("[]"),
        "Schemas of the service's database, besides public."),
    setting(Service, "tables", List(Check::Table), Value("[]"),
        "What the service owns in the shared database: `table` or `schema.table`. `pgisle split` moves them; no two services can own one table."),
    setting(Service, "settings", Map(Check::ParameterValue), Value("{}"),
        "PostgreSQL settings of every session of the service, such as { statement_timeout = \"30s\" }."),
    setting(Service, "access", Word(Access::WORDS), Value(r#""owner""#),
        "Who may change the service's tables. With owner, the service's login acts as the owner role and runs its own migrations. With split, a second login, <database>_migrator, runs migrations, and the service's login only reads and writes rows."),
];

/// Attributes of a service's `replica` block.
#[rustfmt::skip]
pub(super) const REPLICA_SETTINGS: &[SettingInfo] = &[
    setting(Replica, "mode", Word(ReplicaMode::WORDS), Value(r#""shared""#),
        "How the replica is kept: service is logical replication of this one database, shared is the standby of the whole server, geographic is such a standby in another region."),
    setting(Replica, "region", Text(Check::Line), Value("null"),
        "Where the replica stands; required with geographic."),
];

/// Every setting, group by group, in the order of the reference.
pub fn settings() -> impl Iterator<Item = &'static SettingInfo> {
    SETTINGS.iter().chain(SERVICE_SETTINGS).chain(REPLICA_SETTINGS)
}

/// The setting of this name in a table.
pub(super) fn find(table: &'static [SettingInfo], name: &str) -> Option<&'static SettingInfo> {
    table.iter().find(|info| info.name == name)
}
