//! clap's help in pgisle's habit: long options with one dash.

/// Takes one dash from every long option in a text. A line that begins with an option is moved right by the one column
/// that its own option lost, so that what stands in columns still does.
pub(crate) fn single_dash(text: &str) -> String {
    text.split_inclusive('\n').map(single_dash_line).collect()
}

fn single_dash_line(line: &str) -> String {
    let shortened = shorten(line);
    // Colours stand between the margin and the option, where there are any.
    let begins_with_option = line.starts_with("  ") && anstream::adapter::strip_str(line).to_string().trim_start().starts_with('-');
    if begins_with_option && shortened.len() < line.len() { format!(" {shortened}") } else { shortened }
}

fn shorten(line: &str) -> String {
    let mut shortened = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("--") {
        let (before, from) = rest.split_at(at);
        let behind = &from[2..];
        shortened.push_str(before);
        let is_option = behind.starts_with(|character: char| character.is_ascii_lowercase()) && !before.ends_with('-');
        shortened.push_str(if is_option { "-" } else { "--" });
        rest = behind;
    }
    shortened.push_str(rest);
    shortened
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_lose_a_dash_and_columns_stay() {
        assert_eq!(single_dash("  -q, --quiet  Say\n      --json   One --dev\n"), "   -q, -quiet  Say\n       -json   One -dev\n");
        assert_eq!(single_dash("use --json -- x --- --5"), "use -json -- x --- --5");
        assert_eq!(single_dash("      \u{1b}[36m--json\u{1b}[0m  x"), "       \u{1b}[36m-json\u{1b}[0m  x");
    }
}
