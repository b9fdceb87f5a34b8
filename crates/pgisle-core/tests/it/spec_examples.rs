//! The examples load in each of their environments, are formatted, and are what `pgisle init` writes.

use std::path::{Path, PathBuf};

use pgisle_core::spec::{LayerKind, ScaffoldOptions, Sources, Spec, format, load, reference_markdown, scaffold};

use crate::golden;
use crate::spec_bad::rendered;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn loaded(folder: &Path, environment: &str) -> Spec {
    let mut sources = Sources::new();
    let read = |path: &str| std::fs::read(folder.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    sources.push(LayerKind::SpecFile, "pgisle.hcl", read("pgisle.hcl"));
    sources.push_command_line(format!("environment={environment}"));
    for path in sources.environment_files() {
        if folder.join(&path).exists() {
            sources.push(LayerKind::EnvironmentFile, path.as_str(), read(&path));
        }
    }
    let loaded = load(&sources);
    assert!(loaded.diagnostics.is_empty(), "{}", rendered(&loaded.diagnostics));
    loaded.spec.expect("there was no error")
}

#[test]
fn the_link_example_is_the_brief() {
    let folder = repository().join("examples/link");
    for environment in ["development", "staging", "production"] {
        let spec = loaded(&folder, environment);
        assert_eq!(spec.settings.environment.as_str(), environment);
        let services: Vec<_> = spec
            .services
            .values()
            .map(|service| {
                (service.name.as_str(), service.database.as_str(), service.user.as_str(), service.instances, service.tables.len())
            })
            .collect();
        assert_eq!(
            services,
            [
                ("ai", "link_ai", "link_ai_user", 2, 8),
                ("chat", "link_chat", "link_chat_user", 2, 5),
                ("discovery", "link_discovery", "link_discovery_user", 1, 1),
                ("search", "link_search", "link_search_user", 1, 2),
                ("users", "link_users", "link_users_user", 3, 5),
            ]
        );
    }
    assert_eq!(loaded(&folder, "production").settings.pgbouncer_default_pool_size, 15);
}

#[test]
fn the_shop_example_loads() {
    let folder = repository().join("examples/shop");
    for environment in ["development", "staging", "production"] {
        let spec = loaded(&folder, environment);
        let names: Vec<_> = spec.services.values().map(|service| service.database.as_str()).collect();
        assert_eq!(names, ["shop_catalogue", "shop_customers", "shop_mail", "shop_orders"]);
    }
}

#[test]
fn the_examples_are_formatted() {
    for example in ["link", "shop"] {
        let folder = repository().join("examples").join(example);
        let mut files = vec![folder.join("pgisle.hcl")];
        files.extend(golden::files(&folder.join("environments"), &["tfvars"]));
        golden::all(files.iter().map(|path| {
            let text = std::fs::read(path).expect("the example can be read");
            golden::compare(path, &format("example", &text).map_err(|diagnostics| rendered(&diagnostics))?)
        }));
    }
}

#[test]
fn a_scaffold_is_the_link_example_under_any_prefix() {
    let folder = repository().join("examples/link");
    for (path, text) in scaffold(&ScaffoldOptions { name_prefix: "link".to_owned() }) {
        assert_eq!(std::fs::read_to_string(folder.join(path)).expect("the example can be read"), text, "{path}");
    }
    let mut sources = Sources::new();
    for (path, text) in scaffold(&ScaffoldOptions { name_prefix: "acme_web".to_owned() }) {
        assert!(!text.contains("link"), "{path} still speaks of link");
        match path {
            "pgisle.hcl" => sources.push(LayerKind::SpecFile, path, text),
            "environments/production.tfvars" => sources.push(LayerKind::EnvironmentFile, path, text),
            _ => {}
        }
    }
    sources.push_command_line("environment=production");
    let loaded = load(&sources);
    assert!(loaded.diagnostics.is_empty(), "{}", rendered(&loaded.diagnostics));
    let spec = loaded.spec.expect("there was no error");
    assert!(spec.services.values().all(|service| service.database.as_str().starts_with("acme_web_")));
    assert_eq!(spec.settings.kubernetes_namespace, "acme-web-production");
}

#[test]
fn the_reference_is_up_to_date() {
    golden::all([golden::compare(&repository().join("docs/reference/settings.md"), &reference_markdown())]);
}
