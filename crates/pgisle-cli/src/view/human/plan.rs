//! Plans: what would be added, changed and removed, grouped by what it is about.

use std::fmt::Write as _;
use std::path::Path;

use pgisle_core::plan::{Address, Cause, Counts, Danger, Operation, Plan, Planned, Report, Retired, Step};
use pgisle_engine::artifact::{Change, ChangeKind};

use super::style::{BAD, CHANGE, FAINT, GOOD, NAME, STRONG, harmless, paint};

/// How much of a plan is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// A line for each step.
    Steps,
    /// Also each step's SQL.
    Sql,
}

/// A plan with everything that is worth knowing before it is agreed to.
pub(crate) fn planned(planned: &Planned, depth: Depth) -> String {
    let Planned { plan, report, diagnostics: _ } = planned;
    format!("{}{}{}\n", steps(plan, depth), retired(report), counts(plan.counts()))
}

/// The generated files that would change.
pub(crate) fn files(folder: &Path, changes: &[Change]) -> String {
    let number = |kind: ChangeKind| changes.iter().filter(|change| change.kind == kind).count();
    let [create, update, remove] = [ChangeKind::Create, ChangeKind::Update, ChangeKind::Remove].map(number);
    if create + update + remove == 0 {
        return String::new();
    }
    format!("{} {create} to write, {update} to update, {remove} to remove in {}.\n\n", paint(STRONG, "Files:"), folder.display())
}

/// Whether any file would change.
pub(crate) fn any_change(changes: &[Change]) -> bool {
    changes.iter().any(|change| matches!(change.kind, ChangeKind::Create | ChangeKind::Update | ChangeKind::Remove))
}

/// When there is nothing to do.
pub(crate) fn nothing(planned: &Planned) -> String {
    let Report { blocked, unchanged: _, retired: _ } = &planned.report;
    let verdict =
        if blocked.is_empty() { "The cluster is as the files say." } else { "What is left is listed below, with the reason." };
    format!("{}{} {verdict}\n", retired(&planned.report), paint(GOOD, "Nothing to do."))
}

/// What to do with a plan.
pub(crate) fn next(saved: Option<&Path>, destroy: bool) -> String {
    match saved {
        Some(path) => {
            let path = harmless(&path.display().to_string());
            format!("Saved. To do exactly this:\n\n      {}\n", paint(NAME, format_args!("pgisle apply {path}")))
        }
        None if destroy => format!("To do it:\n\n      {}\n", paint(NAME, "pgisle destroy")),
        None => format!("To do it:\n\n      {}\n", paint(NAME, "pgisle apply")),
    }
}

/// The steps, grouped by what they are about.
fn steps(plan: &Plan, depth: Depth) -> String {
    let mut groups: Vec<(String, Vec<&Step>)> = Vec::new();
    for step in plan.steps() {
        let (group, _) = split(&step.address);
        match groups.iter_mut().find(|(name, _)| *name == group) {
            Some((_, steps)) => steps.push(step),
            None => groups.push((group, vec![step])),
        }
    }
    let mut text = String::new();
    for (group, steps) in &groups {
        // Writing to a String cannot fail, here and below.
        let _infallible = writeln!(text, "{}", paint(STRONG, harmless(group)));
        let width = steps.iter().map(|step| split(&step.address).1.chars().count()).max().unwrap_or(0);
        for step in steps {
            write_step(&mut text, step, width, depth);
        }
        text.push('\n');
    }
    text
}

fn write_step(text: &mut String, step: &Step, width: usize, depth: Depth) {
    let (style, sign) = match step.action.operation() {
        Operation::Add => (GOOD, '+'),
        Operation::Change => (CHANGE, '~'),
        Operation::Remove => (BAD, '-'),
    };
    let part = harmless(&split(&step.address).1);
    let gap = " ".repeat(width.saturating_sub(part.chars().count()));
    let _infallible = write!(text, "  {} {}{gap}  {}", paint(style, sign), paint(FAINT, part), harmless(&step.summary()));
    if let Some(cause) = cause(step.cause) {
        let _infallible = write!(text, " {}", paint(CHANGE, format_args!("({cause})")));
    }
    if let Some(danger) = danger(step.danger) {
        let _infallible = write!(text, " {}", paint(BAD, format_args!("! {danger}")));
    }
    text.push('\n');
    if depth == Depth::Sql {
        for statement in step.statements() {
            let _infallible = writeln!(text, "        {}", paint(FAINT, harmless(&format!("{statement};"))));
        }
    }
}

/// `service.users` and `database`.
fn split(address: &Address) -> (String, String) {
    let text = address.to_string();
    match text.split_once('/') {
        Some((group, part)) => (group.to_owned(), part.to_owned()),
        None => (text, String::new()),
    }
}

/// What is worth saying about why; that it is in the file is what one expects.
fn cause(cause: Cause) -> Option<&'static str> {
    match cause {
        Cause::Missing | Cause::Changed | Cause::Destroyed => None,
        Cause::Drift => Some("drift: the cluster was changed behind pgisle's back"),
        Cause::Removed => Some("left the file"),
        Cause::Adopted => Some("taken over"),
    }
}

fn danger(danger: Danger) -> Option<&'static str> {
    match danger {
        Danger::None => None,
        Danger::Access => Some("someone loses access"),
        Danger::Data => Some("data is lost for good"),
    }
}

/// `Plan: 12 to add, 1 to change, 0 to remove.`
fn counts(counts: Counts) -> String {
    let Counts { add, change, remove } = counts;
    format!("{} {add} to add, {change} to change, {remove} to remove.\n", paint(STRONG, "Plan:"))
}

/// Services that have left the file.
fn retired(report: &Report) -> String {
    let mut text = String::new();
    for Retired { service, database } in &report.retired {
        let _infallible = writeln!(
            text,
            "{} service {service} has left the file; its database {} is kept, fenced.\n",
            paint(STRONG, "Retired:"),
            harmless(database.as_str()),
        );
    }
    text
}
