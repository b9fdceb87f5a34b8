//! `pgisle dev`, with real servers that are killed, blocked and moved about.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use pgisle_core::diagnostic::Code;
use pgisle_core::name::{DatabaseName, RoleName};
use pgisle_engine::local::dev::{self, DownChange, Status, UpChange, UpOptions};
use pgisle_engine::local::{Installation, LocalError, server};
use pgisle_engine::process::Account;
use rustix::process::Signal;

use super::project::{Project, ask, connect, options};

#[tokio::test]
async fn up_creates_a_cluster_as_described_and_then_leaves_it_alone() {
    let project = Project::open();
    assert_eq!(dev::status(project.path()).await.unwrap(), Status::Absent);
    let (cluster, change) = dev::up(project.path(), &options()).await.unwrap();
    assert_eq!(change, UpChange::Created);
    assert!(cluster.data.starts_with(project.path().canonicalize().unwrap()), "{}", cluster.data.display());

    for over_socket in [false, true] {
        let client = connect(&cluster, over_socket).await;
        let facts = "SELECT concat_ws(' ', current_user, rolsuper, pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, \
             current_setting('max_connections'), current_setting('password_encryption'), current_setting('listen_addresses')) \
             FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()";
        assert_eq!(ask(&client, facts).await, "link_user t link_user UTF8 C.UTF-8 200 scram-sha-256 127.0.0.1");
        let methods = "SELECT string_agg(DISTINCT auth_method, ',') FROM pg_hba_file_rules";
        assert_eq!(ask(&client, methods).await, "scram-sha-256");
    }

    let pgisle = project.path().join(".pgisle");
    assert_eq!(fs::read_to_string(pgisle.join(".gitignore")).unwrap(), "*\n");
    let state = pgisle.join("dev/dev.json");
    assert_eq!(state.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(cluster.data.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let before = fs::read_to_string(&state).unwrap();
    assert!(before.contains("\"format\": 1"), "{before}");

    let (again, change) = dev::up(project.path(), &options()).await.unwrap();
    assert_eq!((again, change), (cluster.clone(), UpChange::None));
    assert_eq!(fs::read_to_string(&state).unwrap(), before);
    assert_eq!(dev::load(project.path()).unwrap(), Some(cluster.clone()));
    let Status::Running { cluster: found, pooler: None, standby_port: None } = dev::status(project.path()).await.unwrap() else {
        panic!("not running")
    };
    assert_eq!(found, cluster);
    assert!(!format!("{cluster:?}").contains(cluster.password.expose()));
    assert!(!fs::read_to_string(&cluster.log).unwrap().contains(cluster.password.expose()));
}

#[tokio::test]
async fn down_stops_up_starts_and_destroy_removes() {
    let project = Project::open();
    assert_eq!(dev::down(project.path(), false).await.unwrap(), DownChange::None);
    let (cluster, _) = dev::up(project.path(), &options()).await.unwrap();
    // A session that stays open must not hold the server up.
    let client = connect(&cluster, false).await;
    client.batch_execute("CREATE TABLE kept AS SELECT 'yes'::text AS kept").await.unwrap();
    assert_eq!(dev::down(project.path(), false).await.unwrap(), DownChange::Stopped);
    assert_eq!(server::postmaster(&cluster.data), None);
    assert!(matches!(dev::status(project.path()).await.unwrap(), Status::Stopped(_)));
    assert_eq!(dev::down(project.path(), false).await.unwrap(), DownChange::None);

    let (again, change) = dev::up(project.path(), &options()).await.unwrap();
    assert_eq!((&again, change), (&cluster, UpChange::Started));
    assert_eq!(ask(&connect(&again, false).await, "SELECT kept FROM kept").await, "yes");

    assert_eq!(dev::down(project.path(), true).await.unwrap(), DownChange::Destroyed);
    assert!(!cluster.data.exists() && !cluster.socket_folder.exists());
    assert_eq!(dev::status(project.path()).await.unwrap(), Status::Absent);
    assert_eq!(dev::down(project.path(), true).await.unwrap(), DownChange::None);
}

#[tokio::test]
async fn a_killed_server_is_started_again_with_its_data() {
    let project = Project::open();
    let (cluster, _) = dev::up(project.path(), &options()).await.unwrap();
    connect(&cluster, false).await.batch_execute("CREATE TABLE kept AS SELECT 'yes'::text AS kept").await.unwrap();
    server::kill(&cluster.data);
    assert!(matches!(dev::status(project.path()).await.unwrap(), Status::Stopped(_)));
    let (again, change) = dev::up(project.path(), &options()).await.unwrap();
    assert_eq!((&again, change), (&cluster, UpChange::Started));
    assert_eq!(ask(&connect(&again, false).await, "SELECT kept FROM kept").await, "yes");

    // Only the first process this time: a backend at work holds on to the shared memory for a while.
    let client = connect(&again, false).await;
    let busy = tokio::spawn(async move { client.batch_execute("DO $$ BEGIN LOOP END LOOP; END $$").await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let postmaster = server::postmaster(&again.data).unwrap();
    server::signal(postmaster.pid, Signal::KILL);
    let (_, change) = dev::up(project.path(), &options()).await.unwrap();
    assert_eq!(change, UpChange::Started);
    assert!(busy.await.unwrap().is_err());
}

#[tokio::test]
async fn a_lock_file_with_a_strangers_number_does_not_stop_the_start() {
    let project = Project::open();
    let (cluster, _) = dev::up(project.path(), &options()).await.unwrap();
    server::kill(&cluster.data);
    // As after a reboot or in a new container: the number lives, and is another program's of the same account.
    let account = Account::for_servers().unwrap();
    let sleeper = pgisle_engine::process::Invocation::new("sleep").argument("60").run_as(account.as_ref()).directory("/");
    let mut sleeper = sleeper.start_tethered().unwrap();
    let lock = cluster.data.join("postmaster.pid");
    let stale = fs::read_to_string(&lock).unwrap();
    let rest = stale.split_once('\n').unwrap().1;
    fs::write(&lock, format!("{}\n{rest}", sleeper.id())).unwrap();
    let (_, change) = dev::up(project.path(), &options()).await.unwrap();
    assert_eq!(change, UpChange::Started);
    assert!(matches!(sleeper.try_wait(), Ok(None)), "the stranger was killed");
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
}

#[tokio::test]
async fn up_killed_at_any_moment_is_finished_by_the_next() {
    // From before initdb to after the start; initdb takes most of it.
    for delay_ms in [5, 60, 150, 300, 450, 600, 800, 1_000, 1_300] {
        let project = Project::open();
        let mut first = project.up_in_process();
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        first.kill().unwrap();
        first.wait().unwrap();
        let (cluster, _) =
            dev::up(project.path(), &options()).await.unwrap_or_else(|error| panic!("{delay_ms} ms: {}", error.diagnostic()));
        assert_eq!(ask(&connect(&cluster, false).await, "SELECT current_database()::text").await, "link_app");
        let place = cluster.data.parent().unwrap();
        let left: Vec<_> = place
            .read_dir()
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| name.to_string_lossy().contains("unfinished"))
            .collect();
        assert!(left.is_empty(), "{delay_ms} ms: {left:?}");
    }
}

#[tokio::test]
async fn the_server_outlives_the_process_that_started_it() {
    let project = Project::open();
    let mut first = project.up_in_process();
    assert!(first.wait().unwrap().success());
    let Status::Running { cluster, .. } = dev::status(project.path()).await.unwrap() else { panic!("not running") };
    assert_eq!(ask(&connect(&cluster, true).await, "SELECT 'here'::text").await, "here");
    let (_, change) = dev::up(project.path(), &options()).await.unwrap();
    assert_eq!(change, UpChange::None);
}

#[tokio::test]
async fn two_at_once_make_one_cluster() {
    let project = Project::open();
    let options = options();
    let (one, two) = tokio::join!(dev::up(project.path(), &options), dev::up(project.path(), &options));
    let ((one, change_one), (two, change_two)) = (one.unwrap(), two.unwrap());
    assert_eq!(one, two);
    assert!(matches!((change_one, change_two), (UpChange::Created, UpChange::None) | (UpChange::None, UpChange::Created)));
}

#[tokio::test]
async fn a_folder_closed_to_the_servers_account_gets_its_data_elsewhere() {
    let project = Project::closed();
    let (cluster, _) = dev::up(project.path(), &options()).await.unwrap();
    assert_eq!(ask(&connect(&cluster, true).await, "SELECT 'here'::text").await, "here");
    let inside = cluster.data.starts_with(project.temporary_folder().canonicalize().unwrap());
    assert_eq!(inside, Account::for_servers().unwrap().is_none(), "{}", cluster.data.display());
    // Found again without being told.
    assert_eq!(dev::up(project.path(), &options()).await.unwrap(), (cluster.clone(), UpChange::None));
    assert_eq!(dev::down(project.path(), true).await.unwrap(), DownChange::Destroyed);
    assert!(!cluster.data.parent().unwrap().exists());
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_gets_a_short_one() {
    let project = Project::with(0o755, &format!("{}/a folder, with 'quotes'", "deep/".repeat(25)));
    let (cluster, _) = dev::up(project.path(), &options()).await.unwrap();
    assert!(server::socket_fits(&cluster.socket_folder), "{}", cluster.socket_folder.display());
    assert_eq!(cluster.socket_folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(ask(&connect(&cluster, true).await, "SELECT 'here'::text").await, "here");
    assert_eq!(dev::down(project.path(), true).await.unwrap(), DownChange::Destroyed);
    assert!(!cluster.socket_folder.exists());
}

#[tokio::test]
async fn a_port_that_somebody_took_is_replaced() {
    let project = Project::open();
    let (cluster, _) = dev::up(project.path(), &options()).await.unwrap();
    dev::down(project.path(), false).await.unwrap();
    let _squatter = TcpListener::bind(("127.0.0.1", cluster.port)).unwrap();
    let (again, _) = dev::up(project.path(), &options()).await.unwrap();
    assert_ne!(again.port, cluster.port);
    assert_eq!(dev::load(project.path()).unwrap().unwrap().port, again.port);
    assert_eq!(ask(&connect(&again, false).await, "SELECT 'here'::text").await, "here");
}

#[tokio::test]
async fn another_database_is_added_and_another_administrator_refused() {
    let project = Project::open();
    dev::up(project.path(), &options()).await.unwrap();
    let quoted = UpOptions { database: DatabaseName::new("it's \"one\"").unwrap(), ..options() };
    let (cluster, _) = dev::up(project.path(), &quoted).await.unwrap();
    assert_eq!(ask(&connect(&cluster, false).await, "SELECT current_database()::text").await, "it's \"one\"");
    let other = UpOptions { admin: RoleName::new("someone").unwrap(), ..options() };
    let error = dev::up(project.path(), &other).await.unwrap_err();
    assert_eq!(error.diagnostic().code, Code::LOCAL_MISMATCH);
}

#[tokio::test]
async fn another_major_version_is_refused_with_what_to_do() {
    let majors = pgisle_testkit::majors().await;
    let [default, other, ..] = majors[..] else {
        pgisle_testkit::skip!("only one major version of PostgreSQL is installed");
    };
    let project = Project::open();
    let (cluster, _) = dev::up(project.path(), &UpOptions { major: Some(other), ..options() }).await.unwrap();
    assert_eq!(cluster.major, other);
    dev::down(project.path(), false).await.unwrap();

    let error = dev::up(project.path(), &UpOptions { major: Some(default), ..options() }).await.unwrap_err();
    let diagnostic = error.diagnostic();
    assert_eq!(diagnostic.code, Code::LOCAL_MISMATCH);
    assert_eq!(diagnostic.summary, format!("the private cluster was made by PostgreSQL {other}, not {default}"));
    assert_eq!(diagnostic.commands, ["pgisle dev down -destroy"]);
    // Without a wish, what is there decides.
    assert_eq!(dev::up(project.path(), &options()).await.unwrap().0.major, other);
    dev::down(project.path(), false).await.unwrap();

    fs::write(cluster.data.join("PG_VERSION"), "11\n").unwrap();
    let error = dev::up(project.path(), &options()).await.unwrap_err();
    assert!(matches!(error, LocalError::MajorGone { major: 11, .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_does_not_start_says_why() {
    let project = Project::open();
    let (cluster, _) = dev::up(project.path(), &options()).await.unwrap();
    dev::down(project.path(), false).await.unwrap();
    let conf = cluster.data.join("postgresql.conf");
    let text = fs::read_to_string(&conf).unwrap();
    fs::write(&conf, format!("{text}\nno_such_setting = 1\n")).unwrap();
    let diagnostic = dev::up(project.path(), &options()).await.unwrap_err().diagnostic();
    assert_eq!(diagnostic.code, Code::LOCAL_START);
    let detail = diagnostic.detail.unwrap();
    assert!(detail.contains("unrecognized configuration parameter \"no_such_setting\""), "{detail}");
}

#[tokio::test]
async fn what_is_not_ours_is_not_touched() {
    let project = Project::open();
    let place = project.path().join(".pgisle/dev/server");
    fs::create_dir_all(place.join("data/precious")).unwrap();
    let error = dev::up(project.path(), &options()).await.unwrap_err();
    assert!(matches!(error, LocalError::NotADataDirectory(_)), "{error}");
    assert!(place.join("data/precious").exists());

    let project = Project::open();
    let (cluster, _) = dev::up(project.path(), &options()).await.unwrap();
    let state = project.path().join(".pgisle/dev/dev.json");
    let text = fs::read_to_string(&state).unwrap();
    fs::remove_file(&state).unwrap();
    let error = dev::up(project.path(), &options()).await.unwrap_err();
    assert!(matches!(error, LocalError::StateMissing { .. }), "{error}");
    for (broken, expected) in [("{", "cannot be understood"), ("{\"format\": 3}", "format 3")] {
        fs::write(&state, broken).unwrap();
        let error = dev::up(project.path(), &options()).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.diagnostic().code, Code::LOCAL_STATE);
    }
    fs::write(&state, text).unwrap();
    assert_eq!(dev::up(project.path(), &options()).await.unwrap(), (cluster, UpChange::None));
}

#[tokio::test]
async fn every_installed_version_makes_a_cluster() {
    for installation in Installation::find_all().await {
        let project = Project::open();
        let wanted = UpOptions { major: Some(installation.major), ..options() };
        let (cluster, _) = dev::up(project.path(), &wanted).await.unwrap_or_else(|error| panic!("{}", error.diagnostic()));
        let major = ask(&connect(&cluster, false).await, "SELECT (current_setting('server_version_num')::int / 10000)::text").await;
        assert_eq!(major, installation.major.to_string());
    }
}
