//! What must be refused, with words that help, and nothing left behind.

use std::fs;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{Test, cases};
use crate::config;
use crate::container::Container;

cases!("bad_input":
    no_config, no_bundle, empty_config, truncated_config, no_object, config_is_a_directory, wrong_types,
    unknown_namespace, duplicate_namespace, no_root, missing_rootfs, rootfs_is_a_link, rootfs_is_a_file,
    relative_cwd, empty_cwd, empty_args, missing_args, empty_program, nul_in_args, nul_in_env,
    nul_in_paths, missing_program, missing_program_path, program_is_a_directory,
    program_not_executable, program_below_a_file, long_hostname, long_path, long_arguments, long_environment,
    many_mappings, overlapping_mappings, mappings_without_user_namespace, user_without_mappings,
    relative_hook, zero_timeout, negative_timeout, bad_version, duplicate_rlimit, unknown_rlimit,
    soft_over_hard, unknown_propagation, bind_with_filesystem_option, unknown_mount_option,
    unknown_filesystem, missing_bind_source, relative_masked_path, relative_readonly_path,
    sysctl_of_the_host, sysctl_of_the_hosts_network, sysctl_unknown, hostname_without_uts,
    domainname_without_uts, unknown_device_type, unknown_personality, unmapped_user, negative_numbers,
    large_numbers, what_cannot_be_honoured, empty_annotation_key, pointers_name_what_is_wrong,
    all_violations_at_once,
);

const MEBI: usize = 1 << 20;

/// With `value` at `pointer`, create is refused and says `words`.
fn refused_with(container: &mut Container, pointer: &str, value: Value, words: &[&str]) -> Test {
    container.set(pointer, value);
    container.create_refused(words).with_context(|| pointer.to_owned())
}

/// Without writing config.json.
fn create(container: &Container) -> anyhow::Result<crate::command::Output> {
    container.runtime(&["create", "--bundle", &container.bundle(), &container.id])
}

fn no_config(container: &mut Container) -> Test {
    container.refused(&create(container)?, &["config.json", "not found"])
}

fn no_bundle(container: &mut Container) -> Test {
    let output = container.runtime(&["create", "--bundle", "/no/such/bundle", &container.id])?;
    container.refused(&output, &["/no/such/bundle", "no such file or directory"])
}

fn with_text(container: &Container, text: &str, words: &[&str]) -> Test {
    fs::write(container.file("config.json"), text)?;
    container.refused(&create(container)?, words)
}

fn empty_config(container: &mut Container) -> Test {
    with_text(container, "", &["EOF"])
}

fn truncated_config(container: &mut Container) -> Test {
    let text = container.config.to_string();
    for length in [1, 20, text.len() / 2, text.len() - 1] {
        with_text(container, &text[..length], &["EOF"])?;
    }
    Ok(())
}

fn no_object(container: &mut Container) -> Test {
    for text in ["[]", "\"config\"", "null", "{}"] {
        with_text(container, text, &[])?;
    }
    Ok(())
}

fn config_is_a_directory(container: &mut Container) -> Test {
    fs::create_dir(container.file("config.json"))?;
    container.refused(&create(container)?, &["is a directory"])
}

fn wrong_types(container: &mut Container) -> Test {
    for (pointer, value) in [
        ("/hostname", json!(5)),
        ("/process/cwd", json!(true)),
        ("/process/args", json!("sh")),
        ("/process/args/0", json!(1)),
        ("/process/env", json!({ "A": "1" })),
        ("/process/user/uid", json!("0")),
        ("/process/terminal", json!("yes")),
        ("/root", json!("rootfs")),
        ("/mounts", json!({})),
        ("/mounts/0/options", json!("ro")),
        ("/linux", json!([])),
        ("/linux/namespaces/0/type", json!(7)),
        ("/linux/resources/memory", json!({ "limit": "1G" })),
        ("/hooks", json!([])),
        ("/annotations", json!({ "a": 1 })),
    ] {
        let before = container.config.clone();
        refused_with(container, pointer, value, &[])?;
        container.config = before;
    }
    Ok(())
}

fn unknown_namespace(container: &mut Container) -> Test {
    container.push("/linux/namespaces", json!({ "type": "moon" }));
    container.create_refused(&["moon"])
}

fn duplicate_namespace(container: &mut Container) -> Test {
    container.push("/linux/namespaces", json!({ "type": "pid" }));
    container.create_refused(&["pid"])?;
    container.remove("/linux/namespaces/6");
    container.push("/linux/namespaces", json!({ "type": "network", "path": "/proc/self/ns/net" }));
    container.create_refused(&["network"])
}

fn no_root(container: &mut Container) -> Test {
    container.remove("/root");
    container.create_refused(&["root"])
}

