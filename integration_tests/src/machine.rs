//! What must be after the tests as it was before them.
//!
//! A snapshot is taken twice in two places: outside of the suite's own namespaces, where it is of
//! the machine, and inside, where it is of what the runtime under test could reach.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{WaitOptions, wait};

use crate::differences::{Differences, Expected};
use crate::isolation::{DIRECTORY_PREFIX, SUITE_MARK};
use crate::leftovers::command_line;
use crate::mountinfo;
use crate::suite::{Ending, Verdict, judge, print};

/// How long a difference may last that goes by itself: others use the machine, too, and a cgroup is
/// there for a moment after its last process.
const PATIENCE: Duration = Duration::from_secs(3);

/// How many differences of a kind are told.
const TOLD: usize = 5;

/// One kind of thing.
#[derive(Clone, Copy)]
struct Kind {
    /// Its name in the totals, behind that of the place.
    name: &'static str,
    /// Lists what there is; the argument is the suite's token.
    list: fn(&str) -> Found,
    /// Whether it counts as a difference if something is gone, and not only if something is new.
    /// Others remove their temporary files and cgroups at any time.
    both: bool,
}

type Found = anyhow::Result<BTreeSet<String>>;

const MOUNTS: Kind = Kind { name: "mounts", list: |_| mounts(), both: true };
const PROPAGATION: Kind = Kind { name: "propagation", list: |_| propagation(), both: true };
const CGROUPS: Kind = Kind { name: "cgroups", list: cgroups, both: false };
const DEVICES: Kind = Kind { name: "devices", list: |_| devices(), both: true };

/// From where something is compared.
pub(crate) struct Place {
    name: &'static str,
    kinds: &'static [Kind],
}

impl Place {
    /// The name of a comparison from here.
    fn comparison(&self, kind: &Kind) -> String {
        format!("{}::{}", self.name, kind.name)
    }
}

/// The machine, by a process outside of the suite's namespaces.
pub(crate) const OUTSIDE: Place = Place {
    name: "machine",
    kinds: &[
        MOUNTS,
        PROPAGATION,
        CGROUPS,
        Kind { name: "run", list: |_| run(), both: true },
        Kind { name: "temporary_files", list: |_| temporary_files(), both: false },
        Kind { name: "network_interfaces", list: network_interfaces, both: true },
        DEVICES,
        Kind { name: "processes", list: marked_processes, both: false },
    ],
};

/// The suite's namespaces, by their first process. Cgroups again: a view may show a hierarchy that
/// the machine has not mounted.
pub(crate) const INSIDE: Place = Place {
    name: "suite",
    kinds: &[
        MOUNTS,
        PROPAGATION,
        CGROUPS,
        DEVICES,
        Kind { name: "processes", list: |_| other_processes(), both: false },
    ],
};

/// What there was at one time.
pub(crate) struct Snapshot {
    place: Place,
    token: String,
    found: Vec<BTreeSet<String>>,
}

/// What of one kind is not as it was.
pub(crate) struct Difference {
    name: String,
    /// Each new and each missing thing.
    things: BTreeSet<String>,
}

impl Snapshot {
    /// Lists everything; `token` is the suite's own, by which its processes are known.
    ///
    /// # Errors
    /// Something cannot be listed.
    pub(crate) fn take(place: Place, token: &str) -> anyhow::Result<Self> {
        let found = place.kinds.iter().map(|kind| (kind.list)(token)).collect::<Result<_, _>>()?;
        Ok(Self { place, token: token.to_owned(), found })
    }

    /// Compares each kind with what there is now.
    ///
    /// # Errors
    /// Something cannot be listed.
    pub(crate) fn compare(&self) -> anyhow::Result<Vec<Difference>> {
        let start = Instant::now();
        let mut all = self.differences()?;
        while all.iter().any(|one| !one.things.is_empty()) && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(100));
            for (one, now) in all.iter_mut().zip(self.differences()?) {
                one.things.retain(|thing| now.things.contains(thing));
            }
        }
        Ok(all)
    }

    fn differences(&self) -> anyhow::Result<Vec<Difference>> {
        let compare = |(kind, before): (&Kind, &BTreeSet<String>)| {
            let now = (kind.list)(&self.token)?;
            let new = now.difference(before).map(|one| format!("new: {one}"));
            let gone = before.difference(&now).filter(|_| kind.both);
            let gone = gone.map(|one| format!("gone: {one}"));
            let name = self.place.comparison(kind);
            Ok(Difference { name, things: new.chain(gone).collect() })
        };
        self.place.kinds.iter().zip(&self.found).map(compare).collect()
    }
}

