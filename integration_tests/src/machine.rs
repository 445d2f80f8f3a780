//! What must be after the tests as it was before them.
//!
//! A snapshot is taken twice in two places: outside of the suite's own namespaces, where it is of
//! the machine, and inside, where it is of what the runtime under test could reach.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{WaitOptions, wait};

use crate::isolation::{DIRECTORY_PREFIX, SUITE_MARK};
use crate::mountinfo;

/// How long a difference may last that goes by itself: others use the machine, too, and a cgroup is
/// there for a moment after its last process.
const PATIENCE: Duration = Duration::from_secs(3);

/// How many differences of a kind are told.
const TOLD: usize = 5;

/// One kind of thing.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    /// Its name in the totals.
    name: &'static str,
    /// Lists what there is; the argument is the suite's token.
    list: fn(&str) -> BTreeSet<String>,
    /// Whether it counts as a difference if something is gone, and not only if something is new.
    /// Others remove their temporary files and cgroups at any time.
    both: bool,
}

/// What is compared of the machine, by a process outside of the suite's namespaces.
pub(crate) const OUTSIDE: &[Kind] = &[
    Kind { name: "machine::mounts", list: |_| mounts(), both: true },
    Kind { name: "machine::propagation", list: |_| propagation(), both: true },
    Kind { name: "machine::cgroups", list: cgroups, both: false },
    Kind { name: "machine::run", list: |_| run(), both: true },
    Kind { name: "machine::temporary_files", list: |_| temporary_files(), both: false },
    Kind { name: "machine::network_interfaces", list: network_interfaces, both: true },
    Kind { name: "machine::devices", list: |_| devices(), both: true },
    Kind { name: "machine::processes", list: marked_processes, both: false },
];

/// What is compared in the suite's namespaces, by their first process. Cgroups again: a view may
/// show a hierarchy that the machine has not mounted.
pub(crate) const INSIDE: &[Kind] = &[
    Kind { name: "suite::mounts", list: |_| mounts(), both: true },
    Kind { name: "suite::propagation", list: |_| propagation(), both: true },
    Kind { name: "suite::cgroups", list: cgroups, both: false },
    Kind { name: "suite::devices", list: |_| devices(), both: true },
    Kind { name: "suite::processes", list: |_| other_processes(), both: false },
];

/// What there was at one time.
pub(crate) struct Snapshot {
    token: String,
    found: Vec<(Kind, BTreeSet<String>)>,
}

impl Snapshot {
    /// Lists everything; `token` is the suite's own, by which its processes are known.
    pub(crate) fn take(kinds: &[Kind], token: &str) -> Self {
        let found = kinds.iter().map(|kind| (*kind, (kind.list)(token))).collect();
        Self { token: token.to_owned(), found }
    }

    /// Compares with what there is now. For each kind its name, and what is different.
    pub(crate) fn compare(&self) -> Vec<(&'static str, Option<String>)> {
        let start = Instant::now();
        let mut all = self.differences();
        while all.iter().any(|(_, different)| !different.is_empty()) && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(100));
            for ((_, different), (_, now)) in all.iter_mut().zip(self.differences()) {
                different.retain(|one| now.contains(one));
            }
        }
        all.into_iter().map(|(name, different)| (name, tell(&different))).collect()
    }

    fn differences(&self) -> Vec<(&'static str, BTreeSet<String>)> {
        let compare = |(kind, before): &(Kind, BTreeSet<String>)| {
            let now = (kind.list)(&self.token);
            let new = now.difference(before).map(|one| format!("new: {one}"));
            let gone = before.difference(&now).filter(|_| kind.both);
            (kind.name, new.chain(gone.map(|one| format!("gone: {one}"))).collect())
        };
        self.found.iter().map(compare).collect()
    }
}

fn tell(different: &BTreeSet<String>) -> Option<String> {
    let mut told: Vec<_> = different.iter().take(TOLD).cloned().collect();
    if different.len() > TOLD {
        told.push(format!("and {} more", different.len() - TOLD));
    }
    (!told.is_empty()).then(|| told.join("; "))
}

fn mounts() -> BTreeSet<String> {
    let mounts = mountinfo::load().unwrap_or_default();
    let tell = |mount: mountinfo::Mount| {
        let (point, options) = (mount.point.display(), mount.options);
        format!("{point}: {} {} {options}, mount {}", mount.filesystem, mount.source, mount.id)
    };
    mounts.into_iter().map(tell).collect()
}

/// Where mounts and unmounts go to others, or come from them. A private mount is not told: it is
/// the business of [`mounts`].
fn propagation() -> BTreeSet<String> {
    let mounts = mountinfo::load().unwrap_or_default();
    let connected = mounts.into_iter().filter(|mount| !mount.propagation.is_empty());
    connected.map(|mount| format!("{} is {}", mount.point.display(), mount.propagation)).collect()
}

/// The cgroups of every hierarchy that is mounted, but for those of other suites and those that
/// systemd makes and removes at any time for its units.
fn cgroups(token: &str) -> BTreeSet<String> {
    let units = [".service", ".scope", ".slice", ".mount", ".socket", ".swap"];
    let mounts = mountinfo::load().unwrap_or_default();
    let mut found = BTreeSet::new();
    for mount in mounts.into_iter().filter(|mount| mount.filesystem.starts_with("cgroup")) {
        walk(&mount.point, &mut |path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_unit = units.iter().any(|unit| name.ends_with(unit));
            let is_others = path.iter().any(|one| is_other_suites(&one.to_string_lossy(), token));
            if path.is_dir() && !is_unit && !is_others {
                found.insert(path.display().to_string());
            }
        });
    }
    found
}

