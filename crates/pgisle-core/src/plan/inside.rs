//! What is inside of a service's database: schemas, default privileges, extensions.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Action, Address, Cause, Danger, DbaStatement, DefaultPrivilege, Planner, SchemaGrant, Step, Unit, UnitPlace, by_privileges,
    service_roles,
};
use crate::diagnostic::{Code, Diagnostic};
use crate::inventory::{AclItem, Contents, DefaultAclObjects, Grantee, Readable, Schema};
use crate::name::{ExtensionName, RoleName, SchemaName};
use crate::spec::{Access, MonitoringAccess, Service};

/// The role that stands for a database's owner, and owns schema public from PostgreSQL 14 on.
const DATABASE_OWNER: &str = "pg_database_owner";

type Privileges = BTreeSet<&'static str>;

impl<'a> Planner<'a> {
    pub(super) fn database_inside(&mut self, service: &'a Service, is_new: bool) -> Vec<Unit> {
        let fresh = fresh_contents(&self.inventory.admin.role);
        let contents = match self.inventory.contents.get(&service.database) {
            Some(Readable::Known(contents)) => contents,
            _ if is_new => &fresh,
            unreadable => {
                let why = match unreadable {
                    Some(Readable::Hidden(why)) => why.clone(),
                    _ => "it was not looked at".to_owned(),
                };
                let closed = self.inventory.databases.get(&service.database).is_some_and(|database| !database.allow_connections);
                if !closed {
                    let diagnostic =
                        Diagnostic::error(Code::PLAN_UNREADABLE, format!("database \"{}\" cannot be read", service.database))
                            .at(service.place.clone())
                            .detail(format!("Its schemas and extensions are not planned, because {why}."));
                    self.block(Address::Service(service.name.clone(), "database".to_owned()), diagnostic, Vec::new());
                }
                return Vec::new();
            }
        };
        let place = UnitPlace::Database(service.database.clone());
        let mut steps = self.reassigned(service, contents);
        steps.extend(self.schemas(service, contents, &place));
        steps.extend(self.default_privileges(service, contents));
        steps.extend(self.existing(service, contents));
        let extensions = self.extensions(service, contents);
        self.report_foreign_objects(service, contents);
        vec![
            self.unit(place.clone(), Some(&service.name), steps),
            // Apart, so that an extension that fails does not undo the fences.
            self.unit(place, Some(&service.name), extensions),
        ]
    }

    fn inside_step(&self, service: &Service, part: String, action: Action) -> Step {
        let cause = match self.cause(service) {
            // A database that is not there yet cannot have drifted.
            Cause::Drift if !self.inventory.databases.contains_key(&service.database) => Cause::Missing,
            cause => cause,
        };
        Step { address: Address::Service(service.name.clone(), part), action, danger: Danger::None, cause }
    }

    /// Objects that a login made while it was not acting as the owner role.
    fn reassigned(&self, service: &Service, contents: &Contents) -> Vec<Step> {
        let owner = service.owner();
        let own = service_roles(service);
        contents
            .objects_by_owner
            .iter()
            .filter(|(role, count)| **count > 0 && **role != owner && own.contains(*role))
            .map(|(role, _)| {
                let action = Action::ReassignOwned { source: role.clone(), target: owner.clone() };
                self.inside_step(service, format!("owned/{role}"), action)
            })
            .collect()
    }

    fn report_foreign_objects(&mut self, service: &Service, contents: &Contents) {
        let own = service_roles(service);
        let strangers = contents.objects_by_owner.iter().filter(|(role, count)| {
            **count > 0 && !own.contains(*role) && role.as_str() != DATABASE_OWNER && **role != self.inventory.admin.role
        });
        let words: Vec<String> = strangers.map(|(role, count)| format!("{count} of \"{role}\"")).collect();
        if !words.is_empty() {
            self.diagnostics.push(
                Diagnostic::warning(
                    Code::PLAN_OBJECT_OWNER,
                    format!("objects in database \"{}\" belong to others", service.database),
                )
                .at(service.place.clone())
                .about(format!("service \"{}\"", service.name))
                .detail(format!("Objects: {}. They are left alone.", words.join(", ")))
                .hint("ALTER … OWNER TO the service's owner role where they are the service's."),
            );
        }
    }

