//! Each call of Terraform, as a call of the provider.
//!
//! A call that cannot be answered is answered with an error and what is known: what Terraform had before, never nothing, which
//! would mean that the thing is gone.

use std::sync::Arc;

use super::{json, translate, wire};
use crate::provider::{Change, Finding, Planned, Provider, Stated};
use crate::schema::Block;
use crate::value::{Path, Value};

/// Why there is no answer.
pub(super) type Refusal = Box<wire::Diagnostic>;

/// Something that tells the user what went wrong.
pub(super) trait Answer: prost::Message + Default + 'static {
    /// Adds to what is told.
    fn tell(&mut self, diagnostic: wire::Diagnostic);
}

macro_rules! answers {
    ($($answer:ident)*) => {$(
        impl Answer for wire::$answer {
            fn tell(&mut self, diagnostic: wire::Diagnostic) {
                self.diagnostics.push(diagnostic);
            }
        }
    )*};
}

answers! {
    MetadataResponse SchemaResponse ValidateProviderResponse ValidateResponse UpgradeResponse ReadResponse PlanResponse ApplyResponse
    ImportResponse ReadDataResponse
}

impl Answer for wire::StopResponse {
    fn tell(&mut self, diagnostic: wire::Diagnostic) {
        self.error = diagnostic.summary;
    }
}

pub(super) async fn metadata<P: Provider>(provider: Arc<P>, _: wire::Empty) -> Result<wire::MetadataResponse, Refusal> {
    Ok(translate::metadata(provider.schema()))
}

pub(super) async fn schema<P: Provider>(provider: Arc<P>, _: wire::Empty) -> Result<wire::SchemaResponse, Refusal> {
    Ok(translate::schema(provider.schema()))
}

pub(super) async fn validate_provider<P: Provider>(
    provider: Arc<P>,
    request: wire::ValidateProviderRequest,
) -> Result<wire::ValidateProviderResponse, Refusal> {
    let config = translate::value(request.config.as_ref(), &provider.schema().provider.value_type())?;
    let findings = provider.validate_provider(config).await;
    Ok(wire::ValidateProviderResponse { diagnostics: translate::diagnostics(findings) })
}

pub(super) async fn configure<P: Provider>(
    provider: Arc<P>,
    request: wire::ConfigureRequest,
) -> Result<wire::ValidateResponse, Refusal> {
    let config = translate::value(request.config.as_ref(), &provider.schema().provider.value_type())?;
    let findings = provider.configure(config, request.terraform_version).await;
    Ok(wire::ValidateResponse { diagnostics: translate::diagnostics(findings) })
}

pub(super) async fn validate_resource<P: Provider>(
    provider: Arc<P>,
    request: wire::ValidateRequest,
) -> Result<wire::ValidateResponse, Refusal> {
    let block = resource(&*provider, &request.type_name)?;
    let config = translate::value(request.config.as_ref(), &block.value_type())?;
    let keeps_out = request.client_capabilities.is_some_and(|capabilities| capabilities.write_only_attributes_allowed);
    let leaks = if keeps_out { Vec::new() } else { translate::given_write_only(&config, block) };
    let mut findings: Vec<Finding> = leaks.into_iter().map(would_leak).collect();
    findings.extend(provider.validate_resource(request.type_name, config).await);
    Ok(wire::ValidateResponse { diagnostics: translate::diagnostics(findings) })
}

/// An older Terraform takes a write-only attribute for an ordinary one and writes it into its state file.
fn would_leak(path: Path) -> Finding {
    Finding {
        is_error: true,
        summary: "this Terraform would store a write-only attribute".to_owned(),
        detail: "It knows no write-only attributes and would write the value into its state file. Use Terraform 1.11 or later."
            .to_owned(),
        path: Some(path),
    }
}

pub(super) async fn validate_data_source<P: Provider>(
    provider: Arc<P>,
    request: wire::ValidateRequest,
) -> Result<wire::ValidateResponse, Refusal> {
    let kind = data_source(&*provider, &request.type_name)?.value_type();
    let config = translate::value(request.config.as_ref(), &kind)?;
    let findings = provider.validate_data_source(request.type_name, config).await;
    Ok(wire::ValidateResponse { diagnostics: translate::diagnostics(findings) })
}

/// Terraform sends its stored state through here each time, also when nothing is to be upgraded.
pub(super) async fn upgrade<P: Provider>(
    provider: Arc<P>,
    request: wire::UpgradeRequest,
) -> Result<wire::UpgradeResponse, Refusal> {
    let block = resource(&*provider, &request.type_name)?;
    if request.version != 0 {
        return Err(refusal(
            format!("the state of this {} was written by a newer version of the provider", request.type_name),
            "Use that version or a later one.",
        ));
    }
    let state = request.raw_state.unwrap_or_default().json;
    if state.is_empty() {
        return Err(refusal(
            format!("the state of this {} is not in a form that the provider knows", request.type_name),
            "It was written by Terraform 0.11 or earlier, or is damaged.",
        ));
    }
    let kind = block.value_type();
    let state = json::read(&state, &kind)
        .map_err(|misfit| translate::misfit_error("a value in the state does not fit the provider's schema", misfit))?;
    let state = translate::without_write_only(state, block);
    Ok(wire::UpgradeResponse { upgraded_state: translate::encoded(&state, &kind)?, diagnostics: Vec::new() })
}

/// What is answered when the state cannot be read anew: the state as it was.
pub(super) fn unread(request: &wire::ReadRequest) -> wire::ReadResponse {
    let (new_state, private) = (request.current_state.clone(), request.private.clone());
    wire::ReadResponse { new_state, private, diagnostics: Vec::new() }
}

