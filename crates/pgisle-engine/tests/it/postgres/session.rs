use pgisle_core::diagnostic::Code;
use pgisle_core::secret::Secret;
use pgisle_engine::postgres::connect::query_diagnostic;
use pgisle_engine::postgres::{ConnectOptions, Host, Session};
use pgisle_testkit::{Cluster, majors};

use super::{database, login, role, superuser};

#[tokio::test]
async fn notices_belong_to_the_statement_that_was_running() {
    for major in majors().await {
        let cluster = Cluster::builder().major(major).start().await;
        let mut session = Session::connect(&superuser(&cluster)).await.expect("a session");
        assert_eq!(session.server_version_num() / 10_000, major);
        let two = "DO $$ BEGIN RAISE NOTICE 'first'; RAISE WARNING 'second'; END $$";
        let notices = session.run(two).await.expect("two notices");
        let seen: Vec<_> = notices.iter().map(|notice| (notice.severity.as_str(), notice.message.as_str())).collect();
        assert_eq!(seen, [("NOTICE", "first"), ("WARNING", "second")]);
        assert_eq!(session.run("SELECT 1").await.expect("no notice"), []);
        session.run("DO $$ BEGIN RAISE WARNING 'lost'; RAISE EXCEPTION 'no'; END $$").await.expect_err("an exception");
        assert_eq!(session.run("SELECT 1").await.expect("nothing of the statement before"), []);
        session.close().await;
    }
}

#[tokio::test]
async fn a_grant_that_does_nothing_says_so() {
    let cluster = Cluster::start().await;
    let password = cluster.create_plain_admin("admin").await;
    cluster.psql("CREATE DATABASE theirs").await;
    let mut session = Session::connect(&login(&cluster, "admin", &password)).await.expect("a session");
    let notices = session.run("REVOKE CONNECT ON DATABASE theirs FROM PUBLIC").await;
    let codes: Vec<_> = notices.expect("a warning").into_iter().map(|notice| notice.sqlstate).collect();
    assert_eq!(codes, ["01006"]);
}

#[tokio::test]
async fn the_search_path_of_a_hostile_database_is_not_used() {
    let cluster = Cluster::start().await;
    cluster.psql("CREATE DATABASE trap").await;
    cluster
        .psql_in(
            "trap",
            "CREATE SCHEMA evil;
             CREATE VIEW evil.pg_roles AS SELECT 'captured'::name AS rolname;
             CREATE FUNCTION evil.shout() RETURNS text LANGUAGE sql AS $$ SELECT 'captured'::text $$;
             ALTER DATABASE trap SET search_path = evil, pg_catalog;
             ALTER DATABASE trap SET default_transaction_read_only = on;
             ALTER DATABASE trap SET idle_session_timeout = '1ms';
             ALTER ROLE postgres IN DATABASE trap SET search_path = evil;
             ALTER ROLE postgres IN DATABASE trap SET lock_timeout = 1;",
        )
        .await;
    let mut session = Session::connect(&superuser(&cluster).to_database(&database("trap"))).await.expect("a session");
    let rows =
        session.query("SELECT rolname::text FROM pg_roles WHERE rolname = 'captured'", &[]).await.expect("the real pg_roles");
    assert!(rows.is_empty());
    session.run("SELECT shout()").await.expect_err("the function is not found");
    session.run("CREATE TABLE public.written ()").await.expect("the session may write");
    let rows = session.query("SHOW search_path", &[]).await.expect("a row");
    assert_eq!(rows[0].get::<_, &str>(0), "pg_catalog, pg_temp");
}

