//! The config.json of a test, and how tests change it.

use serde_json::{Value, json};

/// The default: what runc's `spec` writes, for a program without a terminal.
pub(crate) fn default() -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": ["/bin/true"],
            "env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"
            ],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities
            },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "box",
        "annotations": { "org.example.key": "value" },
        "mounts": mounts(),
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" },
                { "type": "mount" }, { "type": "cgroup" }
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware",
                "/proc/scsi"
            ],
            "readonlyPaths": [
                "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"
            ]
        }
    })
}

fn mounts() -> Value {
    json!([
        { "destination": "/proc", "type": "proc", "source": "proc" },
        { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
          "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
        { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
          "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
        { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
          "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
        { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
          "options": ["nosuid", "noexec", "nodev"] },
        { "destination": "/sys", "type": "sysfs", "source": "sysfs",
          "options": ["nosuid", "noexec", "nodev", "ro"] },
        { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
          "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] }
    ])
}

/// Sets what is at `pointer` (RFC 6901), and makes the objects above it that are not there.
pub(crate) fn set(config: &mut Value, pointer: &str, value: Value) {
    let mut place = config;
    for name in pointer.split('/').skip(1).map(|name| name.replace("~1", "/")) {
        place = match name.parse::<usize>() {
            Ok(at) if place.is_array() => &mut place[at],
            _ => &mut place[name],
        };
    }
    *place = value;
}

/// Removes what is at `pointer`.
pub(crate) fn remove(config: &mut Value, pointer: &str) {
    let (parent, name) = pointer.rsplit_once('/').unwrap_or_default();
    match config.pointer_mut(parent) {
        Some(Value::Object(object)) => drop(object.remove(name)),
        Some(Value::Array(list)) => drop(name.parse().map(|at: usize| list.remove(at))),
        _ => {}
    }
}

/// Adds to the list at `pointer`, which may not be there yet.
pub(crate) fn push(config: &mut Value, pointer: &str, value: Value) {
    match config.pointer_mut(pointer) {
        Some(Value::Array(list)) => list.push(value),
        _ => set(config, pointer, json!([value])),
    }
}

/// Removes the namespace `kind`, or gives it a path.
pub(crate) fn namespace(config: &mut Value, kind: &str, path: Option<&str>) {
    if let Some(Value::Array(list)) = config.pointer_mut("/linux/namespaces") {
        list.retain(|one| one["type"] != kind);
        list.extend(path.map(|path| json!({ "type": kind, "path": path })));
    }
}

/// Removes the mounts whose destination `unwanted` names.
pub(crate) fn remove_mounts(config: &mut Value, unwanted: impl Fn(&str) -> bool) {
    if let Some(Value::Array(mounts)) = config.get_mut("mounts") {
        mounts.retain(|mount| !mount["destination"].as_str().is_some_and(&unwanted));
    }
}

/// Removes the mounts on and below /dev.
pub(crate) fn without_dev(config: &mut Value) {
    remove_mounts(config, |path| path.starts_with("/dev"));
}

/// Gives the program these capabilities, in the sets that count for root.
pub(crate) fn allow_capabilities(config: &mut Value, names: &[&str]) {
    for kind in ["bounding", "effective", "permitted"] {
        set(config, &format!("/process/capabilities/{kind}"), json!(names));
    }
}

/// Adds options to the mount on `destination`.
pub(crate) fn add_mount_options(config: &mut Value, destination: &str, options: &[&str]) {
    let mounts = config["mounts"].as_array_mut().into_iter().flatten();
    for mount in mounts.filter(|mount| mount["destination"] == destination) {
        options.iter().for_each(|option| push(mount, "/options", Value::from(*option)));
    }
}

/// Adds a user namespace, whose 65536 ids are the host's from 100000 on.
pub(crate) fn add_user_namespace(config: &mut Value) {
    push(config, "/linux/namespaces", json!({ "type": "user" }));
    let mappings = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    set(config, "/linux/uidMappings", mappings.clone());
    set(config, "/linux/gidMappings", mappings);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn pointers_make_their_way() {
        let mut config = json!({ "list": [1, 2] });
        super::set(&mut config, "/a/b", json!(1));
        super::set(&mut config, "/list/1", json!(3));
        super::set(&mut config, "/c/net~1x", json!(4));
        super::push(&mut config, "/d/e", json!(5));
        super::remove(&mut config, "/list/0");
        let expected =
            json!({ "list": [3], "a": { "b": 1 }, "c": { "net/x": 4 }, "d": { "e": [5] } });
        assert_eq!(config, expected);
    }
}
