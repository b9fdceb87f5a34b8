//! The files that `init` writes: the example's, or the example's with one's own services.

use std::fmt::Write as _;

use pgisle_core::spec::{SPEC_FILE, ScaffoldOptions, scaffold};

/// The prefix of the example.
const LINK: &str = "link";

/// The five services of the Link example, and three environments.
pub(super) fn link() -> Vec<(&'static str, String)> {
    scaffold(&ScaffoldOptions { name_prefix: LINK.to_owned() })
}

/// One's own services, with what is most likely to be edited.
pub(super) fn project(prefix: &str, services: &[String]) -> Vec<(&'static str, String)> {
    let mut text = include_str!("project.hcl").replace("PREFIX", prefix);
    for service in services {
        // Writing to a String cannot fail.
        let _infallible = write!(text, "\nservice \"{service}\" {{\n  description = \"\"\n  instances   = 1\n}}\n");
    }
    let mut files = scaffold(&ScaffoldOptions { name_prefix: prefix.to_owned() });
    for (path, content) in &mut files {
        if *path == SPEC_FILE {
            content.clone_from(&text);
        }
    }
    files
}
