//! What can go wrong between here and a session, and how it is said.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::doctor::Refusal;
use tokio_postgres::error::{DbError, SqlState};

use super::conninfo::ConnectOptions;
use super::tls::{self, TlsFileError, TlsTrouble};

/// Why there is no session. No variant holds a password.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nothing answered.
    #[error("cannot connect to the server at {endpoint}")]
    Refused {
        /// Host and port.
        endpoint: String,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// The server answered too late.
    #[error("the server at {endpoint} did not answer within {waited:?}")]
    Timeout {
        /// Host and port.
        endpoint: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The server does not let this login in.
    #[error("the server at {endpoint} refused user \"{user}\" for database \"{database}\"")]
    Auth {
        /// Host and port.
        endpoint: String,
        /// The login.
        user: String,
        /// The database.
        database: String,
        /// The server's words.
        detail: String,
        /// Whether a password was there to send.
        had_password: bool,
        /// The server's SQLSTATE; none when the library gave up by itself.
        sqlstate: Option<String>,
    },
    /// The handshake failed.
    #[error("TLS with the server at {endpoint} failed")]
    Tls {
        /// Host and port.
        endpoint: String,
        /// What kind of trouble it is.
        trouble: TlsTrouble,
        /// What is wrong, as a sentence.
        detail: String,
        /// What to do.
        hint: Option<String>,
    },
    /// A file that TLS needs.
    #[error("TLS cannot be prepared")]
    TlsFile(#[source] TlsFileError),
    /// All connections are taken.
    #[error("the server at {endpoint} has no connection left")]
    TooMany {
        /// Host and port.
        endpoint: String,
        /// The server's words.
        detail: String,
        /// Only one database's or role's limit is reached.
        limit_of_one: bool,
    },
    /// The database is not there or takes nobody.
    #[error("database \"{database}\" of the server at {endpoint} cannot be connected to")]
    Database {
        /// Host and port.
        endpoint: String,
        /// The database.
        database: String,
        /// The server's words.
        detail: String,
        /// The server's SQLSTATE.
        sqlstate: String,
    },
    /// It is a pooler.
    #[error("{endpoint} is a connection pooler, not a server")]
    Pooled {
        /// Host and port.
        endpoint: String,
        /// How it was seen.
        detail: String,
    },
    /// It is older than 15.
    #[error("the server at {endpoint} is PostgreSQL {version}, which is too old")]
    Version {
        /// Host and port.
        endpoint: String,
        /// `server_version`.
        version: String,
    },
    /// Anything else.
    #[error("the session with the server at {endpoint} could not be set up")]
    Protocol {
        /// Host and port.
        endpoint: String,
        /// What the library or the server said.
        #[source]
        source: Box<tokio_postgres::Error>,
    },
}

impl ConnectError {
    /// Finds out what a failed attempt means.
    pub(super) fn from_driver(options: &ConnectOptions, error: tokio_postgres::Error) -> Self {
        let endpoint = options.endpoint();
        if let Some(db_error) = error.as_db_error() {
            return Self::from_server(options, db_error).unwrap_or(Self::Protocol { endpoint, source: Box::new(error) });
        }
        if let Some(rustls_error) = rustls_error(&error) {
            let (detail, hint) = tls::explain(rustls_error);
            return Self::Tls { endpoint, trouble: TlsTrouble::of(rustls_error), detail, hint };
        }
        // The library's kinds are private; its texts are all that tells them apart.
        let text = error.to_string();
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        match (text.as_str(), cause.as_str()) {
            ("error performing TLS handshake", "server does not support TLS") => Self::Tls {
                endpoint,
                trouble: TlsTrouble::Absent,
                detail: "The server does not offer TLS.".to_owned(),
                hint: Some(
                    "Switch ssl on in the server's configuration, or, where the network is trusted, give postgres_sslmode = \
                     \"disable\"."
                        .to_owned(),
                ),
            },
            ("error performing TLS handshake", _) => {
                let detail = format!("The handshake failed: {cause}.");
                Self::Tls { endpoint, trouble: TlsTrouble::Other, detail, hint: None }
            }
            ("invalid configuration", "password missing") => {
                Self::auth(options, "The server asks for a password.".to_owned(), None)
            }
            ("authentication error", _) => Self::auth(options, format!("{cause}."), None),
            ("error connecting to server", _) => match into_io(error) {
                Ok(source) => Self::Refused { endpoint, source },
                Err(error) => Self::Protocol { endpoint, source: Box::new(error) },
            },
            _ => Self::Protocol { endpoint, source: Box::new(error) },
        }
    }

    fn from_server(options: &ConnectOptions, error: &DbError) -> Option<Self> {
        let endpoint = options.endpoint();
        let database = options.database.to_string();
        let detail = server_words(error);
        let code = error.code();
        Some(match *code {
            SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION | SqlState::INSUFFICIENT_PRIVILEGE => {
                Self::auth(options, detail, Some(code.code().to_owned()))
            }
            SqlState::TOO_MANY_CONNECTIONS => {
                // Both limits have this SQLSTATE; `routine` is not translated, and the server's own limit is met elsewhere.
                let limit_of_one = matches!(error.routine(), Some("CheckMyDatabase" | "InitializeSessionUserId"));
                Self::TooMany { endpoint, detail, limit_of_one }
            }
            SqlState::UNDEFINED_DATABASE | SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE => {
                Self::Database { endpoint, database, detail, sqlstate: code.code().to_owned() }
            }
            SqlState::PROTOCOL_VIOLATION if error.message().contains("startup parameter") => {
                Self::Pooled { endpoint, detail: "It refuses settings at the start of a session, as PgBouncer does.".to_owned() }
            }
            SqlState::CANNOT_CONNECT_NOW => Self::Refused { endpoint, source: io::Error::other(error.message().to_owned()) },
            _ => return None,
        })
    }

    fn auth(options: &ConnectOptions, detail: String, sqlstate: Option<String>) -> Self {
        Self::Auth {
            endpoint: options.endpoint(),
            user: options.user.to_string(),
            database: options.database.to_string(),
            detail,
            had_password: options.password().is_some(),
            sqlstate,
        }
    }

    /// The server's SQLSTATE, when it was the server that refused.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Auth { sqlstate, .. } => sqlstate.as_deref(),
            Self::Database { sqlstate, .. } => Some(sqlstate),
            Self::TooMany { .. } => Some(SqlState::TOO_MANY_CONNECTIONS.code()),
            Self::Protocol { source, .. } => source.code().map(SqlState::code),
            Self::Refused { .. }
            | Self::Timeout { .. }
            | Self::Tls { .. }
            | Self::TlsFile(_)
            | Self::Pooled { .. }
            | Self::Version { .. } => None,
        }
    }

    /// Which kind of refusal it is, for whoever says what to do about it.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Refused { .. } => Refusal::Refused,
            Self::Timeout { .. } => Refusal::Silent,
            Self::Pooled { .. } => Refusal::Stranger,
            Self::Tls { trouble, .. } => match trouble {
                TlsTrouble::Absent => Refusal::TlsAbsent,
                TlsTrouble::Authority => Refusal::TlsAuthority,
                TlsTrouble::Name => Refusal::TlsName,
                TlsTrouble::Expired => Refusal::TlsExpired,
                TlsTrouble::Early => Refusal::TlsEarly,
                TlsTrouble::Other => Refusal::Other,
            },
            Self::Auth { detail, had_password, sqlstate, .. } => Refusal::of(sqlstate.as_deref(), detail, *had_password),
            Self::Database { detail, .. } | Self::TooMany { detail, .. } => Refusal::of(self.sqlstate(), detail, true),
            Self::TlsFile(_) | Self::Version { .. } | Self::Protocol { .. } => Refusal::Other,
        }
    }

    /// What was said, as one sentence.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Auth { detail, .. } | Self::Database { detail, .. } | Self::TooMany { detail, .. } => detail.clone(),
            _ => match std::error::Error::source(self) {
                Some(source) => format!("{self}: {source}"),
                None => self.to_string(),
            },
        }
    }

    /// True when it is one database's or role's own limit that is reached, not the server's.
    pub(super) fn is_limit_of_one(&self) -> bool {
        matches!(self, Self::TooMany { limit_of_one: true, .. })
    }

    /// The finding to show.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let summary = self.to_string();
        match self {
            Self::Refused { source, .. } => Diagnostic::error(Code::CONNECT_REFUSED, summary)
                .detail(sentence(&source.to_string()))
                .hint("Is the server running, and are postgres_host and postgres_port right?"),
            Self::Timeout { .. } => Diagnostic::error(Code::CONNECT_REFUSED, summary)
                .hint("A firewall that drops packets looks like this. Are postgres_host and postgres_port right?"),
            Self::Auth { detail, had_password, sqlstate, .. } => {
                let diagnostic = Diagnostic::error(Code::CONNECT_AUTH, summary).detail(sentence(detail));
                let by_rule = sqlstate.as_deref() == Some(SqlState::INVALID_AUTHORIZATION_SPECIFICATION.code());
                match auth_hint(by_rule, detail, *had_password) {
                    Some(hint) => diagnostic.hint(hint),
                    None => diagnostic,
                }
            }
            Self::Tls { detail, hint, .. } => {
                let diagnostic = Diagnostic::error(Code::CONNECT_TLS, summary).detail(detail);
                match hint {
                    Some(hint) => diagnostic.hint(hint),
                    None => diagnostic,
                }
            }
            Self::TlsFile(error) => tls_file_diagnostic(error),
            Self::TooMany { detail, .. } => Diagnostic::error(Code::CONNECT_TOO_MANY, summary)
                .detail(sentence(detail))
                .hint("End sessions that nobody needs, or raise max_connections; -parallelism=1 makes pgisle need the fewest."),
            Self::Database { detail, .. } => Diagnostic::error(Code::CONNECT_DATABASE, summary).detail(sentence(detail)),
            Self::Pooled { detail, .. } => Diagnostic::error(Code::CONNECT_POOLED, summary)
                .detail(detail)
                .hint("Give the address of the PostgreSQL server behind it as postgres_host and postgres_port."),
            Self::Version { .. } => Diagnostic::error(Code::SERVER_VERSION, summary).hint("pgisle needs PostgreSQL 15 or newer. Upgrade the server, or give the address of another one as postgres_host and postgres_port."),
            Self::Protocol { source, .. } => {
                Diagnostic::error(if source.is_closed() { Code::CONNECT_LOST } else { Code::QUERY_FAILED }, summary)
                    .detail(sentence(&describe(source)))
            }
        }
    }
}

