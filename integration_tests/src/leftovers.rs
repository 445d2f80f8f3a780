//! What is left of a container that should be gone.

use std::ffi::CString;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::bail;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};

use crate::removal::mounts_below;
use crate::view::CGROUPS;

/// In the environment of every process that calls a runtime, with the container's id: what the runtime
/// forks and forgets is found by it, unless it has forgotten the environment itself and is in the
/// container's cgroup.
pub(crate) const MARK: &str = "CONTAINER_UNDER_TEST";

/// How far below `/sys/fs/cgroup` a container's cgroup is looked for.
const DEPTH: usize = 6;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// How long processes that were killed may take to go.
const GRACE: Duration = Duration::from_secs(1);

/// Where traces of a container would be.
pub(crate) struct Traces {
    pub id: String,
    pub bundle: PathBuf,
    pub rootfs: PathBuf,
    pub state: PathBuf,
}

impl Traces {
    /// Nothing is left: no state, no mount, no cgroup, no process.
    pub(crate) fn none(&self) -> anyhow::Result<()> {
        if self.state.exists() {
            bail!("a state directory is left");
        }
        if let Some(mount) = mounts_below(&self.bundle)?.first() {
            bail!("a mount is left: {}", mount.display());
        }
        let start = Instant::now();
        while let Some((pid, why)) = self.processes().into_iter().next() {
            if start.elapsed() > GRACE {
                bail!("a process is left: {pid} {} ({why})", command_line(&pid.to_string()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        if let Some(cgroup) = cgroups(&self.id).first() {
            bail!("a cgroup is left: {}", cgroup.display());
        }
        Ok(())
    }

    /// Removes what is left but for the bundle, so that a test that failed does not disturb the others.
    pub(crate) fn sweep(&self) {
        // A process that the v1 freezer holds does not die, nor does the pid namespace around it.
        for cgroup in cgroups(&self.id) {
            let _ = fs::write(cgroup.join("freezer.state"), "THAWED");
        }
        for (pid, _) in self.processes() {
            let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
        }
        let start = Instant::now();
        while !self.processes().is_empty() && start.elapsed() < GRACE {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(20));
        cgroups(&self.id).iter().for_each(|path| remove_cgroup(path));
    }

    /// Processes whose root is the container's, or that the runtime made, each with how it is known.
    fn processes(&self) -> Vec<(i32, &'static str)> {
        let root = fs::metadata(&self.rootfs).map(|root| (root.dev(), root.ino())).ok();
        let mark = format!("{MARK}={}", self.id);
        let confined: Vec<i32> = cgroups(&self.id).iter().flat_map(|path| members(path)).collect();
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
        pids.filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            if confined.contains(&pid) {
                return Some((pid, "it is in the container's cgroup"));
            }
            let its = fs::metadata(entry.path().join("root/.")).ok();
            if root.is_some() && its.map(|its| (its.dev(), its.ino())) == root {
                return Some((pid, "its root is the container's"));
            }
            let environment = fs::read(entry.path().join("environ")).ok()?;
            let marked = environment.split(|byte| *byte == 0).any(|one| one == mark.as_bytes());
            marked.then_some((pid, "the runtime made it"))
        })
        .collect()
    }
}

/// The mountinfo of the suite, without the mounts of other tests than `id`.
pub(crate) fn mountinfo_around(id: &str) -> anyhow::Result<String> {
    Ok(without_others(&fs::read_to_string("/proc/self/mountinfo")?, id))
}

/// A mountinfo without mounts in the bundles of tests other than `id` that run at the same time.
pub(crate) fn without_others(mountinfo: &str, id: &str) -> String {
    let is_others = |line: &&str| line.contains("/container-test-t") && !line.contains(id);
    let lines: Vec<&str> = mountinfo.lines().filter(|line| !is_others(line)).collect();
    lines.join("\n")
}

/// The command line of a process.
pub(crate) fn command_line(pid: &str) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ").trim().to_owned()
}

/// The processes in a cgroup.
fn members(cgroup: &Path) -> Vec<i32> {
    let list = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    list.lines().filter_map(|pid| pid.parse().ok()).collect()
}

/// The cgroups called `name`, in all hierarchies.
pub(crate) fn cgroups(name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    find(Path::new(CGROUPS), name, DEPTH, &mut found);
    found
}

fn find(directory: &Path, name: &str, depth: usize, found: &mut Vec<PathBuf>) {
    for path in directories(directory) {
        if path.file_name().is_some_and(|own| own == name) {
            found.push(path);
        } else if depth > 0 {
            find(&path, name, depth - 1, found);
        }
    }
}

/// The directories, not links to them, in a directory.
fn directories(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let is_directory = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries.filter(is_directory).map(|entry| entry.path()).collect()
}

/// Removes a cgroup and those below it, as far as they are empty.
pub(crate) fn remove_cgroup(path: &Path) {
    let _ = remove_below(path);
    let _ = fs::remove_dir(path);
}

/// Goes by descriptor, since a container can make paths that are too long for any call.
fn remove_below(path: &Path) -> anyhow::Result<()> {
    let mut current = rustix::fs::open(path, DIRECTORY, Mode::empty())?;
    let mut levels = vec![children(&current)?];
    let mut names = Vec::new();
    while let Some(level) = levels.last_mut() {
        if let Some(name) = level.pop() {
            current = rustix::fs::openat(&current, &name, DIRECTORY, Mode::empty())?;
            levels.push(children(&current)?);
            names.push(name);
            continue;
        }
        levels.pop();
        let Some(name) = names.pop() else { break };
        current = rustix::fs::openat(&current, "..", DIRECTORY, Mode::empty())?;
        let _ = rustix::fs::unlinkat(&current, &name, AtFlags::REMOVEDIR);
    }
    Ok(())
}

fn children(directory: &OwnedFd) -> anyhow::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type() == FileType::Directory && name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}
