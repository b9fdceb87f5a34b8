//! One connection of the administrator's, with everything pinned that a database or role could have set otherwise.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_postgres::config::{ChannelBinding, SslMode as DriverSslMode};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{
    AsyncMessage, Client, Config, Connection, CopyInSink, CopyOutStream, NoTls, Row, RowStream, SimpleQueryMessage, SimpleQueryRow,
};

use pgisle_core::sql::Statement;

use super::connect::ConnectError;
use super::conninfo::{ConnectOptions, Host};

/// Waiting longer for a lock means that someone else works there; say so rather than hang.
const LOCK_TIMEOUT_MS: u32 = 30_000;
/// A peer that acknowledges nothing for so long is gone.
const PEER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a session may take to say goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The only path on which names that someone else chose are never found.
const SEARCH_PATH: &str = "pg_catalog, pg_temp";
/// Before 15, every login may create objects in every schema public.
const VERSION_NUM_MIN: i32 = 150_000;

/// Something that the server said beside its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// `WARNING`, `NOTICE`, …
    pub severity: String,
    /// Its SQLSTATE, such as `01006`.
    pub sqlstate: String,
    /// Its text.
    pub message: String,
    /// More of it.
    pub detail: Option<String>,
}

/// A connection with its task. Dropping it ends the connection; [`Session::close`] also waits for that.
pub struct Session {
    client: Client,
    notices: mpsc::UnboundedReceiver<Notice>,
    connection: JoinHandle<Result<(), tokio_postgres::Error>>,
    backend_pid: i32,
    server_version_num: u32,
    endpoint: String,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("endpoint", &self.endpoint).field("backend_pid", &self.backend_pid).finish_non_exhaustive()
    }
}

