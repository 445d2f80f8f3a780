//! `kill`: which processes get the signal.

use std::fs;
use std::process::Command;

use serde_json::json;

use super::{Test, cases, same};
use crate::command::wait_until;
use crate::config;
use crate::container::Container;

cases!("kill":
    created, stopped, all, all_short, all_of_a_shared_pid_namespace, in_a_shared_pid_namespace,
    in_a_joined_pid_namespace, what_has_outlived_init, the_images_signal, no_signal_of_the_image,
    waits_for_the_end, waits_no_longer,
);

/// Whoever is told so can delete it.
fn waits_for_the_end(container: &mut Container) -> Test {
    for flags in [&["--wait"][..], &["--wait", "--timeout", "15"], &["--wait", "--all"]] {
        container.start_script(
            "trap 'sleep 0.4; exit 0' TERM; echo > /dev/shm/x; sleep 100 & wait; wait",
        )?;
        wait_until("the trap is set", || {
            Ok(container.exec(&["test", "-e", "/dev/shm/x"])?.code == 0)
        })?;
        container.runtime(&[&["kill"], flags, &[&container.id, "TERM"]].concat())?.success()?;
        container.verb("delete")?.success()?;
    }
    container.create()?.success()?;
    container.runtime(&["kill", "--wait", &container.id, "KILL"])?.success()?;
    container.verb("kill")?.fails(1, &["container not running"])?;
    container.runtime(&["kill", "--wait", &container.id])?.fails(1, &["container not running"])
}

fn waits_no_longer(container: &mut Container) -> Test {
    container.start_script("trap '' TERM; echo > /dev/shm/x; exec sleep 100")?;
    wait_until("it is ignored", || Ok(container.exec(&["test", "-e", "/dev/shm/x"])?.code == 0))?;
    let called = std::time::Instant::now();
    let output = container.runtime(&["kill", "--wait", "--timeout", "1", &container.id, "TERM"])?;
    output.fails(1, &["has not ended in 1 s", &container.id])?;
    anyhow::ensure!(called.elapsed() >= std::time::Duration::from_secs(1), "it does not wait");
    same!(container.state()?["status"], "running");
    container.runtime(&["kill", "--timeout", "1", &container.id])?.fails(1, &["--wait"])
}

fn created(container: &mut Container) -> Test {
    container.create()?.success()?;
    container.runtime(&["kill", &container.id, "KILL"])?.success()?;
    container.wait_for("stopped")?;
    container.verb("delete")?.success()?;
    container.nothing_left()
}

fn stopped(container: &mut Container) -> Test {
    container.start_script("true")?;
    container.wait_for("stopped")?;
    container.verb("kill")?.fails(1, &["container not running"])
}

/// The annotation that comes from an image counts where nobody names a signal.
fn the_images_signal(container: &mut Container) -> Test {
    let annotation = "org.opencontainers.image.stopSignal";
    container.set("/root/readonly", json!(false));
    for (signal, flags, expected) in
        [("SIGUSR1", &[][..], "USR1"), ("12", &[], "USR2"), ("USR1", &["TERM"], "TERM")]
    {
        container.set("/annotations", json!({ annotation: signal }));
        fs::write(container.rootfs().join("got"), "")?;
        container.start_script(
            "for name in USR1 USR2 TERM; do trap \"echo $name > /got; exit\" $name; done
             echo x > /ready; while :; do sleep 0.02; done",
        )?;
        container.wait_for_file("rootfs/ready")?;
        container.runtime(&[&["kill", &container.id], flags].concat())?.success()?;
        container.wait_for("stopped")?;
        same!(fs::read_to_string(container.rootfs().join("got"))?.trim(), expected);
        container.verb("delete")?.success()?;
        fs::remove_file(container.rootfs().join("ready"))?;
    }
    Ok(())
}

fn no_signal_of_the_image(container: &mut Container) -> Test {
    container.set("/annotations", json!({ "org.opencontainers.image.stopSignal": "SIGMOON" }));
    container.start_idle()?;
    container.verb("kill")?.fails(1, &["stopSignal", "unknown signal \"SIGMOON\""])?;
    same!(container.state()?["status"], "running");
    container.runtime(&["kill", &container.id, "KILL"])?.success()?;
    container.wait_for("stopped")
}

fn all(container: &mut Container) -> Test {
    container
        .start_script("trap 'echo got > /dev/shm/x' TERM; (trap '' TERM; sleep 100) & wait")?;
    wait_until("two processes", || Ok(container.pids()?.len() >= 2))?;
    container.runtime(&["kill", "--all", &container.id, "KILL"])?.success()?;
    container.wait_for("stopped")
}

fn all_short(container: &mut Container) -> Test {
    container.start_idle()?;
    container.runtime(&["kill", "-a", &container.id, "9"])?.success()?;
    container.wait_for("stopped")
}

fn all_of_a_shared_pid_namespace(container: &mut Container) -> Test {
    config::namespace(&mut container.config, "pid", None);
    container.start_script("sleep 100 & sleep 100 & sleep 100 & wait")?;
    wait_until("four processes", || Ok(container.pids()?.len() == 4))?;
    container.runtime(&["kill", "--all", &container.id, "KILL"])?.success()?;
    container.wait_for("stopped")?;
    container.verb("delete")?.success()?;
    container.nothing_left()
}

/// Kills a container with four processes by `kill ID KILL`.
fn four_are_killed(container: &mut Container) -> Test {
    container.start_script("sleep 100 & sleep 100 & sleep 100 & wait")?;
    wait_until("four processes", || Ok(container.pids()?.len() == 4))?;
    let pids = container.pids()?;
    container.runtime(&["kill", &container.id, "KILL"])?.success()?;
    container.wait_for("stopped")?;
    let gone = |pid: &i64| {
        !fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|text| !text.is_empty())
    };
    wait_until("all are dead", || Ok(pids.iter().all(gone)))
}

/// Without a pid namespace the others would outlive the first process.
fn in_a_shared_pid_namespace(container: &mut Container) -> Test {
    config::namespace(&mut container.config, "pid", None);
    four_are_killed(container)
}

/// As in a pod.
fn in_a_joined_pid_namespace(container: &mut Container) -> Test {
    let mut other = Command::new("unshare");
    let mut other = other.args(["--pid", "--fork", "--kill-child", "sleep", "100"]).spawn()?;
    let path = format!("/proc/{}/ns/pid_for_children", other.id());
    let killed = wait_until("a pid namespace", || Ok(fs::metadata(&path).is_ok())).and_then(|()| {
        config::namespace(&mut container.config, "pid", Some(&path));
        four_are_killed(container)
    });
    other.kill()?;
    other.wait()?;
    killed
}

/// As engines do it with a container that shares the host's pid namespace: what its first process has left behind is
/// killed with it, also when that has ended.
fn what_has_outlived_init(container: &mut Container) -> Test {
    config::namespace(&mut container.config, "pid", None);
    container.start_script("sleep 100 & sleep 100 & exit")?;
    container.wait_for("stopped")?;
    same!(container.pids()?.len(), 2);
    container.verb("kill")?.fails(1, &["container not running"])?;
    container.runtime(&["kill", &container.id, "KILL"])?.success()?;
    wait_until("all are dead", || Ok(container.pids()?.is_empty()))?;
    container.runtime(&["kill", &container.id, "KILL"])?.fails(1, &["container not running"])
}
