//! The monitoring login: one for the whole cluster, with few connections and the right to look.

use std::collections::BTreeMap;

use super::{Action, Address, Cause, Danger, DbaStatement, Planner, RoleChange, Step, Target, UnitPlace};
use crate::diagnostic::{Code, Diagnostic};
use crate::marker::{Kind, Marker};
use crate::name::RoleName;
use crate::plan::role::WantedRole;

/// The predefined role that may read every statistic.
const PG_MONITOR: &str = "pg_monitor";

impl Planner<'_> {
    /// Plans the monitoring login, and remembers whether there is one to grant to.
    pub(super) fn monitoring_role(&mut self) {
        let name = self.spec.settings.monitoring_user();
        let observed = self.inventory.roles.get(&name);
        let marker = observed.and_then(crate::inventory::Role::marker);
        let is_ours = marker.as_ref().is_some_and(|marker| marker.same_owner(self.project(), self.environment()));
        let address = Address::Monitoring(format!("role/{name}"));
        if !self.spec.settings.create_monitoring_user {
            if is_ours && observed.is_some_and(|role| role.login) && self.is_target(&Target::Monitoring) {
                let action = Action::AlterRole { role: name, changes: [RoleChange::NoLogin].into() };
                let step = Step { address, action, danger: Danger::Access, cause: Cause::Removed };
                self.plan.before.push(self.unit(UnitPlace::Maintenance, None, vec![step]));
            }
            return;
        }
        if observed.is_some() && !is_ours {
            let diagnostic = Diagnostic::error(Code::PLAN_FOREIGN_ROLE, format!("role \"{name}\" exists and is not pgisle's"))
                .hint("Rename or drop it, or set create_monitoring_user = false.");
            return self.block(address, diagnostic, Vec::new());
        }
        let admin = &self.inventory.admin;
        if observed.is_none() && !admin.superuser && !admin.create_role {
            return;
        }
        if observed.is_some() || self.is_target(&Target::Monitoring) {
            self.monitoring = Some(name.clone());
        }
        if self.is_target(&Target::Monitoring) {
            self.monitoring_steps(&address, name);
        }
    }

    fn monitoring_steps(&mut self, address: &Address, name: RoleName) {
        let cause = if self.inventory.roles.contains_key(&name) { Cause::Drift } else { Cause::Missing };
        let marker =
            Marker { tags: self.spec.settings.tags.clone(), ..Marker::new(self.project(), self.environment(), Kind::Monitoring) };
        let wanted = WantedRole {
            marker: self.login_marker(marker, &name),
            connection_limit: Some(self.spec.settings.monitoring_connection_limit.0),
            parameters: BTreeMap::new(),
            member_of: Vec::new(),
            name,
        };
        let mut steps = self.role_steps(address, cause, &wanted);
        let impossible = self.take_impossible(&mut steps);
        if !impossible.is_empty() {
            let why = format!("role \"{}\" may not change role \"{}\"", self.inventory.admin.role, wanted.name);
            self.block_steps(address.clone(), &impossible, &UnitPlace::Maintenance, why);
        }
        steps.extend(self.monitoring_membership(address, &wanted.name, cause));
        steps.extend(self.monitoring_entry(address, &wanted.name));
        self.plan.before.push(self.unit(UnitPlace::Maintenance, None, steps));
    }

    fn monitoring_membership(&mut self, address: &Address, name: &RoleName, cause: Cause) -> Option<Step> {
        let group = RoleName::new(PG_MONITOR).ok()?;
        if self.inventory.memberships.iter().any(|row| row.role == group && row.member == *name) {
            return None;
        }
        let action = Action::GrantMembership { role: group.clone(), member: name.clone(), options: None };
        if self.may_administer(&group) {
            return Some(Step { address: address.clone(), action, danger: Danger::None, cause });
        }
        let diagnostic = Diagnostic::error(
            Code::PLAN_PRIVILEGE,
            format!("role \"{}\" may not grant \"{PG_MONITOR}\"", self.inventory.admin.role),
        )
        .detail("Without it the monitoring login sees only its own sessions and few statistics.")
        .hint("A DBA must run the statement, once; -allow-incomplete goes on without.");
        let sql = action.statements().iter().map(ToString::to_string).collect();
        self.block(address.clone(), diagnostic, vec![DbaStatement { database: None, sql }]);
        None
    }
}
