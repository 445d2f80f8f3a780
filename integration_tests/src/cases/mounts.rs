//! `mounts`: bind mounts, options, propagation, and where mounts go.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, mount_remount, unmount,
};
use serde_json::{Value, json};

use super::{Test, cases, same};
use crate::command::called_by;
use crate::container::Container;
use crate::leftovers::without_others;

cases!("mounts":
    bind_read_only, bind_attributes, bind_clears_attributes, bind_keeps_what_the_host_set,
    bind_of_a_file, bind_of_a_link, bind_of_a_socket, bind_from_the_bundle, bind_by_option_alone,
    recursive_bind, bind_alone_is_not_recursive, read_only_is_not_recursive, recursive_read_only,
    symlinks_are_not_followed, tmpfs_size, tmpfs_mode, tmpfs_owner,
    tmpfs_read_only, tmpfs_copies_up, strictatime_is_no_data, mount_points_are_made, mount_point_is_a_file,
    destination_is_a_link, relative_destination, dots_in_the_destination, order_of_mounts, files_below_a_later_mount,
    hides_what_was_there, propagation_of_a_mount, propagation_of_the_root, nothing_comes_from_the_host,
    nothing_goes_to_the_host, slave_gets_the_hosts_mounts, empty_option, no_options, no_pivot, many_mounts, inside_proc_is_refused, bind_inside_proc_is_refused,
);

/// The attributes, the optional fields and what follows the dash, of the topmost mount on a path.
pub(super) struct Mount<'a> {
    attributes: Vec<&'a str>,
    pub(super) propagation: Vec<&'a str>,
    kind: &'a str,
    data: &'a str,
}

impl<'a> Mount<'a> {
    pub(super) fn find(mountinfo: &'a str, path: &str) -> anyhow::Result<Self> {
        let lines: Vec<Vec<&str>> =
            mountinfo.lines().map(|line| line.split(' ').collect()).collect();
        let line = lines.iter().rfind(|line| line.get(4) == Some(&path));
        let line = line.with_context(|| format!("{path} is not mounted: {mountinfo}"))?;
        let dash = line.iter().position(|word| *word == "-").context("no dash")?;
        Ok(Self {
            attributes: line[5].split(',').collect(),
            propagation: line[6..dash].to_vec(),
            kind: line[dash + 1],
            data: line[dash + 3],
        })
    }

    pub(super) fn has(&self, attribute: &str) -> bool {
        self.attributes.contains(&attribute)
    }
}

/// A directory with the file `file` and the directory `inner`, bound on /mnt.
fn bind(container: &mut Container, options: &[&str]) -> Test {
    let source = container.directory.join("source");
    fs::create_dir_all(source.join("inner"))?;
    fs::write(source.join("file"), "content\n")?;
    container.mount(json!({ "destination": "/mnt", "source": source, "options": options }));
    Ok(())
}

/// The container's mountinfo.
pub(super) fn mountinfo(container: &mut Container) -> anyhow::Result<String> {
    Ok(container.run_script("cat /proc/self/mountinfo")?.success()?.stdout)
}

fn bind_read_only(container: &mut Container) -> Test {
    bind(container, &["bind", "ro"])?;
    let output = container.run_script("cat /mnt/file; touch /mnt/new")?;
    same!(output.stdout, "content\n");
    ensure!(output.code != 0 && output.stderr.contains("Read-only"), "{output:?}");
    fs::write(container.file("source/file"), "still writable")?;
    Ok(())
}

fn bind_attributes(container: &mut Container) -> Test {
    bind(container, &["bind", "nosuid", "nodev", "noexec", "noatime"])?;
    let text = mountinfo(container)?;
    let mount = Mount::find(&text, "/mnt")?;
    for attribute in ["rw", "nosuid", "nodev", "noexec", "noatime"] {
        ensure!(mount.has(attribute), "{:?} has no {attribute}", mount.attributes);
    }
    let output = container.run_script("cp /bin/busybox /mnt/program && /mnt/program true")?;
    ensure!(output.stderr.contains("Permission denied"), "{output:?}");
    Ok(())
}

