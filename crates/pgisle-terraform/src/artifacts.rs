//! The resource `pgisle_artifacts`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path as FilePath;

use pgisle_core::artifact::{Artifact, Endpoint, Pooler, digest, generate, problems};
use pgisle_core::credential::{Credential, Credentials, Verifier};
use pgisle_core::diagnostic::Diagnostic;
use pgisle_core::name::{DatabaseName, RoleName, ServiceName};
use pgisle_core::output::{Output, outputs};
use pgisle_core::secret::Secret;
use pgisle_core::spec::Spec;
use pgisle_engine::artifact::{Change as FileChange, ChangeKind, WriteOptions, diagnostics, write};
use pgisle_engine::split;

use crate::finding::{any_error, general};
use crate::provider::{Change, Finding, Planned, Stated};
use crate::service::{flag, text_value, word};
use crate::site::{Site, StatedLogin};
use crate::translate::{Attributes, ProviderBlock, is_known, of_definition};
use crate::value::{Path, Step, Value};

/// Attributes that are made, apart from the files.
const MADE: &[&str] = &["env_files", "kubernetes_secrets", "docker_compose_env", "backup_recommendations"];

/// Those that follow from the logins, which may become others until they are made.
const OF_LOGINS: &[&str] = &["files", "docker_compose_env"];

/// A set of services.
#[derive(Debug)]
pub(crate) struct Services {
    /// With the provider's settings.
    pub(crate) spec: Spec,
    /// Those whose passwords must not get into the state.
    hidden: BTreeSet<ServiceName>,
}

/// The services of an attribute `services`.
pub(crate) fn services(provider: &ProviderBlock, values: &Attributes) -> Result<Services, Vec<Finding>> {
    let Some(Value::List(items)) = values.get("services") else {
        return Err(vec![Finding::error(Path::attribute("services"), "services is no list", "")]);
    };
    let mut spec = Spec { settings: provider.settings.clone(), services: BTreeMap::new() };
    let (mut findings, mut hidden) = (Vec::new(), BTreeSet::new());
    for (index, item) in (0..).zip(items) {
        let path = Path::attribute("services").then(Step::Index(index));
        let Value::String(text) = item else {
            findings.push(Finding::error(path, "this is not the definition of a service", "It is null."));
            continue;
        };
        match of_definition(provider, text) {
            Ok((service, _)) if spec.services.contains_key(&service.name) => {
                let summary = format!("service \"{}\" is there twice", service.name);
                findings.push(Finding::error(path, summary, "Each service stands in the list once."));
            }
            Ok((service, is_hidden)) => {
                hidden.extend(is_hidden.then(|| service.name.clone()));
                spec.services.insert(service.name.clone(), service);
            }
            Err(diagnostic) => findings.push(Finding::of(&diagnostic, Some(path))),
        }
    }
    if findings.is_empty() { Ok(Services { spec, hidden }) } else { Err(findings) }
}

/// Says what the files will be, as far as that is known.
pub(crate) async fn plan(site: Option<&Site>, provider: Option<&ProviderBlock>, change: Change) -> Planned {
    let Change { prior, planned, config, private, .. } = change;
    let (Value::Map(mut values), Value::Map(config)) = (planned.clone(), config) else {
        return Planned { state: planned, requires_replace: Vec::new(), private, findings: Vec::new() };
    };
    let provider = provider.filter(|provider| !provider.has_unknown);
    let folder = match (config.get("folder"), provider) {
        (None | Some(Value::Null), Some(provider)) => text_value(format!("generated/{}", provider.settings.environment)),
        (None | Some(Value::Null), None) => Value::Unknown,
        (Some(given), _) => given.clone(),
    };
    values.insert("id".to_owned(), folder.clone());
    values.insert("folder".to_owned(), folder);
    let unknown = ["files"].iter().chain(MADE).map(|name| ((*name).to_owned(), Value::Unknown));
    values.extend(unknown.collect::<Vec<_>>());
    let mut findings = Vec::new();
    let is_certain = |name: &str| config.get(name).is_none_or(is_known);
    if let (Some(site), true) = (site, ["services", "folder"].into_iter().all(is_certain)) {
        match Box::pin(foreseen(site, &values)).await {
            Ok(Foreseen { values: foreseen, is_whole }) => {
                let is_told = !matches!(config.get("credentials"), None | Some(Value::Null));
                let logins = if !is_whole || !is_certain("credentials") {
                    Logins::Becoming
                } else if is_told {
                    Logins::Certain
                } else {
                    Logins::Untold
                };
                values.extend(foreseen.into_iter().map(|(name, value)| {
                    let planned = planned_value(&name, value, &prior, logins);
                    (name, planned)
                }));
            }
            Err(mut found) => findings.append(&mut found),
        }
    }
    Planned { state: Value::Map(values), requires_replace: Vec::new(), private, findings }
}

