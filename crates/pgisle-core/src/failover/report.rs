//! What a failover did.

use serde::Serialize;

use super::ledger::Balance;
use crate::diagnostic::{Code, Diagnostic};
use crate::load::Latency;
use crate::name::ServiceName;

/// When what was done, in milliseconds after the kill.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Timeline {
    /// The primary was taken for dead.
    pub detected_ms: u64,
    /// The old primary could not take writes any more, whoever would start it.
    pub fenced_ms: u64,
    /// The standby took writes.
    pub promoted_ms: u64,
    /// PgBouncer had read where it is.
    pub repointed_ms: u64,
    /// Every service had written; none when one did not come back.
    pub written_ms: Option<u64>,
    /// The old primary was started again.
    pub old_started_ms: u64,
    /// It followed the new one.
    pub rejoined_ms: u64,
}

/// How long writes took, from sending to the answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Pace {
    /// Before the kill, while no commit waited for the standby.
    pub asynchronous: Option<Latency>,
    /// Before the kill, while every commit did.
    pub synchronous: Option<Latency>,
    /// On the new primary.
    pub after: Option<Latency>,
}

/// A service's part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceBalance {
    /// The service.
    pub service: ServiceName,
    /// What came of its writes.
    #[serde(flatten)]
    pub balance: Balance,
}

/// A client that goes on to the address of the old primary, past PgBouncer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StaleClient {
    /// The service as whose login it comes.
    pub service: ServiceName,
    /// What came of its writes.
    #[serde(flatten)]
    pub balance: Balance,
    /// How often it was told that the server only reads (SQLSTATE 25006).
    pub read_only: u64,
}

/// What the old primary does once it is started again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OldPrimary {
    /// Whether it refused the administrator's write with SQLSTATE 25006.
    pub refuses_writes: bool,
    /// What it said.
    pub said: String,
    /// Rows that only it held: they went with its rewinding, and were the price of not waiting for the standby.
    pub rows_only_there: u64,
    /// Whether, as a standby, it holds the same rows as the new primary.
    pub is_same: bool,
}

/// Where the logs parted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Log {
    /// Where the old primary's log ended.
    pub old_end: String,
    /// From where on the new primary wrote its own.
    pub parted_at: String,
    /// What lies between, in bytes: it is on no server any more.
    pub lost_bytes: u64,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether commits waited for the standby.
    pub is_synchronous: bool,
    /// For how long the standby was kept from getting the log before the kill, in milliseconds.
    pub held_back_ms: u64,
    /// Clients of each service.
    pub clients: u32,
    /// Writes a second of each service that were asked for.
    pub rate: u32,
    /// The port of the server that was killed.
    pub old_port: u16,
    /// The port of the server that was promoted.
    pub new_port: u16,
    /// When what was done.
    pub timeline: Timeline,
    /// How long writes took.
    pub pace: Pace,
    /// Each service.
    pub services: Vec<ServiceBalance>,
    /// The client that does not know of it.
    pub stale: StaleClient,
    /// The old primary.
    pub old: OldPrimary,
    /// The log.
    pub log: Log,
}

impl Report {
    /// All ledgers: the services', and the stale client's.
    pub fn balances(&self) -> impl Iterator<Item = &Balance> {
        self.services.iter().map(|service| &service.balance).chain([&self.stale.balance])
    }

    /// A sum over all ledgers.
    pub fn sum(&self, of: impl Fn(&Balance) -> u64) -> u64 {
        self.balances().map(of).sum()
    }

    /// What is wrong.
    #[must_use]
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let mut findings: Vec<Diagnostic> = self.lost().into_iter().collect();
        findings.extend(self.services.iter().filter_map(not_back));
        let wrong = |summary: String, detail: &str| Diagnostic::error(Code::FAILOVER_WRONG, summary).detail(detail);
        let duplicates = self.sum(|balance| balance.duplicates);
        if duplicates > 0 {
            findings
                .push(wrong(format!("{duplicates} writes are there twice in spite of their key"), "A unique key did not hold."));
        }
        let strangers = self.sum(|balance| balance.strangers);
        if strangers > 0 {
            findings.push(wrong(format!("{strangers} rows are there that nobody wrote"), "The ledger knows no such keys."));
        }
        let late = self.sum(|balance| balance.accepted_by_old);
        if late > 0 {
            let detail = "They were sent after it was killed. Both servers took writes: that is a split brain.";
            findings.push(wrong(format!("the old primary took {late} writes after it was replaced"), detail));
        }
        if !self.old.refuses_writes {
            let summary = "the old primary takes writes when it is started again".to_owned();
            findings.push(wrong(summary, &format!("It was to refuse one, and said: {}.", self.old.said.trim_end_matches('.'))));
        }
        if !self.old.is_same {
            let detail = "It follows, and its rows are others.";
            findings.push(wrong("the old primary does not hold what the new one does".to_owned(), detail));
        }
        findings
    }

    fn lost(&self) -> Option<Diagnostic> {
        let lost = self.sum(|balance| balance.lost);
        let span = self.balances().filter_map(|balance| balance.lost_span_ms).max();
        let summary = format!("{lost} acknowledged writes are lost, the first of them {} ms before the kill", span.unwrap_or(0));
        match (lost, self.is_synchronous) {
            (0, _) => None,
            (_, true) => {
                let detail = "Each was acknowledged only when the standby was to have it on its disk.";
                Some(Diagnostic::error(Code::FAILOVER_WRONG, summary).detail(detail))
            }
            (_, false) => Some(
                Diagnostic::warning(Code::FAILOVER_LOST, summary)
                    .detail("A primary that does not wait for its standby acknowledges what only it has.")
                    .hint("This is what synchronous replication is for; see what it costs:")
                    .command("pgisle verify -dev -failover -sync"),
            ),
        }
    }
}

fn not_back(service: &ServiceBalance) -> Option<Diagnostic> {
    service.balance.back_after_ms.is_none().then(|| {
        Diagnostic::error(Code::FAILOVER_WRONG, format!("service \"{}\" did not come back", service.service))
            .about(format!("service \"{}\"", service.service))
            .detail("Nothing that it wrote was acknowledged by the new primary.")
            .hint("Look into PgBouncer's log; its place is shown by:")
            .command("pgisle dev status")
    })
}
