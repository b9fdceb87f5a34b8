//! A program whose input and output flow while it runs.

use std::io::{self, Read};
use std::process::{Child, ChildStdin, ChildStdout, ExitStatus, Stdio};
use std::thread::JoinHandle;

use rustix::process::Pid;

use super::{Group, Invocation, ProcessError, tail};

/// How much of a program's standard error is kept; the end of it is what matters.
const STDERR_BYTES_MAX: usize = 1 << 16;

/// A program that runs, with pipes. It is killed, with all that it started, when this value is dropped before it has ended.
pub(crate) struct Piped {
    program: String,
    child: Child,
    stderr: Option<JoinHandle<Vec<u8>>>,
    group: Group,
}

impl Invocation {
    /// Starts the program with pipes for its input and output. What it says on standard error is kept for [`Piped::wait`]. The time
    /// limit does not apply: whoever reads the output has one.
    pub(crate) fn start_piped(mut self) -> Result<(Piped, ChildStdin, ChildStdout), ProcessError> {
        let program = self.name();
        let failed = |source| ProcessError::Start { program: program.clone(), source };
        let mut command = self.command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let group = Group(i32::try_from(child.id()).ok().and_then(Pid::from_raw));
        let missing = || failed(io::ErrorKind::BrokenPipe.into());
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let stderr = child.stderr.take().ok_or_else(missing)?;
        let stderr =
            std::thread::Builder::new().name(format!("{program} stderr")).spawn(move || last_bytes(stderr)).map_err(failed)?;
        Ok((Piped { program, child, stderr: Some(stderr), group }, stdin, stdout))
    }
}

impl Piped {
    /// Waits for the program's end. Anything but success is an error.
    pub(crate) fn wait(mut self) -> Result<(), ProcessError> {
        let program = self.program.clone();
        let status = self.child.wait().map_err(|source| ProcessError::Pipe { program: program.clone(), source })?;
        self.group.0 = None;
        let said = self.stderr.take().and_then(|reader| reader.join().ok()).unwrap_or_default();
        if ExitStatus::success(&status) {
            return Ok(());
        }
        Err(ProcessError::Failed { program, status, stderr_tail: tail(&said) })
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        if self.group.0.is_some() {
            let _gone = self.child.kill();
            let _reaped = self.child.wait();
        }
    }
}

fn last_bytes(mut input: impl Read) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count) = input.read(&mut buffer) {
        if count == 0 {
            break;
        }
        kept.extend_from_slice(&buffer[..count]);
        if kept.len() > STDERR_BYTES_MAX {
            kept.drain(..kept.len() - STDERR_BYTES_MAX);
        }
    }
    kept
}
