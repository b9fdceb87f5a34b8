//! Logins and how they prove themselves. Making random passwords and keeping them is the engine's; this is what they are.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::name::{RoleName, ServiceName};
use crate::secret::Secret;

/// PostgreSQL's own default (`SCRAM_SHA_256_DEFAULT_ITERATIONS`).
pub const SCRAM_ITERATIONS: u32 = 4096;

/// The salt's length that PostgreSQL uses (`SCRAM_DEFAULT_SALT_LEN`).
pub const SCRAM_SALT_BYTES: usize = 16;

/// A SCRAM-SHA-256 verifier: what the server keeps, and what PgBouncer needs the identical copy of.
///
/// It is no password, and still worth guarding: whoever has it can test guesses offline and pose as the server.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier(String);

impl Verifier {
    /// Computes the verifier as PostgreSQL does (RFC 5802, RFC 7677, `src/common/scram-common.c`).
    #[must_use]
    pub fn compute(password: &Secret, salt: &[u8; SCRAM_SALT_BYTES]) -> Self {
        Self::compute_with(password, salt, SCRAM_ITERATIONS)
    }

    fn compute_with(password: &Secret, salt: &[u8], iterations: u32) -> Self {
        // As PostgreSQL: normalise with SASLprep, and take the bytes as they are when that is not possible.
        let prepared = stringprep::saslprep(password.expose()).unwrap_or_else(|_| password.expose().into());
        let mut salted = [0_u8; 32];
        pbkdf2::pbkdf2_hmac::<Sha256>(prepared.as_bytes(), salt, iterations, &mut salted);
        let client_key = hmac_sha256(&salted, b"Client Key");
        let stored_key = Sha256::digest(client_key);
        let server_key = hmac_sha256(&salted, b"Server Key");
        Self(format!(
            "SCRAM-SHA-256${iterations}:{}${}:{}",
            BASE64.encode(salt),
            BASE64.encode(stored_key),
            BASE64.encode(server_key)
        ))
    }

    /// Takes a verifier as the server or a store has it; none when the text is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (_, _) = split(text)?;
        Some(Self(text.to_owned()))
    }

    /// The verifier as `ALTER ROLE … PASSWORD` and `userlist.txt` take it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// A short hash that tells two verifiers apart and says nothing about either.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        use std::fmt::Write as _;
        Sha256::digest(self.0.as_bytes()).iter().take(6).fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// True when it was made from this password, whatever the salt.
    #[must_use]
    pub fn matches(&self, password: &Secret) -> bool {
        split(&self.0).is_some_and(|(salt, iterations)| Self::compute_with(password, &salt, iterations) == *self)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(…)")
    }
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    // HMAC takes keys of any length, so this cannot fail; an empty result would only make a login fail.
    Hmac::<Sha256>::new_from_slice(key).map_or([0; 32], |mut mac| {
        mac.update(message);
        mac.finalize().into_bytes().into()
    })
}

/// Salt and iterations of a verifier's text.
fn split(text: &str) -> Option<(Vec<u8>, u32)> {
    let (parameters, keys) = text.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
    let (iterations, salt) = parameters.split_once(':')?;
    let (stored, server) = keys.split_once(':')?;
    let key_is_whole = |key: &str| BASE64.decode(key).is_ok_and(|bytes| bytes.len() == 32);
    if !key_is_whole(stored) || !key_is_whole(server) {
        return None;
    }
    Some((BASE64.decode(salt).ok()?, iterations.parse().ok()?))
}

/// Which of a service's two logins it is. Rotation writes the idle one, publishes it, and then disables the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// The login with the service's plain user name.
    A,
    /// The login with `_b` behind it.
    B,
}

impl Slot {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// A login and how it proves itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The login's name.
    pub role: RoleName,
    /// The password.
    pub secret: Secret,
    /// The verifier that the server keeps.
    pub verifier: Verifier,
    /// When it was made, RFC 3339 in UTC.
    pub created_at: String,
}

