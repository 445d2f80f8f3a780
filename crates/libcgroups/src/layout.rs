//! Which cgroup hierarchies a machine has: pure, from the texts of /proc.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use crate::{Error, Location};

/// The hierarchies, and where in each the runtime itself is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// v1 hierarchies, sorted by mount point.
    pub(crate) legacy: Vec<LegacyMount>,
    /// The v2 hierarchy.
    pub(crate) unified: Option<UnifiedMount>,
    /// Whether there are others, in which the container's cgroup cannot be made.
    pub(crate) has_others: bool,
}

/// A v1 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LegacyMount {
    pub mount_point: PathBuf,
    /// Controllers, or `name=NAME` of a named hierarchy.
    pub controllers: Vec<String>,
    /// The runtime's own cgroup, below the mount point.
    pub own: PathBuf,
}

/// The v2 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnifiedMount {
    pub mount_point: PathBuf,
    /// The runtime's own cgroup, below the mount point.
    pub own: PathBuf,
}

impl Layout {
    /// Whether v2 is all there is.
    #[must_use]
    pub const fn is_unified(&self) -> bool {
        self.unified.is_some() && self.legacy.is_empty() && !self.has_others
    }

    /// Only the hierarchies in which the cgroup at `location` can be made. `can_write` is asked about its directory, which
    /// may not exist, and in v2 about the cgroup.procs to which a process must be allowed to write that moves there from
    /// the runtime's own cgroup (cgroup-v2.rst, "Delegation Containment").
    #[must_use]
    pub fn that_can_have(self, location: &Location, can_write: impl Fn(&Path) -> bool) -> Self {
        let mut has_others = self.has_others;
        let mut keep = |can: bool| {
            has_others |= !can;
            can
        };
        let mut legacy = self.legacy;
        legacy.retain(|mount| {
            let mut places = location.legacy().iter();
            let place = places.find(|place| place.mount_point == mount.mount_point);
            place.is_none_or(|place| keep(can_write(&place.directory)))
        });
        let unified = self.unified.filter(|mount| {
            location.unified().is_none_or(|place| {
                let shared = shared(&mount.mount_point.join(&mount.own), &place.directory);
                keep(can_write(&place.directory) && can_write(&shared.join("cgroup.procs")))
            })
        });
        Self { legacy, unified, has_others }
    }

    /// Reads what is in /proc/self/mountinfo and /proc/self/cgroup: bytes, since a path may hold any.
    /// Mounts that others cover do not count.
    ///
    /// # Errors
    /// A line that is not as proc_pid_mountinfo(5) says.
    pub fn parse(mountinfo: impl AsRef<[u8]>, own_cgroup: impl AsRef<[u8]>) -> Result<Self, Error> {
        let own_cgroup = own_cgroup.as_ref();
        let mounts = MountLine::parse_all(mountinfo.as_ref())?;
        let mut layout = Self::default();
        for mount in mounts.iter().filter(|mount| mount.is_visible(&mounts)) {
            match mount.fstype {
                "cgroup2" if layout.unified.is_none() => {
                    let own = own_path(own_cgroup, &[], &mount.root);
                    let mount_point = mount.mount_point.clone();
                    layout.unified = Some(UnifiedMount { mount_point, own });
                }
                "cgroup" => layout.add_legacy(mount, own_cgroup),
                _ => {}
            }
        }
        layout.legacy.sort_by(|left, right| left.mount_point.cmp(&right.mount_point));
        Ok(layout)
    }

    /// A machine with cgroup2 on `mount_point` and nothing else, as its file system magic tells.
    #[must_use]
    pub fn unified(mount_point: &Path, own_cgroup: impl AsRef<[u8]>) -> Self {
        let own = own_path(own_cgroup.as_ref(), &[], Path::new("/"));
        let unified = UnifiedMount { mount_point: mount_point.to_owned(), own };
        Self { unified: Some(unified), ..Self::default() }
    }

    /// Whether a v1 hierarchy has `controller`.
    #[must_use]
    pub fn has_legacy(&self, controller: &str) -> bool {
        self.legacy.iter().any(|mount| mount.controllers.iter().any(|name| name == controller))
    }

    fn add_legacy(&mut self, mount: &MountLine<'_>, own_cgroup: &[u8]) {
        let controllers: Vec<String> = mount
            .super_options
            .split(',')
            .filter(|option| is_controller(option))
            .map(str::to_owned)
            .collect();
        let known = self.legacy.iter().any(|known| known.controllers == controllers);
        if controllers.is_empty() || known {
            return;
        }
        let own = own_path(own_cgroup, &controllers, &mount.root);
        let mount_point = mount.mount_point.clone();
        self.legacy.push(LegacyMount { mount_point, controllers, own });
    }
}

/// The nearest directory above both, or the one that is above the other.
fn shared(one: &Path, other: &Path) -> PathBuf {
    let pairs = one.components().zip(other.components());
    pairs.take_while(|(one, other)| one == other).map(|(one, _)| one).collect()
}

