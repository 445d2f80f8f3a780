//! `process`: who the program is and what it finds.

use std::fs;

use anyhow::ensure;
use serde_json::json;

use super::{cases, same};
use crate::harness::Container;

type Test = anyhow::Result<()>;

cases!("process":
    exit_code, signal_code, environment_verbatim, home_is_added, user_and_groups, no_groups,
    umask_set, umask_unset, capability_sets, no_capabilities_object, rlimits, no_new_privileges,
    oom_score, sysctl, descriptors, preserved_descriptors, root_only_program, path_search,
    standard_streams_are_the_users, sigpipe_is_default, execs_caps_are_not_inheritable,
    exec_joins_everything, exec_flags, exec_process_file, exec_user_is_strict, exec_exit_codes,
    personality,
);

fn exit_code(container: &mut Container) -> Test {
    same!(container.run_script("exit 42")?.code, 42);
    Ok(())
}

fn signal_code(container: &mut Container) -> Test {
    container.set("/process/args", json!(["/bin/sh", "-c", "sh -c 'kill -9 $$'"]));
    container.namespace("pid", None);
    same!(container.run_script("kill -9 $$")?.code, 137);
    Ok(())
}

fn environment_verbatim(container: &mut Container) -> Test {
    container.set("/process/env", json!(["PATH=/bin", "B=2", "A=1", "A=3", "EMPTY=", "HOME=/h"]));
    container.set("/process/args", json!(["/bin/cat", "/proc/self/environ"]));
    container.save()?;
    let output =
        container.runtime(&["run", "--bundle", &container.bundle(), &container.id])?.success()?;
    same!(output.stdout, "PATH=/bin\0B=2\0A=1\0A=3\0EMPTY=\0HOME=/h\0");
    Ok(())
}

fn home_is_added(container: &mut Container) -> Test {
    same!(container.run_script("echo $HOME")?.success()?.lines(), ["/root"]);
    container.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    same!(container.run_script("echo $HOME")?.success()?.lines(), ["/home"]);
    Ok(())
}

fn user_and_groups(container: &mut Container) -> Test {
    container.set("/process/user", json!({ "uid": 1000, "gid": 1001, "additionalGids": [5, 6] }));
    let output = container.run_script("id -u; id -g; grep Groups /proc/self/status")?.success()?;
    let words: Vec<&str> = output.stdout.split_whitespace().collect();
    same!(words, ["1000", "1001", "Groups:", "5", "6"]);
    Ok(())
}

fn no_groups(container: &mut Container) -> Test {
    let output = container.run_script("grep Groups /proc/self/status")?.success()?;
    same!(output.stdout.split_whitespace().collect::<Vec<_>>(), ["Groups:"]);
    Ok(())
}

fn umask_set(container: &mut Container) -> Test {
    container.set("/process/user", json!({ "uid": 0, "gid": 0, "umask": 0o027 }));
    same!(container.run_script("umask")?.success()?.lines(), ["0027"]);
    Ok(())
}

fn umask_unset(container: &mut Container) -> Test {
    let status = fs::read_to_string("/proc/self/status")?;
    let own = status.lines().find_map(|line| line.strip_prefix("Umask:\t")).unwrap_or_default();
    same!(container.run_script("umask")?.success()?.lines(), [own]);
    Ok(())
}

fn capability_sets(container: &mut Container) -> Test {
    container.set("/process/capabilities", json!({
        "bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_NET_RAW"], "permitted": ["CAP_KILL", "CAP_CHOWN"],
        "effective": ["CAP_CHOWN"], "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"]
    }));
    container.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let output = container.run_script("grep ^Cap /proc/self/status")?.success()?;
    let bits: Vec<&str> = output.stdout.split_whitespace().skip(1).step_by(2).collect();
    let set = |bits: u64| format!("{bits:016x}");
    // execve of a program without file capabilities keeps the ambient set only.
    same!(bits, [set(0x20), set(0x20), set(0x20), set(0x2021), set(0x20)]);
    Ok(())
}

fn no_capabilities_object(container: &mut Container) -> Test {
    container.set("/process/capabilities", json!({}));
    let output =
        container.run_script("grep -c ^Cap.*0000000000000000 /proc/self/status")?.success()?;
    same!(output.lines(), ["5"]);
    Ok(())
}

