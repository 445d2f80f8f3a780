//! The end of a container, and the hooks that belong to it.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Signal, pidfd_send_signal};

use crate::request::Context;
use crate::state::{State, StateDirectory, Status};
use crate::{Error, ErrorKind, Result, hooks, wait};

/// How long a killed process may take to die before that is an error.
const DEATH: Duration = Duration::from_secs(10);

/// Ends and removes the container, then runs its poststop hooks, whose failures are only warned
/// about (runtime-spec, runtime.md, "Lifecycle", steps 12 and 13).
pub(crate) fn destroy(directory: StateDirectory, state: &State, warn: fn(&str)) -> Result<()> {
    let manager = libcgroups::manager(&state.cgroup);
    if let Some(init) = state.init
        && let Ok(pidfd) = init.open()
    {
        let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        manager.kill()?;
        if !wait::until_readable(pidfd.as_fd(), Some(Instant::now() + DEATH)).context("poll")? {
            let text = format!("the container's init (pid {}) does not die of SIGKILL", init.pid);
            return Err(Error::new(ErrorKind::System, text));
        }
    } else {
        manager.kill()?;
    }
    manager.remove()?;
    directory.remove()?;
    let document = state.hook_document(Status::Stopped, 0);
    hooks::run_all(&state.hooks.poststop, &document, Some(&state.bundle), warn);
    Ok(())
}

/// Runs the poststart hooks; a failure stops the container and takes it away.
pub(crate) fn poststart(context: &Context, directory: StateDirectory, state: &State) -> Result<()> {
    if state.hooks.poststart.is_empty() {
        return Ok(());
    }
    let pid = state.init.map_or(0, |init| init.pid);
    let document = state.hook_document(Status::Running, pid);
    hooks::run(&state.hooks.poststart, &document, Some(&state.bundle)).or_else(|failed| {
        destroy(directory, state, context.warn)?;
        Err(failed.into())
    })
}
