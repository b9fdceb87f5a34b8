//! A recovery that is killed: the live database is in its place, the private server ends by itself, and the next run cleans up.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::site::{Site, servers};

#[tokio::test]
async fn a_recovery_that_is_killed_leaves_what_the_next_one_removes() {
    let site = Site::new(None).await;
    site.insert("first").await;
    site.back_up().await;
    let at = site.now().await;
    site.insert("second").await;
    let restore = ["restore", "orders", "-at", &at, "-auto-approve", "-no-verify", "-lock-timeout=30s"];
    for stage in ["cluster.unpacked", "recover.unpacked", "recover.started", "recover.reached", "recover.dumped"] {
        let mut command = site.place.command(env!("CARGO_BIN_EXE_pgisle"));
        let output = command.args(restore).env("PGISLE_FAULT_KILL_AT", stage).output().unwrap();
        assert_eq!(output.status.code(), None, "{stage}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(site.rows().await, "first second", "{stage}");
        let left = site.scratch().expect("a folder of the killed run");
        let killed = Instant::now();
        while servers(&left) > 0 {
            assert!(killed.elapsed() < Duration::from_secs(20), "{stage}: the private server goes on");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_private(&left, &site, stage);
    }
    site.run(&restore);
    assert_eq!(site.rows().await, "first");
    site.assert_nothing_left();
    // Any restore removes what is left, also one that has nothing to do with it.
    let mut command = site.place.command(env!("CARGO_BIN_EXE_pgisle"));
    assert_eq!(command.args(restore).env("PGISLE_FAULT_KILL_AT", "recover.reached").output().unwrap().status.code(), None);
    assert!(site.scratch().is_some());
    site.run(&["restore", "orders", "-undo", "-auto-approve", "-no-verify", "-lock-timeout=30s"]);
    site.assert_nothing_left();
    assert_eq!(site.rows().await, "first second");
}

/// Nobody else reads what is left, and no password is in it.
fn assert_private(folder: &Path, site: &Site, stage: &str) {
    let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(folder), 0o700, "{stage}");
    for path in files(folder) {
        assert_eq!(mode(&path) & 0o177, 0, "{stage}: {}", path.display());
        let bytes = fs::read(&path).unwrap();
        let password = site.cluster.password().as_bytes();
        assert!(!bytes.windows(password.len()).any(|part| part == password), "{stage}: {}", path.display());
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).filter(|path| path.is_file()).collect()
}
