//! What `dev` shows.

use std::fmt::Write as _;

use pgisle_engine::local::dev::{DevCluster, UpChange};
use pgisle_engine::local::pooler::Pooler;

use super::style::{GOOD, NAME, paint};

/// After `dev up`.
pub(crate) fn up(cluster: &DevCluster, change: UpChange) -> String {
    let word = match change {
        UpChange::None => "Running already:",
        UpChange::Started => "Started:",
        UpChange::Created => "Made and started:",
    };
    format!(
        "{} {}.\n\nPoint any command at it with -dev, or all of them:\n\n      {}\n",
        paint(GOOD.bold(), word),
        address(cluster),
        paint(NAME, "export PGISLE_DEV=1")
    )
}

/// What runs.
pub(crate) fn running(cluster: &DevCluster, pooler: Option<&Pooler>) -> String {
    let mut text = format!("{} {}.\n", paint(GOOD.bold(), "Running:"), address(cluster));
    // Writing to a String cannot fail, here and below.
    let _infallible = writeln!(
        text,
        "\n  socket     {}\n  data       {}\n  log        {}",
        cluster.socket_folder.display(),
        cluster.data.display(),
        cluster.log.display()
    );
    let _infallible = match pooler {
        Some(pooler) => writeln!(text, "  pgbouncer  port {}, log {}", pooler.port, pooler.log.display()),
        None => writeln!(text, "  pgbouncer  not running; `pgisle apply -dev` starts it, where it is installed"),
    };
    text
}

fn address(cluster: &DevCluster) -> String {
    format!("PostgreSQL {} on {} port {}, administrator {}", cluster.major, cluster.host, cluster.port, cluster.admin)
}
