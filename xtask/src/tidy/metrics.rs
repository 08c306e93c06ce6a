//! The names of metrics and the messages of events stand in `docs/metrics.md`, all of them and no others.

use std::collections::BTreeSet;

use super::Problem;
use super::tree::Tree;

/// Where the tables are.
const PAGE: &str = "docs/metrics.md";

pub(super) fn check(tree: &Tree) -> Vec<Problem> {
    let listed: BTreeSet<&str> = tree.text(PAGE).map(rows).unwrap_or_default();
    let mut emitted = BTreeSet::new();
    let mut problems = Vec::new();
    for (path, text) in tree.files().filter(|(path, _)| is_emitter(path)) {
        for (at, line) in text.lines().enumerate() {
            for name in line.split('"').skip(1).step_by(2).filter(|text| is_name(text)) {
                emitted.insert(name);
                if !listed.contains(name) {
                    let what = format!("the metric {name} is not in {PAGE}");
                    problems.push(Problem::new(path, at + 1, what));
                }
            }
        }
        for (line, message) in messages(text) {
            emitted.insert(message);
            if !listed.contains(message) {
                let what = format!("the event {message:?} is not in {PAGE}");
                problems.push(Problem::new(path, line, what));
            }
        }
    }
    let missing = listed.difference(&emitted);
    problems.extend(missing.map(|name| Problem::new(PAGE, 0, format!("nobody emits {name}"))));
    problems
}

/// Metrics and events are emitted in the module `telemetry` of a crate and nowhere else.
fn is_emitter(path: &str) -> bool {
    let is_ours = path.starts_with("crates/") && path.ends_with(".rs");
    is_ours && (path.contains("/src/telemetry/") || path.ends_with("/src/telemetry.rs"))
}

fn is_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.starts_with("bucket_") && text.chars().all(is_plain)
}

/// The first column of each row of each table, without its head.
fn rows(page: &str) -> BTreeSet<&str> {
    let cells = page.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    let cells = cells.map(|cell| cell.trim().trim_matches('`'));
    cells.filter(|cell| !["name", "message"].contains(cell)).collect()
}

/// The messages of the events: the last text in each macro of `tracing`, with the line of the macro.
fn messages(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for level in ["trace", "debug", "info", "warn", "error"] {
        for (at, opening) in text.match_indices(&format!("tracing::{level}!(")) {
            let body = arguments(&text[at + opening.len()..]);
            if let Some(message) = body.rsplit('"').nth(1) {
                found.push((text[..at].lines().count(), message));
            }
        }
    }
    found
}

/// The text up to the parenthesis that closes the one before it. No text in quotes may hold one alone.
fn arguments(text: &str) -> &str {
    let mut depth = 1;
    let end = text.find(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth == 0
    });
    &text[..end.unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "\
fn new() {
    counter!(\"bucket_x_things_total\", \"log\" => log);
    match result {
        Ok(()) => tracing::debug!(log = self.log, id, \"a thing\"),
        Err(error) => tracing::warn!(
            kind = \"other\".len(),
            nested = error.map_or(0, id),
            %error,
            \"no thing\"
        );
    }
}
";
    const PAGE_TEXT: &str = "\
| name | kind |
|---|---|
| `bucket_x_things_total` | counter |

| message | level |
|---|---|
| a thing | debug |
| no thing | warn |
";

    fn whats(page: &str, code: &str) -> Vec<String> {
        let tree = Tree::from([("crates/bucket-x/src/telemetry/mod.rs", code), (PAGE, page)]);
        check(&tree).into_iter().map(|problem| problem.to_string()).collect()
    }

    #[test]
    fn a_page_that_lists_what_is_emitted_is_fine() {
        assert_eq!(whats(PAGE_TEXT, CODE), [""; 0]);
    }

    #[test]
    fn what_is_not_listed_is_reported_where_it_is_emitted() {
        let at = |line| format!("crates/bucket-x/src/telemetry/mod.rs:{line}: the ");
        assert_eq!(
            whats("", CODE),
            [
                at(2) + "metric bucket_x_things_total is not in docs/metrics.md",
                at(4) + "event \"a thing\" is not in docs/metrics.md",
                at(5) + "event \"no thing\" is not in docs/metrics.md",
            ]
        );
    }

    #[test]
    fn what_nobody_emits_is_reported() {
        let page = format!("{PAGE_TEXT}| `bucket_x_gone` | gauge |\n");
        assert_eq!(whats(&page, CODE), ["docs/metrics.md: nobody emits bucket_x_gone"]);
    }

    #[test]
    fn only_the_module_for_it_is_looked_at() {
        let tree = Tree::from([("crates/bucket-x/src/tests/telemetry.rs", CODE), (PAGE, "")]);
        assert!(check(&tree).is_empty());
    }
}
