#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::os::unix::fs::{PermissionsExt as _, symlink};

use pgisle_core::artifact::MODE_OPEN;
use pgisle_core::secret::Secret;

use super::*;

const KEEP: WriteOptions = WriteOptions { overwrite: false };
const OVERWRITE: WriteOptions = WriteOptions { overwrite: true };

fn file(path: &str, text: &str) -> Artifact {
    let holds_secrets = path.starts_with(".env");
    let mode = if holds_secrets { MODE_SECRET } else { MODE_OPEN };
    Artifact { path: path.to_owned(), mode, holds_secrets, content: Some(Secret::new(text)) }
}

fn files() -> Vec<Artifact> {
    vec![file(".env/.env.users", "one"), file(".env/docker/.env.users", "two"), file("guide.md", "three")]
}

fn kinds(changes: &[Change]) -> Vec<(&str, ChangeKind)> {
    changes.iter().map(|change| (change.path.as_str(), change.kind)).collect()
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn temporary() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("generated/development");
    (folder, path)
}

#[test]
fn first_everything_is_written_and_then_nothing() {
    let (_guard, folder) = temporary();
    let created = status(&folder, &files()).unwrap();
    assert!(created.iter().all(|change| change.kind == ChangeKind::Create));
    assert!(!folder.exists(), "looking changes nothing");
    assert_eq!(write(&folder, &files(), KEEP).unwrap(), created);
    assert_eq!(fs::read_to_string(folder.join(".env/docker/.env.users")).unwrap(), "two");
    for private in [".env", ".env/docker"] {
        assert_eq!(mode(&folder.join(private)), 0o700);
    }
    assert_eq!((mode(&folder.join(".env/.env.users")), mode(&folder.join("guide.md"))), (0o600, 0o644));
    assert_eq!(mode(&folder.join(MANIFEST)), 0o600);
    let before = fs::symlink_metadata(folder.join(MANIFEST)).unwrap();
    assert!(write(&folder, &files(), KEEP).unwrap().iter().all(|change| change.kind == ChangeKind::Unchanged));
    assert_eq!(fs::symlink_metadata(folder.join(MANIFEST)).unwrap().ino(), before.ino(), "not even the manifest");
}

#[test]
fn an_edited_file_is_left_alone_until_told_otherwise() {
    let (_guard, folder) = temporary();
    write(&folder, &files(), KEEP).unwrap();
    fs::write(folder.join("guide.md"), "mine").unwrap();
    let mut changed = files();
    changed[2] = file("guide.md", "four");
    let changes = write(&folder, &changed, KEEP).unwrap();
    assert_eq!(changes[2].kind, ChangeKind::Edited);
    assert_eq!(diagnostics(&folder, &changes).len(), 1);
    assert_eq!(fs::read_to_string(folder.join("guide.md")).unwrap(), "mine");
    assert_eq!(status(&folder, &files()).unwrap()[2].kind, ChangeKind::Edited, "also when nothing else differs");
    assert_eq!(write(&folder, &changed, OVERWRITE).unwrap()[2].kind, ChangeKind::Update);
    assert_eq!(fs::read_to_string(folder.join("guide.md")).unwrap(), "four");
    assert_eq!(status(&folder, &changed).unwrap()[2].kind, ChangeKind::Unchanged);
}

#[test]
fn a_file_of_someone_else_is_not_taken_over() {
    let (_guard, folder) = temporary();
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("guide.md"), "another's").unwrap();
    assert_eq!(write(&folder, &files(), KEEP).unwrap()[2].kind, ChangeKind::Edited);
    assert_eq!(fs::read_to_string(folder.join("guide.md")).unwrap(), "another's");
}

#[test]
fn what_is_no_longer_generated_goes_unless_edited() {
    let (_guard, folder) = temporary();
    let mut more = files();
    more.extend([file("old.md", "old"), file("loved.md", "old")]);
    write(&folder, &more, KEEP).unwrap();
    fs::write(folder.join("loved.md"), "mine").unwrap();
    let changes = write(&folder, &files(), KEEP).unwrap();
    assert_eq!(kinds(&changes)[3..], [("loved.md", ChangeKind::Kept), ("old.md", ChangeKind::Remove)]);
    assert!(!folder.join("old.md").exists() && folder.join("loved.md").exists());
    let again = status(&folder, &files()).unwrap();
    assert_eq!(kinds(&again)[3..], [("loved.md", ChangeKind::Kept)], "and it is not forgotten");
    write(&folder, &files(), OVERWRITE).unwrap();
    assert!(!folder.join("loved.md").exists());
}

