//! `mounts[].options`: every option of the specification, and what it shows.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::ensure;
use rustix::mount::MountFlags;
use serde_json::json;

use super::mounts::{Mount, bind_sys, mountinfo, tmpfs, with_host_mounts};
use super::{Test, cases, same};
use crate::container::Container;

cases!("mount_options":
    every_option_on_a_tmpfs, every_recursive_option_on_a_tmpfs, recursive_attributes,
    recursive_attributes_cleared, mandatory_locks_are_known, remount, remount_of_a_filesystem,
    remount_keeps_the_rest, remount_of_what_is_no_mount, remount_with_a_wrong_option, remount_by_a_link, source_link_is_followed,
    source_link_itself, destination_link_itself, link_is_copied, link_that_is_covered, link_that_is_there_already,
    another_link_is_there, what_is_no_link_is_bound, links_of_new_filesystems,
    a_copied_directory_is_as_asked_for,
);

/// Each option that the specification says must or should be known, and what it shows.
const OPTIONS: [(&str, &str); 36] = [
    ("async", ""),
    ("atime", ""),
    ("defaults", ""),
    ("dev", ""),
    ("diratime", ""),
    ("dirsync", "dirsync"),
    ("exec", ""),
    ("iversion", ""),
    ("lazytime", "lazytime"),
    ("loud", ""),
    ("noatime", "noatime"),
    ("nodev", "nodev"),
    ("nodiratime", "nodiratime"),
    ("noexec", "noexec"),
    ("noiversion", ""),
    ("nolazytime", ""),
    ("norelatime", ""),
    ("nostrictatime", ""),
    ("nosuid", "nosuid"),
    ("nosymfollow", "nosymfollow"),
    ("private", ""),
    ("relatime", "relatime"),
    ("ro", " ro,"),
    ("rprivate", ""),
    ("rshared", "shared:"),
    ("rslave", ""),
    ("runbindable", "unbindable"),
    ("rw", " rw,"),
    ("shared", "shared:"),
    ("silent", ""),
    ("slave", ""),
    ("strictatime", ""),
    ("suid", ""),
    ("symfollow", ""),
    ("sync", "sync"),
    ("unbindable", "unbindable"),
];

/// The options for whole trees of mounts, which a mount of one filesystem is as well.
const RECURSIVE_OPTIONS: [(&str, &str); 18] = [
    ("ratime", ""),
    ("rdev", ""),
    ("rdiratime", ""),
    ("rexec", ""),
    ("rnoatime", "noatime"),
    ("rnodev", "nodev"),
    ("rnodiratime", "nodiratime"),
    ("rnoexec", "noexec"),
    ("rnorelatime", ""),
    ("rnostrictatime", ""),
    ("rnosuid", "nosuid"),
    ("rnosymfollow", "nosymfollow"),
    ("rrelatime", "relatime"),
    ("rro", " ro,"),
    ("rrw", " rw,"),
    ("rstrictatime", ""),
    ("rsuid", ""),
    ("rsymfollow", ""),
];

