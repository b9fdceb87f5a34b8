//! `cargo xtask bench terraform`: what Terraform with the provider costs, beside the command line doing the same, and what a refresh would
//! cost with a connection for each check.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use pgisle_engine::local::find_program;
use serde_json::json;

use super::Options;
use super::meter::{Cost, measure};
use super::site::{Site, build, build_package};

/// The version that the provider is installed under.
const VERSION: &str = "0.1.0";

/// What a refresh looks up of each service when every object is a resource: the database, its owner role, its login, the grants on the
/// database and on the schema, the default privileges, and two extensions. It is what configurations of such resources have, and what
/// their provider connects for, once for each.
const CHECKS: &[&str] = &[
    DATABASE,
    OWNER,
    LOGIN,
    DATABASE_GRANTS,
    SCHEMA_GRANTS,
    DEFAULT_PRIVILEGES,
    "SELECT extname, extversion FROM pg_catalog.pg_extension WHERE extname = 'uuid-ossp'",
    "SELECT extname, extversion FROM pg_catalog.pg_extension WHERE extname = 'vector'",
];

/// What has to be looked up besides, for as much as pgisle looks at: such resources have one grantee, or one kind of objects, each. So
/// there are three more grants on the database (for PUBLIC, the owner role and the monitoring login), two more on the schema, three more
/// default privileges, and a membership. The login's settings and the marks are in what is read already.
const MORE_CHECKS: &[&str] = &[
    DATABASE_GRANTS,
    DATABASE_GRANTS,
    DATABASE_GRANTS,
    SCHEMA_GRANTS,
    SCHEMA_GRANTS,
    DEFAULT_PRIVILEGES,
    DEFAULT_PRIVILEGES,
    DEFAULT_PRIVILEGES,
    "SELECT m.* FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles r ON r.oid = m.member WHERE r.rolname = 'bench_NAME_user'",
];

const DATABASE: &str = "SELECT d.datname, r.rolname, d.datconnlimit, d.datcollate, d.datctype, d.datistemplate, d.datallowconn FROM pg_catalog.pg_database d JOIN pg_catalog.pg_roles r ON r.oid = d.datdba WHERE d.datname = 'bench_NAME'";
const OWNER: &str = "SELECT * FROM pg_catalog.pg_roles WHERE rolname = 'bench_NAME_owner'";
const LOGIN: &str = "SELECT * FROM pg_catalog.pg_roles WHERE rolname = 'bench_NAME_user'";
const DATABASE_GRANTS: &str =
    "SELECT a.* FROM pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) a WHERE d.datname = 'bench_NAME'";
const SCHEMA_GRANTS: &str =
    "SELECT a.* FROM pg_catalog.pg_namespace n, pg_catalog.aclexplode(n.nspacl) a WHERE n.nspname = 'public'";
const DEFAULT_PRIVILEGES: &str = "SELECT a.* FROM pg_catalog.pg_default_acl d, pg_catalog.aclexplode(d.defaclacl) a";

/// What is measured, in the order of the table; with what of Terraform's it is compared.
const SUBJECTS: &[(&str, Option<&str>)] = &[
    ("terraform plan, to create", None),
    ("pgisle plan, to create", Some("terraform plan, to create")),
    ("terraform apply", None),
    ("pgisle apply", Some("terraform apply")),
    ("terraform plan, nothing to do", None),
    ("pgisle plan, nothing to do", Some("terraform plan, nothing to do")),
    ("psql, a connection for each of 8 checks", Some("terraform plan, nothing to do")),
    ("psql, a connection for each of 17 checks", Some("terraform plan, nothing to do")),
    ("terraform destroy", None),
    ("pgisle destroy", Some("terraform destroy")),
];

