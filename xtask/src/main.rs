//! The project's own chores. `cargo xtask` without a word lists them.

mod bench;
mod ci;
mod load;
mod reference;
mod tidy;
mod workspace;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask CHORE

  tidy         checks what neither the compiler nor clippy does: crate boundaries, layout, sizes, SQL
  gen          writes the generated pages of docs/reference
  gen --check  fails when a generated page is out of date
  bench apply [-services 5,50,200] [-rounds 3] [-json]
               measures an apply and an empty plan beside psql doing the same
  bench backup [-megabytes 1000] [-rounds 2] [-json]
               measures a backup of five services beside pg_dump with gzip, and pg_dump -Fd -j2
  bench split [-megabytes 2000] [-rounds 1] [-json]
               measures moving a service out of a shared database: pg_dump | psql, pgcopydb, and pgisle's strategies
  load split [-megabytes 2000] [-strategies stream,copy,clone] [-writers 8] [-per-second 400] [-program FILE] [-json]
               moves a service out of a large shared database and back while services write through PgBouncer
  ci           runs everything that CI runs";

#[expect(clippy::print_stderr, reason = "a chore talks to whoever runs it")]
fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["tidy"] => tidy::run(),
        ["gen"] => reference::generate(),
        ["gen", "--check"] => reference::check(),
        ["bench", "apply", words @ ..] => bench::apply(words),
        ["bench", "backup", words @ ..] => bench::backup(words),
        ["bench", "split", words @ ..] => bench::split(words),
        ["load", "split", words @ ..] => load::split(words),
        ["ci"] => ci::run(),
        _ => anyhow::bail!(USAGE),
    }
}
