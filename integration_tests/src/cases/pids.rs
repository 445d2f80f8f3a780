//! How many processes a container may have (config-linux.md, "PIDs").

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::cgroups::{need, read};
use super::{Test, cases, same};
use crate::container::Container;

cases!("pids": unlimited, zero_was_no_limit, one_process, exec_without_room);

fn unlimited(container: &mut Container) -> Test {
    need("pids")?;
    container.set("/linux/resources/pids", json!({ "limit": -1 }));
    container.start_idle()?;
    same!(read(container, &["pids.max"])?, "max");
    Ok(())
}

/// Before 1.3 a limit of zero was none.
fn zero_was_no_limit(container: &mut Container) -> Test {
    need("pids")?;
    container.set("/linux/resources/pids", json!({ "limit": 0 }));
    same!(container.run_script("sleep 0.01; echo forked")?.success()?.words(), ["forked"]);
    container.set("/ociVersion", json!("1.3.0"));
    ensure!(container.run_script("sleep 0.01; echo forked")?.stderr.contains("fork"), "it forks");
    Ok(())
}

/// So few processes that the ones which make the container would be too many.
fn one_process(container: &mut Container) -> Test {
    need("pids")?;
    container.set("/linux/resources/pids", json!({ "limit": 1 }));
    for with_user_namespace in [false, true] {
        if with_user_namespace {
            crate::config::add_user_namespace(&mut container.config);
        }
        same!(container.run_script("echo one")?.success()?.words(), ["one"]);
        let output = container.run_script("busybox true; echo two")?;
        ensure!(output.stderr.contains("fork"), "it forks: {output:?}");
    }
    Ok(())
}

/// No process of a container is ever outside of its limits: what exec needs has to fit, and who cannot have it is told.
fn exec_without_room(container: &mut Container) -> Test {
    need("pids")?;
    for limit in [1, 2] {
        container.set("/linux/resources/pids", json!({ "limit": limit }));
        container.start_idle()?;
        let words = ["linux.resources.pids.limit", "clone3"];
        container.exec(&["true"])?.fails(255, &words).with_context(|| format!("of {limit}"))?;
        same!(container.state()?["status"], "running");
        container.delete_force()?;
    }
    container.set("/linux/resources/pids", json!({ "limit": 3 }));
    container.start_idle()?;
    container.exec(&["true"])?.success()?;
    Ok(())
}