/// Of an option and its opposite the last one counts.
fn bind_clears_attributes(container: &mut Container) -> Test {
    let options = ["bind", "nosuid", "nodev", "noexec", "ro", "suid", "dev", "exec", "rw"];
    bind(container, &options)?;
    let text = mountinfo(container)?;
    let mount = Mount::find(&text, "/mnt")?;
    ensure!(mount.has("rw"), "{:?}", mount.attributes);
    for attribute in ["nosuid", "nodev", "noexec"] {
        ensure!(!mount.has(attribute), "{:?} has {attribute}", mount.attributes);
    }
    Ok(())
}

/// A bind mount takes over the attributes of what it shows, of which it names none.
fn bind_keeps_what_the_host_set(container: &mut Container) -> Test {
    let set = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    with_host_mounts(container, set, |container, _| {
        bind(container, &["bind", "ro"])?;
        let text = mountinfo(container)?;
        let mount = Mount::find(&text, "/mnt")?;
        for attribute in ["ro", "nosuid", "nodev", "noexec"] {
            ensure!(mount.has(attribute), "{:?} has no {attribute}", mount.attributes);
        }
        Ok(())
    })
}

fn bind_of_a_file(container: &mut Container) -> Test {
    fs::write(container.file("hosts"), "here\n")?;
    let source = container.file("hosts");
    for destination in ["/etc/hosts", "/new/directory/hosts", "/etc/passwd"] {
        container
            .mount(json!({ "destination": destination, "source": source, "options": ["bind"] }));
    }
    let output = container.run_script("cat /etc/hosts /new/directory/hosts /etc/passwd")?;
    same!(output.success()?.stdout, "here\nhere\nhere\n");
    Ok(())
}

/// The source of a bind mount is the caller's path, and may be a link.
fn bind_of_a_link(container: &mut Container) -> Test {
    fs::write(container.file("hosts"), "here\n")?;
    symlink("hosts", container.file("link"))?;
    let source = container.file("link");
    container.mount(json!({ "destination": "/etc/hosts", "source": source, "options": ["bind"] }));
    same!(container.run_script("cat /etc/hosts")?.success()?.stdout, "here\n");
    Ok(())
}

fn bind_of_a_socket(container: &mut Container) -> Test {
    let path = container.victim.join("s");
    let _listener = std::os::unix::net::UnixListener::bind(&path)?;
    container.mount(json!({ "destination": "/etc/socket", "source": path, "options": ["bind"] }));
    same!(container.run_script("stat -c %F /etc/socket")?.success()?.stdout, "socket\n");
    Ok(())
}

fn bind_from_the_bundle(container: &mut Container) -> Test {
    fs::create_dir_all(container.file("data"))?;
    fs::write(container.file("data/x"), "found\n")?;
    container.mount(json!({ "destination": "/tmp", "source": "data", "options": ["bind"] }));
    same!(container.run_script("cat /tmp/x")?.success()?.stdout, "found\n");
    Ok(())
}

/// With the option, the type is a dummy.
fn bind_by_option_alone(container: &mut Container) -> Test {
    for kind in ["none", "bind", "tmpfs", ""] {
        bind(container, &["rbind"])?;
        let last = container.config["mounts"].as_array().map_or(0, Vec::len) - 1;
        container.set(&format!("/mounts/{last}/type"), json!(kind));
    }
    same!(container.run_script("cat /mnt/file")?.success()?.stdout, "content\n");
    Ok(())
}

pub(super) fn bind_sys(container: &mut Container, options: &[&str]) {
    container.mount(json!({ "destination": "/mnt", "source": "/sys", "options": options }));
}

fn recursive_bind(container: &mut Container) -> Test {
    bind_sys(container, &["rbind"]);
    let text = mountinfo(container)?;
    Mount::find(&text, "/mnt/fs/cgroup").map(drop)
}

fn bind_alone_is_not_recursive(container: &mut Container) -> Test {
    bind_sys(container, &["bind"]);
    let text = mountinfo(container)?;
    ensure!(Mount::find(&text, "/mnt/fs/cgroup").is_err(), "{text}");
    Ok(())
}

fn read_only_is_not_recursive(container: &mut Container) -> Test {
    bind_sys(container, &["rbind", "ro"]);
    let text = mountinfo(container)?;
    ensure!(Mount::find(&text, "/mnt")?.has("ro"), "{text}");
    ensure!(Mount::find(&text, "/mnt/fs/cgroup")?.has("rw"), "{text}");
    Ok(())
}

