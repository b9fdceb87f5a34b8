//! What others do while a dump is loaded, which takes hours.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use pgisle_core::diagnostic::Severity;
use pgisle_core::name::ServiceName;
use pgisle_core::verify::Verdict;
use pgisle_engine::backup::restore::{self, Input, Opening, RestoreError, Restored, Stream};
use pgisle_testkit::Cluster;

use super::{Dump, TWO, remains, said};
use crate::apply::Project;
use crate::verify::{USUAL, verify};

/// The end of the script, in front of which it is held up.
const BEFORE: &str = "CREATE TABLE t (n text);\nINSERT INTO t VALUES ('restored');\n";
const BEHIND: &str = "CREATE INDEX i ON t (n);\n";

/// A script that does not go on, the second time it is read, until it is let.
struct Slow {
    openings: AtomicU32,
    is_waiting: AtomicBool,
    gate: Mutex<Option<mpsc::Receiver<()>>>,
}

/// Its end, once there is something in the gate.
struct Gated(mpsc::Receiver<()>, io::Cursor<&'static str>);

impl Read for Gated {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.1.position() == 0 {
            // When nobody can open it any more, it is open.
            let _open = self.0.recv();
        }
        self.1.read(buffer)
    }
}

impl Slow {
    fn new() -> (Self, mpsc::Sender<()>) {
        let (sender, gate) = mpsc::channel();
        (Self { openings: AtomicU32::new(0), is_waiting: AtomicBool::new(false), gate: Mutex::new(Some(gate)) }, sender)
    }

    fn open(&self) -> Opening<'_> {
        // To see what it is, to survey it, and to load it.
        let is_loaded = self.openings.fetch_add(1, Ordering::SeqCst) == 2;
        let gate = if is_loaded { self.gate.lock().unwrap().take() } else { None };
        self.is_waiting.store(is_loaded, Ordering::SeqCst);
        async move {
            let end = match gate {
                Some(gate) => Box::new(Gated(gate, io::Cursor::new(BEHIND))) as Stream,
                None => Box::new(io::Cursor::new(BEHIND)),
            };
            Ok(Box::new(io::Cursor::new(BEFORE).chain(end)) as Stream)
        }
        .boxed()
    }
}

async fn restored(project: &Project, service: &str, input: &Input<'_>) -> Result<Restored, RestoreError> {
    let service = &project.spec.services[&ServiceName::parse(service).unwrap()];
    Box::pin(restore::restore(&project.request(), service, input, &|_| {})).await
}

async fn content(cluster: &Cluster, database: &str) -> String {
    cluster.psql_in(database, "SELECT n FROM t").await
}

/// Nothing of a restore is taken for a leak. A plain administrator cannot fence the maintenance databases, which is told.
async fn assert_isolated(project: &Project, is_plain: bool) {
    let report = verify(project, USUAL).await;
    let text = format!("{:#?} {:#?}", report.leaks, report.unproved);
    assert!(!text.contains("__restore"), "{text}");
    assert!(is_plain || report.verdict == Verdict::Isolated, "{text}");
}

#[tokio::test]
async fn others_apply_and_restore_and_verify_while_a_dump_is_loaded() {
    for is_plain in [false, true] {
        let cluster = Cluster::start().await;
        let project = if is_plain { Project::plain(&cluster, TWO).await } else { Project::new(&cluster, TWO) };
        project.apply().await;
        let (slow, gate) = Slow::new();
        let open = || slow.open();
        let input = Input { name: "slow.sql".to_owned(), open: &open, manifest: None };
        let meanwhile = async {
            let started = Instant::now();
            while !slow.is_waiting.load(Ordering::SeqCst) || !remains(&cluster).await.contains("link_users__restore_") {
                assert!(started.elapsed() < Duration::from_secs(20), "it is never loaded");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert_isolated(&project, is_plain).await;
            let filled = remains(&cluster).await.lines().next().unwrap().to_owned();
            cluster.psql(&format!("GRANT CONNECT ON DATABASE {filled} TO link_chat_user")).await;
            let leaks = verify(&project, USUAL).await.leaks;
            let is_told = leaks
                .iter()
                .any(|leak| leak.severity == Severity::Error && leak.to.as_ref().is_some_and(|to| to.as_str() == filled));
            assert!(is_told, "{leaks:#?}");
            cluster.psql(&format!("REVOKE CONNECT ON DATABASE {filled} FROM link_chat_user")).await;
            cluster.psql("GRANT CONNECT ON DATABASE link_chat TO PUBLIC").await;
            cluster.psql("GRANT CONNECT ON DATABASE link_users TO PUBLIC").await;
            project.apply().await;
            project.assert_settled().await;
            let other = Slow::new().0;
            let open = || other.open();
            let input = Input { name: "chat.sql".to_owned(), open: &open, manifest: None };
            // Nobody holds the gate of the other one, so it is open.
            restored(&project, "chat", &input).await.unwrap_or_else(|error| panic!("{}", said(&error)));
            assert_eq!(content(&cluster, "link_chat").await, "restored");
            let again = Dump::new("again.sql", "SELECT 1;").restore(&project).await.unwrap_err();
            assert!(said(&again).contains("PI0401") && said(&again).contains("restores"), "{}", said(&again));
            assert!(said(&again).contains("\"pgisle restore users pid"), "{}", said(&again));
            assert!(remains(&cluster).await.contains("link_users__restore_"));
            gate.send(()).unwrap();
        };
        let (done, ()) = tokio::join!(restored(&project, "users", &input), meanwhile);
        let done = done.unwrap_or_else(|error| panic!("{}", said(&error)));
        assert_eq!((content(&cluster, "link_users").await, done.diagnostics.len()), ("restored".to_owned(), 1));
        let left = remains(&cluster).await;
        assert!(!left.contains("__restore") && left.lines().count() == 2, "{left}");
        project.assert_settled().await;
        assert_isolated(&project, is_plain).await;
    }
}

/// Someone else is at work when the dump is loaded: it is waited for, though nobody has asked for that.
#[tokio::test]
async fn a_run_that_is_at_work_when_a_dump_is_loaded_is_waited_for() {
    let cluster = Cluster::start().await;
    let project = Project::new(&cluster, TWO);
    project.apply().await;
    let (slow, gate) = Slow::new();
    let open = || slow.open();
    let input = Input { name: "slow.sql".to_owned(), open: &open, manifest: None };
    let waited = AtomicBool::new(false);
    let service = &project.spec.services[&ServiceName::parse("users").unwrap()];
    let seen = |event: pgisle_engine::event::Event<'_>| {
        if let pgisle_engine::event::Event::WaitingForLock { holder } = event {
            assert!(holder.contains("\"pgisle apply pid"), "{holder}");
            waited.store(true, Ordering::SeqCst);
        }
    };
    let request = project.request();
    let other = async {
        while !slow.is_waiting.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let connect = &project.connect;
        let lock = pgisle_engine::postgres::RunLock::acquire(connect, "apply", Duration::from_secs(10), &|_| {}).await.unwrap();
        gate.send(()).unwrap();
        while !waited.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        lock.release().await;
    };
    let (done, ()) = tokio::join!(Box::pin(restore::restore(&request, service, &input, &seen)), other);
    done.unwrap_or_else(|error| panic!("{}", said(&error)));
    assert_eq!(content(&cluster, "link_users").await, "restored");
    project.assert_settled().await;
}
