//! Mounts of type `tmpfs`: what they take over from the directory that they are mounted on.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

use anyhow::ensure;
use serde_json::json;

use super::{Test, cases, same};
use crate::container::Container;

cases!("tmpfs":
    permissions_are_those_below, permissions_of_its_own, copies_permissions_and_owner, copies_through_a_link,
    recursive_read_only_is_filled_first,
);

/// A directory of the image, the options of the tmpfs on it, and what it is then.
struct Row {
    /// Permissions and owner; the runtime makes it where there are none.
    directory: Option<(u32, u32)>,
    options: &'static [&'static str],
    expected: &'static str,
}

const fn on(
    mode: u32,
    owner: u32,
    options: &'static [&'static str],
    expected: &'static str,
) -> Row {
    Row { directory: Some((mode, owner)), options, expected }
}

const fn made(options: &'static [&'static str], expected: &'static str) -> Row {
    Row { directory: None, options, expected }
}

fn all(container: &mut Container, rows: &[Row]) -> Test {
    let mut script = String::new();
    for (number, row) in rows.iter().enumerate() {
        let place = format!("/tmpfs/{number}");
        if let Some((mode, owner)) = row.directory {
            let path = container.rootfs().join(&place[1..]);
            fs::create_dir_all(&path)?;
            fs::write(path.join("file"), "")?;
            chown(&path, Some(owner), Some(owner))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        }
        container.mount(json!({
            "destination": place, "type": "tmpfs", "source": "tmpfs", "options": row.options
        }));
        script += &format!("stat -c '%a %u:%g' {place}\n");
    }
    let expected: Vec<&str> = rows.iter().map(|row| row.expected).collect();
    same!(container.run_script(&script)?.success()?.lines(), expected);
    Ok(())
}

/// What is private in the image stays so.
fn permissions_are_those_below(container: &mut Container) -> Test {
    all(
        container,
        &[
            on(0o710, 0, &[], "710 0:0"),
            on(0o700, 0, &["nosuid", "size=64k"], "700 0:0"),
            on(0o3775, 0, &[], "3775 0:0"),
            on(0o1777, 0, &["ro"], "1777 0:0"),
            on(0o000, 0, &[], "0 0:0"),
            on(0o750, 7, &[], "750 0:0"),
            on(0o750, 7, &["uid=8", "gid=9"], "750 8:9"),
            made(&[], "1777 0:0"),
            made(&["nosuid", "size=64k"], "1777 0:0"),
        ],
    )
}

fn permissions_of_its_own(container: &mut Container) -> Test {
    all(
        container,
        &[
            on(0o710, 0, &["mode=1711"], "1711 0:0"),
            on(0o710, 0, &["size=64k,mode=0750"], "750 0:0"),
            on(0o1777, 0, &["mode=700", "ro"], "700 0:0"),
            on(0o710, 0, &["mode=711", "tmpcopyup"], "711 0:0"),
            made(&["mode=711"], "711 0:0"),
            made(&["mode=711", "tmpcopyup"], "711 0:0"),
        ],
    )
}

/// Podman adds the option to each `--tmpfs`.
fn copies_permissions_and_owner(container: &mut Container) -> Test {
    all(
        container,
        &[
            on(0o2710, 7, &["tmpcopyup"], "2710 7:7"),
            on(0o710, 7, &["tmpcopyup", "mode=1711"], "1711 7:7"),
            on(0o710, 7, &["tmpcopyup", "uid=8"], "710 8:7"),
            on(0o710, 7, &["tmpcopyup", "uid=0", "gid=9"], "710 0:9"),
            made(&["tmpcopyup"], "1777 0:0"),
            made(&["tmpcopyup", "uid=7"], "1777 7:0"),
        ],
    )
}

fn copies_through_a_link(container: &mut Container) -> Test {
    symlink("cache/deep", container.rootfs().join("link"))?;
    let tmpfs = json!({ "destination": "/link", "type": "tmpfs", "options": ["tmpcopyup"] });
    container.mount(tmpfs);
    container.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    container.run_script("touch /cache/deep/x")?.success()?;
    Ok(())
}

/// As with `ro`, what is below can still be made and mounted.
fn recursive_read_only_is_filled_first(container: &mut Container) -> Test {
    let tmpfs = json!({ "destination": "/tmp", "type": "tmpfs", "options": ["rro"] });
    container.mount(tmpfs);
    container.mount(json!({ "destination": "/tmp/inner", "type": "tmpfs", "source": "tmpfs" }));
    container.push(
        "/linux/devices",
        json!({ "path": "/tmp/null", "type": "c", "major": 1, "minor": 3 }),
    );
    let script = "touch /tmp/inner/x && [ -c /tmp/null ] && echo made; touch /tmp/x";
    let output = container.run_script(script)?;
    same!(output.stdout, "made\n");
    ensure!(output.code != 0 && output.stderr.contains("/tmp/x: Read-only"), "{output:?}");
    Ok(())
}
