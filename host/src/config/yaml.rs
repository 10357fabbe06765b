//! YAML text to a tree of nodes that know their lines.
//!
//! Promises: reads what Salt's own loader reads (anchors, aliases, merge keys; a
//! duplicate key is an error), in bounded memory whatever the text. A scalar keeps its
//! text and whether it was quoted; what it means (a number, a YAML 1.1 boolean) is
//! decided where a type is asked for. Nodes have no `Debug`: they hold passwords. Does
//! not know about keys and files.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

#[cfg(test)]
mod tests;

/// Collections in collections, those that aliases stand for included.
const MAX_DEPTH: usize = 64;
/// Aliases can make a small text large. See [`Node::measure`].
const MAX_WEIGHT: usize = 64 << 20;

#[derive(Clone)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) content: Content,
}

#[derive(Clone)]
pub(super) enum Content {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Scalar {
    pub(super) text: String,
    /// Written without quotes: may be a null, a boolean or a number.
    pub(super) plain: bool,
}

#[derive(Clone)]
pub(super) struct Key {
    pub(super) text: String,
    pub(super) line: usize,
}

/// What is wrong with the text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) line: usize,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl SyntaxError {
    fn new(line: usize, message: impl Into<String>) -> Self {
        Self { line, message: message.into(), hint: None }
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// The tree, and every error met on the way.
pub(super) struct Parsed {
    /// `None` for a text without content.
    pub(super) root: Option<Node>,
    /// What the rest could be read in spite of.
    pub(super) errors: Vec<SyntaxError>,
    /// What ended the reading.
    pub(super) fatal: Option<SyntaxError>,
}

pub(super) fn parse(text: &str) -> Parsed {
    let mut builder = Builder::default();
    let fatal = builder.read(text).err();
    Parsed { root: builder.root, errors: builder.errors, fatal }
}

impl Scalar {
    pub(super) fn is_null(&self) -> bool {
        self.plain && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    /// The booleans of YAML 1.1, as Salt's loader has them.
    pub(super) fn as_bool(&self) -> Option<bool> {
        let text = self.text.as_str();
        // Python's loader takes `yes`, `Yes` and `YES`, and not `yEs`.
        let usual = text.chars().skip(1).all(char::is_lowercase) || text.chars().all(char::is_uppercase);
        match text.to_lowercase().as_str() {
            "true" | "yes" | "on" if usual => Some(true),
            "false" | "no" | "off" if usual => Some(false),
            _ => None,
        }
    }
}

impl Node {
    /// Roughly the bytes that the node takes, and how deep it is.
    fn measure(&self) -> (usize, usize) {
        let own = size_of::<Node>();
        let inside = |(weight, depth): (usize, usize), (key, node): (usize, &Node)| {
            let (more, deeper) = node.measure();
            (weight + key + more, depth.max(deeper + 1))
        };
        match &self.content {
            Content::Scalar(scalar) => (own + scalar.text.len(), 0),
            Content::List(items) => items.iter().map(|item| (0, item)).fold((own, 1), inside),
            Content::Map(pairs) => pairs
                .iter()
                .map(|(key, node)| (size_of::<Key>() + key.text.len(), node))
                .fold((own, 1), inside),
        }
    }
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    weight: usize,
    root: Option<Node>,
    errors: Vec<SyntaxError>,
}

/// A collection that has not ended.
struct Open {
    line: usize,
    anchor: usize,
    content: OpenContent,
}

enum OpenContent {
    List(Vec<Node>),
    Map { pairs: Vec<(Key, Node)>, key: Option<Key> },
}

impl Builder {
    fn read(&mut self, text: &str) -> Result<(), SyntaxError> {
        let mut parser = Parser::new_from_str(text);
        let mut documents = 0;
        while let Some(event) = parser.next_event() {
            let (event, span) =
                event.map_err(|error| unreadable(text, error.marker().line(), error.info()))?;
            let line = span.start.line();
            if let Event::DocumentStart(_) = event {
                documents += 1;
                if documents > 1 {
                    let error = SyntaxError::new(line, "a second document begins here");
                    return Err(error.hint("a configuration file is one document: remove the `---`"));
                }
            }
            self.take(event, line)?;
        }
        Ok(())
    }

    fn take(&mut self, event: Event<'_>, line: usize) -> Result<(), SyntaxError> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let quoted = is_text(tag, line)? || style != ScalarStyle::Plain;
                let scalar = Scalar { text: text.into_owned(), plain: !quoted };
                self.add(Node { line, content: Content::Scalar(scalar) }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                is_text(tag, line)?;
                self.begin(Open { line, anchor, content: OpenContent::List(Vec::new()) })
            }
            Event::MappingStart(anchor, tag) => {
                is_text(tag, line)?;
                self.begin(Open { line, anchor, content: OpenContent::Map { pairs: Vec::new(), key: None } })
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => {
                // Measured before it is copied: that is the point of the bound.
                let Some((weight, depth)) = self.anchors.get(&anchor).map(Node::measure) else {
                    return Err(SyntaxError::new(line, "an alias stands inside of what it stands for"));
                };
                self.weigh(weight, depth, line)?;
                let content = self.anchors[&anchor].content.clone();
                self.add(Node { line, content }, 0)
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, open: Open) -> Result<(), SyntaxError> {
        self.weigh(0, 1, open.line)?;
        if let Some(Open { content: OpenContent::Map { key: None, .. }, .. }) = self.open.last() {
            return Err(SyntaxError::new(open.line, "a key is a list or a map").hint("keys are texts"));
        }
        self.open.push(open);
        Ok(())
    }

    fn weigh(&mut self, weight: usize, depth: usize, line: usize) -> Result<(), SyntaxError> {
        self.weight += weight;
        if self.weight > MAX_WEIGHT {
            return Err(SyntaxError::new(line, "the aliases up to here make the file too large"));
        }
        if self.open.len() + depth > MAX_DEPTH {
            return Err(SyntaxError::new(line, format!("lists and maps are more than {MAX_DEPTH} deep")));
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), SyntaxError> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let content = match open.content {
            OpenContent::List(items) => Content::List(items),
            OpenContent::Map { pairs, .. } => Content::Map(self.finish_map(pairs)?),
        };
        self.add(Node { line: open.line, content }, open.anchor)
    }

    /// Puts a whole node where it belongs: in the list, as key or value in the map, or
    /// at the root.
    fn add(&mut self, node: Node, anchor: usize) -> Result<(), SyntaxError> {
        if anchor > 0 {
            let (weight, _) = node.measure();
            self.weigh(weight, 0, node.line)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(OpenContent::List(items)) => items.push(node),
            Some(OpenContent::Map { pairs, key }) => match (key.take(), node.content) {
                (Some(key), content) => pairs.push((key, Node { line: node.line, content })),
                (None, Content::Scalar(scalar)) => *key = Some(Key { text: scalar.text, line: node.line }),
                (None, _) => return Err(SyntaxError::new(node.line, "a key is a list or a map")),
            },
        }
        Ok(())
    }

    /// Merge keys and duplicates. A duplicate does not end the reading: the first one
    /// stands.
    fn finish_map(&mut self, pairs: Vec<(Key, Node)>) -> Result<Vec<(Key, Node)>, SyntaxError> {
        let (merges, mut own): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(key, _)| key.text == "<<");
        let mut seen: HashMap<String, usize> = HashMap::new();
        own.retain(|(key, _)| match seen.get(&key.text) {
            Some(first) => {
                let error =
                    SyntaxError::new(key.line, format!("the key `{}` stands here a second time", key.text));
                self.errors.push(error.hint(format!("the first is on line {first}")));
                false
            }
            None => seen.insert(key.text.clone(), key.line).is_none(),
        });
        let mut known: HashSet<String> = seen.into_keys().collect();
        for (key, node) in merges {
            for (key, node) in merged(&key, node)? {
                if known.insert(key.text.clone()) {
                    own.push((key, node));
                }
            }
        }
        Ok(own)
    }
}

/// What `<<: *base` and `<<: [*a, *b]` bring; of two, the earlier one wins.
fn merged(key: &Key, node: Node) -> Result<Vec<(Key, Node)>, SyntaxError> {
    let wrong = |line| SyntaxError::new(line, "`<<` takes a map or a list of maps");
    match node.content {
        Content::Map(pairs) => Ok(pairs),
        Content::List(items) => {
            let mut all = Vec::new();
            for item in items {
                let Content::Map(pairs) = item.content else { return Err(wrong(item.line)) };
                all.extend(pairs);
            }
            Ok(all)
        }
        Content::Scalar(_) => Err(wrong(key.line)),
    }
}

/// Whether a tag makes a scalar a text. Salt's loader refuses tags beyond YAML's own.
fn is_text(tag: Option<Cow<'_, Tag>>, line: usize) -> Result<bool, SyntaxError> {
    let Some(tag) = tag else { return Ok(false) };
    let own = ["str", "int", "float", "bool", "null", "timestamp", "seq", "map", "omap"];
    if tag.handle.is_empty() && tag.suffix == "!" {
        return Ok(true);
    }
    if tag.is_yaml_core_schema() && own.contains(&tag.suffix.as_str()) {
        return Ok(tag.suffix == "str");
    }
    // Not which: a password that begins with `!` looks like one.
    let hint = "write the value without a tag; a text that begins with `!` stands in quotes";
    Err(SyntaxError::new(line, "this has a tag that is not known").hint(hint))
}

fn unreadable(text: &str, line: usize, info: &str) -> SyntaxError {
    let error = SyntaxError::new(line, format!("this is not YAML: {info}"));
    let written = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let indent = &written[..written.len() - written.trim_start().len()];
    if indent.contains('\t') { error.hint("indent with spaces, not with tabs") } else { error }
}
