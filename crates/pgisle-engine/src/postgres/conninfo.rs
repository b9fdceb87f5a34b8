//! How to reach the server: the spec's settings, then what libpq's users keep elsewhere.
//!
//! A setting that the user wrote wins over the service of `PGSERVICE`, which wins over pgisle's built-in default. Of a service
//! `host`, `hostaddr`, `port`, `user`, `password`, `passfile`, `channel_binding`, `sslmode`, `sslrootcert`, `sslcert` and `sslkey`
//! are taken. Its
//! `dbname` is not: everyone's lock must be in the same database. `sslmode=allow` and `prefer` promise nothing, so they do not
//! weaken pgisle's default. `PGHOST`, `PGPORT`, `PGUSER` and `PGAPPNAME` are not looked at: a spec says which server it is about.
//!
//! The password is looked for in `postgres_password`, `PGPASSWORD`, the service, and last in the password file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::name::{DatabaseName, RoleName};
use pgisle_core::secret::Secret;
use pgisle_core::spec::{Settings, SslMode};

use super::passfile::Passfile;
use super::servicefile;
use super::tls::{ClientIdentity, Roots, TlsOptions};

/// Where the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name or an address.
    Tcp(String),
    /// The folder of its Unix socket.
    Socket(PathBuf),
}

impl Host {
    /// As libpq: what begins with a slash is a socket's folder.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        if text.starts_with('/') { Self::Socket(PathBuf::from(text)) } else { Self::Tcp(text.to_owned()) }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(name) => f.write_str(name),
            Self::Socket(folder) => write!(f, "{}", folder.display()),
        }
    }
}

/// Everything that a connection needs. A clone shares the loaded certificates.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// Where the server listens.
    pub host: Host,
    /// Its port; part of the socket's name too.
    pub port: u16,
    /// Who logs in.
    pub user: RoleName,
    /// The database to connect to: the maintenance database, unless [`Self::to_database`] chose another.
    pub database: DatabaseName,
    /// What `pg_stat_activity` shows, cut at 63 bytes by the server.
    pub application_name: String,
    /// TLS, as it will be used: off on a socket.
    pub tls: TlsOptions,
    /// The password exchange must prove that nobody stands between: `PGCHANNELBINDING=require`.
    pub require_channel_binding: bool,
    /// From the first packet to the answer of the first query.
    pub connect_timeout: Duration,
    /// The server ends a statement that runs longer. Creating a database on a slow disk takes its time.
    pub statement_timeout_ms: u32,
    passwords: Passwords,
}

#[derive(Debug, Clone)]
enum Passwords {
    None,
    One(Secret),
    /// The password depends on the database.
    File(Passfile),
}

/// Long enough for a slow network, short enough for a person.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Ten minutes.
const STATEMENT_TIMEOUT_MS: u32 = 600_000;

impl ConnectOptions {
    /// Makes options without TLS and without a password, for a server whose address is known: the private cluster.
    #[must_use]
    pub fn new(host: Host, port: u16, user: RoleName, database: DatabaseName) -> Self {
        Self {
            host,
            port,
            user,
            database,
            application_name: "pgisle".to_owned(),
            tls: TlsOptions::disabled(),
            require_channel_binding: false,
            connect_timeout: CONNECT_TIMEOUT,
            statement_timeout_ms: STATEMENT_TIMEOUT_MS,
            passwords: Passwords::None,
        }
    }

    /// The same with a password.
    #[must_use]
    pub fn with_password(mut self, password: Secret) -> Self {
        self.passwords = Passwords::One(password);
        self
    }

    /// The same with TLS; on a socket it stays off.
    #[must_use]
    pub fn with_tls(mut self, tls: TlsOptions) -> Self {
        self.tls = if matches!(self.host, Host::Socket(_)) { TlsOptions::disabled() } else { tls };
        self
    }

    /// The same for another database of the same server.
    #[must_use]
    pub fn to_database(&self, database: &DatabaseName) -> Self {
        Self { database: database.clone(), ..self.clone() }
    }

