//! The languages that a returner can be begun in.

/// A language that there is a template for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Language {
    /// Rust, with the SDK.
    Rust,
    /// Python, by `componentize-py`.
    Python,
    /// JavaScript, by `componentize-js`, with types for the editor.
    Javascript,
    /// Go's own compiler, not `TinyGo`.
    Go,
    /// C, by clang.
    C,
    /// C++, with what C has.
    Cpp,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Rust, Self::Python, Self::Javascript, Self::Go, Self::C, Self::Cpp];

    /// What it is called on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Python => "python",
            Self::Javascript => "javascript",
            Self::Go => "go",
            Self::C => "c",
            Self::Cpp => "cpp",
        }
    }

    /// The language of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.name() == name)
    }

    /// What it is called in texts.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::Python => "Python",
            Self::Javascript => "JavaScript",
            Self::Go => "Go",
            Self::C => "C",
            Self::Cpp => "C++",
        }
    }

    /// Where the source goes in the new folder.
    pub(crate) const fn source(self) -> &'static str {
        match self {
            Self::Rust => "src/lib.rs",
            Self::Python => "app.py",
            Self::Javascript => "returner.js",
            Self::Go => "returner.go",
            Self::C => "returner.c",
            Self::Cpp => "returner.cpp",
        }
    }

    /// How a file of this language ends.
    pub(crate) const fn extension(self) -> &'static str {
        match self {
            Self::Rust => "rs",
            Self::Python => "py",
            Self::Javascript => "js",
            Self::Go => "go",
            Self::C => "c",
            Self::Cpp => "cpp",
        }
    }

    /// The folders of the templates with its own files.
    pub(crate) const fn folders(self) -> &'static [&'static str] {
        match self {
            Self::Cpp => &["c", "cpp"],
            Self::Rust => &["rust"],
            Self::Python => &["python"],
            Self::Javascript => &["javascript"],
            Self::Go => &["go"],
            Self::C => &["c"],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_that_of_one_language() {
        for language in Language::ALL {
            assert_eq!(Language::from_name(language.name()), Some(language));
        }
        assert_eq!(Language::from_name("cobol"), None);
    }
}
