//! Whether the host answers, and what it says of itself.

use std::path::Path;
use std::time::Duration;

use reqwest::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;

use super::Visit;
use crate::cli::Failure;
use crate::cli::client::{self, Client, NoAnswer, Shown};
use crate::cli::output::counted;

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

/// How long the host may take to say that it is there.
const ANSWER: Duration = Duration::from_secs(10);

impl Visit {
    /// Gives the names of its returners, where it tells them.
    pub(super) async fn host(&mut self) -> Option<Vec<String>> {
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
            Err(NoAnswer::Refused(problem)) if problem.is_a_hosts(StatusCode::FORBIDDEN) => {
                self.may_not_ask()
            }
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
            Err(NoAnswer::Refused(problem)) if problem.is_another => (
                problem.detail,
                "`returner.url` in Salt's file names another program, or a proxy that answers itself",
            ),
            Err(NoAnswer::Refused(problem)) if problem.is_a_hosts(StatusCode::BAD_REQUEST) => {
                let place = shown(&self.url());
                self.ok(format!("the host answers at `{place}`, and takes what comes from here"));
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
            Err(NoAnswer::Unreachable(message)) => (first_line(&message).to_owned(), mends(&message)),
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
        let url = self.url();
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

    fn url(&self) -> String {
        self.options.url.clone().unwrap_or_else(|| self.usual_place())
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

/// A URL without what somebody may have written in it for a password.
fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let host = rest.split('/').next().unwrap_or(rest);
    match host.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{host}"),
        None => url.to_owned(),
    }
}

/// What mends it that there is no answer, by what rustls and hyper say of it.
fn mends(message: &str) -> &'static str {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["UnknownIssuer"]) {
        "`returner.ca` in Salt's file names the authority that signed the host's certificate (a PEM file)"
    } else if says(&["NotValidForName"]) {
        "`returner.url` in Salt's file must have a name that the host's certificate has"
    } else if says(&["Expired", "NotValidYet"]) {
        "renew the host's certificate (`host.tls.certificate`), or set the clock of this machine"
    } else if says(&["CertificateRequired", "UnknownCA", "BadCertificate", "AccessDenied"]) {
        "`returner.certificate` and `returner.key` in Salt's file name a certificate of the authority that the host asks \
         for (`host.tls.client_ca`)"
    } else if says(&["invalid HTTP version"]) {
        "the host speaks TLS there: begin `returner.url` in Salt's file with `https://`"
    } else if says(&["InvalidContentType", "corrupt message"]) {
        "what listens there speaks no TLS: begin `returner.url` in Salt's file with `http://`"
    } else {
        "start it (`returner serve`), or set `returner.url` in Salt's file to where it listens"
    }
}

fn first_line(message: &str) -> &str {
    message.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_mends_a_connection_is_told_by_what_is_wrong_with_it() {
        for (message, names) in [
            ("no answer from x: invalid peer certificate: UnknownIssuer", "`returner.ca`"),
            ("no answer from x: received fatal alert: CertificateRequired", "`returner.certificate`"),
            ("no answer from x: invalid HTTP version parsed", "`https://`"),
            ("no answer from x: received corrupt message of type InvalidContentType", "`http://`"),
            ("no answer from x: Connection refused (os error 111)", "`returner serve`"),
        ] {
            assert!(mends(message).contains(names), "{message}: {}", mends(message));
        }
    }

    #[test]
    fn a_url_is_shown_without_a_password() {
        assert_eq!(shown("https://me:secret@salt:4510/x"), "https://salt:4510");
        assert_eq!(shown("http://salt:4510"), "http://salt:4510");
        assert_eq!(shown("unix:/run/returner.sock"), "unix:/run/returner.sock");
    }
}
