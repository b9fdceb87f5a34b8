//! The resource `pgisle_service`.
//!
//! What is planned follows from the configuration alone, by core's own reading of it; what differs on the server comes in by the
//! attribute `drift`, which reading fills and planning empties. So Terraform shows what was changed behind its back in the words of
//! `pgisle plan`, and an apply mends it.

mod import;
mod plan;
mod state;

use std::collections::BTreeSet;
use std::time::Duration;

use pgisle_core::credential::Credentials;
use pgisle_core::diagnostic::{Code, Diagnostic, any_error as any_diagnostic_error};
use pgisle_core::name::ServiceName;
use pgisle_core::secret::Secret;
use pgisle_core::spec::{Service, Spec, SpecSecrets};
use pgisle_engine::apply::{Intent, Request};
use pgisle_engine::rotate;

use crate::finding::{any_error, general};
use crate::provider::{Change, Finding, Stated};
use crate::queue::{Job, Outcome, Queue};
use crate::site::{PARALLELISM, Site, differences};
use crate::translate::{Attributes, service};
use crate::value::{Path, Value};

pub(crate) use import::import;
pub(crate) use plan::{plan, validate};
use state::{Logins, whole};
pub(crate) use state::{flag, put_address, stated_login, text_value, word};

/// How long a rotation's last sessions are waited for: not at all, for Terraform is run again easily.
const NO_WAIT: Duration = Duration::ZERO;

/// Looks a service up: what differs, and the logins as they are now.
pub(crate) async fn read(site: &Site, mut values: Attributes, private: Vec<u8>) -> Stated {
    match Box::pin(look_up(site, &mut values, &private)).await {
        Ok(Found::Nothing) => Stated { state: Value::Null, private: Vec::new(), findings: Vec::new() },
        Ok(Found::There { private, findings }) => Stated { state: Value::Map(values), private, findings },
        Err(findings) => Stated { state: Value::Map(values), private, findings },
    }
}

enum Found {
    Nothing,
    There { private: Vec<u8>, findings: Vec<Finding> },
}

async fn look_up(site: &Site, values: &mut Attributes, private: &[u8]) -> Result<Found, Vec<Finding>> {
    let service = service(Some(&site.block), values)?;
    let told = |diagnostic: Diagnostic| general(&[diagnostic]);
    let inventory = site.inventory().await.map_err(told)?;
    if !inventory.databases.contains_key(&service.database) {
        return Ok(Found::Nothing);
    }
    let mut credentials = site.credentials().map_err(told)?;
    if !credentials.services.contains_key(&service.name)
        && let Some(login) = stated_login(values, private)
    {
        site.restore(&service, login, &inventory).map_err(told)?;
        credentials = site.credentials().map_err(told)?;
    }
    let planned = site.plan_service(service.clone(), false, &inventory, &credentials);
    let findings = general(&planned.diagnostics);
    if any_error(&findings) {
        return Err(findings);
    }
    let drift = differences(&planned, flag(values, "allow_incomplete") != Some(true));
    values.insert("drift".to_owned(), Value::List(drift.into_iter().map(Value::String).collect()));
    let logins = credentials.services.get(&service.name);
    state::put_logins(values, site.settings(), &service, Logins { known: logins, hide: state::is_write_only(values) });
    Ok(Found::There { private: state::private(values, logins), findings })
}

/// Makes, changes or removes a service.
pub(crate) async fn apply(site: &Site, queue: &Queue, change: Change) -> Stated {
    let Change { prior, planned, config, private, .. } = change;
    match (prior, planned, config) {
        (Value::Map(prior), Value::Null, _) => remove(queue, prior, private).await,
        (prior, Value::Map(planned), Value::Map(config)) => {
            let before = if let Value::Map(prior) = &prior { Some(prior) } else { None };
            match Box::pin(bring(site, queue, before, planned, &config)).await {
                Ok(stated) => stated,
                // What was made is there and marked, and the next apply takes it up. In the state it would be tainted, and replaced.
                Err(findings) => Stated { state: prior, private, findings },
            }
        }
        (prior, ..) => Stated { state: prior, private, findings: Vec::new() },
    }
}