/// The logins of one service.
///
/// A rotation walks through three states, each of which is saved before the server is told, so that a killed run is taken up
/// where it stood:
///
/// | state | `pending` | `draining` | who can log in |
/// |---|---|---|---|
/// | [`Rotation::Idle`] | none | none | the active slot |
/// | [`Rotation::Begun`] | the idle slot's new login | none | the active slot, and the new login as soon as the server knows it |
/// | [`Rotation::Published`] | none | the login that was active | both, until no session uses the old one |
///
/// `pending` and `draining` both stand in the slot that is not active, so they are never there at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceCredentials {
    /// Which slot is published to the service.
    pub active_slot: Slot,
    /// The published login.
    pub active: Credential,
    /// The other slot's new login, once a rotation has begun and until it is published.
    pub pending: Option<Credential>,
    /// The other slot, while a rotation lets both log in; none when it is disabled.
    pub draining: Option<Credential>,
    /// The migrations' login, under `access = "split"`.
    pub migrator: Option<Credential>,
}

/// How far the rotation of a service's login is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// None is under way; the other slot is disabled.
    Idle,
    /// The other slot has a new secret, which the service has not been given yet.
    Begun,
    /// The service has the new login, and the old one still works.
    Published,
}

impl ServiceCredentials {
    /// How far its rotation is.
    #[must_use]
    pub fn rotation(&self) -> Rotation {
        match (&self.pending, &self.draining) {
            (Some(_), _) => Rotation::Begun,
            (None, Some(_)) => Rotation::Published,
            (None, None) => Rotation::Idle,
        }
    }

    /// All its logins: the active one first, then whichever there are of the other slot, then the migrator.
    pub fn logins(&self) -> impl Iterator<Item = &Credential> {
        let Self { active_slot: _, active, pending, draining, migrator } = self;
        [Some(active), pending.as_ref(), draining.as_ref(), migrator.as_ref()].into_iter().flatten()
    }
}

/// All logins that pgisle made, for one environment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Credentials {
    /// By service.
    pub services: BTreeMap<ServiceName, ServiceCredentials>,
    /// The monitoring login.
    pub monitoring: Option<Credential>,
    /// PgBouncer's own console user (`stats_users`, `admin_users`); it is no role of the server.
    pub pgbouncer: Option<Credential>,
}

impl Credentials {
    /// The same for whoever only compares: logins and verifiers, and no passwords.
    #[must_use]
    pub fn without_secrets(&self) -> Self {
        let bare = |one: &Credential| Credential { secret: Secret::new(String::new()), ..one.clone() };
        let service = |one: &ServiceCredentials| ServiceCredentials {
            active_slot: one.active_slot,
            active: bare(&one.active),
            pending: one.pending.as_ref().map(bare),
            draining: one.draining.as_ref().map(bare),
            migrator: one.migrator.as_ref().map(bare),
        };
        Self {
            services: self.services.iter().map(|(name, one)| (name.clone(), service(one))).collect(),
            monitoring: self.monitoring.as_ref().map(bare),
            pgbouncer: self.pgbouncer.as_ref().map(bare),
        }
    }

    /// The verifier of a login, wherever in the set it is.
    #[must_use]
    pub fn verifier(&self, role: &RoleName) -> Option<&Verifier> {
        self.services
            .values()
            .flat_map(ServiceCredentials::logins)
            .chain(&self.monitoring)
            .find(|credential| credential.role == *role)
            .map(|credential| &credential.verifier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_matches_its_password_alone() {
        let secret = Secret::new("pencil");
        let verifier = Verifier::compute(&secret, &[7; SCRAM_SALT_BYTES]);
        assert!(verifier.matches(&secret));
        assert!(!verifier.matches(&Secret::new("pencil ")));
        assert_eq!(Verifier::parse(verifier.expose()), Some(verifier));
    }

    #[test]
    fn other_password_formats_are_no_verifier() {
        for text in ["", "md5d41d8cd98f00b204e9800998ecf8427e", "SCRAM-SHA-256$4096:$:", "SCRAM-SHA-256$x:AA==$AA==:AA=="] {
            assert_eq!(Verifier::parse(text), None, "{text}");
        }
    }

    #[test]
    fn debug_hides_secrets() {
        let secret = Secret::new("hunter2");
        let verifier = Verifier::compute(&secret, &[1; SCRAM_SALT_BYTES]);
        let text = format!("{secret:?} {verifier:?}");
        assert!(!text.contains("hunter2") && !text.contains("SCRAM"), "{text}");
    }
}
