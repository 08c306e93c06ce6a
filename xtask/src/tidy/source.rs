//! The sources: heads, unsafe code, leftovers, sleeping tests, files that have grown too long.
//!
//! Looks at code alone: what stands in a comment or between quotes never counts.

use super::Problem;
use super::tree::Tree;

pub(super) fn check(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, text) in tree.files().filter(|(path, _)| path.ends_with(".rs")) {
        let code = code_only(text);
        check_head(path, text, &mut problems);
        check_length(path, text, &mut problems);
        check_unsafe(path, text, &code, &mut problems);
        check_leftovers(path, &code, &mut problems);
        check_sleep(path, &code, &mut problems);
    }
    problems
}

fn check_head(path: &str, text: &str, problems: &mut Vec<Problem>) {
    let parts: Vec<_> = path.split('/').collect();
    let wanted = match parts.as_slice() {
        ["benches", ..] | ["xtask", "src", ..] => true,
        ["crates", _, folder, ..] => *folder == "src" || *folder == "tests",
        _ => false,
    };
    let is_page = path.ends_with("/lib.rs") && text.starts_with("#![doc = include_str!(");
    if wanted && !text.starts_with("//!") && !is_page {
        problems.push(Problem::new(path, 1, "starts without `//!` to say what this module is"));
    }
}

fn check_length(path: &str, text: &str, problems: &mut Vec<Problem>) {
    let lines = text.lines().count();
    if lines > MAX_LINES {
        let what = format!("{lines} lines, more than {MAX_LINES}: look for a seam");
        problems.push(Problem::new(path, 0, what));
    }
}

fn check_unsafe(path: &str, text: &str, code: &str, problems: &mut Vec<Problem>) {
    let sites = words(code, "unsafe");
    let lines: Vec<_> = text.lines().collect();
    for &line in &sites {
        if !is_justified(&lines, line, &sites) {
            problems.push(Problem::new(
                path,
                line,
                "unsafe without a `// SAFETY:` comment above it",
            ));
        }
    }
    let head = text.lines().take_while(|line| line.starts_with("//!"));
    if let Some(&line) = sites.first()
        && !head.into_iter().any(|line| line.contains("unsafe"))
    {
        let what = "unsafe in a module whose `//!` does not say why it must";
        problems.push(Problem::new(path, line, what));
    }
}

/// True when line number `site` has its comment on it, or above it before a blank line, the end of
/// another statement or another site.
fn is_justified(lines: &[&str], site: usize, sites: &[usize]) -> bool {
    // SAFETY: for a block, `# Safety` for the declaration of what is unsafe to call.
    let justifies =
        |line: &str| line.contains("//") && (line.contains("SAFETY:") || line.contains("# Safety"));
    if lines.get(site - 1).is_some_and(|line| justifies(line)) {
        return true;
    }
    for number in (1..site).rev() {
        let line = lines[number - 1].trim();
        if justifies(line) {
            return true;
        }
        let ends_before = line.is_empty() || line.ends_with(';') || line.ends_with('}');
        if !line.starts_with("//") && (ends_before || sites.contains(&number)) {
            return false;
        }
    }
    false
}

fn check_leftovers(path: &str, code: &str, problems: &mut Vec<Problem>) {
    for (pattern, what) in LEFTOVERS {
        for line in words(code, pattern) {
            problems.push(Problem::new(path, line, *what));
        }
    }
}

fn check_sleep(path: &str, code: &str, problems: &mut Vec<Problem>) {
    if !path.starts_with("crates/") {
        return;
    }
    let all_tests = path.contains("/tests/") || path.ends_with("/tests.rs");
    // In a file with both, the tests stand at the end.
    let first = if all_tests {
        0
    } else {
        code.lines()
            .position(|line| line.starts_with("mod tests {"))
            .map_or(usize::MAX, |at| at + 1)
    };
    for line in words(code, "thread::sleep").into_iter().filter(|line| *line >= first) {
        let what = "a test does not sleep: wait for the condition, or move a ManualClock";
        problems.push(Problem::new(path, line, what));
    }
}

