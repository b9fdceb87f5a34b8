//! Callers that are not the Terraform that started the provider, or send what Terraform never would.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use proptest::strategy::{Strategy as _, ValueTree as _};
use prost::Message;
use rustix::process::Signal;

use crate::caller::{Answer, COOKIE, Identity, Plugin};
use crate::place::{fake, wait_for};

/// `DynamicValue`, and the requests that are needed here.
#[derive(Clone, PartialEq, Message)]
struct Dynamic {
    #[prost(bytes = "vec", tag = "2")]
    json: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Configure {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(message, optional, tag = "2")]
    config: Option<Dynamic>,
}

#[derive(Clone, PartialEq, Message)]
struct Apply {
    #[prost(string, tag = "1")]
    type_name: String,
    #[prost(message, optional, tag = "3")]
    planned: Option<Dynamic>,
    #[prost(message, optional, tag = "4")]
    config: Option<Dynamic>,
}

#[derive(Clone, PartialEq, Message)]
struct Validate {
    #[prost(string, tag = "1")]
    type_name: String,
    #[prost(message, optional, tag = "2")]
    config: Option<Dynamic>,
}

fn dynamic(json: &serde_json::Value) -> Option<Dynamic> {
    Some(Dynamic { json: json.to_string().into_bytes() })
}

fn configure(folder: &std::path::Path) -> Vec<u8> {
    let config = dynamic(&serde_json::json!({ "folder": folder.display().to_string() }));
    Configure { version: "1.11.4".to_owned(), config }.encode_to_vec()
}

fn apply_slowly() -> Vec<u8> {
    let thing = dynamic(&serde_json::json!({ "name": "a", "behaviour": "slow" }));
    Apply { type_name: "fake_thing".to_owned(), planned: thing.clone(), config: thing }.encode_to_vec()
}

const APPLY: &str = "/tfplugin6.Provider/ApplyResourceChange";
const CONFIGURE: &str = "/tfplugin6.Provider/ConfigureProvider";
const HEALTH: &str = "/grpc.health.v1.Health/Check";

/// The status SERVING, framed.
const SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 1];

#[tokio::test]
async fn only_the_announced_certificate_with_its_key_may_call() {
    let (own, other) = (Identity::new(), Identity::new());
    let plugin = Plugin::start(&own);
    let forged = Identity::forged(&own, Identity::new());
    for (stranger, reason) in [
        (Some(&other), "invalid peer certificate: ApplicationVerificationFailure"),
        (None, "peer sent no certificates"),
        (Some(&forged), "invalid peer certificate: BadSignature"),
    ] {
        assert!(plugin.connect(stranger).await.is_err(), "{reason}");
        wait_for(reason, 5, || plugin.log().contains(&format!("a connection was refused: {reason}")).then_some(()));
    }
    let mut plain = std::os::unix::net::UnixStream::connect(plugin.socket()).unwrap();
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    let mut caller = plugin.connect(Some(&own)).await.unwrap();
    let healthy = Answer { http: 200, grpc: "0".to_owned(), body: SERVING.to_vec() };
    assert_eq!(caller.call(HEALTH, b"").await.unwrap(), healthy);
}

#[tokio::test]
async fn other_accounts_do_not_reach_the_socket() {
    let plugin = Plugin::start(&Identity::new());
    let debug = Plugin::debug();
    for socket in [plugin.socket(), debug.socket()] {
        let mode = socket.parent().unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o700, "{}", socket.display());
        if !rustix::process::geteuid().is_root() {
            pgisle_testkit::skip!("only root can act as another account");
        }
        let test = |uid| Command::new("test").arg("-w").arg(socket).uid(uid).gid(uid).status().unwrap().code();
        assert_eq!((test(0), test(65534)), (Some(0), Some(1)), "{}", socket.display());
    }
}

