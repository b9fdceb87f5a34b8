//! Where the address, the login and the password come from: the pure part on its own, then against a real server and libpq.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::secret::Secret;
use pgisle_core::spec::{LayerKind, Loaded, Sources, SslMode, load};
use pgisle_engine::postgres::conninfo::{FoundFile, resolve};
use pgisle_engine::postgres::{ConnectOptions, Host, Resolved, Session, Surroundings};
use pgisle_engine::process::Invocation;
use pgisle_testkit::Cluster;

use super::database;

fn loaded(settings: &str) -> Loaded {
    let mut sources = Sources::new();
    sources.push(LayerKind::SpecFile, "pgisle.hcl", format!("{settings}\nservice \"one\" {{}}\n"));
    let loaded = load(&sources);
    assert!(loaded.spec.is_some(), "{:?}", loaded.diagnostics);
    loaded
}

/// What a user has around: variables, then files of the home folder.
fn surroundings(variables: &[(&str, &str)], files: &[(&str, &str)]) -> Surroundings {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect();
    let file = |(name, text): &(&str, &str)| (Path::new("/home/me").join(name), FoundFile::Text(Secret::new(*text)));
    Surroundings { variables, home: Some(PathBuf::from("/home/me")), files: files.iter().map(file).collect() }
}

fn resolved(settings: &str, surroundings: &Surroundings) -> Result<Resolved, Box<Diagnostic>> {
    let loaded = loaded(settings);
    let explicit: BTreeSet<String> = loaded.origins.keys().cloned().collect();
    let spec = loaded.spec.unwrap();
    resolve(&spec.settings, loaded.secrets.postgres_password.as_ref(), &explicit, surroundings)
}

fn options(settings: &str, surroundings: &Surroundings) -> ConnectOptions {
    resolved(settings, surroundings).unwrap().options
}

fn password(options: &ConnectOptions) -> Option<String> {
    options.password().map(|password| password.expose().to_owned())
}

#[test]
fn the_settings_are_enough() {
    let options = options("postgres_host = \"db.example.org\"\npostgres_port = 6000", &surroundings(&[], &[]));
    assert_eq!(options.host, Host::Tcp("db.example.org".to_owned()));
    assert_eq!((options.port, options.user.as_str(), options.database.as_str()), (6000, "link_user", "postgres"));
    assert_eq!(options.tls.mode(), SslMode::Require);
    assert_eq!(password(&options), None);
    assert_eq!(options.endpoint(), "\"db.example.org\" port 6000");
}

#[test]
fn a_socket_has_no_tls() {
    let options = options("postgres_host = \"/run/postgresql\"", &surroundings(&[], &[]));
    assert_eq!(options.host, Host::Socket(PathBuf::from("/run/postgresql")));
    assert_eq!(options.tls.mode(), SslMode::Disable);
    assert_eq!(options.endpoint(), "socket \"/run/postgresql/.s.PGSQL.5432\"");
}

#[test]
fn the_password_is_looked_for_in_order() {
    let files = [(".pgpass", "*:*:*:*:from-file"), (".pg_service.conf", "[s]\npassword=from-service\n")];
    let all = [("PGPASSWORD", "from-variable"), ("PGSERVICE", "s")];
    let given = "postgres_password = \"from-spec\"";
    assert_eq!(password(&options(given, &surroundings(&all, &files))).as_deref(), Some("from-spec"));
    assert_eq!(password(&options("", &surroundings(&all, &files))).as_deref(), Some("from-variable"));
    assert_eq!(password(&options("", &surroundings(&all[1..], &files))).as_deref(), Some("from-service"));
    assert_eq!(password(&options("", &surroundings(&[], &files))).as_deref(), Some("from-file"));
    assert_eq!(password(&options("", &surroundings(&[("PGPASSWORD", "")], &files))).as_deref(), Some("from-file"));
    assert_eq!(password(&options("", &surroundings(&[], &[]))), None);
}