fn mounts() -> Found {
    let mounts = mountinfo::load()?;
    let tell = |mount: mountinfo::Mount| {
        let (point, options) = (mount.point.display(), mount.options);
        format!("{point}: {} {} {options}, mount {}", mount.filesystem, mount.source, mount.id)
    };
    Ok(mounts.into_iter().map(tell).collect())
}

/// Where mounts and unmounts go to others, or come from them. A private mount is not told: it is
/// the business of [`mounts`].
fn propagation() -> Found {
    let mounts = mountinfo::load()?;
    let connected = mounts.into_iter().filter(|mount| !mount.propagation.is_empty());
    let tell =
        |mount: mountinfo::Mount| format!("{} is {}", mount.point.display(), mount.propagation);
    Ok(connected.map(tell).collect())
}

/// The cgroups of every hierarchy that is mounted, but for those of other suites and those that
/// systemd makes and removes at any time for its units.
fn cgroups(token: &str) -> Found {
    let units = [".service", ".scope", ".slice", ".mount", ".socket", ".swap"];
    let mounts = mountinfo::load()?;
    let mut found = BTreeSet::new();
    for mount in mounts.into_iter().filter(|mount| mount.filesystem.starts_with("cgroup")) {
        walk(&mount.point, &mut |path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_unit = units.iter().any(|unit| name.ends_with(unit));
            let is_others = path.iter().any(|one| is_other_suites(&one.to_string_lossy(), token));
            if path.is_dir() && !is_unit && !is_others {
                found.insert(path.display().to_string());
            }
        })?;
    }
    Ok(found)
}

/// Whether a name has the token of another suite, which may run at the same time.
fn is_other_suites(name: &str, token: &str) -> bool {
    let rest = name.strip_prefix("tests-").or_else(|| name.strip_prefix('t'));
    let other = rest.and_then(|rest| rest.get(..token.len())).unwrap_or_default();
    let is_token = !other.is_empty() && other.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_token && other != token
}

/// The entries of /run and one level below, where runtimes keep their states.
fn run() -> Found {
    // What a machine's own daemons write at any time.
    let busy = ["systemd", "udev", "user", "utmp", "log", "cloud-init"];
    let mut all = entries(Path::new("/run"))?;
    let is_quiet = |path: &&PathBuf| !busy.iter().any(|name| path.ends_with(name));
    let directories: Vec<_> =
        all.iter().filter(is_quiet).filter(|path| is_directory(path)).collect();
    let below = directories.into_iter().map(|path| entries(path)).collect::<Result<Vec<_>, _>>()?;
    all.extend(below.into_iter().flatten());
    Ok(all.iter().map(|path| path.display().to_string()).collect())
}

/// The entries of the directories for temporary files, but for those that are known to be others'.
fn temporary_files() -> Found {
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
    let all = directories.iter().map(|directory| entries(directory));
    let all = all.collect::<Result<Vec<_>, _>>()?.into_iter().flatten();
    Ok(all.filter(|path| !is_others(path)).map(|path| path.display().to_string()).collect())
}

/// Those of this process's network namespace, but for other suites'.
fn network_interfaces(token: &str) -> Found {
    let text = fs::read_to_string("/proc/self/net/dev").context("/proc/self/net/dev")?;
    let names = text.lines().filter_map(|line| Some(line.split_once(':')?.0.trim()));
    Ok(names.filter(|name| !is_other_suites(name, token)).map(str::to_owned).collect())
}

/// The nodes of /dev, but for terminals, which come and go with their users.
fn devices() -> Found {
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
    })?;
    Ok(found)
}

/// The processes that have the suite's mark in their environment, whatever became of their parents.
fn marked_processes(token: &str) -> Found {
    let mark = format!("{SUITE_MARK}={token}");
    let is_marked = |pid: &String| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|one| one == mark.as_bytes())
    };
    processes(is_marked)
}

