//! A cluster's end: dropped, panicked, killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pgisle_testkit::Cluster;

/// Where [`helper`] writes the folder of its cluster.
const ANSWER_VARIABLE: &str = "PGISLE_TEST_ANSWER";

#[tokio::test]
async fn a_dropped_cluster_leaves_nothing() {
    let cluster = Cluster::start().await;
    let (folder, pid) = (cluster.socket_dir().to_owned(), server_pid(cluster.socket_dir()));
    drop(cluster);
    assert!(!folder.exists() && !is_alive(&pid));

    let killed = Cluster::start().await;
    let segment = shared_memory(killed.socket_dir());
    let folder = killed.socket_dir().to_owned();
    killed.kill_server();
    assert!(has_shared_memory(&segment));
    drop(killed);
    assert!(!folder.exists());
    assert!(!has_shared_memory(&segment), "segment {segment} is left");
}

#[tokio::test]
async fn a_panic_drops_the_cluster() {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(async {
        let cluster = Cluster::start().await;
        sender.send((cluster.socket_dir().to_owned(), server_pid(cluster.socket_dir()))).unwrap();
        let client = cluster.connect().await;
        client.batch_execute("SELECT 1").await.unwrap();
        panic!("as tests do");
    });
    let (folder, pid) = receiver.await.unwrap();
    assert!(task.await.unwrap_err().is_panic());
    assert!(!folder.exists() && !is_alive(&pid));
}

#[test]
fn a_killed_test_leaves_nothing_for_long() {
    let (mut helper, folder) = start_helper();
    let pid = server_pid(&folder);
    assert!(is_alive(&pid));
    helper.kill().unwrap();
    helper.wait().unwrap();
    wait_until("the guard has removed the cluster", || !folder.exists() && !is_alive(&pid));
}

#[test]
fn what_a_killed_guard_left_is_swept_by_the_next_process() {
    let (mut helper, folder) = start_helper();
    let pid = server_pid(&folder);
    for guard in guards_of(&folder) {
        assert!(Command::new("kill").args(["-KILL", &guard]).status().unwrap().success());
    }
    helper.kill().unwrap();
    helper.wait().unwrap();
    assert!(folder.exists() && is_alive(&pid));
    // Another process that is busy sweeping or starting may keep one sweep from happening, not several.
    wait_until("a later process has swept the cluster", || {
        let (mut helper, other) = start_helper();
        helper.kill().unwrap();
        helper.wait().unwrap();
        wait_until("the guard has removed the other cluster", || !other.exists());
        !folder.exists() && !is_alive(&pid)
    });
}

/// Not a test: a cluster in a process that other tests kill.
#[tokio::test]
#[ignore = "run by other tests, in a process that they kill"]
async fn helper() {
    if let Some(answer) = std::env::var_os(ANSWER_VARIABLE).map(PathBuf::from) {
        let cluster = Cluster::start().await;
        fs::write(answer.with_extension("new"), cluster.socket_dir().to_str().unwrap()).unwrap();
        fs::rename(answer.with_extension("new"), answer).unwrap();
        tokio::time::sleep(Duration::from_secs(600)).await;
    }
}

fn start_helper() -> (Child, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let answer = folder.path().join("answer");
    let helper = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ending::helper", "--ignored", "--nocapture"])
        .env(ANSWER_VARIABLE, &answer)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the helper has a cluster", || answer.exists());
    (helper, PathBuf::from(fs::read_to_string(&answer).unwrap()))
}

fn guards_of(folder: &Path) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let is_guard = |pid: &String| {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.contains("pgisle-testkit-guard") && line.contains(folder.to_str().unwrap())
    };
    let guards: Vec<String> = processes.filter(is_guard).collect();
    assert_eq!(guards.len(), 1);
    guards
}

fn server_pid(folder: &Path) -> String {
    fs::read_to_string(folder.join("data/postmaster.pid")).unwrap().lines().next().unwrap().to_owned()
}

fn shared_memory(folder: &Path) -> String {
    let lock = fs::read_to_string(folder.join("data/postmaster.pid")).unwrap();
    lock.lines().nth(6).unwrap().split_whitespace().nth(1).unwrap().to_owned()
}

fn has_shared_memory(segment: &str) -> bool {
    fs::read_to_string("/proc/sysvipc/shm").unwrap().lines().any(|line| line.split_whitespace().nth(1) == Some(segment))
}

/// A process that ended and was not buried yet does not count.
fn is_alive(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
