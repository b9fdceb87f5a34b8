//! Why someone does not get in, and the command that lets them in.

use crate::diagnostic::{Code, Diagnostic};
use crate::sql::doctor as sql;

/// The server has room; this one may not use it.
const OWN_LIMIT: &str =
    "The server has connections left, and this limit is reached. End sessions that nobody needs, or take the limit away:";

/// Where someone wanted to get in, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The host, or a socket's folder.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether it is this machine.
    pub is_local: bool,
    /// Whether it is the private cluster.
    pub is_dev: bool,
    /// Whether the session would be encrypted.
    pub is_encrypted: bool,
    /// The login.
    pub user: String,
    /// The database.
    pub database: String,
}

/// Why there is no session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The name leads nowhere.
    NoSuchHost,
    /// Nobody listens.
    Refused,
    /// Nothing comes back.
    Silent,
    /// It listens, and is something else.
    Stranger,
    /// The server does not offer TLS.
    TlsAbsent,
    /// Its certificate is signed by somebody unknown.
    TlsAuthority,
    /// Its certificate is another host's.
    TlsName,
    /// Its certificate's time is over.
    TlsExpired,
    /// Its certificate's time has not come.
    TlsEarly,
    /// There was no password to send.
    NoPassword,
    /// The password, or the login, is not known.
    WrongPassword,
    /// No rule of `pg_hba.conf` lets them in.
    NoRule {
        /// The address that the server saw.
        from: Option<String>,
    },
    /// The role may not log in.
    MayNotLogIn,
    /// There is no such role.
    NoRole,
    /// There is no such database.
    NoDatabase,
    /// The database takes nobody.
    Closed,
    /// All connections of the server are taken.
    Full,
    /// The role's own limit is reached.
    RoleFull,
    /// The database's own limit is reached.
    DatabaseFull,
    /// Anything else.
    Other,
}

impl Refusal {
    /// What the server's SQLSTATE and words mean. In another language than English, some are [`Self::Other`].
    #[must_use]
    pub fn of(sqlstate: Option<&str>, words: &str, had_password: bool) -> Self {
        match sqlstate {
            None if !had_password => Self::NoPassword,
            Some("28P01") => Self::WrongPassword,
            Some("28000") if words.contains("pg_hba.conf") => {
                let from = words.split_once("host \"").and_then(|(_, rest)| rest.split_once('"'));
                Self::NoRule { from: from.map(|(address, _)| address.to_owned()) }
            }
            Some("28000") if words.contains("not permitted to log in") => Self::MayNotLogIn,
            Some("28000") if words.contains("does not exist") => Self::NoRole,
            Some("3D000") => Self::NoDatabase,
            Some("55000") => Self::Closed,
            Some("53300") if words.contains("for role \"") => Self::RoleFull,
            Some("53300") if words.contains("for database \"") => Self::DatabaseFull,
            Some("53300") => Self::Full,
            _ => Self::Other,
        }
    }
}

