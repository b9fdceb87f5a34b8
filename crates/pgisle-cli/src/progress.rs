//! Progress on standard error: a bar on a terminal, a line now and then elsewhere, nothing for work that takes under a second.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use pgisle_engine::backup::create::{Event as BackupEvent, Flow};
use pgisle_engine::event::Event;

use crate::console::{Console, Format, Verbosity};
use crate::view::human::style::{BAD, GOOD, harmless, paint};
use crate::view::human::text::bytes;

/// Shorter work is over before anyone has read what it is.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often a line is added where nothing can be drawn over: often enough to see that it lives, seldom enough for a log.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// How often the waiting is shown.
const TICK: Duration = Duration::from_millis(100);

/// Progress of one piece of work.
pub(crate) struct Progress<'c> {
    console: &'c Console,
    /// What is being done: `applying`.
    verb: &'static str,
    started: Instant,
    state: Mutex<State>,
}

struct State {
    done: usize,
    total: usize,
    current: String,
    bar: Option<ProgressBar>,
    last_line: Instant,
    said: String,
    loading_since: Option<Instant>,
}

impl<'c> Progress<'c> {
    /// Begins.
    pub(crate) fn new(console: &'c Console, verb: &'static str) -> Self {
        let started = Instant::now();
        let state = Mutex::new(State {
            done: 0,
            total: 0,
            current: String::new(),
            bar: None,
            last_line: started,
            said: String::new(),
            loading_since: None,
        });
        Self { console, verb, started, state }
    }

    /// Says how far it is, and with what it is busy.
    pub(crate) fn update(&self, done: usize, total: usize, current: impl Into<String>) {
        let mut state = self.state();
        (state.done, state.total, state.current) = (done, total, current.into());
        drop(state);
        self.show();
    }

    /// Follows the engine.
    pub(crate) fn event(&self, event: &Event<'_>) {
        match event {
            Event::WaitingForLock { holder } => {
                self.say_once(&format!("Waiting for the run lock: {}.\n", harmless(holder)));
                self.current("waiting for the run lock".to_owned());
            }
            Event::Inspected { done, total } => self.update(*done, *total, "reading databases"),
            Event::Comparing(database) => self.update(0, 0, format!("comparing {} with its backup", harmless(database.as_str()))),
            Event::Planned(planned) => self.update(0, planned.plan.steps().count(), ""),
            Event::StepStarted(step) => self.current(step.address.to_string()),
            Event::StepDone(step) => {
                if self.console.verbosity() == Verbosity::Verbose {
                    self.line(&format!(
                        "  {} {}\n",
                        paint(GOOD, "done"),
                        harmless(&format!("{}: {}", step.address, step.summary()))
                    ));
                }
                self.advance();
            }
            Event::StepFailed { step, .. } => {
                self.line(&format!("  {} {}\n", paint(BAD, "failed"), harmless(&format!("{}: {}", step.address, step.summary()))));
            }
            Event::DatabaseDone(_) => {}
            Event::ReadingBack => self.current("reading back".to_owned()),
            Event::Restoring(what) => self.update(0, 0, *what),
            Event::Recovering { doing, done, total } => self.flow(*done, *total, doing),
            Event::Loading { done, total } => self.loading(*done, *total),
        }
    }

    /// Follows a backup.
    pub(crate) fn backup(&self, event: &BackupEvent<'_>) {
        match event {
            BackupEvent::WaitingForLock { holder } => {
                self.say_once(&format!("Waiting for the backup lock: {}.\n", harmless(holder)));
                self.current("waiting for the backup lock".to_owned());
            }
            BackupEvent::Flow(Flow { done, total, stored: _ }) => self.flow(*done, *total, ""),
            BackupEvent::Done(backup) => {
                if self.console.verbosity() == Verbosity::Verbose {
                    self.line(&format!("  {} service {}\n", paint(GOOD, "done"), backup.service()));
                }
            }
            BackupEvent::Failed(service) => self.line(&format!("  {} service {service}\n", paint(BAD, "failed"))),
        }
    }

    /// How many bytes of a dump have been loaded. What came before the loading does not count.
    fn loading(&self, done: u64, total: u64) {
        let since = *self.state().loading_since.get_or_insert_with(Instant::now);
        self.flow_since(since, done, total, "");
    }

