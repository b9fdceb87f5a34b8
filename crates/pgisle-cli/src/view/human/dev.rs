//! What `dev` shows.

use std::fmt::Write as _;

use pgisle_core::load::duration;
use pgisle_engine::local::dev::{DevCluster, Standby, StandbyState, UpChange};
use pgisle_engine::local::pooler::Pooler;

use super::style::{GOOD, NAME, paint};

/// After `dev up`.
pub(crate) fn up(cluster: &DevCluster, change: UpChange, standby: Option<&Standby>) -> String {
    let word = match change {
        UpChange::None => "Running already:",
        UpChange::Started => "Started:",
        UpChange::Created => "Made and started:",
    };
    format!(
        "{} {}{}.\n\nPoint any command at it with -dev, or all of them:\n\n      {}\n",
        paint(GOOD.bold(), word),
        address(cluster),
        standby.map(|standby| format!(", with a standby on port {}", standby.port)).unwrap_or_default(),
        paint(NAME, "export PGISLE_DEV=1")
    )
}

/// What runs.
pub(crate) fn running(cluster: &DevCluster, standby: Option<&Standby>, pooler: Option<&Pooler>) -> String {
    let mut text = format!("{} {}.\n", paint(GOOD.bold(), "Running:"), address(cluster));
    // Writing to a String cannot fail, here and below.
    let _infallible = writeln!(
        text,
        "\n  socket     {}\n  data       {}\n  log        {}",
        cluster.socket_folder.display(),
        cluster.data.display(),
        cluster.log.display()
    );
    if let Some(Standby { port, data, log, state }) = standby {
        let _infallible = writeln!(
            text,
            "  role       primary\n  standby    port {port}, {}\n             data {}\n             log {}",
            following(*state),
            data.display(),
            log.display()
        );
    }
    let _infallible = match pooler {
        Some(pooler) => writeln!(text, "  pgbouncer  port {}, log {}", pooler.port, pooler.log.display()),
        None => writeln!(text, "  pgbouncer  not running; `pgisle apply -dev` starts it, where it is installed"),
    };
    text
}

fn following(state: StandbyState) -> String {
    match state {
        StandbyState::Stopped => "not running; `pgisle dev up` starts it".to_owned(),
        StandbyState::Waiting => "runs and does not follow; `pgisle dev up` mends it".to_owned(),
        StandbyState::Streaming(follower) => format!(
            "follows{}, {} bytes{} behind",
            if follower.is_synchronous { " and is waited for" } else { "" },
            follower.behind_bytes,
            follower.behind_ms.map(|ms| format!(" and {}", duration(ms.saturating_mul(1000)))).unwrap_or_default()
        ),
    }
}

fn address(cluster: &DevCluster) -> String {
    format!("PostgreSQL {} on {} port {}, administrator {}", cluster.major, cluster.host, cluster.port, cluster.admin)
}
