//! What is tried on the server: what must work at home, and the attacks that must fail.
//!
//! Every trial leaves nothing behind, even when it succeeds and even when pgisle is killed: it runs in a transaction that is
//! rolled back, or, where PostgreSQL takes no transaction, is made to fail behind the privilege check.

use crate::credential::Slot;
use crate::diagnostic::Code;
use crate::inventory::{Contents, Inventory, Readable};
use crate::name::{DatabaseName, RoleName};
use crate::spec::{Access, MonitoringAccess, Service, Spec};

use super::cast::LoginKind;
use super::fix::quoted;
use super::trial::{ActAs, Expect, Reach, Trial};

/// The table that a probe makes and rolls back.
const PROBE_TABLE: &str = "public.pgisle_probe";

/// The table that a canary sits in while the others try to read it.
pub const CANARY_TABLE: &str = "public.pgisle_canary";

/// The canary table's comment: how a leftover is known as pgisle's.
pub const CANARY_COMMENT: &str = "pgisle verify: a canary, dropped at the end of the run";

/// A text as an SQL literal, whatever `standard_conforming_strings` is.
fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

fn trial(id: &'static str, title: impl Into<String>, code: Code, expect: Expect, statements: Vec<String>) -> Trial {
    let reaches = match code {
        Code::LEAK_ATTRIBUTE | Code::LEAK_PREDEFINED_ROLE => Reach::Cluster,
        _ => Reach::Here,
    };
    Trial { id, title: title.into(), act_as: ActAs::Default, transactional: true, statements, expect, code, reaches }
}

fn refused(id: &'static str, title: impl Into<String>, code: Code, statement: String) -> Trial {
    trial(id, title, code, Expect::Refused { passed_by: &[], unless: None }, vec![statement])
}

/// What must work for a service's login in its own database.
#[must_use]
pub fn home_trials(spec: &Spec, inventory: &Inventory, service: &Service, kind: LoginKind) -> Vec<Trial> {
    let mut trials = Vec::new();
    let makes_tables = service.access == Access::Owner || kind == LoginKind::Migrator;
    if makes_tables {
        trials.push(acts_as_owner(service));
        trials.extend(own_table(spec, service));
    } else {
        let statement = format!("CREATE TABLE {PROBE_TABLE} (id bigint)");
        trials.push(refused("no-ddl", "create a table, which is the migrator's", Code::LEAK_CREATE, statement));
    }
    let temporary = vec!["CREATE TEMPORARY TABLE pgisle_probe_temp (id bigint)".to_owned()];
    trials.push(trial("temporary-table", "create a temporary table", Code::VERIFY_BROKEN, Expect::Works, temporary));
    if let Some(Readable::Known(contents)) = inventory.contents.get(&service.database) {
        trials.extend(extensions(spec, service, contents));
    }
    trials
}

fn acts_as_owner(service: &Service) -> Trial {
    let query = format!("SELECT pg_catalog.current_setting('role') = {}", literal(service.owner().as_str()));
    let title = format!("acts as {} by default", service.owner());
    trial("acts-as-owner", title, Code::VERIFY_BROKEN, Expect::Holds, vec![query])
}

