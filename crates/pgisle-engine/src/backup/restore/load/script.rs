//! Dumps as scripts, in parts: a script as it is, or what `pg_restore` makes of an archive.

use std::fs;
use std::io::{self, BufReader, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use pgisle_core::backup::script::{Part, Script, ScriptError};
use tokio::sync::mpsc;

use crate::backup::restore::error::RestoreError;
use crate::backup::restore::input::{Stream, decoded};
use crate::local::Installation;

/// How many parts wait for the server: enough that neither side waits for the other.
const PARTS_WAITING: usize = 16;

pub(super) type Parts = mpsc::Receiver<Result<Part, RestoreError>>;

/// A `pg_restore` that can read the archive: best of the server's version, else the next newer one.
pub(super) async fn find_program((_, minor): (u8, u8), server: u32) -> Result<Installation, RestoreError> {
    // From `pg_backup_archiver.h`: 1.16 came with 17, 1.15 with 16; older ones are read by all that pgisle supports.
    let needed = match minor {
        16.. => 17,
        15 => 16,
        _ => 0,
    };
    let mut fitting: Vec<Installation> = Vec::new();
    let mut seen = Vec::new();
    for found in Installation::find_all().await {
        seen.push(found.version.clone());
        if found.major >= needed && crate::process::is_program(&found.program("pg_restore")) {
            fitting.push(found);
        }
    }
    fitting.sort_by_key(|found| (found.major < server, found.major.abs_diff(server)));
    fitting.into_iter().next().ok_or_else(|| {
        let there = if seen.is_empty() { "none".to_owned() } else { seen.join(", ") };
        RestoreError::Tools { detail: format!("It needs version {} or later. Found: {there}.", needed.max(15)) }
    })
}

/// Reads a script in a thread of its own.
pub(super) fn read_script(name: String, stream: Stream) -> Parts {
    let (sender, parts) = mpsc::channel(PARTS_WAITING);
    tokio::task::spawn_blocking(move || {
        let opened = decoded(stream).map_err(|source| RestoreError::Read { name: name.clone(), source });
        if let Err(error) = opened.and_then(|stream| cut(&name, Script::new(stream), &sender)) {
            // Nobody listens any more when the other side has failed.
            drop(sender.blocking_send(Err(error)));
        }
    });
    parts
}

/// Has `pg_restore` make a script of an archive, with a thread to feed it and one to cut what it says.
pub(super) fn read_archive(name: String, stream: Stream, program: &Installation, restored: &[i64]) -> Result<Parts, RestoreError> {
    let list = List::write(restored).map_err(|source| RestoreError::Read { name: name.clone(), source })?;
    let invocation = program.invocation("pg_restore").arguments(["--file=-", "--no-owner", "--no-tablespaces", "--use-list"]);
    let (input, mut stdin) = io::pipe().map_err(|source| RestoreError::Read { name: name.clone(), source })?;
    let (program, stdout) = invocation.argument(list.path()).stream(Some(input))?;
    let fed = std::thread::spawn(move || {
        // The program gets the bare archive, whatever it lay in.
        decoded(stream).and_then(|mut stream| match io::copy(&mut stream, &mut stdin) {
            // A program that ends early says by its exit status whether that is a failure.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
            copied => copied,
        })
    });
    let (sender, parts) = mpsc::channel(PARTS_WAITING);
    tokio::task::spawn_blocking(move || {
        let outcome = cut(&name, Script::new(BufReader::with_capacity(1 << 18, stdout)), &sender);
        // Its output is closed by now, so it ends, if only because nobody wants it. Why it ended early says more than that it did.
        let ended = program.wait();
        drop(list);
        let fed = match fed.join() {
            Ok(Ok(_bytes)) => Ok(()),
            Ok(Err(source)) => Err(RestoreError::Read { name, source }),
            Err(_panicked) => Err(RestoreError::Stopped),
        };
        if let Err(error) = fed.and(ended.map_err(RestoreError::Process)).and(outcome) {
            drop(sender.blocking_send(Err(error)));
        }
    });
    Ok(parts)
}

/// Hands a script on in parts, as long as somebody wants them.
fn cut(
    name: &str,
    mut script: Script<impl io::BufRead>,
    sender: &mpsc::Sender<Result<Part, RestoreError>>,
) -> Result<(), RestoreError> {
    loop {
        let part = script.next_part().map_err(|source| match source {
            ScriptError::Read(source) => RestoreError::Read { name: name.to_owned(), source },
            source => RestoreError::Script { name: name.to_owned(), source },
        })?;
        let Some(part) = part else { return Ok(()) };
        if sender.blocking_send(Ok(part)).is_err() {
            return Ok(());
        }
    }
}

/// The entries to restore, in a file of its own: `pg_restore` takes the list from nowhere else.
struct List {
    folder: PathBuf,
}

impl List {
    fn write(restored: &[i64]) -> io::Result<Self> {
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random).map_err(|_| io::Error::other("the system gives no random bytes"))?;
        let folder = std::env::temp_dir().join(format!("pgisle-restore-{:016x}", u64::from_ne_bytes(random)));
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let list = Self { folder };
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(list.path())?;
        let lines = restored.iter().fold(String::new(), |lines, number| lines + &number.to_string() + ";\n");
        file.write_all(lines.as_bytes())?;
        Ok(list)
    }

    fn path(&self) -> PathBuf {
        Path::new(&self.folder).join("list")
    }
}

impl Drop for List {
    fn drop(&mut self) {
        // It holds numbers; should it stay, nothing is given away.
        let _left = fs::remove_dir_all(&self.folder);
    }
}
