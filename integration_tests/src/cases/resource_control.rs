//! `linux.intelRdt` on a machine that has no resctrl: the runtime alone sees a mount table in which there is one, which is a
//! directory of the bundle, with files in place of the kernel's.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::ensure;
use serde_json::{Value, json};

use super::cgroups::need;
use super::{Test, cases, same};
use crate::command::Output;
use crate::container::Container;
use crate::leftovers::MARK;
use crate::skip::Skip;

cases!("resource_control":
    the_class_is_entered, exec_enters_the_class, a_class_stays, one_of_its_own_goes, a_failed_create_leaves_none,
    another_schema_is_refused, a_class_that_is_not_there, without_a_filesystem, update_changes_the_schema,
    update_that_is_refused_changes_nothing, update_without_a_class,
);

/// Shows the program that follows, and nobody else, one more mount.
const WITH_RESCTRL: &str = "
    { cat /proc/self/mountinfo && echo \"900 1 0:900 / $0 rw - resctrl resctrl rw\"; } > \"$0.mountinfo\" &&
    mount --bind \"$0.mountinfo\" /proc/$$/mountinfo && exec \"$@\"";

fn filesystem(container: &Container) -> PathBuf {
    container.directory.join("resctrl")
}

/// A class that is there, as the kernel makes it.
fn make_class(container: &Container, name: &str, schemata: &str) -> anyhow::Result<PathBuf> {
    let directory = filesystem(container).join(name);
    fs::create_dir_all(&directory)?;
    fs::write(directory.join("schemata"), schemata)?;
    fs::write(directory.join("tasks"), "")?;
    Ok(directory)
}

/// Runs the command with the filesystem.
fn with_resctrl(container: &Container, args: &[&str]) -> anyhow::Result<Output> {
    container.save()?;
    fs::create_dir_all(filesystem(container))?;
    let runtime = container.command(args);
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "slave", "sh", "-c", WITH_RESCTRL]);
    command.arg(filesystem(container)).arg(runtime.get_program()).args(runtime.get_args());
    command.env(MARK, &container.id);
    container.finish_command(command, Stdio::null())
}

/// Creates a container that idles in the classes that `rdt` asks for.
fn create(container: &mut Container, rdt: Value) -> anyhow::Result<Output> {
    container.script("exec sleep 100");
    container.set("/linux/intelRdt", rdt);
    let bundle = container.bundle();
    with_resctrl(container, &["create", "--bundle", &bundle, &container.id])
}

fn the_class_is_entered(container: &mut Container) -> Test {
    let class = make_class(container, "gold", "L3:0=F\n")?;
    create(container, json!({ "closID": "gold", "l3CacheSchema": "L3:0=f" }))?.success()?;
    same!(fs::read_to_string(class.join("tasks"))?, container.pid()?.to_string());
    same!(fs::read_to_string(class.join("schemata"))?, "L3:0=f\n");
    Ok(())
}

fn exec_enters_the_class(container: &mut Container) -> Test {
    let class = make_class(container, "gold", "")?;
    create(container, json!({ "closID": "gold" }))?.success()?;
    container.verb("start")?.success()?;
    fs::write(class.join("tasks"), "")?;
    let pid_file = container.file("exec.pid");
    container.exec_with(&["--detach", "--pid-file", &pid_file], &["sleep", "100"])?.success()?;
    same!(fs::read_to_string(class.join("tasks"))?, fs::read_to_string(pid_file)?);
    Ok(())
}

fn a_class_stays(container: &mut Container) -> Test {
    let class = make_class(container, "gold", "")?;
    create(container, json!({ "closID": "gold" }))?.success()?;
    fs::write(class.join("tasks"), "")?;
    container.delete_force()?;
    ensure!(class.join("schemata").exists(), "the class is gone");
    Ok(())
}

