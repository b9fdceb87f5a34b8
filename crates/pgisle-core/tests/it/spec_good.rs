//! Files that load, with the spec they make.

use pgisle_core::spec::{LayerKind, SPEC_FILE, Sources, load};

use crate::golden;
use crate::spec_bad::rendered;

#[test]
fn every_good_file_makes_its_spec() {
    let folder = golden::folder("spec/good");
    let cases = golden::files(&folder, &["hcl", "tfvars"]);
    golden::all(cases.iter().map(|path| {
        let mut sources = Sources::new();
        if path.extension().is_some_and(|extension| extension == "tfvars") {
            sources.push(LayerKind::SpecFile, SPEC_FILE, "service \"users\" {\n  instances = 3\n}\n");
            sources.push(LayerKind::AutoFile, "terraform.tfvars", std::fs::read(path).expect("the case can be read"));
        } else {
            sources.push(LayerKind::SpecFile, SPEC_FILE, std::fs::read(path).expect("the case can be read"));
        }
        let loaded = load(&sources);
        if loaded.spec.is_none() || !loaded.diagnostics.is_empty() {
            return Err(format!("{}: {}", path.display(), rendered(&loaded.diagnostics)));
        }
        let json = serde_json::to_string_pretty(&loaded.spec).expect("a spec serialises") + "\n";
        golden::compare(&path.with_extension("json"), &json)
    }));
}

/// Every source in turn sets the port, the later above the earlier, in whatever order they are pushed.
#[test]
fn precedence_follows_the_kind_and_not_the_order() {
    let pushes: [fn(&mut Sources); 9] = [
        |sources| {
            sources.push(LayerKind::SpecFile, SPEC_FILE, "postgres_port = 1\nenvironment = \"staging\"\nservice \"users\" {\n}\n")
        },
        |sources| sources.push(LayerKind::EnvironmentFile, "environments/staging.tfvars", "postgres_port = 2"),
        |sources| sources.push(LayerKind::AutoFile, "terraform.tfvars", "postgres_port = 3"),
        |sources| sources.push(LayerKind::VarFile, "a.tfvars", "postgres_port = 4"),
        |sources| sources.push(LayerKind::VarFile, "b.tfvars", "postgres_port = 5"),
        |sources| assert!(sources.push_environment("TF_VAR_postgres_port", "6")),
        |sources| assert!(sources.push_environment("PGISLE_VAR_postgres_port", "7")),
        |sources| sources.push_command_line("postgres_port=8"),
        |sources| sources.push_command_line("postgres_port=9"),
    ];
    for count in 1..=pushes.len() {
        // Within one kind the order counts; so the kinds are turned around, and those of one kind are not.
        let mut order: Vec<usize> = (0..count).collect();
        order.rotate_left(count / 2);
        let mut sources = Sources::new();
        order.iter().for_each(|index| pushes[*index](&mut sources));
        let loaded = load(&sources);
        let spec = loaded.spec.unwrap_or_else(|| panic!("{}", rendered(&loaded.diagnostics)));
        if !matches!(count, 5 | 9) {
            assert_eq!(usize::from(spec.settings.postgres_port), count);
        }
        assert_eq!(sources.environment_files(), ["environments/staging.tfvars", "environments/staging/terraform.tfvars"]);
    }
}

#[test]
fn null_means_the_default_and_secrets_stay_out_of_the_spec() {
    let mut sources = Sources::new();
    let text = "postgres_port = 1\npostgres_password = \"from the file\"\nservice \"users\" {\n  password = \"hunter2\"\n}\n";
    sources.push(LayerKind::SpecFile, SPEC_FILE, text);
    sources.push(LayerKind::AutoFile, "terraform.tfvars", "postgres_port = null");
    assert!(sources.push_environment("PGISLE_VAR_postgres_password", "a'b\"c\\d$e#f g=h%i@/:?"));
    assert!(!sources.push_environment("PGPASSWORD", "x"));
    let loaded = load(&sources);
    let spec = loaded.spec.expect("there is no error");
    assert_eq!(spec.settings.postgres_port, 5432);
    assert_eq!(loaded.secrets.postgres_password.as_ref().map(|secret| secret.expose()), Some("a'b\"c\\d$e#f g=h%i@/:?"));
    let passwords: Vec<&str> = loaded.secrets.service_passwords.values().map(|secret| secret.expose()).collect();
    assert_eq!(passwords, ["hunter2"]);
    let shown = format!("{} {:?} {sources:?}", serde_json::to_string(&spec).expect("a spec serialises"), loaded.secrets);
    assert!(!shown.contains("hunter2") && !shown.contains("from the file"), "{shown}");
    let origin = &loaded.origins["postgres_password"];
    assert_eq!((origin.kind, origin.place.file.as_str()), (LayerKind::Variable, "PGISLE_VAR_postgres_password"));
    assert!(!loaded.origins.contains_key("postgres_port"), "it is at its default");
    assert_eq!(loaded.origins["service.users.password"].place.line, 4);
}

#[test]
fn an_environments_file_cannot_name_another_environment() {
    let mut sources = Sources::new();
    sources.push(LayerKind::SpecFile, SPEC_FILE, "service \"users\" {\n}\n");
    sources.push_command_line("environment=production");
    for path in sources.environment_files() {
        sources.push(LayerKind::EnvironmentFile, path, "environment = \"staging\"\n");
    }
    let text = rendered(&load(&sources).diagnostics);
    assert!(text.contains("the file of environment \"production\" sets the environment to \"staging\""), "{text}");
}

#[test]
fn json_is_refused_rather_than_passed_over() {
    let kind = LayerKind::of_file_name("terraform.tfvars.json").expect("Terraform reads it");
    let mut sources = Sources::new();
    sources.push(LayerKind::SpecFile, SPEC_FILE, "service \"users\" {\n}\n");
    sources.push(kind, "terraform.tfvars.json", "{}");
    assert!(rendered(&load(&sources).diagnostics).contains("terraform.tfvars.json:1:1"));
    assert_eq!(LayerKind::of_file_name(".auto.tfvars"), None);
    assert_eq!(LayerKind::of_file_name("x.auto.tfvars"), Some(LayerKind::AutoFile));
    assert_eq!(LayerKind::of_file_name("x.tfvars"), None);
}
