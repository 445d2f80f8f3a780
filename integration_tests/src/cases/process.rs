//! `process`: who the program is and what it finds.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use rustix::fs::{FileType, Mode};
use serde_json::{Value, json};

use super::{Test, cases, same};
use crate::command::Output;
use crate::config;
use crate::container::Container;

cases!("process":
    exit_code, signal_code, arguments, environment_verbatim, environment_duplicates, empty_home, no_path, home_is_added,
    home_is_kept, no_home_in_a_fifo, working_directory, working_directory_is_made, working_directory_in_a_mount,
    working_directory_that_is_a_file, working_directory_of_another_user, working_directory_of_the_user_alone, user_and_groups, no_groups,
    umask_set, umask_unset, rlimits, every_rlimit, rlimits_unset, no_new_privileges, oom_score,
    oom_score_unset, sysctl, sysctl_with_slashes, descriptors, preserved_descriptors,
    preserved_descriptor_is_missing, root_only_program, path_search, path_of_the_container,
    streams_are_open_to_the_user, streams_on_null, signals_are_default, personality,
    session_of_its_own, scheduling_is_honoured, memory_policy, memory_policy_of_nodes_that_are_not_there,
);

fn exit_code(container: &mut Container) -> Test {
    for code in [0, 1, 42, 255] {
        same!(container.run_script(&format!("exit {code}"))?.code, code);
    }
    Ok(())
}

fn signal_code(container: &mut Container) -> Test {
    // The first process of a PID namespace gets no signal from within.
    config::namespace(&mut container.config, "pid", None);
    for signal in [9, 15] {
        same!(container.run_script(&format!("kill -{signal} $$"))?.code, 128 + signal);
    }
    Ok(())
}

fn arguments(container: &mut Container) -> Test {
    let args = ["cat", "/proc/self/cmdline", "/dev/null"];
    container.set("/process/args", json!(args));
    same!(container.run()?.success()?.stdout, "cat\0/proc/self/cmdline\0/dev/null\0");
    Ok(())
}

fn environment_of_a_program(container: &mut Container, env: &[&str]) -> anyhow::Result<String> {
    container.set("/process/env", json!(env));
    container.set("/process/args", json!(["/bin/cat", "/proc/self/environ"]));
    Ok(container.run()?.success()?.stdout)
}

fn environment_verbatim(container: &mut Container) -> Test {
    let env = ["Z=1", "PATH=/bin", "B=2", "A=1", "EMPTY=", "HOME=/h", "S= a=b 'c'"];
    let expected = env.map(|one| format!("{one}\0")).concat();
    same!(environment_of_a_program(container, &env)?, expected);
    Ok(())
}

fn environment_duplicates(container: &mut Container) -> Test {
    let env = ["PATH=/bin", "A=1", "HOME=", "A=2", "HOME=/h", "AA=3"];
    let expected = ["PATH=/bin", "A=2", "HOME=/h", "AA=3"].map(|one| format!("{one}\0")).concat();
    same!(environment_of_a_program(container, &env)?, expected);
    Ok(())
}

/// The one that is added takes the place of the empty one.
fn empty_home(container: &mut Container) -> Test {
    let env = ["PATH=/bin", "HOME=", "A=1"];
    same!(environment_of_a_program(container, &env)?, "PATH=/bin\0HOME=/root\0A=1\0");
    Ok(())
}

/// A program is found in PATH only.
fn no_path(container: &mut Container) -> Test {
    container.set("/process/env", json!(["A=1"]));
    container.set("/process/args", json!(["true"]));
    container.create_refused(&["exec: \"true\": executable file not found in $PATH"])
}

fn home_is_added(container: &mut Container) -> Test {
    same!(container.run_script("echo $HOME")?.success()?.lines(), ["/root"]);
    container.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    same!(container.run_script("echo $HOME")?.success()?.lines(), ["/home"]);
    Ok(())
}

fn home_is_kept(container: &mut Container) -> Test {
    container.push("/process/env", json!("HOME=/elsewhere"));
    same!(container.run_script("echo $HOME")?.success()?.lines(), ["/elsewhere"]);
    Ok(())
}