/// Adds the command that mends it, where there is one, to the finding that says what is wrong.
#[must_use]
pub fn remedy(finding: Diagnostic, refusal: &Refusal, place: &Place) -> Diagnostic {
    let Place { host, port, is_local, is_dev, is_encrypted: _, user, database } = place;
    match refusal {
        Refusal::NoSuchHost => finding.command(format!("getent hosts {}", shell(host))),
        Refusal::Refused if *is_dev => finding.command("pgisle dev up"),
        Refusal::Refused if *is_local => finding.command("sudo systemctl start postgresql"),
        Refusal::Refused => finding.command(format!("ssh {} sudo systemctl status postgresql", shell(host))),
        Refusal::Silent => finding.command(format!("nc -vz -w 5 {} {port}", shell(host))),
        Refusal::Stranger => finding.command("grep -rn postgres_port . --include='*.hcl' --include='*.tfvars'"),
        Refusal::TlsAbsent => finding.command("export PGISLE_VAR_postgres_sslmode=disable"),
        Refusal::TlsAuthority => finding.command("export PGISLE_VAR_postgres_sslrootcert=/path/to/authority.crt"),
        Refusal::TlsName => finding.command("export PGISLE_VAR_postgres_sslmode=verify-ca"),
        Refusal::TlsExpired => finding.command(format!(
            "openssl s_client -starttls postgres -connect {} </dev/null | openssl x509 -noout -subject -dates",
            shell(&format!("{host}:{port}"))
        )),
        Refusal::TlsEarly => finding.command("timedatectl"),
        Refusal::NoPassword => {
            finding.command(format!("(umask 077; echo {} >> ~/.pgpass)", shell(&format!("{host}:{port}:*:{user}:PASSWORD"))))
        }
        Refusal::WrongPassword => {
            let finding = finding.hint(
                "The password is another one, or there is no such role, which the server does not tell apart. Give the right one in \
                 postgres_password, PGPASSWORD or ~/.pgpass, or set it anew on the server:",
            );
            as_superuser(finding, &format!("\\password {}", quoted(user)))
        }
        Refusal::NoRule { from } => with_rule(finding, from.as_deref(), place),
        Refusal::MayNotLogIn => as_superuser(finding.hint("Let it log in, on the server:"), sql::allow_login(user).expose()),
        Refusal::NoRole => {
            finding.hint("Correct postgres_username, or make it, on the server:").command(format!("sudo -u postgres createuser --createrole --createdb --pwprompt {}", shell(user)))
        }
        Refusal::NoDatabase => {
            let finding = finding.hint("Correct maintenance_database, which is postgres on most servers, or make it:");
            as_superuser(finding, sql::create_database(database).expose())
        }
        Refusal::Closed => {
            as_superuser(finding.hint("Correct maintenance_database, or open it:"), sql::open_database(database).expose())
        }
        Refusal::RoleFull => as_superuser(finding.hint(OWN_LIMIT), sql::unlimited_role(user).expose()),
        Refusal::DatabaseFull => as_superuser(finding.hint(OWN_LIMIT), sql::unlimited_database(database).expose()),
        Refusal::Full => finding.command(
            "sudo -u postgres psql -c 'SELECT usename, datname, state, count(*) FROM pg_stat_activity GROUP BY 1, 2, 3 ORDER BY 4 DESC'",
        ),
        Refusal::Other => finding,
    }
}

/// The finding for a name that leads nowhere.
#[must_use]
pub fn no_such_host(host: &str, reason: &str) -> Diagnostic {
    Diagnostic::error(Code::DOCTOR_NAME, format!("the host's name \"{host}\" leads nowhere"))
        .detail(format!("The system says: {reason}."))
        .hint("Correct postgres_host, or have the name known: in DNS, or in /etc/hosts. This should show an address:")
}

/// The finding for something else behind the port.
#[must_use]
pub fn stranger(place: &str, seen: &str) -> Diagnostic {
    Diagnostic::error(Code::DOCTOR_STRANGER, format!("what answers at {place} is not PostgreSQL"))
        .detail(seen)
        .hint("Correct postgres_host and postgres_port. Where the port is said:")
}

/// The finding for something that takes a connection and then says nothing.
#[must_use]
pub fn mute(place: &str, port: u16, waited_s: u64) -> Diagnostic {
    Diagnostic::error(Code::DOCTOR_STRANGER, format!("what takes connections at {place} says nothing"))
        .detail(format!("It was waited for {waited_s} s."))
        .hint("A server that hangs looks like this, and so does something that is not PostgreSQL. Who it is, on its machine:")
        .command(format!("sudo ss -ltnp 'sport = :{port}'"))
}

fn as_superuser(finding: Diagnostic, statement: &str) -> Diagnostic {
    finding.command(format!("sudo -u postgres psql -c {}", shell(statement)))
}

fn with_rule(finding: Diagnostic, from: Option<&str>, place: &Place) -> Diagnostic {
    let kind = if place.is_encrypted { "hostssl" } else { "host" };
    let line = match from.filter(|from| *from != "[local]") {
        Some(from) => {
            let bits = if from.contains(':') { 128 } else { 32 };
            format!("{kind} {} {} {from}/{bits} scram-sha-256", quoted(&place.database), quoted(&place.user))
        }
        None => format!("local {} {} scram-sha-256", quoted(&place.database), quoted(&place.user)),
    };
    finding
        .command(format!("echo {} | sudo tee -a \"$(sudo -u postgres psql -tAc 'SHOW hba_file')\"", shell(&line)))
        .command(format!("sudo -u postgres psql -c '{}'", sql::reload()))
}

/// A name in double quotes, as `pg_hba.conf` and psql take it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A word for a shell.
pub(super) fn shell(text: &str) -> String {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+:".contains(&byte)) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
