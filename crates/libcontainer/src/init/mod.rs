//! Init: the container from the inside. The same binary, cloned; single-threaded, on its own copy
//! of the runtime's memory; it leaves by execve(2) or with a [`Failure`].

mod cgroup_mounts;
mod copy_up;
mod devices;
mod exec;
mod failure;
mod host_mounts;
mod identity;
mod kernel_views;
mod labels;
mod mounts;
mod namespaces;
mod oom_score;
mod program;
mod root;
mod seal;
mod session;
mod sources;
mod terminal;
mod walk;
mod watched;

use std::convert::Infallible;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::Context as _;
use libnamespaces::{Kind, Newborn, Spawn, enter_namespaces};
use libsyscall::clone::{ClonedChild, exit_now};
use rustix::fs::Mode;

pub(crate) use exec::{Exec, run_exec};
use failure::{At as _, failure_of};
pub(crate) use identity::become_non_dumpable;
use mounts::{Mounted, OpenProcfs};
pub(crate) use oom_score::adjust_of as adjust_oom_score_of;
use program::Program;
use root::Root;
pub(crate) use session::run_on;
use session::{enter_cgroup, leave_callers_cpus, leave_callers_keyring, new_session};
use terminal::Pty;

use crate::files::{Files, open_cgroups};
use crate::hooks::{self, Setting};
use crate::mount::open_filesystem;
use crate::plan::{Confinement, Hook, Plan, Process};
use crate::protocol::{Event, Failure, InitEnd, Reply, Stage};
use crate::start_socket;
use crate::state::{State, Status};

/// What init is given.
pub(crate) struct Init<'a> {
    /// What the container is to be.
    pub plan: &'a Plan,
    /// What was opened for it.
    pub files: Files,
    /// The state, for hooks that init runs.
    pub state: &'a State,
    /// Its end of the channel.
    pub channel: InitEnd,
    /// The socket at which it waits for `start`, with `create`.
    pub start: Option<OwnedFd>,
}

/// Runs what the runtime has cloned; its failure goes to whoever waits: the runtime, or `start`.
pub(crate) fn run(mut init: Init<'_>, newborn: Newborn) -> ! {
    let failure = failure_of(|| begin(&mut init, newborn));
    let _ = init.channel.send(&Event::Failed(failure), &[]);
    exit_now(1)
}

/// The first process, which may only be a joiner: what it clones is in its cgroup, too.
fn begin(init: &mut Init<'_>, newborn: Newborn) -> Result<Infallible, Failure> {
    let (plan, files) = (init.plan, &init.files);
    enter_cgroup(&files.cgroup_entry).at(Stage::Session)?;
    ask_for_cgroup(files, &init.channel).at(Stage::Session)?;
    leave_callers_cpus().at(Stage::Session)?;
    labels::set_of_keys(plan.process.as_ref(), &plan.confinement).at(Stage::Session)?;
    let joiner = match newborn {
        Newborn::Init(itself) => return become_container(init, &itself),
        Newborn::Joiner(joiner) => joiner,
    };
    oom_score::adjust_own(plan.process.as_ref()).at(Stage::Session)?;
    enter_namespaces(&plan.spawn, &plan.namespaces, &files.namespaces)
        .map_err(anyhow::Error::new)
        .at(Stage::Namespaces)?;
    init.files.open_inside(plan).at(Stage::Rootfs)?;
    if matches!(plan.spawn, Spawn::Watched { .. }) {
        return watched::join(init, joiner);
    }
    let itself = joiner.clone_child(plan.spawn.clone_makes()).map_err(anyhow::Error::new);
    // Its end of the report is the joiner's.
    drop(joiner);
    become_container(init, &itself.at(Stage::Namespaces)?)
}

/// The container, top to bottom.
fn become_container(init: &mut Init<'_>, itself: &ClonedChild) -> Result<Infallible, Failure> {
    let (plan, files) = (init.plan, &mut init.files);
    new_session().at(Stage::Session)?;
    namespaces::enter(plan, files).at(Stage::Namespaces)?;
    namespaces::set_up(plan).at(Stage::Namespaces)?;
    leave_callers_keyring(&plan.confinement).at(Stage::Session)?;
    ask_for_devices_and_hooks(plan, &init.channel).at(Stage::Hooks)?;
    let root = attach_root(plan, files).at(Stage::Rootfs)?;
    let view = View { pid: own_pid(), procfs: &|| open_filesystem(c"proc") };
    let made = make_container(init, &root, &view)?;
    // After the hooks, which are the host's, and before the host's procfs is out of reach.
    labels::set(plan.process.as_ref()).at(Stage::Identity)?;
    let (master, slave) = close_container(init, &root, made, &view)?.map(Pty::into_halves).unzip();
    let root = root.sealed();
    take_streams(plan.process.as_ref(), slave, &root).at(Stage::Streams)?;
    hand_over(master, &init.channel).at(Stage::Terminal)?;
    become_program(init, itself, &root)
}