fn rlimits(container: &mut Container) -> Test {
    container.set(
        "/process/rlimits",
        json!([
            { "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 },
            { "type": "RLIMIT_CORE", "soft": 0, "hard": 4096 },
        ]),
    );
    let output = container.run_script("cat /proc/self/limits")?.success()?.stdout;
    let limit = |name: &str| -> Vec<String> {
        let line = output.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line[name.len()..].split_whitespace().take(2).map(str::to_owned).collect()
    };
    same!(limit("Max open files"), ["100", "200"]);
    same!(limit("Max core file size"), ["0", "4096"]);
    Ok(())
}

fn no_new_privileges(container: &mut Container) -> Test {
    same!(container.run_script("grep -c NoNewPrivs:.1 /proc/self/status")?.lines(), ["1"]);
    container.set("/process/noNewPrivileges", json!(false));
    same!(container.run_script("grep -c NoNewPrivs:.1 /proc/self/status")?.lines(), ["0"]);
    Ok(())
}

fn oom_score(container: &mut Container) -> Test {
    container.set("/process/oomScoreAdj", json!(77));
    same!(container.run_script("cat /proc/self/oom_score_adj")?.success()?.lines(), ["77"]);
    Ok(())
}

fn sysctl(container: &mut Container) -> Test {
    let own = fs::read_to_string("/proc/sys/net/ipv4/ip_forward")?;
    let other = if own.trim() == "0" { "1" } else { "0" };
    container.set(
        "/linux/sysctl",
        json!({ "net.ipv4.ip_forward": other, "kernel.shm_rmid_forced": "1" }),
    );
    let script = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shm_rmid_forced";
    same!(container.run_script(script)?.success()?.lines(), [other, "1"]);
    same!(fs::read_to_string("/proc/sys/net/ipv4/ip_forward")?, own);
    Ok(())
}

fn descriptors(container: &mut Container) -> Test {
    // The one beside the three is the directory that ls reads.
    let output = container.run_script("ls /proc/self/fd")?.success()?;
    same!(output.lines(), ["0", "1", "2", "3"]);
    Ok(())
}

/// The test's own descriptor 3 and 4, through a shell that opens them.
fn with_open_descriptors(container: &Container, flags: &str) -> anyhow::Result<Vec<String>> {
    let runtime = container.command(&[]);
    let program = runtime.get_program().to_string_lossy().into_owned();
    let mut shell = std::process::Command::new("/bin/sh");
    let (root, bundle, id) = (container.root(), container.bundle(), &container.id);
    let line = format!(
        "exec 3</etc/passwd 4</etc/group; exec {program} --root {} run {flags} --bundle {bundle} {id}",
        root.display()
    );
    shell.args(["-c", &line]);
    let output = container.finish_command(shell)?.success()?;
    Ok(output.lines().into_iter().map(str::to_owned).collect())
}

fn preserved_descriptors(container: &mut Container) -> Test {
    container.set("/process/args", json!(["/bin/ls", "/proc/self/fd"]));
    container.save()?;
    same!(with_open_descriptors(container, "")?, ["0", "1", "2", "3"]);
    same!(with_open_descriptors(container, "--preserve-fds 2")?, ["0", "1", "2", "3", "4", "5"]);
    Ok(())
}

fn root_only_program(container: &mut Container) -> Test {
    use std::os::unix::fs::PermissionsExt as _;
    fs::copy(container.rootfs().join("bin/busybox"), container.rootfs().join("home/busybox"))?;
    fs::set_permissions(
        container.rootfs().join("home/busybox"),
        fs::Permissions::from_mode(0o700),
    )?;
    container.set("/process/args", json!(["/home/busybox", "true"]));
    container.save()?;
    container.runtime(&["run", "--bundle", &container.bundle(), &container.id])?.success()?;
    Ok(())
}

fn path_search(container: &mut Container) -> Test {
    fs::create_dir_all(container.rootfs().join("opt"))?;
    fs::write(container.rootfs().join("opt/true"), "not executable")?;
    container.set("/process/env", json!(["PATH=/nowhere:/opt:/bin"]));
    container.set("/process/args", json!(["true"]));
    container.save()?;
    container.runtime(&["run", "--bundle", &container.bundle(), &container.id])?.success()?;
    Ok(())
}

fn standard_streams_are_the_users(container: &mut Container) -> Test {
    container.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    // Reopening through /proc needs the permission of the file itself.
    let output = container.run_script("echo again > /dev/stdout")?.success()?;
    same!(output.stdout, "again\n");
    Ok(())
}

fn sigpipe_is_default(container: &mut Container) -> Test {
    let output = container.run_script("grep -E 'SigIgn|SigBlk' /proc/self/status")?.success()?;
    let masks: Vec<u64> = output
        .lines()
        .iter()
        .filter_map(|line| u64::from_str_radix(line.rsplit('\t').next()?, 16).ok())
        .collect();
    ensure!(masks.len() == 2 && masks[0] == 0, "signals are blocked: {masks:x?}");
    ensure!(masks[1] & (1 << 12) == 0, "SIGPIPE is ignored: {masks:x?}");
    Ok(())
}

fn execs_caps_are_not_inheritable(container: &mut Container) -> Test {
    container.start_script("sleep 100")?;
    let output = container.exec(&["--cap", "CAP_NET_RAW", "grep", "^Cap", "/proc/self/status"]);
    // Flags come before the id.
    ensure!(output?.code != 0, "a flag after the id is taken");
    let output = container
        .runtime(&[
            "exec",
            "--cap",
            "CAP_NET_RAW",
            &container.id,
            "grep",
            "^Cap",
            "/proc/self/status",
        ])?
        .success()?;
    let bits: Vec<&str> = output.stdout.split_whitespace().skip(1).step_by(2).collect();
    same!(bits[0], "0000000000000000");
    ensure!(u64::from_str_radix(bits[1], 16)? & (1 << 13) != 0, "{bits:?}");
    Ok(())
}

fn exec_joins_everything(container: &mut Container) -> Test {
    container.set("/process/user", json!({ "uid": 1000, "gid": 1000, "umask": 0o077 }));
    container.set("/process/cwd", json!("/tmp"));
    container.start_script("sleep 100")?;
    let script = "for n in pid net ipc uts mnt cgroup; do readlink /proc/self/ns/$n; done; id -u; umask; pwd; \
                  grep -c NoNewPrivs:.1 /proc/self/status; cat /proc/self/cgroup; hostname";
    let output = container.exec(&["/bin/sh", "-c", script])?.success()?;
    let lines = output.lines();
    for (at, kind) in ["pid", "net", "ipc", "uts", "mnt", "cgroup"].iter().enumerate() {
        let link = fs::read_link(format!("/proc/{}/ns/{kind}", container.pid()?))?;
        same!(lines[at], link.display().to_string());
    }
    same!(lines[6..10], ["1000", "0077", "/tmp", "1"]);
    same!(lines.last(), Some(&"box"));
    for line in lines.iter().filter(|line| line.contains(":/")) {
        ensure!(line.ends_with(":/"), "not in the container's cgroup: {line}");
    }
    Ok(())
}

fn exec_flags(container: &mut Container) -> Test {
    container.start_script("sleep 100")?;
    let id = container.id.clone();
    let pid_file = container.directory.join("exec.pid").display().to_string();
    let script = "echo $A; pwd; id -u; id -g; grep Groups /proc/self/status";
    let output = container
        .runtime(&[
            "exec",
            "--env",
            "A=1",
            "--cwd",
            "/tmp",
            "--user",
            "5:6",
            "--additional-gids",
            "7",
            "--pid-file",
            &pid_file,
            &id,
            "sh",
            "-c",
            script,
        ])?
        .success()?;
    let words: Vec<&str> = output.stdout.split_whitespace().collect();
    same!(words, ["1", "/tmp", "5", "6", "Groups:", "7"]);
    let pid = fs::read_to_string(&pid_file)?;
    ensure!(!pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()), "{pid:?}");
    Ok(())
}

