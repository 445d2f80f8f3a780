//! Cgroups that systemd makes: a transient scope around a process that exists (systemd.scope(5)).
//!
//! systemd makes the cgroup, and removes it; what is in between is done by the files of the v2 hierarchy,
//! as the scope is delegated to the runtime.

mod bus;
mod properties;
mod unit;

use std::os::fd::OwnedFd;
use std::path::Path;

pub(crate) use bus::connect;
use bus::{Conversation, Refusal};
pub use properties::{Property, plan_properties};
use properties::{Value, of_limits};
pub use unit::{Bus, Scope};

use crate::{CgroupManager, DeviceAccess, Error, Limits, Mark, Parents, Present, Taker, v2};

/// What systemd answers for a unit that is not there, or not any more.
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";
/// What systemd answers for a unit that is there.
const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";

/// The manager of a container in a scope.
#[derive(Debug)]
pub(crate) struct Manager {
    scope: Scope,
    files: v2::Manager,
}

impl Manager {
    pub(crate) fn new(scope: &Scope) -> Self {
        Self { scope: scope.clone(), files: v2::Manager::new(Some(scope.cgroup.clone())) }
    }

    fn directory(&self) -> &Path {
        &self.scope.cgroup.directory
    }

    fn converse(&self) -> Result<Conversation, Error> {
        let socket = &self.scope.bus.socket;
        let connection = connect(socket).map_err(|errno| Error::Bus {
            socket: socket.clone(),
            what: format!("connect: {errno}"),
        })?;
        Conversation::begin(connection, socket)
    }

    /// Has systemd change what the unit has of these limits.
    fn tell(&self, limits: &Limits) -> Result<(), Error> {
        let properties = of_limits(limits);
        if properties.is_empty() {
            return Ok(());
        }
        let all: Vec<_> = properties.iter().map(|one| (one.name(), one.value.encode())).collect();
        let told = self.converse()?.set(&self.scope.unit, &all)?;
        told.map_err(|refusal| refused(&self.scope.unit, "change", refusal))
    }

    /// Has systemd stop the unit, and forget it. One that is gone is fine.
    fn stop(&self) -> Result<(), Error> {
        let Scope { unit, .. } = &self.scope;
        let mut systemd = self.converse()?;
        match systemd.stop(unit)? {
            Ok(job) => systemd.wait(&job).map(|_| ())?,
            Err(Refusal { name, .. }) if name == NO_SUCH_UNIT => return Ok(()),
            Err(refusal) => return Err(refused(unit, "stop", refusal)),
        }
        systemd.reset(unit)
    }
}

impl Scope {
    /// Has systemd make the scope, with these limits and `properties`, around the process that has
    /// made `connection` (by [`crate::Entry::connect`]). When this returns, the process is in it.
    ///
    /// # Errors
    /// The bus does not answer, or systemd does not make the unit. If there is one all the same, it goes
    /// with the process: it is not known to be this one, so it is not stopped.
    pub fn start(
        &self,
        connection: OwnedFd,
        limits: &Limits,
        properties: &[Property],
    ) -> Result<(), Error> {
        let mut systemd = Conversation::begin(connection, &self.bus.socket)?;
        let all = self.properties(limits, properties);
        let mut all: Vec<_> = all.iter().map(|one| (one.name(), one.value.encode())).collect();
        // Zero is whoever has made the connection, in whatever pid namespace it is.
        all.push(("PIDs", zvariant::Value::from(vec![0_u32])));
        let job = match systemd.start(&self.unit, &all)? {
            Ok(job) => job,
            Err(refusal) => return Err(refused(&self.unit, "start", refusal)),
        };
        match systemd.wait(&job)?.as_str() {
            "done" => Ok(()),
            result => Err(Error::Unit {
                unit: self.unit.clone(),
                what: format!("systemd did not start it: the job ended with {result:?}"),
            }),
        }
    }

    /// All properties but the process. The cgroup is the container's to divide, systemd's default
    /// dependencies would end it before the engine, and a unit that failed does not stay. Of two the
    /// later counts: a limit is never an annotation's.
    fn properties(&self, limits: &Limits, annotations: &[Property]) -> Vec<Property> {
        let text = |name, text: &str| Property::new(name, Value::Text(text.to_owned()));
        let mut all = vec![
            text("Description", &format!("aril container {}", self.unit)),
            text("Slice", &self.slice),
            text("CollectMode", "inactive-or-failed"),
            Property::new("Delegate", Value::Bool(true)),
            Property::new("DefaultDependencies", Value::Bool(false)),
        ];
        all.extend_from_slice(annotations);
        all.extend(of_limits(limits));
        all
    }
}

