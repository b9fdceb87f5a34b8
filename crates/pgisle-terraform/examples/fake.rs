//! A provider of things that are files, with every kind of attribute, for the tests of the protocol with a real Terraform.
//!
//! What a thing's `behaviour` says happens when it is applied: `fail`, `panic`, `pause` for a moment, or `slow`, until Terraform
//! asks it to stop.

#![expect(clippy::unwrap_used, reason = "it is a test's: what panics here is caught where it matters")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pgisle_terraform::{
    Attribute, Block, Change, Finding, Given, Nested, Path, Planned, Provider, ProviderSchema, Stated, Step, Type, Value, serve,
};
use serde_json::Value as Json;
use tokio::sync::watch;

fn main() -> ExitCode {
    let make = || {
        let (folder, stopped) = (Mutex::default(), watch::Sender::new(false));
        Ok(Fake { schema: schema(), folder, stopped, busy: AtomicUsize::new(0), busiest: AtomicUsize::new(0) })
    };
    serve(std::env::args_os(), "registry.terraform.io/example/fake", make)
}

struct Fake {
    schema: ProviderSchema,
    folder: Mutex<Option<PathBuf>>,
    stopped: watch::Sender<bool>,
    /// How many changes run, and how many ran at once at most.
    busy: AtomicUsize,
    busiest: AtomicUsize,
}

fn attribute(name: &str, kind: Type, given: Given) -> Attribute {
    let description = format!("The {name}.");
    Attribute { name: name.to_owned(), kind, given, is_sensitive: false, is_write_only: false, description }
}

fn sensitive(attribute: Attribute) -> Attribute {
    Attribute { is_sensitive: true, ..attribute }
}

fn write_only(attribute: Attribute) -> Attribute {
    Attribute { is_write_only: true, ..attribute }
}

fn schema() -> ProviderSchema {
    use Given::{Computed, Optional, OptionalComputed, Required};
    let texts = || Box::new(Type::String);
    let limits = Block {
        attributes: vec![
            attribute("high", Type::Number, Required),
            attribute("low", Type::Number, OptionalComputed),
            write_only(attribute("key_wo", Type::String, Optional)),
        ],
        blocks: Vec::new(),
        description: "The limits.".to_owned(),
    };
    let thing = Block {
        attributes: vec![
            attribute("name", Type::String, Required),
            attribute("enabled", Type::Bool, OptionalComputed),
            attribute("size", Type::Number, Optional),
            attribute("words", Type::List(texts()), Optional),
            attribute("tags", Type::Map(texts()), Optional),
            sensitive(attribute("secret", Type::String, Optional)),
            write_only(sensitive(attribute("password_wo", Type::String, Optional))),
            attribute("password_version", Type::Number, Optional),
            attribute("behaviour", Type::String, Optional),
            attribute("id", Type::String, Computed),
            attribute("revision", Type::Number, Computed),
            sensitive(attribute("token", Type::String, Computed)),
        ],
        blocks: vec![Nested { name: "limits".to_owned(), block: limits }],
        description: "A thing.".to_owned(),
    };
    let things = Block {
        attributes: vec![
            attribute("prefix", Type::String, Optional),
            attribute("names", Type::List(texts()), Computed),
            attribute("quantity", Type::Number, Computed),
        ],
        ..Block::default()
    };
    let provider = Block { attributes: vec![attribute("folder", Type::String, Required)], ..Block::default() };
    ProviderSchema {
        provider,
        resources: BTreeMap::from([("fake_thing".to_owned(), thing)]),
        data_sources: BTreeMap::from([("fake_things".to_owned(), things)]),
    }
}

fn error(summary: &str, path: Option<Path>) -> Finding {
    Finding { is_error: true, summary: summary.to_owned(), detail: "Look at it.".to_owned(), path }
}

fn get<'a>(value: &'a Value, name: &str) -> &'a Value {
    let Value::Map(elements) = value else { return &Value::Null };
    elements.get(name).unwrap_or(&Value::Null)
}

fn text(value: &Value, name: &str) -> Option<String> {
    let Value::String(text) = get(value, name) else { return None };
    Some(text.clone())
}

fn elements(value: &mut Value) -> &mut BTreeMap<String, Value> {
    let Value::Map(elements) = value else { panic!("not an object") };
    elements
}

