//! Backups and log in S3, encrypted.

use std::process::Child;
use std::time::{Duration, Instant};

use pgisle_engine::local::find_program;
use pgisle_engine::local::server::free_port;
use pgisle_engine::process::Invocation;
use pgisle_testkit::skip;
use tempfile::TempDir;

use super::site::Site;

const IDENTITY: &str = "AGE-SECRET-KEY-1J0AK9AK44WVWT59KUTNH327M9Q9HDFXX3K5KHQ4Q00F6R7CY9NKSCC6CR5";
const SETTINGS: &str = "backup_storage_path = \"s3://bucket/some\"
backup_recipients = [\"age10dcr2hpugw9yffjq6yue706eny6d49qtxrpuztrqw2w6gsdu0qlsu7hu0e\"]
";

/// A server that speaks S3, with one bucket.
pub(crate) struct Server {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Server {
    pub(crate) async fn start() -> Option<Self> {
        let program = find_program("s3s-fs")?;
        let (folder, port) = (TempDir::new().unwrap(), free_port().unwrap());
        std::fs::create_dir(folder.path().join("bucket")).unwrap();
        let server = Invocation::new(program).arguments(["--host", "127.0.0.1", "--port", &port.to_string()]);
        let server = server.arguments(["--access-key", "pgisle", "--secret-key", "only-for-tests"]).argument(folder.path());
        let child = server.clean_environment().start(&folder.path().join("server.log")).unwrap();
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(10), "the S3 server does not come up");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Some(Self { child, port, folder })
    }

    /// What a program has to have in its environment to reach it.
    pub(crate) fn variables(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.port)),
            ("AWS_ACCESS_KEY_ID", "pgisle".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "only-for-tests".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[tokio::test]
async fn a_service_goes_back_from_an_encrypted_archive_in_s3() {
    let Some(server) = Server::start().await else { skip!("s3s-fs is not installed") };
    let variables = server.variables();
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut site = Site::with(None, SETTINGS, &variables).await;
    site.wal = server.folder.path().join("bucket/some/shop-development/wal");
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
