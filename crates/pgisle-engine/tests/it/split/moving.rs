//! Services that move while they write.

use std::time::Duration;

use pgisle_core::split::{JobState, Strategy};
use pgisle_engine::split::{self, Request};
use pgisle_testkit::{Cluster, Ledger, Writer};

use super::ledger::writer_of_service;
use super::link;
use crate::apply::{Project, rendered};

/// Rows in every table of the shared database.
pub(crate) const ROWS: &str = include_str!("rows.sql");

pub(crate) fn request<'a>(apply: &'a pgisle_engine::apply::Request<'a>, project: &'a Project, service: &str) -> Request<'a> {
    let service = project.spec.services.values().find(|one| one.name.as_str() == service).unwrap();
    let publish = &|| Box::pin(async { Ok(()) }) as split::Publishing<'_>;
    Request { apply, service, poolers: &[], pauses: false, needs_poolers: false, publish, pause_max: Duration::from_secs(5) }
}

/// A cluster with the Link schema, its rows, and the islands.
pub(crate) async fn filled(major: u32) -> (Cluster, Project) {
    filled_on(Cluster::builder().major(major).conf("wal_level", "logical")).await
}

/// The same on a server that is set up otherwise.
pub(crate) async fn filled_on(builder: pgisle_testkit::Builder) -> (Cluster, Project) {
    let (cluster, project) = link(builder).await;
    cluster.psql_in("link_app", ROWS).await;
    project.apply().await;
    (cluster, project)
}

async fn move_chat(major: u32, strategy: Strategy) {
    let (cluster, project) = filled(major).await;
    let apply = project.request();
    let request = request(&apply, &project, "chat");
    let writers: Vec<Writer> = (0..4).map(|_| writer_of_service(&cluster, &project, Duration::from_millis(5))).collect();
    let ran =
        split::run(&request, Some(strategy), &|_| {}).await.unwrap_or_else(|error| panic!("{}", rendered(&[error.diagnostic()])));
    assert_eq!(ran.job.strategy, strategy);
    let cut = split::cutover(&request, &|_| {}).await.unwrap_or_else(|error| panic!("{}", rendered(&[error.diagnostic()])));
    let receipt = cut.receipt.unwrap();
    assert!(receipt.is_equal, "{:?}", receipt.differences);
    assert_eq!(cut.job.state, JobState::Cut);
    assert!(cut.diagnostics.is_empty(), "{}", rendered(&cut.diagnostics));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut ledgers = Vec::new();
    for writer in writers {
        ledgers.push(writer.stop().await);
    }
    let gap = ledgers.iter().map(|ledger| ledger.longest_gap).max().unwrap();
    assert!(gap < Duration::from_secs(5), "{gap:?}");
    // Before it is let in, it has no connection, and until both sides are noted it is told to try again.
    let is_strange = |error: &&String| {
        !["has moved to database", "is moving to database", "no connection"].iter().any(|words| error.contains(words))
    };
    let strange: Vec<&String> = ledgers.iter().flat_map(|ledger| &ledger.errors).filter(is_strange).collect();
    assert!(strange.is_empty(), "{strange:?}");
    Ledger::assert_kept(&cluster, "link_chat", &ledgers).await;
    assert!(ledgers.iter().all(|ledger| ledger.kept.len() > 10 && ledger.unknown.is_empty()));
    // Nobody writes to the old tables any more, and the message says where they are.
    let refused = cluster.try_psql_in("link_app", "INSERT INTO messages (room_id, sender_id, body) VALUES (1, 1, 'late')").await;
    assert!(refused.unwrap_err().as_db_error().unwrap().message().contains("has moved to database \"link_chat\""));
    // What refers to them does not hold anyone up.
    cluster.psql_in("link_app", "DELETE FROM users WHERE id = 2").await;
    project.assert_settled().await;
}

#[tokio::test]
async fn a_service_moves_while_it_writes() {
    for major in pgisle_testkit::majors().await {
        let full = pgisle_testkit::installations().await.iter().any(|found| found.major == major && found.vector && found.contrib);
        if full {
            for strategy in [Strategy::Stream, Strategy::Copy] {
                move_chat(major, strategy).await;
            }
        }
    }
}
