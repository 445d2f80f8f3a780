//! Paths of the root filesystem that change, again and again, while containers are made: whoever may
//! write to a volume, an image or a bundle can do so.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::ensure;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;

use super::{Test, cases};
use crate::command::wait_until;
use crate::container::Container;

cases!("renames":
    cve_2021_30465_destination, cve_2024_45310_parent_of_a_destination,
    cve_2024_45310_link_to_a_destination,
    cve_2023_27561_link_in_place_of_proc, cve_2025_31133_proc_is_elsewhere, proc_is_moved_for_good, root_is_a_link,
    source_in_the_root,
);

/// How many containers are made meanwhile.
const ROUNDS: usize = 30;

/// Does `step` again and again while it makes containers, each as `made` has it.
fn while_doing(
    container: &mut Container,
    step: impl Fn() + Sync,
    mut made: impl FnMut(&mut Container) -> Test,
) -> Test {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                step();
            }
        });
        let outcome = (0..ROUNDS).try_for_each(|_| made(container));
        stop.store(true, Ordering::Relaxed);
        outcome
    })
}

/// Exchanges two files, and again: they end where they were.
fn exchange_and_back(one: &Path, other: &Path) {
    for _ in 0..2 {
        let _ = renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE);
    }
}

/// Makes a container, of which nothing may come to be in the victim.
fn spare_the_victim(container: &mut Container) -> Test {
    let output = container.run()?;
    container.runtime(&["delete", "--force", &container.id])?;
    let made = fs::read_dir(&container.victim)?.count();
    ensure!(made == 0, "made on the host: {}", output.message());
    container.nothing_left()
}

/// Makes containers with a tmpfs at `destination`, which is in /s/d, while /s/d and a link to the victim
/// change places.
fn exchange_destination(container: &mut Container, destination: &str) -> Test {
    let shared = container.directory.join("shared");
    fs::create_dir_all(shared.join("d"))?;
    symlink(&container.victim, shared.join("l"))?;
    container.mount(json!({ "destination": "/s", "source": shared, "options": ["bind"] }));
    container.mount(json!({ "destination": destination, "type": "tmpfs", "source": "tmpfs" }));
    let (one, other) = (shared.join("d"), shared.join("l"));
    while_doing(container, || exchange_and_back(&one, &other), spare_the_victim)
}

fn cve_2021_30465_destination(container: &mut Container) -> Test {
    exchange_destination(container, "/s/d")
}

fn cve_2024_45310_parent_of_a_destination(container: &mut Container) -> Test {
    exchange_destination(container, "/s/d/new/x")
}

/// The same by what aril follows itself: a link of the image to what is missing.
fn cve_2024_45310_link_to_a_destination(container: &mut Container) -> Test {
    symlink("/s/no/../d/made/../new/x", container.rootfs().join("link"))?;
    exchange_destination(container, "/link")
}

/// Says where what the config hides of procfs can be read, and what it makes read-only written.
const LOOK_FOR_PROC: &str = "
    for proc in /proc /other /vol/proc; do
        head -c 1 $proc/timer_list 2>/dev/null | grep -q . && echo visible $proc
        (: >>$proc/sys/kernel/core_pattern) 2>/dev/null && echo writable $proc
    done
    echo looked";

/// Makes a container, in which nothing of procfs is visible that the config hides.
fn hidden(container: &mut Container) -> Test {
    let output = container.run()?;
    container.runtime(&["delete", "--force", &container.id])?;
    for word in ["visible", "writable"] {
        ensure!(!output.stdout.contains(word), "not hidden: {}", output.stdout);
    }
    container.nothing_left()
}

/// What is hidden stays so, whoever makes a link in the place of /proc meanwhile.
fn cve_2023_27561_link_in_place_of_proc(container: &mut Container) -> Test {
    fs::create_dir_all(container.directory.join("vol/proc"))?;
    let source = container.file("vol");
    let volume = json!({ "destination": "/vol", "source": source, "options": ["bind"] });
    container.config["mounts"]
        .as_array_mut()
        .into_iter()
        .for_each(|all| all.insert(0, volume.clone()));
    container.script(LOOK_FOR_PROC);
    let proc = container.rootfs().join("proc");
    let link = || {
        let _ = symlink("/vol/proc", &proc);
        let _ = fs::remove_file(&proc);
    };
    while_doing(container, link, |container| {
        let _ = fs::remove_dir(container.rootfs().join("proc"));
        hidden(container)
    })
}

/// What is hidden stays so, wherever somebody moves /proc meanwhile.
fn cve_2025_31133_proc_is_elsewhere(container: &mut Container) -> Test {
    container.script(LOOK_FOR_PROC);
    let (proc, other) = (container.rootfs().join("proc"), container.rootfs().join("other"));
    fs::create_dir_all(&other)?;
    while_doing(container, || exchange_and_back(&proc, &other), hidden)
}

/// What is no longer where the config has it is not taken for it.
fn proc_is_moved_for_good(container: &mut Container) -> Test {
    let (made, moved) = (container.file("made"), container.file("moved"));
    let script = format!("touch {made}; while ! test -e {moved}; do sleep 0.01; done");
    let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", script] });
    container.set("/hooks/createContainer", json!([hook]));
    let (proc, other) = (container.rootfs().join("proc"), container.rootfs().join("other"));
    fs::create_dir_all(&other)?;
    std::thread::scope(|scope| {
        let move_it = scope.spawn(|| -> Test {
            wait_until("everything is mounted", || Ok(fs::exists(&made)?))?;
            renameat_with(CWD, &proc, CWD, &other, RenameFlags::EXCHANGE)?;
            Ok(fs::write(&moved, "")?)
        });
        let output = container.create_with(&[])?;
        move_it.join().map_err(|_| anyhow::anyhow!("panics"))??;
        container.refused(&output, &["/proc", "is elsewhere now"])
    })
}

/// A link that comes in the place of the root filesystem is not followed.
fn root_is_a_link(container: &mut Container) -> Test {
    let link = container.directory.join("link");
    symlink(&container.victim, &link)?;
    let root = container.rootfs();
    while_doing(container, || exchange_and_back(&root, &link), spare_the_victim)
}

/// A source that is in the root filesystem is looked for there, also when a link comes in its place.
fn source_in_the_root(container: &mut Container) -> Test {
    fs::write(container.victim.join("secret"), "of the host")?;
    let shared = container.directory.join("shared");
    fs::create_dir_all(shared.join("d"))?;
    symlink(&container.victim, shared.join("l"))?;
    container.mount(json!({ "destination": "/s", "source": shared, "options": ["bind"] }));
    let source = container.rootfs().join("s/d");
    container.mount(json!({ "destination": "/x", "source": source, "options": ["bind"] }));
    container.script("cat /x/secret");
    let (one, other) = (shared.join("d"), shared.join("l"));
    while_doing(
        container,
        || exchange_and_back(&one, &other),
        |container| {
            let output = container.run()?;
            container.runtime(&["delete", "--force", &container.id])?;
            ensure!(!output.stdout.contains("host"), "a directory of the host: {}", output.stdout);
            container.nothing_left()
        },
    )
}
