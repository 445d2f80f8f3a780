//! Seccomp: which system calls are denied, and how.

use anyhow::ensure;
use serde_json::{Value, json};

use super::{Test, cases, same};
use crate::container::Container;

cases!("seccomp":
    denied_with_eperm, denied_with_another_errno, default_errno, default_denies, kills, logs_and_traps,
    argument_equal, argument_masked, arguments_all_match, arguments_same_index_any_matches,
    unknown_names_are_passed_over, unknown_names_that_are_denied, architectures, without_no_new_privileges, exec_is_filtered,
    shown_in_status, flags, wrong_profiles, errno_of_an_action_without_one, no_names,
);

const ERRNO: &str = "SCMP_ACT_ERRNO";

/// Allows all but what `rules` say.
fn deny(container: &mut Container, rules: Value) {
    container
        .set("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules }));
}

/// What a program says that makes a directory, on the tmpfs /dev/shm.
const MKDIR: &str = "mkdir /dev/shm/x";
const NAMES: [&str; 2] = ["mkdir", "mkdirat"];

fn denied_with_eperm(container: &mut Container) -> Test {
    deny(container, json!([{ "names": NAMES, "action": ERRNO }]));
    let output = container.run_script(MKDIR)?;
    ensure!(output.code != 0 && output.stderr.contains("Operation not permitted"), "{output:?}");
    Ok(())
}

fn denied_with_another_errno(container: &mut Container) -> Test {
    deny(container, json!([{ "names": NAMES, "action": ERRNO, "errnoRet": 28 }]));
    let output = container.run_script(MKDIR)?;
    ensure!(output.stderr.contains("No space left on device"), "{output:?}");
    Ok(())
}

/// Everything that busybox's shell needs, and no mkdir. An architecture has some of these calls and
/// not others: aarch64 has no `open`, and what it has instead is here, too.
const SHELL: &[&str] = &[
    "access",
    "arch_prctl",
    "brk",
    "capget",
    "capset",
    "chdir",
    "chmod",
    "clone",
    "clone3",
    "close",
    "dup",
    "dup2",
    "dup3",
    "execve",
    "exit",
    "exit_group",
    "faccessat",
    "faccessat2",
    "fchdir",
    "fchmodat",
    "fcntl",
    "fstat",
    "fstatfs",
    "futex",
    "getcwd",
    "getdents64",
    "getegid",
    "geteuid",
    "getgid",
    "getpgid",
    "getpgrp",
    "getpid",
    "getppid",
    "getrandom",
    "getuid",
    "ioctl",
    "lseek",
    "lstat",
    "mmap",
    "mprotect",
    "munmap",
    "newfstatat",
    "open",
    "openat",
    "openat2",
    "pipe",
    "pipe2",
    "poll",
    "ppoll",
    "prctl",
    "prlimit64",
    "read",
    "readlink",
    "readlinkat",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "set_robust_list",
    "set_tid_address",
    "setgid",
    "setgroups",
    "setuid",
    "stat",
    "statfs",
    "vfork",
    "wait4",
    "write",
];

fn only_a_shell(container: &mut Container) {
    container.set(
        "/linux/seccomp",
        json!({
            "defaultAction": ERRNO,
            "syscalls": [{ "names": SHELL, "action": "SCMP_ACT_ALLOW" }]
        }),
    );
}

fn default_denies(container: &mut Container) -> Test {
    only_a_shell(container);
    let output = container.run_script(&format!("echo runs; {MKDIR}"))?;
    same!(output.stdout, "runs\n");
    ensure!(output.code != 0 && output.stderr.contains("Operation not permitted"), "{output:?}");
    Ok(())
}

fn default_errno(container: &mut Container) -> Test {
    only_a_shell(container);
    container.set("/linux/seccomp/defaultErrnoRet", json!(28));
    let output = container.run_script(MKDIR)?;
    ensure!(output.stderr.contains("No space left on device"), "{output:?}");
    Ok(())
}

fn kills(container: &mut Container) -> Test {
    for action in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD"] {
        deny(container, json!([{ "names": NAMES, "action": action }]));
        // SIGSYS is 31.
        same!(container.run_script(&format!("{MKDIR}; exit $?"))?.code, 159);
    }
    Ok(())
}

