//! One throw-away cluster.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pgisle_engine::local::{Installation, server};
use pgisle_engine::process::Invocation;
use rustix::process::Signal;
use tokio_postgres::{Client, Config, Error, NoTls, SimpleQueryMessage};

use crate::certificate::{ServerCertificate, Tls};
use crate::guard::Guard;
use crate::nursery::{self, Nest, account};
use crate::programs::Programs;

/// The superuser of every cluster.
pub const SUPERUSER: &str = "postgres";

/// How often a start is tried again because another process took the port between our choice and the server's.
const PORT_ATTEMPTS: u32 = 10;

/// Between two looks at a server that is starting or stopping: it takes some 30 ms.
const LOOK_EVERY: Duration = Duration::from_millis(3);

/// What a server is started with unless the test says otherwise. None of it changes what SQL does.
const SETTINGS: [(&str, &str); 9] = [
    ("shared_buffers", "16MB"),
    // Segments of 1 MB would otherwise mean a checkpoint every 64 MB.
    ("max_wal_size", "1GB"),
    // Files in the data directory, which go with it: /dev/shm keeps what a killed server had.
    ("dynamic_shared_memory_type", "mmap"),
    ("log_line_prefix", "%m [%p] %u@%d "),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    ("lc_messages", "C"),
    ("listen_addresses", "127.0.0.1"),
    ("unix_socket_permissions", "0700"),
];

/// What is committed survives SIGKILL, and no power cut, which no test does either. `synchronous_commit` stays on: without it, a
/// killed server would lose what it had acknowledged.
const FAST_SETTINGS: [(&str, &str); 2] = [("fsync", "off"), ("full_page_writes", "off")];

/// What a cluster is to be like.
#[derive(Debug, Default)]
#[must_use]
pub struct Builder {
    major: Option<u32>,
    settings: Vec<(String, String)>,
    durable: bool,
    hba: Vec<String>,
    certificate: Option<ServerCertificate>,
    initdb: Vec<String>,
    installation: Option<Installation>,
    template: Option<Installation>,
    environment: Vec<(String, String)>,
}

impl Builder {
    /// Asks for a major version; without it, the default one.
    pub fn major(mut self, major: u32) -> Self {
        self.major = Some(major);
        self
    }

