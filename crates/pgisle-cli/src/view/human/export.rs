//! What an export has written.

use std::fmt::Write as _;
use std::path::PathBuf;

/// The files and what became of each, and what comes next.
pub(crate) fn files(files: &[(PathBuf, &str)], adopt: bool) -> String {
    let mut text = String::new();
    for (path, fate) in files {
        let _ = writeln!(text, "{fate:<12}{}", path.display());
    }
    let next = if adopt { "take the databases over" } else { "import what is there, and change nothing" };
    let _ =
        write!(text, "\nNext, look at what Terraform would do; it should {next}:\n\n      terraform init\n      terraform plan\n");
    text
}
