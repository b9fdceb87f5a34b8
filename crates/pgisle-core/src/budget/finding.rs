//! What is said of a budget: an error when what is steady does not fit, a warning when only the peak does not.

use super::{Peak, ServerConnections, ServiceConnections, Summary};
use crate::diagnostic::{Code, Diagnostic};
use crate::spec::Spec;

/// More services than this are not listed in one sentence.
const SERVICES_SHOWN: usize = 6;

impl Summary {
    /// What is to be said of it, with the place in the file that takes most; nothing when all fits, or when the server was not
    /// asked.
    #[must_use]
    pub fn diagnostic(&self, spec: &Spec) -> Option<Diagnostic> {
        let server = self.server.as_ref()?;
        let diagnostic = if server.headroom < 0 {
            self.error(server)
        } else if server.peak_headroom < 0 {
            self.warning(server)
        } else {
            return None;
        };
        let largest = self.services.iter().max_by_key(|service| service.steady);
        Some(match largest.and_then(|service| spec.services.get(&service.service)) {
            Some(service) => diagnostic.at(service.pool_place.clone()).about(format!("service \"{}\"", service.name)),
            None => diagnostic,
        })
    }

    fn error(&self, server: &ServerConnections) -> Diagnostic {
        let Self { steady, monitoring_connections, .. } = self;
        let ServerConnections { max_connections, usable_connections, .. } = server;
        let hints: Vec<String> = self.suggestions.iter().map(ToString::to_string).collect();
        let hint = match hints.as_slice() {
            [] => "No single change makes it fit. Make the pools smaller or the instances fewer, and the server larger.".to_owned(),
            [one] => format!("It fits with {one}."),
            several => format!("Each of these alone makes it fit: {}.", several.join("; ")),
        };
        let summary = format!("full pools need {steady} connections, and the server has {usable_connections}");
        Diagnostic::error(Code::PLAN_BUDGET, summary)
            .detail(format!(
                "The server would see {}, and {monitoring_connections} of monitoring. Its max_connections is {max_connections}, and {} \
                 of them are reserved.",
                self.shares(),
                max_connections - usable_connections,
            ))
            .hint(hint)
    }

    fn warning(&self, server: &ServerConnections) -> Diagnostic {
        let Self { steady, peak, .. } = self;
        let ServerConnections { usable_connections, max_connections_for_peak, .. } = server;
        let Peak { deployment, split, migrations, backup, pgisle, total, parallelism } = peak;
        let parts = [
            (deployment, "for a rolling deployment".to_owned()),
            (split, "for a service that moves".to_owned()),
            (migrations, "for migrations".to_owned()),
            (backup, "for a backup".to_owned()),
            (pgisle, format!("for pgisle itself with -parallelism={parallelism}")),
        ];
        let parts: Vec<String> =
            parts.into_iter().filter(|(number, _)| **number > 0).map(|(number, what)| format!("{number} {what}")).collect();
        let summary =
            format!("full pools fit, and at the peak {total} connections are needed where the server has {usable_connections}");
        Diagnostic::warning(Code::PLAN_BUDGET, summary)
            .detail(format!("To the {steady} of full pools may come {}, all at the same time.", parts.join(", ")))
            .hint(format!(
                "Let them not meet, have pgisle need fewer with -parallelism=1, or set max_connections = {max_connections_for_peak} on \
                 the server."
            ))
    }

    /// Who takes how much, the largest first.
    fn shares(&self) -> String {
        let mut services: Vec<&ServiceConnections> = self.services.iter().filter(|service| service.steady > 0).collect();
        services.sort_by_key(|service| std::cmp::Reverse(service.steady));
        let mut shares: Vec<String> = Vec::new();
        for ServiceConnections { service, steady, .. } in services.iter().take(SERVICES_SHOWN) {
            shares.push(format!("{steady} of {service}"));
        }
        let rest = super::sum(services.iter().skip(SERVICES_SHOWN).map(|service| service.steady));
        if rest > 0 {
            shares.push(format!("{rest} of {} more services", services.len() - SERVICES_SHOWN));
        }
        if shares.is_empty() { "none of services".to_owned() } else { shares.join(", ") }
    }
}
