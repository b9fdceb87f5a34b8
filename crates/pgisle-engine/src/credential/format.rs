//! The store's file: JSON, with a version. Nothing unknown is tolerated, because a field that an old pgisle does not know and
//! therefore drops when it writes the file again is a lost password.

use std::collections::BTreeMap;
use std::io;

use pgisle_core::credential::{Credential, Credentials, ServiceCredentials, Slot, Verifier};
use pgisle_core::name::{RoleName, ServiceName};
use pgisle_core::secret::Secret;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// The version that is written, and the only one that is read.
const VERSION: u64 = 1;

/// Why a text is no store. Serde's own messages quote what they found, which may be a password: they are dropped here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FormatError {
    /// Another version wrote it.
    Version(u64),
    /// It is not the JSON that is expected.
    Malformed { line: usize, column: usize },
}

/// What a file holds.
#[derive(PartialEq, Eq)]
pub(super) struct Content {
    pub(super) credentials: Credentials,
    /// The public keys that the file is encrypted to, sorted; the encryption itself does not tell.
    pub(super) recipients: Vec<String>,
}

/// Renders a file.
pub(super) fn render(content: &Content) -> serde_json::Result<Zeroizing<Vec<u8>>> {
    let Content { credentials, recipients } = content;
    let Credentials { services, monitoring, pgbouncer } = credentials;
    let file = File {
        version: VERSION,
        recipients: recipients.clone(),
        services: services.iter().map(|(name, logins)| (name.clone(), ServiceEntry::from(logins))).collect(),
        monitoring: monitoring.as_ref().map(Entry::from),
        pgbouncer: pgbouncer.as_ref().map(Entry::from),
    };
    // A buffer that grows leaves copies of what it held behind, so its size is measured first.
    let mut size = ByteCount(0);
    serde_json::to_writer_pretty(&mut size, &file)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(size.0 + 1));
    serde_json::to_writer_pretty(&mut *bytes, &file)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads a file.
pub(super) fn parse(bytes: &[u8]) -> Result<Content, FormatError> {
    let version = serde_json::from_slice::<Version>(bytes).map_err(malformed)?.version;
    if version != VERSION {
        return Err(FormatError::Version(version));
    }
    let File { version: _, recipients, services, monitoring, pgbouncer } = serde_json::from_slice(bytes).map_err(malformed)?;
    let services: BTreeMap<_, _> = services.into_iter().map(|(name, entry)| (name, entry.into())).collect();
    if services.values().any(|logins: &ServiceCredentials| logins.pending.is_some() && logins.draining.is_some()) {
        // No transition of a rotation leads there.
        return Err(FormatError::Malformed { line: 1, column: 1 });
    }
    let credentials = Credentials { services, monitoring: monitoring.map(Into::into), pgbouncer: pgbouncer.map(Into::into) };
    Ok(Content { credentials, recipients })
}

fn malformed(error: serde_json::Error) -> FormatError {
    FormatError::Malformed { line: error.line(), column: error.column() }
}

/// As much as every version has.
#[derive(Deserialize)]
struct Version {
    version: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u64,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    recipients: Vec<String>,
    services: BTreeMap<ServiceName, ServiceEntry>,
    monitoring: Option<Entry>,
    pgbouncer: Option<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceEntry {
    active_slot: Slot,
    active: Entry,
    pending: Option<Entry>,
    draining: Option<Entry>,
    migrator: Option<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    role: RoleName,
    #[serde(serialize_with = "write_secret", deserialize_with = "read_secret")]
    password: Secret,
    #[serde(serialize_with = "write_verifier", deserialize_with = "read_verifier")]
    verifier: Verifier,
    created_at: String,
}

impl From<&ServiceCredentials> for ServiceEntry {
    fn from(logins: &ServiceCredentials) -> Self {
        let ServiceCredentials { active_slot, active, pending, draining, migrator } = logins;
        Self {
            active_slot: *active_slot,
            active: active.into(),
            pending: pending.as_ref().map(Entry::from),
            draining: draining.as_ref().map(Entry::from),
            migrator: migrator.as_ref().map(Entry::from),
        }
    }
}

impl From<ServiceEntry> for ServiceCredentials {
    fn from(entry: ServiceEntry) -> Self {
        let ServiceEntry { active_slot, active, pending, draining, migrator } = entry;
        Self {
            active_slot,
            active: active.into(),
            pending: pending.map(Into::into),
            draining: draining.map(Into::into),
            migrator: migrator.map(Into::into),
        }
    }
}

impl From<&Credential> for Entry {
    fn from(credential: &Credential) -> Self {
        let Credential { role, secret, verifier, created_at } = credential.clone();
        Self { role, password: secret, verifier, created_at }
    }
}

impl From<Entry> for Credential {
    fn from(entry: Entry) -> Self {
        let Entry { role, password, verifier, created_at } = entry;
        Self { role, secret: password, verifier, created_at }
    }
}

fn write_secret<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

fn read_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(Secret::new)
}

fn write_verifier<S: Serializer>(verifier: &Verifier, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(verifier.expose())
}

fn read_verifier<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Verifier, D::Error> {
    Verifier::parse(&String::deserialize(deserializer)?).ok_or_else(|| serde::de::Error::custom("not a SCRAM verifier"))
}

struct ByteCount(usize);

impl io::Write for ByteCount {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
