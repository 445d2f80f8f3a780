//! The features document (runtime-spec, features.md) says what the plan takes, no more and no less.

use libcontainer::host::Host;
use libcontainer::{features, plan::Planned};
use serde_json::{Value, json};

use crate::hosts::{base, labelling, legacy, plan, set};

/// What needs a listener, which container tests have.
const OF_A_LISTENER: [&str; 2] = ["SCMP_ACT_NOTIFY", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"];

/// What the document lists at `pointer`.
fn listed(pointer: &str) -> Vec<String> {
    let document = features();
    let list = document.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Whether the config with these changes is taken, without a word.
fn is_taken(host: &Host, changes: &[(&str, Value)]) -> bool {
    let mut config = base();
    for (pointer, value) in changes {
        set(&mut config, pointer, value.clone());
    }
    let Ok(()) = serde_json::from_value::<oci_spec::runtime::Spec>(config.clone()).map(drop) else {
        return false;
    };
    matches!(plan(&config, host), Ok(Planned { warnings, .. }) if warnings.is_empty())
}

/// Checks that the list at `pointer` has those of `words` that are taken, and nothing else.
#[track_caller]
fn check(pointer: &str, words: &str, changes: impl Fn(&str) -> Vec<(&'static str, Value)>) {
    let listed = listed(pointer);
    let words: Vec<&str> = words.split_whitespace().collect();
    for name in listed.iter().filter(|name| !OF_A_LISTENER.contains(&name.as_str())) {
        assert!(words.contains(&name.as_str()), "{pointer}: {name} is not the specification's");
    }
    for word in words {
        let taken = is_taken(&legacy(), &changes(word));
        assert_eq!(listed.iter().any(|name| name == word), taken, "{pointer}: {word}");
    }
}

#[test]
fn versions() {
    for name in ["ociVersionMin", "ociVersionMax"] {
        assert!(is_taken(&legacy(), &[("/ociVersion", features()[name].clone())]), "{name}");
    }
    assert_eq!(features()["ociVersionMax"], "1.3.0");
}

#[test]
fn hooks() {
    let all = "prestart createRuntime createContainer startContainer poststart poststop";
    check("/hooks", all, |name| vec![("/hooks", json!({name: [{"path": "/a"}]}))]);
    // A kind that is not there is nothing that is known: it is passed over, and the list must not have it.
    assert!(!listed("/hooks").contains(&"postmortem".to_owned()));
}

#[test]
fn mount_options() {
    let words = "async atime bind defaults dev diratime dirsync exec iversion lazytime loud \
        noatime nodev nodiratime noexec noiversion nolazytime norelatime nostrictatime nosuid \
        private rbind relatime remount ro rprivate rshared rslave runbindable rw shared silent \
        slave strictatime suid sync unbindable nosymfollow symfollow idmap ridmap ratime rdev \
        rdiratime rexec rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid \
        rnosymfollow rrelatime rro rrw rstrictatime rsuid rsymfollow mand nomand tmpcopyup \
        copy-symlink src-nofollow dest-nofollow notmpcopyup";
    let ids = json!([{"containerID": 0, "hostID": 5, "size": 1}]);
    check("/mountOptions", words, |option| {
        let mut mount = json!({"destination": "/a", "type": "tmpfs", "options": [option]});
        if option.contains("nofollow") || option.contains("symlink") || option.ends_with("bind") {
            mount["type"] = json!("bind");
            mount["source"] = json!("/b");
        }
        if option.ends_with("idmap") {
            mount["uidMappings"] = ids.clone();
            mount["gidMappings"] = ids.clone();
        }
        vec![("/mounts/7", mount)]
    });
    // Others are a filesystem's own, and no bind mount takes them.
    let mount = json!({"destination": "/a", "type": "bind", "source": "/b", "options": ["moon"]});
    assert!(!is_taken(&legacy(), &[("/mounts/7", mount)]));
}

#[test]
fn namespaces() {
    let words = "pid network mount ipc uts user cgroup time moon";
    let ids = json!([{"containerID": 0, "hostID": 0, "size": 70000}]);
    check("/linux/namespaces", words, |kind| {
        let mut list = vec![json!({"type": kind})];
        list.extend((kind != "mount").then(|| json!({"type": "mount"})));
        let mut changes = vec![("/linux/namespaces", json!(list)), ("/hostname", json!(""))];
        if kind == "user" {
            changes
                .extend([("/linux/uidMappings", ids.clone()), ("/linux/gidMappings", ids.clone())]);
        }
        changes
    });
}

#[test]
fn capabilities() {
    let words = "CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL \
        CAP_SETGID CAP_SETUID CAP_SETPCAP CAP_LINUX_IMMUTABLE CAP_NET_BIND_SERVICE \
        CAP_NET_BROADCAST CAP_NET_ADMIN CAP_NET_RAW CAP_IPC_LOCK CAP_IPC_OWNER CAP_SYS_MODULE \
        CAP_SYS_RAWIO CAP_SYS_CHROOT CAP_SYS_PTRACE CAP_SYS_PACCT CAP_SYS_ADMIN CAP_SYS_BOOT \
        CAP_SYS_NICE CAP_SYS_RESOURCE CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_MKNOD CAP_LEASE \
        CAP_AUDIT_WRITE CAP_AUDIT_CONTROL CAP_SETFCAP CAP_MAC_OVERRIDE CAP_MAC_ADMIN CAP_SYSLOG \
        CAP_WAKE_ALARM CAP_BLOCK_SUSPEND CAP_AUDIT_READ CAP_PERFMON CAP_BPF \
        CAP_CHECKPOINT_RESTORE CAP_MOON";
    check("/linux/capabilities", words, |name| {
        vec![("/process/capabilities", json!({"bounding": [name]}))]
    });
}

/// A profile with this in place of what it has at `pointer`.
fn profile(pointer: &str, value: &str) -> Vec<(&'static str, Value)> {
    let argument = json!({"index": 0, "value": 1, "op": "SCMP_CMP_EQ"});
    let rule = json!({"names": ["read"], "action": "SCMP_ACT_LOG", "args": [argument]});
    let mut profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": [], "flags": [],
        "syscalls": [rule]});
    set(&mut profile, pointer, json!(value));
    vec![("/linux/seccomp", profile)]
}

#[test]
fn seccomp() {
    let actions = "SCMP_ACT_KILL SCMP_ACT_KILL_PROCESS SCMP_ACT_KILL_THREAD SCMP_ACT_TRAP \
        SCMP_ACT_ERRNO SCMP_ACT_TRACE SCMP_ACT_ALLOW SCMP_ACT_LOG SCMP_ACT_MOON";
    check("/linux/seccomp/actions", actions, |name| profile("/syscalls/0/action", name));
    let operators = "SCMP_CMP_NE SCMP_CMP_LT SCMP_CMP_LE SCMP_CMP_EQ SCMP_CMP_GE SCMP_CMP_GT \
        SCMP_CMP_MASKED_EQ SCMP_CMP_MOON";
    check("/linux/seccomp/operators", operators, |name| profile("/syscalls/0/args/0/op", name));
    let architectures = "X86 X86_64 X32 ARM AARCH64 MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 \
        MIPSEL64N32 PPC PPC64 PPC64LE S390 S390X PARISC PARISC64 RISCV64 LOONGARCH64 M68K SH SHEB MOON";
    let names = architectures.split_whitespace().map(|name| format!("SCMP_ARCH_{name} "));
    check("/linux/seccomp/archs", &names.collect::<String>(), |name| {
        profile("/architectures/0", name)
    });
    let flags = "TSYNC LOG SPEC_ALLOW MOON";
    let names = flags.split_whitespace().map(|name| format!("SECCOMP_FILTER_FLAG_{name} "));
    check("/linux/seccomp/supportedFlags", &names.collect::<String>(), |name| {
        profile("/flags/0", name)
    });
    let known = listed("/linux/seccomp/knownFlags");
    assert!(listed("/linux/seccomp/supportedFlags").iter().all(|flag| known.contains(flag)));
    assert_eq!(known.len(), 4);
}

#[test]
fn memory_policies() {
    let modes = "MPOL_DEFAULT MPOL_BIND MPOL_INTERLEAVE MPOL_WEIGHTED_INTERLEAVE MPOL_PREFERRED \
        MPOL_PREFERRED_MANY MPOL_LOCAL MPOL_MOON";
    check("/linux/memoryPolicy/modes", modes, |mode| {
        let has_nodes = !matches!(mode, "MPOL_DEFAULT" | "MPOL_LOCAL");
        let nodes = if has_nodes { "0" } else { "" };
        vec![("/linux/memoryPolicy", json!({"mode": mode, "nodes": nodes}))]
    });
    let flags = "MPOL_F_NUMA_BALANCING MPOL_F_RELATIVE_NODES MPOL_F_STATIC_NODES MPOL_F_MOON";
    check("/linux/memoryPolicy/flags", flags, |flag| {
        vec![("/linux/memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": "0", "flags": [flag]}))]
    });
}

