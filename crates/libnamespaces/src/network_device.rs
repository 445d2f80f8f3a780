//! Network devices that move into a network namespace (runtime-spec, config-linux.md, "Network
//! Devices").

use std::os::fd::{AsRawFd as _, OwnedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::Error;
use crate::route::{Message, RouteSocket};

/// A network device of the runtime's namespace, and its name in the container's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkDevice {
    /// Its name.
    pub name: String,
    /// Its name in the container, in which the kernel replaces `%d` by a number.
    pub new_name: String,
}

/// Devices that have moved. Dropping moves them back; [`MovedDevices::keep`] does not.
#[derive(Debug)]
pub struct MovedDevices {
    host: Namespace,
    container: Namespace,
    moved: Vec<Moved>,
}

/// One device where it is now.
#[derive(Debug)]
struct Moved {
    /// Its index in the container's namespace.
    index: u32,
    /// What it was on the host.
    before: Device,
}

/// What the kernel forgets when a device moves.
#[derive(Debug)]
struct Device {
    index: u32,
    name: String,
    is_up: bool,
    /// Those that do not expire.
    addresses: Vec<Message>,
}

/// A network namespace.
#[derive(Debug)]
struct Namespace {
    file: OwnedFd,
    socket: RouteSocket,
}

impl MovedDevices {
    /// Moves `devices` from this process's network namespace to that of process `pid`, with their
    /// permanent global addresses, and sets them up.
    ///
    /// # Errors
    /// A device does not exist, its new name is taken, or the kernel does not move it. Then all
    /// are where they were, though without the routes through those that have moved.
    pub fn to_process(devices: &[NetworkDevice], pid: i32) -> Result<Self, Error> {
        let failed = Error::call("talk to the kernel in the container's network namespace");
        let (host, container) = namespaces(pid).map_err(failed)?;
        let mut all = Self { host, container, moved: Vec::new() };
        let found: Result<Vec<_>, _> = devices.iter().map(|device| all.look_at(device)).collect();
        for (device, before) in devices.iter().zip(found?) {
            let failed = Error::network_device(&device.name, "move it to the container");
            all.move_one(before, &device.new_name).map_err(failed)?;
        }
        Ok(all)
    }

    /// The device, which has no namesake in the container.
    fn look_at(&self, device: &NetworkDevice) -> Result<Device, Error> {
        let failed = |step| Error::network_device(&device.name, step);
        let found = self.host.device(&device.name).map_err(failed("look for it: RTM_GETLINK"))?;
        match self.container.find(&device.new_name) {
            Err(Errno::NODEV) => Ok(found),
            Err(errno) => Err(failed("look for its new name: RTM_GETLINK")(errno)),
            Ok(_) => Err(failed("the container has a device of its new name")(Errno::EXIST)),
        }
    }

    fn move_one(&mut self, before: Device, new_name: &str) -> Result<(), Errno> {
        let index = transfer(before.index, &self.host, &self.container)?;
        let global = before.addresses.iter().filter(|address| address.is_global());
        let addresses: Vec<_> = global.cloned().collect();
        self.moved.push(Moved { index, before });
        self.container.set_up(index, new_name, true, &addresses)
    }

    /// Leaves them where they are.
    pub fn keep(mut self) {
        self.moved.clear();
    }
}

impl Drop for MovedDevices {
    fn drop(&mut self) {
        for Moved { index, before } in self.moved.drain(..).rev() {
            let back = transfer(index, &self.container, &self.host);
            // A better error is on its way already.
            let _ = back.and_then(|index| {
                self.host.set_up(index, &before.name, before.is_up, &before.addresses)
            });
        }
    }
}

/// This process's network namespace and that of process `pid`.
fn namespaces(pid: i32) -> Result<(Namespace, Namespace), Errno> {
    let open = |path: &str| rustix::fs::open(path, OFlags::CLOEXEC, Mode::empty());
    let (own, other) = (open("/proc/self/ns/net")?, open(&format!("/proc/{pid}/ns/net"))?);
    let container = RouteSocket::of(&other, &own)?;
    let host = RouteSocket::new()?;
    Ok((Namespace { file: own, socket: host }, Namespace { file: other, socket: container }))
}

/// Moves a device, and finds its index there. It moves under a name that no other has: that of
/// the index it had.
fn transfer(index: u32, from: &Namespace, to: &Namespace) -> Result<u32, Errno> {
    let name = format!("aril{index}");
    let message = Message::set_link(index).with_namespace(to.file.as_raw_fd()).with_name(&name);
    from.socket.ask(message, 0)?;
    Ok(to.find(&name)?.index())
}

impl Namespace {
    /// Gives a device that is down its name, addresses and state.
    fn set_up(
        &self,
        index: u32,
        name: &str,
        is_up: bool,
        addresses: &[Message],
    ) -> Result<(), Errno> {
        self.socket.ask(Message::set_link(index).with_name(name), 0)?;
        for address in addresses {
            self.socket.ask(address.of_link(index), NLM_F_CREATE | NLM_F_EXCL)?;
        }
        self.socket.ask(Message::set_link(index).with_state(is_up), 0)?;
        Ok(())
    }

    fn device(&self, name: &str) -> Result<Device, Errno> {
        let link = self.find(name)?;
        let index = link.index();
        let mut addresses = self.socket.ask(Message::get_addresses(), NLM_F_DUMP)?;
        addresses.retain(|one| one.index() == index && one.is_permanent());
        Ok(Device { index, name: name.to_owned(), is_up: link.is_up(), addresses })
    }

    fn find(&self, name: &str) -> Result<Message, Errno> {
        self.socket.ask(Message::get_link(name), 0)?.pop().ok_or(Errno::NODEV)
    }
}
