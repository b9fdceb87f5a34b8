//! What `apply` and `destroy` show at the end.

use std::fmt::Write as _;
use std::path::Path;

use pgisle_engine::apply::Applied;
use pgisle_engine::artifact::{Change, ChangeKind};

use super::style::{BAD, GOOD, NAME, STRONG, paint};
use super::text::count;

/// After an apply.
pub(crate) fn applied(applied: &Applied, folder: &Path, files: &[Change], done: bool) -> String {
    let mut text = ending(applied, "Apply", ["added", "changed", "removed"], done);
    let number = |kinds: &[ChangeKind]| files.iter().filter(|change| kinds.contains(&change.kind)).count();
    let written = number(&[ChangeKind::Create, ChangeKind::Update]);
    if written > 0 {
        // Writing to a String cannot fail, here and below.
        let _infallible = writeln!(text, "{} written in {}.", count(written, "file"), folder.display());
    }
    if done && !applied.planned.plan.is_empty() {
        let _infallible = writeln!(text, "\nNext, prove the isolation:\n\n      {}", paint(NAME, "pgisle verify"));
    }
    text
}

/// After a destroy.
pub(crate) fn destroyed(applied: &Applied) -> String {
    if applied.planned.plan.is_empty() {
        let nothing = if applied.planned.report.blocked.is_empty() { "There is nothing to drop." } else { "Nothing was dropped." };
        return format!("{nothing}\n");
    }
    ending(applied, "Destroy", ["added", "changed", "removed"], applied.failures.is_empty())
}

fn ending(applied: &Applied, what: &str, [added, changed, removed]: [&str; 3], done: bool) -> String {
    let plan = &applied.planned.plan;
    if plan.is_empty() {
        return match done {
            true => format!("{} The cluster is as the files say.\n", paint(GOOD, "Nothing to do.")),
            false => String::new(),
        };
    }
    if !applied.failures.is_empty() {
        return format!(
            "{} {} failed.\n",
            paint(BAD.bold(), format_args!("{what} stopped.")),
            count(applied.failures.len(), "step")
        );
    }
    let counts = plan.counts();
    let heading = if done {
        paint(GOOD.bold(), format_args!("{what} complete."))
    } else {
        paint(STRONG, format_args!("{what} done, in part."))
    };
    format!("{heading} {} {added}, {} {changed}, {} {removed}.\n", counts.add, counts.change, counts.remove)
}
