//! A runtime that is called by somebody else than the machine's root.

use std::process::{Command, Stdio};

use anyhow::ensure;

use super::{Test, cases};
use crate::command::called_by;
use crate::container::Container;

cases!("rootless": values, root_of_a_user_namespace);

fn values(container: &mut Container) -> Test {
    for value in ["auto", "true", "false"] {
        container.runtime(&["--rootless", value, "list"])?.success()?;
    }
    container.save()?;
    let bundle = container.bundle();
    let output = container.runtime(&[
        "--rootless",
        "perhaps",
        "create",
        "--bundle",
        &bundle,
        &container.id,
    ])?;
    container.refused(&output, &["perhaps"])
}

/// Without `--root`, root of a user namespace has a directory of his own, unless he is called root, as the machine's is.
fn root_of_a_user_namespace(container: &mut Container) -> Test {
    let list = |unshared: bool, user: Option<&str>| {
        let mut list = container.bare_command();
        list.arg("list");
        let mut unshare = Command::new("unshare");
        if unshared {
            unshare.args(["--user", "--map-root-user"]);
        }
        // What a runtime makes in the directory that it takes goes with the mount namespace.
        let script = r#"mount -t tmpfs tmpfs /run && exec "$0" "$@""#;
        unshare.args(["--mount", "sh", "-c", script]);
        let mut command = called_by(unshare, &list);
        // There is nothing that could be a directory of state.
        command.env("XDG_RUNTIME_DIR", "/dev/null").env_remove("USER");
        if let Some(user) = user {
            command.env("USER", user);
        }
        container.finish_command(command, Stdio::null())
    };
    list(false, None)?.success()?;
    list(true, Some("root"))?.success()?;
    for user in [None, Some("podman")] {
        ensure!(list(true, user)?.code == 1, "the state is elsewhere");
    }
    Ok(())
}
