//! Mounts with mapped ids: `uidMappings`, `gidMappings`, and the options `idmap` and `ridmap`.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::process::Command;

use anyhow::ensure;
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use serde_json::{Value, json};

use super::{Test, cases, same};
use crate::config;
use crate::container::Container;
use crate::skip::need_kernel;

cases!("idmapped_mounts":
    as_the_user_namespace, as_a_joined_user_namespace, without_a_user_namespace, mappings_alone,
    mappings_of_its_own, what_is_made_is_mapped_back, not_recursive, recursive, of_a_tmpfs,
    with_the_value_of_crun, relative_to_the_user_namespace, filesystem_without_support,
    without_any_mapping, one_kind_of_mapping, several, nothing_is_left_of_the_namespace,
);

fn mapping(container: u32, host: u32, size: u32) -> Value {
    json!([{ "containerID": container, "hostID": host, "size": size }])
}

/// Binds a directory of the host, with a file of user 3 and group 4, on /mnt.
fn bind(container: &mut Container, options: &[&str], mappings: &[(&str, Value)]) -> Test {
    need_kernel([5, 12], "ids can be mapped (mount_setattr(2))")?;
    let file = container.victim.join("file");
    fs::write(&file, "")?;
    chown(&file, Some(3), Some(4))?;
    let source = &container.victim;
    let mut entry = json!({ "destination": "/mnt", "source": source, "options": options });
    for (name, mapping) in mappings {
        entry[*name] = mapping.clone();
    }
    container.mount(entry);
    Ok(())
}

