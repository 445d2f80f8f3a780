//! Tests that another runtime is known to fail, each with the rule it breaks.

use std::path::Path;

use anyhow::{Context as _, ensure};

/// One line of the list, `test | a part of what its failure says | rule and reason`.
struct Difference {
    test: String,
    says: String,
    rule: String,
}

/// The list; `#` starts a comment.
#[derive(Default)]
pub(crate) struct Differences(Vec<Difference>);

impl Differences {
    /// Loads a file. Each name in it must be one of `tests`, and be there once.
    pub(crate) fn load<'a>(path: &Path, tests: impl Fn(&str) -> bool + 'a) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let list = lines.map(parse).collect::<anyhow::Result<Vec<_>>>()?;
        for (at, one) in list.iter().enumerate() {
            ensure!(
                tests(&one.test),
                "a difference names a test that does not exist: {}",
                one.test
            );
            let again = list[..at].iter().any(|other| other.test == one.test);
            ensure!(!again, "two differences name one test: {}", one.test);
        }
        Ok(Self(list))
    }

    /// The text that the failure of a listed test contains, and the rule that is broken.
    pub(crate) fn expected(&self, test: &str) -> Option<(&str, &str)> {
        let one = self.0.iter().find(|one| one.test == test)?;
        Some((&one.says, &one.rule))
    }
}

fn parse(line: &str) -> anyhow::Result<Difference> {
    let fields: Vec<&str> = line.split(" | ").map(str::trim).collect();
    match fields[..] {
        [test, says, rule] if !says.is_empty() && !rule.is_empty() => {
            Ok(Difference { test: test.to_owned(), says: says.to_owned(), rule: rule.to_owned() })
        }
        _ => anyhow::bail!("not a test, a part of its failure and a rule: {line:?}"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_line_has_three_fields() {
        let one = super::parse("hooks::order | is not | L10: poststart after start").unwrap();
        assert_eq!((one.test.as_str(), one.says.as_str()), ("hooks::order", "is not"));
        for wrong in ["hooks::order", "hooks::order | x", "hooks::order | x | ", "a | b | c | d"] {
            assert!(super::parse(wrong).is_err(), "{wrong}");
        }
    }
}
