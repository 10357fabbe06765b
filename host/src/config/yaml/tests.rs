//! Texts that are YAML, and texts that are not.

use super::*;

/// The tree as JSON-like text, with a `!` after what is plain.
fn shown(node: &Node) -> String {
    match &node.content {
        Content::Scalar(scalar) if scalar.plain => format!("{}!", scalar.text),
        Content::Scalar(scalar) => scalar.text.clone(),
        Content::List(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Content::Map(pairs) => {
            let pairs: Vec<String> =
                pairs.iter().map(|(key, node)| format!("{}: {}", key.text, shown(node))).collect();
            format!("{{{}}}", pairs.join(", "))
        }
    }
}

fn read(text: &str) -> String {
    let parsed = parse(text);
    assert_eq!((parsed.errors, parsed.fatal), (vec![], None));
    parsed.root.as_ref().map(shown).unwrap_or_default()
}

fn first_error(text: &str) -> (usize, String) {
    let parsed = parse(text);
    let error = parsed.errors.into_iter().chain(parsed.fatal).next().expect("an error");
    (error.line, error.message)
}

#[test]
fn scalars_keep_text_and_quotes() {
    assert_eq!(read("a: 'x'\nb: x\nc: \"0\"\nd: 007\ne:\n"), "{a: x, b: x!, c: 0, d: 007!, e: !}");
    assert_eq!(read("a: !!str 5\nb: !!int 5"), "{a: 5, b: 5!}");
    assert_eq!(read("# only a comment\n"), "");
}

#[test]
fn aliases_and_merge_keys_are_expanded() {
    assert_eq!(read("a: &x {k: v}\nb: *x"), "{a: {k: v!}, b: {k: v!}}");
    assert_eq!(read("a: &x {k: v, l: 1}\nb: {<<: *x, k: own}"), "{a: {k: v!, l: 1!}, b: {k: own!, l: 1!}}");
    assert_eq!(
        read("- &x {k: 1}\n- &y {k: 2, l: 3}\n- {<<: [*x, *y]}"),
        "[{k: 1!}, {k: 2!, l: 3!}, {k: 1!, l: 3!}]"
    );
}

#[test]
fn errors_name_the_line() {
    assert_eq!(first_error("a: 1\nb: 2\na: 3\n"), (3, "the key `a` stands here a second time".to_owned()));
    assert_eq!(first_error("a: 1\n---\nb: 1\n").0, 2);
    assert_eq!(first_error("a: 1\n\nb: [1\n").0, 4);
    assert_eq!(first_error("a: 1\nb: !python/name:os.system x\n").0, 2);
    assert_eq!(first_error("a: &x [*x]\n").1, "an alias stands inside of what it stands for");
    assert_eq!(first_error("? [a]\n: b\n").1, "a key is a list or a map");
    assert_eq!(first_error("a:\n  <<: 5\n"), (2, "`<<` takes a map or a list of maps".to_owned()));
    let tabs = parse("a:\n\tb: 1\n").fatal.expect("an error");
    assert_eq!(tabs.hint.as_deref(), Some("indent with spaces, not with tabs"));
}

#[test]
fn all_duplicates_are_named() {
    let lines: Vec<usize> =
        parse("a: 1\na: 2\nb: {c: 1, c: 2}\na: 3\n").errors.iter().map(|e| e.line).collect();
    assert_eq!(lines, [3, 2, 4]);
}

#[test]
fn alias_bombs_end() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..40 {
        let before = format!("*a{}", level - 1);
        text += &format!("a{level}: &a{level} [{}]\n", [before.as_str(); 9].join(", "));
    }
    assert_eq!(first_error(&text).1, "the aliases up to here make the file too large");

    let mut text = String::from("a0: &a0 [x]\n");
    for level in 1..10_000 {
        text += &format!("a{level}: &a{level} [*a{}]\n", level - 1);
    }
    assert_eq!(first_error(&text).1, "lists and maps are more than 64 deep");
    assert_eq!(first_error(&"[".repeat(100)).1, "lists and maps are more than 64 deep");
    assert!(parse(&"[".repeat(1_000_000)).fatal.is_some());
}

#[test]
fn booleans_are_those_of_yaml_1_1() {
    let scalar = |text: &str| Scalar { text: text.to_owned(), plain: true };
    for text in ["yes", "Yes", "YES", "on", "true", "True"] {
        assert_eq!(scalar(text).as_bool(), Some(true), "{text}");
    }
    for text in ["no", "Off", "FALSE"] {
        assert_eq!(scalar(text).as_bool(), Some(false), "{text}");
    }
    for text in ["yEs", "y", "1", ""] {
        assert_eq!(scalar(text).as_bool(), None, "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in ".{0,200}") {
        parse(&text);
    }

    #[test]
    fn no_yaml_like_text_panics(text in r#"([a-c&*<:\-\[\]{}!#|>'",? \n\t]|: |\n  |\n- |&a|\*a|<<: ){0,60}"#) {
        parse(&text);
    }
}
