//! Container ids.

/// The longest id, in bytes: with a suffix it still is a file name.
const LONGEST: usize = 200;

/// Checks an id as runc does: letters, digits, `_`, `+`, `-` and `.`, but not `.` or `..`, for it
/// becomes the name of a directory and of cgroups.
///
/// # Errors
/// What is wrong with it.
pub fn validate_id(id: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
    if id.is_empty() {
        return Err("the id is empty".to_owned());
    }
    if id.len() > LONGEST {
        return Err(format!("the id has {} bytes, the most is {LONGEST}", id.len()));
    }
    if id == "." || id == ".." || !id.bytes().all(allowed) {
        return Err(format!("{id:?}: use letters, digits and _ + - . only"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::validate_id;

    #[test]
    fn ids() {
        for good in ["a", "A-1_b+c.d", "..a", &"x".repeat(200)] {
            assert!(validate_id(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "ä", "a\0", "a\n", &"x".repeat(201)] {
            assert!(validate_id(bad).is_err(), "{bad}");
        }
    }
}
