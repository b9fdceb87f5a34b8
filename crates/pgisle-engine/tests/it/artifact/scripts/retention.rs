//! What goes, what stays, and one run at a time.

use std::fs;

use pgisle_engine::process::on_path;

use super::{Site, TWO, assert_failure, assert_success, said};

/// A backup as one of long ago would lie there.
fn put(site: &Site, name: &str) {
    fs::create_dir_all(site.backups().join("cluster")).unwrap();
    fs::write(site.backups().join(name), "an old backup").unwrap();
    fs::write(site.backups().join(format!("{name}.sha256")), "its checksum").unwrap();
}

#[tokio::test]
async fn the_newest_stay_however_old_they_are() {
    let mut site = Site::new(TWO).await;
    site.project.spec.settings.backup_minimum_count = 3;
    site.write_scripts();
    for year in 2001..=2005 {
        put(&site, &format!("link_users_backup_{year}0101_020000.sql.gz"));
    }
    put(&site, "odd_backup_20010101_020000.sql.gz");
    // Not complete, of another service, or not a backup: neither counted nor removed.
    put(&site, "link_users_extra_backup_20010101_020000.sql.gz");
    put(&site, "link_users_backup_20250119.sql.gz");
    fs::write(site.backups().join("link_users_backup_20060101_020000.sql.gz"), "no checksum").unwrap();
    fs::write(site.backups().join("link_users_backup_20070101_020000.sql.gz.partial"), "of a killed run").unwrap();
    assert_success(&site.back_up().await);
    let names = |prefix| {
        let files = site.files(prefix, ".sql.gz");
        files.iter().map(|path| path.file_name().unwrap().to_str().unwrap()[prefix.len()..].to_owned()).collect::<Vec<_>>()
    };
    let users = names("link_users");
    assert_eq!(users[..2], ["_backup_20040101_020000.sql.gz", "_backup_20050101_020000.sql.gz"]);
    assert_eq!(users.len(), 5, "two of three, the one without a checksum, the brief's, today's: {users:?}");
    assert_eq!(names("odd").len(), 2);
    assert_eq!(names("link_users_extra").len(), 1);
    site.assert_clean().await;
    // Young ones stay beyond the minimum.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_success(&site.back_up().await);
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_success(&site.back_up().await);
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_success(&site.back_up().await);
    assert_eq!(names("odd").len(), 4, "the old one went, and four are left");
}

#[tokio::test]
async fn nothing_goes_where_nothing_new_was_made() {
    let site = Site::new(TWO).await;
    for year in 2001..=2009 {
        put(&site, &format!("link_users_backup_{year}0101_020000.sql.gz"));
    }
    site.cluster.psql("ALTER DATABASE link_users RENAME TO elsewhere").await;
    assert_failure(&site.back_up().await, "users: database link_users does not exist");
    assert_eq!(site.files("link_users", ".sql.gz").len(), 9);
    assert_eq!(site.files("odd", ".sql.gz").len(), 1, "the other service was backed up");
}

#[tokio::test]
async fn a_second_run_is_refused_and_names_itself_a_failure() {
    let mut site = Site::new(TWO).await;
    let note = site.folder.path().join("note");
    site.project.spec.settings.backup_on_failure = Some(format!("printf '%s' \"$PGISLE_FAILURE\" >'{}'", note.display()));
    site.write_scripts();
    fs::create_dir_all(site.backups()).unwrap();
    let mut holder = std::process::Command::new(on_path("flock").unwrap());
    holder.arg(site.backups().join(".backup-databases.lock")).args(["sh", "-c", "echo; read _"]);
    holder.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut holder = holder.spawn().unwrap();
    let mut first = [0];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut first).unwrap();
    let output = site.back_up().await;
    assert_failure(&output, "another run is backing up");
    assert_eq!(fs::read_to_string(&note).unwrap(), format!("another run is backing up into {}", site.backups().display()));
    assert!(!said(&output).contains("everything"));
    assert_eq!(site.files("link_users", "").len(), 0);
    drop(holder.stdin.take());
    holder.wait().unwrap();
    assert_success(&site.back_up().await);
}
