//! The suite's own namespaces: what is under test can neither change nor kill what is outside.
//!
//! The program runs three times. The one that was called stays outside: it compares the machine
//! before and after ([`watch`]). The second is the first process of a new pid namespace, in a mount
//! namespace with a /proc and a /dev of its own: it compares what can be reached from there, and
//! reaps ([`lead`]). The third, its child, runs the tests. Cgroups, the network, /run and files are
//! the machine's own all the same: a runtime needs them.

use std::fs;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::Context as _;
use nix::sched::{CloneFlags, unshare};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, makedev, mknodat, open};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, Signal, WaitOptions, set_child_subreaper, set_parent_process_death_signal, wait,
};
use rustix::stdio::dup2_stdin;

use crate::differences::Differences;
use crate::machine::{INSIDE, OUTSIDE, Snapshot, report};
use crate::removal::remove_tree;
use crate::suite::Totals;
use crate::view::View;

/// In the environment of every process of the suite, with its token.
pub(crate) const SUITE_MARK: &str = "CONTAINER_TESTS";

/// How the directory for a suite's files is called, but for its token.
pub(crate) const DIRECTORY_PREFIX: &str = "container-tests-";

/// Which of the three programs this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Outside of the suite's namespaces.
    Watcher,
    /// The first process in them.
    Leader,
    /// What runs the tests.
    Suite,
}

impl Role {
    /// Taken from the environment, as the command line is the user's.
    pub(crate) fn own() -> Self {
        match std::env::var(ROLE).as_deref() {
            Ok("leader") => Self::Leader,
            Ok("suite") => Self::Suite,
            _ => Self::Watcher,
        }
    }
}

const ROLE: &str = "CONTAINER_TESTS_ROLE";

/// What this suite has in its names, so that two can run on one machine: six hexadecimal digits.
pub(crate) fn token() -> String {
    std::env::var(SUITE_MARK).unwrap_or_default()
}

/// Runs the suite in namespaces of its own and compares the machine before and after.
///
/// # Errors
/// Namespaces, a pipe or the directory for the suite's files cannot be made.
pub(crate) fn watch(own_pids: bool, listed: &Differences) -> anyhow::Result<Totals> {
    let mut random = [0; 3];
    fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let directory =
        fs::canonicalize(std::env::temp_dir())?.join(format!("{DIRECTORY_PREFIX}{token}"));
    let before = Snapshot::take(OUTSIDE, &token)?;
    // A container's root that is another user of the machine must be able to come here.
    fs::create_dir(&directory).with_context(|| directory.display().to_string())?;
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
    let totals =
        start_leader(&token, &directory, own_pids).and_then(|(child, pipe)| follow(child, &pipe));
    remove_tree(&directory)?;
    let (passed, failed) = report(&before.compare()?, listed);
    Ok(totals? + Totals { passed, failed, skipped: 0 })
}

/// Starts the first process. What it writes goes through a pipe, whose other end is handed out:
/// nothing inside has a descriptor of the caller's terminal or /dev/null.
fn start_leader(token: &str, directory: &Path, own_pids: bool) -> anyhow::Result<(Child, OwnedFd)> {
    if own_pids {
        unshare(CloneFlags::CLONE_NEWPID).context("a pid namespace of its own (be root)")?;
    }
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    let mut command = again(Role::Leader)?;
    command.env(SUITE_MARK, token).env("TMPDIR", directory);
    command.stdout(writer.try_clone()?).stderr(writer);
    let child = command.spawn().context("the first process of the namespaces")?;
    Ok((child, reader))
}

/// This program with the same arguments in another role.
fn again(role: Role) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    let name = if role == Role::Leader { "leader" } else { "suite" };
    command.args(std::env::args_os().skip(1)).env(ROLE, name).stdin(Stdio::null());
    Ok(command)
}