    fn schemas(&mut self, service: &Service, contents: &Contents, place: &UnitPlace) -> Vec<Step> {
        let Ok(public) = SchemaName::new("public") else { return Vec::new() };
        let mut steps = Vec::new();
        for schema in std::iter::once(&public).chain(&service.schemas) {
            let own = *schema != public;
            let observed = contents.schemas.get(schema);
            if own && observed.is_none() {
                let action = Action::CreateSchema { schema: schema.clone(), owner: service.owner() };
                steps.push(self.inside_step(service, format!("schema/{schema}"), action));
            }
            let made = Schema { owner: service.owner(), acl: BTreeSet::new() };
            let Some(observed) = observed.or(own.then_some(&made)) else { continue };
            let Some(fence) = self.fence_schema(service, schema, observed) else { continue };
            let step = self.inside_step(service, format!("schema/{schema}"), fence);
            let is_platforms = observed.owner.as_str() == DATABASE_OWNER || observed.owner == service.owner();
            if is_platforms || self.may_own(&observed.owner) {
                steps.push(step);
            } else {
                let why = format!("role \"{}\" does not own schema \"{schema}\"", self.inventory.admin.role);
                let address = step.address.clone();
                self.block_steps(address, &[step], place, why);
            }
        }
        steps
    }

    fn fence_schema(&self, service: &Service, schema: &SchemaName, observed: &Schema) -> Option<Action> {
        let mut missing: BTreeMap<RoleName, Privileges> = BTreeMap::new();
        if observed.owner != service.owner() {
            missing.insert(service.owner(), Privileges::from(["CREATE", "USAGE"]));
        }
        for reader in self.readers(service) {
            missing.insert(reader, Privileges::from(["USAGE"]));
        }
        let wanted = missing.clone();
        let mut revoke = BTreeSet::new();
        for item in &observed.acl {
            match &item.grantee {
                Grantee::Role(role) if *role == observed.owner || self.spec.settings.trusted_roles.contains(role) => {}
                Grantee::Role(role) if *role == self.inventory.admin.role => {}
                Grantee::Role(role) if wanted.get(role).is_some_and(|wanted| is_within(item, wanted)) => {
                    if let Some(missing) = missing.get_mut(role) {
                        missing.remove(item.privilege.as_str());
                    }
                }
                grantee => {
                    revoke.insert(grantee.clone());
                }
            }
        }
        // Whoever holds too much loses all and gets back what is due.
        for grantee in &revoke {
            if let Grantee::Role(role) = grantee
                && let Some(wanted) = wanted.get(role)
            {
                missing.insert(role.clone(), wanted.clone());
            }
        }
        let grant: Vec<SchemaGrant> =
            by_privileges(&missing).into_iter().map(|(privileges, grantees)| SchemaGrant { grantees, privileges }).collect();
        let act_as = (observed.owner == service.owner()).then(|| service.owner());
        let nothing = revoke.is_empty() && grant.is_empty();
        (!nothing).then(|| Action::FenceSchema { schema: schema.clone(), act_as, revoke: revoke.into_iter().collect(), grant })
    }

    /// Roles other than the owner role that reach into the schemas.
    fn readers(&self, service: &Service) -> Vec<RoleName> {
        let application = (service.access == Access::Split).then(|| service.application());
        application.into_iter().chain(self.data_monitoring()).collect()
    }

    fn data_monitoring(&self) -> Option<RoleName> {
        self.monitoring.clone().filter(|_| self.spec.settings.monitoring_access == MonitoringAccess::Data)
    }

    fn default_privileges(&self, service: &Service, contents: &Contents) -> Option<Step> {
        let owner = service.owner();
        let mut changes = Vec::new();
        let wanted = self.wanted_default_privileges(service);
        for objects in ALL_OBJECTS {
            let observed =
                contents.default_acls.iter().find(|acl| acl.role == owner && acl.schema.is_none() && acl.objects == objects);
            let observed = observed.map_or_else(|| built_in_default(objects), |acl| held(&acl.acl, &owner));
            changes.extend(self.default_changes(objects, None, &wanted[&objects], &observed));
        }
        for acl in contents.default_acls.iter().filter(|acl| acl.role == owner && acl.schema.is_some()) {
            changes.extend(self.default_changes(acl.objects, acl.schema.as_ref(), &BTreeMap::new(), &held(&acl.acl, &owner)));
        }
        let action = Action::SetDefaultPrivileges { owner, changes: changes.clone() };
        (!changes.is_empty()).then(|| self.inside_step(service, "default-privileges".to_owned(), action))
    }