/// The numbers of the lines where `word` stands in `code` and is no part of a longer name.
fn words(code: &str, word: &str) -> Vec<usize> {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut lines = Vec::new();
    for (at, line) in code.lines().enumerate() {
        for (start, _) in line.match_indices(word) {
            let before = line[..start].chars().next_back();
            let after = line[start + word.len()..].chars().next();
            let starts = !before.is_some_and(part_of_name) || !word.starts_with(part_of_name);
            let ends = !after.is_some_and(part_of_name) || !word.ends_with(part_of_name);
            if starts && ends {
                lines.push(at + 1);
            }
        }
    }
    lines
}

/// `text` with comments and the insides of literals blanked; lines stay where they are.
fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let Some(end) = end_of_non_code(bytes, at) else {
            at += 1;
            continue;
        };
        for byte in code[at..end].iter_mut().filter(|byte| **byte != b'\n') {
            *byte = b' ';
        }
        at = end;
    }
    String::from_utf8_lossy(&code).into_owned()
}

/// Where the comment or literal that starts at `at` ends; `None` when none starts there.
fn end_of_non_code(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    let from = |offset: usize, needle: &[u8]| {
        let found = rest[offset..].windows(needle.len()).position(|window| window == needle);
        found.map_or(bytes.len(), |found| at + offset + found)
    };
    match rest {
        [b'/', b'/', ..] => Some(from(0, b"\n")),
        [b'/', b'*', ..] => Some(end_of_block_comment(bytes, at)),
        [b'"', ..] => Some(end_of_quoted(bytes, at, b'"')),
        // A character and not a lifetime: an escape, or a quote right after one character.
        [b'\'', b'\\', ..] => Some(end_of_quoted(bytes, at, b'\'')),
        [b'\'', first, ..] => {
            let len = match first {
                0..=0x7f => 1,
                0x80..=0xdf => 2,
                0xe0..=0xef => 3,
                _ => 4,
            };
            (rest.get(1 + len) == Some(&b'\'')).then_some(at + len + 2)
        }
        [b'r', b'"' | b'#', ..] => {
            let before = at.checked_sub(1).map(|before| bytes[before]);
            if before
                .is_some_and(|b| (b.is_ascii_alphanumeric() || b == b'_') && b != b'b' && b != b'c')
            {
                return None;
            }
            let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
            // Otherwise a raw name such as `r#type`.
            (rest.get(1 + hashes) == Some(&b'"')).then(|| {
                let close = [b"\"".as_slice(), &rest[1..=hashes]].concat();
                (from(2 + hashes, &close) + close.len()).min(bytes.len())
            })
        }
        _ => None,
    }
}

