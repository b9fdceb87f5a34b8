//! What holds for every text, not only for those that someone thought of.

use std::collections::BTreeMap;

use pgisle_core::diagnostic::any_error;
use pgisle_core::spec::{LayerKind, Loaded, SPEC_FILE, Sources, Spec, format, load};
use proptest::prelude::*;

use crate::golden;
use crate::spec_bad::{rendered, sources_of};

fn load_text(text: impl Into<Vec<u8>>) -> Loaded {
    let mut sources = Sources::new();
    sources.push(LayerKind::SpecFile, SPEC_FILE, text);
    load(&sources)
}

/// What must hold of any bytes whatsoever, in any layer.
fn survives(bytes: &[u8]) {
    for kind in [LayerKind::SpecFile, LayerKind::VarFile, LayerKind::CommandLine] {
        let mut sources = Sources::new();
        sources.push(kind, "name", bytes);
        let environment = sources.environment();
        let Loaded { spec, diagnostics, .. } = load(&sources);
        assert_eq!(spec.is_none(), any_error(&diagnostics), "{}", rendered(&diagnostics));
        if let Some(spec) = &spec {
            assert_eq!(environment, Some(spec.settings.environment));
        }
        for place in diagnostics.iter().filter_map(|diagnostic| diagnostic.place.as_ref()) {
            assert!(place.line >= 1 && place.column >= 1);
        }
    }
    for name in ["TF_VAR_tags", "PGISLE_VAR_default_extensions", "PGISLE_VAR_postgres_port", "PGISLE_VAR_postgres_host"] {
        let mut sources = Sources::new();
        assert!(sources.push_environment(name, bytes));
        let _ = load(&sources);
    }
    if let Ok(formatted) = format("name", bytes) {
        assert_eq!(format("name", formatted.as_bytes()).as_deref(), Ok(formatted.as_str()), "formatting is not stable");
    }
}

/// A spec without what formatting may change: where things stand.
fn without_places(loaded: Loaded) -> Option<Spec> {
    let mut spec = loaded.spec?;
    for service in spec.services.values_mut() {
        service.place.line = 0;
        service.place.column = 0;
        service.pool_place = None;
    }
    Some(spec)
}

/// A text in quotes, as HCL escapes it.
fn quoted(text: &str) -> String {
    let mut escaped = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => escaped.push_str("\\\""),
            '\\' => escaped.push_str("\\\\"),
            c if c.is_control() => escaped.push_str(&format!("\\U{:08x}", u32::from(c))),
            c => escaped.push(c),
        }
    }
    escaped.push('"');
    escaped.replace("${", "$${").replace("%{", "%%{")
}

/// Pieces of HCL that, put together at random, come near enough to a spec to get past the parser.
const PIECES: &[&str] = &[
    "service",
    "\"users\"",
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    "=",
    ",",
    "\n",
    " ",
    "\r\n",
    "\t",
    "# c\n",
    "// c\n",
    "/* c */",
    "/*",
    "\"",
    "\"a\"",
    "\"${x}\"",
    "${",
    "%{",
    "$${",
    "1",
    "5432",
    "1e400",
    "-",
    "3.7",
    "true",
    "null",
    "foo",
    "postgres_port",
    "tags",
    "settings",
    "instances",
    "tables",
    "replica",
    "mode",
    "<<EOT\n",
    "EOT\n",
    "<<-EOT\n  a\nEOT\n",
    "\\",
    "\u{feff}",
    "\0",
    "é",
    "🐘",
    "?",
    ":",
    "!",
    "==",
    "=>",
    "...",
    ".",
    "*",
    "for",
    "if",
    "in",
    "environment",
    "\"production\"",
    "postgres_password",
    "default_extensions",
    "[\"a\", \"b\"]",
    "{ a = 1 }",
    "% {",
    "~",
];

prop_compose! {
    fn soup()(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..60)) -> String {
        pieces.concat()
    }
}

