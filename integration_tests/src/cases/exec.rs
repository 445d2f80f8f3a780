//! `exec`: another process in the container.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::{Test, cases, same};
use crate::command::wait_until;
use crate::config;
use crate::container::Container;
use crate::skip::Skip;

cases!("exec":
    joins_every_namespace, has_the_containers_defaults, umask_is_the_containers, flags, short_flags, groups_are_added, capabilities_of_the_file,
    process_file, process_file_without_capabilities, personality_is_the_containers,
    broken_process_file, added_capability, unknown_capability, added_capability_is_not_inheritable,
    no_new_privileges_can_be_set, detached, pid_file, pid_file_of_a_failed_one, standard_input, preserved_descriptors,
    descriptors, exit_codes, program_errors, in_created, in_paused, in_stopped, is_in_the_cgroup,
    flags_after_the_id_are_the_programs, capabilities_are_the_containers, home_of_the_user, cpu_affinity,
    cpu_affinity_is_not_for_init, the_filter_of_a_container_without_a_program,
    missing_cwd, processes_end_with_the_container, in_a_user_namespace,
    without_pivot_root, without_a_mount_namespace,
);

fn joins_every_namespace(container: &mut Container) -> Test {
    container.start_idle()?;
    let kinds = ["pid", "net", "ipc", "uts", "mnt", "cgroup", "user"];
    let script =
        "for kind in pid net ipc uts mnt cgroup user; do readlink /proc/self/ns/$kind; done";
    let output = container.exec(&["sh", "-c", script])?.success()?;
    for (line, kind) in output.lines().iter().zip(kinds) {
        let link = fs::read_link(format!("/proc/{}/ns/{kind}", container.pid()?))?;
        same!(*line, link.display().to_string());
    }
    same!(output.lines().len(), kinds.len());
    Ok(())
}

fn has_the_containers_defaults(container: &mut Container) -> Test {
    container.set("/process/user", json!({ "uid": 1000, "gid": 1001, "additionalGids": [7, 8] }));
    container.set("/process/cwd", json!("/tmp"));
    container.push("/process/env", json!("GREETING=hello"));
    container.set("/process/rlimits", json!([{ "type": "RLIMIT_NOFILE", "soft": 77, "hard": 78 }]));
    container.set("/process/oomScoreAdj", json!(55));
    container.start_idle()?;
    let script = "id -u; id -g; pwd; echo $GREETING; ulimit -n; cat /proc/self/oom_score_adj; \
                  grep -E 'Groups|NoNewPrivs' /proc/self/status; hostname";
    let output = container.exec(&["sh", "-c", script])?.success()?;
    same!(
        output.words(),
        [
            "1000",
            "1001",
            "/tmp",
            "hello",
            "77",
            "55",
            "Groups:",
            "7",
            "8",
            "NoNewPrivs:",
            "1",
            "box"
        ]
    );
    Ok(())
}

fn umask_is_the_containers(container: &mut Container) -> Test {
    container.set("/process/user/umask", json!(0o077));
    container.start_idle()?;
    same!(container.exec(&["sh", "-c", "umask"])?.success()?.lines(), ["0077"]);
    Ok(())
}

fn flags(container: &mut Container) -> Test {
    container.start_idle()?;
    let flags = [
        "--env",
        "A=1",
        "--env",
        "B=2",
        "--cwd",
        "/tmp",
        "--user",
        "5:6",
        "--additional-gids",
        "7",
    ];
    let script = "echo $A $B; pwd; id -u; id -g; grep Groups /proc/self/status";
    let output = container.exec_with(&flags, &["sh", "-c", script])?.success()?;
    same!(output.words(), ["1", "2", "/tmp", "5", "6", "Groups:", "7"]);
    Ok(())
}

fn short_flags(container: &mut Container) -> Test {
    container.start_idle()?;
    let flags = ["-e", "A=1", "-u", "5", "-g", "7"];
    let script = "echo $A; id -u; grep Groups /proc/self/status";
    let output = container.exec_with(&flags, &["sh", "-c", script])?.success()?;
    same!(output.words(), ["1", "5", "Groups:", "7"]);
    Ok(())
}

