//! `pgisle validate`.

/// Check the files without looking at any server.
///
/// Reads pgisle.hcl, the environment's file and everything else that plan would read, and reports every error with its file,
/// line and column. Use it in an editor, in a commit hook, or as the first step of a pipeline: it needs no server and no password.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle validate
  The files are valid: 5 services for environment development.

  $ pgisle validate -var environment=production -json | jq .exit_code
  0")]
pub(crate) struct Args {}