fn set(value: &mut Value, name: &str, new: Value) {
    elements(value).insert(name.to_owned(), new);
}

/// Gives what is still to be decided, when it is.
fn settle(value: &mut Value, name: &str, new: Value) {
    if *get(value, name) == Value::Unknown {
        set(value, name, new);
    }
}

fn to_json(value: &Value) -> Json {
    match value {
        Value::Null | Value::Unknown => Json::Null,
        Value::Bool(truth) => (*truth).into(),
        Value::Number(number) => (*number).into(),
        Value::String(text) => text.clone().into(),
        Value::List(elements) => elements.iter().map(to_json).collect(),
        Value::Map(elements) => Json::Object(elements.iter().map(|(key, element)| (key.clone(), to_json(element))).collect()),
    }
}

fn from_json(json: Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Bool(truth),
        Json::Number(number) => Value::Number(number.as_f64().unwrap()),
        Json::String(text) => Value::String(text),
        Json::Array(elements) => Value::List(elements.into_iter().map(from_json).collect()),
        Json::Object(elements) => Value::Map(elements.into_iter().map(|(key, element)| (key, from_json(element))).collect()),
    }
}

impl Fake {
    fn folder(&self) -> PathBuf {
        self.folder.lock().unwrap().clone().expect("it is configured")
    }

    fn stored(&self, id: &str) -> Value {
        let text = fs::read_to_string(self.folder().join(format!("{id}.json")));
        text.map_or(Value::Null, |text| from_json(serde_json::from_str(&text).unwrap()))
    }

    /// Makes or changes a thing, all but what its behaviour prevents.
    async fn make(&self, change: &Change) -> Result<Value, Finding> {
        let mut thing = change.planned.clone();
        let name = text(&thing, "name").unwrap();
        let behaviour = text(&thing, "behaviour").unwrap_or_default();
        match behaviour.as_str() {
            "fail" => return Err(error("the thing does not want to", Some(Path::attribute("size")))),
            "panic" => panic!("something with {}", text(&change.config, "secret").unwrap_or_default()),
            "pause" => tokio::time::sleep(Duration::from_millis(400)).await,
            "slow" => {
                fs::write(self.folder().join("slow"), std::process::id().to_string()).unwrap();
                let mut stopped = self.stopped.subscribe();
                let asked = tokio::time::timeout(Duration::from_secs(60), stopped.wait_for(|stopped| *stopped)).await;
                fs::write(self.folder().join("stopped"), format!("{}", asked.is_ok())).unwrap();
                return Err(error("it was stopped", None));
            }
            _ => {}
        }
        let revision = if let Value::Number(revision) = get(&change.prior, "revision") { revision + 1.0 } else { 1.0 };
        settle(&mut thing, "revision", Value::Number(revision));
        settle(&mut thing, "id", Value::String(name.clone()));
        settle(&mut thing, "token", Value::String(format!("token of {name}")));
        fs::write(self.folder().join(format!("{name}.json")), to_json(&thing).to_string()).unwrap();
        for (file, value) in [("password", &change.config), ("key", get(&change.config, "limits"))] {
            if let Some(secret) = text(value, &format!("{file}_wo")) {
                fs::write(self.folder().join(format!("{name}.{file}")), secret).unwrap();
            }
        }
        Ok(thing)
    }
}

impl Provider for Fake {
    fn schema(&self) -> &ProviderSchema {
        &self.schema
    }

    async fn validate_provider(&self, config: Value) -> Vec<Finding> {
        let is_relative = text(&config, "folder").is_some_and(|folder| !folder.starts_with('/'));
        if is_relative { vec![error("the folder is relative", Some(Path::attribute("folder")))] } else { Vec::new() }
    }

    async fn configure(&self, config: Value, terraform_version: String) -> Vec<Finding> {
        assert!(terraform_version.starts_with("1."), "a version");
        *self.folder.lock().unwrap() = text(&config, "folder").map(PathBuf::from);
        Vec::new()
    }

