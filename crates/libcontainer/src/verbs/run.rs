//! `run`: create, start, and in the foreground wait and delete.

use std::os::fd::AsFd as _;

use anyhow::Context as _;
use libnamespaces::Child;

use crate::notify_socket::ServiceManager;
use crate::request::{self, Context};
use crate::runtime::end::{poststart, remove_reaped, take_away};
use crate::runtime::{Console, Kind, PidfdSocket, Waits, bring_up, prepare};
use crate::wait::Signals;
use crate::{Error, Result};

/// Makes a container and runs its program. In the foreground the program's exit code, or 128 and
/// the signal that ended it; detached, zero as soon as it runs.
///
/// # Errors
/// Those of `create` and `start`. Nothing is left behind.
pub fn run(context: &Context, request: &request::Run) -> Result<u8> {
    let detach = request.create.console.detach;
    let prepared = prepare::container(context, &request.create)?;
    if !detach && !request.no_subreaper {
        prctl::set_child_subreaper(true)
            .map_err(rustix::io::Errno::from_raw_os_error)
            .context("become a child subreaper: prctl")?;
    }
    let mut console = Console::open(&request.create.console)?;
    let pidfd_socket = request.create.pidfd_socket.as_deref();
    let mut pidfd_socket = PidfdSocket::open(pidfd_socket, Kind::Init)?;
    let manager = request.create.notify.as_ref().map(ServiceManager::connect).transpose()?;
    // From here on a signal undoes what has been made, and when the program runs, it is the program's.
    let signals = Signals::block()?;
    let mut readiness = None;
    let waiting = bring_up(context, &request.create, &prepared, Waits::OnChannel, &signals)?;
    let container = waiting.finish(context.warn, |ready| {
        ready.show(&mut console, prepared.plan.terminal())?;
        ready.hand_over(&mut pidfd_socket)?;
        // It is there before the program is.
        readiness =
            manager.map(|manager| manager.listen(ready.pending.directory()?)).transpose()?;
        ready.start()
    })?;
    poststart(context, container.directory, &container.state, Some(&signals))?;
    if let Some(readiness) = readiness.and_then(|readiness| console.hear(readiness)) {
        let Child { pid, pidfd } = &container.child;
        readiness.wait(Some(pidfd.as_fd()), *pid, Some(&signals)).or_else(|failed| {
            take_away(context, &container.state, Some(&signals))?;
            Err(Error::from(failed))
        })?;
    }
    let code = console.wait(&container.child, &signals)?;
    if !detach && !request.keep {
        remove_reaped(context, &container.state, Some(&signals))?;
    }
    Ok(code)
}
