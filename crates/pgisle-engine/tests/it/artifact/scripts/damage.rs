//! What goes wrong, and what is left of it: nothing that looks whole, and a live database as it was.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use pgisle_engine::process::{Invocation, on_path};

use super::{Site, TWO, assert_failure, assert_success, said};

/// Dumping it takes seconds: gzip is slower than the server.
const BIG: &str = "SET ROLE link_users_owner; CREATE TABLE big AS SELECT md5(i::text) || md5((-i)::text) AS a FROM generate_series(1, 800000) AS i";

#[tokio::test]
async fn a_dump_that_breaks_off_is_no_backup_and_the_others_are_made() {
    let mut site = Site::new(TWO).await;
    let note = site.folder.path().join("note");
    site.project.spec.settings.backup_on_failure =
        Some(format!("printf '%s|%s' \"$PGISLE_SERVICE\" \"$PGISLE_FAILURE\" >>'{}'", note.display()));
    site.write_scripts();
    site.cluster.psql_in("link_users", BIG).await;
    let killer = async {
        let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = 'link_users' AND query LIKE 'COPY public.big%'";
        for _ in 0..2000 {
            // It is in the middle once something has been written.
            let written = site.files_if_any().iter().filter_map(|path| path.metadata().ok()).any(|file| file.len() > 1 << 20);
            if written && site.cluster.psql(kill).await == "1" {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        false
    };
    let (output, killed) = tokio::join!(site.back_up(), killer);
    assert!(killed, "{}", said(&output));
    assert_failure(&output, "users: database link_users was not backed up");
    assert_failure(&output, "ended with 1 failures");
    assert!(site.files("link_users", "").is_empty());
    assert_eq!(site.files("odd", ".sql.gz").len(), 1);
    site.assert_clean().await;
    let noted = fs::read_to_string(&note).unwrap();
    assert!(noted.starts_with("users|users: database link_users was not backed up: ") && noted.contains("terminat"), "{noted}");
}

#[tokio::test]
async fn a_full_disk_leaves_nothing_that_looks_whole() {
    let site = Site::new(TWO).await;
    site.cluster.psql_in("link_users", BIG).await;
    // 512 KiB for each file: as if the disk were full then, and without a file system of one's own.
    let script = site.folder.path().join("scripts/backup-databases.sh");
    let wrapper = site.folder.path().join("scripts/limited.sh");
    fs::write(&wrapper, format!("#!/bin/bash\nulimit -f 512\nexec '{}'\n", script.display())).unwrap();
    fs::set_permissions(&wrapper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let output = site.script("limited.sh").run_to_end().await.unwrap();
    assert_failure(&output, "users: database link_users was not backed up");
    assert_failure(&output, "the whole cluster was not backed up");
    assert!(site.files("link_users", "").is_empty());
    assert_eq!(site.files("odd", ".sql.gz").len(), 1, "the small one fits");
    site.assert_clean().await;
}

#[tokio::test]
async fn too_little_room_is_seen_before() {
    let site = Site::new(TWO).await;
    // A df that says what a full disk's would, because filling one is not for a test.
    let programs = site.folder.path().join("programs");
    fs::create_dir(&programs).unwrap();
    fs::write(programs.join("df"), "#!/bin/sh\nprintf 'Filesystem\\n/dev/x 100 90 10 90%% /x\\n'\n").unwrap();
    fs::set_permissions(programs.join("df"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}:/usr/bin:/bin", programs.display(), site.cluster.installation().bin.display());
    let output = site.script("backup-databases.sh").environment("PATH", path).run_to_end().await.unwrap();
    assert_failure(&output, "KiB, and 10 KiB are free");
    assert!(site.files("link_users", "").is_empty());
}

#[tokio::test]
async fn a_damaged_file_is_refused_and_nothing_touched() {
    let site = Site::new(TWO).await;
    site.fill().await;
    assert_success(&site.back_up().await);
    let before = site.dump("link_users").await;
    let good = site.files("link_users", ".sql.gz").remove(0);
    let bytes = fs::read(&good).unwrap();
    let copy = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = site.folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let mut flipped = bytes.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    assert_failure(&site.restore("users", &copy("flipped.sql.gz", &flipped)).await, "is damaged");
    assert_failure(&site.restore("users", &copy("cut.sql.gz", &bytes[..middle])).await, "is damaged");
    // Whole as a gzip file, and not as a dump.
    let plain = Invocation::new(on_path("gzip").unwrap()).argument("-dc").argument(&good).run().await.unwrap().stdout;
    assert_failure(&site.restore("users", &copy("cut.sql", &plain[..plain.len() / 2])).await, "it has no end");
    // Whole, and another file than was written.
    let other = copy("other.sql", &plain);
    fs::write(site.folder.path().join("other.sql.sha256"), format!("{}  other.sql\n", "0".repeat(64))).unwrap();
    assert_failure(&site.restore("users", &other).await, "SHA-256");
    assert_failure(&site.restore("users", &site.folder.path().join("nothing")).await, "cannot read");
    site.is_unchanged(&before).await;

    let unknown = site.restore("user", &good).await;
    assert_eq!(unknown.status.code(), Some(2));
    assert!(said(&unknown).contains("there are: odd users"), "{}", said(&unknown));
    let unsure = site.script("restore-database.sh").argument("users").argument(&good).run_to_end().await.unwrap();
    assert_failure(&unsure, "not confirmed");
    site.is_unchanged(&before).await;
}

#[tokio::test]
async fn a_dump_can_do_no_more_than_the_service() {
    let site = Site::new(TWO).await;
    site.fill().await;
    let before = site.dump("link_users").await;
    let end = "--\n-- PostgreSQL database dump complete\n--\n\n";
    let touched = site.folder.path().join("touched");
    let attacks = [
        (format!("\\! touch '{}'\n", touched.display()), "backslash commands are restricted"),
        (format!("\\unrestrict x\n\\o |touch '{}'\n", touched.display()), "wrong key"),
        ("RESET ROLE; RESET SESSION AUTHORIZATION; ALTER ROLE link_users_owner SUPERUSER;\n".to_owned(), "permission denied"),
        ("COPY (SELECT 1) TO PROGRAM 'true';\n".to_owned(), "permission denied"),
        ("\\connect postgres\n".to_owned(), "backslash commands are restricted"),
        ("COMMIT; CREATE TABLE half (a int); SELECT 1/0;\n".to_owned(), "division by zero"),
    ];
    for (attack, reason) in attacks {
        let file = site.folder.path().join("hostile.sql");
        fs::write(&file, format!("{attack}\n{end}")).unwrap();
        assert_failure(&site.restore("users", &file).await, reason);
        assert!(!touched.exists(), "{attack}");
    }
    site.is_unchanged(&before).await;
    assert_eq!(site.cluster.psql("SELECT rolsuper FROM pg_roles WHERE rolname = 'link_users_owner'").await, "f");
}

#[tokio::test]
async fn a_run_that_is_interrupted_clears_up() {
    let site = Site::new(TWO).await;
    site.fill().await;
    let before = site.dump("link_users").await;
    let file = site.folder.path().join("slow.sql");
    let end = "--\n-- PostgreSQL database dump complete\n--\n\n";
    fs::write(&file, format!("SELECT pg_sleep(2);\n{end}")).unwrap();
    let (script, pid) = (site.folder.path().join("interrupted.sh"), site.folder.path().join("interrupted.pid"));
    let mut text = fs::File::create(&script).unwrap();
    writeln!(text, "#!/bin/bash\n'{0}/scripts/restore-database.sh' -y users '{0}/slow.sql' &", site.folder.path().display())
        .unwrap();
    writeln!(text, "child=$!\necho $child >'{}'\nwait $child", pid.display()).unwrap();
    drop(text);
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let interrupt = async {
        let sleeps = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active' AND pid <> pg_backend_pid()";
        while site.cluster.psql(sleeps).await == "0" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let pid = rustix::process::Pid::from_raw(fs::read_to_string(&pid).unwrap().trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    };
    let interrupted = site.script("../interrupted.sh");
    let (output, ()) = tokio::join!(interrupted.run_to_end(), interrupt);
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(143), "{}", said(&output));
    assert!(said(&output).contains("not restored; database link_users is as it was"), "{}", said(&output));
    site.is_unchanged(&before).await;
}
