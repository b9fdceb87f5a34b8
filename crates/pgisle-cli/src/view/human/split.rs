//! What `split` shows.

use std::fmt::Write as _;

use pgisle_core::name::{DatabaseName, ServiceName};
use pgisle_core::spec::Service;
use pgisle_core::split::{Crossing, Job, JobState, ServiceSplit, SplitPlan, Strategy, duration};
use pgisle_engine::split::{Brought, CutOver, Finalized, Outcome, Ran, Rehearsed, RolledBack, SplitStatus};

use super::restore::milliseconds;
use super::style::{BAD, GOOD, STRONG, harmless, paint};
use super::table::{left, render, right};
use super::text::{bytes, count};

/// The plan: service by service, then what crosses.
pub(crate) fn plan(plan: &SplitPlan) -> String {
    let mut text = format!("Shared database \"{}\", {}\n", plan.database, bytes(plan.bytes));
    for service in &plan.services {
        text.push_str(&self::service(service));
    }
    if plan.services.is_empty() {
        text.push_str("\nNo service owns tables in it: name them in the file, tables = [\"…\"].\n");
    }
    // Writing to a String cannot fail, here and below.
    if !plan.crossings.is_empty() {
        let _infallible = writeln!(text, "\n{}", paint(STRONG, "What crosses the boundary"));
        // What is to be done is often the same for many: it is said once, behind them.
        let mut by_advice: Vec<(&str, Vec<&Crossing>)> = Vec::new();
        for crossing in &plan.crossings {
            match by_advice.iter_mut().find(|(advice, _)| *advice == crossing.advice) {
                Some((_, crossings)) => crossings.push(crossing),
                None => by_advice.push((&crossing.advice, vec![crossing])),
            }
        }
        for (advice, crossings) in by_advice {
            text.extend(crossings.into_iter().map(self::crossing));
            let _infallible = writeln!(text, "      → {advice}\n");
        }
    }
    if !plan.unclaimed.is_empty() {
        let _infallible = writeln!(text, "Claimed by no service, and stays: {}", plan.unclaimed.join(", "));
    }
    text
}

fn service(split: &ServiceSplit) -> String {
    let ServiceSplit { service, database, moves, bytes: size, rows, estimates, choice } = split;
    let mut text = format!(
        "\n{} to database \"{database}\": {}, some {rows} rows\n",
        paint(STRONG, format!("service.{service}")),
        bytes(*size)
    );
    for (kind, names) in moves {
        let _infallible = writeln!(text, "  {kind:<18} {}", names.join(", "));
    }
    text.push('\n');
    let rows: Vec<Vec<String>> = estimates
        .iter()
        .map(|estimate| {
            let is_chosen = choice.strategy == Some(estimate.strategy);
            let name = if is_chosen { paint(GOOD, format!("{} ←", estimate.strategy)) } else { estimate.strategy.to_string() };
            let obstacle = if estimate.obstacles.is_empty() { String::new() } else { paint(BAD, estimate.obstacles.join(" ")) };
            vec![
                name,
                duration(estimate.pause_ms),
                duration(estimate.time_ms),
                duration(estimate.cpu_ms),
                bytes(estimate.wal_bytes),
                bytes(estimate.disk_bytes),
                obstacle,
            ]
        })
        .collect();
    let columns = [left("strategy"), right("pause"), right("time"), right("CPU"), right("WAL"), right("disk"), left("")];
    text.push_str(&render(&columns, &rows));
    let _infallible = writeln!(text, "  {}", choice.because);
    text
}

fn crossing(crossing: &Crossing) -> String {
    let side = |side: &Option<ServiceName>| side.as_ref().map_or("(stays shared)".to_owned(), ToString::to_string);
    let source: Vec<String> = crossing.source.iter().map(side).collect();
    let ends = match &crossing.target {
        Some(target) => format!("{} → {}", source.join(", "), side(target)),
        None => source.join(", "),
    };
    let mark = if crossing.is_grave { paint(BAD, "!") } else { " ".to_owned() };
    format!("{mark} {ends}: {} {}\n      {}\n", crossing.kind.word(), crossing.name, crossing.consequence)
}

