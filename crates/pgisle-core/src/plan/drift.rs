//! Telling a changed file from a changed cluster: whose an object is, and why it differs.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use super::{Address, Cause, DbaStatement, Planner, Step, UnitPlace, hex, join};
use crate::diagnostic::{Code, Diagnostic};
use crate::inventory::{Database, Role};
use crate::marker::{Kind, Marker};
use crate::name::{DatabaseName, RoleName};
use crate::spec::{Access, Service};

/// A short hash of what a service's spec asks of the cluster. Descriptions, places and the like do not count.
#[must_use]
pub fn spec_fingerprint(spec: &crate::spec::Spec, service: &Service) -> String {
    let settings = &spec.settings;
    let wanted = serde_json::json!({
        "database": service.database, "user": service.user, "access": service.access,
        "limits": [service.connection_limit, service.database_connection_limit],
        "extensions": spec.extensions(service), "schemas": service.schemas, "settings": service.settings,
        "tags": settings.tags, "trusted": settings.trusted_roles,
        "monitoring": [settings.create_monitoring_user.to_string(), settings.monitoring_access.to_string()],
    });
    hex(&Sha256::digest(wanted.to_string().as_bytes())[..6])
}

impl<'a> Planner<'a> {
    /// Whether the service's objects are ours, or may become ours. Reports those that are not.
    pub(super) fn may_touch(&mut self, service: &Service) -> bool {
        let adopt = self.options.adopt.contains(&service.name);
        let before = self.blocked.len();
        if let Some(database) = self.inventory.databases.get(&service.database) {
            self.check_database_is_ours(service, database, adopt);
        }
        for name in self.role_names(service) {
            if let Some(role) = self.inventory.roles.get(&name) {
                let address = Address::Service(service.name.clone(), format!("role/{name}"));
                self.check_role_is_ours(address, &name, role, adopt, service);
            }
        }
        self.check_may_create(service);
        if !adopt && let Some(diagnostic) = self.of_another(service) {
            // For the whole run: files, PgBouncer's among them, would follow the new name.
            self.diagnostics.push(diagnostic);
            return false;
        }
        self.blocked.len() == before
    }

    /// That an object which the service names is another service's of the same project: the database, or else the first such role.
    fn of_another(&self, service: &Service) -> Option<Diagnostic> {
        let database = self.inventory.databases.get(&service.database).and_then(Database::marker);
        let database = database.map(|marker| ("database", service.database.to_string(), marker));
        let roles = self.role_names(service).into_iter().filter_map(|name| {
            let marker = self.inventory.roles.get(&name).and_then(Role::marker)?;
            Some(("role", name.to_string(), marker))
        });
        let (kind, name, other) = database.into_iter().chain(roles).find_map(|(kind, name, marker)| {
            let other = marker.other_service(self.project(), self.environment(), &service.name)?.clone();
            Some((kind, name, other))
        })?;
        let new = &service.name;
        let setting = if kind == "role" { "user" } else { kind };
        let diagnostic = Diagnostic::error(Code::PLAN_OTHER_SERVICE, format!("{kind} \"{name}\" is service \"{other}\"'s"))
            .at(service.place.clone())
            .about(format!("service \"{new}\""))
            .detail("Nothing was changed. Taken over, its login gets a new password, and whoever uses the old one loses access.")
            .hint(format!("If \"{other}\" is called \"{new}\" now, take it over; if not, give \"{new}\" another {setting} name:"))
            .command(format!("pgisle adopt {new}"));
        Some(diagnostic)
    }

    fn role_names(&self, service: &Service) -> BTreeSet<RoleName> {
        let mut wanted = BTreeSet::from([service.owner()]);
        wanted.extend(self.enabled_logins(service));
        if service.access == Access::Split {
            wanted.extend([service.application(), service.migrator()]);
        }
        wanted
    }

    fn check_database_is_ours(&mut self, service: &Service, database: &Database, adopt: bool) {
        let name = &service.database;
        let address = Address::Service(service.name.clone(), "database".to_owned());
        if database.is_invalid() {
            let diagnostic = Diagnostic::error(
                Code::PLAN_INVALID_DATABASE,
                format!("database \"{name}\" is the remains of an interrupted DROP DATABASE"),
            )
            .hint("Drop it, then apply again.");
            let sql = crate::plan::Action::DropDatabase { database: name.clone() }.statements();
            let statements = sql.iter().map(|sql| DbaStatement { database: None, sql: sql.to_string() }).collect();
            return self.block(address, diagnostic.at(service.place.clone()), statements);
        }
        match database.marker() {
            Some(marker) if !marker.same_owner(self.project(), self.environment()) => {
                self.block(address, self.other_environment("database", name.as_str(), &marker, service), Vec::new());
            }
            Some(_) => {}
            None if adopt || self.is_interrupted_creation(service, database) => {}
            None => {
                let diagnostic =
                    Diagnostic::error(Code::PLAN_FOREIGN_DATABASE, format!("database \"{name}\" exists and is not pgisle's"))
                        .at(service.place.clone())
                        .about(format!("service \"{}\"", service.name))
                        .detail(format!("It is owned by \"{}\" and carries no marker, so it is left alone.", database.owner))
                        .hint("Take it over, or give the service another database name:")
                        .command(format!("pgisle adopt {}", service.name));
                self.block(address, diagnostic, Vec::new());
            }
        }
    }

