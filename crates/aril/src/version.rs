//! `--version`, whose lines engines parse: the word `version` and the number in the first, then
//! `commit: ` and `spec: `.

use std::path::Path;

/// The text, for a binary that was called as `program`: under the names that Podman knows it is
/// that runtime (libpod's lists of runtimes go by name).
pub(crate) fn text(program: &Path) -> String {
    let name = program.file_name().and_then(|name| name.to_str());
    let name = name.filter(|name| matches!(*name, "runc" | "crun")).unwrap_or("aril");
    let version = env!("CARGO_PKG_VERSION");
    let commit = option_env!("ARIL_COMMIT").unwrap_or("unknown");
    format!("{name} version {version}\ncommit: {commit}\nspec: 1.3.0\n")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn the_first_line_is_what_engines_parse() {
        assert!(super::text(Path::new("/usr/bin/aril")).starts_with("aril version 0."));
        assert!(super::text(Path::new("runc")).starts_with("runc version 0."));
    }
}