    /// The same for another login. The administrator's client certificate is not lent to it.
    #[must_use]
    pub fn as_login(&self, user: &RoleName, password: Secret) -> Self {
        Self { user: user.clone(), passwords: Passwords::One(password), tls: self.tls.without_identity(), ..self.clone() }
    }

    /// The same with `pgisle PURPOSE` as the application's name.
    #[must_use]
    pub fn for_purpose(&self, purpose: &str) -> Self {
        Self { application_name: format!("pgisle {purpose}"), ..self.clone() }
    }

    /// The password for the chosen database and login.
    #[must_use]
    pub fn password(&self) -> Option<Secret> {
        match &self.passwords {
            Passwords::None => None,
            Passwords::One(password) => Some(password.clone()),
            Passwords::File(passfile) => {
                let host = self.host.to_string();
                let hosts: &[&str] =
                    if matches!(self.host, Host::Socket(_)) { &[host.as_str(), "localhost"] } else { &[host.as_str()] };
                passfile.password(hosts, self.port, self.database.as_str(), self.user.as_str())
            }
        }
    }

    /// `"db.example.org" port 5432`, for messages.
    #[must_use]
    pub fn endpoint(&self) -> String {
        match &self.host {
            Host::Tcp(name) => format!("\"{name}\" port {}", self.port),
            Host::Socket(folder) => format!("socket \"{}/.s.PGSQL.{}\"", folder.display(), self.port),
        }
    }
}

/// A file that was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundFile {
    /// Its text. Not shown by `Debug`, for it may hold a password.
    Text(Secret),
    /// It is there and may not be used, because.
    Refused(String),
}

/// What the process finds around itself, read once by [`Surroundings::read`].
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Environment variables whose names begin with `PG`, as secrets because `PGPASSWORD` is one of them.
    pub variables: BTreeMap<String, Secret>,
    /// The user's home.
    pub home: Option<PathBuf>,
    /// Files that exist, out of those that [`Surroundings::wanted_files`] names.
    pub files: BTreeMap<PathBuf, FoundFile>,
}

impl Surroundings {
    fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(Secret::expose).filter(|value| !value.is_empty())
    }

    fn expand_home(&self, path: &str) -> PathBuf {
        match (path.strip_prefix("~/"), &self.home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => PathBuf::from(path),
        }
    }

    /// The password file, unless a service names another.
    fn passfile_path(&self) -> Option<PathBuf> {
        let named = self.variable("PGPASSFILE").map(PathBuf::from);
        named.or_else(|| self.home.as_ref().map(|home| home.join(".pgpass")))
    }

    /// The service files, in the order in which libpq looks.
    fn service_paths(&self) -> Vec<PathBuf> {
        let named = self.variable("PGSERVICEFILE").map(PathBuf::from);
        let users = named.or_else(|| self.home.as_ref().map(|home| home.join(".pg_service.conf")));
        let systems = self.variable("PGSYSCONFDIR").map(|folder| Path::new(folder).join("pg_service.conf"));
        users.into_iter().chain(systems).collect()
    }

    /// Every file that [`resolve`] may want, known before any is read.
    #[must_use]
    pub fn wanted_files(&self) -> Vec<PathBuf> {
        let services = if self.variable("PGSERVICE").is_some() { self.service_paths() } else { Vec::new() };
        self.passfile_path().into_iter().chain(services).collect()
    }

    /// Reads the process's environment and the files.
    #[must_use]
    pub fn read() -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with("PG"))
            .map(|(name, value)| (name, Secret::new(value)))
            .collect();
        let home = std::env::home_dir().filter(|home| home.is_absolute());
        let mut surroundings = Self { variables, home, files: BTreeMap::new() };
        for path in surroundings.wanted_files() {
            surroundings.read_file(path);
        }
        surroundings
    }

    /// Reads one file. A password file that others may read is refused, as libpq does.
    pub fn read_file(&mut self, path: PathBuf) {
        use std::os::unix::fs::PermissionsExt as _;
        let Ok(metadata) = std::fs::metadata(&path) else { return };
        let may_be_open = self.service_paths().contains(&path);
        let found = if !metadata.is_file() {
            FoundFile::Refused("it is not a plain file".to_owned())
        } else if !may_be_open && metadata.permissions().mode() & 0o077 != 0 {
            FoundFile::Refused(format!("its mode is {:04o}, so others may read it", metadata.permissions().mode() & 0o7777))
        } else {
            match std::fs::read_to_string(&path) {
                Ok(text) => FoundFile::Text(Secret::new(text)),
                Err(error) => FoundFile::Refused(error.to_string()),
            }
        };
        self.files.insert(path, found);
    }
}

