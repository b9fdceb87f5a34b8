//! The one place that writes to the terminal.
//!
//! Standard output carries the result and nothing else: text for people, or with `-json` exactly one document. Standard error
//! carries findings, progress and questions for people; with `-json` it stays empty but for questions.

use std::ffi::OsString;
use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use anstream::{AutoStream, ColorChoice};
use pgisle_core::diagnostic::Diagnostic;

use crate::exit::Exit;
use crate::report::Report;
use crate::view::{human, json};

/// Whom the output is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// People.
    Human,
    /// Machines.
    Json,
}

/// How much is said on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    /// Errors only.
    Quiet,
    /// Findings and progress.
    Normal,
    /// Also each statement's step as it is done.
    Verbose,
}

/// What the user asked of the output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    pub(crate) format: Format,
    pub(crate) color: bool,
    pub(crate) verbosity: Verbosity,
}

impl Wish {
    /// For people, without colour.
    pub(crate) fn plain() -> Self {
        Self { format: Format::Human, color: false, verbosity: Verbosity::Normal }
    }

    /// Reads the wish off a normalised command line without parsing it, because it must be known when parsing fails.
    pub(crate) fn guess(arguments: &[OsString]) -> Self {
        let given = |flag: &str| arguments.iter().take_while(|argument| *argument != "--").any(|argument| argument == flag);
        Self {
            format: if given("--json") { Format::Json } else { Format::Human },
            color: !given("--no-color"),
            verbosity: Verbosity::Normal,
        }
    }
}

/// The terminal.
pub(crate) struct Console {
    wish: Wish,
    /// Set once a reader has gone away; what is left to print is then dropped, while the work goes on.
    gone: AtomicBool,
    /// Findings that were shown before the end, so that the end does not repeat them.
    shown: Mutex<Vec<Diagnostic>>,
}

impl Console {
    /// Takes hold of the terminal.
    pub(crate) fn new(wish: Wish) -> Self {
        Self { wish, gone: AtomicBool::new(false), shown: Mutex::default() }
    }

    /// Whom the output is for.
    pub(crate) fn format(&self) -> Format {
        self.wish.format
    }

    /// How much is said.
    pub(crate) fn verbosity(&self) -> Verbosity {
        self.wish.verbosity
    }

    /// True when a person can be asked.
    pub(crate) fn can_ask(&self) -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// True when progress may be drawn over itself.
    pub(crate) fn can_draw(&self) -> bool {
        self.wish.format == Format::Human && self.wish.verbosity > Verbosity::Quiet && io::stderr().is_terminal()
    }

    /// How many columns standard output has.
    pub(crate) fn width(&self) -> usize {
        // A page of a log, where there is no terminal to ask.
        const WIDTH_DEFAULT: usize = 120;
        let columns = rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_col));
        if columns == 0 { WIDTH_DEFAULT } else { columns }
    }

    /// True when colours are shown on standard error.
    pub(crate) fn colors_on_stderr(&self) -> bool {
        self.choice(&io::stderr()) != ColorChoice::Never
    }

    /// Prints a part of the result for people, at once. Machines get theirs in one document at the end.
    pub(crate) fn show(&self, text: &str) {
        if self.wish.format == Format::Human {
            self.out(text);
        }
    }

    /// Says something on standard error, whatever the format.
    pub(crate) fn note(&self, text: &str) {
        let stderr = io::stderr();
        let choice = self.choice(&stderr);
        let mut stream = AutoStream::new(stderr.lock(), choice);
        // Nobody is left to be told when standard error is gone.
        let _gone = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
    }

    /// Shows findings to people before the end: what they should know when they are asked.
    pub(crate) fn find(&self, diagnostics: &[Diagnostic]) {
        if self.wish.format == Format::Human && !diagnostics.is_empty() {
            let text = human::diagnostic::all(diagnostics, self.wish.verbosity);
            self.note(&format!("{text}\n"));
            self.shown.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(diagnostics);
        }
    }

    /// Asks a question and gives the answer's line; none when the input has ended.
    pub(crate) fn ask(&self, question: &str) -> Option<String> {
        self.note(question);
        let mut answer = String::new();
        match io::stdin().lock().read_line(&mut answer) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(answer.trim().to_owned()),
        }
    }

    /// Prints what a command came to, and says how it ends.
    pub(crate) fn finish(&self, command: &str, report: Report) -> Exit {
        let exit = report.ending();
        match self.wish.format {
            Format::Json => match &report.verbatim {
                Some(text) => {
                    self.out(text);
                    self.note(&human::diagnostic::all(&report.diagnostics, Verbosity::Quiet));
                }
                None => self.out(&json::document(command, exit, &report)),
            },
            Format::Human => {
                self.out(&report.human);
                let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
                if report.is_told {
                    return exit;
                }
                let new: Vec<Diagnostic> =
                    report.diagnostics.into_iter().filter(|diagnostic| !shown.contains(diagnostic)).collect();
                self.note(&human::diagnostic::all(&new, self.wish.verbosity));
            }
        }
        exit
    }

    fn out(&self, text: &str) {
        if self.gone.load(Ordering::Relaxed) || text.is_empty() {
            return;
        }
        let stdout = io::stdout();
        let choice = self.choice(&stdout);
        let mut stream = AutoStream::new(stdout.lock(), choice);
        // `pgisle plan | head` is no error: the reader has seen enough. A full disk ends the same way, and the exit code
        // still tells how the work went.
        if stream.write_all(text.as_bytes()).and_then(|()| stream.flush()).is_err() {
            self.gone.store(true, Ordering::Relaxed);
        }
    }

    /// `-no-color` first, then the stream's own: `NO_COLOR`, `CLICOLOR_FORCE`, and whether it is a terminal.
    fn choice<S: anstream::stream::RawStream>(&self, stream: &S) -> ColorChoice {
        if self.wish.color { AutoStream::choice(stream) } else { ColorChoice::Never }
    }
}
