//! `pgisle fmt`: the one way to write a file down.
//!
//! The rules are `terraform fmt`'s: two spaces an indent, one around `=`, and the `=` and the comments of neighbouring lines in
//! columns. Lines are never joined or split, comments stay, and runs of blank lines become one. It works on tokens, because
//! a tree has lost what this is about.

use crate::diagnostic::{Code, Diagnostic, any_error};

use super::scan::{Token, TokenKind, scan};
use super::syntax;
use super::text::decode;

/// Writes a file of settings or services canonically. Formatting what is formatted changes nothing.
///
/// # Errors
/// Says why the text is not HCL, or is defined ambiguously; such a file is best left as it is.
pub fn format(name: &str, text: &[u8]) -> Result<String, Vec<Diagnostic>> {
    let text = decode(name, text).map_err(|diagnostic| vec![*diagnostic])?;
    let mut diagnostics = Vec::new();
    if syntax::parse(name, text, &mut diagnostics).is_none() || any_error(&diagnostics) {
        return Err(diagnostics);
    }
    let tokens = scan(text).unwrap_or_default();
    let formatted = write(text, &lines(&tokens));

    // The same words in the same order, and still HCL: only blanks can have changed.
    if words(&formatted) == words(text) && syntax::parse(name, &formatted, &mut diagnostics).is_some() {
        Ok(formatted)
    } else {
        Err(vec![Diagnostic::error(Code::BUG, format!("formatting {name:?} would change it")).detail("The file is left as it is.")])
    }
}

/// Everything in a text but blanks and line breaks.
fn words(text: &str) -> Vec<&str> {
    let tokens = scan(text).unwrap_or_default();
    let words = tokens.iter().filter(|token| token.kind != TokenKind::Newline);
    words.map(|token| token.text(text).trim_end()).collect()
}

/// One line, or several where a comment or heredoc spans them.
#[derive(Default)]
struct Line<'a> {
    /// What is indented: all of it, or what stands before `=`.
    lead: &'a [Token],
    /// From `=` on, where the line is an assignment that ends on it.
    assignment: &'a [Token],
    /// The comment behind everything else.
    comment: Option<&'a Token>,
}

impl Line<'_> {
    fn is_blank(&self) -> bool {
        self.lead.is_empty()
    }

    /// True when what follows on the next line cannot be in one column with this.
    fn spans_lines(&self) -> bool {
        self.lead.iter().chain(self.assignment).any(|token| matches!(token.kind, TokenKind::Heredoc | TokenKind::BlockComment))
    }
}

/// How many more brackets are opened than closed.
fn opened(tokens: &[Token]) -> isize {
    tokens
        .iter()
        .map(|token| match token.kind {
            TokenKind::Open => 1,
            TokenKind::Close => -1,
            _ => 0,
        })
        .sum()
}

fn lines(tokens: &[Token]) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    for tokens in tokens.split(|token| token.kind == TokenKind::Newline) {
        let mut line = Line { lead: tokens, ..Line::default() };
        if let [head @ .., comment] = tokens
            && !head.is_empty()
            && comment.kind == TokenKind::LineComment
        {
            line.lead = head;
            line.comment = Some(comment);
        }
        let equals = line.lead.iter().position(|token| token.kind == TokenKind::Equals).filter(|at| *at > 0);
        if let Some(at) = equals
            && opened(&line.lead[at..]) == 0
        {
            (line.lead, line.assignment) = line.lead.split_at(at);
        }
        let is_repeated_blank = line.is_blank() && lines.last().is_none_or(Line::is_blank);
        if !is_repeated_blank {
            lines.push(line);
        }
    }
    while lines.last().is_some_and(Line::is_blank) {
        lines.pop();
    }
    lines
}

