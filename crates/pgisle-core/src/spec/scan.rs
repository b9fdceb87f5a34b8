//! A scanner for HCL: tokens with their places, comments and line ends included.
//!
//! The grammar is `hcl-edit`'s to know. This exists for what a parser that builds values cannot give: an error at the quote
//! or bracket that was never closed rather than at the end of the file, a bound on nesting before anything recursive sees
//! the text, and the formatter's view of a file, in which comments and line breaks matter.

/// Values nested deeper than this are no spec. Checked before the recursive parser runs.
pub(super) const NESTING_MAX: usize = 32;

/// Elements of one list, map or block. The parser looks each key of a map up among all before it, so the cost is square.
pub(super) const ELEMENTS_MAX: usize = 10_000;

/// What kind of token it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// An identifier or keyword.
    Word,
    /// A number without its sign.
    Number,
    /// A quoted text, templates inside included.
    Text,
    /// A heredoc, from `<<` to its closing word.
    Heredoc,
    /// `#` or `//` to the end of the line, without the line break.
    LineComment,
    /// `/* … */`.
    BlockComment,
    /// A line break.
    Newline,
    /// `(`, `[` or `{`.
    Open,
    /// `)`, `]` or `}`.
    Close,
    /// `,`.
    Comma,
    /// `=` alone.
    Equals,
    /// An operator or anything else.
    Other,
}

/// A token: its kind and where it is in the text, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Token {
    /// The token's text.
    pub(super) fn text<'a>(&self, text: &'a str) -> &'a str {
        text.get(self.start..self.end).unwrap_or_default()
    }
}

