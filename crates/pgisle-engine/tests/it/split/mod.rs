//! Splits of real databases.

mod clone;
mod differing;
mod full;
mod ledger;
mod moving;
mod plan;
mod returning;

use pgisle_testkit::{Builder, Cluster};

use crate::apply::Project;

/// The five services of the brief, as the example has them.
pub(crate) const LINK: &str = include_str!("../../../../../examples/link/pgisle.hcl");

/// The shared database as it stands before the split.
pub(crate) const LINK_APP: &str = include_str!("../../../../../examples/link/link_app.sql");

/// A cluster with the shared database in it, and a project that is pointed at it.
pub(crate) async fn link(builder: Builder) -> (Cluster, Project) {
    let cluster = builder.start().await;
    cluster.psql("CREATE DATABASE link_app TEMPLATE template0 ENCODING 'UTF8'").await;
    cluster.psql_in("link_app", LINK_APP).await;
    let project = Project::new(&cluster, LINK);
    (cluster, project)
}
