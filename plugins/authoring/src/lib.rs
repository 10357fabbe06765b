//! What the author of a returner is given: a folder that builds as it is, in any of five
//! languages, and what makes a component of it at the end.
//!
//! An author of C needs no more than a C compiler, of Go no more than Go: the bindings that
//! others get from a generator of their own are written into the folder by [`create`], and
//! [`componentize`] takes the last step from a core module to a component.
//!
//! Promises: what is written depends on the name, the language and the kind alone; a folder
//! that is there already is never touched. Does not know the host.

mod bindings;
mod component;
mod contract;
mod error;
mod kind;
mod language;
mod name;
mod page;
mod plan;
mod reserved;
mod templates;
mod tools;

pub use bindings::bindings;
pub use component::componentize;
pub use error::Error;
pub use kind::Kind;
pub use language::Language;
pub use page::contract_page;
pub use plan::{Plan, create};
pub use tools::{MissingTool, missing_tools};
