//! Default devices and links beside what is mounted on /dev and in it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;

use anyhow::ensure;
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use serde_json::{Value, json};

use super::{Test, cases, same};
use crate::config;
use crate::container::Container;

cases!("device_nodes":
    below_a_later_mount, on_a_bind_mount_that_is_covered, on_a_bind_mount_that_covers,
    replaced_by_a_file, replaced_by_way_of_a_link, remounted, links_without_a_devpts,
    links_without_a_procfs, the_hosts_own_by_way_of_a_link, special_bits_of_a_mode, a_missing_null_device_is_named,
);

const LIST: &str = "cd /dev; stat -c '%n %t:%T' null zero full random urandom tty; readlink ptmx";
const ALL: [&str; 7] =
    ["null 1:3", "zero 1:5", "full 1:7", "random 1:8", "urandom 1:9", "tty 5:0", "pts/ptmx"];

/// Puts a mount before all others.
fn mount_first(container: &mut Container, mount: Value) {
    if let Some(mounts) = container.config["mounts"].as_array_mut() {
        mounts.insert(0, mount);
    }
}

fn bind(destination: &str, source: impl AsRef<Path>) -> Value {
    json!({ "destination": destination, "source": source.as_ref(), "options": ["bind"] })
}

/// A file of the bundle with a text.
fn text(container: &Container) -> anyhow::Result<std::path::PathBuf> {
    let path = container.directory.join("text");
    fs::write(&path, "mounted")?;
    Ok(path)
}

/// The order says what is seen, and not the name.
fn below_a_later_mount(container: &mut Container) -> Test {
    let source = text(container)?;
    for name in ["null", "ptmx", "zero"] {
        mount_first(container, bind(&format!("/dev/{name}"), &source));
    }
    same!(container.run_script(LIST)?.success()?.lines(), ALL);
    Ok(())
}

fn on_a_bind_mount_that_is_covered(container: &mut Container) -> Test {
    mount_first(container, bind("/dev", container.victim.clone()));
    same!(container.run_script(LIST)?.success()?.lines(), ALL);
    same!(fs::read_dir(&container.victim)?.count(), 0);
    Ok(())
}

fn on_a_bind_mount_that_covers(container: &mut Container) -> Test {
    let source = container.victim.clone();
    let mode = Mode::from_raw_mode(0o666);
    mknodat(CWD, source.join("null"), FileType::CharacterDevice, mode, makedev(1, 3))?;
    container.mount(bind("/dev/", &source));
    same!(container.run_script("ls /dev")?.success()?.stdout, "null\n");
    same!(fs::read_dir(&source)?.count(), 1);
    Ok(())
}

fn replaced_by_a_file(container: &mut Container) -> Test {
    let source = text(container)?;
    for name in ["zero", "ptmx"] {
        container.mount(bind(&format!("/dev/{name}"), &source));
    }
    same!(container.run_script("cat /dev/zero /dev/ptmx")?.success()?.stdout, "mountedmounted");
    Ok(())
}

fn replaced_by_way_of_a_link(container: &mut Container) -> Test {
    let source = text(container)?;
    symlink("/dev", container.rootfs().join("link"))?;
    container.mount(bind("/link/zero", &source));
    container.mount(bind("/dev/./../dev/full", &source));
    same!(container.run_script("cat /dev/zero /dev/full")?.success()?.stdout, "mountedmounted");
    Ok(())
}

fn remounted(container: &mut Container) -> Test {
    container.mount(json!({ "destination": "/dev", "options": ["remount", "noexec", "nosuid"] }));
    same!(container.run_script(LIST)?.success()?.lines(), ALL);
    Ok(())
}

fn links_without_a_devpts(container: &mut Container) -> Test {
    if let Some(mounts) = container.config["mounts"].as_array_mut() {
        mounts.retain(|mount| mount["destination"] != "/dev/pts");
    }
    same!(container.run_script(LIST)?.success()?.lines(), ALL);
    Ok(())
}

/// Only what leads somewhere is there; /dev/ptmx is in any case.
fn links_without_a_procfs(container: &mut Container) -> Test {
    config::remove_mounts(&mut container.config, |path| path == "/proc");
    for paths in ["/linux/maskedPaths", "/linux/readonlyPaths"] {
        container.set(paths, json!([]));
    }
    let script =
        "cd /dev; for name in fd stdin stdout stderr core ptmx; do readlink $name; done; true";
    same!(container.run_script(script)?.success()?.lines(), ["pts/ptmx"]);
    Ok(())
}

/// The suite's /dev, by a link of the image: what is there stays, the same inode.
fn the_hosts_own_by_way_of_a_link(container: &mut Container) -> Test {
    config::without_dev(&mut container.config);
    symlink("/dev", container.rootfs().join("link"))?;
    container.mount(bind("/link", "/dev"));
    let inode = || fs::symlink_metadata("/dev/ptmx").map(|metadata| metadata.ino());
    let before = inode()?;
    let output = container.run_script("true")?;
    same!(inode()?, before);
    ensure!(output.code == 0, "{output:?}");
    Ok(())
}

/// Whoever owns the node.
fn special_bits_of_a_mode(container: &mut Container) -> Test {
    container.set(
        "/linux/devices",
        json!([
            { "path": "/dev/a", "type": "c", "major": 1, "minor": 3, "fileMode": 0o4755 },
            { "path": "/dev/b", "type": "c", "major": 1, "minor": 3, "fileMode": 0o4755, "uid": 7 },
            { "path": "/dev/c", "type": "p", "fileMode": 0o7711, "uid": 7, "gid": 8 },
            { "path": "/dev/d", "type": "c", "major": 1, "minor": 3, "fileMode": 0o2640, "gid": 8 },
        ]),
    );
    let output = container.run_script("cd /dev; stat -c '%n %a %u:%g' a b c d")?.success()?;
    same!(output.lines(), ["a 4755 0:0", "b 4755 7:0", "c 7711 7:8", "d 2640 0:8"]);
    Ok(())
}

/// Of the standard streams, which are no terminal.
fn a_missing_null_device_is_named(container: &mut Container) -> Test {
    container.mount(bind("/dev", container.victim.clone()));
    let output = container.create()?;
    container.refused(&output, &["standard streams", "/dev/null"])?;
    ensure!(!output.message().contains("terminal"), "{output:?}");
    Ok(())
}
