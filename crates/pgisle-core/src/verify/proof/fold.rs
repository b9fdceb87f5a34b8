//! One cause, one finding.

use crate::diagnostic::Code;

use super::super::leak::{Leak, PathStep};

/// A membership in a role that is nobody's is told by what is reached through it. Ending it belongs to what closes that.
pub(super) fn stepping_stones(leaks: &mut Vec<Leak>) {
    let leads_nowhere = |leak: &Leak| {
        leak.code == Code::LEAK_ROLE
            && leak.to.is_none()
            && matches!(leak.path.last(), Some(PathStep::MemberOf { .. } | PathStep::SetRole { .. } | PathStep::AdminOf { .. }))
    };
    let (stones, mut others): (Vec<Leak>, Vec<Leak>) = std::mem::take(leaks).into_iter().partition(leads_nowhere);
    for stone in stones {
        let mut is_told = false;
        for leak in others.iter_mut().filter(|leak| leak.from == stone.from && leak.path.starts_with(&stone.path)) {
            is_told = true;
            leak.hint = leak.hint.replace("so does this line", "so do these lines");
            let more = stone.commands.iter().filter(|command| !leak.commands.contains(command)).cloned().collect::<Vec<_>>();
            // They work anywhere, so they come before what has to go to another database first.
            leak.commands.splice(0..0, more);
        }
        if !is_told {
            others.push(stone);
        }
    }
    super::leak::sort(&mut others);
    *leaks = others;
}
