//! What the provider's blocks may say. Settings and a service's attributes come from core's table of settings, so that nothing that
//! the file may say is missing here, or checked otherwise.

use std::collections::BTreeMap;

use pgisle_core::spec::{SettingDefault, SettingGroup, SettingInfo, SettingKind, settings};

use crate::schema::{Attribute, Block, Given, Nested, ProviderSchema, Type};

/// The resource that is a service's island.
pub(crate) const SERVICE: &str = "pgisle_service";
/// The resource that is the monitoring login.
pub(crate) const MONITORING: &str = "pgisle_monitoring_user";
/// The resource that is the generated files.
pub(crate) const ARTIFACTS: &str = "pgisle_artifacts";
/// The data source that adds connections up.
pub(crate) const BUDGET: &str = "pgisle_budget";
/// The data source that proves the isolation.
pub(crate) const VERIFICATION: &str = "pgisle_verification";
/// The data source that lists what there is.
pub(crate) const INVENTORY: &str = "pgisle_inventory";

/// The attribute that names the folder with the credential store.
pub(crate) const PROJECT_FOLDER: &str = "project_folder";

/// All blocks.
pub(crate) fn schema() -> ProviderSchema {
    ProviderSchema {
        provider: provider(),
        resources: BTreeMap::from([
            (SERVICE.to_owned(), service()),
            (MONITORING.to_owned(), monitoring()),
            (ARTIFACTS.to_owned(), artifacts()),
        ]),
        data_sources: BTreeMap::from([
            (BUDGET.to_owned(), budget()),
            (VERIFICATION.to_owned(), verification()),
            (INVENTORY.to_owned(), inventory()),
        ]),
    }
}

/// The settings that the provider's block may say.
pub(crate) fn provider_settings() -> impl Iterator<Item = &'static SettingInfo> {
    settings().filter(|info| matches!(info.group, SettingGroup::Terraform | SettingGroup::Own))
}

/// What a service's block may say of itself.
pub(crate) fn service_settings() -> impl Iterator<Item = &'static SettingInfo> {
    settings().filter(|info| info.group == SettingGroup::Service)
}

/// What a service's `replica` block may say.
pub(crate) fn replica_settings() -> impl Iterator<Item = &'static SettingInfo> {
    settings().filter(|info| info.group == SettingGroup::Replica)
}

fn provider() -> Block {
    let mut attributes: Vec<Attribute> = provider_settings().map(|info| of_setting(info, Given::Optional)).collect();
    attributes.push(optional(
        PROJECT_FOLDER,
        Type::String,
        "Folder whose `.pgisle/` keeps the credentials, the same as the command line's: what one made the other finds. \
         The folder that Terraform runs in when not given.",
    ));
    Block {
        attributes,
        blocks: Vec::new(),
        description: "The server to administer, and the settings that all services share: the settings of `pgisle.hcl`, by their \
                      names. A password is better left out of it: `PGPASSWORD` and a password file are read as well."
            .to_owned(),
    }
}

fn service() -> Block {
    let mut attributes = vec![
        text("id", Given::Computed, "The service's name."),
        text("name", Given::Required, "The service's name: a lower-case letter, then lower-case letters, digits, `-` and `_`."),
    ];
    attributes.extend(service_settings().map(|info| of_setting(info, Given::OptionalComputed)));
    attributes.extend(service_wishes());
    attributes.extend(service_facts());
    let replica = Block {
        attributes: replica_settings().map(|info| of_setting(info, Given::Optional)).collect(),
        blocks: Vec::new(),
        description: "A replica that serves reads. It is set up where `enable_replica_setup` is true.".to_owned(),
    };
    Block {
        attributes,
        blocks: vec![
            Nested { name: "replica".to_owned(), block: replica },
            Nested { name: "timeouts".to_owned(), block: timeouts() },
        ],
        description: "One service's island: its database, owner role, logins, grants, extensions and limits.".to_owned(),
    }
}

/// What a resource may say besides what the file may.
fn service_wishes() -> Vec<Attribute> {
    vec![
        Attribute {
            is_sensitive: true,
            is_write_only: true,
            ..text(
                "password_wo",
                Given::Optional,
                "The login's password, which gets neither into the plan nor into the state; nor does the URL that holds it. \
                 Goes with `password_wo_version`. Terraform 1.11 or later.",
            )
        },
        optional("password_wo_version", Type::Number, "Any number; another one says that `password_wo` has changed."),
        optional(
            "rotation",
            Type::Number,
            "Any number; another one rotates the login: the idle slot gets a new password and is published, and the old login goes \
             on working until `finish_rotation` is set.",
        ),
        optional(
            "finish_rotation",
            Type::Bool,
            "Shuts the previous login out, once no session uses it. An apply with sessions left is refused and changes nothing.",
        ),
        computed_default(
            "deletion_policy",
            Type::String,
            "What removing the resource does: `retire` (the default) closes the island and keeps its data, `destroy` drops it. A \
             database that holds data is dropped only when a proved backup holds the same, or with `force_destroy`.",
        ),
        optional("force_destroy", Type::Bool, "Drops data that no backup holds, too."),
        optional("end_sessions", Type::Bool, "Ends the sessions of the service when it is retired."),
        optional("adopt", Type::Bool, "Takes over a database and roles of these names that are there and are not pgisle's."),
        optional(
            "allow_incomplete",
            Type::Bool,
            "Takes it as done when something is left that the administrator may not do; it is told as a warning.",
        ),
    ]
}