fn own_table(spec: &Spec, service: &Service) -> Vec<Trial> {
    let create = format!("CREATE TABLE {PROBE_TABLE} (id bigint GENERATED ALWAYS AS IDENTITY, word text)");
    let with_table = |id, title: String, code, expect, mut statements: Vec<String>| {
        statements.insert(0, create.clone());
        trial(id, title, code, expect, statements)
    };
    let owner = format!(
        "SELECT pg_catalog.pg_get_userbyid(relowner) = {} FROM pg_catalog.pg_class WHERE oid = '{PROBE_TABLE}'::pg_catalog.regclass",
        literal(service.owner().as_str())
    );
    let mut trials = vec![
        with_table(
            "own-table",
            "create, fill, read and drop a table".to_owned(),
            Code::VERIFY_BROKEN,
            Expect::Works,
            vec![
                format!("INSERT INTO {PROBE_TABLE} (word) VALUES ('one'), ('two')"),
                format!("UPDATE {PROBE_TABLE} SET word = 'three' WHERE word = 'two'"),
                format!("SELECT pg_catalog.count(*) FROM {PROBE_TABLE}"),
                format!("DROP TABLE {PROBE_TABLE}"),
            ],
        ),
        with_table(
            "owner-of-new",
            format!("what it creates belongs to {}", service.owner()),
            Code::VERIFY_BROKEN,
            Expect::Holds,
            vec![owner],
        ),
    ];
    let settings = &spec.settings;
    if settings.create_monitoring_user && settings.monitoring_access == MonitoringAccess::Data {
        let monitoring = literal(settings.monitoring_user().as_str());
        let query = format!(
            "SELECT pg_catalog.has_table_privilege({monitoring}, '{PROBE_TABLE}', 'SELECT') \
             AND pg_catalog.has_schema_privilege({monitoring}, 'public', 'USAGE') \
             AND NOT pg_catalog.has_table_privilege({monitoring}, '{PROBE_TABLE}', 'INSERT, UPDATE, DELETE, TRUNCATE')"
        );
        let title = "the monitoring login can read what it creates, and not write".to_owned();
        trials.push(with_table("monitoring-reads-new", title, Code::VERIFY_BROKEN, Expect::Holds, vec![query]));
    }
    if service.access == Access::Split {
        let login = literal(service.login(Slot::A).as_str());
        let rows = ["SELECT", "INSERT", "UPDATE", "DELETE"]
            .map(|privilege| format!("pg_catalog.has_table_privilege({login}, '{PROBE_TABLE}', '{privilege}')"))
            .join(" AND ");
        let title = format!("{} can read and write what it creates", service.login(Slot::A));
        trials.push(with_table("login-writes-new", title, Code::VERIFY_BROKEN, Expect::Holds, vec![format!("SELECT {rows}")]));
    }
    trials
}

/// Uses each wanted extension that is installed; `apply` has said what could not be.
fn extensions(spec: &Spec, service: &Service, contents: &Contents) -> Vec<Trial> {
    let mut trials = Vec::new();
    for name in spec.extensions(service) {
        let Some(installed) = contents.extensions.get(&name) else { continue };
        let schema = quoted(installed.schema.as_str());
        let use_it = match name.as_str() {
            "uuid-ossp" => format!("SELECT {schema}.uuid_generate_v4() IS NOT NULL"),
            "vector" => format!("SELECT '[1,2]'::{schema}.vector OPERATOR({schema}.<->) '[1,2]'::{schema}.vector = 0"),
            "pgcrypto" => format!("SELECT {schema}.digest('a', 'sha256') IS NOT NULL"),
            "citext" => format!("SELECT 'A'::{schema}.citext OPERATOR({schema}.=) 'a'::{schema}.citext"),
            "hstore" => format!("SELECT ('a=>1'::{schema}.hstore OPERATOR({schema}.->) 'a') = '1'"),
            "pg_trgm" => format!("SELECT {schema}.similarity('a', 'a') = 1"),
            // What it offers is unknown here; that its schema can be used is not.
            _ => format!("SELECT pg_catalog.has_schema_privilege({}, 'USAGE')", literal(installed.schema.as_str())),
        };
        trials.push(trial("extension", format!("use extension {name}"), Code::VERIFY_BROKEN, Expect::Holds, vec![use_it]));
    }
    trials
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
    let statement = format!("SET LOCAL ROLE {}", quoted(role.as_str()));
    Trial { reaches, ..refused("set-role", format!("SET ROLE {role}"), code, statement) }
}

fn on_limits(service: &Service, login: &RoleName) -> Vec<Trial> {
    let database = quoted(service.database.as_str());
    let role = quoted(login.as_str());
    vec![
        refused(
            "raise-own-limit",
            "lift its own connection limit",
            Code::LEAK_LIMIT,
            format!("ALTER ROLE {role} CONNECTION LIMIT -1"),
        ),
        refused(
            "raise-database-limit",
            "lift its database's connection limit",
            Code::LEAK_LIMIT,
            format!("ALTER DATABASE {database} CONNECTION LIMIT -1"),
        ),
        refused("own-database", "take its database over", Code::LEAK_OWNER, format!("ALTER DATABASE {database} OWNER TO {role}")),
    ]
}

