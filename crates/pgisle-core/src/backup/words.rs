//! The words of a statement, as far as it takes to see what kind of statement it is.

/// A word or sign of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// A keyword or a name without quotes, in upper case.
    Bare(String),
    /// A name in quotes, without them.
    Quoted(String),
    /// A literal, whatever is in it.
    Literal,
    /// Any other sign.
    Sign(char),
}

impl Word {
    /// True for this keyword, which is given in upper case.
    pub(super) fn is(&self, keyword: &str) -> bool {
        matches!(self, Self::Bare(word) if word == keyword)
    }

    /// As a name: folded to lower case as the server does, or as the quotes have it.
    pub(super) fn name(&self) -> Option<String> {
        match self {
            Self::Bare(word) => Some(word.to_lowercase()),
            Self::Quoted(name) => Some(name.clone()),
            Self::Literal | Self::Sign(_) => None,
        }
    }
}

/// Cuts a statement into words, at most `limit` of them. Comments are left out.
pub(super) fn words(statement: &str, limit: usize) -> Vec<Word> {
    let mut words = Vec::new();
    let mut rest = statement;
    while words.len() < limit {
        rest = after_blanks(rest);
        let Some(first) = rest.chars().next() else { break };
        let length = match first {
            '"' => quoted_end(rest, '"'),
            '\'' => quoted_end(rest, '\''),
            '$' => dollar_end(rest).unwrap_or(1),
            _ if is_name(first) => rest.find(|c: char| !is_name(c) && c != '$').unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (word, behind) = rest.split_at(length);
        words.push(match first {
            '"' => Word::Quoted(word.trim_matches('"').replace("\"\"", "\"")),
            '\'' => Word::Literal,
            '$' if length > 1 => Word::Literal,
            _ if is_name(first) => Word::Bare(word.to_uppercase()),
            sign => Word::Sign(sign),
        });
        rest = behind;
    }
    words
}

fn is_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_' || !character.is_ascii()
}

fn after_blanks(text: &str) -> &str {
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.split_once('\n').map_or("", |(_, behind)| behind);
        } else if rest.starts_with("/*") {
            rest = &rest[block_comment_end(rest)..];
        } else {
            return rest;
        }
    }
}

/// Comments of this kind nest.
fn block_comment_end(text: &str) -> usize {
    let (mut depth, mut place) = (0, 0);
    let bytes = text.as_bytes();
    while place < bytes.len() {
        match &bytes[place..] {
            [b'/', b'*', ..] => (depth, place) = (depth + 1, place + 2),
            [b'*', b'/', ..] => (depth, place) = (depth - 1, place + 2),
            _ => place += 1,
        }
        if depth == 0 {
            break;
        }
    }
    place
}

/// Where the quoted text at the beginning ends; a doubled quote does not end it.
fn quoted_end(text: &str, quote: char) -> usize {
    let mut place = quote.len_utf8();
    loop {
        let Some(found) = text[place..].find(quote) else { return text.len() };
        place += found + quote.len_utf8();
        if !text[place..].starts_with(quote) {
            return place;
        }
        place += quote.len_utf8();
    }
}

/// Where the text in `$tag$ … $tag$` at the beginning ends; none when it is no such text.
fn dollar_end(text: &str) -> Option<usize> {
    let tag_end = text[1..].find(|c: char| !is_name(c))? + 1;
    if !text[tag_end..].starts_with('$') {
        return None;
    }
    let tag = &text[..=tag_end];
    Some(text[tag.len()..].find(tag).map_or(text.len(), |found| found + 2 * tag.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_as_the_server_cuts_them() {
        let bare = |word: &str| Word::Bare(word.to_owned());
        let text = "ALTER /* a /* b */ c */ TABLE \"Odd \"\"x\".t -- no\n OWNER TO 'it''s' $a$ ; $a$;";
        assert_eq!(
            words(text, 99),
            [
                bare("ALTER"),
                bare("TABLE"),
                Word::Quoted("Odd \"x".to_owned()),
                Word::Sign('.'),
                bare("T"),
                bare("OWNER"),
                bare("TO"),
                Word::Literal,
                Word::Literal,
                Word::Sign(';'),
            ]
        );
        assert_eq!(words(text, 2).len(), 2);
        assert_eq!(words("/* unclosed", 9), []);
    }
}
