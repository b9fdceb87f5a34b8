//! Settled values by name, and the settings that are made of them.

use std::collections::BTreeMap;

use super::model::{ConnectionLimit, Environment, HostPort, MonitoringAccess, PoolMode, Settings, SslMode};
use super::setting::{SettingDefault, SettingInfo};
use super::text::{At, Texts};
use super::typed::{Conversion, Item, Typed};
use crate::name::{DatabaseName, ExtensionName, RoleName};

/// The value of each setting of a table, and where it was given.
#[derive(Default)]
pub(super) struct Resolved {
    values: BTreeMap<&'static str, (Typed, At)>,
}

impl Resolved {
    /// Every setting of a table that has a default of its own, at that default.
    pub(super) fn defaults(table: &'static [SettingInfo]) -> Self {
        let mut resolved = Self::default();
        for info in table {
            resolved.reset(info);
        }
        resolved
    }

    /// Puts a setting back to its default.
    pub(super) fn reset(&mut self, info: &'static SettingInfo) {
        let typed = match info.default {
            SettingDefault::Value(text) => default_value(info, text),
            SettingDefault::Derived(_) => Typed::Absent,
        };
        self.values.insert(info.name, (typed, At::BUILT_IN));
    }

    /// Takes a value.
    pub(super) fn put(&mut self, info: &'static SettingInfo, typed: Typed, at: At) {
        self.values.insert(info.name, (typed, at));
    }

    /// Where a setting was given.
    pub(super) fn at(&self, name: &str) -> At {
        self.values.get(name).map_or(At::BUILT_IN, |(_, at)| *at)
    }

    /// True when someone gave a value.
    pub(super) fn is_given(&self, name: &str) -> bool {
        self.at(name) != At::BUILT_IN
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        match self.values.get(name) {
            Some((Typed::Text(text), _)) => Some(text.clone()),
            _ => None,
        }
    }

    pub(super) fn integer<T: TryFrom<u64>>(&self, name: &str) -> Option<T> {
        match self.values.get(name) {
            Some((Typed::Integer(number), _)) => T::try_from(*number).ok(),
            _ => None,
        }
    }

