//! The roles of a service: the owner role, the logins, and who is a member of what.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Address, Cause, Danger, Planner, RoleChange, Step, UnitPlace, service_roles};
use crate::inventory::{Membership, Readable, Role};
use crate::marker::{Kind, Marker};
use crate::name::{ParameterName, RoleName};
use crate::plan::step::MembershipOptions;
use crate::spec::{Access, Service};

/// What a role shall be.
pub(super) struct WantedRole {
    pub(super) name: RoleName,
    pub(super) marker: Marker,
    /// For a login: how many connections it may hold.
    pub(super) connection_limit: Option<u32>,
    pub(super) parameters: BTreeMap<ParameterName, String>,
    /// Roles that it is a member of.
    pub(super) member_of: Vec<RoleName>,
}

impl<'a> Planner<'a> {
    /// The logins that the service uses now: the active slot, and during a rotation the other one too.
    pub(super) fn enabled_logins(&self, service: &Service) -> Vec<RoleName> {
        match self.options.credentials.services.get(&service.name) {
            None => vec![service.user.clone()],
            Some(credentials) => {
                let other = [&credentials.pending, &credentials.draining].into_iter().flatten();
                std::iter::once(&credentials.active).chain(other).map(|credential| credential.role.clone()).collect()
            }
        }
    }

    /// Every step that the roles of one service need.
    pub(super) fn service_roles(&mut self, service: &'a Service) -> Vec<Step> {
        let mut steps = Vec::new();
        let wanted = self.wanted_roles(service);
        for role in &wanted {
            steps.extend(self.role(service, role));
            if role.name == service.owner() {
                steps.extend(self.admin_membership(service));
            }
        }
        for role in &wanted {
            for group in &role.member_of {
                steps.extend(self.membership(service, group, &role.name));
            }
            // After the membership: the server checks it when `role` is set.
            steps.extend(self.parameters(service, role));
        }
        steps.extend(self.foreign_memberships(service, &wanted));
        steps.extend(self.disabled_slots(service, &wanted));
        let impossible = self.take_impossible(&mut steps);
        if !impossible.is_empty() {
            let why = format!("role \"{}\" may not change roles of service \"{}\"", self.inventory.admin.role, service.name);
            let address = Address::Service(service.name.clone(), "role".to_owned());
            self.block_steps(address, &impossible, &UnitPlace::Maintenance, why);
        }
        steps
    }

    fn wanted_roles(&self, service: &Service) -> Vec<WantedRole> {
        let plain = |name: RoleName, kind: Kind| WantedRole {
            marker: Marker { database: Some(service.database.clone()), ..self.service_marker(service, kind) },
            name,
            connection_limit: None,
            parameters: BTreeMap::new(),
            member_of: Vec::new(),
        };
        let mut roles = vec![plain(service.owner(), Kind::Owner)];
        let acts_as = ParameterName::new("role").ok().map(|name| (name, service.owner().as_str().to_owned()));
        let group = match service.access {
            Access::Owner => service.owner(),
            Access::Split => service.application(),
        };
        for login in self.enabled_logins(service) {
            let mut parameters = service.settings.clone();
            if service.access == Access::Owner {
                parameters.extend(acts_as.clone());
            }
            roles.push(WantedRole {
                marker: self.login_marker(self.service_marker(service, Kind::Login), &login),
                name: login,
                connection_limit: Some(service.connection_limit.0),
                parameters,
                member_of: vec![group.clone()],
            });
        }
        if service.access == Access::Split {
            roles.push(plain(service.application(), Kind::Application));
            let migrator = service.migrator();
            roles.push(WantedRole {
                marker: self.login_marker(self.service_marker(service, Kind::Migrator), &migrator),
                name: migrator,
                connection_limit: Some(service.connection_limit.0),
                parameters: acts_as.into_iter().collect(),
                member_of: vec![service.owner()],
            });
        }
        roles
    }

