//! Tests that another runtime is known to fail, each with the rule it breaks.

use std::path::Path;

use anyhow::{Context as _, ensure};

use crate::view::View;

/// One line of the list: `[WHERE] test | a part of what its failure says | rule and reason`.
/// WHERE is the only view in which the test fails, or `sometimes`.
struct Difference {
    test: String,
    view: Option<View>,
    says: String,
    rule: String,
    sometimes: bool,
}

/// What is expected of a test that is listed.
#[derive(Clone, Copy)]
pub(crate) struct Expected<'a> {
    /// A part of the failure's text.
    pub says: &'a str,
    /// The rule that is broken.
    pub rule: &'a str,
    /// Whether it may pass as well.
    pub sometimes: bool,
}

impl Expected<'_> {
    /// Whether a command does not end, or what is waited for never comes.
    pub(crate) fn is_a_hang(self) -> bool {
        self.says == "hangs" || self.says.starts_with("never: ")
    }
}

/// The list; `#` starts a comment.
#[derive(Default)]
pub(crate) struct Differences(Vec<Difference>);

impl Differences {
    /// Loads the lines of a file that count in `view`. Each name in it must be one of `tests`, and
    /// be there once.
    pub(crate) fn load(
        path: &Path,
        view: View,
        tests: impl Fn(&str) -> bool,
    ) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut list = lines.map(parse).collect::<anyhow::Result<Vec<_>>>()?;
        for one in &list {
            let test = &one.test;
            ensure!(tests(test), "a difference names a test that does not exist: {test}");
        }
        list.retain(|one| one.view.is_none_or(|only| only == view));
        for (at, one) in list.iter().enumerate() {
            let again = list[..at].iter().any(|other| other.test == one.test);
            ensure!(!again, "two differences name one test: {}", one.test);
        }
        Ok(Self(list))
    }

    /// Whether a list was given: there is none of aril.
    pub(crate) const fn are_those_of_another_runtime(&self) -> bool {
        !self.0.is_empty()
    }

    /// What a listed test is expected to do.
    pub(crate) fn expected(&self, test: &str) -> Option<Expected<'_>> {
        let one = self.0.iter().find(|one| one.test == test)?;
        Some(Expected { says: &one.says, rule: &one.rule, sometimes: one.sometimes })
    }
}

fn parse(line: &str) -> anyhow::Result<Difference> {
    let fields: Vec<&str> = line.split(" | ").map(str::trim).collect();
    let [test, says, rule] = fields[..] else {
        anyhow::bail!("not a test, a part of its failure and a rule: {line:?}")
    };
    ensure!(!says.is_empty() && !rule.is_empty(), "an empty field: {line:?}");
    let (place, test) = test.split_once(' ').unwrap_or(("", test));
    let (view, sometimes) = match place {
        "" => (None, false),
        "sometimes" => (None, true),
        view => (Some(view.parse()?), false),
    };
    let [test, says, rule] = [test, says, rule].map(str::to_owned);
    Ok(Difference { test, view, says, rule, sometimes })
}

#[cfg(test)]
mod tests {
    use super::{View, parse};

    #[test]
    fn a_line_has_three_fields() {
        let one = parse("hooks::order | is not | L10: poststart after start").unwrap();
        assert_eq!((one.test.as_str(), one.says.as_str()), ("hooks::order", "is not"));
        for wrong in ["hooks::order", "hooks::order | x", "hooks::order | x | ", "a | b | c | d"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_line_may_say_where() {
        let one = parse("v2 log::text | 2 is not 1 | a warning").unwrap();
        assert_eq!(
            (one.test.as_str(), one.view, one.sometimes),
            ("log::text", Some(View::V2), false)
        );
        assert!(parse("sometimes log::text | x | y").unwrap().sometimes);
        assert!(parse("v3 log::text | x | y").is_err());
    }
}
