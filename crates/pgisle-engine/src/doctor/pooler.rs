//! `PgBouncer`: its console, its aliases, and the services through it.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use pgisle_core::artifact::pooler_alias;
use pgisle_core::diagnostic::Diagnostic;
use pgisle_core::doctor::{AliasFacts, Check, Checked, PoolerTrouble, PoolerWhere, alias, pooled_login, pooler_down};
use pgisle_core::spec::Service;
use pgisle_core::sql::pooler::{SHOW_DATABASES, SHOW_POOLS};
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

use super::{Patient, counted, reach};
use crate::pooler::{PoolerConsole, SILENT, open};
use crate::postgres::connect::describe;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Looks at every `PgBouncer`, and has every service go through.
pub(super) async fn look(patient: &Patient<'_>) -> Vec<Checked> {
    if !patient.spec.settings.enable_pgbouncer {
        return [Check::Pooler, Check::Pooled].map(|check| Checked::skipped(check, "enable_pgbouncer is false")).to_vec();
    }
    if patient.unreachable.is_some() {
        return [Check::Pooler, Check::Pooled].map(|check| Checked::skipped(check, "port failed")).to_vec();
    }
    if patient.poolers.is_empty() {
        return [Check::Pooler, Check::Pooled].map(|check| Checked::skipped(check, "its login was not made yet")).to_vec();
    }
    let (mut found, mut through, mut aliases, mut passed, mut tried) = (Vec::new(), Vec::new(), 0, 0, 0);
    for pooler in &patient.poolers {
        let at = PoolerWhere {
            host: pooler.host.clone(),
            port: pooler.port,
            user: pooler.user.clone(),
            folder: patient.pooler_folder.clone(),
            is_local: reach::is_local(&pooler.host).await,
            is_dev: patient.is_dev,
        };
        let facts = match aliases_of(pooler).await {
            Ok(facts) => Some(facts),
            Err(words) => {
                let trouble = PoolerTrouble::of(&words);
                found.push(pooler_down(&at, &trouble, &words));
                // A console that does not know its own user may still let services in.
                if trouble != PoolerTrouble::Userlist {
                    continue;
                }
                None
            }
        };
        let mut open_ones = Vec::new();
        for service in &patient.services {
            let database = patient.homes.get(&service.name).unwrap_or(&service.database);
            let name = pooler_alias(service);
            let finding = facts.as_ref().and_then(|facts| alias(&at, name, database.as_str(), facts.get(name)));
            aliases += usize::from(facts.is_some());
            match finding {
                // Who waits in a full pool is told already, and would wait here too.
                Some(finding) => found.push(finding),
                None => open_ones.push(*service),
            }
        }
        tried += open_ones.len();
        let findings = pass(patient, pooler, &at, facts.as_ref(), open_ones).await;
        passed += findings.iter().filter(|finding| finding.is_none()).count();
        through.extend(findings.into_iter().flatten());
    }
    let seen = if found.is_empty() {
        format!("led as they should: {}", counted(aliases, "alias", "aliases"))
    } else {
        format!("{} wrong", found.len())
    };
    let pooler = Checked::new(Check::Pooler, seen, found);
    if tried == 0 && pooler.findings.is_empty() {
        return vec![pooler, Checked::skipped(Check::Pooled, "the file has no service")];
    }
    if tried == 0 {
        return vec![pooler, Checked::skipped(Check::Pooled, "PgBouncer failed")];
    }
    vec![pooler, Checked::new(Check::Pooled, format!("{passed} of {tried} services get through"), through)]
}

/// Has each service go through, with its stored password.
async fn pass(
    patient: &Patient<'_>,
    pooler: &PoolerConsole,
    at: &PoolerWhere,
    facts: Option<&BTreeMap<String, AliasFacts>>,
    services: Vec<&Service>,
) -> Vec<Option<Diagnostic>> {
    let tried = futures_util::stream::iter(services).map(async |service: &Service| {
        let login = &patient.credentials?.services.get(&service.name)?.active;
        let as_service = PoolerConsole { user: login.role.to_string(), password: login.secret.clone(), ..pooler.clone() };
        let words = go_through(&as_service, pooler_alias(service)).await.err()?;
        let trouble = if words == SILENT { PoolerTrouble::Silent } else { PoolerTrouble::of(&words) };
        let server = facts.and_then(|facts| facts.get(pooler_alias(service))).map(|alias| alias.server.as_str());
        Some(pooled_login(at, login.role.as_str(), pooler_alias(service), server, &trouble, &words))
    });
    tried.buffered(patient.parallelism.max(1)).collect().await
}

async fn go_through(as_service: &PoolerConsole, alias: &str) -> Result<(), String> {
    let client = open(as_service, alias).await.map_err(|unusable| unusable.reason)?;
    match tokio::time::timeout(PATIENCE, client.simple_query("SELECT 1")).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(describe(&error)),
        Err(_) => Err(SILENT.to_owned()),
    }
}

async fn aliases_of(pooler: &PoolerConsole) -> Result<BTreeMap<String, AliasFacts>, String> {
    let client = open(pooler, "pgbouncer").await.map_err(|unusable| unusable.reason)?;
    match tokio::time::timeout(PATIENCE, read(&client)).await {
        Ok(read) => read.map_err(|error| describe(&error)),
        Err(_) => Err(SILENT.to_owned()),
    }
}

async fn read(client: &Client) -> Result<BTreeMap<String, AliasFacts>, tokio_postgres::Error> {
    let mut aliases: BTreeMap<String, AliasFacts> = BTreeMap::new();
    for row in rows(&client.simple_query(SHOW_DATABASES).await?) {
        let facts = AliasFacts {
            server: format!("{} port {}", text(row, "host"), text(row, "port")),
            database: text(row, "database").to_owned(),
            is_paused: number(row, "paused") != 0,
            is_disabled: number(row, "disabled") != 0,
            size: Some(number(row, "pool_size")),
            ..AliasFacts::default()
        };
        aliases.insert(text(row, "name").to_owned(), facts);
    }
    for row in rows(&client.simple_query(SHOW_POOLS).await?) {
        if let Some(facts) = aliases.get_mut(text(row, "database")) {
            facts.waiting += number(row, "cl_waiting");
            facts.longest_wait_s = facts.longest_wait_s.max(number(row, "maxwait"));
            facts.servers += number(row, "sv_active");
        }
    }
    Ok(aliases)
}

fn rows(messages: &[SimpleQueryMessage]) -> impl Iterator<Item = &SimpleQueryRow> {
    messages.iter().filter_map(|message| if let SimpleQueryMessage::Row(row) = message { Some(row) } else { None })
}

/// Asking for a column that is not there would panic.
fn text<'a>(row: &'a SimpleQueryRow, column: &str) -> &'a str {
    let is_there = row.columns().iter().any(|one| one.name() == column);
    if is_there { row.get(column).unwrap_or_default() } else { "" }
}

fn number(row: &SimpleQueryRow, column: &str) -> u32 {
    text(row, column).parse().unwrap_or_default()
}
