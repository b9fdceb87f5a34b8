//! A browser without a window, driven by its debugging protocol over a pipe.

use std::process::Stdio;
use std::time::Duration;

use pgisle_engine::local::find_program;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

/// Flags that keep it from asking anybody anything.
const FLAGS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
];

/// A browser with one page.
pub(super) struct Browser {
    _child: tokio::process::Child,
    _profile: tempfile::TempDir,
    input: tokio::process::ChildStdin,
    output: BufReader<tokio::process::ChildStdout>,
    session: Option<String>,
    number: u64,
    /// What scripts have thrown, and what the policy has kept out.
    pub(super) complaints: Vec<String>,
}

impl Browser {
    /// None when there is no browser.
    pub(super) async fn open() -> Option<Self> {
        let program = find_program("chromium")?;
        let profile = tempfile::tempdir().unwrap();
        // It speaks on file descriptors 3 and 4.
        let mut command = tokio::process::Command::new("sh");
        command.args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1"]).arg(program).args(FLAGS);
        command.arg(format!("--user-data-dir={}", profile.path().display())).env("HOME", profile.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let complaints = Vec::new();
        let mut browser = Self { _child: child, _profile: profile, input, output, session: None, number: 0, complaints };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" })).await;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach).await;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({})).await;
        }
        Some(browser)
    }

    /// Asks for something, and waits for the answer.
    pub(super) async fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.number += 1;
        let mut message = json!({ "id": self.number, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.input.write_all(format!("{message}\0").as_bytes()).await.unwrap();
        loop {
            let mut answer = Vec::new();
            let read = tokio::time::timeout(Duration::from_secs(60), self.output.read_until(0, &mut answer)).await;
            assert!(read.unwrap_or_else(|_| panic!("{method} is not answered")).unwrap() > 0, "the browser is gone");
            answer.pop();
            let mut answer: Value = serde_json::from_slice(&answer).unwrap();
            match answer["method"].as_str() {
                Some("Runtime.exceptionThrown") => self.complaints.push(answer["params"]["exceptionDetails"].to_string()),
                Some("Log.entryAdded") if answer["params"]["entry"]["source"] != "network" => {
                    self.complaints.push(answer["params"]["entry"].to_string());
                }
                _ => {}
            }
            if answer["id"] == self.number {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].take();
            }
        }
    }

    pub(super) async fn go_to(&mut self, address: &str) {
        self.call("Page.navigate", json!({ "url": address })).await;
    }

    /// What an expression comes to.
    pub(super) async fn value(&mut self, expression: &str) -> Value {
        let wanted = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut found = self.call("Runtime.evaluate", wanted).await;
        assert!(found["exceptionDetails"].is_null(), "{expression}: {found}");
        found["result"]["value"].take()
    }

    /// Waits for an expression to come true.
    pub(super) async fn until(&mut self, expression: &str) {
        for _ in 0..200 {
            // Between two pages there is no document.
            if self.value(&format!("(() => {{ try {{ return Boolean({expression}); }} catch {{ return false; }} }})()")).await
                == true
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{expression} never comes true: {}", self.value("document.body.innerText").await);
    }

    pub(super) async fn press(&mut self, key: &str) {
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let code = match key {
                "Enter" => 13,
                "Escape" => 27,
                "Tab" => 9,
                other => panic!("{other}"),
            };
            let event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
            self.call("Input.dispatchKeyEvent", event).await;
        }
    }

    pub(super) async fn window(&mut self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size).await;
    }

    pub(super) async fn prefers(&mut self, scheme: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", features).await;
    }
}
