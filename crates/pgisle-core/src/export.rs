//! A spec as a Terraform configuration, for the provider of pgisle: the same islands, with what is there taken into Terraform's state
//! rather than made again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;

use crate::diagnostic::Diagnostic;
use crate::name::ServiceName;
use crate::spec::{Replica, Service, SettingGroup, SettingInfo, Spec, SpecSecrets, format, hcl_text, hcl_value, settings};

/// The configuration's file.
pub const CONFIGURATION: &str = "pgisle.tf";

/// The file that takes what is there into the state.
pub const IMPORTS: &str = "imports.tf";

/// The file that lets go of another provider's resources.
pub const REMOVED: &str = "removed.tf";

/// What the prefix of a type of the other provider's resources is.
const OTHERS: &str = "postgresql_";

/// What is exported.
#[derive(Debug, Clone, Copy)]
pub struct Export<'a> {
    /// The spec.
    pub spec: &'a Spec,
    /// The passwords that the files give: they become variables.
    pub secrets: &'a SpecSecrets,
    /// What the files say, by its address; the rest has its default on both sides.
    pub given: &'a BTreeSet<String>,
    /// The folder with the credentials, where it is another than the configuration's.
    pub project_folder: Option<&'a str>,
    /// The islands are not pgisle's yet: they are taken over by an apply, not imported.
    pub adopt: bool,
    /// Addresses in the state of another configuration, a line each, as `terraform state list` prints them.
    pub state: &'a str,
}

/// Makes the files, by name.
///
/// # Errors
/// Never, unless pgisle writes what it cannot read itself.
pub fn terraform(export: &Export<'_>) -> Result<Vec<(&'static str, String)>, Vec<Diagnostic>> {
    let mut files = vec![(CONFIGURATION, configuration(export))];
    if !export.adopt {
        files.push((IMPORTS, imports(export.spec)));
    }
    let removed = removed(export.state);
    if !removed.is_empty() {
        files.push((REMOVED, removed));
    }
    files.into_iter().map(|(name, text)| Ok((name, format(name, text.as_bytes())?))).collect()
}

fn configuration(export: &Export<'_>) -> String {
    let Export { spec, secrets, .. } = *export;
    let mut text = String::from(
        "# Written by `pgisle export terraform`. From here on it is yours to change.\nterraform {\nrequired_version = \">= 1.5\"\n\n\
         required_providers {\npgisle = {\nsource = \"pgisle/pgisle\"\n}\n}\n}\n\n",
    );
    variable(
        &mut text,
        "postgres_password",
        "The administrator's password; PGPASSWORD and a password file are read without it.",
        true,
    );
    for name in secrets.service_passwords.keys() {
        variable(&mut text, &password_variable(name), &format!("The password of service {name}."), false);
    }
    provider(&mut text, export);
    if spec.settings.create_monitoring_user {
        text.push_str("resource \"pgisle_monitoring_user\" \"this\" {}\n\n");
    }
    for service in spec.services.values() {
        resource(&mut text, export, service);
    }
    rest(&mut text, spec);
    text
}

fn variable(text: &mut String, name: &str, description: &str, is_optional: bool) {
    let default = if is_optional { "default = null\n" } else { "" };
    let _ = write!(
        text,
        "variable \"{name}\" {{\ndescription = {}\ntype = string\n{default}sensitive = true\n}}\n\n",
        hcl_text(description)
    );
}

fn password_variable(service: &ServiceName) -> String {
    format!("{}_password", service.as_str().replace('-', "_"))
}

fn of_group(wanted: impl Fn(SettingGroup) -> bool) -> impl Iterator<Item = &'static SettingInfo> {
    settings().filter(move |info| wanted(info.group) && !info.is_sensitive)
}

fn provider(text: &mut String, export: &Export<'_>) {
    // A struct of plain values always serialises.
    let values = serde_json::to_value(&export.spec.settings).unwrap_or_default();
    text.push_str("provider \"pgisle\" {\n");
    for info in of_group(|group| matches!(group, SettingGroup::Terraform | SettingGroup::Own)) {
        if export.given.contains(info.name) {
            attribute(text, info.name, &values[info.name]);
        }
    }
    if let Some(folder) = export.project_folder {
        attribute(text, "project_folder", &serde_json::json!(folder));
    }
    text.push_str("postgres_password = var.postgres_password\n}\n\n");
}

fn attribute(text: &mut String, name: &str, value: &Value) {
    if !value.is_null() {
        let _ = writeln!(text, "{name} = {}", hcl_value(value));
    }
}

fn resource(text: &mut String, export: &Export<'_>, service: &Service) {
    let name = &service.name;
    let values = serde_json::to_value(service).unwrap_or_default();
    let _ = write!(text, "resource \"pgisle_service\" \"{name}\" {{\nname = \"{name}\"\n");
    for info in of_group(|group| group == SettingGroup::Service) {
        if export.given.contains(&format!("service.{name}.{}", info.name)) {
            attribute(text, info.name, &values[info.name]);
        }
    }
    if export.secrets.service_passwords.contains_key(name) {
        let _ = writeln!(text, "password = var.{}", password_variable(name));
    }
    if export.adopt {
        text.push_str("adopt = true\n");
    }
    if let Some(Replica { mode, region }) = &service.replica {
        let _ = write!(text, "\nreplica {{\nmode = \"{mode}\"\n");
        attribute(text, "region", &serde_json::json!(region));
        text.push_str("}\n");
    }
    text.push_str("}\n\n");
}

