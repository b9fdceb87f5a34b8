//! Cutting a script of SQL into statements and COPY data, as `psql` does, without `psql`.
//!
//! A dump is somebody else's text. `psql` would obey its backslash commands, and `\!` runs a program on the operator's machine; here
//! they are refused, all but the few that `pg_dump` itself writes and that mean nothing to a restore.

use std::io::{self, BufRead};

use super::words::{Word, words};

/// COPY data is handed on in pieces of about this many bytes: large enough that the cost of each does not matter.
const PIECE_BYTES: usize = 1 << 18;

/// The line behind the last row.
const END_OF_DATA: &[u8] = b"\\.";

/// What `pg_dump` writes in front of everything, and `pg_dumpall` in a like form.
const HEAD: &str = "-- PostgreSQL database dump";

/// What `pg_dump` writes behind everything.
const TAIL: &str = "-- PostgreSQL database dump complete";

/// What some editors put in front of a text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Why a script cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// The stream broke.
    #[error("the script cannot be read to its end")]
    Read(#[source] io::Error),
    /// It is not text.
    #[error("line {line} is not UTF-8 text")]
    NotText {
        /// The line.
        line: u64,
    },
    /// A command for `psql`.
    #[error("line {line} holds the command {command} for psql, which is not obeyed")]
    Command {
        /// The line.
        line: u64,
        /// The command.
        command: String,
    },
    /// It ends in the middle of something.
    #[error("the script ends in the middle of {what}, which begins in line {line}: it was cut")]
    Cut {
        /// The line.
        line: u64,
        /// What.
        what: &'static str,
    },
    /// Its last line is not there.
    #[error("the script has pg_dump's first line and not its last: it was cut")]
    NoTail,
}

/// A part of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A statement, without what stands in front of it and without the semicolon.
    Statement {
        /// Its text.
        text: String,
        /// The line that it begins in.
        line: u64,
        /// Whether data follows, as behind `COPY … FROM stdin`.
        takes_data: bool,
    },
    /// Whole lines of the data of the COPY statement before.
    Data(Vec<u8>),
    /// The data ends.
    DataEnd,
    /// What follows is for another database.
    Connect {
        /// Its name.
        database: String,
    },
}

/// Where in a statement the reading stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Plain,
    BlockComment(u32),
    Quoted { quote: u8, escapes: bool },
    Dollar(Vec<u8>),
    Data,
}

/// A script that is being read.
#[derive(Debug)]
pub struct Script<R> {
    input: R,
    state: State,
    statement: Vec<u8>,
    /// The line that the statement begins in, and the one at hand.
    begun: u64,
    line: u64,
    /// The rest of the line at hand.
    pending: Vec<u8>,
    place: usize,
    parentheses: u32,
    /// How deep in the body of an SQL function the reading is: semicolons do not end the statement there.
    bodies: u32,
    names: Vec<String>,
    has_head: bool,
    has_tail: bool,
}

impl<R: BufRead> Script<R> {
    /// Begins to read.
    pub fn new(input: R) -> Self {
        Self {
            input,
            state: State::Plain,
            statement: Vec::new(),
            begun: 0,
            line: 0,
            pending: Vec::new(),
            place: 0,
            parentheses: 0,
            bodies: 0,
            names: Vec::new(),
            has_head: false,
            has_tail: false,
        }
    }

    /// Gives the input back, wherever the reading stands.
    pub fn into_inner(self) -> R {
        self.input
    }

    /// The next part; none at the end.
    ///
    /// # Errors
    /// See [`ScriptError`].
    pub fn next_part(&mut self) -> Result<Option<Part>, ScriptError> {
        if self.state == State::Data {
            return self.data().map(Some);
        }
        loop {
            if let Some(part) = self.scan()? {
                return Ok(Some(part));
            }
            if !self.fill()? {
                return self.end();
            }
        }
    }

    /// Reads the next line; false at the end.
    fn fill(&mut self) -> Result<bool, ScriptError> {
        self.pending.clear();
        self.place = 0;
        self.input.read_until(b'\n', &mut self.pending).map_err(ScriptError::Read)?;
        self.line += 1;
        if self.line == 1 && self.pending.starts_with(BYTE_ORDER_MARK) {
            self.place = BYTE_ORDER_MARK.len();
        }
        Ok(!self.pending.is_empty())
    }

    fn end(&mut self) -> Result<Option<Part>, ScriptError> {
        if !self.statement.is_empty() || self.state != State::Plain {
            return Err(ScriptError::Cut { line: self.begun.max(1), what: "a statement" });
        }
        if self.has_head && !self.has_tail {
            return Err(ScriptError::NoTail);
        }
        Ok(None)
    }

