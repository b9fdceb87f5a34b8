//! A service whose tables stay in the shared database.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_postgres::{Config, NoTls};

/// Between two transactions.
const PAUSE: Duration = Duration::from_millis(10);

/// Writes to a table that stays, over one connection of its own, which it makes again when it is lost.
pub(super) struct Bystander {
    stop: Arc<AtomicBool>,
    task: JoinHandle<(Duration, usize)>,
}

impl Bystander {
    pub(super) fn start(place: Config) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(write(place, Arc::clone(&stop)));
        Self { stop, task }
    }

    /// Gives the longest time between two acknowledgements, and how many transactions failed.
    pub(super) async fn stop(self) -> (Duration, usize) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap_or_default()
    }
}

async fn write(place: Config, stop: Arc<AtomicBool>) -> (Duration, usize) {
    let (mut client, mut longest, mut failed, mut last) = (None, Duration::ZERO, 0, Instant::now());
    while !stop.load(Ordering::Relaxed) {
        if client.is_none() {
            client = place.connect(NoTls).await.ok().map(|(client, connection)| {
                tokio::spawn(connection);
                client
            });
        }
        let outcome = match &client {
            Some(client) => client.batch_execute("UPDATE users SET profile = profile WHERE id = 7").await.is_ok(),
            None => false,
        };
        if outcome {
            longest = longest.max(last.elapsed());
            last = Instant::now();
        } else {
            (client, failed) = (None, failed + 1);
        }
        tokio::time::sleep(PAUSE).await;
    }
    (longest, failed)
}
