//! What is wrong is told at its attribute, while planning, and nothing is changed.

use pgisle_testkit::skip_foreign;

use super::{NO_TERRAFORM, SHOP, Site};

fn service(attributes: &str) -> String {
    format!("resource \"pgisle_service\" \"a\" {{\n  name = \"a\"\n{attributes}}}\n")
}

#[tokio::test]
async fn wrong_values_are_told_at_their_attributes() {
    let Some(site) = Site::with(SHOP).await else { skip_foreign!("{NO_TERRAFORM}") };
    for (attributes, told) in [
        ("  connection_limit = 0\n", "\"connection_limit\" must be from 1 to 1000"),
        ("  access = \"everyone\"\n", "\"access\""),
        ("  tables = [\"a.b.c.d\"]\n", "in resource \"pgisle_service\" \"a\""),
        ("  settings = { work_memm = \"1\", max_wal_senders = \"1\" }\n", "max_wal_senders"),
        ("  database = \"postgres\"\n", "PI01"),
        ("  replica {\n    mode = \"sharded\"\n  }\n", "mode = \"sharded\""),
        ("  deletion_policy = \"drop\"\n", "deletion_policy cannot be \"drop\""),
        ("  password_wo = \"x\"\n", "password_wo goes with password_wo_version"),
        ("  timeouts {\n    create = \"soon\"\n  }\n", "the timeout of create is no duration"),
        ("  colour = \"red\"\n", "Unsupported argument"),
    ] {
        site.configure(&service(attributes));
        site.place.terraform(&["validate"]).expect(1).says(told);
    }
    site.configure("resource \"pgisle_service\" \"a\" {\n  name = \"Not A Name\"\n}\n");
    site.place.terraform(&["validate"]).expect(1).says("cannot be the name of a service");
    let head = super::HEAD.replace("  collation", "  environment = \"test\"\n  database_connection_limit = 7\n  collation");
    std::fs::write(site.place.path("project/main.tf"), head + SHOP).unwrap();
    let refused = site.place.terraform(&["validate"]).expect(1);
    refused.says("\"environment\"").says("\"database_connection_limit\" must be from 10 to 1000");
    assert_eq!(site.cluster.psql("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'shop%'").await, "0");
}

#[tokio::test]
async fn an_island_is_not_given_up_for_another_name() {
    let Some(site) = Site::with(&service("")).await else { skip_foreign!("{NO_TERRAFORM}") };
    site.apply().expect(0);
    site.configure(&service("  database = \"shop_other\"\n"));
    site.plan().expect(1).says("database cannot be changed from \"shop_a\" to \"shop_other\"");
    site.configure("resource \"pgisle_service\" \"a\" {\n  name = \"b\"\n}\n");
    site.plan().expect(1).says("name cannot be changed from \"a\" to \"b\"");
    // Another address in the configuration is no other island.
    site.configure("resource \"pgisle_service\" \"b\" {\n  name = \"a\"\n}\n\nmoved {\n  from = pgisle_service.a\n  to   = pgisle_service.b\n}\n");
    site.apply().expect(0).says("0 added, 0 changed, 0 destroyed");
    // Two resources for one island are refused before the second takes it over.
    site.configure("resource \"pgisle_service\" \"b\" {\n  name = \"a\"\n}\n\nresource \"pgisle_service\" \"c\" {\n  name = \"c\"\n  database = \"shop_a\"\n}\n");
    site.apply().expect(1).says("shop_a");
}

#[tokio::test]
async fn a_server_that_is_away_is_told_and_the_state_is_kept() {
    let Some(mut site) = Site::with(&service("")).await else { skip_foreign!("{NO_TERRAFORM}") };
    site.apply().expect(0);
    let port = site.cluster.port().to_string();
    site.place.variable("TF_VAR_port", "1");
    site.plan().expect(1).says("PI0201");
    site.place.variable("TF_VAR_port", &port);
    site.place.variable("PGPASSWORD", "wrong");
    let refused = site.plan().expect(1);
    refused.says("PI02").says_not("wrong\"");
    site.place.variable("PGPASSWORD", site.cluster.password());
    site.plan().expect(0).says("No changes");
}

#[tokio::test]
async fn what_is_not_known_yet_is_waited_for() {
    let later = "resource \"terraform_data\" \"limit\" {\n  input = 17\n}\n\nresource \"terraform_data\" \"word\" {\n  input = \"reporting\"\n}\n\n";
    let configuration = format!(
        "{later}{}\noutput \"user\" {{\n  value = pgisle_service.a.user\n}}\n",
        service("  connection_limit = terraform_data.limit.output\n  schemas = [terraform_data.word.output]\n")
    );
    let Some(site) = Site::with(&configuration).await else { skip_foreign!("{NO_TERRAFORM}") };
    site.plan().expect(2).says("+ connection_limit = (known after apply)").says("3 to add");
    site.apply().expect(0);
    site.plan().expect(0).says("No changes");
    let limit = "SELECT rolconnlimit FROM pg_roles WHERE rolname = 'shop_a_user'";
    assert_eq!(site.cluster.psql(limit).await, "17");

    // The provider's own block may have to wait, too.
    let head = super::HEAD.replace("name_prefix        = \"shop\"", "name_prefix = terraform_data.prefix.output");
    let prefix = "resource \"terraform_data\" \"prefix\" {\n  input = \"late\"\n}\n";
    std::fs::remove_file(site.place.path("project/terraform.tfstate")).unwrap();
    std::fs::write(site.place.path("project/main.tf"), format!("{head}{prefix}{}", service(""))).unwrap();
    site.plan().expect(2).says("+ database = (known after apply)");
    site.apply().expect(0);
    site.plan().expect(0).says("No changes");
    assert_eq!(site.cluster.psql("SELECT count(*) FROM pg_database WHERE datname = 'late_a'").await, "1");
}