fn end_of_block_comment(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (at, depth) = (at + 2, depth + 1),
            [b'*', b'/', ..] => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

fn end_of_quoted(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

const MAX_LINES: usize = 1_000;

const LEFTOVERS: &[(&str, &str)] = &[
    ("todo!", "`todo!` is left over"),
    ("unimplemented!", "`unimplemented!` is left over"),
    ("dbg!", "`dbg!` is left over"),
    ("#[ignore", "a test that is ignored proves nothing: fix it or remove it"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(path: &str, text: &str) -> Vec<String> {
        let tree = Tree::from([(path, text)]);
        check(&tree).into_iter().map(|problem| problem.to_string()).collect()
    }

    #[test]
    fn a_file_without_a_head_is_reported() {
        for path in ["crates/bucket-x/src/a.rs", "crates/bucket-x/tests/it/a.rs", "benches/a.rs"] {
            assert_eq!(problems(path, "fn f() {}\n").len(), 1, "{path}");
            assert!(problems(path, "//! What this is.\n").is_empty(), "{path}");
        }
        let page = "#![doc = include_str!(\"../README.md\")]\n";
        assert!(problems("crates/bucket-x/src/lib.rs", page).is_empty());
        assert_eq!(problems("crates/bucket-x/src/main.rs", page).len(), 1);
    }

    #[test]
    fn a_file_of_more_than_a_thousand_lines_is_reported() {
        let long = "//! Long.\n".repeat(1_001);
        assert!(problems("xtask/src/a.rs", &long)[0].contains("1001 lines"));
        assert!(problems("xtask/src/a.rs", &"//! Long.\n".repeat(1_000)).is_empty());
    }

    #[test]
    fn unsafe_without_a_reason_at_each_site_is_reported() {
        let head = "//! Maps files, which is unsafe.\n\n";
        let path = "crates/bucket-x/src/a.rs";
        for bad in [
            "fn f() { unsafe { g() } }",
            "// SAFETY: far away.\n\nfn f() { unsafe { g() } }",
            "fn f() {\n    // SAFETY: for one.\n    unsafe { g() }\n    unsafe { h() }\n}",
            "// SAFETY: of another.\nlet a = b;\nlet c = unsafe { g() };",
        ] {
            assert_eq!(problems(path, &format!("{head}{bad}\n")).len(), 1, "{bad}");
        }
        for good in [
            "fn f() {\n    // SAFETY: nobody else writes.\n    unsafe { g() }\n}",
            "// SAFETY: nobody else writes,\n// and never will.\nlet a =\n    unsafe { g() };",
            "/// Does it.\n///\n/// # Safety\n///\n/// Once.\n#[inline]\nunsafe fn f() {}",
            "#![forbid(unsafe_code)]\nlet a = \"unsafe\"; // unsafe",
        ] {
            assert_eq!(problems(path, &format!("{head}{good}\n")), [""; 0], "{good}");
        }
        let unexplained = "//! Maps files.\n\n// SAFETY: fine.\nunsafe impl Send for A {}\n";
        assert!(problems(path, unexplained)[0].contains("does not say why"));
    }

    #[test]
    fn leftovers_are_reported_and_prose_about_them_is_not() {
        let path = "crates/bucket-x/src/a.rs";
        for bad in ["todo!()", "unimplemented!(\"x\")", "dbg!(1)", "#[ignore = \"slow\"]"] {
            assert_eq!(problems(path, &format!("//! A.\n{bad}\n")).len(), 1, "{bad}");
        }
        for good in ["// todo!()", "let a = \"dbg!(1)\";", "my_todo!()", "/* #[ignore] */"] {
            assert_eq!(problems(path, &format!("//! A.\n{good}\n")), [""; 0], "{good}");
        }
    }

    #[test]
    fn a_sleeping_test_is_reported_and_sleeping_code_is_not() {
        let sleep = "std::thread::sleep(time);\n";
        for path in ["crates/bucket-x/tests/it/a.rs", "crates/bucket-x/src/tests/a.rs"] {
            assert_eq!(problems(path, &format!("//! A.\n{sleep}")).len(), 1, "{path}");
        }
        let path = "crates/bucket-x/src/a.rs";
        assert_eq!(problems(path, &format!("//! A.\n{sleep}")), [""; 0]);
        let at_end = format!("//! A.\n{sleep}#[cfg(test)]\nmod tests {{\n{sleep}}}\n");
        assert_eq!(problems(path, &at_end).len(), 1);
        assert!(problems(path, &at_end)[0].starts_with("crates/bucket-x/src/a.rs:5:"));
    }

    #[test]
    fn only_code_is_left_and_lines_stay_where_they_are() {
        for (text, code) in [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */\n d */ e", "a             \n      e"),
            (r#"f("\"x", 'a', '\'', 'é') + g"#, r#"f(     ,    ,     ,     ) + g"#),
            (r###"a r#"x"y"# b"###, "a          b"),
            ("fn f<'a>(r#type: &'a str)", "fn f<'a>(r#type: &'a str)"),
            ("b\"x\" br\"y\" c", "b    b     c"),
        ] {
            assert_eq!(code_only(text), code, "{text}");
        }
    }
}
