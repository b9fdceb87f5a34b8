//! What a resource goes through with a real Terraform, from its birth to its end.

use std::fs;

use pgisle_testkit::skip_foreign;

use crate::place::Place;

const NO_TERRAFORM: &str = "terraform 1.11 or later is not installed";

const THING: &str = r#"
resource "terraform_data" "later" {
  input = "known later"
}

resource "fake_thing" "a" {
  name             = "a"
  size             = 0.1
  words            = ["x", terraform_data.later.output]
  tags             = { k = "v" }
  secret           = "open sesame"
  password_wo      = "never stored"
  password_version = 1
  limits {
    high   = 7
    key_wo = "nor is this"
  }
}

data "fake_things" "all" {
  depends_on = [fake_thing.a]
}

output "revision" {
  value = fake_thing.a.revision
}

output "low" {
  value = fake_thing.a.limits.low
}
"#;

#[test]
fn a_thing_is_made_changed_replaced_and_destroyed() {
    let Some(place) = Place::initialised(THING) else { skip_foreign!("{NO_TERRAFORM}") };
    place.terraform(&["validate"]).expect(0).says("The configuration is valid");
    let plan = place.terraform(&["plan", "-detailed-exitcode", "-out=tfstate.plan"]).expect(2).says("2 to add");
    plan.says("+ (known after apply), ]").says("low = 0.5").says_not("open sesame").says_not("never stored");
    place.terraform(&["apply", "tfstate.plan"]).expect(0).says_not("never stored");
    fs::remove_file(place.path("project/tfstate.plan")).unwrap();
    assert_eq!(place.data("a.password").as_deref(), Some("never stored"), "it reached the provider");
    assert_eq!(place.data("a.key").as_deref(), Some("nor is this"));
    assert!(
        place.kept().contains("open sesame") && !place.kept().contains("never stored") && !place.kept().contains("nor is this")
    );

    place.terraform(&["plan", "-detailed-exitcode"]).expect(0).says("No changes");
    let outputs: serde_json::Value = serde_json::from_str(&place.terraform(&["output", "-json"]).expect(0).stdout).unwrap();
    assert_eq!((&outputs["revision"]["value"], &outputs["low"]["value"]), (&1.into(), &0.5.into()));
    let shown: serde_json::Value = serde_json::from_str(&place.terraform(&["show", "-json"]).expect(0).stdout).unwrap();
    let resources = shown["values"]["root_module"]["resources"].as_array().unwrap();
    let things = resources.iter().find(|resource| resource["type"] == "fake_things").unwrap();
    assert_eq!((&things["values"]["names"], &things["values"]["quantity"]), (&serde_json::json!(["a"]), &1.into()));

    place.configure(&THING.replace("0.1", "2").replace("password_version = 1", "password_version = 2").replace("never", "not"));
    place.terraform(&["plan", "-detailed-exitcode"]).expect(2).says("~ size = 0.1 -> 2").says("1 to change, 0 to destroy");
    place.terraform(&["apply", "-auto-approve"]).expect(0).says("revision = 2");
    assert_eq!(place.data("a.password").as_deref(), Some("not stored"));

    let renamed = THING.replace("\"a\"\n  size", "\"b\"\n  size");
    place.configure(&renamed);
    place.terraform(&["plan"]).expect(0).says("# forces replacement").says("1 to add, 0 to change, 1 to destroy");
    place.terraform(&["apply", "-auto-approve"]).expect(0);
    assert!(place.data("a.json").is_none() && place.data("b.json").is_some());
    place.terraform(&["plan", "-detailed-exitcode"]).expect(0);

    fs::write(place.path("data/b.json"), place.data("b.json").unwrap().replace("\"v\"", "\"drifted\"")).unwrap();
    place.terraform(&["plan", "-detailed-exitcode"]).expect(2).says("\"drifted\" -> \"v\"");
    fs::remove_file(place.path("data/b.json")).unwrap();
    place.terraform(&["apply", "-auto-approve"]).expect(0).says("1 added, 0 changed, 0 destroyed");

    place.terraform(&["destroy", "-auto-approve"]).expect(0).says("Warning: the file of b goes, too").says("2 destroyed");
    assert!(place.data("b.json").is_none() && !place.kept().contains("never stored"));
}

