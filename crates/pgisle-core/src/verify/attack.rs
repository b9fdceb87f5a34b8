//! What is tried on the server: what must work at home, and the attacks that must fail.
//!
//! Every trial leaves nothing behind, even when it succeeds and even when pgisle is killed: it runs in a transaction that is
//! rolled back, or, where PostgreSQL takes no transaction, is made to fail behind the privilege check.

use crate::credential::Slot;
use crate::diagnostic::Code;
use crate::inventory::{Contents, Inventory, Readable};
use crate::name::{DatabaseName, RoleName};
use crate::spec::{Access, MonitoringAccess, Service, Spec};
use crate::sql::{Statement, probe};

use super::cast::LoginKind;
use super::trial::{ActAs, Expect, Reach, Trial};

fn trial(id: &'static str, title: impl Into<String>, code: Code, expect: Expect, statements: Vec<Statement>) -> Trial {
    let reaches = match code {
        Code::LEAK_ATTRIBUTE | Code::LEAK_PREDEFINED_ROLE | Code::LEAK_SYSTEM => Reach::Cluster,
        _ => Reach::Here,
    };
    Trial { id, title: title.into(), act_as: ActAs::Default, transactional: true, statements, expect, code, reaches }
}

fn refused(id: &'static str, title: impl Into<String>, code: Code, statement: Statement) -> Trial {
    trial(id, title, code, Expect::Refused { passed_by: &[], unless: None }, vec![statement])
}

/// What must work for a service's login in its own database.
#[must_use]
pub fn home_trials(spec: &Spec, inventory: &Inventory, service: &Service, kind: LoginKind) -> Vec<Trial> {
    let mut trials = Vec::new();
    let makes_tables = service.access == Access::Owner || kind == LoginKind::Migrator;
    if makes_tables {
        let title = format!("act as {} by default", service.owner());
        let acts = vec![probe::acts_as(&service.owner())];
        trials.push(trial("acts-as-owner", title, Code::VERIFY_BROKEN, Expect::Holds, acts));
        trials.extend(own_table(spec, service));
    } else {
        trials.push(refused("no-ddl", "create a table, which is the migrator's", Code::LEAK_CREATE, probe::create_table()));
    }
    let temporary = vec![probe::create_temporary_table()];
    trials.push(trial("temporary-table", "create a temporary table", Code::VERIFY_BROKEN, Expect::Works, temporary));
    if let Some(Readable::Known(contents)) = inventory.contents.get(&service.database) {
        trials.extend(extensions(spec, service, contents));
    }
    trials
}

fn own_table(spec: &Spec, service: &Service) -> Vec<Trial> {
    let with_table = |id, title: String, expect, statements: Vec<Statement>| {
        let statements = std::iter::once(probe::create_table()).chain(statements).collect();
        trial(id, title, Code::VERIFY_BROKEN, expect, statements)
    };
    let owner = service.owner();
    let title = "create, fill, read and drop a table".to_owned();
    let mut trials = vec![with_table("own-table", title, Expect::Works, probe::use_table())];
    let title = format!("leave what it creates to {owner}");
    trials.push(with_table("owner-of-new", title, Expect::Holds, vec![probe::table_belongs_to(&owner)]));
    let settings = &spec.settings;
    if settings.create_monitoring_user && settings.monitoring_access == MonitoringAccess::Data {
        let query = probe::table_is_read_by(&settings.monitoring_user());
        let title = "let the monitoring login read what it creates".to_owned();
        trials.push(with_table("monitoring-reads-new", title, Expect::Holds, vec![query]));
    }
    if service.access == Access::Split {
        let login = service.login(Slot::A);
        let title = format!("let {login} read and write what it creates");
        trials.push(with_table("login-writes-new", title, Expect::Holds, vec![probe::table_is_written_by(&login)]));
    }
    trials
}

/// Uses each wanted extension that is installed; `apply` has said what could not be.
fn extensions(spec: &Spec, service: &Service, contents: &Contents) -> Vec<Trial> {
    let wanted = spec.extensions(service).into_iter();
    let installed = wanted.filter_map(|name| Some((contents.extensions.get(&name)?.schema.clone(), name)));
    installed
        .map(|(schema, name)| {
            let use_it = vec![probe::use_extension(&name, &schema)];
            trial("extension", format!("use extension {name}"), Code::VERIFY_BROKEN, Expect::Holds, use_it)
        })
        .collect()
}

