//! `start`.

use anyhow::Context as _;
use libchannel::Channel;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::delete::destroy;
use crate::protocol::{Event, Reply, RuntimeEnd, Stage};
use crate::request::Context;
use crate::state::{self, START_SOCKET, State, StateDirectory, Status};
use crate::{Error, ErrorKind, Result, hooks, serve};

/// Runs the program of a created container (runtime-spec, runtime.md, "Start").
///
/// # Errors
/// The container is not in the status `created`, has no `process`, or a hook or the program
/// failed. After a failed hook the container is gone, as the spec's lifecycle says.
pub fn start(context: &Context, id: &str) -> Result<()> {
    let (directory, state) = state::load(context, id)?;
    check(&state, state.status(&directory))?;
    let channel = connect(&directory)?;
    // Whoever removes the socket is the one that starts: there is no second start.
    if !directory.unlink(START_SOCKET)? {
        return Err(already_running());
    }
    channel.send(&Reply::Start, &[]).context("init is gone")?;
    match channel.receive().context("hear from init")? {
        None => poststart(context, directory, &state),
        Some((Event::Failed(failure), _)) => {
            if failure.stage == Stage::StartHooks {
                destroy(directory, &state, context.warn)?;
            }
            Err(serve::render(&failure).into())
        }
        Some((event, _)) => Err(anyhow::anyhow!("init sent {event:?} when started").into()),
    }
}

fn check(state: &State, status: Status) -> Result<()> {
    match status {
        Status::Created if state.process.is_none() => Err(Error::new(
            ErrorKind::Status,
            "cannot start a container without a program: process property must not be empty in \
             config.json",
        )),
        Status::Created => Ok(()),
        Status::Stopped => {
            Err(Error::new(ErrorKind::Status, "cannot start a container that has stopped"))
        }
        Status::Running => Err(already_running()),
        status => Err(Error::new(
            ErrorKind::Status,
            format!("cannot start a container in the {} state", status.word()),
        )),
    }
}

fn already_running() -> Error {
    Error::new(ErrorKind::Status, "cannot start an already running container")
}

fn connect(directory: &StateDirectory) -> Result<RuntimeEnd> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .context("socket")?;
    let address =
        SocketAddrUnix::new(directory.short_path(START_SOCKET)).context("start socket: address")?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) => Ok(Channel::from_socket(socket)),
        Err(rustix::io::Errno::NOENT) => Err(already_running()),
        Err(errno) => {
            Err(anyhow::Error::new(errno).context("connect to the container's init").into())
        }
    }
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
