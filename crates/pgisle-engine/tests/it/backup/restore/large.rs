//! A gigabyte there and back.

use std::io;

use pgisle_core::verify::Verdict;
use pgisle_engine::backup::content::{Columns, Reading, content};
use pgisle_engine::backup::restore::{self, Compared, Input, Opening, Stream};
use pgisle_testkit::Cluster;

use super::round_trip::{fill, leaks};
use super::{TWO, catalogs, remains, said};
use crate::apply::{Project, rendered};
use crate::backup::NASTY;
use crate::backup::site::{Site, service};
use crate::postgres::database;

/// pgbench's kind of rows, and wider ones, by the thousand.
const BULK: &str = "
CREATE TABLE accounts (aid int PRIMARY KEY, bid int, abalance int, filler char(84));
INSERT INTO accounts SELECT g, 1 + g / 100000, g::bigint * 7919 % 10000 - 5000, '' FROM generate_series(1, 1500 * THOUSANDS) AS g;
CREATE TABLE documents (id bigint PRIMARY KEY, account int NOT NULL REFERENCES accounts, made timestamptz, body text);
INSERT INTO documents SELECT g, 1 + g * 31 % (1500 * THOUSANDS), timestamptz '2025-01-01' + g * interval '1 second', repeat(md5(g::text), 28)
    FROM generate_series(1, 800 * THOUSANDS) AS g;
CREATE INDEX ON documents (account);
CREATE INDEX ON documents (made) WHERE id % 3 = 0;
GRANT SELECT ON accounts TO auditor;
";

/// A gigabyte where everything is demanded, as in CI; otherwise enough to have several pieces of everything.
fn thousands() -> u64 {
    if std::env::var_os("PGISLE_REQUIRE_ALL").is_some_and(|value| value == "1") { 1000 } else { 50 }
}

#[tokio::test]
async fn a_large_and_nasty_database_comes_back_as_it_was() {
    let cluster = Cluster::builder().conf("max_wal_size", "512MB").start().await;
    let project = Project::new(&cluster, &format!("trusted_roles = [\"auditor\"]\n{TWO}"));
    let site = Site::with(cluster, project).await;
    let cluster = &site.cluster;
    let thousands = thousands();
    fill(cluster, NASTY).await;
    fill(cluster, &BULK.replace("THOUSANDS", &thousands.to_string())).await;
    let bytes: u64 = cluster.psql("SELECT pg_database_size('link_users')").await.parse().unwrap();
    assert!(bytes >= thousands * 1_000_000, "{bytes} bytes");
    let connect = site.project.connect.to_database(&database("link_users"));
    // The columns of a child of another table stand in another order in what was restored.
    let columns = Columns::from([(("public".to_owned(), "child".to_owned()), ["a", "b", "c"].map(str::to_owned).to_vec())]);
    let all = async || {
        let reading = Reading {
            connect: &connect,
            act_as: None,
            snapshot: None,
            columns: &columns,
            parallelism: 2,
            only: None,
            binary: None,
        };
        content(&reading, &|_| {}).await.unwrap()
    };
    let (before, catalogs_before) = (all().await, catalogs(cluster, "link_users").await);
    let backup = site.backups().await.into_iter().find(|backup| *backup.service() == service("users")).unwrap();
    assert_eq!(backup.manifest.content.differences(&before), Vec::<String>::new());
    cluster.psql_in("link_users", "TRUNCATE accounts, documents; DROP TABLE plain CASCADE").await;

    let open = || -> Opening<'_> {
        let reader = backup.open(&site.store, &site.identities);
        Box::pin(async { reader.await.map(|reader| Box::new(reader) as Stream).map_err(io::Error::other) })
    };
    let input = Input { name: backup.id().to_string(), open: &open, manifest: Some(&backup.manifest) };
    let users = &site.project.spec.services[&service("users")];
    let restored = Box::pin(restore::restore(&site.project.request(), users, &input, &|_| {})).await;
    let restored = restored.unwrap_or_else(|error| panic!("{}", said(&error)));
    assert_eq!((restored.compared, restored.rows), (Compared::Content, before.rows()));
    assert!(restored.diagnostics.is_empty(), "{}", rendered(&restored.diagnostics));
    assert_eq!(before.differences(&all().await), Vec::<String>::new());
    // Owners, privileges, and everything else that the catalogs say.
    assert!(catalogs_before == catalogs(cluster, "link_users").await, "{catalogs_before}");
    assert_eq!(remains(cluster).await, restored.replaced.as_str());
    site.project.assert_settled().await;
    assert_eq!(leaks(&site.project).await, (Verdict::Isolated, String::new()));
}
