//! Init of a container in a pid namespace that others are in already, as in a pod.
//!
//! They see it from its birth, and who has `CAP_SYS_PTRACE` among them may follow the links of its /proc/PID,
//! non-dumpable or not. So the container is made by a *maker*, which is not in that namespace. Init is born in an empty mount
//! namespace, with no descriptors but its sockets, its streams and what the program is to keep, and comes into the
//! container when the host cannot be reached from there any more.

use std::convert::Infallible;
use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context as _, bail};
use libchannel::Channel;
use libnamespaces::{Joiner, Kind, KindSet};
use libsyscall::clone::{ClonedChild, exit_now};
use nix::sched::{CloneFlags, setns};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::failure::{At as _, from_nix};
use super::root::Root;
use super::session::{leave_callers_keyring, new_session};
use super::terminal::Pty;
use super::{
    Init, View, ask_for_devices_and_hooks, attach_root, become_program, close_container, hand_over,
    labels, make_container, namespaces, own_pid, take_streams,
};
use crate::mount::open_filesystem;
use crate::protocol::{Failure, Stage, Wish, Word};

/// The maker's end of what is said with init.
type MakersEnd = Channel<Wish, Word>;
/// Init's end.
type InitsEnd = Channel<Word, Wish>;

/// The joiner, in the namespaces that it enters; then in its children the maker and init.
pub(super) fn join(init: &mut Init<'_>, joiner: Joiner) -> Result<Infallible, Failure> {
    let (plan, files) = (init.plan, &mut init.files);
    leave_callers_keyring(&plan.confinement).at(Stage::Session)?;
    let root = attach_root(plan, files).at(Stage::Rootfs)?;
    let (maker, inits) = libchannel::pair().map_err(anyhow::Error::new).at(Stage::Namespaces)?;
    let cloned = joiner.clone_maker().map_err(anyhow::Error::new).at(Stage::Namespaces)?;
    // From here on the children to come are in the pid namespace: init, and the maker's hooks.
    let pid = KindSet::EMPTY.with(Kind::Pid);
    let entered = init.files.namespaces.join(pid).map_err(anyhow::Error::new);
    entered.at(Stage::Namespaces)?;
    if cloned.is_some() {
        drop(inits);
        make(init, &root, &maker)?;
        exit_now(0)
    }
    drop((maker, root));
    // Init has it from birth: where it is born it meets no procfs of the host.
    labels::set(init.plan.process.as_ref()).at(Stage::Identity)?;
    let itself = give_birth(init, &inits, joiner)?;
    be_born(init, inits, &itself)
}

/// Lets go of all that leads to the host, and clones init. Returns in it.
fn give_birth(init: &Init<'_>, inits: &InitsEnd, joiner: Joiner) -> Result<ClonedChild, Failure> {
    let nowhere = Root::leave_for_nowhere(&init.plan.rootfs.path);
    nowhere.context("an empty root for init").at(Stage::Rootfs)?;
    let start = init.start.as_ref().map(OwnedFd::as_fd);
    let kept: Vec<_> = [init.channel.as_fd(), inits.as_fd()].into_iter().chain(start).collect();
    let closed = joiner.close_all_but(3 + init.plan.preserve_fds, &kept);
    closed.context("close_range").at(Stage::Program)?;
    let cloned = joiner.clone_child(KindSet::EMPTY);
    cloned.map_err(anyhow::Error::new).at(Stage::Namespaces)
}