fn logs_and_traps(container: &mut Container) -> Test {
    deny(container, json!([{ "names": NAMES, "action": "SCMP_ACT_LOG" }]));
    container.run_script(MKDIR)?.success()?;
    deny(container, json!([{ "names": NAMES, "action": "SCMP_ACT_TRAP" }]));
    same!(container.run_script(&format!("{MKDIR}; exit $?"))?.code, 159);
    Ok(())
}

fn condition(index: u32, value: u64, op: &str) -> Value {
    json!({ "index": index, "value": value, "op": op })
}

/// Whether `chmod MODE` of a file is denied, for each mode, under rules with these conditions.
fn denied_modes(
    container: &mut Container,
    conditions: &[Value],
) -> anyhow::Result<Vec<&'static str>> {
    // Where there is no chmod(2), its arguments are those of fchmodat(2) from the second on.
    let mut shifted = conditions.to_vec();
    for condition in &mut shifted {
        condition["index"] = json!(condition["index"].as_u64().map(|index| index + 1));
    }
    deny(
        container,
        json!([
            { "names": ["chmod"], "action": ERRNO, "args": conditions },
            { "names": ["fchmodat"], "action": ERRNO, "args": shifted },
        ]),
    );
    let modes = ["600", "640", "700", "755"];
    let script = "touch /dev/shm/x; for m in 600 640 700 755; do chmod $m /dev/shm/x 2> /dev/null; echo $?; done";
    let output = container.run_script(script)?;
    let results = output.lines();
    same!(results.len(), modes.len());
    Ok(modes
        .into_iter()
        .zip(results)
        .filter(|(_, code)| *code != "0")
        .map(|(mode, _)| mode)
        .collect())
}

fn argument_equal(container: &mut Container) -> Test {
    for (op, expected) in [
        ("SCMP_CMP_EQ", &["640"][..]),
        ("SCMP_CMP_NE", &["600", "700", "755"]),
        ("SCMP_CMP_LT", &["600"]),
        ("SCMP_CMP_LE", &["600", "640"]),
        ("SCMP_CMP_GE", &["640", "700", "755"]),
        ("SCMP_CMP_GT", &["700", "755"]),
    ] {
        same!(denied_modes(container, &[condition(1, 0o640, op)])?, expected);
    }
    Ok(())
}

fn argument_masked(container: &mut Container) -> Test {
    let mut masked = condition(1, 0o100, "SCMP_CMP_MASKED_EQ");
    masked["valueTwo"] = json!(0o100);
    // libseccomp's order: `value` is the mask, `valueTwo` what must be left.
    same!(denied_modes(container, &[masked])?, ["700", "755"]);
    Ok(())
}

fn arguments_all_match(container: &mut Container) -> Test {
    let never = [condition(1, 0o700, "SCMP_CMP_EQ"), condition(0, 0, "SCMP_CMP_EQ")];
    same!(denied_modes(container, &never)?, <[&str; 0]>::default());
    let always = [condition(1, 0o700, "SCMP_CMP_EQ"), condition(0, 0, "SCMP_CMP_NE")];
    same!(denied_modes(container, &always)?, ["700"]);
    Ok(())
}

/// runc's rule, on which Docker's profiles rely: conditions on one argument are alternatives.
fn arguments_same_index_any_matches(container: &mut Container) -> Test {
    let either = [condition(1, 0o600, "SCMP_CMP_EQ"), condition(1, 0o755, "SCMP_CMP_EQ")];
    same!(denied_modes(container, &either)?, ["600", "755"]);
    Ok(())
}

fn unknown_names_are_passed_over(container: &mut Container) -> Test {
    deny(container, json!([{ "names": ["no_such_call", "mkdir", "mkdirat"], "action": ERRNO }]));
    same!(container.run_script(MKDIR)?.code, 1);
    Ok(())
}

/// What is not denied though the profile says so is told, where it is denied by name.
fn unknown_names_that_are_denied(container: &mut Container) -> Test {
    deny(container, json!([{ "names": ["no_such_call", "swapon"], "action": ERRNO }]));
    let run = |container: &Container| {
        container.save()?;
        let bundle = container.bundle();
        container.runtime(&["--debug", "run", "--bundle", &bundle, &container.id])
    };
    let output = run(container)?.success()?;
    ensure!(output.log.contains("/linux/seccomp/syscalls/0/names/0"), "{output:?}");
    container.set("/linux/seccomp/syscalls/0/action", json!("SCMP_ACT_LOG"));
    ensure!(!run(container)?.success()?.log.contains("names/0"), "of an allowed one");
    Ok(())
}

