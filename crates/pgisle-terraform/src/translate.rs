//! From Terraform's values to the text of a spec, which core reads as it reads any file: what is allowed, what the defaults are and
//! what clashes is decided there, and its findings come back to the attributes by the lines that these were written on.

use std::collections::BTreeMap;

use pgisle_core::diagnostic::{Code, Diagnostic, Severity};
use pgisle_core::secret::Secret;
use pgisle_core::spec::{LayerKind, SPEC_FILE, Service, Settings, Sources, Spec, hcl_text, load};

use crate::blocks;
use crate::provider::Finding;
use crate::value::{Path, Step, Value};

/// What a definition says of a service whose password Terraform does not keep.
const HIDES_PASSWORD: &str = "password_wo";

/// An object's attributes.
pub(crate) type Attributes = BTreeMap<String, Value>;

/// A name for the service that a provider's block must have to be read, and has not.
const NOBODY: &str = "nobody";

/// What a provider's block comes to.
#[derive(Debug, Clone)]
pub(crate) struct ProviderBlock {
    /// The settings, with defaults for what is not known yet.
    pub(crate) settings: Settings,
    /// `postgres_password`.
    pub(crate) password: Option<Secret>,
    /// The settings that are given.
    pub(crate) given: Vec<&'static str>,
    /// Whether anything is not known yet.
    pub(crate) has_unknown: bool,
    /// The block as text, for reading services under it.
    text: Written,
}

/// Lines, each with the attribute that it says.
#[derive(Clone, Default)]
struct Written {
    text: String,
    paths: Vec<Option<Path>>,
}

impl std::fmt::Debug for Written {
    /// There may be a password in it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Written({} lines)", self.paths.len())
    }
}

impl Written {
    fn line(&mut self, text: &str, path: Option<Path>) {
        self.text.push_str(text);
        self.text.push('\n');
        self.paths.push(path);
    }

    /// Writes what is given of these attributes; says whether anything is not known.
    fn attributes(&mut self, names: impl Iterator<Item = &'static str>, values: &Attributes, above: &Path) -> bool {
        let mut has_unknown = false;
        for name in names {
            let value = values.get(name).unwrap_or(&Value::Null);
            if is_known(value) {
                if let Some(text) = hcl(value) {
                    self.line(&format!("{name} = {text}"), Some(above.clone().then(Step::Attribute(name.to_owned()))));
                }
            } else {
                has_unknown = true;
            }
        }
        has_unknown
    }

    /// Reads it all, and gives each finding its attribute. Those that `is_mine` refuses are someone else's to tell.
    fn read(&self, is_mine: impl Fn(&Option<Path>) -> bool) -> (Option<Spec>, pgisle_core::spec::SpecSecrets, Vec<Finding>) {
        let mut sources = Sources::new();
        sources.push(LayerKind::SpecFile, SPEC_FILE, self.text.clone());
        let loaded = load(&sources);
        let findings = loaded.diagnostics.iter().filter(|diagnostic| diagnostic.severity != Severity::Note);
        let findings = findings.map(|diagnostic| (diagnostic, self.path_of(diagnostic)));
        let findings = findings.filter(|(_, path)| is_mine(path)).map(|(diagnostic, path)| Finding::of(diagnostic, path));
        let findings = findings.collect();
        (loaded.spec, loaded.secrets, findings)
    }

    fn path_of(&self, diagnostic: &Diagnostic) -> Option<Path> {
        let line = usize::try_from(diagnostic.place.as_ref()?.line).ok()?;
        self.paths.get(line.checked_sub(1)?)?.clone()
    }
}

/// Reads a provider's block.
pub(crate) fn provider(config: &Value) -> Result<ProviderBlock, Vec<Finding>> {
    let Value::Map(values) = config else {
        return Err(vec![Finding::general("the provider's configuration is no block", "")]);
    };
    let mut text = Written::default();
    let has_unknown = text.attributes(blocks::provider_settings().map(|info| info.name), values, &Path::default());
    let mut whole = text.clone();
    whole.line(&format!("service \"{NOBODY}\" {{}}"), None);
    let (spec, secrets, findings) = whole.read(|_| true);
    let Some(spec) = spec else { return Err(findings) };
    let is_given = |name: &&str| values.get(*name).is_some_and(|value| is_known(value) && *value != Value::Null);
    let given = blocks::provider_settings().map(|info| info.name).filter(is_given).collect();
    Ok(ProviderBlock { settings: spec.settings, password: secrets.postgres_password, given, has_unknown, text })
}

