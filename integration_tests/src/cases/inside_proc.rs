//! Mounts on files and directories of procfs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::ensure;
use serde_json::json;

use super::{Test, cases, same};
use crate::container::Container;

cases!("inside_proc":
    what_says_nothing_of_security, directories_are_refused, by_way_of_a_link_is_refused,
    by_way_of_a_link, what_cannot_hold_is_refused, of_another_procfs, of_a_bound_procfs,
    of_one_below_proc,
);

/// A file that says `mounted`, bound on `destination`.
fn on(container: &mut Container, destination: &str) -> Test {
    let source = container.directory.join("text");
    fs::write(&source, "mounted\n")?;
    container.mount(json!({ "destination": destination, "source": source, "options": ["bind"] }));
    Ok(())
}

/// What engines and lxcfs put there, as far as this machine has it: each holds, and for every process.
fn what_says_nothing_of_security(container: &mut Container) -> Test {
    let mut paths = Vec::new();
    for name in [
        "cpuinfo",
        "diskstats",
        "meminfo",
        "stat",
        "swaps",
        "uptime",
        "loadavg",
        "slabinfo",
        "sys/kernel/ns_last_pid",
        "sys/crypto/fips_enabled",
        "sys/kernel/random/boot_id",
    ] {
        let path = format!("/proc/{name}");
        if Path::new(&path).exists() {
            on(container, &path)?;
            paths.push(path);
        }
    }
    ensure!(paths.len() > 5, "{paths:?}");
    let output = container.run_script(&format!("cat {}", paths.join(" ")))?.success()?;
    same!(output.lines(), vec!["mounted"; paths.len()]);
    Ok(())
}

fn directories_are_refused(container: &mut Container) -> Test {
    for destination in ["/proc/sys", "/proc/1", "/proc/self/attr", "/proc/./irq", "proc/fs"] {
        container.mount(json!({ "destination": destination, "type": "tmpfs", "source": "tmpfs" }));
        container.create_refused(&["inside /proc"])?;
        container.config["mounts"].as_array_mut().and_then(Vec::pop);
    }
    Ok(())
}

/// Wherever the image's links lead, nothing of /proc is replaced that is not to be.
fn by_way_of_a_link_is_refused(container: &mut Container) -> Test {
    symlink("/proc", container.rootfs().join("link"))?;
    symlink("/proc/sys/kernel", container.rootfs().join("deep"))?;
    for destination in ["/link/sys", "/deep", "/link", "/link/self/attr/current"] {
        let tmpfs = !destination.ends_with("current");
        if tmpfs {
            container.mount(json!({ "destination": destination, "type": "tmpfs" }));
        } else {
            on(container, destination)?;
        }
        container.create_refused(&["inside /proc"])?;
        container.config["mounts"].as_array_mut().and_then(Vec::pop);
    }
    Ok(())
}

/// What may be replaced may be by whatever path.
fn by_way_of_a_link(container: &mut Container) -> Test {
    symlink("/proc", container.rootfs().join("link"))?;
    symlink("/proc/sys/kernel", container.rootfs().join("deep"))?;
    on(container, "/link/uptime")?;
    on(container, "/deep/random/boot_id")?;
    let script = "cat /proc/uptime /proc/sys/kernel/random/boot_id";
    same!(container.run_script(script)?.success()?.lines(), ["mounted", "mounted"]);
    Ok(())
}

/// /proc/net is a link to what each process has of its own.
fn what_cannot_hold_is_refused(container: &mut Container) -> Test {
    on(container, "/proc/net/dev")?;
    container.create_refused(&["/proc/net/dev", "inside /proc"])
}

fn of_another_procfs(container: &mut Container) -> Test {
    container.mount(json!({ "destination": "/other/proc", "type": "proc", "source": "proc" }));
    on(container, "/other/proc/uptime")?;
    on(container, "/other/proc/version")?;
    container.mount(json!({ "destination": "/other/proc/irq", "type": "tmpfs", "source": "mine" }));
    let script =
        "cat /other/proc/uptime /other/proc/version; ls /other/proc/irq; head -c 5 /proc/version";
    same!(container.run_script(script)?.success()?.lines(), ["mounted", "mounted", "Linux"]);
    Ok(())
}

/// As of the host's, for what looks after a machine.
fn of_a_bound_procfs(container: &mut Container) -> Test {
    container.mount(json!({ "destination": "/host/proc", "source": "/proc", "options": ["bind"] }));
    on(container, "/host/proc/uptime")?;
    let script = "cat /host/proc/uptime; [ $(cat /proc/uptime | wc -w) = 2 ] && echo own";
    same!(container.run_script(script)?.success()?.lines(), ["mounted", "own"]);
    Ok(())
}

/// What stands below /proc is below it, on whatever mount it is.
fn of_one_below_proc(container: &mut Container) -> Test {
    container.mount(
        json!({ "destination": "/proc/uptime", "source": "/proc/version", "options": ["bind"] }),
    );
    container.mount(json!({ "destination": "/proc/uptime/x", "type": "tmpfs" }));
    container.create_refused(&["/proc/uptime/x"])
}
