//! `mounts[].options`: every option of the specification, and what it shows.

use anyhow::ensure;
use rustix::mount::MountFlags;
use serde_json::json;

use super::mounts::{Mount, bind_sys, mountinfo, tmpfs, with_host_mounts};
use super::{Test, cases};
use crate::container::Container;

cases!("mount_options":
    every_option_on_a_tmpfs, every_recursive_option_on_a_tmpfs, recursive_attributes,
    recursive_attributes_cleared,
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

/// Mounts a tmpfs with each of these options; names those that fail or show nothing.
fn each_on_a_tmpfs(container: &mut Container, options: &[(&str, &str)]) -> Test {
    let mut wrong = Vec::new();
    for (option, shown) in options {
        container.mount(tmpfs(&[option]));
        container.script("grep ' /tmp ' /proc/self/mountinfo");
        let output = container.run()?;
        if output.code != 0 || !output.stdout.contains(shown) {
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
