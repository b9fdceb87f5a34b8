//! What `pgisle output` hands to scripts, under the names of the Terraform configuration that pgisle replaces.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::artifact::{self, Artifact, Endpoint, connection_url};
use crate::budget;
use crate::credential::{Credential, Credentials};
use crate::diagnostic::{Code, Diagnostic};
use crate::inventory::Inventory;
use crate::secret::Secret;
use crate::spec::Spec;

/// A value that may hold secrets: no `Debug` that shows it, no `Serialize`.
#[derive(Clone, PartialEq)]
pub struct Sealed(Value);

impl Sealed {
    /// Hands the value out. Each call is a place where a secret leaves its type.
    #[must_use]
    pub fn expose(&self) -> &Value {
        &self.0
    }
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealed(…)")
    }
}

/// One output.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Fit for every eye.
    Open(Value),
    /// Holds a secret. Shown only to who asks for it by name or as JSON.
    Sensitive(Sealed),
}

impl Output {
    /// Whether it holds a secret.
    #[must_use]
    pub fn is_sensitive(&self) -> bool {
        matches!(self, Self::Sensitive(_))
    }

    fn value(&self) -> &Value {
        match self {
            Self::Open(value) => value,
            Self::Sensitive(sealed) => sealed.expose(),
        }
    }

    /// The bare value as one line of JSON: `pgisle output -json NAME`.
    #[must_use]
    pub fn to_json(&self) -> Secret {
        Secret::new(self.value().to_string())
    }

    /// The bare text: `pgisle output -raw NAME`. None for a list or a map, which have no bare text.
    #[must_use]
    pub fn to_raw(&self) -> Option<Secret> {
        match self.value() {
            Value::String(text) => Some(Secret::new(text)),
            Value::Number(number) => Some(Secret::new(number.to_string())),
            Value::Bool(value) => Some(Secret::new(value.to_string())),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// The value as Terraform shows it to people: `pgisle output NAME`.
    #[must_use]
    pub fn to_text(&self) -> Secret {
        let mut text = String::new();
        write_hcl(&mut text, self.value(), 0);
        Secret::new(text)
    }
}

/// All outputs, by name.
pub type Outputs = BTreeMap<&'static str, Output>;

/// Makes all outputs. `folder` is where the artifacts are, such as `generated/development`; paths in outputs begin with it.
#[must_use]
pub fn outputs(
    spec: &Spec,
    endpoint: &Endpoint,
    credentials: &Credentials,
    inventory: Option<&Inventory>,
    artifacts: &[Artifact],
    folder: &str,
) -> Outputs {
    let passwords: Map<String, Value> = spec
        .services
        .keys()
        .map(|name| {
            let password = credentials.services.get(name).map(|logins| logins.active.secret.expose());
            (name.to_string(), json!(password))
        })
        .collect();
    // Counting numbers always serialise.
    let connections = serde_json::to_value(budget::summary(spec, inventory, u32::from(budget::PARALLELISM))).unwrap_or_default();
    BTreeMap::from([
        ("backup_recommendations", Output::Open(json!(artifact::backup_recommendations(&spec.settings)))),
        ("connection_usage_summary", Output::Open(connections)),
        ("docker_compose_env", Output::Sensitive(Sealed(compose_environment(spec, endpoint, credentials)))),
        ("env_files", Output::Open(env_files(spec, artifacts, folder))),
        ("kubernetes_secrets", Output::Open(kubernetes_secrets(spec, folder))),
        ("monitoring_user", Output::Sensitive(Sealed(monitoring_user(spec, endpoint, credentials.monitoring.as_ref())))),
        ("service_databases", Output::Open(service_databases(spec, endpoint, credentials))),
        ("service_passwords", Output::Sensitive(Sealed(Value::Object(passwords)))),
    ])
}

/// Finds an output by name.
///
/// # Errors
/// When there is none of this name; the diagnostic lists those that there are.
pub fn find<'a>(outputs: &'a Outputs, name: &str) -> Result<&'a Output, Diagnostic> {
    outputs.get(name).ok_or_else(|| {
        let names: Vec<_> = outputs.keys().copied().collect();
        let error = Diagnostic::error(Code::OUTPUT_UNKNOWN, format!("there is no output \"{name}\""));
        error.hint(format!("There are {}.", names.join(", ")))
    })
}

/// All outputs with their types, as Terraform prints them: `pgisle output -json`.
#[must_use]
pub fn all_to_json(outputs: &Outputs) -> Secret {
    let all: Map<String, Value> = outputs
        .iter()
        .map(|(name, output)| {
            let value = output.value();
            ((*name).to_owned(), json!({"sensitive": output.is_sensitive(), "type": type_of(value), "value": value}))
        })
        .collect();
    Secret::new(format!("{:#}", Value::Object(all)))
}