fn recursive_read_only(container: &mut Container) -> Test {
    bind_sys(container, &["rbind", "rro"]);
    let text = mountinfo(container)?;
    ensure!(Mount::find(&text, "/mnt")?.has("ro"), "{text}");
    ensure!(Mount::find(&text, "/mnt/fs/cgroup")?.has("ro"), "{text}");
    Ok(())
}

/// Runs a test while the bundle's directory `source` is a tmpfs of the host with another on its
/// directory `inner`, both with these flags.
pub(super) fn with_host_mounts<T>(
    container: &mut Container,
    flags: MountFlags,
    test: impl FnOnce(&mut Container, &Path) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let top = container.directory.join("source");
    fs::create_dir_all(&top)?;
    mount("top", &top, "tmpfs", MountFlags::empty(), None)?;
    let outcome = (|| {
        fs::create_dir(top.join("inner"))?;
        fs::write(top.join("file"), "content\n")?;
        mount("inner", top.join("inner"), "tmpfs", flags, None)?;
        mount_remount(&top, flags, "")?;
        let outcome = test(container, &top);
        container.runtime(&["delete", "--force", &container.id])?;
        unmount(top.join("inner"), UnmountFlags::DETACH)?;
        outcome
    })();
    unmount(&top, UnmountFlags::DETACH)?;
    outcome
}

fn symlinks_are_not_followed(container: &mut Container) -> Test {
    bind(container, &["bind", "nosymfollow"])?;
    symlink("file", container.file("source/link"))?;
    let output = container.run_script("cat /mnt/file && cat /mnt/link")?;
    same!(output.stdout, "content\n");
    ensure!(output.code != 0, "{output:?}");
    Ok(())
}

pub(super) fn tmpfs(options: &[&str]) -> Value {
    json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": options })
}

fn tmpfs_size(container: &mut Container) -> Test {
    container.mount(tmpfs(&["nosuid", "nodev", "size=8k"]));
    let output = container.run_script("head -c 20000 /dev/zero > /tmp/x; wc -c < /tmp/x")?;
    same!(output.words(), ["8192"]);
    Ok(())
}

fn tmpfs_mode(container: &mut Container) -> Test {
    container.mount(tmpfs(&["mode=0713"]));
    same!(container.run_script("stat -c %a /tmp")?.success()?.words(), ["713"]);
    Ok(())
}

fn tmpfs_owner(container: &mut Container) -> Test {
    container.mount(tmpfs(&["uid=7", "gid=8"]));
    same!(container.run_script("stat -c %u:%g /tmp")?.success()?.words(), ["7:8"]);
    Ok(())
}

/// What is below a read-only tmpfs can still be made and mounted.
fn tmpfs_read_only(container: &mut Container) -> Test {
    container.mount(tmpfs(&["ro"]));
    container.mount(json!({ "destination": "/tmp/inner", "type": "tmpfs", "source": "tmpfs" }));
    let output = container.run_script("touch /tmp/inner/x && echo made; touch /tmp/x")?;
    same!(output.stdout, "made\n");
    ensure!(output.code != 0 && output.stderr.contains("/tmp/x: Read-only"), "{output:?}");
    Ok(())
}

fn tmpfs_copies_up(container: &mut Container) -> Test {
    fs::create_dir_all(container.rootfs().join("data/sub"))?;
    fs::write(container.rootfs().join("data/sub/file"), "kept\n")?;
    symlink("sub/file", container.rootfs().join("data/link"))?;
    let mut mount = tmpfs(&["tmpcopyup"]);
    mount["destination"] = json!("/data");
    container.mount(mount);
    let script = "cat /data/link; echo new > /data/sub/file; cat /data/sub/file";
    same!(container.run_script(script)?.success()?.lines(), ["kept", "new"]);
    same!(fs::read_to_string(container.rootfs().join("data/sub/file"))?, "kept\n");
    Ok(())
}

fn strictatime_is_no_data(container: &mut Container) -> Test {
    container.mount(tmpfs(&["nosuid", "strictatime"]));
    let text = mountinfo(container)?;
    let mount = Mount::find(&text, "/tmp")?;
    ensure!(!mount.has("relatime") && !mount.has("noatime"), "{:?}", mount.attributes);
    same!((mount.kind, mount.data.contains("strictatime")), ("tmpfs", false));
    Ok(())
}