prop_compose! {
    /// A valid service block, written carelessly.
    fn service()(
        name in "[a-z][a-z0-9]{0,12}",
        description in "[^\\p{Cc}]{0,20}",
        instances in prop::option::of(0..40_u32),
        quote_number in any::<bool>(),
        tables in prop::collection::btree_set("[a-z_]{1,8}(\\.[a-z_]{1,8})?", 0..3),
        settings in prop::collection::btree_map("x\\.[a-z]{1,6}", "[^\\p{Cc}]{0,12}", 0..3),
        blanks in prop::collection::vec(" {0,3}", 8),
        comment in prop::option::of("[^\\p{Cc}]{0,12}"),
        schema in prop::option::of("s[a-z]{1,6}"),
        newlines in 1..4_usize,
    ) -> (String, String) {
        let mut body = format!("{}description{}={}{}\n", blanks[0], blanks[1], blanks[2], quoted(&description));
        if let Some(instances) = instances {
            let number = if quote_number { format!("\"{instances}\"") } else { instances.to_string() };
            body += &format!("{}instances{}={number}{}\n", blanks[3], blanks[4], comment.map(|text| format!("#{text}")).unwrap_or_default());
        }
        body += &"\n".repeat(newlines);
        // Of two services with the same table, one would be refused: the name keeps them apart.
        let tables: Vec<String> = tables.iter().map(|table| quoted(&format!("{name}_{table}"))).collect();
        body += &format!("tables=[{}]\n", tables.join(&format!("{},{}", blanks[5], blanks[6])));
        if !settings.is_empty() {
            let entries: Vec<String> = settings.iter().map(|(key, value)| format!("\"{key}\"{}={}", blanks[7], quoted(value))).collect();
            body += &format!("settings  = {{\n{}\n}}\n", entries.join("\n"));
        }
        if let Some(schema) = schema {
            body += &format!("schemas = [\n   \"{schema}\" ,\n]\n");
        }
        (name.clone(), format!("service   {}{{\n{body}}}\n", quoted(&name)))
    }
}

prop_compose! {
    fn valid_spec()(
        services in prop::collection::vec(service(), 1..5),
        port in 1..65535_u16,
        tags in prop::collection::btree_map("[^\\p{Cc}\"]{1,8}", "[^\\p{Cc}]{0,12}", 0..4),
        heredoc in any::<bool>(),
    ) -> String {
        let services: BTreeMap<String, String> = services.into_iter().collect();
        let tags: Vec<String> = tags.iter().map(|(key, value)| format!("{}={}", quoted(key), quoted(value))).collect();
        let mut text = format!("postgres_port={port} # where\n\n\npgbouncer_max_client_conn   = 100000\ntags = {{ {} }}\n", tags.join(","));
        if heredoc {
            text += "kubernetes_context = \"x\"  /* a\n comment */\n";
        }
        text + &services.into_values().collect::<Vec<_>>().join("\n\n\n")
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        survives(&bytes);
    }

    #[test]
    fn pieces_of_hcl_never_panic(text in soup()) {
        survives(text.as_bytes());
    }

    #[test]
    fn a_valid_spec_loads_and_formatting_keeps_its_meaning(text in valid_spec()) {
        let before = load_text(text.as_str());
        prop_assert!(before.spec.is_some(), "{}\n{text}", rendered(&before.diagnostics));
        let formatted = format(SPEC_FILE, text.as_bytes()).map_err(|diagnostics| TestCaseError::fail(rendered(&diagnostics)))?;
        prop_assert_eq!(without_places(before), without_places(load_text(formatted.as_str())), "{}", formatted);
        survives(formatted.as_bytes());
    }

    #[test]
    fn no_name_passes_unchecked(name in "\\PC{0,20}|[a-z0-9\"';\\-_ .$\\\\\0\n]{0,70}|.{0,40}", which in 0..7_usize) {
        let name = quoted(&name);
        let text = match which {
            0 => format!("service {name} {{\n}}\n"),
            1 => format!("service \"a\" {{\n  database = {name}\n}}\n"),
            2 => format!("service \"a\" {{\n  user = {name}\n}}\n"),
            3 => format!("service \"a\" {{\n  schemas = [{name}]\n  extensions = [{name}]\n}}\n"),
            4 => format!("service \"a\" {{\n  settings = {{ {name} = \"x\" }}\n}}\n"),
            5 => format!("name_prefix = {name}\nservice \"a\" {{\n}}\n"),
            _ => format!("service \"a\" {{\n  tables = [{name}]\n}}\npostgres_database = {name}\n"),
        };
        let Some(spec) = load_text(text).spec else { return Ok(()) };
        let spelled = |text: &str, more: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c)) && text.len() <= 63;
        prop_assert!(spelled(&spec.settings.name_prefix, "_"));
        prop_assert!(!spec.settings.postgres_database.as_str().contains(char::is_control));
        for service in spec.services.values() {
            prop_assert!(spelled(service.name.as_str(), "_-"));
            for role in [service.owner(), service.migrator(), service.user.clone()] {
                prop_assert!(spelled(role.as_str(), "_-") && !role.is_reserved(), "{role}");
            }
            prop_assert!(service.owner().as_str().ends_with("_owner") && service.migrator().as_str().ends_with("_migrator"));
            prop_assert!(spelled(service.database.as_str(), "_-") && !service.database.is_reserved());
            prop_assert!(service.schemas.iter().all(|schema| spelled(schema.as_str(), "_")));
            prop_assert!(service.extensions.iter().all(|extension| spelled(extension.as_str(), "_-")));
            prop_assert!(service.settings.keys().all(|parameter| spelled(parameter.as_str(), "_.$")));
            prop_assert!(!service.tables.iter().any(|table| table.contains(['"', '*', '\0'])));
        }
    }
}

