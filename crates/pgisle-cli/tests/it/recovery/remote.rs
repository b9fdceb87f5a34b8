//! Backups and log in S3, encrypted.

use pgisle_testkit::skip;

use super::site::Site;

const IDENTITY: &str = "AGE-SECRET-KEY-1J0AK9AK44WVWT59KUTNH327M9Q9HDFXX3K5KHQ4Q00F6R7CY9NKSCC6CR5";
const SETTINGS: &str = "backup_storage_path = \"s3://bucket/some\"
backup_recipients = [\"age10dcr2hpugw9yffjq6yue706eny6d49qtxrpuztrqw2w6gsdu0qlsu7hu0e\"]
";

#[tokio::test]
async fn a_service_goes_back_from_an_encrypted_archive_in_s3() {
    let Some(server) = pgisle_testkit::S3Server::start().await else { skip!("s3s-fs is not installed") };
    let variables = server.variables();
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut site = Site::with(None, SETTINGS, &variables).await;
    site.wal = server.folder().join("bucket/some/shop-development/wal");
    site.insert("first").await;
    site.back_up().await;
    site.insert("before").await;
    let at = site.now().await;
    site.insert("after").await;
    let name = site.archive().await;
    let data = site.wal.join(&name[..8]).join(format!("{name}.zst.age"));
    assert!(std::fs::read(data).unwrap().starts_with(b"age-encryption.org"));
    // The server's machine has no key to read with, and here it is not given either.
    let restore = ["restore", "orders", "-at", &at, "-auto-approve", "-no-verify"];
    assert_eq!(site.refused(&restore).0, "PI0808");
    assert_eq!(site.rows().await, "after before first");
    site.place = site.place.variable("PGISLE_AGE_IDENTITY", IDENTITY);
    site.run(&restore);
    assert_eq!(site.rows().await, "before first");
    site.assert_nothing_left();
}