/// What [`resolve`] found.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// How to connect.
    pub options: ConnectOptions,
    /// What the user should know: a password file that was not used, for one.
    pub warnings: Vec<Diagnostic>,
}

/// Works out how to connect. Pure: same arguments, same answer.
///
/// `explicit` holds the names of the settings that the user gave, whose values no service overrides.
///
/// # Errors
/// A service that is not there or holds what cannot be used.
pub fn resolve(
    settings: &Settings,
    postgres_password: Option<&Secret>,
    explicit: &BTreeSet<String>,
    surroundings: &Surroundings,
) -> Result<Resolved, Box<Diagnostic>> {
    let service = Service::find(surroundings)?;
    let value = |setting: &str, key: &str| {
        if explicit.contains(setting) { None } else { service.values.get(key).cloned().filter(|value| !value.is_empty()) }
    };
    let host = value("postgres_host", "host").or_else(|| value("postgres_host", "hostaddr"));
    let host = Host::parse(&host.unwrap_or_else(|| settings.postgres_host.clone()));
    let port = match value("postgres_port", "port") {
        Some(text) => text.parse().map_err(|_| service.wrong("port", "is not a port number"))?,
        None => settings.postgres_port,
    };
    let user = match value("postgres_username", "user") {
        Some(text) => RoleName::new(text).map_err(|error| service.wrong("user", &format!("is not a role's name: {error}")))?,
        None => settings.postgres_username.clone(),
    };
    let mode = match value("postgres_sslmode", "sslmode").as_deref() {
        None | Some("allow" | "prefer") => settings.postgres_sslmode,
        Some(word) => SslMode::from_word(word).ok_or_else(|| service.wrong("sslmode", "is not a mode"))?,
    };
    let path = |setting: &str, key: &str, given: &Option<String>| {
        value(setting, key).or_else(|| given.clone()).filter(|path| !path.is_empty())
    };
    let roots = match path("postgres_sslrootcert", "sslrootcert", &settings.postgres_sslrootcert).as_deref() {
        None => Roots::Default,
        Some("system") => Roots::System,
        Some(path) => Roots::File(surroundings.expand_home(path)),
    };
    let certificate = path("postgres_sslcert", "sslcert", &settings.postgres_sslcert);
    let key = path("postgres_sslkey", "sslkey", &settings.postgres_sslkey);
    let identity = client_identity(certificate.as_deref(), key.as_deref(), surroundings)?;

    let mut warnings = Vec::new();
    let service_password = service.values.get("password").filter(|password| !password.is_empty());
    let password = postgres_password
        .cloned()
        .or_else(|| surroundings.variable("PGPASSWORD").map(Secret::new))
        .or_else(|| service_password.map(Secret::new));
    let passwords = match password {
        Some(password) => Passwords::One(password),
        None => passfile(&service, surroundings, &mut warnings),
    };
    let options = ConnectOptions::new(host, port, user, settings.maintenance_database.clone())
        .with_tls(TlsOptions::new(mode, roots, identity));
    let channel_binding = surroundings.variable("PGCHANNELBINDING").or(service.values.get("channel_binding").map(String::as_str));
    let require_channel_binding = channel_binding == Some("require");
    Ok(Resolved { options: ConnectOptions { passwords, require_channel_binding, ..options }, warnings })
}

