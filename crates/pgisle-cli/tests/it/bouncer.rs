//! Real PgBouncers on the files that pgisle generates, killed and started again as an init system would.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pgisle_engine::local::PgBouncer;
use pgisle_engine::process::{Account, Invocation};
use rustix::process::{Pid, Signal, kill_process};

/// How long one may take to listen, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(20);

/// Ports below those that the system gives to whoever connects: while PgBouncer is down, those who look for it connect again and again,
/// and one of them could get its own target for a port.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A free port that is nobody else's in this process.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() * 37 % u32::from(PORTS.end - PORTS.start)).unwrap();
    (0..PORTS.end - PORTS.start)
        .map(|_| PORTS.start + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % (PORTS.end - PORTS.start))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}

/// What ends PgBouncer when the test's process was killed: it sees the end of a pipe.
const GUARD: &str = "read -r _; kill -KILL \"$0\"";

/// A PgBouncer that runs.
struct Running {
    process: Child,
    guard: Child,
}

/// A PgBouncer that ends with its value.
pub(crate) struct Bouncer {
    program: PathBuf,
    pub(crate) port: u16,
    ini: PathBuf,
    log: PathBuf,
    running: Mutex<Option<Running>>,
}

impl Bouncer {
    /// Starts it on the generated files of a folder: what they say counts, but where they are and where it listens.
    pub(crate) async fn start(found: &PgBouncer, generated: &Path, folder: &Path, port: u16) -> Self {
        let (ini, log) = (folder.join(format!("pgbouncer-{port}.ini")), folder.join(format!("pgbouncer-{port}.log")));
        let files = generated.join("pgbouncer");
        // The generated file ends in the section that these belong to.
        let text = format!(
            "%include {}\nauth_file = {}\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n",
            files.join("pgbouncer.ini").display(),
            files.join("userlist.txt").display()
        );
        fs::write(&ini, text).unwrap();
        if let Some(account) = Account::for_servers().unwrap() {
            // PgBouncer refuses to be root; everything stays as private as it was.
            for path in [files.clone(), files.join("userlist.txt")] {
                account.give(&path).unwrap();
            }
        }
        let bouncer = Self { program: found.program.clone(), port, ini, log, running: Mutex::new(None) };
        bouncer.up().await;
        bouncer
    }

    /// Starts it, as an init system would that knows nothing of what it was doing.
    pub(crate) async fn up(&self) {
        let account = Account::for_servers().unwrap();
        let run = Invocation::new(&self.program).argument(&self.ini).clean_environment().directory("/");
        let process = run.run_as(account.as_ref()).start(&self.log).unwrap();
        let guard = Invocation::new("/bin/sh").arguments(["-c", GUARD, &process.id().to_string()]).start_tethered().unwrap();
        *self.running.lock().unwrap() = Some(Running { process, guard });
        let begun = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            let ended = self.running.lock().unwrap().as_mut().unwrap().process.try_wait().unwrap().is_some();
            assert!(!ended && begun.elapsed() < PATIENCE, "PgBouncer did not start: {}", fs::read_to_string(&self.log).unwrap());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Kills it by SIGKILL.
    pub(crate) fn kill(&self) {
        if let Some(Running { mut process, mut guard }) = self.running.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // The guard first: the number may be somebody else's afterwards.
            for child in [&mut guard, &mut process] {
                let _gone = child.kill();
                let _reaped = child.wait();
            }
        }
    }

    /// Has it stand still, or go on: it is there and does not answer.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.running.lock().unwrap().as_ref().unwrap().process.id();
        kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
    }

    /// How pgisle is told where it is.
    pub(crate) fn address(&self) -> String {
        format!("-pooler=127.0.0.1:{}", self.port)
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        self.kill();
    }
}
