//! What `budget` shows.

use std::fmt::Write as _;

use pgisle_core::budget::{Peak, ServerConnections, ServiceConnections, Suggestion, Summary};

use super::style::{BAD, GOOD, STRONG, paint};
use super::table::{left, render, right};

/// The whole of it.
pub(crate) fn budget(summary: &Summary) -> String {
    let Summary { services, server, suggestions, peak, pgbouncer_connections, .. } = summary;
    let columns = [
        left("service"),
        right("instances"),
        right("pool"),
        right("before"),
        right("after"),
        right("one more instance"),
        right("login's limit"),
        right("database's limit"),
    ];
    let rows: Vec<Vec<String>> = services.iter().map(row).chain(totals(summary)).collect();
    let mut text = render(&columns, &rows);
    text.push_str(
        "\nBefore: what services without pools can take, with nothing but the databases' limits in the way.\n\
         After:  what the server sees when every pool is full. This must fit.\n\nOn top, for a while:\n\n",
    );
    text.push_str(&occasions(peak, pgbouncer_connections.is_some()));
    if let Some(server) = server {
        text.push_str(&verdict(summary, server));
    }
    if let Some(readers) = summary.standby_connections {
        // Writing to a String cannot fail.
        let _infallible = writeln!(
            text,
            "\nReaders may take {readers} more of the standbys, all together: that comes off their own max_connections."
        );
    }
    text.push_str(&remedies(suggestions));
    text
}

fn row(service: &ServiceConnections) -> Vec<String> {
    let ServiceConnections {
        service,
        database: _,
        instances,
        pool_size,
        connections: _,
        steady,
        deployment: _,
        one_more_instance,
        connection_limit,
        database_connection_limit,
    } = service;
    vec![
        service.to_string(),
        instances.to_string(),
        pool_size.to_string(),
        database_connection_limit.to_string(),
        steady.to_string(),
        format!("+{one_more_instance}"),
        connection_limit.to_string(),
        database_connection_limit.to_string(),
    ]
}

fn totals(summary: &Summary) -> Vec<Vec<String>> {
    let Summary { instances, connections_without_pools, monitoring_connections, steady, .. } = summary;
    let row = |name: String, instances: String, before: u64, after: String| {
        vec![name, instances, String::new(), before.to_string(), after]
    };
    let monitoring = *monitoring_connections;
    let before = connections_without_pools + monitoring;
    let mut rows = Vec::new();
    if monitoring > 0 {
        rows.push(row("monitoring".to_owned(), String::new(), monitoring, monitoring.to_string()));
    }
    rows.push(row(paint(STRONG, "all"), instances.to_string(), before, paint(STRONG, steady)));
    rows
}

fn occasions(peak: &Peak, is_pooled: bool) -> String {
    let Peak { deployment, split, migrations, backup, pgisle, total: _, parallelism } = peak;
    let instances = if is_pooled { "what PgBouncer may hold besides" } else { "one more instance of each service" };
    let rows = [
        ("deployment or rotation", deployment, instances.to_owned()),
        ("split", split, "the largest service that moves, at its old address".to_owned()),
        ("migrations", migrations, "a login of their own, under access = \"split\"".to_owned()),
        ("backup", backup, "-consistent: all services at one moment".to_owned()),
        ("pgisle", pgisle, format!("the apply, restore or split that takes most, with -parallelism={parallelism}")),
    ];
    let rows: Vec<Vec<String>> =
        rows.into_iter().map(|(what, number, why)| vec![what.to_owned(), format!("+{number}"), why]).collect();
    render(&[left("what"), right("at most"), left("because of")], &rows)
}

fn verdict(summary: &Summary, server: &ServerConnections) -> String {
    let ServerConnections { max_connections, usable_connections, headroom, peak_headroom, max_connections_for_peak: _ } = server;
    let (steady, peak) = (summary.steady, summary.peak.total);
    let colour = |left: &i64| paint(if *left < 0 { BAD } else { GOOD }, left);
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _infallible = write!(
        text,
        "\nThe server has {max_connections} connections, {usable_connections} of them for everyone.\n\
         Full pools: {steady}, left: {}. At the peak, all at once: {peak}, left: {}.\n",
        colour(headroom),
        colour(peak_headroom),
    );
    text
}

fn remedies(suggestions: &[Suggestion]) -> String {
    let lines = suggestions.iter().map(|suggestion| format!("  {suggestion}\n")).collect::<String>();
    if lines.is_empty() { lines } else { format!("\nIt does not fit. Any one of these makes it fit:\n{lines}") }
}
