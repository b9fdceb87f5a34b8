//! Everything that CI runs, in one command. All of it runs even when something fails, so that one look shows all there is to mend.

#![expect(clippy::print_stdout, reason = "a chore talks to whoever runs it")]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

use crate::workspace::{Workspace, root};
use crate::{reference, tidy};

/// The tests append to the file that it names what they skipped and which servers ran: see `pgisle-testkit`.
const REPORT_VARIABLE: &str = "PGISLE_TEST_REPORT";

/// How many tests run at once.
const THREADS_VARIABLE: &str = "RUST_TEST_THREADS";

/// The fuzz target needs a nightly compiler and libFuzzer to run, and neither to be checked: with this, libFuzzer is not built.
const NO_LIBFUZZER: (&str, &str) = ("CUSTOM_LIBFUZZER_PATH", "/nonexistent/libfuzzer.a");

type Step = (&'static str, fn() -> Result<()>);

pub(crate) fn run() -> Result<()> {
    let steps: [Step; 7] = [
        ("format", || cargo(&["fmt", "--all", "--check"])),
        ("tidy", tidy::run),
        ("generated pages", reference::check),
        ("shell scripts", check_scripts),
        ("clippy", || cargo(&["clippy", "--workspace", "--all-targets", "--keep-going", "--", "-D", "warnings"])),
        ("fuzz target", check_fuzz_target),
        ("tests", run_tests),
    ];
    begin_report()?;
    let mut results = Vec::new();
    for (name, step) in steps {
        println!("── {name}");
        let started = Instant::now();
        let result = step();
        if let Err(error) = &result {
            println!("{error:#}");
        }
        results.push((name, result.is_ok(), started.elapsed().as_secs_f32()));
    }
    println!("── all");
    for (name, passed, seconds) in &results {
        println!("{:6} {name}, {seconds:.0} s", if *passed { "ok" } else { "FAILED" });
    }
    println!("{}", read_report()?);
    let failed: Vec<&str> = results.iter().filter(|(_, passed, _)| !passed).map(|(name, ..)| *name).collect();
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

fn cargo(words: &[&str]) -> Result<()> {
    run_program(cargo_command().args(words))
}

fn cargo_command() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn run_tests() -> Result<()> {
    let mut tests = cargo_command();
    tests.args(["test", "--workspace", "--no-fail-fast"]).env(REPORT_VARIABLE, report_path());
    if std::env::var_os(THREADS_VARIABLE).is_none() {
        // Each test waits for servers, and for things to happen, for about a third of its time.
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        tests.env(THREADS_VARIABLE, (processors + processors.div_ceil(2)).to_string());
    }
    run_program(&mut tests)
}

fn check_fuzz_target() -> Result<()> {
    let words = ["check", "--locked", "--manifest-path", "fuzz/Cargo.toml", "--target-dir", "target"];
    run_program(cargo_command().args(words).env(NO_LIBFUZZER.0, NO_LIBFUZZER.1))
}

fn check_scripts() -> Result<()> {
    let is_script =
        |path: &str, text: &str| path.ends_with(".sh") || text.starts_with("#!/bin/sh") || text.starts_with("#!/usr/bin/env bash");
    let scripts: Vec<OsString> = Workspace::load()?
        .texts
        .into_iter()
        .filter(|file| is_script(&file.path, &file.text))
        .map(|file| file.path.into())
        .collect();
    ensure!(!scripts.is_empty(), "no script was found");
    let Some(shellcheck) = find_shellcheck()? else {
        let reason = "SKIPPED: shell scripts: shellcheck is not installed\n";
        ensure!(std::env::var_os("PGISLE_REQUIRE_ALL").is_none(), "{reason}");
        fs::write(report_path(), reason)?;
        return Ok(());
    };
    run_program(Command::new(shellcheck).arg("--external-sources").args(scripts))
}

/// The machine's, else the one among the private components.
fn find_shellcheck() -> Result<Option<PathBuf>> {
    let folder = Command::new(root().join("scripts/components.sh")).arg("path").output().context("cannot run components.sh")?;
    let private = PathBuf::from(String::from_utf8(folder.stdout)?.trim()).join("bin/shellcheck");
    let works = |program: &Path| Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    Ok([PathBuf::from("shellcheck"), private].into_iter().find(|program| works(program)))
}

fn report_path() -> PathBuf {
    root().join("target/test-report.txt")
}

fn begin_report() -> Result<()> {
    fs::create_dir_all(root().join("target"))?;
    fs::write(report_path(), "")?;
    Ok(())
}

/// The last lines that anyone sees: the servers that ran, and all that was skipped.
fn read_report() -> Result<String> {
    let report = fs::read_to_string(report_path()).context("the report of the tests has gone")?;
    Ok(summary(&report))
}

fn summary(report: &str) -> String {
    let majors: BTreeSet<u32> = report.lines().filter_map(|line| line.strip_prefix("RAN: PostgreSQL ")?.parse().ok()).collect();
    let majors: Vec<String> = majors.iter().map(u32::to_string).collect();
    let ran = if majors.is_empty() { "no PostgreSQL at all".to_owned() } else { format!("PostgreSQL {}", majors.join(", ")) };
    let skipped: BTreeSet<&str> = report.lines().filter(|line| line.starts_with("SKIPPED: ")).collect();
    if skipped.is_empty() {
        return format!("ran on {ran}; nothing was skipped");
    }
    let lines: Vec<&str> = skipped.into_iter().collect();
    format!("ran on {ran}; {} skipped:\n{}", lines.len(), lines.join("\n"))
}

fn run_program(command: &mut Command) -> Result<()> {
    let status = command.current_dir(root()).status()?;
    if !status.success() {
        bail!("{} ended with {status}", command.get_program().display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::summary;

    #[test]
    fn the_last_lines_name_what_ran_and_what_did_not() {
        let report = "RAN: PostgreSQL 18\nSKIPPED: b: no docker\nRAN: PostgreSQL 15\nSKIPPED: a: no age\nSKIPPED: b: no docker\nRAN: PostgreSQL 15\n";
        assert_eq!(summary(report), "ran on PostgreSQL 15, 18; 2 skipped:\nSKIPPED: a: no age\nSKIPPED: b: no docker");
        assert_eq!(summary("RAN: PostgreSQL 17\n"), "ran on PostgreSQL 17; nothing was skipped");
        assert_eq!(summary(""), "ran on no PostgreSQL at all; nothing was skipped");
    }
}
