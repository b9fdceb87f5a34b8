//! Faults on demand, in debug builds only: the tests kill pgisle after every single statement.

/// Counts a statement that the server has answered, and dies like `kill -9` when it is the one that the test chose.
#[cfg(debug_assertions)]
pub(crate) fn statement_done() {
    use std::sync::atomic::{AtomicU64, Ordering};

    static DONE: AtomicU64 = AtomicU64::new(0);
    let done = DONE.fetch_add(1, Ordering::SeqCst) + 1;
    let chosen = std::env::var("PGISLE_FAULT_KILL_AFTER").ok().and_then(|text| text.parse().ok());
    if chosen == Some(done) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// Does nothing in a release.
#[cfg(not(debug_assertions))]
pub(crate) fn statement_done() {}