#[test]
fn ten_megabytes_are_refused_at_once() {
    let text = "a".repeat(10 * 1024 * 1024);
    let Loaded { spec, diagnostics, .. } = load_text(text.as_str());
    assert!(spec.is_none());
    assert_eq!(diagnostics[0].code.as_str(), "PI0114");
    assert!(format(SPEC_FILE, text.as_bytes()).is_err());
}

#[test]
fn nesting_and_length_do_not_exhaust_the_stack() {
    let deep = |open: &str, close: &str, times: usize| format!("a = {}1{}\n", open.repeat(times), close.repeat(times));
    for times in [30, 31, 32, 33, 1000, 10_000] {
        for (open, close) in [
            ("[", "]"),
            ("{ a = ", "}"),
            ("(", ")"),
            ("\"${", "}\""),
            ("!", ""),
            ("-", ""),
            ("f(", ")"),
            ("x ? 1 : ", ""),
            ("1 + ", ""),
        ] {
            survives(deep(open, close, times).as_bytes());
        }
        for (piece, rest) in [
            ("a.", "b"),
            ("[for a in b : ", ""),
            ("%{ if a }", ""),
            ("\"%{ if a }", ""),
            ("<<A\n", "\nA"),
            ("a[", "]"),
            ("a[*].", "b"),
        ] {
            survives(format!("x = {}{}\n", piece.repeat(times), rest).as_bytes());
        }
        survives("b {\n".repeat(times).as_bytes());
        survives(format!("{}{}", "b {\n".repeat(times), "}\n".repeat(times)).as_bytes());
        survives(format!("b {}{{\n}}\n", "\"l\" ".repeat(times)).as_bytes());
    }
}

/// Mutates the cases of `tests/spec`. A second by default; `PGISLE_FUZZ_SECONDS` makes it longer, for those without cargo-fuzz.
#[test]
fn mutations_of_the_cases_never_panic() {
    let seconds = std::env::var("PGISLE_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut seeds = Vec::new();
    for folder in ["spec/bad", "spec/good"] {
        for path in golden::files(&golden::folder(folder), &["hcl", "tfvars"]) {
            seeds.push((
                path.file_name().map(|name| name.to_string_lossy().into_owned()),
                std::fs::read(&path).expect("the case can be read"),
            ));
        }
    }
    seeds.retain(|(_, bytes)| bytes.len() < 10_000);
    // A generator of its own, so that a failure repeats: xorshift64*.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        usize::try_from(state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap_or(0) % below.max(1)
    };
    let end = std::time::Instant::now() + std::time::Duration::from_secs(seconds);
    while std::time::Instant::now() < end {
        let (name, seed) = &seeds[random(seeds.len())];
        let mut bytes = seed.clone();
        for _ in 0..=random(4) {
            let at = random(bytes.len() + 1);
            let to = (at + random(12)).min(bytes.len());
            match random(4) {
                0 => drop(bytes.drain(at..to)),
                1 => bytes.splice(at..at, PIECES[random(PIECES.len())].bytes()).for_each(drop),
                2 => {
                    let copied = bytes[at..to].to_vec();
                    let target = random(bytes.len() + 1);
                    bytes.splice(target..target, copied).for_each(drop);
                }
                _ => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = u8::try_from(random(256)).unwrap_or_default();
                    }
                }
            }
        }
        survives(&bytes);
        let _ = load(&sources_of(name.as_deref().unwrap_or_default(), bytes));
    }
}