/// The attacks of a service's login, run in its own database.
#[must_use]
pub fn attacks(spec: &Spec, service: &Service, login: &RoleName, victims: &[Victim]) -> Vec<Trial> {
    let mut trials: Vec<Trial> = victims.iter().map(become_victim).collect();
    trials.extend(on_limits(service, login));
    trials.extend(on_grants(spec, service));
    trials.extend(on_cluster(login));
    trials.extend(on_files());
    // As the owner role first, and then once more as the login itself.
    let again: Vec<_> = trials.iter().filter(|trial| trial.transactional && trial.id != "set-role").cloned().collect();
    trials.extend(again.into_iter().map(|trial| Trial { act_as: ActAs::Login, ..trial }));
    trials
}

fn become_victim(victim: &Victim) -> Trial {
    let Victim { role, database } = victim;
    let predefined = role.as_str().starts_with("pg_");
    let code = if predefined { Code::LEAK_PREDEFINED_ROLE } else { Code::LEAK_ROLE };
    let reaches = database.clone().map_or(Reach::Cluster, Reach::Database);
    // tidy-sql: it is the trial's title
    Trial { reaches, ..refused("set-role", format!("SET ROLE {role}"), code, probe::set_role(role)) }
}

fn on_limits(service: &Service, login: &RoleName) -> Vec<Trial> {
    let database = &service.database;
    let limit = |id, title, statement| refused(id, title, Code::LEAK_LIMIT, statement);
    vec![
        limit("raise-own-limit", "lift its own connection limit", probe::lift_role_limit(login)),
        limit("raise-database-limit", "lift its database's connection limit", probe::lift_database_limit(database)),
        refused("own-database", "take its database over", Code::LEAK_OWNER, probe::take_database(database, login)),
    ]
}

/// GRANTs. One that has no effect is a mere warning, so what counts is what the catalogs say behind it.
fn on_grants(spec: &Spec, service: &Service) -> Vec<Trial> {
    let grant = |id, title: String, role: Option<&RoleName>| {
        let expect = Expect::Refused { passed_by: &[], unless: Some(probe::privileges_unchanged(&service.database)) };
        trial(id, title, Code::LEAK_OWNER, expect, probe::grant_connect(&service.database, role))
    };
    let mut trials = vec![grant("grant-to-public", "open its database to PUBLIC".to_owned(), None)];
    let Some(other) = spec.services.values().find(|other| other.name != service.name) else { return trials };
    let (login, owner) = (other.login(Slot::A), service.owner());
    trials.push(grant("grant-to-other", format!("open its database to {login}"), Some(&login)));
    let title = format!("make {login} a member of {owner}");
    trials.push(refused("grant-owner", title, Code::LEAK_OWNER, probe::grant_role(&owner, &login)));
    trials
}

fn on_cluster(login: &RoleName) -> Vec<Trial> {
    let attribute = |id, word| {
        let statement = probe::give_attribute(login, word);
        refused(id, format!("become {word}"), Code::LEAK_ATTRIBUTE, statement)
    };
    let extension = |name| {
        let statement = probe::create_extension(name);
        refused("create-extension", format!("create extension {name}"), Code::LEAK_FOREIGN_SERVER, statement)
    };
    vec![
        attribute("become-superuser", "SUPERUSER"),
        attribute("become-createrole", "CREATEROLE"),
        attribute("become-bypassrls", "BYPASSRLS"),
        refused("create-role", "create a role", Code::LEAK_ATTRIBUTE, probe::create_role()),
        Trial {
            // CREATE DATABASE takes no transaction.
            transactional: false,
            expect: Expect::Refused { passed_by: &["3D000"], unless: None },
            ..refused("create-database", "create a database", Code::LEAK_ATTRIBUTE, probe::create_database())
        },
        refused("replication", "create a replication slot", Code::LEAK_ATTRIBUTE, probe::create_replication_slot()),
        refused("read-verifiers", "read the passwords' verifiers", Code::LEAK_SYSTEM, probe::read_verifiers()),
        extension("dblink"),
        extension("postgres_fdw"),
        extension("file_fdw"),
        refused(
            "internal-function",
            "create a function in the server's own language",
            Code::LEAK_SYSTEM,
            probe::create_internal_function(),
        ),
    ]
}

fn on_files() -> Vec<Trial> {
    let on_file = |id, title, passed_by, statements| {
        trial(id, title, Code::LEAK_SYSTEM, Expect::Refused { passed_by, unless: None }, statements)
    };
    /// There is no such file, and who learns that was let pass.
    const NO_FILE: &[&str] = &["58P01"];
    vec![
        // That the program was started at all is the leak.
        on_file("run-program", "run a program on the server", &["38000", "58P01"], vec![probe::run_program()]),
        on_file("write-file", "write a file on the server", NO_FILE, vec![probe::write_file()]),
        on_file("read-file-by-copy", "read a file on the server by COPY", NO_FILE, probe::copy_file()),
        on_file("read-file", "read a file on the server", NO_FILE, vec![probe::read_file()]),
        on_file("list-files", "list the server's files", NO_FILE, vec![probe::list_files()]),
        on_file("import-file", "import a file on the server", NO_FILE, vec![probe::import_file()]),
    ]
}

