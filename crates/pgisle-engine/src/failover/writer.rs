//! Clients that write, and write down what they were told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pgisle_core::failover::{Answer, Attempt, Entry, Server};
use pgisle_core::sql::failover::write;
use tokio::task::JoinSet;
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::SqlState;

use crate::load::client::{self, Connected};
use crate::postgres::ConnectOptions;

/// A client that waits longer for an answer gives the connection up, and does not know.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two attempts of a write.
const AGAIN: Duration = Duration::from_millis(20);

/// Keys of one ledger, and of one client in it.
const LEDGER_BITS: u32 = 40;
const CLIENT_BITS: u32 = 28;

/// Which ledger a key is of.
pub(super) fn ledger_of(key: i64) -> usize {
    usize::try_from(key >> LEDGER_BITS).unwrap_or(usize::MAX)
}

/// Whose writes, by which way.
pub(super) struct Group {
    pub(super) options: ConnectOptions,
    pub(super) clients: u32,
    /// Between two writes of a client.
    pub(super) every: Duration,
}

/// What a ledger's clients tell while they are at work.
#[derive(Debug, Default)]
pub(super) struct Board {
    /// When the new server has first acknowledged a write of theirs, microseconds since the load began; 0 when it has not.
    back_us: AtomicU64,
    /// How often they were told that the server only reads.
    read_only: AtomicU64,
}

impl Board {
    pub(super) fn back_us(&self) -> Option<u64> {
        Some(self.back_us.load(Ordering::Relaxed)).filter(|&at| at > 0)
    }

    pub(super) fn read_only(&self) -> u64 {
        self.read_only.load(Ordering::Relaxed)
    }
}

/// All clients at work.
pub(super) struct Crew {
    start: Instant,
    stop: Arc<AtomicBool>,
    boards: Vec<Arc<Board>>,
    tasks: JoinSet<(usize, Vec<Entry>)>,
}

impl Crew {
    /// Begins. The server that listens on this port is the old one, whichever way a write got there.
    pub(super) fn begin(groups: Vec<Group>, old_port: u16) -> Self {
        let (start, stop) = (Instant::now(), Arc::new(AtomicBool::new(false)));
        let boards: Vec<Arc<Board>> = groups.iter().map(|_| Arc::default()).collect();
        let mut tasks = JoinSet::new();
        for (ledger, group) in groups.into_iter().enumerate() {
            for number in 0..group.clients {
                let first_key = i64::try_from(ledger).unwrap_or(0) << LEDGER_BITS | i64::from(number) << CLIENT_BITS;
                let client = Client {
                    options: group.options.clone(),
                    first_key,
                    every: group.every,
                    delay: group.every * number / group.clients.max(1),
                    old_port,
                    start,
                    stop: Arc::clone(&stop),
                    board: Arc::clone(&boards[ledger]),
                };
                tasks.spawn(async move { (ledger, client.run().await) });
            }
        }
        Self { start, stop, boards, tasks }
    }

    /// Microseconds since the load began.
    pub(super) fn now_us(&self) -> u64 {
        since(self.start)
    }

    pub(super) fn boards(&self) -> &[Arc<Board>] {
        &self.boards
    }

    /// Ends it; gives each group's ledger.
    pub(super) async fn end(mut self) -> Vec<Vec<Entry>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut ledgers: Vec<Vec<Entry>> = self.boards.iter().map(|_| Vec::new()).collect();
        while let Some(ended) = self.tasks.join_next().await {
            if let Ok((ledger, entries)) = ended {
                ledgers[ledger].extend(entries);
            }
        }
        ledgers
    }
}

struct Client {
    options: ConnectOptions,
    first_key: i64,
    every: Duration,
    delay: Duration,
    old_port: u16,
    start: Instant,
    stop: Arc<AtomicBool>,
    board: Arc<Board>,
}

impl Client {
    async fn run(self) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut connected = None;
        let mut ticks = tokio::time::interval_at((Instant::now() + self.delay).into(), self.every.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut key = self.first_key;
        while !self.is_over() {
            ticks.tick().await;
            let mut entry = Entry { key, attempts: Vec::new() };
            key += 1;
            while !self.is_over() {
                let attempt = self.attempt(&mut connected, entry.key).await;
                entry.attempts.push(attempt);
                if matches!(attempt.answer, Answer::Acknowledged { .. }) {
                    break;
                }
                tokio::time::sleep(AGAIN).await;
            }
            if !entry.attempts.is_empty() {
                entries.push(entry);
            }
        }
        if let Some(connected) = connected {
            connected.close().await;
        }
        entries
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    async fn attempt(&self, connected: &mut Option<Connected>, key: i64) -> Attempt {
        if connected.is_none() {
            *connected = client::connect(&self.options).await.ok();
        }
        let sent_us = since(self.start);
        let answer = match connected {
            Some(open) => self.send(open, key).await,
            // Nothing was sent.
            None => Some(Answer::Refused),
        };
        let answered_us = since(self.start);
        if let Some(Answer::Acknowledged { by: Server::New, .. }) = answer {
            let _later = self.board.back_us.compare_exchange(0, answered_us, Ordering::Relaxed, Ordering::Relaxed);
        }
        if answer.is_none() || connected.as_ref().is_some_and(|open| open.client().is_closed()) {
            *connected = None;
        }
        Attempt { sent_us, answered_us, answer: answer.unwrap_or(Answer::Unknown) }
    }

    /// None when the connection is of no use any more, and nothing is known of the write.
    async fn send(&self, open: &Connected, key: i64) -> Option<Answer> {
        let statement = write(key);
        let messages = match tokio::time::timeout(PATIENCE, open.client().simple_query(statement.expose())).await {
            Err(_) => return None,
            Ok(Ok(messages)) => messages,
            Ok(Err(error)) => {
                let code = error.code()?;
                self.board.read_only.fetch_add(u64::from(*code == SqlState::READ_ONLY_SQL_TRANSACTION), Ordering::Relaxed);
                // What ends a session may come before or behind the commit; PgBouncer's own words are of class 08.
                let is_open = ["08", "57P"].iter().any(|class| code.code().starts_with(class));
                return (!is_open).then_some(Answer::Refused);
            }
        };
        let row = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        })?;
        let by = if row.get(0)?.parse() == Ok(self.old_port) { Server::Old } else { Server::New };
        Some(Answer::Acknowledged { by, was_there: row.get(1) == Some("0") })
    }
}

fn since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}