/// A split that is begun.
pub(crate) fn ran(ran: &Ran) -> String {
    let Ran { job, copied_bytes, changes, .. } = ran;
    let mut text = match job.state {
        JobState::Following => {
            let copied = if *copied_bytes > 0 { format!("{} were copied, and ", bytes(*copied_bytes)) } else { String::new() };
            format!("{} {}: {copied}{changes} changes followed.\n", paint(GOOD, "Ready."), job.service)
        }
        _ => format!("{} {}: its rows are copied in the cutover, by {}.\n", paint(GOOD, "Ready."), job.service, job.strategy),
    };
    if job.strategy == Strategy::Clone {
        text.push_str("Everyone leaves the shared database for that, also those of other services, and so in a rehearsal.\n");
    }
    // Writing to a String cannot fail.
    let _infallible = write!(
        text,
        "The service goes on in the shared database.\n\n  pgisle split cutover {0} -rehearse   measures the pause\n  pgisle split cutover {0}             moves it\n",
        job.service
    );
    text
}

/// Before the question.
pub(crate) fn intent(service: &Service, shared: &DatabaseName, job: &Job) -> String {
    let (name, shared, own) = (paint(STRONG, &service.name), harmless(shared.as_str()), harmless(service.database.as_str()));
    if job.state.is_home() {
        return format!("Service {name} is at home in {own} already. What its move has left undone is done.\n\n");
    }
    let all = match job.strategy {
        Strategy::Clone => format!("All sessions in {shared} are ended, also those of other services, and new ones wait.\n"),
        Strategy::Stream | Strategy::Copy => String::new(),
    };
    format!(
        "Service {name} moves from {shared} into its own database {own}.\nIts writers are held off while that is done.\n{all}\n"
    )
}

/// A home that has moved.
pub(crate) fn cut(service: &Service, cut: &CutOver) -> String {
    let CutOver { pause, receipt, .. } = cut;
    let word = if pause.is_some() { "Moved." } else { "Done." };
    let mut text = format!("{} {} is the home of {}.\n", paint(GOOD, word), harmless(service.database.as_str()), service.name);
    // Writing to a String cannot fail, here and below.
    if let Some(pause) = pause {
        let _infallible = writeln!(text, "It could not write for {} ms.", milliseconds(*pause));
    }
    if let Some(receipt) = receipt {
        let rows: u64 = receipt.tables.iter().map(|table| table.rows).sum();
        let rows = count(usize::try_from(rows).unwrap_or(usize::MAX), "row");
        let tables = count(receipt.tables.len(), "table");
        let _infallible = if receipt.is_equal {
            writeln!(text, "{} {rows} in {tables}, the same on both sides at {}.", paint(GOOD, "Receipt:"), receipt.lsn)
        } else {
            writeln!(text, "{} the two sides differ.", paint(BAD, "Receipt:"))
        };
    }
    let _infallible = write!(
        text,
        "\nUntil it is finalized, the way back is open:\n  pgisle split status {0}     who still writes to the old tables\n  pgisle split rollback {0}   goes back, with what was written since\n  pgisle split finalize {0}   puts the old tables aside\n",
        service.name
    );
    text
}

/// A cutover that was tried out.
pub(crate) fn rehearsed(service: &Service, rehearsed: &Rehearsed) -> String {
    format!(
        "{} {} could not write for {} ms. It goes on in the shared database.\n",
        paint(GOOD, "Rehearsed."),
        service.name,
        milliseconds(rehearsed.pause)
    )
}

/// Before the question.
pub(crate) fn return_intent(service: &Service, shared: &DatabaseName, job: &Job) -> String {
    let (name, shared) = (paint(STRONG, &service.name), harmless(shared.as_str()));
    match job.state {
        JobState::Cut => format!("Service {name} goes back to {shared}, with what it has written since.\n\n"),
        JobState::Begun | JobState::Following => {
            format!("Service {name} stays in {shared}. What was made for its split is taken away.\n\n")
        }
        // Nothing is taken back from here; the engine says so, or clears up.
        JobState::Returned | JobState::Finalized => String::new(),
    }
}

