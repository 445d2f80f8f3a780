//! Probes of a process that comes into sight: what its directory in /proc shows, and what can be done to it.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::LAST_DESCRIPTOR;
use super::probes::{NAMESPACES, Target};

/// The most of one mapping that is read.
const LARGEST_READ: u64 = 1 << 20;

/// Its root, working directory and descriptors, upwards to the marker.
pub(super) fn links(target: &Target, pid: u32) -> Vec<String> {
    let descriptors = (0..=LAST_DESCRIPTOR).map(|fd| format!("fd/{fd}"));
    let names = ["root", "cwd"].iter().map(|name| (*name).to_owned()).chain(descriptors);
    let mut reached = Vec::new();
    for link in names.map(|name| format!("/proc/{pid}/{name}")) {
        let Ok(shown) = fs::read_link(&link) else { continue };
        let up = format!("{link}{}{}", "/..".repeat(12), target.marker);
        let down = format!("{link}{}", target.marker);
        let itself = target.is_hosts(Path::new(&link)) && shown.ends_with("marker");
        if itself || target.is_marker(&up) || target.is_marker(&down) {
            reached.push(format!("{link} -> {}", shown.display()));
        }
    }
    reached
}

/// Its namespaces: one of the host's could be joined.
pub(super) fn namespaces(target: &Target, pid: u32) -> Vec<String> {
    let link = |name: &&str| fs::read_link(format!("/proc/{pid}/ns/{name}")).ok();
    let shown = NAMESPACES.iter().filter_map(link).map(|link| link.display().to_string());
    shown
        .filter(|link| target.namespaces.contains(link))
        .map(|link| format!("{pid} {link}"))
        .collect()
}

/// Its program's file, for writing or to change its mode (CVE-2019-5736).
pub(super) fn binary(target: &Target, pid: u32) -> Vec<String> {
    changeable(target, format!("/proc/{pid}/exe")).into_iter().collect()
}

/// Every file that is mapped into its memory, in the same way.
pub(super) fn mapped_files(target: &Target, pid: u32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/map_files")).into_iter().flatten().flatten();
    entries.filter_map(|entry| changeable(target, entry.path().display().to_string())).collect()
}

/// A file of the host that can be written, or given the mode that it has.
fn changeable(target: &Target, path: String) -> Option<String> {
    let file = Path::new(&path);
    if !target.is_hosts(file) {
        return None;
    }
    // The kernel lets nobody write a program that runs; its mode may be changed all the same.
    let opened = OpenOptions::new().write(true).open(file).map(drop);
    let mode = fs::metadata(file).ok()?.permissions();
    opened.or_else(|_| fs::set_permissions(file, mode)).ok().map(|()| path)
}

/// Words of the runtime's caller on its command line.
pub(super) fn arguments(target: &Target, pid: u32) -> Vec<String> {
    shows(&format!("/proc/{pid}/cmdline"), &target.argument)
}

/// The environment of the runtime's caller in its own.
pub(super) fn environment(target: &Target, pid: u32) -> Vec<String> {
    shows(&format!("/proc/{pid}/environ"), &target.variable)
}

fn shows(path: &str, secret: &str) -> Vec<String> {
    let found = fs::read(path).is_ok_and(|text| contains(&text, secret));
    found.then(|| path.to_owned()).into_iter().collect()
}

fn contains(text: &[u8], secret: &str) -> bool {
    text.windows(secret.len()).any(|part| part == secret.as_bytes())
}

/// The environment of the runtime's caller in the memory that it can write.
pub(super) fn memory(target: &Target, pid: u32) -> Vec<String> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let Ok(memory) = File::open(format!("/proc/{pid}/mem")) else { return Vec::new() };
    let writable = maps.lines().filter(|line| line.contains(" rw"));
    let places = writable.filter_map(|line| {
        let (first, end) = line.split_whitespace().next()?.split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        let (first, end) = (number(first)?, number(end)?);
        // The stack's end is where the environment is.
        Some((first.max(end.saturating_sub(LARGEST_READ)), end))
    });
    let found = |(first, end): &(u64, u64)| {
        let mut bytes = vec![0; usize::try_from(end - first).unwrap_or_default()];
        let length = memory.read_at(&mut bytes, *first).unwrap_or_default();
        contains(&bytes[..length], &target.variable)
    };
    places.filter(found).map(|(first, _)| format!("{pid} at {first:x}")).collect()
}

/// Its links, while it is held wherever it happened to be when it was seized (ptrace(2)).
pub(super) fn seized(target: &Target, pid: u32) -> Vec<String> {
    let Some(held) = Held::seize(pid) else { return Vec::new() };
    let reached = links(target, pid);
    drop(held);
    reached
}

/// How long a process may take to stop: it may wait in the kernel for another one.
const STOPS_WITHIN: Duration = Duration::from_secs(2);

/// A process that is stopped, until this is dropped.
struct Held {
    pid: Pid,
    /// What it would have got when it stopped.
    signal: Option<Signal>,
}

impl Held {
    fn seize(pid: u32) -> Option<Self> {
        let pid = Pid::from_raw(i32::try_from(pid).ok()?);
        ptrace::seize(pid, ptrace::Options::empty()).ok()?;
        // A thread that has ended by now must be waited for all the same.
        let _ = ptrace::interrupt(pid);
        Some(Self { pid, signal: wait_until_stopped(pid)? })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if ptrace::detach(self.pid, self.signal).is_err() {
            // It was killed, and is the tracer's to wait for: until then no other thread of that process
            // can execute a program (ptrace(2), "execve(2) under ptrace").
            let _ = wait_until_stopped(self.pid);
        }
    }
}

/// The signal, if any, that a process would have got when it stopped; nothing if it has ended.
fn wait_until_stopped(pid: Pid) -> Option<Option<Signal>> {
    let began = Instant::now();
    while began.elapsed() < STOPS_WITHIN {
        match waitpid(pid, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL)) {
            Ok(WaitStatus::StillAlive) => std::thread::yield_now(),
            Ok(WaitStatus::Stopped(_, signal)) => return Some(Some(signal)),
            Ok(WaitStatus::PtraceEvent(..)) => return Some(None),
            _ => return None,
        }
    }
    None
}
