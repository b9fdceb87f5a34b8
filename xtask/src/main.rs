//! The project's own chores. `cargo xtask` without a word lists them.

mod bench;
mod ci;
mod load;
mod reference;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::Parser as _;

/// The project's own chores.
#[derive(clap::Parser)]
#[command(name = "xtask", bin_name = "cargo xtask")]
enum Chore {
    /// Checks what neither the compiler nor clippy does: crate boundaries, layout, sizes, SQL.
    Tidy,
    /// Writes the generated pages of docs/reference.
    Gen {
        /// Fails when a page is out of date, and writes nothing.
        #[arg(long)]
        check: bool,
    },
    /// Measures beside the ways that people have.
    #[command(subcommand)]
    Bench(Bench),
    /// Proves a change under load.
    #[command(subcommand)]
    Load(Load),
    /// Runs everything that CI runs.
    Ci,
}

#[derive(clap::Subcommand)]
enum Bench {
    /// An apply and an empty plan, beside psql doing the same.
    Apply(bench::Options),
    /// A backup of five services, beside `pg_dump` with gzip, and `pg_dump -Fd -j2`.
    Backup(bench::backup::Options),
    /// Moving a service out of a shared database: `pg_dump | psql`, pgcopydb, and pgisle's strategies.
    Split(bench::split::Options),
    /// Terraform with the provider, beside the command line doing the same.
    Terraform(bench::Options),
}

#[derive(clap::Subcommand)]
enum Load {
    /// Moves a service out of a large shared database and back while services write through `PgBouncer`.
    Split(load::Options),
    /// Nine services with sixty clients each, without pools and with them, and a noisy neighbour.
    Connections(load::connections::Options),
}

#[expect(clippy::print_stderr, reason = "a chore talks to whoever runs it")]
fn main() -> ExitCode {
    match run(&Chore::parse_from(std::env::args().map(two_dashes))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: &Chore) -> anyhow::Result<()> {
    match chore {
        Chore::Tidy => tidy::run(),
        Chore::Gen { check: false } => reference::generate(),
        Chore::Gen { check: true } => reference::check(),
        Chore::Bench(Bench::Apply(options)) => bench::apply(options),
        Chore::Bench(Bench::Backup(options)) => bench::backup::run(options),
        Chore::Bench(Bench::Split(options)) => bench::split::run(options),
        Chore::Bench(Bench::Terraform(options)) => bench::terraform::run(options),
        Chore::Load(Load::Split(options)) => load::split(options),
        Chore::Load(Load::Connections(options)) => load::connections::run(options),
        Chore::Ci => ci::run(),
    }
}

/// One dash or two, as pgisle itself takes them.
fn two_dashes(word: String) -> String {
    match word.strip_prefix('-') {
        Some(name) if name.len() > 1 && !name.starts_with('-') => format!("--{name}"),
        _ => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &str) -> Result<Chore, clap::Error> {
        Chore::try_parse_from(std::iter::once("xtask").chain(words.split(' ')).map(str::to_owned).map(two_dashes))
    }

    #[test]
    fn options_are_read_in_each_form() {
        for words in ["-services=5,7 -rounds=2 -json", "-json --services 5,7 -rounds 2"] {
            let chore = read(&format!("bench apply {words}")).unwrap_or_else(|error| panic!("{error}"));
            let Chore::Bench(Bench::Apply(options)) = chore else { panic!("{words}") };
            assert_eq!((options.services, options.rounds, options.json), (vec![5, 7], 2, true));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let wrong = ["-services=0", "-services=1000", "-services", "-rounds=0", "-speed=9"];
        for words in
            wrong.map(|words| format!("bench apply {words}")).iter().map(String::as_str).chain(["load split -strategies=x"])
        {
            assert!(read(words).is_err(), "{words}");
        }
    }
}
