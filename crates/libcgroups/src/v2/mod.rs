//! The v2 hierarchy (cgroups(7), "Cgroups version 2").

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use crate::limits::Hierarchy;
use crate::location::UnifiedLocation;
use crate::making::Making;
use crate::processes::KILL;
use crate::update::{Changed, all_or_none};
use crate::{
    CgroupManager, DeviceAccess, Error, Limits, Mark, Parents, Present, Taker, files, walk,
};

/// How long freezing may take.
const FREEZING: Duration = Duration::from_secs(10);

/// Where the kernel names the files of a cgroup that go with it, a line each (Linux 4.15).
const DELEGATE: &str = "/sys/kernel/cgroup/delegate";
/// The same, where it does not.
const DELEGATED: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads";

/// The manager of a container in a v2 hierarchy. Without a hierarchy there is nothing to manage.
#[derive(Debug)]
pub(crate) struct Manager {
    location: Option<UnifiedLocation>,
}

impl Manager {
    pub(crate) const fn new(location: Option<UnifiedLocation>) -> Self {
        Self { location }
    }

    pub(crate) fn directory(&self) -> Option<&Path> {
        self.location.as_ref().map(|location| location.directory.as_path())
    }

    /// Whether the cgroup can kill all its processes at once (Linux 5.14), and has done so.
    pub(crate) fn kill_at_once(&self) -> bool {
        self.directory().is_some_and(|directory| {
            matches!(files::write(&directory.join("cgroup.kill"), "1"), Ok(()))
        })
    }

    /// Makes ready what `making` has made.
    pub(crate) fn set_up(&self, making: &Making<'_>) -> Result<(), Error> {
        let Some(UnifiedLocation { mount_point, directory }) = &self.location else {
            return Ok(());
        };
        if !making.is_new(directory) && is_frozen(directory)? {
            return Err(Error::Frozen { path: directory.clone() });
        }
        enable_controllers(mount_point, directory)
    }

    /// Makes ready a cgroup that systemd has made.
    pub(crate) fn enable(&self) -> Result<(), Error> {
        let Some(UnifiedLocation { mount_point, directory }) = &self.location else {
            return Ok(());
        };
        enable_controllers(mount_point, directory)
    }

    /// Sets limits in the place of others, all or none, so that they can be put back.
    pub(crate) fn change(&self, limits: &Limits) -> Result<Changed, Error> {
        let Some(directory) = self.directory() else { return Ok(Changed::default()) };
        all_or_none(limits.writes().iter().map(|write| (write, directory)))
    }

    fn set_frozen(&self, frozen: bool) -> Result<(), Error> {
        let Some(directory) = self.directory() else { return Err(Error::NoHierarchy("freezer")) };
        let file = directory.join("cgroup.freeze");
        files::write(&file, if frozen { "1" } else { "0" }).map_err(Error::call("write", &file))?;
        if frozen { wait_until_frozen(directory) } else { Ok(()) }
    }
}

impl CgroupManager for Manager {
    fn home(&self) -> Option<&Path> {
        self.directory()
    }

    fn create(&self, taker: Taker<'_>, mark: &mut Mark) -> Result<Parents, Error> {
        let Some(home) = self.directory() else { return Ok(Parents::default()) };
        let mut making = Making::of(home);
        let made = making.mark_home(taker, mark).and_then(|()| self.set_up(&making));
        making.end(made, mark)
    }

    fn apply_limits(&self, limits: &Limits) -> Result<(), Error> {
        let Some(directory) = self.directory() else { return Ok(()) };
        for write in limits.writes() {
            if write.hierarchy == Hierarchy::Unified {
                files::set(write, directory)?;
            }
        }
        Ok(())
    }

    fn update(&self, limits: &Limits) -> Result<(), Error> {
        self.change(limits).map(|_| ())
    }

    fn present(&self) -> Present {
        self.directory().map(Present::of_unified).unwrap_or_default()
    }

    fn oom_kills(&self) -> u64 {
        self.directory().map_or(0, |directory| files::oom_kills(&directory.join("memory.events")))
    }

    fn room(&self) -> Option<u64> {
        self.directory().and_then(files::room)
    }

