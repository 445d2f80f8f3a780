//! Published escapes, each by its number (docs/security.md says what each one was).

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::ensure;
use serde_json::json;

use super::{cases, same};
use crate::harness::Container;

type Test = anyhow::Result<()>;

cases!("escapes":
    cve_2016_3697_numeric_user, cve_2019_16884_fake_proc, cve_2019_19921_linked_proc,
    cve_2024_21626_leaked_descriptors, cve_2025_31133_linked_null, cve_2026_41579_linked_dev,
    cve_2026_88265_linked_null_streams, cve_2026_115521_linked_proc_self_fd, cve_2021_30465_race,
    cve_2022_0811_sysctl_value, host_propagation_is_untouched,
);

fn names(container: &Container) -> anyhow::Result<usize> {
    Ok(fs::read_dir(&container.victim)?.count())
}

/// Without mounts on and below /dev.
fn without_dev(container: &mut Container) {
    if let Some(mounts) = container.config["mounts"].as_array_mut() {
        mounts
            .retain(|mount| !mount["destination"].as_str().unwrap_or_default().starts_with("/dev"));
    }
}

fn cve_2016_3697_numeric_user(container: &mut Container) -> Test {
    container.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    same!(container.run_script("id -u")?.success()?.lines(), ["1000"]);
    Ok(())
}

fn cve_2019_16884_fake_proc(container: &mut Container) -> Test {
    fs::create_dir_all(container.victim.join("self/attr"))?;
    fs::write(container.victim.join("self/attr/exec"), "")?;
    let mount = json!({ "destination": "/proc", "source": container.victim, "options": ["bind"] });
    container.push("/mounts", mount);
    container.create_refused(&["/proc"])
}

fn cve_2019_19921_linked_proc(container: &mut Container) -> Test {
    for name in ["proc", "sys"] {
        fs::remove_dir(container.rootfs().join(name))?;
        fs::create_dir_all(container.rootfs().join("evil"))?;
        symlink("/evil", container.rootfs().join(name))?;
        container.create_refused(&["must be mounted on ordinary directory"])?;
        fs::remove_file(container.rootfs().join(name))?;
        fs::create_dir(container.rootfs().join(name))?;
    }
    Ok(())
}

fn cve_2024_21626_leaked_descriptors(container: &mut Container) -> Test {
    for number in 3..32 {
        container.set("/process/cwd", json!(format!("/proc/self/fd/{number}")));
        let output = container.run_script("pwd -P; ls")?;
        ensure!(output.code != 0, "{number}: {output:?}");
    }
    symlink("/proc/self/fd/7", container.rootfs().join("way"))?;
    container.set("/process/cwd", json!("/way"));
    ensure!(container.run_script("pwd")?.code != 0, "through a link");
    container.set("/process/cwd", json!("/"));
    container.start_script("sleep 100")?;
    for number in 3..16 {
        let cwd = format!("/proc/self/fd/{number}");
        let output = container.runtime(&["exec", "--cwd", &cwd, &container.id, "pwd"])?;
        ensure!(output.code != 0, "exec {number}: {output:?}");
    }
    Ok(())
}

fn cve_2025_31133_linked_null(container: &mut Container) -> Test {
    without_dev(container);
    symlink("/proc/sys/kernel/core_pattern", container.rootfs().join("dev/null"))?;
    container.set("/linux/maskedPaths", json!(["/proc/kcore"]));
    let before = fs::read_to_string("/proc/sys/kernel/core_pattern")?;
    let output = container.run_script("stat -c %t:%T /proc/kcore")?;
    ensure!(output.code != 0 || output.stdout.trim() == "1:3", "{output:?}");
    same!(fs::read_to_string("/proc/sys/kernel/core_pattern")?, before);
    Ok(())
}

fn cve_2026_41579_linked_dev(container: &mut Container) -> Test {
    fs::remove_dir(container.rootfs().join("dev"))?;
    symlink(&container.victim, container.rootfs().join("dev"))?;
    let _ = container.run_script("true")?;
    same!(names(container)?, 0);
    without_dev(container);
    let _ = container.run_script("true")?;
    same!(names(container)?, 0);
    Ok(())
}

fn cve_2026_88265_linked_null_streams(container: &mut Container) -> Test {
    without_dev(container);
    fs::write(container.rootfs().join("etc/target"), "intact")?;
    symlink("/etc/target", container.rootfs().join("dev/null"))?;
    container.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let _ = container.run_script("echo overwritten")?;
    use std::os::unix::fs::MetadataExt as _;
    same!(fs::metadata(container.rootfs().join("etc/target"))?.uid(), 0);
    same!(fs::read_to_string(container.rootfs().join("etc/target"))?, "intact");
    Ok(())
}

fn cve_2026_115521_linked_proc_self_fd(container: &mut Container) -> Test {
    let mount =
        json!({ "destination": "/bound", "source": container.victim, "options": ["bind", "ro"] });
    container.push("/mounts", mount);
    if let Some(mounts) = container.config["mounts"].as_array_mut() {
        mounts.retain(|mount| mount["destination"] != "/proc");
    }
    container.set("/linux/maskedPaths", json!([]));
    container.set("/linux/readonlyPaths", json!([]));
    fs::create_dir_all(container.rootfs().join("proc/self/fd"))?;
    for number in 3..64 {
        symlink("/etc", container.rootfs().join(format!("proc/self/fd/{number}")))?;
    }
    let output = container.run_script("touch /x; echo $?; touch /bound/x; echo $?")?;
    same!(output.lines(), ["1", "1"]);
    same!(names(container)?, 0);
    Ok(())
}

/// A directory and a link change places while mounts go below them.
fn cve_2021_30465_race(container: &mut Container) -> Test {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let shared = container.directory.join("shared");
    fs::create_dir_all(shared.join("d"))?;
    symlink(&container.victim, shared.join("l"))?;
    container
        .push("/mounts", json!({ "destination": "/s", "source": shared, "options": ["bind"] }));
    container.push(
        "/mounts",
        json!({ "destination": "/s/d/new/x", "type": "tmpfs", "source": "tmpfs" }),
    );
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = renameat_with(
                    CWD,
                    shared.join("d"),
                    CWD,
                    shared.join("l"),
                    RenameFlags::EXCHANGE,
                );
            }
        });
        let outcome = (0..60).try_for_each(|_| {
            let output = container.run_script("true")?;
            container.runtime(&["delete", "--force", &container.id])?;
            ensure!(names(container)? == 0, "something was made on the host: {output:?}");
            container.nothing_left()
        });
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        outcome
    })
}

fn cve_2022_0811_sysctl_value(container: &mut Container) -> Test {
    for (key, value) in [
        ("kernel.shm_rmid_forced", "1\nkernel.core_pattern=|/x"),
        ("kernel.shm_rmid_forced+kernel.core_pattern", "1"),
        ("net/../kernel/core_pattern", "x"),
    ] {
        container.set("/linux/sysctl", json!({ key: value }));
        container.create_refused(&["sysctl"])?;
    }
    Ok(())
}

fn host_propagation_is_untouched(container: &mut Container) -> Test {
    let roots = || -> anyhow::Result<Vec<String>> {
        Ok(fs::read_to_string("/proc/self/mountinfo")?.lines().map(str::to_owned).collect())
    };
    let before = roots()?;
    container.set("/linux/rootfsPropagation", json!("shared"));
    container.run_script("true")?.success()?;
    same!(roots()?, before);
    Ok(())
}
