//! `PgBouncer`, and getting through it.

use super::login::shell;
use crate::diagnostic::{Code, Diagnostic};
use crate::sql::doctor::{enable, resume};

/// How to name a `PgBouncer` and talk to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolerWhere {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its console's user.
    pub user: String,
    /// The folder of the generated files for it.
    pub folder: String,
    /// Whether it is this machine.
    pub is_local: bool,
    /// Whether it is the private one.
    pub is_dev: bool,
}

impl PoolerWhere {
    /// `localhost:6432`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    fn console(&self, command: &str) -> String {
        format!("psql -h {} -p {} -U {} -d pgbouncer -c {}", shell(&self.host), self.port, shell(&self.user), shell(command))
    }

    fn on_new_files(&self, finding: Diagnostic) -> Diagnostic {
        let finding = finding.hint("Put the generated files in their place, on its machine, and have it read them:");
        if self.is_dev {
            return finding.command("pgisle apply -dev");
        }
        let folder = &self.folder;
        finding
            .command(format!(
                "sudo cp {} {} /etc/pgbouncer/",
                shell(&format!("{folder}/pgbouncer.ini")),
                shell(&format!("{folder}/userlist.txt"))
            ))
            .command("sudo systemctl reload pgbouncer")
    }
}

/// An alias as `PgBouncer` has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AliasFacts {
    /// The server that it leads to, as `host port 5432`.
    pub server: String,
    /// The database that it leads to.
    pub database: String,
    /// Whether clients wait until someone lets them go on.
    pub is_paused: bool,
    /// Whether it takes nobody.
    pub is_disabled: bool,
    /// Clients that wait for a connection.
    pub waiting: u32,
    /// For how long the first of them has, seconds.
    pub longest_wait_s: u32,
    /// Connections to the server that are in use.
    pub servers: u32,
    /// Connections to the server that there may be.
    pub size: Option<u32>,
}

/// Why a login does not get through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolerTrouble {
    /// `PgBouncer` does not know the login, or another password.
    Userlist,
    /// It has no such alias.
    NoAlias,
    /// It takes no more clients.
    Full,
    /// The server behind it does not let it in.
    Server,
    /// Nothing comes back.
    Silent,
    /// Anything else.
    Other,
}

impl PoolerTrouble {
    /// What its words mean; it has few SQLSTATEs.
    #[must_use]
    pub fn of(words: &str) -> Self {
        let has = |part: &str| words.contains(part);
        if has("no such database") || (has("database") && has("does not exist")) {
            Self::NoAlias
        } else if has("no more connections allowed") || has("max_client_conn") || has("max_user_connections") {
            Self::Full
        } else if has("server login has been failing")
            || has("server login failed")
            || has("server_login_retry")
            || has("server conn crashed")
        {
            Self::Server
        } else if has("authentication failed") || has("no such user") || has("SASL") || has("password") {
            Self::Userlist
        } else {
            Self::Other
        }
    }
}

/// The finding for a `PgBouncer` that cannot be talked to at all.
#[must_use]
pub fn pooler_down(at: &PoolerWhere, trouble: &PoolerTrouble, words: &str) -> Diagnostic {
    let finding =
        Diagnostic::error(Code::DOCTOR_POOLER, format!("PgBouncer at {} cannot be used", at.name())).detail(sentence(words));
    match trouble {
        PoolerTrouble::Userlist => at.on_new_files(finding),
        PoolerTrouble::Full => finding.hint("It takes no more clients: raise pgbouncer_max_client_conn, and:").command("pgisle apply"),
        _ if at.is_dev => finding.hint("Start it:").command("pgisle dev up"),
        _ if at.is_local => finding.hint("Start it:").command("sudo systemctl start pgbouncer"),
        _ => finding
            .hint("Is it running, and are pgbouncer_host and pgbouncer_port right? Services come through it as long as enable_pgbouncer is true:")
            .command(format!("ssh {} sudo systemctl start pgbouncer", shell(&at.host))),
    }
}

