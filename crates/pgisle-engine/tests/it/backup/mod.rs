//! Backups of real databases.

mod archive;
mod cluster;
mod content;
mod create;
mod damage;
pub(crate) mod disk;
mod evidence;
mod moment;
mod prune;
mod restore;
mod s3;
mod sealed;
mod site;
mod store;
mod trouble;
mod wal;

use pgisle_core::backup::{BackupId, Compression, DumpFormat, ExtensionThere, FORMAT, Manifest, SnapshotThere, StoredObject};
use pgisle_core::moment::Moment;
use pgisle_core::name::{ExtensionName, RoleName, SchemaName, ServiceName};
use pgisle_core::secret::Secret;
use pgisle_testkit::Cluster;

use crate::postgres::database;

/// Everything that is hard to carry from one database to another. Run as the owner role of a service, in its database. There must
/// be a role `auditor`.
pub(crate) const NASTY: &str = include_str!("nasty.sql");

/// Runs `pg_dump` as pgisle does.
pub(crate) async fn pg_dump(cluster: &Cluster, name: &str, options: &[&str]) -> Vec<u8> {
    let program = cluster.installation().invocation("pg_dump").argument("-h").argument(cluster.socket_dir());
    let program = program.argument("-p").argument(cluster.port().to_string()).arguments(["-U", cluster.superuser()]);
    let program = program.arguments(options).argument(name).environment("PGOPTIONS", "-c TimeZone=UTC -c IntervalStyle=postgres");
    let password = Secret::new(cluster.password());
    program.secret_environment("PGPASSWORD", &password).run().await.unwrap().stdout
}

/// The manifest that belongs to an archive of `link_users`.
pub(crate) async fn manifest_of(cluster: &Cluster, dump: &[u8]) -> Manifest {
    let archive = pgisle_core::backup::archive::read(dump).unwrap();
    let there = cluster
        .psql_in(
            &archive.database,
            "SELECT e.extname, e.extversion, n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace",
        )
        .await;
    let extension = |line: &str| {
        let fields: Vec<&str> = line.split('|').collect();
        ExtensionThere {
            name: ExtensionName::new(fields[0]).unwrap(),
            version: fields[1].to_owned(),
            schema: SchemaName::new(fields[2]).unwrap(),
        }
    };
    let at = Moment::from_unix_s(1_737_252_000);
    Manifest {
        format: FORMAT,
        id: BackupId::new(at, 7),
        project: "link".to_owned(),
        environment: "development".to_owned(),
        service: ServiceName::parse("users").unwrap(),
        database: database(&archive.database),
        owner: RoleName::new("link_users_owner").unwrap(),
        begun: at,
        completed: at,
        pgisle_version: "0.0.0".to_owned(),
        server_version: archive.server_version.clone(),
        dump_version: archive.dump_version.clone(),
        encoding: "UTF8".to_owned(),
        collation: "C.UTF-8".to_owned(),
        snapshot: SnapshotThere { taken: at, lsn: "0/0".to_owned(), transactions: String::new() },
        set: None,
        extensions: there.lines().map(extension).collect(),
        dump_format: DumpFormat::Custom,
        data: StoredObject {
            name: "data.pgdump.zst".to_owned(),
            bytes: dump.len() as u64,
            sha256: pgisle_core::backup::checksum(dump),
            raw_bytes: dump.len() as u64,
            raw_sha256: None,
            compression: Compression::Zstd,
            is_encrypted: false,
        },
        content: archive.content,
    }
}