/// What is known once it is made.
fn service_facts() -> Vec<Attribute> {
    vec![
        text("owner", Given::Computed, "The role that owns everything in the database, and cannot log in."),
        text("login", Given::Computed, "The login that the service uses now."),
        text(
            "credential",
            Given::Computed,
            "A short hash that is another one whenever the login or its password is, and says nothing about either.",
        ),
        text("previous_login", Given::Computed, "The login that still works during a rotation."),
        text("migrator", Given::Computed, "The login that runs migrations, with `access = \"split\"`."),
        text("host", Given::Computed, "Host under which services reach the server."),
        Attribute { kind: Type::Number, ..text("port", Given::Computed, "Port under which services reach the server.") },
        text("sslmode", Given::Computed, "How far services demand TLS, as libpq's sslmode."),
        Attribute {
            is_sensitive: true,
            ..text("database_url", Given::Computed, "A connection URL with the login and its password; null with `password_wo`.")
        },
        text(
            "definition",
            Given::Computed,
            "The service as one text, without secrets: what `pgisle_artifacts`, `pgisle_budget` and `pgisle_verification` take.",
        ),
        Attribute {
            kind: list_of_text(),
            ..text("drift", Given::Computed, "What on the server is not as this resource says. Always planned to be empty.")
        },
    ]
}

fn timeouts() -> Block {
    let attribute = |name: &str| {
        let description = format!("How long a {name} may wait for other runs, such as `30s` or `5m`; `10m` when not given.");
        optional(name, Type::String, &description)
    };
    Block {
        attributes: ["create", "update", "delete"].into_iter().map(attribute).collect(),
        blocks: Vec::new(),
        description: "How long is waited for the run lock, which another run of Terraform or of the command line may hold."
            .to_owned(),
    }
}

fn monitoring() -> Block {
    Block {
        attributes: vec![
            text("id", Given::Computed, "The login's name."),
            text("name", Given::Computed, "The login's name, `<name_prefix>_monitoring`."),
            Attribute { is_sensitive: true, ..text("password", Given::Computed, "Its password.") },
            Attribute { kind: Type::Number, ..text("connection_limit", Given::Computed, "Connections that it may hold.") },
            text("database", Given::Computed, "The database that it connects to first."),
            text("host", Given::Computed, "Host under which the server is reached."),
            Attribute { kind: Type::Number, ..text("port", Given::Computed, "Port under which the server is reached.") },
            text("sslmode", Given::Computed, "How far TLS is demanded, as libpq's sslmode."),
            Attribute {
                kind: list_of_text(),
                ..text("drift", Given::Computed, "What on the server is not as it should be. Always planned to be empty.")
            },
        ],
        blocks: Vec::new(),
        description: "The login that monitoring uses. Its limit and what it may read are the provider's \
                      `monitoring_connection_limit` and `monitoring_access`."
            .to_owned(),
    }
}

fn artifacts() -> Block {
    Block {
        attributes: vec![
            text("id", Given::Computed, "The folder."),
            definitions(Given::Required),
            Attribute {
                kind: list_of_text(),
                ..text(
                    "credentials",
                    Given::Optional,
                    "The `credential` of each service. With it files are written again in the same apply that changes a login, and a \
                     plan says which; without it, in the next one.",
                )
            },
            Attribute {
                given: Given::OptionalComputed,
                ..optional("folder", Type::String, "Where the files go; `generated/<environment>` when not given.")
            },
            optional("overwrite", Type::Bool, "Overwrites files that were edited by hand."),
            Attribute {
                kind: Type::Map(Box::new(Type::String)),
                ..text("files", Given::Computed, "Each file with the SHA-256 of its content.")
            },
            Attribute {
                kind: Type::Map(Box::new(Type::String)),
                ..text("env_files", Given::Computed, "The env file of each service, and of the monitoring and PgBouncer logins.")
            },
            Attribute {
                kind: Type::Map(Box::new(secret_type())),
                ..text("kubernetes_secrets", Given::Computed, "Each service's Kubernetes Secret: its name, namespace and file.")
            },
            Attribute {
                kind: Type::Map(Box::new(Type::String)),
                is_sensitive: true,
                ..text(
                    "docker_compose_env",
                    Given::Computed,
                    "One variable a service for a Compose file, such as `USERS_DATABASE_URL`; without services that have `password_wo`.",
                )
            },
            Attribute {
                kind: list_of_text(),
                ..text("backup_recommendations", Given::Computed, "When and how to back up, as sentences.")
            },
        ],
        blocks: Vec::new(),
        description: "The generated files of a set of services: env files, Kubernetes Secrets, a Compose override, PgBouncer's \
                      configuration, scripts, a guide. A file that was edited by hand is left alone, and told."
            .to_owned(),
    }
}

