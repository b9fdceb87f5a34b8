//! Taking an island that is there into the state.
//!
//! The cluster knows names, limits, extensions, schemas, settings and who may change what. How many instances run, how large their
//! pools are and which tables are to be split off it does not: these come from the `pgisle.hcl` of the project's folder, where there
//! is one that has the service, and are the defaults otherwise.

use std::path::Path as FilePath;

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::inventory::{Inventory, Readable};
use pgisle_core::marker::Kind;
use pgisle_core::name::{RoleName, ServiceName};
use pgisle_core::spec::{Access, ConnectionLimit, SPEC_FILE, Service, load};
use pgisle_engine::spec_files::{self, SpecFiles};

use super::state::{self, Logins, text_value};
use crate::finding::general;
use crate::provider::{Finding, Stated};
use crate::site::Site;
use crate::translate::{Attributes, service};
use crate::value::Value;

/// Takes an island into the state, by its service's name or its database's.
pub(crate) async fn import(site: &Site, id: &str, empty: Attributes) -> Stated {
    match Box::pin(found(site, id)).await {
        Ok(service) => {
            let credentials = site.credentials().unwrap_or_default();
            let mut values = empty;
            values.extend(state::resolved(Some(&site.block), &service, false));
            values.insert("deletion_policy".to_owned(), text_value("retire"));
            values.insert("drift".to_owned(), Value::List(Vec::new()));
            if let Some(replica) = &service.replica {
                let region = replica.region.as_ref().map_or(Value::Null, text_value);
                let fields = [("mode".to_owned(), text_value(replica.mode)), ("region".to_owned(), region)];
                values.insert("replica".to_owned(), Value::Map(fields.into()));
            }
            let logins = credentials.services.get(&service.name);
            state::put_logins(&mut values, site.settings(), &service, Logins { known: logins, hide: false });
            let private = state::private(&values, logins);
            Stated { state: Value::Map(values), private, findings: Vec::new() }
        }
        Err(findings) => Stated { state: Value::Null, private: Vec::new(), findings },
    }
}

async fn found(site: &Site, id: &str) -> Result<Service, Vec<Finding>> {
    let inventory = site.inventory().await.map_err(|diagnostic| general(&[diagnostic]))?;
    let settings = site.settings();
    let is_ours = |marker: &pgisle_core::marker::Marker| {
        marker.kind == Kind::Database && marker.same_owner(&settings.name_prefix, settings.environment.as_str())
    };
    let island = inventory.databases.iter().find_map(|(database, observed)| {
        let service = observed.marker().filter(|marker| is_ours(marker))?.service?;
        (service.as_str() == id || database.as_str() == id).then_some((service, database))
    });
    let Some((name, database)) = island else {
        let diagnostic = Diagnostic::error(Code::PLAN_UNKNOWN_TARGET, format!("there is no island \"{id}\" to import"))
            .detail(format!(
                "No database of name_prefix \"{}\" and environment \"{}\" belongs to a service of this name.",
                settings.name_prefix, settings.environment
            ))
            .hint(
                "The data source pgisle_inventory lists what there is. A database that pgisle did not make is taken over by the \
                   resource itself, with adopt = true.",
            );
        return Err(general(&[diagnostic]));
    };
    if let Some(service) = of_files(site, &name).filter(|service| service.database == *database) {
        return Ok(service);
    }
    let mut values = Attributes::from([("name".to_owned(), text_value(&name)), ("database".to_owned(), text_value(database))]);
    // A name that core would not have given is still the one that is there.
    if let Some(user) = login(&inventory, &name, site) {
        values.insert("user".to_owned(), text_value(user));
    }
    let service = service(Some(&site.block), &values)?;
    Ok(observed(service, &inventory, site))
}

/// The service as the files of the project's folder describe it.
fn of_files(site: &Site, name: &ServiceName) -> Option<Service> {
    let folder: &FilePath = &site.folder;
    if !folder.join(SPEC_FILE).exists() {
        return None;
    }
    let environment = format!("environment={}", site.settings().environment);
    let files = SpecFiles { folder, var_files: &[], assignments: &[&environment], environment: &[] };
    let sources = spec_files::read(&files).ok()?;
    load(&sources).spec?.services.remove(name)
}

/// The login of slot A, which the other slot's name ends in `_b` of.
fn login(inventory: &Inventory, service: &ServiceName, site: &Site) -> Option<RoleName> {
    let settings = site.settings();
    let logins: Vec<&RoleName> = inventory
        .roles
        .iter()
        .filter(|(_, role)| {
            role.marker().is_some_and(|marker| {
                marker.kind == Kind::Login
                    && marker.service.as_ref() == Some(service)
                    && marker.same_owner(&settings.name_prefix, settings.environment.as_str())
            })
        })
        .map(|(name, _)| name)
        .collect();
    let is_second = |name: &RoleName| logins.iter().any(|first| name.as_str() == format!("{first}_b"));
    logins.iter().find(|name| !is_second(name)).map(|name| (*name).clone())
}

/// A service with what can be seen of it.
fn observed(mut service: Service, inventory: &Inventory, site: &Site) -> Service {
    let limit = |limit: i32| u32::try_from(limit).ok().map(ConnectionLimit);
    if let Some(database) = inventory.databases.get(&service.database) {
        service.database_connection_limit = limit(database.connection_limit).unwrap_or(service.database_connection_limit);
    }
    if inventory.roles.contains_key(&service.application()) {
        service.access = Access::Split;
    }
    if let Some(role) = inventory.roles.get(&service.user) {
        service.connection_limit = limit(role.connection_limit).unwrap_or(service.connection_limit);
        let own = role.settings.iter().filter(|(name, _)| name.as_str() != "role");
        service.settings = own.map(|(name, value)| (name.clone(), value.clone())).collect();
    }
    if let Some(Readable::Known(contents)) = inventory.contents.get(&service.database) {
        let defaults = &site.settings().default_extensions;
        let is_own = |name: &&pgisle_core::name::ExtensionName| !defaults.contains(name) && name.as_str() != "plpgsql";
        service.extensions = contents.extensions.keys().filter(is_own).cloned().collect();
        service.schemas = contents.schemas.keys().filter(|name| name.as_str() != "public").cloned().collect();
    }
    service
}