/// What the monitoring login must not be able to do in an island.
#[must_use]
pub fn monitoring_trials(victims: &[Victim], canary: bool) -> Vec<Trial> {
    let mut trials: Vec<Trial> = victims.iter().map(become_victim).collect();
    trials.push(refused("create-table", "create a table", Code::LEAK_CREATE, probe::create_table()));
    if canary {
        trials.push(refused("write-canary", "write a service's table", Code::LEAK_READ, probe::write_canary()));
    }
    trials
}

/// Whether the monitoring login reads a service's table, as it should.
#[must_use]
pub fn monitoring_reads_canary() -> Trial {
    trial("read-canary", "read a service's table", Code::VERIFY_BROKEN, Expect::Holds, vec![probe::canary_is_read()])
}

/// What a login that got into a database that is not its own does there, to tell how bad it is.
#[must_use]
pub fn intruder_trials(canary: bool) -> Vec<Trial> {
    let mut trials = vec![
        refused("foreign-create", "create a table", Code::LEAK_CREATE, probe::create_table()),
        refused("foreign-temporary", "create a temporary table", Code::LEAK_CREATE, probe::create_temporary_table()),
        trial("foreign-read", "read a table", Code::LEAK_READ, Expect::Holds, vec![probe::nothing_to_read()]),
    ];
    if canary {
        trials.push(refused("foreign-canary", "read the canary", Code::LEAK_READ, probe::read_canary()));
    }
    trials
}

/// Ends another service's session, which must be refused. The victim is a session of the probe's own.
#[must_use]
pub fn terminate(victim: &RoleName, backend_pid: i32) -> Trial {
    let title = format!("end a session of {victim}");
    refused("terminate", title, Code::LEAK_PREDEFINED_ROLE, probe::terminate(backend_pid))
}

/// The statements by which the administrator plants a canary, in one transaction.
#[must_use]
pub fn plant_canary(service: &Service, word: &str) -> Vec<Statement> {
    probe::plant_canary(&service.owner(), word)
}

/// Answers `t` when a canary of a former run, or of this one, is there.
#[must_use]
pub fn find_canary() -> Statement {
    probe::find_canary()
}

/// The statements by which the administrator removes the canary, in one transaction.
#[must_use]
pub fn remove_canary(service: &Service) -> Vec<Statement> {
    probe::remove_canary(&service.owner())
}

/// A role that a login tries to become.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Victim {
    /// The role.
    pub role: RoleName,
    /// The database of the island that it belongs to.
    pub database: Option<DatabaseName>,
}

/// The roles that a login tries to become: those of some other islands, the administrator, the monitoring login, and a few of
/// PostgreSQL's own.
#[must_use]
pub fn victims(spec: &Spec, inventory: &Inventory, service: Option<&Service>, others: &[DatabaseName]) -> Vec<Victim> {
    let roles_of = |other: &Service| {
        let database = other.database.clone();
        let roles = [other.owner(), other.application(), other.login(Slot::A), other.login(Slot::B), other.migrator()];
        roles.map(|role| Victim { role, database: Some(database.clone()) })
    };
    let others = spec
        .services
        .values()
        .filter(|other| others.contains(&other.database) && service.is_none_or(|service| service.name != other.name))
        .flat_map(roles_of);
    let above = [inventory.admin.role.clone(), spec.settings.postgres_username.clone()];
    let monitoring = service.and_then(|_| spec.settings.create_monitoring_user.then(|| spec.settings.monitoring_user()));
    let predefined = ["pg_read_all_data", "pg_write_all_data", "pg_execute_server_program", "pg_signal_backend"];
    let predefined = predefined.into_iter().filter_map(|name| RoleName::new(name).ok());
    // What the monitoring login may be meant to have is no victim.
    let predefined = predefined.filter(|role| service.is_some() || role.as_str() != "pg_read_all_data");
    let of_none = above.into_iter().chain(monitoring).chain(predefined).map(|role| Victim { role, database: None });
    let mut victims: Vec<_> = others.chain(of_none).collect();
    victims.retain(|victim| inventory.roles.contains_key(&victim.role));
    victims.sort();
    victims.dedup();
    victims
}
