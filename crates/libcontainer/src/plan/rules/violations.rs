//! Collecting everything that is wrong.

use std::ffi::CString;
use std::fmt::Display;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::plan::{ContainerPath, Planned};
use crate::{Class, Violation};

/// The most violations that are told.
const MOST_SHOWN: usize = 100;

/// The violations and warnings found so far.
#[derive(Debug, Default)]
pub(crate) struct Violations {
    pub all: Vec<Violation>,
    pub warnings: Vec<String>,
}

impl Violations {
    /// One more.
    pub(crate) fn add(&mut self, pointer: &str, value: impl Display, rule: &str, fix: &str) {
        self.all.push(Violation::new(Class::Specification, pointer, value, rule, fix));
    }

    /// What is wrong with a part that another crate plans, to which `pointer` points.
    pub(crate) fn add_part(&mut self, part: Vec<Violation>, pointer: &str) {
        self.all.extend(part.into_iter().map(|one| one.below(pointer)));
    }

    /// A property that is right, and that this machine or its caller does not allow.
    pub(crate) fn not_here(&mut self, pointer: &str, value: impl Display, rule: &str, fix: &str) {
        self.all.push(Violation::new(Class::Host, pointer, value, rule, fix));
    }

    /// Something worth saying that breaks no rule.
    pub(crate) fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// What was planned, with the warnings, if nothing is wrong. Of a flood of violations the
    /// first are enough.
    pub(crate) fn finish<T>(mut self, plan: T) -> Result<Planned<T>, Vec<Violation>> {
        if self.all.is_empty() {
            return Ok(Planned { plan, warnings: self.warnings });
        }
        if let Some(more) = self.all.len().checked_sub(MOST_SHOWN).filter(|more| *more > 0) {
            self.all.truncate(MOST_SHOWN);
            self.add("", format!("{more} more"), "violations were found", "fix these first");
        }
        Err(self.all)
    }

    /// A string for the kernel, which ends at NUL.
    pub(crate) fn c_string(&mut self, pointer: &str, text: &str) -> CString {
        CString::new(text).unwrap_or_else(|_| {
            self.nul(pointer, text);
            CString::default()
        })
    }

    /// Many of them.
    pub(crate) fn c_strings(&mut self, pointer: &str, texts: &[String]) -> Vec<CString> {
        let indexed = texts.iter().enumerate();
        // The pointer of an item is only written out for one that is wrong.
        indexed
            .map(|(index, text)| {
                CString::new(text.as_str()).unwrap_or_else(|_| {
                    self.nul(&format!("{pointer}/{index}"), text);
                    CString::default()
                })
            })
            .collect()
    }

    /// A path on the host, taken relative to the bundle.
    pub(crate) fn host_path(&mut self, pointer: &str, path: &Path, bundle: &Path) -> PathBuf {
        if path.as_os_str().as_bytes().contains(&0) {
            self.nul(pointer, path.display());
        }
        bundle.join(path)
    }

    /// A path in the container.
    pub(crate) fn container_path(&mut self, pointer: &str, path: &Path) -> ContainerPath {
        ContainerPath::new(path).unwrap_or_else(|| {
            self.nul(pointer, path.display());
            ContainerPath::default()
        })
    }

    /// A path in the container that must be written absolute, by this section of the spec.
    pub(crate) fn absolute(&mut self, pointer: &str, path: &Path, section: &str) -> ContainerPath {
        if !path.is_absolute() {
            let rule = format!("must be an absolute path ({section})");
            self.add(pointer, path.display(), &rule, "write it with a leading /");
        }
        self.container_path(pointer, path)
    }

    fn nul(&mut self, pointer: &str, value: impl Display) {
        self.add(pointer, value, "a string for the kernel cannot hold a NUL byte", "remove it");
    }
}
