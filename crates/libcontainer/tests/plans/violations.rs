//! Every rule that a config can break, and where the violation points to.

use libcontainer::Violation;
use libcontainer::host::Host;
use oci_spec::runtime::Process;
use serde_json::{Value, json};

use crate::hosts::{base, legacy, plan, rootless, set, unified};

fn pointers(violations: Vec<Violation>) -> Vec<String> {
    for one in &violations {
        assert!(!one.rule.is_empty() && !one.fix.is_empty(), "{one:?}");
    }
    violations.into_iter().map(|violation| violation.pointer).collect()
}

/// Checks that the config with `changes` has violations at exactly `expected`.
#[track_caller]
fn check_on(host: &Host, changes: &[(&str, Value)], expected: &[&str]) {
    let mut config = base();
    for (pointer, value) in changes {
        set(&mut config, pointer, value.clone());
    }
    let found = plan(&config, host).map_or_else(pointers, |_| Vec::new());
    assert_eq!(found, expected, "{changes:?}");
}

#[track_caller]
fn check(changes: &[(&str, Value)], expected: &[&str]) {
    check_on(&legacy(), changes, expected);
}

/// Checks that `value` at `pointer` is wrong, and that nothing else is.
#[track_caller]
fn wrong(pointer: &str, value: Value) {
    check(&[(pointer, value)], &[pointer]);
}

#[test]
fn the_base_is_right() {
    check(&[], &[]);
    check_on(&unified(), &[], &[]);
}

#[test]
fn all_violations_are_found_in_one_run() {
    let changes = [
        ("/ociVersion", json!("banana")),
        ("/process/cwd", json!("tmp")),
        ("/process/args", json!([])),
        ("/linux/maskedPaths/2", json!("proc")),
        ("/linux/maskedPaths/4", json!("a\0b")),
    ];
    let expected = [
        "/ociVersion",
        "/process/args",
        "/process/cwd",
        "/linux/maskedPaths/2",
        "/linux/maskedPaths/4",
        "/linux/maskedPaths/4",
    ];
    check(&changes, &expected);
}

#[test]
fn versions() {
    for version in ["", "1", "banana", "2.0.0", "1.0.0\0"] {
        wrong("/ociVersion", json!(version));
    }
}

#[test]
fn the_root() {
    wrong("/root/path", json!(""));
    wrong("/root/path", json!("a\0b"));
    let mut config = base();
    config.as_object_mut().unwrap().remove("root");
    assert_eq!(pointers(plan(&config, &legacy()).unwrap_err()), ["/root/path"]);
    for word in ["rrslave", "Shared", "none"] {
        wrong("/linux/rootfsPropagation", json!(word));
    }
    wrong("/linux/maskedPaths/0", json!("proc/kcore"));
    wrong("/linux/readonlyPaths/0", json!(""));
}

#[test]
fn names() {
    for pointer in ["/hostname", "/domainname"] {
        wrong(pointer, json!("x".repeat(65)));
        wrong(pointer, json!("a\0b"));
    }
    // No uts namespace: the fourth of the default config.
    let shared = ("/linux/namespaces/3", json!({"type": "time"}));
    check(std::slice::from_ref(&shared), &["/hostname"]);
    check(&[shared.clone(), ("/hostname", json!(""))], &[]);
    let domain = ("/domainname", json!("d"));
    check(&[shared, ("/hostname", json!("")), domain], &["/domainname"]);
}

#[test]
fn namespaces() {
    let second = |value| ("/linux/namespaces/6", value);
    check(&[second(json!({"type": "pid"}))], &["/linux/namespaces/6/type"]);
    let joined = json!({"type": "pid", "path": "/proc/1/ns/pid"});
    check(&[second(joined)], &["/linux/namespaces/6/type"]);
    let relative = json!({"type": "time", "path": "ns/time"});
    check(&[second(relative)], &["/linux/namespaces/6/path"]);
    let nul = json!({"type": "time", "path": "/a\0"});
    check(&[second(nul)], &["/linux/namespaces/6/path"]);
    check_on(&rootless(), &[], &["/linux/namespaces"]);
}