    fn wanted_default_privileges(&self, service: &Service) -> BTreeMap<DefaultAclObjects, BTreeMap<Grantee, Privileges>> {
        use DefaultAclObjects::{Functions, Schemas, Sequences, Tables, Types};
        let mut wanted: BTreeMap<DefaultAclObjects, BTreeMap<Grantee, Privileges>> =
            ALL_OBJECTS.into_iter().map(|objects| (objects, BTreeMap::new())).collect();
        let mut want = |objects: DefaultAclObjects, grantee: Grantee, privileges: &[&'static str]| {
            wanted.entry(objects).or_default().insert(grantee, privileges.iter().copied().collect());
        };
        // The use of a type gives nobody data, and without it no cast works.
        want(Types, Grantee::Public, &["USAGE"]);
        if let Some(monitoring) = self.data_monitoring() {
            want(Tables, Grantee::Role(monitoring.clone()), &["SELECT"]);
            want(Sequences, Grantee::Role(monitoring.clone()), &["SELECT"]);
            want(Schemas, Grantee::Role(monitoring), &["USAGE"]);
        }
        if service.access == Access::Split {
            let application = Grantee::Role(service.application());
            want(Tables, application.clone(), &["DELETE", "INSERT", "SELECT", "UPDATE"]);
            want(Sequences, application.clone(), &["SELECT", "UPDATE", "USAGE"]);
            want(Functions, application.clone(), &["EXECUTE"]);
            want(Schemas, application, &["USAGE"]);
        }
        wanted
    }

    fn default_changes(
        &self,
        objects: DefaultAclObjects,
        schema: Option<&SchemaName>,
        wanted: &BTreeMap<Grantee, Privileges>,
        observed: &BTreeMap<Grantee, BTreeSet<String>>,
    ) -> Vec<DefaultPrivilege> {
        let change = |grantee: &Grantee, privileges| DefaultPrivilege {
            objects,
            schema: schema.cloned(),
            grantee: grantee.clone(),
            privileges,
        };
        let is_trusted =
            |grantee: &Grantee| matches!(grantee, Grantee::Role(role) if self.spec.settings.trusted_roles.contains(role));
        let mut changes = Vec::new();
        for (grantee, privileges) in observed.iter().filter(|(grantee, _)| !is_trusted(grantee)) {
            let allowed = wanted.get(grantee);
            if privileges.iter().any(|privilege| allowed.is_none_or(|allowed| !allowed.contains(privilege.as_str()))) {
                changes.push(change(grantee, Privileges::new()));
                changes.extend(allowed.map(|allowed| change(grantee, allowed.clone())));
            }
        }
        for (grantee, privileges) in wanted {
            let has = |privilege: &&str| observed.get(grantee).is_some_and(|observed| observed.contains(*privilege));
            let done = changes.iter().any(|change| change.grantee == *grantee);
            if !done && !privileges.iter().all(has) {
                changes.push(change(grantee, privileges.clone()));
            }
        }
        changes
    }

    /// Grants on tables that were there before their reader was.
    fn existing(&self, service: &Service, contents: &Contents) -> Vec<Step> {
        let own = service_roles(service);
        let mut steps = Vec::new();
        for reader in self.readers(service) {
            let write = reader == service.application();
            let is_new = !self.inventory.roles.contains_key(&reader);
            let holds_objects = contents.objects_by_owner.iter().any(|(role, count)| *count > 0 && own.contains(role));
            let is_hidden = |schema: &SchemaName| {
                let mut hidden = contents.hidden_relations.iter();
                hidden.any(|hidden| hidden.reader == reader && hidden.schema == *schema && own.contains(&hidden.owner))
            };
            // Of a reader that is still to be made nothing is known but that it can read nothing.
            let schemas = self.own_schemas(service, contents).filter(|schema| (is_new && holds_objects) || is_hidden(schema));
            for schema in schemas {
                let action =
                    Action::GrantExisting { schema: schema.clone(), owner: service.owner(), grantee: reader.clone(), write };
                steps.push(self.inside_step(service, format!("schema/{schema}"), action));
            }
        }
        steps
    }

    /// The schemas that exist and are fenced by the plan: only there does a grant make sense.
    fn own_schemas<'c>(&self, service: &'c Service, contents: &'c Contents) -> impl Iterator<Item = &'c SchemaName> {
        contents.schemas.keys().filter(|schema| schema.as_str() == "public" || service.schemas.contains(schema))
    }