struct Programs {
    terraform: PathBuf,
    provider: PathBuf,
    pgisle: PathBuf,
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a chore talks to whoever runs it")]
pub(crate) fn run(options: &Options) -> Result<()> {
    let terraform = find_program("terraform").context("terraform is not installed")?;
    let programs = Programs { terraform, provider: build_package("pgisle-terraform")?, pgisle: build()? };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut all = Vec::new();
    for &services in &options.services {
        let mut costs: Vec<(&str, Cost)> = Vec::new();
        for _ in 0..options.rounds {
            for (subject, cost) in runtime.block_on(round(&programs, usize::from(services)))? {
                eprintln!("{services} services: {subject}: {:.2} s", cost.wall_s);
                match costs.iter_mut().find(|(known, _)| *known == subject) {
                    Some((_, least)) => *least = least.least(cost),
                    None => costs.push((subject, cost)),
                }
            }
        }
        if !options.json {
            println!("{}", render(services, &costs));
        }
        all.push(json!({ "services": services, "costs": costs.iter().map(of_cost).collect::<Vec<_>>() }));
    }
    if options.json {
        println!("{:#}", json!({ "rounds": options.rounds, "results": all }));
    }
    Ok(())
}

/// One measurement of each, Terraform on a cluster of its own and the command line on another.
async fn round(programs: &Programs, services: usize) -> Result<Vec<(&'static str, Cost)>> {
    let mut costs = Vec::new();
    let site = Site::new(services).await?;
    let postmaster = site.postmaster()?;
    let terraform = |words: &[&str]| vec![vec![terraform(&site, programs, words)]];
    prepare(&site, programs, services)?;
    costs.push(("terraform plan, to create", measure(postmaster, terraform(&["plan", "-input=false"]))?));
    costs.push(("terraform apply", measure(postmaster, terraform(&["apply", "-auto-approve", "-input=false"]))?));
    site.cluster.psql("CHECKPOINT").await;
    // Fails when anything is left to do, so this also proves that the apply was whole.
    let nothing = terraform(&["plan", "-detailed-exitcode", "-input=false"]);
    costs.push(("terraform plan, nothing to do", measure(postmaster, nothing)?));
    let few = checks(services, CHECKS, &site.folder().join("few.sql"))?;
    costs.push(("psql, a connection for each of 8 checks", measure(postmaster, site.psql(&vec![vec![few]]))?));
    let all = checks(services, &[CHECKS, MORE_CHECKS].concat(), &site.folder().join("all.sql"))?;
    costs.push(("psql, a connection for each of 17 checks", measure(postmaster, site.psql(&vec![vec![all]]))?));
    costs.push(("terraform destroy", measure(postmaster, terraform(&["destroy", "-auto-approve", "-input=false"]))?));
    drop(site);

    let site = Site::new(services).await?;
    let postmaster = site.postmaster()?;
    let pgisle = |words: &[&str]| vec![vec![site.pgisle(&programs.pgisle, words)]];
    costs.push(("pgisle plan, to create", measure(postmaster, pgisle(&["plan"]))?));
    costs.push(("pgisle apply", measure(postmaster, pgisle(&["apply", "-auto-approve"]))?));
    site.cluster.psql("CHECKPOINT").await;
    costs.push(("pgisle plan, nothing to do", measure(postmaster, pgisle(&["plan", "-detailed-exitcode"]))?));
    let targets: Vec<String> = (1..=services).map(|number| format!("-target=service.s{number:03}")).collect();
    let words: Vec<&str> =
        ["destroy", "-auto-approve", "-target=monitoring"].into_iter().chain(targets.iter().map(String::as_str)).collect();
    costs.push(("pgisle destroy", measure(postmaster, pgisle(&words))?));
    Ok(costs)
}

fn terraform(site: &Site, programs: &Programs, words: &[&str]) -> Command {
    let mut command = Command::new(&programs.terraform);
    command.args(words).arg("-no-color").current_dir(site.folder());
    command.env("PGPASSWORD", site.cluster.password()).env("CHECKPOINT_DISABLE", "1");
    command.env("TF_CLI_CONFIG_FILE", site.folder().join("cli.tfrc"));
    command
}

/// The configuration: what the site's file says, and the same generated files.
fn prepare(site: &Site, programs: &Programs, services: usize) -> Result<()> {
    let folder = site.folder();
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let mirror = folder.join(format!("mirror/registry.terraform.io/pgisle/pgisle/{VERSION}/linux_{architecture}"));
    fs::create_dir_all(&mirror)?;
    symlink(&programs.provider, mirror.join(format!("terraform-provider-pgisle_v{VERSION}")))?;
    let rc = format!("provider_installation {{\n  filesystem_mirror {{\n    path = {:?}\n  }}\n}}\n", folder.join("mirror"));
    fs::write(folder.join("cli.tfrc"), rc)?;
    let names: Vec<String> = (1..=services).map(|number| format!("\"s{number:03}\"")).collect();
    let text = format!(
        "terraform {{\n  required_providers {{\n    pgisle = {{\n      source = \"pgisle/pgisle\"\n    }}\n  }}\n}}\n\
         provider \"pgisle\" {{\n  name_prefix = \"bench\"\n  postgres_host = {:?}\n  postgres_port = {}\n  postgres_username = {:?}\n  \
         postgres_sslmode = \"disable\"\n}}\n\
         resource \"pgisle_monitoring_user\" \"this\" {{}}\n\
         resource \"pgisle_service\" \"this\" {{\n  for_each = toset([{}])\n  name = each.key\n  instances = 0\n  deletion_policy = \"destroy\"\n}}\n\
         resource \"pgisle_artifacts\" \"this\" {{\n  services = [for service in pgisle_service.this : service.definition]\n  \
         credentials = [for service in pgisle_service.this : service.credential]\n  depends_on = [pgisle_monitoring_user.this]\n}}\n",
        site.cluster.socket_dir(),
        site.cluster.port(),
        site.cluster.superuser(),
        names.join(", "),
    );
    fs::write(folder.join("main.tf"), text)?;
    let output = terraform(site, programs, &["init"]).output().context("cannot start terraform")?;
    ensure!(output.status.success(), "terraform init failed:\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A script that connects for each check.
fn checks(services: usize, checks: &[&str], path: &Path) -> Result<PathBuf> {
    let mut text = String::new();
    for number in 1..=services {
        let name = format!("s{number:03}");
        for check in checks {
            let _ = writeln!(text, "\\connect -reuse-previous=on bench_{name}\n{};", check.replace("NAME", &name));
        }
    }
    fs::write(path, text)?;
    Ok(path.to_owned())
}

fn render(services: u16, costs: &[(&str, Cost)]) -> String {
    let mut text = format!(
        "| {services} services | wall s | ratio | client CPU s | ratio | server CPU s | ratio | memory MB |\n|---|---|---|---|---|---|---|---|\n"
    );
    let of = |name: &str| costs.iter().find(|(subject, _)| *subject == name).map(|(_, cost)| cost);
    for (subject, ours) in SUBJECTS {
        let Some(Cost { wall_s, client_cpu_s, server_cpu_s, memory_bytes }) = of(subject) else { continue };
        let ratio = |own: fn(&Cost) -> f64| match (ours.and_then(of), of(subject)) {
            // A figure of a few ticks says nothing.
            (Some(ours), Some(theirs)) if own(theirs) >= 0.05 => format!("{:.2}", own(ours) / own(theirs)),
            _ => String::new(),
        };
        let _ = writeln!(
            text,
            "| {subject} | {wall_s:.2} | {} | {client_cpu_s:.2} | {} | {server_cpu_s:.2} | {} | {} |",
            ratio(|cost| cost.wall_s),
            ratio(|cost| cost.client_cpu_s),
            ratio(|cost| cost.server_cpu_s),
            memory_bytes.div_ceil(1_000_000),
        );
    }
    text
}

fn of_cost((subject, cost): &(&str, Cost)) -> serde_json::Value {
    let Cost { wall_s, client_cpu_s, server_cpu_s, memory_bytes } = cost;
    json!({
        "subject": subject, "wall_s": wall_s, "client_cpu_s": client_cpu_s, "server_cpu_s": server_cpu_s, "memory_bytes": memory_bytes,
    })
}
