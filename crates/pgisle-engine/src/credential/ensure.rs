//! Adding the logins that a spec needs.

use pgisle_core::credential::{Credentials, ServiceCredentials, Slot};
use pgisle_core::name::RoleName;
use pgisle_core::secret::Secret;
use pgisle_core::spec::{Access, Service, Settings, Spec, SpecSecrets};

use super::password::new_credential;

/// Adds what the spec needs and the set lacks; true when anything changed. What still fits is not touched, so a verifier is
/// computed only for a login that is new, has a new name, or has a new password given by the user.
///
/// Nothing is taken away but logins whose name no longer fits: a service that left the file, or a setting that was switched
/// off, finds its login again when it comes back.
pub fn ensure(
    spec: &Spec,
    secrets: &SpecSecrets,
    credentials: &mut Credentials,
    random: &mut impl FnMut(&mut [u8]),
    now_rfc3339: &str,
) -> bool {
    let mut changed = false;
    for (name, service) in &spec.services {
        let given = secrets.service_passwords.get(name);
        let known = credentials.services.remove(name);
        let (settled, service_changed) = ensure_service(service, given, known, random, now_rfc3339);
        credentials.services.insert(name.clone(), settled);
        changed |= service_changed;
    }
    let mut ensure_login = |login: &mut Option<_>, role: RoleName| {
        if login.as_ref().is_none_or(|login: &pgisle_core::credential::Credential| login.role != role) {
            *login = Some(new_credential(role, None, random, now_rfc3339));
            changed = true;
        }
    };
    if spec.settings.create_monitoring_user {
        ensure_login(&mut credentials.monitoring, spec.settings.monitoring_user());
    }
    if spec.settings.enable_pgbouncer {
        ensure_login(&mut credentials.pgbouncer, console_user(&spec.settings));
    }
    changed
}

/// The name of PgBouncer's console user, `link_pgbouncer`. It is no role of the server.
#[must_use]
pub fn console_user(settings: &Settings) -> RoleName {
    settings.pgbouncer_user()
}

fn ensure_service(
    service: &Service,
    given: Option<&Secret>,
    known: Option<ServiceCredentials>,
    random: &mut impl FnMut(&mut [u8]),
    now_rfc3339: &str,
) -> (ServiceCredentials, bool) {
    let mut changed = false;
    let mut logins = match known {
        Some(known) if known.active.role == service.login(known.active_slot) => known,
        // New, or renamed: a new name is a new login, and it begins in slot A.
        other => {
            changed = true;
            ServiceCredentials {
                active_slot: Slot::A,
                active: new_credential(service.login(Slot::A), given, random, now_rfc3339),
                pending: None,
                draining: None,
                migrator: other.and_then(|other| other.migrator),
            }
        }
    };
    if given.is_some_and(|given| logins.active.secret != *given) {
        logins.active = new_credential(logins.active.role, given, random, now_rfc3339);
        changed = true;
    }
    let other_role = service.login(logins.active_slot.other());
    changed |= logins.pending.take_if(|login| login.role != other_role).is_some();
    changed |= logins.draining.take_if(|login| login.role != other_role).is_some();
    let migrator_role = service.migrator();
    changed |= logins.migrator.take_if(|login| login.role != migrator_role).is_some();
    if service.access == Access::Split && logins.migrator.is_none() {
        logins.migrator = Some(new_credential(migrator_role, None, random, now_rfc3339));
        changed = true;
    }
    (logins, changed)
}