/// Whether an option of a v1 mount names what it holds (cgroups(7), "Mounting v1 controllers").
fn is_controller(option: &str) -> bool {
    const OTHERS: [&str; 8] = [
        "rw",
        "ro",
        "none",
        "xattr",
        "noprefix",
        "clone_children",
        "cpuset_v2_mode",
        "favordynmods",
    ];
    !OTHERS.contains(&option) && !option.starts_with("release_agent=")
}

/// The process's cgroup in the hierarchy of `controllers` (none for v2), seen from the mounted
/// `root`; `/` if it is outside of that.
fn own_path(own_cgroup: &[u8], controllers: &[String], root: &Path) -> PathBuf {
    let line = lines(own_cgroup).find_map(|line| {
        let mut fields = line.splitn(3, |byte| *byte == b':').skip(1);
        let (names, path) = (text(fields.next()?), fields.next()?);
        let same = match controllers.first() {
            None => names.is_empty(),
            Some(first) => names.split(',').any(|name| name == first),
        };
        same.then_some(path)
    });
    let path = Path::new(OsStr::from_bytes(line.unwrap_or(b"/")));
    let below = path.strip_prefix(root).unwrap_or_else(|_| Path::new(""));
    below.components().filter(|part| matches!(part, Component::Normal(_))).collect()
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// A word of the kernel's own; what is none of these is nobody's that is looked for.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// One line of /proc/self/mountinfo (proc_pid_mountinfo(5)).
#[derive(Debug)]
pub struct MountLine<'a> {
    /// Its number.
    pub id: u64,
    /// The number of the mount that it is on.
    pub parent: u64,
    /// What of its filesystem it shows.
    pub root: PathBuf,
    /// Where it is, from the root of the process on.
    pub mount_point: PathBuf,
    /// The options of the mount itself, with commas between them.
    pub options: &'a str,
    /// Whether mounts on it are carried to its peers (mount_namespaces(7)).
    pub is_shared: bool,
    /// The type of its filesystem.
    pub fstype: &'a str,
    super_options: &'a str,
}

impl<'a> MountLine<'a> {
    /// All lines: bytes, since a path may hold any.
    ///
    /// # Errors
    /// A line that is not as proc_pid_mountinfo(5) says.
    pub fn parse_all(mountinfo: &'a [u8]) -> Result<Vec<Self>, Error> {
        lines(mountinfo).map(Self::parse).collect()
    }

    fn parse(line: &'a [u8]) -> Result<Self, Error> {
        const SEPARATOR: &[u8] = b" - ";
        let parsed = (|| {
            let at = line.windows(SEPARATOR.len()).position(|bytes| bytes == SEPARATOR)?;
            let (front, back) = (line.get(..at)?, line.get(at + SEPARATOR.len()..)?);
            let [mut front, mut back] = [front, back].map(|half| half.split(|byte| *byte == b' '));
            let (id, parent) = (text(front.next()?), text(front.next()?));
            let (id, parent) = (id.parse().ok()?, parent.parse().ok()?);
            let root = unescape(front.nth(1)?);
            let mount_point = unescape(front.next()?);
            let options = text(front.next()?);
            let is_shared = front.any(|field| field.starts_with(b"shared:"));
            let fstype = text(back.next()?);
            let super_options = text(back.nth(1).unwrap_or_default());
            Some(Self { id, parent, root, mount_point, options, is_shared, fstype, super_options })
        })();
        let shown = || String::from_utf8_lossy(line).into_owned();
        parsed.ok_or_else(|| Error::Text("/proc/self/mountinfo", shown()))
    }

    /// Whether this cgroup mount is what its path leads to: mounts on top hide it.
    fn is_visible(&self, all: &[Self]) -> bool {
        self.fstype.starts_with("cgroup") && top_at(&self.mount_point, all) == Some(self.id)
    }
}

