//! Starting programs.

use std::time::{Duration, Instant};

use pgisle_core::secret::Secret;
use pgisle_engine::process::{Account, Invocation, ProcessError, on_path};

fn shell(script: &str) -> Invocation {
    Invocation::new("/bin/sh").arguments(["-c", script])
}

#[tokio::test]
async fn input_output_and_environment_reach_the_program() {
    let output =
        shell("cat; echo \" $GREETING\"; echo aside >&2").input("hello").environment("GREETING", "world").run().await.unwrap();
    assert_eq!(output.text(), "hello world");
    assert_eq!(output.stderr, b"aside\n");
}

#[tokio::test]
async fn more_data_than_a_pipe_holds_goes_through_both_ways() {
    let megabytes = vec![b'x'; 4 << 20];
    let output = Invocation::new("cat").input(megabytes.clone()).run().await.unwrap();
    assert!(output.stdout == megabytes);
}

#[tokio::test]
async fn a_program_that_does_not_read_its_input_is_judged_by_its_exit() {
    let output = shell("exit 0").input(vec![b'x'; 1 << 20]).run().await.unwrap();
    assert!(output.status.success());
}

#[tokio::test]
async fn a_failure_names_the_program_the_status_and_the_last_lines() {
    let error = shell("seq 1 100 >&2; echo 'the cause' >&2; exit 3").run().await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("\"sh\" failed (exit status: 3): "), "{text}");
    assert!(text.ends_with("100\nthe cause"), "{text}");
    assert!(!text.contains("\n50\n"), "{text}");
    assert!(shell("exit 3").run_to_end().await.is_ok());
}

#[tokio::test]
async fn a_missing_program_is_known_as_such() {
    // By its path: a folder on the PATH that is closed to us would make it "permission denied".
    let error = Invocation::new("/usr/bin/pgisle-no-such-program").run().await.unwrap_err();
    assert!(error.is_not_found(), "{error:?}");
    assert_eq!(error.to_string(), "cannot start \"pgisle-no-such-program\"");
    assert_eq!(on_path("pgisle-no-such-program"), None);
    assert!(on_path("sh").is_some());
}

#[tokio::test]
async fn a_program_that_takes_too_long_is_killed_with_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("child");
    let script = format!("sleep 600 & echo $! > {}; echo started >&2; wait", file.display());
    let start = Instant::now();
    let error = shell(&script).timeout(Duration::from_millis(500)).run().await.unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(matches!(&error, ProcessError::TimedOut { stderr_tail, .. } if stderr_tail == "started"), "{error}");
    let child = std::fs::read_to_string(&file).unwrap();
    let gone = || std::fs::read_to_string(format!("/proc/{}/stat", child.trim())).map_or(true, |stat| stat.contains(") Z "));
    while !gone() {
        assert!(start.elapsed() < Duration::from_secs(5), "the child of the program lives on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_clean_environment_has_nothing_of_ours() {
    // Cargo sets it for every test.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    let output = shell("env").clean_environment().environment("MINE", "1").run().await.unwrap().text();
    assert!(output.contains("MINE=1") && output.contains("PATH="), "{output}");
    assert!(!output.contains("CARGO"), "{output}");
}

#[tokio::test]
async fn a_secret_reaches_the_program_and_neither_its_arguments_nor_debug() {
    let invocation = shell("cat; tr '\\0' ' ' < /proc/$$/cmdline; test \"$PGPASSWORD\" = \"$EXPECTED\"");
    let invocation = invocation.secret_environment("PGPASSWORD", &Secret::new("hidden-1")).environment("EXPECTED", "hidden-1");
    let invocation = invocation.input("hidden-2 ");
    let shown = format!("{invocation:?}");
    assert!(shown.contains("/bin/sh") && !shown.contains("hidden"), "{shown}");
    let output = invocation.run().await.unwrap().text();
    let arguments = output.strip_prefix("hidden-2 ").unwrap();
    assert!(!arguments.contains("hidden"), "{arguments}");
}

#[tokio::test]
async fn root_drops_to_an_account_and_its_group_alone() {
    let Some(account) = Account::for_servers().unwrap() else {
        pgisle_testkit::skip!("only root can drop to another account");
    };
    let output = shell("id -u; id -G; echo \"$HOME\"").run_as(Some(&account)).directory("/").run().await.unwrap().text();
    assert_eq!(output, format!("{}\n{}\n{}", account.uid, account.gid, account.home.display()));
}