/// The processes beside this one: in a pid namespace of which it is the first, all are the suite's,
/// and orphans that have ended are its own to reap. In the caller's the machine's are there, too: which
/// are the suite's is seen from outside.
fn other_processes() -> Found {
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
    if std::process::id() != 1 {
        return Ok(BTreeSet::new());
    }
    processes(|pid| *pid != std::process::id().to_string())
}

fn processes(is_wanted: impl Fn(&String) -> bool) -> Found {
    let names = entries(Path::new("/proc"))?.into_iter();
    let names = names.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
    let pids = names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    let tell = |pid: String| format!("process {pid} {}", command_line(&pid));
    Ok(pids.filter(is_wanted).map(tell).collect())
}

/// What is in a directory: nothing if it is not there, or not any more.
fn entries(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        opened => {
            let entries = opened.with_context(|| directory.display().to_string())?;
            Ok(entries.flatten().map(|entry| entry.path()).collect())
        }
    }
}

/// Not a link to one.
fn is_directory(path: &Path) -> bool {
    path.is_dir() && !path.is_symlink()
}

/// Calls `visit` for everything below a directory. Links are not followed.
fn walk(directory: &Path, visit: &mut impl FnMut(&Path)) -> anyhow::Result<()> {
    for path in entries(directory)? {
        visit(&path);
        if is_directory(&path) {
            walk(&path, visit)?;
        }
    }
    Ok(())
}

/// Whether a comparison has this name.
pub(crate) fn is_comparison(name: &str) -> bool {
    let has = |place: &Place| place.kinds.iter().any(|kind| place.comparison(kind) == name);
    has(&OUTSIDE) || has(&INSIDE)
}

/// Prints how the comparisons ended, a line for each. How many found all as it was or as `listed`, and how many not.
pub(crate) fn report(differences: &[Difference], listed: &Differences) -> (usize, usize) {
    let is_passed = |one: &&Difference| {
        let expected = listed.expected(&one.name);
        let verdict = judge(one.ending(expected), expected);
        print(&one.name, &verdict);
        matches!(verdict, Verdict::Passed(_))
    };
    let passed = differences.iter().filter(is_passed).count();
    (passed, differences.len() - passed)
}

impl Difference {
    /// What it is as the ending of a test: where some is listed and some is not, what is not.
    fn ending(&self, expected: Option<Expected<'_>>) -> Ending {
        let is_listed = |thing: &&String| expected.is_some_and(|one| thing.contains(one.says));
        let (listed, others): (Vec<&String>, Vec<_>) = self.things.iter().partition(is_listed);
        let things = if others.is_empty() { listed } else { others };
        if things.is_empty() {
            return Ending::Passed;
        }
        let mut told: Vec<_> = things.iter().take(TOLD).map(|thing| thing.as_str()).collect();
        let more = format!("and {} more", things.len().saturating_sub(TOLD));
        if things.len() > TOLD {
            told.push(&more);
        }
        Ending::Failed(told.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::{Difference, Ending, Expected, is_comparison, is_other_suites};

    #[test]
    fn what_is_listed_hides_nothing_else() {
        let told = |things: &[&str], says: Option<&str>| {
            let things = things.iter().map(|thing| (*thing).to_owned()).collect();
            let one = Difference { name: "machine::run".to_owned(), things };
            let expected = says.map(|says| Expected { says, rule: "", sometimes: true });
            match one.ending(expected) {
                Ending::Failed(text) => text,
                Ending::Passed | Ending::Skipped(_) => String::new(),
            }
        };
        assert_eq!(told(&[], Some("new: /run/a")), "");
        assert_eq!(told(&["new: /run/a.1", "new: /run/b"], None), "new: /run/a.1; new: /run/b");
        assert_eq!(told(&["new: /run/a.1", "new: /run/b"], Some("/run/a.")), "new: /run/b");
        assert_eq!(told(&["new: /run/a.1"], Some("/run/a.")), "new: /run/a.1");
        assert_eq!(told(&["1", "2", "3", "4", "5", "6", "7"], None), "1; 2; 3; 4; 5; and 2 more");
    }

    #[test]
    fn comparisons_are_known_by_place_and_kind() {
        assert!(is_comparison("machine::temporary_files") && is_comparison("suite::mounts"));
        assert!(!is_comparison("suite::temporary_files") && !is_comparison("hooks::order"));
    }

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
