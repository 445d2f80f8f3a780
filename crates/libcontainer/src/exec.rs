//! `exec`: another process in a container that exists.

use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::Context as _;
use libcgroups::Entry;
use libnamespaces::{Child, Expected, Forked, Joiner, Kind, NamespaceFiles};
use oci_spec::runtime::{Capabilities, LinuxCapabilities, Process as SpecProcess};
use rustix::fs::{Mode, OFlags};

use crate::create::{adjust_oom_score, write_pid_file};
use crate::host::Host;
use crate::init::{self, Exec};
use crate::plan::{self, Process};
use crate::protocol::{Event, Reply, RuntimeEnd};
use crate::request::{self, Context};
use crate::state::{self, State, Status};
use crate::supervise::Foreground;
use crate::{Error, ErrorKind, Result, Violation, console, files, serve, spec};

/// Runs a process in a container. In the foreground its exit code, or 128 and the signal that
/// ended it; detached, zero as soon as it runs.
///
/// # Errors
/// The container is stopped or paused, or the process cannot be started.
pub fn exec(context: &Context, request: &request::Exec) -> Result<u8> {
    let (directory, state) = state::load(context, &request.id)?;
    check(state.status(&directory), request)?;
    files::check_preserved(request.preserve_fds, context.inherited)?;
    let process = plan_process(context, request, &state)?;
    if process.terminal.is_some() && request.detach && request.console_socket.is_none() {
        return Err(Error::new(
            ErrorKind::Status,
            "cannot allocate tty if runc will detach without setting console socket",
        ));
    }
    let console = request.console_socket.as_deref().map(console::connect).transpose()?;
    let mut foreground = if request.detach { None } else { Some(Foreground::new()?) };
    let (channel, child) = spawn_process(&process, &state, request)?;
    let started = start(&process, (&channel, &child), (request, console.as_ref()), &mut foreground);
    if let Err(failed) = started {
        let _ = rustix::process::pidfd_send_signal(&child.pidfd, rustix::process::Signal::KILL);
        let _ = crate::supervise::exit_code(&child);
        return Err(anyhow::anyhow!("exec failed: {failed:#}").into());
    }
    match foreground {
        Some(foreground) => Ok(foreground.wait(&child)?),
        None => Ok(0),
    }
}

fn check(status: Status, request: &request::Exec) -> Result<()> {
    let text = match status {
        Status::Created | Status::Running => return Ok(()),
        Status::Paused if request.ignore_paused => return Ok(()),
        Status::Paused => "cannot exec in a paused container (use --ignore-paused to override)",
        Status::Stopped => "cannot exec in a stopped container: container not running",
        Status::Creating => "cannot exec in a container that is being created",
    };
    Err(Error::new(ErrorKind::Status, text))
}

/// The process: of the file, or the container's own with what the flags change.
fn plan_process(context: &Context, request: &request::Exec, state: &State) -> Result<Process> {
    let host = Host::probe()?;
    let plan = |given: &SpecProcess| plan::exec(given, &host, state.namespaces);
    let (process, warnings) = match request.process.as_deref() {
        Some(path) => {
            let loaded = spec::load_process(path)?;
            loaded.warnings.iter().for_each(|warning| (context.warn)(warning));
            loaded.plan(plan)?.1
        }
        None => plan(&from_flags(request, state)?).map_err(Error::invalid)?,
    };
    warnings.iter().for_each(|warning| (context.warn)(warning));
    Ok(process)
}

fn from_flags(request: &request::Exec, state: &State) -> Result<SpecProcess> {
    let mut process = state.process.clone().unwrap_or_else(|| {
        let mut process = SpecProcess::default();
        process.set_capabilities(None).set_rlimits(None).set_no_new_privileges(None);
        process
    });
    process.set_args(Some(request.args.clone())).set_terminal(Some(request.tty));
    process.set_console_size(None);
    if let Some(cwd) = &request.cwd {
        process.set_cwd(cwd.into());
    }
    if !request.env.is_empty() {
        let env = process.env().iter().flatten().chain(&request.env).cloned().collect();
        process.set_env(Some(env));
    }
    if let Some((uid, gid)) = request.user {
        process.user_mut().set_uid(uid);
        if let Some(gid) = gid {
            process.user_mut().set_gid(gid);
        }
    }
    if !request.additional_gids.is_empty() {
        let container = process.user().additional_gids().iter().flatten().copied();
        let gids = container.chain(request.additional_gids.iter().copied()).collect();
        process.user_mut().set_additional_gids(Some(gids));
    }
    if let Some(no_new_privileges) = request.no_new_privileges {
        process.set_no_new_privileges(Some(no_new_privileges));
    }
    if let Some(profile) = &request.apparmor {
        process.set_apparmor_profile(Some(profile.clone()));
    }
    if let Some(label) = &request.process_label {
        process.set_selinux_label(Some(label.clone()));
    }
    add_capabilities(&mut process, &request.capabilities)?;
    Ok(process)
}

