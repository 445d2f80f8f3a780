//! Mounts on paths of which one is below another, in every order.

use std::fmt::Write as _;
use std::fs;

use serde_json::json;

use super::{Test, cases, same};
use crate::container::Container;

cases!("mount_orders": three_of_seven);

/// What is mounted: a file, or a directory with a file `name` in it.
struct Source {
    name: &'static str,
    destination: &'static str,
    is_file: bool,
}

const fn directory(name: &'static str, destination: &'static str) -> Source {
    Source { name, destination, is_file: false }
}

const fn file(name: &'static str, destination: &'static str) -> Source {
    Source { name, destination, is_file: true }
}

const SOURCES: [Source; 7] = [
    directory("one", "/vol"),
    directory("another", "/vol"),
    directory("below", "/vol/d"),
    directory("deep", "/vol/d/e"),
    file("first", "/vol/f1"),
    file("second", "/vol/f2"),
    file("deep-file", "/vol/d/f"),
];

/// All orders of three of them.
fn triples() -> impl Iterator<Item = [&'static Source; 3]> {
    let all = || SOURCES.iter();
    all()
        .flat_map(move |a| all().flat_map(move |b| all().map(move |c| [a, b, c])))
        .filter(|[a, b, c]| a.name != b.name && b.name != c.name && a.name != c.name)
}

/// What is seen of each: its name, unless a later mount is there or above.
fn expected(triple: [&Source; 3]) -> [&'static str; 3] {
    std::array::from_fn(|at| {
        let place = triple[at].destination;
        let covers = |other: &&&Source| {
            let rest = place.strip_prefix(other.destination);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let covering = triple[at + 1..].iter().rfind(covers);
        match covering {
            None => triple[at].name,
            Some(other) if other.destination == place => other.name,
            Some(_) => "nothing",
        }
    })
}

/// None is lost, and none is below what came before it.
fn three_of_seven(container: &mut Container) -> Test {
    let (mut script, mut wanted) = (String::new(), String::new());
    for (number, triple) in triples().enumerate() {
        for (source, seen) in triple.iter().zip(expected(triple)) {
            let path = container.directory.join(format!("{number}/{}", source.name));
            fs::create_dir_all(if source.is_file {
                path.with_file_name("")
            } else {
                path.clone()
            })?;
            let name = if source.is_file { path.clone() } else { path.join("name") };
            fs::write(name, source.name)?;
            let place = format!("/{number}{}", source.destination);
            // Missing mount points are made in what is below, so directories stay writable.
            let options = if source.is_file { json!(["bind", "ro"]) } else { json!(["bind"]) };
            let mount = json!({ "destination": place, "source": path, "options": options });
            container.mount(mount);
            writeln!(script, "see {place}")?;
            writeln!(wanted, "{place} {seen}")?;
        }
    }
    let see = "see() { name=$(cat $1/name 2>/dev/null || cat $1 2>/dev/null); echo $1 ${name:-nothing}; }";
    let seen = container.run_script(&format!("{see}\n{script}"))?.success()?.stdout;
    let different = wanted.lines().zip(seen.lines()).find(|(wanted, seen)| wanted != seen);
    same!(different, None::<(&str, &str)>);
    same!(seen.lines().count(), wanted.lines().count());
    Ok(())
}