    /// Sets a server setting.
    pub fn conf(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Keeps fsync and full-page writes on.
    pub fn durable(mut self) -> Self {
        self.durable = true;
        self
    }

    /// Adds a line to `pg_hba.conf`. With the first, the usual lines (SCRAM for everybody) go; the superuser can always log in
    /// over the socket.
    pub fn hba(mut self, line: &str) -> Self {
        self.hba.push(line.to_owned());
        self
    }

    /// Turns TLS on, with a certificate that is good or bad. The version must have TLS: [`Installation::tls`].
    pub fn tls(mut self, certificate: ServerCertificate) -> Self {
        self.certificate = Some(certificate);
        self
    }

    /// Adds an argument for `initdb`.
    pub fn initdb(mut self, argument: &str) -> Self {
        self.initdb.push(argument.to_owned());
        self
    }

    /// Runs on this copy of a server's programs, which has to live as long as the cluster.
    pub fn programs(mut self, programs: &Programs) -> Self {
        self.template = Some(programs.original().clone());
        self.installation(programs.copy().clone())
    }

    /// Runs on these programs, which [`crate::installations`] need not know.
    pub fn installation(mut self, installation: Installation) -> Self {
        self.installation = Some(installation);
        self
    }

    /// Gives the server an environment variable.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Makes and starts the cluster.
    ///
    /// # Panics
    /// When the version is not installed or the server does not start; the end of its log is in the message.
    pub async fn start(self) -> Cluster {
        let installation = self.found().await;
        let template = nursery::template(self.template.as_ref().unwrap_or(&installation), &self.initdb).await;
        let password = template.password.clone();
        self.start_in(installation, password, async |data| nursery::copy_template(&template, data).await).await
    }

    /// Starts a server on a data directory that is already one, such as a backup that was unpacked. `fill` makes it, in a folder
    /// that is not there yet. The password is the superuser's in it.
    ///
    /// # Panics
    /// When the version is not installed or the server does not start; the end of its log is in the message.
    pub async fn start_from(self, password: &str, fill: impl AsyncFnOnce(&Path)) -> Cluster {
        let installation = self.found().await;
        self.start_in(installation, password.to_owned(), fill).await
    }

    async fn found(&self) -> Installation {
        if let Some(installation) = &self.installation {
            return installation.clone();
        }
        let installations = crate::installations().await;
        let found = installations.iter().find(|found| self.major.is_none_or(|major| major == found.major));
        found.unwrap_or_else(|| panic!("PostgreSQL {:?} is not installed: make components", self.major)).clone()
    }

    async fn start_in(self, installation: Installation, password: String, fill: impl AsyncFnOnce(&Path)) -> Cluster {
        let nest = tokio::task::spawn_blocking(nursery::make_nest).await.expect("a blocking task");
        let data = nest.folder.join("data");
        let guard = Guard::set(&nest.folder);
        let mut cluster = Cluster {
            log: nest.folder.join("server.log"),
            data,
            port: 0,
            password,
            installation,
            environment: self.environment.clone(),
            server: Mutex::new(None),
            killed: Mutex::new(false),
            tls: None,
            _guard: guard,
            nest,
        };
        fill(&cluster.data).await;
        // A version that pgisle refuses is not one that it was tested with.
        let counts = self.installation.is_none() || self.template.is_some();
        cluster.configure(self).await;
        if counts {
            crate::report::ran(&cluster.installation);
        }
        cluster
    }
}

/// A running cluster of its own, which goes when the value does.
pub struct Cluster {
    data: PathBuf,
    log: PathBuf,
    port: u16,
    password: String,
    installation: Installation,
    environment: Vec<(String, String)>,
    server: Mutex<Option<Child>>,
    killed: Mutex<bool>,
    tls: Option<Tls>,
    // Dropped after the server is stopped and its folder removed: see `Drop`.
    _guard: Guard,
    nest: Nest,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("major", &self.major()).field("folder", &self.nest.folder).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Starts a cluster of the default version with the usual settings.
    ///
    /// # Panics
    /// When that fails.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// Describes a cluster that differs from the usual.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The host to connect to over TCP. A certificate made by [`Builder::tls`] names `localhost` and this.
    #[must_use]
    pub fn host(&self) -> &'static str {
        "127.0.0.1"
    }

