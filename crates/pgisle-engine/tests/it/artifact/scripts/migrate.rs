//! The script that moves a service's tables out of the shared database.

mod killed;
mod refused;

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use pgisle_core::artifact::{Endpoint, generate};
use pgisle_core::credential::Credentials;
use pgisle_engine::artifact::{WriteOptions, write};
use pgisle_engine::process::{Invocation, Output};
use pgisle_testkit::{Cluster, skip};
use tempfile::TempDir;

use super::super::service_name;
use super::{assert_failure, assert_success, said};
use crate::apply::Project;
use crate::postgres::login;

const TWO: &str = r#"
default_extensions = []
service "users" {
  tables = ["users", "events", "secrets"]
}
service "rooms" {
  tables = ["rooms"]
}
"#;

const SHARED: &str = include_str!("migrate/shared.sql");

/// Needs quotes everywhere, and means something to psql, to bash, to PL/pgSQL and to a regular expression.
const ODD_TABLE: &str = "Odd \"schema.My 'Table' $f$ \\x :name";

/// The tables with rows of their own, as SQL names them.
const TABLES: [&str; 7] =
    ["users", "\"Odd \"\"schema\".\"My 'Table' $f$ \\x :name\"", "events_a", "events_b", "events_rest", "secrets", "more_secrets"];

const SEQUENCES: [&str; 3] = ["users_id_seq", "\"free number\"", "\"Odd \"\"schema\".\"My 'Table' $f$ \\x :name_a b_seq\""];

const PEOPLE: &str = "INSERT INTO users (email, display_name) SELECT i || '@x.org', i FROM generate_series(1, 50) AS i";

const EMBEDDINGS: &str = "INSERT INTO embeddings (source, source_id, embedding) \
    SELECT 'message', i, (SELECT array_agg(sin(i + j)) FROM generate_series(1, 32) AS j)::real[]::vector FROM generate_series(1, 40) AS i";

/// A cluster with a shared database and islands, and the script for each service.
struct Shop {
    folder: TempDir,
    project: Project,
    cluster: Cluster,
    /// The folder of the client tools, behind one in which a test can put others.
    programs: PathBuf,
}

impl Shop {
    async fn new() -> Self {
        let cluster = Cluster::start().await;
        let project = Project::new(&cluster, TWO);
        let (user, password) = (cluster.superuser().to_owned(), cluster.password().to_owned());
        Self::filled(cluster, project, &user, &password).await
    }

    /// With the shared database above.
    async fn filled(cluster: Cluster, mut project: Project, administrator: &str, password: &str) -> Self {
        // The file takes only simple names, and a library call takes all.
        project.spec.services.get_mut(&service_name("users")).unwrap().tables.push(ODD_TABLE.to_owned());
        cluster.psql(&format!("CREATE DATABASE link_app TEMPLATE template0 ENCODING 'UTF8' OWNER \"{administrator}\"")).await;
        cluster.connect_as(administrator, password, "link_app").await.unwrap().batch_execute(SHARED).await.unwrap();
        Self::with(cluster, project, administrator, password).await
    }

    /// With a shared database that is there.
    async fn with(cluster: Cluster, mut project: Project, administrator: &str, password: &str) -> Self {
        project.apply().await;
        let folder = TempDir::new().unwrap();
        let settings = &mut project.spec.settings;
        cluster.host().clone_into(&mut settings.postgres_host);
        settings.postgres_port = cluster.port();
        settings.postgres_username = crate::postgres::role(administrator);
        settings.postgres_sslmode = pgisle_core::spec::SslMode::Disable;
        let escaped = password.replace('\\', "\\\\").replace(':', "\\:");
        let passfile = folder.path().join("passfile");
        fs::write(&passfile, format!("{}:{}:*:{administrator}:{escaped}\n", cluster.host(), cluster.port())).unwrap();
        fs::set_permissions(&passfile, fs::Permissions::from_mode(0o600)).unwrap();
        fs::create_dir(folder.path().join("t m'p")).unwrap();
        fs::create_dir(folder.path().join("programs")).unwrap();
        let programs = cluster.installation().bin.clone();
        let shop = Self { folder, project, cluster, programs };
        shop.write_scripts();
        shop
    }

    fn write_scripts(&self) {
        let spec = &self.project.spec;
        let mut artifacts = generate(spec, &Endpoint::of(&spec.settings), &Credentials::default());
        artifacts.retain(|artifact| artifact.path.starts_with("scripts/migrate-"));
        write(self.folder.path(), &artifacts, WriteOptions { overwrite: true }).unwrap();
    }