fn mount_points_are_made(container: &mut Container) -> Test {
    container.mount(json!({ "destination": "/a/b/c", "type": "tmpfs", "source": "tmpfs" }));
    let output = container.run_script("touch /a/b/c/x && stat -c '%a %u' /a /a/b")?;
    same!(output.success()?.lines(), ["755 0", "755 0"]);
    Ok(())
}

fn mount_point_is_a_file(container: &mut Container) -> Test {
    fs::create_dir_all(container.file("data"))?;
    let source = container.file("data");
    container.mount(json!({ "destination": "/etc/passwd", "source": source, "options": ["bind"] }));
    container.create_refused(&["/etc/passwd", "not a directory"])
}

/// Links in the image are followed within the image.
fn destination_is_a_link(container: &mut Container) -> Test {
    fs::create_dir_all(container.rootfs().join("real/place"))?;
    symlink("/real", container.rootfs().join("absolute"))?;
    symlink("../../../real", container.rootfs().join("upwards"))?;
    for (at, destination) in ["/absolute/place", "/upwards/new"].into_iter().enumerate() {
        fs::create_dir_all(container.file(&format!("data{at}")))?;
        fs::write(container.file(&format!("data{at}/x")), format!("{at}\n"))?;
        let source = format!("data{at}");
        container
            .mount(json!({ "destination": destination, "source": source, "options": ["bind"] }));
    }
    same!(container.run_script("cat /real/place/x /real/new/x")?.success()?.stdout, "0\n1\n");
    Ok(())
}

fn relative_destination(container: &mut Container) -> Test {
    let mut mount = tmpfs(&[]);
    mount["destination"] = json!("tmp");
    container.mount(mount);
    container.run_script("touch /tmp/x")?.success()?;
    Ok(())
}

fn dots_in_the_destination(container: &mut Container) -> Test {
    let mut mount = tmpfs(&[]);
    mount["destination"] = json!("/bin/../../../tmp/./");
    container.mount(mount);
    container.run_script("touch /tmp/x")?.success()?;
    Ok(())
}

fn order_of_mounts(container: &mut Container) -> Test {
    bind(container, &["bind"])?;
    container.mount(json!({ "destination": "/mnt/inner", "type": "tmpfs", "source": "tmpfs" }));
    container.run_script("cat /mnt/file && touch /mnt/inner/x")?.success()?;
    same!(fs::read_dir(container.file("source/inner"))?.count(), 0);
    Ok(())
}

/// Mount points are made in what is to be seen, not below it.
fn files_below_a_later_mount(container: &mut Container) -> Test {
    fs::write(container.file("one"), "x")?;
    let source = container.file("one");
    let file = |path: &str| json!({ "destination": path, "source": source, "options": ["bind"] });
    container.mount(file("/mnt/a"));
    container.mount(json!({ "destination": "/mnt", "type": "tmpfs", "source": "tmpfs" }));
    container.mount(file("/mnt/b"));
    same!(container.run_script("ls /mnt; cat /mnt/b")?.success()?.words(), ["b", "x"]);
    Ok(())
}

fn hides_what_was_there(container: &mut Container) -> Test {
    container.mount(json!({ "destination": "/mnt/inner", "type": "tmpfs", "source": "tmpfs" }));
    bind(container, &["bind"])?;
    ensure!(container.run_script("touch /mnt/inner/x")?.success().is_ok(), "not the later mount");
    same!(fs::read_dir(container.file("source/inner"))?.count(), 1);
    Ok(())
}

fn propagation_of_a_mount(container: &mut Container) -> Test {
    for (option, shown) in [
        ("private", ""),
        ("rprivate", ""),
        ("shared", "shared:"),
        ("rshared", "shared:"),
        ("slave", ""),
        ("rslave", ""),
        ("unbindable", "unbindable"),
        ("runbindable", "unbindable"),
    ] {
        bind(container, &["rbind", option])?;
        let text = mountinfo(container)?;
        let fields = Mount::find(&text, "/mnt")?.propagation.join(" ");
        ensure!(
            fields.starts_with(shown) && fields.is_empty() == shown.is_empty(),
            "{option}: {text}"
        );
        ensure!(Mount::find(&text, "/")?.propagation.is_empty(), "{option} on the root: {text}");
        container.config["mounts"].as_array_mut().and_then(Vec::pop);
    }
    Ok(())
}