    fn data(&mut self) -> Result<Part, ScriptError> {
        let mut piece = Vec::new();
        if self.place < self.pending.len() {
            // What follows the semicolon on its own line is no data.
            self.place = self.pending.len();
        }
        loop {
            let begin = piece.len();
            self.input.read_until(b'\n', &mut piece).map_err(ScriptError::Read)?;
            self.line += 1;
            let line = &piece[begin..];
            let Some(text) = line.strip_suffix(b"\n") else {
                return Err(ScriptError::Cut { line: self.begun, what: "the data of a COPY statement" });
            };
            if text.strip_suffix(b"\r").unwrap_or(text) == END_OF_DATA {
                piece.truncate(begin);
                if piece.is_empty() {
                    self.state = State::Plain;
                    return Ok(Part::DataEnd);
                }
                // The end is told the next time.
                self.pending = b"\\.\n".to_vec();
                self.place = 0;
                self.state = State::Plain;
                return Ok(Part::Data(piece));
            }
            if piece.len() >= PIECE_BYTES {
                return Ok(Part::Data(piece));
            }
        }
    }

    /// Goes on through the line at hand; none when there is no more in it.
    fn scan(&mut self) -> Result<Option<Part>, ScriptError> {
        while self.place < self.pending.len() {
            match &self.state {
                State::Plain => {
                    if let Some(part) = self.plain()? {
                        return Ok(Some(part));
                    }
                }
                State::Data => return self.data().map(Some),
                State::BlockComment(_) => self.block_comment(),
                State::Quoted { .. } => self.quoted(),
                State::Dollar(_) => self.dollar(),
            }
        }
        Ok(None)
    }

    fn rest(&self) -> &[u8] {
        &self.pending[self.place..]
    }

    fn take(&mut self, bytes: usize) {
        let end = (self.place + bytes).min(self.pending.len());
        if self.statement.is_empty() {
            self.begun = self.line;
        }
        self.statement.extend_from_slice(&self.pending[self.place..end]);
        self.place = end;
    }

    fn plain(&mut self) -> Result<Option<Part>, ScriptError> {
        let is_beginning = self.statement.is_empty();
        match *self.rest() {
            [b'-', b'-', ..] => {
                let comment = self.rest().trim_ascii_end();
                let (is_head, is_tail) = (comment == HEAD.as_bytes(), comment == TAIL.as_bytes());
                self.has_head |= is_head;
                self.has_tail |= is_tail;
                if !is_beginning {
                    self.statement.push(b'\n');
                }
                self.place = self.pending.len();
            }
            [b'/', b'*', ..] => {
                self.state = State::BlockComment(1);
                if is_beginning {
                    self.place += 2;
                    self.begun = self.line;
                } else {
                    self.take(2);
                }
            }
            [b'\\', ..] => return self.command(),
            [b';', ..] => {
                self.place += 1;
                if self.parentheses > 0 || self.bodies > 0 {
                    self.statement.push(b';');
                } else if !is_beginning {
                    return self.statement_done().map(Some);
                }
            }
            [quote @ (b'\'' | b'"'), ..] => {
                let escapes = quote == b'\'' && self.ends_with_escape_prefix();
                self.state = State::Quoted { quote, escapes };
                self.take(1);
            }
            [b'$', ..] => match dollar_tag(self.rest()).filter(|_| !self.ends_in_name()) {
                Some(tag) => {
                    self.take(tag.len());
                    self.state = State::Dollar(tag);
                }
                None => self.take(1),
            },
            [b'(', ..] => {
                self.parentheses += 1;
                self.take(1);
            }
            [b')', ..] => {
                self.parentheses = self.parentheses.saturating_sub(1);
                self.take(1);
            }
            [byte, ..] if is_beginning && byte.is_ascii_whitespace() => self.place += 1,
            [byte, ..] if is_name(byte) && !byte.is_ascii_digit() => self.word(),
            _ => self.take(1),
        }
        Ok(None)
    }

    /// Takes a word, and follows the bodies of SQL functions as `psql` does: between BEGIN and END.
    fn word(&mut self) {
        let length = self.rest().iter().position(|&byte| !is_name(byte)).unwrap_or(self.rest().len());
        let word = String::from_utf8_lossy(&self.rest()[..length]).to_ascii_lowercase();
        self.take(length);
        // CREATE OR REPLACE FUNCTION are four.
        if self.names.len() < 4 {
            self.names.push(word.clone());
        }
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let is_routine = matches!(
            names[..],
            ["create", "function" | "procedure", ..] | ["create", "or", "replace", "function" | "procedure", ..]
        );
        if is_routine && self.parentheses == 0 {
            match word.as_str() {
                "begin" => self.bodies += 1,
                "case" if self.bodies > 0 => self.bodies += 1,
                "end" => self.bodies = self.bodies.saturating_sub(1),
                _ => {}
            }
        }
    }