#[test]
fn without_a_mount_namespace_no_mount_is_changed() {
    let shared = ("/linux/namespaces/4", json!({"type": "time"}));
    let expected = ["/mounts", "/linux/maskedPaths", "/linux/readonlyPaths", "/root/readonly"];
    check(std::slice::from_ref(&shared), &expected);
    let none = [
        shared,
        ("/mounts", json!([])),
        ("/linux/maskedPaths", json!([])),
        ("/linux/readonlyPaths", json!([])),
        ("/root/readonly", json!(false)),
    ];
    check(&none, &[]);
}

/// A user namespace whose uidMappings are `uid`.
fn mapped(uid: Value) -> [(&'static str, Value); 4] {
    [
        ("/linux/namespaces/6", json!({"type": "user"})),
        ("/linux/uidMappings", uid),
        ("/linux/gidMappings", json!([{"containerID": 0, "hostID": 1000, "size": 1000}])),
        ("/mounts/2/options", json!(["newinstance"])),
    ]
}

fn range(container: u32, host: u32, size: u32) -> Value {
    json!({"containerID": container, "hostID": host, "size": size})
}

#[test]
fn mappings() {
    check(&mapped(json!([range(0, 0, 10)])), &[]);
    check(&mapped(json!([])), &["/linux/uidMappings"]);
    let nobody = ["/linux/uidMappings/0/size", "/linux/uidMappings", "/process/user/uid"];
    check(&mapped(json!([range(0, 0, 0)])), &nobody);
    check(&mapped(json!([range(0, 5, u32::MAX)])), &["/linux/uidMappings/0/size"]);
    check(&mapped(json!([range(0, u32::MAX, 1)])), &["/linux/uidMappings/0/size"]);
    check(&mapped(json!([range(0, 0, 10), range(9, 100, 1)])), &["/linux/uidMappings/1"]);
    check(&mapped(json!([range(0, 0, 10), range(20, 9, 1)])), &["/linux/uidMappings/1"]);
    let nobody = ["/linux/uidMappings", "/process/user/uid"];
    check(&mapped(json!([range(1, 0, 10)])), &nobody);
    wrong("/linux/uidMappings", json!([range(0, 0, 1)]));
    wrong("/linux/gidMappings", json!([range(0, 0, 1)]));
    let many: Vec<Value> = (0..100_000).map(|id| range(id, id, 1)).collect();
    check(&mapped(json!(many)), &["/linux/uidMappings"]);
}

#[test]
fn ids_that_are_not_mapped() {
    let with = |pointer, value| {
        let changes = mapped(json!([range(0, 1000, 1000)]));
        changes.into_iter().chain([(pointer, value)]).collect::<Vec<_>>()
    };
    check(&with("/process/user/uid", json!(1000)), &["/process/user/uid"]);
    check(&with("/process/user/gid", json!(1000)), &["/process/user/gid"]);
    let groups = with("/process/user/additionalGids", json!([1, 1000]));
    check(&groups, &["/process/user/additionalGids"]);
    let options = json!(["newinstance", "gid=999", "uid=1000"]);
    check(&with("/mounts/2/options", options), &["/mounts/2/options/2"]);
}

#[test]
fn a_joined_user_namespace_keeps_its_mappings() {
    let mut config = base();
    set(&mut config, "/linux/namespaces/6", json!({"type": "user", "path": "/proc/7/ns/user"}));
    set(&mut config, "/linux/uidMappings", json!([range(0, 1000, 10)]));
    set(&mut config, "/process/user/uid", json!(5000));
    let planned = plan(&config, &legacy()).unwrap();
    assert_eq!(planned.warnings.len(), 1);
    assert!(planned.plan.namespaces.uid_mappings.is_empty());
}

#[test]
fn time_offsets() {
    let time = ("/linux/namespaces/6", json!({"type": "time"}));
    let with =
        |name: &str, value: Value| [time.clone(), ("/linux/timeOffsets", json!({name: value}))];
    check(&with("boottime", json!({"secs": -5})), &[]);
    check(&with("realtime", json!({"secs": 1})), &["/linux/timeOffsets/realtime"]);
    let pointer = "/linux/timeOffsets/monotonic/nanosecs";
    check(&with("monotonic", json!({"nanosecs": 1_000_000_000})), &[pointer]);
    wrong("/linux/timeOffsets", json!({"boottime": {"secs": 1}}));
    let joined = ("/linux/namespaces/6", json!({"type": "time", "path": "/a"}));
    let offsets = ("/linux/timeOffsets", json!({"boottime": {"secs": 1}}));
    check(&[joined, offsets], &["/linux/timeOffsets"]);
}

/// Checks one more mount, the eighth.
#[track_caller]
fn check_mount(mount: Value, expected: &[&str]) {
    let expected: Vec<String> = expected.iter().map(|place| format!("/mounts/7{place}")).collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    check(&[("/mounts/7", mount)], &expected);
}

#[test]
fn mounts() {
    let tmpfs = |destination: &str| json!({"destination": destination, "type": "tmpfs"});
    for destination in ["/", "", "//", "/.", "."] {
        check_mount(tmpfs(destination), &["/destination"]);
    }
    check_mount(tmpfs("/a\0"), &["/destination"]);
    check_mount(json!({"destination": "/a"}), &["/type"]);
    check_mount(json!({"destination": "/a", "type": "tm\0pfs"}), &["/type"]);
    check_mount(json!({"destination": "/a", "type": "tmpfs", "source": "\0"}), &["/source"]);
    let long = "x".repeat(256);
    check_mount(json!({"destination": "/a", "type": "nfs", "source": long}), &["/source"]);
    let bind = json!({"destination": "/a", "type": "none", "options": ["rbind"]});
    check_mount(bind, &["/source"]);
    check_mount(json!({"destination": "/a", "type": "bind", "source": "a\0"}), &["/source"]);
}

#[test]
fn mount_options() {
    let with = |fstype: &str, options: &[&str]| json!({"destination": "/a", "type": fstype, "source": "/s", "options": options});
    check_mount(with("bind", &["ro", "mode=755"]), &["/options/1"]);
    check_mount(with("none", &["rbind", "x"]), &["/options/1"]);
    check_mount(with("cgroup", &["ro", "xattr"]), &["/options/1"]);
    check_mount(with("cgroup", &["sync", "mand"]), &[]);
    check_mount(with("cgroup2", &["tmpcopyup"]), &["/options"]);
    check_mount(with("cgroup", &["rprivate", "slave", "rro"]), &[]);
    check_mount(with("cgroup", &["rshared"]), &[]);
    check_mount(with("bind", &["tmpcopyup"]), &["/options"]);
    check_mount(with("tmpfs", &["tmpcopyup", "notmpcopyup"]), &[]);
    check_mount(with("overlay", &["tmpcopyup", "notmpcopyup"]), &[]);
    check_mount(with("tmpfs", &["=5"]), &["/options/0"]);
    check_mount(with("tmpfs", &["mode=7\0"]), &["/options/0"]);
    let long = format!("lowerdir=/{}", "x".repeat(255));
    check_mount(with("overlay", &["ro", &long]), &["/options/1"]);
    for option in ["copy-symlink", "src-nofollow", "dest-nofollow"] {
        check_mount(with("bind", &[option]), &[]);
        check_mount(with("tmpfs", &[option]), &["/options"]);
    }
    check_mount(with("bind", &["remount", "ro"]), &[]);
    check_mount(with("none", &["remount", "bind", "size=5"]), &["/options/2"]);
    check_mount(with("none", &["remount", "size=5"]), &[]);
    check_mount(with("none", &["remount", "tmpcopyup"]), &["/options"]);
    check_mount(with("none", &["remount", "idmap=uids=0-1-2;gids=0-1-2"]), &["/options"]);
}

#[test]
fn mapped_mounts() {
    let with = |more: Value| {
        let mut mount = json!({"destination": "/a", "type": "bind", "source": "/s"});
        mount.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        mount
    };
    let ids = json!([range(0, 5, 10)]);
    check_mount(with(json!({"uidMappings": ids, "gidMappings": ids})), &[]);
    check_mount(with(json!({"uidMappings": ids, "gidMappings": ids, "options": ["idmap"]})), &[]);
    check_mount(with(json!({"uidMappings": ids})), &["/gidMappings"]);
    check_mount(with(json!({"gidMappings": ids, "options": ["idmap="]})), &["/uidMappings"]);
    let none = json!([range(0, 5, 0)]);
    check_mount(with(json!({"uidMappings": none, "gidMappings": ids})), &["/uidMappings/0/size"]);
    // Neither mappings of its own nor a user namespace.
    for option in ["idmap", "ridmap", "idmap=", "idmap=uids=0-1-2", "ridmap=x"] {
        check_mount(with(json!({"options": [option]})), &["/options/0"]);
    }
    check_mount(with(json!({"options": ["idmap=uids=0-1-2;gids=0-1-2"]})), &[]);
    check_mount(with(json!({"options": ["idmap=uids=@0-1-2;gids=0-1-2"]})), &["/options/0"]);
    let twice = json!({"uidMappings": ids, "gidMappings": ids,
        "options": ["idmap=uids=0-1-2;gids=0-1-2"]});
    check_mount(with(twice), &["/options/0"]);
    check_mount(
        json!({"destination": "/a", "type": "cgroup", "uidMappings": ids, "gidMappings": ids}),
        &["/options"],
    );
}

#[test]
fn devices() {
    let device = |path: &str| json!({"path": path, "type": "c", "major": 1, "minor": 1});
    let changed = |name: &str, value: Value| {
        let mut device = device("/dev/x");
        device[name] = value;
        [("/linux/devices/0", device)]
    };
    check(&changed("path", json!("dev/x")), &["/linux/devices/0/path"]);
    check(&changed("path", json!("/dev/x\0")), &["/linux/devices/0/path"]);
    check(&changed("type", json!("a")), &["/linux/devices/0/type"]);
    check(&changed("major", json!(-1)), &["/linux/devices/0/major"]);
    check(&changed("major", json!(4096)), &["/linux/devices/0/major"]);
    check(&changed("minor", json!(1 << 20)), &["/linux/devices/0/minor"]);
    wrong("/linux/devices/0", json!({"path": "/dev/x", "type": "b"}));
    check(&[("/linux/devices/0", json!({"path": "/run/x", "type": "p"}))], &[]);
    let twice = json!([device("/dev/x"), device("/dev/y"), device("//dev/./x")]);
    check(&[("/linux/devices", twice)], &["/linux/devices/2/path"]);
    check(&[("/linux/devices/0", device("/dev/ptmx"))], &["/linux/devices/0/path"]);
}

#[test]
fn the_program() {
    wrong("/process/args", json!([]));
    wrong("/process/args", json!(null));
    wrong("/process/args/1", json!("a\0b"));
    wrong("/process/cwd", json!("tmp"));
    wrong("/process/cwd", json!(""));
    wrong("/process/cwd", json!("/a\0"));
    for entry in ["", "NAME", "=value"] {
        wrong("/process/env/1", json!(entry));
    }
    wrong("/process/env/1", json!("A=\0"));
}

#[test]
fn the_terminal() {
    let size = |height: u64| {
        let size = json!({"height": height, "width": 80});
        [("/process/terminal", json!(true)), ("/process/consoleSize", size)]
    };
    check(&size(65535), &[]);
    check(&size(65536), &["/process/consoleSize/height"]);
}

#[test]
fn the_user() {
    wrong("/process/user/uid", json!(u32::MAX));
    wrong("/process/user/gid", json!(u32::MAX));
    wrong("/process/user/umask", json!(0o1000));
    let groups = [("/process/user/additionalGids", json!([1, u32::MAX]))];
    check(&groups, &["/process/user/additionalGids/1"]);
    wrong("/process/user/additionalGids", json!(vec![1; 65537]));
}

#[test]
fn limits_and_priorities() {
    let limit = |soft: u64| json!({"type": "RLIMIT_NOFILE", "soft": soft, "hard": 2});
    check(&[("/process/rlimits/1", limit(1))], &["/process/rlimits/1/type"]);
    check(&[("/process/rlimits/0", limit(3))], &["/process/rlimits/0/soft"]);
    wrong("/process/oomScoreAdj", json!(1001));
    wrong("/process/oomScoreAdj", json!(-1001));
    let io = [("/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 8}))];
    check(&io, &["/process/ioPriority/priority"]);
    let scheduler = [("/process/scheduler", json!({"policy": "SCHED_FIFO", "nice": 20}))];
    check(&scheduler, &["/process/scheduler/nice", "/process/scheduler/priority"]);
}

#[test]
fn hooks() {
    let hook = |value: Value| [("/hooks/poststop", json!([{"path": "/a"}, value]))];
    check(&hook(json!({"path": "a"})), &["/hooks/poststop/1/path"]);
    check(&hook(json!({"path": "/a\0"})), &["/hooks/poststop/1/path"]);
    check(&hook(json!({"path": "/a", "timeout": 0})), &["/hooks/poststop/1/timeout"]);
    check(&hook(json!({"path": "/a", "timeout": -1})), &["/hooks/poststop/1/timeout"]);
    check(&hook(json!({"path": "/a", "timeout": i64::MAX})), &[]);
    check(&hook(json!({"path": "/a", "args": ["a", "\0"]})), &["/hooks/poststop/1/args/1"]);
    check(&hook(json!({"path": "/a", "env": ["\0"]})), &["/hooks/poststop/1/env/0"]);
}

#[test]
fn annotations() {
    wrong("/annotations/", json!("x"));
}

#[test]
fn sysctls() {
    let keys = ["kernel.core_pattern", "kernel.hostname", "vm.swappiness", "net", "user.x"];
    for key in keys {
        wrong(&format!("/linux/sysctl/{key}"), json!("1"));
    }
    for key in ["net.ipv4.a+b", "net...", "net.", "net.a=b", "net.a\n", "net.a\0"] {
        wrong(&format!("/linux/sysctl/{key}"), json!("1"));
    }
    wrong("/linux/sysctl/net~1..~1kernel~1core_pattern", json!("1"));
    wrong("/linux/sysctl/net.ipv4.ip_forward", json!("1\n2"));
    wrong("/linux/sysctl/net.ipv4.ip_forward", json!("1\0"));
    let twice = json!({"net.ipv4.ip_forward": "1", "net/ipv4/ip_forward": "0"});
    check(&[("/linux/sysctl", twice)], &["/linux/sysctl/net~1ipv4~1ip_forward"]);
    let domain = json!({"kernel.domainname": "x"});
    check(&[("/linux/sysctl", domain.clone())], &[]);
    let both = [("/linux/sysctl", domain), ("/domainname", json!("d"))];
    check(&both, &["/linux/sysctl/kernel.domainname"]);
    let shared = ("/linux/namespaces/1", json!({"type": "time"}));
    let net = ("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}));
    check(&[shared, net], &["/linux/sysctl/net.ipv4.ip_forward"]);
    let shared = ("/linux/namespaces/2", json!({"type": "time"}));
    let ipc = ("/linux/sysctl", json!({"fs.mqueue.msg_max": "1", "kernel.sem": "1"}));
    check(&[shared, ipc], &["/linux/sysctl/fs.mqueue.msg_max", "/linux/sysctl/kernel.sem"]);
}

#[test]
fn cgroups() {
    for path in ["..", "/a/../b", "/", "/a\0"] {
        wrong("/linux/cgroupsPath", json!(path));
    }
    wrong("/linux/resources/pids/limit", json!(-2));
    let v2 = ("/linux/resources/memory/swappiness", json!(5));
    check(std::slice::from_ref(&v2), &[]);
    check_on(&unified(), &[v2], &["/linux/resources/memory/swappiness"]);
}

#[test]
fn what_aril_cannot_do_yet() {
    wrong("/linux/intelRdt", json!({"closID": "x"}));
}

#[test]
fn other_platforms() {
    wrong("/solaris", json!({}));
    wrong("/windows", json!({"layerFolders": []}));
    wrong("/vm", json!({"kernel": {"path": "/a"}}));
    let personality = [("/linux/personality", json!({"domain": "LINUX", "flags": ["x"]}))];
    check(&personality, &["/linux/personality/flags/0"]);
}

#[test]
fn a_process_alone_is_pointed_into_from_its_own_root() {
    let process = json!({"user": {}, "cwd": "x", "args": [], "apparmorProfile": "x",
        "execCPUAffinity": {"initial": "1024"}});
    let process: Process = serde_json::from_value(process).unwrap();
    let none = libnamespaces::KindSet::EMPTY;
    let request = libcontainer::request::Exec::default();
    let found = libcontainer::plan::exec(&process, &legacy(), none, &request).unwrap_err();
    assert_eq!(pointers(found), ["/args", "/cwd", "/execCPUAffinity/initial", "/apparmorProfile"]);
}

/// Long strings are taken where the kernel does, and shown shortened where not.
#[test]
fn a_mebibyte_is_no_trouble() {
    let long = "x".repeat(1 << 20);
    check(&[("/process/args/1", json!(long)), ("/annotations/a", json!(long))], &[]);
    let mut config = base();
    set(&mut config, "/hostname", json!(long));
    let violations = plan(&config, &legacy()).unwrap_err();
    assert!(violations[0].to_string().len() < 400);
}

#[test]
fn a_flood_of_violations_is_cut_short() {
    let mut config = base();
    set(&mut config, "/process/env", json!(vec!["x"; 100_000]));
    let found = plan(&config, &legacy()).unwrap_err();
    assert_eq!((found.len(), found[100].value.as_str()), (101, "\"99900 more\""));
}

#[test]
fn seccomp() {
    let profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{ "names": ["read"], "action": "SCMP_ACT_ALLOW" }]
    });
    check(&[("/linux/seccomp", profile.clone())], &[]);
    let with = |pointer: &str, value: Value| {
        let mut profile = profile.clone();
        set(&mut profile, pointer, value);
        let at = format!("/linux/seccomp{pointer}");
        check(&[("/linux/seccomp", profile)], &[&at]);
    };
    with("/defaultErrnoRet", json!(4096));
    with("/syscalls/0/errnoRet", json!(1));
    with("/syscalls/0/names", json!([]));
    with("/listenerMetadata", json!("for nobody"));
    let notify = json!({ "names": ["mount"], "action": "SCMP_ACT_NOTIFY" });
    let pathless =
        [("/linux/seccomp", profile.clone()), ("/linux/seccomp/syscalls/0", notify.clone())];
    check(&pathless, &["/linux/seccomp/syscalls/0/action"]);
    let path = ("/linux/seccomp/listenerPath", json!("/run/agent.socket"));
    let rules = |rules: Value| {
        let mut profile = profile.clone();
        set(&mut profile, "/syscalls", rules);
        ("/linux/seccomp", profile)
    };
    check(&[rules(json!([notify])), path.clone()], &[]);
    let long = ("/linux/seccomp/listenerPath", json!(format!("/{}", "x".repeat(107))));
    check(&[rules(json!([notify])), long], &["/linux/seccomp/listenerPath"]);
    let longest = ("/linux/seccomp/listenerPath", json!(format!("/{}", "x".repeat(106))));
    check(&[rules(json!([notify])), longest], &[]);
    let named = |name: &str| json!({ "names": ["close", name], "action": "SCMP_ACT_NOTIFY" });
    let (one, other) = (named("sendmsg"), named("sendmmsg"));
    check(&[rules(json!([one])), path.clone()], &[]);
    check(&[rules(json!([other])), path.clone()], &[]);
    let both = ["/linux/seccomp/syscalls/1/names/1"];
    check(&[rules(json!([one, other])), path.clone()], &both);
    // It is used when somebody is to be notified.
    check(&[("/linux/seccomp", profile.clone()), path], &[]);
    let argument = json!({ "index": 6, "value": 0, "op": "SCMP_CMP_EQ" });
    let rule = json!({ "names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [argument] });
    let mut indexed = profile.clone();
    set(&mut indexed, "/syscalls/0", rule);
    check(&[("/linux/seccomp", indexed)], &["/linux/seccomp/syscalls/0/args/0/index"]);
}