/// What shows init's pid namespace, for a process that may not be in it.
struct View<'a> {
    /// Init's pid there.
    pid: i32,
    /// Opens a procfs of it.
    procfs: OpenProcfs<'a>,
}

/// A container in the host's root, in which all is mounted.
struct Made {
    mounted: Mounted,
    /// Its terminal, if it has one.
    pty: Option<Pty>,
}

/// What the container's processes share, from its mounts to the last hook that sees the host's root.
fn make_container(init: &mut Init<'_>, root: &Root, view: &View<'_>) -> Result<Made, Failure> {
    let (plan, files) = (init.plan, &mut init.files);
    // What is made has the permissions that it says.
    let inherited_mask = rustix::process::umask(Mode::empty());
    let mounted = mounts::mount_all(plan, root, files, view.procfs).at(Stage::Mounts)?;
    devices::make_all(plan, root, files).at(Stage::Devices)?;
    let pty = open_terminal(plan.process.as_ref(), root).at(Stage::Terminal)?;
    if let Some(pty) = &pty {
        pty.mount_console(root, plan.mount_label.as_deref()).at(Stage::Terminal)?;
    }
    make_working_directory(plan, root);
    // Nothing is made after this, but by hooks and the program.
    rustix::process::umask(inherited_mask);
    create_container_hooks(plan, init.state, view.pid).at(Stage::Hooks)?;
    Ok(Made { mounted, pty })
}

/// Makes the container's root that of this process, and hides what is to be hidden. Its terminal, if it has one.
fn close_container(
    init: &mut Init<'_>,
    root: &Root,
    Made { mounted, pty }: Made,
    view: &View<'_>,
) -> Result<Option<Pty>, Failure> {
    change_root(init.plan, root).at(Stage::Pivot)?;
    seal::seal(init.plan, root, &mut init.files, mounted, view.procfs).at(Stage::Seal)?;
    Ok(pty)
}

/// The program, with its standard streams in place.
fn become_program(
    init: &mut Init<'_>,
    itself: &ClonedChild,
    root: &Root,
) -> Result<Infallible, Failure> {
    let plan = init.plan;
    take_terminal(plan.process.as_ref()).at(Stage::Terminal)?;
    let kept = [Some(init.channel.as_fd()), init.start.as_ref().map(OwnedFd::as_fd)];
    let_go_of_host(itself, root, kept, plan.preserve_fds).at(Stage::Program)?;
    let prepare = |process| {
        let program = prepare(process, &plan.confinement, root)?;
        identity::complete_with_listener(process, &plan.confinement, &init.channel)
            .at(Stage::Identity)?;
        Ok((process, program))
    };
    let program = plan.process.as_ref().map(prepare).transpose()?;
    let by_start = init.start.is_some();
    wait_for_start(init).at(Stage::Program)?;
    let (process, program) = program
        .context("process property must not be empty: this container was created without a program")
        .at(Stage::Program)?;
    start_container_hooks(plan, process, init.state).at(Stage::StartHooks)?;
    match execute(process, &plan.confinement, &program) {
        Err(failure) if by_start && failure.stage == Stage::Program => program::refuse(&failure),
        other => other,
    }
}

/// Has systemd's cgroup made around this process, if it is to have one.
fn ask_for_cgroup(files: &Files, channel: &InitEnd) -> anyhow::Result<()> {
    if let Some(bus) = files.cgroup_entry.connect()? {
        channel.ask(&Event::Cgroup, &[bus.as_fd()]).context("the runtime is gone")?;
    }
    Ok(())
}

/// Lets the runtime move network devices here and run its hooks, if there are any.
fn ask_for_devices_and_hooks(plan: &Plan, channel: &InitEnd) -> anyhow::Result<()> {
    if crate::protocol::conversation(plan).contains(&Event::NamespacesReady) {
        channel.ask(&Event::NamespacesReady, &[]).context("the runtime is gone")?;
    }
    Ok(())
}

fn attach_root(plan: &Plan, files: &mut Files) -> anyhow::Result<Root> {
    if plan.cgroup.unit().is_some() {
        // It exists only now, and is cloned where the other mounts of the host are.
        files.cgroups = open_cgroups(plan)?;
    }
    let tree = files.rootfs.take().context("the root filesystem was not opened")?;
    if plan.namespaces.has(Kind::Mount) {
        Root::attach(tree, &plan.rootfs.path)
    } else {
        Ok(Root::new(tree.into_file()))
    }
}

fn change_root(plan: &Plan, root: &Root) -> anyhow::Result<()> {
    match (plan.namespaces.has(Kind::Mount), plan.rootfs.no_pivot) {
        (true, false) => root.pivot(),
        (true, true) => root.cover(),
        (false, _) => root.enter(),
    }
}

fn open_terminal(process: Option<&Process>, root: &Root) -> anyhow::Result<Option<Pty>> {
    let terminal = process.and_then(|process| process.terminal);
    terminal.map(|terminal| Pty::open(root, terminal)).transpose()
}

