//! Service blocks: their attributes, and the names that follow from them.

use std::collections::BTreeMap;

use crate::diagnostic::{Code, Diagnostic};
use crate::name::{DatabaseName, ExtensionName, NAME_BYTES_MAX, ParameterName, RoleName, SchemaName, ServiceName};

use super::layer::Section;
use super::load::unknown_attribute;
use super::model::{Access, Replica, ReplicaMode, Service, Settings};
use super::parameter;
use super::resolved::Resolved;
use super::setting::{REPLICA_SETTINGS, SERVICE_SETTINGS, SettingInfo, find};
use super::text::{At, Texts, quoted};
use super::typed::{Conversion, Item, Typed};

/// A service as it was read.
pub(super) struct Found {
    pub(super) service: Service,
    pub(super) at: At,
    pub(super) resolved: Resolved,
}

/// Reads service blocks.
pub(super) struct Reader<'a> {
    pub(super) texts: &'a Texts<'a>,
    pub(super) settings: &'a Settings,
}

impl Reader<'_> {
    /// Reads one block. None when it cannot be a service, which is then reported.
    pub(super) fn read(&self, section: &Section, diagnostics: &mut Vec<Diagnostic>) -> Option<Found> {
        let name = self.name(section, diagnostics);
        let subject = match section.labels.first() {
            Some((label, _)) => format!("service {}", quoted(label)),
            None => "service".to_owned(),
        };
        let errors_before = diagnostics.len();
        let resolved = self.attributes(section, SERVICE_SETTINGS, &subject, diagnostics);
        let parameters = self.parameters(&resolved.map("settings"), &subject, diagnostics);
        let replica = self.replica(section, &subject, diagnostics);
        let name = name?;
        let service = self.service(&name, section, &resolved, parameters, replica);
        if service.is_none() && diagnostics.len() == errors_before {
            // The names of its own are fine, so it is a derived one that does not fit.
            let at = self.texts.place(section.labels.first().map_or(section.at, |(_, at)| *at));
            diagnostics.push(
                Diagnostic::error(Code::SPEC_NAME, "the names that follow from the service's name are too long")
                    .at(at)
                    .about(&subject)
                    .detail(format!("PostgreSQL cuts names at {NAME_BYTES_MAX} bytes."))
                    .hint("Choose a shorter name, or set database and user."),
            );
        }
        Some(Found { service: service?, at: section.at, resolved })
    }

    fn name(&self, section: &Section, diagnostics: &mut Vec<Diagnostic>) -> Option<ServiceName> {
        let [(label, at)] = section.labels.as_slice() else {
            let (at, detail) = match section.labels.get(1) {
                Some((_, at)) => (*at, format!("It has {} labels.", section.labels.len())),
                None => (section.at, "It has none.".to_owned()),
            };
            diagnostics.push(
                Diagnostic::error(Code::SPEC_BLOCK, "a service has exactly one label, its name")
                    .at(self.texts.place(at))
                    .detail(detail)
                    .hint("Write service \"users\" { … }."),
            );
            return None;
        };
        match ServiceName::parse(label) {
            Ok(name) => Some(name),
            Err(error) => {
                let (first, rest) = error_sentence(&error.to_string());
                diagnostics.push(
                    Diagnostic::error(Code::SPEC_NAME, format!("{} cannot be the name of a service", quoted(label)))
                        .at(self.texts.place(*at))
                        .detail(format!("{first}{rest}."))
                        .hint("A service's name is a lower-case letter, then lower-case letters, digits, - and _, ending in a letter or digit."),
                );
                None
            }
        }
    }

    fn attributes(
        &self,
        section: &Section,
        table: &'static [SettingInfo],
        subject: &str,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Resolved {
        let mut resolved = Resolved::defaults(table);
        for assignment in &section.assignments {
            let Some(info) = find(table, &assignment.name) else {
                diagnostics.push(unknown_attribute(self.texts, table, &assignment.name, assignment.at, subject));
                continue;
            };
            let conversion = Conversion { texts: self.texts, info, subject: Some(subject) };
            match conversion.convert(&assignment.given, diagnostics) {
                Some(Typed::Absent) | None => {}
                Some(typed) => resolved.put(info, typed, assignment.at),
            }
        }
        resolved
    }

    fn parameters(
        &self,
        given: &BTreeMap<String, Item>,
        subject: &str,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> BTreeMap<ParameterName, String> {
        let mut parameters = BTreeMap::new();
        for (name, Item { text, at }) in given {
            let place = self.texts.place(*at);
            match parameter::check(name) {
                Ok(name) => {
                    if parameters.insert(name.clone(), text.clone()).is_some() {
                        diagnostics.push(
                            Diagnostic::error(Code::SPEC_DUPLICATE, format!("the PostgreSQL setting \"{name}\" is given twice"))
                                .at(place)
                                .about(subject)
                                .detail("PostgreSQL does not tell upper case from lower case in these names."),
                        );
                    }
                }
                Err(detail) => diagnostics.push(
                    Diagnostic::error(
                        Code::SPEC_NAME,
                        format!("the PostgreSQL setting {} cannot be set for a service", quoted(name)),
                    )
                    .at(place)
                    .about(subject)
                    .detail(detail),
                ),
            }
        }
        parameters
    }

    fn replica(&self, section: &Section, subject: &str, diagnostics: &mut Vec<Diagnostic>) -> Option<Replica> {
        let mut replica = None;
        for (index, block) in section.blocks.iter().enumerate() {
            let place = self.texts.place(block.at);
            if block.kind != "replica" {
                diagnostics.push(
                    Diagnostic::error(Code::SPEC_BLOCK, format!("there is no block {} here", quoted(&block.kind)))
                        .at(place)
                        .about(subject)
                        .hint("The only block in a service is replica { … }; settings = { … } and the like have an equals sign."),
                );
                continue;
            }
            if !block.labels.is_empty() {
                diagnostics
                    .push(Diagnostic::error(Code::SPEC_BLOCK, "a replica block has no label").at(place.clone()).about(subject));
            }
            if let Some(first) = section.blocks[..index].iter().find(|first| first.kind == "replica") {
                let first = self.texts.place(first.at).map(|first| format!("The first is at {first}.")).unwrap_or_default();
                diagnostics.push(
                    Diagnostic::error(Code::SPEC_DUPLICATE, "a service has one replica block at most")
                        .at(place.clone())
                        .about(subject)
                        .detail(first),
                );
            }
            for inner in &block.blocks {
                let at = self.texts.place(inner.at);
                diagnostics.push(Diagnostic::error(Code::SPEC_BLOCK, "a replica has no blocks inside").at(at).about(subject));
            }
            let resolved = self.attributes(block, REPLICA_SETTINGS, subject, diagnostics);
            let mode = resolved.text("mode").and_then(|word| ReplicaMode::from_word(&word));
            let region = resolved.text("region");
            if mode == Some(ReplicaMode::Geographic) && region.is_none() {
                diagnostics.push(
                    Diagnostic::error(Code::SPEC_MISSING, "a geographic replica needs a region")
                        .at(place.clone())
                        .about(subject)
                        .hint("Say where it stands: region = \"eu-west\"."),
                );
            }
            if !self.settings.enable_replica_setup {
                diagnostics.push(
                    Diagnostic::warning(Code::SPEC_CONFLICT, "the replica is not set up")
                        .at(place)
                        .about(subject)
                        .hint("Set enable_replica_setup = true, or remove the block."),
                );
            }
            replica = mode.map(|mode| Replica { mode, region });
        }
        replica
    }

    fn service(
        &self,
        name: &ServiceName,
        section: &Section,
        resolved: &Resolved,
        settings: BTreeMap<ParameterName, String>,
        replica: Option<Replica>,
    ) -> Option<Service> {
        let derived = || format!("{}_{}", self.settings.name_prefix, name.as_str().replace('-', "_"));
        let database = DatabaseName::new(resolved.text("database").unwrap_or_else(derived)).ok()?;
        let user = RoleName::new(resolved.text("user").unwrap_or_else(|| format!("{database}_user"))).ok()?;
        Some(Service {
            description: resolved.text("description").unwrap_or_default(),
            instances: resolved.integer("instances")?,
            connection_limit: resolved.limit("connection_limit").unwrap_or(self.settings.user_connection_limit),
            database_connection_limit: resolved
                .limit("database_connection_limit")
                .unwrap_or(self.settings.database_connection_limit),
            pool_size: resolved.integer("pool_size").unwrap_or(self.settings.pgbouncer_default_pool_size),
            extensions: resolved.list("extensions", ExtensionName::new)?,
            schemas: resolved
                .items("schemas")
                .into_iter()
                .filter(|item| item.text != "public")
                .map(|item| SchemaName::new(item.text).ok())
                .collect::<Option<_>>()?,
            tables: resolved.items("tables").into_iter().map(|item| item.text).collect(),
            settings,
            access: Access::from_word(&resolved.text("access")?)?,
            replica,
            place: self.texts.place(section.at)?,
            pool_place: None,
            name: name.clone(),
            database,
            user,
        })
    }
}

/// The services by name; a second one of the same name is reported with the place of the first.
pub(super) fn unique(texts: &Texts<'_>, found: Vec<Found>, diagnostics: &mut Vec<Diagnostic>) -> BTreeMap<ServiceName, Found> {
    let mut services: BTreeMap<ServiceName, Found> = BTreeMap::new();
    for service in found {
        let name = service.service.name.clone();
        if let Some(first) = services.get(&name) {
            diagnostics.push(
                Diagnostic::error(Code::SPEC_DUPLICATE, format!("service \"{name}\" is defined twice"))
                    .at(texts.place(service.at))
                    .detail(format!("The first definition is at {}.", first.service.place)),
            );
        } else {
            services.insert(name, service);
        }
    }
    services
}

fn error_sentence(text: &str) -> (String, String) {
    let mut characters = text.chars();
    let first = characters.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
    (first, characters.as_str().to_owned())
}
