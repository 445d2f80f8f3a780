//! `ociVersion`.

use crate::plan::Violations;

/// The oldest and the newest version of the runtime-spec that aril knows.
pub const VERSIONS: [&str; 2] = ["1.0.0", "1.3.0"];

/// A version is SemVer, of a major version that aril knows, and of any minor version of it, since
/// they are compatible (config.md, "Specification version").
pub(crate) fn check(version: &str, found: &mut Violations) {
    match major(version) {
        Some("1") => {}
        Some(_) => {
            let rule =
                "is of another major version than 1.3.0, which aril implements: not compatible";
            found.add("/ociVersion", version, rule, "write a config for runtime-spec 1.x");
        }
        None => {
            let rule = "must be in SemVer v2.0.0 format (config.md, \"Specification version\")";
            found.add("/ociVersion", version, rule, "write for example \"1.3.0\"");
        }
    }
}

/// Whether a version 1.x is older than 1.`minor`.
pub(crate) fn is_before(version: &str, minor: u32) -> bool {
    let given = version.split('.').nth(1).and_then(|number| number.parse().ok());
    given.is_some_and(|given: u32| given < minor)
}

/// The major version, if the whole is SemVer 2.0.0: `MAJOR.MINOR.PATCH[-PRERELEASE][+BUILD]`.
fn major(version: &str) -> Option<&str> {
    let (version, build) = split_at(version, '+');
    let (core, prerelease) = split_at(version, '-');
    let numbers: Vec<&str> = core.split('.').collect();
    let sound = numbers.len() == 3
        && numbers.iter().all(|number| is_number(number))
        && prerelease.is_none_or(|names| {
            names.split('.').all(|name| is_name(name) && (!is_digits(name) || is_number(name)))
        })
        && build.is_none_or(|names| names.split('.').all(is_name));
    numbers.first().copied().filter(|_| sound)
}

fn split_at(text: &str, separator: char) -> (&str, Option<&str>) {
    match text.split_once(separator) {
        Some((left, right)) => (left, Some(right)),
        None => (text, None),
    }
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Digits without leading zeros.
fn is_number(text: &str) -> bool {
    !text.is_empty() && is_digits(text) && (text.len() == 1 || !text.starts_with('0'))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::{VERSIONS, Violations, check};

    fn rule(version: &str) -> Option<String> {
        let mut found = Violations::default();
        check(version, &mut found);
        found.all.pop().map(|violation| violation.rule)
    }

    #[test]
    fn every_version_1_is_taken() {
        for version in ["1.0.2-dev", "1.99.0", "1.1.0+dev", "1.0.0-rc.5+a.01", "1.0.0--"] {
            assert_eq!(rule(version), None, "{version}");
        }
        assert!(VERSIONS.into_iter().all(|version| rule(version).is_none()));
    }

    #[test]
    fn other_major_versions_are_refused() {
        for version in ["2.0.0", "0.9.0", "10.0.0"] {
            assert!(rule(version).unwrap().contains("major"), "{version}");
        }
    }

    #[test]
    fn what_is_not_semver_is_refused() {
        let wrong = ["", "1", "1.0", "1.0.0.0", "banana", "v1.0.0", "1.0.0-", "1.0.0+", "01.0.0"];
        for version in
            wrong.into_iter().chain(["1.0.x", "1.0.0-01", "1.0.0-a..b", "1.0.0-ä", "1.0. 0"])
        {
            assert!(rule(version).unwrap().contains("SemVer"), "{version}");
        }
    }
}