fn tls_file_diagnostic(error: &TlsFileError) -> Diagnostic {
    let diagnostic = Diagnostic::error(Code::CONNECT_CONFIG, error.to_string());
    let diagnostic = match error.source() {
        Some(source) => diagnostic.detail(sentence(&source.to_string())),
        None => diagnostic,
    };
    match error {
        TlsFileError::KeyMode { path, .. } => {
            diagnostic.hint("Only its owner may read a private key:").command(format!("chmod 0600 '{}'", path.display()))
        }
        TlsFileError::NoSystemRoots => {
            diagnostic.hint("Install the package ca-certificates, or name a PEM file in postgres_sslrootcert.")
        }
        _ => diagnostic,
    }
}

/// What helps someone whom the server does not let in: by a rule of `pg_hba.conf`, or because no password was there to send.
fn auth_hint(by_rule: bool, detail: &str, had_password: bool) -> Option<&'static str> {
    // A server that speaks another language than English gets the last hint only.
    if by_rule && detail.contains("pg_hba.conf") {
        Some("A rule in the server's pg_hba.conf has to let this login in from here, with or without TLS: see postgres_sslmode.")
    } else if by_rule && detail.contains("certificate") {
        Some("Give postgres_sslcert and postgres_sslkey, a client certificate in the name of this user.")
    } else if had_password {
        None
    } else {
        Some("No password was found: give postgres_password, PGPASSWORD or a line in ~/.pgpass.")
    }
}

