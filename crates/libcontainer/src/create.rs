//! `create`, and everything that `run` shares with it.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use libnamespaces::{Child, Spawned, spawn};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::files::{self, Files};
use crate::host::Host;
use crate::init::{self, Init};
use crate::pending::Pending;
use crate::plan::{self, Plan, Process, validate_id};
use crate::protocol::{self, Reply, RuntimeEnd};
use crate::request::{self, Context};
use crate::state::{self, START_SOCKET, State, StateDirectory};
use crate::{Error, ErrorKind, Result, console, hooks, serve, spec};

/// Makes a container and leaves its init waiting for `start` (runtime-spec, runtime.md, "Create").
///
/// # Errors
/// What the config gets wrong, all of it, or what the machine refused. Nothing is left behind.
pub fn create(context: &Context, request: &request::Create) -> Result<()> {
    let prepared = prepare(context, request)?;
    if prepared.terminal().is_some() && request.console_socket.is_none() {
        return Err(Error::new(
            ErrorKind::Status,
            "cannot allocate tty if runc will detach without setting console socket: process.terminal \
             is true, so create needs --console-socket",
        ));
    }
    let waiting = bring_up(context, request, &prepared, Waits::ForStart)?;
    waiting.finish(context.warn, |channel, terminal| {
        if let (Some(socket), Some(master)) = (&prepared.console, &terminal) {
            console::send(socket, master)?;
        }
        channel.send(&Reply::Proceed, &[]).context("init is gone")
    })?;
    Ok(())
}

/// A request that has passed parse, probe and plan.
pub(crate) struct Prepared {
    /// What will be.
    pub plan: Plan,
    /// `process` of the config: what exec processes start from.
    pub process: Option<oci_spec::runtime::Process>,
    /// Uid of the caller.
    pub owner: u32,
    /// The connected console socket.
    pub console: Option<OwnedFd>,
}

impl Prepared {
    /// The terminal, if the program gets one.
    pub(crate) fn terminal(&self) -> Option<plan::Terminal> {
        self.plan.process.as_ref().and_then(|process| process.terminal)
    }
}

/// Parse, probe and plan.
pub(crate) fn prepare(context: &Context, request: &request::Create) -> Result<Prepared> {
    validate_id(&request.id).map_err(|reason| Error::invalid_id(&reason))?;
    if context.root.join(&request.id).exists() {
        return Err(Error::new(ErrorKind::AlreadyExists, "container with given ID already exists"));
    }
    files::check_preserved(request.preserve_fds, context.inherited)?;
    let bundle = absolute_bundle(&request.bundle)?;
    let loaded = spec::load(&bundle)?;
    loaded.warnings.iter().for_each(|warning| (context.warn)(warning));
    let host = Host::probe()?;
    let (spec, planned) = loaded.plan(|spec| plan::create(spec, &host, request, &bundle))?;
    planned.warnings.iter().for_each(|warning| (context.warn)(warning));
    let console = request.console_socket.as_deref().map(console::connect).transpose()?;
    let process = spec.process().clone();
    Ok(Prepared { plan: planned.plan, process, owner: host.euid, console })
}

fn absolute_bundle(bundle: &Path) -> Result<PathBuf> {
    std::fs::canonicalize(bundle)
        .with_context(|| format!("bundle {}", bundle.display()))
        .map_err(Error::from)
}

/// What init waits for when it is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// A connection to the start socket, after this process has ended.
    ForStart,
    /// A word on the channel.
    OnChannel,
}

/// A container whose init is ready, and everything that undoes it.
pub(crate) struct Waiting {
    pub pending: Pending,
    pub channel: RuntimeEnd,
    pub state: State,
    pub terminal: Option<OwnedFd>,
}

impl Waiting {
    /// Does `rest` with the channel and the terminal's master, and keeps the container; an error
    /// undoes it.
    pub(crate) fn finish(
        self,
        warn: fn(&str),
        rest: impl FnOnce(&RuntimeEnd, Option<OwnedFd>) -> anyhow::Result<()>,
    ) -> Result<(StateDirectory, Child, State)> {
        let Self { pending, channel, state, terminal } = self;
        match rest(&channel, terminal) {
            Ok(()) => {
                let (directory, child) = pending.commit()?;
                Ok((directory, child, state))
            }
            Err(failed) => {
                abandon(pending, &state, warn);
                Err(failed.into())
            }
        }
    }
}

/// Undoes a container that has existed, then runs its poststop hooks (runtime-spec, runtime.md,
/// "Lifecycle": after a failure it continues with the container's destruction).
fn abandon(pending: Pending, state: &State, warn: fn(&str)) {
    drop(pending);
    let document = state.hook_document(state::Status::Stopped, 0);
    hooks::run_all(&state.hooks.poststop, &document, Some(&state.bundle), warn);
}

