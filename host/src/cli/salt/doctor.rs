//! `returner salt doctor`: what keeps this minion or master from storing through the host,
//! each with the command that mends it.
//!
//! It reads Salt's own configuration, looks at the modules and at the spool in Salt's cache, and
//! talks to the host as the modules do. It changes nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use reqwest::StatusCode;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::client::{self, Client, NoAnswer, Shown};
use super::super::output::counted;
use super::super::{Failure, output};
use super::{install, job_cache};
use crate::config::{Bundled, SaltOptions};

/// How long the host may take to say that it is there.
const ANSWER: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// The configuration of the minion or master; without it `/etc/salt/minion`, or else
    /// `/etc/salt/master`
    #[arg(long, value_name = "FILE")]
    salt_config: Option<PathBuf>,
    /// It is a master's, where the file's name does not say so
    #[arg(long)]
    master: bool,
    /// Print JSON instead of lines
    #[arg(long)]
    json: bool,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    ok: bool,
    what: String,
    /// The command that mends it, or would better it.
    hint: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Status {
    returners: Vec<Returner>,
    salt_events: Option<SaltEvents>,
}

/// What waits for longer, in milliseconds, is worth a word.
const LATE: u64 = 3000;

#[derive(Debug, Deserialize)]
struct Returner {
    name: String,
    state: String,
    depth: u64,
    oldest_ms: Option<u64>,
    dead: u64,
    last_error: Option<LastError>,
    warning: Option<Warning>,
}

/// What its plugin warned of last.
#[derive(Debug, Deserialize)]
struct Warning {
    message: String,
}

#[derive(Debug, Deserialize)]
struct LastError {
    message: String,
}

#[derive(Debug, Deserialize)]
struct SaltEvents {
    error: Option<String>,
    trimmed: u64,
    gaps: Vec<Value>,
}

impl Doctor {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let path = self.salt_config.clone().unwrap_or_else(usual);
        if !path.exists() {
            let message = format!("there is no `{}`", path.display());
            let hint = "`--salt-config FILE` names the configuration of the minion or master";
            return Err(Failure::usage(format!("{message}\n  hint: {hint}")));
        }
        let options = SaltOptions::load(&path).map_err(|errors| Failure::usage(errors.to_string()))?;
        let is_master = self.master || path.file_stem().is_some_and(|stem| stem == "master");
        let mut visit = Visit { options, is_master, findings: Vec::new() };
        let known = visit.host().await;
        visit.modules(known.as_ref());
        visit.spools();
        visit.unread_keys();
        let Visit { findings, .. } = visit;
        if self.json {
            output::json(&findings)?;
        } else {
            for finding in &findings {
                output::line(&finding.to_string())?;
            }
        }
        match findings.iter().filter(|finding| !finding.ok).count() {
            0 => Ok(()),
            wrong => Err(Failure::failed(format!("{} to mend", counted(wrong as u64, "thing", "things")))),
        }
    }
}

fn usual() -> PathBuf {
    let minion = PathBuf::from("/etc/salt/minion");
    if minion.exists() { minion } else { PathBuf::from("/etc/salt/master") }
}

/// A minion or master that is looked at.
struct Visit {
    options: SaltOptions,
    is_master: bool,
    findings: Vec<Finding>,
}

impl Visit {
    fn ok(&mut self, what: impl Into<String>) {
        self.findings.push(Finding { ok: true, what: what.into(), hint: None });
    }

    /// What works, and could be better.
    fn note(&mut self, what: impl Into<String>, hint: impl Into<String>) {
        self.findings.push(Finding { ok: true, what: what.into(), hint: Some(hint.into()) });
    }

    fn wrong(&mut self, what: impl Into<String>, hint: impl Into<String>) {
        self.findings.push(Finding { ok: false, what: what.into(), hint: Some(hint.into()) });
    }

