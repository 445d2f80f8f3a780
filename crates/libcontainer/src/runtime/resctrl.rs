//! The container's groups in resctrl, the kernel's filesystem for resource control
//! (Documentation/filesystems/resctrl.rst of the kernel): made, entered and removed.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::error::Property;
use crate::plan::{ClassOfService, IntelRdt, ResourceGroup};

/// The directories that were made, which go again if the container is not kept.
#[derive(Debug, Default)]
pub(crate) struct Made(Vec<PathBuf>);

impl Made {
    /// None yet.
    pub(crate) const fn none() -> Self {
        Self(Vec::new())
    }

    /// Removes them, the last first. What stays, `delete --force` finds by the state, if it is the container's own.
    pub(crate) fn undo(self) {
        self.0.iter().rev().for_each(|directory| drop(fs::remove_dir(directory)));
    }
}

/// Makes the groups and writes the schemata, before any process is in them. What has been made is put into `made`,
/// whatever fails.
///
/// # Errors
/// The class is not there, or has another schema, or the kernel refuses it.
pub(crate) fn make(rdt: &IntelRdt, made: &mut Made) -> anyhow::Result<()> {
    let IntelRdt { group, class, schema, schemata } = rdt;
    let directory = &group.directory;
    match class {
        ClassOfService::Made => make_directory(directory, "", made)?,
        ClassOfService::MadeOrCompared if directory.is_dir() => compare(directory, schema)?,
        ClassOfService::MadeOrCompared => make_directory(directory, "/closID", made)?,
        ClassOfService::Present if directory.is_dir() => {}
        ClassOfService::Present => {
            let shown = directory.display();
            let text =
                format!("there is no class of service {shown}, and no schema to make it with");
            return Err(told("/closID", &text).into_error());
        }
    }
    write_schemata(directory, schema, schema_pointer(schema))?;
    write_schemata(directory, schemata, "/schemata")?;
    if let Some(monitoring) = &group.monitoring {
        make_directory(monitoring, "/enableMonitoring", made)?;
    }
    Ok(())
}

/// What a class had.
#[derive(Debug)]
pub(crate) struct Before {
    directory: PathBuf,
    lines: Vec<String>,
}

impl Before {
    /// Gives it back, as far as it can be.
    pub(crate) fn restore(self) {
        let _ = write_schemata(&self.directory, &self.lines, "");
    }
}

/// Writes another schema, and says what the class had in its place.
///
/// # Errors
/// The class is gone, or the kernel refuses the schema.
pub(crate) fn replace(group: &ResourceGroup, schema: &[String]) -> anyhow::Result<Before> {
    let directory = group.directory.clone();
    if schema.is_empty() {
        return Ok(Before { directory, lines: Vec::new() });
    }
    let pointer = schema_pointer(schema);
    let present = read_schemata(&directory, pointer)?;
    let is_replaced = |line: &&str| {
        let name = |line: &str| Some(line.split_once(':')?.0.trim().to_owned());
        schema.iter().any(|new| name(new) == name(line))
    };
    let lines = present.lines().filter(is_replaced).map(str::to_owned).collect();
    write_schemata(&directory, schema, pointer)?;
    Ok(Before { directory, lines })
}

/// Moves the process with this pid into the groups; what it makes is born in them.
///
/// # Errors
/// Those of open(2) and write(2).
pub(crate) fn enter(group: &ResourceGroup, pid: i32) -> anyhow::Result<()> {
    // Into the class first: its monitoring group takes only what is in it.
    for directory in [Some(&group.directory), group.monitoring.as_ref()].into_iter().flatten() {
        let file = directory.join("tasks");
        write_to(&file, &pid.to_string())
            .with_context(|| told("", &format!("write {}", file.display())))?;
    }
    Ok(())
}

/// Removes the groups that are the container's own, when its processes have ended. Whether they are gone: one with
/// processes in it is another's by now, and is left.
///
/// # Errors
/// Those of rmdir(2).
pub(crate) fn remove(group: &ResourceGroup) -> anyhow::Result<bool> {
    let own = group.is_own.then_some(&group.directory);
    let mut are_gone = true;
    for directory in group.monitoring.iter().chain(own) {
        let tasks = fs::read_to_string(directory.join("tasks")).unwrap_or_default();
        if !tasks.trim().is_empty() {
            are_gone = false;
            continue;
        }
        match fs::remove_dir(directory) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("rmdir {}", directory.display()));
            }
            _ => {}
        }
    }
    Ok(are_gone)
}

/// Which property the lines of the schema are of.
fn schema_pointer(schema: &[String]) -> &'static str {
    match schema.iter().all(|line| line.trim_start().starts_with("MB:")) {
        true => "/memBwSchema",
        false => "/l3CacheSchema",
    }
}

