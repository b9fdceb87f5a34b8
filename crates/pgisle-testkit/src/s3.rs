//! A server that speaks S3, for the tests of stores.

use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use pgisle_engine::local::find_program;
use pgisle_engine::local::server::free_port;
use pgisle_engine::process::Invocation;
use tempfile::TempDir;

const KEY: &str = "pgisle";
const SECRET: &str = "only-for-tests";

/// A server that speaks S3, with one bucket, `bucket`.
#[derive(Debug)]
pub struct S3Server {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl S3Server {
    /// Starts one; none when `s3s-fs` is not installed.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start() -> Option<Self> {
        let program = find_program("s3s-fs")?;
        let (folder, port) = (TempDir::new().expect("a folder"), free_port().unwrap_or_else(|error| panic!("{error}")));
        std::fs::create_dir(folder.path().join("bucket")).expect("a bucket");
        let server = Invocation::new(program).arguments(["--host", "127.0.0.1", "--port", &port.to_string()]);
        let server = server.arguments(["--access-key", KEY, "--secret-key", SECRET]).argument(folder.path());
        let child = server.clean_environment().start(&folder.path().join("server.log")).unwrap_or_else(|error| panic!("{error}"));
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(10), "the S3 server does not come up");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Some(Self { child, port, folder })
    }

    /// What must be in the environment of whoever uses it.
    #[must_use]
    pub fn variables(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.port)),
            ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]
    }

    /// Where it keeps its objects, as plain files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its own files that hold parts of uploads, or say that there are uploads.
    ///
    /// # Panics
    /// When its folder cannot be read.
    #[must_use]
    pub fn parts(&self) -> usize {
        let entries = self.folder().read_dir().expect("its folder").map(|entry| entry.expect("a name").file_name());
        entries.filter(|name| name.to_string_lossy().starts_with(".upload")).count()
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}
