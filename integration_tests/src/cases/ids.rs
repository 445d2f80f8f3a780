//! Ids of containers that are refused.

use std::fs;

use anyhow::ensure;

use super::{Test, cases, same};
use crate::container::Container;

cases!("ids": bad, long, duplicate, duplicate_of_a_stopped_one);

/// The absolute path among them is the victim's, never one of the machine: a runtime that does not
/// check ids may take it for the path of a state directory, and remove everything in it.
fn bad(container: &mut Container) -> Test {
    container.save()?;
    let precious = container.victim.join("precious");
    fs::write(&precious, "intact")?;
    let absolute = container.victim.display().to_string();
    for id in ["a/b", "..", ".", "", "a b", "../x", "a\nb", "ä", "a:b", "a*", &absolute] {
        for command in ["create", "run"] {
            let output =
                container.runtime(&[command, "--bundle", &container.bundle(), "--", id])?;
            ensure!(output.code == 1, "{command} takes {id:?}");
            container.nothing_left()?;
        }
        for verb in ["state", "delete", "kill", "start"] {
            same!(container.runtime(&[verb, "--", id])?.code, 1);
            ensure!(precious.exists(), "{verb} {id:?} removes what is no container's");
        }
    }
    Ok(())
}

fn long(container: &mut Container) -> Test {
    container.save()?;
    for length in [256, 4096, 100_000] {
        let id = "i".repeat(length);
        let output = container.runtime(&["create", "--bundle", &container.bundle(), &id])?;
        ensure!(output.code == 1, "{length} characters");
        container.nothing_left()?;
    }
    Ok(())
}

fn duplicate(container: &mut Container) -> Test {
    container.start_idle()?;
    container.create()?.fails(1, &["container with given ID already exists"])?;
    container.run()?.fails(1, &["container with given ID already exists"])?;
    same!(container.state()?["status"], "running");
    Ok(())
}

fn duplicate_of_a_stopped_one(container: &mut Container) -> Test {
    container.start_script("true")?;
    container.wait_for("stopped")?;
    container.create()?.fails(1, &["container with given ID already exists"])?;
    same!(container.state()?["status"], "stopped");
    Ok(())
}