fn told(property: &str, text: &str) -> Property {
    let name = property.replace('/', ".");
    Property::new(format!("/linux/intelRdt{property}"), format!("linux.intelRdt{name}: {text}"))
}

fn make_directory(directory: &Path, property: &str, made: &mut Made) -> anyhow::Result<()> {
    let shown = directory.display();
    fs::create_dir(directory).with_context(|| told(property, &format!("mkdir {shown}")))?;
    made.0.push(directory.to_owned());
    Ok(())
}

fn read_schemata(directory: &Path, property: &str) -> anyhow::Result<String> {
    let file = directory.join("schemata");
    fs::read_to_string(&file).with_context(|| told(property, &format!("read {}", file.display())))
}

/// Writes the lines at once.
fn write_schemata(directory: &Path, lines: &[String], property: &str) -> anyhow::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let file = directory.join("schemata");
    let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    write_to(&file, &text).with_context(|| {
        let why = last_status(directory).map(|why| format!(" ({why})")).unwrap_or_default();
        told(property, &format!("{:?}: write {}{why}", lines.join("\n"), file.display()))
    })
}

/// A file that must be there, in one write.
fn write_to(file: &Path, text: &str) -> std::io::Result<()> {
    fs::OpenOptions::new().write(true).open(file)?.write_all(text.as_bytes())
}

/// What the kernel says of the last thing that it refused.
fn last_status(directory: &Path) -> Option<String> {
    let file = "info/last_cmd_status";
    let places = [directory.join(file), directory.parent()?.join(file)];
    let text = places.iter().find_map(|place| fs::read_to_string(place).ok())?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty() && text != "ok")
}

/// The class that is there has what each line of the schema asks for.
fn compare(directory: &Path, schema: &[String]) -> anyhow::Result<()> {
    if schema.is_empty() {
        return Ok(());
    }
    let property = schema_pointer(schema);
    let present = read_schemata(directory, property)?;
    match schema.iter().find(|line| !is_in(line, &present)) {
        None => Ok(()),
        Some(line) => {
            let text =
                format!("{line:?} is not what the class of service {} has", directory.display());
            Err(told(property, &text).into_error())
        }
    }
}

/// Whether `present`, the content of a file `schemata`, has each value of `line`.
fn is_in(line: &str, present: &str) -> bool {
    let Some((resource, wanted)) = values(line) else { return false };
    let lines = present.lines().filter_map(values);
    let known: Vec<_> =
        lines.filter(|(name, _)| *name == resource).flat_map(|(_, values)| values).collect();
    wanted.iter().all(|value| known.contains(value))
}

/// A line such as `L3:0=7f0;1=00f`: what it is about, and the value of each domain, written one way.
fn values(line: &str) -> Option<(&str, Vec<(&str, String)>)> {
    let (resource, values) = line.trim().split_once(':')?;
    let values = values
        .split(';')
        .map(|entry| {
            let (domain, value) = entry.split_once('=')?;
            let value = value.trim().trim_start_matches('0').to_ascii_lowercase();
            Some((domain.trim(), value))
        })
        .collect::<Option<_>>()?;
    Some((resource.trim(), values))
}

#[cfg(test)]
mod tests {
    //! In a directory in place of the kernel's filesystem: the kernel would make the files of each group, which are made by
    //! hand here, and would remove them with it.

    use std::fs;
    use std::path::{Path, PathBuf};

    use super::{Made, enter, make, remove};
    use crate::error::Details;
    use crate::plan::{ClassOfService, IntelRdt, ResourceGroup};

    struct Filesystem(PathBuf);

