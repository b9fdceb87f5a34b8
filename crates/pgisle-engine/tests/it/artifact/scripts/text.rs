//! What bash and shellcheck say of the scripts, whatever the names in them.

use pgisle_core::artifact::{Endpoint, MODE_PROGRAM, generate};
use pgisle_core::credential::{Credentials, Slot};
use pgisle_core::spec::Spec;
use pgisle_engine::local::find_program;
use pgisle_engine::process::{Invocation, on_path};
use pgisle_testkit::skip;

use super::super::{link, text_of};

/// The brief's example, and one in which every text that the scripts hold is hostile.
fn specs() -> [Spec; 2] {
    let mut hostile = link();
    let settings = &mut hostile.settings;
    "~/it's $HOME/`id`/root.crt".clone_into(settings.postgres_sslrootcert.get_or_insert_default());
    "/tmp/a 'b' $(id) \"c\" %h".clone_into(&mut settings.backup_storage_path);
    "echo \"$PGISLE_FAILURE\" | mail -s 'it''s' x; # %".clone_into(settings.backup_on_failure.get_or_insert_default());
    "h'ost $(id)".clone_into(&mut settings.postgres_host);
    settings.tags.insert("a'b\n$(id)".to_owned(), "`id`\n\"".to_owned());
    settings.backup_recipients.push("age1x".to_owned());
    hostile.services.values_mut().for_each(|service| service.tables.push("it's \"$(id)\" `id`\n\\ $x".to_owned()));
    [link(), hostile]
}

#[tokio::test]
async fn shellcheck_finds_nothing() {
    let Some(shellcheck) = find_program("shellcheck") else { skip!("shellcheck is not installed") };
    let bash = on_path("bash").unwrap();
    for spec in specs() {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = generate(&spec, &Endpoint::of(&spec.settings), &Credentials::default());
        let migrations =
            artifacts.iter().map(|artifact| artifact.path.as_str()).filter(|path| path.starts_with("scripts/migrate-"));
        for path in ["scripts/backup-databases.sh", "scripts/restore-database.sh"].into_iter().chain(migrations) {
            let artifact = artifacts.iter().find(|artifact| artifact.path == path).unwrap();
            assert_eq!((artifact.mode, artifact.holds_secrets), (MODE_PROGRAM, false));
            let file = folder.path().join("script.sh");
            std::fs::write(&file, text_of(&artifacts, path)).unwrap();
            Invocation::new(&bash).argument("-n").argument(&file).run().await.unwrap();
            let checked = Invocation::new(&shellcheck).argument(&file).run_to_end().await.unwrap();
            assert!(checked.status.success(), "{path}:\n{}", checked.text());
        }
    }
}

#[tokio::test]
async fn bash_reads_every_setting_back() {
    let spec = &specs()[1];
    let artifacts = generate(spec, &Endpoint::of(&spec.settings), &Credentials::default());
    let script = text_of(&artifacts, "scripts/backup-databases.sh");
    let settings = script.split_once("set -euo pipefail").unwrap().0;
    let print = r#"printf '%s\0' "$HOST" "$SSLROOTCERT" "$DIRECTORY" "$ON_FAILURE" "$ENCRYPT" "${DATABASES[@]}" "${OWNERS[@]}""#;
    let run = Invocation::new(on_path("bash").unwrap()).arguments(["-c", &format!("{settings}\n{print}")]);
    let text = run.clean_environment().environment("HOME", "/home/x").run().await.unwrap().text();
    let mut expected = vec![
        spec.settings.postgres_host.clone(),
        "/home/x/it's $HOME/`id`/root.crt".to_owned(),
        spec.settings.backup_storage_path.clone(),
        spec.settings.backup_on_failure.clone().unwrap(),
        "yes".to_owned(),
    ];
    expected.extend(spec.services.values().map(|service| service.database.as_str().to_owned()));
    expected.extend(spec.services.values().map(|service| service.owner().as_str().to_owned()));
    assert_eq!(text.split_terminator('\0').collect::<Vec<_>>(), expected);

    let script = text_of(&artifacts, "scripts/migrate-odd-one_2-database.sh");
    let settings = script.split_once("set -euo pipefail").unwrap().0;
    let print = r#"printf '%s\0' "$SERVICE" "$SHARED" "$DATABASE" "$OWNER" "${LOGINS[@]}" "${TABLES[@]}""#;
    let run = Invocation::new(on_path("bash").unwrap()).arguments(["-c", &format!("{settings}\n{print}")]);
    let text = run.run().await.unwrap().text();
    let odd = &spec.services[&super::super::service_name("odd-one_2")];
    let (owner, login, other, migrator) = (odd.owner(), odd.login(Slot::A), odd.login(Slot::B), odd.migrator());
    let roles = [owner.as_str(), login.as_str(), other.as_str(), migrator.as_str()];
    let mut expected = vec![odd.name.as_str(), spec.settings.postgres_database.as_str(), odd.database.as_str()];
    expected.extend(roles.into_iter().chain(odd.tables.iter().map(String::as_str)));
    assert_eq!(text.split_terminator('\0').collect::<Vec<_>>(), expected);
}
