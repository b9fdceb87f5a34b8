//! What is tried on the server: what must work at home, and the attacks that must fail.
//!
//! Every trial leaves nothing behind, even when it succeeds and even when pgisle is killed: it runs in a transaction that is
//! rolled back, or, where PostgreSQL takes no transaction, is made to fail behind the privilege check.

use crate::credential::Slot;
use crate::diagnostic::Code;
use crate::inventory::{Contents, Inventory, Readable};
use crate::name::{DatabaseName, RoleName};
use crate::spec::{Access, MonitoringAccess, Service, Spec};
use crate::sql::Statement;

use super::cast::LoginKind;
use super::trial::{ActAs, Expect, Reach, Trial};

/// The table that a canary sits in while the others try to read it.
pub const CANARY_TABLE: &str = "public.pgisle_canary";

/// The canary table's comment: how a leftover is known as pgisle's.
pub const CANARY_COMMENT: &str = "pgisle verify: a canary, dropped at the end of the run";

/// The table that a probe makes and rolls back.
const CREATE_TABLE: &str = "CREATE TABLE public.pgisle_probe (id bigint GENERATED ALWAYS AS IDENTITY, word text)";

fn sql(text: &'static str) -> Statement {
    Statement::new(text)
}

fn trial(id: &'static str, title: impl Into<String>, code: Code, expect: Expect, statements: Vec<Statement>) -> Trial {
    let reaches = match code {
        Code::LEAK_ATTRIBUTE | Code::LEAK_PREDEFINED_ROLE => Reach::Cluster,
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
        trials.push(acts_as_owner(service));
        trials.extend(own_table(spec, service));
    } else {
        trials.push(refused("no-ddl", "create a table, which is the migrator's", Code::LEAK_CREATE, sql(CREATE_TABLE)));
    }
    let temporary = vec![sql("CREATE TEMPORARY TABLE pgisle_probe_temp (id bigint)")];
    trials.push(trial("temporary-table", "create a temporary table", Code::VERIFY_BROKEN, Expect::Works, temporary));
    if let Some(Readable::Known(contents)) = inventory.contents.get(&service.database) {
        trials.extend(extensions(spec, service, contents));
    }
    trials
}

fn acts_as_owner(service: &Service) -> Trial {
    let query = sql("SELECT pg_catalog.current_setting('role') = ").literal(service.owner().as_str());
    let title = format!("act as {} by default", service.owner());
    trial("acts-as-owner", title, Code::VERIFY_BROKEN, Expect::Holds, vec![query])
}

fn own_table(spec: &Spec, service: &Service) -> Vec<Trial> {
    let with_table = |id, title: String, expect, mut statements: Vec<Statement>| {
        statements.insert(0, sql(CREATE_TABLE));
        trial(id, title, Code::VERIFY_BROKEN, expect, statements)
    };
    let owner = sql("SELECT pg_catalog.pg_get_userbyid(relowner) = ")
        .literal(service.owner().as_str())
        .sql(" FROM pg_catalog.pg_class WHERE oid = 'public.pgisle_probe'::pg_catalog.regclass");
    let mut trials = vec![
        with_table(
            "own-table",
            "create, fill, read and drop a table".to_owned(),
            Expect::Works,
            vec![
                sql("INSERT INTO public.pgisle_probe (word) VALUES ('one'), ('two')"),
                sql("UPDATE public.pgisle_probe SET word = 'three' WHERE word = 'two'"),
                sql("SELECT pg_catalog.count(*) FROM public.pgisle_probe"),
                sql("DROP TABLE public.pgisle_probe"),
            ],
        ),
        with_table("owner-of-new", format!("leave what it creates to {}", service.owner()), Expect::Holds, vec![owner]),
    ];
    let settings = &spec.settings;
    if settings.create_monitoring_user && settings.monitoring_access == MonitoringAccess::Data {
        let monitoring = settings.monitoring_user();
        let query = sql("SELECT pg_catalog.has_table_privilege(m.oid, 'public.pgisle_probe', 'SELECT') \
             AND pg_catalog.has_schema_privilege(m.oid, 'public', 'USAGE') \
             AND NOT pg_catalog.has_table_privilege(m.oid, 'public.pgisle_probe', 'INSERT, UPDATE, DELETE, TRUNCATE') \
             FROM pg_catalog.pg_roles AS m WHERE m.rolname = ")
        .literal(monitoring.as_str());
        let title = "let the monitoring login read what it creates, and not write".to_owned();
        trials.push(with_table("monitoring-reads-new", title, Expect::Holds, vec![query]));
    }
    if service.access == Access::Split {
        let login = service.login(Slot::A);
        let query = sql("SELECT pg_catalog.has_table_privilege(m.oid, 'public.pgisle_probe', 'SELECT') \
             AND pg_catalog.has_table_privilege(m.oid, 'public.pgisle_probe', 'INSERT') \
             AND pg_catalog.has_table_privilege(m.oid, 'public.pgisle_probe', 'UPDATE') \
             AND pg_catalog.has_table_privilege(m.oid, 'public.pgisle_probe', 'DELETE') \
             FROM pg_catalog.pg_roles AS m WHERE m.rolname = ")
        .literal(login.as_str());
        let title = format!("let {login} read and write what it creates");
        trials.push(with_table("login-writes-new", title, Expect::Holds, vec![query]));
    }
    trials
}