    pub(super) fn limit(&self, name: &str) -> Option<ConnectionLimit> {
        self.integer(name).map(ConnectionLimit)
    }

    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        match self.values.get(name) {
            Some((Typed::Bool(flag), _)) => Some(*flag),
            _ => None,
        }
    }

    /// The elements of a list, each once, in order.
    pub(super) fn items(&self, name: &str) -> Vec<Item> {
        let mut items: Vec<Item> = Vec::new();
        if let Some((Typed::List(list), _)) = self.values.get(name) {
            let mut seen = std::collections::BTreeSet::new();
            items.extend(list.iter().filter(|item| seen.insert(item.text.as_str())).cloned());
        }
        items
    }

    pub(super) fn list<T, E>(&self, name: &str, make: impl Fn(String) -> Result<T, E>) -> Option<Vec<T>> {
        self.items(name).into_iter().map(|item| make(item.text).ok()).collect()
    }

    pub(super) fn map(&self, name: &str) -> BTreeMap<String, Item> {
        match self.values.get(name) {
            Some((Typed::Map(map), _)) => map.clone(),
            _ => BTreeMap::new(),
        }
    }

    /// The settings. None when a value is missing, which only an error that is reported already can cause.
    pub(super) fn settings(&self) -> Option<Settings> {
        Some(Settings {
            postgres_host: self.text("postgres_host")?,
            postgres_port: self.integer("postgres_port")?,
            postgres_database: DatabaseName::new(self.text("postgres_database")?).ok()?,
            postgres_username: RoleName::new(self.text("postgres_username")?).ok()?,
            postgres_sslmode: SslMode::from_word(&self.text("postgres_sslmode")?)?,
            environment: Environment::from_word(&self.text("environment")?)?,
            database_connection_limit: self.limit("database_connection_limit")?,
            user_connection_limit: self.limit("user_connection_limit")?,
            create_monitoring_user: self.flag("create_monitoring_user")?,
            backup_retention_days: self.integer("backup_retention_days")?,
            enable_ssl: self.flag("enable_ssl")?,
            kubernetes_namespace: self.text("kubernetes_namespace")?,
            kubeconfig_path: self.text("kubeconfig_path")?,
            kubernetes_context: self.text("kubernetes_context"),
            enable_pgbouncer: self.flag("enable_pgbouncer")?,
            pgbouncer_pool_mode: PoolMode::from_word(&self.text("pgbouncer_pool_mode")?)?,
            pgbouncer_max_client_conn: self.integer("pgbouncer_max_client_conn")?,
            pgbouncer_default_pool_size: self.integer("pgbouncer_default_pool_size")?,
            enable_backup_automation: self.flag("enable_backup_automation")?,
            backup_storage_path: self.text("backup_storage_path")?,
            enable_replica_setup: self.flag("enable_replica_setup")?,
            tags: self.map("tags").into_iter().map(|(key, item)| (key, item.text)).collect(),
            name_prefix: self.text("name_prefix")?,
            maintenance_database: DatabaseName::new(self.text("maintenance_database")?).ok()?,
            service_host: self.text("service_host"),
            service_port: self.integer("service_port"),
            postgres_replica_hosts: self.list("postgres_replica_hosts", |text| HostPort::parse(&text).ok_or(()))?,
            postgres_sslrootcert: self.text("postgres_sslrootcert"),
            postgres_sslcert: self.text("postgres_sslcert"),
            postgres_sslkey: self.text("postgres_sslkey"),
            fence_maintenance_databases: self.flag("fence_maintenance_databases")?,
            default_extensions: self.list("default_extensions", ExtensionName::new)?,
            collation: self.text("collation")?,
            trusted_roles: self.list("trusted_roles", RoleName::new)?,
            monitoring_connection_limit: self.limit("monitoring_connection_limit")?,
            monitoring_access: MonitoringAccess::from_word(&self.text("monitoring_access")?)?,
            pgbouncer_host: self.text("pgbouncer_host")?,
            pgbouncer_port: self.integer("pgbouncer_port")?,
            pgbouncer_reserve_pool_size: self.integer("pgbouncer_reserve_pool_size")?,
            pgbouncer_server_idle_timeout: self.integer("pgbouncer_server_idle_timeout")?,
            pgbouncer_instances: self.integer("pgbouncer_instances")?,
            pgbouncer_version: self.text("pgbouncer_version")?,
            credential_recipients: self.list("credential_recipients", Ok::<_, ()>)?,
            backup_schedule: self.text("backup_schedule")?,
            backup_minimum_count: self.integer("backup_minimum_count")?,
            backup_recipients: self.list("backup_recipients", Ok::<_, ()>)?,
            backup_on_failure: self.text("backup_on_failure"),
        })
    }
}

/// A default of the table. A test makes sure that each of them converts.
fn default_value(info: &'static SettingInfo, text: &str) -> Typed {
    let texts = Texts::new(&[], &mut Vec::new());
    let huge_numbers = std::collections::BTreeSet::new();
    let evaluation = super::value::Evaluation { texts: &texts, layer: At::BUILT_IN.layer, base: 0, huge_numbers: &huge_numbers };
    let mut unused = Vec::new();
    hcl_edit::parser::parse_expr(text)
        .ok()
        .map(|expression| evaluation.value(&expression, &mut unused))
        .and_then(|given| match given.value {
            // An empty description passes as it is.
            super::value::Value::Text(text) if text.is_empty() => Some(Typed::Text(text)),
            _ => Conversion { texts: &texts, info, subject: None }.convert(&given, &mut unused),
        })
        .unwrap_or(Typed::Absent)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::super::setting::{SETTINGS, settings};
    use super::*;

    #[test]
    fn every_default_is_a_value_of_its_setting() {
        let resolved = Resolved::defaults(SETTINGS);
        for info in settings() {
            if let SettingDefault::Value(text) = info.default {
                assert_eq!(default_value(info, text) == Typed::Absent, text == "null", "{}", info.name);
            }
        }
        assert!(resolved.settings().is_some());
    }

    #[test]
    fn the_table_and_the_model_have_the_same_settings() {
        let settings = Resolved::defaults(SETTINGS).settings().unwrap();
        let json = serde_json::to_value(settings).unwrap();
        let mut fields: Vec<&String> = json.as_object().unwrap().keys().collect();
        let mut names: Vec<&str> = SETTINGS.iter().filter(|info| !info.is_sensitive).map(|info| info.name).collect();
        fields.sort();
        names.sort_unstable();
        assert_eq!(fields, names);
    }
}