impl Value {
    fn encode(&self) -> zvariant::Value<'_> {
        match self {
            Self::Bool(value) => (*value).into(),
            Self::Int32(value) => (*value).into(),
            Self::Uint32(value) => (*value).into(),
            Self::Int64(value) => (*value).into(),
            Self::Uint64(value) => (*value).into(),
            Self::Double(value) => (*value).into(),
            Self::Text(value) => value.as_str().into(),
            Self::Texts(value) => value.iter().map(String::as_str).collect::<Vec<_>>().into(),
            Self::Bytes(value) => value.clone().into(),
        }
    }
}

fn refused(unit: &str, what: &str, refusal: Refusal) -> Error {
    let Refusal { name, text } = refusal;
    let what = match name.as_str() {
        UNIT_EXISTS => {
            "it exists; stop it (systemctl stop) or choose another linux.cgroupsPath".to_owned()
        }
        _ => format!("systemd does not {what} it: {text} ({name})"),
    };
    Error::Unit { unit: unit.to_owned(), what }
}

impl CgroupManager for Manager {
    fn home(&self) -> Option<&Path> {
        self.files.home()
    }

    /// Takes the cgroup of the scope that has been started.
    fn create(&self, taker: Taker<'_>, mark: &mut Mark) -> Result<Parents, Error> {
        let taken = mark.put(taker, self.directory(), true).and_then(|()| self.files.enable());
        if taken.is_err() {
            let _ = self.files.kill();
            let _ = self.stop();
        }
        taken.map(|()| Parents::default())
    }

    fn apply_limits(&self, limits: &Limits) -> Result<(), Error> {
        self.files.apply_limits(limits)
    }

    /// systemd is told, too: it writes what it knows anew (systemctl daemon-reload).
    fn update(&self, limits: &Limits) -> Result<(), Error> {
        let changed = self.files.change(limits)?;
        self.tell(limits).map_err(|refused| changed.put_back(refused))
    }

    fn present(&self) -> Present {
        self.files.present()
    }

    fn oom_kills(&self) -> u64 {
        self.files.oom_kills()
    }

    fn room(&self) -> Option<u64> {
        self.files.room()
    }

    fn give_to(&self, user: u32) -> Result<(), Error> {
        self.files.give_to(user)
    }

    fn apply_devices(&self, access: &DeviceAccess) -> Result<(), Error> {
        self.files.apply_devices(access)
    }

    fn freeze(&self) -> Result<(), Error> {
        self.files.freeze()
    }

    fn thaw(&self) -> Result<(), Error> {
        self.files.thaw()
    }

    fn thaw_all(&self) -> Result<(), Error> {
        self.files.thaw_all()
    }

    fn is_frozen(&self) -> Result<bool, Error> {
        self.files.is_frozen()
    }

    fn kill(&self) -> Result<(), Error> {
        self.files.kill()
    }

    fn pids(&self) -> Result<Vec<i32>, Error> {
        self.files.pids()
    }

    /// systemd removes the cgroup of a unit that has ended by itself: without one there is no unit.
    fn remove(&self) -> Result<(), Error> {
        if self.directory().exists()
            && let Err(error) = self.stop()
            && self.directory().exists()
        {
            return Err(error);
        }
        self.files.remove()
    }

    fn remove_empty(&self) -> Result<bool, Error> {
        if !self.directory().exists() {
            return Ok(true);
        }
        if !self.pids()?.is_empty() {
            return Ok(false);
        }
        self.stop().map(|()| true)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Bus, Scope, plan_properties};
    use crate::{Layout, plan_limits};

    #[test]
    fn annotations_come_after_the_runtimes_own_properties_and_limits_last() {
        let layout = Layout::unified(Path::new("/c"), "0::/");
        let bus = Bus { socket: "/bus".into(), user: None };
        let scope = Scope::resolve(&layout, None, "c1", &bus).unwrap();
        let resources = serde_json::from_str(r#"{"pids":{"limit":7}}"#).unwrap();
        let limits = plan_limits(&resources, &layout).unwrap();
        let given = [
            ("org.systemd.property.TasksMax", "uint64 9"),
            ("org.systemd.property.CollectMode", "'inactive'"),
        ];
        let annotations = plan_properties(given.into_iter()).unwrap();
        let all = scope.properties(&limits, &annotations);
        let last = |name: &str| all.iter().rfind(|one| one.name() == name).unwrap().clone();
        assert_eq!(last("TasksMax"), super::Property::new("TasksMax", super::Value::Uint64(7)));
        assert_eq!(last("CollectMode"), annotations[1]);
        assert_eq!(last("Slice").value, super::Value::Text("system.slice".to_owned()));
    }
}
