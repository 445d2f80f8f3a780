//! Seccomp's `SCMP_ACT_NOTIFY`: an agent of the test's own decides.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd as _, BorrowedFd};

use anyhow::ensure;
use libsyscall::Errno;
use libsyscall::unotify::{Answer, Notification, add_descriptor};
use serde_json::{Value, json};

use super::{Test, cases, same};
use crate::agent::Agent;
use crate::command::Output;
use crate::config;
use crate::container::Container;

cases!("seccomp_notify":
    answers_with_an_errno, answers_with_a_value, lets_continue, gives_a_descriptor, state_of_create, exec_has_its_own,
    calls_that_the_runtime_makes_too, sendmsg, in_a_user_namespace, without_no_new_privileges, nobody_else_has_the_listener,
    hooks_of_the_container, agent_is_missing, agent_does_not_listen, agent_closes, agent_does_not_answer, wrong_profiles,
);

const NOTIFY: &str = "SCMP_ACT_NOTIFY";
/// Those by which busybox makes a directory.
const MKDIR: [&str; 2] = ["mkdir", "mkdirat"];

/// Notifies the agent at `path` of `names`.
fn notify(container: &mut Container, path: &str, names: &[&str]) {
    let rules = json!([{ "names": names, "action": NOTIFY }]);
    let profile =
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "syscalls": rules });
    container.set("/linux/seccomp", profile);
}

/// Runs `script` with an agent that gives `answer` to each of `names`.
fn answered(
    container: &mut Container,
    names: &[&str],
    answer: Answer,
    script: &str,
) -> anyhow::Result<Output> {
    let agent = Agent::listen(container)?;
    notify(container, &agent.path(), names);
    let (output, states) = agent.during(&|_, _| answer, || container.run_script(script))?;
    ensure!(states.len() == 1, "{} containers in place of one: {output:?}", states.len());
    Ok(output)
}

fn answers_with_an_errno(container: &mut Container) -> Test {
    let output =
        answered(container, &MKDIR, Answer::Error(Errno::NOSPC), "mkdir /dev/shm/x; exit 3")?;
    ensure!(output.code == 3 && output.stderr.contains("No space left on device"), "{output:?}");
    Ok(())
}

fn answers_with_a_value(container: &mut Container) -> Test {
    let output = answered(container, &["getuid", "geteuid"], Answer::Value(4242), "id -u")?;
    same!(output.success()?.words(), ["4242"]);
    Ok(())
}

fn lets_continue(container: &mut Container) -> Test {
    let output = answered(container, &MKDIR, Answer::Continue, "mkdir /dev/shm/x && ls /dev/shm")?;
    same!(output.success()?.words(), ["x"]);
    Ok(())
}

/// Whether one of the call's first two arguments is the address of this path in the memory of who makes it.
fn names_path(call: &Notification, path: &str) -> bool {
    call.arguments[..2].iter().any(|address| {
        let mut text = vec![0; path.len() + 1];
        let read = fs::File::open(format!("/proc/{}/mem", call.pid)).and_then(|mut memory| {
            memory.seek(SeekFrom::Start(*address))?;
            memory.read_exact(&mut text)
        });
        read.is_ok() && text.strip_suffix(b"\0") == Some(path.as_bytes())
    })
}

/// A file of the host's appears where the container has none.
fn gives_a_descriptor(container: &mut Container) -> Test {
    let path = container.file("for the container");
    fs::write(&path, "given\n")?;
    let file = fs::File::open(&path)?;
    let agent = Agent::listen(container)?;
    notify(container, &agent.path(), &["open", "openat"]);
    let judge = |listener: BorrowedFd<'_>, call: &Notification| {
        if !names_path(call, "/nowhere") {
            return Answer::Continue;
        }
        add_descriptor(listener, call.id, file.as_fd()).map_or_else(Answer::Error, Answer::Value)
    };
    let (output, _) = agent.during(&judge, || container.run_script("cat /nowhere"))?;
    same!(output.success()?.words(), ["given"]);
    Ok(())
}

