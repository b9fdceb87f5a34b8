use pgisle_core::credential::{Credential, Credentials, Rotation, ServiceCredentials, Slot};
use pgisle_core::diagnostic::Code;
use pgisle_core::secret::Secret;
use pgisle_core::spec::{Access, Service, SpecSecrets};
use pgisle_engine::credential::rotation::{Begun, abandon, begin, finish, publish, withdraw};
use pgisle_engine::credential::{ensure, system_random};

use super::{NOW, plain_store, service, service_name, spec};

fn start() -> (Service, ServiceCredentials) {
    let service = service("users", Access::Owner);
    let mut credentials = Credentials::default();
    ensure(&spec(vec![service.clone()]), &SpecSecrets::default(), &mut credentials, &mut system_random, NOW);
    let logins = credentials.services.remove(&service.name).unwrap();
    (service, logins)
}

fn begin_now(service: &Service, logins: &mut ServiceCredentials) -> Begun {
    begin(service, &SpecSecrets::default(), logins, &mut system_random, "later").unwrap()
}

#[test]
fn two_rotations_go_there_and_back() {
    let (service, mut logins) = start();
    let first = logins.active.clone();
    for (slot, role) in [(Slot::B, "link_users_user_b"), (Slot::A, "link_users_user")] {
        let old = logins.active.clone();
        assert_eq!(begin_now(&service, &mut logins), Begun::New);
        assert_eq!((logins.rotation(), &logins.active), (Rotation::Begun, &old));
        let new = logins.pending.clone().unwrap();
        assert_eq!((new.role.as_str(), new.created_at.as_str()), (role, "later"));
        assert!(new.verifier.matches(&new.secret) && new.secret != old.secret);

        publish(&service, &mut logins, &new).unwrap();
        // Two runs may have taken up the same rotation.
        publish(&service, &mut logins, &new).unwrap();
        assert_eq!((logins.rotation(), logins.active_slot), (Rotation::Published, slot));
        assert_eq!((&logins.active, logins.draining.as_ref()), (&new, Some(&old)));

        finish(&service, &mut logins).unwrap();
        assert_eq!((logins.rotation(), &logins.active), (Rotation::Idle, &new));
    }
    assert_eq!(logins.active.role, first.role);
    assert_ne!(logins.active.secret, first.secret);
}

#[test]
fn an_interrupted_rotation_goes_on_with_the_same_secret() {
    let project = tempfile::tempdir().unwrap();
    let (service, logins) = start();
    let name = service_name("users");
    plain_store(project.path()).update(|credentials| credentials.services.insert(name.clone(), logins)).unwrap();
    let step = |act: &dyn Fn(&mut ServiceCredentials)| {
        // Each step is a process of its own, as far as the store can tell.
        plain_store(project.path()).update(|credentials| act(credentials.services.get_mut(&name).unwrap())).unwrap();
        plain_store(project.path()).load().unwrap().services[&name].clone()
    };
    let begun = step(&|logins| assert_eq!(begin_now(&service, logins), Begun::New));
    let resumed = step(&|logins| assert_eq!(begin_now(&service, logins), Begun::Resumed));
    assert_eq!(begun, resumed);
    let new = begun.pending.clone().unwrap();
    let published = step(&|logins| publish(&service, logins, &new).unwrap());
    assert_eq!(Some(&published.active), begun.pending.as_ref());
    // An apply in the middle of a rotation leaves it alone.
    let mut credentials = plain_store(project.path()).load().unwrap();
    ensure(&spec(vec![service.clone()]), &SpecSecrets::default(), &mut credentials, &mut system_random, NOW);
    assert_eq!(credentials.services[&name], published);
}

#[test]
fn a_rotation_can_be_taken_back_until_it_is_finished() {
    let (service, mut logins) = start();
    let before = logins.clone();
    begin_now(&service, &mut logins);
    let begun = logins.clone();
    publish(&service, &mut logins, begun.pending.as_ref().unwrap()).unwrap();
    withdraw(&service, &mut logins).unwrap();
    assert_eq!(logins, begun);
    abandon(&service, &mut logins).unwrap();
    assert_eq!(logins, before);
}

#[test]
fn what_does_not_fit_the_state_changes_nothing() {
    let (service, idle) = start();
    let mut begun = idle.clone();
    begin_now(&service, &mut begun);
    let mut published = begun.clone();
    publish(&service, &mut published, begun.pending.as_ref().unwrap()).unwrap();
    type Transition = fn(&Service, &mut ServiceCredentials) -> Result<(), pgisle_core::diagnostic::Diagnostic>;
    let begin_again: Transition =
        |service, logins| begin(service, &SpecSecrets::default(), logins, &mut system_random, NOW).map(|_| ());
    let publish_other: Transition = |service, logins| {
        let other = Credential { created_at: "another time".to_owned(), ..logins.active.clone() };
        publish(service, logins, &other)
    };
    let cases: [(&ServiceCredentials, &[Transition]); 3] = [
        (&idle, &[publish_other, finish, withdraw, abandon]),
        (&begun, &[publish_other, finish, withdraw]),
        (&published, &[publish_other, abandon, begin_again]),
    ];
    for (state, transitions) in cases {
        for transition in transitions {
            let mut logins = state.clone();
            let error = transition(&service, &mut logins).unwrap_err();
            assert_eq!((error.code, &logins), (Code::ROTATE_STATE, state));
            assert!(error.to_string().contains("pgisle.hcl:3:1  service \"users\""), "{error}");
        }
    }
}

#[test]
fn a_given_password_is_not_rotated() {
    let (service, mut logins) = start();
    let mut secrets = SpecSecrets::default();
    secrets.service_passwords.insert(service.name.clone(), Secret::new("hunter2"));
    let error = begin(&service, &secrets, &mut logins, &mut system_random, NOW).unwrap_err();
    assert_eq!((error.code, logins.rotation()), (Code::ROTATE_STATE, Rotation::Idle));
    assert!(!error.to_string().contains("hunter2"));
}