/// Nobody writes to it.
fn no_home_in_a_fifo(container: &mut Container) -> Test {
    let passwd = container.rootfs().join("etc/passwd");
    fs::remove_file(&passwd)?;
    rustix::fs::mknodat(rustix::fs::CWD, &passwd, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    same!(container.run_script("echo $HOME")?.success()?.lines(), ["/"]);
    Ok(())
}

fn working_directory(container: &mut Container) -> Test {
    container.set("/process/cwd", json!("/bin"));
    same!(container.run_script("pwd -P; readlink /proc/self/cwd")?.lines(), ["/bin", "/bin"]);
    Ok(())
}

fn working_directory_is_made(container: &mut Container) -> Test {
    container.set("/process/cwd", json!("/work/here"));
    same!(container.run_script("pwd")?.success()?.stdout, "/work/here\n");
    Ok(())
}

fn working_directory_in_a_mount(container: &mut Container) -> Test {
    fs::create_dir_all(container.file("data/inner"))?;
    let source = container.file("data");
    container.mount(json!({ "destination": "/mnt", "source": source, "options": ["bind"] }));
    container.set("/process/cwd", json!("/mnt/inner"));
    same!(container.run_script("pwd -P")?.success()?.stdout, "/mnt/inner\n");
    Ok(())
}

fn working_directory_that_is_a_file(container: &mut Container) -> Test {
    container.set("/process/cwd", json!("/etc/passwd"));
    container.create_refused(&["/etc/passwd", "not a directory"])
}

/// Engines count on a working directory that only root may enter.
fn working_directory_of_another_user(container: &mut Container) -> Test {
    let directory = container.rootfs().join("secret");
    fs::create_dir(&directory)?;
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700))?;
    container.set("/process/cwd", json!("/secret"));
    container.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    container.set("/process/capabilities", json!({}));
    same!(container.run_script("readlink /proc/self/cwd")?.success()?.stdout, "/secret\n");
    container.start_idle()?;
    let output = container.exec(&["readlink", "/proc/self/cwd"])?.success()?;
    same!(output.stdout, "/secret\n");
    Ok(())
}

/// As on a network filesystem, where the container's root is nobody: here the group is not mapped.
fn working_directory_of_the_user_alone(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    let directory = container.rootfs().join("secret");
    fs::create_dir(&directory)?;
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700))?;
    std::os::unix::fs::chown(&directory, Some(101_000), Some(5))?;
    container.set("/process/cwd", json!("/secret"));
    container.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    same!(container.run_script("readlink /proc/self/cwd")?.success()?.stdout, "/secret\n");
    Ok(())
}

fn user_and_groups(container: &mut Container) -> Test {
    container.set("/process/user", json!({ "uid": 1000, "gid": 1001, "additionalGids": [5, 6] }));
    let output =
        container.run_script("grep -E '^(Uid|Gid|Groups)' /proc/self/status")?.success()?;
    let ids = ["1000", "1000", "1000", "1000", "Gid:", "1001", "1001", "1001", "1001"];
    same!(output.words(), [&["Uid:"][..], &ids, &["Groups:", "5", "6"]].concat());
    Ok(())
}

/// The groups of whoever calls the runtime are not the container's.
fn no_groups(container: &mut Container) -> Test {
    container.script("grep Groups /proc/self/status");
    container.save()?;
    let runtime = container.command(&["run", "--bundle", &container.bundle(), &container.id]);
    for ids in [json!([]), Value::Null] {
        container.set("/process/user/additionalGids", ids);
        container.save()?;
        let mut with_groups = Command::new("setpriv");
        with_groups.args(["--groups", "4,20,27"]).arg(runtime.get_program());
        with_groups.args(runtime.get_args());
        let output = container.finish_command(with_groups, Stdio::null())?.success()?;
        same!(output.words(), ["Groups:"]);
    }
    Ok(())
}

fn umask_set(container: &mut Container) -> Test {
    container.set("/process/user/umask", json!(0o027));
    same!(container.run_script("umask")?.success()?.lines(), ["0027"]);
    Ok(())
}