fn on_grants(spec: &Spec, service: &Service) -> Vec<Trial> {
    let database = quoted(service.database.as_str());
    let name = literal(service.database.as_str());
    let granted = |grantee: &str| {
        format!(
            "SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_database AS d, \
             pg_catalog.aclexplode(COALESCE(d.datacl, pg_catalog.acldefault('d', d.datdba))) AS a \
             WHERE d.datname = {name} AND a.privilege_type = 'CONNECT' AND a.grantee = {grantee})"
        )
    };
    let without_effect = |check: String| Expect::Refused { passed_by: &[], unless: Some(check) };
    let mut trials = vec![trial(
        "grant-to-public",
        "open its database to PUBLIC",
        Code::LEAK_OWNER,
        without_effect(granted("0")),
        vec![format!("GRANT CONNECT ON DATABASE {database} TO PUBLIC")],
    )];
    if let Some(other) = spec.services.values().find(|other| other.name != service.name) {
        let login = other.login(Slot::A);
        let oid = format!("{}::pg_catalog.regrole", literal(&quoted(login.as_str())));
        trials.push(trial(
            "grant-to-other",
            format!("open its database to {login}"),
            Code::LEAK_OWNER,
            without_effect(granted(&oid)),
            vec![format!("GRANT CONNECT ON DATABASE {database} TO {}", quoted(login.as_str()))],
        ));
        let owner = service.owner();
        let membership = format!(
            "SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_auth_members WHERE member = {oid} AND roleid = {}::pg_catalog.regrole)",
            literal(&quoted(owner.as_str()))
        );
        trials.push(trial(
            "grant-owner",
            format!("make {login} a member of {owner}"),
            Code::LEAK_OWNER,
            without_effect(membership),
            vec![format!("GRANT {} TO {}", quoted(owner.as_str()), quoted(login.as_str()))],
        ));
    }
    trials
}

fn on_cluster(login: &RoleName) -> Vec<Trial> {
    let role = quoted(login.as_str());
    let attribute =
        |id, word: &str| refused(id, format!("become {word}"), Code::LEAK_ATTRIBUTE, format!("ALTER ROLE {role} {word}"));
    vec![
        attribute("become-superuser", "SUPERUSER"),
        attribute("become-createrole", "CREATEROLE"),
        attribute("become-bypassrls", "BYPASSRLS"),
        refused("create-role", "create a role", Code::LEAK_ATTRIBUTE, "CREATE ROLE pgisle_probe_role".to_owned()),
        Trial {
            transactional: false,
            // CREATE DATABASE takes no transaction. The template does not exist, which the server looks at after the privilege.
            ..trial(
                "create-database",
                "create a database",
                Code::LEAK_ATTRIBUTE,
                Expect::Refused { passed_by: &["3D000"], unless: None },
                vec!["CREATE DATABASE pgisle_probe_database TEMPLATE pgisle_no_such_template".to_owned()],
            )
        },
        refused(
            "replication",
            "create a replication slot",
            Code::LEAK_ATTRIBUTE,
            // Temporary, so that it goes with the session, and without reserving any WAL.
            "SELECT pg_catalog.pg_create_physical_replication_slot('pgisle_probe_' || pg_catalog.pg_backend_pid(), false, true)"
                .to_owned(),
        ),
        refused(
            "read-verifiers",
            "read the passwords' verifiers",
            Code::LEAK_READ,
            "SELECT pg_catalog.count(rolpassword) FROM pg_catalog.pg_authid".to_owned(),
        ),
        extension_attack("dblink"),
        extension_attack("postgres_fdw"),
        extension_attack("file_fdw"),
        refused(
            "internal-function",
            "create a function in the server's own language",
            Code::LEAK_FUNCTION,
            "CREATE FUNCTION pg_temp.pgisle_probe() RETURNS integer LANGUAGE internal AS 'pg_backend_pid'".to_owned(),
        ),
    ]
}

fn extension_attack(name: &'static str) -> Trial {
    let statement = format!("CREATE EXTENSION {} SCHEMA public", quoted(name));
    refused("create-extension", format!("create extension {name}"), Code::LEAK_FOREIGN_SERVER, statement)
}

fn on_files() -> Vec<Trial> {
    let file = "'/nonexistent-pgisle-probe/file'";
    let passed = Expect::Refused { passed_by: &["58P01"], unless: None };
    let copy = |id, title, statements| trial(id, title, Code::LEAK_PREDEFINED_ROLE, passed.clone(), statements);
    vec![
        Trial {
            // The program does nothing but take what it is given; that it was started at all is the leak.
            expect: Expect::Refused { passed_by: &["38000", "58P01"], unless: None },
            ..copy("run-program", "run a program on the server", vec!["COPY (SELECT 1) TO PROGRAM 'cat > /dev/null'".to_owned()])
        },
        copy("write-file", "write a file on the server", vec![format!("COPY (SELECT 1) TO {file}")]),
        copy(
            "read-file-by-copy",
            "read a file on the server by COPY",
            vec!["CREATE TEMPORARY TABLE pgisle_probe_file (line text)".to_owned(), format!("COPY pgisle_probe_file FROM {file}")],
        ),
        copy("read-file", "read a file on the server", vec!["SELECT pg_catalog.pg_read_file('PG_VERSION')".to_owned()]),
        copy("list-files", "list the server's files", vec!["SELECT pg_catalog.count(*) FROM pg_catalog.pg_ls_dir('.')".to_owned()]),
        copy("import-file", "import a file on the server", vec![format!("SELECT pg_catalog.lo_import({file})")]),
    ]
}