/// Adds to the bounding, effective and permitted sets. Not to the inheritable one: a file's
/// inheritable capabilities would then raise the privilege of a user (CVE-2022-29162).
fn add_capabilities(process: &mut SpecProcess, names: &[String]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let mut added = Capabilities::new();
    for name in names {
        let parsed = serde_json::from_value(serde_json::Value::String(name.clone()));
        added.insert(parsed.map_err(|_| {
            let rule = "is no capability (capabilities(7))";
            Error::invalid(vec![Violation::new(
                "--cap",
                name,
                rule,
                "write a name such as CAP_NET_RAW",
            )])
        })?);
    }
    let mut sets = process.capabilities().clone().unwrap_or_else(|| {
        let mut none = LinuxCapabilities::default();
        none.set_bounding(None).set_effective(None).set_permitted(None);
        none.set_inheritable(None).set_ambient(None);
        none
    });
    let with = |set: &Option<Capabilities>| {
        Some(set.iter().flatten().chain(&added).copied().collect::<Capabilities>())
    };
    let (bounding, effective, permitted) =
        (with(sets.bounding()), with(sets.effective()), with(sets.permitted()));
    sets.set_bounding(bounding).set_effective(effective).set_permitted(permitted);
    process.set_capabilities(Some(sets));
    Ok(())
}

/// Spawns the process in all the container's namespaces and its cgroup. In it this does not
/// return.
fn spawn_process(
    process: &Process,
    state: &State,
    request: &request::Exec,
) -> Result<(RuntimeEnd, Child)> {
    let target = state.init.ok_or_else(Error::not_running)?;
    let pidfd = target.open()?;
    let confinement = state.confinement()?;
    let mut location = state.cgroup.clone();
    for path in &request.cgroups {
        location = location.below(Path::new(path))?;
    }
    let entry = Entry::open(&location)?;
    let kinds = state.namespaces;
    let root = if kinds.contains(Kind::Mount) { None } else { Some(open_root(target)?) };
    let namespaces = NamespaceFiles::of_process(pidfd, kinds);
    let (runtime_end, init_end) = libchannel::pair().map_err(anyhow::Error::new)?;
    init::become_non_dumpable()?;
    init::run_on(process.affinity.initial, "initial")?;
    match Joiner::fork(entry.at_clone()).map_err(anyhow::Error::new)? {
        Forked::Runtime(expected) => {
            drop(init_end);
            let child = child_of(expected, &runtime_end).context("exec failed")?;
            Ok((runtime_end, child))
        }
        Forked::Joiner(joiner) => {
            let exec = Exec {
                process,
                confinement: &confinement,
                cgroup_entry: &entry,
                namespaces: &namespaces,
                kinds,
                root,
                channel: init_end,
                preserve_fds: request.preserve_fds,
            };
            init::run_exec(&exec, joiner)
        }
    }
}

/// The process that the joiner clones. What the joiner met it says where init would.
fn child_of(expected: Expected, channel: &RuntimeEnd) -> anyhow::Result<Child> {
    expected.child().or_else(|lost| {
        serve::wait_for_program(channel)?;
        Err(lost.into())
    })
}

/// The root of a container without a mount namespace is no more than that of its init.
fn open_root(init: state::Init) -> Result<OwnedFd> {
    let path = format!("/proc/{}/root", init.pid);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(&path, flags, Mode::empty())
        .with_context(|| format!("open the container's root {path}"))?;
    // The pid was init's all the time if it is now.
    if init.is_alive() { Ok(root) } else { Err(Error::not_running()) }
}

/// Serves the process until its program runs.
fn start(
    process: &Process,
    (channel, child): (&RuntimeEnd, &Child),
    (request, console): (&request::Exec, Option<&OwnedFd>),
    foreground: &mut Option<Foreground>,
) -> anyhow::Result<()> {
    adjust_oom_score(Some(process), child.pid)?;
    let terminal = process.terminal.map(|_| Event::Terminal);
    let events = terminal.into_iter().chain([Event::Ready]).collect();
    let master = serve::serve(events, channel, child, None)?;
    if let Some(path) = &request.pid_file {
        write_pid_file(path, child.pid)?;
    }
    match (master, console, foreground) {
        (Some(master), Some(socket), _) => console::send(socket, &master)?,
        (Some(master), None, Some(foreground)) => {
            let sized = process.terminal.is_some_and(|terminal| terminal.size.is_some());
            foreground.show(master, sized)?;
        }
        _ => {}
    }
    channel.send(&Reply::Start, &[]).context("the process is gone")?;
    serve::wait_for_program(channel)
}
