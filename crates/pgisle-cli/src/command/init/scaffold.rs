//! The files that `init` writes.

use std::fmt::Write as _;

const PGISLE_HCL: &str = "pgisle.hcl";

/// The five services of the Link example, and three environments.
pub(super) fn link() -> Vec<(&'static str, String)> {
    files(include_str!("link.hcl").to_owned(), "link")
}

/// One's own services, with what is most likely to be edited.
pub(super) fn project(prefix: &str, services: &[String]) -> Vec<(&'static str, String)> {
    let mut text = include_str!("project.hcl").replace("PREFIX", prefix);
    for service in services {
        // Writing to a String cannot fail.
        let _infallible = write!(text, "\nservice \"{service}\" {{\n  description = \"\"\n  instances   = 1\n}}\n");
    }
    files(text, prefix)
}

fn files(spec: String, prefix: &str) -> Vec<(&'static str, String)> {
    let environment = |text: &str| text.replace("PREFIX", prefix);
    vec![
        (PGISLE_HCL, spec),
        ("environments/development.tfvars", environment(include_str!("development.tfvars"))),
        ("environments/staging.tfvars", environment(include_str!("staging.tfvars"))),
        ("environments/production.tfvars", environment(include_str!("production.tfvars"))),
        (".gitignore", include_str!("gitignore").to_owned()),
    ]
}
