//! What programs cost: time on the clock, processor time of theirs and of the server's, and memory.
//!
//! All of it comes from /proc. Processor time there counts in hundredths of a second, so small figures are coarse.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// Between two looks at how much memory a program has had. What it takes in its last moments is missed.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How long the server's processes may take to end after their clients have.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

/// The kernel's ticks: `USER_HZ` is 100 on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// What something cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    pub(super) wall_s: f64,
    /// Of the programs and their children.
    pub(super) client_cpu_s: f64,
    /// Of the postmaster and all its children.
    pub(super) server_cpu_s: f64,
    /// The most that one of the programs had in memory at once.
    pub(super) memory_bytes: u64,
}

impl Cost {
    /// The least of each.
    pub(super) fn least(self, other: Self) -> Self {
        Self {
            wall_s: self.wall_s.min(other.wall_s),
            client_cpu_s: self.client_cpu_s.min(other.client_cpu_s),
            server_cpu_s: self.server_cpu_s.min(other.server_cpu_s),
            memory_bytes: self.memory_bytes.min(other.memory_bytes),
        }
    }

    /// Of both, one after the other.
    pub(super) fn and(self, then: Self) -> Self {
        Self {
            wall_s: self.wall_s + then.wall_s,
            client_cpu_s: self.client_cpu_s + then.client_cpu_s,
            server_cpu_s: self.server_cpu_s + then.server_cpu_s,
            memory_bytes: self.memory_bytes.max(then.memory_bytes),
        }
    }

    /// Of programs and server.
    pub(super) fn cpu_s(self) -> f64 {
        self.client_cpu_s + self.server_cpu_s
    }
}

/// Runs programs, stage after stage, those of a stage at the same time. Each must succeed.
pub(super) fn measure(postmaster: i32, stages: Vec<Vec<Command>>) -> Result<Cost> {
    measure_and_mark(postmaster, stages, |_| Ok(false)).map(|(cost, _)| cost)
}

/// The same, and what it had cost at a moment in between: when `mark` comes back with true. It is told when all programs have ended.
pub(super) fn measure_and_mark(
    postmaster: i32,
    stages: Vec<Vec<Command>>,
    mark: impl FnOnce(&AtomicBool) -> Result<bool> + Send,
) -> Result<(Cost, Option<Cost>)> {
    let sessions_before = children(postmaster).len();
    let (own_before, server_before) = (Ticks::of("self")?.of_children, server_ticks(postmaster)?);
    let memory_bytes = AtomicU64::new(0);
    let (started, have_ended) = (Instant::now(), AtomicBool::new(false));
    let so_far = || {
        // The server is a child, too.
        let programs = children_of_threads(std::process::id()).into_iter().map(|child| child.to_string());
        let living = programs.filter(|child| *child != postmaster.to_string()).filter_map(|child| Ticks::of(&child).ok());
        let living: u64 = living.map(|ticks| ticks.own + ticks.of_children).sum();
        anyhow::Ok(Cost {
            wall_s: started.elapsed().as_secs_f64(),
            client_cpu_s: seconds(Ticks::of("self")?.of_children + living - own_before),
            server_cpu_s: seconds(server_ticks(postmaster)? - server_before),
            memory_bytes: memory_bytes.load(Ordering::Relaxed),
        })
    };
    let marked = thread::scope(|scope| {
        let marking = scope.spawn(|| if mark(&have_ended)? { so_far().map(Some) } else { Ok(None) });
        let ran = stages.into_iter().try_for_each(|stage| run_together(stage, &memory_bytes));
        have_ended.store(true, Ordering::Relaxed);
        let marked = marking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        ran.and(marked)
    })?;
    let wall_s = started.elapsed().as_secs_f64();
    let client_ticks = Ticks::of("self")?.of_children - own_before;
    while children(postmaster).len() > sessions_before && started.elapsed().as_secs_f64() < wall_s + SETTLE_TIMEOUT.as_secs_f64() {
        thread::sleep(LOOK_EVERY);
    }
    let server_ticks = server_ticks(postmaster)? - server_before;
    let cost = Cost {
        wall_s,
        client_cpu_s: seconds(client_ticks),
        server_cpu_s: seconds(server_ticks),
        memory_bytes: memory_bytes.into_inner(),
    };
    Ok((cost, marked))
}

fn run_together(commands: Vec<Command>, memory_bytes: &AtomicU64) -> Result<()> {
    thread::scope(|scope| {
        let runs: Vec<_> = commands.into_iter().map(|command| scope.spawn(|| run(command, memory_bytes))).collect();
        runs.into_iter().try_for_each(|run| run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

fn run(mut command: Command, memory_bytes: &AtomicU64) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    // Of Terraform it is the provider that is measured, and not what runs it.
    let runs_plugins = Path::new(&program).file_name().is_some_and(|name| name == "terraform");
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let child = child.with_context(|| format!("cannot start {program}"))?;
    let (pid, has_ended) = (child.id(), AtomicBool::new(false));
    let output = thread::scope(|scope| {
        scope.spawn(|| {
            while !has_ended.load(Ordering::Relaxed) {
                let bytes = if runs_plugins { plugin_memory_bytes(pid) } else { peak_memory_bytes(pid) };
                memory_bytes.fetch_max(bytes, Ordering::Relaxed);
                thread::sleep(LOOK_EVERY);
            }
        });
        let output = child.wait_with_output();
        has_ended.store(true, Ordering::Relaxed);
        output
    })?;
    ensure!(output.status.success(), "{program} ended with {}:\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The most that a provider of this Terraform has had in memory so far; nothing before it starts one.
fn plugin_memory_bytes(pid: u32) -> u64 {
    let plugins = children_of_threads(pid).into_iter().filter(|child| {
        let name = fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
        // The kernel keeps fifteen characters of it.
        name.starts_with("terraform-provi")
    });
    plugins.map(peak_memory_bytes).max().unwrap_or_default()
}

/// A process's children, whichever thread has started them.
fn children_of_threads(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.map(|thread| fs::read_to_string(thread.path().join("children")).unwrap_or_default());
    lists.flat_map(|list| list.split_whitespace().flat_map(str::parse).collect::<Vec<u32>>()).collect()
}

/// The most that a process has had in memory so far; nothing once it has ended.
fn peak_memory_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    line.unwrap_or_default() << 10
}

/// A process's time, and that of its children that have ended.
struct Ticks {
    own: u64,
    of_children: u64,
}

impl Ticks {
    fn of(process: &str) -> Result<Self> {
        let path = format!("/proc/{process}/stat");
        let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        // The program's name is in parentheses and may hold anything. utime, stime, cutime and cstime are fields 14 to 17.
        let fields: Vec<u64> =
            stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(4).flat_map(str::parse).collect();
        let [user, system, children_user, children_system] = fields[..] else { anyhow::bail!("{path} has another form") };
        Ok(Self { own: user + system, of_children: children_user + children_system })
    }
}

/// The whole server's time. What a child has used moves to its parent when it ends, so nothing is lost and nothing counts twice.
fn server_ticks(postmaster: i32) -> Result<u64> {
    let Ticks { own, of_children } = Ticks::of(&postmaster.to_string())?;
    // A child that has ended since it was listed is in none of both figures; there is none between two measurements.
    let living =
        children(postmaster).into_iter().filter_map(|child| Ticks::of(&child).ok()).map(|ticks| ticks.own + ticks.of_children);
    Ok(own + of_children + living.sum::<u64>())
}

fn children(process: i32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

#[expect(clippy::cast_precision_loss, reason = "ticks of a few minutes at most")]
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / TICKS_PER_SECOND
}
