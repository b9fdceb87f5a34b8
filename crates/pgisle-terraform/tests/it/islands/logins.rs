//! Rotation, passwords that are given, and a machine without the store.

use pgisle_testkit::skip_foreign;

use super::{NO_TERRAFORM, Site};

const FILES: &str = r#"
resource "pgisle_artifacts" "this" {
  services    = [pgisle_service.orders.definition]
  credentials = [pgisle_service.orders.credential]
}
"#;

fn orders(more: &str) -> String {
    format!(
        "resource \"pgisle_service\" \"orders\" {{\n  name = \"orders\"\n{more}}}\n{FILES}\noutput \"url\" {{\n  value = pgisle_service.orders.database_url\n  sensitive = true\n}}\n\noutput \"password\" {{\n  value = pgisle_service.orders.password\n  sensitive = true\n}}\n\noutput \"login\" {{\n  value = pgisle_service.orders.login\n}}\n"
    )
}

fn output(site: &Site, name: &str) -> String {
    site.place.terraform(&["output", "-raw", name]).expect(0).stdout
}

#[tokio::test]
async fn a_login_is_rotated_and_the_old_one_shut_out() {
    let Some(site) = Site::with(&orders("")).await else { skip_foreign!("{NO_TERRAFORM}") };
    site.apply().expect(0);
    let (first, first_password) = (output(&site, "login"), output(&site, "password"));
    let old = site.cluster.connect_as(&first, &first_password, "shop_orders").await.unwrap();
    site.configure(&orders("  rotation = 1\n"));
    site.plan().expect(2).says("0 to add, 2 to change, 0 to destroy");
    site.apply().expect(0);
    site.plan().expect(0).says("No changes");
    let (second, second_password) = (output(&site, "login"), output(&site, "password"));
    assert_eq!((first.as_str(), second.as_str()), ("shop_orders_user", "shop_orders_user_b"));
    assert_ne!(first_password, second_password);
    site.cluster.connect_as(&second, &second_password, "shop_orders").await.unwrap();
    site.cluster.connect_as(&first, &first_password, "shop_orders").await.unwrap();
    let file = std::fs::read_to_string(site.place.path("project/generated/development/.env/.env.orders")).unwrap();
    assert!(file.contains(&second_password) && !file.contains(&first_password), "the files came with the same apply");

    // Not while the old one is in use, and not twice at once.
    site.configure(&orders("  rotation = 1\n  finish_rotation = true\n"));
    site.apply().expect(1).says("the old login \"shop_orders_user\" is still in use");
    site.configure(&orders("  rotation = 2\n"));
    site.apply().expect(1).says("set finish_rotation = true");
    drop(old);
    // The connection's own task ends it, and runs only while the test waits.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    site.configure(&orders("  rotation = 1\n  finish_rotation = true\n"));
    site.apply().expect(0);
    site.plan().expect(0).says("No changes");
    assert!(site.cluster.connect_as(&first, &first_password, "shop_orders").await.is_err());
    site.cluster.connect_as(&second, &second_password, "shop_orders").await.unwrap();
}

#[tokio::test]
async fn a_machine_without_the_store_makes_the_same_of_the_state() {
    let Some(site) = Site::with(&orders("")).await else { skip_foreign!("{NO_TERRAFORM}") };
    site.apply().expect(0);
    let password = output(&site, "password");
    std::fs::remove_dir_all(site.place.path("project/.pgisle")).unwrap();
    site.plan().expect(0).says("No changes");
    site.apply().expect(0).says("0 added, 0 changed, 0 destroyed");
    assert_eq!(output(&site, "password"), password);
    site.cluster.connect_as("shop_orders_user", &password, "shop_orders").await.unwrap();
}

#[tokio::test]
async fn a_given_password_is_any_text() {
    let hard = r#"a'b\"c\\d$e#f g=h%i@/:?é $${x} %%{y}"#;
    let plain = r#"a'b"c\d$e#f g=h%i@/:?é ${x} %{y}"#;
    let Some(site) = Site::with(&orders(&format!("  password = \"{hard}\"\n"))).await else { skip_foreign!("{NO_TERRAFORM}") };
    site.apply().expect(0);
    site.plan().expect(0).says("No changes");
    assert_eq!(output(&site, "password"), plain);
    site.cluster.connect_as("shop_orders_user", plain, "shop_orders").await.unwrap();
    site.configure(&orders("  password = \"another\"\n"));
    site.apply().expect(0);
    site.plan().expect(0).says("No changes");
    site.cluster.connect_as("shop_orders_user", "another", "shop_orders").await.unwrap();
}