fn rest(text: &mut String, spec: &Spec) {
    let resources: Vec<String> = spec.services.keys().map(|name| format!("pgisle_service.{name}")).collect();
    let each = |attribute: &str| resources.iter().map(|resource| format!("{resource}.{attribute},\n")).collect::<String>();
    let monitoring = spec.settings.create_monitoring_user.then(|| "pgisle_monitoring_user.this".to_owned());
    let before: Vec<String> = resources.iter().cloned().chain(monitoring).map(|resource| format!("{resource},\n")).collect();
    let _ = write!(
        text,
        "locals {{\ndefinitions = [\n{}]\ncredentials = [\n{}]\n}}\n\n\
         # Refuses, while planning, pools that do not fit into the server.\n\
         data \"pgisle_budget\" \"this\" {{\nservices = local.definitions\n}}\n\n\
         resource \"pgisle_artifacts\" \"this\" {{\nservices = local.definitions\ncredentials = local.credentials\n\n\
         # The files hold what these make: passwords, and who may log in.\n\
         depends_on = [\n{}]\n}}\n",
        each("definition"),
        each("credential"),
        before.concat()
    );
}

fn imports(spec: &Spec) -> String {
    let mut text =
        String::from("# Takes what is there into the state, and makes nothing again. Remove this file after the first apply.\n");
    if spec.settings.create_monitoring_user {
        let login = spec.settings.monitoring_user();
        let _ = write!(text, "import {{\nto = pgisle_monitoring_user.this\nid = \"{login}\"\n}}\n\n");
    }
    let blocks: Vec<String> =
        spec.services.keys().map(|name| format!("import {{\nto = pgisle_service.{name}\nid = \"{name}\"\n}}\n")).collect();
    text.push_str(&blocks.join("\n"));
    text
}

/// Lets go of the other provider's resources without dropping what they stand for.
fn removed(state: &str) -> String {
    let mut by_address: BTreeMap<String, ()> = BTreeMap::new();
    for line in state.lines() {
        let address = without_keys(line.trim());
        let is_theirs = address.split('.').rev().nth(1).is_some_and(|kind| kind.starts_with(OTHERS));
        // What a data source has read is in no state that anyone must let go of.
        if is_theirs && !address.split('.').any(|part| part == "data") {
            by_address.insert(address, ());
        }
    }
    let blocks: Vec<String> = by_address
        .keys()
        .map(|address| format!("removed {{\nfrom = {address}\n\nlifecycle {{\ndestroy = false\n}}\n}}\n"))
        .collect();
    if blocks.is_empty() {
        return String::new();
    }
    format!(
        "# Terraform lets go of these without dropping anything; pgisle takes what they stand for over.\n\
         # Take the blocks that made them out of the configuration. Remove this file after the first apply.\n{}",
        blocks.join("\n")
    )
}

/// An address without the keys of `count` and `for_each`, which a `removed` block cannot have.
fn without_keys(address: &str) -> String {
    let mut bare = String::new();
    let (mut depth, mut is_quoted) = (0_u32, false);
    for character in address.chars() {
        match character {
            '"' if depth > 0 => is_quoted = !is_quoted,
            '[' if !is_quoted => depth += 1,
            ']' if !is_quoted => depth = depth.saturating_sub(1),
            other if depth == 0 => bare.push(other),
            _ => {}
        }
    }
    bare
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_that_is_given_is_written_as_it_was() {
        let file = "postgres_replica_hosts = [\"b:5433\", \"::1\", \"[::1]:5434\"]\nenable_replica_setup = true\ncredential_recipients = []\nservice \"a\" {\n  instances = 2\n}\n";
        let mut sources = crate::spec::Sources::new();
        sources.push(crate::spec::LayerKind::SpecFile, "pgisle.hcl", file);
        let loaded = crate::spec::load(&sources);
        let given = loaded.origins.into_keys().collect();
        let spec = loaded.spec.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
        let secrets = SpecSecrets::default();
        let export = Export { spec: &spec, secrets: &secrets, given: &given, project_folder: None, adopt: false, state: "" };
        let files = terraform(&export).unwrap_or_else(|diagnostics| panic!("{diagnostics:?}"));
        for line in [
            "  postgres_replica_hosts = [\"b:5433\", \"::1\", \"[::1]:5434\"]\n",
            "  enable_replica_setup   = true\n",
            "  credential_recipients  = []\n",
            "  instances = 2\n",
        ] {
            assert!(files[0].1.contains(line), "{line}{}", files[0].1);
        }
    }

    #[test]
    fn only_the_other_providers_resources_are_let_go_of() {
        let state = "data.postgresql_schemas.all\nmodule.a[\"x.y[0]\"].postgresql_role.user[0]\nmodule.a[\"z\"].postgresql_role.user[1]\n\
                     pgisle_service.users\npostgresql_database.users\nrandom_password.users[\"a\"]\n\n";
        let text = removed(state);
        let from: Vec<&str> = text.lines().filter(|line| line.starts_with("from")).collect();
        assert_eq!(from, ["from = module.a.postgresql_role.user", "from = postgresql_database.users"]);
        assert_eq!(removed("random_password.a\n"), "");
    }
}