fn missing_rootfs(container: &mut Container) -> Test {
    let words = ["nowhere", "no such file or directory"];
    refused_with(container, "/root/path", json!("nowhere"), &words)
}

fn rootfs_is_a_link(container: &mut Container) -> Test {
    std::os::unix::fs::symlink("rootfs", container.directory.join("link"))?;
    refused_with(container, "/root/path", json!("link"), &["link"])
}

fn rootfs_is_a_file(container: &mut Container) -> Test {
    fs::write(container.file("file"), "")?;
    refused_with(container, "/root/path", json!("file"), &["not a directory"])
}

fn relative_cwd(container: &mut Container) -> Test {
    refused_with(container, "/process/cwd", json!("tmp"), &["absolute"])
}

fn empty_cwd(container: &mut Container) -> Test {
    refused_with(container, "/process/cwd", json!(""), &["wd"])
}

fn empty_args(container: &mut Container) -> Test {
    refused_with(container, "/process/args", json!([]), &["args"])
}

fn missing_args(container: &mut Container) -> Test {
    container.remove("/process/args");
    container.create_refused(&["args"])
}

fn empty_program(container: &mut Container) -> Test {
    refused_with(container, "/process/args", json!([""]), &["exec: \"\""])
}

fn nul_in_args(container: &mut Container) -> Test {
    for args in [json!(["a\0b"]), json!(["/bin/true", "a\0b"])] {
        refused_with(container, "/process/args", args, &[])?;
    }
    Ok(())
}

fn nul_in_env(container: &mut Container) -> Test {
    refused_with(container, "/process/env", json!(["PATH=/bin", "A=\0"]), &[])
}

fn nul_in_paths(container: &mut Container) -> Test {
    for (pointer, value) in [
        ("/process/cwd", json!("/a\0")),
        ("/hostname", json!("a\0b")),
        ("/root/path", json!("rootfs\0")),
        ("/mounts/0/destination", json!("/proc\0x")),
        ("/mounts/0/source", json!("a\0b")),
        ("/mounts/1/options", json!(["mode=755\0"])),
        ("/linux/maskedPaths/0", json!("/proc\0")),
        ("/linux/readonlyPaths/0", json!("/proc\0")),
        ("/linux/cgroupsPath", json!("/a\0b")),
        ("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1\0" })),
    ] {
        let before = container.config.clone();
        refused_with(container, pointer, value, &[])?;
        container.config = before;
    }
    Ok(())
}

/// Engines turn this text into exit code 127.
fn missing_program(container: &mut Container) -> Test {
    let words = ["exec: \"nosuch\": executable file not found in $PATH"];
    refused_with(container, "/process/args", json!(["nosuch"]), &words)
}

fn missing_program_path(container: &mut Container) -> Test {
    let words = ["exec: \"/no/such\": stat /no/such: no such file or directory"];
    refused_with(container, "/process/args", json!(["/no/such"]), &words)
}

/// And these into 126.
fn program_is_a_directory(container: &mut Container) -> Test {
    refused_with(container, "/process/args", json!(["/etc"]), &["exec: \"/etc\": is a directory"])
}

fn program_not_executable(container: &mut Container) -> Test {
    let words = ["exec: \"/etc/passwd\": permission denied"];
    refused_with(container, "/process/args", json!(["/etc/passwd"]), &words)
}

fn program_below_a_file(container: &mut Container) -> Test {
    let words = ["exec: \"/etc/passwd/x\": stat /etc/passwd/x: not a directory"];
    refused_with(container, "/process/args", json!(["/etc/passwd/x"]), &words)
}

fn long_hostname(container: &mut Container) -> Test {
    refused_with(container, "/hostname", json!("x".repeat(MEBI)), &["hostname"])
}

fn long_path(container: &mut Container) -> Test {
    let path = format!("/{}", "x".repeat(MEBI));
    container.mount(json!({ "destination": path, "type": "tmpfs", "source": "tmpfs" }));
    container.create_refused(&["mount"])
}

fn long_arguments(container: &mut Container) -> Test {
    container.set("/process/args", json!(["/bin/true", "x".repeat(MEBI)]));
    let output = container.run()?;
    container.refused(&output, &["argument list too long"])
}

fn long_environment(container: &mut Container) -> Test {
    container.push("/process/env", json!(format!("A={}", "x".repeat(MEBI))));
    let output = container.run()?;
    container.refused(&output, &["argument list too long"])
}

fn many_mappings(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    let mappings: Vec<Value> = (0..100_000)
        .map(|at| json!({ "containerID": at * 2, "hostID": at * 2 + 100_000, "size": 1 }))
        .collect();
    refused_with(container, "/linux/uidMappings", json!(mappings), &[])
}

