//! The live view in a terminal.

use std::process::Stdio;
use std::time::Duration;

use pgisle_testkit::skip;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::islands;
use crate::faults::ends;

/// Reads what is drawn until the screen is so.
async fn until(output: &mut tokio::process::ChildStdout, screen: &mut vt100::Parser, is_so: impl Fn(&vt100::Screen) -> bool) {
    let mut bytes = [0; 4096];
    let drawing = async {
        while !is_so(screen.screen()) {
            let count = output.read(&mut bytes).await.unwrap();
            assert!(count > 0, "it ended: {}", screen.screen().contents());
            screen.process(&bytes[..count]);
        }
    };
    let drawn = tokio::time::timeout(Duration::from_secs(30), drawing).await;
    assert!(drawn.is_ok(), "{}", screen.screen().contents());
}

#[tokio::test]
async fn a_terminal_shows_the_islands_and_is_left_as_it_was() {
    let (cluster, place) = islands().await;
    if !std::path::Path::new("/usr/bin/script").exists() {
        skip!("script, which makes a terminal, is not installed");
    }
    let line = format!("stty cols 120 rows 40; {} monitor -every=1s", env!("CARGO_BIN_EXE_pgisle"));
    let mut command = place.command("/usr/bin/script");
    command.args(["-qec", &line, "/dev/null"]).env("TERM", "xterm").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = tokio::process::Command::from(command).kill_on_drop(true).spawn().unwrap();
    let (mut keys, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut screen = vt100::Parser::new(40, 120, 0);
    let shows = |words: &'static [&'static str]| {
        move |screen: &vt100::Screen| screen.alternate_screen() && words.iter().all(|word| screen.contents().contains(word))
    };
    let first = shows(&["chat: connections, at most", "it has no proved backup", "q quit", "0 of 100"]);
    until(&mut output, &mut screen, first).await;
    assert_eq!(super::sessions_of_pgisle(&cluster).await, "link_monitoring in postgres");
    keys.write_all(b"\x1b[B").await.unwrap();
    until(&mut output, &mut screen, shows(&["users: connections, at most"])).await;
    cluster.kill_server();
    until(&mut output, &mut screen, shows(&["PostgreSQL cannot be seen; what you see is"])).await;
    keys.write_all(b"q").await.unwrap();
    until(&mut output, &mut screen, |screen| !screen.alternate_screen()).await;
    let status = tokio::time::timeout(Duration::from_secs(20), child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn without_a_terminal_it_looks_once() {
    let (_cluster, place) = islands().await;
    let said = ends(&place, &["monitor"], 0).await;
    assert!(said.contains("│users            ready     0 of 100") && !said.contains('\u{1b}'), "{said}");
    let output = place.run(&["monitor", "-json"], &[]).await;
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["board"]["services"][1]["service"], "users");
    assert_eq!(document["board"]["freshness"]["server"]["is_fresh"], true);
    let no_login = "environment = \"development\"\nname_prefix = \"other\"\ncreate_monitoring_user = false\nservice \"users\" {}\n";
    place.file("pgisle.hcl", no_login);
    let refused = ends(&place, &["monitor"], 1).await;
    assert!(refused.contains("PI1101") && refused.contains("create_monitoring_user = true"), "{refused}");
}
