use pgisle_core::credential::{Credentials, Slot};
use pgisle_core::name::RoleName;
use pgisle_core::secret::Secret;
use pgisle_core::spec::{Access, Spec, SpecSecrets};
use pgisle_engine::credential::{PASSWORD_CHARS, ensure, system_random};

use super::{NOW, counted_random, service, service_name, spec};

/// Random bytes that must not be asked for.
fn no_random(_: &mut [u8]) {
    panic!("nothing was to be made");
}

fn ensured(spec: &Spec) -> Credentials {
    let mut credentials = Credentials::default();
    assert!(ensure(spec, &SpecSecrets::default(), &mut credentials, &mut system_random, NOW));
    credentials
}

#[test]
fn everything_that_is_missing_is_added_and_nothing_more() {
    let spec = spec(vec![service("users", Access::Owner), service("chat", Access::Split)]);
    let credentials = ensured(&spec);
    let (users, chat) = (&credentials.services[&service_name("users")], &credentials.services[&service_name("chat")]);
    assert_eq!(
        (users.active.role.as_str(), users.active_slot, users.active.created_at.as_str()),
        ("link_users_user", Slot::A, NOW)
    );
    assert!(users.migrator.is_none() && users.pending.is_none() && users.draining.is_none());
    assert_eq!(chat.migrator.as_ref().unwrap().role.as_str(), "link_chat_migrator");
    let (monitoring, console) = (credentials.monitoring.as_ref().unwrap(), credentials.pgbouncer.as_ref().unwrap());
    assert_eq!((monitoring.role.as_str(), console.role.as_str()), ("link_monitoring", "link_pgbouncer"));
    let all = [&users.active, &chat.active, chat.migrator.as_ref().unwrap(), monitoring, console];
    for (index, credential) in all.iter().enumerate() {
        assert_eq!(credential.secret.expose().len(), PASSWORD_CHARS);
        assert!(credential.verifier.matches(&credential.secret));
        assert!(all[..index].iter().all(|other| other.secret != credential.secret && other.verifier != credential.verifier));
    }
}

#[test]
fn a_second_time_changes_nothing_and_makes_nothing() {
    let spec = spec(vec![service("users", Access::Split)]);
    let mut credentials = ensured(&spec);
    let before = credentials.clone();
    assert!(!ensure(&spec, &SpecSecrets::default(), &mut credentials, &mut no_random, "later"));
    assert_eq!(credentials, before);
}

#[test]
fn monitoring_and_pgbouncer_follow_their_settings() {
    let mut spec = spec(vec![]);
    spec.settings.create_monitoring_user = false;
    spec.settings.enable_pgbouncer = false;
    let mut credentials = Credentials::default();
    assert!(!ensure(&spec, &SpecSecrets::default(), &mut credentials, &mut no_random, NOW));
    assert_eq!(credentials, Credentials::default());
}

#[test]
fn a_given_password_is_taken_and_its_change_followed() {
    let spec = spec(vec![service("users", Access::Owner)]);
    let mut secrets = SpecSecrets::default();
    let mut credentials = ensured(&spec);
    for (password, changed) in [("a'b\"c\\d$e#f g=h%i@/:?", true), ("a'b\"c\\d$e#f g=h%i@/:?", false), ("next", true)] {
        secrets.service_passwords.insert(service_name("users"), Secret::new(password));
        assert_eq!(ensure(&spec, &secrets, &mut credentials, &mut counted_random(), "later"), changed, "{password}");
        let active = &credentials.services[&service_name("users")].active;
        assert_eq!((active.secret.expose(), active.created_at.as_str()), (password, "later"));
        assert!(active.verifier.matches(&Secret::new(password)));
    }
    // A password that is no longer given stays: the service still uses it.
    assert!(!ensure(&spec, &SpecSecrets::default(), &mut credentials, &mut no_random, "later still"));
}

#[test]
fn services_that_left_the_file_keep_their_logins() {
    let credentials = ensured(&spec(vec![service("users", Access::Owner), service("chat", Access::Split)]));
    let mut fewer = credentials.clone();
    assert!(!ensure(&spec(vec![service("users", Access::Owner)]), &SpecSecrets::default(), &mut fewer, &mut no_random, NOW));
    assert_eq!(fewer, credentials);
}

#[test]
fn a_new_user_name_is_a_new_login() {
    let mut spec = spec(vec![service("users", Access::Split)]);
    let mut credentials = ensured(&spec);
    let before = credentials.services[&service_name("users")].clone();
    // As if a rotation had ended in slot B while another one drains.
    let logins = credentials.services.get_mut(&service_name("users")).unwrap();
    logins.active_slot = Slot::B;
    logins.draining = Some(std::mem::replace(&mut logins.active, before.active.clone()));
    logins.active.role = RoleName::new("link_users_user_b").unwrap();
    assert!(!ensure(&spec, &SpecSecrets::default(), &mut credentials, &mut no_random, NOW));

    spec.services.get_mut(&service_name("users")).unwrap().user = RoleName::new("app").unwrap();
    assert!(ensure(&spec, &SpecSecrets::default(), &mut credentials, &mut system_random, "later"));
    let after = &credentials.services[&service_name("users")];
    assert_eq!((after.active.role.as_str(), after.active_slot), ("app", Slot::A));
    assert_ne!(after.active.secret, before.active.secret);
    assert!(after.draining.is_none() && after.pending.is_none());
    assert_eq!(after.migrator, before.migrator, "its name did not change");
}

#[test]
fn two_hundred_services_have_two_hundred_passwords() {
    let spec = spec((0..200).map(|index| service(&format!("service{index}"), Access::Owner)).collect());
    let credentials = ensured(&spec);
    let distinct: std::collections::BTreeSet<&str> =
        credentials.services.values().map(|logins| logins.active.secret.expose()).collect();
    assert_eq!(distinct.len(), 200);
}
