//! `kill`.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use libcgroups::CgroupManager;
use rustix::io::Errno;

use crate::request::{self, Context, Signal, Wait};
use crate::state::{self, Now, State, StateDirectory, Status};
use crate::{Error, ErrorKind, Result, wait};

const KILL: i32 = rustix::process::Signal::KILL.as_raw();

/// Sends the signal to the container's first process, or with `all` to every process of it
/// (runtime-spec, runtime.md, "Kill"). `SIGKILL` is for what has outlived the first process, too. Then it waits, if it
/// is to, for the end of the first process.
///
/// # Errors
/// No such container, or it does not run. With `all` a stopped container is fine. Or it has not ended in time.
pub fn kill(context: &Context, request: &request::Kill) -> Result<()> {
    let (directory, state) = state::load(context, &request.id)?;
    let number = match request.signal {
        Signal::Number(number) => number,
        Signal::Annotated(number) => number(&state.annotations)?,
    };
    // Found before the signal: what has ended by it is not to be looked for.
    let awaited = match (request.wait, state.init) {
        (Wait::Not, _) | (_, None) => None,
        (_, Some(init)) => init.living()?,
    };
    signal(&directory, &state, number, request.all)?;
    awaited.map_or(Ok(()), |init| wait_for_end(&init, number, request))
}

fn signal(directory: &StateDirectory, state: &State, signal: i32, all: bool) -> Result<()> {
    if all {
        return signal_all(state, signal);
    }
    let Now { status, init } = state.now(directory)?;
    // Asked while init lives, which may be the proof.
    let own_cgroup = if signal == KILL { state.own_cgroup()? } else { None };
    match (status, init) {
        (_, Some(init)) => send(&init, signal)?,
        (Status::Stopped, _) if has_processes(own_cgroup.as_deref())? => {}
        _ => return Err(Error::not_running()),
    }
    // The others outlive init where it is not the first of its pid namespace, and a frozen process dies
    // when it is let go.
    own_cgroup.map_or(Ok(()), |cgroup| Ok(cgroup.kill()?))
}

fn wait_for_end(init: &OwnedFd, signal: i32, request: &request::Kill) -> Result<()> {
    let seconds = match request.wait {
        Wait::Seconds(seconds) => Some(seconds),
        Wait::Not | Wait::ForEver => None,
    };
    let deadline = seconds.and_then(|all| Instant::now().checked_add(Duration::from_secs(all)));
    if wait::until_readable(init.as_fd(), deadline).context("poll")? {
        return Ok(());
    }
    let text = format!(
        "container {} got signal {signal} and has not ended in {} s (--timeout)",
        request.id,
        seconds.unwrap_or_default()
    );
    Err(Error::new(ErrorKind::Status, text))
}

fn send(init: &OwnedFd, signal: i32) -> Result<()> {
    match libsyscall::signal::send(init.as_fd(), signal) {
        Ok(()) => Ok(()),
        Err(Errno::SRCH) => Err(Error::not_running()),
        Err(errno) => Err(anyhow::Error::new(errno)
            .context(format!("signal {signal}: pidfd_send_signal"))
            .into()),
    }
}

fn has_processes(cgroup: Option<&dyn CgroupManager>) -> Result<bool> {
    Ok(match cgroup {
        Some(cgroup) => !cgroup.pids()?.is_empty(),
        None => false,
    })
}

/// Without a cgroup only the first process is known, and only the end of that reaches others: those of its pid namespace.
fn signal_all(state: &State, signal: i32) -> Result<()> {
    if let Err(no_cgroup) = state.require_a_cgroup() {
        return match state.init.map(|init| init.living()).transpose()?.flatten() {
            None => Ok(()),
            Some(init) if signal == KILL => send(&init, KILL),
            Some(_) => Err(no_cgroup),
        };
    }
    let Some(manager) = state.own_cgroup()? else { return Ok(()) };
    if signal == KILL {
        return Ok(manager.kill()?);
    }
    Ok(manager.signal(signal)?)
}
