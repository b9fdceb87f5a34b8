//! Any bytes, as a spec, as a file of settings, as variables: no panic, an error or a spec, and a formatter that is stable.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgisle_core::diagnostic::any_error;
use pgisle_core::spec::{LayerKind, SPEC_FILE, Sources, format, load};

fuzz_target!(|bytes: &[u8]| {
    for kind in [LayerKind::SpecFile, LayerKind::VarFile, LayerKind::CommandLine] {
        let mut sources = Sources::new();
        if kind != LayerKind::SpecFile {
            sources.push(LayerKind::SpecFile, SPEC_FILE, "service \"users\" {\n}\n");
        }
        sources.push(kind, "input", bytes);
        let _ = sources.environment_files();
        let loaded = load(&sources);
        assert_eq!(loaded.spec.is_none(), any_error(&loaded.diagnostics));
    }
    for name in ["TF_VAR_tags", "PGISLE_VAR_default_extensions", "PGISLE_VAR_postgres_port"] {
        let mut sources = Sources::new();
        assert!(sources.push_environment(name, bytes));
        let _ = load(&sources);
    }
    if let Ok(formatted) = format("input", bytes) {
        assert_eq!(format("input", formatted.as_bytes()).as_deref(), Ok(formatted.as_str()));
    }
});