/// config-linux.md, "The Container Process State".
fn state_of_create(container: &mut Container) -> Test {
    let agent = Agent::listen(container)?;
    notify(container, &agent.path(), &MKDIR);
    container.set("/linux/seccomp/listenerMetadata", json!("for \"the\" agent"));
    container.set("/annotations", json!({ "org.example.key": "value" }));
    let (_, states) = agent.during(&|_, _| Answer::Continue, || container.start_idle())?;
    let pid = container.pid()?;
    let state = json!({
        "ociVersion": states[0]["state"]["ociVersion"],
        "id": container.id,
        "status": "creating",
        "pid": pid,
        "bundle": container.bundle(),
        "annotations": { "org.example.key": "value" },
    });
    let expected = json!({
        // Which version it is of is the runtime's matter.
        "ociVersion": states[0]["ociVersion"].as_str(),
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": "for \"the\" agent",
        "state": state,
    });
    same!(states, [expected]);
    Ok(())
}

fn exec_has_its_own(container: &mut Container) -> Test {
    let agent = Agent::listen(container)?;
    notify(container, &agent.path(), &MKDIR);
    let deny = |_: BorrowedFd<'_>, _: &Notification| Answer::Error(Errno::NOSPC);
    let (output, states) = agent.during(&deny, || {
        container.start_idle()?;
        container.exec(&["sh", "-c", "echo $$; mkdir /dev/shm/x"])
    })?;
    ensure!(output.stderr.contains("No space left on device"), "{output:?}");
    let [created, executed] = states.as_slice() else {
        anyhow::bail!("{} in place of 2: {states:?}", states.len());
    };
    let pid = json!(container.pid()?);
    same!(created["pid"], pid);
    same!(executed["state"]["pid"], pid);
    same!(executed["state"]["status"], json!("running"));
    same!(executed["fds"], json!(["seccompFd"]));
    ensure!(executed["pid"].is_i64() && executed["pid"] != pid, "{executed}");
    Ok(())
}

/// Everything between the filter and the program is answered too.
fn calls_that_the_runtime_makes_too(container: &mut Container) -> Test {
    let names = [
        "accept4",
        "brk",
        "capset",
        "close",
        "execve",
        "mmap",
        "mprotect",
        "munmap",
        "prctl",
        "read",
        "recvmsg",
        "rt_sigaction",
        "rt_sigprocmask",
        "sendmmsg",
        "sendto",
        "write",
    ];
    let output = answered(container, &names, Answer::Continue, "echo runs")?;
    same!(output.success()?.words(), ["runs"]);
    let agent = Agent::listen(container)?;
    notify(container, &agent.path(), &names);
    let (output, states) = agent.during(&|_, _| Answer::Continue, || {
        container.start_idle()?;
        container.exec(&["echo", "runs"])
    })?;
    same!(output.success()?.words(), ["runs"]);
    same!(states.len(), 2);
    Ok(())
}

/// The call by which the listener would go out.
fn sendmsg(container: &mut Container) -> Test {
    let output = answered(container, &["sendmsg"], Answer::Continue, "echo runs")?;
    same!(output.success()?.words(), ["runs"]);
    Ok(())
}

fn in_a_user_namespace(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    let script = "mkdir /dev/shm/x; exit 3";
    let output = answered(container, &MKDIR, Answer::Error(Errno::NOSPC), script)?;
    ensure!(output.code == 3 && output.stderr.contains("No space left on device"), "{output:?}");
    Ok(())
}

fn without_no_new_privileges(container: &mut Container) -> Test {
    container.set("/process/noNewPrivileges", json!(false));
    let script = "mkdir /dev/shm/x; grep -E 'NoNewPrivs|CapEff' /proc/self/status";
    let output = answered(container, &[MKDIR[0], MKDIR[1], "capset"], Answer::Continue, script)?;
    let output = output.success()?;
    ensure!(output.stdout.contains("NoNewPrivs:\t0"), "{}", output.stdout);
    same!(without_admin(&output), true);
    Ok(())
}

/// Whether CAP_SYS_ADMIN, by which the filter was installed, is gone.
fn without_admin(output: &Output) -> bool {
    let bits = output.words().last().and_then(|word| u64::from_str_radix(word, 16).ok());
    bits.is_some_and(|bits| bits & (1 << 21) == 0)
}

