//! `spec`.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::Context as _;
use serde::Serialize as _;

use crate::arguments::Spec;

/// Writes a config.json where there is none.
pub(crate) fn run(spec: &Spec) -> anyhow::Result<()> {
    let path = spec.bundle.clone().unwrap_or_default().join("config.json");
    let ids = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let host = libcontainer::host::Host::probe()?;
    let document =
        libcontainer::default_spec(spec.rootless.then_some(ids), host.cgroups.is_unified());
    let mut text = Vec::new();
    let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    document.serialize(&mut serde_json::Serializer::with_formatter(&mut text, tabs))?;
    text.push(b'\n');
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o666);
    let file = options.open(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            anyhow::anyhow!("file {} exists. Remove it first", path.display())
        }
        _ => anyhow::Error::new(error).context(format!("write {}", path.display())),
    });
    file?.write_all(&text).with_context(|| format!("write {}", path.display()))
}