/// What is wrong with an alias, by what the console says. `database` is where it should lead to.
#[must_use]
pub fn alias(at: &PoolerWhere, name: &str, database: &str, facts: Option<&AliasFacts>) -> Option<Diagnostic> {
    let error = |text: String| Diagnostic::error(Code::DOCTOR_POOLER, text);
    let Some(facts) = facts else {
        return Some(
            at.on_new_files(error(format!("PgBouncer at {} has no alias \"{name}\"", at.name())).detail("It runs on older files.")),
        );
    };
    if facts.is_paused {
        let finding = error(format!("PgBouncer at {} has paused \"{name}\"", at.name()));
        let finding =
            finding.detail("Its clients wait until someone lets them go on. A split that is under way does that for seconds.");
        return Some(finding.hint("Let them go on:").command(at.console(resume(name).expose())));
    }
    if facts.is_disabled {
        let finding = error(format!("PgBouncer at {} takes nobody for \"{name}\"", at.name()));
        return Some(
            finding
                .detail("Someone has disabled it on the console.")
                .hint("Take them again:")
                .command(at.console(enable(name).expose())),
        );
    }
    if facts.database != database {
        let finding = error(format!("PgBouncer at {} leads \"{name}\" to database \"{}\"", at.name(), facts.database));
        return Some(at.on_new_files(finding.detail(format!("It should lead to \"{database}\"."))));
    }
    // Who waits while the pool has room waits for a server that cannot be reached, which a login shows.
    if facts.waiting > 0 && facts.longest_wait_s > 0 && facts.size.is_none_or(|size| facts.servers >= size) {
        let size = facts.size.map_or_else(String::new, |size| format!(" of {size}"));
        let finding = Diagnostic::warning(Code::DOCTOR_POOLER, format!("the pool of \"{name}\" at {} is full", at.name()));
        let finding = finding.detail(format!(
            "{} waiting, the first for {} s; {}{size} connections are in use.",
            facts.waiting, facts.longest_wait_s, facts.servers
        ));
        return Some(
            finding
                .hint("End what takes long, or give it a larger pool: pgbouncer_default_pool_size, or pool_size of the service. What fits:")
                .command("pgisle budget"),
        );
    }
    None
}

/// The finding for a service that does not get through to the server behind.
#[must_use]
pub fn pooled_login(
    at: &PoolerWhere,
    login: &str,
    alias: &str,
    server: Option<&str>,
    trouble: &PoolerTrouble,
    words: &str,
) -> Diagnostic {
    let summary = format!("\"{login}\" does not get through PgBouncer at {} to \"{alias}\"", at.name());
    let leads = server.map_or_else(String::new, |server| format!(" PgBouncer takes it to {server}."));
    let finding = Diagnostic::error(Code::DOCTOR_POOLER, summary).detail(format!("{}{leads}", sentence(words)));
    match trouble {
        PoolerTrouble::Userlist | PoolerTrouble::NoAlias => at.on_new_files(finding),
        PoolerTrouble::Full => {
            finding.hint("Raise pgbouncer_max_client_conn, and put the generated files in their place:").command("pgisle apply")
        }
        PoolerTrouble::Server => finding
            .hint("PgBouncer gets no connection to the server: see \"service logins\" and \"connections\" above. Its own view:")
            .command(at.console("SHOW SERVERS")),
        PoolerTrouble::Silent => finding
            .hint("PgBouncer gets no connection to the server there: it does not run, refuses PgBouncer, or is another one. Its own view:")
            .command(at.console("SHOW POOLS")),
        PoolerTrouble::Other => finding.hint("Its own view:").command(at.console("SHOW POOLS")),
    }
}

fn sentence(text: &str) -> String {
    let mut letters = text.trim_end_matches('.').chars();
    letters.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), letters.as_str()))
}