impl Session {
    /// Connects, and makes sure that it is a server of a supported version and that the session is as it was asked for.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(options: &ConnectOptions) -> Result<Self, ConnectError> {
        let attempt = Box::pin(Self::connect_unbounded(options));
        match tokio::time::timeout(options.connect_timeout, attempt).await {
            Ok(result) => result,
            Err(_) => Err(ConnectError::Timeout { endpoint: options.endpoint(), waited: options.connect_timeout }),
        }
    }

    async fn connect_unbounded(options: &ConnectOptions) -> Result<Self, ConnectError> {
        let config = driver_config(options);
        let failed = |error| ConnectError::from_driver(options, error);
        let (sender, notices) = mpsc::unbounded_channel();
        let (client, connection) = match options.tls.connector().map_err(ConnectError::TlsFile)? {
            None => {
                let (client, connection) = config.connect(NoTls).await.map_err(failed)?;
                (client, tokio::spawn(drive(connection, sender)))
            }
            Some(connector) => {
                let (client, connection) = config.connect(connector).await.map_err(failed)?;
                (client, tokio::spawn(drive(connection, sender)))
            }
        };
        let mut session = Self { client, notices, connection, backend_pid: 0, server_version_num: 0, endpoint: options.endpoint() };
        session.check(options).await?;
        Ok(session)
    }

    /// A pooler drops the settings that were given at the start, so they are looked at before they are relied on.
    async fn check(&mut self, options: &ConnectOptions) -> Result<(), ConnectError> {
        const CHECK: &str = "SELECT pg_catalog.current_setting('search_path'), pg_catalog.current_setting('lock_timeout'), \
             pg_catalog.current_setting('server_version'), pg_catalog.current_setting('server_version_num'), \
             pg_catalog.pg_backend_pid()";
        let failed = |error| ConnectError::from_driver(options, error);
        let messages = self.client.simple_query(CHECK).await.map_err(failed)?;
        let row = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let text = |index| row.and_then(|row| row.get(index)).unwrap_or_default();
        let number = |index| text(index).parse::<i32>().unwrap_or_default();
        if text(0) != SEARCH_PATH || text(1) != "30s" {
            let detail = "Settings given at the start of the session did not arrive.".to_owned();
            return Err(ConnectError::Pooled { endpoint: options.endpoint(), detail });
        }
        if number(3) < VERSION_NUM_MIN {
            return Err(ConnectError::Version { endpoint: options.endpoint(), version: text(2).to_owned() });
        }
        self.server_version_num = number(3).unsigned_abs();
        self.backend_pid = number(4);
        Ok(())
    }

    /// The server process behind it.
    #[must_use]
    pub fn backend_pid(&self) -> i32 {
        self.backend_pid
    }

    /// `server_version_num`, such as 150020.
    #[must_use]
    pub fn server_version_num(&self) -> u32 {
        self.server_version_num
    }

    /// True once the connection has ended, as far as is known here without asking the server.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Asks one thing.
    ///
    /// # Errors
    /// The server's or the library's.
    pub async fn query(&self, sql: &'static str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, tokio_postgres::Error> {
        self.client.query(sql, params).await
    }

    /// Asks for one text in one round trip, the parameters' types being said rather than asked for; empty when there is none.
    pub(crate) async fn query_typed_text(
        &self,
        sql: &'static str,
        params: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<String, tokio_postgres::Error> {
        let rows = self.query_typed(sql, params).await?;
        rows.first().map_or_else(|| Ok(String::new()), |row| row.try_get(0))
    }

    /// Asks one thing in one round trip, the parameters' types being said rather than asked for.
    pub(super) async fn query_typed(
        &self,
        sql: &'static str,
        params: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        self.client.query_typed(sql, params).await
    }

    /// Asks several things in one round trip, by the simple protocol: the rows of each statement.
    pub(super) async fn query_each(&self, sql: &'static str) -> Result<Vec<Vec<SimpleQueryRow>>, tokio_postgres::Error> {
        let mut answers = Vec::new();
        let mut rows = Vec::new();
        for message in self.client.simple_query(sql).await? {
            match message {
                SimpleQueryMessage::Row(row) => rows.push(row),
                SimpleQueryMessage::CommandComplete(_) => answers.push(std::mem::take(&mut rows)),
                _ => {}
            }
        }
        Ok(answers)
    }

    /// Asks for one text in one round trip, by the simple protocol; empty when there is none.
    pub(super) async fn query_text(&self, sql: &'static str) -> Result<String, tokio_postgres::Error> {
        let messages = self.client.simple_query(sql).await?;
        let text = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        Ok(text.unwrap_or_default().to_owned())
    }

    /// Runs statements that give nothing back and are part of this program.
    ///
    /// # Errors
    /// The server's or the library's.
    pub async fn batch(&self, sql: &'static str) -> Result<(), tokio_postgres::Error> {
        self.client.batch_execute(sql).await
    }

    /// Runs one statement that `pgisle_core::sql` rendered, and hands back what the server said about it.
    ///
    /// # Errors
    /// The server's or the library's.
    pub async fn run(&mut self, statement: &str) -> Result<Vec<Notice>, tokio_postgres::Error> {
        // What came in between belongs to no statement.
        self.take_notices();
        self.client.simple_query(statement).await?;
        Ok(self.take_notices())
    }

    /// Runs one statement that `pgisle_core` rendered, by the simple protocol, and hands back the first field of its first row.
    ///
    /// # Errors
    /// The server's or the library's.
    pub(crate) async fn answer(&self, statement: &Statement) -> Result<Option<String>, tokio_postgres::Error> {
        let messages = self.client.simple_query(statement.expose()).await?;
        Ok(messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        }))
    }

    /// Runs one statement of a dump, whoever wrote it. The session must be of a login that owns nothing but what the dump makes.
    pub(crate) async fn run_foreign(&mut self, statement: &str) -> Result<Vec<Notice>, tokio_postgres::Error> {
        self.run(statement).await
    }

    /// Sends a table's rows here.
    pub(crate) async fn copy_out(&self, statement: &Statement) -> Result<CopyOutStream, tokio_postgres::Error> {
        self.client.copy_out(statement.expose()).await
    }

    /// Sends rows there, into a table.
    pub(crate) async fn copy_in(&self, statement: &Statement) -> Result<CopyInSink<Bytes>, tokio_postgres::Error> {
        self.client.copy_in(statement.expose()).await
    }

    /// Asks one thing whose answer may be too large to hold.
    pub(crate) async fn query_stream(
        &self,
        sql: &'static str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<RowStream, tokio_postgres::Error> {
        self.client.query_raw(sql, params.iter().copied()).await
    }

    /// Sends rows there: a COPY statement of a dump, whoever wrote it.
    pub(crate) async fn copy_in_foreign(&self, statement: &str) -> Result<CopyInSink<Bytes>, tokio_postgres::Error> {
        self.client.copy_in(statement).await
    }

    /// What the server has said since the last statement, in order.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::iter::from_fn(|| self.notices.try_recv().ok()).collect()
    }

    /// Says goodbye and waits until the connection is gone.
    pub async fn close(self) {
        let Self { client, notices: _, mut connection, .. } = self;
        drop(client);
        if tokio::time::timeout(CLOSE_TIMEOUT, &mut connection).await.is_err() {
            connection.abort();
        }
    }
}

