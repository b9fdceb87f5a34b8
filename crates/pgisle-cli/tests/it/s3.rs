//! A server that speaks S3.

use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use pgisle_engine::local::find_program;
use pgisle_engine::local::server::free_port;
use pgisle_engine::process::Invocation;
use tempfile::TempDir;

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

    /// What must be in the environment of whoever uses it.
    pub(crate) fn variables(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.port)),
            ("AWS_ACCESS_KEY_ID", "pgisle".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "only-for-tests".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]
    }

    /// Where it keeps its objects, as plain files.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its own files that hold parts of uploads, or say that there are uploads.
    pub(crate) fn parts(&self) -> usize {
        let entries = std::fs::read_dir(self.folder()).unwrap().map(|entry| entry.unwrap().file_name());
        entries.filter(|name| name.to_string_lossy().starts_with(".upload")).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}
