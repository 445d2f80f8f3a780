//! `kill`.

use std::os::fd::{AsFd as _, OwnedFd};

use libcgroups::CgroupManager;
use rustix::io::Errno;

use crate::request::Context;
use crate::state::{self, Now, State, Status};
use crate::{Error, Result};

const KILL: i32 = rustix::process::Signal::KILL.as_raw();

/// Sends `signal` to the container's first process, or with `all` to every process of it
/// (runtime-spec, runtime.md, "Kill"). `SIGKILL` is for what has outlived the first process, too.
///
/// # Errors
/// No such container, or it does not run. With `all` a stopped container is fine.
pub fn kill(context: &Context, id: &str, signal: i32, all: bool) -> Result<()> {
    let (directory, state) = state::load(context, id)?;
    if all {
        return signal_all(&state, signal);
    }
    let Now { status, init } = state.now(&directory)?;
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

fn signal_all(state: &State, signal: i32) -> Result<()> {
    let Some(manager) = state.own_cgroup()? else { return Ok(()) };
    if signal == KILL {
        return Ok(manager.kill()?);
    }
    Ok(manager.signal(signal)?)
}
