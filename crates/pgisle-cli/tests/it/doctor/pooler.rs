//! `PgBouncer`, and the services through it.

use pgisle_engine::local::pooler::{self, Pooler, PoolerOptions};
use pgisle_engine::local::{PgBouncer, find_pgbouncer, find_pgbouncers, server};
use pgisle_engine::process::Account;
use pgisle_testkit::Cluster;

use super::{SPEC, applied, assert_well, eventually, found, project};
use crate::program::Place;

/// A cluster, a place, and a PgBouncer that is not started yet.
struct Site {
    cluster: Cluster,
    place: Place,
    program: PgBouncer,
    port: u16,
    folder: tempfile::TempDir,
}

impl Site {
    async fn new() -> Option<Self> {
        Self::on(find_pgbouncer().await?).await
    }

    async fn on(program: PgBouncer) -> Option<Self> {
        let cluster = Cluster::start().await;
        let port = server::free_port().unwrap();
        let place = project(&cluster).variable("PGISLE_VAR_pgbouncer_port", &port.to_string());
        let place = place.variable("PGISLE_VAR_pgbouncer_host", "127.0.0.1").with_program("psql")?;
        place.file("pgisle.hcl", SPEC.replace("enable_pgbouncer    = false", ""));
        applied(&place);
        let folder = tempfile::Builder::new().permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755)).tempdir().unwrap();
        Some(Self { cluster, place, program, port, folder })
    }

    fn generated(&self, name: &str) -> String {
        self.place.read(&format!("generated/development/pgbouncer/{name}"))
    }

    /// Has PgBouncer run on these files.
    async fn run(&self, ini: &str, userlist: &str) -> Pooler {
        let files: [(&str, &str); 2] = [("generated.ini", ini), ("generated.txt", userlist)];
        let [ini, userlist] = files.map(|(name, text)| {
            let path = self.folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        });
        let options = PoolerOptions { ini: &ini, userlist: &userlist, port: Some(self.port), settings: Vec::new(), lead: None };
        let (home, account) = (self.home(), Account::for_servers().unwrap());
        match pooler::reload(&home, account.as_ref(), &options).await.unwrap() {
            Some(running) => running,
            None => pooler::start(&home, account.as_ref(), &self.program, &options).await.unwrap(),
        }
    }

    fn home(&self) -> std::path::PathBuf {
        self.folder.path().join("pooler")
    }

    /// Puts the generated files in their place, as the commands say.
    async fn obey(&self, commands: &[String]) {
        assert!(
            commands[0].starts_with("sudo cp generated/development/pgbouncer/pgbouncer.ini")
                && commands[1] == "sudo systemctl reload pgbouncer",
            "{commands:?}"
        );
        self.run(&self.generated("pgbouncer.ini"), &self.generated("userlist.txt")).await;
    }

    /// Types a command for PgBouncer's console into a shell.
    fn console(&self, command: &str) {
        let store: serde_json::Value = serde_json::from_str(&self.place.read(".pgisle/development/credentials.json")).unwrap();
        let password = store.pointer("/pgbouncer/password").or(store.pointer("/pgbouncer/secret")).unwrap().as_str().unwrap();
        let output = self.place.command("/bin/bash").env("PGPASSWORD", password).arg("-c").arg(command).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn password(&self, service: &str) -> String {
        let output = self.place.pgisle(&["output", "-json", "service_passwords"]);
        let passwords: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        passwords[service].as_str().unwrap().to_owned()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let pid = std::fs::read_to_string(self.home().join("pgbouncer.pid")).ok().and_then(|text| text.trim().parse().ok());
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// With every version that is installed: they say the same in other words.
#[tokio::test]
async fn a_pooler_that_is_down_or_runs_on_other_files() {
    let programs = find_pgbouncers().await;
    if programs.is_empty() {
        pgisle_testkit::skip!("PgBouncer is not installed");
    }
    for program in programs {
        let Some(site) = Site::on(program).await else { pgisle_testkit::skip!("psql is not installed") };
        Box::pin(down_or_on_other_files(site)).await;
    }
}

async fn down_or_on_other_files(site: Site) {
    let commands = found(&site.place, "pooler", "failed", "PI1210", "cannot be used");
    assert_eq!(commands, ["sudo systemctl start pgbouncer"]);
    let (ini, userlist) = (site.generated("pgbouncer.ini"), site.generated("userlist.txt"));
    site.run(&ini, &userlist).await;
    assert_well(&site.place, "pooler");
    assert_well(&site.place, "pooled");

    let without_orders: String =
        ini.lines().filter(|line| !line.starts_with("shop_orders =")).map(|line| format!("{line}\n")).collect();
    site.run(&without_orders, &userlist).await;
    site.obey(&found(&site.place, "pooler", "failed", "PI1210", "has no alias \"shop_orders\"")).await;
    site.run(&ini.replace("dbname=shop_orders ", "dbname=shop_billing "), &userlist).await;
    site.obey(&found(&site.place, "pooler", "failed", "PI1210", "leads \"shop_orders\" to database \"shop_billing\"")).await;
    assert_well(&site.place, "pooler");

    // Another password: the verifier of the login before it was rotated, say.
    let forged = |text: &str, user: &str| -> String {
        let other = pgisle_core::credential::Verifier::compute(&pgisle_core::secret::Secret::new("other"), &[7; 16]);
        let line = |line: &str| {
            if line.starts_with(&format!("\"{user}\"")) {
                format!("\"{user}\" \"{}\"\n", other.expose())
            } else {
                format!("{line}\n")
            }
        };
        // PgBouncer takes a file of the same second and size for the same.
        text.lines().map(line).chain(["; forged\n".to_owned()]).collect()
    };
    site.run(&ini, &forged(&userlist, "shop_orders_user")).await;
    site.obey(&found(&site.place, "pooled", "failed", "PI1210", "\"shop_orders_user\" does not get through")).await;
    site.run(&ini, &forged(&userlist, "shop_pgbouncer")).await;
    site.obey(&found(&site.place, "pooler", "failed", "PI1210", "cannot be used")).await;
    assert_well(&site.place, "pooler");
    assert_well(&site.place, "pooled");
}

#[tokio::test]
async fn a_pool_that_is_paused_disabled_or_full() {
    let Some(site) = Site::new().await else { pgisle_testkit::skip!("PgBouncer or psql is not installed") };
    let (ini, userlist) = (site.generated("pgbouncer.ini"), site.generated("userlist.txt"));
    let small = ini
        .replace("dbname=shop_orders pool_size=10", "dbname=shop_orders pool_size=1")
        .replace("reserve_pool_size = 2", "reserve_pool_size = 0");
    assert!(small != ini, "{ini}");
    let pooler = site.run(&small, &userlist).await;
    assert_well(&site.place, "pooled");
    let console = |command: &str| format!("psql -h 127.0.0.1 -p {} -U shop_pgbouncer -d pgbouncer -c '{command}'", site.port);
    for (trouble, cause) in
        [("PAUSE shop_orders", "has paused \"shop_orders\""), ("DISABLE shop_orders", "takes nobody for \"shop_orders\"")]
    {
        site.console(&console(trouble));
        let commands = found(&site.place, "pooler", "failed", "PI1210", cause);
        site.console(&commands[0]);
        assert_well(&site.place, "pooler");
    }

    let password = site.password("orders");
    let connect = async || site.cluster.connect_through(pooler.port, "shop_orders_user", &password, "shop_orders").await.unwrap();
    let first = connect().await;
    first.batch_execute("BEGIN; SELECT 1").await.unwrap();
    let second = connect().await;
    let waits = tokio::spawn(async move { second.batch_execute("SELECT 1").await });
    eventually(&site.place, "pooler", "warning").await;
    let commands = found(&site.place, "pooler", "warning", "PI1210", "the pool of \"shop_orders\" at");
    assert_eq!(commands, ["pgisle budget"]);
    drop(first);
    waits.await.unwrap().unwrap();
    eventually(&site.place, "pooler", "ok").await;
}

#[tokio::test]
async fn a_pooler_in_place_of_the_server_and_a_server_that_it_does_not_reach() {
    let Some(site) = Site::new().await else { pgisle_testkit::skip!("PgBouncer or psql is not installed") };
    let (ini, userlist) = (site.generated("pgbouncer.ini"), site.generated("userlist.txt"));
    // It has the maintenance database and the administrator, too, or it would not let them in at all.
    let superuser = format!("{userlist}\"postgres\" \"{}\"\n", site.cluster.password());
    let ini_with_all =
        ini.replace("[databases]\n", &format!("[databases]\npostgres = host=127.0.0.1 port={}\n", site.cluster.port()));
    site.run(&ini_with_all, &superuser).await;
    let here = site.port.to_string();
    let place = project(&site.cluster).variable("PGISLE_VAR_postgres_port", &here);
    let commands = found(&place, "protocol", "failed", "PI0204", "connection pooler, not a server");
    assert!(commands[0].starts_with("grep -rn postgres_port"), "{commands:?}");

    let nobody = server::free_port().unwrap();
    site.run(&ini.replace(&format!("port={} ", site.cluster.port()), &format!("port={nobody} ")), &userlist).await;
    let cause = format!("PgBouncer takes it to 127.0.0.1 port {nobody}");
    // The second time, those of the first still wait, and the pool is not full for that.
    found(&site.place, "pooled", "failed", "PI1210", "does not get through");
    let commands = found(&site.place, "pooled", "failed", "PI1210", &cause);
    assert!(commands[0].starts_with("psql -h 127.0.0.1"), "{commands:?}");
}