    pub(super) fn service_marker(&self, service: &Service, kind: Kind) -> Marker {
        Marker {
            service: Some(service.name.clone()),
            tags: self.spec.settings.tags.clone(),
            ..Marker::new(self.project(), self.environment(), kind)
        }
    }

    pub(super) fn login_marker(&self, marker: Marker, login: &RoleName) -> Marker {
        Marker { credential: self.verifier(login).map(|verifier| verifier.fingerprint()), ..marker }
    }

    fn role(&self, service: &Service, wanted: &WantedRole) -> Vec<Step> {
        let address = Address::Service(service.name.clone(), format!("role/{}", wanted.name));
        self.role_steps(&address, self.cause(service), wanted)
    }

    /// What one role needs to be as wanted, memberships and parameters left out.
    pub(super) fn role_steps(&self, address: &Address, cause: Cause, wanted: &WantedRole) -> Vec<Step> {
        let WantedRole { name, marker, connection_limit, parameters: _, member_of: _ } = wanted;
        let step = |action, danger, cause| Step { address: address.clone(), action, danger, cause };
        let Some(role) = self.inventory.roles.get(name) else {
            let action = Action::CreateRole {
                role: name.clone(),
                connection_limit: *connection_limit,
                verifier: self.verifier(name),
                marker: marker.clone(),
            };
            let cause = if cause == Cause::Drift { Cause::Drift } else { Cause::Missing };
            return vec![step(action, Danger::None, cause)];
        };
        let mut steps = Vec::new();
        let changes = attribute_changes(role, *connection_limit);
        if !changes.is_empty() {
            let danger = if changes.contains(&RoleChange::NoLogin) { Danger::Access } else { Danger::None };
            steps.push(step(Action::AlterRole { role: name.clone(), changes }, danger, cause));
        }
        let observed = role.marker();
        if connection_limit.is_some() && self.password_differs(role, observed.as_ref(), name) {
            let action = Action::SetPassword { role: name.clone(), verifier: self.verifier(name) };
            steps.push(step(action, Danger::Access, cause));
        }
        // Without a credential at hand nothing is known about it, so the observed one stands.
        let marker = match (&marker.credential, &observed) {
            (None, Some(observed)) => Marker { credential: observed.credential.clone(), ..marker.clone() },
            _ => marker.clone(),
        };
        if observed.as_ref() != Some(&marker) {
            steps.push(step(Action::MarkRole { role: name.clone(), marker }, Danger::None, cause));
        }
        steps
    }

    fn password_differs(&self, role: &Role, observed: Option<&Marker>, name: &RoleName) -> bool {
        let Some(wanted) = self.verifier(name) else { return false };
        match &role.verifier {
            Readable::Known(verifier) => verifier.as_ref() != Some(&wanted),
            // Where the verifiers are hidden, the marker tells which one was set last.
            Readable::Hidden(_) => observed.and_then(|marker| marker.credential.clone()) != Some(wanted.fingerprint()),
        }
    }

    pub(super) fn parameters(&self, service: &Service, wanted: &WantedRole) -> Vec<Step> {
        let none = BTreeMap::new();
        let observed = self.inventory.roles.get(&wanted.name).map_or(&none, |role| &role.settings);
        let elements = crate::sql::parameter_elements;
        let differs = |name: &ParameterName, value: &String| {
            observed.get(name).is_none_or(|observed| elements(name, observed) != elements(name, value))
        };
        let parameters: BTreeMap<_, _> = wanted
            .parameters
            .iter()
            .filter(|(name, value)| differs(name, value))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        // Of the parameters that pgisle does not know, only `role` is its business: it decides who owns new objects.
        let reset: BTreeSet<_> =
            observed.keys().filter(|name| name.as_str() == "role" && !wanted.parameters.contains_key(*name)).cloned().collect();
        if parameters.is_empty() && reset.is_empty() {
            return Vec::new();
        }
        vec![Step {
            address: Address::Service(service.name.clone(), format!("role/{}", wanted.name)),
            action: Action::SetRoleParameters { role: wanted.name.clone(), parameters, reset },
            danger: Danger::None,
            cause: self.cause(service),
        }]
    }