fn overlapping_mappings(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    let mappings = json!([
        { "containerID": 0, "hostID": 100_000, "size": 10 },
        { "containerID": 5, "hostID": 200_000, "size": 10 }
    ]);
    refused_with(container, "/linux/uidMappings", mappings, &[])
}

fn mappings_without_user_namespace(container: &mut Container) -> Test {
    let mappings = json!([{ "containerID": 0, "hostID": 5, "size": 1 }]);
    refused_with(container, "/linux/uidMappings", mappings, &["apping"])
}

fn user_without_mappings(container: &mut Container) -> Test {
    container.push("/linux/namespaces", json!({ "type": "user" }));
    container.create_refused(&["apping"])
}

fn relative_hook(container: &mut Container) -> Test {
    refused_with(
        container,
        "/hooks",
        json!({ "poststop": [{ "path": "bin/true" }] }),
        &["absolute"],
    )
}

fn hook_with_timeout(seconds: i64) -> Value {
    json!({ "createRuntime": [{ "path": "/bin/true", "timeout": seconds }] })
}

fn zero_timeout(container: &mut Container) -> Test {
    refused_with(container, "/hooks", hook_with_timeout(0), &["timeout"])
}

fn negative_timeout(container: &mut Container) -> Test {
    refused_with(container, "/hooks", hook_with_timeout(-1), &["timeout"])
}

fn bad_version(container: &mut Container) -> Test {
    for version in ["2.0.0", "banana", "", "1", "1.0", "v1.0.0", "0.9.0"] {
        refused_with(container, "/ociVersion", json!(version), &["ersion"])
            .with_context(|| format!("{version:?}"))?;
    }
    container.remove("/ociVersion");
    container.create_refused(&["ersion"])
}

fn duplicate_rlimit(container: &mut Container) -> Test {
    let limit = json!({ "type": "RLIMIT_NOFILE", "hard": 1000, "soft": 1000 });
    container.push("/process/rlimits", limit);
    container.create_refused(&["RLIMIT_NOFILE"])
}

fn unknown_rlimit(container: &mut Container) -> Test {
    let limit = json!([{ "type": "RLIMIT_PATIENCE", "hard": 1, "soft": 1 }]);
    refused_with(container, "/process/rlimits", limit, &["RLIMIT_PATIENCE"])
}

fn soft_over_hard(container: &mut Container) -> Test {
    let limit = json!([{ "type": "RLIMIT_CORE", "hard": 1, "soft": 2 }]);
    refused_with(container, "/process/rlimits", limit, &["limit"])
}

fn unknown_propagation(container: &mut Container) -> Test {
    refused_with(container, "/linux/rootfsPropagation", json!("wide"), &["wide"])
}

fn refused_mount(container: &mut Container, mount: Value, words: &[&str]) -> Test {
    container.mount(mount);
    container.create_refused(words)
}

fn bind_with_filesystem_option(container: &mut Container) -> Test {
    let mount = json!({ "destination": "/tmp", "source": "/tmp", "options": ["bind", "size=5k"] });
    refused_mount(container, mount, &["filesystem-specific options"])
}

fn unknown_mount_option(container: &mut Container) -> Test {
    let options = ["nosuchoption"];
    let mount =
        json!({ "destination": "/tmp", "type": "tmpfs", "source": "x", "options": options });
    refused_mount(container, mount, &["/tmp", "invalid argument"])
}

fn unknown_filesystem(container: &mut Container) -> Test {
    let mount = json!({ "destination": "/tmp", "type": "nosuchfs", "source": "x" });
    refused_mount(container, mount, &["no such device"])
}

fn missing_bind_source(container: &mut Container) -> Test {
    let mount = json!({ "destination": "/tmp", "source": "/no/such", "options": ["bind"] });
    refused_mount(container, mount, &["/no/such", "no such file or directory"])
}

fn relative_masked_path(container: &mut Container) -> Test {
    refused_with(container, "/linux/maskedPaths", json!(["proc/kcore"]), &["absolute"])
}

fn relative_readonly_path(container: &mut Container) -> Test {
    refused_with(container, "/linux/readonlyPaths", json!(["proc/sys"]), &["absolute"])
}

fn sysctl_of_the_host(container: &mut Container) -> Test {
    for key in ["kernel.core_pattern", "vm.swappiness", "kernel.hostname", "fs.file-max"] {
        refused_with(container, "/linux/sysctl", json!({ key: "1" }), &[key])?;
    }
    Ok(())
}

fn sysctl_of_the_hosts_network(container: &mut Container) -> Test {
    config::namespace(&mut container.config, "network", None);
    let value = json!({ "net.ipv4.ip_forward": "1" });
    refused_with(container, "/linux/sysctl", value, &["net.ipv4.ip_forward"])
}