/// A split that was rolled back.
pub(crate) fn rolled_back(service: &Service, shared: &DatabaseName, back: &RolledBack) -> String {
    let mut text = format!("{} {} is the home of {}.\n", paint(GOOD, "Back."), harmless(shared.as_str()), service.name);
    let brought = match back.brought {
        Brought::NeverLeft => return text,
        Brought::Changes { changes } => format!("{changes} changes came back with it."),
        Brought::Unchanged => "Nothing had been written since.".to_owned(),
        Brought::Copied { bytes: size } => format!("All its rows were copied back, {}.", bytes(size)),
    };
    // Writing to a String cannot fail.
    let _infallible = writeln!(text, "{brought}");
    if let Some(pause) = back.pause {
        let _infallible = writeln!(text, "It could not write for {} ms.", milliseconds(pause));
    }
    text
}

/// Before the question.
pub(crate) fn final_intent(service: &Service, shared: &DatabaseName, job: &Job) -> String {
    let name = paint(STRONG, &service.name);
    match job.state {
        JobState::Cut => format!("The split of service {name} is ended. Behind that there is no way back.\n\n"),
        JobState::Finalized => format!("The old tables of service {name} are dropped, if it is time for it.\n\n"),
        JobState::Returned => {
            let own = paint(STRONG, &service.database);
            format!(
                "That service {name} was split is forgotten. Its login and its alias in PgBouncer lead to {own} from then on, which is empty, and \
                 not to {shared}.\n\n"
            )
        }
        JobState::Begun | JobState::Following => String::new(),
    }
}

/// A split that is ended, or nearly so.
pub(crate) fn finalized(service: &Service, finalized: &Finalized) -> String {
    let names = |text: &mut String| {
        for one in &finalized.aside {
            // Writing to a String cannot fail.
            let _infallible = writeln!(text, "  {}.{} → {}", harmless(&one.schema), harmless(&one.name), harmless(&one.aside));
        }
    };
    let service = &service.name;
    let mut text;
    match finalized.outcome {
        Outcome::Aside { until } => {
            text = format!("{} What {service} left in the shared database has other names:\n", paint(GOOD, "Put aside."));
            names(&mut text);
            let _infallible = write!(text, "\nFrom {until} on the same command drops it.\n");
        }
        Outcome::Kept { until } => {
            text = format!(
                "What {service} left in the shared database is kept until {until}. To drop it now:\n  pgisle split finalize {service} -drop\n"
            );
        }
        Outcome::Dropped => text = format!("{} What {service} left in the shared database is gone.\n", paint(GOOD, "Dropped.")),
        Outcome::Forgotten => {
            text = format!(
                "{} {service} is at home in the shared database, as if it had never been split.\n",
                paint(GOOD, "Forgotten.")
            );
        }
    }
    text
}

/// Where splits are.
pub(crate) fn statuses(statuses: &[SplitStatus]) -> String {
    if statuses.is_empty() {
        return "No service is being split out of the shared database.\n".to_owned();
    }
    let rows: Vec<Vec<String>> = statuses
        .iter()
        .map(|status| {
            let slot = status.follows.as_ref().or(status.way_back.as_ref());
            vec![
                paint(STRONG, &status.service),
                status.state.as_str().to_owned(),
                status.strategy.to_string(),
                status.since.map_or_else(|| "-".to_owned(), |since| since.to_string()),
                harmless(status.home.as_str()),
                slot.map_or_else(|| "-".to_owned(), |slot| bytes(slot.kept_bytes)),
                status.pause_ms.map_or_else(|| "-".to_owned(), duration),
                status.is_equal.map_or("-", |is_equal| if is_equal { "equal" } else { "DIFFERS" }).to_owned(),
                status.late_attempts.to_string(),
            ]
        })
        .collect();
    let columns = [
        left("service"),
        left("state"),
        left("strategy"),
        left("since"),
        left("home"),
        right("log kept"),
        right("pause"),
        left("receipt"),
        right("turned away"),
    ];
    render(&columns, &rows)
}