/// Unset means unchanged: the caller's.
fn umask_unset(container: &mut Container) -> Test {
    container.script("umask");
    container.save()?;
    let runtime = container.command(&["run", "--bundle", &container.bundle(), &container.id]);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "umask 0037; exec \"$@\"", "sh"]);
    shell.arg(runtime.get_program()).args(runtime.get_args());
    same!(container.finish_command(shell, Stdio::null())?.success()?.lines(), ["0037"]);
    Ok(())
}

/// The soft and hard value of a line of /proc/PID/limits.
fn limit(text: &str, name: &str) -> anyhow::Result<[String; 2]> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).context("no such limit")?;
    let mut words = line.split_whitespace().map(str::to_owned);
    Ok([words.next().unwrap_or_default(), words.next().unwrap_or_default()])
}

fn rlimits(container: &mut Container) -> Test {
    container.set(
        "/process/rlimits",
        json!([
            { "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 },
            { "type": "RLIMIT_CORE", "soft": 0, "hard": 4096 },
        ]),
    );
    let text = container.run_script("cat /proc/self/limits")?.success()?.stdout;
    same!(limit(&text, "Max open files")?, ["100", "200"]);
    same!(limit(&text, "Max core file size")?, ["0", "4096"]);
    Ok(())
}

/// The specification's name and /proc's, of each limit of the kernel.
const RLIMITS: [(&str, &str); 16] = [
    ("RLIMIT_AS", "Max address space"),
    ("RLIMIT_CORE", "Max core file size"),
    ("RLIMIT_CPU", "Max cpu time"),
    ("RLIMIT_DATA", "Max data size"),
    ("RLIMIT_FSIZE", "Max file size"),
    ("RLIMIT_LOCKS", "Max file locks"),
    ("RLIMIT_MEMLOCK", "Max locked memory"),
    ("RLIMIT_MSGQUEUE", "Max msgqueue size"),
    ("RLIMIT_NICE", "Max nice priority"),
    ("RLIMIT_NOFILE", "Max open files"),
    ("RLIMIT_NPROC", "Max processes"),
    ("RLIMIT_RSS", "Max resident set"),
    ("RLIMIT_RTPRIO", "Max realtime priority"),
    ("RLIMIT_RTTIME", "Max realtime timeout"),
    ("RLIMIT_SIGPENDING", "Max pending signals"),
    ("RLIMIT_STACK", "Max stack size"),
];

fn every_rlimit(container: &mut Container) -> Test {
    let own = fs::read_to_string("/proc/self/limits")?;
    let mut wanted = Vec::new();
    for (kind, name) in RLIMITS {
        // Whatever the caller's limit is, a lower one may always be set.
        let hard = limit(&own, name)?[1].parse().unwrap_or(1 << 40).min(1_u64 << 40);
        wanted.push((kind, name, hard / 2, hard));
    }
    let list = wanted
        .iter()
        .map(|(kind, _, soft, hard)| json!({ "type": kind, "soft": soft, "hard": hard }));
    container.set("/process/rlimits", json!(list.collect::<Vec<_>>()));
    let text = container.run_script("cat /proc/self/limits")?.success()?.stdout;
    for (_, name, soft, hard) in wanted {
        same!(limit(&text, name)?, [soft.to_string(), hard.to_string()]);
    }
    Ok(())
}

fn rlimits_unset(container: &mut Container) -> Test {
    container.remove("/process/rlimits");
    let text = container.run_script("cat /proc/self/limits")?.success()?.stdout;
    let own = fs::read_to_string("/proc/self/limits")?;
    for (_, name) in RLIMITS {
        same!(limit(&text, name)?, limit(&own, name)?);
    }
    Ok(())
}

fn no_new_privileges(container: &mut Container) -> Test {
    for (wanted, shown) in [(json!(true), "1"), (json!(false), "0"), (Value::Null, "0")] {
        container.set("/process/noNewPrivileges", wanted);
        let output = container.run_script("grep NoNewPrivs /proc/self/status")?.success()?;
        same!(output.words(), ["NoNewPrivs:", shown]);
    }
    Ok(())
}

fn oom_score(container: &mut Container) -> Test {
    container.set("/process/oomScoreAdj", json!(77));
    same!(container.run_script("cat /proc/self/oom_score_adj")?.success()?.lines(), ["77"]);
    Ok(())
}

fn oom_score_unset(container: &mut Container) -> Test {
    let own = fs::read_to_string("/proc/self/oom_score_adj")?;
    same!(container.run_script("cat /proc/self/oom_score_adj")?.success()?.stdout, own);
    Ok(())
}

fn sysctl(container: &mut Container) -> Test {
    let own = fs::read_to_string("/proc/sys/net/ipv4/ip_forward")?;
    let other = if own.trim() == "0" { "1" } else { "0" };
    container.set(
        "/linux/sysctl",
        json!({
            "net.ipv4.ip_forward": other,
            "kernel.shm_rmid_forced": "1",
            "kernel.msgmax": "4096",
            "fs.mqueue.msg_max": "7",
        }),
    );
    let script = "cd /proc/sys; cat net/ipv4/ip_forward kernel/shm_rmid_forced kernel/msgmax \
                  fs/mqueue/msg_max";
    same!(container.run_script(script)?.success()?.lines(), [other, "1", "4096", "7"]);
    same!(fs::read_to_string("/proc/sys/net/ipv4/ip_forward")?, own);
    Ok(())
}

fn sysctl_with_slashes(container: &mut Container) -> Test {
    container.set("/linux/sysctl", json!({ "net/ipv4/ip_default_ttl": "77" }));
    let output = container.run_script("cat /proc/sys/net/ipv4/ip_default_ttl")?.success()?;
    same!(output.lines(), ["77"]);
    Ok(())
}

fn descriptors(container: &mut Container) -> Test {
    container.script("exec ls /proc/self/fd");
    container.save()?;
    let runtime = container.command(&["run", "--bundle", &container.bundle(), &container.id]);
    // The one beside the three is the directory that ls reads.
    same!(with_two_descriptors(container, &runtime, &[])?.lines(), ["0", "1", "2", "3"]);
    Ok(())
}

/// A command of the runtime whose caller has descriptors 3 and 4 open.
pub(super) fn with_two_descriptors(
    container: &Container,
    runtime: &Command,
    more: &[&str],
) -> anyhow::Result<Output> {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "exec 3</etc/passwd 4</etc/group; exec \"$@\"", "sh"]);
    shell.arg(runtime.get_program()).args(runtime.get_args()).args(more);
    container.finish_command(shell, Stdio::null())?.success()
}