/// What runc and crun do too: a working directory that the image lacks is made. On a read-only
/// filesystem the program's own chdir says what is wrong.
fn make_working_directory(plan: &Plan, root: &Root) {
    if let Some(process) = &plan.process {
        let _ = root.ensure(&process.cwd, root::Target::Directory);
    }
}

fn create_container_hooks(plan: &Plan, state: &State, pid: i32) -> anyhow::Result<()> {
    // Their programs are the host's, and run where those of the runtime do.
    let told = Told { state, status: Status::Creating, pid };
    run_hooks(&plan.hooks.create_container, told, Some(&plan.bundle), None)
}

/// Their programs are files of the image, so they are confined as the container's own is.
fn start_container_hooks(plan: &Plan, process: &Process, state: &State) -> anyhow::Result<()> {
    let confine = || identity::complete(process, &plan.confinement);
    let told = Told { state, status: Status::Created, pid: own_pid() };
    run_hooks(&plan.hooks.start_container, told, None, Some(&confine))
}

/// What a hook is told of the container.
struct Told<'a> {
    state: &'a State,
    status: Status,
    /// As the hooks see it here (runtime-spec, runtime.md, "State").
    pid: i32,
}

fn run_hooks(
    hooks: &[Hook],
    told: Told<'_>,
    directory: Option<&Path>,
    confine: Option<&dyn Fn() -> anyhow::Result<()>>,
) -> anyhow::Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let document = told.state.hook_document(told.status, told.pid);
    hooks::run(hooks, Setting { state: &document, directory, signals: None, confine })
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// Gives the program its standard streams: the slave of its terminal, or the runtime's.
fn take_streams(
    process: Option<&Process>,
    slave: Option<OwnedFd>,
    root: &Root,
) -> anyhow::Result<()> {
    match (process, slave) {
        (None, _) => Ok(()),
        (Some(process), Some(slave)) => terminal::become_streams(&slave, process.uid),
        (Some(process), None) => terminal::adopt_streams(root, process.uid),
    }
}

/// Gives the terminal's master to whoever shows it.
fn hand_over(master: Option<OwnedFd>, channel: &InitEnd) -> anyhow::Result<()> {
    let Some(master) = master else { return Ok(()) };
    channel.ask(&Event::Terminal, &[master.as_fd()]).context("the runtime is gone")?;
    Ok(())
}

/// Makes the terminal, if there is one, that of this session.
fn take_terminal(process: Option<&Process>) -> anyhow::Result<()> {
    let Some(_) = process.and_then(|process| process.terminal) else { return Ok(()) };
    rustix::process::ioctl_tiocsctty(rustix::stdio::stdin()).context("take the terminal: TIOCSCTTY")
}

/// Closes everything but the root, the sockets and what the program is to keep.
///
/// From here on paths are resolved that the image can lead through /proc/self/fd: of the program,
/// its interpreter and the startContainer hooks. Close-on-exec comes too late, since execve(2)
/// opens them first (CVE-2024-21626). Nothing of [`Files`] is used or dropped any more.
fn let_go_of_host(
    itself: &ClonedChild,
    root: &Root,
    sockets: [Option<BorrowedFd<'_>>; 2],
    preserve_fds: u32,
) -> anyhow::Result<()> {
    root.forget();
    let kept: Vec<_> = sockets.into_iter().flatten().chain([root.as_fd()]).collect();
    itself.close_all_but(3 + preserve_fds, &kept).context("close_range")
}

/// The program's path and environment, found and checked with its identity taken on.
fn prepare(process: &Process, confinement: &Confinement, root: &Root) -> Result<Program, Failure> {
    let env = program::environment(process, root);
    // Engines count on a working directory that the user may not enter; on a network filesystem it
    // may be root who may not.
    let entered = program::enter_directory(process, root);
    identity::take_on(process, confinement, root).at(Stage::Identity)?;
    entered.or_else(|_| program::enter_directory(process, root)).at(Stage::Program)?;
    let path = program::find(process).at(Stage::Program)?;
    Ok(Program { path, env })
}

/// Tells the runtime that everything is done. With `run` it says when to start; with `create` it
/// is gone by then, and `start` connects to the socket.
fn wait_for_start(init: &mut Init<'_>) -> anyhow::Result<()> {
    match init.channel.ask(&Event::Ready, &[]).context("the runtime is gone")? {
        Reply::Start => return Ok(()),
        Reply::Proceed => {}
    }
    let listener = init.start.take().context("no socket to wait at")?;
    init.channel = start_socket::accept(&listener)?;
    Ok(())
}

fn execute(
    process: &Process,
    confinement: &Confinement,
    program: &Program,
) -> Result<Infallible, Failure> {
    identity::complete(process, confinement).at(Stage::Identity)?;
    program::execute(&program.path, &process.args, &program.env).at(Stage::Program)
}