fn sysctl_unknown(container: &mut Container) -> Test {
    let value = json!({ "net.no.such": "1" });
    refused_with(container, "/linux/sysctl", value, &["no such file or directory"])
}

fn hostname_without_uts(container: &mut Container) -> Test {
    config::namespace(&mut container.config, "uts", None);
    container.create_refused(&["hostname"])
}

fn domainname_without_uts(container: &mut Container) -> Test {
    config::namespace(&mut container.config, "uts", None);
    container.remove("/hostname");
    refused_with(container, "/domainname", json!("example.org"), &["domainname"])
}

fn unknown_device_type(container: &mut Container) -> Test {
    let device = json!([{ "path": "/dev/x", "type": "z", "major": 1, "minor": 3 }]);
    refused_with(container, "/linux/devices", device, &["z"])
}

fn unknown_personality(container: &mut Container) -> Test {
    refused_with(container, "/linux/personality", json!({ "domain": "BSD" }), &["BSD"])
}

fn unmapped_user(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    container.set("/process/user", json!({ "uid": 70_000, "gid": 0 }));
    let output = container.run()?;
    container.refused(&output, &[])
}

fn negative_numbers(container: &mut Container) -> Test {
    for pointer in ["/process/user/uid", "/process/user/gid", "/process/user/umask"] {
        refused_with(container, pointer, json!(-1), &[])?;
        container.set("/process/user", json!({ "uid": 0, "gid": 0 }));
    }
    Ok(())
}

fn large_numbers(container: &mut Container) -> Test {
    for value in [json!(4_294_967_296_u64), json!(1e30), json!(0.5)] {
        refused_with(container, "/process/user/uid", value, &[])?;
    }
    container.set("/process/user/uid", json!(u32::MAX));
    let output = container.run()?;
    container.refused(&output, &[])
}

/// What this machine has not got is an error: nothing is passed over in silence.
fn what_cannot_be_honoured(container: &mut Container) -> Test {
    for (pointer, value) in [
        ("/linux/intelRdt", json!({ "closID": "x", "l3CacheSchema": "L3:0=1" })),
        ("/linux/netDevices", json!({ "nosuchdevice0": {} })),
        ("/linux/memoryPolicy", json!({ "mode": "MPOL_NONSENSE", "nodes": "0" })),
        ("/linux/mountLabel", json!("system_u:object_r:no_such_t:s0")),
        ("/process/scheduler", json!({ "policy": "SCHED_NONSENSE" })),
        ("/process/ioPriority", json!({ "class": "IOPRIO_CLASS_NONSENSE", "priority": 1 })),
    ] {
        let output = {
            container.set(pointer, value);
            container.run()?
        };
        container.refused(&output, &[]).with_context(|| pointer.to_owned())?;
        container.remove(pointer);
    }
    Ok(())
}

fn empty_annotation_key(container: &mut Container) -> Test {
    refused_with(container, "/annotations", json!({ "": "x" }), &["annotation"])
}

/// Every violation is named by its JSON pointer.
fn pointers_name_what_is_wrong(container: &mut Container) -> Test {
    let duplicate = json!({ "type": "pid" });
    let limit = json!({ "type": "RLIMIT_NOFILE", "hard": 5, "soft": 5 });
    for (pointer, value) in [
        ("/hostname", json!(5)),
        ("/process/cwd", json!("tmp")),
        ("/process/args", json!([])),
        ("/process/env/1", json!("A=\0")),
        ("/process/rlimits/1", limit),
        ("/hooks/poststop/0/path", json!("bin/true")),
        ("/hooks/createRuntime/0/timeout", json!(0)),
        ("/linux/namespaces/6", duplicate),
        ("/linux/namespaces/6", json!({ "type": "moon" })),
        ("/linux/rootfsPropagation", json!("wide")),
        ("/linux/maskedPaths/0", json!("proc")),
        ("/linux/cgroupsPath", json!("/a/../b")),
        ("/ociVersion", json!("banana")),
    ] {
        let before = container.config.clone();
        if pointer.starts_with("/hooks") {
            let kind = pointer.split('/').nth(2).unwrap_or_default();
            container.set("/hooks", json!({ kind: [{ "path": "/bin/true" }] }));
        }
        match pointer.rsplit_once('/') {
            Some((list, "1" | "6")) if !list.ends_with("env") => container.push(list, value),
            _ => container.set(pointer, value),
        }
        container.create_refused(&[pointer])?;
        container.config = before;
    }
    Ok(())
}

fn all_violations_at_once(container: &mut Container) -> Test {
    container.set("/process/cwd", json!("tmp"));
    container.set("/ociVersion", json!("banana"));
    container.set("/linux/rootfsPropagation", json!("wide"));
    container.create_refused(&["/process/cwd", "/ociVersion", "/linux/rootfsPropagation"])
}