fn preserved_descriptors(container: &mut Container) -> Test {
    container.script("read -u 3 line; echo $line; exec ls /proc/self/fd");
    container.save()?;
    let bundle = container.bundle();
    let arguments = ["run", "--preserve-fds", "2", "--bundle", &bundle, &container.id];
    let output = with_two_descriptors(container, &container.command(&arguments), &[])?;
    ensure!(output.lines()[0].starts_with("root:"), "{output:?}");
    same!(output.lines()[1..], ["0", "1", "2", "3", "4", "5"]);
    Ok(())
}

fn preserved_descriptor_is_missing(container: &mut Container) -> Test {
    let output = container.run_with(&["--preserve-fds", "99"])?;
    container.refused(&output, &["preserve"])
}

fn root_only_program(container: &mut Container) -> Test {
    let program = container.rootfs().join("bin/mine");
    fs::write(&program, "#!/bin/sh\nexit 0\n")?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700))?;
    container.set("/process/args", json!(["/bin/mine"]));
    container.run()?.success()?;
    container.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let output = container.run()?;
    container.refused(&output, &["permission denied"])
}

/// As execvp does: what is not executable is passed over.
fn path_search(container: &mut Container) -> Test {
    fs::create_dir_all(container.rootfs().join("opt"))?;
    fs::write(container.rootfs().join("opt/true"), "not executable")?;
    container.set("/process/env", json!(["PATH=/nowhere:/opt:/bin"]));
    container.set("/process/args", json!(["true"]));
    container.run()?.success()?;
    Ok(())
}

