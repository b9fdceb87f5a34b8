//! Loading: from layers of text to a spec, or to everything that is wrong with them.

use std::collections::BTreeMap;

use crate::diagnostic::{Code, Diagnostic, Place, any_error};
use crate::name::ServiceName;
use crate::secret::Secret;

use super::clash;
use super::layer::{self, Assignment, Section};
use super::model::{Environment, Service, Spec, SpecSecrets};
use super::resolved::Resolved;
use super::service::{self, Reader};
use super::setting::{SERVICE_SETTINGS, SETTINGS, SettingInfo, find};
use super::source::{Layer, LayerKind, Sources};
use super::suggestion::nearest;
use super::text::{At, Texts, quoted};
use super::typed::{Conversion, Typed};

/// What loading gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The spec; none when there is any error.
    pub spec: Option<Spec>,
    /// The passwords that the user gave; empty when there is no spec.
    pub secrets: SpecSecrets,
    /// Everything there is to say, in the order of the layers and of the places in them.
    pub diagnostics: Vec<Diagnostic>,
    /// Where each value was given, by its address: `postgres_host`, `service.users`, `service.users.pool_size`. What is
    /// missing has its default.
    pub origins: BTreeMap<String, Origin>,
}

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// In what kind of source.
    pub kind: LayerKind,
    /// In which place.
    pub place: Place,
}

/// More findings than this help nobody.
const DIAGNOSTICS_MAX: usize = 100;

/// Stacks the layers and checks everything. Every error is reported, not only the first; a syntax error ends the reading of
/// its own file alone.
#[must_use]
pub fn load(sources: &Sources) -> Loaded {
    let layers = sources.stacked();
    let mut diagnostics = Vec::new();
    let texts = Texts::new(&layers, &mut diagnostics);
    let mut stack = Stack {
        texts: &texts,
        layers: &layers,
        settings: Resolved::defaults(SETTINGS),
        services: Vec::new(),
        // A file that could not be read may have held the services, so their absence would be no news.
        has_unread_file: any_error(&diagnostics),
    };
    for index in 0..layers.len() {
        stack.read(index, &mut diagnostics);
    }
    let loaded = stack.finish(&mut diagnostics);
    let (spec, secrets, origins) = loaded.unwrap_or_default();
    let is_whole = !any_error(&diagnostics) && spec.is_some();
    if spec.is_none() && !any_error(&diagnostics) {
        diagnostics.push(Diagnostic::error(Code::BUG, "a setting has no value although none was refused"));
    }
    Loaded {
        spec: spec.filter(|_| is_whole),
        secrets: if is_whole { secrets } else { SpecSecrets::default() },
        diagnostics: in_order(diagnostics, &layers),
        origins,
    }
}

type Parts = (Option<Spec>, SpecSecrets, BTreeMap<String, Origin>);

struct Stack<'a> {
    texts: &'a Texts<'a>,
    layers: &'a [&'a Layer],
    settings: Resolved,
    services: Vec<Section>,
    has_unread_file: bool,
}

