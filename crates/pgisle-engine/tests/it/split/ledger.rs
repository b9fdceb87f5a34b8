//! Writers that keep a ledger of what the server has acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pgisle_testkit::Cluster;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::apply::Project;

/// Writes messages into whichever database holds them, and remembers which were acknowledged.
pub(crate) struct Writer {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Ledger>,
}

/// What a writer saw.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// The bodies of messages whose insert was acknowledged and that were not deleted again.
    pub(crate) kept: Vec<String>,
    /// Those whose delete was acknowledged.
    pub(crate) deleted: Vec<String>,
    /// Those that may be there or not: the answer did not come.
    pub(crate) unknown: Vec<String>,
    /// Errors, by their text.
    pub(crate) errors: Vec<String>,
    /// The longest time between two acknowledgements.
    pub(crate) longest_gap: Duration,
}

/// Counts writers, so that no two write the same.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// The databases that are tried, in turn.
pub(crate) const HOMES: [&str; 2] = ["link_app", "link_chat"];

impl Writer {
    /// Begins to write as fast as the server answers, with a pause between two writes.
    pub(crate) fn start(cluster: &Cluster, pause: Duration) -> Self {
        let admin = HOMES.map(|home| cluster.config(cluster.superuser(), cluster.password(), home));
        Self::with(admin, pause)
    }

    /// The same, by the service's own login where the service's own database is its home: it gets in when it is let in, while a
    /// superuser gets in at once.
    pub(crate) fn of_service(cluster: &Cluster, project: &Project, pause: Duration) -> Self {
        let credentials = project.store.load().unwrap();
        let chat = &credentials.services.iter().find(|(service, _)| service.as_str() == "chat").unwrap().1.active;
        let shared = cluster.config(cluster.superuser(), cluster.password(), HOMES[0]);
        Self::with([shared, cluster.config(chat.role.as_str(), chat.secret.expose(), HOMES[1])], pause)
    }

    fn with(homes: [tokio_postgres::Config; 2], pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let task = tokio::spawn(write(homes, number, pause, Arc::clone(&stop)));
        Self { stop, task }
    }

    /// Ends, and gives the ledger.
    pub(crate) async fn stop(self) -> Ledger {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

async fn connect(homes: &[tokio_postgres::Config; 2], home: usize) -> Option<Client> {
    let mut config = homes[home].clone();
    config.application_name("ledger");
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.ok()?;
    tokio::spawn(connection);
    Some(client)
}

async fn write(homes: [tokio_postgres::Config; 2], writer: u64, pause: Duration, stop: Arc<AtomicBool>) -> Ledger {
    let mut ledger = Ledger::default();
    let (mut home, mut client) = (0, connect(&homes, 0).await);
    let mut last = Instant::now();
    for number in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let body = format!("writer {writer} message {number}");
        let outcome = match &client {
            Some(client) => transaction(client, &body, number, &mut ledger).await,
            None => Err("no connection".to_owned()),
        };
        match outcome {
            Ok(()) => {
                ledger.longest_gap = ledger.longest_gap.max(last.elapsed());
                last = Instant::now();
            }
            Err(error) => {
                ledger.errors.push(error);
                home = 1 - home;
                client = connect(&homes, home).await;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        tokio::time::sleep(pause).await;
    }
    ledger
}

/// A new message, a change of an older one, and now and then a message that goes.
async fn transaction(client: &Client, body: &str, number: u64, ledger: &mut Ledger) -> Result<(), String> {
    let text =
        |error: tokio_postgres::Error| error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned());
    let went = number % 7 == 6 && !ledger.kept.is_empty();
    let victim = went.then(|| ledger.kept[ledger.kept.len() / 2].clone());
    let sql = format!(
        "BEGIN; INSERT INTO messages (room_id, sender_id, body) VALUES (1, 1, '{body}'); \
         UPDATE chat_rooms SET title = '{body}' WHERE id = 1; {}",
        victim.as_ref().map_or_else(String::new, |victim| format!("DELETE FROM messages WHERE body = '{victim}';"))
    );
    if let Err(error) = client.batch_execute(&sql).await {
        let _undone = client.batch_execute("ROLLBACK").await;
        return Err(text(error));
    }
    if let Err(error) = client.batch_execute("COMMIT").await {
        ledger.unknown.push(body.to_owned());
        if let Some(victim) = victim {
            ledger.kept.retain(|body| *body != victim);
            ledger.unknown.push(victim);
        }
        return Err(text(error));
    }
    ledger.kept.push(body.to_owned());
    if let Some(victim) = victim {
        ledger.kept.retain(|body| *body != victim);
        ledger.deleted.push(victim);
    }
    Ok(())
}
