//! What the kernel locks of the host's mounts for another user namespace (mount_namespaces(7), "Restrictions
//! on mount namespaces"): what they forbid stays forbidden, and what they cover stays covered.

use std::fs;
use std::path::Path;

use rustix::mount::{
    MountFlags, UnmountFlags, mount, mount_bind_recursive, mount_remount, unmount,
};
use serde_json::json;

use super::namespaces::Other;
use super::{Test, cases, same};
use crate::config;
use crate::container::Container;
use crate::skip::need_kernel;

cases!("mount_locks":
    volume, volume_by_another_propagation, volume_in_a_joined_user_namespace,
    volume_in_a_joined_mount_namespace, volume_that_is_mapped, root_filesystem,
    one_of_two_mounts_on_each_other, options_leave_locks, options_cannot_lift_locks,
);

const LOCKED: MountFlags =
    MountFlags::RDONLY.union(MountFlags::NOSUID).union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// Tries to lift each lock of /mnt by itself: the names of those that went.
const LIFT: &str = r"
    mount -o remount,bind,ro,nosuid,nodev,noexec /mnt || echo it cannot try
    for flag in rw suid dev exec; do
        others=$(echo ro,nosuid,nodev,noexec | sed s/no$flag/$flag/)
        [ $flag != rw ] || others=rw,nosuid,nodev,noexec
        mount -o remount,bind,$others /mnt 2>/dev/null && echo $flag
    done
    umount /mnt/sub 2>/dev/null && echo uncovered
    umount -l /mnt/sub 2>/dev/null && echo uncovered
    cat /mnt/sub/file";

/// What is mounted on the host, until it is dropped.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    /// A tmpfs that forbids all that can be forbidden, with another one over its `sub`.
    fn volume(place: &'a Path) -> anyhow::Result<Self> {
        mount("tmpfs", place, "tmpfs", MountFlags::empty(), c"mode=755")?;
        let volume = Self(place);
        let sub = place.join("sub");
        fs::create_dir(&sub)?;
        fs::write(sub.join("file"), "covered")?;
        mount("tmpfs", &sub, "tmpfs", MountFlags::empty(), c"mode=755")?;
        fs::write(sub.join("file"), "cover")?;
        mount_remount(place, MountFlags::BIND | LOCKED, c"")?;
        Ok(volume)
    }

    /// The directory itself, with `flags`.
    fn bound(place: &'a Path, flags: MountFlags) -> anyhow::Result<Self> {
        mount_bind_recursive(place, place)?;
        let bound = Self(place);
        mount_remount(place, MountFlags::BIND | flags, c"")?;
        Ok(bound)
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = unmount(self.0, UnmountFlags::DETACH);
    }
}

/// Binds such a volume on /mnt, and looks at what root of the container can lift.
fn stays_locked(container: &mut Container, options: &[&str]) -> Test {
    let place = container.victim.clone();
    let _volume = Mounted::volume(&place)?;
    container.mount(json!({ "destination": "/mnt", "source": place, "options": options }));
    config::allow_capabilities(&mut container.config, &["CAP_SYS_ADMIN"]);
    let output = container.run_script(LIFT)?.success()?;
    same!(output.lines(), ["cover"]);
    Ok(())
}

fn volume(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    stays_locked(container, &["rbind"])
}

fn volume_by_another_propagation(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    container.set("/linux/rootfsPropagation", json!("rshared"));
    stays_locked(container, &["rbind", "rshared"])
}

fn volume_in_a_joined_user_namespace(container: &mut Container) -> Test {
    let prepare = |other: &mut Container| config::add_user_namespace(&mut other.config);
    container.beside(prepare, |container, other| {
        let path = format!("/proc/{}/ns/user", other.pid()?);
        config::namespace(&mut container.config, "user", Some(&path));
        stays_locked(container, &["rbind"])
    })
}

/// The mount namespace is there already, and what comes into it is locked nevertheless.
fn volume_in_a_joined_mount_namespace(container: &mut Container) -> Test {
    let other = Other::new(&["--user", "--map-root-user", "--mount"])?;
    for (kind, file) in [("user", "user"), ("mount", "mnt")] {
        config::namespace(&mut container.config, kind, Some(&other.path(file)?));
    }
    // The other's user namespace maps one group only, and devpts asks for another.
    container.set("/mounts/2/options", json!(["nosuid", "noexec", "newinstance", "ptmxmode=0666"]));
    stays_locked(container, &["rbind"])
}

/// Mapped ids change nothing of the locks.
fn volume_that_is_mapped(container: &mut Container) -> Test {
    need_kernel([5, 12], "ids can be mapped (mount_setattr(2))")?;
    config::add_user_namespace(&mut container.config);
    config::allow_capabilities(&mut container.config, &["CAP_SYS_ADMIN"]);
    let place = container.victim.clone();
    let _mounted = Mounted::bound(&place, LOCKED)?;
    container
        .mount(json!({ "destination": "/mnt", "source": place, "options": ["bind", "idmap"] }));
    let output = container.run_script(&LIFT.replace("cat /mnt/sub/file", "true"))?.success()?;
    same!(output.lines(), [""; 0]);
    Ok(())
}

fn root_filesystem(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    config::allow_capabilities(&mut container.config, &["CAP_SYS_ADMIN"]);
    container.set("/root/readonly", json!(false));
    let root = container.rootfs();
    let _mounted = Mounted::bound(&root, MountFlags::NOSUID | MountFlags::NODEV)?;
    let script = "
        mount -o remount,bind,suid,nodev / 2>/dev/null && echo suid
        mount -o remount,bind,nosuid,dev / 2>/dev/null && echo dev
        mount -o remount,bind,nosuid,nodev / || echo it cannot try";
    let output = container.run_script(script)?.success()?;
    same!(output.lines(), [""; 0]);
    Ok(())
}

/// Without `rbind` the mount below would be left out, and show what it covers: refused, as mount(2) refuses it
/// inside.
fn one_of_two_mounts_on_each_other(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    let place = container.victim.clone();
    let _volume = Mounted::volume(&place)?;
    container.mount(json!({ "destination": "/mnt", "source": place, "options": ["bind"] }));
    container.create_refused(&["/mnt", "rbind"])
}

/// What the options do not name stays, so that nothing locked is in their way.
fn options_leave_locks(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    stays_locked(container, &["rbind", "nosuid", "nosymfollow", "rprivate"])
}

fn options_cannot_lift_locks(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    let place = container.victim.clone();
    let _mounted = Mounted::bound(&place, LOCKED)?;
    for option in ["rw", "suid", "dev", "exec", "rrw"] {
        container
            .mount(json!({ "destination": "/mnt", "source": place, "options": ["bind", option] }));
        container.create_refused(&["/mnt", "user namespace"])?;
        container.config["mounts"].as_array_mut().and_then(Vec::pop);
    }
    Ok(())
}
