//! cron's line and systemd's units, as systemd itself reads them.

use std::fs;

use pgisle_core::artifact::{Endpoint, generate};
use pgisle_core::credential::Credentials;
use pgisle_engine::local::find_program;
use pgisle_engine::process::Invocation;
use pgisle_testkit::skip;

use super::super::{link, text_of};

const SCHEDULES: [&str; 6] =
    ["0 2 * * *", "*/15 * * * *", "30 1,13 * * 1-5", "0 4 1 * 0", "5/10 0-6/2 1-15/7 1,7 *", "0 3 * * 5-7"];

#[tokio::test]
async fn systemd_takes_the_units() {
    let Some(systemd) = find_program("systemd-analyze") else { skip!("systemd is not installed") };
    let mut spec = link();
    for path in ["/var/backups/postgresql", "backups", "/tmp/a \"b\" $HOME %h 'c'", "s3://bucket/prefix"] {
        path.clone_into(&mut spec.settings.backup_storage_path);
        let folder = tempfile::tempdir().unwrap();
        let artifacts = generate(&spec, &Endpoint::of(&spec.settings), &Credentials::default());
        for unit in ["pgisle-backup.service", "pgisle-backup.timer"] {
            fs::write(folder.path().join(unit), text_of(&artifacts, &format!("systemd/{unit}"))).unwrap();
        }
        let files = ["pgisle-backup.service", "pgisle-backup.timer"].map(|unit| folder.path().join(unit));
        let output = Invocation::new(&systemd).argument("verify").arguments(&files).run_to_end().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let ours: Vec<&str> = said.lines().filter(|line| line.contains("pgisle-backup")).collect();
        assert!(ours.is_empty(), "{path}: {said}");
    }
    // And it would have noticed.
    let folder = tempfile::tempdir().unwrap();
    let artifacts = generate(&spec, &Endpoint::of(&spec.settings), &Credentials::default());
    let file = folder.path().join("pgisle-backup.service");
    fs::write(&file, text_of(&artifacts, "systemd/pgisle-backup.service").replace("UMask=0077", "UMask=x\nSurprise=1")).unwrap();
    let output = Invocation::new(&systemd).argument("verify").argument(&file).run_to_end().await.unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("Surprise"));
}

#[tokio::test]
async fn systemd_reads_each_schedule() {
    let Some(systemd) = find_program("systemd-analyze") else { skip!("systemd is not installed") };
    let mut spec = link();
    for schedule in SCHEDULES {
        schedule.clone_into(&mut spec.settings.backup_schedule);
        let artifacts = generate(&spec, &Endpoint::of(&spec.settings), &Credentials::default());
        let timer = text_of(&artifacts, "systemd/pgisle-backup.timer");
        let expressions: Vec<&str> = timer.lines().filter_map(|line| line.strip_prefix("OnCalendar=")).collect();
        assert!(!expressions.is_empty() && timer.contains("\nPersistent=true\n"));
        Invocation::new(&systemd).argument("calendar").arguments(&expressions).run().await.unwrap();
        let cron = text_of(&artifacts, "cron/pgisle-backup");
        let line = cron.lines().find(|line| line.starts_with(schedule)).unwrap();
        assert!(line[schedule.len()..].starts_with(" postgres cd /etc/pgisle/project && "));
        assert!(!line.contains('%'), "cron takes it for a line's end");
    }
}