/// The container's PATH in the container's root, not the caller's.
fn path_of_the_container(container: &mut Container) -> Test {
    container.set("/process/env", json!(["PATH=/nowhere"]));
    container.set("/process/args", json!(["true"]));
    container.create_refused(&["exec: \"true\": executable file not found in $PATH"])
}

fn streams_are_open_to_the_user(container: &mut Container) -> Test {
    container.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    // Reopening through /proc needs the permission of the file itself.
    let output = container.run_script("echo again > /dev/stdout")?.success()?;
    same!(output.stdout, "again\n");
    Ok(())
}

fn streams_on_null(container: &mut Container) -> Test {
    container.script("echo x || exit 5; echo y >&2 || exit 6; cat || exit 7");
    container.save()?;
    let mut command = container.command(&["run", "--bundle", &container.bundle(), &container.id]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    same!(crate::command::wait(&mut command.spawn()?)?, 0);
    Ok(())
}

/// Neither what the language of the runtime ignores is passed on, nor what its caller ignores.
fn signals_are_default(container: &mut Container) -> Test {
    container.set("/process/args", json!(["grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status"]));
    container.save()?;
    let run = container.command(&["run", "--bundle", &container.bundle(), &container.id]);
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP INT PIPE; exec \"$@\"", "sh"]);
    command.arg(run.get_program()).args(run.get_args());
    let output = container.finish_command(command, Stdio::null())?.success()?;
    same!(output.words(), ["SigBlk:", "0000000000000000", "SigIgn:", "0000000000000000"]);
    Ok(())
}

fn personality(container: &mut Container) -> Test {
    container.set("/linux/personality", json!({ "domain": "LINUX32" }));
    same!(container.run_script("cat /proc/self/personality")?.success()?.lines(), ["00000008"]);
    Ok(())
}

fn session_of_its_own(container: &mut Container) -> Test {
    let output = container.run_script("cut -d' ' -f 5,6 /proc/$$/stat")?.success()?;
    same!(output.words(), ["1", "1"]);
    Ok(())
}

/// How the memory of the program that asks is spread.
const OWN_POLICY: &str = "set -- $(grep -m 1 stack /proc/self/numa_maps) && echo $2";

fn memory_policy(container: &mut Container) -> Test {
    for (policy, expected) in [
        (json!({ "mode": "MPOL_BIND", "nodes": "0" }), "bind:0"),
        (
            json!({ "mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"] }),
            "interleave=static:0",
        ),
        (json!({ "mode": "MPOL_DEFAULT" }), "default"),
    ] {
        container.set("/linux/memoryPolicy", policy);
        same!(container.run_script(OWN_POLICY)?.success()?.lines(), [expected]);
    }
    container.set("/linux/memoryPolicy", json!({ "mode": "MPOL_BIND", "nodes": "0" }));
    container.start_idle()?;
    same!(container.exec(&["sh", "-c", OWN_POLICY])?.success()?.lines(), ["bind:0"]);
    Ok(())
}

fn memory_policy_of_nodes_that_are_not_there(container: &mut Container) -> Test {
    container.set("/linux/memoryPolicy", json!({ "mode": "MPOL_BIND", "nodes": "1023" }));
    container.create_refused(&["memoryPolicy"])
}

/// Set, or refused: never passed over.
fn scheduling_is_honoured(container: &mut Container) -> Test {
    let nice = json!({ "policy": "SCHED_BATCH", "nice": 5 });
    for (pointer, value, script, expected) in [
        ("/process/scheduler", nice, "cut -d' ' -f 19,41 /proc/self/stat", "5 3"),
        (
            "/process/ioPriority",
            json!({ "class": "IOPRIO_CLASS_IDLE", "priority": 0 }),
            "ionice -p $$",
            "idle",
        ),
    ] {
        container.set(pointer, value);
        container.script(script);
        let output = container.run()?;
        if output.code == 0 {
            ensure!(output.stdout.starts_with(expected), "{pointer}: {output:?}");
        } else {
            container.refused(&output, &[pointer.rsplit('/').next().unwrap_or_default()])?;
        }
        container.remove(pointer);
    }
    Ok(())
}
