//! The root filesystem: mounts, devices, links, masks.

use std::fs;

use anyhow::ensure;
use serde_json::json;

use super::{cases, same};
use crate::harness::Container;

type Test = anyhow::Result<()>;

cases!("rootfs":
    default_mounts, root_is_read_only, root_can_be_writable, masked_paths, readonly_paths,
    default_devices, default_links, more_devices, a_device_in_the_way, bind_read_only,
    bind_attributes, recursive_bind, recursive_read_only, a_file_is_bound, mount_points_are_made,
    tmpfs_options, tmpfs_read_only, tmpfs_copies_up, no_pivot, cgroup_mount, propagation,
    a_relative_destination, an_empty_option, links_in_the_image_stay_inside, cwd_is_made,
    bundle_relative_source, mounts_on_proc_are_refused,
);

/// The options of a mount point in the container's mountinfo.
fn options(output: &str, path: &str) -> anyhow::Result<String> {
    let line = output.lines().find(|line| line.split(' ').nth(4) == Some(path));
    let line = line.ok_or_else(|| anyhow::anyhow!("{path} is not mounted: {output}"))?;
    Ok(line.to_owned())
}

fn default_mounts(container: &mut Container) -> Test {
    let output = container.run_script("cat /proc/self/mountinfo")?.success()?.stdout;
    for (path, words) in [
        ("/proc", &["rw", " - proc"][..]),
        ("/dev", &["nosuid", " - tmpfs", "size=65536k", "mode=755"]),
        ("/dev/pts", &["nosuid,noexec", " - devpts", "ptmxmode=666", "mode=620", "gid=5"]),
        ("/dev/shm", &["nosuid,nodev,noexec", "size=65536k"]),
        ("/dev/mqueue", &["nosuid,nodev,noexec", " - mqueue"]),
        ("/sys", &["ro,nosuid,nodev,noexec", " - sysfs"]),
        ("/sys/fs/cgroup", &["ro,nosuid,nodev,noexec"]),
    ] {
        let line = options(&output, path)?;
        for word in words {
            ensure!(line.contains(word), "{path} is not {word}: {line}");
        }
    }
    ensure!(
        !output.contains("strictatime") && !options(&output, "/dev")?.contains("relatime"),
        "{output}"
    );
    Ok(())
}

fn root_is_read_only(container: &mut Container) -> Test {
    let output = container.run_script("touch /x; echo $?; touch /tmp/x; echo $?")?;
    same!(output.lines(), ["1", "1"]);
    ensure!(output.stderr.contains("Read-only"), "{}", output.stderr);
    Ok(())
}

fn root_can_be_writable(container: &mut Container) -> Test {
    container.set("/root/readonly", json!(false));
    container.run_script("echo y > /x")?.success()?;
    same!(fs::read_to_string(container.rootfs().join("x"))?, "y\n");
    Ok(())
}

fn masked_paths(container: &mut Container) -> Test {
    let script = "wc -c < /proc/timer_list; wc -c < /proc/keys; ls /sys/firmware | wc -l; touch /sys/firmware/x";
    let output = container.run_script(script)?;
    same!(output.lines(), ["0", "0", "0"]);
    ensure!(output.code != 0, "a masked directory can be written");
    Ok(())
}

fn readonly_paths(container: &mut Container) -> Test {
    container.set("/process/capabilities/effective", json!(["CAP_SYS_ADMIN"]));
    container.set("/process/capabilities/permitted", json!(["CAP_SYS_ADMIN"]));
    container.set("/process/capabilities/bounding", json!(["CAP_SYS_ADMIN"]));
    let output = container.run_script("echo x > /proc/sys/kernel/domainname")?;
    ensure!(output.code != 0 && output.stderr.contains("Read-only"), "{output:?}");
    Ok(())
}

fn default_devices(container: &mut Container) -> Test {
    let script = "cd /dev; stat -c '%n %t:%T %a %u:%g' null zero full random urandom tty; \
                  head -c 4 zero | wc -c; echo x > null; head -c 1 urandom | wc -c";
    let output = container.run_script(script)?.success()?;
    same!(
        output.lines(),
        [
            "null 1:3 666 0:0",
            "zero 1:5 666 0:0",
            "full 1:7 666 0:0",
            "random 1:8 666 0:0",
            "urandom 1:9 666 0:0",
            "tty 5:0 666 0:0",
            "4",
            "1",
        ]
    );
    Ok(())
}

fn default_links(container: &mut Container) -> Test {
    let output = container
        .run_script("cd /dev; for l in fd stdin stdout stderr ptmx; do readlink $l; done")?
        .success()?;
    same!(
        output.lines(),
        ["/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2", "pts/ptmx"]
    );
    Ok(())
}

