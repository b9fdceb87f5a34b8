//! `pgisle retire`.

/// Shut out services that have left the files, and keep their data.
///
/// apply does the same together with all other changes; retire does only this. Nobody can log in to the service's database any
/// more, everything in it is kept, and `pgisle status` lists it. Putting the block back into the file and applying opens it
/// again; `pgisle destroy -target=service.NAME` drops it for good.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle retire search                  # after its block was taken out of pgisle.hcl
  $ pgisle retire search -end-sessions    # also throws out who is still connected")]
pub(crate) struct Args {
    /// The services.
    #[arg(value_name = "SERVICE", required = true)]
    services: Vec<String>,
    /// End their sessions too, instead of letting them finish.
    #[arg(long)]
    end_sessions: bool,
    /// Do not ask.
    #[arg(long)]
    auto_approve: bool,
}
