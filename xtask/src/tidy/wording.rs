//! Words that must not stand in the repository, and words that must.

use pgisle_core::diagnostic::all_codes;

use super::Finding;
use crate::reference::ERRORS_PATH;
use crate::workspace::{Text, Workspace};

/// Hosts that scripts and settings may name. What they download comes from where the system's own package sources say, so that
/// they work behind a mirror.
const HOSTS_ALLOWED: &[&str] = &["localhost", "127.0.0.1", "www.postgresql.org", "www.pgbouncer.org", "no-color.org"];

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings: Vec<Finding> = workspace.texts.iter().filter(|file| file.path != "Cargo.lock").flat_map(check_text).collect();
    let errors = workspace.text(ERRORS_PATH).unwrap_or_default();
    let undocumented = all_codes().iter().filter(|info| !errors.contains(info.code.as_str()));
    findings.extend(undocumented.map(|info| format!("{ERRORS_PATH}: {} is missing; run `cargo xtask gen`", info.code)));
    findings
}

fn check_text(file: &Text) -> Vec<Finding> {
    // In pieces, because this file is checked, too.
    let later = [["TO", "DO"].concat(), ["FIX", "ME"].concat()];
    let machine_path = ["/wo", "rk/"].concat();
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let mut find = |text: &str| findings.push(format!("{}:{}: {text}", file.path, index + 1));
        if later.iter().any(|word| line.contains(word)) {
            find("do it, or write an issue");
        }
        if is_path_in(line, &machine_path) {
            find("this path exists on one machine only");
        }
        if is_script(&file.path) && hosts(line).any(|host| !is_host_allowed(host)) {
            find("a script names no host; take it from the system's own settings, or add it to xtask/src/tidy/wording.rs");
        }
    }
    findings
}

/// True when the line holds the path from the root on, not as the end of another.
fn is_path_in(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        !line[..at].ends_with(|before: char| before.is_alphanumeric() || matches!(before, '.' | '_' | '-' | '}' | '*' | '/'))
    })
}

fn is_script(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let is_setting = [".sh", ".mk", ".yml", ".yaml", ".toml"].iter().any(|end| name.ends_with(end));
    is_setting || name.starts_with("Makefile") || name.starts_with("Dockerfile") || path.starts_with("scripts/")
}

fn hosts(line: &str) -> impl Iterator<Item = &str> {
    let end = |rest: &str| rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-'))).unwrap_or(rest.len());
    line.split("://").skip(1).map(move |rest| &rest[..end(rest)]).filter(|host| host.contains('.'))
}

fn is_host_allowed(host: &str) -> bool {
    HOSTS_ALLOWED.contains(&host)
        || ["example", "example.com", "example.org", "svc.cluster.local"].iter().any(|end| host.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, line: &str) -> usize {
        check_text(&Text { path: path.to_owned(), text: line.to_owned() }).len()
    }

    #[test]
    fn what_must_not_be_written_is_found() {
        assert_eq!(findings("src/a.rs", &format!("// {}: later", ["TO", "DO"].concat())), 1);
        assert_eq!(findings("README.md", &format!("cd {}main", ["/wo", "rk/"].concat())), 1);
        assert_eq!(
            findings("docs/a.md", &format!("cd ~/net{}main and src{}x", ["wo", "rk/"].concat(), ["/wo", "rk/"].concat())),
            0
        );
        assert_eq!(findings("scripts/get.sh", "curl https://packages.some.where/x"), 1);
        assert_eq!(
            findings(
                "scripts/get.sh",
                "open http://127.0.0.1:9187/metrics https://www.postgresql.org/docs postgres://$USER@$HOST/x"
            ),
            0
        );
        assert_eq!(findings("docs/a.md", "see https://some.where/x"), 0);
    }
}