/// What the configuration says of the logins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Logins {
    /// They stay what they are.
    Certain,
    /// One becomes another, in this apply.
    Becoming,
    /// Nothing: one may become another.
    Untold,
}

/// What may be promised of an attribute. An apply must keep what was planned, to the byte.
fn planned_value(name: &str, foreseen: Value, prior: &Value, logins: Logins) -> Value {
    if !OF_LOGINS.contains(&name) {
        return foreseen;
    }
    let before = if let Value::Map(prior) = prior { prior.get(name) } else { None };
    match logins {
        Logins::Certain => foreseen,
        Logins::Untold if before == Some(&foreseen) => foreseen,
        Logins::Untold | Logins::Becoming => Value::Unknown,
    }
}

/// The made attributes as they would be with the logins of now.
struct Foreseen {
    values: Attributes,
    /// Whether every login is there.
    is_whole: bool,
}

async fn foreseen(site: &Site, values: &Attributes) -> Result<Foreseen, Vec<Finding>> {
    let services = services(&site.block, values)?;
    let credentials = site.credentials().map_err(|diagnostic| general(&[diagnostic]))?;
    let homes = homes(site, &services.spec).await?;
    let artifacts = generate(&services.spec, &endpoint(site, homes), &credentials);
    let folder = word(values, "folder").unwrap_or_default();
    let is_whole = artifacts.iter().all(|artifact| artifact.content.is_some());
    Ok(Foreseen { values: made(site, &services, &credentials, &artifacts, &folder), is_whole })
}

/// Where services are still at home that are being split out of the shared database: PgBouncer's alias leads there.
async fn homes(site: &Site, spec: &Spec) -> Result<BTreeMap<ServiceName, DatabaseName>, Vec<Finding>> {
    let settings = site.settings();
    // What claims no table was never split out of anything.
    if !settings.enable_pgbouncer || spec.services.values().all(|service| service.tables.is_empty()) {
        return Ok(BTreeMap::new());
    }
    split::homes(&site.connect, &settings.postgres_database).await.map_err(|error| general(&[error.diagnostic()]))
}

fn endpoint(site: &Site, homes: BTreeMap<ServiceName, DatabaseName>) -> Endpoint {
    let endpoint = Endpoint::of(site.settings());
    Endpoint { pooler: endpoint.pooler.map(|pooler| Pooler { homes, ..pooler }), ..endpoint }
}

fn made(site: &Site, services: &Services, credentials: &Credentials, artifacts: &[Artifact], folder: &str) -> Attributes {
    let files = artifacts.iter().map(|artifact| {
        let content = artifact.content.as_ref().map_or("", |content| content.expose());
        (artifact.path.clone(), text_value(digest(content.as_bytes())))
    });
    let mut values = Attributes::from([("files".to_owned(), Value::Map(files.collect()))]);
    let endpoint = endpoint(site, BTreeMap::new());
    let all = outputs(&services.spec, &endpoint, credentials, None, artifacts, folder);
    let mut shown = services.spec.clone();
    shown.services.retain(|name, _| !services.hidden.contains(name));
    let of_shown = outputs(&shown, &endpoint, credentials, None, artifacts, folder);
    for name in MADE {
        let outputs = if OF_LOGINS.contains(name) { &of_shown } else { &all };
        let value = match outputs.get(name) {
            Some(Output::Open(value)) => of_json(value),
            Some(Output::Sensitive(sealed)) => of_json(sealed.expose()),
            None => Value::Null,
        };
        values.insert((*name).to_owned(), value);
    }
    values
}

fn of_json(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => number.as_f64().map_or(Value::Null, Value::Number),
        serde_json::Value::String(text) => Value::String(text.clone()),
        serde_json::Value::Array(items) => Value::List(items.iter().map(of_json).collect()),
        serde_json::Value::Object(items) => Value::Map(items.iter().map(|(key, value)| (key.clone(), of_json(value))).collect()),
    }
}

/// Looks at the files: what differs from what was written makes a difference in `files`.
pub(crate) async fn read(site: &Site, mut values: Attributes, private: Vec<u8>) -> Stated {
    let Some(folder) = word(&values, "folder") else {
        return Stated { state: Value::Map(values), private, findings: Vec::new() };
    };
    let findings = match Box::pin(restore(site, &private)).await {
        Ok(()) => Vec::new(),
        Err(diagnostic) => general(&[diagnostic]),
    };
    let folder = site.path(&folder);
    if let Some(Value::Map(files)) = values.get("files") {
        let found: BTreeMap<String, Value> = files
            .keys()
            .filter_map(|path| {
                let bytes = std::fs::read(folder.join(path)).ok()?;
                Some((path.clone(), text_value(digest(&bytes))))
            })
            .collect();
        if found.is_empty() && !files.is_empty() {
            return Stated { state: Value::Null, private: Vec::new(), findings: Vec::new() };
        }
        values.insert("files".to_owned(), Value::Map(found));
    }
    Stated { state: Value::Map(values), private, findings }
}

