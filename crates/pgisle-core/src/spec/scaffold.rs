//! What `pgisle init` writes: `examples/link`, which is also tested as an example.

/// What the new spec is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScaffoldOptions {
    /// First part of every name. It must be a valid `name_prefix`; [`load`](super::load()) says so when it is not.
    pub name_prefix: String,
}

/// The files of a new spec, as paths below its folder and texts.
#[must_use]
pub fn scaffold(options: &ScaffoldOptions) -> Vec<(&'static str, String)> {
    let ScaffoldOptions { name_prefix } = options;
    FILES.iter().map(|(path, text)| (*path, renamed(text, name_prefix))).collect()
}

/// The prefix of the example.
const PREFIX: &str = "link";

const FILES: &[(&str, &str)] = &[
    ("pgisle.hcl", include_str!("../../../../examples/link/pgisle.hcl")),
    ("environments/development.tfvars", include_str!("../../../../examples/link/environments/development.tfvars")),
    ("environments/staging.tfvars", include_str!("../../../../examples/link/environments/staging.tfvars")),
    ("environments/production.tfvars", include_str!("../../../../examples/link/environments/production.tfvars")),
    (".gitignore", include_str!("../../../../examples/link/.gitignore")),
];

/// Puts another prefix into names such as `link_users`, `link-production` and `"link"`, and into the tag of the project.
fn renamed(text: &str, prefix: &str) -> String {
    if prefix == PREFIX {
        return text.to_owned();
    }
    // The prefix may come from a command line, and it goes between quotes.
    let prefix: String = prefix.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    text.replace("link_", &format!("{prefix}_"))
        .replace("link-", &format!("{}-", prefix.replace('_', "-")))
        .replace("\"link\"", &format!("\"{prefix}\""))
        .replace("\"Link\"", &format!("\"{prefix}\""))
}