fn groups_are_added(container: &mut Container) -> Test {
    container.set("/process/user", json!({ "uid": 0, "gid": 0, "additionalGids": [11, 12] }));
    container.start_idle()?;
    let args = ["grep", "Groups", "/proc/self/status"];
    let output = container.exec_with(&["-g", "7", "-g", "12"], &args)?.success()?;
    same!(output.words(), ["Groups:", "7", "11", "12"]);
    Ok(())
}

/// What a file asks for it gets, the inheritable and ambient sets too.
fn capabilities_of_the_file(container: &mut Container) -> Test {
    config::allow_capabilities(&mut container.config, &["CAP_KILL"]);
    container.start_idle()?;
    let mut process = process(&["grep", "CapAmb", "/proc/self/status"]);
    let set = json!(["CAP_KILL"]);
    process["capabilities"] = json!({
        "bounding": set, "effective": set, "permitted": set, "inheritable": set, "ambient": set,
    });
    fs::write(container.file("process.json"), process.to_string())?;
    let id = container.id.clone();
    let output = container.runtime(&["exec", "--process", &container.file("process.json"), &id])?;
    same!(output.success()?.words(), ["CapAmb:", "0000000000000020"]);
    Ok(())
}

fn process(args: &[&str]) -> Value {
    json!({ "user": { "uid": 3, "gid": 4 }, "args": args, "env": ["PATH=/bin", "X=y"], "cwd": "/tmp" })
}

/// The CPUs on which the program that asks may run.
const OWN_CPUS: &str = "grep Cpus_allowed_list /proc/self/status | cut -f 2";

/// The last of this machine's CPUs.
fn last_cpu() -> anyhow::Result<String> {
    let status = fs::read_to_string("/proc/self/status")?;
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let last = allowed.and_then(|list| list.trim().rsplit([',', '-']).next());
    match last.context("no list of CPUs")? {
        "0" => Err(Skip("needs two CPUs".to_owned()).into()),
        last => Ok(last.to_owned()),
    }
}

fn cpu_affinity(container: &mut Container) -> Test {
    let last = last_cpu()?;
    container.set("/process/execCPUAffinity", json!({ "initial": "0", "final": last }));
    container.start_idle()?;
    same!(container.exec(&["sh", "-c", OWN_CPUS])?.success()?.lines(), [last.as_str()]);
    let mut process = process(&["sh", "-c", OWN_CPUS]);
    process["execCPUAffinity"] = json!({ "initial": "", "final": "0" });
    fs::write(container.file("process.json"), process.to_string())?;
    let id = container.id.clone();
    let output = container.runtime(&["exec", "--process", &container.file("process.json"), &id])?;
    same!(output.success()?.lines(), ["0"]);
    process["execCPUAffinity"] = json!({ "final": "1023" });
    fs::write(container.file("process.json"), process.to_string())?;
    let output = container.runtime(&["exec", "--process", &container.file("process.json"), &id])?;
    output.fails(255, &["ffinity"])
}

fn cpu_affinity_is_not_for_init(container: &mut Container) -> Test {
    let before = container.run_script(OWN_CPUS)?.success()?.stdout;
    container.set("/process/execCPUAffinity", json!({ "initial": "0", "final": "0" }));
    same!(container.run_script(OWN_CPUS)?.success()?.stdout, before);
    container.set("/process/execCPUAffinity", json!({ "final": "1-0" }));
    container.create_refused(&["ffinity"])
}

fn the_filter_of_a_container_without_a_program(container: &mut Container) -> Test {
    let rule = json!({ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95 });
    let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] });
    container.set("/linux/seccomp", profile);
    container.remove("/process");
    container.create()?.success()?;
    let mkdir = process(&["mkdir", "/tmp/made"]);
    fs::write(container.file("process.json"), mkdir.to_string())?;
    let id = container.id.clone();
    let output = container.runtime(&["exec", "--process", &container.file("process.json"), &id])?;
    ensure!(output.code == 1 && output.stderr.contains("not supported"), "{output:?}");
    Ok(())
}

fn process_file(container: &mut Container) -> Test {
    container.start_idle()?;
    let args = ["sh", "-c", "id -u; id -g; echo $X; pwd; grep CapEff /proc/self/status"];
    fs::write(container.file("process.json"), process(&args).to_string())?;
    for flag in ["--process", "-p"] {
        let id = container.id.clone();
        let output = container.runtime(&["exec", flag, &container.file("process.json"), &id])?;
        same!(output.success()?.words(), ["3", "4", "y", "/tmp", "CapEff:", "0000000000000000"]);
    }
    Ok(())
}