/// The finding for a statement that failed on a session.
#[must_use]
pub fn query_diagnostic(what: &str, error: &tokio_postgres::Error) -> Diagnostic {
    let code = if is_lost(error) { Code::CONNECT_LOST } else { Code::QUERY_FAILED };
    Diagnostic::error(code, what).detail(sentence(&describe(error)))
}

/// Whether the session is gone: the connection has ended, or the server has ended it.
#[must_use]
pub fn is_lost(error: &tokio_postgres::Error) -> bool {
    error.is_closed()
        || error.code().is_some_and(|code| code.code().starts_with("57P") || code.code().starts_with("08"))
        || error.to_string() == "error communicating with the server"
}

/// The server's words or the library's, with their cause.
#[must_use]
pub fn describe(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db_error) => format!("{} (SQLSTATE {})", server_words(db_error), db_error.code().code()),
        None => match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}

fn server_words(error: &DbError) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.message()),
        None => error.message().to_owned(),
    }
}

/// First letter large, full stop at the end.
fn sentence(text: &str) -> String {
    let text = text.trim_end_matches('.');
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), characters.as_str()))
}

/// The rustls error in a chain, wherever the library put it.
fn rustls_error(error: &tokio_postgres::Error) -> Option<&rustls::Error> {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(found) = cause.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        // An `io::Error` that wraps another error shows that one's source as its own, so look inside.
        if let Some(found) = cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .and_then(<dyn std::error::Error + Send + Sync>::downcast_ref)
        {
            return Some(found);
        }
        source = cause.source();
    }
    None
}

fn into_io(error: tokio_postgres::Error) -> Result<io::Error, tokio_postgres::Error> {
    if error.source().is_some_and(<dyn std::error::Error>::is::<io::Error>) {
        let cause = error.into_source().and_then(|source| source.downcast::<io::Error>().ok());
        return Ok(cause.map_or_else(|| io::Error::other("unknown"), |boxed| *boxed));
    }
    Err(error)
}