    /// An administrator who is no superuser must be able to act as the owner role, to set its default privileges.
    fn admin_membership(&self, service: &Service) -> Vec<Step> {
        let admin = &self.inventory.admin;
        let owner = service.owner();
        let is_member = |row: &&Membership| row.role == owner && row.member == admin.role && row.set;
        let superfluous = self.inventory.roles.contains_key(&owner) && self.inventory.memberships.iter().any(|row| is_member(&row));
        if admin.superuser || superfluous {
            return Vec::new();
        }
        let options = (self.inventory.server.major() >= 16).then_some(MembershipOptions::SetOnly);
        vec![Step {
            address: Address::Service(service.name.clone(), format!("role/{owner}")),
            action: Action::GrantMembership { role: owner, member: admin.role.clone(), options },
            danger: Danger::None,
            cause: self.cause(service),
        }]
    }

    fn membership(&self, service: &Service, group: &RoleName, member: &RoleName) -> Vec<Step> {
        let rows = || self.inventory.memberships.iter().filter(|row| row.role == *group && row.member == *member);
        let modern = self.inventory.server.major() >= 16;
        let address = Address::Service(service.name.clone(), format!("role/{member}"));
        let cause = self.cause(service);
        let mut steps = Vec::new();
        if !rows().any(|row| row.set && (row.inherit || !modern)) {
            let options = modern.then_some(MembershipOptions::SetAndInherit);
            let action = Action::GrantMembership { role: group.clone(), member: member.clone(), options };
            steps.push(Step { address: address.clone(), action, danger: Danger::None, cause });
        }
        for row in rows().filter(|row| row.admin) {
            steps.push(Step { address: address.clone(), action: self.revoke_membership(row, true), danger: Danger::Access, cause });
        }
        steps
    }

    pub(super) fn revoke_membership(&self, row: &Membership, admin_option_only: bool) -> Action {
        Action::RevokeMembership {
            role: row.role.clone(),
            member: row.member.clone(),
            grantor: (self.inventory.server.major() >= 16).then(|| row.grantor.clone()),
            admin_option_only,
        }
    }

    /// Memberships that the island does not have by design: strangers in its roles, and its logins in strangers' roles.
    fn foreign_memberships(&self, service: &Service, wanted: &[WantedRole]) -> Vec<Step> {
        let own = service_roles(service);
        let trusted = &self.spec.settings.trusted_roles;
        let admin = &self.inventory.admin.role;
        let is_superuser = |role: &RoleName| self.inventory.roles.get(role).is_some_and(|role| role.superuser);
        let is_wanted = |row: &Membership| wanted.iter().any(|role| role.name == row.member && role.member_of.contains(&row.role));
        // From 16 on the maker of a role is its member with the admin option; that row cannot and need not go.
        let is_platform = |row: &Membership| {
            row.member == *admin || is_superuser(&row.member) || self.may_create_roles(&row.member) || self.is_of_job(&row.member)
        };
        self.inventory
            .memberships
            .iter()
            .filter(|row| own.contains(&row.role) || own.contains(&row.member))
            .filter(|row| !is_wanted(row) && !trusted.contains(&row.member) && !trusted.contains(&row.role))
            .filter(|row| own.contains(&row.member) || !is_platform(row))
            .map(|row| Step {
                address: Address::Service(service.name.clone(), format!("role/{}", row.member)),
                action: self.revoke_membership(row, false),
                danger: Danger::Access,
                cause: self.cause(service),
            })
            .collect()
    }

    /// A role that may create roles is an administrator of the platform, unless it is one of our own logins gone astray.
    fn may_create_roles(&self, role: &RoleName) -> bool {
        self.inventory.roles.get(role).is_some_and(|role| role.create_role && role.marker().is_none())
    }

