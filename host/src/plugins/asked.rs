//! What a guest asks of the host, told at a bench: where an author tries a plugin out, and in
//! a [`trial`](super::trial). A bench can also answer in a server's place. A returner that
//! stores what comes in has none.

use sha2::{Digest, Sha256};

use super::state::GuestState;
use super::trial::Noted;
use crate::connections::{HttpRequest, HttpResponse};

/// A call of the host by a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    /// One, or each command of a pipeline.
    parts: Vec<Part>,
    way: Way,
}

/// How it goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Call,
    Http,
    /// Commands that are answered one by one.
    Pipeline,
    /// Operations that are refused one by one.
    Bulk,
    /// To a peer by WASI's sockets.
    Socket,
    /// What goes to that peer.
    Sent,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    /// For people: `sql.execute db: INSERT INTO audit ...`.
    what: String,
    /// The values that go with it.
    handed: Vec<Vec<u8>>,
}

/// Why a call fails that a bench lets fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The server is away: the same can succeed later.
    Away,
    /// The server does not answer in time.
    Hangs,
    /// The server refuses this for good.
    Refuses,
    /// It answers, and the answer says: not now.
    AnswersLater,
    /// It answers, and the answer says: never.
    AnswersNever,
}

/// What is behind a guest's calls besides the servers.
pub(crate) trait Bench: Send + Sync {
    /// A call begins; a fault is what it gets for an answer.
    fn fault(&self, asked: &Asked) -> Option<Fault>;

    /// It has ended, with this answer as people read it.
    fn answered(&self, asked: &Asked, answer: &str);

    /// The answer to a request in its server's place. None sends it, if it is `allowed`.
    fn respond(&self, request: &HttpRequest, allowed: bool) -> Option<HttpResponse>;
}

/// An error of one of the contract's interfaces.
pub(super) trait CallFailure {
    fn of(fault: Fault) -> Self;

    fn message(&self) -> &str;
}

impl Asked {
    pub(super) fn one<P: Into<Vec<u8>>>(
        what: impl Into<String>,
        handed: impl IntoIterator<Item = P>,
    ) -> Self {
        Self::all([(what.into(), handed.into_iter().map(Into::into).collect())])
    }

    pub(super) fn all(parts: impl IntoIterator<Item = (String, Vec<Vec<u8>>)>) -> Self {
        let parts = parts.into_iter().map(|(what, handed)| Part { what, handed }).collect();
        Self { parts, way: Way::Call }
    }

    pub(super) fn by_http(self) -> Self {
        Self { way: Way::Http, ..self }
    }

    pub(super) fn one_by_one(self) -> Self {
        Self { way: Way::Pipeline, ..self }
    }

    pub(super) fn in_bulk(self) -> Self {
        Self { way: Way::Bulk, ..self }
    }

    /// A peer by WASI's sockets.
    pub(super) fn by_socket(what: String) -> Self {
        Self { way: Way::Socket, ..Self::one::<Vec<u8>>(what, []) }
    }

    /// What is sent to such a peer by TCP. Of UDP nothing is seen.
    pub(super) fn sent(what: String, bytes: &[u8]) -> Self {
        Self { way: Way::Sent, ..Self::one(what, [bytes]) }
    }

    pub(crate) fn is_by_socket(&self) -> bool {
        self.way == Way::Socket
    }

