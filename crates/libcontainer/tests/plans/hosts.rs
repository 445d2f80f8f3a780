//! Hosts built by hand, and planning on them.

use std::path::{Path, PathBuf};

use libcgroups::Layout;
use libcontainer::host::{Host, SecurityModules};
use libcontainer::plan::{self, Planned};
use libcontainer::{Violation, request};
use oci_spec::runtime::Spec;
use serde_json::{Map, Value, json};

/// v1 hierarchies, with an empty v2 one beside them.
const HYBRID: &str = "\
20 1 8:1 / / rw - ext4 /dev/sda1 rw
31 20 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
34 31 0:31 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
37 31 0:34 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio
38 31 0:35 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";

/// Root, on a machine with cgroup v1.
pub(crate) fn legacy() -> Host {
    let cgroups = Layout::parse(HYBRID, "1:memory:/\n0::/").unwrap();
    Host {
        euid: 0,
        in_user_namespace: false,
        cgroups,
        permitted: (1 << 41) - 1,
        resctrl: None,
        security_modules: SecurityModules::default(),
    }
}

/// Root, on a machine with cgroup v2, in a cgroup of a service.
pub(crate) fn unified() -> Host {
    let own = "0::/system.slice/engine.service";
    Host { cgroups: Layout::unified(Path::new("/sys/fs/cgroup"), own), ..legacy() }
}

/// Root, on a machine with cgroup v2 that confines by labels and has resctrl.
pub(crate) fn labelling() -> Host {
    let security_modules = SecurityModules { apparmor: true, selinux: true };
    let resctrl = Some(PathBuf::from("/sys/fs/resctrl"));
    Host { security_modules, resctrl, ..unified() }
}

/// A user, on a machine with cgroup v2.
pub(crate) fn rootless() -> Host {
    Host { euid: 1000, permitted: 0, ..unified() }
}

/// Plans `config` of the bundle /bundle.
pub(crate) fn plan(config: &Value, host: &Host) -> Result<Planned, Vec<Violation>> {
    let spec: Spec = serde_json::from_value(config.clone()).unwrap();
    let request = request::Create { id: "c1".to_owned(), ..request::Create::default() };
    plan::create(&spec, host, &request, Path::new("/bundle"))
}

/// What `aril spec` writes, without the terminal, whose `terminal` would need a console socket.
pub(crate) fn base() -> Value {
    let mut config = libcontainer::default_spec(None, true);
    set(&mut config, "/process/terminal", json!(false));
    config
}

/// Sets the value at `pointer`; objects on the way are made, and `-` stands for a new item.
pub(crate) fn set(config: &mut Value, pointer: &str, value: Value) {
    let mut at = config;
    for token in pointer.split('/').skip(1) {
        if token == "-" || token.parse::<usize>().is_ok() {
            if !at.is_array() {
                *at = Value::Array(Vec::new());
            }
            let items = at.as_array_mut().unwrap();
            let index = token.parse().unwrap_or(items.len());
            while items.len() <= index {
                items.push(Value::Null);
            }
            at = &mut items[index];
        } else {
            if !at.is_object() {
                *at = Value::Object(Map::new());
            }
            let key = token.replace("~1", "/").replace("~0", "~");
            at = at.as_object_mut().unwrap().entry(key).or_insert(Value::Null);
        }
    }
    *at = value;
}