    fn block_comment(&mut self) {
        let State::BlockComment(depth) = self.state else { return };
        let (change, bytes) = match *self.rest() {
            [b'/', b'*', ..] => (1, 2),
            [b'*', b'/', ..] => (-1, 2),
            _ => (0, 1),
        };
        if self.statement.is_empty() {
            self.place += bytes;
        } else {
            self.take(bytes);
        }
        let depth = depth.saturating_add_signed(change);
        self.state = if depth == 0 { State::Plain } else { State::BlockComment(depth) };
    }

    fn quoted(&mut self) {
        let State::Quoted { quote, escapes } = self.state else { return };
        let rest = self.rest();
        let place = if escapes { memchr::memchr2(quote, b'\\', rest) } else { memchr::memchr(quote, rest) };
        let Some(place) = place else { return self.take(usize::MAX - self.place) };
        let is_quote = rest[place] == quote;
        // A doubled quote, or whatever stands behind a backslash, is part of the text.
        let is_pair = !is_quote || rest.get(place + 1) == Some(&quote);
        self.take(place + 1 + usize::from(is_pair));
        if !is_pair {
            self.state = State::Plain;
        }
    }

    fn dollar(&mut self) {
        let State::Dollar(tag) = &self.state else { return };
        let tag = tag.clone();
        let rest = self.rest();
        let found = rest.windows(tag.len()).position(|window| window == tag.as_slice());
        match found {
            Some(place) => {
                self.take(place + tag.len());
                self.state = State::Plain;
            }
            None => self.take(usize::MAX - self.place),
        }
    }

    /// `E'…'` takes backslashes for escapes.
    fn ends_with_escape_prefix(&self) -> bool {
        match self.statement[..] {
            [b'e' | b'E'] => true,
            [.., before, b'e' | b'E'] => !is_name(before) && before != b'$',
            _ => false,
        }
    }

    fn ends_in_name(&self) -> bool {
        self.statement.last().is_some_and(|&byte| is_name(byte))
    }

    fn statement_done(&mut self) -> Result<Part, ScriptError> {
        let line = self.begun;
        let bytes = std::mem::take(&mut self.statement);
        self.names.clear();
        let text = String::from_utf8(bytes).map_err(|_| ScriptError::NotText { line })?;
        let takes_data = copies_in(&text);
        if takes_data {
            self.state = State::Data;
        }
        Ok(Part::Statement { text, line, takes_data })
    }

    /// A backslash outside of quotes is a command for `psql`.
    fn command(&mut self) -> Result<Option<Part>, ScriptError> {
        let line = self.line;
        let text = String::from_utf8_lossy(self.rest()).into_owned();
        let mut parts = text.split_whitespace();
        let command = parts.next().unwrap_or_default().to_owned();
        if !self.statement.is_empty() {
            return Err(ScriptError::Command { line, command });
        }
        self.place = self.pending.len();
        match command.as_str() {
            "\\." => Ok(Some(Part::DataEnd)),
            // What pg_dump writes since 2025 to keep psql from obeying what a row could hold; nothing is obeyed here anyway.
            "\\restrict" | "\\unrestrict" => Ok(None),
            "\\connect" | "\\c" => {
                let words = words(&text[command.len()..], usize::MAX);
                // pg_dump writes `-reuse-previous=on "dbname='x'"` where a plain name would not do.
                let name = words.iter().rev().find_map(Word::name).unwrap_or_default();
                let name = name.strip_prefix("dbname='").and_then(|name| name.strip_suffix('\'')).unwrap_or(&name);
                Ok(Some(Part::Connect { database: name.replace("\\'", "'") }))
            }
            _ => Err(ScriptError::Command { line, command }),
        }
    }
}