    /// The program is another from now on: what a shell does with the real one's path in `REAL`.
    fn wrap(&self, program: &str, text: &str) {
        let path = self.folder.path().join("programs").join(program);
        fs::write(&path, format!("#!/bin/bash\nREAL={}/{program}\nPSQL={0}/psql\n{text}\n", self.programs.display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// They are the real ones again.
    fn unwrap_programs(&self) {
        for entry in fs::read_dir(self.folder.path().join("programs")).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }

    fn invocation(&self, program: &std::path::Path) -> Invocation {
        let mut path = OsString::from(self.folder.path().join("programs"));
        path.push(":");
        path.push(&self.programs);
        path.push(":/usr/local/bin:/usr/bin:/bin");
        Invocation::new(program)
            .clean_environment()
            .environment("PATH", path)
            .environment("HOME", self.folder.path())
            .environment("TMPDIR", self.folder.path().join("t m'p"))
            .environment("PGPASSFILE", self.folder.path().join("passfile"))
            .timeout(Duration::from_secs(120))
    }

    fn script(&self, service: &str) -> Invocation {
        self.invocation(&self.folder.path().join(format!("scripts/migrate-{service}-database.sh")))
    }

    async fn migrate(&self, arguments: &[&str]) -> Output {
        self.script("users").argument("-y").arguments(arguments).run_to_end().await.unwrap()
    }

    /// What a database has of the tables and sequences: a hash of all rows of each, and where it stands.
    async fn content(&self, database: &str) -> Vec<String> {
        let mut content = Vec::new();
        for table in TABLES {
            let rows = format!(
                "SET search_path = ''; SELECT concat(count(*), ' ', md5(string_agg(t::text, ',' ORDER BY t::text COLLATE \"C\"))) FROM ONLY {} AS t",
                table_in_schema(table)
            );
            content.push(self.cluster.psql_in(database, &rows).await);
        }
        for sequence in SEQUENCES {
            let state = format!("SELECT concat(last_value, is_called) FROM {sequence}");
            content.push(self.cluster.psql_in(database, &state).await);
        }
        content
    }

    /// The definitions of a database's tables, by pg_dump.
    async fn definitions(&self, database: &str, patterns: &[&str]) -> Vec<String> {
        let dump = self.cluster.installation().invocation("pg_dump").arguments(["-s", "--no-owner", "--no-privileges"]);
        let dump = dump.arguments(patterns).environment("PGDATABASE", database).environment("PGHOST", self.cluster.host());
        let dump = dump.environment("PGPORT", self.cluster.port().to_string()).environment("PGUSER", self.cluster.superuser());
        let text = dump.environment("PGPASSWORD", self.cluster.password()).run().await.unwrap().text();
        text.lines().filter(|line| !line.contains("restrict ")).map(ToOwned::to_owned).collect()
    }

    /// Nothing of the tables is in the service's database, and nothing else of a run is anywhere.
    async fn assert_not_moved(&self) {
        let relations = "SELECT count(*) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace \
                         WHERE n.nspname IN ('public', 'Odd \"schema')";
        assert_eq!(self.cluster.psql_in("link_users", relations).await, "0");
        self.assert_clean().await;
    }

    async fn assert_clean(&self) {
        let logins = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'pgisle\\_migrate%'";
        assert_eq!(self.cluster.psql(logins).await, "0");
        let left: Vec<_> = fs::read_dir(self.folder.path().join("t m'p")).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }

    /// A session of the service in its new home.
    async fn service_session(&self) -> tokio_postgres::Client {
        let credential = self.project.store.load().unwrap().services[&service_name("users")].active.clone();
        self.cluster.connect_as(credential.role.as_str(), credential.secret.expose(), "link_users").await.unwrap()
    }
}

fn table_in_schema(table: &str) -> String {
    if table.starts_with('"') { table.to_owned() } else { format!("public.{table}") }
}

#[tokio::test]
async fn everything_moves_on_every_version() {
    for major in pgisle_testkit::majors().await {
        let cluster = Cluster::builder().major(major).start().await;
        let project = Project::new(&cluster, TWO);
        let (user, password) = (cluster.superuser().to_owned(), cluster.password().to_owned());
        let shop = Shop::filled(cluster, project, &user, &password).await;
        let before = shop.content("link_app").await;
        let output = shop.migrate(&[]).await;
        assert_success(&output);
        assert_eq!(shop.content("link_users").await, before, "{major}");
        assert_eq!(shop.content("link_app").await, before, "{major}: the old tables are as they were");
        shop.assert_clean().await;
        assert_definitions(&shop).await;
        for left_out in [
            "not moved: foreign key rooms_owner_fkey of public.rooms",
            "not moved: foreign key users_home_fkey of public.users",
            "not moved: view public.rooms_of",
            "function public.in_both(), which names public.rooms",
            "is copied: sequence public.\"free number\", which public.rooms uses",
        ] {
            assert!(said(&output).contains(left_out), "{left_out:?} in {}", said(&output));
        }
        assert_lives(&shop).await;
        shop.project.assert_settled().await;
    }
}

/// Each line of the tables' definitions is there, but for the foreign key that would end in another database; and of the rest
/// what they need and nothing else.
async fn assert_definitions(shop: &Shop) {
    let patterns =
        ["-t", "users", "-t", "events*", "-t", "*secrets", "-t", "newest", "-t", "counted", "-t", "\"Odd \"\"schema\".*"];
    let source = shop.definitions("link_app", &patterns).await;
    let target = shop.definitions("link_users", &[]).await;
    let lost: Vec<&String> = source.iter().filter(|line| !target.contains(line)).collect();
    let is_crossing = |line: &&&String| line.contains("users_home_fkey") || line.contains("REFERENCES public.rooms(id)");
    assert!(!lost.is_empty() && lost.iter().all(|line| is_crossing(&line)), "{lost:#?}");
    let functions =
        "SELECT string_agg(p.proname, ' ' ORDER BY p.proname) FROM pg_proc AS p WHERE p.pronamespace = 'public'::regnamespace";
    let own = format!("{functions} AND p.prolang <> (SELECT oid FROM pg_language WHERE lanname = 'internal')");
    assert_eq!(shop.cluster.psql_in("link_users", &own).await, "count_users in_both shorter touch");
    assert_eq!(
        shop.cluster.psql_in("link_users", "SELECT to_regclass('rooms') IS NULL AND to_regclass('untouched') IS NULL").await,
        "t"
    );
}

/// The service goes on where it was: numbers, triggers, policies.
async fn assert_lives(shop: &Shop) {
    let session = shop.service_session().await;
    let row = session.query_one("INSERT INTO users (name) VALUES ('new') RETURNING id, name, number", &[]).await.unwrap();
    let number: i64 = shop.cluster.psql_in("link_app", "SELECT last_value + 1 FROM \"free number\"").await.parse().unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, &str>(1), row.get::<_, i64>(2)), (5001, "new!", number));
    let owners =
        "SELECT string_agg(DISTINCT pg_get_userbyid(relowner), ' ') FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    assert_eq!(shop.cluster.psql_in("link_users", owners).await, "link_users_owner");
    session.batch_execute("INSERT INTO events VALUES (1, '2031-01-01', 'x'); REFRESH MATERIALIZED VIEW counted").await.unwrap();
    let users: i64 = session.query_one("SELECT users FROM counted", &[]).await.unwrap().get(0);
    assert_eq!(users, 1004);
}

#[tokio::test]
async fn a_plain_administrator_moves_what_is_its_own_on_every_version() {
    let installations = pgisle_testkit::installations().await;
    let newest = installations.iter().max_by_key(|installation| installation.major).unwrap();
    for major in pgisle_testkit::majors().await {
        let cluster = Cluster::builder().major(major).start().await;
        let mut project = Project::plain(&cluster, TWO).await;
        let password = "of: the \\ administrator";
        cluster.psql(&format!("ALTER ROLE platform PASSWORD '{password}'")).await;
        project.connect = login(&cluster, "platform", password);
        let mut shop = Shop::filled(cluster, project, "platform", password).await;
        // Newer tools write settings into a dump that an older server does not know.
        shop.programs.clone_from(&newest.bin);
        let before = shop.content("link_app").await;
        assert_success(&shop.migrate(&["--close"]).await);
        assert_eq!(shop.content("link_users").await, before, "{major}");
        shop.assert_clean().await;
        shop.project.assert_settled().await;
    }
}

#[tokio::test]
async fn the_services_of_the_example_move_one_after_the_other() {
    let installations = pgisle_testkit::installations().await;
    let full: Vec<u32> = installations.iter().filter(|one| one.vector && one.contrib).map(|one| one.major).collect();
    if full.is_empty() {
        skip!("pgvector is not installed");
    }
    for major in [15, 17].into_iter().filter(|major| full.contains(major)) {
        let (cluster, project) = crate::split::link(Cluster::builder().major(major)).await;
        cluster.psql_in("link_app", PEOPLE).await;
        cluster.psql_in("link_app", EMBEDDINGS).await;
        let (user, password) = (cluster.superuser().to_owned(), cluster.password().to_owned());
        let shop = Shop::with(cluster, project, &user, &password).await;
        let services: Vec<_> = shop.project.spec.services.values().map(|one| (one.name.clone(), one.database.clone())).collect();
        let hash = "SELECT concat(count(*), md5(string_agg(e::text, ',' ORDER BY id))) FROM embeddings AS e";
        let before = shop.cluster.psql_in("link_app", hash).await;
        let keys = "SELECT count(*) FROM pg_constraint WHERE contype = 'f'";
        let mut within = 0;
        for (service, database) in &services {
            let output = shop.script(service.as_str()).arguments(["-y", "--close"]).run_to_end().await.unwrap();
            assert_success(&output);
            assert!(said(&output).contains(&format!("has its tables in {database}")), "{}", said(&output));
            within += shop.cluster.psql_in(database.as_str(), keys).await.parse::<u32>().unwrap();
        }
        assert_eq!(shop.cluster.psql_in("link_search", hash).await, before, "{major}");
        assert_eq!(shop.cluster.psql_in("link_users", "SELECT count(*) FROM users").await, "50");
        let left = shop.cluster.psql_in("link_app", keys).await;
        assert_eq!(left, within.to_string(), "what is within a service is on both sides, and what crossed is gone");
        shop.project.assert_settled().await;
    }
}

#[tokio::test]
async fn closing_keeps_writers_out_and_can_be_undone() {
    let shop = Shop::new().await;
    let mut output = shop.migrate(&[]).await;
    assert_success(&output);
    assert!(said(&output).contains("foreign keys between the old tables and those that stay still hold"), "{}", said(&output));
    shop.cluster.psql_in("link_app", "INSERT INTO events VALUES (0, '2030-01-01', 'late')").await;
    output = shop.migrate(&[]).await;
    assert_failure(&output, "public.events_rest: 287 rows in link_users, 288 in link_app");
    shop.cluster.psql_in("link_app", "DELETE FROM events WHERE id = 0").await;
    assert_success(&shop.migrate(&[]).await);

    // The service works in its new home when the old tables are closed, twice.
    shop.service_session().await.batch_execute("INSERT INTO users (name) VALUES ('new')").await.unwrap();
    assert_failure(&shop.migrate(&["--close"]).await, "not confirmed");
    shop.cluster.psql_in("link_app", "UPDATE events SET what = 'still open'").await;
    for _ in 0..2 {
        output = shop.migrate(&["--close", "--moved"]).await;
        assert_success(&output);
        assert!(said(&output).contains("public.users: 1004 rows in link_users, 1003 in link_app"), "{}", said(&output));
    }
    for attempt in [
        "INSERT INTO users (name) VALUES ('x')",
        "UPDATE events SET what = 'x'",
        "DELETE FROM events_a",
        "TRUNCATE more_secrets",
        "SET session_replication_role = replica; DELETE FROM \"Odd \"\"schema\".\"My 'Table' $f$ \\x :name\"",
    ] {
        let error = shop.cluster.try_psql_in("link_app", attempt).await.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert!(error.message().ends_with("has moved to database \"link_users\""), "{error:?}");
        assert_eq!(error.hint(), Some("Connect to database \"link_users\"."));
    }
    // Those that stay are bound to them no more, and what is read is as it was.
    shop.cluster.psql_in("link_app", "INSERT INTO rooms (owner) VALUES (987654)").await;
    assert_eq!(shop.cluster.psql_in("link_app", "SELECT count(*) FROM users").await, "1003");

    let undo = "DROP FUNCTION pgisle_split.\"moved_users\"() CASCADE";
    assert!(said(&output).contains(undo), "{}", said(&output));
    shop.cluster.psql_in("link_app", undo).await;
    shop.cluster.psql_in("link_app", "INSERT INTO users (name) VALUES ('x')").await;
}

#[tokio::test]
async fn tables_that_are_there_and_empty_are_filled() {
    let shop = Shop::new().await;
    // What the service's own migrations have made.
    let session = shop.service_session().await;
    session.batch_execute("CREATE TABLE log (a int)").await.unwrap();
    assert_success(&shop.migrate(&[]).await);
    let before = shop.content("link_app").await;
    session
        .batch_execute(
            "TRUNCATE users, events, secrets, \"Odd \"\"schema\".\"My 'Table' $f$ \\x :name\"; \
             ALTER TABLE users ENABLE ALWAYS TRIGGER users_touch; \
             CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS \
             $$BEGIN INSERT INTO public.log VALUES (NEW.id); RETURN NULL; END$$; \
             CREATE TRIGGER noted BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION note(); \
             SELECT setval('users_id_seq', 1)",
        )
        .await
        .unwrap();
    let output = shop.migrate(&[]).await;
    assert_success(&output);
    assert_eq!(shop.content("link_users").await, before);
    assert_eq!(shop.cluster.psql_in("link_users", "SELECT count(*) FROM log").await, "0", "no trigger has fired");
    let fires = "SELECT string_agg(DISTINCT concat(tgname, tgenabled), ' ') FROM pg_trigger WHERE NOT tgisinternal";
    assert_eq!(shop.cluster.psql_in("link_users", fires).await, "notedO users_touchA");
    shop.assert_clean().await;
}
