//! `docs/reference/cli.md` is what the program says of itself.

use std::fs;
use std::path::Path;

use crate::program::Place;

#[test]
fn the_reference_is_up_to_date() {
    let output = Place::new().pgisle(&["reference"]);
    let generated = String::from_utf8(output.stdout).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/cli.md");
    if std::env::var_os("PGISLE_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &generated).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    // Not assert_eq: the whole reference twice would say less than the first line that differs.
    let difference = generated.lines().zip(kept.lines()).find(|(generated, kept)| generated != kept);
    assert!(kept == generated, "docs/reference/cli.md is old: {difference:?}; PGISLE_BLESS=1 writes it");
}

#[test]
fn every_command_has_its_help() {
    let place = Place::new();
    let listed = place.seen(&["-h"]);
    let commands = listed.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let mut seen = String::new();
    for command in commands.filter_map(|line| line.split_whitespace().next()).filter(|command| *command != "help") {
        seen.push_str(&place.seen(&[command, "-help"]));
        seen.push('\n');
    }
    // The options of every command are in the reference already; here they would only repeat.
    let own: String = seen.split_inclusive('\n').collect();
    insta::assert_snapshot!(without_common_options(&own));
}

fn without_common_options(help: &str) -> String {
    let mut kept = String::new();
    let mut skipping = false;
    for line in help.split_inclusive('\n') {
        match line {
            "Options of every command:\n" => skipping = true,
            line if skipping && !line.starts_with(' ') && line != "\n" => skipping = false,
            _ => {}
        }
        if !skipping {
            kept.push_str(line);
        }
    }
    kept
}
