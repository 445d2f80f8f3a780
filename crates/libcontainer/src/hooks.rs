//! Runs hooks (runtime-spec, config.md, "POSIX-platform Hooks").

use std::ffi::CString;
use std::io::{PipeReader, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use libsyscall::clone::{Cloned, ClonedChild, Flags, clone3, exit_now};
use rustix::fs::MemfdFlags;
use rustix::process::{Signal, WaitId, WaitIdOptions, WaitIdStatus, pidfd_send_signal, waitid};

use crate::error::Property;
use crate::plan::Hook;
use crate::wait::{self, Signals};

/// The most of a hook's output that an error shows, in bytes.
const SHOWN_OUTPUT: usize = 2048;

/// What a pipe holds (pipe(7)): one read(2) gets all of it.
const PIPE_SIZE: usize = 64 << 10;

/// What hooks are run with.
#[derive(Clone, Copy)]
pub(crate) struct Setting<'a> {
    /// The state, on their standard input.
    pub state: &'a [u8],
    /// Their working directory, if it is not the caller's.
    pub directory: Option<&'a Path>,
    /// The signals that end them, where such wait to be read.
    pub signals: Option<&'a Signals>,
    /// What confines them: the last that is done before they are executed.
    pub confine: Option<&'a dyn Fn() -> anyhow::Result<()>>,
}

/// Runs `hooks` in order; the first failure ends it.
///
/// # Errors
/// The hook that failed, with what it printed.
pub(crate) fn run(hooks: &[Hook], setting: Setting<'_>) -> anyhow::Result<()> {
    hooks.iter().try_for_each(|hook| {
        run_one(hook, setting).with_context(|| {
            let text = format!("hook {} {:?}", hook.pointer, hook.path);
            Property::new(hook.pointer.clone(), text)
        })
    })
}

/// Runs `hooks` in order, all of them, and says which failed.
pub(crate) fn run_all(hooks: &[Hook], setting: Setting<'_>, warn: fn(&str)) {
    for hook in hooks {
        if let Err(error) = run(std::slice::from_ref(hook), setting) {
            warn(&format!("{error:#}"));
        }
    }
}

fn run_one(hook: &Hook, setting: Setting<'_>) -> anyhow::Result<()> {
    let mut input = memory_file(c"aril-hook-state")?;
    input.write_all(setting.state).context("write the state")?;
    input.rewind().context("write the state")?;
    let (output, printing) = std::io::pipe().context("pipe")?;
    let pidfd = match clone3(Flags::NONE, None).context("clone3")? {
        Cloned::Parent { pidfd, .. } => pidfd,
        Cloned::Child(itself) => {
            let error = execute(&itself, hook, [input.as_fd(), printing.as_fd()], setting);
            let _ = writeln!(&printing, "{error:#}");
            exit_now(127)
        }
    };
    drop(printing);
    let mut output = Output::new(output)?;
    let outcome = wait(&pidfd, hook.timeout, setting.signals, &mut output)?;
    match outcome {
        Outcome::Exited(0) => Ok(()),
        outcome => bail!("{outcome}{output}"),
    }
}

/// In the child: standard streams, which are all that is left, then the program. Returns only what failed.
fn execute(
    itself: &ClonedChild,
    hook: &Hook,
    [input, output]: [BorrowedFd<'_>; 2],
    setting: Setting<'_>,
) -> anyhow::Error {
    if let Some(directory) = setting.directory {
        // A bundle that is gone must not keep its poststop hooks from running.
        let _ = rustix::process::chdir(directory);
    }
    let prepared = rustix::stdio::dup2_stdin(input)
        .and_then(|()| rustix::stdio::dup2_stdout(output))
        .and_then(|()| rustix::stdio::dup2_stderr(output))
        .and_then(|()| itself.close_all_but(3, &[output]))
        .and_then(|()| libsyscall::signal::reset());
    if let Err(errno) = prepared {
        return anyhow::Error::new(errno).context("prepare the hook's streams");
    }
    if let Some(Err(error)) = setting.confine.map(|confine| confine()) {
        return error;
    }
    let (path, args, env): (&CString, &[CString], &[CString]) = (&hook.path, &hook.args, &hook.env);
    match nix::unistd::execve(path, args, env) {
        Ok(never) => match never {},
        Err(errno) => {
            let errno = rustix::io::Errno::from_raw_os_error(errno as i32);
            anyhow::Error::new(errno).context("execve")
        }
    }
}

/// How a hook ended.
enum Outcome {
    Exited(i32),
    Signaled(i32),
    TimedOut(u32),
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited(code) => write!(formatter, "exit status {code}"),
            Self::Signaled(signal) => write!(formatter, "killed by signal {signal}"),
            Self::TimedOut(seconds) => write!(formatter, "killed after its timeout of {seconds} s"),
        }
    }
}