/// Those that a file says nothing of are the container's.
fn process_file_without_capabilities(container: &mut Container) -> Test {
    container.start_idle()?;
    let args = ["grep", "CapEff", "/proc/self/status"];
    let mut process = process(&args);
    process["user"] = json!({ "uid": 0, "gid": 0 });
    fs::write(container.file("process.json"), process.to_string())?;
    let file = container.file("process.json");
    let output = container.runtime(&["exec", "--process", &file, &container.id])?.success()?;
    same!(output.words(), ["CapEff:", "0000000020000420"]);
    process["capabilities"] = json!({});
    fs::write(container.file("process.json"), process.to_string())?;
    let output = container.runtime(&["exec", "--process", &file, &container.id])?.success()?;
    same!(output.words()[1], "0000000000000000");
    Ok(())
}

fn personality_is_the_containers(container: &mut Container) -> Test {
    container.set("/linux/personality", json!({ "domain": "LINUX32" }));
    container.start_idle()?;
    let output = container.exec(&["cat", "/proc/self/personality"])?.success()?;
    same!(output.lines(), ["00000008"]);
    Ok(())
}

fn broken_process_file(container: &mut Container) -> Test {
    container.start_idle()?;
    fs::write(container.file("process.json"), "{ \"args\": [\"true\"], ")?;
    let id = container.id.clone();
    for file in ["process.json", "no-such-file"] {
        let output = container.runtime(&["exec", "--process", &container.file(file), &id])?;
        ensure!(output.code == 255, "{file}: {output:?}");
    }
    Ok(())
}

fn capability_sets(text: &str) -> Vec<&str> {
    text.split_whitespace().skip(1).step_by(2).collect()
}

const NET_RAW: u64 = 1 << 13;

fn added_capability(container: &mut Container) -> Test {
    container.start_idle()?;
    let flags = ["--cap", "CAP_NET_RAW"];
    let output = container.exec_with(&flags, &["grep", "^Cap", "/proc/self/status"])?.success()?;
    let sets = capability_sets(&output.stdout);
    for at in 1..4 {
        ensure!(u64::from_str_radix(sets[at], 16)? & NET_RAW != 0, "{sets:?}");
    }
    Ok(())
}

/// config.md, "Linux Process": what cannot be granted is a warning. Others are granted all the same.
fn unknown_capability(container: &mut Container) -> Test {
    container.start_idle()?;
    let flags = ["--cap", "CAP_NO_SUCH", "--cap", "CAP_NET_RAW"];
    let output =
        container.exec_with(&flags, &["grep", "CapBnd", "/proc/self/status"])?.success()?;
    let bounding = u64::from_str_radix(output.words()[1], 16)?;
    ensure!(bounding & NET_RAW != 0, "{bounding:x}");
    Ok(())
}

/// CVE-2022-29162: an inheritable capability turns into more at the next execve.
fn added_capability_is_not_inheritable(container: &mut Container) -> Test {
    container.start_idle()?;
    let flags = ["--cap", "CAP_NET_RAW"];
    let output = container.exec_with(&flags, &["grep", "^Cap", "/proc/self/status"])?.success()?;
    let sets = capability_sets(&output.stdout);
    same!((sets[0], sets[4]), ("0000000000000000", "0000000000000000"));
    Ok(())
}

fn capabilities_are_the_containers(container: &mut Container) -> Test {
    container.set("/process/capabilities/bounding", json!(["CAP_KILL", "CAP_CHOWN"]));
    container.set("/process/capabilities/permitted", json!(["CAP_KILL"]));
    container.set("/process/capabilities/effective", json!(["CAP_KILL"]));
    container.start_idle()?;
    let output = container.exec(&["grep", "^Cap", "/proc/self/status"])?.success()?;
    // execve by root with no_new_privs keeps permitted within bounding.
    let sets = capability_sets(&output.stdout);
    same!(sets[3], "0000000000000021");
    same!(sets[2], sets[1]);
    Ok(())
}