    /// A database of the right name that is closed, untouched and ours by its owner role's marker: an apply was killed between
    /// CREATE DATABASE and the marker.
    pub(super) fn is_interrupted_creation(&self, service: &Service, database: &Database) -> bool {
        let promised = self.inventory.roles.get(&service.owner()).and_then(Role::marker).is_some_and(|marker| {
            marker.kind == Kind::Owner
                && marker.same_owner(self.project(), self.environment())
                && marker.database.as_ref() == Some(&service.database)
        });
        promised
            && !database.allow_connections
            && database.acl_is_default
            && database.comment.is_none()
            && database.owner == self.inventory.admin.role
    }

    fn check_role_is_ours(&mut self, address: Address, name: &RoleName, role: &Role, adopt: bool, service: &Service) {
        match role.marker() {
            Some(marker) if !marker.same_owner(self.project(), self.environment()) => {
                self.block(address, self.other_environment("role", name.as_str(), &marker, service), Vec::new());
            }
            Some(_) => {}
            None if adopt => {}
            None => {
                let diagnostic = Diagnostic::error(Code::PLAN_FOREIGN_ROLE, format!("role \"{name}\" exists and is not pgisle's"))
                    .at(service.place.clone())
                    .about(format!("service \"{}\"", service.name))
                    .hint("Take it over, or give the service another user name:")
                    .command(format!("pgisle adopt {}", service.name));
                self.block(address, diagnostic, Vec::new());
            }
        }
    }

    fn other_environment(&self, kind: &str, name: &str, marker: &Marker, service: &Service) -> Diagnostic {
        Diagnostic::error(
            Code::PLAN_OTHER_ENVIRONMENT,
            format!("{kind} \"{name}\" belongs to environment \"{}\" of \"{}\"", marker.environment, marker.project),
        )
        .at(service.place.clone())
        .about(format!("service \"{}\"", service.name))
        .detail(format!("This run is for environment \"{}\" of \"{}\".", self.environment(), self.project()))
        .hint("Use another cluster, another name_prefix, or the right -var environment=….")
    }

    fn check_may_create(&mut self, service: &Service) {
        let admin = &self.inventory.admin;
        let role_missing = std::iter::once(service.owner())
            .chain(self.enabled_logins(service))
            .any(|role| !self.inventory.roles.contains_key(&role));
        let database_missing = !self.inventory.databases.contains_key(&service.database);
        let mut lacking = Vec::new();
        if role_missing && !admin.superuser && !admin.create_role {
            lacking.push("CREATEROLE");
        }
        if database_missing && !admin.superuser && !admin.create_db {
            lacking.push("CREATEDB");
        }
        if lacking.is_empty() {
            return;
        }
        let diagnostic =
            Diagnostic::error(Code::PLAN_PRIVILEGE, format!("role \"{}\" lacks {}", admin.role, lacking.join(" and ")))
                .about(format!("service \"{}\"", service.name))
                .hint("A DBA must give it, once:");
        let statement = crate::sql::remedy::give_attributes(&admin.role, &lacking);
        let statements = vec![DbaStatement { database: None, sql: statement.to_string() }];
        self.block(Address::Service(service.name.clone(), "database".to_owned()), diagnostic, statements);
    }

    /// Why an object of a service differs from the file.
    pub(super) fn cause(&self, service: &Service) -> Cause {
        if self.options.adopt.contains(&service.name) {
            return Cause::Adopted;
        }
        let marker = self.inventory.databases.get(&service.database).and_then(Database::marker);
        match marker.and_then(|marker| marker.spec) {
            None => Cause::Missing,
            Some(applied) if applied == spec_fingerprint(self.spec, service) => Cause::Drift,
            Some(_) => Cause::Changed,
        }
    }

    /// Moves steps out of the plan, because this administrator may not do them, and says what a DBA must run instead.
    pub(super) fn block_steps(&mut self, address: Address, steps: &[Step], place: &UnitPlace, why: String) {
        let database: Option<DatabaseName> = match place {
            UnitPlace::Maintenance => None,
            UnitPlace::Database(name) => Some(name.clone()),
        };
        let statements = steps
            .iter()
            .flat_map(Step::statements)
            .map(|statement| DbaStatement { database: database.clone(), sql: statement.to_string() })
            .collect();
        let diagnostic = Diagnostic::error(Code::PLAN_PRIVILEGE, why)
            .detail(format!("Not done: {}.", join(steps.iter().map(Step::summary))))
            .hint("A DBA must run the statements, or apply as a role that may; -allow-incomplete goes on without.");
        self.block(address, diagnostic, statements);
    }
}
