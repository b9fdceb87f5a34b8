//! The resource `pgisle_monitoring_user`.

use pgisle_core::credential::{Credential, Credentials, Verifier};
use pgisle_core::diagnostic::Diagnostic;
use pgisle_core::name::RoleName;
use pgisle_core::plan::{PlanOptions, Planned as CorePlanned, Target, plan as decide};
use pgisle_core::secret::Secret;

use crate::finding::{any_error, general};
use crate::provider::{Change, Finding, Planned, Stated};
use crate::queue::{Job, Queue};
use crate::service::{put_address, text_value, word};
use crate::site::{Site, StatedLogin, differences};
use crate::translate::{Attributes, ProviderBlock};
use crate::value::Value;

/// How long other runs are waited for.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(600);

/// Says what is known before it is made.
pub(crate) fn plan(provider: Option<&ProviderBlock>, change: Change) -> Planned {
    let Change { prior, planned, private, .. } = change;
    let nothing = Vec::new();
    let Value::Map(mut values) = planned else {
        return Planned { state: planned, requires_replace: nothing, private, findings: Vec::new() };
    };
    let provider = provider.filter(|provider| !provider.has_unknown);
    let mut findings = Vec::new();
    match provider {
        Some(provider) if !provider.settings.create_monitoring_user => {
            let detail = "The provider's block says create_monitoring_user = false. Remove the resource, or the line.";
            findings.push(Finding::general("the provider is not to have a monitoring login", detail));
        }
        Some(provider) => put_known(&mut values, provider),
        None => values.extend(values.keys().cloned().map(|name| (name, Value::Unknown)).collect::<Vec<_>>()),
    }
    let password = match prior {
        Value::Map(prior) => prior.get("password").filter(|password| **password != Value::Null).cloned(),
        _ => None,
    };
    values.insert("password".to_owned(), password.unwrap_or(Value::Unknown));
    values.insert("drift".to_owned(), Value::List(Vec::new()));
    Planned { state: Value::Map(values), requires_replace: nothing, private, findings }
}

/// What follows from the settings.
fn put_known(values: &mut Attributes, provider: &ProviderBlock) {
    let settings = &provider.settings;
    let name = settings.monitoring_user();
    values.insert("id".to_owned(), text_value(&name));
    values.insert("name".to_owned(), text_value(&name));
    values.insert("database".to_owned(), text_value(&settings.maintenance_database));
    values.insert("connection_limit".to_owned(), Value::Number(f64::from(settings.monitoring_connection_limit.0)));
    put_address(values, settings);
}

/// Looks it up.
pub(crate) async fn read(site: &Site, mut values: Attributes, private: Vec<u8>) -> Stated {
    match Box::pin(look_up(site, &mut values, &private)).await {
        Ok(true) => Stated { private, state: Value::Map(values), findings: Vec::new() },
        Ok(false) => Stated { state: Value::Null, private: Vec::new(), findings: Vec::new() },
        Err(diagnostic) => Stated { state: Value::Map(values), private, findings: general(&[diagnostic]) },
    }
}

async fn look_up(site: &Site, values: &mut Attributes, private: &[u8]) -> Result<bool, Diagnostic> {
    let inventory = site.inventory().await?;
    if !inventory.roles.contains_key(&site.settings().monitoring_user()) {
        return Ok(false);
    }
    let mut credentials = site.credentials()?;
    if credentials.monitoring.is_none()
        && let Some(login) = stated(values, private)
    {
        site.restore_others(Some(login), None, &inventory)?;
        credentials = site.credentials()?;
    }
    let planned = planned(site, &inventory, &credentials);
    let drift = differences(&planned, true).into_iter().map(Value::String).collect();
    put(values, site, credentials.monitoring.as_ref());
    values.insert("drift".to_owned(), Value::List(drift));
    Ok(true)
}

fn planned(site: &Site, inventory: &pgisle_core::inventory::Inventory, credentials: &Credentials) -> CorePlanned {
    let nobody = std::collections::BTreeSet::new();
    let targets = [Target::Monitoring];
    let options = PlanOptions { credentials, targets: &targets, adopt: &nobody, end_sessions: false, budget: None };
    decide(&site.spec([]), inventory, &options)
}

fn stated(values: &Attributes, private: &[u8]) -> Option<StatedLogin> {
    let role = RoleName::new(word(values, "name")?).ok()?;
    let secret = Secret::new(word(values, "password")?);
    let kept: Option<serde_json::Value> = serde_json::from_slice(private).ok();
    let verifier = kept.as_ref().and_then(|kept| kept.get("verifier")?.as_str()).and_then(Verifier::parse);
    Some(StatedLogin { role, secret, verifier })
}

fn put(values: &mut Attributes, site: &Site, login: Option<&Credential>) {
    put_known(values, &site.block);
    if let Some(login) = login {
        values.insert("password".to_owned(), text_value(login.secret.expose()));
    }
}

fn private(login: Option<&Credential>) -> Vec<u8> {
    let kept = login.map(|login| serde_json::json!({"v": 1, "verifier": login.verifier.expose()}).to_string());
    kept.unwrap_or_default().into_bytes()
}

/// Makes it or drops it.
pub(crate) async fn apply(site: &Site, queue: &Queue, change: Change) -> Stated {
    let Change { prior, planned, private: before, .. } = change;
    let job = if planned == Value::Null { Job::DestroyMonitoring } else { Job::MakeMonitoring };
    let outcome = queue.submit(job, TIMEOUT).await;
    let findings = outcome.findings;
    if any_error(&findings) {
        return Stated { state: prior, private: before, findings };
    }
    let Value::Map(mut values) = planned else {
        return Stated { state: Value::Null, private: Vec::new(), findings };
    };
    let login = outcome.credentials.monitoring.as_ref();
    put(&mut values, site, login);
    Stated { state: Value::Map(values), private: private(login), findings }
}

/// Takes the login that is there into the state.
pub(crate) fn import(site: &Site, id: &str, mut values: Attributes) -> Stated {
    let name = site.settings().monitoring_user();
    if id != name.as_str() {
        let detail = format!("With these settings it is {name}.");
        let findings = vec![Finding::general(format!("there is no monitoring login \"{id}\" to import"), detail)];
        return Stated { state: Value::Null, private: Vec::new(), findings };
    }
    let credentials = site.credentials().unwrap_or_default();
    put(&mut values, site, credentials.monitoring.as_ref());
    values.insert("drift".to_owned(), Value::List(Vec::new()));
    Stated { state: Value::Map(values), private: private(credentials.monitoring.as_ref()), findings: Vec::new() }
}
