//! Bind mounts whose source is in the root filesystem: what is there at their turn.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::ensure;
use serde_json::{Value, json};

use super::{Test, cases, same};
use crate::config;
use crate::container::Container;

cases!("sources":
    made_by_an_earlier_mount, covered_by_an_earlier_mount, before_a_later_mount, in_a_new_filesystem,
    with_what_is_mounted_below, the_root_itself, missing_is_named, links_stay_in_the_root,
    links_themselves, with_mapped_ids, in_a_user_namespace, beside_the_root,
);

/// A bind mount of what the root filesystem has at `source`.
fn inside(container: &Container, source: &str, destination: &str, options: &[&str]) -> Value {
    let source = container.rootfs().join(source);
    json!({ "destination": destination, "source": source, "options": options })
}

/// A bind mount on `destination` of a directory of the host, in which the file `name` says `text`.
fn outside(container: &mut Container, destination: &str, text: &str) -> Test {
    let source = container.directory.join(format!("outside-{text}"));
    fs::create_dir_all(&source)?;
    fs::write(source.join("name"), text)?;
    container.mount(json!({ "destination": destination, "source": source, "options": ["bind"] }));
    Ok(())
}

fn made_by_an_earlier_mount(container: &mut Container) -> Test {
    outside(container, "/new/place", "mounted")?;
    container.mount(inside(container, "new/place", "/x", &["bind"]));
    container.mount(inside(container, "new/place/name", "/y", &["bind", "ro"]));
    same!(container.run_script("cat /x/name /y")?.success()?.stdout, "mountedmounted");
    Ok(())
}

fn covered_by_an_earlier_mount(container: &mut Container) -> Test {
    fs::write(container.rootfs().join("mnt/name"), "covered")?;
    outside(container, "/mnt", "mounted")?;
    container.mount(inside(container, "mnt", "/x", &["bind"]));
    same!(container.run_script("cat /x/name")?.success()?.stdout, "mounted");
    Ok(())
}

fn before_a_later_mount(container: &mut Container) -> Test {
    fs::write(container.rootfs().join("mnt/name"), "image")?;
    container.mount(inside(container, "mnt", "/x", &["bind"]));
    outside(container, "/mnt", "mounted")?;
    same!(container.run_script("cat /x/name /mnt/name")?.success()?.stdout, "imagemounted");
    Ok(())
}

fn in_a_new_filesystem(container: &mut Container) -> Test {
    container.mount(json!({ "destination": "/tmp", "type": "tmpfs" }));
    container.mount(json!({ "destination": "/tmp/a/b", "type": "tmpfs" }));
    container.mount(inside(container, "tmp/a", "/x", &["rbind"]));
    same!(
        container.run_script("touch /tmp/a/b/c /tmp/a/d; ls /x /x/b")?.success()?.words(),
        ["/x:", "b", "d", "/x/b:", "c"]
    );
    Ok(())
}

fn with_what_is_mounted_below(container: &mut Container) -> Test {
    outside(container, "/mnt/below", "mounted")?;
    container.mount(inside(container, "mnt", "/alone", &["bind"]));
    container.mount(inside(container, "mnt", "/all", &["rbind", "rro"]));
    let script = "ls /alone/below; cat /all/below/name; touch /all/below/name";
    let output = container.run_script(script)?;
    same!(output.stdout, "mounted");
    ensure!(output.stderr.contains("Read-only"), "{output:?}");
    Ok(())
}

fn the_root_itself(container: &mut Container) -> Test {
    outside(container, "/mnt", "mounted")?;
    container.mount(inside(container, "", "/x", &["rbind"]));
    same!(
        container.run_script("cat /x/mnt/name; ls -d /x/bin")?.success()?.stdout,
        "mounted/x/bin\n"
    );
    Ok(())
}

fn missing_is_named(container: &mut Container) -> Test {
    container.mount(inside(container, "no/such", "/x", &["bind"]));
    container.create_refused(&["/x", "rootfs/no/such", "no such file"])
}

/// The image's links are the image's, whoever names them.
fn links_stay_in_the_root(container: &mut Container) -> Test {
    fs::write(container.victim.join("name"), "host")?;
    let below = container.rootfs().join(&container.victim.display().to_string()[1..]);
    fs::create_dir_all(&below)?;
    fs::write(below.join("name"), "image")?;
    symlink(&container.victim, container.rootfs().join("link"))?;
    container.mount(inside(container, "link", "/x", &["bind"]));
    container.mount(inside(container, "link/name", "/y", &["bind"]));
    same!(container.run_script("cat /x/name /y")?.success()?.stdout, "imageimage");
    Ok(())
}

fn links_themselves(container: &mut Container) -> Test {
    outside(container, "/mnt", "mounted")?;
    symlink("name", container.directory.join("outside-mounted/link"))?;
    container.mount(inside(container, "mnt/link", "/x", &["bind", "copy-symlink"]));
    symlink("elsewhere", container.rootfs().join("y"))?;
    container.mount(inside(
        container,
        "mnt/link",
        "/y",
        &["bind", "src-nofollow", "dest-nofollow"],
    ));
    same!(container.run_script("readlink /x; readlink /y")?.success()?.words(), ["name", "name"]);
    Ok(())
}

fn with_mapped_ids(container: &mut Container) -> Test {
    outside(container, "/mnt", "mounted")?;
    let mut mount = inside(container, "mnt", "/x", &["bind", "idmap"]);
    let mappings = json!([{ "containerID": 0, "hostID": 1000, "size": 100 }]);
    mount["uidMappings"] = mappings.clone();
    mount["gidMappings"] = mappings;
    container.mount(mount);
    same!(
        container.run_script("stat -c %u:%g /mnt/name /x/name")?.success()?.lines(),
        ["0:0", "1000:1000"]
    );
    Ok(())
}

fn in_a_user_namespace(container: &mut Container) -> Test {
    // Its root may make nothing in the image.
    fs::create_dir_all(container.rootfs().join("x"))?;
    config::add_user_namespace(&mut container.config);
    covered_by_an_earlier_mount(container)
}

/// A path that only begins as the root's does, or leads out of it again.
fn beside_the_root(container: &mut Container) -> Test {
    for (name, destination) in [("rootfs-2", "/x"), ("rootfs/../beside", "/y")] {
        let source = container.directory.join(name);
        fs::create_dir_all(&source)?;
        fs::write(source.join("name"), name)?;
        container
            .mount(json!({ "destination": destination, "source": source, "options": ["bind"] }));
    }
    same!(
        container.run_script("cat /x/name /y/name")?.success()?.stdout,
        "rootfs-2rootfs/../beside"
    );
    Ok(())
}
