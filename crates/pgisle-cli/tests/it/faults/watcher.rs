//! Someone who tries to get into databases that are not theirs, all the time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pgisle_testkit::Cluster;
use tokio::task::JoinHandle;

/// A task that polls until it is asked what it saw.
pub(super) struct Watcher {
    watch: Arc<Watch>,
    task: JoinHandle<()>,
}

struct Watch {
    cluster: Arc<Cluster>,
    /// Role, password, database.
    attempts: Vec<(String, String, String)>,
    seen: Mutex<Seen>,
    enough: AtomicBool,
}

/// What a watcher saw.
#[derive(Debug, Default, Clone)]
pub(super) struct Seen {
    /// Who got in where.
    pub(super) entered: Vec<String>,
    /// How often the server refused, by SQLSTATE; `none` when there was no server.
    pub(super) refused: BTreeMap<String, u64>,
}

impl Watcher {
    /// Begins to try each login (role, password, database), again and again with a pause between two rounds.
    pub(super) fn start(cluster: &Arc<Cluster>, attempts: &[(&str, &str, &str)], pause: Duration) -> Self {
        let owned =
            |(role, password, database): &(&str, &str, &str)| ((*role).to_owned(), (*password).to_owned(), (*database).to_owned());
        let watch = Arc::new(Watch {
            cluster: Arc::clone(cluster),
            attempts: attempts.iter().map(owned).collect(),
            seen: Mutex::default(),
            enough: AtomicBool::new(false),
        });
        let polled = Arc::clone(&watch);
        let task = tokio::spawn(async move {
            while !polled.enough.load(Ordering::SeqCst) {
                polled.round().await;
                tokio::time::sleep(pause).await;
            }
        });
        Self { watch, task }
    }

    /// Tries everything once, now.
    pub(super) async fn whole_round(&self) {
        self.watch.round().await;
    }

    /// Ends it after a last round.
    pub(super) async fn seen(self) -> Seen {
        self.watch.enough.store(true, Ordering::SeqCst);
        self.watch.round().await;
        self.task.await.unwrap();
        self.watch.seen.lock().unwrap().clone()
    }
}

impl Watch {
    async fn round(&self) {
        for (role, password, database) in &self.attempts {
            let outcome = self.cluster.connect_as(role, password, database).await;
            let mut seen = self.seen.lock().unwrap();
            match outcome {
                Ok(_) => seen.entered.push(format!("{role} in {database}")),
                Err(error) => {
                    let code = error.code().map_or("none", |code| code.code()).to_owned();
                    *seen.refused.entry(code).or_default() += 1;
                }
            }
        }
    }
}