/// Uses each wanted extension that is installed; `apply` has said what could not be.
fn extensions(spec: &Spec, service: &Service, contents: &Contents) -> Vec<Trial> {
    let mut trials = Vec::new();
    for name in spec.extensions(service) {
        let Some(installed) = contents.extensions.get(&name) else { continue };
        let schema = &installed.schema;
        let use_it = match name.as_str() {
            "uuid-ossp" => sql("SELECT ").ident(schema).sql(".uuid_generate_v4() IS NOT NULL"),
            "vector" => sql("SELECT '[1,2]'::").ident(schema).sql(".vector OPERATOR(").ident(schema).sql(".<->) '[1,2]' = 0"),
            "pgcrypto" => sql("SELECT ").ident(schema).sql(".digest('a', 'sha256') IS NOT NULL"),
            "citext" => sql("SELECT 'A'::").ident(schema).sql(".citext OPERATOR(").ident(schema).sql(".=) 'a'"),
            "hstore" => sql("SELECT ('a=>1'::").ident(schema).sql(".hstore OPERATOR(").ident(schema).sql(".->) 'a') = '1'"),
            "pg_trgm" => sql("SELECT ").ident(schema).sql(".similarity('a', 'a') = 1"),
            // What it offers is unknown here; that its schema can be used is not.
            _ => sql("SELECT pg_catalog.has_schema_privilege(").literal(schema.as_str()).sql(", 'USAGE')"),
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
    let statement = sql("SET LOCAL ROLE ").ident(role);
    Trial { reaches, ..refused("set-role", format!("SET ROLE {role}"), code, statement) }
}

fn on_limits(service: &Service, login: &RoleName) -> Vec<Trial> {
    let database = || sql("ALTER DATABASE ").ident(&service.database);
    vec![
        refused(
            "raise-own-limit",
            "lift its own connection limit",
            Code::LEAK_LIMIT,
            sql("ALTER ROLE ").ident(login).sql(" CONNECTION LIMIT -1"),
        ),
        refused(
            "raise-database-limit",
            "lift its database's connection limit",
            Code::LEAK_LIMIT,
            database().sql(" CONNECTION LIMIT -1"),
        ),
        refused("own-database", "take its database over", Code::LEAK_OWNER, database().sql(" OWNER TO ").ident(login)),
    ]
}

/// GRANTs. One that has no effect is a mere warning, so what counts is what the catalogs say behind it.
fn on_grants(spec: &Spec, service: &Service) -> Vec<Trial> {
    let grant = || sql("GRANT CONNECT ON DATABASE ").ident(&service.database).sql(" TO ");
    let granted = || {
        sql("SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_database AS d, \
             pg_catalog.aclexplode(COALESCE(d.datacl, pg_catalog.acldefault('d', d.datdba))) AS a \
             WHERE a.privilege_type = 'CONNECT' AND d.datname = ")
        .literal(service.database.as_str())
    };
    let without_effect = |check| Expect::Refused { passed_by: &[], unless: Some(check) };
    let to_public = without_effect(granted().sql(" AND a.grantee = 0)"));
    let mut trials =
        vec![trial("grant-to-public", "open its database to PUBLIC", Code::LEAK_OWNER, to_public, vec![grant().sql("PUBLIC")])];
    let Some(other) = spec.services.values().find(|other| other.name != service.name) else { return trials };
    let (login, owner) = (other.login(Slot::A), service.owner());
    let to_other = granted()
        .sql(" AND a.grantee = (SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname = ")
        .literal(login.as_str())
        .sql("))");
    let title = format!("open its database to {login}");
    trials.push(trial("grant-to-other", title, Code::LEAK_OWNER, without_effect(to_other), vec![grant().ident(&login)]));
    let membership = sql("SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_auth_members AS m \
         JOIN pg_catalog.pg_roles AS r ON r.oid = m.member JOIN pg_catalog.pg_roles AS o ON o.oid = m.roleid WHERE r.rolname = ")
    .literal(login.as_str())
    .sql(" AND o.rolname = ")
    .literal(owner.as_str())
    .sql(")");
    let title = format!("make {login} a member of {owner}");
    let statement = sql("GRANT ").ident(&owner).sql(" TO ").ident(&login);
    trials.push(trial("grant-owner", title, Code::LEAK_OWNER, without_effect(membership), vec![statement]));
    trials
}

fn on_cluster(login: &RoleName) -> Vec<Trial> {
    let attribute = |id, title, word| refused(id, title, Code::LEAK_ATTRIBUTE, sql("ALTER ROLE ").ident(login).sql(word));
    vec![
        attribute("become-superuser", "become SUPERUSER", " SUPERUSER"),
        attribute("become-createrole", "become CREATEROLE", " CREATEROLE"),
        attribute("become-bypassrls", "become BYPASSRLS", " BYPASSRLS"),
        refused("create-role", "create a role", Code::LEAK_ATTRIBUTE, sql("CREATE ROLE pgisle_probe_role")),
        Trial {
            transactional: false,
            // CREATE DATABASE takes no transaction. The template does not exist, which the server looks at after the privilege.
            ..trial(
                "create-database",
                "create a database",
                Code::LEAK_ATTRIBUTE,
                Expect::Refused { passed_by: &["3D000"], unless: None },
                vec![sql("CREATE DATABASE pgisle_probe_database TEMPLATE pgisle_no_such_template")],
            )
        },
        refused(
            "replication",
            "create a replication slot",
            Code::LEAK_ATTRIBUTE,
            // Temporary, so that it goes with the session, and without reserving any WAL.
            sql(
                "SELECT pg_catalog.pg_create_physical_replication_slot('pgisle_probe_' || pg_catalog.pg_backend_pid(), false, true)",
            ),
        ),
        refused(
            "read-verifiers",
            "read the passwords' verifiers",
            Code::LEAK_READ,
            sql("SELECT pg_catalog.count(rolpassword) FROM pg_catalog.pg_authid"),
        ),
        extension_attack("dblink"),
        extension_attack("postgres_fdw"),
        extension_attack("file_fdw"),
        refused(
            "internal-function",
            "create a function in the server's own language",
            Code::LEAK_FUNCTION,
            sql("CREATE FUNCTION pg_temp.pgisle_probe() RETURNS integer LANGUAGE internal AS 'pg_backend_pid'"),
        ),
    ]
}

fn extension_attack(name: &'static str) -> Trial {
    let statement = sql("CREATE EXTENSION ").sql(name).sql(" SCHEMA public");
    refused("create-extension", format!("create extension {name}"), Code::LEAK_FOREIGN_SERVER, statement)
}

fn on_files() -> Vec<Trial> {
    let passed = Expect::Refused { passed_by: &["58P01"], unless: None };
    let on_file = |id, title, statements| trial(id, title, Code::LEAK_PREDEFINED_ROLE, passed.clone(), statements);
    vec![
        Trial {
            // The program does nothing but take what it is given; that it was started at all is the leak.
            expect: Expect::Refused { passed_by: &["38000", "58P01"], unless: None },
            ..on_file("run-program", "run a program on the server", vec![sql("COPY (SELECT 1) TO PROGRAM 'cat > /dev/null'")])
        },
        // The folder does not exist, which the server finds out behind the privilege check.
        on_file("write-file", "write a file on the server", vec![sql("COPY (SELECT 1) TO '/nonexistent-pgisle-probe/file'")]),
        on_file(
            "read-file-by-copy",
            "read a file on the server by COPY",
            vec![
                sql("CREATE TEMPORARY TABLE pgisle_probe_file (line text)"),
                sql("COPY pg_temp.pgisle_probe_file FROM '/nonexistent-pgisle-probe/file'"),
            ],
        ),
        on_file("read-file", "read a file on the server", vec![sql("SELECT pg_catalog.pg_read_file('PG_VERSION')")]),
        on_file("list-files", "list the server's files", vec![sql("SELECT pg_catalog.count(*) FROM pg_catalog.pg_ls_dir('.')")]),
        on_file(
            "import-file",
            "import a file on the server",
            vec![sql("SELECT pg_catalog.lo_import('/nonexistent-pgisle-probe/file')")],
        ),
    ]
}

/// What the monitoring login must not be able to do in an island.
#[must_use]
pub fn monitoring_trials(victims: &[Victim], canary: bool) -> Vec<Trial> {
    let mut trials: Vec<Trial> = victims.iter().map(become_victim).collect();
    trials.push(refused("create-table", "create a table", Code::LEAK_CREATE, sql(CREATE_TABLE)));
    if canary {
        trials.push(refused("write-canary", "write a service's table", Code::LEAK_READ, sql("DELETE FROM public.pgisle_canary")));
    }
    trials
}

/// Whether the monitoring login reads a service's table, as it should.
#[must_use]
pub fn monitoring_reads_canary() -> Trial {
    let query = sql("SELECT pg_catalog.count(*) = 1 FROM public.pgisle_canary");
    trial("read-canary", "read a service's table", Code::VERIFY_BROKEN, Expect::Holds, vec![query])
}

/// What a login that got into a database that is not its own does there, to tell how bad it is.
#[must_use]
pub fn intruder_trials(canary: bool) -> Vec<Trial> {
    let mut trials = vec![
        refused("foreign-create", "create a table", Code::LEAK_CREATE, sql(CREATE_TABLE)),
        refused(
            "foreign-temporary",
            "create a temporary table",
            Code::LEAK_CREATE,
            sql("CREATE TEMPORARY TABLE pgisle_probe_temp (id bigint)"),
        ),
        trial(
            "foreign-read",
            "read a table",
            Code::LEAK_READ,
            Expect::Holds,
            vec![sql(
                "SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
                 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> 'information_schema' \
                 AND NOT pg_catalog.starts_with(n.nspname::pg_catalog.text, 'pg_') \
                 AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') \
                 AND pg_catalog.has_any_column_privilege(c.oid, 'SELECT') \
                 AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
                 AND d.objid = c.oid AND d.deptype = 'e'))",
            )],
        ),
    ];
    if canary {
        let read = sql("SELECT word FROM public.pgisle_canary");
        trials.push(refused("foreign-canary", "read the canary", Code::LEAK_READ, read));
    }
    trials
}

