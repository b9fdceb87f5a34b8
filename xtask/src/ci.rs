//! Everything that CI runs, in one command. All of it runs even when something fails, so that one look shows all there is to mend.

#![expect(clippy::print_stdout, reason = "a chore talks to whoever runs it")]

use std::ffi::OsString;
use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail, ensure};

use crate::workspace::{Workspace, root};
use crate::{reference, tidy};

type Step = (&'static str, fn() -> Result<()>);

pub(crate) fn run() -> Result<()> {
    let steps: [Step; 6] = [
        ("format", || cargo(&["fmt", "--all", "--check"])),
        ("tidy", tidy::run),
        ("generated pages", reference::check),
        ("shell scripts", check_scripts),
        ("clippy", || cargo(&["clippy", "--workspace", "--all-targets", "--keep-going", "--", "-D", "warnings"])),
        ("tests", || cargo(&["test", "--workspace", "--no-fail-fast"])),
    ];
    let mut failed = Vec::new();
    for (name, step) in steps {
        println!("── {name}");
        let started = Instant::now();
        let result = step();
        let seconds = started.elapsed().as_secs_f32();
        match result {
            Ok(()) => println!("── {name}: passed in {seconds:.1} s"),
            Err(error) => {
                println!("── {name}: FAILED after {seconds:.1} s\n{error:#}");
                failed.push(name);
            }
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

fn cargo(words: &[&str]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    run_program(Command::new(cargo).args(words))
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
    if scripts.is_empty() {
        println!("there are none");
        return Ok(());
    }
    if Command::new("shellcheck").arg("--version").output().is_err() {
        ensure!(std::env::var_os("PGISLE_REQUIRE_ALL").is_none(), "shellcheck is not installed");
        println!("SKIPPED: shellcheck is not installed, so {} scripts are unchecked", scripts.len());
        return Ok(());
    }
    run_program(Command::new("shellcheck").args(scripts))
}

fn run_program(command: &mut Command) -> Result<()> {
    let status = command.current_dir(root()).status()?;
    if !status.success() {
        bail!("{} ended with {status}", command.get_program().display());
    }
    Ok(())
}
