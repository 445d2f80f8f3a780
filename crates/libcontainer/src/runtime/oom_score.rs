//! `process.oomScoreAdj`.

use anyhow::Context as _;

use crate::error::Property;
use crate::plan::Process;

/// Written from outside: the container's own /proc cannot be trusted with it.
pub(super) fn adjust(process: Option<&Process>, pid: i32) -> anyhow::Result<()> {
    let Some(score) = process.and_then(|process| process.oom_score_adj) else { return Ok(()) };
    std::fs::write(format!("/proc/{pid}/oom_score_adj"), score.to_string()).with_context(|| {
        let text = format!("process.oomScoreAdj {score}: write /proc/{pid}/oom_score_adj");
        Property::new("/process/oomScoreAdj", text)
    })
}
