//! What neither the compiler nor clippy checks. Runs as a test, too, so nobody need remember it.

mod boundary;
mod document;
mod layout;
mod lint;
mod sql;
mod wording;

use anyhow::{Result, bail};

use crate::workspace::Workspace;

/// Something that is not as it should be: where, and what to do.
type Finding = String;

pub(crate) fn run() -> Result<()> {
    let findings = findings(&Workspace::load()?);
    if findings.is_empty() {
        return Ok(());
    }
    bail!("{}", findings.join("\n"));
}

fn findings(workspace: &Workspace) -> Vec<Finding> {
    [boundary::check, document::check, layout::check, lint::check, sql::check, wording::check]
        .iter()
        .flat_map(|check| check(workspace))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_tidy() -> Result<()> {
        run()
    }
}
