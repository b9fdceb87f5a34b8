//! `pgisle serve` on a real server: what it answers, to whom, and what it says once the server is gone.

mod browser;
mod page;
mod terminal;

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use pgisle_engine::local::find_program;
use pgisle_testkit::{Cluster, skip};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::faults::{ends, place};
use crate::program::Place;

pub(super) const SPEC: &str = r#"
environment        = "development"
name_prefix        = "link"
collation          = "C.UTF-8"
default_extensions = []
enable_pgbouncer   = false
postgres_sslmode   = "disable"
enable_ssl         = false

service "users" {
  connection_limit = 10
}

service "chat" {}
"#;

/// A server with two islands.
pub(super) async fn islands() -> (Cluster, Place) {
    let cluster = Cluster::builder().start().await;
    let place = place(&cluster, SPEC);
    ends(&place, &["apply", "-auto-approve"], 0).await;
    (cluster, place)
}

/// pgisle, serving.
pub(super) struct Serving {
    child: tokio::process::Child,
    pub(super) address: String,
}

impl Serving {
    pub(super) async fn start(place: &Place, more: &[&str], variables: &[(&str, &str)]) -> Self {
        let arguments = [&["serve", "-listen=127.0.0.1:0", "-every=1s"], more].concat();
        let mut child = place.start(&arguments, variables);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().unwrap();
        let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_else(|| panic!("{line}"));
        let serving = Self { address: address.to_owned(), child };
        serving.until(200).await;
        serving
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// What it answers: status, head and body.
    async fn ask(&self, request: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{answer}"));
        (status, head.to_lowercase(), body.to_owned())
    }

    pub(super) async fn get(&self, path: &str) -> (u16, String, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address)).await
    }

    pub(super) async fn board(&self) -> Value {
        let (status, _, body) = self.get("/api/v1/board").await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).unwrap()["board"].take()
    }

    async fn metrics(&self) -> String {
        let (status, head, body) = self.get("/metrics").await;
        assert!(status == 200 && head.contains("content-type: text/plain; version=0.0.4"), "{head}");
        body
    }

    /// Waits for what `/healthz` says.
    pub(super) async fn until(&self, expected: u16) {
        for _ in 0..300 {
            if self.get("/healthz").await.0 == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("/healthz is never {expected}");
    }

    /// Asks it to end, as an init system does.
    pub(super) async fn stop(mut self) {
        let pid = rustix_pid(self.pid());
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = tokio::time::timeout(Duration::from_secs(20), self.child.wait()).await.unwrap().unwrap();
        assert_eq!(status.code(), Some(0));
    }
}

