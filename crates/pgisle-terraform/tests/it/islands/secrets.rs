//! What must not be seen is not: neither on the terminal, nor in the state, nor in the server's log.

use pgisle_testkit::skip_foreign;

use super::{NO_TERRAFORM, SHOP, Site};

fn hidden(password: &str, version: u32) -> String {
    format!(
        "resource \"pgisle_service\" \"orders\" {{\n  name = \"orders\"\n  password_wo = \"{password}\"\n  password_wo_version = {version}\n}}\n\
         resource \"pgisle_artifacts\" \"this\" {{\n  services = [pgisle_service.orders.definition]\n  credentials = [pgisle_service.orders.credential]\n}}\n"
    )
}

#[tokio::test]
async fn a_write_only_password_is_nowhere_in_the_state() {
    let (first, second) = ("first-Zr8kQpW2vN", "second-Lm4XtYb9Hs");
    let Some(site) = Site::with(&hidden(first, 1)).await else { skip_foreign!("{NO_TERRAFORM}") };
    site.place.terraform(&["plan", "-out=tfstate.plan"]).expect(0).says_not(first);
    site.place.terraform(&["apply", "tfstate.plan"]).expect(0).says_not(first);
    // A saved plan is a zip file; Terraform is asked what is in it.
    let planned: serde_json::Value =
        serde_json::from_str(&site.place.terraform(&["show", "-json", "tfstate.plan"]).expect(0).stdout).unwrap();
    for part in ["planned_values", "resource_changes", "prior_state"] {
        assert!(!planned[part].to_string().contains(first), "{part}");
    }
    std::fs::remove_file(site.place.path("project/tfstate.plan")).unwrap();
    site.plan().expect(0).says("No changes");
    site.cluster.connect_as("shop_orders_user", first, "shop_orders").await.unwrap();
    let file = site.place.path("project/generated/development/.env/.env.orders");
    assert!(std::fs::read_to_string(&file).unwrap().contains(first), "the service gets it");
    assert!(!site.place.kept().contains(first) && site.place.kept().contains("shop_orders_user"));
    assert!(!site.place.kept().contains("SCRAM-SHA-256"), "nor what could be guessed against");

    // Another password without another version is not noticed, as Terraform has it; with one it is.
    site.configure(&hidden(second, 1));
    site.plan().expect(0);
    site.configure(&hidden(second, 2));
    site.apply().expect(0).says_not(second);
    site.plan().expect(0).says("No changes");
    site.cluster.connect_as("shop_orders_user", second, "shop_orders").await.unwrap();
    assert!(std::fs::read_to_string(&file).unwrap().contains(second));
    assert!(!site.place.kept().contains(second) && !site.cluster.log().contains(second));
}

#[tokio::test]
async fn every_secret_is_marked_sensitive() {
    let Some(site) = Site::with(SHOP).await else { skip_foreign!("{NO_TERRAFORM}") };
    let planned = site.place.terraform(&["plan", "-out=tfstate.plan"]).expect(0);
    let applied = site.place.terraform(&["apply", "tfstate.plan"]).expect(0);
    let shown: serde_json::Value = serde_json::from_str(&site.place.terraform(&["show", "-json"]).expect(0).stdout).unwrap();
    let mut secrets = Vec::new();
    for resource in shown["values"]["root_module"]["resources"].as_array().unwrap() {
        for name in ["password", "database_url"] {
            let value = &resource["values"][name];
            if !value.is_null() {
                assert_eq!(resource["sensitive_values"][name], true, "{name} of {}", resource["address"]);
                secrets.push(value.as_str().unwrap().to_owned());
            }
        }
    }
    assert_eq!(secrets.len(), 5, "three passwords and two URLs");
    let plain = site.place.terraform(&["show"]).expect(0);
    for secret in secrets {
        for text in [&planned.stdout, &planned.stderr, &applied.stdout, &applied.stderr, &plain.stdout, &site.cluster.log()] {
            assert!(!text.contains(&secret));
        }
    }
}