    /// The port, of TCP and of the socket.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of the Unix socket.
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        &self.nest.folder
    }

    /// The superuser's name.
    #[must_use]
    pub fn superuser(&self) -> &'static str {
        SUPERUSER
    }

    /// The superuser's password.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The major version.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.installation.major
    }

    /// The programs it runs on.
    #[must_use]
    pub fn installation(&self) -> &Installation {
        &self.installation
    }

    /// The data directory.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data
    }

    /// The server's log file.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// What the server has logged since it was made.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The certificates, with [`Builder::tls`].
    ///
    /// # Panics
    /// Without.
    #[must_use]
    pub fn tls(&self) -> &Tls {
        self.tls.as_ref().expect("a cluster built with tls()")
    }

    /// Connection settings for a login over TCP, to change and connect with.
    #[must_use]
    pub fn config(&self, user: &str, password: &str, database: &str) -> Config {
        let mut config = Config::new();
        config.host(self.host()).port(self.port).user(user).password(password).dbname(database);
        config.connect_timeout(server::PATIENCE).application_name("pgisle-testkit");
        config
    }

    /// Connects as the superuser over the socket, to database `postgres`.
    ///
    /// # Panics
    /// When that fails.
    pub async fn connect(&self) -> Client {
        self.connect_to("postgres").await
    }

    /// Connects as the superuser over the socket.
    ///
    /// # Panics
    /// When that fails.
    pub async fn connect_to(&self, database: &str) -> Client {
        let mut config = Config::new();
        config.host_path(self.socket_dir()).port(self.port).user(SUPERUSER).password(&self.password).dbname(database);
        config.application_name("pgisle-testkit");
        connect(&config).await.unwrap_or_else(|error| panic!("the superuser cannot connect to {database}: {}", describe(&error)))
    }

    /// Connects over TCP as somebody.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn connect_as(&self, user: &str, password: &str, database: &str) -> Result<Client, Error> {
        connect(&self.config(user, password, database)).await
    }

    /// Connects as somebody to whatever listens on another port here, such as a pooler before this server.
    ///
    /// # Errors
    /// When it cannot be reached or refuses.
    pub async fn connect_through(&self, port: u16, user: &str, password: &str, database: &str) -> Result<Client, Error> {
        let mut config = Config::new();
        config.host(self.host()).port(port).user(user).password(password).dbname(database).connect_timeout(server::PATIENCE);
        connect(&config).await
    }

    /// Runs statements as the superuser in database `postgres` and gives the rows back as `psql -tA` would: columns between bars,
    /// one row a line, NULL empty.
    ///
    /// # Panics
    /// When a statement fails.
    pub async fn psql(&self, sql: &str) -> String {
        self.psql_in("postgres", sql).await
    }

    /// The same in another database.
    ///
    /// # Panics
    /// When a statement fails.
    pub async fn psql_in(&self, database: &str, sql: &str) -> String {
        self.try_psql_in(database, sql).await.unwrap_or_else(|error| panic!("{}\n  in: {sql}", describe(&error)))
    }

    /// The same, when a failure is expected.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn try_psql_in(&self, database: &str, sql: &str) -> Result<String, Error> {
        rows(&self.connect_to(database).await, sql).await
    }

    /// Creates an administrator as managed clouds give one: `LOGIN CREATEROLE CREATEDB`, and no superuser. Returns its password.
    ///
    /// # Panics
    /// When that fails.
    pub async fn create_plain_admin(&self, name: &str) -> String {
        let password = server::random_password().unwrap_or_else(|error| panic!("{error}"));
        let quoted = name.replace('"', "\"\"");
        self.psql(&format!("CREATE ROLE \"{quoted}\" LOGIN CREATEROLE CREATEDB PASSWORD '{}'", password.expose())).await;
        password.expose().to_owned()
    }

    /// Kills the server and all its processes at once with SIGKILL, and waits until they are gone.
    pub fn kill_server(&self) {
        let mut child = self.child();
        server::kill(&self.data);
        if let Some(mut child) = child.take() {
            let _reaped = child.wait();
        }
        *self.killed.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// Stops the server in the fast way, if it runs.
    pub fn stop_server(&self) {
        let mut child = self.child();
        if let Some(mut child) = child.take() {
            end(&mut child, &self.data, Signal::INT);
        }
    }

    /// Starts the server again on the same port, after stopping it if it runs.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn restart(&self) {
        self.stop_server();
        for _ in 0..PORT_ATTEMPTS {
            match self.try_start().await {
                Ok(()) => return,
                // Something else has an outgoing connection on our port for a moment.
                Err(log) if server::is_port_taken(&log) => tokio::time::sleep(Duration::from_millis(200)).await,
                Err(log) => panic!("the server did not start again:\n{log}"),
            }
        }
        panic!("port {} of the stopped server was taken by another process", self.port);
    }

    /// Changes settings of the running server (`ALTER SYSTEM`) and makes it read them.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn reload_with(&self, name: &str, value: &str) {
        let client = self.connect().await;
        let format = "SELECT pg_catalog.format('ALTER SYSTEM SET %I = %L', $1::text, $2::text)";
        let statement: String = client.query_one(format, &[&name, &value]).await.expect("a formatted statement").get(0);
        client.batch_execute(&statement).await.unwrap_or_else(|error| panic!("{statement}: {}", describe(&error)));
        client.batch_execute("SELECT pg_catalog.pg_reload_conf()").await.expect("a reload");
    }

    async fn configure(&mut self, builder: Builder) {
        let Builder { settings, durable, hba, certificate, .. } = builder;
        if !hba.is_empty() {
            let lines = format!("local all {SUPERUSER} scram-sha-256\n{}\n", hba.join("\n"));
            server::write_private(&self.data.join("pg_hba.conf"), &lines, account()).expect("pg_hba.conf");
        }
        let mut all: Vec<(String, String)> = Vec::new();
        let usual = SETTINGS.iter().chain(if durable { &[] } else { &FAST_SETTINGS[..] });
        all.extend(usual.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        all.push(("unix_socket_directories".to_owned(), self.nest.folder.display().to_string()));
        if let Some(certificate) = certificate {
            assert!(self.installation.tls, "PostgreSQL {} here was built without TLS: see Installation::tls", self.major());
            let tls = Tls::make(&self.nest.folder.join("tls"), certificate);
            all.extend(tls.settings());
            self.tls = Some(tls);
        }
        all.extend(settings);
        for _ in 0..PORT_ATTEMPTS {
            self.port = server::free_port().unwrap_or_else(|error| panic!("{error}"));
            let port = self.port.to_string();
            let mut pairs: Vec<(&str, &str)> = vec![("port", &port)];
            pairs.extend(all.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            server::write_settings(&self.data, account(), &pairs).expect("the server's settings");
            match self.try_start().await {
                Ok(()) => return,
                Err(log) if server::is_port_taken(&log) => {}
                Err(log) => panic!("the server did not start:\n{log}"),
            }
        }
        panic!("no free port after {PORT_ATTEMPTS} attempts");
    }

    /// Starts the server and waits until it accepts connections; the end of its log when it does not.
    async fn try_start(&self) -> Result<(), String> {
        server::clear_remains(&self.data, &self.nest.folder).expect("a clear way for the server");
        let log_start = self.log.metadata().map_or(0, |metadata| metadata.len());
        let postgres = self.installation.invocation("postgres").argument("-D").argument(&self.data);
        let home = account().map(|account| account.at_home_in(&self.data));
        let postgres = self.environment.iter().fold(postgres, |postgres, (name, value)| postgres.environment(name, value));
        let started: Invocation = postgres.run_as(home.as_ref()).directory(&self.data);
        let child = started.start(&self.log).unwrap_or_else(|error| panic!("{error}"));
        *self.child() = Some(child);
        let deadline = Instant::now() + server::PATIENCE;
        loop {
            let ended = self.child().as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
            if ended || Instant::now() > deadline {
                if let Some(mut child) = self.child().take() {
                    end(&mut child, &self.data, Signal::QUIT);
                }
                return Err(server::log_tail(&self.log, log_start));
            }
            if server::postmaster(&self.data).is_some_and(|postmaster| postmaster.ready) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        // A test that panicked elsewhere must still be able to clean up.
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let shared_memory = self.killed.get_mut().is_ok_and(|killed| *killed).then(|| shared_memory_segment(&self.data)).flatten();
        if let Some(mut child) = self.child().take() {
            end(&mut child, &self.data, Signal::QUIT);
        } else if let Some(segment) = shared_memory {
            remove_shared_memory(segment);
        }
        let _left_for_the_next = fs::remove_dir_all(&self.nest.folder);
    }
}

/// Ends a server by a signal, and by force when that takes too long.
fn end(child: &mut Child, data: &Path, how: Signal) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw)
        && matches!(child.try_wait(), Ok(None))
    {
        server::signal(pid, how);
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while matches!(child.try_wait(), Ok(None)) {
        if Instant::now() > deadline {
            server::kill(data);
            let _killed = child.kill();
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The System V segment that a killed server left: the kernel has few of them, and nothing else would remove it.
fn shared_memory_segment(data: &Path) -> Option<u64> {
    let lock = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    lock.lines().nth(6)?.split_whitespace().nth(1)?.parse().ok()
}

fn remove_shared_memory(segment: u64) {
    let removal = Invocation::new("ipcrm").argument("-m").argument(segment.to_string()).run_as(account()).directory("/");
    // Without the program, or when the segment is gone, nothing is lost but a few bytes of the kernel's.
    if let Ok(mut child) = removal.start_tethered() {
        let _reaped = child.wait();
    }
}

/// Runs statements as whoever a configuration names, on anything that speaks the protocol, and gives the rows back as `psql -tA` would.
///
/// # Errors
/// When nobody is let in there, or a statement fails.
pub async fn ask(config: &Config, sql: &str) -> Result<String, Error> {
    rows(&connect(config).await?, sql).await
}

async fn rows(client: &Client, sql: &str) -> Result<String, Error> {
    let messages = client.simple_query(sql).await?;
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            let columns: Vec<&str> = (0..row.len()).map(|column| row.get(column).unwrap_or_default()).collect();
            Some(columns.join("|"))
        }
        _ => None,
    });
    Ok(rows.collect::<Vec<String>>().join("\n"))
}

async fn connect(config: &Config) -> Result<Client, Error> {
    let (client, connection) = config.connect(NoTls).await?;
    // It ends with the client, and the client's calls report what happens to it.
    tokio::spawn(connection);
    Ok(client)
}

fn describe(error: &Error) -> String {
    error.as_db_error().map_or_else(|| format!("{error:?}"), |db| format!("{}: {}", db.code().code(), db.message()))
}
