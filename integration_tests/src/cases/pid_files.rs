//! `--pid-file`: the caller's directory may be one that others write to.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::{Context as _, ensure};

use super::{Test, cases, same};
use crate::container::Container;

cases!("pid_files":
    has_the_pid, takes_the_place_of_another, is_not_written_through_links, a_failure_leaves_nothing,
);

fn has_the_pid(container: &mut Container) -> Test {
    container.create_with(&["--pid-file", &container.file("pid")])?.success()?;
    // containerd converts the whole content to a number: there is no newline.
    same!(fs::read_to_string(container.file("pid"))?, container.pid()?.to_string());
    Ok(())
}

/// A link that is there is replaced, and what it leads to stays.
fn takes_the_place_of_another(container: &mut Container) -> Test {
    fs::write(container.victim.join("file"), "mine")?;
    symlink(container.victim.join("file"), container.file("pid"))?;
    has_the_pid(container)?;
    same!(fs::read_to_string(container.victim.join("file"))?, "mine");
    ensure!(fs::symlink_metadata(container.file("pid"))?.is_file(), "it is still a link");
    Ok(())
}

/// Names that a file beside it might have, with the pids that come next.
fn is_not_written_through_links(container: &mut Container) -> Test {
    let directory = container.directory.join("shared");
    fs::create_dir(&directory)?;
    let loads = fs::read_to_string("/proc/loadavg")?;
    let last: u32 = loads.split_whitespace().next_back().context("no pid")?.parse()?;
    for pid in last..last + 400 {
        for name in [format!(".pid.{pid}"), format!(".pid.{pid}.0"), format!(".pid-{pid}")] {
            symlink(container.victim.join("file"), directory.join(name))?;
        }
    }
    let file = directory.join("pid");
    container.create_with(&["--pid-file", &file.display().to_string()])?.success()?;
    same!(fs::read_to_string(&file)?, container.pid()?.to_string());
    ensure!(!container.victim.join("file").exists(), "a file was made through a link");
    Ok(())
}

fn a_failure_leaves_nothing(container: &mut Container) -> Test {
    let file = container.directory.join("shared/pid");
    fs::create_dir_all(&file)?;
    container.save()?;
    let output = container.create_with(&["--pid-file", &file.display().to_string()])?;
    output.fails(1, &["shared/pid"])?;
    same!(fs::read_dir(container.directory.join("shared"))?.count(), 1);
    container.nothing_left()
}