fn wait(
    pidfd: &OwnedFd,
    timeout: Option<u32>,
    signals: Option<&Signals>,
    output: &mut Output,
) -> anyhow::Result<Outcome> {
    let deadline = timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds.into()));
    let in_time = until_ended(pidfd, deadline, signals, output);
    if !matches!(in_time, Ok(true)) {
        let _ = pidfd_send_signal(pidfd, Signal::KILL);
    }
    let status = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).context("waitid")?;
    output.take();
    Ok(match (in_time?, timeout) {
        (false, Some(seconds)) => Outcome::TimedOut(seconds),
        _ => ended(status.as_ref()),
    })
}

/// Waits for the hook's end, and takes what it prints meanwhile. Whether it ended in time.
fn until_ended(
    pidfd: &OwnedFd,
    deadline: Option<Instant>,
    signals: Option<&Signals>,
    output: &mut Output,
) -> anyhow::Result<bool> {
    loop {
        let fds = [Some(pidfd.as_fd()), output.as_fd()];
        let [has_ended, prints] = wait::until_one_is_readable(fds, deadline, signals)?;
        if has_ended || !prints {
            return Ok(has_ended);
        }
        output.take();
        // One that prints without end is neither exempt from its timeout nor from signals.
        signals.map_or(Ok(()), Signals::check)?;
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(false);
        }
    }
}

fn ended(status: Option<&WaitIdStatus>) -> Outcome {
    let signal = status.and_then(WaitIdStatus::terminating_signal);
    match (status.and_then(WaitIdStatus::exit_status), signal) {
        (Some(code), _) => Outcome::Exited(code),
        (None, Some(signal)) => Outcome::Signaled(signal),
        (None, None) => Outcome::Signaled(0),
    }
}

/// What a hook prints: the beginning is kept for an error message, the rest is read and forgotten, so that it takes no
/// memory and keeps no hook from going on. Who prints after the hook has ended writes to a broken pipe.
struct Output {
    pipe: Option<PipeReader>,
    shown: Vec<u8>,
}

impl Output {
    fn new(pipe: PipeReader) -> anyhow::Result<Self> {
        rustix::io::ioctl_fionbio(&pipe, true).context("ioctl FIONBIO")?;
        Ok(Self { pipe: Some(pipe), shown: Vec::new() })
    }

    /// The end of the pipe, until nobody has the other one.
    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(PipeReader::as_fd)
    }

    /// Takes what is there.
    fn take(&mut self) {
        let mut buffer = [0; PIPE_SIZE];
        let Some(pipe) = &mut self.pipe else { return };
        match pipe.read(&mut buffer) {
            Ok(length) if length > 0 => {
                let room = SHOWN_OUTPUT.saturating_sub(self.shown.len());
                self.shown.extend(&buffer[..length.min(room)]);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Ok(_) | Err(_) => self.pipe = None,
        }
    }
}

/// As the tail of an error message.
impl std::fmt::Display for Output {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = String::from_utf8_lossy(&self.shown);
        match text.trim() {
            "" => Ok(()),
            text => write!(formatter, ": {}", text.replace('\n', "; ")),
        }
    }
}

fn memory_file(name: &std::ffi::CStr) -> anyhow::Result<std::fs::File> {
    Ok(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC).context("memfd_create")?.into())
}
