//! What must be refused, with words that help, and nothing left behind.

use std::fs;

use anyhow::ensure;
use serde_json::{Value, json};

use super::cases;
use crate::harness::Container;

type Test = anyhow::Result<()>;

cases!("bad_input":
    no_config, truncated_config, wrong_types_are_all_named, unknown_namespace, duplicate_namespace,
    missing_rootfs, rootfs_is_a_link, relative_cwd, empty_args, nul_in_strings, missing_program,
    missing_program_path, program_is_a_directory, program_not_executable, bad_ids, duplicate_id,
    long_strings, many_mappings, relative_hook, zero_timeout, bad_version, duplicate_rlimit,
    unknown_propagation, bind_with_filesystem_option, sysctl_of_the_host, hostname_without_uts,
    mappings_without_user_namespace, missing_bind_source, unknown_capability_is_a_warning,
    unknown_property_is_ignored, json_log_is_one_line, all_violations_at_once,
);

fn refused_with(container: &mut Container, pointer: &str, value: Value, words: &[&str]) -> Test {
    container.set(pointer, value);
    container.create_refused(words)
}

fn no_config(container: &mut Container) -> Test {
    let output = container.runtime(&["create", "--bundle", &container.bundle(), &container.id])?;
    container.refused(&output, &["config.json", "not found"])
}

fn truncated_config(container: &mut Container) -> Test {
    fs::write(
        container.directory.join("config.json"),
        "{\"ociVersion\": \"1.0.2\", \"process\": {",
    )?;
    let output = container.runtime(&["create", "--bundle", &container.bundle(), &container.id])?;
    container.refused(&output, &["EOF", "line 1"])
}

fn wrong_types_are_all_named(container: &mut Container) -> Test {
    container.set("/hostname", json!(5));
    container.set("/process/cwd", json!(true));
    container.create_refused(&["/hostname", "/process"])
}

fn unknown_namespace(container: &mut Container) -> Test {
    container.push("/linux/namespaces", json!({ "type": "moon" }));
    container.create_refused(&["/linux/namespaces/6", "moon"])
}

fn duplicate_namespace(container: &mut Container) -> Test {
    container.push("/linux/namespaces", json!({ "type": "pid" }));
    container.create_refused(&["/linux/namespaces/6"])
}

fn missing_rootfs(container: &mut Container) -> Test {
    refused_with(
        container,
        "/root/path",
        json!("nowhere"),
        &["nowhere", "no such file or directory"],
    )
}

fn rootfs_is_a_link(container: &mut Container) -> Test {
    std::os::unix::fs::symlink("rootfs", container.directory.join("link"))?;
    refused_with(container, "/root/path", json!("link"), &["symbolic link"])
}

fn relative_cwd(container: &mut Container) -> Test {
    refused_with(container, "/process/cwd", json!("tmp"), &["/process/cwd", "absolute"])
}

fn empty_args(container: &mut Container) -> Test {
    refused_with(container, "/process/args", json!([]), &["/process/args"])
}

fn nul_in_strings(container: &mut Container) -> Test {
    for (pointer, value) in [
        ("/process/args", json!(["a\0b"])),
        ("/process/env", json!(["A=\0"])),
        ("/process/cwd", json!("/a\0")),
        ("/hostname", json!("a\0b")),
    ] {
        let before = container.config.pointer(pointer).cloned().unwrap_or_default();
        refused_with(container, pointer, value, &[pointer])?;
        container.set(pointer, before);
    }
    Ok(())
}

fn missing_program(container: &mut Container) -> Test {
    let words = ["exec: \"nosuch\": executable file not found in $PATH"];
    refused_with(container, "/process/args", json!(["nosuch"]), &words)
}

fn missing_program_path(container: &mut Container) -> Test {
    let words = ["exec: \"/no/such\": stat /no/such: no such file or directory"];
    refused_with(container, "/process/args", json!(["/no/such"]), &words)
}

fn program_is_a_directory(container: &mut Container) -> Test {
    refused_with(container, "/process/args", json!(["/etc"]), &["exec: \"/etc\": is a directory"])
}

fn program_not_executable(container: &mut Container) -> Test {
    let words = ["exec: \"/etc/passwd\": permission denied"];
    refused_with(container, "/process/args", json!(["/etc/passwd"]), &words)
}

fn bad_ids(container: &mut Container) -> Test {
    container.save()?;
    for id in ["a/b", "..", ".", "", "a b", "../x"] {
        let output = container.runtime(&["create", "--bundle", &container.bundle(), id])?;
        ensure!(output.code == 1, "{id:?} is taken");
        container.nothing_left()?;
    }
    Ok(())
}

fn duplicate_id(container: &mut Container) -> Test {
    container.start_script("sleep 100")?;
    let output = container.create()?;
    ensure!(
        output.code == 1 && output.stderr.contains("container with given ID already exists"),
        "{output:?}"
    );
    ensure!(container.state()?["status"] == "running", "the first one is gone");
    Ok(())
}

