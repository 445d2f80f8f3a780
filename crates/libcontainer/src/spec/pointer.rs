//! JSON pointers (RFC 6901) into config.json.

use serde_json::Value;
use serde_path_to_error::Segment;

/// A key as a token of a JSON pointer (RFC 6901).
pub(crate) fn token(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

pub(super) fn pointer_of(path: &serde_path_to_error::Path) -> String {
    path.iter().fold(String::new(), |pointer, segment| match segment {
        Segment::Seq { index } => format!("{pointer}/{index}"),
        Segment::Map { key } => format!("{pointer}/{}", token(key)),
        // An enum is a plain string in config.json, and its variant no part of the place.
        Segment::Enum { .. } | Segment::Unknown => pointer,
    })
}

/// The items taken out of lists, in order: the pointer to the list, and the index. Those after
/// them have moved up, and are still named by the numbers they had.
#[derive(Debug, Default)]
pub(super) struct Removed(pub(super) Vec<(String, usize)>);

impl Removed {
    /// The pointer into what was read for a pointer into what is left.
    pub(super) fn original(&self, pointer: &str) -> String {
        self.0.iter().rev().fold(pointer.to_owned(), |pointer, (list, index)| {
            moved_down(&pointer, list, *index).unwrap_or(pointer)
        })
    }

    /// Removes and returns the value at `place`.
    pub(super) fn take(&mut self, json: &mut Value, place: &str) -> Option<Value> {
        let (parent, last) = place.rsplit_once('/')?;
        match json.pointer_mut(parent)? {
            Value::Object(properties) => {
                properties.remove(&last.replace("~1", "/").replace("~0", "~"))
            }
            Value::Array(items) => {
                let index = last.parse().ok().filter(|index| *index < items.len())?;
                self.0.push((parent.to_owned(), index));
                Some(items.remove(index))
            }
            _ => None,
        }
    }
}

/// `pointer` as it was before item `index` was taken out of `list`; nothing if it is unchanged.
fn moved_down(pointer: &str, list: &str, index: usize) -> Option<String> {
    let rest = pointer.strip_prefix(list)?.strip_prefix('/')?;
    let (number, tail) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let number: usize = number.parse().ok()?;
    (number >= index).then(|| format!("{list}/{}{tail}", number + 1))
}