    async fn validate_resource(&self, _type_name: String, config: Value) -> Vec<Finding> {
        let mut findings = Vec::new();
        if matches!(get(&config, "size"), Value::Number(size) if *size > 100.0) {
            findings.push(error("the size is too large", Some(Path::attribute("size"))));
        }
        if matches!(get(get(&config, "limits"), "high"), Value::Number(high) if *high > 10.0) {
            let path = Path::attribute("limits").then(Step::Attribute("high".to_owned()));
            findings.push(error("the limit is too high", Some(path)));
        }
        if let Value::List(words) = get(&config, "words") {
            let bad = (0..).zip(words).filter(|(_, word)| **word == Value::String("bad".to_owned()));
            let path = |index| Path::attribute("words").then(Step::Index(index));
            findings.extend(bad.map(|(index, _)| error("the word is bad", Some(path(index)))));
        }
        findings
    }

    async fn validate_data_source(&self, _type_name: String, config: Value) -> Vec<Finding> {
        let is_empty = text(&config, "prefix").is_some_and(|prefix| prefix.is_empty());
        if is_empty { vec![error("the prefix is empty", Some(Path::attribute("prefix")))] } else { Vec::new() }
    }

    async fn read(&self, _type_name: String, current: Value, private: Vec<u8>) -> Stated {
        assert!(private == b"kept", "what is kept beside the state comes back");
        Stated { state: self.stored(&text(&current, "id").unwrap()), private, findings: Vec::new() }
    }

    async fn plan(&self, change: Change) -> Planned {
        let Change { prior, planned, private, .. } = change;
        let mut plan = Planned { state: planned, requires_replace: Vec::new(), private, findings: Vec::new() };
        if plan.state == Value::Null {
            let summary = format!("the file of {} goes, too", text(&prior, "name").unwrap());
            plan.findings.push(Finding { is_error: false, summary, detail: String::new(), path: None });
            return plan;
        }
        if *get(&plan.state, "enabled") == Value::Null {
            set(&mut plan.state, "enabled", Value::Bool(true));
        }
        if let Some(limits) = elements(&mut plan.state).get_mut("limits")
            && *limits != Value::Null
            && *get(limits, "low") == Value::Null
        {
            set(limits, "low", Value::Number(0.5));
        }
        let is_renamed = prior != Value::Null && get(&prior, "name") != get(&plan.state, "name");
        if is_renamed {
            plan.requires_replace.push(Path::attribute("name"));
        }
        if prior == Value::Null || is_renamed {
            for computed in ["id", "token", "revision"] {
                set(&mut plan.state, computed, Value::Unknown);
            }
        } else if plan.state != prior {
            set(&mut plan.state, "revision", Value::Unknown);
        }
        plan
    }

    async fn apply(&self, change: Change) -> Stated {
        if change.planned == Value::Null {
            fs::remove_file(self.folder().join(format!("{}.json", text(&change.prior, "id").unwrap()))).unwrap();
            return Stated { state: Value::Null, private: Vec::new(), findings: Vec::new() };
        }
        let busy = self.busy.fetch_add(1, Ordering::SeqCst) + 1;
        self.busiest.fetch_max(busy, Ordering::SeqCst);
        fs::write(self.folder().join("busy"), busy.to_string()).unwrap();
        let made = self.make(&change).await;
        self.busy.fetch_sub(1, Ordering::SeqCst);
        fs::write(self.folder().join("busiest"), self.busiest.load(Ordering::SeqCst).to_string()).unwrap();
        let (state, findings) = match made {
            Ok(state) => (state, Vec::new()),
            Err(finding) => (change.prior, vec![finding]),
        };
        Stated { state, private: b"kept".to_vec(), findings }
    }

    async fn import(&self, _type_name: String, id: String) -> Stated {
        Stated { state: self.stored(&id), private: b"kept".to_vec(), findings: Vec::new() }
    }

    async fn read_data_source(&self, _type_name: String, mut config: Value) -> (Value, Vec<Finding>) {
        let prefix = text(&config, "prefix").unwrap_or_default();
        let files = fs::read_dir(self.folder()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = files.filter_map(|file| file.strip_suffix(".json").map(str::to_owned)).collect();
        names.retain(|name| name.starts_with(&prefix));
        names.sort();
        #[expect(clippy::cast_precision_loss, reason = "there are few")]
        set(&mut config, "quantity", Value::Number(names.len() as f64));
        set(&mut config, "names", Value::List(names.into_iter().map(Value::String).collect()));
        (config, Vec::new())
    }

    fn stop(&self) {
        self.stopped.send_replace(true);
    }
}
