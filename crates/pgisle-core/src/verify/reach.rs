//! Which roles a role reaches through memberships, and how.
//!
//! An edge of `pg_auth_members` carries three independent permissions: to inherit the role's privileges, to become it with
//! SET ROLE, and to grant it. Before PostgreSQL 16 the first is the member's `rolinherit` and the second is always there; the
//! inventory has already said it so, and this module knows no versions.

use std::collections::{BTreeMap, VecDeque};

use crate::inventory::Membership;
use crate::name::RoleName;

use super::leak::PathStep;

/// The memberships, by member.
pub(super) struct Graph<'a> {
    edges: BTreeMap<&'a RoleName, BTreeMap<&'a RoleName, Edge>>,
}

/// All rows of one pair of roles taken together: a permission that any grantor gave is given.
#[derive(Clone, Copy, Default)]
struct Edge {
    inherit: bool,
    set: bool,
    admin: bool,
}

/// In which way a role is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mode {
    /// By SET ROLE: its attributes count too.
    Become,
    /// Its privileges are inherited, and its attributes are not.
    Use,
}

/// Roles that are reached, each with the shortest path to it (the start is not part of it).
pub(super) type Reached<'a> = BTreeMap<&'a RoleName, Vec<PathStep>>;

impl<'a> Graph<'a> {
    pub(super) fn new(memberships: &'a [Membership]) -> Self {
        let mut edges: BTreeMap<&RoleName, BTreeMap<&RoleName, Edge>> = BTreeMap::new();
        for row in memberships {
            let edge = edges.entry(&row.member).or_default().entry(&row.role).or_default();
            edge.inherit |= row.inherit;
            edge.set |= row.set;
            edge.admin |= row.admin;
        }
        Self { edges }
    }

    /// The direct members of a role.
    pub(super) fn members(&self, role: &RoleName) -> Vec<&'a RoleName> {
        self.edges.iter().filter(|(_, roles)| roles.contains_key(role)).map(|(member, _)| *member).collect()
    }

    fn from(&self, role: &RoleName) -> impl Iterator<Item = (&'a RoleName, Edge)> + '_ {
        self.edges.get(role).into_iter().flatten().map(|(role, edge)| (*role, *edge))
    }

    /// The roles whose privileges a session has at the moment of login, when no SET ROLE has happened yet: this decides
    /// CONNECT.
    pub(super) fn inherited(&self, start: &'a RoleName) -> Reached<'a> {
        let mut reached = BTreeMap::from([(start, Vec::new())]);
        let mut queue = VecDeque::from([start]);
        while let Some(at) = queue.pop_front() {
            for (role, edge) in self.from(at) {
                if edge.inherit && !reached.contains_key(role) {
                    let path = extended(&reached[at], PathStep::MemberOf { role: role.clone() });
                    reached.insert(role, path);
                    queue.push_back(role);
                }
            }
        }
        reached
    }

    /// The roles that a session can act as in the course of its life: by inheritance, by SET ROLE, and by granting itself what
    /// it holds the admin option on.
    ///
    /// SET ROLE is checked against the login whatever role is current, so only an unbroken chain of SET options leads on;
    /// from wherever it stands, the session inherits.
    pub(super) fn acting(&self, start: &'a RoleName) -> BTreeMap<(&'a RoleName, Mode), Vec<PathStep>> {
        let mut reached = BTreeMap::from([((start, Mode::Become), Vec::new())]);
        let mut queue = VecDeque::from([(start, Mode::Become)]);
        while let Some(at) = queue.pop_front() {
            for (role, edge) in self.from(at.0) {
                let becomes = edge.set && at.1 == Mode::Become;
                let becoming = match (becomes, edge.inherit) {
                    (true, true) => PathStep::MemberOf { role: role.clone() },
                    (true, false) => PathStep::SetRole { role: role.clone() },
                    (false, _) => PathStep::AdminOf { role: role.clone() },
                };
                let modes = [
                    (edge.inherit, Mode::Use, PathStep::MemberOf { role: role.clone() }),
                    (becomes || edge.admin, Mode::Become, becoming),
                ];
                for (_, mode, step) in modes.into_iter().filter(|(open, ..)| *open) {
                    if !reached.contains_key(&(role, mode)) {
                        let path = extended(&reached[&at], step);
                        reached.insert((role, mode), path);
                        queue.push_back((role, mode));
                    }
                }
            }
        }
        reached
    }

    /// The roles that a role may grant to anyone, itself included, with the path to each.
    pub(super) fn administered(&self, acting: &BTreeMap<(&'a RoleName, Mode), Vec<PathStep>>) -> Reached<'a> {
        let mut reached = Reached::new();
        for ((at, _), path) in acting {
            for (role, edge) in self.from(at) {
                if edge.admin {
                    reached.entry(role).or_insert_with(|| extended(path, PathStep::AdminOf { role: role.clone() }));
                }
            }
        }
        reached
    }
}

fn extended(path: &[PathStep], step: PathStep) -> Vec<PathStep> {
    let mut path = path.to_vec();
    path.push(step);
    path
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn role(name: &str) -> RoleName {
        RoleName::new(name).unwrap()
    }

    /// `member>role:isa`, the letters being the options that are given.
    fn rows(texts: &[&str]) -> Vec<Membership> {
        let row = |text: &&str| {
            let (member, rest) = text.split_once('>').unwrap();
            let (granted, options) = rest.split_once(':').unwrap();
            Membership {
                role: role(granted),
                member: role(member),
                grantor: role("postgres"),
                admin: options.contains('a'),
                inherit: options.contains('i'),
                set: options.contains('s'),
            }
        };
        texts.iter().map(row).collect()
    }

    fn acting(texts: &[&str]) -> Vec<String> {
        let rows = rows(texts);
        let start = role("a");
        let graph = Graph::new(&rows);
        graph.acting(&start).into_keys().map(|(role, mode)| format!("{role} {mode:?}")).collect()
    }

    #[test]
    fn set_needs_an_unbroken_chain() {
        assert_eq!(acting(&["a>b:i", "b>c:s"]), ["a Become", "b Use"]);
        assert_eq!(acting(&["a>b:s", "b>c:i"]), ["a Become", "b Become", "c Use"]);
        assert_eq!(acting(&["a>b:", "b>c:is"]), ["a Become"]);
    }

    #[test]
    fn the_admin_option_opens_everything_behind_it() {
        assert_eq!(acting(&["a>b:a", "b>c:s"]), ["a Become", "b Become", "c Become"]);
        assert_eq!(acting(&["a>b:i", "b>c:a"]), ["a Become", "b Use", "c Become"]);
    }

    #[test]
    fn only_inheritance_counts_at_login() {
        let rows = rows(&["a>b:s", "a>c:i", "c>d:i", "d>e:s"]);
        let start = role("a");
        let names: Vec<_> = Graph::new(&rows).inherited(&start).into_keys().map(RoleName::as_str).collect();
        assert_eq!(names, ["a", "c", "d"]);
    }

    #[test]
    fn rows_of_several_grantors_add_up_and_cycles_end() {
        assert_eq!(acting(&["a>b:i", "a>b:s", "b>a:is"]), ["a Become", "a Use", "b Become", "b Use"]);
    }
}