fn client_identity(
    certificate: Option<&str>,
    key: Option<&str>,
    surroundings: &Surroundings,
) -> Result<Option<ClientIdentity>, Box<Diagnostic>> {
    match (certificate, key) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => {
            Ok(Some(ClientIdentity { certificate: surroundings.expand_home(certificate), key: surroundings.expand_home(key) }))
        }
        (Some(_), None) => Err(Diagnostic::error(Code::CONNECT_CONFIG, "postgres_sslcert is given without postgres_sslkey")
            .hint("Name the file of the certificate's private key in postgres_sslkey.")
            .into()),
        (None, Some(_)) => Err(Diagnostic::error(Code::CONNECT_CONFIG, "postgres_sslkey is given without postgres_sslcert")
            .hint("Name the file of the client's certificate in postgres_sslcert.")
            .into()),
    }
}

fn passfile(service: &Service, surroundings: &Surroundings, warnings: &mut Vec<Diagnostic>) -> Passwords {
    let named = service.values.get("passfile").map(|path| surroundings.expand_home(path));
    let Some(path) = named.or_else(|| surroundings.passfile_path()) else { return Passwords::None };
    match surroundings.files.get(&path) {
        None => Passwords::None,
        Some(FoundFile::Text(text)) => Passwords::File(Passfile::parse(text.expose())),
        Some(FoundFile::Refused(reason)) => {
            warnings.push(
                Diagnostic::warning(Code::CONNECT_CONFIG, format!("password file \"{}\" is not used", path.display()))
                    .detail(format!("PostgreSQL's own programs ignore it too: {reason}."))
                    .hint("Only its owner may read a password file:")
                    .command(format!("chmod 0600 '{}'", path.display())),
            );
            Passwords::None
        }
    }
}

/// The service that `PGSERVICE` names; empty when it names none.
struct Service {
    name: String,
    values: BTreeMap<String, String>,
}

impl Service {
    fn find(surroundings: &Surroundings) -> Result<Self, Box<Diagnostic>> {
        let Some(name) = surroundings.variable("PGSERVICE") else {
            return Ok(Self { name: String::new(), values: BTreeMap::new() });
        };
        for path in surroundings.service_paths() {
            let refuse = |reason: &str| {
                Diagnostic::error(Code::CONNECT_CONFIG, format!("service file \"{}\" cannot be used", path.display()))
                    .detail(format!("PGSERVICE names service \"{name}\", and {reason}."))
            };
            let text = match surroundings.files.get(&path) {
                None => continue,
                Some(FoundFile::Text(text)) => text,
                Some(FoundFile::Refused(reason)) => return Err(refuse(reason).into()),
            };
            match servicefile::service(text.expose(), name) {
                Ok(Some(values)) => return Ok(Self { name: name.to_owned(), values }),
                Ok(None) => {}
                Err(error) => return Err(refuse(&error.to_string()).into()),
            }
        }
        let looked: Vec<String> = surroundings.service_paths().iter().map(|path| path.display().to_string()).collect();
        Err(Diagnostic::error(Code::CONNECT_CONFIG, format!("service \"{name}\" of PGSERVICE is not defined"))
            .detail(format!("Looked in {}.", looked.join(", ")))
            .hint("Define it there, or unset PGSERVICE.")
            .into())
    }

    fn wrong(&self, key: &str, what: &str) -> Box<Diagnostic> {
        let summary = format!("service \"{}\" of PGSERVICE has a {key} that {what}", self.name);
        Box::new(Diagnostic::error(Code::CONNECT_CONFIG, summary))
    }
}

impl ConnectOptions {
    /// Works out how to connect from the settings and the process's surroundings.
    ///
    /// # Errors
    /// As [`resolve`].
    pub fn read(
        settings: &Settings,
        postgres_password: Option<&Secret>,
        explicit: &BTreeSet<String>,
    ) -> Result<Resolved, Box<Diagnostic>> {
        let mut surroundings = Surroundings::read();
        // A service may name a password file of its own, which is known only once the service is.
        if let Ok(Service { values, .. }) = Service::find(&surroundings)
            && let Some(path) = values.get("passfile")
        {
            let path = surroundings.expand_home(path);
            surroundings.read_file(path);
        }
        resolve(settings, postgres_password, explicit, &surroundings)
    }
}
