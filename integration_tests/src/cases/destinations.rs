//! Where a path of the config leads, that the image only partly has.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::{Test, cases, same};
use crate::container::Container;

cases!("destinations":
    of_a_file, of_a_directory, of_a_tmpfs, on_a_read_only_root, of_a_device, of_a_mask,
    of_the_working_directory, loops_are_refused, long_chains_are_refused, beside_the_links,
    cve_2019_18837_nowhere_on_the_host,
);

/// What the image has, a path of the config, and where that leads.
struct Way {
    name: &'static str,
    /// Symbolic links, and what each leads to. `DIRECTORY` is the way's own directory.
    links: &'static [(&'static str, &'static str)],
    path: &'static str,
    leads_to: &'static str,
}

const fn way(
    name: &'static str,
    links: &'static [(&'static str, &'static str)],
    path: &'static str,
    leads_to: &'static str,
) -> Way {
    Way { name, links, path, leads_to }
}

/// Each way in a directory of its own, which has the directory `real/sub`.
const WAYS: [Way; 19] = [
    way("nothing", &[], "new/x", "new/x"),
    way("absolute", &[("l", "DIRECTORY/new")], "l", "new"),
    way("relative", &[("l", "new")], "l", "new"),
    way("deep", &[("l", "../deep/new/er")], "l", "new/er"),
    way("above", &[("l", "../../../../../above/new")], "l", "new"),
    way("slash", &[("l", "new/")], "l", "new"),
    way("double", &[("l", "DIRECTORY//./new")], "l", "new"),
    way("row", &[("l", "m"), ("m", "DIRECTORY/n"), ("n", "./new")], "l", "new"),
    way("middle", &[("l", "DIRECTORY/new")], "l/x/y", "new/x/y"),
    way("both", &[("l", "real"), ("real/m", "../new")], "l/m", "new"),
    way("after", &[("l", "real/sub")], "l/../x", "real/x"),
    way("after-twice", &[("l", "real/sub")], "l/../../x", "x"),
    way("nowhere", &[("l", "DIRECTORY/no/sub")], "l/../x", "no/x"),
    way("missing", &[], "no/../x", "x"),
    way("missing-twice", &[], "no/no/../../x", "x"),
    way("missing-between", &[], "real/no/../sub/x", "real/sub/x"),
    way("inside", &[("l", "no/../x")], "l", "x"),
    way("last", &[("l", "DIRECTORY/real")], "l/x/no/..", "real/x"),
    way("beyond", &[("l", "real/no/../../../../..")], "l/beyond/x", "x"),
];

/// Makes what the image has. The way's path and where it leads, in the container.
fn prepare(container: &Container, way: &Way) -> anyhow::Result<(String, String)> {
    let directory = container.rootfs().join(way.name);
    fs::create_dir_all(directory.join("real/sub"))?;
    let own = format!("/{}", way.name);
    for (name, target) in way.links {
        symlink(target.replace("DIRECTORY", &own), directory.join(name))?;
    }
    Ok((format!("{own}/{}", way.path), format!("{own}/{}", way.leads_to)))
}

/// Makes each way with what `make` puts there; then that is where it leads, by the script that `look` gives.
fn each(
    container: &mut Container,
    mut make: impl FnMut(&mut Container, &Way, String) -> Test,
    look: impl Fn(&str) -> String,
) -> Test {
    let (mut script, mut wanted) = (String::new(), Vec::new());
    for way in &WAYS {
        let (path, leads_to) = prepare(container, way)?;
        make(container, way, path)?;
        script += &format!("echo {0} $({1})\n", way.name, look(&leads_to));
        wanted.push(format!("{0} {0}", way.name));
    }
    same!(container.run_script(&script)?.success()?.lines(), wanted);
    links_are_kept(container)?;
    // What `..` has taken back is not made.
    for name in ["missing", "missing-twice", "inside"] {
        ensure!(!container.rootfs().join(name).join("no").exists(), "{name}/no was made");
    }
    Ok(())
}

fn links_are_kept(container: &Container) -> Test {
    for way in &WAYS {
        for (name, target) in way.links {
            let path = container.rootfs().join(way.name).join(name);
            let target = target.replace("DIRECTORY", &format!("/{}", way.name));
            same!(fs::read_link(path)?, Path::new(&target));
        }
    }
    Ok(())
}

fn bind_file(container: &mut Container, way: &Way, destination: String) -> Test {
    let source = container.directory.join("sources").join(way.name);
    fs::create_dir_all(source.with_file_name(""))?;
    fs::write(&source, way.name)?;
    container
        .mount(json!({ "destination": destination, "source": source, "options": ["bind", "ro"] }));
    Ok(())
}

fn bind_directory(container: &mut Container, way: &Way, destination: String) -> Test {
    let source = container.directory.join("sources").join(way.name);
    fs::create_dir_all(&source)?;
    fs::write(source.join("name"), way.name)?;
    container
        .mount(json!({ "destination": destination, "source": source, "options": ["bind", "ro"] }));
    Ok(())
}

fn of_a_file(container: &mut Container) -> Test {
    each(container, bind_file, |place| format!("cat {place}"))
}