/// Moves the bytes, and forwards notices. A notice is forwarded before the answer behind it is, so it is there when the
/// statement's future ends.
async fn drive<S, T>(mut connection: Connection<S, T>, notices: mpsc::UnboundedSender<Notice>) -> Result<(), tokio_postgres::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        match std::future::poll_fn(|context| connection.poll_message(context)).await {
            None => return Ok(()),
            Some(Err(error)) => return Err(error),
            Some(Ok(AsyncMessage::Notice(notice))) => {
                // Nobody listens any more once the session is being closed.
                let _ = notices.send(Notice {
                    severity: notice.severity().to_owned(),
                    sqlstate: notice.code().code().to_owned(),
                    message: notice.message().to_owned(),
                    detail: notice.detail().map(str::to_owned),
                });
            }
            Some(Ok(_)) => {}
        }
    }
}

fn driver_config(options: &ConnectOptions) -> Config {
    let mut config = Config::new();
    match &options.host {
        Host::Tcp(name) => config.host(name),
        Host::Socket(folder) => config.host_path(folder),
    };
    config
        .port(options.port)
        .user(options.user.as_str())
        .dbname(options.database.as_str())
        .application_name(&options.application_name)
        .options(startup_settings(options.statement_timeout_ms))
        .connect_timeout(options.connect_timeout)
        .tcp_user_timeout(PEER_TIMEOUT)
        .keepalives(true)
        .keepalives_idle(Duration::from_secs(10))
        .keepalives_interval(Duration::from_secs(5))
        .keepalives_retries(3);
    let tls_is_off = options.tls.mode() == pgisle_core::spec::SslMode::Disable;
    config.ssl_mode(if tls_is_off { DriverSslMode::Disable } else { DriverSslMode::Require });
    if options.require_channel_binding {
        config.channel_binding(ChannelBinding::Require);
    }
    if let Some(password) = options.password() {
        config.password(password.expose());
    }
    config
}

/// Settings of the session itself outrank what `ALTER ROLE … SET` and `ALTER DATABASE … SET` say.
fn startup_settings(statement_timeout_ms: u32) -> String {
    let settings = [
        // In this place a blank ends a setting unless a backslash stands before it.
        ("search_path", SEARCH_PATH.replace(' ', "\\ ")),
        ("default_transaction_read_only", "off".to_owned()),
        ("default_transaction_isolation", "read\\ committed".to_owned()),
        ("statement_timeout", statement_timeout_ms.to_string()),
        ("lock_timeout", LOCK_TIMEOUT_MS.to_string()),
        ("idle_in_transaction_session_timeout", "0".to_owned()),
        // The run lock's session is idle while others work.
        ("idle_session_timeout", "0".to_owned()),
        // A machine that vanishes must not keep its locks for the two hours that are TCP's default.
        ("tcp_keepalives_idle", "30".to_owned()),
        ("tcp_keepalives_interval", "10".to_owned()),
        ("tcp_keepalives_count", "3".to_owned()),
        ("client_min_messages", "notice".to_owned()),
        ("standard_conforming_strings", "on".to_owned()),
        ("row_security", "on".to_owned()),
        // Compiling a query that runs once in milliseconds takes longer than running it.
        ("jit", "off".to_owned()),
        ("check_function_bodies", "on".to_owned()),
        ("TimeZone", "UTC".to_owned()),
        ("DateStyle", "ISO,YMD".to_owned()),
    ];
    let settings: Vec<String> = settings.iter().map(|(name, value)| format!("-c {name}={value}")).collect();
    settings.join(" ")
}