#[tokio::test]
async fn what_the_server_refuses_has_a_code() {
    let cluster = Cluster::builder().conf("max_connections", "5").conf("superuser_reserved_connections", "1").start().await;
    cluster.psql("CREATE ROLE app LOGIN PASSWORD 's3cret-of-app'").await;
    cluster.psql("CREATE DATABASE closed ALLOW_CONNECTIONS false").await;
    let code = async |options: &ConnectOptions| {
        let error = Session::connect(options).await.expect_err("a refusal");
        let shown = format!("{} {error:?}", error.diagnostic());
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(shown.contains(&options.port.to_string()), "{shown}");
        error.diagnostic().code
    };
    let app = login(&cluster, "app", "s3cret-of-app");
    let open = Session::connect(&app).await.expect("the password is right");
    assert_eq!(code(&login(&cluster, "app", "s3cret-and-wrong")).await, Code::CONNECT_AUTH);
    assert_eq!(code(&login(&cluster, "nobody", "s3cret")).await, Code::CONNECT_AUTH);
    let without = ConnectOptions::new(Host::Tcp("127.0.0.1".to_owned()), cluster.port(), role("app"), database("postgres"));
    assert_eq!(code(&without).await, Code::CONNECT_AUTH);
    assert_eq!(code(&app.to_database(&database("missing"))).await, Code::CONNECT_DATABASE);
    assert_eq!(code(&app.to_database(&database("closed"))).await, Code::CONNECT_DATABASE);
    cluster.psql("CREATE DATABASE fenced").await;
    cluster.psql("REVOKE CONNECT ON DATABASE fenced FROM PUBLIC").await;
    assert_eq!(code(&app.to_database(&database("fenced"))).await, Code::CONNECT_AUTH);
    let mut others = Vec::new();
    while let Ok(session) = Session::connect(&app).await {
        others.push(session);
        assert!(others.len() < 10, "the server has room for five");
    }
    assert_eq!(code(&app).await, Code::CONNECT_TOO_MANY);
    drop((open, others));
    cluster.stop_server();
    assert_eq!(code(&app).await, Code::CONNECT_REFUSED);
    assert_eq!(code(&superuser(&cluster)).await, Code::CONNECT_REFUSED);
    let unknown = ConnectOptions::new(Host::Tcp("no-such-host.invalid".to_owned()), cluster.port(), role("app"), database("x"));
    assert_eq!(code(&unknown).await, Code::CONNECT_REFUSED);
}

#[tokio::test]
async fn a_silent_server_is_not_waited_for_for_ever() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let silent = tokio::spawn(async move {
        let _open = listener.accept().await;
        std::future::pending::<()>().await;
    });
    let mut options = ConnectOptions::new(Host::Tcp("127.0.0.1".to_owned()), port, role("app"), database("postgres"));
    options.connect_timeout = std::time::Duration::from_millis(200);
    let error = Session::connect(&options).await.expect_err("a time-out");
    assert_eq!(error.diagnostic().code, Code::CONNECT_REFUSED);
    assert!(error.to_string().ends_with("did not answer within 200ms"), "{error}");
    silent.abort();
}

#[tokio::test]
async fn a_lost_session_is_told_from_a_failed_query() {
    let cluster = Cluster::start().await;
    let mut session = Session::connect(&superuser(&cluster)).await.expect("a session");
    let error = session.run("SELECT 1 / 0").await.expect_err("a division by zero");
    let diagnostic = query_diagnostic("cannot divide", &error);
    assert_eq!(diagnostic.code, Code::QUERY_FAILED);
    assert_eq!(diagnostic.detail.as_deref(), Some("Division by zero (SQLSTATE 22012)."));
    cluster.psql(&format!("SELECT pg_terminate_backend({}, 5000)", session.backend_pid())).await;
    let error = session.run("SELECT 1").await.expect_err("the session is gone");
    assert_eq!(query_diagnostic("cannot select", &error).code, Code::CONNECT_LOST);
    let mut session = Session::connect(&superuser(&cluster)).await.expect("a session");
    cluster.kill_server();
    let error = session.run("SELECT 1").await.expect_err("the server is gone");
    assert_eq!(query_diagnostic("cannot select", &error).code, Code::CONNECT_LOST);
    assert!(session.is_closed());
}

#[tokio::test]
async fn closing_leaves_nothing_behind() {
    let cluster = Cluster::start().await;
    let options = superuser(&cluster).for_purpose("plan");
    let session = Session::connect(&options).await.expect("a session");
    let alive = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgisle plan'";
    assert_eq!(cluster.psql(alive).await, "1");
    session.close().await;
    // The server's process takes a moment to go once the socket is closed.
    for _ in 0..100 {
        if cluster.psql(alive).await == "0" {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the session is still there");
}

#[tokio::test]
async fn a_password_never_shows() {
    let cluster = Cluster::start().await;
    let options = login(&cluster, "postgres", "hunter2").with_password(Secret::new("hunter2"));
    assert!(!format!("{options:?}").contains("hunter2"));
    let error = Session::connect(&options).await.expect_err("a wrong password");
    assert!(!format!("{error:?} {error} {}", error.diagnostic()).contains("hunter2"));
}