fn long_strings(container: &mut Container) -> Test {
    container.set("/hostname", json!("x".repeat(1 << 20)));
    container.create_refused(&["/hostname"])?;
    container.set("/hostname", json!("box"));
    let path = format!("/{}", "x".repeat(1 << 20));
    container.push("/mounts", json!({ "destination": path, "type": "tmpfs", "source": "tmpfs" }));
    container.create_refused(&["mounts"])
}

fn many_mappings(container: &mut Container) -> Test {
    container.push("/linux/namespaces", json!({ "type": "user" }));
    let mappings: Vec<Value> = (0..100_000u32)
        .map(|at| json!({ "containerID": at * 2, "hostID": at * 2 + 100_000, "size": 1 }))
        .collect();
    container.set("/linux/gidMappings", json!([{ "containerID": 0, "hostID": 0, "size": 1 }]));
    refused_with(container, "/linux/uidMappings", json!(mappings), &["/linux/uidMappings"])
}

fn relative_hook(container: &mut Container) -> Test {
    let hooks = json!({ "poststop": [{ "path": "bin/true" }] });
    refused_with(container, "/hooks", hooks, &["/hooks/poststop/0/path"])
}

fn zero_timeout(container: &mut Container) -> Test {
    let hooks = json!({ "createRuntime": [{ "path": "/bin/true", "timeout": 0 }] });
    refused_with(container, "/hooks", hooks, &["/hooks/createRuntime/0/timeout"])
}

fn bad_version(container: &mut Container) -> Test {
    for version in ["2.0.0", "banana", ""] {
        refused_with(container, "/ociVersion", json!(version), &["/ociVersion"])?;
    }
    Ok(())
}

fn duplicate_rlimit(container: &mut Container) -> Test {
    container.push("/process/rlimits", json!({ "type": "RLIMIT_NOFILE", "hard": 5, "soft": 5 }));
    container.create_refused(&["/process/rlimits/1"])
}

fn unknown_propagation(container: &mut Container) -> Test {
    refused_with(
        container,
        "/linux/rootfsPropagation",
        json!("wide"),
        &["/linux/rootfsPropagation", "wide"],
    )
}

fn bind_with_filesystem_option(container: &mut Container) -> Test {
    let mount = json!({ "destination": "/tmp", "source": "/tmp", "options": ["bind", "size=5k"] });
    container.push("/mounts", mount);
    container.create_refused(&["bind mounts cannot have any filesystem-specific options applied"])
}

fn sysctl_of_the_host(container: &mut Container) -> Test {
    for key in ["kernel.core_pattern", "vm.swappiness", "net.ipv4/../../kernel/core_pattern"] {
        refused_with(container, "/linux/sysctl", json!({ key: "x" }), &["sysctl"])?;
    }
    Ok(())
}

fn hostname_without_uts(container: &mut Container) -> Test {
    container.namespace("uts", None);
    container.create_refused(&["hostname"])
}

fn mappings_without_user_namespace(container: &mut Container) -> Test {
    let mappings = json!([{ "containerID": 0, "hostID": 5, "size": 1 }]);
    refused_with(container, "/linux/uidMappings", mappings, &["/linux/uidMappings"])
}

fn missing_bind_source(container: &mut Container) -> Test {
    let mount = json!({ "destination": "/tmp", "source": "/no/such", "options": ["bind"] });
    container.push("/mounts", mount);
    container.create_refused(&["/no/such", "no such file or directory"])
}

fn unknown_capability_is_a_warning(container: &mut Container) -> Test {
    container.set("/process/capabilities/bounding", json!(["CAP_KILL", "CAP_FLY"]));
    container.run_script("true")?.success()?;
    Ok(())
}

fn unknown_property_is_ignored(container: &mut Container) -> Test {
    container.config["linux"]["futureProperty"] = json!({ "a": 1 });
    container.run_script("true")?.success()?;
    Ok(())
}

fn json_log_is_one_line(container: &mut Container) -> Test {
    container.set("/process/args", json!(["nosuch"]));
    container.save()?;
    let log = container.directory.join("log.json");
    let path = log.display().to_string();
    let bundle = container.bundle();
    let output = container.runtime(&[
        "--log",
        &path,
        "--log-format",
        "json",
        "create",
        "--bundle",
        &bundle,
        &container.id,
    ])?;
    container.refused(&output, &["executable file not found"])?;
    let text = fs::read_to_string(&log)?;
    let record: Value = serde_json::from_str(&text)?;
    ensure!(text.lines().count() == 1 && record["level"] == "error", "{text}");
    let time = record["time"].as_str().unwrap_or_default();
    ensure!(time.len() >= 20 && time.as_bytes()[10] == b'T', "{time}");
    ensure!(record["msg"].as_str().is_some_and(|text| text.contains("\"nosuch\"")), "{text}");
    Ok(())
}

fn all_violations_at_once(container: &mut Container) -> Test {
    container.set("/process/cwd", json!("tmp"));
    container.set("/ociVersion", json!("banana"));
    container.set("/linux/rootfsPropagation", json!("wide"));
    container.create_refused(&["/process/cwd", "/ociVersion", "/linux/rootfsPropagation"])
}