    fn role(&self) -> &'static str {
        if self.is_master { "master" } else { "minion" }
    }

    /// The synchronised modules are there, and those of this program's version. `known` are the
    /// host's returners, where it tells them.
    fn modules(&mut self, known: Option<&Vec<String>>) {
        let directory = self.options.extension_modules(self.role());
        let carry = if self.is_master { "salt-run saltutil.sync_all" } else { "salt '*' saltutil.sync_all" };
        let again = format!("`returner salt install --to /srv/salt` on the master, then `{carry}`");
        let mut names = installed(&directory.join("returners"));
        // Salt has returners of its own, which are none of this host's business.
        let is_ours = |name: &&String| {
            let known =
                known.map_or_else(|| Bundled::from_name(name).is_some(), |known| known.contains(name));
            // Neither a profile nor what `ret_kwargs` asked for has a module of its own.
            known && !name.contains(['.', '{'])
        };
        names.extend(self.options.returners.iter().filter(is_ours).cloned());
        names.extend(known.into_iter().flatten().filter(is_ours).cloned());
        names.sort();
        names.dedup();
        if names.is_empty() {
            let what = format!("no module of this host is in `{}`", directory.join("returners").display());
            return self.wrong(what, again);
        }
        for name in names {
            if known.is_some_and(|known| !known.contains(&name)) {
                let what = format!("the module `{name}` is there, and the host has no returner of that name");
                let hint = "what is returned to it waits here: configure it on the host, or remove the module on the \
                            master and synchronise again";
                self.wrong(what, hint);
                continue;
            }
            match self.module(&directory, &name) {
                Ok(()) => self.ok(format!("the module `{name}` is there")),
                Err(what) => self.wrong(what, again.clone()),
            }
        }
    }

    /// What is wrong with a module.
    fn module(&self, directory: &Path, name: &str) -> Result<(), String> {
        let read = |file: String| fs::read_to_string(directory.join(file)).ok();
        let Some(module) = read(format!("returners/{name}.py")) else {
            return Err(format!(
                "the module `{name}` is not synchronised: Salt's own of that name runs, if it has one"
            ));
        };
        let shared = read("returners/_returner_host.py".to_owned());
        if module != install::module(name) || shared.as_deref() != Some(install::SHARED) {
            let ours = if module.contains(install::MARK) {
                "of another version of `returner`"
            } else {
                "not this host's"
            };
            return Err(format!(
                "the module `{name}` in `{}` is {ours}",
                directory.join("returners").display()
            ));
        }
        let kind = if self.is_master { "runners" } else { "modules" };
        match read(format!("{kind}/returner_{name}.py")) {
            Some(_) => Ok(()),
            None => Err(format!("`{name}.flush` is not synchronised, which sends what was kept")),
        }
    }

    /// What waits in the cache, and what the host refused for good.
    fn spools(&mut self) {
        let directory = self.options.cache(self.role()).join("returner");
        let mut spools = job_cache::directories(&directory).unwrap_or_default();
        spools.sort();
        for spool in spools {
            let name = spool.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let (waiting, refused) = (numbered(&spool), numbered(&spool.join("refused")));
            if waiting > 0 {
                let flush = if self.is_master { "salt-run" } else { "salt '*'" };
                let what = format!(
                    "{} for `{name}` in `{}`",
                    counted(waiting as u64, "waits", "wait"),
                    spool.display()
                );
                self.wrong(what, format!("`{flush} {name}.flush` sends them and says what the host answers"));
            }
            if refused > 0 {
                let place = spool.join("refused");
                let what = format!("the host refused {refused} for `{name}`, in `{}`", place.display());
                self.wrong(
                    what,
                    "the first line of each file has the reason; remove the file when it is settled",
                );
            }
        }
    }

    fn unread_keys(&mut self) {
        for keys in std::mem::take(&mut self.options.unread) {
            let what = format!("`{keys}.*` stands in Salt's file, which the modules do not read");
            let hint =
                "the host's configuration says where a returner stores, and has the profiles of `ret_config`";
            self.note(what, hint);
        }
    }

    /// Gives the names of its returners, where it tells them.
    async fn host(&mut self) -> Option<Vec<String>> {
        let client = match self.client() {
            Ok(client) => client,
            Err(failure) => {
                self.wrong(failure.to_string(), "see `returner.url` and its like in Salt's file");
                return None;
            }
        };
        if !self.is_let_in(&client).await {
            return None;
        }
        match client.ask::<Status>("/v1/returners", &[]).await {
            Ok(status) => {
                self.status(&status);
                return Some(status.returners.into_iter().map(|returner| returner.name).collect());
            }
            Err(NoAnswer::Refused(problem)) if problem.status == StatusCode::FORBIDDEN => self.may_not_ask(),
            Err(error) => {
                let failure = Failure::from(error).to_string();
                let what = format!("the host does not say how it is doing: {}", first_line(&failure));
                self.wrong(what, "`returner status` on the host");
            }
        }
        None
    }

    /// A minion's token usually may not.
    fn may_not_ask(&mut self) {
        if self.is_master {
            let what = "this master's token may send, and not ask: `master_job_cache` does not work by it";
            let hint = "`returner token NAME --role master` makes one that may";
            match self.options.job_cache {
                Some(_) => self.wrong(what, hint),
                None => self.note(what, hint),
            }
        } else {
            self.ok("what the host's returners do is not for this token to ask: `returner status` there");
        }
    }

    async fn is_let_in(&mut self, client: &Client) -> bool {
        // Nothing is in it: whoever may send is told so, and nothing is stored.
        let asked = client.post::<Value>("/v1/returns", &[], Vec::new());
        let Ok(answer) = tokio::time::timeout(ANSWER, asked).await else {
            let what = format!("the host takes the connection and does not answer within {ANSWER:?}");
            self.wrong(
                what,
                "it hangs: look at its log, and start it again; nothing that it acknowledged is lost",
            );
            return false;
        };
        let (what, hint) = match answer {
            Err(NoAnswer::Refused(problem)) if problem.status == StatusCode::BAD_REQUEST => {
                self.ok("the host answers, and takes what comes from here");
                return true;
            }
            Err(NoAnswer::Refused(problem))
                if matches!(problem.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) =>
            {
                let role = if self.is_master { "master" } else { "write" };
                let hint = format!(
                    "`returner token NAME --role {role}` makes a token; `returner.token_file` names it in Salt's file"
                );
                self.wrong(format!("the host lets nothing in from here: {}", problem.detail), hint);
                return false;
            }
            Err(NoAnswer::Refused(problem)) => {
                (format!("the host takes nothing in: {problem}"), "`returner status` on the host")
            }
            Err(NoAnswer::Unreachable(message)) => (
                first_line(&message).to_owned(),
                "start it (`returner serve`), or set `returner.url` in Salt's file to where it listens",
            ),
            Ok(_) => ("what answers is no returner host".to_owned(), "`returner.url` names another program"),
        };
        self.wrong(what, hint);
        false
    }

    fn status(&mut self, status: &Status) {
        for Returner { name, state, depth, oldest_ms, dead, last_error, warning } in &status.returners {
            if *dead > 0 {
                let what = format!("`{name}` rejected {} for good", counted(*dead, "item", "items"));
                self.note(what, "`returner dead list` on the host says why");
            }
            if let Some(Warning { message }) = warning {
                let hint = "the host's log has it with what came before";
                self.note(format!("the plugin of `{name}` warns: {message}"), hint);
            }
            match last_error {
                Some(error) if state != "ready" => {
                    let what =
                        format!("the host's returner `{name}` is {state}, {depth} wait: {}", error.message);
                    self.wrong(what, "nothing is lost; `returner status` on the host says what comes next");
                }
                _ if oldest_ms.is_some_and(|age| age > LATE) => {
                    let what =
                        format!("the host's returner `{name}` is {state}, and {depth} wait for seconds");
                    self.note(what, "`returner status` on the host says what it does");
                }
                _ => self.ok(format!("the host's returner `{name}` is {state}")),
            }
        }
        let Some(events) = &status.salt_events else { return };
        if let Some(error) = &events.error {
            let hint =
                "see `host.salt_events` in the host's configuration, and whether the host's user may open it";
            self.wrong(format!("the host does not hear Salt's event bus: {error}"), hint);
        }
        if !events.gaps.is_empty() {
            let gaps = counted(events.gaps.len() as u64, "gap is", "gaps are");
            self.wrong(
                format!("{gaps} in what the host heard of Salt's event bus"),
                "`returner salt backfill` on the master",
            );
        }
        if events.trimmed > 0 {
            let what = format!("{} were stored without what Salt's event bus leaves out", events.trimmed);
            let hint = "`salt '*' saltutil.sync_all` and `return: NAME` in the minions' files send them whole; or raise \
                        `max_event_size` on minions and master";
            self.wrong(what, hint);
        }
    }

    /// As `_returner_host.py` finds and shows itself to the host.
    fn client(&self) -> Result<Client, Failure> {
        let options = &self.options;
        let url = options.url.clone().unwrap_or_else(|| self.usual_place());
        if !["http://", "https://", "unix:"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(Failure::usage(format!(
                "`returner.url` is `{url}`, no http://, https:// or unix: URL"
            )));
        }
        let (base, socket) = client::named(&url);
        let token = match (&options.token, &options.token_file) {
            (Some(token), _) => Some(SecretString::from(token.expose())),
            (None, Some(path)) => {
                Some(SecretString::from(String::from_utf8_lossy(&client::read(path)?).trim()))
            }
            (None, None) => None,
        };
        let ca = match &options.ca {
            Some(path) => Some((path.as_path(), client::read(path)?)),
            None => None,
        };
        let identity = match (&options.certificate, &options.key) {
            (Some(certificate), Some(key)) => {
                let pem = [client::read(certificate)?, b"\n".to_vec(), client::read(key)?].concat();
                Some((certificate.as_path(), pem))
            }
            _ => None,
        };
        Client::at(base, socket, Shown { token, ca, identity })
    }

    fn usual_place(&self) -> String {
        let socket = "/run/returner/returner.sock";
        if Path::new(socket).exists() {
            return format!("unix:{socket}");
        }
        let master = self.options.master.as_deref().filter(|_| !self.is_master).unwrap_or("127.0.0.1");
        match master.matches(':').count() {
            0 => format!("http://{master}:4510"),
            // With the port of Salt's own.
            1 => format!("http://{}:4510", master.split(':').next().unwrap_or(master)),
            _ => format!("http://[{master}]:4510"),
        }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = match (self.ok, &self.hint) {
            (true, None) => "ok   ",
            (true, Some(_)) => "note ",
            (false, _) => "WRONG",
        };
        write!(f, "{word}  {}", self.what)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

fn first_line(message: &str) -> &str {
    message.lines().next().unwrap_or_default()
}

/// The names of the modules there that are this host's.
fn installed(directory: &Path) -> Vec<String> {
    let names = install::ours(directory).unwrap_or_default();
    let names = names.iter().filter_map(|path| path.file_stem()?.to_str());
    names.filter(|name| !name.starts_with('_')).map(str::to_owned).collect()
}

/// How many files have a number for a name.
fn numbered(directory: &Path) -> usize {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()))
        .count()
}