/// Whether data follows the statement.
fn copies_in(statement: &str) -> bool {
    let words = words(statement, usize::MAX);
    let is_copy = words.first().is_some_and(|word| word.is("COPY"));
    is_copy && words.windows(2).any(|pair| pair[0].is("FROM") && pair[1].is("STDIN"))
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

/// `$$` or `$tag$` at the beginning.
fn dollar_tag(text: &[u8]) -> Option<Vec<u8>> {
    let end = text[1..].iter().position(|&byte| !is_name(byte))? + 1;
    let is_tag = text[end] == b'$' && !text[1].is_ascii_digit();
    is_tag.then(|| text[..=end].to_vec())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    fn read(text: &[u8]) -> Result<Vec<Part>, ScriptError> {
        let mut script = Script::new(text);
        std::iter::from_fn(|| script.next_part().transpose()).collect()
    }

    fn statements(text: &str) -> Vec<String> {
        let parts = read(text.as_bytes()).unwrap();
        parts
            .into_iter()
            .map(|part| match part {
                Part::Statement { text, .. } => text,
                other => format!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn semicolons_end_statements_only_where_they_do() {
        let whole = [
            "SELECT 'a;b', E'it\\';', \"x;\"\"y\"",
            "DO $x$ ; $ $$ ; $x$",
            "CREATE RULE r AS ON INSERT TO t DO (DELETE FROM t; SELECT 1)",
            "CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END",
            "SELECT a$b$ FROM t /* ; /* ; */ ' */",
            "SELECT 'no \\'",
            "SELECT e'a' 'b\nc;'",
            "INSERT INTO t VALUES (U&'d\\0061', B'1', $1$2$)",
        ];
        let text =
            whole.iter().fold("\u{feff}-- one; two\n/* three; */".to_owned(), |text, one| format!("{text}\n {one} ; ; -- x"));
        assert_eq!(statements(&text).iter().map(|one| one.trim_end()).collect::<Vec<_>>(), whole);
    }

    #[test]
    fn data_is_data_whatever_it_looks_like() {
        let text = "COPY public.\"t;\" (a) FROM stdin;\n;\n\\! rm\n'\n\\\\.\n\\.\n\nSELECT 1;\nCOPY e FROM STDIN WITH (FORMAT csv);\n\\.\n";
        let parts = read(text.as_bytes()).unwrap();
        let expected = [
            Part::Statement { text: "COPY public.\"t;\" (a) FROM stdin".to_owned(), line: 1, takes_data: true },
            Part::Data(b";\n\\! rm\n'\n\\\\.\n".to_vec()),
            Part::DataEnd,
            Part::Statement { text: "SELECT 1".to_owned(), line: 8, takes_data: false },
            Part::Statement { text: "COPY e FROM STDIN WITH (FORMAT csv)".to_owned(), line: 9, takes_data: true },
            Part::DataEnd,
        ];
        assert_eq!(parts, expected);
    }

    #[test]
    fn commands_for_psql_are_never_obeyed() {
        assert_eq!(statements("\\restrict abc\nSELECT 1;\n\\unrestrict abc\n"), ["SELECT 1"]);
        for (text, expected) in [("\\! rm -rf /\n", "\\!"), ("SELECT 1 \\gexec\n", "\\gexec"), ("\\i other.sql\n", "\\i")] {
            let error = read(text.as_bytes()).unwrap_err();
            assert!(matches!(&error, ScriptError::Command { line: 1, command } if command == expected), "{error}");
        }
        let parts = read(b"\\connect \"My db\"\n\\connect -reuse-previous=on \"dbname='x'\"\n").unwrap();
        let names: Vec<String> = ["My db", "x"].map(str::to_owned).into();
        assert_eq!(parts, names.into_iter().map(|database| Part::Connect { database }).collect::<Vec<_>>());
    }

    #[test]
    fn a_cut_script_is_told() {
        let text = "--\n-- PostgreSQL database dump\n--\n\nSELECT 'x';\nCOPY t (a) FROM stdin;\n1\n2\n\\.\n\n--\n-- PostgreSQL database dump complete\n--\n\n";
        assert_eq!(read(text.as_bytes()).unwrap().len(), 4);
        let whole = text.find("complete").unwrap() + "complete".len();
        // The first lines alone are no dump yet.
        let begun = text.find("dump\n").unwrap() + "dump".len();
        for length in begun..whole {
            assert!(read(&text.as_bytes()[..length]).is_err(), "cut to {length}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(prop_oneof![Just(b'\''), Just(b'$'), Just(b';'), Just(b'\\'), Just(b'\n'), Just(b'('), any::<u8>()], 0..200)) {
            let _ = read(&bytes);
        }

        /// A quoted text never ends the statement that it is in.
        #[test]
        fn quoting_holds(inner in "[a-z;'\"$\\\\\n(/*-]{0,20}") {
            let literal = format!("SELECT '{}'", inner.replace('\'', "''"));
            prop_assert_eq!(statements(&format!("{literal};SELECT 2;")), [literal, "SELECT 2".to_owned()]);
            let dollar = format!("SELECT $q${}$q$", inner.replace('$', ""));
            prop_assert_eq!(statements(&format!("{dollar};SELECT 2;")), [dollar, "SELECT 2".to_owned()]);
        }
    }
}