/// No directory that the runtime makes here has the files that the kernel would make with it, so that nothing can be in a
/// class of its own: the state of another is made into that of such a one.
fn one_of_its_own_goes(container: &mut Container) -> Test {
    let class = make_class(container, "gold", "")?;
    create(container, json!({ "closID": "gold" }))?.success()?;
    let file = container.root().join(&container.id).join("state.json");
    let state = fs::read_to_string(&file)?;
    let own = state.replacen(r#""isOwn":false"#, r#""isOwn":true"#, 1);
    ensure!(own != state, "the state does not say whose the class is");
    fs::write(&file, own)?;
    // What the kernel would remove with it.
    fs::remove_file(class.join("schemata"))?;
    fs::remove_file(class.join("tasks"))?;
    container.delete_force()?;
    ensure!(!class.exists(), "the class is left");
    Ok(())
}

fn a_failed_create_leaves_none(container: &mut Container) -> Test {
    for rdt in [json!({}), json!({ "schemata": ["L3:0=f"] })] {
        let output = create(container, rdt)?;
        container.refused(&output, &["linux.intelRdt", "no such file or directory"])?;
        let left = fs::read_dir(filesystem(container))?.next().is_some();
        ensure!(!left, "a class is left");
    }
    Ok(())
}

fn another_schema_is_refused(container: &mut Container) -> Test {
    let class = make_class(container, "gold", "L3:0=00f\n")?;
    let output = create(container, json!({ "closID": "gold", "l3CacheSchema": "L3:0=1" }))?;
    container.refused(&output, &["linux.intelRdt.l3CacheSchema", "L3:0=1"])?;
    same!(fs::read_to_string(class.join("tasks"))?, "");
    Ok(())
}

fn a_class_that_is_not_there(container: &mut Container) -> Test {
    let output = create(container, json!({ "closID": "gold" }))?;
    container.refused(&output, &["linux.intelRdt.closID", "gold"])
}

fn without_a_filesystem(container: &mut Container) -> Test {
    container.set("/linux/intelRdt", json!({ "closID": "gold" }));
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    if mounts.contains(" - resctrl ") {
        return Err(Skip("this machine has resctrl".to_owned()).into());
    }
    container.create_refused(&["/linux/intelRdt", "no resctrl filesystem is mounted"])
}

/// In a class whose file has three lines.
fn in_a_class(container: &mut Container) -> anyhow::Result<PathBuf> {
    let class = make_class(container, "gold", "    L3:0=f;1=f\n    MB:0=100\n    L2:0=1\n")?;
    create(container, json!({ "closID": "gold" }))?.success()?;
    container.verb("start")?.success()?;
    Ok(class.join("schemata"))
}

fn update(container: &Container, flags: &[&str]) -> anyhow::Result<Output> {
    container.runtime(&[&["update"], flags, &[&container.id]].concat())
}

/// In the kernel's file each write is taken by itself; here the lines are over those that were there.
fn update_changes_the_schema(container: &mut Container) -> Test {
    let schemata = in_a_class(container)?;
    let before = fs::read_to_string(&schemata)?;
    update(container, &["--l3-cache-schema", "", "--mem-bw-schema="])?.success()?;
    same!(fs::read_to_string(&schemata)?, before);
    update(container, &["--l3-cache-schema", "L3:0=3", "--mem-bw-schema", "MB:0=50"])?.success()?;
    let written = "L3:0=3\nMB:0=50\n";
    same!(fs::read_to_string(&schemata)?, written.to_owned() + &before[written.len()..]);
    fs::write(&schemata, "")?;
    let limits = container.file("resources.json");
    fs::write(&limits, "{}")?;
    update(container, &["--resources", &limits, "--mem-bw-schema", "MB:0=20"])?.success()?;
    same!(fs::read_to_string(&schemata)?, "MB:0=20\n");
    Ok(())
}

fn update_that_is_refused_changes_nothing(container: &mut Container) -> Test {
    need("cpuset")?;
    let schemata = in_a_class(container)?;
    let before = fs::read_to_string(&schemata)?;
    update(container, &["--mem-bw-schema", "L3:0=1"])?
        .fails(1, &["/linux/intelRdt/memBwSchema", "MB:"])?;
    same!(fs::read_to_string(&schemata)?, before);
    // The new schema is written first, and what it was about is written again.
    update(container, &["--l3-cache-schema", "L3:0=3", "--cpuset-cpus", "0-9999"])?
        .fails(1, &["cpus", "0-9999"])?;
    same!(fs::read_to_string(&schemata)?, before);
    update(container, &["--mem-bw-schema", "MB:0=5", "--cpuset-cpus", "0-9999"])?
        .fails(1, &["cpus", "0-9999"])?;
    let restored = "    MB:0=100\n";
    same!(fs::read_to_string(&schemata)?, restored.to_owned() + &before[restored.len()..]);
    // The class is gone.
    fs::remove_file(&schemata)?;
    update(container, &["--l3-cache-schema", "L3:0=3"])?
        .fails(1, &["linux.intelRdt.l3CacheSchema", "schemata", "no such file or directory"])
}

fn update_without_a_class(container: &mut Container) -> Test {
    container.start_idle()?;
    for flag in ["--l3-cache-schema=L3:0=1", "--mem-bw-schema=MB:0=1"] {
        update(container, &[flag])?
            .fails(1, &["/linux/intelRdt", "no class of service", "create it with"])?;
    }
    Ok(())
}