/// Ends another service's session, which must be refused. The victim is a session of the probe's own.
#[must_use]
pub fn terminate(victim: &RoleName, backend_pid: i32) -> Trial {
    let statement = sql("SELECT pg_catalog.pg_terminate_backend(").number(i64::from(backend_pid)).sql(")");
    refused("terminate", format!("end a session of {victim}"), Code::LEAK_PREDEFINED_ROLE, statement)
}

/// The statements by which the administrator plants a canary, in one transaction.
#[must_use]
pub fn plant_canary(service: &Service, word: &str) -> Vec<Statement> {
    vec![
        sql("BEGIN"),
        sql("SET LOCAL ROLE ").ident(&service.owner()),
        sql("CREATE TABLE public.pgisle_canary (word text)"),
        sql("COMMENT ON TABLE public.pgisle_canary IS ").literal(CANARY_COMMENT),
        sql("INSERT INTO public.pgisle_canary VALUES (").literal(word).sql(")"),
        sql("COMMIT"),
    ]
}

/// Answers `t` when a canary of a former run, or of this one, is there.
#[must_use]
pub fn find_canary() -> Statement {
    sql("SELECT COALESCE(pg_catalog.obj_description(pg_catalog.to_regclass('public.pgisle_canary'), 'pg_class') = ")
        .literal(CANARY_COMMENT)
        .sql(", false)")
}

/// The statements by which the administrator removes the canary, in one transaction.
#[must_use]
pub fn remove_canary(service: &Service) -> Vec<Statement> {
    let begin = [sql("BEGIN"), sql("SET LOCAL ROLE ").ident(&service.owner())];
    begin.into_iter().chain([sql("DROP TABLE IF EXISTS public.pgisle_canary"), sql("COMMIT")]).collect()
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
