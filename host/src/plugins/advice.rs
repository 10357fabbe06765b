//! What a guest printed as it ended, in the words of its author's language: `componentize-py` tells
//! of its own insides.

/// What of a language's runtime says it, and what its author is to do.
const KNOWN: [(&str, &str); 2] = [
    (
        "CastError { from: None",
        "in Python it answered `None`: `store` answers a list, `return []` where all of it is stored",
    ),
    (
        "KeyError(<class 'str'>)",
        "in Python `Err` takes what the contract says, not a text: `raise Err(Failure_Reject(\"why\"))`, or \
         `Failure_Retry(Retry(\"why\", after=None))`",
    ),
];

/// What to do about it, if it is known.
pub(crate) fn advice(printed: &str) -> Option<&'static str> {
    KNOWN.iter().find(|(says, _)| printed.contains(says)).map(|(_, advice)| *advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As components of `componentize-py` 0.25.1 print it.
    #[test]
    fn what_python_says_is_told_in_its_authors_words() {
        let none = "thread '<unnamed>' (1) panicked at runtime/src/lib.rs:1704:44:\n\
                    called `Result::unwrap()` on an `Err` value: CastError { from: None, classinfo: <class 'list'> }";
        assert!(advice(none).is_some_and(|advice| advice.contains("return []")));
        let text = "called `Result::unwrap()` on an `Err` value: PyErr { type: <class 'KeyError'>, \
                    value: KeyError(<class 'str'>), traceback: None }";
        assert!(advice(text).is_some_and(|advice| advice.contains("raise Err(Failure_Reject")));
        let own = "  File \"/0/app.py\", line 42, in store\nValueError: text\n\nPython function threw an \
                   unexpected exception";
        assert_eq!(advice(own), None);
    }
}
