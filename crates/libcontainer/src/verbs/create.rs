//! `create`.

use crate::Result;
use crate::request::{self, Context};
use crate::runtime::{Console, Kind, PidfdSocket, Waits, bring_up, prepare};
use crate::wait::Signals;

/// Makes a container and leaves its init waiting for `start` (runtime-spec, runtime.md, "Create").
///
/// # Errors
/// What the config gets wrong, all of it, or what the machine refused. Nothing is left behind.
pub fn create(context: &Context, request: &request::Create) -> Result<()> {
    let prepared = prepare::container(context, request)?;
    let mut console = Console::open(&request.console)?;
    let mut pidfd_socket = PidfdSocket::open(request.pidfd_socket.as_deref(), Kind::Init)?;
    // From here on a signal undoes what has been made.
    let signals = Signals::block()?;
    let waiting = bring_up(context, request, &prepared, Waits::ForStart, &signals)?;
    waiting.finish(context.warn, |ready| {
        ready.show(&mut console, prepared.plan.terminal())?;
        ready.hand_over(&mut pidfd_socket)?;
        ready.proceed()
    })?;
    Ok(())
}
