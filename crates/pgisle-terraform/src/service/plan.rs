//! What a change of a service comes to.

use std::time::Duration;

use pgisle_core::diagnostic::{Diagnostic, Severity, any_error as any_diagnostic_error};

use super::state::{self, flag, word};
use pgisle_core::spec::Service;

use crate::blocks;
use crate::finding::{any_error, general};
use crate::provider::{Change, Finding, Planned};
use crate::site::{self, Site};
use crate::translate::{Attributes, ProviderBlock, is_known, service};
use crate::value::{Path, Step, Value};

/// How long other runs are waited for when nobody says.
pub(super) const TIMEOUT: Duration = Duration::from_secs(600);

/// `deletion_policy` that keeps the data.
const RETIRE: &str = "retire";

/// `deletion_policy` that does not.
pub(super) const DESTROY: &str = "destroy";

/// Attributes whose values follow from the name, the database or settings.
const DERIVED: &[&str] = &["database", "user", "owner", "migrator", "connection_limit", "database_connection_limit", "pool_size"];

/// Looks at a service's block under the provider's, as far as both are known.
pub(crate) fn validate(provider: Option<&ProviderBlock>, config: &Attributes) -> Vec<Finding> {
    let mut findings = match service(provider, config) {
        Ok(_) => Vec::new(),
        Err(findings) => findings,
    };
    findings.extend(validate_own(config));
    findings
}

/// What core knows nothing of.
fn validate_own(config: &Attributes) -> Vec<Finding> {
    let mut findings = Vec::new();
    let is_given = |name: &str| !matches!(config.get(name), None | Some(Value::Null));
    if let Some(policy) = word(config, "deletion_policy")
        && ![RETIRE, DESTROY].contains(&policy.as_str())
    {
        let detail = format!("It is {RETIRE:?}, which keeps the data, or {DESTROY:?}.");
        findings.push(Finding::error(Path::attribute("deletion_policy"), format!("deletion_policy cannot be {policy:?}"), detail));
    }
    if is_given("password") && is_given("password_wo") {
        let detail = "One of them would be ignored. password_wo keeps it out of the state.";
        findings.push(Finding::error(Path::attribute("password"), "password and password_wo are both given", detail));
    }
    for (one, other) in [("password_wo", "password_wo_version"), ("password_wo_version", "password_wo")] {
        // Without a version nobody would notice that the password is another.
        if is_given(one) && !is_given(other) {
            findings.push(Finding::error(Path::attribute(one), format!("{one} goes with {other}"), "Give both."));
        }
    }
    if let Some(Value::Map(timeouts)) = config.get("timeouts") {
        for name in ["create", "update", "delete"] {
            if let Some(Err(error)) = word(timeouts, name).map(|text| pgisle_core::duration::parse(&text)) {
                let path = Path::attribute("timeouts").then(Step::Attribute(name.to_owned()));
                findings.push(Finding::error(
                    path,
                    format!("the timeout of {name} is no duration"),
                    format!("A duration: {error}."),
                ));
            }
        }
    }
    findings
}

/// How long other runs may be waited for.
pub(super) fn timeout(values: &Attributes, event: &str) -> Duration {
    let timeouts = match values.get("timeouts") {
        Some(Value::Map(timeouts)) => timeouts,
        _ => return TIMEOUT,
    };
    word(timeouts, event).and_then(|text| pgisle_core::duration::parse(&text).ok()).unwrap_or(TIMEOUT)
}

/// Whether a change asks for another login.
pub(super) fn rotates(prior: &Attributes, planned: &Attributes) -> bool {
    let (before, after) = (prior.get("rotation"), planned.get("rotation"));
    before != after && !matches!(after, None | Some(Value::Null))
}

/// Whether a change shuts the previous login out.
pub(super) fn finishes(prior: &Attributes, planned: &Attributes) -> bool {
    flag(planned, "finish_rotation") == Some(true) && word(prior, "previous_login").is_some()
}

/// Whether a change gives an attribute another value.
fn is_changed(prior: &Attributes, planned: &Attributes, name: &str) -> bool {
    !matches!(planned.get(name), None | Some(Value::Null)) && prior.get(name) != planned.get(name)
}

/// Says what a change comes to.
pub(crate) async fn plan(site: Option<&Site>, provider: Option<&ProviderBlock>, change: Change) -> Planned {
    let Change { prior, planned: proposed, config, private, .. } = change;
    let (Value::Map(config), Value::Map(_)) = (&config, &proposed) else {
        return Planned { state: proposed, requires_replace: Vec::new(), private, findings: Vec::new() };
    };
    let before = if let Value::Map(prior) = &prior { Some(prior) } else { None };
    let (state, mut findings) = match service(provider, config) {
        Ok(service) => {
            let state = planned_state(provider, before, config, &service);
            let mut findings = before.map(|before| moved(before, &state)).unwrap_or_default();
            if !any_error(&findings)
                && let Some(site) = site
                && config.values().all(is_known)
            {
                findings.extend(Box::pin(foreseen(site, service, flag(config, "adopt") == Some(true), before.is_some())).await);
            }
            (Value::Map(state), findings)
        }
        Err(findings) => (proposed, findings),
    };
    findings.extend(validate_own(config));
    Planned { state, requires_replace: Vec::new(), private, findings }
}

