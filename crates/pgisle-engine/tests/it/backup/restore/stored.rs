//! From the store to the server.

use std::fs;
use std::io;

use pgisle_core::name::ServiceName;
use pgisle_core::spec::Environment;
use pgisle_engine::backup::catalog::{self, Proof};
use pgisle_engine::backup::restore::{self, Compared, Input, Opening, Stream};
use pgisle_engine::backup::{BackupStore, S3Environment};
use pgisle_engine::credential::IdentitySource;
use pgisle_testkit::Cluster;

use super::{Dump, TWO, remains, said};
use crate::apply::Project;

#[tokio::test]
async fn a_stored_backup_is_drilled_and_a_flipped_byte_in_it_is_seen() {
    let cluster = Cluster::start().await;
    let project = Project::new(&cluster, TWO);
    project.apply().await;
    cluster.psql_in("link_users", "SET ROLE link_users_owner; CREATE TABLE t AS SELECT g FROM generate_series(1, 999) AS g").await;
    let dump = Dump::of_users(&cluster).await;
    let mut manifest = dump.manifest.unwrap();
    let packed = zstd::encode_all(dump.bytes.as_slice(), 3).unwrap();
    (manifest.data.bytes, manifest.data.sha256) = (packed.len() as u64, pgisle_core::backup::checksum(&packed));
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("link-development/services/users").join(manifest.id.as_str());
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join("data.pgdump.zst"), &packed).unwrap();
    fs::write(place.join("manifest.json"), pgisle_core::backup::seal(&manifest)).unwrap();

    let environment = S3Environment::from_environment([]);
    let location = folder.path().to_str().unwrap();
    let store = BackupStore::open(location, "link", Environment::Development, &environment).unwrap();
    let users = ServiceName::parse("users").unwrap();
    let backup = catalog::find(&store, &users, None).await.unwrap();
    let identities = IdentitySource::from_environment(|_| None);
    let open = || -> Opening<'_> {
        Box::pin(async {
            backup.open(&store, &identities).await.map(|reader| Box::new(reader) as Stream).map_err(io::Error::other)
        })
    };
    let input = Input { name: backup.id().to_string(), open: &open, manifest: Some(&backup.manifest) };
    let service = &project.spec.services[&users];
    let drilled = Box::pin(restore::drill(&project.request(), service, &input, &|_| {})).await;
    let drilled = drilled.unwrap_or_else(|error| panic!("{}", said(&error)));
    assert_eq!((drilled.compared, drilled.rows), (Compared::Content, 999));
    catalog::record_proof(&store, &backup, Proof::Drill).await.unwrap();
    assert_eq!(catalog::find(&store, &users, None).await.unwrap().verified.unwrap().how, Proof::Drill);

    for at in [0, packed.len() / 2, packed.len() - 1] {
        let mut flipped = packed.clone();
        flipped[at] ^= 0x10;
        fs::write(place.join("data.pgdump.zst"), flipped).unwrap();
        let error = Box::pin(restore::restore(&project.request(), service, &input, &|_| {})).await.unwrap_err();
        assert!(said(&error).contains("PI0820"), "byte {at}: {}", said(&error));
    }
    assert_eq!(remains(&cluster).await, "");
}