#[test]
fn the_password_file_is_asked_for_each_database() {
    let text = "localhost:5432:link_users:link_user:one\nlocalhost:*:*:link_user:any\n*:*:*:other:never";
    let found = options("", &surroundings(&[], &[(".pgpass", text)]));
    assert_eq!(password(&found).as_deref(), Some("any"));
    assert_eq!(password(&found.to_database(&database("link_users"))).as_deref(), Some("one"));
    // A socket is also called localhost, and by its folder.
    let socket = "postgres_host = \"/run/postgresql\"";
    assert_eq!(password(&options(socket, &surroundings(&[], &[(".pgpass", text)]))).as_deref(), Some("any"));
    let by_folder = "/run/postgresql:*:*:*:folder\nlocalhost:*:*:link_user:any\n";
    assert_eq!(password(&options(socket, &surroundings(&[], &[(".pgpass", by_folder)]))).as_deref(), Some("folder"));
    // Another file may be named.
    let mut named = surroundings(&[("PGPASSFILE", "/etc/passes")], &[(".pgpass", text)]);
    assert_eq!(password(&options("", &named)), None);
    named.files.insert(PathBuf::from("/etc/passes"), FoundFile::Text(Secret::new("*:*:*:*:named")));
    assert_eq!(password(&options("", &named)).as_deref(), Some("named"));
}

#[test]
fn a_service_fills_in_what_the_user_did_not_write() {
    let file = "[prod]\nhost=db.prod\nport=6001\nuser=boss\ndbname=elsewhere\nsslmode=verify-full\nsslrootcert=~/ca.pem\n";
    let around = surroundings(&[("PGSERVICE", "prod")], &[(".pg_service.conf", file)]);
    let filled = options("", &around);
    assert_eq!(filled.endpoint(), "\"db.prod\" port 6001");
    assert_eq!((filled.user.as_str(), filled.tls.mode()), ("boss", SslMode::VerifyFull));
    assert!(format!("{:?}", filled.tls).contains("/home/me/ca.pem"), "{:?}", filled.tls);
    assert_eq!(filled.database.as_str(), "postgres", "the lock stays where everybody looks for it");

    // Even a value that equals the default counts as written.
    let written = "postgres_host = \"localhost\"\npostgres_port = 5432\npostgres_username = \"me\"\npostgres_sslmode = \"require\"";
    let kept = options(written, &around);
    assert_eq!(kept.endpoint(), "\"localhost\" port 5432");
    assert_eq!((kept.user.as_str(), kept.tls.mode()), ("me", SslMode::Require));

    let weak = surroundings(&[("PGSERVICE", "w")], &[(".pg_service.conf", "[w]\nsslmode=prefer\n")]);
    assert_eq!(options("", &weak).tls.mode(), SslMode::Require);
    let bound = surroundings(&[("PGSERVICE", "w")], &[(".pg_service.conf", "[w]\nchannel_binding=require\n")]);
    assert!(options("", &bound).require_channel_binding);
}

#[test]
fn a_service_that_cannot_be_used_is_an_error() {
    for (file, words) in [
        ("[other]\nhost=x\n", "service \"s\" of PGSERVICE is not defined"),
        ("[s]\nport=many\n", "a port that is not a port number"),
        ("[s]\nnonsense\n", "line 2 is not key=value"),
        ("[s]\nsslmode=maybe\n", "a sslmode that is not a mode"),
        ("[s]\nuser=\u{1}\n", "a user that is not a role's name"),
    ] {
        let around = surroundings(&[("PGSERVICE", "s")], &[(".pg_service.conf", file)]);
        let diagnostic = resolved("", &around).unwrap_err();
        assert_eq!(diagnostic.code, Code::CONNECT_CONFIG);
        assert!(diagnostic.to_string().contains(words), "{words:?} is not in {diagnostic}");
    }
}

#[test]
fn half_a_client_certificate_is_an_error() {
    for half in ["sslcert=a.crt", "sslkey=a.key"] {
        let file = format!("[s]\n{half}\n");
        let around = surroundings(&[("PGSERVICE", "s")], &[(".pg_service.conf", &file)]);
        let diagnostic = resolved("", &around).unwrap_err();
        assert_eq!(diagnostic.code, Code::CONNECT_CONFIG, "{diagnostic}");
    }
}

