//! Collecting everything that is wrong.

use std::ffi::CString;
use std::fmt::Display;
use std::path::Path;

use super::ContainerPath;
use crate::Violation;

/// The violations and warnings found so far.
#[derive(Debug, Default)]
pub(crate) struct Violations {
    pub all: Vec<Violation>,
    pub warnings: Vec<String>,
}

impl Violations {
    /// One more.
    pub(crate) fn add(&mut self, pointer: &str, value: impl Display, rule: &str, fix: &str) {
        self.all.push(Violation::new(pointer, value, rule, fix));
    }

    /// Something worth saying that breaks no rule.
    pub(crate) fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// A property that is right and that aril cannot do yet.
    pub(crate) fn not_yet(&mut self, pointer: &str, value: impl Display) {
        self.add(pointer, value, "aril does not support this property yet", "leave it out");
    }

    /// A string for the kernel, which ends at NUL.
    pub(crate) fn c_string(&mut self, pointer: &str, text: &str) -> CString {
        CString::new(text).unwrap_or_else(|_| {
            self.add(pointer, text, "a string for the kernel cannot hold a NUL byte", "remove it");
            CString::default()
        })
    }

    /// Many of them.
    pub(crate) fn c_strings(&mut self, pointer: &str, texts: &[String]) -> Vec<CString> {
        let indexed = texts.iter().enumerate();
        indexed.map(|(index, text)| self.c_string(&format!("{pointer}/{index}"), text)).collect()
    }

    /// A path in the container.
    pub(crate) fn container_path(&mut self, pointer: &str, path: &Path) -> ContainerPath {
        let root = || ContainerPath::new("/");
        ContainerPath::new(path)
            .or_else(|| {
                let shown = path.display();
                self.add(pointer, shown, "a path cannot hold a NUL byte", "remove it");
                root()
            })
            .unwrap_or_default()
    }

    /// A path in the container that must be written absolute.
    pub(crate) fn absolute(&mut self, pointer: &str, path: &Path, section: &str) -> ContainerPath {
        if !path.is_absolute() {
            let rule = format!("must be an absolute path ({section})");
            self.add(pointer, path.display(), &rule, "write it with a leading /");
        }
        self.container_path(pointer, path)
    }
}

/// A key as a token of a JSON pointer (RFC 6901).
pub(crate) fn token(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
