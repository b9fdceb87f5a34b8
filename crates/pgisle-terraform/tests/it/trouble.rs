//! What goes wrong in the midst of a run.

use std::fs;

use pgisle_testkit::skip_foreign;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::place::{Place, is_running, wait_for};

const NO_TERRAFORM: &str = "terraform 1.11 or later is not installed";

fn thing(name: &str, rest: &str) -> String {
    format!("resource \"fake_thing\" \"{name}\" {{\n  name = \"{name}\"\n{rest}}}\n")
}

#[test]
fn a_panic_ends_one_call_and_tells_no_secret() {
    let panics = thing("a", "  behaviour = \"panic\"\n  secret = \"open sesame\"\n");
    let Some(mut place) = Place::initialised(&(panics + &thing("b", ""))) else { skip_foreign!("{NO_TERRAFORM}") };
    place.variable("TF_LOG_PROVIDER", "TRACE");
    let ran = place.terraform(&["apply", "-auto-approve", "-parallelism=1"]).expect(1);
    let ran = ran.says("the provider failed inside").says("It panicked at crates/pgisle-terraform/examples/fake.rs:");
    ran.says("This is a bug: please report").says("its text is withheld").says_not("open sesame").says_not("did not respond");
    assert!(place.data("b.json").is_some(), "the other is made");
    place.terraform(&["plan", "-detailed-exitcode"]).expect(2).says("1 to add, 0 to change");
}

/// What the state has of the only resource, and what is kept beside it.
fn instance(place: &Place) -> (serde_json::Value, serde_json::Value) {
    let state = fs::read_to_string(place.path("project/terraform.tfstate")).unwrap();
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    let instance = &state["resources"][0]["instances"][0];
    assert!(instance["attributes"].is_object(), "{state}");
    (instance["attributes"].clone(), instance["private"].clone())
}

#[test]
fn what_could_not_be_changed_stays_as_it_was() {
    let Some(place) = Place::initialised(&thing("a", "  size = 1\n")) else { skip_foreign!("{NO_TERRAFORM}") };
    place.terraform(&["apply", "-auto-approve"]).expect(0);
    for (behaviour, says) in [("fail", "the thing does not want to"), ("panic", "the provider failed inside")] {
        let before = instance(&place);
        place.configure(&thing("a", &format!("  size = 2\n  behaviour = \"{behaviour}\"\n")));
        place.terraform(&["apply", "-auto-approve"]).expect(1).says(says);
        assert_eq!(instance(&place), before, "{behaviour}");
        place.terraform(&["plan", "-detailed-exitcode"]).expect(2).says("0 to add, 1 to change, 0 to destroy");
    }
}

#[test]
fn an_interrupt_stops_the_change_and_nothing_hangs() {
    // More than HTTP/2 servers take at once, if they are not told otherwise.
    let many = "resource \"fake_thing\" \"many\" {\n  count = 250\n  name = \"b-${count.index}\"\n  behaviour = \"slow\"\n}\n";
    let Some(place) = Place::initialised(many) else { skip_foreign!("{NO_TERRAFORM}") };
    let mut terraform = place.start(&["apply", "-auto-approve", "-parallelism=300"]);
    let provider: i32 = wait_for("the changes", 40, || {
        place.data("slow").filter(|_| place.data("busy").is_some_and(|busy| busy == "250"))?.parse().ok()
    });
    // As a terminal does it: to all of them at once.
    kill_process_group(Pid::from_child(&terraform), Signal::INT).unwrap();
    let status = wait_for("the end", 20, || terraform.try_wait().unwrap());
    let output = fs::read_to_string(place.path("output")).unwrap();
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains("it was stopped") && !output.contains("did not respond"), "{output}");
    assert_eq!(place.data("stopped").as_deref(), Some("true"));
    wait_for("the provider's end", 5, || (!is_running(provider)).then_some(()));
    place.configure(&thing("a", ""));
    place.terraform(&["apply", "-auto-approve"]).expect(0).says("1 added");
}

#[test]
fn a_provider_whose_terraform_was_killed_stops_and_ends() {
    let Some(place) = Place::initialised(&thing("a", "  behaviour = \"slow\"\n")) else { skip_foreign!("{NO_TERRAFORM}") };
    let mut terraform = place.start(&["apply", "-auto-approve"]);
    let provider: i32 = wait_for("the change", 20, || place.data("slow")?.parse().ok());
    kill_process(Pid::from_child(&terraform), Signal::KILL).unwrap();
    terraform.wait().unwrap();
    let stopped = wait_for("the stop", 10, || place.data("stopped").filter(|stopped| !stopped.is_empty()));
    assert_eq!(stopped, "true", "it was asked, and did not wait for its own end");
    wait_for("the provider's end", 5, || (!is_running(provider)).then_some(()));
    let left = fs::read_dir(place.path(""))
        .unwrap()
        .filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().starts_with("terraform-provider-"));
    assert_eq!(left.count(), 0, "its socket went with it");
}

#[test]
fn a_resource_of_another_type_is_not_taken_for_one() {
    let Some(place) = Place::initialised("resource \"terraform_data\" \"x\" {}\n") else { skip_foreign!("{NO_TERRAFORM}") };
    place.terraform(&["apply", "-auto-approve"]).expect(0);
    let moved = "moved {\n  from = terraform_data.x\n  to   = fake_thing.a\n}\n";
    place.configure(&(thing("a", "") + moved));
    place.terraform(&["plan"]).expect(1).says("does not support moved operations across resource types");
}
