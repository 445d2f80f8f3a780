//! `ps`.

use anyhow::{Context as _, bail};
use libcontainer::Context;

use crate::arguments::Ps;

/// Lists the processes of a container: their pids as JSON, or their lines of ps(1).
pub(crate) fn run(context: &Context, ps: &Ps) -> anyhow::Result<()> {
    let Some((id, options)) = ps.id_and_options.split_first() else { bail!("ps needs an id") };
    let pids = libcontainer::ps(context, id)?;
    match ps.format.as_str() {
        "json" => super::print(&format!("{}\n", serde_json::to_string(&pids)?)),
        "table" => super::print(&table(&pids, options)?),
        other => bail!("invalid format option {other:?}: write table or json"),
    }
}

fn table(pids: &[i32], options: &[String]) -> anyhow::Result<String> {
    let default = ["-ef".to_owned()];
    let options = if options.is_empty() { &default } else { options };
    let output = std::process::Command::new("ps").args(options).output().context("run ps")?;
    if !output.status.success() {
        bail!("ps: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    let Some(column) = head.split_whitespace().position(|name| name == "PID") else {
        bail!("the output of ps has no PID column; give options that show it");
    };
    let belongs = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid: i32| pids.contains(&pid))
    };
    Ok(std::iter::once(head).chain(lines.filter(belongs)).map(|line| format!("{line}\n")).collect())
}