/// The maker: the container but for its program.
fn make(init: &mut Init<'_>, root: &Root, maker: &MakersEnd) -> Result<(), Failure> {
    let mounts = own_mount_namespace().at(Stage::Namespaces)?;
    let pid = hear_of_birth(maker).at(Stage::Namespaces)?;
    namespaces::set_up(init.plan).at(Stage::Namespaces)?;
    ask_for_devices_and_hooks(init.plan, &init.channel).at(Stage::Hooks)?;
    let procfs = || ask_for_procfs(maker);
    let view = View { pid, procfs: &procfs };
    let made = make_container(init, root, &view)?;
    let (master, slave) = close_container(init, root, made, &view)?.map(Pty::into_halves).unzip();
    hand_over(master, &init.channel).at(Stage::Terminal)?;
    let given: Vec<_> = [mounts.as_fd(), root.as_fd()]
        .into_iter()
        .chain(slave.as_ref().map(OwnedFd::as_fd))
        .collect();
    maker.send(&Wish::Finish, &given).context(GONE).at(Stage::Program)
}

fn own_mount_namespace() -> anyhow::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::open(c"/proc/self/ns/mnt", flags, Mode::empty())
        .context("open /proc/self/ns/mnt: is a procfs mounted on /proc of the host?")
}

/// What a maker says whose init has been killed.
const GONE: &str = "init is gone";

fn hear_of_birth(maker: &MakersEnd) -> anyhow::Result<i32> {
    match maker.receive().context("hear from init")?.context(GONE)? {
        (Word::Born(pid), _) => Ok(pid),
        (word, _) => bail!("init said {word:?} at its birth; this is a defect of aril"),
    }
}

fn ask_for_procfs(maker: &MakersEnd) -> anyhow::Result<OwnedFd> {
    maker.send(&Wish::Procfs, &[]).context(GONE)?;
    match maker.receive().context("hear from init")?.context(GONE)? {
        (Word::Procfs, mut descriptors) => descriptors.pop().context("init sent no procfs"),
        (Word::Failed(errno), _) => {
            Err(Errno::from_raw_os_error(errno)).context("filesystem type \"proc\": fsopen")
        }
        (word, _) => bail!("init said {word:?} for a procfs; this is a defect of aril"),
    }
}

/// Init: does what only a process of the pid namespace can do, until the container is made.
fn be_born(
    init: &mut Init<'_>,
    inits: InitsEnd,
    itself: &ClonedChild,
) -> Result<Infallible, Failure> {
    new_session().at(Stage::Session)?;
    let container = serve_maker(&inits).at(Stage::Mounts)?;
    drop(inits);
    let slave = enter(container).at(Stage::Pivot)?;
    let root = Root::own().at(Stage::Rootfs)?;
    take_streams(init.plan.process.as_ref(), slave, &root).at(Stage::Streams)?;
    become_program(init, itself, &root)
}

/// Comes into the container that was made. The slave of its terminal, if there is one.
fn enter(mut container: Vec<OwnedFd>) -> anyhow::Result<Option<OwnedFd>> {
    let mut given = container.drain(..);
    let (mounts, root) = given.next().zip(given.next()).context("the maker sent no container")?;
    let slave = given.next();
    setns(&mounts, CloneFlags::CLONE_NEWNS).map_err(from_nix).context("setns")?;
    Root::new(root).enter()?;
    rustix::process::chdir(c"/").context("chdir to /")?;
    Ok(slave)
}

/// What the maker sends when it is done. Without its maker init ends: that has said why.
fn serve_maker(inits: &InitsEnd) -> anyhow::Result<Vec<OwnedFd>> {
    inits.send(&Word::Born(own_pid()), &[]).context("the maker is gone")?;
    loop {
        match inits.receive().context("hear from the maker")? {
            None => exit_now(1),
            Some((Wish::Finish, container)) => return Ok(container),
            Some((Wish::Procfs, _)) => answer_with_procfs(inits)?,
        }
    }
}

fn answer_with_procfs(inits: &InitsEnd) -> anyhow::Result<()> {
    let sent = match open_filesystem(c"proc") {
        Ok(procfs) => inits.send(&Word::Procfs, &[procfs.as_fd()]),
        Err(error) => {
            let errno = error.downcast_ref::<Errno>().map_or(0, |errno| errno.raw_os_error());
            inits.send(&Word::Failed(errno), &[])
        }
    };
    sent.context("the maker is gone")
}