impl Stack<'_> {
    fn read(&mut self, index: usize, diagnostics: &mut Vec<Diagnostic>) {
        let layer = self.layers[index];
        if !layer.kind.is_file() {
            self.read_variable(layer, index, diagnostics);
            return;
        }
        match layer::file(self.texts, &layer.name, index, diagnostics) {
            Some(section) => self.read_file(layer, section, diagnostics),
            None => self.has_unread_file = true,
        }
    }

    fn read_variable(&mut self, layer: &Layer, index: usize, diagnostics: &mut Vec<Diagnostic>) {
        let Some((name, raw, at)) = layer::variable(self.texts, layer, index, diagnostics) else { return };
        let Some(info) = find(SETTINGS, name) else {
            // Terraform's variables may be meant for another configuration; ours cannot.
            if layer.kind != LayerKind::TerraformVariable {
                let at = At { layer: index, offset: 0 };
                diagnostics.push(self.unknown(name, at));
            }
            return;
        };
        let conversion = Conversion { texts: self.texts, info, subject: None };
        let given = conversion.raw(raw, at, diagnostics);
        self.take(&conversion, &given, at, diagnostics);
    }

    fn read_file(&mut self, layer: &Layer, section: Section, diagnostics: &mut Vec<Diagnostic>) {
        for Assignment { name, at, given } in section.assignments {
            match find(SETTINGS, &name) {
                Some(info) => {
                    let conversion = Conversion { texts: self.texts, info, subject: None };
                    self.take(&conversion, &given, at, diagnostics);
                    if layer.kind == LayerKind::EnvironmentFile && name == "environment" {
                        self.check_environment_file(layer, at, diagnostics);
                    }
                }
                None => diagnostics.push(self.unknown(&name, at)),
            }
        }
        for block in section.blocks {
            if layer.kind != LayerKind::SpecFile {
                diagnostics.push(
                    Diagnostic::error(
                        Code::SPEC_BLOCK,
                        format!("a file of settings cannot hold the block {}", quoted(&block.kind)),
                    )
                    .at(self.texts.place(block.at))
                    .hint("Blocks stand in pgisle.hcl; .tfvars files hold settings only."),
                );
            } else if block.kind == "service" {
                self.services.push(block);
            } else {
                diagnostics.push(unknown_block(self.texts, &block));
            }
        }
    }

    fn take(&mut self, conversion: &Conversion<'_>, given: &super::value::Given, at: At, diagnostics: &mut Vec<Diagnostic>) {
        match conversion.convert(given, diagnostics) {
            Some(Typed::Absent) => self.settings.reset(conversion.info),
            Some(typed) => self.settings.put(conversion.info, typed, at),
            None => {}
        }
    }

    /// An environment's file was picked because the environment is what its name says; it cannot then say otherwise.
    fn check_environment_file(&self, layer: &Layer, at: At, diagnostics: &mut Vec<Diagnostic>) {
        let Some(word) = self.settings.text("environment") else { return };
        let named = Environment::WORDS.iter().find(|named| {
            layer.name.ends_with(&format!("{named}.tfvars")) || layer.name.ends_with(&format!("{named}/terraform.tfvars"))
        });
        if let Some(named) = named.filter(|named| **named != word) {
            diagnostics.push(
                Diagnostic::error(
                    Code::SPEC_CONFLICT,
                    format!("the file of environment {named:?} sets the environment to {word:?}"),
                )
                .at(self.texts.place(at))
                .hint(format!("Remove the line, or choose the environment with -var environment={word}.")),
            );
        }
    }

    fn unknown(&self, name: &str, at: At) -> Diagnostic {
        let diagnostic =
            Diagnostic::error(Code::SPEC_UNKNOWN_SETTING, format!("there is no setting {}", quoted(name))).at(self.texts.place(at));
        if matches!(name, "service" | "services") {
            return diagnostic.hint("A service is a block: service \"users\" { … }, without an equals sign.");
        }
        match nearest(name, SETTINGS.iter().map(|info| info.name)) {
            Some(near) => diagnostic.hint(format!("Did you mean {near:?}?")),
            None if find(SERVICE_SETTINGS, name).is_some() => {
                diagnostic.hint(format!("{name:?} belongs inside of a service's block."))
            }
            None => diagnostic.hint("docs/reference/settings.md lists all settings."),
        }
    }

    fn finish(self, diagnostics: &mut Vec<Diagnostic>) -> Option<Parts> {
        let Self { texts, layers, settings: resolved, services: sections, has_unread_file } = self;
        let settings = resolved.settings();
        let mut origins = BTreeMap::new();
        for info in SETTINGS {
            put_origin(&mut origins, texts, layers, info.name.to_owned(), resolved.at(info.name));
        }
        if sections.is_empty() && !has_unread_file {
            diagnostics.push(
                Diagnostic::error(Code::SPEC_EMPTY, "the spec has no service")
                    .at(layers
                        .iter()
                        .position(|layer| layer.kind == LayerKind::SpecFile)
                        .and_then(|layer| texts.place(At { layer, offset: 0 })))
                    .hint("Add a service \"name\" { … } block to pgisle.hcl, or let pgisle init write one to start from."),
            );
        }
        let settings = settings?;
        let reader = Reader { texts, settings: &settings };
        let mut read = Vec::new();
        for section in &sections {
            read.extend(reader.read(section, diagnostics));
        }
        let read = service::unique(texts, read, diagnostics);
        clash::check(texts, &settings, &resolved, &read, diagnostics);
        let mut services: BTreeMap<ServiceName, Service> = BTreeMap::new();
        let mut secrets =
            SpecSecrets { postgres_password: resolved.text("postgres_password").map(Secret::new), ..SpecSecrets::default() };
        for (name, found) in read {
            put_origin(&mut origins, texts, layers, format!("service.{name}"), found.at);
            for info in SERVICE_SETTINGS {
                put_origin(&mut origins, texts, layers, format!("service.{name}.{}", info.name), found.resolved.at(info.name));
            }
            if let Some(password) = found.resolved.text("password") {
                secrets.service_passwords.insert(name.clone(), Secret::new(password));
            }
            let places = [found.resolved.at("pool_size"), resolved.at("pgbouncer_default_pool_size"), found.at];
            let pool_place = places.into_iter().find_map(|at| texts.place(at));
            services.insert(name, Service { pool_place, ..found.service });
        }
        Some((Some(Spec { settings, services }), secrets, origins))
    }
}