/// What is enabled is taken where the machine has it.
#[test]
fn what_is_enabled() {
    let device = json!({"eth0": {}});
    let ids = json!([{"containerID": 0, "hostID": 5, "size": 1}]);
    let mapped = json!({"destination": "/a", "type": "bind", "source": "/b", "options": ["idmap"],
        "uidMappings": ids, "gidMappings": ids});
    let rdt = |value: Value| vec![("/linux/intelRdt", value)];
    let limits = |value: Value| vec![("/linux/resources", value)];
    for (pointer, changes) in [
        ("/linux/apparmor/enabled", vec![("/process/apparmorProfile", json!("p"))]),
        ("/linux/selinux/enabled", vec![("/process/selinuxLabel", json!("l"))]),
        ("/linux/intelRdt/enabled", rdt(json!({}))),
        ("/linux/intelRdt/schemata", rdt(json!({"schemata": ["L3:0=f"]}))),
        ("/linux/intelRdt/monitoring", rdt(json!({"enableMonitoring": true}))),
        ("/linux/netDevices/enabled", vec![("/linux/netDevices", device)]),
        ("/linux/mountExtensions/idmap/enabled", vec![("/mounts/7", mapped)]),
        ("/linux/cgroup/rdma", limits(json!({"rdma": {"mlx": {"hcaObjects": 1}}}))),
        ("/linux/cgroup/v2", limits(json!({"pids": {"limit": 5}}))),
        ("/linux/seccomp/enabled", profile("/syscalls/0/names/0", "read")),
    ] {
        assert_eq!(features().pointer(pointer), Some(&json!(true)), "{pointer}");
        assert!(is_taken(&labelling(), &changes), "{pointer}");
    }
    assert_eq!(features()["linux"]["cgroup"]["v1"], true);
    assert!(is_taken(&legacy(), &limits(json!({"pids": {"limit": 5}}))));
}

/// All that is enabled or listed is in one of these tests, so that nothing is promised without.
#[test]
fn nothing_else_is_promised() {
    let document = features();
    let names = |pointer: &str| {
        let object = document.pointer(pointer).and_then(Value::as_object);
        object.unwrap().keys().map(String::as_str).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        names(""),
        "annotations hooks linux mountOptions ociVersionMax ociVersionMin \
            potentiallyUnsafeConfigAnnotations"
    );
    assert_eq!(
        names("/linux"),
        "apparmor capabilities cgroup intelRdt memoryPolicy mountExtensions namespaces netDevices \
            seccomp selinux"
    );
    assert_eq!(names("/linux/cgroup"), "rdma systemd systemdUser v1 v2");
    assert_eq!(
        names("/linux/seccomp"),
        "actions archs enabled knownFlags operators supportedFlags"
    );
    assert_eq!(names("/linux/intelRdt"), "enabled monitoring schemata");
}