/// What stands in the way of an apply, as far as it can be seen now. The apply itself refuses; here it is told while nothing is done.
async fn foreseen(site: &Site, service: Service, adopt: bool, was_read: bool) -> Vec<Finding> {
    if site.is_changing() {
        // In an apply Terraform plans each resource again when it comes to it, and each change would have the cluster looked at anew.
        return Vec::new();
    }
    let seen = async {
        let inventory = site.inventory().await?;
        let credentials = site.credentials()?;
        let taken = site.of_another(&service, &inventory);
        Ok::<_, Diagnostic>((taken, site.plan_service(service, adopt, &inventory, &credentials)))
    };
    match seen.await {
        Ok((Some(taken), _)) => vec![taken],
        Ok((None, planned)) if any_diagnostic_error(&planned.diagnostics) => general(&planned.diagnostics),
        Ok((None, planned)) => general(&site::blocked(&planned, Severity::Warning)),
        // Where there was something to read, reading it has told that already.
        Err(_) if was_read => Vec::new(),
        Err(diagnostic) => general(&[diagnostic]),
    }
}

/// A service or database under another name is another island, and the old one would be given up.
fn moved(prior: &Attributes, planned: &Attributes) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in ["name", "database"] {
        if let (Some(before), Some(after)) = (word(prior, name), word(planned, name))
            && before != after
        {
            let detail = "The island with its data would be left behind, and an empty one made. Nothing was changed. To begin anew, \
                          remove this resource, which retires the island, and add one of another name. To keep the data, keep the \
                          name; `database` can name a database that has another name than the service.";
            let summary = format!("{name} cannot be changed from {before:?} to {after:?}");
            findings.push(Finding::error(Path::attribute(name), summary, detail));
        }
    }
    findings
}

fn planned_state(
    provider: Option<&ProviderBlock>,
    prior: Option<&Attributes>,
    config: &Attributes,
    service: &Service,
) -> Attributes {
    let mut state = config.clone();
    let settings_known = provider.is_some_and(|provider| !provider.has_unknown);
    let is_given = |name: &str| !matches!(config.get(name), None | Some(Value::Null));
    let name_known = config.get("name").is_some_and(is_known) && config.get("database").is_none_or(is_known);
    for (name, value) in state::resolved(provider, service, state::is_write_only(config)) {
        if is_given(&name) {
            continue;
        }
        let is_certain = settings_known && name_known;
        state.insert(name.clone(), if is_certain || !DERIVED.contains(&name.as_str()) { value } else { Value::Unknown });
    }
    if !settings_known || !blocks::service_settings().all(|info| config.get(info.name).is_none_or(is_known)) {
        state.insert("definition".to_owned(), Value::Unknown);
    }
    if !config.get("name").is_some_and(is_known) {
        state.insert("id".to_owned(), Value::Unknown);
    }
    state.insert("password_wo".to_owned(), Value::Null);
    if !is_given("deletion_policy") {
        state.insert("deletion_policy".to_owned(), Value::String(RETIRE.to_owned()));
    }
    state.insert("drift".to_owned(), Value::List(Vec::new()));
    match provider.filter(|_| settings_known) {
        Some(provider) => state::put_address(&mut state, &provider.settings),
        None => state.extend(["host", "port", "sslmode"].map(|name| (name.to_owned(), Value::Unknown))),
    }
    plan_logins(&mut state, provider.filter(|_| settings_known), prior, config, service);
    state
}

/// What is known of the logins before they are made.
fn plan_logins(
    state: &mut Attributes,
    provider: Option<&ProviderBlock>,
    prior: Option<&Attributes>,
    config: &Attributes,
    service: &Service,
) {
    let hide = state::is_write_only(config);
    let rotates = prior.is_some_and(|prior| rotates(prior, state));
    let renamed = prior.is_none_or(|prior| prior.get("user") != state.get("user"));
    let kept = |name: &str| match prior.and_then(|prior| prior.get(name)) {
        Some(value) if !rotates && !renamed && *value != Value::Null => value.clone(),
        _ => Value::Unknown,
    };
    let login = kept("login");
    let password = match config.get("password") {
        _ if hide => Value::Null,
        None | Some(Value::Null) => kept("password"),
        Some(given) => given.clone(),
    };
    let previous = match prior {
        Some(prior) if finishes(prior, state) && !rotates => Value::Null,
        Some(prior) if !rotates && !renamed => prior.get("previous_login").cloned().unwrap_or(Value::Null),
        _ => Value::Unknown,
    };
    let is_other = ["password", "password_wo_version"].iter().any(|name| prior.is_some_and(|prior| is_changed(prior, state, name)));
    let is_other = is_other || prior.is_some_and(|prior| finishes(prior, state));
    let credential = if is_other { Value::Unknown } else { kept("credential") };
    let url = match (provider, &login, &password) {
        _ if hide => Value::Null,
        (Some(provider), Value::String(login), Value::String(password)) => {
            state::url(&provider.settings, service, login, &pgisle_core::secret::Secret::new(password.clone()))
        }
        _ => Value::Unknown,
    };
    for (name, value) in
        [("login", login), ("password", password), ("credential", credential), ("previous_login", previous), ("database_url", url)]
    {
        state.insert(name.to_owned(), value);
    }
}