fn exec_process_file(container: &mut Container) -> Test {
    container.start_script("sleep 100")?;
    let file = container.directory.join("process.json");
    let process = json!({ "user": { "uid": 3, "gid": 4 }, "args": ["sh", "-c", "id -u; id -g; echo $X > /tmp/f"],
        "env": ["PATH=/bin", "X=y"], "cwd": "/" });
    fs::write(&file, process.to_string())?;
    let id = container.id.clone();
    let output = container.runtime(&["exec", "--process", &file.display().to_string(), &id])?;
    same!(output.lines(), ["3", "4"]);
    Ok(())
}

fn exec_user_is_strict(container: &mut Container) -> Test {
    container.start_script("sleep 100")?;
    for user in ["1000x", "", "-1", "4294967296", "x", "1:"] {
        let output = container.runtime(&["exec", "--user", user, &container.id, "id", "-u"])?;
        ensure!(output.code != 0, "{user:?} became {}", output.stdout);
    }
    let output =
        container.runtime(&["exec", "--user", "1000", &container.id, "id", "-u"])?.success()?;
    same!(output.lines(), ["1000"]);
    Ok(())
}

fn exec_exit_codes(container: &mut Container) -> Test {
    container.start_script("sleep 100")?;
    same!(container.exec(&["sh", "-c", "exit 9"])?.code, 9);
    same!(container.exec(&["sh", "-c", "kill -9 $$"])?.code, 137);
    let output = container.exec(&["nosuch"])?;
    ensure!(
        output.code == 255 && output.stderr.contains("executable file not found in $PATH"),
        "{output:?}"
    );
    Ok(())
}

fn personality(container: &mut Container) -> Test {
    container.set("/linux/personality", json!({ "domain": "LINUX32" }));
    let machine = container.run_script("uname -m")?.success()?.stdout;
    ensure!(!machine.contains("64") || !cfg!(target_arch = "x86_64"), "{machine}");
    Ok(())
}