#[test]
fn what_is_there_is_imported_and_what_is_not_is_refused() {
    let configuration = "resource \"fake_thing\" \"a\" {\n  name = \"a\"\n  size = 3\n}\n";
    let Some(place) = Place::initialised(configuration) else { skip_foreign!("{NO_TERRAFORM}") };
    place.terraform(&["import", "fake_thing.a", "a"]).expect(1).says("there is no such fake_thing");
    let thing = serde_json::json!({
        "name": "a", "enabled": true, "size": 3, "words": null, "tags": null, "secret": null, "password_wo": null,
        "password_version": null, "behaviour": null, "id": "a", "revision": 1, "token": "t", "limits": null,
    });
    fs::write(place.path("data/a.json"), thing.to_string()).unwrap();
    place.terraform(&["import", "fake_thing.a", "a"]).expect(0).says("Import successful");
    place.terraform(&["plan", "-detailed-exitcode"]).expect(0).says("No changes");
    // A state that lacks what later versions have, and has what they have no more.
    let state = fs::read_to_string(place.path("project/terraform.tfstate")).unwrap();
    let older = state.replace("\"enabled\": true,", "\"forgotten\": [1],").replace("\"limits\": null,", "");
    assert_ne!(state, older);
    fs::write(place.path("project/terraform.tfstate"), &older).unwrap();
    place.terraform(&["plan", "-detailed-exitcode"]).expect(0).says("No changes");
    let newer = older.replace("\"schema_version\": 0", "\"schema_version\": 7");
    assert_ne!(older, newer);
    fs::write(place.path("project/terraform.tfstate"), newer).unwrap();
    place.terraform(&["plan"]).expect(1).says("newer provider version");
}

#[test]
fn a_finding_is_shown_at_its_attribute() {
    let lines = [
        "resource \"fake_thing\" \"a\" {",
        "  name  = \"a\"",
        "  size  = 101",
        "  words = [\"x\", \"bad\"]",
        "  limits {",
        "    high = 11",
        "  }",
        "}",
        "data \"fake_things\" \"all\" {",
        "  prefix = \"\"",
        "}",
    ];
    let Some(place) = Place::initialised(&lines.join("\n")) else { skip_foreign!("{NO_TERRAFORM}") };
    let found: serde_json::Value = serde_json::from_str(&place.terraform(&["validate", "-json"]).expect(1).stdout).unwrap();
    let mut found: Vec<(u64, &str)> = found["diagnostics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|diagnostic| (diagnostic["range"]["start"]["line"].as_u64().unwrap(), diagnostic["summary"].as_str().unwrap()))
        .collect();
    found.sort_unstable();
    let expected =
        [(3, "the size is too large"), (4, "the word is bad"), (6, "the limit is too high"), (10, "the prefix is empty")];
    assert_eq!(found, expected);
}

#[test]
fn changes_are_made_at_once() {
    let configuration =
        "resource \"fake_thing\" \"many\" {\n  count = 8\n  name = \"thing-${count.index}\"\n  behaviour = \"pause\"\n}\n";
    let Some(place) = Place::initialised(configuration) else { skip_foreign!("{NO_TERRAFORM}") };
    place.terraform(&["apply", "-auto-approve"]).expect(0).says("8 added");
    assert_eq!(place.data("busiest").as_deref(), Some("8"));
}

#[test]
fn a_provider_that_was_started_by_hand_serves_several_runs() {
    let Some(mut place) = Place::new("resource \"fake_thing\" \"a\" {\n  name = \"a\"\n}\n") else {
        skip_foreign!("{NO_TERRAFORM}")
    };
    let provider = crate::caller::Plugin::debug();
    place.variable("TF_REATTACH_PROVIDERS", provider.reattach());
    place.terraform(&["init"]).expect(0);
    place.terraform(&["apply", "-auto-approve"]).expect(0).says("1 added");
    place.terraform(&["plan", "-detailed-exitcode"]).expect(0);
    let folder = provider.socket().parent().unwrap().to_owned();
    assert!(folder.exists());
    provider.interrupt();
    assert_eq!(provider.ended(), Some(0));
    assert!(!folder.exists(), "it leaves nothing behind");
}