fn no_new_privileges_can_be_set(container: &mut Container) -> Test {
    container.set("/process/noNewPrivileges", json!(false));
    container.start_idle()?;
    let args = ["grep", "-c", "NoNewPrivs:.1", "/proc/self/status"];
    same!(container.exec(&args)?.lines(), ["0"]);
    same!(container.exec_with(&["--no-new-privs"], &args)?.lines(), ["1"]);
    Ok(())
}

fn detached(container: &mut Container) -> Test {
    container.start_idle()?;
    let pid_file = container.file("exec.pid");
    container.exec_with(&["--detach", "--pid-file", &pid_file], &["sleep", "54321"])?.success()?;
    let pid: i64 = fs::read_to_string(&pid_file)?.parse()?;
    let line = || Ok(fs::read(format!("/proc/{pid}/cmdline"))? == b"sleep\x0054321\0");
    wait_until("the program", line)?;
    ensure!(container.pids()?.contains(&pid), "{pid} is not in the container");
    Ok(())
}

/// The program is found, and the kernel does not take it.
fn pid_file_of_a_failed_one(container: &mut Container) -> Test {
    let program = container.rootfs().join("bin/junk");
    fs::write(&program, [0x7f, b'E', b'L', b'F', 9])?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    container.start_idle()?;
    let pid_file = container.file("exec.pid");
    let output = container.exec_with(&["--pid-file", &pid_file], &["/bin/junk"])?;
    ensure!(output.code != 0, "it was executed");
    ensure!(!std::path::Path::new(&pid_file).exists(), "a pid file of nobody");
    Ok(())
}

fn pid_file(container: &mut Container) -> Test {
    container.start_idle()?;
    let pid_file = container.file("exec.pid");
    container.exec_with(&["--pid-file", &pid_file], &["true"])?.success()?;
    let pid = fs::read_to_string(&pid_file)?;
    ensure!(!pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()), "{pid:?}");
    Ok(())
}

fn standard_input(container: &mut Container) -> Test {
    container.start_idle()?;
    fs::write(container.file("input"), "one\ntwo\n")?;
    let command = container.command(&["exec", &container.id, "cat"]);
    let input = Stdio::from(fs::File::open(container.file("input"))?);
    same!(container.finish_command(command, input)?.success()?.stdout, "one\ntwo\n");
    Ok(())
}

fn preserved_descriptors(container: &mut Container) -> Test {
    container.start_idle()?;
    let runtime = container.command(&["exec", "--preserve-fds", "2", &container.id]);
    let args = ["ls", "/proc/self/fd"];
    let output = super::process::with_two_descriptors(container, &runtime, &args)?;
    same!(output.lines(), ["0", "1", "2", "3", "4", "5"]);
    Ok(())
}

fn descriptors(container: &mut Container) -> Test {
    container.start_idle()?;
    let runtime = container.command(&["exec", &container.id]);
    // The one beside the three is the directory that ls reads.
    let output =
        super::process::with_two_descriptors(container, &runtime, &["ls", "/proc/self/fd"])?;
    same!(output.lines(), ["0", "1", "2", "3"]);
    Ok(())
}

fn exit_codes(container: &mut Container) -> Test {
    container.start_idle()?;
    same!(container.exec(&["sh", "-c", "exit 9"])?.code, 9);
    same!(container.exec(&["sh", "-c", "kill -9 $$"])?.code, 137);
    same!(container.exec(&["sh", "-c", "kill -15 $$"])?.code, 143);
    Ok(())
}

/// With the texts that engines turn into the exit codes 127 and 126.
fn program_errors(container: &mut Container) -> Test {
    container.start_idle()?;
    for (program, words) in [
        ("nosuch", "exec: \"nosuch\": executable file not found in $PATH"),
        ("/no/such", "exec: \"/no/such\": stat /no/such: no such file or directory"),
        ("/etc/passwd", "exec: \"/etc/passwd\": permission denied"),
    ] {
        container.exec(&[program])?.fails(255, &[words])?;
    }
    Ok(())
}

fn in_created(container: &mut Container) -> Test {
    container.create()?.success()?;
    same!(container.exec(&["echo", "hello"])?.success()?.stdout, "hello\n");
    same!(container.state()?["status"], "created");
    Ok(())
}

