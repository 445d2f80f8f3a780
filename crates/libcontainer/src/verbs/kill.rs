//! `kill`.

use rustix::io::Errno;

use crate::request::Context;
use crate::state::{self, State, Status};
use crate::{Error, Result};

const KILL: i32 = rustix::process::Signal::KILL.as_raw();

/// Sends `signal` to the container's first process, or with `all` to every process of it
/// (runtime-spec, runtime.md, "Kill").
///
/// # Errors
/// No such container, or it does not run. With `all` a stopped container is fine.
pub fn kill(context: &Context, id: &str, signal: i32, all: bool) -> Result<()> {
    let (directory, state) = state::load(context, id)?;
    let status = state.status(&directory);
    if all {
        return signal_all(&state, signal);
    }
    let init = match (status, state.init) {
        (Status::Created | Status::Running | Status::Paused, Some(init)) => init,
        _ => return Err(Error::not_running()),
    };
    let pidfd = init.open()?;
    // Asked while init lives, which may be the proof.
    let own_cgroup = if signal == KILL { state.own_cgroup()? } else { None };
    match libsyscall::signal::send(std::os::fd::AsFd::as_fd(&pidfd), signal) {
        Ok(()) => {}
        Err(Errno::SRCH) => return Err(Error::not_running()),
        Err(errno) => {
            return Err(anyhow::Error::new(errno)
                .context(format!("signal {signal}: pidfd_send_signal"))
                .into());
        }
    }
    if signal != KILL {
        return Ok(());
    }
    // The others outlive init where it is not the first of its pid namespace, and a frozen process dies
    // when it is let go.
    own_cgroup.map_or(Ok(()), |cgroup| Ok(cgroup.kill()?))
}

fn signal_all(state: &State, signal: i32) -> Result<()> {
    let Some(manager) = state.own_cgroup()? else { return Ok(()) };
    if signal == KILL {
        return Ok(manager.kill()?);
    }
    Ok(manager.signal(signal)?)
}
