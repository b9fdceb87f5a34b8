//! The thread that the engine works on.
//!
//! Terraform's calls come in on the server's runtime and may be given up there at any moment. The engine's work must not be: it runs
//! here, each call as a task of its own that goes on to its end, and a panic ends that task alone. One thread is enough, for the
//! work is waiting for PostgreSQL.

use std::future::Future;
use std::io;
use std::pin::Pin;

use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

type Task = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// A handle to the thread, which ends with the last of them.
#[derive(Clone)]
pub(crate) struct Worker {
    tasks: mpsc::UnboundedSender<Task>,
}

/// The task has panicked.
#[derive(Debug)]
pub(crate) struct Panicked;

impl Worker {
    /// Starts the thread.
    pub(crate) fn start() -> io::Result<Self> {
        let (tasks, mut queue) = mpsc::unbounded_channel::<Task>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("engine".to_owned()).spawn(move || {
            let local = LocalSet::new();
            local.block_on(&runtime, async {
                while let Some(task) = queue.recv().await {
                    tokio::task::spawn_local(task());
                }
            });
        })?;
        Ok(Self { tasks })
    }

    /// Runs a task to its end, and gives what it gave.
    pub(crate) async fn run<T, F>(&self, task: impl FnOnce() -> F + Send + 'static) -> Result<T, Panicked>
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let task: Task = Box::new(move || {
            let work = Box::pin(task());
            Box::pin(async move {
                // Whoever asked may have gone.
                let _ = answer.send(work.await);
            })
        });
        self.tasks.send(task).map_err(|_| Panicked)?;
        answered.await.map_err(|_| Panicked)
    }
}
