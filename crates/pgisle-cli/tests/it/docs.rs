//! The documents do what they say: every `console` block is run, in order, and what it shows must come out.
//!
//! A line that begins with `$ ` is a command, and lines that begin with `> ` continue it. What follows is output, compared line
//! by line; `…` stands for any text, and a line of nothing but `…` for any lines. A shown answer to a question
//! (`Enter a value: yes`) is typed into a terminal of its own. Blocks of other kinds (`text`, `sh`) are not run.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::program::Place;

/// What stands before an answer that the reader is to type.
const QUESTION: &str = "Enter a value: ";

struct Example {
    line: usize,
    command: String,
    output: Vec<String>,
}

impl Example {
    fn answer(&self) -> Option<&str> {
        self.output.iter().find_map(|line| line.trim_start().strip_prefix(QUESTION))
    }
}

fn examples(text: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut inside = false;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_end();
        if line.starts_with("```") {
            inside = line == "```console";
        } else if !inside {
        } else if let Some(command) = line.strip_prefix("$ ") {
            examples.push(Example { line: index + 1, command: command.to_owned(), output: Vec::new() });
        } else if let (Some(more), Some(last)) = (line.strip_prefix('>'), examples.last_mut())
            && last.output.is_empty()
        {
            last.command.push('\n');
            last.command.push_str(more.strip_prefix(' ').unwrap_or(more));
        } else if let Some(last) = examples.last_mut() {
            last.output.push(line.to_owned());
        }
    }
    examples
}

/// One script for a whole document, so that `cd` and `export` hold as they do for a reader.
fn script(examples: &[Example]) -> String {
    let mut script = String::from("set -o pipefail\n");
    for (index, example) in examples.iter().enumerate() {
        writeln!(script, "printf '\\n@@ %s begins\\n' {index}").unwrap();
        match example.answer() {
            Some(answer) => {
                let quoted = example.command.replace('\'', "'\\''");
                writeln!(script, "(sleep 2; printf '%s\\n' '{answer}') | script -qec '{quoted}' /dev/null 2>&1").unwrap();
            }
            None => writeln!(script, "{{\n{}\n}} 2>&1 </dev/null", example.command).unwrap(),
        }
        writeln!(script, "printf '\\n@@ %s ends with %s\\n' {index} $?").unwrap();
    }
    script
}

/// True when the lines come out as shown.
fn matches(shown: &[String], seen: &[&str]) -> bool {
    match shown.split_first() {
        None => seen.iter().all(|line| line.trim().is_empty()),
        Some((line, rest)) if line.trim() == "…" => (0..=seen.len()).any(|skipped| matches(rest, &seen[skipped..])),
        Some((line, rest)) => {
            seen.split_first().is_some_and(|(first, others)| fits(line, first.trim_end()) && matches(rest, others))
        }
    }
}

fn fits(shown: &str, seen: &str) -> bool {
    match shown.split_once('…') {
        None => shown == seen,
        Some((before, after)) => seen
            .strip_prefix(before)
            .is_some_and(|rest| (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| fits(after, &rest[at..]))),
    }
}

/// The pages that people read from top to bottom, which teach by example.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut pages = vec![root.join("README.md")];
    for folder in ["docs/guide", "docs/concepts"] {
        pages.extend(fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()));
    }
    pages.sort();
    pages
}

/// Runs a page's examples in an empty folder, and says what did not come out as shown.
fn run(path: &Path) -> String {
    let examples = examples(&fs::read_to_string(path).unwrap());
    if examples.is_empty() {
        return format!("{} has no console block\n", path.display());
    }
    let place = place().unwrap();
    let output = place.command("/bin/bash").arg("-c").arg(script(&examples)).output().unwrap();
    // Whatever the document did, no server is left behind, in whichever folder it made.
    for folder in fs::read_dir(place.project()).unwrap().flatten().filter(|entry| entry.path().join(".pgisle").is_dir()) {
        let _ended = place.pgisle(&[&format!("-chdir={}", folder.path().display()), "dev", "down"]);
    }
    let _ended = place.pgisle(&["dev", "down"]);
    let seen = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    let mut faults = String::new();
    for (index, example) in examples.iter().enumerate() {
        let begins = format!("@@ {index} begins\n");
        let ends = format!("\n@@ {index} ends with ");
        let part = seen.split_once(&begins).map_or("", |(_, part)| part);
        let Some((part, rest)) = part.split_once(&ends) else {
            writeln!(faults, "{}:{}: $ {}\ndid not end\n{part}", path.display(), example.line, example.command).unwrap();
            break;
        };
        // On a busy machine, what takes long says so.
        let lines: Vec<&str> = part.lines().filter(|line| !is_progress(line)).collect();
        let code = rest.lines().next().unwrap_or_default();
        let shown_failure = example.output.iter().any(|line| line.starts_with("error["));
        // What is not shown is not compared: a command without output in the text only has to succeed.
        let as_shown = example.output.iter().all(|line| line.is_empty()) || matches(&example.output, &lines);
        if !as_shown || (code == "0") == shown_failure {
            writeln!(faults, "{}:{}: $ {}\nexit {code}\n{part}\n", path.display(), example.line, example.command).unwrap();
        }
    }
    faults
}

/// `starting: after 5 s`, or `copying: 45 of 100 after 5 s, 28 MB of 62 MB`, as progress is told where there is no terminal.
fn is_progress(line: &str) -> bool {
    let Some((_, rest)) = line.split_once(": ") else { return false };
    let Some((far, rest)) = rest.split_once("after ") else { return false };
    let seconds = rest.split_once(" s").is_some_and(|(number, _)| number.parse::<u32>().is_ok());
    seconds && (far.is_empty() || far.contains(" of "))
}

/// A place with what the pages use besides pgisle.
fn place() -> Result<Place, &'static str> {
    let mut place = Place::passable().on_path(Path::new(env!("CARGO_BIN_EXE_pgisle")).parent().unwrap());
    // Beside psql itself are pg_dump and pg_restore of the same version.
    if let Some(psql) = pgisle_engine::local::find_program("psql").and_then(|psql| psql.canonicalize().ok()) {
        place = place.on_path(psql.parent().unwrap());
    }
    ["psql", "jq", "script"].into_iter().try_fold(place, |place, program| place.with_program(program).ok_or(program))
}

#[test]
fn every_page_runs_as_written() {
    if let Err(missing) = place() {
        pgisle_testkit::skip!("{missing} is not installed");
    }
    let pages = pages();
    assert!(pages.len() > 7, "{pages:?}");
    // Two at once: each waits for its server most of the time.
    let half = pages.len() / 2;
    let run_all = |pages: &[PathBuf]| pages.iter().map(|page| run(page)).collect::<String>();
    let faults = std::thread::scope(|scope| {
        let first = scope.spawn(|| run_all(&pages[..half]));
        run_all(&pages[half..]) + &first.join().unwrap()
    });
    assert!(faults.is_empty(), "not as the pages show:\n{faults}");
}

#[test]
fn examples_are_found_and_compared() {
    let text = "```console\n$ a \\\n> b\none\n…\nlast … line\n\n$ c\n```\n```sh\n$ d\n```\n";
    let found = examples(text);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].command, "a \\\nb");
    assert!(matches(&found[0].output, &["one", "two", "three", "last and final line", ""]));
    assert!(!matches(&found[0].output, &["one", "two"]));
    assert!(matches(&[], &[""]) && !matches(&[], &["surplus"]));
}
