//! `list`.

use anyhow::bail;
use libcontainer::wording::escaped;
use libcontainer::{Context, StateDocument};

use crate::arguments::List;

/// The heads of the table's columns.
const HEADS: [&str; 6] = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"];

/// Lists the containers.
pub(crate) fn run(context: &Context, list: &List) -> anyhow::Result<()> {
    let documents = libcontainer::list(context)?;
    if list.quiet {
        return super::print(
            &documents.iter().map(|one| format!("{}\n", one.id)).collect::<String>(),
        );
    }
    match list.format.as_str() {
        "table" => super::print(&table(&documents)),
        // runc prints `null` for none; an empty list is what every reader of it means.
        "json" => super::print(&format!("{}\n", serde_json::to_string(&documents)?)),
        other => bail!("invalid format option {other:?}: write table or json"),
    }
}

/// Columns as wide as their widest cell and at least 12, then three spaces, as runc has them.
fn table(documents: &[StateDocument]) -> String {
    let rows = documents.iter().map(|one| {
        let bundle = escaped(&one.bundle.display().to_string());
        let status = one.status.word().to_owned();
        [
            one.id.clone(),
            one.pid.to_string(),
            status,
            bundle,
            one.created.clone(),
            one.owner.clone(),
        ]
    });
    let rows: Vec<[String; 6]> = std::iter::once(HEADS.map(str::to_owned)).chain(rows).collect();
    let width =
        |column: usize| rows.iter().map(|row| row[column].len() + 3).max().unwrap_or(0).max(12);
    let widths: Vec<usize> = (0..HEADS.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(at, (cell, width))| {
            if at + 1 == row.len() { cell.clone() } else { format!("{cell:<width$}") }
        });
        text.extend(cells);
        text.push('\n');
    }
    text
}
