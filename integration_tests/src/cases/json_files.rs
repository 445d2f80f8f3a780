//! Files of JSON that are none: a config may come with an image, and who makes it chooses what it is.

use std::fs;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::{Test, cases};
use crate::container::Container;

cases!("json_files":
    config_is_a_device, config_is_a_fifo, config_is_too_large, process_is_a_device, process_is_a_fifo,
    process_is_too_large,
);

/// More than any config needs, in bytes; they take no room on the disk.
const LARGE: u64 = 32 << 20;

/// A file in the place of JSON, made at this path.
type Make = fn(&Path) -> anyhow::Result<()>;

/// That of a device: /dev/zero would not end, and a runtime that reads it would take all memory.
fn device(path: &Path) -> anyhow::Result<()> {
    Ok(std::os::unix::fs::symlink("/dev/null", path)?)
}

fn fifo(path: &Path) -> anyhow::Result<()> {
    Ok(mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0)?)
}

fn large(path: &Path) -> anyhow::Result<()> {
    Ok(File::create(path)?.set_len(LARGE)?)
}

fn config(container: &Container, make: Make, words: &str) -> Test {
    make(&PathBuf::from(container.file("config.json")))?;
    let output = container.runtime(&["create", "--bundle", &container.bundle(), &container.id])?;
    container.refused(&output, &["config.json", words])
}

fn process(container: &mut Container, make: Make, words: &str) -> Test {
    container.start_idle()?;
    let path = container.file("process.json");
    make(&PathBuf::from(&path))?;
    let output = container.runtime(&["exec", "--process", &path, &container.id])?;
    output.fails(255, &["process.json", words]).context("exec")?;
    fs::remove_file(path)?;
    Ok(())
}

const NOT_REGULAR: &str = "not a regular file";
const TOO_LARGE: &str = "more than 16777216 bytes";

fn config_is_a_device(container: &mut Container) -> Test {
    config(container, device, NOT_REGULAR)
}

fn config_is_a_fifo(container: &mut Container) -> Test {
    config(container, fifo, NOT_REGULAR)
}

fn config_is_too_large(container: &mut Container) -> Test {
    config(container, large, TOO_LARGE)
}

fn process_is_a_device(container: &mut Container) -> Test {
    process(container, device, NOT_REGULAR)
}

fn process_is_a_fifo(container: &mut Container) -> Test {
    process(container, fifo, NOT_REGULAR)
}

fn process_is_too_large(container: &mut Container) -> Test {
    process(container, large, TOO_LARGE)
}