/// Prints what comes from the namespaces, but for the totals, which are summed up.
fn follow(mut child: Child, pipe: &OwnedFd) -> anyhow::Result<Totals> {
    let mut totals = Totals::default();
    let mut rest = Vec::new();
    loop {
        // The end of the pipe does not come if a process has got away with it.
        let ended = child.try_wait()?.is_some();
        match read_within(pipe, MOMENT)? {
            Some(bytes) if bytes.is_empty() => break,
            Some(bytes) => rest.extend(bytes),
            None if ended => break,
            None => {}
        }
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line[..end]);
            match Totals::parse(&line) {
                Some(more) => totals = totals + more,
                None => println!("{line}"),
            }
        }
    }
    let status = child.wait()?;
    if !status.success() {
        println!("{}FAILED suite::first_process: {status}", String::from_utf8_lossy(&rest));
        totals.failed += 1;
    }
    Ok(totals)
}

/// How long to wait for a line before it is asked whether there will be any.
const MOMENT: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// What is in a pipe, or nothing at its end; `None` if the time passes.
fn read_within(pipe: &OwnedFd, time: Timespec) -> anyhow::Result<Option<Vec<u8>>> {
    if poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&time))? == 0 {
        return Ok(None);
    }
    let mut buffer = vec![0; 1 << 16];
    let length = rustix::io::read(pipe, &mut buffer)?;
    buffer.truncate(length);
    Ok(Some(buffer))
}

/// Makes the namespaces what they are to be, runs the suite in them and waits for its end. How the
/// comparisons ended; the suite tells its own totals.
///
/// # Errors
/// A mount or node cannot be made; [`Skip`](crate::skip::Skip) if the machine does not have what the view shows.
pub(crate) fn lead(view: View, listed: &Differences) -> anyhow::Result<Totals> {
    // With the first process all end.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It is whose orphans all become, also where it is not the first process.
    set_child_subreaper(Some(rustix::process::getpid()))?;
    unshare(CloneFlags::CLONE_NEWNS).context("a mount namespace of its own")?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).context("make / private")?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", flags, None).context("mount a proc of its own")?;
    make_devices().context("make a /dev of its own")?;
    dup2_stdin(open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)?;
    view.mount()?;
    let before = Snapshot::take(INSIDE, &token())?;
    let suite = again(Role::Suite)?.spawn().context("start the suite")?;
    let status = reap_until_end_of(&suite)?;
    let (passed, mut failed) = report(&before.compare()?, listed);
    if !matches!(status.code(), Some(0 | 1)) {
        println!("FAILED suite::end: {status}");
        failed += 1;
    }
    Ok(Totals { passed, failed, skipped: 0 })
}

/// As the first process of a pid namespace must.
fn reap_until_end_of(suite: &Child) -> anyhow::Result<ExitStatus> {
    let pid = Pid::from_raw(i32::try_from(suite.id())?);
    loop {
        let ended = wait(WaitOptions::empty())?;
        if let Some((_, status)) = ended.filter(|(ended, _)| Some(*ended) == pid) {
            return Ok(ExitStatus::from_raw(status.as_raw()));
        }
    }
}

/// The nodes that a container expects of its host: name, major and minor number.
const NODES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];

/// Mounts a /dev with nodes of its own on the machine's: a mode or an owner that changes there
/// changes for nobody else.
fn make_devices() -> anyhow::Result<()> {
    let dev = Path::new("/dev");
    mount("tmpfs", dev, "tmpfs", MountFlags::NOSUID, Some(c"mode=755"))?;
    for (name, major, minor) in NODES {
        let path: PathBuf = dev.join(name);
        mknodat(CWD, &path, FileType::CharacterDevice, Mode::empty(), makedev(major, minor))
            .with_context(|| path.display().to_string())?;
        // Whatever the umask.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
    }
    for (target, name) in LINKS {
        symlink(target, dev.join(name))?;
    }
    for name in ["pts", "shm", "mqueue"] {
        fs::create_dir(dev.join(name))?;
    }
    let quiet = MountFlags::NOSUID | MountFlags::NOEXEC;
    let options = c"newinstance,mode=620,ptmxmode=666,gid=5";
    mount("devpts", dev.join("pts"), "devpts", quiet, Some(options))?;
    mount("tmpfs", dev.join("shm"), "tmpfs", quiet | MountFlags::NODEV, Some(c"mode=1777"))?;
    Ok(())
}
