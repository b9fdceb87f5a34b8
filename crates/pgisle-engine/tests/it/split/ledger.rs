//! Who writes while a service moves.

use std::time::Duration;

use pgisle_testkit::{Cluster, Homes, Writer};

use crate::apply::Project;

/// The databases that are tried, in turn.
pub(crate) const HOMES: [&str; 2] = ["link_app", "link_chat"];

/// Writes wherever the tables are, as somebody who gets in everywhere at once.
pub(crate) fn writer(cluster: &Cluster, pause: Duration) -> Writer {
    Writer::start(HOMES.map(|home| cluster.config(cluster.superuser(), cluster.password(), home)).to_vec(), pause)
}

/// Which of them takes rows.
pub(crate) async fn home(cluster: &Cluster) -> String {
    Homes::new(&HOMES.map(|home| cluster.config(cluster.superuser(), cluster.password(), home))).the_one().await
}

/// The same, by the service's own login where the service's own database is its home: it gets in when it is let in.
pub(crate) fn writer_of_service(cluster: &Cluster, project: &Project, pause: Duration) -> Writer {
    let credentials = project.store.load().unwrap();
    let chat = &credentials.services.iter().find(|(service, _)| service.as_str() == "chat").unwrap().1.active;
    let shared = cluster.config(cluster.superuser(), cluster.password(), HOMES[0]);
    Writer::start(vec![shared, cluster.config(chat.role.as_str(), chat.secret.expose(), HOMES[1])], pause)
}

/// The same, by the service's own login in either place: it is let into the shared database, too.
pub(crate) fn writer_by_login(cluster: &Cluster, project: &Project, pause: Duration) -> Writer {
    let credentials = project.store.load().unwrap();
    let chat = &credentials.services.iter().find(|(service, _)| service.as_str() == "chat").unwrap().1.active;
    Writer::start(HOMES.map(|home| cluster.config(chat.role.as_str(), chat.secret.expose(), home)).to_vec(), pause)
}
