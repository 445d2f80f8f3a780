//! `process.oomScoreAdj`, which every process that is cloned afterwards has, too.

use anyhow::Context as _;

use crate::error::Property;
use crate::plan::Process;

/// Of this process. It must have the host's procfs still: the container's own cannot be trusted with it.
pub(super) fn adjust_own(process: Option<&Process>) -> anyhow::Result<()> {
    adjust(process, "self", |score| {
        let file = libnamespaces::open_own_file(c"/proc/self/oom_score_adj")?;
        rustix::io::write(&file, score.as_bytes())?;
        Ok(())
    })
}

/// Of process `pid`, from outside.
pub(crate) fn adjust_of(process: Option<&Process>, pid: i32) -> anyhow::Result<()> {
    adjust(process, &pid.to_string(), |score| {
        Ok(std::fs::write(format!("/proc/{pid}/oom_score_adj"), score)?)
    })
}

fn adjust(
    process: Option<&Process>,
    pid: &str,
    write: impl FnOnce(&str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let Some(score) = process.and_then(|process| process.oom_score_adj) else { return Ok(()) };
    write(&score.to_string()).with_context(|| {
        let text = format!(
            "process.oomScoreAdj {score}: write /proc/{pid}/oom_score_adj (whoever lowers it must have CAP_SYS_RESOURCE)"
        );
        Property::new("/process/oomScoreAdj", text)
    })
}
