//! Kubernetes Secrets, one file each, and the Helm values that name them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::artifact::environment::{Variables, migrator_variables, service_variables};
use crate::artifact::escape::label_value;
use crate::artifact::naming::{application_names, helm_key, migrator_secret_name, secret_name};
use crate::artifact::yaml::Yaml;
use crate::artifact::{Artifact, Endpoint, active, header, writable};
use crate::credential::{Credential, Credentials};
use crate::secret::Secret;
use crate::spec::{Access, Service, Spec};

/// The path of a Secret's file.
pub(crate) fn path(secret: &str) -> String {
    format!("k8s-secrets/{secret}.yaml")
}

pub(crate) fn artifacts(spec: &Spec, endpoint: &Endpoint, credentials: &Credentials) -> Vec<Artifact> {
    let mut artifacts = vec![helm_values(spec)];
    for service in spec.services.values() {
        let name = secret_name(&service.name);
        let document = active(service, credentials).map(|login| {
            let mut data = service_variables(service, endpoint, login);
            data.extend(binding(service, endpoint, login));
            manifest(spec, service, &name, &data)
        });
        artifacts.push(Artifact::secret(path(&name), document));
        if service.access == Access::Split {
            let name = migrator_secret_name(&service.name);
            let login = credentials.services.get(&service.name).and_then(|logins| logins.migrator.as_ref());
            let document = writable(login).map(|login| {
                let mut data = migrator_variables(service, endpoint, login);
                data.extend(binding(service, endpoint, login));
                manifest(spec, service, &name, &data)
            });
            artifacts.push(Artifact::secret(path(&name), document));
        }
    }
    artifacts
}

/// The keys that charts with an `existingSecret` look for (servicebinding.io's names).
fn binding(service: &Service, endpoint: &Endpoint, login: &Credential) -> Variables {
    vec![
        ("host", Secret::new(&endpoint.host)),
        ("port", Secret::new(endpoint.port.to_string())),
        ("database", Secret::new(service.database.as_str())),
        ("username", Secret::new(login.role.as_str())),
        ("password", login.secret.clone()),
    ]
}

/// One v1 Secret. `data`, not `stringData`: only with `data` does `kubectl apply` take a key away again that left the file.
fn manifest(spec: &Spec, service: &Service, name: &str, data: &Variables) -> String {
    let metadata = Yaml::map([
        ("name", Yaml::text(name)),
        ("namespace", Yaml::text(&spec.settings.kubernetes_namespace)),
        ("labels", Yaml::map(labels(spec, service).into_iter().map(|(key, value)| (key, Yaml::text(value))))),
    ]);
    let data = Yaml::map(data.iter().map(|(key, value)| (*key, Yaml::text(BASE64.encode(value.expose())))));
    let document = Yaml::map([
        ("apiVersion", Yaml::text("v1")),
        ("kind", Yaml::text("Secret")),
        ("metadata", metadata),
        ("type", Yaml::text("Opaque")),
        ("data", data),
    ]);
    header(spec, "#") + &document.render()
}

/// The spec's tags as far as Kubernetes takes them, and the labels that its tools know.
fn labels(spec: &Spec, service: &Service) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for (key, value) in &spec.settings.tags {
        // A label's name obeys the same rule as its value, and cannot be empty.
        let key = label_value(key);
        if !key.is_empty() {
            labels.entry(key).or_insert_with(|| label_value(value));
        }
    }
    let own = [
        ("app.kubernetes.io/component", "database"),
        ("app.kubernetes.io/instance", service.name.as_str()),
        ("app.kubernetes.io/managed-by", "pgisle"),
        ("app.kubernetes.io/part-of", &spec.settings.name_prefix),
        ("environment", spec.settings.environment.as_str()),
    ];
    labels.extend(own.map(|(key, value)| (key.to_owned(), label_value(value))));
    labels
}

fn helm_values(spec: &Spec) -> Artifact {
    let applications = application_names(spec);
    let values = applications.iter().map(|(service, application)| {
        let database = Yaml::map([("existingSecret", Yaml::text(secret_name(service)))]);
        (helm_key(application), Yaml::map([("database", database)]))
    });
    Artifact::open("helm/values.yaml", header(spec, "#") + &Yaml::map(values).render())
}