fn put_origin(origins: &mut BTreeMap<String, Origin>, texts: &Texts<'_>, layers: &[&Layer], address: String, at: At) {
    if let (Some(layer), Some(place)) = (layers.get(at.layer), texts.place(at)) {
        origins.insert(address, Origin { kind: layer.kind, place });
    }
}

/// A block at the top that is no service.
fn unknown_block(texts: &Texts<'_>, block: &Section) -> Diagnostic {
    let diagnostic =
        Diagnostic::error(Code::SPEC_BLOCK, format!("there is no block {}", quoted(&block.kind))).at(texts.place(block.at));
    match block.kind.as_str() {
        "variable" | "resource" | "provider" | "module" | "output" | "locals" | "terraform" | "data" => diagnostic
            .hint("That is Terraform's. pgisle.hcl holds settings and service blocks; Terraform's own files can stay beside it."),
        "replica" => diagnostic.hint("A replica block stands inside of a service's block."),
        kind if nearest(kind, ["service"]).is_some() => diagnostic.hint("Did you mean \"service\"?"),
        kind => match find(SETTINGS, kind) {
            Some(info) => diagnostic.hint(format!("{:?} is a setting: write {} = …, with an equals sign.", info.name, info.name)),
            None => diagnostic.hint("The only block here is service \"name\" { … }."),
        },
    }
}

/// An attribute of a service or replica that does not exist.
pub(super) fn unknown_attribute(texts: &Texts<'_>, table: &'static [SettingInfo], name: &str, at: At, subject: &str) -> Diagnostic {
    let diagnostic = Diagnostic::error(Code::SPEC_UNKNOWN_SETTING, format!("there is no setting {} here", quoted(name)))
        .at(texts.place(at))
        .about(subject);
    if name == "replica" {
        return diagnostic.hint("A replica is a block: replica { mode = \"shared\" }, without an equals sign.");
    }
    match nearest(name, table.iter().map(|info| info.name)) {
        Some(near) => diagnostic.hint(format!("Did you mean {near:?}?")),
        None if find(SETTINGS, name).is_some() => diagnostic.hint(format!("{name:?} stands outside of the service's block.")),
        None => diagnostic.hint("docs/reference/settings.md lists all settings."),
    }
}

/// Sorts by layer and place, so that a reader goes through each file once; what has no place comes last.
fn in_order(mut diagnostics: Vec<Diagnostic>, layers: &[&Layer]) -> Vec<Diagnostic> {
    let rank = |place: &Place| layers.iter().position(|layer| layer.name == place.file).unwrap_or(usize::MAX);
    diagnostics.sort_by_cached_key(|diagnostic| match &diagnostic.place {
        Some(place) => (0, rank(place), place.line, place.column),
        None => (1, 0, 0, 0),
    });
    let more = diagnostics.len().saturating_sub(DIAGNOSTICS_MAX);
    if more > 0 {
        // Errors must survive the cut, or a wrong spec would look right.
        diagnostics.sort_by_key(|diagnostic| diagnostic.severity);
        diagnostics.truncate(DIAGNOSTICS_MAX);
        diagnostics.push(Diagnostic::note(Code::SPEC_LIMIT, format!("{more} more findings are not shown")));
    }
    diagnostics
}