/// The logins that files hold and that may be in the state of no other resource: PgBouncer's own, and the one for monitoring. A machine
/// without the store makes the same files with them. Where any service keeps its password out of the state, so do these.
fn private(services: &Services, credentials: &Credentials) -> Vec<u8> {
    if !services.hidden.is_empty() {
        return Vec::new();
    }
    let kept = |login: &Option<Credential>| {
        login.as_ref().map(|login| {
            serde_json::json!({
                "login": login.role, "password": login.secret.expose(), "verifier": login.verifier.expose(),
            })
        })
    };
    serde_json::json!({"v": 1, "pgbouncer": kept(&credentials.pgbouncer), "monitoring": kept(&credentials.monitoring)})
        .to_string()
        .into_bytes()
}

/// Gives the store what it has no more.
async fn restore(site: &Site, private: &[u8]) -> Result<(), Diagnostic> {
    let Ok(kept) = serde_json::from_slice::<serde_json::Value>(private) else { return Ok(()) };
    let stated = |name: &str| {
        let field = |field: &str| kept[name][field].as_str();
        let role = RoleName::new(field("login")?).ok()?;
        Some(StatedLogin { role, secret: Secret::new(field("password")?), verifier: field("verifier").and_then(Verifier::parse) })
    };
    let credentials = site.credentials()?;
    let monitoring = stated("monitoring").filter(|_| credentials.monitoring.is_none());
    let pgbouncer = stated("pgbouncer").filter(|_| credentials.pgbouncer.is_none());
    if monitoring.is_some() || pgbouncer.is_some() {
        site.restore_others(monitoring, pgbouncer, &*site.inventory().await?)?;
    }
    Ok(())
}

/// Writes the files, or removes those that are as they were written.
pub(crate) async fn apply(site: &Site, change: Change) -> Stated {
    let Change { prior, planned, private, .. } = change;
    let result = match &planned {
        Value::Map(values) => Box::pin(write_all(site, values)).await,
        _ => remove_all(site, &prior),
    };
    match result {
        Ok((state, private, findings)) => Stated { state, private, findings },
        Err(findings) => Stated { state: prior, private, findings },
    }
}

/// The state, what is kept beside it, and what is to be said.
type Written = Result<(Value, Vec<u8>, Vec<Finding>), Vec<Finding>>;

async fn write_all(site: &Site, values: &Attributes) -> Written {
    let told = |diagnostic: Diagnostic| general(&[diagnostic]);
    let services = services(&site.block, values)?;
    let spec = &services.spec;
    let credentials = site.with_console_login().map_err(told)?;
    let refused = general(&problems(spec, &credentials));
    if any_error(&refused) {
        return Err(refused);
    }
    let artifacts = generate(spec, &endpoint(site, homes(site, spec).await?), &credentials);
    let name = word(values, "folder").unwrap_or_default();
    let folder = site.path(&name);
    let options = WriteOptions { overwrite: flag(values, "overwrite") == Some(true) };
    let changes = write(&folder, &artifacts, options).map_err(|error| told(error.diagnostic()))?;
    let mut state = values.clone();
    state.extend(made(site, &services, &credentials, &artifacts, &name));
    Ok((Value::Map(state), private(&services, &credentials), told_of_edits(&folder, &changes)))
}

/// Files that were edited by hand, which Terraform's user lets be overwritten by an attribute.
fn told_of_edits(folder: &FilePath, changes: &[FileChange]) -> Vec<Finding> {
    let of_terraform = |diagnostic: Diagnostic| Diagnostic {
        hint: Some("Move the change elsewhere and delete the file, or set overwrite = true.".to_owned()),
        ..diagnostic
    };
    general(&diagnostics(folder, changes).into_iter().map(of_terraform).collect::<Vec<_>>())
}

fn remove_all(site: &Site, prior: &Value) -> Written {
    let nothing = (Value::Null, Vec::new(), Vec::new());
    let Value::Map(values) = prior else { return Ok(nothing) };
    let Some(folder) = word(values, "folder") else { return Ok(nothing) };
    let folder = site.path(&folder);
    let changes = write(&folder, &[], WriteOptions { overwrite: false }).map_err(|error| general(&[error.diagnostic()]))?;
    let kept: Vec<FileChange> = changes.into_iter().filter(|change| change.kind == ChangeKind::Kept).collect();
    Ok((Value::Null, Vec::new(), told_of_edits(&folder, &kept)))
}
