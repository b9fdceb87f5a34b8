//! Having PgBouncer take the files that were just written: what commands that write them have in common.

use pgisle_core::artifact::pooler_alias;
use pgisle_core::credential::Credentials;
use pgisle_core::diagnostic::Diagnostic;
use pgisle_engine::pooler::{self, PoolerConsole};

use crate::args::address::{self, Address};
use crate::project::Project;

/// Whether PgBouncer is told.
#[derive(clap::Args, Default, Clone)]
pub(super) struct ReloadArgs {
    /// Have PgBouncer read the files that were written, and make sure that its aliases lead where they say. No client is held up.
    #[arg(long)]
    reload_pgbouncer: bool,
    /// With -reload-pgbouncer: this one instead of that at pgbouncer_host and pgbouncer_port (can be repeated).
    #[arg(long, value_name = "HOST:PORT", requires = "reload_pgbouncer", value_parser = address::parse)]
    pooler: Vec<Address>,
}

impl ReloadArgs {
    /// The consoles, if it is to be told.
    pub(super) fn consoles(&self, project: &Project, credentials: &Credentials) -> Vec<PoolerConsole> {
        if self.reload_pgbouncer { project.pooler_consoles(credentials, &self.pooler) } else { Vec::new() }
    }

    /// Tells it, if that was asked for. Gives which of them do not have the files: the cluster is as it should be all the same.
    pub(super) async fn reload(&self, project: &Project, credentials: &Credentials) -> Vec<Diagnostic> {
        let endpoint = project.endpoint();
        let home = |service: &pgisle_core::spec::Service| {
            let moved = endpoint.pooler.as_ref().and_then(|pooler| pooler.homes.get(&service.name));
            moved.unwrap_or(&service.database).to_string()
        };
        let aliases: Vec<(String, String)> =
            project.spec.services.values().map(|service| (pooler_alias(service).to_owned(), home(service))).collect();
        pooler::reload(&self.consoles(project, credentials), &aliases).await
    }
}