/// Whether a name has the token of another suite, which may run at the same time.
fn is_other_suites(name: &str, token: &str) -> bool {
    let rest = name.strip_prefix("tests-").or_else(|| name.strip_prefix('t'));
    let other = rest.and_then(|rest| rest.get(..token.len())).unwrap_or_default();
    let is_token = !other.is_empty() && other.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_token && other != token
}

/// The entries of /run and one level below, where runtimes keep their states.
fn run() -> BTreeSet<String> {
    // What a machine's own daemons write at any time.
    let busy = ["systemd", "udev", "user", "utmp", "log", "cloud-init"];
    let tops: Vec<_> = entries(Path::new("/run"));
    let quiet = tops.iter().filter(|path| !busy.iter().any(|name| path.ends_with(name)));
    let below = quiet.filter(|path| !path.is_symlink()).flat_map(|path| entries(path));
    tops.iter().cloned().chain(below).map(|path| path.display().to_string()).collect()
}

/// The entries of the directories for temporary files, but for those that are known to be others'.
fn temporary_files() -> BTreeSet<String> {
    let directories = BTreeSet::from([std::env::temp_dir(), "/tmp".into(), "/var/tmp".into()]);
    // Other suites, units of systemd, a compiler, and the scripts in hack/.
    let prefixes = [DIRECTORY_PREFIX, "systemd-private-", "rustc"];
    let scripts =
        ["test", "quickstart", "real-bundles", "wrong-on-purpose", "soak", "bench", "record"];
    let is_others = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_scripts = |script: &&str| name.contains(&format!("-{script}."));
        prefixes.iter().any(|prefix| name.starts_with(prefix)) || scripts.iter().any(is_scripts)
    };
    let all = directories.iter().flat_map(|directory| entries(directory));
    all.filter(|path| !is_others(path)).map(|path| path.display().to_string()).collect()
}

/// Those of this process's network namespace, but for other suites'.
fn network_interfaces(token: &str) -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
    let names = text.lines().filter_map(|line| Some(line.split_once(':')?.0.trim()));
    names.filter(|name| !is_other_suites(name, token)).map(str::to_owned).collect()
}

/// The nodes of /dev, but for terminals, which come and go with their users.
fn devices() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let passed_over = [Path::new("/dev/pts"), Path::new("/dev/shm")];
    walk(Path::new("/dev"), &mut |path| {
        let Ok(status) = fs::symlink_metadata(path) else { return };
        let kind = status.file_type();
        if passed_over.iter().any(|top| path.starts_with(top)) {
            return;
        }
        if kind.is_char_device() || kind.is_block_device() || kind.is_file() {
            let (mode, uid, gid) = (status.mode() & 0o7777, status.uid(), status.gid());
            let number = status.rdev();
            found.insert(format!(
                "{} mode {mode:o} owner {uid}:{gid} device {number:x}",
                path.display()
            ));
        }
    });
    found
}

/// The processes that have the suite's mark in their environment, whatever became of their parents.
fn marked_processes(token: &str) -> BTreeSet<String> {
    let mark = format!("{SUITE_MARK}={token}");
    let is_marked = |pid: &String| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|one| one == mark.as_bytes())
    };
    processes(is_marked)
}

/// The processes beside this one: in a pid namespace of which it is the first, all are the suite's,
/// and orphans that have ended are its own to reap.
fn other_processes() -> BTreeSet<String> {
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
    processes(|pid| *pid != std::process::id().to_string())
}

fn processes(is_wanted: impl Fn(&String) -> bool) -> BTreeSet<String> {
    let names = entries(Path::new("/proc")).into_iter();
    let names = names.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
    let pids = names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    let tell = |pid: String| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        format!("process {pid} {}", String::from_utf8_lossy(&line).replace('\0', " ").trim())
    };
    pids.filter(is_wanted).map(tell).collect()
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Calls `visit` for everything below a directory. Links are not followed.
fn walk(directory: &Path, visit: &mut impl FnMut(&Path)) {
    for path in entries(directory) {
        visit(&path);
        if path.is_dir() && !path.is_symlink() {
            walk(&path, visit);
        }
    }
}

/// How the comparisons ended: a line for each, and how many were as before and how many not.
pub(crate) fn report(results: &[(&str, Option<String>)]) -> (usize, usize) {
    let mut count = BTreeMap::from([(false, 0), (true, 0)]);
    for (name, different) in results {
        match different {
            None => println!("ok {name}"),
            Some(text) => println!("FAILED {name}: {text}"),
        }
        *count.entry(different.is_some()).or_default() += 1;
    }
    (count[&false], count[&true])
}

#[cfg(test)]
mod tests {
    use super::is_other_suites;

    #[test]
    fn other_suites_are_known_by_their_names() {
        for name in ["t0123ab-hooks-order", "tests-0123ab-kept", "t0123abd0"] {
            assert!(is_other_suites(name, "aaaaaa") && !is_other_suites(name, "0123ab"), "{name}");
        }
        for name in ["tmp", "tests", "tunnel0", "eth0", ""] {
            assert!(!is_other_suites(name, "aaaaaa"), "{name}");
        }
    }
}
