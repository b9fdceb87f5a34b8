//! Encrypting the store to `age` public keys, so that the machines and people who apply share one file and nobody else reads it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use age::armor::ArmoredReader;
use age::x25519;
use pgisle_core::secret::Secret;
use zeroize::Zeroizing;

use super::error::StoreError;

/// An identity file is a few lines; whatever is larger than this is something else.
const IDENTITY_FILE_BYTES_MAX: u64 = 1 << 20;

/// The public keys that a store is encrypted to.
pub(crate) struct Recipients {
    keys: Vec<x25519::Recipient>,
    /// The same as text, sorted and each once.
    texts: Vec<String>,
}

impl Recipients {
    /// Takes the spec's `credential_recipients`.
    pub(crate) fn parse(texts: &[String]) -> Result<Self, StoreError> {
        let mut keys: Vec<(String, x25519::Recipient)> = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            let key = text.trim().parse().map_err(|_| StoreError::Recipient { position: index + 1 })?;
            keys.push((text.trim().to_owned(), key));
        }
        keys.sort_by(|(one, _), (other, _)| one.cmp(other));
        keys.dedup_by(|(one, _), (other, _)| one == other);
        let (texts, keys) = keys.into_iter().unzip();
        Ok(Self { keys, texts })
    }

    pub(super) fn texts(&self) -> &[String] {
        &self.texts
    }

    pub(super) fn encrypt(&self, plain: &[u8]) -> Result<Vec<u8>, age::EncryptError> {
        let keys = self.keys.iter().map(|key| key as &dyn age::Recipient);
        let mut bytes = Vec::new();
        let mut writer = age::Encryptor::with_recipients(keys)?.wrap_output(&mut bytes)?;
        writer.write_all(plain)?;
        writer.finish()?;
        Ok(bytes)
    }

    /// Encrypts what is written to it, which must be finished.
    pub(crate) fn wrap<W: Write>(&self, output: W) -> io::Result<age::stream::StreamWriter<W>> {
        let keys = self.keys.iter().map(|key| key as &dyn age::Recipient);
        age::Encryptor::with_recipients(keys).map_err(io::Error::other)?.wrap_output(output)
    }
}

/// The private keys that this run may read a store with.
pub(crate) struct Identities(Vec<Box<dyn age::Identity + Send + Sync>>);

impl Identities {
    /// Reads a file, armored or not.
    pub(super) fn decrypt(&self, bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, age::DecryptError> {
        let decryptor = age::Decryptor::new(ArmoredReader::new(bytes))?;
        let mut reader = decryptor.decrypt(self.0.iter().map(|identity| identity.as_ref() as &dyn age::Identity))?;
        // The plain text is shorter, so this never grows and leaves no copies behind.
        let mut plain = Zeroizing::new(Vec::with_capacity(bytes.len()));
        reader.read_to_end(&mut plain)?;
        Ok(plain)
    }

    /// Decrypts what is read through it.
    pub(crate) fn unwrap<R: Read>(&self, input: R) -> Result<age::stream::StreamReader<R>, age::DecryptError> {
        age::Decryptor::new(input)?.decrypt(self.0.iter().map(|identity| identity.as_ref() as &dyn age::Identity))
    }

    fn parse(text: &[u8], origin: &str) -> Result<Self, StoreError> {
        // Its error names a line and never quotes it.
        let malformed = || StoreError::IdentityMalformed { origin: origin.to_owned() };
        let identities =
            age::IdentityFile::from_buffer(text).map_err(|_| malformed())?.into_identities().map_err(|_| malformed())?;
        if identities.is_empty() { Err(malformed()) } else { Ok(Self(identities)) }
    }
}

/// Where the private keys are looked for; the first place that is there counts.
#[derive(Debug, Clone, Default)]
pub struct IdentitySource {
    /// `PGISLE_AGE_IDENTITY`: the key itself.
    text: Option<Secret>,
    /// `PGISLE_AGE_IDENTITY_FILE`: a file, which must be there.
    file: Option<PathBuf>,
    /// `~/.config/pgisle/identity.txt`, which need not.
    default_file: Option<PathBuf>,
}

impl IdentitySource {
    /// Takes what the environment says, such as `IdentitySource::from_environment(|name| std::env::var_os(name))`.
    pub fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let folder = set("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| set("HOME").map(|home| Path::new(&home).join(".config")));
        Self {
            text: set("PGISLE_AGE_IDENTITY").map(|text| Secret::new(text.to_string_lossy())),
            file: set("PGISLE_AGE_IDENTITY_FILE").map(PathBuf::from),
            default_file: folder.map(|folder| folder.join("pgisle/identity.txt")),
        }
    }

    /// Reads the private keys that are to open this store.
    pub(crate) fn load(&self, store: &Path) -> Result<Identities, StoreError> {
        if let Some(text) = &self.text {
            return Identities::parse(text.expose().as_bytes(), "PGISLE_AGE_IDENTITY");
        }
        let path = match (&self.file, &self.default_file) {
            (Some(path), _) => path,
            (None, Some(path)) if path.exists() => path,
            (None, default) => {
                return Err(StoreError::IdentityMissing { path: store.to_owned(), default_file: default.clone() });
            }
        };
        let unreadable = |source| StoreError::IdentityUnreadable { path: path.clone(), source };
        let file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.mode() & 0o077 != 0 {
            return Err(StoreError::Exposed { path: path.clone(), mode: metadata.mode() & 0o7777 });
        }
        let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0).min(1 << 16) + 1));
        file.take(IDENTITY_FILE_BYTES_MAX).read_to_end(&mut text).map_err(unreadable)?;
        Identities::parse(&text, &path.display().to_string())
    }
}