#[test]
fn who_starts_it_otherwise_is_told_what_it_is() {
    let announced = Identity::new().pem;
    for (variables, says) in [
        (&[][..], "this is a Terraform provider"),
        (&[(COOKIE.0, "another"), ("PLUGIN_CLIENT_CERT", announced.as_str())], "this is a Terraform provider"),
        (&[COOKIE], "PLUGIN_CLIENT_CERT"),
        (&[COOKIE, ("PLUGIN_CLIENT_CERT", "garbage")], "the client's certificate in the environment cannot be read"),
        (&[COOKIE, ("PLUGIN_CLIENT_CERT", announced.as_str()), ("PLUGIN_PROTOCOL_VERSIONS", "4,5")], "use Terraform 1.0 or later"),
    ] {
        let output = Command::new(fake()).envs(variables.iter().copied()).stdin(Stdio::null()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(1), &b""[..]), "{stderr}");
        assert!(stderr.contains(says), "{stderr}");
    }
}

#[test]
fn a_folder_that_takes_no_socket_is_told() {
    let root = tempfile::tempdir().unwrap();
    let long = root.path().join("long".repeat(30));
    std::fs::create_dir(&long).unwrap();
    for (folder, says) in [(long, "is the path of TMPDIR long?"), (root.path().join("none"), "no private folder can be made in")] {
        let output = Command::new(fake()).arg("-debug").env("TMPDIR", &folder).stdin(Stdio::null()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(1), &b""[..]), "{stderr}");
        assert!(stderr.contains(says), "{stderr}");
        assert!(!folder.exists() || folder.read_dir().unwrap().next().is_none(), "it leaves nothing behind");
    }
}

#[tokio::test]
async fn what_no_terraform_sends_harms_nobody() {
    let own = Identity::new();
    let plugin = Plugin::start(&own);
    let mut caller = plugin.connect(Some(&own)).await.unwrap();
    let grpc = "application/grpc";
    for (path, kind, body, http, status) in [
        ("/tfplugin6.Provider/CallFunction", grpc, &b"\0\0\0\0\0"[..], 200, "12"),
        ("/plugin.GRPCStdio/StreamStdio", grpc, b"\0\0\0\0\0", 200, "12"),
        ("/", grpc, b"\0\0\0\0\0", 200, "12"),
        (HEALTH, "text/plain", b"\0\0\0\0\0", 415, ""),
        (HEALTH, grpc, b"", 200, "3"),
        (HEALTH, grpc, b"\0\0\0\0\x02x", 200, "3"),
        (HEALTH, grpc, b"\0\xff\xff\xff\xffx", 200, "8"),
        (HEALTH, grpc, b"\x01\0\0\0\x01x", 200, "12"),
        (APPLY, grpc, b"\0\0\0\0\x02\xff\xff", 200, "3"),
        ("/tfplugin6.Provider/GetMetadata", grpc, b"\0\0\0\0\0", 200, "0"),
        ("/tfplugin6.Provider/MoveResourceState", grpc, b"\0\0\0\0\0", 200, "0"),
        ("/tfplugin6.Provider/GetFunctions", grpc, b"\0\0\0\0\0", 200, "0"),
    ] {
        let answer = caller.send(path, kind, body.to_vec()).await.unwrap();
        assert_eq!((answer.http, answer.grpc.as_str()), (http, status), "{path} {body:?}");
    }
    // Neither a panic in a call, here because nothing is configured, nor garbage in a value ends more than that call.
    let told = |answer: Answer| String::from_utf8_lossy(&answer.body).into_owned();
    assert!(told(caller.call(APPLY, &apply_slowly()).await.unwrap()).contains("the provider failed inside"));
    let garbage = Validate { type_name: "fake_thing".to_owned(), config: Some(Dynamic { json: b"{{".to_vec() }) };
    let path = "/tfplugin6.Provider/ValidateResourceConfig";
    assert!(told(caller.call(path, &garbage.encode_to_vec()).await.unwrap()).contains("does not fit the provider's schema"));
    let unheard_of = Validate { type_name: "fake_none".to_owned(), config: None };
    assert!(
        told(caller.call(path, &unheard_of.encode_to_vec()).await.unwrap()).contains("the provider has no resource \"fake_none\"")
    );
    assert_eq!(caller.call(HEALTH, b"").await.unwrap().body, SERVING);
}

