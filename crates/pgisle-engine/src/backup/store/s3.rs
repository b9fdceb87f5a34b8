//! A store that speaks S3.

use std::ffi::OsString;
use std::io::{self, Read};
use std::sync::{Arc, Once};
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, GetOptions, ObjectStore as _, ObjectStoreExt as _, PutMode, PutOptions, RetryConfig,
};
use pgisle_core::moment::Moment;
use pgisle_core::secret::Secret;
use tokio::sync::{mpsc, oneshot};

use super::{Key, Listed, StoreError};

/// The smallest part of an upload. S3 asks for 5 MiB at least.
const PART_BYTES_MIN: u64 = 8 << 20;

/// S3 takes 10,000 parts; half of them leaves room for a database that has doubled since it was estimated.
const PARTS_WANTED: u64 = 5_000;

/// Parts under way at once: enough to fill a fast line, little enough for a small machine's memory.
const PARTS_AT_ONCE: usize = 4;

/// How much is collected before it is handed to the upload.
const PIECE_BYTES: usize = 1 << 20;

/// Pieces between a blocking thread and the network.
const PIECES_WAITING: usize = 4;

/// A part on the slowest line that is worth it, and a server that thinks.
const READ_TIMEOUT: Duration = Duration::from_secs(300);
/// As for PostgreSQL.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A service that restarts is back by then.
const RETRY_TIMEOUT: Duration = Duration::from_secs(120);
/// Attempts after the first.
const RETRIES_MAX: usize = 6;

/// The `AWS_…` variables, read once.
#[derive(Debug, Clone, Default)]
pub struct S3Environment(Vec<(String, Secret)>);

impl S3Environment {
    /// Takes what the environment says, such as `S3Environment::from_environment(std::env::vars_os())`.
    pub fn from_environment(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let ours = variables.into_iter().filter_map(|(name, value)| {
            let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
            (name.starts_with("AWS_") && !value.is_empty()).then(|| (name, Secret::new(value)))
        });
        Self(ours.collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(variable, _)| variable == name).map(|(_, value)| value.expose())
    }
}

#[derive(Debug, Clone)]
pub(super) struct S3 {
    client: Arc<AmazonS3>,
    location: String,
    prefix: Vec<String>,
}

impl S3 {
    /// Opens `bucket/prefix` of `location`, which is the same with its scheme.
    pub(super) fn open(location: &str, place: &str, owner: &str, environment: &S3Environment) -> Result<Self, StoreError> {
        static PROVIDER: Once = Once::new();
        // The library asks for the process's default. An error means that there is one already.
        PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));

        let wrong = |reason: String| StoreError::Location { location: location.to_owned(), reason };
        let mut parts = place.trim_end_matches('/').split('/');
        let bucket = parts.next().filter(|bucket| !bucket.is_empty());
        let bucket = bucket.ok_or_else(|| wrong("It names no bucket: it must be like s3://bucket/prefix.".to_owned()))?;
        let prefix: Vec<String> = parts.chain([owner]).map(str::to_owned).collect();
        if prefix.iter().any(|part| Key::of(&[part]).is_none()) {
            return Err(wrong("Its prefix has an empty part.".to_owned()));
        }
        let endpoint = environment.get("AWS_ENDPOINT_URL_S3").or(environment.get("AWS_ENDPOINT_URL"));
        let endpoint = endpoint.or(environment.get("AWS_ENDPOINT"));
        let is_plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
        let may_be_plain = endpoint.is_some_and(is_loopback)
            || environment.get("AWS_ALLOW_HTTP").is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1");
        if is_plain && !may_be_plain {
            let reason = "AWS_ENDPOINT_URL is http, so keys and data would cross the network in the clear.";
            return Err(wrong(format!("{reason} Use https, or set AWS_ALLOW_HTTP=true where the network is trusted.")));
        }
        let mut builder = AmazonS3Builder::new();
        for (name, value) in &environment.0 {
            if let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() {
                builder = builder.with_config(key, value.expose());
            }
        }
        let options = ClientOptions::new()
            .with_timeout_disabled()
            .with_read_timeout(READ_TIMEOUT)
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_allow_http(may_be_plain);
        let retry = RetryConfig { backoff: BackoffConfig::default(), max_retries: RETRIES_MAX, retry_timeout: RETRY_TIMEOUT };
        let client = builder.with_bucket_name(bucket).with_client_options(options).with_retry(retry).build();
        let client = Arc::new(client.map_err(|error| wrong(format!("{}.", super::error::chain(&error))))?);
        Ok(Self { client, location: format!("{}/{owner}", location.trim_end_matches('/')), prefix })
    }

    pub(super) fn location(&self) -> String {
        self.location.clone()
    }

    fn path(&self, key: &Key) -> Path {
        Path::from_iter(self.prefix.iter().map(String::as_str).chain(key.parts()))
    }

    pub(super) async fn read(&self, key: &Key, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let found = match self.client.get(&self.path(key)).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            found => found.map_err(into_io)?,
        };
        if found.meta.size > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        found.bytes().await.map(|bytes| Some(bytes.to_vec())).map_err(into_io)
    }

    pub(super) async fn put(&self, key: &Key, bytes: Vec<u8>) -> io::Result<()> {
        self.client.put(&self.path(key), bytes.into()).await.map(drop).map_err(into_io)
    }

    /// The same, unless there is one already. False when there is.
    pub(super) async fn put_new(&self, key: &Key, bytes: Vec<u8>) -> io::Result<bool> {
        let options = PutOptions::from(PutMode::Create);
        match self.client.put_opts(&self.path(key), bytes.clone().into(), options).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(false),
            Err(object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. }) => {
                self.put(key, bytes).await.map(|()| true)
            }
            Err(error) => Err(into_io(error)),
        }
    }

    pub(super) async fn list(&self, below: &Key) -> io::Result<Vec<Listed>> {
        let prefix = self.path(&Key::ROOT);
        let found: Vec<_> = self.client.list(Some(&self.path(below))).try_collect().await.map_err(into_io)?;
        let listed = found.into_iter().filter_map(|meta| {
            let parts: Vec<String> = meta.location.prefix_match(&prefix)?.map(|part| part.as_ref().to_owned()).collect();
            // A name that is no key was not put there by us.
            let key = Key::of(&parts.iter().map(String::as_str).collect::<Vec<_>>())?;
            let modified = Moment::from_unix_s(u64::try_from(meta.last_modified.timestamp()).unwrap_or_default());
            Some(Listed { key, bytes: meta.size, modified, is_partial: false })
        });
        Ok(listed.collect())
    }

    pub(super) async fn delete(&self, key: &Key) -> io::Result<()> {
        match self.client.delete(&self.path(key)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(into_io(error)),
        }
    }

    pub(super) async fn reader(&self, key: &Key) -> io::Result<Download> {
        let found = self.client.get_opts(&self.path(key), GetOptions::default()).await.map_err(into_io)?;
        let mut stream = found.into_stream();
        let (sender, receiver) = mpsc::channel(PIECES_WAITING);
        tokio::spawn(async move {
            while let Some(piece) = stream.next().await {
                let piece = piece.map(|piece| piece.to_vec()).map_err(into_io);
                // Nobody reads any more.
                if sender.send(piece).await.is_err() {
                    return;
                }
            }
        });
        Ok(Download { receiver, piece: io::Cursor::default() })
    }

    pub(super) fn writer(&self, key: &Key, expected_bytes: u64) -> Upload {
        let part_bytes = PART_BYTES_MIN.max(expected_bytes / PARTS_WANTED);
        let part_bytes = usize::try_from(part_bytes).unwrap_or(usize::MAX);
        let writer = BufWriter::with_capacity(Arc::clone(&self.client) as _, self.path(key), part_bytes);
        let (pieces, receiver) = mpsc::channel(PIECES_WAITING);
        let (answer, outcome) = oneshot::channel();
        tokio::spawn(upload(writer.with_max_concurrency(PARTS_AT_ONCE), receiver, answer));
        Upload { pieces: Some(pieces), outcome, piece: Vec::with_capacity(PIECE_BYTES) }
    }
}

