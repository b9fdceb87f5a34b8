//! What the pages point at is there: links to other pages, paths of the repository, and the tests that hold the invariants.

use super::Finding;
use crate::workspace::{Workspace, root};

/// The first parts of paths that are checked; others are examples of what a user has.
const FOLDERS: &[&str] = &["crates/", "xtask/", "fuzz/", "docs/", "scripts/", "examples/"];

/// What `apply` generates, by the names that it has in a user's folder.
const GENERATED: &[&str] = &["scripts/backup-databases.sh", "scripts/restore-database.sh"];

/// Stands for a name of one's own in a path.
const ANY_NAME: &str = "NAME";

/// The page that names tests.
const ARCHITECTURE: &str = "ARCHITECTURE.md";

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let pages = workspace.texts.iter().filter(|file| file.path.ends_with(".md"));
    let mut findings: Vec<Finding> = pages
        .flat_map(|page| {
            let folder = page.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let links =
                links(&page.text).map(move |link| if folder.is_empty() { link.to_owned() } else { format!("{folder}/{link}") });
            let targets = links.chain(paths(&page.text).map(str::to_owned));
            targets.filter(|path| !root().join(path).exists()).map(|path| format!("{}: there is no {path}", page.path))
        })
        .collect();
    let has = |name: &str| workspace.rust().any(|file| file.text.contains(&format!("fn {name}(")));
    let tests = workspace.text(ARCHITECTURE).into_iter().flat_map(tests);
    findings.extend(tests.filter(|name| !has(name)).map(|name| format!("{ARCHITECTURE}: there is no test {name}")));
    findings
}

/// The targets of links that stay in the repository, without the heading they lead to.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    targets
        .filter(|target| !target.contains("://") && !target.contains(char::is_whitespace))
        .map(|target| target.split_once('#').map_or(target, |(path, _)| path))
        .filter(|path| !path.is_empty())
}

fn paths(text: &str) -> impl Iterator<Item = &str> {
    let is_ours = |word: &&str| !word.contains(ANY_NAME) && !GENERATED.contains(word);
    let is_path = move |word: &&str| FOLDERS.iter().any(|folder| word.starts_with(folder)) && is_ours(word);
    code(text).filter(is_path).filter(|word| word.chars().all(|c| c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-')))
}

/// The tests of the table of invariants: `name` in `file`.
fn tests(text: &str) -> impl Iterator<Item = &str> {
    let named = text.split("` in `").filter_map(|before| before.rsplit_once('`')).map(|(_, name)| name);
    named.filter(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'))
}

/// What stands between backquotes on one line.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Text;

    #[test]
    fn dead_ends_are_found() {
        let page = "[a](gone.md#x) [b](https://a.b/c) `docs/gone` `xtask/src/main.rs` `crates/NAME.rs` | `no_test` in `xtask/src/main.rs` |\n";
        let page = Text { path: ARCHITECTURE.to_owned(), text: page.to_owned() };
        let findings = check(&Workspace { packages: Vec::new(), texts: vec![page] });
        let expected = ["there is no gone.md", "there is no docs/gone", "there is no test no_test"];
        assert_eq!(findings, expected.map(|finding| format!("{ARCHITECTURE}: {finding}")));
    }
}
