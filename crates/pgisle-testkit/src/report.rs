//! What whoever ran all the tests wants to know at the end: what was skipped, and which servers were there.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

use pgisle_engine::local::Installation;

/// When set to `1`, a skip is a failure: where everything is installed, nothing may be skipped.
const REQUIRE_ALL_VARIABLE: &str = "PGISLE_REQUIRE_ALL";

/// Names a file to which each line of the report is appended: `SKIPPED: …` and `RAN: …`. `cargo xtask ci` sets it and prints it.
const REPORT_VARIABLE: &str = "PGISLE_TEST_REPORT";

/// Skips the rest of a test because something optional is missing: says so on standard error and returns.
///
/// ```no_run
/// # fn test(found: Option<()>) {
/// let Some(pgbouncer) = found else { pgisle_testkit::skip!("PgBouncer is not installed") };
/// # }
/// ```
#[macro_export]
macro_rules! skip {
    ($($reason:tt)*) => {{
        $crate::skipped(module_path!(), line!(), format_args!($($reason)*));
        return;
    }};
}

/// Skips the rest of a test because a program is missing that `scripts/components.sh` cannot get, whatever `PGISLE_REQUIRE_ALL` says.
///
/// ```no_run
/// # fn test(found: Option<()>) {
/// let Some(terraform) = found else { pgisle_testkit::skip_foreign!("terraform is not installed") };
/// # }
/// ```
#[macro_export]
macro_rules! skip_foreign {
    ($($reason:tt)*) => {{
        $crate::skipped_foreign(module_path!(), line!(), format_args!($($reason)*));
        return;
    }};
}

/// What [`skip!`] does before it returns.
///
/// # Panics
/// With `PGISLE_REQUIRE_ALL=1`.
pub fn skipped(module: &str, line: u32, reason: fmt::Arguments<'_>) {
    assert!(
        std::env::var_os(REQUIRE_ALL_VARIABLE).is_none_or(|value| value != "1"),
        "{} would be skipped: {reason}; {REQUIRE_ALL_VARIABLE}=1 forbids it",
        test_name(module, line)
    );
    skipped_foreign(module, line, reason);
}

/// What [`skip_foreign!`] does before it returns.
pub fn skipped_foreign(module: &str, line: u32, reason: fmt::Arguments<'_>) {
    let text = format!("SKIPPED: {}: {reason}\n", test_name(module, line));
    // Not eprint!, which the test harness swallows when the test passes, as it now will.
    let _unseen = std::io::stderr().write_all(text.as_bytes());
    append(&text);
}

fn test_name(module: &str, line: u32) -> String {
    std::thread::current().name().map_or_else(|| format!("{module}:{line}"), |test| format!("{test} (line {line})"))
}

/// Notes that a server of this installation runs; once for each in a process.
pub(crate) fn ran(installation: &Installation) {
    static NOTED: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());
    if NOTED.lock().unwrap_or_else(PoisonError::into_inner).insert(installation.major) {
        append(&format!("RAN: PostgreSQL {}\n", installation.major));
    }
}

/// One write for each line, so that the lines of processes that run at once do not mix.
fn append(text: &str) {
    if let Some(path) = std::env::var_os(REPORT_VARIABLE) {
        let _unseen = File::options().append(true).create(true).open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    }
}