/// The attributes of a mount, each of which an option sets; another option leaves them as they were.
const ATTRIBUTES: [&str; 8] =
    ["ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "relatime", "nosymfollow"];

/// Whether the mount has of these what `option` sets, and relatime unless it says another.
fn has_nothing_else(mount: &Mount<'_>, option: &str) -> bool {
    let plain =
        if option == "relatime" { option } else { option.strip_prefix('r').unwrap_or(option) };
    let keeps_times = !matches!(plain, "noatime" | "strictatime");
    ATTRIBUTES.iter().all(|attribute| {
        mount.has(attribute)
            == (plain == *attribute
                || option == *attribute
                || (*attribute == "relatime" && keeps_times))
    })
}

/// Mounts a tmpfs with each of these options; names those that fail, show nothing, or show what others do.
fn each_on_a_tmpfs(container: &mut Container, options: &[(&str, &str)]) -> Test {
    let mut wrong = Vec::new();
    for (option, shown) in options {
        container.mount(tmpfs(&[option]));
        container.script("grep ' /tmp ' /proc/self/mountinfo");
        let output = container.run()?;
        let is_right = output.code == 0
            && output.stdout.contains(shown)
            && has_nothing_else(&Mount::find(&output.stdout, "/tmp")?, option);
        if !is_right {
            wrong.push(*option);
        }
        container.config["mounts"].as_array_mut().and_then(Vec::pop);
    }
    ensure!(wrong.is_empty(), "not honoured: {}", wrong.join(" "));
    Ok(())
}

fn every_option_on_a_tmpfs(container: &mut Container) -> Test {
    each_on_a_tmpfs(container, &OPTIONS)
}

fn every_recursive_option_on_a_tmpfs(container: &mut Container) -> Test {
    each_on_a_tmpfs(container, &RECURSIVE_OPTIONS)
}

fn recursive_attributes(container: &mut Container) -> Test {
    for (option, attribute) in [
        ("rro", "ro"),
        ("rnosuid", "nosuid"),
        ("rnodev", "nodev"),
        ("rnoexec", "noexec"),
        ("rnodiratime", "nodiratime"),
        ("rnoatime", "noatime"),
        ("rrelatime", "relatime"),
        ("rnosymfollow", "nosymfollow"),
    ] {
        bind_sys(container, &["rbind", option]);
        let text = mountinfo(container)?;
        for path in ["/mnt", "/mnt/fs/cgroup"] {
            ensure!(Mount::find(&text, path)?.has(attribute), "{option} on {path}: {text}");
        }
        container.config["mounts"].as_array_mut().and_then(Vec::pop);
    }
    Ok(())
}

fn recursive_attributes_cleared(container: &mut Container) -> Test {
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    with_host_mounts(container, flags, |container, top| {
        let options = ["rbind", "rrw", "rsuid", "rdev", "rexec"];
        container.mount(json!({ "destination": "/mnt", "source": top, "options": options }));
        let text = mountinfo(container)?;
        for path in ["/mnt", "/mnt/inner"] {
            let mount = Mount::find(&text, path)?;
            for attribute in ["ro", "nosuid", "nodev", "noexec"] {
                ensure!(!mount.has(attribute), "{attribute} on {path}: {text}");
            }
        }
        Ok(())
    })
}

/// Linux 5.15 took them out, and takes the words.
fn mandatory_locks_are_known(container: &mut Container) -> Test {
    each_on_a_tmpfs(container, &[("mand", ""), ("nomand", "")])
}

fn remount(container: &mut Container) -> Test {
    container.mount(tmpfs(&["nosuid"]));
    for options in [&["remount", "ro"][..], &["remount", "bind", "ro", "noexec"]] {
        container.mount(tmpfs(options));
        let text = mountinfo(container)?;
        same!(text.lines().filter(|line| line.contains(" /tmp ")).count(), 1);
        ensure!(Mount::find(&text, "/tmp")?.has("ro"), "{text}");
    }
    ensure!(Mount::find(&mountinfo(container)?, "/tmp")?.has("noexec"), "noexec");
    Ok(())
}

fn remount_of_a_filesystem(container: &mut Container) -> Test {
    container.mount(tmpfs(&["size=8k"]));
    container.mount(tmpfs(&["remount", "size=16k"]));
    let output = container.run_script("head -c 30000 /dev/zero > /tmp/x; wc -c < /tmp/x")?;
    same!(output.words(), ["16384"]);
    Ok(())
}

/// As with mount(8), and so nothing that protects goes unsaid.
fn remount_keeps_the_rest(container: &mut Container) -> Test {
    container.mount(tmpfs(&["nosuid", "nodev"]));
    container.mount(tmpfs(&["remount", "noexec", "dev"]));
    let text = mountinfo(container)?;
    let mount = Mount::find(&text, "/tmp")?;
    ensure!(mount.has("nosuid") && mount.has("noexec") && !mount.has("nodev"), "{text}");
    Ok(())
}

fn remount_of_what_is_no_mount(container: &mut Container) -> Test {
    container.mount(json!({ "destination": "/etc", "options": ["remount", "ro"] }));
    container.create_refused(&["/etc"])
}

fn remount_with_a_wrong_option(container: &mut Container) -> Test {
    container.mount(tmpfs(&[]));
    container.mount(tmpfs(&["remount", "no-such-option=1"]));
    container.create_refused(&["no-such-option"])
}

/// The image must not choose the filesystem that changes.
fn remount_by_a_link(container: &mut Container) -> Test {
    symlink("/", container.rootfs().join("way"))?;
    container.mount(json!({ "destination": "/way", "options": ["remount", "ro"] }));
    container.create_refused(&["/way"])
}

/// A file of the host, and a link to it, which means something else in the container.
fn file_and_link(container: &Container) -> anyhow::Result<String> {
    let link = container.file("link");
    fs::write(container.victim.join("file"), "of the host\n")?;
    symlink(container.victim.join("file"), &link)?;
    Ok(link)
}

fn source_link_is_followed(container: &mut Container) -> Test {
    let source = file_and_link(container)?;
    container.mount(json!({ "destination": "/mnt/x", "source": source, "options": ["bind"] }));
    same!(container.run_script("cat /mnt/x")?.success()?.stdout, "of the host\n");
    Ok(())
}

fn source_link_itself(container: &mut Container) -> Test {
    let source = file_and_link(container)?;
    let options = ["bind", "src-nofollow"];
    container.mount(json!({ "destination": "/mnt/x", "source": source, "options": options }));
    let target = container.victim.join("file").display().to_string();
    same!(container.run_script("readlink /mnt/x")?.success()?.lines(), [target]);
    Ok(())
}

fn destination_link_itself(container: &mut Container) -> Test {
    fs::write(container.file("source"), "mounted\n")?;
    symlink("/etc/passwd", container.rootfs().join("mnt/link"))?;
    for (options, shown) in [(&["bind"][..], "mounted"), (&["bind", "dest-nofollow"], "root:x")] {
        let source = container.file("source");
        container
            .mount(json!({ "destination": "/mnt/link", "source": source, "options": options }));
        let passwd = container.run_script("cat /etc/passwd; cat /mnt/link")?.success()?;
        ensure!(passwd.stdout.starts_with(shown), "{}", passwd.stdout);
        ensure!(passwd.stdout.ends_with("mounted\n"), "{}", passwd.stdout);
        container.config["mounts"].as_array_mut().and_then(Vec::pop);
    }
    // What is missing is made.
    container.mount(json!({
        "destination": "/mnt/new", "source": container.file("source"),
        "options": ["bind", "dest-nofollow"],
    }));
    same!(container.run_script("cat /mnt/new")?.success()?.stdout, "mounted\n");
    Ok(())
}

fn copied(container: &mut Container, destination: &str) -> anyhow::Result<String> {
    let source = file_and_link(container)?;
    let options = ["bind", "copy-symlink"];
    container.mount(json!({ "destination": destination, "source": source, "options": options }));
    Ok(container.victim.join("file").display().to_string())
}

fn link_is_copied(container: &mut Container) -> Test {
    let target = copied(container, "/mnt/deep/x")?;
    same!(container.run_script("readlink /mnt/deep/x")?.success()?.lines(), [target]);
    ensure!(!mountinfo(container)?.contains("/mnt/deep"), "it is mounted");
    Ok(())
}

/// What is made in that directory later is made in what is mounted over it.
fn link_that_is_covered(container: &mut Container) -> Test {
    copied(container, "/dev/x")?;
    if let Some(mounts) = container.config["mounts"].as_array_mut() {
        mounts.rotate_right(1);
    }
    let output =
        container.run_script("test ! -L /dev/x && echo x > /dev/null && ls -d /dev/null")?;
    same!(output.success()?.lines(), ["/dev/null"]);
    Ok(())
}

fn link_that_is_there_already(container: &mut Container) -> Test {
    let target = copied(container, "/mnt/x")?;
    symlink(&target, container.rootfs().join("mnt/x"))?;
    same!(container.run_script("readlink /mnt/x")?.success()?.lines(), [target]);
    Ok(())
}

fn another_link_is_there(container: &mut Container) -> Test {
    copied(container, "/mnt/x")?;
    symlink("/elsewhere", container.rootfs().join("mnt/x"))?;
    container.create_refused(&["/mnt/x"])
}

fn what_is_no_link_is_bound(container: &mut Container) -> Test {
    fs::write(container.file("source"), "mounted\n")?;
    let options = ["bind", "copy-symlink", "src-nofollow", "dest-nofollow"];
    container.mount(json!({
        "destination": "/mnt/x", "source": container.file("source"), "options": options,
    }));
    same!(container.run_script("cat /mnt/x")?.success()?.stdout, "mounted\n");
    Ok(())
}

fn links_of_new_filesystems(container: &mut Container) -> Test {
    for option in ["copy-symlink", "src-nofollow", "dest-nofollow"] {
        container.mount(tmpfs(&[option]));
        container.create_refused(&["follow, copy-symlink"])?;
        container.config["mounts"].as_array_mut().and_then(Vec::pop);
    }
    Ok(())
}

/// Podman's `--tmpfs DIRECTORY:mode=1770` copies what is there, too.
fn a_copied_directory_is_as_asked_for(container: &mut Container) -> Test {
    fs::create_dir_all(container.rootfs().join("data/sub"))?;
    let options = ["tmpcopyup", "mode=1770", "uid=7"];
    container.mount(
        json!({ "destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": options }),
    );
    let output = container.run_script("stat -c '%a %u %g' /data; ls /data")?;
    same!(output.success()?.lines(), ["1770 7 0", "sub"]);
    Ok(())
}