    /// The login that fills a database for a restore is the restore's to drop.
    fn is_of_job(&self, role: &RoleName) -> bool {
        let marker = self.inventory.roles.get(role).and_then(Role::marker);
        marker.is_some_and(|marker| marker.kind.is_of_job() && marker.same_owner(self.project(), self.environment()))
    }

    /// The idle slot must not log in, nor may roles of another access mode.
    fn disabled_slots(&self, service: &Service, wanted: &[WantedRole]) -> Vec<Step> {
        let is_ours = |role: &Role| role.marker().is_some_and(|marker| marker.same_owner(self.project(), self.environment()));
        service_roles(service)
            .into_iter()
            .filter(|name| wanted.iter().all(|role| role.name != *name))
            .filter_map(|name| {
                let role = self.inventory.roles.get(&name)?;
                (role.login && is_ours(role)).then(|| Step {
                    address: Address::Service(service.name.clone(), format!("role/{name}")),
                    action: Action::AlterRole { role: name, changes: BTreeSet::from([RoleChange::NoLogin]) },
                    danger: Danger::Access,
                    cause: self.cause(service),
                })
            })
            .collect()
    }

    /// Takes out the steps that only a superuser may do, or someone with the admin option on the role.
    pub(super) fn take_impossible(&self, steps: &mut Vec<Step>) -> Vec<Step> {
        if self.inventory.admin.superuser {
            return Vec::new();
        }
        let (impossible, possible) = std::mem::take(steps).into_iter().partition(|step| match &step.action {
            Action::AlterRole { role, changes } => {
                let superusers_only = [RoleChange::NoSuperuser, RoleChange::NoReplication, RoleChange::NoBypassRls];
                !self.may_administer(role) || superusers_only.iter().any(|change| changes.contains(change))
            }
            Action::SetPassword { role, .. }
            | Action::MarkRole { role, .. }
            | Action::SetRoleParameters { role, .. }
            | Action::GrantMembership { role, .. } => !self.may_administer(role),
            Action::RevokeMembership { role, grantor, .. } => {
                let granted_by_other = grantor.as_ref().is_some_and(|grantor| *grantor != self.inventory.admin.role);
                !self.may_administer(role) || granted_by_other
            }
            _ => false,
        });
        *steps = possible;
        impossible
    }

    /// Whether the administrator may alter, comment on and grant a role: CREATEROLE, and from 16 on the admin option as well.
    pub(super) fn may_administer(&self, role: &RoleName) -> bool {
        let admin = &self.inventory.admin;
        let Some(observed) = self.inventory.roles.get(role) else { return true };
        if admin.superuser {
            return true;
        }
        let has_admin_option =
            || self.inventory.memberships.iter().any(|row| row.role == *role && row.member == admin.role && row.admin);
        admin.create_role && !observed.superuser && (self.inventory.server.major() < 16 || has_admin_option())
    }
}

fn attribute_changes(role: &Role, connection_limit: Option<u32>) -> BTreeSet<RoleChange> {
    let mut changes = BTreeSet::new();
    let mut change_if = |condition: bool, change: RoleChange| {
        if condition {
            changes.insert(change);
        }
    };
    change_if(role.superuser, RoleChange::NoSuperuser);
    change_if(role.create_role, RoleChange::NoCreateRole);
    change_if(role.create_db, RoleChange::NoCreateDb);
    change_if(role.replication, RoleChange::NoReplication);
    change_if(role.bypass_rls, RoleChange::NoBypassRls);
    match connection_limit {
        None => change_if(role.login, RoleChange::NoLogin),
        Some(limit) => {
            change_if(!role.login, RoleChange::Login);
            change_if(!role.inherit, RoleChange::Inherit);
            change_if(i64::from(role.connection_limit) != i64::from(limit), RoleChange::ConnectionLimit(limit));
            change_if(role.valid_until.as_deref().is_some_and(|until| until != "infinity"), RoleChange::ValidForever);
        }
    }
    changes
}