async fn bring(
    site: &Site,
    queue: &Queue,
    prior: Option<&Attributes>,
    planned: Attributes,
    config: &Attributes,
) -> Result<Stated, Vec<Finding>> {
    // A planned password may be one that was made before; the configuration alone says which is given.
    let service = service(Some(&site.block), &planned)?;
    let job = Job::Make {
        service: Box::new(service.clone()),
        is_new: prior.is_none(),
        password: given_password(config),
        adopt: flag(config, "adopt") == Some(true),
        allow_incomplete: flag(config, "allow_incomplete") == Some(true),
    };
    let event = if prior.is_some() { "update" } else { "create" };
    let Outcome { findings, mut credentials } = queue.submit(job, plan::timeout(&planned, event)).await;
    if any_error(&findings) {
        return Err(findings);
    }
    if let Some(prior) = prior {
        if plan::rotates(prior, &planned) {
            credentials = Box::pin(rotate_login(site, &service, config)).await?;
        } else if plan::finishes(prior, &planned) {
            credentials = Box::pin(finish_rotation(site, &service)).await?;
        }
        site.forget().await;
    }
    let mut values = planned;
    let logins = credentials.services.get(&service.name);
    let hide = state::is_write_only(&values);
    state::put_resolved(&mut values, &site.block, &service);
    state::put_logins(&mut values, site.settings(), &service, Logins { known: logins, hide });
    let private = state::private(&values, logins);
    Ok(Stated { state: whole(values), private, findings })
}

fn given_password(config: &Attributes) -> Option<Secret> {
    word(config, "password_wo").or_else(|| word(config, "password")).map(Secret::new)
}

/// Gives a service its other login, and publishes it: from here on the state has it.
async fn rotate_login(site: &Site, service: &Service, config: &Attributes) -> Result<Credentials, Vec<Finding>> {
    let mut secrets = SpecSecrets::default();
    secrets.service_passwords.extend(given_password(config).map(|password| (service.name.clone(), password)));
    let spec = site.spec([service.clone()]);
    let request = rotation_request(site, &spec, &secrets);
    let services = [service.name.clone()].into();
    let begun = rotate::begin(&request, &services, &|_| {}).await.map_err(|diagnostics| at_rotation(&diagnostics))?;
    let failures = begun.applied.diagnostics();
    if any_diagnostic_error(&failures) {
        return Err(at_rotation(&failures));
    }
    rotate::publish(&request, &begun).map_err(|diagnostics| at_rotation(&diagnostics))?;
    site.credentials().map_err(|diagnostic| general(&[diagnostic]))
}

async fn finish_rotation(site: &Site, service: &Service) -> Result<Credentials, Vec<Finding>> {
    let (spec, secrets) = (site.spec([service.clone()]), SpecSecrets::default());
    let request = rotation_request(site, &spec, &secrets);
    let services: BTreeSet<ServiceName> = [service.name.clone()].into();
    let path = Some(Path::attribute("finish_rotation"));
    let finished = rotate::finish(&request, &services, NO_WAIT, &[], &|_| {}).await;
    finished.map(|rotated| rotated.credentials).map_err(|diagnostics| {
        diagnostics.iter().map(|diagnostic| Finding::of(&Diagnostic { hint: None, ..diagnostic.clone() }, path.clone())).collect()
    })
}

fn at_rotation(diagnostics: &[Diagnostic]) -> Vec<Finding> {
    let hinted = diagnostics.iter().map(|diagnostic| {
        let mut diagnostic = diagnostic.clone();
        if diagnostic.code == Code::ROTATE_STATE {
            diagnostic.hint = Some("Shut the previous login out first: set finish_rotation = true and apply.".to_owned());
            diagnostic.commands.clear();
        }
        Finding::of(&diagnostic, Some(Path::attribute("rotation")))
    });
    hinted.collect()
}

fn rotation_request<'a>(site: &'a Site, spec: &'a Spec, secrets: &'a SpecSecrets) -> Request<'a> {
    static NOBODY: BTreeSet<ServiceName> = BTreeSet::new();
    Request {
        spec,
        secrets,
        connect: &site.connect,
        store: &site.store,
        intent: Intent::Apply,
        targets: &[],
        backups: None,
        adopt: &NOBODY,
        end_sessions: false,
        parallelism: PARALLELISM,
        must_fit: false,
        lock_timeout: plan::TIMEOUT,
        expected: None,
    }
}

/// Retires or destroys a service, as its state says: the configuration is gone by now.
async fn remove(queue: &Queue, prior: Attributes, private: Vec<u8>) -> Stated {
    let name = word(&prior, "name").and_then(|name| ServiceName::parse(&name).ok());
    let Some(service) = name else {
        return Stated { state: Value::Null, private: Vec::new(), findings: Vec::new() };
    };
    let is_on = |name: &str| flag(&prior, name) == Some(true);
    let job = if word(&prior, "deletion_policy").as_deref() == Some(plan::DESTROY) {
        Job::Destroy { service, force: is_on("force_destroy") }
    } else {
        Job::Retire { service, end_sessions: is_on("end_sessions") }
    };
    let outcome = queue.submit(job, plan::timeout(&prior, "delete")).await;
    if outcome.has_failed() {
        return Stated { state: Value::Map(prior), private, findings: outcome.findings };
    }
    Stated { state: Value::Null, private: Vec::new(), findings: outcome.findings }
}