/// The mount that `path` leads to. The walk starts at the mount whose parent is not in the table
/// and crosses, in each mount, to the first one mounted on the way.
fn top_at(path: &Path, all: &[MountLine<'_>]) -> Option<u64> {
    let is_root = |mount: &&MountLine<'_>| !all.iter().any(|other| other.id == mount.parent);
    let on_the_way = |mount: &&MountLine<'_>| path.starts_with(&mount.mount_point);
    let nearest = |mount: &&MountLine<'_>| mount.mount_point.as_os_str().len();
    let mut at = all.iter().filter(is_root).filter(on_the_way).min_by_key(nearest)?;
    // A mount table has no cycles, but a text may.
    for _ in 0..all.len() {
        let inside = |mount: &&MountLine<'_>| mount.parent == at.id && mount.id != at.id;
        match all.iter().filter(inside).filter(on_the_way).min_by_key(nearest) {
            Some(next) => at = next,
            None => break,
        }
    }
    Some(at.id)
}

/// Octal escapes of space, tab, newline and backslash.
fn unescape(escaped: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (first, code) {
            (b'\\', Some(code)) => {
                bytes.push(code);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Layout;
    use crate::Location;

    const HYBRID: &str = "\
23 1 254:0 / / rw,relatime - ext4 /dev/root rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";
    const OWN: &str = "9:name=systemd:/\n4:memory:/job/1\n1:cpu,cpuacct:/\n0::/user/2";

    #[test]
    fn a_hybrid_machine() {
        let layout = Layout::parse(HYBRID, OWN).unwrap();
        let memory = layout.legacy.iter().find(|mount| mount.controllers == ["memory"]).unwrap();
        assert_eq!(memory.own, Path::new("job/1"));
        assert!(layout.has_legacy("cpuacct") && !layout.has_legacy("pids"));
        assert_eq!(layout.unified.unwrap().own, Path::new("user/2"));
    }

    /// What stays of `layout` where nothing but these can be written.
    fn that_can_have_c1(layout: Layout, writable: &[&str]) -> Layout {
        let location = Location::resolve(&layout, None, "c1").unwrap();
        layout.that_can_have(&location, |path| writable.iter().any(|one| Path::new(one) == path))
    }

    #[test]
    fn a_hierarchy_stays_that_can_be_written() {
        let layout = || Layout::parse(HYBRID, OWN).unwrap();
        let left = that_can_have_c1(layout(), &["/sys/fs/cgroup/memory/job/1/c1"]);
        assert!(left.has_legacy("memory") && !left.has_legacy("cpu") && left.unified.is_none());
        let unified = "/sys/fs/cgroup/unified/user";
        let procs = format!("{unified}/cgroup.procs");
        let below = format!("{unified}/c1");
        assert!(that_can_have_c1(layout(), &[&below]).unified.is_none());
        let left = that_can_have_c1(layout(), &[&below, &procs]);
        assert!(left.legacy.is_empty() && left.unified.is_some());
        assert!(!left.is_unified(), "there are others");
    }

    #[test]
    fn a_mount_on_top_hides_the_ones_below() {
        let covered = format!("{HYBRID}\n50 31 0:38 / /sys/fs/cgroup rw - cgroup2 none rw");
        let layout = Layout::parse(&covered, OWN).unwrap();
        assert!(layout.legacy.is_empty());
        assert_eq!(layout.unified.unwrap().mount_point, Path::new("/sys/fs/cgroup"));
    }

    #[test]
    fn a_tmpfs_with_v1_binds_hides_the_rest() {
        let covered = format!(
            "{HYBRID}\n50 31 0:60 / /sys/fs/cgroup rw - tmpfs none rw\n\
             51 50 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"
        );
        let layout = Layout::parse(&covered, OWN).unwrap();
        assert!(layout.unified.is_none());
        assert_eq!(layout.legacy.len(), 1);
    }

    #[test]
    fn a_mount_of_a_part_of_the_hierarchy() {
        let text = "41 1 0:38 /user /sys/fs/cgroup rw - cgroup2 cgroup2 rw";
        let layout = Layout::parse(text, OWN).unwrap();
        assert_eq!(layout.unified.unwrap().own, Path::new("2"));
    }

    /// Anybody who may mount something can name it so.
    #[test]
    fn bytes_that_are_no_text() {
        let line = b"\n60 23 0:70 / /mnt/\xff\xfe rw - fuse.\xff \xff rw,user_id=0\n";
        let layout = Layout::parse([HYBRID.as_bytes(), line].concat(), OWN).unwrap();
        assert_eq!(layout, Layout::parse(HYBRID, OWN).unwrap());
        let own = [b"0::/\xff/a\n".as_slice(), OWN.as_bytes()].concat();
        let layout = Layout::unified(Path::new("/c"), own);
        assert_eq!(layout.unified.unwrap().own.as_os_str().len(), 3);
    }

    /// Whatever the text, there is an answer.
    #[test]
    fn any_bytes() {
        let whole = [HYBRID, OWN].map(str::as_bytes);
        let mut bytes = whole[0].to_vec();
        for at in 0..bytes.len() {
            for byte in [0, b' ', b'\n', b'-', b'\\', 0xff] {
                bytes[at] = byte;
                let _ = Layout::parse(&bytes, whole[1]);
            }
            bytes[at] = whole[0][at];
            let _ = Layout::parse(&bytes[..at], &whole[1][..at.min(whole[1].len())]);
        }
    }

    #[test]
    fn escapes_and_nonsense() {
        assert_eq!(super::unescape(b"/a\\040b\\134"), Path::new("/a b\\"));
        assert!(Layout::parse("what", "").is_err());
        let nothing = Layout::parse("", "").unwrap();
        assert!(nothing.legacy.is_empty() && nothing.unified.is_none());
    }
}