    fn extensions(&mut self, service: &Service, contents: &Contents) -> Vec<Step> {
        let mut steps = Vec::new();
        for extension in self.spec.extensions(service) {
            if contents.extensions.contains_key(&extension) {
                continue;
            }
            let available = self.inventory.available_extensions.known();
            let Some(available) = available else {
                // Nothing is known, so the server decides.
                let action = Action::CreateExtension { extension: extension.clone(), in_public: true };
                steps.push(self.inside_step(service, format!("extension/{extension}"), action));
                continue;
            };
            let Some(found) = available.get(&extension) else {
                self.extension_unavailable(service, &extension);
                continue;
            };
            let action = Action::CreateExtension { extension: extension.clone(), in_public: found.schema.is_none() };
            let step = self.inside_step(service, format!("extension/{extension}"), action);
            let admin = &self.inventory.admin;
            if admin.superuser || !found.superuser || found.trusted || admin.cloud_superuser {
                steps.push(step);
            } else {
                self.extension_needs_dba(service, &extension, &step);
            }
        }
        steps
    }

    fn extension_unavailable(&mut self, service: &Service, extension: &ExtensionName) {
        let summary = format!("extension \"{extension}\" is not installed on the server");
        let code = Code::PLAN_EXTENSION_UNAVAILABLE;
        if service.extensions.contains(extension) {
            let diagnostic = Diagnostic::error(code, summary)
                .at(service.place.clone())
                .about(format!("service \"{}\"", service.name))
                .hint("Install its package on the server's machine, or take it out of the service's extensions.");
            self.block(Address::Service(service.name.clone(), format!("extension/{extension}")), diagnostic, Vec::new());
        } else if self.diagnostics.iter().all(|diagnostic| diagnostic.summary != summary) {
            self.diagnostics.push(
                Diagnostic::note(code, summary)
                    .detail("It is one of default_extensions, which are created where the server has them, so it is left out."),
            );
        }
    }

    fn extension_needs_dba(&mut self, service: &Service, extension: &ExtensionName, step: &Step) {
        let admin = &self.inventory.admin.role;
        let diagnostic =
            Diagnostic::error(Code::PLAN_PRIVILEGE, format!("role \"{admin}\" may not create extension \"{extension}\""))
                .at(service.place.clone())
                .about(format!("service \"{}\"", service.name))
                .detail("The extension is not trusted, so only a superuser may create it.")
                .hint(format!("A DBA must run the statement in database \"{}\", once.", service.database));
        let database = Some(service.database.clone());
        let statements =
            step.statements().iter().map(|sql| DbaStatement { database: database.clone(), sql: sql.to_string() }).collect();
        self.block(step.address.clone(), diagnostic, statements);
    }
}

const ALL_OBJECTS: [DefaultAclObjects; 5] = [
    DefaultAclObjects::Tables,
    DefaultAclObjects::Sequences,
    DefaultAclObjects::Functions,
    DefaultAclObjects::Types,
    DefaultAclObjects::Schemas,
];

/// What PostgreSQL grants on new objects when no default privileges are set (`acldefault`).
fn built_in_default(objects: DefaultAclObjects) -> BTreeMap<Grantee, BTreeSet<String>> {
    let privilege = match objects {
        DefaultAclObjects::Functions => "EXECUTE",
        DefaultAclObjects::Types => "USAGE",
        DefaultAclObjects::Tables | DefaultAclObjects::Sequences | DefaultAclObjects::Schemas | DefaultAclObjects::LargeObjects => {
            return BTreeMap::new();
        }
    };
    BTreeMap::from([(Grantee::Public, BTreeSet::from([privilege.to_owned()]))])
}

/// Who but the owner holds what.
fn held(acl: &BTreeSet<AclItem>, owner: &RoleName) -> BTreeMap<Grantee, BTreeSet<String>> {
    let mut held: BTreeMap<Grantee, BTreeSet<String>> = BTreeMap::new();
    for item in acl.iter().filter(|item| item.grantee != Grantee::Role(owner.clone())) {
        held.entry(item.grantee.clone()).or_default().insert(item.privilege.clone());
    }
    held
}

fn is_within(item: &AclItem, wanted: &Privileges) -> bool {
    wanted.contains(item.privilege.as_str()) && !item.grantable
}

/// What a database made from template0 holds.
fn fresh_contents(admin: &RoleName) -> Contents {
    let owner = RoleName::new(DATABASE_OWNER).unwrap_or_else(|_| admin.clone());
    let usage = AclItem { grantee: Grantee::Public, grantor: owner.clone(), privilege: "USAGE".to_owned(), grantable: false };
    let public = Schema { owner, acl: BTreeSet::from([usage]) };
    Contents {
        schemas: SchemaName::new("public").ok().map(|name| (name, public)).into_iter().collect(),
        extensions: BTreeMap::new(),
        default_acls: Vec::new(),
        objects_by_owner: BTreeMap::new(),
        hidden_relations: BTreeSet::new(),
        data_bytes: Some(0),
    }
}
