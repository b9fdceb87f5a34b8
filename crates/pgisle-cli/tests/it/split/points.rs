//! The points at which something is killed.

use std::fmt;

use super::stand::{NEW, OLD, Stand};
use crate::faults::server::{continued, stopped_by};
use crate::faults::was_killed;

/// A point of a command's work.
#[derive(Debug, Clone, Copy)]
pub(super) enum Point {
    /// A named stage.
    Stage(&'static str),
    /// So many statements were answered.
    Statement(usize),
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stage(name) => f.write_str(name),
            Self::Statement(number) => write!(f, "statement:{number}"),
        }
    }
}

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Harm {
    /// pgisle.
    Itself,
    /// Its sessions in the shared database.
    OldSide,
    /// Its sessions in the new database, be that the home already or not yet.
    NewSide,
    /// The server, with all its processes; and it starts again.
    Server,
}

impl Harm {
    /// Does it, while pgisle is stopped.
    async fn strike(self, stand: &Stand) {
        let end = |which: &str| {
            format!(
                "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE application_name LIKE 'pgisle%' \
                 AND application_name <> 'pgisle-testkit' AND datname {which}"
            )
        };
        match self {
            Self::Itself => {}
            Self::OldSide => drop(stand.cluster.psql(&end(&format!("= '{OLD}'"))).await),
            Self::NewSide => drop(stand.cluster.psql(&end(&format!("LIKE '{NEW}%'"))).await),
            Self::Server => {
                stand.cluster.kill_server();
                stand.cluster.restart().await;
            }
        }
    }
}

impl Point {
    /// Runs pgisle and does harm there; false when it was over before.
    pub(super) async fn strikes(self, stand: &Stand, arguments: &[&str], harm: Harm) -> bool {
        if harm == Harm::Itself {
            return self.kills(stand, arguments).await;
        }
        let variable = match self {
            Self::Stage(_) => "PGISLE_FAULT_STOP_AT",
            Self::Statement(_) => "PGISLE_FAULT_STOP_AFTER",
        };
        let arguments = [arguments, &["-lock-timeout=30s"]].concat();
        let Some(child) = stopped_by(&stand.place, &arguments, variable, &self.to_string()).await else { return false };
        harm.strike(stand).await;
        let (code, said) = continued(child).await;
        // It comes through, or says why it does not.
        let is_told = code == Some(0) || matches!(code, Some(1 | 69)) && said.contains("error[PI");
        assert!(is_told && !said.contains("panicked"), "{self}, {harm:?}: {code:?} {said}");
        true
    }

    async fn kills(self, stand: &Stand, arguments: &[&str]) -> bool {
        let variable = match self {
            Self::Stage(_) => "PGISLE_FAULT_KILL_AT",
            Self::Statement(_) => "PGISLE_FAULT_KILL_AFTER",
        };
        let killed = was_killed(&stand.place, arguments, variable, &self.to_string()).await;
        assert!(killed || matches!(self, Self::Statement(_)), "{self} is no point of {arguments:?}");
        killed
    }
}

/// What comes behind a kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// The same command.
    GoOn,
    /// The one that undoes it.
    Back,
}

/// Which points are taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Path<'a> {
    /// The stages, in their order.
    pub(super) stages: &'a [&'static str],
    /// Whether each stage is taken twice, once for each thing that may come behind; otherwise these take turns.
    pub(super) twice: bool,
    /// Each so-and-so-many-th statement is taken, too. `PGISLE_TEST_STRIDE=1` takes them all, in a quarter of an hour. Without end, none is.
    pub(super) stride: usize,
    /// What is killed there.
    pub(super) harm: Harm,
}

impl<'a> Path<'a> {
    /// The stages alone, in turn for the one and the other thing that may come behind.
    pub(super) fn of(stages: &'a [&'static str], harm: Harm) -> Self {
        Self { stages, twice: false, stride: usize::MAX, harm }
    }
}

/// Kills a command at each point. `try_at` says whether there was such a point. Gives how many there were.
pub(super) async fn walk(path: Path<'_>, mut try_at: impl AsyncFnMut(Point, Then) -> bool) -> u32 {
    const BOTH: [Then; 2] = [Then::GoOn, Then::Back];
    let mut points = 0;
    for (turn, stage) in path.stages.iter().enumerate() {
        for then in BOTH {
            if path.twice || then == BOTH[turn % 2] {
                assert!(try_at(Point::Stage(stage), then).await, "{stage}");
                points += 1;
            }
        }
    }
    let asked = std::env::var("PGISLE_TEST_STRIDE").ok().and_then(|value| value.parse().ok());
    let stride = asked.filter(|_| path.stride < usize::MAX).unwrap_or(path.stride);
    for turn in (0..).take_while(|_| stride < usize::MAX) {
        let number = stride.div_ceil(2) + turn * stride;
        if !try_at(Point::Statement(number), BOTH[turn % 2]).await {
            break;
        }
        points += 1;
    }
    points
}
