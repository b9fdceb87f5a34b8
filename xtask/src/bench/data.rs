//! What is backed up and restored: two kinds of data that have little in common.

use std::process::Command;
use std::sync::mpsc::sync_channel;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use futures_util::SinkExt as _;

use super::link;
use super::site::Site;

/// Bytes that pgbench's tables take for each unit of its scale, measured.
const SCALE_BYTES: u64 = 16_200_000;

/// Bytes that a person's rows take with their indexes, for each byte of COPY text, in tenths: measured.
const DISK_TENTHS: u64 = 17;

/// A kind of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Data {
    /// The schema of `examples/link`, filled as an application fills it: texts, numbers, documents, vectors; many indexes.
    Link,
    /// pgbench's own: mostly blanks, as its authors made it.
    Pgbench,
}

impl Data {
    pub(super) const ALL: [Self; 2] = [Self::Link, Self::Pgbench];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Link => "Link",
            Self::Pgbench => "pgbench",
        }
    }

    /// What each service asks for.
    pub(super) fn extensions(self) -> &'static str {
        match self {
            Self::Link => "\"uuid-ossp\", \"vector\"",
            Self::Pgbench => "",
        }
    }

    /// Fills the database of a service with about so many bytes on the disk.
    pub(super) async fn fill(self, site: &Site, service: usize, bytes: u64) -> Result<()> {
        match self {
            Self::Link => fill_link(site, service, bytes * 10 / DISK_TENTHS / link::PERSON_BYTES).await?,
            Self::Pgbench => fill_pgbench(site, service, bytes / SCALE_BYTES)?,
        }
        site.cluster.try_psql_in(&database(service), "VACUUM ANALYZE").await?;
        Ok(())
    }
}

/// A service's database.
pub(super) fn database(service: usize) -> String {
    format!("bench_s{service:03}")
}

async fn fill_link(site: &Site, service: usize, people: u64) -> Result<()> {
    ensure!(site.cluster.installation().vector, "this PostgreSQL has no pgvector, which the schema of examples/link needs");
    let client = site.cluster.connect_to(&database(service)).await;
    let owner = format!("SET ROLE {}_owner", database(service));
    client.batch_execute(&owner).await?;
    client.batch_execute(link::SCHEMA).await.context("examples/link/link_app.sql")?;
    // The rows refer to each other as they should; a restore will look.
    client.batch_execute("RESET ROLE; SET session_replication_role = replica").await?;
    let (sender, pieces) = sync_channel(2);
    let maker = std::thread::spawn(move || {
        // Whoever does not listen any more has failed, and says why.
        link::rows(people.max(20), &mut |table, rows| drop(sender.send((table, rows))));
    });
    while let Ok((table, rows)) = pieces.recv() {
        let mut sink = std::pin::pin!(client.copy_in::<_, Bytes>(&format!("COPY {table} FROM stdin")).await?);
        sink.send(Bytes::from(rows)).await?;
        sink.finish().await.with_context(|| format!("rows of {table}"))?;
    }
    if maker.join().is_err() {
        bail!("the rows cannot be made");
    }
    Ok(())
}

fn fill_pgbench(site: &Site, service: usize, scale: u64) -> Result<()> {
    let mut command = Command::new(site.cluster.installation().program("pgbench"));
    command.args(["-i", "-q", "-s", &scale.max(1).to_string(), &database(service)]);
    let output = site.as_superuser(&mut command).env("PGOPTIONS", format!("-c role={}_owner", database(service))).output()?;
    ensure!(output.status.success(), "pgbench: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
