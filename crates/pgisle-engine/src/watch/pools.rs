//! What PgBouncer's consoles say.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use pgisle_core::sql::pooler::{SHOW_DATABASES, SHOW_POOLS};
use pgisle_core::watch::PoolSample;
use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

use crate::pooler::{PoolerConsole, console};
use crate::postgres::connect::describe;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The consoles, which stay open.
#[derive(Default)]
pub(crate) struct Pools {
    clients: BTreeMap<String, tokio_postgres::Client>,
}

impl Pools {
    /// Looks at all of them at once. One that cannot be seen is told; a look at half of the pools would be taken for all.
    pub(crate) async fn look(&mut self, consoles: &[PoolerConsole]) -> Result<Vec<PoolSample>, String> {
        let open = consoles.iter().map(|address| (address, self.clients.remove(&address.place())));
        let looked = join_all(open.map(async |(address, client)| {
            let client = match client.filter(|client| !client.is_closed()) {
                Some(client) => client,
                None => console(address).await?,
            };
            let place = address.place();
            let read = tokio::time::timeout(ANSWER_TIMEOUT, read(&client, &place)).await;
            let samples =
                read.map_err(|_| format!("{place} does not answer"))?.map_err(|error| format!("{place}: {}", describe(&error)))?;
            Ok::<_, String>((place, client, samples))
        }));
        let mut all = Vec::new();
        let mut failed = Vec::new();
        for one in looked.await {
            match one {
                Ok((place, client, samples)) => {
                    self.clients.insert(place, client);
                    all.extend(samples);
                }
                Err(reason) => failed.push(reason),
            }
        }
        if failed.is_empty() { Ok(all) } else { Err(failed.join("; ")) }
    }
}

async fn read(client: &tokio_postgres::Client, place: &str) -> Result<Vec<PoolSample>, tokio_postgres::Error> {
    let rows = |messages: Vec<SimpleQueryMessage>| {
        messages.into_iter().filter_map(|message| if let SimpleQueryMessage::Row(row) = message { Some(row) } else { None })
    };
    let databases: BTreeMap<String, (String, Option<u32>)> = rows(client.simple_query(SHOW_DATABASES).await?)
        .filter_map(|row| {
            let (size, reserve) = (number(&row, "pool_size"), number(&row, reserve_column(&row)));
            // 0 is no limit.
            let limit = [number(&row, "max_connections"), size + reserve].into_iter().filter(|limit| *limit > 0).min();
            Some((row.get("name")?.to_owned(), (row.get("database")?.to_owned(), limit)))
        })
        .collect();
    let pools = rows(client.simple_query(SHOW_POOLS).await?).filter_map(|row| {
        let alias = row.get("database")?.to_owned();
        let (database, size) = databases.get(&alias)?.clone();
        Some(PoolSample {
            pooler: place.to_owned(),
            user: row.get("user")?.to_owned(),
            mode: row.get("pool_mode").unwrap_or_default().to_owned(),
            clients_active: number(&row, "cl_active"),
            clients_waiting: number(&row, "cl_waiting"),
            longest_wait_ms: u64::from(number(&row, "maxwait")) * 1_000 + u64::from(number(&row, "maxwait_us")) / 1_000,
            servers_active: number(&row, "sv_active"),
            servers_idle: number(&row, "sv_idle") + number(&row, "sv_used"),
            alias,
            database,
            size,
        })
    });
    // The console itself is a pool, too.
    Ok(pools.filter(|pool| pool.alias != "pgbouncer").collect())
}

/// Up to 1.23 it is called otherwise.
fn reserve_column(row: &SimpleQueryRow) -> &'static str {
    let has_new = row.columns().iter().any(|column| column.name() == "reserve_pool_size");
    if has_new { "reserve_pool_size" } else { "reserve_pool" }
}

fn number(row: &SimpleQueryRow, column: &str) -> u32 {
    // Asking for a column that is not there would panic.
    let is_there = row.columns().iter().any(|one| one.name() == column);
    if is_there { row.get(column).and_then(|text| text.parse().ok()).unwrap_or_default() } else { 0 }
}