/// Neither an init that waits for `start` nor a program can answer for itself.
fn nobody_else_has_the_listener(container: &mut Container) -> Test {
    let agent = Agent::listen(container)?;
    notify(container, &agent.path(), &MKDIR);
    container.script("exec sleep 100");
    container.save()?;
    let (output, _) = agent.during(&|_, _| Answer::Continue, || {
        container.create()?.success()?;
        let directory = format!("/proc/{}/fd", container.pid()?);
        let links = fs::read_dir(directory)?.map(|entry| fs::read_link(entry?.path()));
        let links: Vec<_> = links.collect::<std::io::Result<_>>()?;
        ensure!(!links.is_empty(), "init has no descriptor");
        let of_seccomp =
            links.iter().find(|link| link.to_string_lossy().contains("seccomp notify"));
        ensure!(of_seccomp.is_none(), "init has {links:?}");
        container.verb("start")?.success()?;
        container.exec(&["ls", "-l", "/proc/self/fd"])
    })?;
    ensure!(!output.success()?.stdout.contains("seccomp notify"), "the program has the listener");
    Ok(())
}

/// startContainer hooks are of the container, and come after the filter.
fn hooks_of_the_container(container: &mut Container) -> Test {
    let args = ["sh", "-c", "mkdir /dev/shm/made"];
    container.set("/hooks/startContainer", json!([{ "path": "/bin/sh", "args": args }]));
    let output = answered(container, &MKDIR, Answer::Continue, "ls /dev/shm")?;
    same!(output.success()?.words(), ["made"]);
    Ok(())
}

fn agent_is_missing(container: &mut Container) -> Test {
    let path = container.file("nobody");
    notify(container, &path, &MKDIR);
    container.save()?;
    container.create_refused(&["linux.seccomp.listenerPath", &path, "start the agent"])
}

fn agent_does_not_listen(container: &mut Container) -> Test {
    let agent = Agent::listen(container)?;
    let path = agent.path();
    let moved = format!("{path}-moved");
    // The socket's file stays, and nobody is behind it.
    fs::rename(&path, &moved)?;
    drop(agent);
    notify(container, &moved, &MKDIR);
    container.save()?;
    let refused = container.create_refused(&["linux.seccomp.listenerPath", "nobody listens"]);
    fs::remove_file(&moved)?;
    refused
}

/// It closes the connection before anything is sent: a hook, which comes between, waits for that.
fn agent_closes(container: &mut Container) -> Test {
    let agent = Agent::listen(container)?;
    notify(container, &agent.path(), &MKDIR);
    let closed = container.file("closed");
    let wait = format!("while ! [ -e {closed} ]; do sleep 0.01; done");
    container
        .set("/hooks/createRuntime", json!([{ "path": "/bin/sh", "args": ["sh", "-c", wait] }]));
    container.save()?;
    std::thread::scope(|scope| {
        let closes = scope.spawn(|| {
            let accepted = agent.accept().map(drop);
            // Also if nobody has come, for the hook waits.
            fs::write(&closed, "")?;
            accepted
        });
        let refused = container.create_refused(&["linux.seccomp.listenerPath", "closed"]);
        closes.join().map_err(|_| anyhow::anyhow!("the agent panicked"))??;
        refused
    })
}

/// Who would wait for ever is told, and nothing is left.
fn agent_does_not_answer(container: &mut Container) -> Test {
    let agent = Agent::listen(container)?;
    notify(container, &agent.path(), &["recvmsg", "recvfrom", "read"]);
    container.save()?;
    std::thread::scope(|scope| {
        let holds = scope.spawn(|| crate::agent::receive(&agent.accept()?));
        let refused = container.create_refused(&["linux.seccomp.listenerPath", "does not answer"]);
        holds.join().map_err(|_| anyhow::anyhow!("the agent panicked"))??;
        refused
    })
}

fn wrong_profiles(container: &mut Container) -> Test {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut profile = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": "/nobody",
            "syscalls": [{ "names": ["mkdir"], "action": NOTIFY }],
        });
        change(&mut profile);
        profile
    };
    let long = format!("/{}", "x".repeat(107));
    let both = json!(["sendmsg", "sendmmsg"]);
    let profiles = [
        (
            with(&|profile| profile["listenerPath"] = Value::Null),
            "/linux/seccomp/syscalls/0/action",
        ),
        (with(&|profile| profile["listenerPath"] = json!(long)), "/linux/seccomp/listenerPath"),
        (with(&|profile| profile["defaultAction"] = json!(NOTIFY)), "/linux/seccomp/defaultAction"),
        (
            with(&|profile| profile["syscalls"][0]["names"] = both.clone()),
            "/linux/seccomp/syscalls/0/names/1",
        ),
    ];
    for (profile, pointer) in profiles {
        container.set("/linux/seccomp", profile);
        container.save()?;
        container.create_refused(&[pointer])?;
    }
    Ok(())
}