fn more_devices(container: &mut Container) -> Test {
    container.set("/linux/devices", json!([
        { "path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 5, "gid": 6 },
        { "path": "/dev/deep/er/block", "type": "b", "major": 7, "minor": 99, "fileMode": 0o600 },
        { "path": "/dev/pipe", "type": "p", "fileMode": 0o622 },
        { "path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600 },
    ]));
    let script = "cd /dev; stat -c '%n %F %t:%T %a %u:%g' mine deep/er/block pipe null";
    let output = container.run_script(script)?.success()?;
    same!(
        output.lines(),
        [
            "mine character special file 1:3 640 5:6",
            "deep/er/block block special file 7:63 600 0:0",
            "pipe fifo 0:0 622 0:0",
            "null character special file 1:3 600 0:0",
        ]
    );
    Ok(())
}

fn a_device_in_the_way(container: &mut Container) -> Test {
    container.config["mounts"].as_array_mut().map(|mounts| mounts.drain(1..5).count());
    fs::write(container.rootfs().join("dev/mine"), "")?;
    container.set(
        "/linux/devices",
        json!([{ "path": "/dev/mine", "type": "c", "major": 1, "minor": 3 }]),
    );
    container.create_refused(&["/dev/mine"])
}

fn bind(container: &mut Container, options: &[&str]) -> Test {
    let source = container.directory.join("source");
    fs::create_dir_all(source.join("inner"))?;
    fs::write(source.join("file"), "content\n")?;
    container
        .push("/mounts", json!({ "destination": "/mnt", "source": source, "options": options }));
    fs::create_dir_all(container.rootfs().join("mnt"))?;
    Ok(())
}

fn bind_read_only(container: &mut Container) -> Test {
    bind(container, &["bind", "ro"])?;
    let output = container.run_script("cat /mnt/file; touch /mnt/new")?;
    same!(output.stdout, "content\n");
    ensure!(output.code != 0 && output.stderr.contains("Read-only"), "{output:?}");
    fs::write(container.directory.join("source/file"), "still writable")?;
    Ok(())
}

fn bind_attributes(container: &mut Container) -> Test {
    bind(container, &["bind", "nosuid", "nodev", "noexec", "noatime", "suid"])?;
    let output = container.run_script("grep ' /mnt ' /proc/self/mountinfo")?.success()?.stdout;
    ensure!(output.contains("nodev,noexec,noatime") && !output.contains("nosuid"), "{output}");
    Ok(())
}

fn recursive_bind(container: &mut Container) -> Test {
    let mount = json!({ "destination": "/mnt", "source": "/sys", "options": ["rbind", "ro"] });
    container.push("/mounts", mount);
    fs::create_dir_all(container.rootfs().join("mnt"))?;
    let output = container.run_script("ls -d /mnt/fs/cgroup/*; touch /mnt/x")?;
    ensure!(output.stdout.contains("/mnt/fs/cgroup/"), "{output:?}");
    ensure!(output.code != 0, "the mount is writable");
    Ok(())
}

fn recursive_read_only(container: &mut Container) -> Test {
    let mount = json!({ "destination": "/mnt", "source": "/dev", "options": ["rbind", "rro"] });
    container.push("/mounts", mount);
    fs::create_dir_all(container.rootfs().join("mnt"))?;
    let output = container.run_script("grep ' /mnt' /proc/self/mountinfo")?.success()?.stdout;
    ensure!(
        output.lines().all(|line| line.split(' ').nth(5).is_some_and(|one| one.starts_with("ro"))),
        "{output}"
    );
    Ok(())
}

fn a_file_is_bound(container: &mut Container) -> Test {
    fs::write(container.directory.join("hosts"), "here\n")?;
    let source = container.directory.join("hosts");
    container.push(
        "/mounts",
        json!({ "destination": "/etc/new/hosts", "source": source, "options": ["bind"] }),
    );
    same!(container.run_script("cat /etc/new/hosts")?.success()?.stdout, "here\n");
    Ok(())
}

fn mount_points_are_made(container: &mut Container) -> Test {
    container
        .push("/mounts", json!({ "destination": "/a/b/c", "type": "tmpfs", "source": "tmpfs" }));
    same!(container.run_script("touch /a/b/c/x && echo made")?.success()?.stdout, "made\n");
    Ok(())
}

fn tmpfs_options(container: &mut Container) -> Test {
    let options = ["nosuid", "nodev", "size=8k", "mode=0777", "uid=7", "gid=8"];
    container.push(
        "/mounts",
        json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": options }),
    );
    let output =
        container.run_script("stat -c '%a %u:%g' /tmp; head -c 20000 /dev/zero > /tmp/x")?;
    same!(output.lines(), ["777 7:8"]);
    ensure!(output.code != 0, "more was written than fits: {output:?}");
    Ok(())
}

fn tmpfs_read_only(container: &mut Container) -> Test {
    let mount =
        json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["ro"] });
    container.push("/mounts", mount);
    let inner = json!({ "destination": "/tmp/inner", "type": "tmpfs", "source": "tmpfs" });
    container.push("/mounts", inner);
    let output = container.run_script("touch /tmp/inner/x && touch /tmp/x")?;
    ensure!(output.code != 0 && output.stderr.contains("/tmp/x: Read-only"), "{output:?}");
    Ok(())
}