fn of_a_directory(container: &mut Container) -> Test {
    each(container, bind_directory, |place| format!("cat {place}/name"))
}

fn of_a_tmpfs(container: &mut Container) -> Test {
    let tmpfs = |container: &mut Container, way: &Way, destination: String| {
        container.mount(json!({ "destination": destination, "type": "tmpfs", "source": way.name }));
        Ok(())
    };
    each(container, tmpfs, |place| {
        format!("while read source on _; do [ $on != {place} ] || echo $source; done </proc/mounts")
    })
}

/// The image is not written to by the program; what the runtime makes in it is made all the same.
fn on_a_read_only_root(container: &mut Container) -> Test {
    container.set("/root/readonly", json!(true));
    each(container, bind_file, |place| format!("cat {place}"))
}

fn of_a_device(container: &mut Container) -> Test {
    // A link that a device is to replace is another file in the way, so the last part is none.
    let device = |container: &mut Container, _: &Way, path: String| {
        let device = json!({ "path": format!("{path}/node"), "type": "c", "major": 1, "minor": 3 });
        container.push("/linux/devices", device);
        Ok(())
    };
    container.set("/linux/devices", json!([]));
    each(container, device, |place| {
        format!("[ -c {place}/node ] && basename $(dirname {place}/node | cut -d/ -f1-2)")
    })
}

/// What is hidden need not be there; where it is, it is found as a mount finds its destination.
fn of_a_mask(container: &mut Container) -> Test {
    for name in ["missing", "link"] {
        fs::create_dir_all(container.rootfs().join(name))?;
        fs::write(container.rootfs().join(name).join("secret"), "secret")?;
    }
    symlink("no/../secret", container.rootfs().join("link/l"))?;
    let paths = json!(["/missing/no/../secret", "/link/no/../l", "/nowhere/x"]);
    container.set("/linux/maskedPaths", paths);
    let script =
        "cat /missing/secret /link/secret; ls -d /missing/no /link/no /nowhere 2>/dev/null";
    same!(container.run_script(script)?.stdout, "");
    Ok(())
}

fn of_the_working_directory(container: &mut Container) -> Test {
    for (directory, link, cwd, expected) in [
        ("a", None, "/a/no/../made", "/a/made"),
        ("b", Some("/b/made/here"), "/b/l", "/b/made/here"),
        ("c", Some("made"), "/c/l/x", "/c/made/x"),
        ("d", Some("no/x"), "/d/l/../../made", "/d/made"),
    ] {
        fs::create_dir_all(container.rootfs().join(directory))?;
        if let Some(target) = link {
            symlink(target, container.rootfs().join(directory).join("l"))?;
        }
        container.set("/process/cwd", json!(cwd));
        let output = container.run_script("/bin/pwd -P")?.success()?;
        same!(output.words(), [expected]);
    }
    Ok(())
}

fn on(path: &str) -> Value {
    json!({ "destination": path, "type": "tmpfs", "source": "tmpfs" })
}

fn loops_are_refused(container: &mut Container) -> Test {
    symlink("m", container.rootfs().join("l"))?;
    symlink("/no/../l", container.rootfs().join("m"))?;
    container.mount(on("/l/x"));
    container.create_refused(&["/l/x", "symbolic link"])
}

/// As many links as the kernel follows (path_resolution(7)).
fn long_chains_are_refused(container: &mut Container) -> Test {
    for at in 0..60 {
        symlink(format!("l{}", at + 1), container.rootfs().join(format!("l{at}")))?;
    }
    container.mount(on("/l20"));
    container.run_script("touch /l60/x")?.success()?;
    container.runtime(&["delete", "--force", &container.id])?;
    fs::remove_dir(container.rootfs().join("l60"))?;
    container.mount(on("/l19"));
    container.create_refused(&["/l19", "symbolic link"])
}

/// A file on the way is no directory, and nothing is made beside it.
fn beside_the_links(container: &mut Container) -> Test {
    symlink("file", container.rootfs().join("l"))?;
    fs::write(container.rootfs().join("file"), "")?;
    container.mount(on("/l/x"));
    container.create_refused(&["/l/x", "ot a directory"])
}

/// However many `..` a link has, nothing is made outside of the root filesystem.
fn cve_2019_18837_nowhere_on_the_host(container: &mut Container) -> Test {
    let victim = container.victim.display().to_string();
    let ups = "../".repeat(20);
    for (name, target) in [
        ("absolute", format!("{victim}/made")),
        ("upwards", format!("{ups}{victim}/made")),
        ("over", format!("no/{ups}{ups}{victim}/made")),
    ] {
        symlink(&target, container.rootfs().join(name))?;
        container.mount(on(&format!("/{name}")));
        container.mount(on(&format!("/{name}-2/../{name}/below")));
        container.push("/linux/maskedPaths", json!(format!("/no/../{name}")));
    }
    container.run_script("true")?.success()?;
    same!(fs::read_dir(&container.victim)?.count(), 0);
    // The second mount of each is in the first.
    let made = container.rootfs().join(&victim[1..]).join("made");
    same!(fs::read_dir(made).context("not made in the root")?.count(), 0);
    Ok(())
}
