//! Backups that only some may read.

use age::secrecy::ExposeSecret as _;
use age::x25519::Identity;
use pgisle_engine::backup::BackupError;
use pgisle_engine::backup::verify::Depth;
use pgisle_engine::credential::IdentitySource;

use super::NASTY;
use super::site::Site;

pub(super) fn key(identity: &Identity) -> IdentitySource {
    let text = identity.to_string().expose_secret().to_owned();
    IdentitySource::from_environment(|name| (name == "PGISLE_AGE_IDENTITY").then(|| text.clone().into()))
}

#[tokio::test]
async fn an_encrypted_backup_opens_to_its_recipients_alone() {
    let (one, other, stranger) = (Identity::generate(), Identity::generate(), Identity::generate());
    let recipients = format!("backup_recipients = [\"{}\", \"{}\"]\n", one.to_public(), other.to_public());
    let mut site = Site::new(&format!("{recipients}service \"users\" {{\n}}\n")).await;
    site.fill("users", NASTY).await;
    // The machine that makes it has no private key: what was written is compared, and counts.
    let backup = site.backups().await.remove(0);
    assert!(backup.manifest.data.is_encrypted && backup.verified.is_some());
    assert_eq!(backup.manifest.data.name, "data.pgdump.zst.age");
    let path = site.folder_of(&backup).join(&backup.manifest.data.name);
    let bytes = std::fs::read(&path).unwrap();
    assert!(bytes.starts_with(b"age-encryption.org/v1"));
    for (identity, depth) in [(&one, Depth::Decoded), (&other, Depth::Decoded), (&stranger, Depth::Stored)] {
        site.identities = key(identity);
        assert_eq!(site.verify(&backup).await.unwrap(), depth);
    }
    let opened = backup.open(&site.store, &site.identities).await;
    assert!(matches!(opened, Err(BackupError::KeyWrong { .. })), "{opened:?}");
    site.identities = IdentitySource::from_environment(|_| None);
    let opened = backup.open(&site.store, &site.identities).await;
    assert!(matches!(opened, Err(BackupError::KeyMissing { .. })), "{opened:?}");
    // With the key and without it, every change is told.
    for place in [0, 30, bytes.len() / 2, bytes.len() - 1] {
        let mut changed = bytes.clone();
        changed[place] ^= 4;
        std::fs::write(&path, &changed).unwrap();
        for identities in [key(&one), IdentitySource::from_environment(|_| None)] {
            site.identities = identities;
            let result = site.verify(&backup).await;
            assert!(matches!(result, Err(BackupError::Damaged { .. })), "byte {place}: {result:?}");
        }
    }
}