    fn give_to(&self, user: u32) -> Result<(), Error> {
        let Some(directory) = self.directory() else { return Ok(()) };
        let names = files::read(Path::new(DELEGATE)).unwrap_or_else(|_| DELEGATED.to_owned());
        for name in std::iter::once("").chain(names.lines()) {
            files::give_to(&directory.join(name), user)?;
        }
        Ok(())
    }

    fn apply_devices(&self, access: &DeviceAccess) -> Result<(), Error> {
        let (directory, program) = match (self.directory(), access) {
            (_, DeviceAccess::Unlimited) => return Ok(()),
            (Some(directory), DeviceAccess::Unified(program)) => (directory, program),
            _ => return Err(Error::NoHierarchy("devices")),
        };
        let failed = |call| move |errno| Error::Devices { call, errno };
        let cgroup = files::open_directory(directory)?;
        let program = libsyscall::bpf::load_device_program(program)
            .map_err(failed("load the device program: bpf"))?;
        libsyscall::bpf::attach_device_program(cgroup.as_fd(), program.as_fd())
            .map_err(failed("attach the device program: bpf"))
    }

    fn freeze(&self) -> Result<(), Error> {
        self.set_frozen(true)
    }

    fn thaw(&self) -> Result<(), Error> {
        self.set_frozen(false)
    }

    fn thaw_all(&self) -> Result<(), Error> {
        self.directory().map_or(Ok(()), |directory| walk::write(directory, c"cgroup.freeze", "0"))
    }

    fn is_frozen(&self) -> Result<bool, Error> {
        self.directory().map_or(Ok(false), is_frozen)
    }

    fn kill(&self) -> Result<(), Error> {
        let Some(directory) = self.directory() else { return Ok(()) };
        if self.kill_at_once() || !directory.exists() {
            return Ok(());
        }
        // Frozen processes fork no others; a killed one dies frozen or not.
        let _ = self.freeze();
        let killed = self.signal(KILL);
        self.thaw_all().and(killed)
    }

    fn pids(&self) -> Result<Vec<i32>, Error> {
        self.directory().map_or_else(|| Ok(Vec::new()), walk::pids)
    }

    fn remove(&self) -> Result<(), Error> {
        self.directory().map_or(Ok(()), files::remove)
    }

    fn remove_empty(&self) -> Result<bool, Error> {
        self.directory().map_or(Ok(true), files::remove_empty)
    }
}

fn is_frozen(directory: &Path) -> Result<bool, Error> {
    match files::read(&directory.join("cgroup.freeze")) {
        Ok(text) => Ok(text.trim() == "1"),
        // The root has no such file, and nor has a cgroup that is gone.
        Err(Error::Call { errno: Errno::NOENT | Errno::NODEV, .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

fn wait_until_frozen(directory: &Path) -> Result<(), Error> {
    let file = directory.join("cgroup.events");
    let deadline = Instant::now() + FREEZING;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    loop {
        let events = open(&file, flags, Mode::empty()).map_err(Error::call("open", &file))?;
        let mut buffer = [0; 128];
        let length = rustix::io::read(&events, &mut buffer).map_err(Error::call("read", &file))?;
        if String::from_utf8_lossy(&buffer[..length]).contains("frozen 1") {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let seconds = FREEZING.as_secs();
            return Err(Error::Timeout { path: directory.to_owned(), what: "freezing", seconds });
        }
        let timeout = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        let _ = poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&timeout));
    }
}

/// Enables, on the way down to `directory`, the controllers that are there and not enabled yet:
/// writing what is enabled already costs tens of milliseconds on a busy machine. One that a level
/// refuses is missed only when a limit needs it, and then by name.
fn enable_controllers(mount_point: &Path, directory: &Path) -> Result<(), Error> {
    let below = directory.strip_prefix(mount_point).unwrap_or(directory);
    let mut level: PathBuf = mount_point.to_owned();
    for part in below.components() {
        let available = files::read(&level.join("cgroup.controllers"))?;
        let file = level.join("cgroup.subtree_control");
        let enabled = files::read(&file)?;
        let enabled: Vec<&str> = enabled.split_whitespace().collect();
        let missing: Vec<String> = available
            .split_whitespace()
            .filter(|name| !enabled.contains(name))
            .map(|name| format!("+{name}"))
            .collect();
        if !missing.is_empty() && files::write(&file, &missing.join(" ")).is_err() {
            for one in missing {
                let _ = files::write(&file, &one);
            }
        }
        level.push(part);
    }
    Ok(())
}
