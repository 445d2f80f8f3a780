//! v1 hierarchies, and hybrid ones: a v2 hierarchy beside them (cgroups(7)).

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::limits::{Hierarchy, Write};
use crate::location::{Directories, LegacyLocation};
use crate::making::Making;
use crate::processes::KILL;
use crate::update::all_or_none;
use crate::{
    CgroupManager, DeviceAccess, Error, Limits, Mark, Parents, Present, Taker, files, v2, walk,
};

/// How long freezing may take.
const FREEZING: Duration = Duration::from_secs(10);

/// The manager of a container in v1 hierarchies.
#[derive(Debug)]
pub(crate) struct Manager {
    legacy: Vec<LegacyLocation>,
    unified: v2::Manager,
}

impl Manager {
    pub(crate) fn new(directories: &Directories) -> Self {
        let unified = v2::Manager::new(directories.unified().cloned());
        Self { legacy: directories.legacy().to_vec(), unified }
    }

    fn with(&self, controller: &str) -> Option<&LegacyLocation> {
        self.legacy.iter().find(|one| one.controllers.iter().any(|name| name == controller))
    }

    fn freezer(&self) -> Result<std::path::PathBuf, Error> {
        let freezer = self.with("freezer").ok_or(Error::NoHierarchy("freezer"))?;
        Ok(freezer.directory.join("freezer.state"))
    }

    /// Makes it in every hierarchy, first where it is marked: nobody else takes it from then on.
    fn make_all<'a>(
        &'a self,
        making: &mut Making<'a>,
        taker: Taker<'_>,
        mark: &mut Mark,
    ) -> Result<(), Error> {
        making.mark_home(taker, mark)?;
        for one in &self.legacy {
            making.make(&one.directory)?;
            if one.controllers.iter().any(|name| name == "cpuset") {
                inherit_cpuset(&one.mount_point, &one.directory)?;
            }
        }
        if self.is_frozen()? {
            return Err(Error::Frozen { path: self.freezer()? });
        }
        self.unified.set_up(making)
    }

    /// The directory in a hierarchy.
    fn place(&self, hierarchy: Hierarchy) -> Result<&Path, Error> {
        match hierarchy {
            Hierarchy::Legacy(controller) => self
                .with(controller)
                .map(|one| one.directory.as_path())
                .ok_or(Error::NoHierarchy(controller)),
            Hierarchy::Unified => self.unified.directory().ok_or(Error::NoHierarchy("cgroup2")),
        }
    }

    /// Does those of `writes` that are for v1.
    fn write_all(&self, writes: &[Write]) -> Result<(), Error> {
        for write in writes {
            if matches!(write.hierarchy, Hierarchy::Legacy(_)) {
                files::set(write, self.place(write.hierarchy)?)?;
            }
        }
        Ok(())
    }
}

impl CgroupManager for Manager {
    /// The v2 one, which a process enters at its clone and which can kill all at once; else the
    /// freezer's.
    fn home(&self) -> Option<&Path> {
        let legacy = self.with("freezer").or_else(|| self.legacy.first());
        self.unified.directory().or_else(|| legacy.map(|one| one.directory.as_path()))
    }

    fn create(&self, taker: Taker<'_>, mark: &mut Mark) -> Result<Parents, Error> {
        let Some(home) = self.home() else { return Ok(Parents::default()) };
        let mut making = Making::of(home);
        let made = self.make_all(&mut making, taker, mark);
        making.end(made, mark)
    }

    fn apply_limits(&self, limits: &Limits) -> Result<(), Error> {
        self.write_all(limits.writes())?;
        self.unified.apply_limits(limits)
    }

    fn update(&self, limits: &Limits) -> Result<(), Error> {
        let places: Vec<_> = limits
            .writes()
            .iter()
            .map(|write| Ok((write, self.place(write.hierarchy)?)))
            .collect::<Result<_, Error>>()?;
        all_or_none(places).map(|_| ())
    }

    fn present(&self) -> Present {
        let memory = self.with("memory").map(|one| Present::of_legacy(&one.directory));
        memory.unwrap_or_default().or(self.unified.present())
    }

    fn oom_kills(&self) -> u64 {
        match self.with("memory") {
            Some(memory) => files::oom_kills(&memory.directory.join("memory.oom_control")),
            None => self.unified.oom_kills(),
        }
    }

    fn room(&self) -> Option<u64> {
        match self.with("pids") {
            Some(pids) => files::room(&pids.directory),
            None => self.unified.room(),
        }
    }

    /// Only v2 can be delegated.
    fn give_to(&self, _user: u32) -> Result<(), Error> {
        Err(Error::NoHierarchy("cgroup2"))
    }

    fn apply_devices(&self, access: &DeviceAccess) -> Result<(), Error> {
        match access {
            DeviceAccess::Legacy(writes) => self.write_all(writes),
            DeviceAccess::Unified(_) | DeviceAccess::Unlimited => {
                self.unified.apply_devices(access)
            }
        }
    }

    fn freeze(&self) -> Result<(), Error> {
        let file = self.freezer()?;
        let deadline = Instant::now() + FREEZING;
        loop {
            files::write(&file, "FROZEN").map_err(Error::call("write", &file))?;
            if files::read(&file)?.trim() == "FROZEN" {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let _ = files::write(&file, "THAWED");
                let seconds = FREEZING.as_secs();
                return Err(Error::Timeout { path: file, what: "freezing", seconds });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn thaw(&self) -> Result<(), Error> {
        let file = self.freezer()?;
        files::write(&file, "THAWED").map_err(Error::call("write", &file))
    }

    fn thaw_all(&self) -> Result<(), Error> {
        let freezer = self.with("freezer");
        freezer.map_or(Ok(()), |one| walk::write(&one.directory, c"freezer.state", "THAWED"))
    }

    fn is_frozen(&self) -> Result<bool, Error> {
        let Ok(file) = self.freezer() else { return Ok(false) };
        match files::read(&file) {
            Ok(text) => Ok(text.trim() != "THAWED"),
            Err(Error::Call { errno: Errno::NOENT | Errno::NODEV, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn kill(&self) -> Result<(), Error> {
        let mut killed = Ok(());
        if !self.unified.kill_at_once() {
            // Frozen processes fork no others.
            let _ = self.freeze();
            killed = self.signal(KILL);
        }
        self.thaw_all().and(killed)
    }

    fn pids(&self) -> Result<Vec<i32>, Error> {
        self.home().map_or_else(|| Ok(Vec::new()), walk::pids)
    }

    fn remove(&self) -> Result<(), Error> {
        let mut removed = Ok(());
        for one in &self.legacy {
            removed = removed.and(files::remove(&one.directory));
        }
        removed.and(self.unified.remove())
    }

    fn remove_empty(&self) -> Result<bool, Error> {
        let mut gone = self.unified.remove_empty()?;
        for one in &self.legacy {
            gone &= files::remove_empty(&one.directory)?;
        }
        Ok(gone)
    }
}

/// A new v1 cpuset has no processors and no memory nodes, and takes no process until it has: each
/// level that has none gets those of the one above.
fn inherit_cpuset(mount_point: &Path, directory: &Path) -> Result<(), Error> {
    let Some(parent) = directory.parent().filter(|_| directory != mount_point) else {
        return Ok(());
    };
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let file = directory.join(name);
        if files::read(&file)?.trim().is_empty() {
            if parent != mount_point {
                inherit_cpuset(mount_point, parent)?;
            }
            let above = files::read(&parent.join(name))?;
            files::write(&file, above.trim()).map_err(Error::call("write", &file))?;
        }
    }
    Ok(())
}
