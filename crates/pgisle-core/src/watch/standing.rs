//! How the islands stand, by the shared catalogs alone: whoever only watches enters no service's database for it.

use std::collections::{BTreeMap, BTreeSet};

use super::Standing;
use crate::credential::Credentials;
use crate::inventory::{Admin, Inventory};
use crate::plan::{PlanOptions, plan};
use crate::spec::Spec;
use crate::status::{Activity, State, status};
use crate::verify::prove;

/// Judges what was seen. Of the credentials only the verifiers' fingerprints count.
#[must_use]
pub fn standing(spec: &Spec, inventory: &Inventory, credentials: &Credentials) -> Standing {
    let nothing = Activity { sessions: Vec::new(), bytes: BTreeMap::new() };
    let states = status(spec, inventory, &nothing).services.into_iter().map(|row| (row.service, row.state));
    // What the administrator would do; what is left to someone with more rights is no drift. What is inside of the databases was not looked
    // at, and is left out.
    let role = spec.settings.postgres_username.clone();
    let known = inventory.roles.get(&role);
    let admin = Admin {
        superuser: known.is_none_or(|role| role.superuser),
        create_role: known.is_none_or(|role| role.create_role),
        create_db: known.is_none_or(|role| role.create_db),
        cloud_superuser: false,
        role,
    };
    let seen = Inventory { admin, ..inventory.clone() };
    let options = PlanOptions { credentials, targets: &[], adopt: &BTreeSet::new(), end_sessions: false, budget: None };
    let planned = plan(spec, &seen, &options);
    // A service that was never made is missing, which its state says.
    let states: BTreeMap<_, _> = states.collect();
    let is_there = |address: &str| {
        states.iter().all(|(service, state)| *state != State::Missing || !address.starts_with(&format!("service.{service}/")))
    };
    let drift = planned.plan.steps().map(|step| (step.address.to_string(), step.summary()));
    Standing {
        drift: drift.filter(|(address, _)| is_there(address)).map(|(address, what)| format!("{address}: {what}")).collect(),
        leaks: prove(spec, inventory).leaks,
        states,
    }
}
