//! Plans: what would be added, changed and removed, grouped by what it is about.

use std::fmt::Write as _;

use pgisle_core::plan::{Address, Blocked, Cause, Counts, Danger, Operation, Plan, Report, Retired, Step};

use super::style::{BAD, CHANGE, FAINT, GOOD, NAME, STRONG, harmless, paint};

/// How much of a plan is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// A line for each step.
    Steps,
    /// Also each step's SQL.
    Sql,
}

/// The steps and their number. Empty plans say so.
pub(crate) fn steps(plan: &Plan, depth: Depth) -> String {
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
pub(crate) fn counts(counts: Counts) -> String {
    let Counts { add, change, remove } = counts;
    format!("{} {add} to add, {change} to change, {remove} to remove.\n", paint(STRONG, "Plan:"))
}

/// What the plan does not do, and why: retired services, and work for someone with more rights.
pub(crate) fn report(report: &Report) -> String {
    let Report { blocked, unchanged: _, retired } = report;
    let mut text = String::new();
    for Retired { service, database } in retired {
        let _infallible = writeln!(
            text,
            "{} service {service} has left the file; database {} is kept, fenced. To drop it for good:\n\n      {}\n",
            paint(STRONG, "Retired:"),
            harmless(database.as_str()),
            paint(NAME, format_args!("pgisle destroy -target=service.{service}"))
        );
    }
    for Blocked { address, diagnostic, statements } in blocked {
        let _infallible =
            writeln!(text, "{} {}: {}", paint(CHANGE, "Not done:"), harmless(&address.to_string()), harmless(&diagnostic.summary));
        if !statements.is_empty() {
            text.push_str("  Someone with more rights has to run, in psql:\n\n");
        }
        for statement in statements {
            if let Some(database) = &statement.database {
                let _infallible = writeln!(text, "      {}", paint(NAME, harmless(&format!("\\connect {database}"))));
            }
            let _infallible =
                writeln!(text, "      {}", paint(NAME, harmless(&format!("{};", statement.sql.trim_end_matches(';')))));
        }
        text.push('\n');
    }
    text
}