/// What the monitoring login must not be able to do in an island.
#[must_use]
pub fn monitoring_trials(victims: &[Victim], canary: bool) -> Vec<Trial> {
    let mut trials: Vec<Trial> = victims.iter().map(become_victim).collect();
    trials.push(refused("create-table", "create a table", Code::LEAK_CREATE, format!("CREATE TABLE {PROBE_TABLE} (id bigint)")));
    if canary {
        trials.push(refused("write-canary", "write a service's table", Code::LEAK_READ, format!("DELETE FROM {CANARY_TABLE}")));
    }
    trials
}

/// Whether the monitoring login reads a service's table, as it should.
#[must_use]
pub fn monitoring_reads_canary() -> Trial {
    let query = format!("SELECT pg_catalog.count(*) = 1 FROM {CANARY_TABLE}");
    trial("read-canary", "read a service's table", Code::VERIFY_BROKEN, Expect::Holds, vec![query])
}

/// What a login that got into a database that is not its own does there, to tell how bad it is.
#[must_use]
pub fn intruder_trials(canary: bool) -> Vec<Trial> {
    let mut trials = vec![
        refused("foreign-create", "create a table", Code::LEAK_CREATE, format!("CREATE TABLE {PROBE_TABLE} (id bigint)")),
        refused(
            "foreign-temporary",
            "create a temporary table",
            Code::LEAK_CREATE,
            "CREATE TEMPORARY TABLE pgisle_probe_temp (id bigint)".to_owned(),
        ),
        trial(
            "foreign-read",
            "read a table",
            Code::LEAK_READ,
            Expect::Holds,
            vec![
                "SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
                 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> 'information_schema' \
                 AND NOT pg_catalog.starts_with(n.nspname::pg_catalog.text, 'pg_') \
                 AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') \
                 AND pg_catalog.has_any_column_privilege(c.oid, 'SELECT') \
                 AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
                 AND d.objid = c.oid AND d.deptype = 'e'))"
                    .to_owned(),
            ],
        ),
    ];
    if canary {
        let read = format!("SELECT word FROM {CANARY_TABLE}");
        trials.push(refused("foreign-canary", "read the canary", Code::LEAK_READ, read));
    }
    trials
}

/// Ends another service's session, which must be refused. The victim is a session of the probe's own.
#[must_use]
pub fn terminate(victim: &RoleName, backend_pid: i32) -> Trial {
    let statement = format!("SELECT pg_catalog.pg_terminate_backend({backend_pid})");
    refused("terminate", format!("end a session of {victim}"), Code::LEAK_PREDEFINED_ROLE, statement)
}

/// The statements by which the administrator plants a canary, in one transaction.
#[must_use]
pub fn plant_canary(service: &Service, word: &str) -> Vec<String> {
    vec![
        "BEGIN".to_owned(),
        format!("SET LOCAL ROLE {}", quoted(service.owner().as_str())),
        format!("CREATE TABLE {CANARY_TABLE} (word text)"),
        format!("COMMENT ON TABLE {CANARY_TABLE} IS {}", literal(CANARY_COMMENT)),
        format!("INSERT INTO {CANARY_TABLE} VALUES ({})", literal(word)),
        "COMMIT".to_owned(),
    ]
}

/// Answers `t` when a canary of a former run, or of this one, is there.
#[must_use]
pub fn find_canary() -> String {
    format!("SELECT pg_catalog.obj_description(pg_catalog.to_regclass('{CANARY_TABLE}'), 'pg_class') = {}", literal(CANARY_COMMENT))
}

/// The statements by which the administrator removes the canary, in one transaction.
#[must_use]
pub fn remove_canary(service: &Service) -> Vec<String> {
    vec![
        "BEGIN".to_owned(),
        format!("SET LOCAL ROLE {}", quoted(service.owner().as_str())),
        format!("DROP TABLE IF EXISTS {CANARY_TABLE}"),
        "COMMIT".to_owned(),
    ]
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
        let roles = [other.owner(), other.login(Slot::A), other.login(Slot::B), other.migrator()];
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