fn propagation_of_the_root(container: &mut Container) -> Test {
    for (value, shown) in
        [("private", ""), ("slave", ""), ("shared", "shared:"), ("unbindable", "unbindable")]
    {
        container.set("/linux/rootfsPropagation", json!(value));
        let text = mountinfo(container).with_context(|| value.to_owned())?;
        let fields = Mount::find(&text, "/")?.propagation.join(" ");
        ensure!(fields.contains(shown), "{value}: {text}");
    }
    Ok(())
}

/// Whether a running container sees a mount that the host makes below what it has bound.
fn sees_later_mount(
    container: &mut Container,
    options: &[&str],
    propagation: &str,
) -> anyhow::Result<bool> {
    with_host_mounts(container, MountFlags::empty(), |container, top| {
        mount_change(top, MountPropagationFlags::SHARED)?;
        bind(container, options)?;
        container.set("/linux/rootfsPropagation", json!(propagation));
        container.start_idle()?;
        fs::create_dir(top.join("later"))?;
        mount("later", top.join("later"), "tmpfs", MountFlags::empty(), None)?;
        let seen = container.exec(&["grep", "-c", " - tmpfs later ", "/proc/self/mountinfo"]);
        unmount(top.join("later"), UnmountFlags::DETACH)?;
        Ok(seen?.words() == ["1"])
    })
}

fn nothing_comes_from_the_host(container: &mut Container) -> Test {
    same!(sees_later_mount(container, &["rbind", "rprivate"], "rprivate")?, false);
    Ok(())
}

/// The mounts of most machines are shared, as systemd makes them.
fn nothing_goes_to_the_host(container: &mut Container) -> Test {
    container.save()?;
    let run = container.command(&["run", "--bundle", &container.bundle(), &container.id]);
    let mut caller = Command::new("unshare");
    caller.args(["--mount", "--propagation", "shared", "sh", "-ec"]);
    caller.arg("cat /proc/self/mountinfo; echo; \"$@\"; cat /proc/self/mountinfo").arg("sh");
    let output = container.finish_command(called_by(caller, &run), Stdio::null())?.success()?;
    let (before, after) = output.stdout.split_once("\n\n").context("one table of mounts")?;
    ensure!(before.contains("shared:"), "{before}");
    let own = |text| without_others(text, &container.id);
    same!(own(after), own(before));
    Ok(())
}

fn slave_gets_the_hosts_mounts(container: &mut Container) -> Test {
    same!(sees_later_mount(container, &["rbind", "rslave"], "rslave")?, true);
    Ok(())
}

/// Podman sends one.
fn empty_option(container: &mut Container) -> Test {
    container.mount(tmpfs(&["", "nodev"]));
    container.run_script("touch /tmp/x")?.success()?;
    Ok(())
}

fn no_options(container: &mut Container) -> Test {
    container.mount(json!({ "destination": "/tmp", "type": "tmpfs" }));
    container.run_script("touch /tmp/x")?.success()?;
    Ok(())
}

fn no_pivot(container: &mut Container) -> Test {
    container.script(
        "cat /etc/passwd | head -1; ls -d /../../etc/passwd; grep -c . /proc/self/mountinfo",
    );
    let output = container.run_with(&["--no-pivot"])?.success()?;
    same!(output.lines()[..2], ["root:x:0:0::/root:/bin/sh", "/../../etc/passwd"]);
    ensure!(!output.stdout.contains(&container.bundle()), "{output:?}");
    Ok(())
}

fn many_mounts(container: &mut Container) -> Test {
    for at in 0..200 {
        container
            .mount(json!({ "destination": format!("/mnt/{at}"), "source": "/etc/passwd", "options": ["bind", "ro"] }));
    }
    same!(container.run_script("ls /mnt | wc -l")?.success()?.words(), ["200"]);
    Ok(())
}

fn inside_proc_is_refused(container: &mut Container) -> Test {
    let mount = json!({ "destination": "/proc/sys", "type": "tmpfs", "source": "tmpfs" });
    container.mount(mount);
    container.create_refused(&["inside /proc"])
}

fn bind_inside_proc_is_refused(container: &mut Container) -> Test {
    let source = container.victim.clone();
    container.mount(json!({ "destination": "/proc/sys", "source": source, "options": ["bind"] }));
    container.create_refused(&["inside /proc"])
}
