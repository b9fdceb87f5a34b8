//! Names that services go by outside of the database, and where two of them would meet.

use std::collections::{BTreeMap, BTreeSet};

use crate::artifact::Endpoint;
use crate::artifact::escape::is_pgbouncer_key;
use crate::diagnostic::{Code, Diagnostic};
use crate::name::ServiceName;
use crate::spec::{Service, Spec};

/// Environment files that are not a service's: a service of this name would overwrite one.
const RESERVED: [&str; 2] = ["monitoring", "pgbouncer"];

/// What each service's application is called: `users` is served by `user-svc`, and by `userService` in Helm's values.
///
/// The rule: one plural `s` is dropped (`ies` becomes `y`), unless the name ends in `ss`, `us`, `is` or `ics`; a service whose
/// shorter name is also another's keeps its own. `_` and `-` are alike and become `-`.
#[must_use]
pub fn application_names(spec: &Spec) -> BTreeMap<ServiceName, String> {
    let dashed = |name: &ServiceName| name.as_str().replace('_', "-");
    let singular: BTreeMap<&ServiceName, String> = spec.services.keys().map(|name| (name, singular(&dashed(name)))).collect();
    let is_unique = |candidate: &str, of: &ServiceName| {
        singular.iter().all(|(other, name)| *other == of || (name != candidate && dashed(other) != candidate))
    };
    singular
        .iter()
        .map(|(service, name)| {
            let name = if is_unique(name, service) { name.clone() } else { dashed(service) };
            ((*service).clone(), name)
        })
        .collect()
}

fn singular(name: &str) -> String {
    if let Some(stem) = name.strip_suffix("ies").filter(|stem| stem.len() > 1) {
        return format!("{stem}y");
    }
    if name.ends_with("ics") {
        return name.to_owned();
    }
    match name.strip_suffix('s') {
        Some(stem) if stem.len() > 1 && !stem.ends_with(['s', 'u', 'i']) => stem.to_owned(),
        _ => name.to_owned(),
    }
}

/// The key of an application in Helm's values: `user` is `userService`.
pub(crate) fn helm_key(application: &str) -> String {
    let mut key = String::new();
    let mut upper = false;
    for character in application.chars() {
        match character {
            '-' => upper = true,
            _ if upper => {
                key.push(character.to_ascii_uppercase());
                upper = false;
            }
            _ => key.push(character),
        }
    }
    key + "Service"
}

/// The name of a service's Kubernetes Secret, without its namespace.
#[must_use]
pub fn secret_name(service: &ServiceName) -> String {
    format!("{}-db-credentials", service.as_str().replace('_', "-"))
}

/// The name of the Kubernetes Secret with the migrations' login.
pub(crate) fn migrator_secret_name(service: &ServiceName) -> String {
    format!("{}-db-migrator-credentials", service.as_str().replace('_', "-"))
}

/// What a service's database is called behind PgBouncer: its own name, or the service's where PgBouncer's file cannot hold it.
#[must_use]
pub fn pooler_alias(service: &Service) -> &str {
    let database = service.database.as_str();
    if is_pgbouncer_key(database) { database } else { service.name.as_str() }
}

/// What the same is called where a standby serves reads.
#[must_use]
pub fn reader_alias(service: &Service) -> String {
    format!("{}_ro", pooler_alias(service))
}

/// PgBouncer reaches all servers behind one name by the same port.
fn ports_differ(spec: &Spec) -> Option<Diagnostic> {
    let settings = &spec.settings;
    let is_used = settings.enable_pgbouncer && spec.services.values().any(Service::reads_from_standby);
    let ports: BTreeSet<u16> = Endpoint::of(settings).standbys.iter().map(|(_, port)| *port).collect();
    (is_used && ports.len() > 1).then(|| {
        let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
        Diagnostic::error(Code::SPEC_CONFLICT, format!("the standbys listen on different ports: {}", ports.join(", ")))
            .detail("PgBouncer takes a list of hosts behind one name, and one port for all of them.")
            .hint("Have them listen on one port, name only those that do in postgres_replica_hosts, or go without PgBouncer.")
    })
}

/// Services whose files or Kubernetes names would be one.
pub(crate) fn problems(spec: &Spec) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    let mut seen: BTreeMap<String, &ServiceName> = BTreeMap::new();
    let mut aliases: BTreeMap<String, &ServiceName> = BTreeMap::new();
    let has_standbys = !Endpoint::of(&spec.settings).standbys.is_empty();
    diagnostics.extend(ports_differ(spec));
    for (name, service) in &spec.services {
        if RESERVED.contains(&name.as_str()) {
            diagnostics.push(
                Diagnostic::error(Code::SPEC_NAME, format!("service \"{name}\" has a name that pgisle uses itself"))
                    .at(service.place.clone())
                    .about(format!("service \"{name}\""))
                    .detail(format!("Its environment file would be \".env.{name}\", which is not a service's."))
                    .hint(format!("Call it \"{name}_service\"; its database and user can keep their names.")),
            );
        }
        let reader = (has_standbys && service.reads_from_standby()).then(|| reader_alias(service));
        for alias in [Some(pooler_alias(service).to_owned()), reader].into_iter().flatten() {
            let Some(other) = aliases.insert(alias, name) else { continue };
            diagnostics.push(
                Diagnostic::error(Code::SPEC_CONFLICT, format!("services \"{other}\" and \"{name}\" have the same name in PgBouncer"))
                    .at(service.place.clone())
                    .about(format!("service \"{name}\""))
                    .detail(
                        "PgBouncer's file holds only letters, digits, \".\", \"_\" and \"-\" in a database's name, so a service whose database \
                         has others goes by its own name there; where a standby serves its reads, _ro is put behind it.",
                    )
                    .hint("Rename one of them, or its database."),
            );
        }
        if let Some(other) = seen.insert(secret_name(name), name) {
            diagnostics.push(
                Diagnostic::error(
                    Code::SPEC_CONFLICT,
                    format!("services \"{other}\" and \"{name}\" have the same Kubernetes name"),
                )
                .at(service.place.clone())
                .about(format!("service \"{name}\""))
                .detail(format!("Kubernetes names cannot hold \"_\", so the Secrets of both would be \"{}\".", secret_name(name)))
                .hint("Rename one of them."),
            );
        }
    }
    diagnostics
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_plural_s_is_dropped() {
        let cases = [
            ("users", "user"),
            ("chat", "chat"),
            ("ai", "ai"),
            ("analytics", "analytics"),
            ("status", "status"),
            ("address", "address"),
            ("analysis", "analysis"),
            ("categories", "category"),
            ("ties", "tie"),
            ("s", "s"),
            ("user-profiles", "user-profile"),
        ];
        for (plural, expected) in cases {
            assert_eq!(singular(plural), expected, "{plural}");
        }
        assert_eq!(helm_key("user-profile"), "userProfileService");
        assert_eq!(helm_key("ai"), "aiService");
    }
}
