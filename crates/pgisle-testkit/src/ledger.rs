//! Writers that keep a ledger of what the server has acknowledged, and a watcher that looks whether two places take rows at once.
//! They write to tables `chat_rooms` (`id`, `title`) and `messages` (`room_id`, `sender_id`, `body`), in whichever database takes
//! them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, Error, NoTls};

use crate::Cluster;

/// How many rooms writers have for themselves, from number 2 on; number 1 is everyone's. The tables must have so many.
const ROOMS: u64 = 40;

/// A message that is taken back at once: whoever takes it is a home.
const PROBE: &str = "INSERT INTO messages (room_id, sender_id, body) VALUES (1, 1, 'probe')";

/// How long a place may be nobody's before it counts as an outage: a server that recovers takes a second.
const PATIENCE: Duration = Duration::from_secs(20);

/// Writes messages into whichever database holds them, and remembers which were acknowledged.
#[derive(Debug)]
pub struct Writer {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Ledger>,
}

/// What a writer saw.
#[derive(Debug, Default)]
pub struct Ledger {
    /// The bodies of messages whose insert was acknowledged and that were not deleted again.
    pub kept: Vec<String>,
    /// Those whose delete was acknowledged.
    pub deleted: Vec<String>,
    /// Those that may be there or not: the answer did not come.
    pub unknown: Vec<String>,
    /// The number of the writer's own room.
    pub room: u64,
    /// What that room may be called: as the last acknowledged transaction said, or one since whose answer did not come.
    pub titles: Vec<String>,
    /// Errors, by their text.
    pub errors: Vec<String>,
    /// The longest time between two acknowledgements.
    pub longest_gap: Duration,
}

/// Counts writers, so that no two write the same.
static NUMBER: AtomicU64 = AtomicU64::new(0);

impl Writer {
    /// Begins to write as fast as the server answers, with a pause between two writes. When one place fails, the next is tried.
    #[must_use]
    pub fn start(places: Vec<Config>, pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let task = tokio::spawn(write(places, number, pause, Arc::clone(&stop)));
        Self { stop, task }
    }

    /// Ends, and gives the ledger.
    ///
    /// # Panics
    /// When the writer did.
    pub async fn stop(self) -> Ledger {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("a writer")
    }
}

async fn connect(config: &Config, name: &str) -> Option<Client> {
    let mut config = config.clone();
    config.application_name(name);
    let (client, connection) = config.connect(NoTls).await.ok()?;
    tokio::spawn(connection);
    Some(client)
}

async fn write(places: Vec<Config>, writer: u64, pause: Duration, stop: Arc<AtomicBool>) -> Ledger {
    let mut ledger = Ledger { room: 2 + writer % ROOMS, ..Ledger::default() };
    let (mut place, mut client) = (0, connect(&places[0], "ledger").await);
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
                place = (place + 1) % places.len();
                client = connect(&places[place], "ledger").await;
            }
        }
        tokio::time::sleep(pause).await;
    }
    ledger
}

/// A new message, a change of two rooms, and now and then a message that goes.
async fn transaction(client: &Client, body: &str, number: u64, ledger: &mut Ledger) -> Result<(), String> {
    let went = number % 7 == 6 && !ledger.kept.is_empty();
    let victim = went.then(|| ledger.kept[ledger.kept.len() / 2].clone());
    let sql = format!(
        "BEGIN; INSERT INTO messages (room_id, sender_id, body) VALUES (1, 1, '{body}'); \
         UPDATE chat_rooms SET title = '{body}' WHERE id IN (1, {}); {}",
        ledger.room,
        victim.as_ref().map_or_else(String::new, |victim| format!("DELETE FROM messages WHERE body = '{victim}';"))
    );
    if let Err(error) = client.batch_execute(&sql).await {
        let _undone = client.batch_execute("ROLLBACK").await;
        return Err(text(&error));
    }
    if let Err(error) = client.batch_execute("COMMIT").await {
        ledger.unknown.push(body.to_owned());
        ledger.titles.push(body.to_owned());
        if let Some(victim) = victim {
            ledger.kept.retain(|body| *body != victim);
            ledger.unknown.push(victim);
        }
        return Err(text(&error));
    }
    ledger.kept.push(body.to_owned());
    ledger.titles = vec![body.to_owned()];
    if let Some(victim) = victim {
        ledger.kept.retain(|body| *body != victim);
        ledger.deleted.push(victim);
    }
    Ok(())
}

fn text(error: &Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
}