/// All outputs for people, without the sensitive ones' values: `pgisle output`.
#[must_use]
pub fn all_to_text(outputs: &Outputs) -> String {
    let mut text = String::new();
    for (name, output) in outputs {
        let _ = write!(text, "{name} = ");
        match output {
            Output::Open(value) => write_hcl(&mut text, value, 0),
            Output::Sensitive(_) => text.push_str("<sensitive>"),
        }
        text.push('\n');
    }
    text
}

fn service_databases(spec: &Spec, endpoint: &Endpoint, credentials: &Credentials) -> Value {
    let databases = spec.services.iter().map(|(name, service)| {
        let user = credentials.services.get(name).map_or(&service.user, |logins| &logins.active.role);
        let mut value = json!({
            "database": service.database,
            "username": user,
            "host": endpoint.host,
            "port": endpoint.port,
            "sslmode": endpoint.sslmode,
            "connection_limit": service.connection_limit,
            "description": service.description,
        });
        let readers: Vec<String> = endpoint.readers(service).iter().map(|(host, port)| format!("{host}:{port}")).collect();
        if !readers.is_empty() {
            value["replica_hosts"] = json!(readers);
        }
        (name.to_string(), value)
    });
    Value::Object(databases.collect())
}

fn monitoring_user(spec: &Spec, endpoint: &Endpoint, login: Option<&Credential>) -> Value {
    if !spec.settings.create_monitoring_user {
        return Value::Null;
    }
    let name = login.map_or_else(|| spec.settings.monitoring_user(), |login| login.role.clone());
    json!({
        "username": name,
        "password": login.map(|login| login.secret.expose()),
        "host": endpoint.host,
        "port": endpoint.port,
        "database": spec.settings.maintenance_database,
        "sslmode": endpoint.sslmode,
        "connection_limit": spec.settings.monitoring_connection_limit,
    })
}

fn env_files(spec: &Spec, artifacts: &[Artifact], folder: &str) -> Value {
    let path_of = |name: &str| {
        let path = artifact::environment_path(name);
        artifacts.iter().any(|artifact| artifact.path == path).then(|| (name.to_owned(), json!(below(folder, &path))))
    };
    let names = spec.services.keys().map(ToString::to_string).chain(["monitoring".to_owned(), "pgbouncer".to_owned()]);
    Value::Object(names.filter_map(|name| path_of(&name)).collect())
}

fn kubernetes_secrets(spec: &Spec, folder: &str) -> Value {
    let secrets = spec.services.keys().map(|name| {
        let secret = artifact::secret_name(name);
        let file = below(folder, &artifact::secret_path(&secret));
        (name.to_string(), json!({"name": secret, "namespace": spec.settings.kubernetes_namespace, "file": file}))
    });
    Value::Object(secrets.collect())
}

/// A path below a folder; what is below the current one is named as it is.
fn below(folder: &str, path: &str) -> String {
    if folder == "." { path.to_owned() } else { format!("{folder}/{path}") }
}

/// One variable a service, for a Compose file that is written by hand: `USERS_DATABASE_URL`.
fn compose_environment(spec: &Spec, endpoint: &Endpoint, credentials: &Credentials) -> Value {
    let variables = spec.services.iter().map(|(name, service)| {
        let url = credentials.services.get(name).map(|logins| {
            let login = &logins.active;
            let database = service.database.as_str();
            connection_url(login.role.as_str(), &login.secret, &endpoint.host, endpoint.port, database, endpoint.sslmode)
        });
        let variable = format!("{}_DATABASE_URL", name.as_str().replace('-', "_").to_ascii_uppercase());
        (variable, json!(url.as_ref().map(Secret::expose)))
    });
    Value::Object(variables.collect())
}

/// A value's type in Terraform's notation (`["object", {…}]`).
fn type_of(value: &Value) -> Value {
    match value {
        Value::Null => json!("dynamic"),
        Value::Bool(_) => json!("bool"),
        Value::Number(_) => json!("number"),
        Value::String(_) => json!("string"),
        Value::Array(items) => json!(["tuple", items.iter().map(type_of).collect::<Vec<_>>()]),
        Value::Object(pairs) => {
            let types: Map<String, Value> = pairs.iter().map(|(key, value)| (key.clone(), type_of(value))).collect();
            json!(["object", types])
        }
    }
}

fn write_hcl(text: &mut String, value: &Value, indent: usize) {
    let inner = indent + 2;
    match value {
        Value::Array(items) if items.is_empty() => text.push_str("[]"),
        Value::Object(pairs) if pairs.is_empty() => text.push_str("{}"),
        Value::Array(items) => {
            text.push_str("[\n");
            for item in items {
                let _ = write!(text, "{:inner$}", "");
                write_hcl(text, item, inner);
                text.push_str(",\n");
            }
            let _ = write!(text, "{:indent$}]", "");
        }
        Value::Object(pairs) => {
            text.push_str("{\n");
            for (key, value) in pairs {
                let _ = write!(text, "{:inner$}{} = ", "", Value::from(key.as_str()));
                write_hcl(text, value, inner);
                text.push('\n');
            }
            let _ = write!(text, "{:indent$}}}", "");
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            let _ = write!(text, "{value}");
        }
    }
}
