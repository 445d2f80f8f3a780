//! Containers in the pid namespace of another: a maker makes them, and init is born when that is done.

use std::fs;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::hooks::shell;
use super::{Test, cases, same};
use crate::command::{wait, wait_until};
use crate::config;
use crate::container::Container;
use crate::pty::with_socket;

cases!("pods":
    processes_of_both, hooks_are_told_the_pid, hooks_that_fail, mounts_that_fail, program_that_is_missing,
    terminal, streams, user_namespace_of_the_pod, sysctls_of_the_pod, clocks_of_its_own, no_mount_namespace,
    read_only_root, what_it_makes_is_gone, links_to_streams,
);

/// Lets `container` join the pid namespace of one that idles, and `more` of its namespaces; does `test`.
fn beside(
    container: &mut Container,
    more: &[(&str, &str)],
    test: impl FnOnce(&mut Container, &Container) -> Test,
) -> Test {
    let with_user = more.iter().any(|(kind, _)| *kind == "user");
    let prepare = |other: &mut Container| {
        if with_user {
            config::add_user_namespace(&mut other.config);
        }
    };
    container.beside(prepare, |container, other| {
        for (kind, file) in [("pid", "pid")].iter().chain(more) {
            let path = format!("/proc/{}/ns/{file}", other.pid()?);
            config::namespace(&mut container.config, kind, Some(&path));
        }
        test(container, other)
    })
}

/// The procfs is that of the namespace: each sees the other, and no process of the host.
fn processes_of_both(container: &mut Container) -> Test {
    beside(container, &[], |container, other| {
        let script = "cat /proc/1/comm; set -- /proc/[0-9]*; echo $#; readlink /proc/self/ns/pid";
        let output = container.run_script(script)?.success()?;
        let namespace = fs::read_link(format!("/proc/{}/ns/pid", other.pid()?))?;
        // The other's first process, and the shell.
        same!(output.words()[1..], ["2", &namespace.display().to_string()]);
        same!(
            output.words()[0],
            fs::read_to_string(format!("/proc/{}/comm", other.pid()?))?.trim()
        );
        Ok(())
    })
}

/// Inside and outside it is the pid of the process that becomes the program.
fn hooks_are_told_the_pid(container: &mut Container) -> Test {
    beside(container, &[], |container, _| {
        let file = |name: &str| container.file(name);
        let hook = |name: &str| json!([shell(&format!("cat > {}", file(name)))]);
        let hooks = json!({
            "prestart": hook("prestart"), "createRuntime": hook("createRuntime"),
            "createContainer": hook("createContainer"),
        });
        container.set("/hooks", hooks);
        container.start_script("echo $$ > /proc/self/fd/1; sleep 100")?;
        let pid = |name: &str| -> anyhow::Result<Option<i64>> {
            let state: Value = serde_json::from_slice(&fs::read(container.file(name))?)?;
            Ok(state["pid"].as_i64())
        };
        let outside = container.pid()?;
        same!([pid("prestart")?, pid("createRuntime")?], [Some(outside); 2]);
        let status = fs::read_to_string(format!("/proc/{outside}/status"))?;
        let line = status.lines().find(|line| line.starts_with("NSpid:")).context("NSpid")?;
        let inside = line.split_whitespace().next_back().map(str::parse::<i64>).transpose()?;
        same!(pid("createContainer")?, inside);
        container.delete_force()
    })
}

fn hooks_that_fail(container: &mut Container) -> Test {
    beside(container, &[], |container, _| {
        for kind in ["prestart", "createRuntime", "createContainer", "startContainer"] {
            container.set("/hooks", json!({ kind: [shell("echo because; exit 3")] }));
            container.refused(&container.run()?, &["exit status 3", "because"])?;
            container.nothing_left()?;
        }
        Ok(())
    })
}

fn mounts_that_fail(container: &mut Container) -> Test {
    container.mount(json!({ "destination": "/bin/sh", "type": "tmpfs", "source": "tmpfs" }));
    beside(container, &[], |container, _| container.create_refused(&["/bin/sh", "not a directory"]))
}

fn program_that_is_missing(container: &mut Container) -> Test {
    container.set("/process/args", json!(["/no/such/program"]));
    beside(container, &[], |container, _| container.create_refused(&["/no/such/program"]))
}

