//! One file for each command that does more than call its verb.

mod exec;
mod kill;
mod list;
mod ps;
mod spec;
mod update;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use libcontainer::request;
use serde::Serialize;

use crate::arguments::{Cli, Command, Create, Run};
use crate::{globals, version};

/// Runs the command of a caller that has passed `inherited` descriptors from 3 on. The program's
/// exit code.
pub(crate) fn run(cli: Cli, inherited: u32) -> anyhow::Result<u8> {
    if cli.version {
        let program = std::env::args_os().next().unwrap_or_default();
        print(&version::text(Path::new(&program)))?;
        return Ok(0);
    }
    let Some(command) = cli.command else {
        print(&Cli::command().render_help().to_string())?;
        return Ok(0);
    };
    if matches!(command, Command::Create(_) | Command::Run(_) | Command::Exec(_)) {
        libcontainer::protect_own_binary()?;
    }
    let manager = if matches!(command, Command::Create(_) | Command::Run(_)) {
        globals::cgroup_manager(&cli.globals)?
    } else {
        request::CgroupManager::default()
    };
    let context = &globals::context(&cli.globals, inherited)?;
    match command {
        Command::Create(create) => {
            libcontainer::create(context, &creation(create, true, manager)?)?
        }
        Command::Run(run) => return Ok(libcontainer::run(context, &running(run, manager)?)?),
        Command::Exec(exec) => return exec::run(context, *exec),
        Command::Start(one) => {
            libcontainer::start(context, &request::Start { id: one.id, notify: notify_socket()? })?
        }
        Command::State(one) => print_json(&libcontainer::state(context, &one.id)?)?,
        Command::Kill(kill) => kill::run(context, &kill)?,
        Command::Wait(one) => print(&format!("{}\n", libcontainer::wait(context, &one.id)?))?,
        Command::Delete(delete) => libcontainer::delete(context, &delete.id, delete.force)?,
        Command::List(list) => list::run(context, &list)?,
        Command::Ps(ps) => ps::run(context, &ps)?,
        Command::Pause(one) => libcontainer::pause(context, &one.id)?,
        Command::Resume(one) => libcontainer::resume(context, &one.id)?,
        Command::Update(update) => update::run(context, *update)?,
        Command::Spec(spec) => spec::run(&spec)?,
        Command::Features => print_json(&libcontainer::features())?,
    }
    Ok(0)
}

fn creation(
    create: Create,
    detach: bool,
    cgroup_manager: request::CgroupManager,
) -> anyhow::Result<request::Create> {
    Ok(request::Create {
        id: create.id,
        bundle: create.bundle,
        console: request::Console { detach, socket: create.console_socket },
        pid_file: given(create.pid_file),
        pidfd_socket: create.pidfd_socket,
        no_pivot: create.no_pivot,
        no_new_keyring: create.no_new_keyring,
        preserve_fds: create.preserve_fds,
        listen_fds: listening(),
        notify: notify_socket()?,
        cgroup_manager,
    })
}

fn running(run: Run, manager: request::CgroupManager) -> anyhow::Result<request::Run> {
    let Run { create, detach, keep, no_subreaper } = run;
    Ok(request::Run { create: creation(create, detach, manager)?, keep, no_subreaper })
}

/// An empty path is none, as runc takes it.
fn given(path: Option<PathBuf>) -> Option<PathBuf> {
    path.filter(|path| !path.as_os_str().is_empty())
}

/// Sockets that systemd passes come after the three standard streams. They are this process's only
/// if `LISTEN_PID` is; else the variables are left from somebody else (sd_listen_fds(3)).
fn listening() -> u32 {
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    let ours = number("LISTEN_PID") == Some(std::process::id());
    number("LISTEN_FDS").filter(|_| ours).unwrap_or(0)
}

/// Who is told when the program is ready (sd_notify(3)). An empty variable is none.
fn notify_socket() -> anyhow::Result<Option<request::NotifySocket>> {
    let value = std::env::var_os("NOTIFY_SOCKET").filter(|value| !value.is_empty());
    value.map(|value| request::NotifySocket::parse(&value)).transpose()
}

/// Prints a document as runc does: two spaces for each level.
fn print_json(document: &impl Serialize) -> anyhow::Result<()> {
    print(&format!("{}\n", serde_json::to_string_pretty(document)?))
}

/// Prints to standard output.
fn print(text: &str) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    output.write_all(text.as_bytes())?;
    Ok(output.flush()?)
}
