//! Making passwords and verifiers from random bytes.

use pgisle_core::credential::{Credential, SCRAM_SALT_BYTES, Verifier};
use pgisle_core::name::RoleName;
use pgisle_core::secret::Secret;
use zeroize::{Zeroize as _, Zeroizing};

use crate::clock::now_rfc3339;

/// Characters of a password made here: 62 to the power of 32 is a little more than 190 bits.
pub const PASSWORD_CHARS: usize = 32;

/// What passwords are made of: nothing that a URL, a shell, YAML, INI or a libpq string gives a meaning to.
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// The largest multiple of the alphabet's length that a byte can count to. Bytes from here on are drawn again: taking them, too,
/// would make the first characters of the alphabet likelier than the others.
const FAIR_BYTES: u8 = 248;

/// Fills a buffer from the system's random source.
///
/// # Panics
/// When the system has no randomness to give. There is no safe way to go on.
pub fn system_random(buffer: &mut [u8]) {
    if let Err(error) = getrandom::fill(buffer) {
        panic!("the system's random source failed: {error}");
    }
}

/// Makes a login: with the password that the user gave, or with a random one.
pub(super) fn new_credential(
    role: RoleName,
    given: Option<&Secret>,
    random: &mut impl FnMut(&mut [u8]),
    now_rfc3339: &str,
) -> Credential {
    let secret = given.cloned().unwrap_or_else(|| random_password(random));
    let mut salt = [0; SCRAM_SALT_BYTES];
    random(&mut salt);
    let verifier = Verifier::compute(&secret, &salt);
    Credential { role, secret, verifier, created_at: now_rfc3339.to_owned() }
}

/// A login whose password is known from elsewhere, with its verifier, if that is known too.
#[must_use]
pub fn restored(role: RoleName, secret: Secret, verifier: Option<Verifier>) -> Credential {
    let made = new_credential(role, Some(&secret), &mut system_random, &now_rfc3339());
    Credential { verifier: verifier.unwrap_or(made.verifier), ..made }
}

/// The first character is a letter: a YAML reader takes `1234e56…` for a number.
fn random_password(random: &mut impl FnMut(&mut [u8])) -> Secret {
    let mut text = Zeroizing::new(String::with_capacity(PASSWORD_CHARS));
    let mut bytes = [0; 2 * PASSWORD_CHARS];
    while text.len() < PASSWORD_CHARS {
        random(&mut bytes);
        for character in bytes.iter().filter_map(|byte| fair_character(*byte)) {
            if text.len() < PASSWORD_CHARS && (!text.is_empty() || character.is_ascii_alphabetic()) {
                text.push(character);
            }
        }
    }
    bytes.zeroize();
    Secret::new(std::mem::take(&mut *text))
}

fn fair_character(byte: u8) -> Option<char> {
    (byte < FAIR_BYTES).then(|| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn passwords_have_the_right_shape_and_differ() {
        let passwords: Vec<Secret> = (0..1000).map(|_| random_password(&mut system_random)).collect();
        for password in &passwords {
            assert_eq!(password.expose().len(), PASSWORD_CHARS);
            assert!(password.expose().bytes().all(|byte| byte.is_ascii_alphanumeric()));
            assert!(password.expose().starts_with(|first: char| first.is_ascii_alphabetic()));
        }
        let distinct: BTreeSet<&str> = passwords.iter().map(Secret::expose).collect();
        assert_eq!(distinct.len(), passwords.len());
    }

    #[test]
    fn every_character_is_as_likely_as_the_others() {
        let mut counts: BTreeMap<char, u32> = BTreeMap::new();
        for character in (0..=u8::MAX).filter_map(fair_character) {
            *counts.entry(character).or_default() += 1;
        }
        assert_eq!(counts.len(), 62);
        assert!(counts.values().all(|count| *count == 4), "{counts:?}");
    }
}
