//! When the process ends: when Terraform says so, when it has gone, or when a signal comes; and not in the midst of a change.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::log;

/// How long the calls that run may take to come to an end. Terraform itself waits two seconds before it kills.
const DRAIN: Duration = Duration::from_secs(30);

/// How often it is looked whether Terraform is still there.
const PARENT_CHECK: Duration = Duration::from_secs(1);

/// What is known of the end. Clones are the same lifetime.
#[derive(Clone)]
pub(super) struct Lifetime {
    /// How many calls run.
    running: Arc<watch::Sender<usize>>,
    /// True once there shall be no more.
    ended: Arc<watch::Sender<bool>>,
    /// True once nothing runs, or has run for too long.
    finished: Arc<watch::Sender<bool>>,
}

/// A call that runs.
pub(super) struct Running(Arc<watch::Sender<usize>>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Lifetime {
    pub(super) fn new() -> Self {
        let flag = || Arc::new(watch::Sender::new(false));
        Self { running: Arc::new(watch::Sender::new(0)), ended: flag(), finished: flag() }
    }

    /// Counts a call until the value is dropped.
    pub(super) fn running(&self) -> Running {
        self.running.send_modify(|count| *count += 1);
        Running(Arc::clone(&self.running))
    }

    /// Says that it shall end.
    pub(super) fn end(&self) {
        self.ended.send_replace(true);
    }

    /// Waits until it shall end.
    pub(super) async fn ended(&self) {
        reached(&self.ended, |ended| *ended).await;
    }

    /// Waits until connections may be closed.
    pub(super) async fn finished(&self) {
        reached(&self.finished, |finished| *finished).await;
    }

    /// Waits for the calls that run, but not for ever. `stop` asks them to hurry.
    pub(super) async fn finish(&self, stop: impl FnOnce()) {
        let running = *self.running.borrow();
        if running > 0 {
            stop();
            if tokio::time::timeout(DRAIN, reached(&self.running, |count| *count == 0)).await.is_err() {
                log::error(format_args!("calls were still running after {} s, and were given up", DRAIN.as_secs()));
            }
        }
        self.finished.send_replace(true);
    }
}

async fn reached<T>(value: &watch::Sender<T>, is_it: impl FnMut(&T) -> bool) {
    let mut seen = value.subscribe();
    // An error says that the sender has gone, which is here.
    let _never = seen.wait_for(is_it).await;
}

/// The signals that matter.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From here on no signal ends the process by itself.
    pub(super) fn catch() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the one that asks to end. `^C` reaches Terraform and everything that it started; what it means, Terraform says, by
    /// `StopProvider`. Only where nobody else says, with `-debug`, it means the end.
    pub(super) async fn end(&mut self, by_interrupt: bool) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => if by_interrupt { return },
            }
        }
    }
}

/// Waits until whoever started the process has gone: killed, Terraform can tell it nothing.
pub(super) async fn parent_gone() {
    let parent = rustix::process::getppid();
    while rustix::process::getppid() == parent {
        tokio::time::sleep(PARENT_CHECK).await;
    }
    log::error(format_args!("Terraform has gone"));
}
