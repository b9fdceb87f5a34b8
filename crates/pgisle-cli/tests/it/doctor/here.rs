//! What lies on this machine.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use pgisle_engine::process::Invocation;
use pgisle_testkit::Cluster;

use super::{SPEC, applied, assert_well, check, checkup, exit, found, project, shell};

fn open(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
}

#[tokio::test]
async fn files_that_others_read_that_are_old_or_that_someone_edited() {
    let cluster = Cluster::start().await;
    let place = project(&cluster);
    applied(&place);
    assert_well(&place, "files");
    open(&place.project().join(".pgisle/development/credentials.json"));
    let commands = found(&place, "files", "failed", "PI0601", "other users can read");
    assert_eq!(check(&checkup(&place), "logins")["seen"], "the passwords cannot be read");
    shell(&place, &cluster, &commands[0]);
    assert_well(&place, "files");

    open(&place.project().join("generated/development/.env/.env.orders"));
    let commands = found(&place, "files", "failed", "PI1203", ".env.orders, which holds passwords");
    shell(&place, &cluster, &commands[0]);
    assert_well(&place, "files");

    place.file("pgisle.hcl", SPEC.replace("service \"orders\" {}", "service \"orders\" {\n  pool_size = 7\n}"));
    let commands = found(&place, "files", "warning", "PI1204", "not what this spec would make");
    assert_eq!(commands, ["pgisle apply"]);
    assert_eq!(exit(&place, &["apply", "-auto-approve"]), Some(0));
    assert_well(&place, "files");

    place.file("generated/development/.env/.env.orders", "MINE=1\n");
    std::fs::set_permissions(
        place.project().join("generated/development/.env/.env.orders"),
        std::fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    let commands = found(&place, "files", "warning", "PI0604", "was edited by hand");
    assert_eq!(commands, ["pgisle apply -overwrite"]);
    assert_eq!(exit(&place, &["apply", "-overwrite", "-auto-approve"]), Some(0));
    assert_well(&place, "files");

    place.file("pgisle.hcl", SPEC.replace("collation ", "colation "));
    found(&place, "files", "failed", "PI0102", "colation");
    let document = checkup(&place);
    assert_eq!((&document["exit_code"], &document["checkup"]["counts"]["skipped"]), (&65.into(), &20.into()));
}

#[tokio::test]
async fn client_programs_that_are_older_than_the_server_or_missing() {
    let newest = *pgisle_testkit::majors().await.iter().max().unwrap();
    let cluster = Cluster::builder().major(newest).start().await;
    let place = project(&cluster);
    assert_well(&place, "programs");
    let place = place.variable("PGISLE_COMPONENTS", "/nonexistent").variable("PATH", "/nonexistent");
    let document = checkup(&place);
    if check(&document, "programs")["outcome"] == "ok" {
        pgisle_testkit::skip!("the system's own client programs are as new as any server here");
    }
    let cause = if document.to_string().contains("is older than the server") {
        "is older than the server"
    } else {
        "is not installed here"
    };
    let commands = found(&place, "programs", "warning", "PI0807", cause);
    assert_eq!(commands, [format!("sudo apt-get install postgresql-client-{newest}")]);
}

#[tokio::test]
async fn backups_that_have_no_place_or_no_room() {
    let cluster = Cluster::start().await;
    let place = project(&cluster);
    place.file("taken", "a file\n");
    let taken = place.project().join("taken/backups");
    let elsewhere = project(&cluster).variable("PGISLE_VAR_backup_storage_path", &taken.display().to_string());
    let commands = found(&elsewhere, "backups", "failed", "PI0801", "a file stands where the folder should be");
    shell(&place, &cluster, &commands[0]);
    assert_well(&elsewhere, "backups");

    let disk = tempfile::tempdir().unwrap();
    let mount = Invocation::new("mount").arguments(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]).argument(disk.path());
    if mount.run().await.is_err() {
        pgisle_testkit::skip!("no file system may be mounted here");
    }
    let tight = project(&cluster).variable("PGISLE_VAR_backup_storage_path", &disk.path().display().to_string());
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![1; 60 << 20]).unwrap();
    let document = checkup(&tight);
    std::fs::remove_file(&ballast).unwrap();
    let after = checkup(&tight);
    // Also who is root cannot write there then.
    let remount = Invocation::new("mount").arguments(["-o", "remount,ro"]).argument(disk.path()).run().await;
    let closed = remount.is_ok().then(|| checkup(&tight));
    let unmounted = std::process::Command::new("umount").arg("-l").arg(disk.path()).status();
    assert!(unmounted.unwrap().success());
    let backups = check(&document, "backups");
    assert_eq!((&backups["outcome"], &backups["findings"][0]["code"]), (&"warning".into(), &"PI1212".into()), "{document:#}");
    assert!(backups["findings"][0]["commands"][0].as_str().unwrap().starts_with("du -xh --max-depth=2 "), "{document:#}");
    assert_eq!(check(&after, "backups")["outcome"], "ok");
    if let Some(closed) = closed {
        let backups = check(&closed, "backups");
        assert_eq!((&backups["outcome"], &backups["findings"][0]["code"]), (&"warning".into(), &"PI0801".into()), "{closed:#}");
        assert!(backups["findings"][0]["commands"][0].as_str().unwrap().starts_with("sudo install -d -m 700"), "{closed:#}");
    }
}

#[tokio::test]
async fn a_store_that_is_away_or_keeps_us_out() {
    let Some(store) = pgisle_testkit::S3Server::start().await else { pgisle_testkit::skip!("s3s-fs is not installed") };
    let cluster = Cluster::start().await;
    let place = || {
        let place = project(&cluster).variable("PGISLE_VAR_backup_storage_path", "s3://bucket/backups");
        store.variables().iter().fold(place, |place, (name, value)| place.variable(name, value))
    };
    assert_well(&place(), "backups");
    let strange = place().variable("AWS_SECRET_ACCESS_KEY", "another");
    assert_eq!(found(&strange, "backups", "failed", "PI0801", "refuses the keys"), ["aws s3 ls s3://bucket"]);
    let elsewhere = place().variable("PGISLE_VAR_backup_storage_path", "s3://other/backups");
    assert_eq!(found(&elsewhere, "backups", "failed", "PI0801", "the bucket does not exist"), ["aws s3 mb s3://other"]);
    let away = place();
    drop(store);
    let commands = found(&away, "backups", "failed", "PI0801", "Nothing answers");
    let [command] = &commands[..] else { panic!("{commands:?}") };
    let asked = away.command("/bin/bash").arg("-c").arg(command).output().unwrap();
    assert!(!asked.status.success(), "the command shows it too: {}", String::from_utf8_lossy(&asked.stderr));
}
