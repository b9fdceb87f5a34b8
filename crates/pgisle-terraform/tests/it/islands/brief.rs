//! What the user's own README has them type, typed as it stands there.

use std::path::Path;

use pgisle_testkit::skip_foreign;

use super::{NO_TERRAFORM, Site};

/// The brief's `terraform.tfvars`, but for where the server is.
const TFVARS: &str = r#"
# terraform.tfvars
postgres_password = "your_postgres_password"
environment       = "development"

# Database settings
database_connection_limit = 100
user_connection_limit     = 50

# Enable features
create_monitoring_user = true
enable_pgbouncer      = true
enable_ssl            = true

# Backup settings
backup_retention_days = 30

# Kubernetes settings (if using K8s)
kubernetes_namespace = "default"
"#;

/// The brief's connection test, as it stands there.
const LOOP: &str = r#"
for service in users chat ai search discovery; do
  echo "Testing $service database connection..."
  PGPASSWORD=$(terraform output -json service_passwords | jq -r ".${service}") \
    psql -h localhost -U "link_${service}_user" -d "link_${service}" -c "SELECT 1;"
done
"#;

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The repository's `terraform/`, with the provider where `make provider` puts it and no other place to find it.
async fn site() -> Option<Site> {
    let mut site = Site::new().await?;
    let project = site.place.path("project");
    let copied = std::process::Command::new("cp").arg("-R").arg(repository().join("terraform/.")).arg(&project).status().unwrap();
    assert!(copied.success());
    // Whoever works here may have run it there.
    for left in [".terraform", "terraform.d", ".terraform.lock.hcl"] {
        let _absent = std::fs::remove_dir_all(project.join(left)).or_else(|_| std::fs::remove_file(project.join(left)));
    }
    std::fs::write(site.place.path("home/cli.tfrc"), "").unwrap();
    let built = env!("CARGO_BIN_EXE_terraform-provider-pgisle");
    site.place.shell(&format!("make provider CARGO=true BUILT={built}")).expect(0);
    for (name, value) in [
        ("TF_VAR_postgres_host", "localhost".to_owned()),
        ("TF_VAR_postgres_port", site.cluster.port().to_string()),
        ("TF_VAR_postgres_username", site.cluster.superuser().to_owned()),
        ("TF_VAR_postgres_sslmode", "disable".to_owned()),
        ("PGPORT", site.cluster.port().to_string()),
    ] {
        site.place.variable(name, &value);
    }
    Some(site)
}

/// The commands of the guide, block by block.
fn guide() -> Vec<String> {
    let text = std::fs::read_to_string(repository().join("docs/guide/terraform.md")).unwrap();
    text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_quick_start_and_the_guide_are_typed_as_written() {
    let Some(mut site) = site().await else { skip_foreign!("{NO_TERRAFORM}") };
    let password = site.cluster.password().to_owned();
    // The guide has answered the question; the password of what it types without one is where it says that it may be.
    site.place.variable("TF_CLI_ARGS_apply", "-auto-approve -no-color");
    site.place.variable("TF_VAR_postgres_password", &password);
    let run = |script: &str| site.place.shell(&script.replace("your_postgres_password", &password)).expect(0);
    run("make fmt");
    let blocks = guide();
    assert_eq!(blocks.len(), 3);
    let built = format!("make provider CARGO=true BUILT={}", env!("CARGO_BIN_EXE_terraform-provider-pgisle"));
    let first = run(&blocks[0].replace("cd terraform/\n", "").replace("make provider", &built));
    first.says("7 to add, 0 to change, 0 to destroy").says("7 added").says_not(&password);
    run("terraform validate").says("The configuration is valid");
    run("terraform plan -detailed-exitcode").says("No changes");
    run(&blocks[1]).says("No changes").says("0 added, 0 changed, 0 destroyed").says("link_users_user");
    assert_eq!(run(&blocks[2]).stdout.matches("(1 row)").count(), 5);
    assert_eq!(run(LOOP).stdout.matches("(1 row)").count(), 5);
    let monitoring: serde_json::Value = serde_json::from_str(&run("terraform output -json monitoring_user").stdout).unwrap();
    let login = |name: &str| monitoring[name].as_str().unwrap().to_owned();
    site.cluster.connect_as(&login("username"), &login("password"), "link_users").await.unwrap();
    for (output, told) in [
        ("service_databases", "link_discovery_user"),
        ("connection_usage_summary", "\"connections\": 90"),
        ("env_files", ".env/.env.users"),
        ("kubernetes_secrets", "users-db-credentials"),
        ("docker_compose_env", "USERS_DATABASE_URL"),
        ("backup_recommendations", "Back up every service's database"),
    ] {
        let json = run(&format!("terraform output -json {output} | jq .")).stdout;
        assert!(json.contains(told), "{output}: {json}");
    }
    for file in [
        ".env/.env.users",
        "k8s-secrets/users-db-credentials.yaml",
        "docker-compose.db-isolation.yml",
        "pgbouncer/pgbouncer.ini",
        "scripts/backup-databases.sh",
        "scripts/restore-database.sh",
        "scripts/migrate-users-database.sh",
        "IMPLEMENTATION_GUIDE.md",
    ] {
        assert!(site.place.path("project").join(file).exists(), "{file}");
    }
    run("terraform destroy -auto-approve").says("7 destroyed");
    let kept = "SELECT count(*) FROM pg_database WHERE datname LIKE 'link%'";
    assert_eq!(site.cluster.psql(kept).await, "5", "what is taken out of the files is kept");
}

#[tokio::test]
async fn the_configuration_files_and_the_makefile() {
    let Some(site) = site().await else { skip_foreign!("{NO_TERRAFORM}") };
    // A server without TLS.
    let tfvars = TFVARS
        .replace("your_postgres_password", site.cluster.password())
        .replace("enable_ssl            = true", "enable_ssl = false");
    std::fs::write(site.place.path("project/terraform.tfvars"), tfvars).unwrap();
    let make = |words: &str| site.place.shell(&format!("make {words}"));
    make("init").expect(0);
    make("apply ENV=development ARGS=-auto-approve").expect(0).says("7 added");
    make("plan ENV=nowhere").expect(2).says("there is no environment \"nowhere\"; there are: development production staging");
    // Another environment has a state of its own, and never touches this one's objects.
    let elsewhere = format!(
        "ENV=staging ARGS='-var=postgres_host={} -var=postgres_username={}'",
        site.cluster.host(),
        site.cluster.superuser()
    );
    make(&format!("plan {elsewhere}")).expect(0).says("is not pgisle's");
    make(&format!(
        "apply ENV=staging ARGS='-auto-approve -var=postgres_host={} -var=postgres_username={}'",
        site.cluster.host(),
        site.cluster.superuser()
    ))
    .expect(2)
    .says("is not pgisle's");
    make("destroy ENV=development ARGS=-auto-approve").expect(0).says("7 destroyed");
}
