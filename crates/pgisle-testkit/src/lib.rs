//! Throw-away PostgreSQL clusters for tests: real servers, one per test, a tenth of a second each.
//!
//! ```no_run
//! # async fn test() {
//! let cluster = pgisle_testkit::Cluster::start().await;
//! cluster.psql("CREATE ROLE app LOGIN PASSWORD 'x'").await;
//! assert_eq!(cluster.psql("SELECT 1 + 1, 'a'").await, "2|a");
//! # }
//! ```
//!
//! `initdb` runs once per version and set of flags; each test gets a copy of that data directory and a server of its own on a private
//! socket folder and a loopback port. The cluster goes when the value is dropped, when the test panics, and when the test process
//! is killed: a guard process sees the end of a pipe.
//!
//! Everything here panics with a message that helps rather than return an error: who calls it is a test.

mod certificate;
mod cluster;
mod guard;
mod ledger;
mod nursery;
mod programs;
mod report;
mod s3;

pub use certificate::{ClientCertificate, ServerCertificate, Tls};
pub use cluster::{Builder, Cluster, SUPERUSER, ask};
pub use ledger::{Homes, Ledger, Watch, Writer};
pub use pgisle_engine::local::Installation;
pub use programs::{Programs, newer_loader, outdated};
pub use report::{skipped, skipped_foreign};
pub use s3::S3Server;
pub use tokio_postgres::Config;

/// All installations of PostgreSQL on this machine, best first.
pub async fn installations() -> &'static [Installation] {
    static INSTALLATIONS: tokio::sync::OnceCell<Vec<Installation>> = tokio::sync::OnceCell::const_new();
    INSTALLATIONS.get_or_init(Installation::find_all).await
}

/// The major versions to test against: the default one first, then the others that are installed.
pub async fn majors() -> Vec<u32> {
    let mut majors: Vec<u32> = Vec::new();
    for installation in installations().await {
        if !majors.contains(&installation.major) {
            majors.push(installation.major);
        }
    }
    majors
}