fn rustix_pid(pid: u32) -> rustix::process::Pid {
    rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

/// The value of a metric with these labels.
fn value(metrics: &str, name: &str) -> Option<f64> {
    let line = metrics.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Waits for a metric to have a value.
async fn until_value(serving: &Serving, name: &str, expected: f64) -> String {
    let mut metrics = String::new();
    for _ in 0..100 {
        metrics = serving.metrics().await;
        if value(&metrics, name) == Some(expected) {
            return metrics;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{name} is not {expected}: {metrics}");
}

fn check_by_promtool(metrics: &str) {
    let Some(program) = find_program("promtool") else { skip!("promtool is not installed") };
    let mut command = std::process::Command::new(program);
    let mut child = command.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

async fn sessions_of_pgisle(cluster: &Cluster) -> String {
    cluster
        .psql("SELECT string_agg(usename || ' in ' || datname, ', ') FROM pg_stat_activity WHERE application_name = 'pgisle watch'")
        .await
}

#[tokio::test]
async fn metrics_say_what_is_and_nothing_that_is_over() {
    let (cluster, place) = islands().await;
    let serving = Serving::start(&place, &[], &[]).await;
    let store: Value = serde_json::from_str(&place.read(".pgisle/development/credentials.json")).unwrap();
    let login = &store["services"]["users"]["active"];
    let (role, password) = (login["role"].as_str().unwrap(), login["password"].as_str().unwrap());
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(cluster.connect_as(role, password, "link_users").await.unwrap());
    }
    clients[0].batch_execute("BEGIN; SELECT 1").await.unwrap();
    let idle = r#"pgisle_service_connections{service="users",database="link_users",state="idle"}"#;
    let metrics = until_value(&serving, idle, 7.0).await;
    check_by_promtool(&metrics);
    for (name, expected) in [
        (r#"pgisle_service_connections{service="users",database="link_users",state="idle_in_transaction"}"#, 1.0),
        (r#"pgisle_service_connections{service="chat",database="link_chat",state="idle"}"#, 0.0),
        (r#"pgisle_login_connections{service="users",login="link_users_user"}"#, 8.0),
        (r#"pgisle_login_connections_limit{service="users",login="link_users_user"}"#, 10.0),
        (r#"pgisle_service_up{service="users",database="link_users"}"#, 1.0),
        (r#"pgisle_up{part="server"}"#, 1.0),
        ("pgisle_drift", 0.0),
        ("pgisle_leaks", 0.0),
    ] {
        assert_eq!(value(&metrics, name), Some(expected), "{name}: {metrics}");
    }
    let board = serving.board().await;
    let alerts = board["alerts"].as_array().unwrap();
    assert!(alerts.iter().any(|alert| alert["text"] == "link_users_user holds 8 of its 10 connections"), "{alerts:#?}");
    // All of that by one connection, which reads statistics and no data.
    assert_eq!(sessions_of_pgisle(&cluster).await, "link_monitoring in postgres");
    drop(clients);
    cluster.kill_server();
    serving.until(503).await;
    let metrics = serving.metrics().await;
    check_by_promtool(&metrics);
    assert_eq!(value(&metrics, r#"pgisle_up{part="server"}"#), Some(0.0));
    for name in ["pgisle_service_connections", "pgisle_server_connections", "pgisle_service_up", "pgisle_drift"] {
        assert!(!metrics.lines().any(|line| line.starts_with(name)), "{name} is told of a server that is gone: {metrics}");
    }
    let board = serving.board().await;
    assert_eq!(board["freshness"]["server"]["is_fresh"], false);
    assert!(board["freshness"]["server"]["seen"].is_string() && board["alerts"][0]["kind"] == "server_down", "{board:#}");
    cluster.restart().await;
    serving.until(200).await;
    until_value(&serving, r#"pgisle_service_up{service="users",database="link_users"}"#, 1.0).await;
    assert_eq!(sessions_of_pgisle(&cluster).await, "link_monitoring in postgres");
    serving.stop().await;
    assert_eq!(sessions_of_pgisle(&cluster).await, "");
}

#[tokio::test]
async fn drift_and_leaks_are_seen_without_entering_a_database() {
    let (cluster, place) = islands().await;
    cluster.psql("GRANT CONNECT ON DATABASE link_chat TO link_users_user; ALTER DATABASE link_users CONNECTION LIMIT 7").await;
    let serving = Serving::start(&place, &[], &[]).await;
    let board = serving.board().await;
    let lines =
        |name: &str| board[name].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert!(lines("leaks").iter().any(|leak| leak.contains("users") && leak.contains("link_chat")), "{:?}", lines("leaks"));
    assert!(lines("drift").iter().any(|drift| drift.starts_with("service.users/database")), "{:?}", lines("drift"));
    assert_eq!(board["alerts"][0]["kind"], "leak");
    let entered = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgisle watch' AND datname LIKE 'link%'";
    assert_eq!(cluster.psql(entered).await, "0");
    serving.stop().await;
}

#[tokio::test]
async fn only_those_who_may_are_answered_and_nobody_changes_anything() {
    let (_cluster, place) = islands().await;
    let serving = Serving::start(&place, &[], &[]).await;
    let (status, head, body) = serving.get("/").await;
    assert!(status == 200 && body.contains("<title>pgisle</title>"), "{head}");
    for header in [
        "content-security-policy: default-src 'none'",
        "x-content-type-options: nosniff",
        "x-frame-options: deny",
        "cache-control: no-store",
    ] {
        assert!(head.contains(header), "{header}: {head}");
    }
    assert_eq!(serving.get("/nowhere").await.0, 404);
    assert_eq!(serving.get("/api/v1/history?range=2h").await.0, 400);
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let request = format!(
            "{method} /api/v1/board HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            serving.address
        );
        assert_eq!(serving.ask(&request).await.0, 405, "{method}");
    }
    // A page from elsewhere whose name leads here.
    assert_eq!(serving.ask("GET /api/v1/board HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n").await.0, 403);
    serving.stop().await;

    let token = "correct-horse-battery-staple";
    let serving = Serving::start(&place, &[], &[("PGISLE_SERVE_TOKEN", token)]).await;
    let (status, head, body) = serving.get("/metrics").await;
    assert!(status == 401 && head.contains("www-authenticate: basic") && !body.contains("pgisle_up"), "{head} {body}");
    assert_eq!(serving.get("/healthz").await.0, 200, "an orchestrator's probe knows no token");
    for (credential, expected) in [(format!("Bearer {token}"), 200), ("Bearer wrong".to_owned(), 401)] {
        let request =
            format!("GET /metrics HTTP/1.1\r\nHost: db.example\r\nAuthorization: {credential}\r\nConnection: close\r\n\r\n");
        assert_eq!(serving.ask(&request).await.0, expected, "{credential}");
    }
    let command_line = std::fs::read_to_string(format!("/proc/{}/cmdline", serving.pid())).unwrap();
    assert!(!command_line.contains(token));
    serving.stop().await;

    let refused = ends(&place, &["serve", "-listen=0.0.0.0:0"], 1).await;
    assert!(refused.contains("PI1103") && refused.contains("can be reached by others"), "{refused}");
    place.file("token", "correct-horse-battery-staple\n");
    let path = place.project().join("token");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let refused = ends(&place, &["serve", "-listen=127.0.0.1:0", "-token-file=token"], 1).await;
    assert!(refused.contains("PI1103") && refused.contains("chmod 600"), "{refused}");
    for every in ["-every=0s", "-every=1500ms"] {
        let refused = ends(&place, &["serve", "-listen=127.0.0.1:0", every], 64).await;
        assert!(refused.contains("a whole number of seconds, 1s at least"), "{refused}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let refused = ends(&place, &["serve", &format!("-listen={}", taken.local_addr().unwrap())], 1).await;
    assert!(refused.contains("PI1102") && refused.contains("port 0 is any that is free"), "{refused}");
}

/// Resident memory, kB.
fn resident_kb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A minute of 200 scrapes a second, as fast as they go.
#[tokio::test]
async fn twelve_thousand_scrapes_take_no_memory_and_no_connection() {
    let (cluster, place) = islands().await;
    let serving = Serving::start(&place, &[], &[]).await;
    let scrape = async |times: usize| {
        let mut stream = BufReader::new(TcpStream::connect(&serving.address).await.unwrap());
        for _ in 0..times {
            let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", serving.address);
            stream.get_mut().write_all(request.as_bytes()).await.unwrap();
            let (mut line, mut length) = (String::new(), 0);
            loop {
                line.clear();
                stream.read_line(&mut line).await.unwrap();
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await.unwrap();
            assert!(body.starts_with(b"# HELP pgisle_up"));
        }
    };
    futures_util::future::join_all((0..20).map(|_| scrape(50))).await;
    let before = resident_kb(serving.pid());
    // Those who hang up in the middle, and more at once than are let in.
    for _ in 0..300 {
        let mut stream = TcpStream::connect(&serving.address).await.unwrap();
        stream.write_all(b"GET /metr").await.unwrap();
    }
    futures_util::future::join_all((0..200).map(|_| scrape(55))).await;
    let grown = resident_kb(serving.pid()).saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} kB more than {before} kB");
    assert_eq!(sessions_of_pgisle(&cluster).await, "link_monitoring in postgres");
    serving.stop().await;
}
