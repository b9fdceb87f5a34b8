//! Replacing a service's login without a moment in which it cannot log in.
//!
//! ```text
//!          begin             publish               finish
//!   Idle ────────▶ Begun ───────────────▶ Published ───────▶ Idle, in the other slot
//!        ◀────────       ◀───────────────
//!          abandon           withdraw
//! ```
//! Each function is one transition on the stored set; save it, then apply and write the generated files, and only then take the
//! next. Between `publish` and `finish` the service's sessions under the old login drain; nothing here watches them.
//! A transition that does not fit the state changes nothing and says which one would.

use pgisle_core::credential::{Credential, Rotation, ServiceCredentials};
use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::spec::{Service, SpecSecrets};

use super::password::new_credential;

/// What beginning a rotation found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// The other slot has a new secret.
    New,
    /// It had one from a run that was interrupted, and keeps it.
    Resumed,
}

/// Gives the other slot a new random secret. The active one stays as it is. Taking it again changes nothing, so an
/// interrupted run goes on with the same secret.
///
/// # Errors
/// When the last rotation is not finished, or the service's password stands in the spec: the next apply would set it back.
pub fn begin(
    service: &Service,
    secrets: &SpecSecrets,
    logins: &mut ServiceCredentials,
    random: &mut impl FnMut(&mut [u8]),
    now_rfc3339: &str,
) -> Result<Begun, Diagnostic> {
    if secrets.service_passwords.contains_key(&service.name) {
        return Err(wrong_state(service, "the password of this service is given by the user")
            .detail("A password that stands in the file or in a variable wins over a random one at the next apply.")
            .hint("Take the password out and rotate again, or change it there and apply."));
    }
    match logins.rotation() {
        Rotation::Begun => Ok(Begun::Resumed),
        Rotation::Published => Err(wrong_state(service, "the last rotation is not finished")
            .detail(format!("The old login \"{}\" can still log in.", service.login(logins.active_slot.other())))
            .hint("Finish it first; then another one can begin.")),
        Rotation::Idle => {
            let role = service.login(logins.active_slot.other());
            logins.pending = Some(new_credential(role, None, random, now_rfc3339));
            Ok(Begun::New)
        }
    }
}

/// Makes the login that a rotation has made the active one; the old one drains. Where another run has taken the same rotation up
/// and published it already, nothing is left to do.
///
/// # Errors
/// When the login that waits, or the one in use, is not that one.
pub fn publish(service: &Service, logins: &mut ServiceCredentials, made: &Credential) -> Result<(), Diagnostic> {
    if logins.pending.is_none() && logins.active == *made {
        return Ok(());
    }
    let Some(new) = logins.pending.take_if(|pending| pending == made) else {
        return Err(wrong_state(service, "another run has rotated this service meanwhile")
            .detail("The login that this run has made is not the one that waits to be used.")
            .hint("See which login is in use, and which is shut out:")
            .command("pgisle status"));
    };
    logins.draining = Some(std::mem::replace(&mut logins.active, new));
    logins.active_slot = logins.active_slot.other();
    Ok(())
}

/// Forgets the old login, so that the next apply disables it.
///
/// # Errors
/// When nothing is draining.
pub fn finish(service: &Service, logins: &mut ServiceCredentials) -> Result<(), Diagnostic> {
    match logins.draining.take() {
        Some(_) => Ok(()),
        None => Err(wrong_state(service, "there is no old login to disable")),
    }
}

/// Takes a publication back: the old login is the active one again, and the new one waits.
///
/// # Errors
/// When nothing is draining.
pub fn withdraw(service: &Service, logins: &mut ServiceCredentials) -> Result<(), Diagnostic> {
    let Some(old) = logins.draining.take() else {
        return Err(wrong_state(service, "there is no old login to go back to"));
    };
    logins.pending = Some(std::mem::replace(&mut logins.active, old));
    logins.active_slot = logins.active_slot.other();
    Ok(())
}

/// Gives up a rotation before it is published, so that the next apply disables the new login.
///
/// # Errors
/// When no rotation has begun.
pub fn abandon(service: &Service, logins: &mut ServiceCredentials) -> Result<(), Diagnostic> {
    match logins.pending.take() {
        Some(_) => Ok(()),
        None => Err(wrong_state(service, "there is no new login to give up")),
    }
}

fn wrong_state(service: &Service, summary: &str) -> Diagnostic {
    Diagnostic::error(Code::ROTATE_STATE, summary).about(format!("service \"{}\"", service.name)).at(service.place.clone())
}
