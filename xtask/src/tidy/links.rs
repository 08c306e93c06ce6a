//! Relative links in Markdown lead somewhere.
//!
//! Links to the web are not followed, and anchors within a page are not checked.

use super::Problem;
use super::tree::Tree;

pub(super) fn check(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, text) in tree.files().filter(|(path, _)| path.ends_with(".md")) {
        for (line, target) in targets(text) {
            let file = target.split(['#', '?']).next().unwrap_or_default();
            if !is_local(&target) || file.is_empty() {
                continue;
            }
            // The page of a crate is its rustdoc too, where a path names an item.
            if path.starts_with("crates/") && is_item(file) {
                continue;
            }
            match resolve(path, file) {
                Some(resolved) if tree.exists(&resolved) => {}
                Some(_) => {
                    problems.push(Problem::new(path, line, format!("link to {target}: not there")));
                }
                None => {
                    let what = format!("link to {target}: leaves the repository");
                    problems.push(Problem::new(path, line, what));
                }
            }
        }
    }
    problems
}

/// Where the links of a page lead, with their lines; code is left out.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut targets = Vec::new();
    let mut fence: Option<&str> = None;
    for (at, line) in text.lines().enumerate() {
        let start = line.trim_start();
        let marker = ["```", "~~~"].into_iter().find(|marker| start.starts_with(marker));
        match (fence, marker) {
            (None, Some(marker)) => fence = Some(marker),
            (Some(open), Some(marker)) if open == marker => fence = None,
            _ => {}
        }
        if fence.is_some() || marker.is_some() {
            continue;
        }
        let prose = without_code_spans(line);
        for (open, _) in prose.match_indices("](") {
            let rest = &prose[open + 2..];
            if let Some(close) = rest.find(')') {
                targets.push((at + 1, first_word(&rest[..close])));
            }
        }
        // `[name]: target`.
        if start.starts_with('[')
            && let Some((_, target)) = prose.split_once("]: ")
        {
            targets.push((at + 1, first_word(target)));
        }
    }
    targets
}

/// The target without its title and angle brackets.
fn first_word(target: &str) -> String {
    let word = target.split_whitespace().next().unwrap_or_default();
    word.trim_start_matches('<').trim_end_matches('>').to_owned()
}

/// `line` with what stands between backticks blanked; a link text may itself be code.
fn without_code_spans(line: &str) -> String {
    if line.matches('`').count() % 2 == 1 {
        return line.to_owned();
    }
    let parts = line.split('`').enumerate();
    parts.map(|(n, part)| if n % 2 == 0 { part } else { "" }).collect()
}

fn is_local(target: &str) -> bool {
    let scheme = target.split(['/', '#']).next().unwrap_or_default();
    // `crate::Type` has a colon and is no address.
    !scheme.replace("::", "").contains(':')
}

fn is_item(target: &str) -> bool {
    target.contains("::") || target.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// The path that `target` means on the page `from`; `None` when it climbs above the root.
fn resolve(from: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(page: &str) -> Vec<String> {
        let tree = Tree::from([("docs/page.md", page), ("docs/other.md", ""), ("README.md", "")]);
        check(&tree).into_iter().map(|problem| problem.to_string()).collect()
    }

    #[test]
    fn a_link_to_nowhere_is_reported_with_its_line() {
        assert_eq!(
            problems("fine\n[a](other.md) [b](gone.md#part)\n"),
            ["docs/page.md:2: link to gone.md#part: not there"]
        );
        assert_eq!(problems("[a]: gone.md \"Title\"").len(), 1);
        assert_eq!(problems("[`code`](gone.md)").len(), 1);
        assert_eq!(
            problems("[a](../../outside.md)"),
            ["docs/page.md:1: link to ../../outside.md: leaves the repository"]
        );
    }

    #[test]
    fn what_leads_somewhere_or_is_no_link_is_not_reported() {
        for page in [
            "[a](other.md#part) [b](../README.md) [c](../docs) [d](#here)",
            "[a](https://example.org/x) [b](mailto:a@example.org)",
            "`[a](gone.md)`",
            "```text\n[a](gone.md)\n```",
        ] {
            assert!(problems(page).is_empty(), "{page}");
        }
    }

    #[test]
    fn the_page_of_a_crate_may_link_to_its_items() {
        let page = "[`Pool`](Pool) [b](crate::Pool::acquire) [c](gone.md)";
        let problems = check(&Tree::from([("crates/bucket-x/README.md", page)]));
        assert_eq!(problems.len(), 1, "{problems:?}");
    }
}