    impl Filesystem {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("aril-{name}-{}", std::process::id()));
            fs::create_dir(&root).unwrap();
            Self(root)
        }

        /// A group that is there, as the kernel makes it.
        fn group(&self, name: &str, schemata: &str) -> PathBuf {
            let directory = self.0.join(name);
            fs::create_dir_all(directory.join("mon_groups")).unwrap();
            fs::write(directory.join("schemata"), schemata).unwrap();
            fs::write(directory.join("tasks"), "").unwrap();
            directory
        }

        fn rdt(&self, name: &str, class: ClassOfService) -> IntelRdt {
            let directory = self.0.join(name);
            let is_own = class == ClassOfService::Made;
            let group = ResourceGroup { directory, is_own, monitoring: None };
            IntelRdt { group, class, schema: Vec::new(), schemata: Vec::new() }
        }
    }

    impl Drop for Filesystem {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    /// The pointer that the error names.
    fn refused(rdt: &IntelRdt) -> String {
        let mut made = Made::none();
        let error = make(rdt, &mut made).unwrap_err();
        made.undo();
        Details::of(&error).pointers.concat()
    }

    #[test]
    fn a_class_of_its_own_is_made_entered_and_removed() {
        let root = Filesystem::new("own-class");
        let rdt = root.rdt("c1", ClassOfService::Made);
        let mut made = Made::none();
        make(&rdt, &mut made).unwrap();
        assert!(rdt.group.directory.is_dir());
        let tasks = rdt.group.directory.join("tasks");
        assert!(enter(&rdt.group, 7).is_err(), "a file that the kernel has not made");
        fs::write(&tasks, "").unwrap();
        enter(&rdt.group, 7).unwrap();
        assert_eq!(read(&tasks), "7");
        assert!(!remove(&rdt.group).unwrap(), "it has processes");
        fs::remove_file(&tasks).unwrap();
        assert!(remove(&rdt.group).unwrap());
        assert!(!rdt.group.directory.exists());
        assert!(remove(&rdt.group).unwrap(), "it may be gone already");
        // One of that name is another's.
        root.group("c1", "");
        assert_eq!(refused(&rdt), "/linux/intelRdt");
        assert!(rdt.group.directory.exists());
    }

    #[test]
    fn what_was_made_is_undone() {
        let root = Filesystem::new("undone-class");
        for class in [ClassOfService::Made, ClassOfService::MadeOrCompared] {
            let mut rdt = root.rdt("c1", class);
            // There is no such file to write to.
            rdt.schemata = vec!["L3:0=f".to_owned()];
            assert_eq!(refused(&rdt), "/linux/intelRdt/schemata");
            assert!(!rdt.group.directory.exists());
        }
    }

    #[test]
    fn a_class_without_a_schema_is_there_and_stays_as_it_is() {
        let root = Filesystem::new("present-class");
        let rdt = root.rdt("gold", ClassOfService::Present);
        assert_eq!(refused(&rdt), "/linux/intelRdt/closID");
        let directory = root.group("gold", "L3:0=f\n");
        let mut made = Made::none();
        make(&rdt, &mut made).unwrap();
        assert_eq!(read(&directory.join("schemata")), "L3:0=f\n");
        made.undo();
        assert!(remove(&rdt.group).unwrap());
        assert!(directory.exists());
    }

    #[test]
    fn the_schema_of_a_class_that_is_there_is_compared() {
        let root = Filesystem::new("compared-class");
        let present = "    L3:0=00f0;1=1f\n    MB:0= 20;1= 70\n";
        for (schema, is_the_same) in [
            (&["L3:0=f0"][..], true),
            (&["L3:1=01F;0=f0", "MB:1=70"], true),
            (&["L3:0=f"], false),
            (&["L3:2=f0"], false),
            (&["L2:0=f0"], false),
            (&["L3:0=f0", "MB:0=7"], false),
            (&["L3 0=f0"], false),
        ] {
            let directory = root.group("gold", present);
            let mut rdt = root.rdt("gold", ClassOfService::MadeOrCompared);
            rdt.schema = schema.iter().map(|&line| line.to_owned()).collect();
            let mut made = Made::none();
            assert_eq!(make(&rdt, &mut made).is_ok(), is_the_same, "{schema:?}");
            made.undo();
            let lines = rdt.schema.join("\n") + "\n";
            let expected = if is_the_same { &lines } else { present };
            assert_eq!(&read(&directory.join("schemata"))[..expected.len()], expected);
        }
    }

    #[test]
    fn schemata_are_written_last() {
        let root = Filesystem::new("schemata-of-a-class");
        let directory = root.group("c1", "");
        let mut rdt = root.rdt("c1", ClassOfService::Present);
        rdt.schema = vec!["L3:0=1".to_owned(), "MB:0=5".to_owned()];
        rdt.schemata = vec!["L3:0=2".to_owned()];
        make(&rdt, &mut Made::none()).unwrap();
        // In the kernel's file each write is taken by itself; here the second is over the first.
        assert_eq!(read(&directory.join("schemata")), "L3:0=2\nMB:0=5\n");
    }

    #[test]
    fn a_monitoring_group_is_below_its_class() {
        let root = Filesystem::new("monitored-class");
        let directory = root.group("gold", "");
        let mut rdt = root.rdt("gold", ClassOfService::Present);
        let monitoring = directory.join("mon_groups/c1");
        rdt.group.monitoring = Some(monitoring.clone());
        let mut made = Made::none();
        make(&rdt, &mut made).unwrap();
        fs::write(monitoring.join("tasks"), "").unwrap();
        enter(&rdt.group, 7).unwrap();
        assert_eq!(read(&directory.join("tasks")) + &read(&monitoring.join("tasks")), "77");
        fs::remove_file(monitoring.join("tasks")).unwrap();
        assert!(remove(&rdt.group).unwrap());
        assert!(directory.exists() && !monitoring.exists());
        // One that cannot be made is an error, and the class that is there stays.
        fs::remove_dir(directory.join("mon_groups")).unwrap();
        assert_eq!(refused(&rdt), "/linux/intelRdt/enableMonitoring");
        assert!(directory.exists());
    }
}