/// Reads a service's block under a provider's. What is not known yet is taken as not given.
pub(crate) fn service(provider: Option<&ProviderBlock>, values: &Attributes) -> Result<Service, Vec<Finding>> {
    let mut written = provider.map(|provider| provider.text.clone()).unwrap_or_default();
    let of_provider = written.paths.len();
    let name = match values.get("name") {
        Some(Value::String(name)) => name.as_str(),
        _ => NOBODY,
    };
    written.line(&format!("service {} {{", hcl_text(name)), Some(Path::attribute("name")));
    let top = Path::default();
    written.attributes(blocks::service_settings().map(|info| info.name), values, &top);
    if let Some(Value::Map(replica)) = values.get("replica") {
        let path = Path::attribute("replica");
        written.line("replica {", Some(path.clone()));
        written.attributes(blocks::replica_settings().map(|info| info.name), replica, &path);
        written.line("}", None);
    }
    written.line("}", None);
    let of_service = &written.paths[of_provider..];
    // What is wrong with the provider's block is told once, there.
    let (spec, _, findings) = written.read(|path| path.is_none() || of_service.contains(path));
    let service = spec.and_then(|spec| spec.services.into_values().next());
    match service {
        Some(service) if !crate::finding::any_error(&findings) => Ok(service),
        _ => Err(findings),
    }
}

/// A service as one text, which [`of_definition`] reads under the same provider: its name, and what is not as it would be for a service
/// of which nothing else is said. Short, for it stands in every plan.
///
/// `hides_password` says that the password must not get into the state by what is made of the definition.
pub(crate) fn definition(provider: Option<&ProviderBlock>, service: &Service, hides_password: bool) -> String {
    let mut said = fields(service);
    let usual = usual(provider, service.name.as_str()).map(|usual| fields(&usual)).unwrap_or_default();
    said.retain(|name, value| name == "name" || usual.get(name) != Some(value));
    if hides_password {
        said.insert(HIDES_PASSWORD.to_owned(), true.into());
    }
    serde_json::Value::Object(said).to_string()
}

/// Reads a service's text, and whether its password is to be kept out of the state.
pub(crate) fn of_definition(provider: &ProviderBlock, text: &str) -> Result<(Service, bool), Diagnostic> {
    let refused = |what: String| {
        Diagnostic::error(Code::SPEC_SYNTAX, "this is not the definition of a service")
            .detail(format!("{what}."))
            .hint("Pass the attribute definition of a pgisle_service as it is.")
    };
    let mut said: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|error| refused(error.to_string()))?;
    let hides_password = said.remove(HIDES_PASSWORD).is_some();
    let name = said.get("name").and_then(serde_json::Value::as_str).ok_or_else(|| refused("It has no name".to_owned()))?;
    let usual = usual(Some(provider), name).ok_or_else(|| refused(format!("{name:?} is no name of a service")))?;
    let mut whole = fields(&usual);
    whole.extend(said.clone());
    whole.insert("place".to_owned(), serde_json::json!({"file": "definition", "line": 1, "column": 1}));
    let service = serde_json::from_value(serde_json::Value::Object(whole)).map_err(|error| refused(error.to_string()))?;
    Ok((service, hides_password))
}

/// A service of which nothing but the name is said.
fn usual(provider: Option<&ProviderBlock>, name: &str) -> Option<Service> {
    let values = Attributes::from([("name".to_owned(), Value::String(name.to_owned()))]);
    service(provider, &values).ok()
}

/// A service's fields, without where it stands in a file.
fn fields(service: &Service) -> serde_json::Map<String, serde_json::Value> {
    let mut value = serde_json::to_value(service).unwrap_or_default();
    let mut fields = value.as_object_mut().map(std::mem::take).unwrap_or_default();
    fields.remove("place");
    fields.remove("pool_place");
    fields
}

/// Whether everything in a value is known.
pub(crate) fn is_known(value: &Value) -> bool {
    match value {
        Value::Unknown => false,
        Value::List(items) => items.iter().all(is_known),
        Value::Map(items) => items.values().all(is_known),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// A value as HCL; none for null.
fn hcl(value: &Value) -> Option<String> {
    Some(match value {
        Value::Null | Value::Unknown => return None,
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        Value::String(text) => hcl_text(text),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(|item| hcl(item).unwrap_or_else(|| "null".to_owned())).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(items) => {
            let items: Vec<String> = items
                .iter()
                .map(|(key, item)| format!("{} = {}", hcl_text(key), hcl(item).unwrap_or_else(|| "null".to_owned())))
                .collect();
            format!("{{ {} }}", items.join(", "))
        }
    })
}