#[test]
fn links_are_not_followed() {
    let (guard, folder) = temporary();
    write(&folder, &files(), KEEP).unwrap();
    let victim = guard.path().join("victim");
    fs::write(&victim, "three").unwrap();
    fs::remove_file(folder.join("guide.md")).unwrap();
    symlink(&victim, folder.join("guide.md")).unwrap();
    assert_eq!(write(&folder, &files(), KEEP).unwrap()[2].kind, ChangeKind::Edited, "even with the right text behind it");
    let mut changed = files();
    changed[2] = file("guide.md", "four");
    write(&folder, &changed, OVERWRITE).unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "three");
    fs::remove_dir_all(folder.join(".env")).unwrap();
    fs::create_dir(guard.path().join("elsewhere")).unwrap();
    symlink(guard.path().join("elsewhere"), folder.join(".env")).unwrap();
    let error = write(&folder, &files(), OVERWRITE).unwrap_err();
    assert!(matches!(error, ArtifactError::NotAFolder { .. }), "{error}");
    assert_eq!(fs::read_dir(guard.path().join("elsewhere")).unwrap().count(), 0);
}

#[test]
fn a_secret_that_others_can_read_is_made_private_again() {
    let (_guard, folder) = temporary();
    write(&folder, &files(), KEEP).unwrap();
    let path = folder.join(".env/.env.users");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(folder.join(".env"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(write(&folder, &files(), KEEP).unwrap()[0].kind, ChangeKind::Update);
    assert_eq!((mode(&path), mode(&folder.join(".env"))), (0o600, 0o700));
    fs::set_permissions(folder.join("guide.md"), fs::Permissions::from_mode(0o664)).unwrap();
    assert_eq!(status(&folder, &files()).unwrap()[2].kind, ChangeKind::Unchanged);
}

#[test]
fn what_awaits_credentials_is_planned_and_not_written() {
    let (_guard, folder) = temporary();
    let mut waiting = files();
    waiting[0].content = None;
    let changes = write(&folder, &waiting, KEEP).unwrap();
    assert!(changes[0].awaits_credentials && changes[0].kind == ChangeKind::Create);
    assert!(!folder.join(".env/.env.users").exists() && folder.join("guide.md").exists());
    write(&folder, &files(), KEEP).unwrap();
    assert_eq!(status(&folder, &waiting).unwrap()[0].kind, ChangeKind::Update);
    write(&folder, &waiting, KEEP).unwrap();
    assert_eq!(fs::read_to_string(folder.join(".env/.env.users")).unwrap(), "one", "what is there stays");
}

#[test]
fn a_run_killed_at_any_point_leaves_nothing_that_looks_edited() {
    // The manifest is written first, then the files one by one, then the manifest: stop after each.
    let changed = vec![file(".env/.env.users", "ONE"), file(".env/docker/.env.users", "TWO"), file("guide.md", "THREE")];
    for written in 0..=changed.len() {
        let (_guard, folder) = temporary();
        write(&folder, &files(), KEEP).unwrap();
        let mut manifest = read_manifest(&folder).unwrap();
        let changes = compare(&folder, &changed, &manifest).unwrap();
        let by_path = changed.iter().map(|artifact| (artifact.path.as_str(), artifact)).collect();
        assert!(note_intentions(&mut manifest, &changes, &by_path));
        write_manifest(&folder, &manifest).unwrap();
        for artifact in &changed[..written] {
            write_atomically(&folder.join(&artifact.path), artifact.mode, artifact.content.as_ref().unwrap().expose().as_bytes())
                .unwrap();
        }
        // The next run wants something else again, and is killed before it writes a file.
        let third = vec![file(".env/.env.users", "1"), file(".env/docker/.env.users", "2"), file("guide.md", "3")];
        let by_path = third.iter().map(|artifact| (artifact.path.as_str(), artifact)).collect();
        let compared = compare(&folder, &third, &manifest).unwrap();
        note_intentions(&mut manifest, &compared, &by_path);
        write_manifest(&folder, &manifest).unwrap();
        for artifacts in [files(), changed.clone(), third] {
            let seen = status(&folder, &artifacts).unwrap();
            assert!(
                seen.iter().all(|change| matches!(change.kind, ChangeKind::Update | ChangeKind::Unchanged)),
                "{written}: {seen:?}"
            );
        }
        write(&folder, &changed, KEEP).unwrap();
        assert!(read_manifest(&folder).unwrap().files.values().all(|entry| entry.replaces.is_none()));
        assert!(status(&folder, &changed).unwrap().iter().all(|change| change.kind == ChangeKind::Unchanged));
    }
}

#[test]
fn a_manifest_that_leads_elsewhere_is_refused() {
    let (_guard, folder) = temporary();
    fs::create_dir_all(&folder).unwrap();
    for (text, is_json) in [
        ("{", false),
        (r#"{"version": 2, "files": {}}"#, true),
        (r#"{"version": 1, "files": {"../x": {"sha256": "", "holds_secrets": false}}}"#, true),
        (r#"{"version": 1, "files": {"/etc/x": {"sha256": "", "holds_secrets": false}}}"#, true),
    ] {
        fs::write(folder.join(MANIFEST), text).unwrap();
        let error = write(&folder, &files(), OVERWRITE).unwrap_err();
        assert_eq!(matches!(error, ArtifactError::ForeignManifest { .. }), is_json, "{error}");
        assert_eq!(error.diagnostic().commands.len(), 1);
    }
}