/// The same mapping for users and for groups.
fn both(mapping: Value) -> [(&'static str, Value); 2] {
    [("uidMappings", mapping.clone()), ("gidMappings", mapping)]
}

/// The JSON pointer of a property of the mount that was added last.
fn pointer(container: &Container, property: &str) -> String {
    let last = container.config["mounts"].as_array().map_or(0, Vec::len) - 1;
    format!("/mounts/{last}/{property}")
}

/// User and group of the file as the container sees them.
fn owner(container: &mut Container) -> anyhow::Result<Vec<String>> {
    let output = container.run_script("stat -c '%u %g' /mnt/file")?.success()?;
    Ok(output.words().into_iter().map(str::to_owned).collect())
}

fn as_the_user_namespace(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    bind(container, &["rbind"], &[])?;
    same!(owner(container)?, ["65534", "65534"]);
    for options in [["bind", "idmap"], ["rbind", "ridmap"]] {
        config::remove_mounts(&mut container.config, |path| path == "/mnt");
        bind(container, &options, &[])?;
        same!(owner(container)?, ["3", "4"]);
    }
    Ok(())
}

fn as_a_joined_user_namespace(container: &mut Container) -> Test {
    let prepare = |other: &mut Container| config::add_user_namespace(&mut other.config);
    container.beside(prepare, |container, other| {
        let path = format!("/proc/{}/ns/user", other.pid()?);
        config::namespace(&mut container.config, "user", Some(&path));
        bind(container, &["bind", "idmap"], &[])?;
        same!(owner(container)?, ["3", "4"]);
        Ok(())
    })
}

fn without_a_user_namespace(container: &mut Container) -> Test {
    bind(container, &["bind", "idmap"], &both(mapping(0, 1000, 10)))?;
    same!(owner(container)?, ["1003", "1004"]);
    Ok(())
}

/// The option should be there, the mappings count (config.md, "POSIX-platform Mounts").
fn mappings_alone(container: &mut Container) -> Test {
    let (uids, gids) = (mapping(0, 1000, 10), mapping(0, 2000, 10));
    bind(container, &["bind"], &[("uidMappings", uids), ("gidMappings", gids)])?;
    same!(owner(container)?, ["1003", "2004"]);
    Ok(())
}

fn mappings_of_its_own(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    bind(container, &["bind", "ridmap"], &both(mapping(0, 100_010, 10)))?;
    same!(owner(container)?, ["13", "14"]);
    Ok(())
}

fn what_is_made_is_mapped_back(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    bind(container, &["bind", "idmap"], &[])?;
    config::allow_capabilities(&mut container.config, &["CAP_CHOWN"]);
    container.run_script("touch /mnt/made && chown 5:6 /mnt/made")?.success()?;
    let made = fs::metadata(container.victim.join("made"))?;
    same!((made.uid(), made.gid()), (5, 6));
    Ok(())
}

/// With another mount below the source, and a file of user 3 in each: their owners in the container.
fn below(container: &mut Container, option: &str) -> anyhow::Result<Vec<String>> {
    bind(container, &["rbind", option], &both(mapping(0, 1000, 10)))?;
    let (other, below) = (container.directory.join("other"), container.victim.join("below"));
    fs::create_dir(&other)?;
    fs::create_dir(&below)?;
    mount_bind(&other, &below)?;
    let seen = (|| {
        fs::write(below.join("file"), "")?;
        chown(below.join("file"), Some(3), Some(4))?;
        let output =
            container.run_script("stat -c '%u %g' /mnt/file /mnt/below/file")?.success()?;
        Ok(output.words().into_iter().map(str::to_owned).collect())
    })();
    unmount(&below, UnmountFlags::DETACH)?;
    seen
}

fn not_recursive(container: &mut Container) -> Test {
    same!(below(container, "idmap")?, ["1003", "1004", "3", "4"]);
    Ok(())
}

fn recursive(container: &mut Container) -> Test {
    same!(below(container, "ridmap")?, ["1003", "1004", "1003", "1004"]);
    Ok(())
}

/// What user 1000 makes on it belongs to user 0 of the filesystem, and so shows as 1000.
fn of_a_tmpfs(container: &mut Container) -> Test {
    need_kernel([6, 3], "the ids of a tmpfs can be mapped (mount_setattr(2))")?;
    let ids = mapping(0, 1000, 1);
    container.mount(json!({
        "destination": "/mnt", "type": "tmpfs", "source": "tmpfs",
        "uidMappings": ids, "gidMappings": ids, "options": ["idmap", "mode=777"],
    }));
    let output = container.run_script("stat -c '%u %g' /mnt")?.success()?;
    same!(output.words(), ["1000", "1000"]);
    Ok(())
}

fn with_the_value_of_crun(container: &mut Container) -> Test {
    let option = "idmap=uids=0-1000-3#3-2000-1;gids=0-3000-10";
    bind(container, &["bind", option], &[])?;
    same!(owner(container)?, ["2000", "3004"]);
    Ok(())
}

fn relative_to_the_user_namespace(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    bind(container, &["bind", "idmap=uids=@0-7-10;gids=@0-8-10"], &[])?;
    same!(owner(container)?, ["10", "12"]);
    Ok(())
}

fn filesystem_without_support(container: &mut Container) -> Test {
    let ids = mapping(0, 1000, 10);
    container.mount(json!({
        "destination": "/mnt", "source": "/proc/sys", "options": ["bind", "idmap"],
        "uidMappings": ids, "gidMappings": ids,
    }));
    container.create_refused(&["/mnt: source /proc/sys: map ids: mount_setattr"])
}

fn without_any_mapping(container: &mut Container) -> Test {
    bind(container, &["bind", "idmap"], &[])?;
    container.create_refused(&[&pointer(container, "options/1"), "needs mappings of the mount"])
}

fn one_kind_of_mapping(container: &mut Container) -> Test {
    bind(container, &["bind", "idmap"], &[("uidMappings", mapping(0, 1000, 10))])?;
    container.create_refused(&[&pointer(container, "gidMappings"), "go together"])
}

/// Two mounts of one mapping, and one of another between them.
fn several(container: &mut Container) -> Test {
    for (destination, host) in [("/mnt", 1000), ("/mnt/other", 2000), ("/tmp", 1000)] {
        bind(container, &["bind", "idmap"], &both(mapping(0, host, 10)))?;
        let last = pointer(container, "destination");
        container.set(&last, json!(destination));
    }
    fs::create_dir(container.victim.join("other"))?;
    let script = "stat -c %u /mnt/file /mnt/other/file /tmp/file";
    same!(container.run_script(script)?.success()?.lines(), ["1003", "2003", "1003"]);
    Ok(())
}

fn nothing_is_left_of_the_namespace(container: &mut Container) -> Test {
    bind(container, &["bind", "idmap"], &both(mapping(0, 1000, 10)))?;
    container.start_idle()?;
    // Whoever held the namespace open is gone: the runtime has ended, and no child of it is left.
    let listed = Command::new("ps").args(["-e", "-o", "args"]).output()?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let create = format!("create --bundle {}", container.bundle());
    ensure!(!listed.contains(&create), "{listed}");
    Ok(())
}