/// All that take a message of the provider's.
const CALLS: [&str; 11] = [
    "ValidateProviderConfig",
    "ValidateResourceConfig",
    "ValidateDataResourceConfig",
    "UpgradeResourceState",
    "ConfigureProvider",
    "ReadResource",
    "PlanResourceChange",
    "ApplyResourceChange",
    "ImportResourceState",
    "MoveResourceState",
    "ReadDataSource",
];

#[tokio::test]
async fn whatever_a_message_holds_the_next_is_answered() {
    let own = Identity::new();
    let plugin = Plugin::start(&own);
    let mut caller = plugin.connect(Some(&own)).await.unwrap();
    let mut random = proptest::test_runner::TestRunner::deterministic();
    // Anything, and a value that is anything in a message that is none.
    let bytes = proptest::collection::vec(proptest::num::u8::ANY, 0..60);
    for call in CALLS {
        for _ in 0..20 {
            let bytes = bytes.new_tree(&mut random).unwrap().current();
            let value = Some(Dynamic { json: bytes.clone() });
            let value = Validate { type_name: "fake_thing".to_owned(), config: value }.encode_to_vec();
            for message in [bytes, value] {
                let answer = caller.call(&format!("/tfplugin6.Provider/{call}"), &message).await.unwrap();
                assert!(matches!(answer.grpc.as_str(), "0" | "3"), "{call} {message:?}: {answer:?}");
            }
        }
    }
    assert_eq!(caller.call(HEALTH, b"").await.unwrap().body, SERVING);
}

#[tokio::test]
async fn a_terraform_that_would_store_write_only_attributes_is_refused() {
    let own = Identity::new();
    let plugin = Plugin::start(&own);
    let mut caller = plugin.connect(Some(&own)).await.unwrap();
    let thing = serde_json::json!({ "name": "a", "password_wo": "open sesame", "limits": { "high": 1, "key_wo": "x" } });
    let request = Validate { type_name: "fake_thing".to_owned(), config: dynamic(&thing) };
    let answer = caller.call("/tfplugin6.Provider/ValidateResourceConfig", &request.encode_to_vec()).await.unwrap();
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!(text.matches("this Terraform would store a write-only attribute").count(), 2, "{text}");
    assert!(text.contains("password_wo") && text.contains("key_wo") && !text.contains("open sesame"), "{text}");
}

#[tokio::test]
async fn a_change_outlives_its_caller_and_an_end_waits_for_it() {
    for signal in [Signal::TERM, Signal::INT] {
        let folder = tempfile::tempdir().unwrap();
        let own = Identity::new();
        let plugin = Plugin::start(&own);
        let mut caller = plugin.connect(Some(&own)).await.unwrap();
        assert_eq!(caller.call(CONFIGURE, &configure(folder.path())).await.unwrap().grpc, "0");
        caller.begin(APPLY, &apply_slowly(), || folder.path().join("slow").exists()).await;
        let mut caller = plugin.connect(Some(&own)).await.unwrap();
        // It never says who it is, and holds up nobody.
        let _silent = std::os::unix::net::UnixStream::connect(plugin.socket()).unwrap();
        plugin.signal(signal);
        tokio::time::sleep(Duration::from_millis(300)).await;
        let stopped = || std::fs::read_to_string(folder.path().join("stopped")).ok();
        if signal == Signal::INT {
            assert_eq!(stopped(), None, "an interrupt is Terraform's to hear");
            assert_eq!(caller.call("/plugin.GRPCController/Shutdown", b"").await.unwrap().grpc, "0");
        }
        let stopped = wait_for("the stop", 10, || stopped().filter(|text| !text.is_empty()));
        assert_eq!(stopped, "true", "{signal:?}");
        let socket = plugin.socket().to_owned();
        assert_eq!(plugin.ended(), Some(0), "{signal:?}");
        assert!(!socket.parent().unwrap().exists(), "its folder goes with it");
    }
}