/// Why a text cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ScanError {
    /// It is not HCL: where, why, and what to do.
    Syntax { offset: usize, reason: String, hint: &'static str },
    /// It is too deeply nested, or has too many elements.
    Limit { offset: usize, reason: &'static str },
}

/// Splits a text into tokens, and makes sure that quotes, comments, heredocs and brackets are closed.
pub(super) fn scan(text: &str) -> Result<Vec<Token>, ScanError> {
    let mut tokens = Vec::new();
    let mut brackets: Vec<Bracket> = Vec::new();
    let mut start = 0;
    while let Some(character) = text[start..].chars().next() {
        if matches!(character, ' ' | '\t') {
            start += 1;
            continue;
        }
        let (kind, end) = token(text, start, character)?;
        match kind {
            TokenKind::Open => {
                brackets.push(Bracket { character, offset: start, elements: 0 });
                if brackets.len() > NESTING_MAX {
                    return Err(ScanError::Limit { offset: start, reason: "the values are nested too deeply" });
                }
            }
            TokenKind::Close => close(text, &mut brackets, start, character)?,
            TokenKind::Comma | TokenKind::Newline => {
                if let Some(bracket) = brackets.last_mut() {
                    bracket.elements += 1;
                    if bracket.elements > ELEMENTS_MAX {
                        let offset = bracket.offset;
                        return Err(ScanError::Limit { offset, reason: "the list, map or block has too many elements" });
                    }
                }
            }
            _ => {}
        }
        tokens.push(Token { kind, start, end });
        start = end;
    }
    match brackets.pop() {
        Some(Bracket { character, offset, .. }) => Err(ScanError::Syntax {
            offset,
            reason: format!("\"{character}\" is never closed"),
            hint: "Add the closing bracket, or look for a quote or brace that is missing further down.",
        }),
        None => Ok(tokens),
    }
}

struct Bracket {
    character: char,
    offset: usize,
    elements: usize,
}

fn close(text: &str, brackets: &mut Vec<Bracket>, offset: usize, character: char) -> Result<(), ScanError> {
    let opening = match character {
        ')' => '(',
        ']' => '[',
        _ => '{',
    };
    match brackets.pop() {
        Some(bracket) if bracket.character == opening => Ok(()),
        Some(bracket) => {
            let line = text[..bracket.offset].matches('\n').count() + 1;
            Err(ScanError::Syntax {
                offset,
                reason: format!("\"{character}\" does not close the \"{}\" of line {line}", bracket.character),
                hint: "Close the inner bracket first.",
            })
        }
        None => Err(ScanError::Syntax {
            offset,
            reason: format!("\"{character}\" closes nothing"),
            hint: "Remove it, or look for an opening bracket that is missing further up.",
        }),
    }
}

/// The token at `start`: its kind and end.
fn token(text: &str, start: usize, character: char) -> Result<(TokenKind, usize), ScanError> {
    let rest = &text[start..];
    let single = start + character.len_utf8();
    Ok(match character {
        '\n' => (TokenKind::Newline, single),
        '\r' if rest.starts_with("\r\n") => (TokenKind::Newline, start + 2),
        '"' => (TokenKind::Text, start + quoted_bytes(text, start)?),
        '#' => (TokenKind::LineComment, start + line_bytes(rest)),
        '/' if rest.starts_with("//") => (TokenKind::LineComment, start + line_bytes(rest)),
        '/' if rest.starts_with("/*") => (TokenKind::BlockComment, start + block_comment_bytes(rest, start)?),
        '<' if rest.starts_with("<<") => (TokenKind::Heredoc, start + heredoc_bytes(rest, start)?),
        '(' | '[' | '{' => (TokenKind::Open, single),
        ')' | ']' | '}' => (TokenKind::Close, single),
        ',' => (TokenKind::Comma, single),
        '=' if !rest.starts_with("==") && !rest.starts_with("=>") => (TokenKind::Equals, single),
        '0'..='9' => (TokenKind::Number, start + number_bytes(rest)),
        _ if character.is_alphabetic() || character == '_' => {
            let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
            (TokenKind::Word, start + rest.find(|c| !word(c)).unwrap_or(rest.len()))
        }
        _ => {
            const PAIRS: [&str; 9] = ["==", "=>", "!=", "<=", ">=", "&&", "||", "::", "..."];
            let bytes = PAIRS.iter().find(|pair| rest.starts_with(**pair)).map_or(character.len_utf8(), |pair| pair.len());
            (TokenKind::Other, start + bytes)
        }
    })
}

/// Bytes to the end of the line, without its break.
fn line_bytes(rest: &str) -> usize {
    let end = rest.find('\n').unwrap_or(rest.len());
    if rest[..end].ends_with('\r') && end < rest.len() { end - 1 } else { end }
}

fn block_comment_bytes(rest: &str, start: usize) -> Result<usize, ScanError> {
    rest.get(2..).and_then(|inside| inside.find("*/")).map(|end| end + 4).ok_or_else(|| ScanError::Syntax {
        offset: start,
        reason: "the comment is never closed".to_owned(),
        hint: "Close it with */.",
    })
}

fn number_bytes(rest: &str) -> usize {
    let digits = |from: usize| rest[from..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - from);
    let mut end = digits(0);
    if rest[end..].starts_with('.') && digits(end + 1) > 0 {
        end += 1 + digits(end + 1);
    }
    if rest[end..].starts_with(['e', 'E']) {
        let sign = usize::from(rest[end + 1..].starts_with(['+', '-']));
        let exponent = digits(end + 1 + sign);
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    end
}

/// Bytes of a quoted text with its quotes. Templates inside may hold quoted texts, and so on; a stack instead of recursion,
/// because nobody has bounded that yet.
fn quoted_bytes(text: &str, start: usize) -> Result<usize, ScanError> {
    #[derive(PartialEq)]
    enum Inside {
        Text(usize),
        Template(usize),
    }
    let rest = &text.as_bytes()[start..];
    let mut stack = vec![Inside::Text(0)];
    let mut at = 1;
    loop {
        let opened = match stack.last() {
            None => return Ok(at),
            Some(Inside::Text(opened) | Inside::Template(opened)) => start + opened,
        };
        if stack.len() > NESTING_MAX {
            return Err(ScanError::Limit { offset: opened, reason: "the templates are nested too deeply" });
        }
        let in_text = matches!(stack.last(), Some(Inside::Text(_)));
        let unclosed = |what: &str| ScanError::Syntax {
            offset: opened,
            reason: format!("the {what} is not closed"),
            hint: "A text ends with a quote on the line on which it began; write a line break inside it as \\n.",
        };
        match (rest.get(at).copied(), in_text) {
            (None, true) | (Some(b'\n'), true) => return Err(unclosed("text")),
            (None, false) => return Err(unclosed("template")),
            (Some(b'\\'), true) => at += 2,
            (Some(b'"'), true) => {
                stack.pop();
                at += 1;
            }
            (Some(mark @ (b'$' | b'%')), true) => {
                if rest.get(at + 1) == Some(&mark) && rest.get(at + 2) == Some(&b'{') {
                    at += 3;
                } else if rest.get(at + 1) == Some(&b'{') {
                    stack.push(Inside::Template(at));
                    at += 2;
                } else {
                    at += 1;
                }
            }
            (Some(b'"'), false) => {
                stack.push(Inside::Text(at));
                at += 1;
            }
            (Some(b'{'), false) => {
                stack.push(Inside::Template(at));
                at += 1;
            }
            (Some(b'}'), false) => {
                stack.pop();
                at += 1;
            }
            (Some(_), _) => at += 1,
        }
    }
}

/// Bytes of a heredoc, from `<<` to its closing word.
fn heredoc_bytes(rest: &str, start: usize) -> Result<usize, ScanError> {
    let error = |reason: &str| ScanError::Syntax {
        offset: start,
        reason: reason.to_owned(),
        hint: "A heredoc is <<WORD, lines of text, and WORD alone on its line.",
    };
    let head = if rest.starts_with("<<-") { 3 } else { 2 };
    let line_end = rest.find('\n').ok_or_else(|| error("the heredoc is never closed"))?;
    let word = rest[head..line_end].trim_end_matches('\r');
    let is_word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
    if !is_word(word) {
        return Err(error("the heredoc has no closing word"));
    }
    let mut line = line_end + 1;
    while line <= rest.len() {
        let indent = rest[line..].len() - rest[line..].trim_start_matches([' ', '\t']).len();
        let after = line + indent + word.len();
        if rest[line + indent..].starts_with(word)
            && !rest[after..].starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '-'))
        {
            return Ok(after);
        }
        match rest[line..].find('\n') {
            Some(end) => line += end + 1,
            None => break,
        }
    }
    Err(error("the heredoc is never closed"))
}
