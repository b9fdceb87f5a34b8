//! pgisle's provider on real servers, by a real Terraform.

mod brief;
mod data;
mod drift;
mod imports;
mod killed;
mod logins;
mod refused;
mod removal;
mod secrets;

use std::collections::BTreeSet;
use std::fs;

use pgisle_core::name::RoleName;
use pgisle_core::plan::Plan;
use pgisle_core::spec::{LayerKind, Sources, SpecSecrets, load};
use pgisle_engine::apply::{self, Applied, Intent, Request};
use pgisle_engine::credential::{IdentitySource, Store};
use pgisle_engine::postgres::conninfo::{ConnectOptions, Host};
use pgisle_testkit::Cluster;

use crate::place::{Place, Ran};

/// Why a test cannot run.
pub(crate) const NO_TERRAFORM: &str = "terraform 1.11 or later is not installed";

/// What every configuration here begins with. The server's address comes from the environment.
const HEAD: &str = r#"
terraform {
  required_providers {
    pgisle = {
      source = "pgisle/pgisle"
    }
  }
}

variable "host" {}
variable "port" {}
variable "admin" {}

provider "pgisle" {
  name_prefix        = "shop"
  postgres_host      = var.host
  postgres_port      = var.port
  postgres_username  = var.admin
  postgres_sslmode   = "disable"
  enable_ssl         = false
  collation          = "C.UTF-8"
  default_extensions = ["uuid-ossp"]
}
"#;

/// The same settings as pgisle's own file has them.
const SETTINGS: &str = r#"
name_prefix        = "shop"
collation          = "C.UTF-8"
default_extensions = ["uuid-ossp"]
postgres_sslmode   = "disable"
enable_ssl         = false
"#;

/// Two services and the monitoring login.
const SHOP: &str = r#"
resource "pgisle_monitoring_user" "this" {}

resource "pgisle_service" "orders" {
  name        = "orders"
  description = "Carts and orders"
  instances   = 2
}

resource "pgisle_service" "billing" {
  name     = "billing"
  settings = { statement_timeout = "30s" }
}
"#;

/// The same in pgisle's own words.
const SHOP_FILE: &str = r#"
service "orders" {
  description = "Carts and orders"
  instances   = 2
}

service "billing" {
  settings = { statement_timeout = "30s" }
}
"#;

/// A server, and a folder with Terraform for it.
struct Site {
    cluster: Cluster,
    place: Place,
}

impl Site {
    /// With the provider installed, and the address in the environment. None where there is no Terraform.
    async fn new() -> Option<Self> {
        let mut place = Place::empty()?;
        place.install("pgisle/pgisle", "0.1.0", env!("CARGO_BIN_EXE_terraform-provider-pgisle").as_ref());
        let cluster = Cluster::start().await;
        for (name, value) in [("host", cluster.host()), ("port", &cluster.port().to_string()), ("admin", cluster.superuser())] {
            place.variable(&format!("TF_VAR_{name}"), value);
        }
        place.variable("PGPASSWORD", cluster.password());
        Some(Self { cluster, place })
    }

    /// With this configuration behind the usual head, after `terraform init`.
    async fn with(configuration: &str) -> Option<Self> {
        let site = Self::new().await?;
        site.configure(configuration);
        site.place.terraform(&["init"]).expect(0);
        Some(site)
    }

    fn configure(&self, configuration: &str) {
        fs::write(self.place.path("project/main.tf"), format!("{HEAD}{configuration}")).unwrap();
    }

    fn plan(&self) -> Ran {
        self.place.terraform(&["plan", "-detailed-exitcode"])
    }

    fn apply(&self) -> Ran {
        self.place.terraform(&["apply", "-auto-approve"])
    }

    /// What `pgisle plan` in the same folder would do with this file.
    async fn plan_of_file(&self, file: &str) -> Plan {
        self.with_request(file, async |request| Box::pin(apply::preview(&request, &|_| {})).await.unwrap().planned.plan).await
    }

    /// What `pgisle apply` in the same folder does.
    async fn apply_file(&self, file: &str) -> Applied {
        self.with_request(file, async |request| Box::pin(apply::run(&request, &|_| {})).await.unwrap()).await
    }

    async fn with_request<T>(&self, file: &str, work: impl AsyncFnOnce(Request<'_>) -> T) -> T {
        let mut sources = Sources::new();
        sources.push(LayerKind::SpecFile, "pgisle.hcl", format!("{SETTINGS}{file}"));
        let loaded = load(&sources);
        let spec = loaded.spec.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
        let identities = IdentitySource::from_environment(|_| None);
        let store = Store::new(&self.place.path("project"), spec.settings.environment, &[], identities).unwrap();
        let (user, database) = (RoleName::new(self.cluster.superuser()).unwrap(), spec.settings.maintenance_database.clone());
        let connect = ConnectOptions::new(Host::parse(self.cluster.host()), self.cluster.port(), user, database)
            .with_password(pgisle_core::secret::Secret::new(self.cluster.password()));
        work(Request {
            spec: &spec,
            secrets: &SpecSecrets::default(),
            connect: &connect,
            store: &store,
            intent: Intent::Apply,
            targets: &[],
            backups: None,
            adopt: &BTreeSet::new(),
            end_sessions: false,
            parallelism: 4,
            must_fit: false,
            lock_timeout: std::time::Duration::from_secs(20),
            expected: None,
        })
        .await
    }
}