    /// What goes out by TCP, where that is all that is seen of it.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        let bytes = || self.parts.first()?.handed.first();
        (self.way == Way::Sent).then(bytes).flatten().map(Vec::as_slice)
    }

    /// The ways in which it can fail at a bench: of a socket, the host can only say that it may
    /// not be; what is sent by it can be cut off.
    pub(crate) fn faults(&self) -> &'static [Fault] {
        match self.way {
            Way::Call => &[Fault::Away, Fault::Hangs, Fault::Refuses],
            Way::Http | Way::Pipeline => &Fault::ALL,
            Way::Bulk => &[Fault::Away, Fault::Hangs, Fault::Refuses, Fault::AnswersNever],
            Way::Socket => &[Fault::Refuses],
            Way::Sent => &[Fault::Away],
        }
    }

    /// A fault of this call in words.
    pub(crate) fn told(&self, fault: Fault) -> String {
        match (self.way, fault.status(), fault) {
            (Way::Http, Some(status), _) => format!("it answers {status}"),
            (Way::Pipeline, _, Fault::AnswersLater) => "one command is answered: not now".to_owned(),
            (Way::Pipeline, _, Fault::AnswersNever) => "one command is answered: never".to_owned(),
            (Way::Bulk, _, Fault::AnswersNever) => "one operation is refused".to_owned(),
            _ => fault.message().to_owned(),
        }
    }

    pub(super) fn noted(&self) -> impl Iterator<Item = Noted> {
        self.parts.iter().map(|Part { what, handed }| {
            let mut digest = Sha256::new();
            for part in handed.iter().map(Vec::as_slice).chain([what.as_bytes()]) {
                digest.update((part.len() as u64).to_le_bytes());
                digest.update(part);
            }
            Noted::new(what, digest.finalize().into())
        })
    }
}

impl std::fmt::Display for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, Part { what, handed }) in self.parts.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{what}")?;
            if !handed.is_empty() {
                let handed: Vec<_> = handed.iter().map(|value| String::from_utf8_lossy(value)).collect();
                write!(f, " [{}]", handed.join(", "))?;
            }
        }
        Ok(())
    }
}

impl Fault {
    pub(crate) const ALL: [Fault; 5] =
        [Fault::Away, Fault::Hangs, Fault::Refuses, Fault::AnswersLater, Fault::AnswersNever];

    pub(crate) fn is_retryable(self) -> bool {
        !matches!(self, Fault::Refuses | Fault::AnswersNever)
    }

    /// Of a web server that answers.
    pub(super) fn status(self) -> Option<u16> {
        match self {
            Fault::AnswersLater => Some(503),
            Fault::AnswersNever => Some(400),
            Fault::Away | Fault::Hangs | Fault::Refuses => None,
        }
    }

    fn is_in_answer(self) -> bool {
        self.status().is_some()
    }

    pub(crate) fn message(self) -> &'static str {
        match self {
            Fault::Away => "the server is away",
            Fault::Hangs => "no answer within the time of one call",
            Fault::Refuses => "the server refuses this",
            Fault::AnswersLater => "the server cannot do this now",
            Fault::AnswersNever => "the server will not do this",
        }
    }
}

impl GuestState {
    /// A call, where somebody wants to know of it.
    pub(super) fn asked(&self, asked: impl FnOnce() -> Asked) -> Option<Asked> {
        self.grants.bench.is_some().then(asked)
    }

    /// Does what a guest asked for; the guest's processor time does not run meanwhile.
    /// `shown` is the answer for people.
    pub(super) async fn answer<T, E: CallFailure>(
        &mut self,
        asked: Option<Asked>,
        work: impl AsyncFnOnce(&mut Self) -> Result<T, E>,
        shown: impl FnOnce(&T) -> String,
    ) -> Result<T, E> {
        self.answer_with(asked, async |state: &mut Self, _| work(state).await, shown).await
    }

    /// The same of a call that can go wrong within its answer: `work` is told how.
    pub(super) async fn answer_with<T, E: CallFailure>(
        &mut self,
        asked: Option<Asked>,
        work: impl AsyncFnOnce(&mut Self, Option<Fault>) -> Result<T, E>,
        shown: impl FnOnce(&T) -> String,
    ) -> Result<T, E> {
        let Some((bench, asked)) = self.grants.bench.clone().zip(asked) else {
            return self.host_call(async |state: &mut Self| work(state, None).await).await;
        };
        let result = match bench.fault(&asked) {
            Some(fault) if !fault.is_in_answer() => Err(E::of(fault)),
            within => self.host_call(async |state: &mut Self| work(state, within).await).await,
        };
        let answer = match &result {
            Ok(answer) => shown(answer),
            Err(error) => format!("error: {}", error.message()),
        };
        bench.answered(&asked, &answer);
        result
    }
}