fn terminal(container: &mut Container) -> Test {
    container.set("/process/terminal", json!(true));
    container.script("tty; stty -a | head -n 1; stat -c %F /dev/console; sleep 100");
    beside(container, &[], |container, _| {
        let (output, master) =
            with_socket(container, |path| container.create_with(&["--console-socket", path]))?;
        output.success()?;
        let mut master = master.context("no master")?;
        container.verb("start")?.success()?;
        let text = master.read_until("character")?;
        ensure!(text.contains("/dev/pts/0") && text.contains("speed"), "{text}");
        container.delete_force()
    })
}

fn streams(container: &mut Container) -> Test {
    beside(container, &[], |container, _| {
        let output = container.run_script("echo out; echo err >&2; ls /proc/self/fd")?.success()?;
        same!((output.lines()[0], output.stderr.trim()), ("out", "err"));
        same!(output.words()[1..], ["0", "1", "2", "3"]);
        Ok(())
    })
}

fn user_namespace_of_the_pod(container: &mut Container) -> Test {
    let more = [("user", "user"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts")];
    beside(container, &more, |container, _| {
        let output = container.run_script("cat /proc/1/comm; cat /proc/self/uid_map; id -u")?;
        same!(output.success()?.words()[1..], ["0", "100000", "65536", "0"]);
        Ok(())
    })
}

/// The maker, which is in no pid namespace of that user namespace, sets them.
fn sysctls_of_the_pod(container: &mut Container) -> Test {
    container.set("/linux/sysctl", json!({ "kernel.msgmni": "111" }));
    let more = [("user", "user"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts")];
    beside(container, &more, |container, _| {
        let output = container.run_script("cat /proc/sys/kernel/msgmni")?.success()?;
        same!(output.lines(), ["111"]);
        Ok(())
    })
}

fn clocks_of_its_own(container: &mut Container) -> Test {
    container.push("/linux/namespaces", json!({ "type": "time" }));
    container.set("/linux/timeOffsets", json!({ "boottime": { "secs": 100_000_000 } }));
    beside(container, &[], |container, _| {
        let output = container.run_script("cut -d. -f1 /proc/uptime")?.success()?;
        ensure!(output.stdout.trim().parse::<u64>()? > 100_000_000, "{output:?}");
        Ok(())
    })
}

fn no_mount_namespace(container: &mut Container) -> Test {
    config::namespace(&mut container.config, "mount", None);
    config::remove_mounts(&mut container.config, |_| true);
    for pointer in ["/linux/maskedPaths", "/linux/readonlyPaths", "/root/readonly"] {
        container.remove(pointer);
    }
    beside(container, &[], |container, _| {
        let output = container.run_script("pwd; ls -A / | wc -l")?;
        let files = fs::read_dir(container.rootfs())?.count().to_string();
        same!(output.words(), ["/", &files]);
        Ok(())
    })
}

fn read_only_root(container: &mut Container) -> Test {
    beside(container, &[], |container, _| {
        same!(container.run_script("touch /x || exit 7")?.code, 7);
        same!(container.run_script("pwd; ls / | grep -c proc")?.success()?.words(), ["/", "1"]);
        Ok(())
    })
}

/// The maker has ended, and been waited for, when the program runs.
fn what_it_makes_is_gone(container: &mut Container) -> Test {
    beside(container, &[], |container, _| {
        container.script("sleep 100");
        container.save()?;
        let mut run = container.command(&["run", "--bundle", &container.bundle(), &container.id]);
        run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut runtime = run.spawn()?;
        let runs = || Ok(container.state().is_ok_and(|state| state["status"] == "running"));
        wait_until("it runs", runs)?;
        let mut children = String::new();
        for thread in fs::read_dir(format!("/proc/{}/task", runtime.id()))? {
            children += &fs::read_to_string(thread?.path().join("children"))?;
        }
        let init = container.pid()?.to_string();
        container.delete_force()?;
        wait(&mut runtime)?;
        same!(children.split_whitespace().collect::<Vec<_>>(), [init]);
        Ok(())
    })
}

/// The links that need a procfs are there, though its maker is no process of that procfs.
fn links_to_streams(container: &mut Container) -> Test {
    beside(container, &[], |container, _| {
        let script = "for name in fd stdin stdout stderr; do readlink /dev/$name; done; echo through >/dev/stderr";
        let output = container.run_script(script)?.success()?;
        same!(
            output.lines(),
            ["/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2"]
        );
        Ok(())
    })
}