fn tmpfs_copies_up(container: &mut Container) -> Test {
    fs::create_dir_all(container.rootfs().join("data/sub"))?;
    fs::write(container.rootfs().join("data/sub/file"), "kept\n")?;
    std::os::unix::fs::symlink("sub/file", container.rootfs().join("data/link"))?;
    let options = ["tmpcopyup"];
    container.push(
        "/mounts",
        json!({ "destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": options }),
    );
    let output = container
        .run_script("cat /data/link; echo new > /data/sub/file; cat /data/sub/file")?
        .success()?;
    same!(output.lines(), ["kept", "new"]);
    same!(fs::read_to_string(container.rootfs().join("data/sub/file"))?, "kept\n");
    Ok(())
}

fn no_pivot(container: &mut Container) -> Test {
    container.script("ls /; cat /etc/passwd | head -1");
    container.save()?;
    let output = container
        .runtime(&["run", "--no-pivot", "--bundle", &container.bundle(), &container.id])?
        .success()?;
    ensure!(output.stdout.contains("root:x:0:0::/root:/bin/sh"), "{output:?}");
    Ok(())
}

fn cgroup_mount(container: &mut Container) -> Test {
    let script =
        "cat /proc/self/cgroup; grep -c ' - cgroup' /proc/self/mountinfo; touch /sys/fs/cgroup/x";
    let output = container.run_script(script)?;
    ensure!(output.code != 0, "the cgroups are writable");
    for line in output.lines().iter().filter(|line| line.contains(':')) {
        ensure!(line.ends_with(":/"), "not the root of the cgroup namespace: {line}");
    }
    Ok(())
}

fn propagation(container: &mut Container) -> Test {
    bind(container, &["rbind", "rshared"])?;
    let output = container.run_script("cat /proc/self/mountinfo")?.success()?.stdout;
    ensure!(options(&output, "/mnt")?.contains("shared:"), "{output}");
    ensure!(!options(&output, "/")?.contains("shared:"), "{output}");
    Ok(())
}

fn a_relative_destination(container: &mut Container) -> Test {
    container.push("/mounts", json!({ "destination": "tmp", "type": "tmpfs", "source": "tmpfs" }));
    container.run_script("touch /tmp/x")?.success()?;
    Ok(())
}

fn an_empty_option(container: &mut Container) -> Test {
    container.push("/mounts", json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["", "nodev"] }));
    container.run_script("touch /tmp/x")?.success()?;
    Ok(())
}

fn links_in_the_image_stay_inside(container: &mut Container) -> Test {
    std::os::unix::fs::symlink(&container.victim, container.rootfs().join("way"))?;
    let mount = json!({ "destination": "/way/out", "type": "tmpfs", "source": "tmpfs" });
    container.push("/mounts", mount);
    // A link that leads nowhere in the container is refused, one that leads somewhere is followed.
    let _ = container.run_script("true")?;
    same!(fs::read_dir(&container.victim)?.count(), 0);
    fs::create_dir_all(container.rootfs().join(container.victim.strip_prefix("/")?))?;
    container.run_script("touch /way/out/x")?.success()?;
    same!(fs::read_dir(&container.victim)?.count(), 0);
    Ok(())
}

fn cwd_is_made(container: &mut Container) -> Test {
    container.set("/process/cwd", json!("/work/here"));
    same!(container.run_script("pwd")?.success()?.stdout, "/work/here\n");
    Ok(())
}

fn bundle_relative_source(container: &mut Container) -> Test {
    fs::create_dir_all(container.directory.join("data"))?;
    fs::write(container.directory.join("data/x"), "found\n")?;
    container
        .push("/mounts", json!({ "destination": "/tmp", "source": "data", "options": ["bind"] }));
    same!(container.run_script("cat /tmp/x")?.success()?.stdout, "found\n");
    Ok(())
}

fn mounts_on_proc_are_refused(container: &mut Container) -> Test {
    let mount = json!({ "destination": "/proc/sys", "type": "tmpfs", "source": "tmpfs" });
    container.push("/mounts", mount);
    container.create_refused(&["inside /proc"])
}
