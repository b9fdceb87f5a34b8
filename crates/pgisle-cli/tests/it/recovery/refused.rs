//! Times that cannot be reached, and archives that are not whole: a clear error, and nothing is changed.

use std::fs;

use super::site::Site;

#[tokio::test]
async fn times_that_cannot_be_reached_are_told() {
    let site = Site::new(None).await;
    site.insert("one").await;
    let restore = |at: &str| site.refused(&["restore", "orders", "-at", at, "-auto-approve"]);
    let (code, error) = restore("2024-01-01 00:00:00");
    assert_eq!(code, "PI0856", "{error}");
    assert!(error.to_string().contains("pgisle backup create -cluster"), "{error}");
    let before = site.now().await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    site.back_up().await;
    for (at, expected, words) in [
        (before.as_str(), "PI0856", "The first one was complete at"),
        ("2999-01-01T00:00:00Z", "PI0856", "in the future"),
        ("yesterday", "PI0901", "Without a zone it is UTC"),
        ("2025-01-19", "PI0901", ""),
    ] {
        let (code, error) = restore(at);
        assert_eq!(code, expected, "{at}: {error}");
        assert!(error.to_string().contains(words), "{at}: {error}");
    }
    assert_eq!(site.refused(&["restore", "orders", "some.sql", "-at", &before]).0, "PI0901");
    assert_eq!(site.rows().await, "one");
    site.assert_nothing_left();
}

#[tokio::test]
async fn an_archiving_that_fails_is_named_and_not_waited_for() {
    let site = Site::new(None).await;
    site.back_up().await;
    site.cluster.reload_with("archive_command", "false").await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let at = site.now().await;
    let started = std::time::Instant::now();
    let (code, error) = site.refused(&["restore", "orders", "-at", &at, "-auto-approve"]);
    assert_eq!(code, "PI0858", "{error}");
    assert!(error.to_string().contains("its archive_command has failed"), "{error}");
    assert!(error.to_string().contains("pgisle backup wal-setup"), "{error}");
    // The server tries every minute, and does not succeed by itself.
    assert!(started.elapsed().as_secs() < 50, "{:?}", started.elapsed());
    site.assert_nothing_left();
}

#[tokio::test]
async fn a_gap_is_named_and_so_is_damage() {
    let site = Site::new(None).await;
    site.back_up().await;
    let mut names = Vec::new();
    for text in ["one", "two", "three", "four"] {
        site.insert(text).await;
        names.push(site.archive().await);
    }
    let at = site.now().await;
    site.insert("five").await;
    let restore = || site.refused(&["restore", "orders", "-at", &at, "-auto-approve"]);
    let data = |name: &str, end: &str| site.wal.join(&name[..8]).join(format!("{name}{end}"));
    // A flipped bit.
    let path = data(&names[2], ".zst");
    let whole = fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    fs::write(&path, &flipped).unwrap();
    let (code, error) = restore();
    assert_eq!(code, "PI0853", "{error}");
    assert!(error.to_string().contains(&names[2]), "{error}");
    // Gone without its seal: the list does not tell.
    fs::remove_file(&path).unwrap();
    assert_eq!(restore().0, "PI0853");
    // Gone with it.
    let seal = data(&names[2], ".json");
    let kept = fs::read(&seal).unwrap();
    fs::remove_file(&seal).unwrap();
    let (code, error) = restore();
    assert_eq!(code, "PI0854", "{error}");
    assert!(error.to_string().contains(&names[2]), "{error}");
    assert_eq!(site.rows().await, "five four one three two");
    site.assert_nothing_left();
    fs::write(&path, &whole).unwrap();
    fs::write(&seal, &kept).unwrap();
    site.run(&["restore", "orders", "-at", &at, "-auto-approve", "-no-verify"]);
    assert_eq!(site.rows().await, "four one three two");
}