/// Open and apply, up to a saved state and a ready init. On an error everything is undone, and
/// poststop hooks run if anything of the container has existed.
pub(crate) fn bring_up(
    context: &Context,
    request: &request::Create,
    prepared: &Prepared,
    waits: Waits,
) -> Result<Waiting> {
    let plan = &prepared.plan;
    let mut state = State::new(plan, prepared.owner, prepared.process.clone());
    let mut pending = Pending::new(StateDirectory::claim(context, &plan.id)?);
    // The intent comes first: whatever is made below can be found by `delete --force`.
    pending.directory()?.save(&state)?;
    let applied = apply(&mut pending, plan, &mut state, (request, waits));
    match applied {
        Ok((channel, terminal)) => Ok(Waiting { pending, channel, state, terminal }),
        Err(failed) => {
            abandon(pending, &state, context.warn);
            Err(failed.into())
        }
    }
}

type Applied = (RuntimeEnd, Option<OwnedFd>);

fn apply(
    pending: &mut Pending,
    plan: &Plan,
    state: &mut State,
    (request, waits): (&request::Create, Waits),
) -> anyhow::Result<Applied> {
    let manager = libcgroups::manager(&plan.cgroup);
    manager.create()?;
    pending.own_cgroup(libcgroups::manager(&plan.cgroup));
    manager.apply(&plan.limits)?;
    let entry = manager.entry()?;
    let start = match waits {
        Waits::ForStart => Some(listen(pending.directory()?)?),
        Waits::OnChannel => None,
    };
    let files = Files::open(plan, entry.procs)?;
    let (channel, child) = spawn_init(plan, files, state, (entry.directory, start))?;
    let pid = child.pid;
    let served = adjust_oom_score(plan.process.as_ref(), pid).and_then(|()| {
        serve::serve(protocol::conversation(plan), &channel, &child, Some((plan, state, pending)))
    });
    pending.own_child(child);
    let terminal = served?;
    state.init = Some(state::Init::of(pid)?);
    pending.directory()?.save(state)?;
    if let Some(path) = &request.pid_file {
        pending.own_pid_file(path.clone());
        write_pid_file(path, pid)?;
    }
    Ok((channel, terminal))
}

/// Spawns init. In init this does not return.
fn spawn_init(
    plan: &Plan,
    files: Files,
    state: &State,
    (cgroup, start): (Option<OwnedFd>, Option<OwnedFd>),
) -> anyhow::Result<(RuntimeEnd, Child)> {
    let (runtime_end, init_end) = libchannel::pair()?;
    init::become_non_dumpable()?;
    let cgroup = cgroup.as_ref().map(|directory| directory.as_fd());
    match spawn(&plan.spawn, &plan.namespaces, &files.namespaces, cgroup)? {
        Spawned::Runtime(child) => Ok((runtime_end, child)),
        Spawned::Init(itself) => {
            drop(runtime_end);
            init::run(Init { plan, files, state, channel: init_end, start, itself })
        }
    }
}

/// The socket at which init waits for `start`. Only its owner may connect.
fn listen(directory: &StateDirectory) -> anyhow::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .context("make the start socket: socket")?;
    rustix::fs::fchmod(&socket, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
        .context("make the start socket: fchmod")?;
    let address = SocketAddrUnix::new(directory.short_path(START_SOCKET))
        .context("make the start socket: address")?;
    rustix::net::bind(&socket, &address).context("make the start socket: bind")?;
    rustix::net::listen(&socket, 1).context("make the start socket: listen")?;
    Ok(socket)
}

/// Written from outside: the container's own /proc cannot be trusted with it.
pub(crate) fn adjust_oom_score(process: Option<&Process>, pid: i32) -> anyhow::Result<()> {
    let Some(score) = process.and_then(|process| process.oom_score_adj) else { return Ok(()) };
    std::fs::write(format!("/proc/{pid}/oom_score_adj"), score.to_string())
        .with_context(|| format!("process.oomScoreAdj {score}: write /proc/{pid}/oom_score_adj"))
}

/// Decimal, without a newline (containerd parses it as it is), complete at once.
pub(crate) fn write_pid_file(path: &Path, pid: i32) -> anyhow::Result<()> {
    let context = || format!("write the pid file {}", path.display());
    let name = path.file_name().with_context(context)?;
    let mut next = std::ffi::OsString::from(".");
    next.push(name);
    next.push(format!(".{}", std::process::id()));
    let next = path.with_file_name(next);
    std::fs::write(&next, pid.to_string()).with_context(context)?;
    std::fs::rename(&next, path).with_context(context)
}
