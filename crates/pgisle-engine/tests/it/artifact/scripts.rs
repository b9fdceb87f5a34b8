//! The generated scripts, run by bash against real clusters.

mod damage;
mod migrate;
mod retention;
mod roundtrip;
mod schedule;
mod text;

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use pgisle_core::artifact::{Endpoint, generate};
use pgisle_core::credential::{Credential, Credentials};
use pgisle_engine::artifact::{WriteOptions, write};
use pgisle_engine::process::{Invocation, Output};
use pgisle_testkit::Cluster;
use tempfile::TempDir;

use super::service_name;
use crate::apply::Project;
use crate::postgres::login;

/// Two services. The file takes only simple names, and a library call takes all, so the second gets names that need quotes
/// everywhere.
const TWO: &str = r#"
service "users" {
}
service "odd" {
}
"#;

/// The second service's database.
const ODD_DATABASE: &str = "We'ird \"db\" #1; `id` \\ =x";

/// Objects of all kinds that must come back as they were, and rows that look like something else.
const TABLES: &str = r#"
CREATE TABLE users (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, born date, tags text[]);
INSERT INTO users (name, born, tags) SELECT 'user ' || i, date '2000-01-01' + i, ARRAY['a', i::text] FROM generate_series(1, 1000) AS i;
INSERT INTO users (name) VALUES (E'two\nlines and a \\ and a \t'), ('\.'), ('COMMENT ON EXTENSION "uuid-ossp" IS NULL;');
CREATE TABLE "odd "" (name" ("a "" b" text);
INSERT INTO "odd "" (name" VALUES ('ALTER TABLE public.users OWNER TO link_users_owner;'), ('--'), (''), (NULL), ('\!touch x');
CREATE TABLE nothing (a int);
CREATE TABLE secrets (id int, tenant text);
INSERT INTO secrets VALUES (1, 'a'), (2, 'b');
ALTER TABLE secrets ENABLE ROW LEVEL SECURITY;
CREATE POLICY by_tenant ON secrets USING (tenant = current_setting('app.tenant', true));
CREATE VIEW newest AS SELECT max(id) AS id FROM users;
CREATE FUNCTION hand_over() RETURNS void LANGUAGE plpgsql AS $f$
BEGIN
EXECUTE $q$

ALTER TABLE public.users OWNER TO link_users_owner;

COMMENT ON SCHEMA public IS 'x';
$q$;
END
$f$;
COMMENT ON TABLE users IS 'ours';
SELECT lo_from_bytea(4711, 'a large object');
"#;

/// A cluster with islands, the scripts, a folder for backups and a passfile.
struct Site {
    folder: TempDir,
    project: Project,
    cluster: Cluster,
    /// The folder of the client tools.
    programs: PathBuf,
}

impl Site {
    async fn new(text: &str) -> Self {
        let cluster = Cluster::start().await;
        let project = Project::new(&cluster, text);
        let (user, password) = (cluster.superuser().to_owned(), cluster.password().to_owned());
        Self::with(cluster, project, &user, &password).await
    }

    /// With an administrator that may create roles and databases, and no more.
    async fn plain(text: &str, cluster: Cluster) -> Self {
        let mut project = Project::plain(&cluster, text).await;
        let password = "of: the \\ administrator";
        cluster.psql(&format!("ALTER ROLE platform PASSWORD '{password}'")).await;
        project.connect = login(&cluster, "platform", password);
        Self::with(cluster, project, "platform", password).await
    }

    async fn with(cluster: Cluster, mut project: Project, administrator: &str, password: &str) -> Self {
        let odd = project.spec.services.get_mut(&service_name("odd")).unwrap();
        odd.database = crate::postgres::database(ODD_DATABASE);
        odd.user = crate::postgres::role("O'dd \"user\" `id`");
        project.apply().await;
        let folder = TempDir::new().unwrap();
        let settings = &mut project.spec.settings;
        cluster.host().clone_into(&mut settings.postgres_host);
        settings.postgres_port = cluster.port();
        settings.postgres_username = crate::postgres::role(administrator);
        settings.postgres_sslmode = pgisle_core::spec::SslMode::Disable;
        settings.backup_storage_path = folder.path().join("back ups'").display().to_string();
        let escaped = password.replace('\\', "\\\\").replace(':', "\\:");
        let passfile = folder.path().join("passfile");
        fs::write(&passfile, format!("{}:{}:*:{administrator}:{escaped}\n", cluster.host(), cluster.port())).unwrap();
        fs::set_permissions(&passfile, fs::Permissions::from_mode(0o600)).unwrap();
        let programs = cluster.installation().bin.clone();
        let site = Self { folder, project, cluster, programs };
        site.write_scripts();
        site
    }

