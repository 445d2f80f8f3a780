//! Names that are no text, and names that a terminal would obey: the kernel lets anybody choose them.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use anyhow::ensure;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::json;

use super::hooks::shell;
use super::{Test, cases, same};
use crate::command::{Output, wait_until};
use crate::container::Container;

cases!("bytes":
    mount_point, name_of_the_program, messages_name_what_is_hostile, messages_show_hostile_output,
    bundle_in_the_table,
);

/// Any user of the machine can make such a mount (FUSE), a container in a shared volume, too.
fn mount_point(container: &mut Container) -> Test {
    let place = container.directory.join(OsStr::from_bytes(b"\xff\xfe"));
    fs::create_dir(&place)?;
    mount("tmpfs", &place, "tmpfs", MountFlags::empty(), None)?;
    let output = container.run();
    unmount(&place, UnmountFlags::DETACH)?;
    output?.success()?;
    Ok(())
}

/// A process chooses what /proc/PID/stat has of it.
fn name_of_the_program(container: &mut Container) -> Test {
    container.start_script("printf '\\377) Z 0\\033[2J' > /proc/self/comm; sleep 100 & wait")?;
    let comm = format!("/proc/{}/comm", container.pid()?);
    wait_until("its name", || Ok(fs::read(&comm)?.starts_with(b"\xff")))?;
    same!(container.state()?["status"], "running");
    container.verb("ps")?.success()?;
    container.exec(&["true"])?.success()?;
    container.runtime(&["kill", &container.id, "KILL"])?.success()?;
    container.wait_for("stopped")?;
    container.verb("delete")?.success()?;
    container.nothing_left()
}

/// Nothing of it moves a cursor, and the log stays one line.
fn tame(output: &Output, words: &[&str]) -> Test {
    output.fails(1, words)?;
    let message = output.message();
    ensure!(!message.contains(char::is_control), "control characters: {message:?}");
    let stderr = &output.stderr;
    ensure!(!stderr.trim_end().contains(char::is_control), "control characters: {stderr:?}");
    Ok(())
}

fn messages_name_what_is_hostile(container: &mut Container) -> Test {
    container.set("/process/args", json!(["/no\u{1b}[2J\rsuch\n\u{9b}file"]));
    tame(&container.create_with(&[])?, &["no such file or directory"])?;
    container.set("/process/cwd", json!("/proc/\u{1b}[2J\rx\n"));
    tame(&container.create_with(&[])?, &["process.cwd"])?;
    container.set("/linux/rootfsPropagation", json!("\u{1b}[2J\n"));
    tame(&container.create_with(&[])?, &["/linux/rootfsPropagation"])
}

/// The hook's program is a file of the image.
fn messages_show_hostile_output(container: &mut Container) -> Test {
    let hook = shell("printf 'a\\033[2J\\r\\nb\\377c'; exit 3");
    container.set("/hooks/startContainer", json!([hook]));
    tame(&container.run()?, &["hook", "3"])
}

fn bundle_in_the_table(container: &mut Container) -> Test {
    let bundle = container.directory.join("a\u{1b}[2J\rb");
    fs::create_dir(&bundle)?;
    container.set("/root/path", json!(container.rootfs()));
    fs::write(bundle.join("config.json"), container.config.to_string())?;
    let bundle = bundle.display().to_string();
    container.runtime(&["create", "--bundle", &bundle, &container.id])?.success()?;
    let table = container.runtime(&["list"])?.success()?.stdout;
    ensure!(!table.contains(|one: char| one.is_control() && one != '\n'), "{table:?}");
    same!(table.lines().count(), 2);
    Ok(())
}
