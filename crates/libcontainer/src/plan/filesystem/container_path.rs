//! Paths inside a container.

use std::ffi::{CStr, CString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// A path inside a container: absolute, free of NUL, not resolved. It is never joined to a path of
/// the host; the kernel resolves it below the root's file descriptor (openat2(2),
/// `RESOLVE_IN_ROOT`).
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct ContainerPath(CString);

impl ContainerPath {
    /// Takes `path` relative to the container's `/`. Nothing if it holds a NUL byte.
    #[must_use]
    pub fn new(path: impl AsRef<Path>) -> Option<Self> {
        let absolute = Path::new("/").join(path);
        CString::new(absolute.into_os_string().into_encoded_bytes()).ok().map(Self)
    }

    /// The path as the kernel takes it, starting with `/`.
    #[must_use]
    pub fn as_c_str(&self) -> &CStr {
        &self.0
    }

    /// The path as a path, starting with `/`.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(std::ffi::OsStr::from_bytes(self.0.to_bytes()))
    }

    /// Whether it has a `..`.
    #[must_use]
    pub fn has_parent_component(&self) -> bool {
        self.as_path().components().any(|part| part == Component::ParentDir)
    }

    /// Without `.`, empty components and trailing slashes, for comparing; `..` stays, since only
    /// the kernel can know where it leads.
    #[must_use]
    pub fn normalized(&self) -> PathBuf {
        self.as_path().components().collect()
    }
}

impl fmt::Debug for ContainerPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_path().fmt(formatter)
    }
}

impl fmt::Display for ContainerPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_path().display().fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::ContainerPath;

    #[test]
    fn a_relative_path_is_taken_below_the_root() {
        let path = ContainerPath::new("proc//sys/.").unwrap();
        assert_eq!(path.to_string(), "/proc//sys/.");
        assert_eq!(path.normalized().to_str(), Some("/proc/sys"));
        assert!(ContainerPath::new("a\0b").is_none());
    }
}