impl Ledger {
    /// Compares a database with ledgers: every acknowledged row is there once and as it was last changed, no deleted one is, and the
    /// numbers go on behind the highest.
    ///
    /// # Panics
    /// When that is not so.
    pub async fn assert_kept(cluster: &Cluster, database: &str, ledgers: &[Self]) {
        let config = cluster.config(cluster.superuser(), cluster.password(), database);
        assert_eq!(Self::faults(&config, ledgers).await.expect("a database to compare with"), [""; 0]);
    }

    /// The same, and tells what is not so.
    ///
    /// # Errors
    /// The database cannot be entered or read.
    pub async fn faults(database: &Config, ledgers: &[Self]) -> Result<Vec<String>, Error> {
        let (client, connection) = database.connect(NoTls).await?;
        let connection = tokio::spawn(connection);
        let mut faults = Vec::new();
        let rows = client.query("SELECT body FROM messages WHERE body LIKE 'writer %'", &[]).await?;
        let bodies: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let there: BTreeSet<&str> = bodies.iter().map(String::as_str).collect();
        if there.len() != bodies.len() {
            faults.push(format!("{} messages are there twice", bodies.len() - there.len()));
        }
        for ledger in ledgers {
            faults.extend(ledger.kept.iter().filter(|body| !there.contains(body.as_str())).map(|body| format!("{body} is lost")));
            faults.extend(ledger.deleted.iter().filter(|body| there.contains(body.as_str())).map(|body| format!("{body} is back")));
            if !ledger.titles.is_empty() {
                let sql = format!("SELECT coalesce(title, '') FROM chat_rooms WHERE id = {}", ledger.room);
                let title: String = client.query_one(&sql, &[]).await?.get(0);
                if !ledger.titles.contains(&title) {
                    faults.push(format!("room {} is called {title:?} and not {:?}", ledger.room, ledger.titles));
                }
            }
        }
        let sql = "SELECT coalesce(max(id), 0) > (SELECT last_value FROM messages_id_seq) FROM messages";
        if client.query_one(sql, &[]).await?.get(0) {
            faults.push("the sequence is behind".to_owned());
        }
        drop(client);
        let _ended = connection.await;
        Ok(faults)
    }
}

/// Looks which of several databases takes rows.
#[derive(Debug, Clone)]
pub struct Homes {
    places: Vec<(String, Config)>,
}

impl Homes {
    /// Looks at these places, as whoever they name.
    #[must_use]
    pub fn new(places: &[Config]) -> Self {
        let place = |config: &Config| (config.get_dbname().unwrap_or_default().to_owned(), config.clone());
        Self { places: places.iter().map(place).collect() }
    }

    /// The database that takes rows.
    ///
    /// # Panics
    /// When two do at once, or none does for long.
    pub async fn the_one(&self) -> String {
        let begun = Instant::now();
        loop {
            if let Some(home) = self.look().await {
                return home;
            }
            assert!(begun.elapsed() < PATIENCE, "rows can be written nowhere");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The database that takes a row; each row is taken back only when all have been tried. None while nobody takes one.
    async fn look(&self) -> Option<String> {
        let mut open = Vec::new();
        for (name, config) in &self.places {
            let Some(client) = connect(config, "homes").await else { continue };
            let wrote = client.batch_execute(&format!("BEGIN; SET LOCAL lock_timeout = '300ms'; {PROBE}")).await;
            if wrote.is_ok() {
                open.push((name.clone(), client));
            }
        }
        // One that was ended meanwhile, because its database moved away, took no row.
        let mut still = Vec::new();
        for (name, client) in open {
            if client.batch_execute("SELECT 1").await.is_ok() {
                still.push(name);
            }
            let _undone = client.batch_execute("ROLLBACK").await;
        }
        assert!(still.len() < 2, "rows can be written to {still:?}");
        still.pop()
    }

    /// Looks again and again, in both directions, until it is stopped.
    #[must_use]
    pub fn watch(&self) -> Watch {
        let stop = Arc::new(AtomicBool::new(false));
        let (homes, stopped) = (self.clone(), Arc::clone(&stop));
        let task = tokio::spawn(async move {
            let mut homes = homes;
            let mut looks = 0;
            while !stopped.load(Ordering::Relaxed) {
                homes.look().await;
                looks += 1;
                homes.places.reverse();
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            looks
        });
        Watch { stop, task }
    }
}

/// Looks all the time that no two databases take rows at once.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<AtomicBool>,
    task: JoinHandle<u32>,
}

impl Watch {
    /// Ends, and gives how often it looked.
    ///
    /// # Panics
    /// When two databases took rows at once.
    pub async fn stop(self) -> u32 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("never two homes")
    }
}
