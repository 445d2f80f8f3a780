//! A test that cannot run here, and why.

use anyhow::Context as _;

/// Why a test cannot run here.
#[derive(Debug)]
pub(crate) struct Skip(pub String);

impl std::fmt::Display for Skip {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

impl std::error::Error for Skip {}

/// Skips what only Linux `least` or a later one does: its first two numbers.
pub(crate) fn need_kernel(least: [u32; 2], what: &str) -> anyhow::Result<()> {
    if kernel()? < least {
        let [major, minor] = least;
        return Err(Skip(format!("{what}: since Linux {major}.{minor}")).into());
    }
    Ok(())
}

/// The first two numbers of the kernel's version.
fn kernel() -> anyhow::Result<[u32; 2]> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).map(str::parse);
    let mut next = || numbers.next().context("no version of Linux")?.map_err(anyhow::Error::from);
    Ok([next()?, next()?])
}