fn is_loopback(endpoint: &str) -> bool {
    let Some(rest) = endpoint.strip_prefix("http://") else { return false };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

fn into_io(error: object_store::Error) -> io::Error {
    use object_store::Error;
    let kind = match &error {
        Error::NotFound { .. } => io::ErrorKind::NotFound,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => io::ErrorKind::PermissionDenied,
        // A listing's refusal has no kind of its own in the library, only S3's words.
        Error::Generic { source, .. } => kind_of(&super::error::chain(source.as_ref())),
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

fn kind_of(words: &str) -> io::ErrorKind {
    let any = |marks: &[&str]| marks.iter().any(|mark| words.contains(mark));
    if any(&["NoSuchBucket"]) {
        io::ErrorKind::NotFound
    } else if any(&["401 Unauthorized", "403 Forbidden"]) {
        io::ErrorKind::PermissionDenied
    } else if any(&["client error (Connect)"]) {
        io::ErrorKind::NotConnected
    } else {
        io::ErrorKind::Other
    }
}

/// What comes from the network, for a thread that may block.
#[derive(Debug)]
pub struct Download {
    receiver: mpsc::Receiver<io::Result<Vec<u8>>>,
    piece: io::Cursor<Vec<u8>>,
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.piece.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = io::Cursor::new(piece?),
                None => return Ok(0),
            }
        }
    }
}

/// What a blocking thread tells the upload.
enum Piece {
    More(Vec<u8>),
    End,
}

/// What goes to the network, from a thread that may block. Dropped before its end, the upload is called off.
#[derive(Debug)]
pub(super) struct Upload {
    /// None once it has failed.
    pieces: Option<mpsc::Sender<Piece>>,
    outcome: oneshot::Receiver<io::Result<()>>,
    piece: Vec<u8>,
}

impl std::fmt::Debug for Piece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Piece")
    }
}

impl Upload {
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES {
            let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
            self.send(Piece::More(piece))?;
        }
        Ok(bytes.len())
    }

    fn send(&mut self, piece: Piece) -> io::Result<()> {
        let is_sent = self.pieces.as_ref().is_some_and(|pieces| pieces.blocking_send(piece).is_ok());
        if is_sent {
            return Ok(());
        }
        // The upload ended by itself, which it only does when it fails.
        self.pieces = None;
        match self.outcome.try_recv() {
            Ok(Err(error)) => Err(error),
            _ => Err(io::Error::other("the upload has ended")),
        }
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.piece);
        self.send(Piece::More(piece))?;
        self.send(Piece::End)?;
        self.outcome.blocking_recv().map_err(io::Error::other)?
    }
}

async fn upload(mut writer: BufWriter, mut pieces: mpsc::Receiver<Piece>, answer: oneshot::Sender<io::Result<()>>) {
    let outcome = loop {
        match pieces.recv().await {
            Some(Piece::More(piece)) => {
                if let Err(error) = writer.put(piece.into()).await {
                    break Err(into_io(error));
                }
            }
            Some(Piece::End) => break tokio::io::AsyncWriteExt::shutdown(&mut writer).await,
            None => {
                // Best effort: parts that stay behind are the bucket's lifecycle rule's to remove.
                let _ = writer.abort().await;
                return;
            }
        }
    };
    // Before the answer, the receiver is closed: whoever fails to send finds the answer there.
    let _ = answer.send(outcome);
    drop(pieces);
}
