//! What is said of the archive: which times there are, and how the archiving goes.

use std::fs;

use crate::cluster::document;

use super::site::Site;

#[tokio::test]
async fn times_and_gaps_are_listed() {
    let site = Site::new(None).await;
    site.archive().await;
    let wal = |site: &Site| document(&site.place, &["backup", "list"])["wal"].clone();
    assert_eq!(wal(&site)["recoverable"], serde_json::json!([]), "without a backup of the cluster there is no time");
    site.back_up().await;
    site.insert("one").await;
    let gone = site.archive().await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    site.insert("two").await;
    site.archive().await;
    let listed = wal(&site);
    let windows = listed["recoverable"].as_array().unwrap();
    assert_eq!((windows.len(), &windows[0]["missing"]), (1, &serde_json::Value::Null), "{listed}");
    assert!(windows[0]["from"].as_str().unwrap() < windows[0]["until"].as_str().unwrap(), "{listed}");
    assert_eq!(listed["runs"].as_array().unwrap().len(), 1, "{listed}");
    let text = site.run(&["backup", "list"]);
    assert!(text.contains("recoverable from") && text.contains("the newest segment"), "{text}");
    fs::remove_file(site.wal.join(&gone[..8]).join(format!("{gone}.json"))).unwrap();
    fs::remove_file(site.wal.join(&gone[..8]).join(format!("{gone}.zst"))).unwrap();
    let document = document(&site.place, &["backup", "list"]);
    assert_eq!(document["wal"]["recoverable"][0]["missing"], gone.as_str(), "{document}");
    let warning = &document["diagnostics"][0];
    assert_eq!((&warning["code"], &warning["severity"]), (&"PI0854".into(), &"warning".into()), "{document}");
    assert!(warning["summary"].as_str().unwrap().contains(&gone), "{document}");
    let text = site.run(&["backup", "list"]);
    assert!(text.contains(&format!("{gone} is missing")), "{text}");
}

#[tokio::test]
async fn a_server_that_does_not_archive_is_told_what_to_set() {
    let site = Site::new(None).await;
    site.archive().await;
    let setup = document(&site.place, &["backup", "wal-setup"]);
    let names: Vec<&str> = setup["changes"].as_array().unwrap().iter().map(|change| change["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["archive_timeout"], "{setup}");
    assert_eq!(setup["archiving"]["archiver"]["is_failing"], false, "{setup}");
    site.cluster.reload_with("archive_timeout", "60").await;
    let text = site.run(&["backup", "wal-setup"]);
    assert!(text.starts_with("The server archives its log into"), "{text}");
    assert_eq!(site.refused(&["backup", "wal-setup", "-auto-approve"]).0, "PI0901");
    // A command of somebody's, which fails.
    site.cluster.reload_with("archive_command", "echo 'no space' >&2; false").await;
    site.cluster.psql("SELECT pg_current_xact_id()").await;
    site.cluster.psql("SELECT pg_switch_wal()").await;
    while site.cluster.psql("SELECT failed_count FROM pg_stat_archiver").await == "0" {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let failing = document(&site.place, &["backup", "wal-setup"]);
    assert_eq!(failing["diagnostics"][0]["code"], "PI0855", "{failing}");
    assert_eq!(failing["changes"][0]["name"], "archive_command");
    let text = String::from_utf8(site.place.pgisle(&["backup", "wal-setup"]).stdout).unwrap();
    assert!(text.contains("This replaces an archive of somebody's: echo 'no space'"), "{text}");
    assert!(text.contains("ALTER SYSTEM SET \"archive_command\" = '") && text.contains("archive-wal %p'"), "{text}");
}

/// What the server runs: by the command line, as its own user, from its own folder.
#[tokio::test]
async fn the_commands_of_a_server_say_by_their_exit_code_what_became_of_a_file() {
    let site = Site::new(None).await;
    let name = site.archive().await;
    let exit = |arguments: &[&str]| site.place.pgisle(arguments).status.code();
    // From another folder, as a server does, whose paths are its own.
    let elsewhere = site.place.root().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let chdir = format!("-chdir={}", site.place.project().display());
    let fetch = |name: &str| {
        let mut command = site.place.command(env!("CARGO_BIN_EXE_pgisle"));
        command.args([&chdir, "backup", "fetch-wal", name, "fetched"]).current_dir(&elsewhere).output().unwrap().status.code()
    };
    assert_eq!(fetch(&name), Some(0));
    let fetched = fs::read(elsewhere.join("fetched")).unwrap();
    assert_eq!(fetched.len(), 1 << 20);
    assert_eq!(fetch("0000000100000000000000FF"), Some(1));
    assert_eq!(fs::read(elsewhere.join("fetched")).unwrap(), fetched, "what was there stays");
    assert_eq!(exit(&["backup", "fetch-wal", "../x", "y"]), Some(64));
    let other = elsewhere.join(&name);
    let mut bytes = fetched.clone();
    fs::write(&other, &bytes).unwrap();
    assert_eq!(exit(&["backup", "archive-wal", other.to_str().unwrap()]), Some(0), "the same again");
    bytes[1 << 19] ^= 1;
    fs::write(&other, &bytes).unwrap();
    assert_eq!(site.refused(&["backup", "archive-wal", other.to_str().unwrap()]).0, "PI0851");
    assert_eq!(exit(&["backup", "archive-wal", "nowhere"]), Some(1));
}
