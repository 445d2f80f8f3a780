//! Runs hooks (runtime-spec, config.md, "POSIX-platform Hooks").

use std::ffi::CString;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use libsyscall::clone::{Cloned, Flags, clone3, exit_now};
use rustix::fs::MemfdFlags;
use rustix::process::{Signal, WaitId, WaitIdOptions, WaitIdStatus, pidfd_send_signal, waitid};

use crate::plan::Hook;
use crate::wait::{self, Signals};

/// The most of a hook's output that an error shows, in bytes.
const SHOWN_OUTPUT: usize = 2048;

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
        run_one(hook, setting).with_context(|| format!("hook {} {:?}", hook.pointer, hook.path))
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
    let mut output = memory_file(c"aril-hook-output")?;
    let pidfd = match clone3(Flags::NONE, None).context("clone3")? {
        Cloned::Parent { pidfd, .. } => pidfd,
        Cloned::Child(_) => {
            let error = execute(hook, input.as_fd(), output.as_fd(), setting);
            let _ = writeln!(output, "{error:#}");
            exit_now(127)
        }
    };
    let outcome = wait(&pidfd, hook.timeout, setting.signals)?;
    match outcome {
        Outcome::Exited(0) => Ok(()),
        outcome => bail!("{outcome}{}", printed(&mut output)),
    }
}

/// In the child: standard streams, then the program. Returns only what failed.
fn execute(
    hook: &Hook,
    input: std::os::fd::BorrowedFd<'_>,
    output: std::os::fd::BorrowedFd<'_>,
    setting: Setting<'_>,
) -> anyhow::Error {
    if let Some(directory) = setting.directory {
        // A bundle that is gone must not keep its poststop hooks from running.
        let _ = rustix::process::chdir(directory);
    }
    let prepared = rustix::stdio::dup2_stdin(input)
        .and_then(|()| rustix::stdio::dup2_stdout(output))
        .and_then(|()| rustix::stdio::dup2_stderr(output))
        .and_then(|()| libsyscall::descriptors::close_on_exec_from(3))
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
) -> anyhow::Result<Outcome> {
    let deadline = timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds.into()));
    let in_time = match signals {
        Some(signals) => signals.until_readable(pidfd.as_fd(), deadline),
        None => wait::until_readable(pidfd.as_fd(), deadline).context("poll"),
    };
    if !matches!(in_time, Ok(true)) {
        let _ = pidfd_send_signal(pidfd, Signal::KILL);
    }
    let status = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).context("waitid")?;
    Ok(match (in_time?, timeout) {
        (false, Some(seconds)) => Outcome::TimedOut(seconds),
        _ => ended(status.as_ref()),
    })
}

fn ended(status: Option<&WaitIdStatus>) -> Outcome {
    let signal = status.and_then(WaitIdStatus::terminating_signal);
    match (status.and_then(WaitIdStatus::exit_status), signal) {
        (Some(code), _) => Outcome::Exited(code),
        (None, Some(signal)) => Outcome::Signaled(signal),
        (None, None) => Outcome::Signaled(0),
    }
}

/// What the hook printed, as the tail of an error message.
fn printed(output: &mut std::fs::File) -> String {
    let mut bytes = Vec::new();
    let read =
        output.rewind().and_then(|()| output.take(SHOWN_OUTPUT as u64).read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(&bytes);
    match (read, text.trim()) {
        (Ok(_), text) if !text.is_empty() => format!(": {}", text.replace('\n', "; ")),
        _ => String::new(),
    }
}

fn memory_file(name: &std::ffi::CStr) -> anyhow::Result<std::fs::File> {
    Ok(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC).context("memfd_create")?.into())
}
