//! A program whose output flows while it runs, read on a thread that may block.

use std::io::{self, PipeReader, Read};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use super::{Invocation, ProcessError, tail};

/// How much of a program's standard error is kept: the cause is at the end.
const STDERR_BYTES_MAX: usize = 1 << 16;

/// How much a program may write ahead: fewer turns between it and its reader. The most that Linux gives everyone.
#[cfg(target_os = "linux")]
const PIPE_BYTES: usize = 1 << 20;

/// A program that runs. It is killed, with all that it started, when this value or its [`Leash`] is dropped before it has ended.
#[derive(Debug)]
pub(crate) struct Streaming {
    program: String,
    child: Child,
    stderr: Option<JoinHandle<Vec<u8>>>,
    leash: Leash,
}

/// The program's process group, for as long as it runs. Dropping any of its clones kills it.
#[derive(Debug, Clone)]
pub(crate) struct Leash(Arc<Mutex<Option<Pid>>>);

impl Drop for Leash {
    fn drop(&mut self) {
        if let Some(pid) = *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            // It may be gone already, which is all that is wanted.
            let _gone = rustix::process::kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Invocation {
    /// Starts the program; its output is what is read from the pipe. Its input is nothing, or what comes through another pipe. What
    /// it says on standard error is kept for [`Streaming::wait`]. The time limit does not apply.
    pub(crate) fn stream(mut self, input: Option<PipeReader>) -> Result<(Streaming, ChildStdout), ProcessError> {
        let mut command = self.command();
        command.stdin(input.map_or_else(Stdio::null, Stdio::from)).stdout(Stdio::piped());
        let mut streaming = Streaming::spawn(self.name(), command)?;
        let stdout = streaming.child.stdout.take().ok_or_else(|| broken(&streaming.program))?;
        #[cfg(target_os = "linux")]
        // Where it may not be so large, it only takes more turns.
        let _smaller = rustix::pipe::fcntl_setpipe_size(&stdout, PIPE_BYTES);
        Ok((streaming, stdout))
    }
}

fn broken(program: &str) -> ProcessError {
    ProcessError::Start { program: program.to_owned(), source: io::ErrorKind::BrokenPipe.into() }
}

impl Streaming {
    fn spawn(program: String, mut command: std::process::Command) -> Result<Self, ProcessError> {
        let failed = |source| ProcessError::Start { program: program.clone(), source };
        let mut child = command.stderr(Stdio::piped()).spawn().map_err(failed)?;
        let leash = Leash(Arc::new(Mutex::new(i32::try_from(child.id()).ok().and_then(Pid::from_raw))));
        let stderr = child.stderr.take().ok_or_else(|| broken(&program))?;
        let stderr = std::thread::Builder::new().name(format!("{program}-errors")).spawn(move || end_of(stderr)).map_err(failed)?;
        Ok(Self { program, child, stderr: Some(stderr), leash })
    }

    /// What kills the program when it is dropped.
    pub(crate) fn leash(&self) -> Leash {
        self.leash.clone()
    }

    /// Waits for the program's end. Anything but success is an error.
    pub(crate) fn wait(mut self) -> Result<(), ProcessError> {
        let failed = |source| ProcessError::Pipe { program: self.program.clone(), source };
        let pid = *self.leash.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pid) = pid {
            // Its number stays its own until it is taken note of below, so that no leash kills another program.
            let ended = rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            ended.map_err(|error| failed(error.into()))?;
        }
        *self.leash.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let status = self.child.wait().map_err(failed)?;
        let said = self.stderr.take().and_then(|reader| reader.join().ok()).unwrap_or_default();
        if status.success() {
            return Ok(());
        }
        Err(ProcessError::Failed { program: self.program.clone(), status, stderr_tail: tail(&said) })
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        let is_running = self.leash.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(pid) = is_running {
            let _gone = rustix::process::kill_process_group(pid, Signal::KILL);
            let _reaped = self.child.wait();
        }
    }
}

fn end_of(mut input: impl Read) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = input.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..count]);
        if kept.len() > 2 * STDERR_BYTES_MAX {
            kept.drain(..kept.len() - STDERR_BYTES_MAX);
        }
    }
    kept
}
