//! A service's attributes, from what core and the store say.

use pgisle_core::artifact::{Endpoint, connection_url};
use pgisle_core::credential::{ServiceCredentials, Verifier};
use pgisle_core::name::RoleName;
use pgisle_core::secret::Secret;
use pgisle_core::spec::{Access, Service, Settings};

use crate::site::StatedLogin;
use crate::translate::{Attributes, ProviderBlock, definition};
use crate::value::Value;

/// A service's logins, and whether their secrets stay out of the state.
pub(super) struct Logins<'a> {
    /// The logins; none when the store has none.
    pub(super) known: Option<&'a ServiceCredentials>,
    /// Whether their secrets stay out of the state.
    pub(super) hide: bool,
}

/// A text of an object.
pub(crate) fn word(values: &Attributes, name: &str) -> Option<String> {
    match values.get(name) {
        Some(Value::String(text)) => Some(text.clone()),
        _ => None,
    }
}

/// A truth of an object.
pub(crate) fn flag(values: &Attributes, name: &str) -> Option<bool> {
    match values.get(name) {
        Some(Value::Bool(value)) => Some(*value),
        _ => None,
    }
}

/// Whether the password is one that Terraform does not keep.
pub(super) fn is_write_only(values: &Attributes) -> bool {
    !matches!(values.get("password_wo_version"), None | Some(Value::Null))
}

/// A list of texts.
pub(crate) fn texts<T: ToString>(items: &[T]) -> Value {
    Value::List(items.iter().map(|item| Value::String(item.to_string())).collect())
}

/// Anything that has a text, as one.
pub(crate) fn text_value(value: impl ToString) -> Value {
    Value::String(value.to_string())
}

fn number(value: u32) -> Value {
    Value::Number(f64::from(value))
}

/// What a service says of itself when everything that was left out has its default.
pub(super) fn resolved(provider: Option<&ProviderBlock>, service: &Service, hide: bool) -> Attributes {
    let Service {
        name,
        description,
        instances,
        database,
        user,
        connection_limit,
        database_connection_limit,
        pool_size,
        extensions,
        schemas,
        tables,
        settings,
        access,
        replica: _,
        place: _,
        pool_place: _,
    } = service;
    let settings = settings.iter().map(|(name, value)| (name.to_string(), text_value(value))).collect();
    let migrator = if *access == Access::Split { text_value(service.migrator()) } else { Value::Null };
    let values = [
        ("id", text_value(name)),
        ("name", text_value(name)),
        ("description", text_value(description)),
        ("instances", number(*instances)),
        ("database", text_value(database)),
        ("user", text_value(user)),
        ("connection_limit", number(connection_limit.0)),
        ("database_connection_limit", number(database_connection_limit.0)),
        ("pool_size", number(*pool_size)),
        ("extensions", texts(extensions)),
        ("schemas", texts(schemas)),
        ("tables", texts(tables)),
        ("settings", Value::Map(settings)),
        ("access", text_value(access)),
        ("owner", text_value(service.owner())),
        ("migrator", migrator),
        ("definition", text_value(definition(provider, service, hide))),
    ];
    values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Fills in what was not known while planning.
pub(super) fn put_resolved(values: &mut Attributes, provider: &ProviderBlock, service: &Service) {
    let hide = is_write_only(values);
    for (name, value) in resolved(Some(provider), service, hide) {
        let slot = values.entry(name).or_insert(Value::Unknown);
        if !crate::translate::is_known(slot) {
            *slot = value;
        }
    }
}

/// Where services reach the server.
pub(crate) fn put_address(values: &mut Attributes, settings: &Settings) {
    let endpoint = Endpoint::of(settings);
    values.insert("host".to_owned(), text_value(&endpoint.host));
    values.insert("port".to_owned(), Value::Number(f64::from(endpoint.port)));
    values.insert("sslmode".to_owned(), text_value(endpoint.sslmode));
}

/// Puts the logins and what follows from them.
pub(super) fn put_logins(values: &mut Attributes, settings: &Settings, service: &Service, logins: Logins<'_>) {
    put_address(values, settings);
    let Logins { known, hide } = logins;
    let active = known.map(|logins| &logins.active);
    let login = active.map_or_else(|| text_value(&service.user), |login| text_value(&login.role));
    let previous = known.and_then(|logins| logins.draining.as_ref());
    values.insert("login".to_owned(), login);
    values.insert("credential".to_owned(), known.map_or(Value::Null, |logins| text_value(fingerprint(logins))));
    values.insert("previous_login".to_owned(), previous.map_or(Value::Null, |login| text_value(&login.role)));
    if hide {
        values.insert("password".to_owned(), Value::Null);
        values.insert("database_url".to_owned(), Value::Null);
    } else if let Some(active) = active {
        values.insert("password".to_owned(), text_value(active.secret.expose()));
        values.insert("database_url".to_owned(), url(settings, service, active.role.as_str(), &active.secret));
    }
}

/// Another one whenever a login is let in, shut out or given another password: generated files hold them all.
fn fingerprint(logins: &ServiceCredentials) -> String {
    logins.logins().map(|login| login.verifier.fingerprint()).collect::<Vec<_>>().join("-")
}

/// The URL of a login.
pub(super) fn url(settings: &Settings, service: &Service, role: &str, secret: &Secret) -> Value {
    let endpoint = Endpoint::of(settings);
    let url = connection_url(role, secret, &endpoint.host, endpoint.port, service.database.as_str(), endpoint.sslmode);
    text_value(url.expose())
}

/// Nothing may be unknown once it is applied; what nobody has said is null.
pub(super) fn whole(mut values: Attributes) -> Value {
    for value in values.values_mut() {
        if !crate::translate::is_known(value) {
            *value = Value::Null;
        }
    }
    Value::Map(values)
}

/// What is kept beside the state: the verifier, where the password is in the state anyway. A machine without the store makes the same
/// login of both, and not a new verifier that the server would have to be given.
pub(super) fn private(values: &Attributes, logins: Option<&ServiceCredentials>) -> Vec<u8> {
    match logins {
        Some(logins) if !is_write_only(values) => {
            serde_json::json!({"v": 1, "verifier": logins.active.verifier.expose()}).to_string().into_bytes()
        }
        _ => Vec::new(),
    }
}

/// The login that the state has, with its password.
pub(crate) fn stated_login(values: &Attributes, private: &[u8]) -> Option<StatedLogin> {
    let role = RoleName::new(word(values, "login").or_else(|| word(values, "name"))?).ok()?;
    let secret = Secret::new(word(values, "password")?);
    let kept: Option<serde_json::Value> = serde_json::from_slice(private).ok();
    let verifier = kept.as_ref().and_then(|kept| kept.get("verifier")?.as_str()).and_then(Verifier::parse);
    Some(StatedLogin { role, secret, verifier })
}
