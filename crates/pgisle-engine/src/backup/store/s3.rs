//! A store that speaks S3.

use std::ffi::OsString;
use std::io::{self, Read};
use std::sync::{Arc, Once};
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::multipart::MultipartStore as _;
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, GetOptions, ObjectStore as _, ObjectStoreExt as _, PutMode, PutOptions, RetryConfig,
};
use pgisle_core::backup::UploadNote;
use pgisle_core::moment::Moment;
use pgisle_core::secret::Secret;
use tokio::sync::mpsc;

use super::upload::{self, Upload};
use super::{Key, Listed, StoreError};

/// The smallest part of an upload. S3 asks for 5 MiB at least.
const PART_BYTES_MIN: u64 = 8 << 20;

/// S3 takes 10,000 parts; half of them leaves room for a database that has doubled since it was estimated.
const PARTS_WANTED: u64 = 5_000;

/// Pieces between a blocking thread and the network.
pub(super) const PIECES_WAITING: usize = 4;

/// A note is far smaller.
const NOTE_BYTES_MAX: u64 = 64 << 10;

/// Notes that are read at once: enough to hide a network's delay.
const NOTES_AT_ONCE: usize = 8;

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
    pub(super) client: Arc<AmazonS3>,
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

    pub(super) fn path(&self, key: &Key) -> Path {
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

    pub(super) fn writer(&self, key: &Key, expected_bytes: u64, cluster: Option<&str>) -> Upload {
        let part_bytes = PART_BYTES_MIN.max(expected_bytes / PARTS_WANTED);
        let part_bytes = usize::try_from(part_bytes).unwrap_or(usize::MAX);
        Upload::begin(self.clone(), key.clone(), part_bytes, cluster.map(str::to_owned))
    }

    /// The notes of the uploads in parts that have not ended.
    pub(super) async fn notes(&self) -> io::Result<Vec<(Key, UploadNote)>> {
        let below = Key::of(&[upload::NOTES]).unwrap_or(Key::ROOT);
        let listed = stream::iter(self.list(&below).await?);
        let read =
            listed.map(|listed| async move { Ok::<_, io::Error>((self.read(&listed.key, NOTE_BYTES_MAX).await?, listed.key)) });
        let read: Vec<_> = read.buffered(NOTES_AT_ONCE).try_collect().await?;
        // One that has just gone is of an upload that has just ended, and what is no note names no upload.
        let notes = read.into_iter().filter_map(|(bytes, key)| Some((key, UploadNote::open(&bytes?).ok()?)));
        Ok(notes.collect())
    }

    /// Calls an upload off, and removes its note.
    pub(super) async fn call_off(&self, note_key: &Key, note: &UploadNote) -> io::Result<()> {
        let Some(key) = Key::parse(&note.key) else { return self.delete(note_key).await };
        let path = self.path(&key);
        match self.client.abort_multipart(&path, &note.upload_id).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            // Some deny what they do not know any more. An object is written once: where it is, its upload has ended.
            Err(object_store::Error::PermissionDenied { .. }) if self.client.head(&path).await.is_ok() => {}
            Err(error) => return Err(into_io(error)),
        }
        self.delete(note_key).await
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

pub(super) fn into_io(error: object_store::Error) -> io::Error {
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
