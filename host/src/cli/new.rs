//! `returner plugins new`, `componentize` and `bindings`: what the author of a plugin is given.
//!
//! All of it is [`returner_authoring`]; this says it to people.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use returner_authoring::{Kind, Language};

use super::{Failure, output};
use crate::config;
use crate::plugins::read_file;

#[derive(Debug, Args)]
pub(super) struct New {
    /// The returner's name, and that of its folder
    name: String,
    /// What it is written in
    #[arg(long, value_name = "LANGUAGE", value_parser = language())]
    lang: Language,
    /// Where it stores: a table, a web hook, keys of Redis or a collection of MongoDB
    #[arg(long, value_name = "KIND", default_value = "sql", value_parser = kind())]
    kind: Kind,
}

#[derive(Debug, Args)]
pub(super) struct Componentize {
    /// What `clang` or `go build` made for WASI
    module: PathBuf,
    /// The component
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Bindings {
    /// The language, of those whose own tools make none
    #[arg(long, value_name = "LANGUAGE", value_parser = language())]
    lang: Language,
    /// The contract
    #[arg(long, value_name = "FOLDER", default_value = "wit")]
    wit: PathBuf,
    /// What is exported
    #[arg(long, value_name = "NAME", default_value = "described-returner")]
    world: String,
    /// Where they go
    #[arg(short, long, value_name = "FOLDER", default_value = "bindings")]
    output: PathBuf,
}

fn language() -> impl TypedValueParser<Value = Language> {
    let names = PossibleValuesParser::new(Language::ALL.map(Language::name));
    names.try_map(|name| Language::from_name(&name).ok_or("no such language"))
}

fn kind() -> impl TypedValueParser<Value = Kind> {
    let names = PossibleValuesParser::new(Kind::ALL.map(Kind::name));
    names.try_map(|name| Kind::from_name(&name).ok_or("no such kind"))
}

impl New {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let Self { name, lang, kind } = self;
        if config::is_section(name) {
            return Err(Failure::usage(format!(
                "`{name}` cannot be a returner's name: it is a key of Salt's own, and a configuration would read it as \
                 that\n  hint: add what it is for: `{name}-audit`"
            )));
        }
        let written = returner_authoring::create(Path::new(name), name, *lang, *kind, &host());
        let written = written.map_err(|error| Failure::usage(error.to_string()))?;
        let files = output::counted(written.len() as u64, "file", "files");
        output::line(&format!("`{name}/` has {files}; `{name}/README.md` tells the way to production"))?;
        output::line(&format!("  cd {name} && make    # builds `{name}.wasm`"))?;
        output::line("  make test        # the conformance kit")?;
        output::line("  make run         # three returns, and what it does with them")?;
        for tool in returner_authoring::missing_tools(*lang) {
            let what = format!("`{}` is missing, which `make` needs", tool.what);
            output::line(&format!(
                "{what}\n  hint: Debian: `{}`; elsewhere: {}",
                tool.debian, tool.elsewhere
            ))?;
        }
        Ok(())
    }
}

/// What the folder's Makefile calls this program: its name, where that finds it.
fn host() -> String {
    const NAME: &str = "returner";
    let Ok(own) = env::current_exe() else { return NAME.to_owned() };
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|directory| directory.join(NAME)).find(|file| file.is_file());
    let is_own = found.and_then(|file| fs::canonicalize(file).ok()) == fs::canonicalize(&own).ok();
    if is_own { NAME.to_owned() } else { own.display().to_string() }
}

impl Componentize {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let module = read_file(&self.module)
            .map_err(|error| Failure::usage(format!("cannot read `{}`: {error}", self.module.display())))?;
        let component = returner_authoring::componentize(&module)
            .map_err(|error| Failure::failed(format!("`{}`: {error}", self.module.display())))?;
        fs::write(&self.output, component)
            .map_err(|error| Failure::failed(format!("cannot write `{}`: {error}", self.output.display())))
    }
}

impl Bindings {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let written = returner_authoring::bindings(self.lang, &self.wit, &self.world, &self.output);
        let written = written.map_err(|error| Failure::failed(error.to_string()))?;
        let files = output::counted(written.len() as u64, "file", "files");
        output::line(&format!("`{}` has {files}", self.output.display()))
    }
}