#[test]
fn a_password_file_that_others_may_read_is_not_used() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join(".pgpass");
    fs::write(&path, "*:*:*:*:secret\n").unwrap();
    for (mode, is_used) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o666, false)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let mut around = Surroundings { home: Some(home.path().to_owned()), ..Surroundings::default() };
        around.read_file(path.clone());
        let resolved = resolved("", &around).unwrap();
        assert_eq!(password(&resolved.options).is_some(), is_used, "{mode:o}");
        assert_eq!(resolved.warnings.is_empty(), is_used, "{mode:o}");
        if let [warning] = &resolved.warnings[..] {
            assert!(warning.to_string().contains("chmod 0600"), "{warning}");
            assert!(!warning.to_string().contains("secret"), "{warning}");
        }
    }
}

#[test]
fn nothing_shows_a_password() {
    let files = [(".pgpass", "*:*:*:*:hunter2"), (".pg_service.conf", "[s]\npassword=hunter3\n")];
    let around = surroundings(&[("PGPASSWORD", "hunter4"), ("PGSERVICE", "s")], &files);
    let shown = format!("{around:?} {:?}", options("", &around));
    assert!(!shown.contains("hunter"), "{shown}");
    assert!(!format!("{:?}", options("", &surroundings(&[], &files[..1]))).contains("hunter"));
}

/// The same files and variables lead pgisle and psql to the same login.
#[tokio::test]
async fn libpq_reads_the_same_files_the_same_way() {
    let cluster = Cluster::start().await;
    let home = tempfile::tempdir().unwrap();
    let passfile = home.path().join(".pgpass");
    let servicefile = home.path().join(".pg_service.conf");
    let psql = cluster.installation().program("psql");
    let host = cluster.host();
    let port = cluster.port();
    let good = cluster.password();
    // Letters, so that each can be put behind a colon or a backslash.
    cluster.psql(r"CREATE ROLE tricky LOGIN PASSWORD 'a:b\c'").await;
    let cases = [
        ("postgres", format!("{host}:{port}:*:postgres:{good}\n"), true),
        ("postgres", format!("# first\n\n{host}:{port}:postgres:postgres:{good}\r\n"), true),
        ("postgres", format!("{host}:1:*:*:{good}\n"), false),
        ("postgres", format!("*:*:*:*:wrong\n*:*:*:*:{good}\n"), false),
        ("postgres", format!("*:*:*:*:{good}:more\n"), true),
        ("postgres", format!("*:*:*:postgres\n*:*:*:*:{good}\n"), true),
        ("tricky", "*:*:*:tri\\cky:a\\:b\\\\c\n".to_owned(), true),
        ("tricky", "*:*:*:*:a:b\\\\c\n".to_owned(), false),
        ("postgres", format!("\\*:*:*:*:wrong\n*:*:*:*:{good}\n"), true),
    ];
    for (user, text, is_good) in cases {
        fs::write(&passfile, &text).unwrap();
        fs::set_permissions(&passfile, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&servicefile, format!("[mine]\nhost={host}\nport={port}\nuser={user}\nsslmode=disable\n")).unwrap();
        let libpq = Invocation::new(&psql)
            .argument("-XAtwc")
            .argument("SELECT 1")
            .argument("service=mine dbname=postgres")
            .environment("HOME", home.path())
            .environment("PGPASSFILE", &passfile)
            .environment("PGSERVICEFILE", &servicefile)
            .run()
            .await;
        assert_eq!(libpq.is_ok(), is_good, "psql on {text:?}: {libpq:?}");

        let variables = BTreeMap::from([("PGSERVICE".to_owned(), Secret::new("mine"))]);
        let mut around = Surroundings { variables, home: Some(home.path().to_owned()), ..Surroundings::default() };
        for path in around.wanted_files() {
            around.read_file(path);
        }
        let ours = Session::connect(&options("", &around)).await;
        assert_eq!(ours.is_ok(), is_good, "pgisle on {text:?}: {ours:?}");
    }
}
