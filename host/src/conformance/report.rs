//! What came of the checks.

use std::time::Duration;

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};
use serde::{Serialize, Serializer};

/// What became of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict", content = "why")]
pub(crate) enum Verdict {
    Held,
    /// What the plugin did, and what it should have done.
    Failed(Vec<String>),
    /// There was nothing to look at, and why.
    NotTried(String),
}

/// One check, and what became of it.
#[derive(Debug, Serialize)]
pub(crate) struct Checked {
    pub(crate) name: &'static str,
    /// What must be true.
    pub(crate) about: &'static str,
    #[serde(flatten)]
    pub(crate) verdict: Verdict,
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub(crate) took: Duration,
}

/// All of them.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) plugin: String,
    /// Whether anything of what it stores was seen, in a store or on its way out. Else one that loses
    /// all of it passes, too.
    pub(crate) seen: bool,
    pub(crate) checked: Vec<Checked>,
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub(crate) took: Duration,
}

fn seconds<S: Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(took.as_secs_f64())
}

impl Verdict {
    /// Held, if nothing is wrong.
    pub(super) fn of(wrong: Vec<String>) -> Self {
        if wrong.is_empty() { Self::Held } else { Self::Failed(wrong) }
    }
}

impl Report {
    pub(crate) fn failed(&self) -> usize {
        self.checked.iter().filter(|checked| matches!(checked.verdict, Verdict::Failed(_))).count()
    }

    /// As JUnit's XML, which continuous integration reads.
    pub(crate) fn junit(&self) -> Result<String, quick_junit::SerializeError> {
        let mut suite = TestSuite::new(self.plugin.as_str());
        for Checked { name, about, verdict, took } in &self.checked {
            let status = match verdict {
                Verdict::Held => TestCaseStatus::success(),
                Verdict::Failed(wrong) => {
                    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                    status.set_message(*about).set_description(wrong.join("\n"));
                    status
                }
                Verdict::NotTried(why) => {
                    let mut status = TestCaseStatus::skipped();
                    status.set_message(why.as_str());
                    status
                }
            };
            let mut case = TestCase::new(*name, status);
            case.set_classname("conformance").set_time(*took);
            suite.add_test_case(case);
        }
        suite.set_time(self.took);
        let mut report = quick_junit::Report::new("returner plugins test");
        report.add_test_suite(suite).set_time(self.took);
        report.to_string()
    }
}
