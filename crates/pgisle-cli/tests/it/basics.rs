//! The commands that need no server.

use crate::program::Place;

macro_rules! assert_seen {
    ($place:expr, $arguments:expr) => {
        insta::assert_snapshot!($place.seen($arguments))
    };
}

#[test]
fn without_a_command_it_teaches() {
    assert_seen!(Place::new(), &[]);
}

#[test]
fn mistakes_on_the_command_line() {
    let place = Place::new();
    let lines: &[&[&str]] = &[
        &["explian"],
        &["version", "-jsom"],
        &["version", "--jsom"],
        &["version", "surplus"],
        &["version", "-parallelism=0"],
        &["version", "-parallelism=many"],
        &["version", "-parallelism"],
        &["version", "-parallelism=1", "-parallelism=2"],
        &["version", "-lock-timeout=soon"],
        &["version", "-q", "-v"],
        &["version", "-json=yes"],
        &["completions"],
        &["completions", "tcsh"],
        &["explain", "PI9999"],
        &["-chdir=nowhere", "version"],
    ];
    let seen: Vec<String> = lines.iter().map(|line| place.seen(line)).collect();
    insta::assert_snapshot!(seen.join("\n"));
}

#[test]
fn mistakes_for_machines() {
    assert_seen!(Place::new(), &["explain", "-json", "-jsom"]);
}

#[test]
fn init_writes_the_five_services() {
    let place = Place::new();
    insta::assert_snapshot!([place.seen(&["init"]), place.seen(&["init"])].join("\n"));
    assert!(place.read("pgisle.hcl").contains("service \"discovery\""));
}

#[test]
fn init_writes_ones_own_services() {
    let place = Place::new();
    place.file(".gitignore", "/node_modules\n");
    let seen = place.seen(&["init", "-json", "-prefix=shop", "orders", "billing"]);
    insta::assert_snapshot!(format!("{seen}\n{}\n{}", place.read("pgisle.hcl"), place.read(".gitignore")));
}

#[test]
fn init_refuses_names_that_cannot_be() {
    let place = Place::new();
    let seen = [place.seen(&["init", "Orders", "x y", "-prefix=1"]), place.seen(&["init", "-prefix=shop"])].join("\n");
    insta::assert_snapshot!(seen);
    assert!(!place.project().join("pgisle.hcl").exists());
}

#[test]
fn explain_tells_one_code_and_lists_all() {
    let place = Place::new();
    insta::assert_snapshot!([place.seen(&["explain", "pi0401"]), place.seen(&["explain", "-json", "PI0401"])].join("\n"));
    assert!(place.seen(&["explain"]).lines().filter(|line| line.starts_with("PI")).count() > 50);
}

#[test]
fn completions_for_every_shell() {
    let place = Place::new();
    for (shell, sign) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef pgisle"),
        ("fish", "complete -c pgisle"),
        ("elvish", "edit:completion"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let output = place.pgisle(&["completions", shell]);
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && script.contains(sign) && script.contains("explain"), "{shell}");
    }
}

#[test]
fn bash_accepts_its_completions_and_completes() {
    let place = Place::new();
    std::fs::write(place.project().join("completions"), place.pgisle(&["completions", "bash"]).stdout).unwrap();
    let script =
        "source ./completions; COMP_WORDS=(pgisle expl); COMP_CWORD=1; _pgisle pgisle expl pgisle; echo \"${COMPREPLY[@]}\"";
    let output = place.command("/bin/bash").args(["-euc", script]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "explain\n", "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn manual_pages_are_written() {
    let place = Place::new();
    let output = place.pgisle(&["man", "pages/man1"]);
    assert!(output.status.success());
    assert!(place.read("pages/man1/pgisle-explain.1").contains("Explain a diagnostic code"));
    assert!(place.seen(&["man"]).contains(".TH PGISLE 1"));
    insta::assert_snapshot!(place.seen(&["man", "/proc/nothing"]));
}

#[test]
fn colour_is_for_terminals_unless_forced() {
    let forced = Place::new().variable("CLICOLOR_FORCE", "1");
    let has_colour = |place: &Place, arguments: &[&str]| place.seen(arguments).contains('\u{1b}');
    assert!(!has_colour(&Place::new(), &["explain"]));
    assert!(has_colour(&forced, &["explain"]));
    assert!(has_colour(&forced, &["-help"]));
    assert!(!has_colour(&forced, &["explain", "-no-color"]));
    assert!(!has_colour(&forced.variable("NO_COLOR", "1"), &["explain"]));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let place = Place::new();
    let script = format!("{} explain | true; echo ${{PIPESTATUS[0]}}", env!("CARGO_BIN_EXE_pgisle"));
    let output = place.command("/bin/bash").args(["-c", &script]).output().unwrap();
    assert_eq!((String::from_utf8_lossy(&output.stdout).as_ref(), String::from_utf8_lossy(&output.stderr).as_ref()), ("0\n", ""));
}
