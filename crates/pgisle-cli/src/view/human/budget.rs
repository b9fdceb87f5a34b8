//! What `budget` shows.

use std::fmt::Write as _;

use pgisle_core::budget::{ServiceConnections, Summary};

use super::style::{BAD, GOOD, STRONG, paint};
use super::table::{left, render, right};

/// The whole of it.
pub(crate) fn budget(summary: &Summary) -> String {
    let Summary {
        services,
        instances,
        connections,
        connections_without_pools,
        pgbouncer_connections,
        monitoring_connections,
        server,
    } = summary;
    let rows: Vec<Vec<String>> = services.iter().map(row).collect();
    let columns =
        [left("service"), right("instances"), right("pool"), right("at most"), right("login's limit"), right("database's limit")];
    let mut text = render(&columns, &rows);
    // Writing to a String cannot fail, here and below.
    let _infallible = writeln!(
        text,
        "\nBefore: up to {connections_without_pools} connections, with nothing but the databases' limits between the services."
    );
    let after = paint(STRONG, connections);
    let _infallible = writeln!(text, "After:  {after} at most, when the pools of all {instances} instances are full.");
    if let Some(pooled) = pgbouncer_connections {
        let _infallible = writeln!(text, "Through PgBouncer the server sees {pooled} at most.");
    }
    if *monitoring_connections > 0 {
        let _infallible = writeln!(text, "Monitoring may hold {monitoring_connections} more.");
    }
    if let Some(server) = server {
        let style = if server.headroom < 0 { BAD } else { GOOD };
        let _infallible = writeln!(
            text,
            "\nThe server has {} connections, {} of them for services. Left: {}",
            server.max_connections,
            server.usable_connections,
            paint(style, server.headroom)
        );
    }
    text
}

fn row(service: &ServiceConnections) -> Vec<String> {
    let ServiceConnections { service, database: _, instances, pool_size, connections, connection_limit, database_connection_limit } =
        service;
    let numbers = [instances, pool_size, connections, connection_limit, database_connection_limit];
    std::iter::once(service.to_string()).chain(numbers.map(ToString::to_string)).collect()
}