fn write(text: &str, lines: &[Line<'_>]) -> String {
    // Brackets that lines before have left open, line by line, as Terraform counts: a line that opens three indents once.
    let mut open: Vec<isize> = Vec::new();
    let mut cells: Vec<(String, String, Option<&str>)> = Vec::with_capacity(lines.len());
    for line in lines {
        let change = opened(line.lead) + opened(line.assignment);
        let mut closed = (-change).max(0);
        while closed > 0 {
            let Some(last) = open.last_mut() else { break };
            let now = closed.min(*last);
            *last -= now;
            closed -= now;
            if *last == 0 {
                open.pop();
            }
        }
        let indent = if line.is_blank() { String::new() } else { "  ".repeat(open.len()) };
        if change > 0 {
            open.push(change);
        }
        let comment = line.comment.map(|comment| comment.text(text).trim_end());
        cells.push((indent + &joined(text, line.lead), joined(text, line.assignment), comment));
    }
    align(lines, &mut cells);
    let mut output = String::with_capacity(text.len());
    for (lead, assignment, comment) in cells {
        output.push_str(&lead);
        output.push_str(&assignment);
        if let Some(comment) = comment {
            output.push_str(comment);
        }
        output.push('\n');
    }
    output
}

/// Puts the `=` of neighbouring lines into one column, then their comments.
fn align(lines: &[Line<'_>], cells: &mut [(String, String, Option<&str>)]) {
    let width = |text: &str| text.chars().count();
    let mut start = 0;
    while start < lines.len() {
        let mut end = start;
        while end < lines.len() && !lines[end].assignment.is_empty() {
            end += 1;
            if lines[end - 1].spans_lines() {
                break;
            }
        }
        let column = cells[start..end].iter().map(|(lead, ..)| width(lead)).max().unwrap_or(0) + 1;
        for (lead, ..) in &mut cells[start..end] {
            lead.push_str(&" ".repeat(column - width(lead)));
        }
        start = end.max(start + 1);
    }
    start = 0;
    while start < lines.len() {
        let end = (start..lines.len()).find(|at| lines[*at].comment.is_none()).unwrap_or(lines.len());
        // What spans lines has no width to speak of.
        let total = |cell: &(String, String, Option<&str>)| {
            let text = format!("{}{}", cell.0, cell.1);
            width(text.rsplit('\n').next().unwrap_or_default())
        };
        let column = cells[start..end].iter().map(total).max().unwrap_or(0) + 1;
        for cell in &mut cells[start..end] {
            let blanks = " ".repeat(column - total(cell));
            if cell.1.is_empty() { cell.0.push_str(&blanks) } else { cell.1.push_str(&blanks) }
        }
        start = end.max(start + 1);
    }
}

fn joined(text: &str, tokens: &[Token]) -> String {
    let mut output = String::new();
    for (index, token) in tokens.iter().enumerate() {
        if let Some(before) = index.checked_sub(1).and_then(|before| tokens.get(before))
            && has_blank_between(text, before, token)
        {
            output.push(' ');
        }
        output.push_str(match token.kind {
            TokenKind::LineComment => token.text(text).trim_end(),
            _ => token.text(text),
        });
    }
    output
}

/// Whether a blank belongs between two tokens of a line. In expressions, which no spec has, it is as the author put it.
fn has_blank_between(text: &str, a: &Token, b: &Token) -> bool {
    use TokenKind::{BlockComment, Close, Comma, Equals, LineComment, Number, Open, Other, Text, Word};
    let had_blank = a.end < b.start;
    match (a.kind, b.kind) {
        (_, LineComment | BlockComment) | (BlockComment, _) => true,
        (_, Comma) => false,
        (Comma | Equals, _) | (_, Equals) => true,
        (Other, _) | (_, Other) => had_blank,
        (Open, Close) => false,
        (Open, _) => a.text(text) == "{",
        (_, Close) => b.text(text) == "}",
        (_, Open) if b.text(text) == "{" => true,
        (_, Open) | (Close, _) => had_blank,
        (Word | Number, Word | Number) => had_blank,
        (Text, _) | (_, Text) => true,
        _ => had_blank,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::format;

    const UGLY: &str = "\n\n# Settings.\nenvironment=\"development\"   # which one\npostgres_host    = \"localhost\"# where\n\n\n\nservice   \"users\"{\n\
        \t# Three of them.\n  instances=3\n      tables = [\"users\",\"sessions\" , \n  \"blocks\",\n ]\n settings={work_mem=\"4MB\",a=-1}\n\
        description = <<EOT\n  kept   as it is\nEOT\n\n    replica   {   }\n}\n\n/* block\n     comment */\n\ttags={\nA=\"1\"\nLonger = \"2\" // two\n}\n\n\n";

    const PRETTY: &str = "# Settings.\nenvironment   = \"development\" # which one\npostgres_host = \"localhost\"   # where\n\nservice \"users\" {\n\
        \x20 # Three of them.\n  instances = 3\n  tables = [\"users\", \"sessions\",\n    \"blocks\",\n  ]\n  settings    = { work_mem = \"4MB\", a = -1 }\n\
        \x20 description = <<EOT\n  kept   as it is\nEOT\n\n  replica {}\n}\n\n/* block\n     comment */\ntags = {\n  A      = \"1\"\n  Longer = \"2\" // two\n}\n";

    #[test]
    fn an_ugly_file_becomes_pretty_and_stays_so() {
        let once = format("ugly.hcl", UGLY.as_bytes()).unwrap();
        assert_eq!(once, PRETTY);
        assert_eq!(format("ugly.hcl", once.as_bytes()).unwrap(), PRETTY);
    }

    #[test]
    fn windows_line_ends_go_and_a_missing_last_one_comes() {
        assert_eq!(format("a.tfvars", b"\xef\xbb\xbfa=1\r\n\r\n\r\nb = 2").unwrap(), "a = 1\n\nb = 2\n");
        assert_eq!(format("a.tfvars", b"").unwrap(), "");
    }

    #[test]
    fn a_wrong_file_is_not_formatted() {
        assert!(format("a.hcl", b"a = [").is_err());
        assert!(format("a.hcl", b"a = 1\na = 2\n").is_err());
        assert!(format("a.hcl", b"\xff").is_err());
    }
}