fn secret_type() -> Type {
    Type::Object(["name", "namespace", "file"].into_iter().map(|name| (name.to_owned(), Type::String)).collect())
}

fn budget() -> Block {
    let number = |name: &str, description: &str| Attribute { kind: Type::Number, ..text(name, Given::Computed, description) };
    Block {
        attributes: vec![
            definitions(Given::Required),
            optional(
                "require_fit",
                Type::Bool,
                "Makes it an error when full pools do not fit into the server; true when not given.",
            ),
            Attribute { kind: Type::Bool, ..text("fits", Given::Computed, "Whether they fit.") },
            number("connections", "Connections that the services' own pools hold at most."),
            number("connections_without_pools", "Connections that the databases' limits would let through."),
            number("steady", "What the server sees when every pool is full."),
            number("peak", "What it sees during a deployment, a migration and a backup at once."),
            number("max_connections", "What the server has."),
            number("headroom", "What is left of it when every pool is full."),
            text("summary", Given::Computed, "Everything, as JSON: by service, the peak's parts, and what would make it fit."),
        ],
        blocks: Vec::new(),
        description: "The connections of a set of services, against what the server has.".to_owned(),
    }
}

fn verification() -> Block {
    Block {
        attributes: vec![
            definitions(Given::Required),
            optional("only_static", Type::Bool, "Reads the catalogs and logs in nowhere."),
            optional("require_isolation", Type::Bool, "Makes a leak an error; true when not given."),
            Attribute { kind: Type::Bool, ..text("isolated", Given::Computed, "Whether no service can reach another's data.") },
            Attribute { kind: Type::Number, ..text("trials", Given::Computed, "How many attempts to get in were made.") },
            Attribute { kind: list_of_text(), ..text("leaks", Given::Computed, "What was found, a line each.") },
        ],
        blocks: Vec::new(),
        description: "Proves the isolation: reads the catalogs, and tries to get from each island into every other.".to_owned(),
    }
}

fn inventory() -> Block {
    let island = ["service", "database", "owner", "environment"];
    let mut fields: BTreeMap<String, Type> = island.into_iter().map(|name| (name.to_owned(), Type::String)).collect();
    fields.insert("retired".to_owned(), Type::Bool);
    fields.insert("connection_limit".to_owned(), Type::Number);
    Block {
        attributes: vec![
            text("server_version", Given::Computed, "The server's version."),
            Attribute { kind: Type::Number, ..text("max_connections", Given::Computed, "Connections that the server takes.") },
            Attribute {
                kind: Type::List(Box::new(Type::Object(fields))),
                ..text("islands", Given::Computed, "Every database that pgisle made for this `name_prefix`, of all environments.")
            },
        ],
        blocks: Vec::new(),
        description: "What pgisle made on the server, whoever ran it.".to_owned(),
    }
}

fn definitions(given: Given) -> Attribute {
    Attribute { kind: list_of_text(), ..text("services", given, "The `definition` of each service.") }
}

fn list_of_text() -> Type {
    Type::List(Box::new(Type::String))
}

/// A setting of core's, as an attribute.
fn of_setting(info: &SettingInfo, given: Given) -> Attribute {
    let kind = match info.kind {
        SettingKind::Text(_) | SettingKind::Word(_) => Type::String,
        SettingKind::Integer { .. } => Type::Number,
        SettingKind::Bool => Type::Bool,
        SettingKind::List(_) => list_of_text(),
        SettingKind::Map(_) => Type::Map(Box::new(Type::String)),
    };
    let default = match info.default {
        SettingDefault::Value("null") => String::new(),
        SettingDefault::Value(value) => format!(" Default: `{value}`."),
        SettingDefault::Derived(words) => format!(" Default: {words}."),
    };
    Attribute {
        name: info.name.to_owned(),
        kind,
        given,
        is_sensitive: info.is_sensitive,
        is_write_only: false,
        description: format!("{}{default}", info.doc),
    }
}

fn text(name: &str, given: Given, description: &str) -> Attribute {
    Attribute {
        name: name.to_owned(),
        kind: Type::String,
        given,
        is_sensitive: false,
        is_write_only: false,
        description: description.to_owned(),
    }
}

fn optional(name: &str, kind: Type, description: &str) -> Attribute {
    Attribute { kind, ..text(name, Given::Optional, description) }
}

fn computed_default(name: &str, kind: Type, description: &str) -> Attribute {
    Attribute { kind, ..text(name, Given::OptionalComputed, description) }
}
