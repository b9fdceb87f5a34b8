//! The reference of all settings, from their table.

use std::fmt::Write as _;

use super::setting::{SettingDefault, SettingGroup, SettingInfo, SettingKind, settings};

/// `docs/reference/settings.md`.
#[must_use]
pub fn reference_markdown() -> String {
    let mut page = String::from(INTRODUCTION);
    let groups = [
        (SettingGroup::Terraform, "Settings that Terraform's users know", TERRAFORM),
        (SettingGroup::Own, "Settings of pgisle's own", OWN),
        (SettingGroup::Service, "`service \"name\" { … }`", SERVICE),
        (SettingGroup::Replica, "`replica { … }` in a service", REPLICA),
    ];
    for (group, title, introduction) in groups {
        let _ = write!(page, "\n## {title}\n\n{introduction}\n");
        for info in settings().filter(|info| info.group == group) {
            page.push_str(&entry(info));
        }
    }
    page
}

fn entry(info: &SettingInfo) -> String {
    let SettingInfo { name, group: _, kind, default, is_sensitive, doc } = info;
    let (type_name, allowed) = kind_words(*kind);
    let default = match default {
        SettingDefault::Value("null") => "none".to_owned(),
        SettingDefault::Value(value) => format!("`{value}`"),
        SettingDefault::Derived(words) => (*words).to_owned(),
    };
    let allowed = if allowed.is_empty() { String::new() } else { format!(" · allowed: {allowed}") };
    let sensitive = if *is_sensitive { " · sensitive" } else { "" };
    format!("\n### `{name}`\n\n{type_name} · default: {default}{allowed}{sensitive}\n\n{}\n", escaped(doc))
}

/// What Markdown would take for a tag becomes text.
fn escaped(doc: &str) -> String {
    doc.replace('<', "\\<")
}

/// The type's name and what it allows.
fn kind_words(kind: SettingKind) -> (&'static str, String) {
    match kind {
        SettingKind::Text(check) => ("text", check.rule().to_owned()),
        SettingKind::Integer { min, max } => ("whole number", format!("{min} to {max}")),
        SettingKind::Bool => ("true or false", String::new()),
        SettingKind::Word(words) => ("text", words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", ")),
        SettingKind::List(check) => ("list of texts", check.rule().to_owned()),
        SettingKind::Map(check) => ("map of texts", check.rule().to_owned()),
    }
}

const INTRODUCTION: &str = "\
<!-- Generated from pgisle-core's table of settings; `cargo xtask gen` writes it. -->
# Settings

A spec is `pgisle.hcl`, with settings and one `service` block per service, and files of settings beside it. Where a setting is
given more than once, the last of these wins:

1. the default
2. `pgisle.hcl`
3. `environments/<environment>.tfvars`, then `environments/<environment>/terraform.tfvars`
4. `terraform.tfvars` and `*.auto.tfvars`, by name
5. files given with `-var-file`, in order
6. `TF_VAR_name` in the environment, then `PGISLE_VAR_name`
7. `-var name=value`, in order

A value of `null` means the default. Numbers and truth values may stand in quotes. In variables and behind `-var`, a text stands
as it is, and lists and maps are written as in a file: `-var 'default_extensions=[\"citext\"]'`. References, functions and
`${…}` are not evaluated: a spec holds plain values. A setting that does not exist is an error, except in `TF_VAR_name`,
which may be meant for another tool.
";

const TERRAFORM: &str = "Names, defaults and ranges are those of the Terraform configuration that pgisle replaces: its `terraform.tfvars` works unchanged.";
const OWN: &str = "";
const SERVICE: &str = "\
The name is a lower-case letter, then lower-case letters, digits, `-` and `_`. Blocks stand in `pgisle.hcl` only. From the name
follow, with the prefix `link` and the service `users`: the database `link_users`, its owner role `link_users_owner` (no
login), the logins `link_users_user` and `link_users_user_b` (rotation uses two), and the migrations' login
`link_users_migrator`.";
const REPLICA: &str = "A replica that serves reads. It is set up where `enable_replica_setup` is true.";