    /// Writes the scripts as the spec is now.
    fn write_scripts(&self) {
        let spec = &self.project.spec;
        let mut artifacts = generate(spec, &Endpoint::of(&spec.settings), &Credentials::default());
        artifacts.retain(|artifact| artifact.path.starts_with("scripts/"));
        write(self.folder.path(), &artifacts, WriteOptions { overwrite: true }).unwrap();
    }

    fn backups(&self) -> PathBuf {
        self.folder.path().join("back ups'")
    }

    /// A script, to be run with nothing but the programs that it needs and the passfile.
    fn script(&self, name: &str) -> Invocation {
        let mut path = OsString::from(&self.programs);
        path.push(":/usr/local/bin:/usr/bin:/bin");
        Invocation::new(self.folder.path().join("scripts").join(name))
            .clean_environment()
            .environment("PATH", path)
            .environment("HOME", self.folder.path())
            .environment("PGPASSFILE", self.folder.path().join("passfile"))
            .timeout(Duration::from_secs(120))
    }

    async fn back_up(&self) -> Output {
        self.script("backup-databases.sh").run_to_end().await.unwrap()
    }

    async fn restore(&self, service: &str, file: &std::path::Path) -> Output {
        self.script("restore-database.sh").arguments(["-y", service]).argument(file).run_to_end().await.unwrap()
    }

    /// Everything in the folders of the backups, which may not be there yet.
    fn files_if_any(&self) -> Vec<PathBuf> {
        let folders = [self.backups(), self.backups().join("cluster")];
        let entries = folders.into_iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
        entries.map(|entry| entry.path()).collect()
    }

    /// The backups of one kind, oldest first.
    fn files(&self, prefix: &str, suffix: &str) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = fs::read_dir(self.backups()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with(&format!("{prefix}_backup_")) && name.ends_with(suffix)
        });
        files.sort();
        files
    }

    /// Nothing is half written, and nothing of a restore is left.
    async fn assert_clean(&self) {
        for path in self.files_if_any() {
            assert!(!path.display().to_string().ends_with(".partial"), "{}", path.display());
        }
        assert_eq!(self.restores().await, "");
    }

    /// What a restore leaves while it is under way.
    async fn restores(&self) -> String {
        let names = "SELECT datname FROM pg_database WHERE datname LIKE '%\\_\\_restore\\_%' \
                     UNION ALL SELECT rolname FROM pg_roles WHERE rolname LIKE 'pgisle\\_restore%'";
        self.cluster.psql(names).await
    }

    /// Makes the tables as the service would.
    async fn fill(&self) {
        let credential = self.credential("users");
        let client = self.cluster.connect_as(credential.role.as_str(), credential.secret.expose(), "link_users").await.unwrap();
        client.batch_execute(TABLES).await.unwrap();
    }

    fn credential(&self, service: &str) -> Credential {
        self.project.store.load().unwrap().services[&service_name(service)].active.clone()
    }

    /// A database as pg_dump writes it: structure, rows, owners and privileges.
    async fn dump(&self, database: &str) -> String {
        let installation = self.cluster.installation();
        let dump =
            installation.invocation("pg_dump").environment("PGDATABASE", database).environment("PGHOST", self.cluster.host());
        let dump = dump.environment("PGPORT", self.cluster.port().to_string()).environment("PGUSER", self.cluster.superuser());
        let output = dump.environment("PGPASSWORD", self.cluster.password()).run().await.unwrap();
        let text = output.text();
        // The key is another each time.
        text.lines().filter(|line| !line.contains("restrict ")).map(|line| format!("{line}\n")).collect()
    }

    /// A database is as it was, by its dump. Only the lines that differ are shown.
    async fn assert_same(&self, database: &str, before: &str) {
        let after = self.dump(database).await;
        let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
        let gone: Vec<&&str> = old.iter().filter(|line| !new.contains(line)).collect();
        let come: Vec<&&str> = new.iter().filter(|line| !old.contains(line)).collect();
        let moved = old.iter().zip(&new).find(|(one, other)| one != other);
        assert!(after == before, "gone: {gone:#?}\nnew: {come:#?}\nfirst: {moved:#?}");
    }

    async fn is_unchanged(&self, before: &str) {
        self.assert_same("link_users", before).await;
        self.assert_clean().await;
        let open = self.cluster.psql("SELECT datallowconn FROM pg_database WHERE datname = 'link_users'").await;
        assert_eq!(open, "t");
        assert_eq!(self.cluster.psql("SELECT count(*) FROM pg_database WHERE datname LIKE '%replaced%'").await, "0");
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn assert_success(output: &Output) {
    assert!(output.status.success(), "{}", said(output));
}

/// It failed, and said why.
fn assert_failure(output: &Output, reason: &str) {
    assert_eq!(output.status.code(), Some(1), "{}", said(output));
    assert!(said(output).contains(reason), "no {reason:?} in:\n{}", said(output));
}
