//! Tests that another runtime is known to fail, each with the rule it breaks.

use std::path::Path;

use anyhow::Context as _;

use crate::Case;

/// Lines of `test: rule and reason`; `#` starts a comment.
#[derive(Default)]
pub(crate) struct Differences(Vec<(String, String)>);

impl Differences {
    /// Loads a file.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let lines =
            text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines
            .map(|line| {
                let (name, rule) =
                    line.split_once(": ").with_context(|| format!("{line:?} gives no rule"))?;
                Ok((name.to_owned(), rule.to_owned()))
            })
            .collect::<anyhow::Result<_>>()
            .map(Self)
    }

    /// The rule that excuses the failure of a test.
    pub(crate) fn rule(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(listed, _)| listed == name).map(|(_, rule)| rule.as_str())
    }

    /// A listed name that no test has.
    pub(crate) fn unknown(&self, cases: &[Case]) -> Option<&str> {
        let known = |name: &str| cases.iter().any(|case| case.name == name);
        self.0.iter().map(|(name, _)| name.as_str()).find(|name| !known(name))
    }
}