    /// Says how many bytes have flowed since the beginning, at which rate, and how long the rest will take.
    pub(crate) fn flow(&self, done: u64, total: u64, what: &str) {
        self.flow_since(self.started, done, total, what);
    }

    fn flow_since(&self, since: Instant, done: u64, total: u64, what: &str) {
        const SHARES: u64 = 100;
        let elapsed_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = done.saturating_mul(1000) / elapsed_ms;
        let left_s = total.saturating_sub(done) / rate.max(1);
        let mut text = format!("{} of about {}, {}/s", bytes(done), bytes(total.max(done)), bytes(rate));
        if rate > 0 && done < total {
            text.push_str(&format!(", {left_s} s left"));
        }
        if !what.is_empty() {
            text = format!("{what}, {text}");
        }
        // Per cent, which fit the counter whatever is backed up.
        let share = u128::from(done.min(total)) * u128::from(SHARES) / u128::from(total.max(1));
        self.update(usize::try_from(share).unwrap_or_default(), SHARES as usize, text);
    }

    /// Says what it is busy with.
    fn current(&self, current: String) {
        self.state().current = current;
        self.show();
    }

    /// One more is done.
    fn advance(&self) {
        self.state().done += 1;
        self.show();
    }

    fn say_once(&self, text: &str) {
        let mut state = self.state();
        if state.said != text {
            text.clone_into(&mut state.said);
            drop(state);
            self.line(text);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while drawing leaves nothing half done that matters.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says something that stays, above the bar.
    pub(crate) fn line(&self, text: &str) {
        if self.console.format() == Format::Json || self.console.verbosity() == Verbosity::Quiet {
            return;
        }
        let state = self.state();
        match &state.bar {
            Some(bar) => bar.suspend(|| self.console.note(text)),
            None => self.console.note(text),
        }
    }

    /// Waits for the work, and shows meanwhile that time passes.
    pub(crate) async fn watch<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let outcome = loop {
            match tokio::time::timeout(TICK, &mut work).await {
                Ok(outcome) => break outcome,
                Err(_still_working) => self.show(),
            }
        };
        self.clear();
        outcome
    }

    fn clear(&self) {
        if let Some(bar) = self.state().bar.take() {
            bar.finish_and_clear();
        }
    }

    fn show(&self) {
        if self.started.elapsed() < PATIENCE || self.console.format() == Format::Json {
            return;
        }
        if self.console.can_draw() {
            self.draw();
        } else if self.console.verbosity() > Verbosity::Quiet {
            self.add_line();
        }
    }

    fn draw(&self) {
        let mut state = self.state();
        let State { done, total, current, bar, .. } = &mut *state;
        let bar = bar.get_or_insert_with(|| self.new_bar());
        bar.set_style(self.style(*total));
        bar.set_length(*total as u64);
        bar.set_position(*done as u64);
        bar.set_message(current.clone());
        bar.tick();
    }

    fn new_bar(&self) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_elapsed(self.started.elapsed());
        bar.set_prefix(self.verb);
        bar
    }

    /// A bar, or only the time where it is not known yet how much there is to do.
    fn style(&self, total: usize) -> ProgressStyle {
        let template = match (total, self.console.colors_on_stderr()) {
            (0, true) => "  {prefix}  {elapsed}  {msg:.dim}",
            (0, false) => "  {prefix}  {elapsed}  {msg}",
            (_, true) => "  {prefix} {bar:28.cyan} {pos}/{len}  {elapsed}  {msg:.dim}",
            (_, false) => "  {prefix} {bar:28} {pos}/{len}  {elapsed}  {msg}",
        };
        // The templates are constants; were one wrong, the default style would do.
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        style.progress_chars("━╸─")
    }

    fn add_line(&self) {
        let mut state = self.state();
        if state.last_line.elapsed() < LINE_EVERY {
            return;
        }
        state.last_line = Instant::now();
        let State { done, total, current, .. } = &*state;
        let far = if *total == 0 { String::new() } else { format!(" {done} of {total}") };
        let with = if current.is_empty() { String::new() } else { format!(", {current}") };
        self.console.note(&format!("{}:{far} after {} s{with}\n", self.verb, self.started.elapsed().as_secs()));
    }
}

/// Work that was interrupted leaves no half-drawn line behind.
impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}