fn architectures(container: &mut Container) -> Test {
    deny(container, json!([{ "names": NAMES, "action": ERRNO }]));
    let architectures = match std::env::consts::ARCH {
        "aarch64" => json!(["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]),
        _ => json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]),
    };
    container.set("/linux/seccomp/architectures", architectures);
    same!(container.run_script(MKDIR)?.code, 1);
    Ok(())
}

fn without_no_new_privileges(container: &mut Container) -> Test {
    deny(container, json!([{ "names": NAMES, "action": ERRNO }]));
    container.set("/process/noNewPrivileges", json!(false));
    container.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let output = container.run_script(&format!("grep NoNewPrivs /proc/self/status; {MKDIR}"))?;
    same!((output.words(), output.code), (vec!["NoNewPrivs:", "0"], 1));
    Ok(())
}

fn exec_is_filtered(container: &mut Container) -> Test {
    deny(container, json!([{ "names": NAMES, "action": ERRNO }]));
    container.start_idle()?;
    let output = container.exec(&["sh", "-c", MKDIR])?;
    ensure!(output.code == 1 && output.stderr.contains("Operation not permitted"), "{output:?}");
    Ok(())
}

fn shown_in_status(container: &mut Container) -> Test {
    let script = "grep Seccomp: /proc/self/status";
    same!(container.run_script(script)?.words(), ["Seccomp:", "0"]);
    deny(container, json!([{ "names": NAMES, "action": ERRNO }]));
    same!(container.run_script(script)?.words(), ["Seccomp:", "2"]);
    Ok(())
}

fn flags(container: &mut Container) -> Test {
    deny(container, json!([{ "names": NAMES, "action": ERRNO }]));
    for flag in
        ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC"]
    {
        container.set("/linux/seccomp/flags", json!([flag]));
        same!(container.run_script(MKDIR)?.code, 1);
    }
    Ok(())
}

/// Each must be refused: a profile that is understood by halves protects by halves.
fn wrong_profiles(container: &mut Container) -> Test {
    let rule = json!([{ "names": NAMES, "action": ERRNO }]);
    let profile = |change: &dyn Fn(&mut Value)| {
        let mut profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rule });
        change(&mut profile);
        profile
    };
    for (what, wrong) in [
        ("an action", profile(&|one| one["defaultAction"] = json!("SCMP_ACT_DANCE"))),
        ("no default action", profile(&|one| one["defaultAction"] = json!(""))),
        ("an action of a rule", profile(&|one| one["syscalls"][0]["action"] = json!("ALLOW"))),
        ("an architecture", profile(&|one| one["architectures"] = json!(["SCMP_ARCH_PDP11"]))),
        ("a flag", profile(&|one| one["flags"] = json!(["SECCOMP_FILTER_FLAG_MAGIC"]))),
        (
            "an operator",
            profile(&|one| one["syscalls"][0]["args"] = json!([condition(0, 1, "SCMP_CMP_ABOUT")])),
        ),
        (
            "an argument",
            profile(&|one| one["syscalls"][0]["args"] = json!([condition(6, 1, "SCMP_CMP_EQ")])),
        ),
    ] {
        container.set("/linux/seccomp", wrong);
        container.create_refused(&[]).map_err(|error| error.context(what))?;
    }
    Ok(())
}

/// runtime-spec: an errno with an action that does not support it must be an error.
fn errno_of_an_action_without_one(container: &mut Container) -> Test {
    deny(container, json!([{ "names": NAMES, "action": "SCMP_ACT_ALLOW", "errnoRet": 1 }]));
    container.create_refused(&["errnoRet"])?;
    deny(container, json!([]));
    container.set("/linux/seccomp/defaultErrnoRet", json!(1));
    container.create_refused(&["efaultErrnoRet"])
}

fn no_names(container: &mut Container) -> Test {
    deny(container, json!([{ "names": [], "action": ERRNO }]));
    container.create_refused(&["names"])
}
