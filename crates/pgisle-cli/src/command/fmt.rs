//! `pgisle fmt`.

use std::path::PathBuf;

/// Rewrite files in the canonical style.
///
/// Aligns equals signs, indents blocks and trims lines, as terraform fmt does; comments and values stay as they are. Without a
/// name, pgisle.hcl and every .tfvars file of the project are formatted. `-` formats standard input.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle fmt
  pgisle.hcl

  $ pgisle fmt -check -diff")]
pub(crate) struct Args {
    /// The files to format, or `-` for standard input.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Write nothing; exit with 1 when a file would change.
    #[arg(long)]
    check: bool,
    /// Show what changes.
    #[arg(long)]
    diff: bool,
}