fn in_paused(container: &mut Container) -> Test {
    container.start_idle()?;
    container.pause()?;
    let words = "cannot exec in a paused container (use --ignore-paused to override)";
    container.exec(&["true"])?.fails(255, &[words])?;
    container.verb("resume")?.success()?;
    container.exec(&["true"])?.success()?;
    Ok(())
}

fn in_stopped(container: &mut Container) -> Test {
    container.start_script("true")?;
    container.wait_for("stopped")?;
    container.exec(&["true"])?.fails(255, &["cannot exec in a stopped container"])
}

fn is_in_the_cgroup(container: &mut Container) -> Test {
    container.start_idle()?;
    container.exec_with(&["--detach"], &["sleep", "50"])?.success()?;
    let pids = container.pids()?;
    same!(pids.len(), 2);
    let cgroup = |pid: i64| fs::read_to_string(format!("/proc/{pid}/cgroup"));
    same!(cgroup(pids[0])?, cgroup(pids[1])?);
    Ok(())
}

fn flags_after_the_id_are_the_programs(container: &mut Container) -> Test {
    container.start_idle()?;
    let output = container.exec(&["echo", "--user", "1", "-t", "--", "-x"])?.success()?;
    same!(output.stdout, "--user 1 -t -- -x\n");
    Ok(())
}

fn home_of_the_user(container: &mut Container) -> Test {
    container.start_idle()?;
    let output = container.exec_with(&["--user", "1000"], &["sh", "-c", "echo $HOME"])?;
    same!(output.success()?.lines(), ["/home"]);
    Ok(())
}

fn missing_cwd(container: &mut Container) -> Test {
    container.start_idle()?;
    let output = container.exec_with(&["--cwd", "/etc/passwd"], &["true"])?;
    output.fails(255, &["not a directory"])?;
    let output = container.exec_with(&["--cwd", "relative"], &["true"])?;
    ensure!(output.code == 255, "a relative working directory: {output:?}");
    Ok(())
}

/// What an exec leaves running ends with the container, and does not keep it.
fn processes_end_with_the_container(container: &mut Container) -> Test {
    container.start_idle()?;
    container.exec_with(&["--detach"], &["sh", "-c", "trap '' TERM; sleep 50"])?.success()?;
    container.runtime(&["kill", &container.id, "KILL"])?.success()?;
    container.wait_for("stopped")?;
    container.verb("delete")?.success()?;
    container.nothing_left()
}

fn in_a_user_namespace(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    container.start_idle()?;
    let output = container.exec(&["sh", "-c", "id -u; cat /proc/self/uid_map"])?.success()?;
    same!(output.words(), ["0", "0", "100000", "65536"]);
    let pids = container.pids()?;
    let status = fs::read_to_string(format!("/proc/{}/status", pids[0]))?;
    let uid = status.lines().find(|line| line.starts_with("Uid:")).context("no uid")?;
    ensure!(uid.contains("100000"), "{uid}");
    Ok(())
}

/// The container's root is the process's, not that of its mount namespace.
fn without_pivot_root(container: &mut Container) -> Test {
    container.script("exec sleep 100");
    container.run_with(&["--detach", "--no-pivot"])?.success()?;
    same!(
        container.exec(&["cat", "/etc/passwd"])?.success()?.lines()[0],
        "root:x:0:0::/root:/bin/sh"
    );
    let output = container.exec(&["ls", "-d", &container.bundle()])?;
    ensure!(output.code != 0, "the host's files are there: {output:?}");
    Ok(())
}

fn without_a_mount_namespace(container: &mut Container) -> Test {
    config::namespace(&mut container.config, "mount", None);
    container.config["mounts"] = json!([]);
    container.config["linux"]["maskedPaths"] = json!([]);
    container.config["linux"]["readonlyPaths"] = json!([]);
    container.set("/root/readonly", json!(false));
    container.script("exec sleep 100");
    container.run_with(&["--detach"])?.success()?;
    let output = container.exec(&["ls", "-d", &container.bundle()])?;
    ensure!(output.code != 0, "the host's files are there: {output:?}");
    same!(
        container.exec(&["cat", "/etc/passwd"])?.success()?.lines()[0],
        "root:x:0:0::/root:/bin/sh"
    );
    Ok(())
}
