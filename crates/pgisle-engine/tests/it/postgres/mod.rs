//! Connecting, inspecting and locking.

mod conninfo;
mod inspect;
mod inspect_hidden;
mod inspect_kinds;
mod lock;
mod pooled;
mod session;
mod tls;

use pgisle_core::name::{DatabaseName, RoleName};
use pgisle_core::secret::Secret;
use pgisle_engine::postgres::{ConnectOptions, Host};
use pgisle_testkit::Cluster;

pub(crate) fn role(name: &str) -> RoleName {
    RoleName::new(name).expect("a role's name")
}

pub(crate) fn database(name: &str) -> DatabaseName {
    DatabaseName::new(name).expect("a database's name")
}

/// The superuser over the socket.
pub(crate) fn superuser(cluster: &Cluster) -> ConnectOptions {
    let host = Host::Socket(cluster.socket_dir().to_owned());
    ConnectOptions::new(host, cluster.port(), role(cluster.superuser()), database("postgres"))
        .with_password(Secret::new(cluster.password()))
}

/// A login over TCP, without TLS.
pub(crate) fn login(cluster: &Cluster, user: &str, password: &str) -> ConnectOptions {
    let host = Host::Tcp(cluster.host().to_owned());
    ConnectOptions::new(host, cluster.port(), role(user), database("postgres")).with_password(Secret::new(password))
}
