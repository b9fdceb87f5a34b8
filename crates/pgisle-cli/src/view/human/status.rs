//! What `status` shows.

use std::fmt::Write as _;

use pgisle_core::backup::restore::Leftover;
use pgisle_core::status::{LeftoverStatus, LoginStatus, ServiceStatus, State, Status};

use super::style::{BAD, CHANGE, FAINT, GOOD, STRONG, harmless, paint};
use super::table::{left, render, right};
use super::text::bytes;

/// The whole of it.
pub(crate) fn status(status: &Status) -> String {
    let Status { server_version, sessions, usable_connections, services, monitoring, leftovers, others } = status;
    let mut text = format!(
        "PostgreSQL {}, {} of {usable_connections} connections in use\n\n",
        harmless(server_version),
        share(*sessions, Some(*usable_connections))
    );
    let rows: Vec<Vec<String>> = services.iter().flat_map(rows).chain(monitoring.iter().map(monitoring_row)).collect();
    let columns = [
        left("service"),
        left("state"),
        left("database"),
        right("size"),
        right("connections"),
        left("login"),
        right("connections"),
    ];
    text.push_str(&render(&columns, &rows));
    if services.iter().any(|service| service.state == State::Retired) {
        text.push_str("\nRetired services are kept and closed: `pgisle destroy -target=service.NAME` drops one for good.\n");
    }
    text.push_str(&remains(leftovers));
    if !others.is_empty() {
        let names: Vec<String> = others.iter().map(|name| harmless(name.as_str())).collect();
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "\n{} {}", paint(STRONG, "Not pgisle's:"), names.join(", "));
    }
    text
}

/// What restores have left.
fn remains(leftovers: &[LeftoverStatus]) -> String {
    if leftovers.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = leftovers
        .iter()
        .map(|LeftoverStatus { leftover, bytes: size }| {
            let (name, what, since) = match leftover {
                Leftover::Staging { database, waiting, since, .. } => {
                    let what = if *waiting { "waits for an extension" } else { "being restored, or interrupted" };
                    (database.as_str(), what, *since)
                }
                Leftover::Loader { role, .. } => (role.as_str(), "login of a restore", None),
                Leftover::Replaced { database, since, .. } => (database.as_str(), "replaced, kept closed", *since),
            };
            vec![
                leftover.service().to_string(),
                what.to_owned(),
                harmless(name),
                size.map_or_else(|| "–".to_owned(), bytes),
                since.map_or_else(|| "–".to_owned(), |since| since.to_string()),
            ]
        })
        .collect();
    let columns = [left("service"), left("left by restore"), left("name"), right("size"), left("since")];
    let hint = "`pgisle restore SERVICE -undo` puts a replaced database back, and -prune drops it.";
    format!("\n{}\n{hint}\n", render(&columns, &rows).trim_end_matches('\n'))
}

/// A line for each login, with the service's own columns in the first.
fn rows(service: &ServiceStatus) -> Vec<Vec<String>> {
    let ServiceStatus { service, state, database, bytes: size, connections, connection_limit, logins } = service;
    let own = vec![
        service.to_string(),
        paint(tone(*state), state.as_str()),
        harmless(database.as_str()),
        size.map_or_else(|| "–".to_owned(), bytes),
        match state {
            State::Missing => "–".to_owned(),
            _ => of(*connections, *connection_limit),
        },
    ];
    let mut rows: Vec<Vec<String>> = logins
        .iter()
        .enumerate()
        .map(|(index, login)| {
            let mut row = if index == 0 { own.clone() } else { vec![String::new(); own.len()] };
            row.extend(login_cells(login));
            row
        })
        .collect();
    if rows.is_empty() {
        rows.push(own);
    }
    rows
}

fn login_cells(login: &LoginStatus) -> [String; 2] {
    let LoginStatus { role, enabled, connections, connection_limit } = login;
    let name = harmless(role.as_str());
    if *enabled {
        [name, of(*connections, *connection_limit)]
    } else {
        [paint(FAINT, format_args!("{name} (shut out)")), paint(FAINT, connections)]
    }
}

fn monitoring_row(login: &LoginStatus) -> Vec<String> {
    let mut row = vec![paint(FAINT, "monitoring"), String::new(), String::new(), String::new(), String::new()];
    row.extend(login_cells(login));
    row
}

/// `7 of 50`, in a colour when it gets tight.
fn of(number: u64, limit: Option<u32>) -> String {
    match limit {
        Some(limit) => format!("{} of {limit}", share(number, Some(limit))),
        None => format!("{number} of ∞"),
    }
}

/// A number, in a colour when it is most of its limit.
fn share(number: u64, limit: Option<u32>) -> String {
    match limit.map(u64::from) {
        Some(limit) if number >= limit => paint(BAD, number),
        // Four fifths: early enough to do something.
        Some(limit) if number * 5 >= limit * 4 => paint(CHANGE, number),
        _ => number.to_string(),
    }
}

fn tone(state: State) -> anstyle::Style {
    match state {
        State::Ready => GOOD,
        State::Missing | State::Leaving | State::Closed => CHANGE,
        State::Retired => FAINT,
        State::Invalid | State::Foreign => BAD,
    }
}
