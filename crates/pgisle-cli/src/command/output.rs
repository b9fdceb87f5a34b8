//! `pgisle output`.

/// Print what apply has made, for scripts.
///
/// Without a name all outputs are listed, those with passwords hidden. With a name the value is printed; -raw prints a text
/// without quotes. -json has the shape of terraform output -json, so scripts that used that go on working.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle output
  $ pgisle output -json service_passwords | jq -r .users
  $ pgisle output -json monitoring_user")]
pub(crate) struct Args {
    /// The output.
    name: Option<String>,
    /// Print a text as it is, without quotes and line end.
    #[arg(long, requires = "name", conflicts_with = "json")]
    raw: bool,
}