pub(super) async fn read<P: Provider>(provider: Arc<P>, request: wire::ReadRequest) -> Result<wire::ReadResponse, Refusal> {
    let block = resource(&*provider, &request.type_name)?;
    let kind = block.value_type();
    let current = translate::value(request.current_state.as_ref(), &kind)?;
    let Stated { state, private, findings } = provider.read(request.type_name, current, request.private).await;
    let state = translate::without_write_only(state, block);
    let new_state = translate::encoded(&state, &kind)?;
    Ok(wire::ReadResponse { new_state, private, diagnostics: translate::diagnostics(findings) })
}

/// What Terraform proposes has the write-only attributes of the configuration, though a plan must not; here it no longer has.
fn change(block: &Block, request: wire::ChangeRequest) -> Result<Change, Refusal> {
    let kind = block.value_type();
    let planned = translate::value(request.planned_state.as_ref(), &kind)?;
    Ok(Change {
        prior: translate::value(request.prior_state.as_ref(), &kind)?,
        planned: translate::without_write_only(planned, block),
        config: translate::value(request.config.as_ref(), &kind)?,
        type_name: request.type_name,
        private: request.private,
    })
}

pub(super) async fn plan<P: Provider>(provider: Arc<P>, request: wire::ChangeRequest) -> Result<wire::PlanResponse, Refusal> {
    let block = resource(&*provider, &request.type_name)?;
    let change = change(block, request)?;
    let Planned { state, requires_replace, private, findings } = provider.plan(change).await;
    let state = translate::without_write_only(state, block);
    Ok(wire::PlanResponse {
        planned_state: translate::encoded(&state, &block.value_type())?,
        requires_replace: requires_replace.iter().filter_map(translate::attribute_path).collect(),
        planned_private: private,
        diagnostics: translate::diagnostics(findings),
    })
}

/// What is answered when a change was broken off: the state before it, which is all that is known.
pub(super) fn unapplied(request: &wire::ChangeRequest) -> wire::ApplyResponse {
    let (new_state, private) = (request.prior_state.clone(), request.private.clone());
    wire::ApplyResponse { new_state, private, diagnostics: Vec::new() }
}

pub(super) async fn apply<P: Provider>(provider: Arc<P>, request: wire::ChangeRequest) -> Result<wire::ApplyResponse, Refusal> {
    let block = resource(&*provider, &request.type_name)?;
    let change = change(block, request)?;
    let Stated { state, private, findings } = provider.apply(change).await;
    let state = translate::without_write_only(state, block);
    let new_state = translate::encoded(&state, &block.value_type())?;
    Ok(wire::ApplyResponse { new_state, private, diagnostics: translate::diagnostics(findings) })
}

pub(super) async fn import<P: Provider>(provider: Arc<P>, request: wire::ImportRequest) -> Result<wire::ImportResponse, Refusal> {
    let wire::ImportRequest { type_name, id } = request;
    let block = resource(&*provider, &type_name)?;
    let Stated { state, private, findings } = provider.import(type_name.clone(), id).await;
    let is_refused = findings.iter().any(|finding| finding.is_error);
    let diagnostics = translate::diagnostics(findings);
    if is_refused {
        return Ok(wire::ImportResponse { imported_resources: Vec::new(), diagnostics });
    }
    if state == Value::Null {
        return Err(refusal(format!("there is no such {type_name}"), "Nothing was imported: look at the identifier."));
    }
    let state = translate::without_write_only(state, block);
    let state = translate::encoded(&state, &block.value_type())?;
    let imported = wire::ImportedResource { type_name, state, private };
    Ok(wire::ImportResponse { imported_resources: vec![imported], diagnostics })
}

pub(super) async fn move_state<P: Provider>(_: Arc<P>, request: wire::MoveRequest) -> Result<wire::UpgradeResponse, Refusal> {
    let wire::MoveRequest { source_type_name, target_type_name } = request;
    Err(refusal(
        format!("a {source_type_name} cannot be moved to a {target_type_name}"),
        "This provider takes no state of other types. Write a \"removed\" block for the one and an \"import\" block for the other.",
    ))
}

pub(super) async fn read_data_source<P: Provider>(
    provider: Arc<P>,
    request: wire::ReadDataRequest,
) -> Result<wire::ReadDataResponse, Refusal> {
    let kind = data_source(&*provider, &request.type_name)?.value_type();
    let config = translate::value(request.config.as_ref(), &kind)?;
    let (state, findings) = provider.read_data_source(request.type_name, config).await;
    let state = translate::encoded(&state, &kind)?;
    Ok(wire::ReadDataResponse { state, diagnostics: translate::diagnostics(findings) })
}

pub(super) async fn functions<P: Provider>(_: Arc<P>, _: wire::Empty) -> Result<wire::ValidateProviderResponse, Refusal> {
    Ok(wire::ValidateProviderResponse::default())
}

pub(super) async fn stop<P: Provider>(provider: Arc<P>, _: wire::Empty) -> Result<wire::StopResponse, Refusal> {
    provider.stop();
    Ok(wire::StopResponse::default())
}

fn refusal(summary: String, detail: &str) -> Refusal {
    Box::new(translate::error(summary, detail))
}

fn resource<'a, P: Provider>(provider: &'a P, name: &str) -> Result<&'a Block, Refusal> {
    let found = provider.schema().resources.get(name);
    found
        .ok_or_else(|| refusal(format!("the provider has no resource \"{name}\""), "Its version is perhaps another than expected."))
}

fn data_source<'a, P: Provider>(provider: &'a P, name: &str) -> Result<&'a Block, Refusal> {
    let found = provider.schema().data_sources.get(name);
    found.ok_or_else(|| {
        refusal(format!("the provider has no data source \"{name}\""), "Its version is perhaps another than expected.")
    })
}
